//! The check that nothing is left behind finds what is left behind.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::fs;
use std::path::Path;
use std::process::Command;

use hull_testkit::leaks::{self, Before};
use hull_testkit::{Running, namespaces};

fn mark(name: &str) -> String {
    let outer =
        std::env::var(namespaces::MARK).unwrap_or_else(|_| format!("hull-test-{}", std::process::id()));
    format!("{outer}.{name}")
}

#[test]
fn processes_are_found_by_their_command_line_and_killed() {
    let mark = mark("process");
    assert_eq!(leaks::processes(&mark), []);
    let mut child = Running::start(Command::new("sh").args(["-c", "echo up; read line", &mark]));
    // Before that it may still be the test itself, with its command line.
    child.wait_for("up");
    let found = leaks::processes(&mark);
    assert_eq!(found.iter().map(|process| process.pid.cast_unsigned()).collect::<Vec<_>>(), [child.pid()]);
    assert!(child.is_running());
    leaks::kill(&mark);
    assert!(leaks::lingering(&mark).is_empty());
    assert_eq!(child.finish().code, 128 + 9);
}

#[test]
fn processes_and_cgroups_are_found_by_name() {
    let mark = mark("cgroup");
    let top =
        if Path::new("/sys/fs/cgroup/pids").is_dir() { "/sys/fs/cgroup/pids" } else { "/sys/fs/cgroup" };
    let cgroup = Path::new(top).join(&mark).join("container");
    fs::create_dir_all(&cgroup).unwrap();
    let mut child = Running::start(Command::new("sleep").arg("1000"));
    fs::write(cgroup.join("cgroup.procs"), child.pid().to_string()).unwrap();
    assert_eq!(leaks::processes(&mark).len(), 1);
    assert_eq!(leaks::cgroups_below(&mark), [cgroup]);
    leaks::kill(&mark);
    assert!(!child.is_running() || child.finish().code == 128 + 9);
    leaks::remove_cgroups(&mark);
    assert_eq!(leaks::cgroups(&mark), [""; 0].map(std::path::PathBuf::from));
}

#[test]
fn mounts_and_links_are_found() {
    namespaces::enter();
    let before = Before::look();
    assert_eq!(before.added(), [""; 0]);
    let ip = |arguments: &str| {
        let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
        assert!(status.success(), "ip {arguments}");
    };
    ip("link add left0 type veth peer name left1");
    let dir = tempfile::Builder::new().prefix("hull-test-").tempdir().unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "left"]).arg(dir.path()).status().unwrap();
    assert!(mounted.success());
    let added = before.added();
    assert_eq!(added.len(), 3, "{added:?}");
    assert!(added[0].contains(dir.path().to_str().unwrap()), "{added:?}");
    assert_eq!(added[1..], ["link left1", "link left0"]);
    ip("link del left0");
    assert!(Command::new("umount").arg(dir.path()).status().unwrap().success());
    assert_eq!(before.added(), [""; 0]);
}
