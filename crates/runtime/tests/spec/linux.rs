//! config-linux.md: devices, kernel settings, masks, memory policy, network devices; and the names of config.md.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Bed, other_runtime, text};

crate::prints! {
    both_names_are_set lacks "runc": { "hostname": "h", "domainname": "d" }, "hostname; cat /proc/sys/kernel/domainname" => "h\nd\n";
    settings_are_set: { "linux": { "sysctl": { "net.ipv4.ip_forward": "1", "kernel.msgmax": "9999", "fs.mqueue.msg_max": "99" } } },
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax /proc/sys/fs/mqueue/msg_max" => "1\n9999\n99\n";
    devices_of_all_types: { "linux": { "devices": [
            { "path": "/dev/c", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 33, "gid": 44 },
            { "path": "/dev/u", "type": "u", "major": 10, "minor": 200 },
            { "path": "/dev/b", "type": "b", "major": 7, "minor": 0, "fileMode": 0o600 },
            { "path": "/dev/p", "type": "p", "fileMode": 0o622 },
        ] } },
        "cd /dev; stat -c '%n %F %t:%T %a %u:%g' c u b p" => "c character special file a:e5 640 33:44\n\
        u character special file a:c8 666 0:0\nb block special file 7:0 600 0:0\np fifo 0:0 622 0:0\n";
    masked_files_are_empty: { "linux": { "maskedPaths": ["/etc/passwd", "/etc", "/proc/uptime", "/no/such"] } },
        "ls -A /etc; cat /proc/uptime; ! touch /etc/x" => "";
    read_only_paths_are_read_only: { "root": { "readonly": false }, "linux": { "readonlyPaths": ["/etc", "/no/such"] } },
        "! touch /etc/x; touch /bin/x" => "";
    the_memory_policy_is_set lacks "runc" "crun": { "linux": { "memoryPolicy": { "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"] } } },
        "grep -m 1 -o ' bind.*:0 ' /proc/self/numa_maps" => " bind=static:0 \n";
    the_memory_policy_is_local lacks "runc" "crun": { "linux": { "memoryPolicy": { "mode": "MPOL_LOCAL" } } },
        "head -n 1 /proc/self/numa_maps | cut -d ' ' -f 2" => "local\n";
}

/// A pair of devices on the host's side, one of them with addresses. Not every kernel has such.
fn pair(names: [&str; 2]) -> bool {
    let add = ["link", "add", names[0], "type", "veth", "peer", "name", names[1]];
    let output = Command::new("ip").args(add).output().unwrap();
    if text(&output.stderr).contains("not supported") {
        return false;
    }
    assert!(output.status.success(), "{}", text(&output.stderr));
    ip(&["address", "add", "10.9.8.7/24", "dev", names[0]]);
    ip(&["address", "add", "fd00:9::7/64", "dev", names[0], "nodad"]);
    true
}

fn ip(args: &[&str]) {
    let output = Command::new("ip").args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
}

/// Moved, renamed, set up, and with the addresses they had.
#[test]
fn network_devices_move_in() {
    let mut bed = Bed::new();
    if other_runtime().is_some() || !pair(["net1", "peer1"]) || !pair(["net2", "peer2"]) {
        return;
    }
    ip(&["address", "flush", "dev", "net2"]);
    bed.config["linux"]["netDevices"] = json!({ "net1": { "name": "eth0" }, "net2": { "name": "many%d" } });
    let script = "ip -o link | awk -F': ' '{print $2}' | cut -d @ -f 1 | sort; \
        ip -o address show dev eth0 | awk '{print $4}' | grep -v ^fe80 | sort; ip link show eth0 | grep -c -w UP";
    assert_eq!(bed.shell(script), "eth0\nlo\nmany0\n10.9.8.7/24\nfd00:9::7/64\n1\n");
}

/// A container that never comes to be gives them back as they were.
#[test]
fn network_devices_move_back() {
    let mut bed = Bed::new();
    if other_runtime().is_some() || !pair(["net1", "peer1"]) {
        return;
    }
    bed.config["linux"]["netDevices"] = json!({ "net1": { "name": "eth0" } });
    bed.refusal(&["no-such-program"]);
    let output = Command::new("ip").args(["-o", "address", "show", "dev", "net1"]).output().unwrap();
    let said = text(&output.stdout);
    assert!(said.contains("10.9.8.7/24") && said.contains("fd00:9::7/64"), "{said}");
    let message = |bed: &mut Bed, devices: Value| {
        bed.config["linux"]["netDevices"] = devices;
        bed.refusal(&["true"])
    };
    let taken = message(&mut bed, json!({ "net1": { "name": "lo" } }));
    assert!(taken.contains("network devices: move network device net1"), "{taken}");
    let missing = message(&mut bed, json!({ "nowhere0": {} }));
    assert!(missing.contains("network devices: find network device nowhere0"), "{missing}");
    let namespaces = bed.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "network");
    let shared = message(&mut bed, json!({ "net1": {} }));
    assert!(shared.contains("network devices: there is no network namespace"), "{shared}");
    ip(&["link", "del", "net1"]);
}

crate::refuses! {
    a_name_without_a_namespace lacks "crun": { "linux": { "namespaces": [{ "type": "mount" }, { "type": "pid" }] } } => "hostname: ";
    a_setting_of_the_machine: { "linux": { "sysctl": { "kernel.panic": "1" } } } => "sysctl \"kernel.panic\" is not in a separate kernel namespace";
    a_setting_that_is_not_there: { "linux": { "sysctl": { "net.no.such": "1" } } } => "sysctl: open sys/net/no/such: no such file";
    a_device_without_a_type_known lacks "crun": { "linux": { "devices": [{ "path": "/dev/x", "type": "x" }] } } => "unknown variant";
    a_policy_without_nodes lacks "runc" "crun": { "linux": { "memoryPolicy": { "mode": "MPOL_BIND", "nodes": "" } } } => "memory policy: set_mempolicy: invalid argument";
    a_policy_of_nodes_that_are_not_there lacks "runc" "crun": { "linux": { "memoryPolicy": { "mode": "MPOL_BIND", "nodes": "900" } } } => "memory policy: set_mempolicy";
    /// Few machines have it, and its owner mounts it.
    a_share_of_caches lacks "runc" "crun": { "linux": { "intelRdt": { "l3CacheSchema": "L3:0=ff" } } } => "intelRdt: use linux.intelRdt: resctrl is not mounted";
    a_propagation_that_nobody_knows lacks "crun": { "linux": { "rootfsPropagation": "sideways" } } => "rootfs: the propagation \"sideways\"";
}
