//! Mount and network namespaces of a test's own.

use std::cell::Cell;
use std::path::Path;
use std::process::Command;

use hull_sys::clone::{self, Namespace};
use hull_sys::mount::{self, Propagation};

/// Set by `cargo xtask test`: the test's processes, cgroups and files carry this mark, and it has namespaces of
/// its own.
pub const MARK: &str = "HULL_TEST_MARK";

thread_local! {
    static ENTERED: Cell<bool> = const { Cell::new(false) };
}

/// Moves this thread (and the children it will have) into mount and network namespaces of its own, with a loopback
/// that is up. Once is enough; under `cargo xtask test` there is nothing to do.
///
/// # Panics
/// Without root, and where the kernel refuses.
pub fn enter() {
    if std::env::var_os(MARK).is_some() || ENTERED.replace(true) {
        return;
    }
    clone::unshare(Namespace::Mount).expect("tests need root");
    mount::set_propagation(Path::new("/"), Propagation::Private, true).unwrap();
    clone::unshare(Namespace::Network).unwrap();
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    assert!(up.expect("tests need iproute2").success(), "ip link set lo up");
}

/// The names of the network links that this thread sees, without the loopback.
pub fn links() -> Vec<String> {
    let output = Command::new("ip").args(["-o", "link"]).output().expect("tests need iproute2");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // "3: hull0: <BROADCAST…", "5: veth1@if4: <…"
    let names = text.lines().filter_map(|line| line.split(": ").nth(1));
    let names = names.map(|name| name.split('@').next().unwrap_or(name).to_owned());
    names.filter(|name| name != "lo").collect()
}
