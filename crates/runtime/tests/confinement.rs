//! What a container cannot see, reach or keep: among them the ways out that other runtimes have had.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;
use support::{Bed, text};

#[test]
fn proc_and_sys_are_masked_and_read_only() {
    let mut bed = Bed::new();
    assert_eq!(bed.shell("cat /proc/keys /proc/timer_list | wc -c; ls /sys/firmware | wc -l"), "0\n0\n");
    bed.shell("test -c /proc/kcore || ! test -e /proc/kcore");
    bed.shell("! echo 1 > /proc/sys/vm/swappiness; ! echo h > /proc/sysrq-trigger; ! touch /sys/x");
    bed.shell("! touch /sys/fs/cgroup/x");
}

#[test]
fn the_root_is_read_only_when_asked() {
    let mut bed = Bed::new();
    bed.shell("! touch /x && touch /dev/shm/x");
    bed.config["root"]["readonly"] = json!(false);
    bed.shell("touch /x");
    assert!(bed.rootfs().join("x").exists());
}

#[test]
fn capabilities_are_those_of_the_spec() {
    let mut bed = Bed::new();
    let sets = "grep Cap /proc/self/status";
    // AUDIT_WRITE, KILL, NET_BIND_SERVICE.
    let three = "0000000020000420";
    let none = "0000000000000000";
    let lines = |inh, prm, eff, bnd, amb| {
        format!("CapInh:\t{inh}\nCapPrm:\t{prm}\nCapEff:\t{eff}\nCapBnd:\t{bnd}\nCapAmb:\t{amb}\n")
    };
    assert_eq!(bed.shell(sets), lines(none, three, three, three, none));
    // Another user has none of them, unless they are ambient.
    bed.config["process"]["user"] = json!({ "uid": 33, "gid": 44 });
    assert_eq!(bed.shell(sets), lines(none, none, none, three, none));
    let kill = json!(["CAP_KILL"]);
    for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
        bed.config["process"]["capabilities"][set] = kill.clone();
    }
    let one = "0000000000000020";
    assert_eq!(bed.shell(sets), lines(one, one, one, one, one));
    bed.config["process"]["capabilities"] = json!(null);
    bed.config["process"]["user"] = json!({ "uid": 0, "gid": 0 });
    assert_eq!(bed.shell(sets), lines(none, none, none, none, none));
}

#[test]
fn the_user_is_that_of_the_spec() {
    let mut bed = Bed::new();
    bed.config["process"]["user"] = json!({ "uid": 33, "gid": 44, "additionalGids": [29], "umask": 63 });
    assert_eq!(
        bed.shell("id; umask; echo $HOME"),
        "uid=33(web) gid=44(www) groups=29(audio)\n0077\n/var/www\n"
    );
}

#[test]
fn no_new_privileges_and_filters_hold() {
    let mut bed = Bed::new();
    let status = "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status";
    assert_eq!(bed.shell(status), "NoNewPrivs:\t1\nSeccomp:\t0\n");
    bed.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 }],
    });
    for no_new_privileges in [true, false] {
        bed.config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        let expected = format!("NoNewPrivs:\t{}\nSeccomp:\t2\n", u8::from(no_new_privileges));
        assert_eq!(bed.shell(&format!("{status}; ! mkdir /dev/shm/x 2> /dev/null")), expected);
    }
}

#[test]
fn devices_are_the_standard_ones() {
    let mut bed = Bed::new();
    let stat = "cd /dev; stat -c '%n %F %t:%T %a' null zero full random urandom tty; for l in fd stdin ptmx; do readlink $l; done";
    let nodes = "null character special file 1:3 666\nzero character special file 1:5 666\n\
        full character special file 1:7 666\nrandom character special file 1:8 666\n\
        urandom character special file 1:9 666\ntty character special file 5:0 666\n\
        /proc/self/fd\n/proc/self/fd/0\npts/ptmx\n";
    assert_eq!(bed.shell(stat), nodes);
    bed.config["linux"]["devices"] = json!([{ "path": "/dev/deep/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 33, "gid": 44 }]);
    assert_eq!(bed.shell("stat -c '%t:%T %a %u:%g' /dev/deep/fuse"), "a:e5 640 33:44\n");
    // The cgroup lets it be made, not be opened.
    bed.shell("! cat /dev/deep/fuse");
}

#[test]
fn bind_mounts_follow_links_inside_only() {
    let mut bed = Bed::new();
    let shared = bed.dir.join("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("file"), "content").unwrap();
    // Outside of the container this link would be the host's /tmp.
    symlink("/tmp/../..", bed.rootfs().join("link")).unwrap();
    // As in many images: the target does not exist.
    symlink("../run/resolve/stub.conf", bed.rootfs().join("etc/resolv.conf")).unwrap();
    let bind = |source: &std::path::Path, target: &str, options: &[&str]| {
        let options: Vec<&str> = ["rbind"].iter().chain(options).copied().collect();
        json!({ "source": source, "destination": target, "options": options })
    };
    bed.mount(bind(&shared, "/link/deep/er", &["ro"]));
    bed.mount(bind(&shared.join("file"), "/etc/resolv.conf", &["rw", "rprivate"]));
    let script =
        "cat /deep/er/file /run/resolve/stub.conf; ! touch /deep/er/x; echo more >> /etc/resolv.conf";
    assert_eq!(bed.shell(script), "contentcontent");
    assert_eq!(fs::read_to_string(shared.join("file")).unwrap(), "contentmore\n");
    assert!(!std::path::Path::new("/deep").exists(), "the link was followed on the host");
}

#[test]
fn parts_of_proc_cannot_be_covered() {
    let mut bed = Bed::new();
    let file = bed.dir.join("file");
    fs::write(&file, "emulated\n").unwrap();
    let bind = |target: &str| json!({ "source": file, "destination": target, "options": ["bind"] });
    bed.mount(bind("/proc/uptime"));
    assert_eq!(bed.shell("cat /proc/uptime"), "emulated\n");
    bed.mount(bind("/proc/sys/kernel/core_pattern"));
    assert!(bed.refusal(&["true"]).contains("proc"));
}

#[test]
fn nothing_of_ours_is_open_inside() {
    let mut bed = Bed::new();
    assert_eq!(bed.shell("ls /proc/$$/fd; true"), "0\n1\n2\n");
    let signals = bed.run(&["grep", "-E", "Sig(Blk|Ign):", "/proc/self/status"]);
    assert_eq!(text(&signals.stdout), "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

#[test]
fn limits_are_set() {
    let mut bed = Bed::new();
    bed.config["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "hard": 77, "soft": 66 }]);
    bed.config["process"]["oomScoreAdj"] = json!(321);
    bed.config["linux"]["resources"]["pids"] = json!({ "limit": 7 });
    assert_eq!(bed.shell("ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj"), "66\n77\n321\n");
    let pids = bed.shell("cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max");
    assert_eq!(pids, "7\n");
}

#[test]
fn a_user_namespace_maps_its_root() {
    let mut bed = Bed::new();
    std::os::unix::fs::chown(bed.rootfs(), Some(100_000), Some(100_000)).unwrap();
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    bed.config["linux"]["uidMappings"] = map.clone();
    bed.config["linux"]["gidMappings"] = map;
    bed.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
    for mount in bed.config["mounts"].as_array_mut().unwrap() {
        if mount["destination"] == "/dev/pts" {
            mount["options"] = json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]);
        }
    }
    let inside = bed.shell("id -u; cat /proc/self/uid_map; echo x > /dev/null; stat -c %u /bin/busybox");
    let words: Vec<&str> = inside.split_whitespace().collect();
    assert_eq!(words, ["0", "0", "100000", "65536", "65534"]);
}
