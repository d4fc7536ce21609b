//! Networks of ipvlan and of VLANs. Kernels without such links exist: there it is said, and in the machine of
//! `cargo xtask test --vm` the kernel has them.

use std::process::{Command, Stdio};

use hull_testkit::Daemon;
use hull_testkit::output::{PATIENCE, eventually};

/// Whether the kernel makes such a link on the default bridge.
fn has(kind: &str) -> bool {
    let words: &[&str] = if kind == "vlan" { &["id", "7"] } else { &[] };
    let add = ["link", "add", "link", "hull0", "name", "probe0", "type", kind];
    let made = Command::new("ip").args(add).args(words).stderr(Stdio::null()).status();
    let made = made.expect("iproute2").success();
    let _ = Command::new("ip").args(["link", "del", "probe0"]).stderr(Stdio::null()).status();
    made
}

fn has_link(name: &str) -> bool {
    Command::new("ip").args(["link", "show", name]).output().expect("iproute2").status.success()
}

#[test]
fn ipvlan_has_three_modes() {
    let mut daemon = Daemon::with_busybox();
    let there = has("ipvlan");
    // It gives the bridge a carrier, without which nothing passes.
    daemon.hull(["run", "-d", "--name", "carrier", "busybox", "sleep", "1000"]).ok();
    for mode in ["l2", "l3", "l3s"] {
        let option = format!("ipvlan_mode={mode}");
        let create = ["network", "create", "-d", "ipvlan", "-o", &option, "-o", "parent=hull0"];
        daemon.hull([&create[..], &["--subnet", "10.66.0.0/24", "lan"]].concat()).ok();
        daemon
            .hull([&create[..], &["more"]].concat())
            .complains("is already using parent interface hull0")
            .fails(1);
        let run = ["run", "-d", "--name", "one", "--network", "lan", "busybox", "sleep", "1000"];
        if !there {
            daemon
                .hull(run)
                .complains("failed to create the ipvlan port")
                .complains("the kernel has no ipvlan");
        } else {
            daemon.hull(run).ok();
            let routes = daemon.hull(["exec", "one", "ip", "route"]).ok().to_owned();
            assert_eq!(routes.contains("default dev eth0"), mode != "l2", "{mode}: {routes}");
            assert!(!routes.contains("default via"), "{mode}: {routes}");
            let ping = ["run", "--rm", "--network", "lan", "busybox", "ping", "-c", "1", "-w", "5", "one"];
            daemon.hull(ping).says("1 packets received");
            let mac =
                ["run", "--rm", "--network", "lan", "--mac-address", "02:00:00:00:00:01", "busybox", "true"];
            daemon.hull(mac).complains("custom mac address").fails(125);
            daemon.kill9();
            daemon.restart();
            daemon.hull(ping).says("1 packets received");
        }
        daemon.hull(["rm", "-f", "one"]).ok();
        daemon.hull(["network", "rm", "lan"]).ok();
    }
    daemon.hull(["rm", "-f", "carrier"]).ok();
}

#[test]
fn sub_interfaces_come_and_go_with_networks() {
    let daemon = Daemon::with_busybox();
    let create =
        |name: &str| daemon.hull(["network", "create", "-d", "macvlan", "-o", "parent=hull0.40", name]);
    if !has("vlan") {
        create("first").complains("failed to create hull0.40 vlan link").fails(1);
        return;
    }
    create("first").ok();
    create("second").ok();
    daemon.hull(["run", "-d", "--name", "one", "--network", "first", "busybox", "sleep", "1000"]).ok();
    daemon.hull(["rm", "-f", "one"]).ok();
    assert!(has_link("hull0.40"));
    daemon.hull(["network", "rm", "first"]).ok();
    assert!(has_link("hull0.40"), "another network is on it");
    daemon.hull(["network", "rm", "second"]).ok();
    create("third").ok();
    assert!(has_link("hull0.40"), "made anew after the removal under way");
    daemon.hull(["network", "rm", "third"]).ok();
    assert!(eventually(PATIENCE, || !has_link("hull0.40")));
    assert!(has_link("hull0"), "what it was on stays");
}
