//! config-linux.md, "Namespaces", "User namespace mappings", "Offset for Time Namespace".

use std::os::unix::fs::chown;
use std::process::{Child, Command, Stdio};

use hull_sys::clone::{Namespace, unshare};
use serde_json::{Value, json};

use crate::support::{Bed, kernel_has, other_runtime, runtime_is};

/// A process in namespaces of its own, for as long as this lives.
struct Other(Child);

impl Other {
    /// One with these namespaces: a thread makes them, and hands them on to its child.
    fn new(kinds: &'static [Namespace]) -> Self {
        let made = std::thread::spawn(move || {
            kinds.iter().for_each(|kind| unshare(*kind).unwrap());
            Command::new("sleep").arg("1000").spawn().unwrap()
        });
        Self(made.join().unwrap())
    }

    /// One in a user namespace with these others, which it owns. A process with threads may not make that.
    fn mapped() -> Self {
        let mut unshare = Command::new("unshare");
        unshare.args(["-U", "-n", "-u", "-i", "--", "sh", "-c", "echo ready; exec sleep 1000"]);
        let mut child = unshare.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = [0; 6];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        for map in ["uid_map", "gid_map"] {
            std::fs::write(format!("/proc/{}/{map}", child.id()), "0 100000 65536").unwrap();
        }
        Self(child)
    }

    fn path(&self, kind: &str) -> String {
        format!("/proc/{}/ns/{kind}", self.0.id())
    }

    fn name(&self, kind: &str) -> String {
        std::fs::read_link(self.path(kind)).unwrap().to_string_lossy().into_owned()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const UTS: Namespace = Namespace::HostNameAndNISDomainName;
const IPC: Namespace = Namespace::InterProcessCommunication;

/// The kinds by the name of the specification and by that of /proc.
const KINDS: [(&str, &str); 8] = [
    ("pid", "pid"),
    ("network", "net"),
    ("mount", "mnt"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("user", "user"),
    ("cgroup", "cgroup"),
    ("time", "time"),
];

/// Makes the container join a namespace instead of having one of its own.
fn join(bed: &mut Bed, kind: &str, path: &str) {
    let all = bed.config["linux"]["namespaces"].as_array_mut().unwrap();
    all.retain(|namespace| namespace["type"] != kind);
    all.push(json!({ "type": kind, "path": path }));
}

fn read_link(kind: &str) -> String {
    format!("readlink /proc/self/ns/{kind}")
}

#[test]
fn each_kind_is_joined_by_its_path() {
    let mut kinds: &'static [_] = &[Namespace::Network, IPC, UTS, Namespace::ControlGroup, Namespace::Time];
    // Before, a process with threads could not have children in another time namespace.
    if !kernel_has((6, 3)) {
        kinds = &kinds[..4];
    }
    let other = Other::new(kinds);
    for (kind, name) in
        [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("cgroup", "cgroup"), ("time", "time")]
    {
        if kind == "time" && runtime_is(&["runc", "crun"]) {
            continue;
        }
        let mut bed = Bed::new();
        join(&mut bed, kind, &other.path(name));
        bed.config.as_object_mut().unwrap().remove("hostname");
        assert_eq!(bed.shell(&read_link(name)), other.name(name) + "\n", "{kind}");
    }
}

#[test]
fn a_pid_namespace_is_joined() {
    let other = Other::new(&[Namespace::ProcessID]);
    let mut bed = Bed::new();
    join(&mut bed, "pid", &other.path("pid"));
    let said = bed.shell("readlink /proc/self/ns/pid; cat /proc/1/comm");
    assert_eq!(said, format!("{}\nsleep\n", other.name("pid")));
}

/// The one whose mounts are those of the container, too.
#[test]
fn a_mount_namespace_is_joined() {
    // crun 1.8 cannot change its root there.
    if runtime_is(&["crun"]) {
        return;
    }
    let other = Other::new(&[Namespace::Mount]);
    let mut bed = Bed::new();
    join(&mut bed, "mount", &other.path("mnt"));
    assert_eq!(bed.shell("readlink /proc/self/ns/mnt; ls -d /bin"), format!("{}\n/bin\n", other.name("mnt")));
}

/// What is made beside a user namespace that is joined belongs to it.
#[test]
fn a_user_namespace_is_joined_with_what_it_owns() {
    // runc 1.1 wants mappings for it all the same.
    if runtime_is(&["runc"]) {
        return;
    }
    let other = Other::mapped();
    let mut bed = userns_bed();
    bed.config["linux"]["uidMappings"] = Value::Null;
    bed.config["linux"]["gidMappings"] = Value::Null;
    join(&mut bed, "user", &other.path("user"));
    for set in ["bounding", "effective", "permitted"] {
        bed.config["process"]["capabilities"][set] = json!(["CAP_SYS_ADMIN", "CAP_NET_ADMIN"]);
    }
    let map = "awk '{print $1, $2, $3}' /proc/self/uid_map";
    // It may name its own uts namespace, so that is its own.
    let said = bed.shell(&format!("{}; {map}; id -u; hostname there; hostname", read_link("user")));
    assert_eq!(said, format!("{}\n0 100000 65536\n0\nthere\n", other.name("user")));
    // With another of the same owner, which the host's root alone could not give to it.
    for (kind, name) in [("network", "net"), ("uts", "uts"), ("ipc", "ipc")] {
        join(&mut bed, kind, &other.path(name));
    }
    bed.config.as_object_mut().unwrap().remove("hostname");
    let said = bed
        .shell("for n in user net uts ipc; do readlink /proc/self/ns/$n; done; ip link set lo up && echo up");
    let names: String = ["user", "net", "uts", "ipc"].map(|name| other.name(name) + "\n").concat();
    assert_eq!(said, names + "up\n");
}

/// A container of a pod: a new user namespace, and a network that the host owns.
#[test]
fn a_new_user_namespace_joins_what_the_host_owns() {
    let other = Other::new(&[Namespace::Network, UTS, IPC]);
    let mut bed = userns_bed();
    for (kind, name) in [("network", "net"), ("uts", "uts"), ("ipc", "ipc")] {
        join(&mut bed, kind, &other.path(name));
    }
    bed.config.as_object_mut().unwrap().remove("hostname");
    // Only who owns the network may see it in a new sysfs, and only who owns the queues may mount them.
    bed.config["mounts"].as_array_mut().unwrap().retain(|mount| {
        let at = mount["destination"].as_str().unwrap();
        !at.starts_with("/sys") && at != "/dev/mqueue"
    });
    bed.config["linux"]["maskedPaths"] = json!([]);
    bed.config["linux"]["readonlyPaths"] = json!([]);
    let said = bed.shell("for n in net uts ipc; do readlink /proc/self/ns/$n; done; id -u");
    let names: String = ["net", "uts", "ipc"].map(|name| other.name(name) + "\n").concat();
    assert_eq!(said, names + "0\n");
}

#[test]
fn what_is_no_namespace_of_that_kind_is_refused() {
    let other = Other::new(&[UTS, IPC]);
    for (kind, name) in KINDS {
        if other_runtime().is_some() {
            break;
        }
        let wrong = if name == "uts" { "ipc" } else { "uts" };
        for (path, reason) in [
            (other.path(wrong), "invalid argument"),
            ("/etc/passwd".to_owned(), "inappropriate ioctl"),
            ("/no/such".to_owned(), "/no/such: no such file"),
        ] {
            let mut bed = Bed::new();
            join(&mut bed, kind, &path);
            let said = bed.refusal(&["true"]);
            assert!(
                said.contains(reason) && said.starts_with("hull-runtime: namespaces: "),
                "{kind} {path}: {said}"
            );
        }
    }
}

/// A bed with a user namespace of its own whose root is nobody on the host.
pub(crate) fn userns_bed() -> Bed {
    let mut bed = Bed::new();
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    bed.config["linux"]["uidMappings"] = map.clone();
    bed.config["linux"]["gidMappings"] = map;
    bed.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
    chown(bed.rootfs(), Some(100_000), Some(100_000)).unwrap();
    bed
}

#[test]
fn a_user_namespace_has_maps_and_owns_its_network() {
    let mut bed = userns_bed();
    let script = "id -u; id -g; awk '{print $1, $2, $3}' /proc/self/uid_map /proc/self/gid_map; ip link set lo up && echo up; \
        cat /proc/self/setgroups; echo x > /dev/null; stat -c %t:%T /dev/null; stat -c %u /bin/busybox; ls /sys/class/net";
    let expected = "0\n0\n0 100000 65536\n0 100000 65536\nup\nallow\n1:3\n65534\nlo\n";
    bed.config["process"]["capabilities"]["bounding"] = json!(["CAP_NET_ADMIN"]);
    bed.config["process"]["capabilities"]["effective"] = json!(["CAP_NET_ADMIN"]);
    bed.config["process"]["capabilities"]["permitted"] = json!(["CAP_NET_ADMIN"]);
    assert_eq!(bed.shell(script), expected);
    bed.config["process"]["user"] = json!({ "uid": 33, "gid": 44, "additionalGids": [29] });
    assert_eq!(bed.shell("id -u; id -G"), "33\n44 29\n");
}

/// Neither the root nor what is mounted from the host can be reached by the container's root, but the runtime can.
#[test]
fn the_hosts_files_need_not_be_open_to_the_mapped_root() {
    let mut bed = userns_bed();
    let closed = bed.dir.join("closed");
    std::fs::create_dir_all(closed.join("data")).unwrap();
    std::fs::write(closed.join("data/file"), "content\n").unwrap();
    std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::rename(bed.rootfs(), closed.join("rootfs")).unwrap();
    bed.config["root"]["path"] = json!("closed/rootfs");
    bed.mount(
        json!({ "source": closed.join("data"), "destination": "/dev/shm/data", "options": ["rbind", "ro"] }),
    );
    bed.mount(
        json!({ "source": closed.join("data/file"), "destination": "/dev/shm/file", "options": ["bind"] }),
    );
    // runc 1.1 finds neither.
    if !runtime_is(&["runc", "crun"]) {
        assert_eq!(bed.shell("cat /dev/shm/data/file /dev/shm/file"), "content\ncontent\n");
    }
}

/// A runtime that is root in a user namespace alone: no node can be made there, so the host's are lent.
#[test]
fn devices_are_lent_where_none_can_be_made() {
    let mut bed = Bed::new();
    bed.config["linux"].as_object_mut().unwrap().remove("resources");
    bed.config["linux"]["devices"] = json!([{ "path": "/dev/pipe", "type": "p", "fileMode": 0o600 }]);
    for mount in bed.config["mounts"].as_array_mut().unwrap() {
        if mount["destination"] == "/dev/pts" {
            // Nobody maps that group.
            mount["options"].as_array_mut().unwrap().retain(|option| option != "gid=5");
        }
    }
    let script = "echo x > /dev/null; stat -c '%F %t:%T' /dev/null /dev/tty /dev/pipe; id -u";
    bed.config["process"]["args"] = json!(["sh", "-c", script]);
    bed.write_config();
    let run = bed.runtime(&["run", "c"]);
    let mut unshare = Command::new("unshare");
    unshare.args(["-U", "--map-root-user", "-m", "--"]).arg(run.get_program()).args(run.get_args());
    let output = unshare.current_dir(&bed.dir).stdin(Stdio::null()).output().unwrap();
    // runc 1.1 and crun 1.8 want more of the cgroups than that root may have.
    if other_runtime().is_none() {
        let expected = "character special file 1:3\ncharacter special file 5:0\nfifo 0:0\n0\n";
        assert_eq!(
            crate::support::text(&output.stdout),
            expected,
            "{}",
            crate::support::text(&output.stderr)
        );
    }
}

#[test]
fn an_exec_joins_them_all() {
    let mut bed = userns_bed();
    if !runtime_is(&["runc", "crun"]) {
        bed.merge(&json!({ "linux": { "namespaces+": [{ "type": "time" }] } }));
    }
    bed.config["process"]["args"] = json!(["sleep", "1000"]);
    bed.write_config();
    bed.leave(&["run", "--detach", "one"]);
    let both = "for n in /proc/1/ns/* /proc/self/ns/*; do readlink $n; done; id -u";
    let said = bed.ok(&["exec", "one", "sh", "-c", both]);
    let mut lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.pop(), Some("0"));
    let (first, second) = lines.split_at(lines.len() / 2);
    assert_eq!(first, second);
    bed.ok(&["delete", "--force", "one"]);
}

#[test]
fn the_clocks_are_offset() {
    if runtime_is(&["runc", "crun"]) {
        return;
    }
    let mut bed = Bed::new();
    bed.merge(&json!({ "linux": {
        "namespaces+": [{ "type": "time" }],
        "timeOffsets": { "monotonic": { "secs": 86400 }, "boottime": { "secs": 604_800, "nanosecs": 5 } },
    } }));
    let uptime = |text: &str| text.split('.').next().unwrap().parse::<u64>().unwrap();
    let inside = bed.shell("cat /proc/uptime; cat /proc/self/timens_offsets");
    let outside = uptime(&std::fs::read_to_string("/proc/uptime").unwrap());
    assert!(uptime(&inside).abs_diff(outside + 604_800) < 60, "{inside} {outside}");
    let offsets: Vec<Vec<&str>> =
        inside.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(offsets, [vec!["monotonic", "86400", "0"], vec!["boottime", "604800", "5"]]);
}

crate::refuses! {
    a_kind_that_is_named_twice lacks "crun": { "linux": { "namespaces+": [{ "type": "pid" }] } } => "namespaces: pid is named twice";
    a_user_namespace_without_maps: { "linux": { "namespaces+": [{ "type": "user" }] } } => "needs uidMappings and gidMappings";
    maps_without_a_user_namespace lacks "runc" "crun": { "linux": { "uidMappings": [{ "containerID": 0, "hostID": 0, "size": 1 }] } } => "there is none";
    offsets_without_a_time_namespace lacks "runc" "crun": { "linux": { "timeOffsets": { "boottime": { "secs": 1 } } } } => "there is none";
    an_unknown_kind: { "linux": { "namespaces+": [{ "type": "dream" }] } } => "dream";
}
