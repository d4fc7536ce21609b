//! The ways out of a container that other runtimes have had, one test each: it fails where the way is open.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;
use support::{Bed, text};

/// How often a race is run, and at how many places each time. runc 1.1.5 loses that of CVE-2024-45310 within these.
const ROUNDS: usize = 20;
const PLACES: usize = 60;

/// Exchanges two names again and again until it is dropped.
struct Exchange(Arc<AtomicBool>, Option<JoinHandle<()>>);

impl Exchange {
    fn of(one: PathBuf, other: PathBuf) -> Self {
        let go = Arc::new(AtomicBool::new(true));
        let run = Arc::clone(&go);
        let thread = std::thread::spawn(move || {
            while run.load(Ordering::Relaxed) {
                renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
            }
        });
        Self(go, Some(thread))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
        self.1.take().map(JoinHandle::join);
    }
}

/// A directory outside of the container that must stay empty.
fn outside(bed: &Bed) -> PathBuf {
    let outside = bed.dir.join("outside");
    fs::create_dir(&outside).unwrap();
    outside
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().next().is_none()
}

/// CVE-2019-5736: the runtime's own program, by way of the process that is about to become the container's. That it is
/// busy now would not help: it is not any more when that process has gone on.
#[test]
fn cve_2019_5736_the_program_of_the_runtime_cannot_be_written_to() {
    let mut bed = Bed::new();
    bed.config["process"]["args"] = json!(["true"]);
    bed.write_config();
    bed.leave(&["create", "--pid-file", "pid", "one"]);
    let pid = fs::read_to_string(bed.dir.join("pid")).unwrap();
    let mount = rustix::fs::statvfs(format!("/proc/{pid}/exe")).unwrap();
    assert!(mount.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    bed.ok(&["delete", "one"]);
}

/// CVE-2019-16884: an image with a volume at /proc. What is written there for the container must not land in it.
#[test]
fn cve_2019_16884_a_false_proc_is_not_written_to() {
    let mut bed = Bed::new();
    let fake = bed.dir.join("proc");
    fs::create_dir_all(fake.join("sys/net/ipv4")).unwrap();
    fs::write(fake.join("sys/net/ipv4/ip_forward"), "false").unwrap();
    for mount in bed.config["mounts"].as_array_mut().unwrap() {
        if mount["destination"] == "/proc" {
            *mount = json!({ "destination": "/proc", "source": fake, "options": ["rbind"] });
        }
    }
    bed.config["linux"]["maskedPaths"] = json!([]);
    bed.config["linux"]["readonlyPaths"] = json!([]);
    bed.config["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1" });
    bed.shell("true");
    assert_eq!(fs::read_to_string(fake.join("sys/net/ipv4/ip_forward")).unwrap(), "false");
}

/// CVE-2019-19921: a volume over the container's procfs.
#[test]
fn cve_2019_19921_nothing_lies_over_proc() {
    for target in ["/proc", "/proc/self", "/proc/sys/net", "/proc/../proc/self/attr"] {
        let mut bed = Bed::new();
        bed.mount(json!({ "destination": target, "type": "tmpfs", "source": "tmpfs" }));
        let message = bed.refusal(&["true"]);
        assert!(message.contains("mount inside of proc"), "{target}: {message}");
    }
}

/// CVE-2021-30465: the place of a mount, exchanged for a link that leads out.
#[test]
fn cve_2021_30465_an_exchanged_mount_target_leads_nowhere() {
    let mut bed = Bed::new();
    let outside = outside(&bed);
    bed.config["root"]["readonly"] = json!(false);
    fs::create_dir(bed.rootfs().join("place")).unwrap();
    symlink(&outside, bed.rootfs().join("link")).unwrap();
    for number in 0..PLACES {
        let place = format!("/place/{number}/below/deep");
        bed.mount(json!({ "destination": place, "type": "tmpfs", "source": "tmpfs" }));
    }
    let exchange = Exchange::of(bed.rootfs().join("place"), bed.rootfs().join("link"));
    for _ in 0..ROUNDS {
        bed.run(&["true"]);
        assert!(is_empty(&outside), "made on the host");
    }
    drop(exchange);
}

/// CVE-2021-43784: a field that is longer than its length can say.
#[test]
fn cve_2021_43784_long_fields_change_nothing_else() {
    let mut bed = Bed::new();
    let long = "x".repeat(100_000);
    bed.config["annotations"] = json!({ "long": long });
    bed.config["process"]["env"] = json!([format!("LONG={long}"), "PATH=/bin"]);
    let groups: Vec<u32> = (1..=20_000).collect();
    bed.config["process"]["user"] = json!({ "uid": 0, "gid": 0, "additionalGids": groups });
    let inside = bed.shell("for n in pid net mnt ipc uts; do readlink /proc/self/ns/$n; done");
    for line in inside.lines() {
        let outside =
            fs::read_link(format!("/proc/thread-self/ns/{}", line.split(':').next().unwrap())).unwrap();
        assert_ne!(outside.to_str().unwrap(), line);
    }
}

/// CVE-2022-29162: capabilities of an additional process that outlive a change of user.
#[test]
fn cve_2022_29162_an_exec_has_no_inheritable_capabilities() {
    let mut bed = Bed::new();
    bed.config["process"]["args"] = json!(["sleep", "1000"]);
    bed.write_config();
    bed.leave(&["run", "--detach", "one"]);
    let said =
        bed.ok(&["exec", "--cap", "CAP_CHOWN", "one", "grep", "-E", "CapInh|CapAmb", "/proc/self/status"]);
    assert_eq!(said, "CapInh:\t0000000000000000\nCapAmb:\t0000000000000000\n");
    bed.ok(&["delete", "--force", "one"]);
}

/// CVE-2025-27612: an additional process with more than its container has.
#[test]
fn cve_2025_27612_an_exec_has_the_capabilities_of_its_container() {
    let mut bed = Bed::new();
    bed.config["process"]["args"] = json!(["sleep", "1000"]);
    bed.write_config();
    bed.leave(&["run", "--detach", "one"]);
    let said = bed.ok(&["exec", "one", "grep", "Cap", "/proc/1/status", "/proc/self/status"]);
    let sets: Vec<&str> = said.lines().filter_map(|line| line.split_once(':')).map(|(_, set)| set).collect();
    assert_eq!(sets[..5], sets[5..]);
    bed.ok(&["delete", "--force", "one"]);
}

/// CVE-2023-25809: without a cgroup namespace the cgroups beside and above the container's are shown, and can be written.
#[test]
fn cve_2023_25809_only_the_own_cgroup_is_shown() {
    let mut bed = Bed::new();
    let all = bed.config["linux"]["namespaces"].as_array_mut().unwrap();
    all.retain(|namespace| namespace["type"] != "cgroup");
    let name = bed.cgroup();
    let name = name.trim_start_matches('/');
    bed.shell(&format!("! ls -d /sys/fs/cgroup/{name} /sys/fs/cgroup/*/{name} 2> /dev/null"));
    bed.shell(
        "cd /sys/fs/cgroup; for d in . *; do test -d $d && mkdir $d/x 2> /dev/null && echo $d; done; true",
    );
}

/// CVE-2024-21626: a working directory by way of a descriptor that leads out.
#[test]
fn cve_2024_21626_the_working_directory_stays_inside() {
    let mut bed = Bed::new();
    bed.config["root"]["readonly"] = json!(false);
    for descriptor in 3..12 {
        bed.config["process"]["cwd"] = json!(format!("/proc/self/fd/{descriptor}/../../.."));
        let message = bed.refusal(&["true"]);
        assert!(message.contains("cwd: "), "{message}");
    }
    symlink("/../../../..", bed.rootfs().join("up")).unwrap();
    bed.config["process"]["cwd"] = json!("/up/made");
    assert_eq!(bed.shell("pwd"), "/made\n");
    assert!(bed.rootfs().join("made").is_dir());
}

/// CVE-2024-21626, by an additional process: whatever the runtime has open outside.
#[test]
fn cve_2024_21626_the_directory_of_an_exec_stays_inside() {
    let mut bed = Bed::new();
    bed.config["process"]["args"] = json!(["sleep", "1000"]);
    bed.write_config();
    bed.leave(&["run", "--detach", "one"]);
    for descriptor in 3..16 {
        let cwd = format!("/proc/self/fd/{descriptor}");
        let output = bed.runtime(&["exec", "--cwd", &cwd, "one", "pwd"]).output().unwrap();
        assert!(!output.status.success(), "{cwd}: {}", text(&output.stdout));
    }
    let said = bed.ok(&[
        "exec",
        "one",
        "sh",
        "-c",
        "for n in 3 4 5 6 7 8 9; do test -e /proc/$$/fd/$n && echo $n; done; true",
    ]);
    assert_eq!(said, "", "descriptors of ours are open inside");
    bed.ok(&["delete", "--force", "one"]);
}

/// CVE-2024-45310: two containers with one volume. One exchanges a directory in it while the other mounts below.
#[test]
fn cve_2024_45310_a_shared_volume_leads_nowhere() {
    let mut bed = Bed::new();
    let outside = outside(&bed);
    let volume = bed.dir.join("volume");
    fs::create_dir_all(volume.join("place")).unwrap();
    symlink(&outside, volume.join("link")).unwrap();
    fs::write(bed.dir.join("file"), "").unwrap();
    bed.config["root"]["readonly"] = json!(false);
    bed.mount(json!({ "destination": "/volume", "source": volume, "options": ["rbind"] }));
    for number in 0..PLACES {
        let place = format!("/volume/place/{number}/below/deep/file");
        bed.mount(json!({ "destination": place, "source": bed.dir.join("file"), "options": ["bind"] }));
    }
    let exchange = Exchange::of(volume.join("place"), volume.join("link"));
    for _ in 0..ROUNDS {
        bed.run(&["true"]);
        assert!(is_empty(&outside), "made on the host");
    }
    drop(exchange);
}

/// CVE-2025-31133: what covers a masked file must be the null device.
#[test]
fn cve_2025_31133_a_false_null_device_covers_nothing() {
    let mut bed = Bed::new();
    let dev = bed.dir.join("dev");
    fs::create_dir(&dev).unwrap();
    symlink("/proc/sys/kernel/core_pattern", dev.join("null")).unwrap();
    for mount in bed.config["mounts"].as_array_mut().unwrap() {
        if mount["destination"] == "/dev" {
            *mount = json!({ "destination": "/dev", "source": dev, "options": ["rbind"] });
        }
    }
    bed.config["mounts"]
        .as_array_mut()
        .unwrap()
        .retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev/"));
    let message = bed.refusal(&["true"]);
    assert!(message.contains("mask") && message.contains("/dev/null"), "{message}");
}

/// CVE-2025-52565: what is bound over /dev/console must be our terminal, and /dev/console must be what it is bound to.
#[test]
fn cve_2025_52565_the_console_is_bound_to_itself() {
    let mut bed = Bed::new();
    let dev = bed.dir.join("dev");
    fs::create_dir_all(dev.join("pts")).unwrap();
    symlink("/proc/sys/kernel/core_pattern", dev.join("console")).unwrap();
    bed.config["mounts"].as_array_mut().unwrap().retain(|mount| {
        let at = mount["destination"].as_str().unwrap();
        !at.starts_with("/dev") || at == "/dev/pts"
    });
    bed.config["mounts"]
        .as_array_mut()
        .unwrap()
        .insert(1, json!({ "destination": "/dev", "source": dev, "options": ["rbind"] }));
    bed.config["linux"]["maskedPaths"] = json!([]);
    bed.config["process"]["terminal"] = json!(true);
    let output = bed.run(&["stat", "-c", "%F", "/proc/sys/kernel/core_pattern"]);
    let said = text(&output.stdout);
    assert!(!output.status.success() || said.contains("regular"), "{said}");
    // A false devpts.
    bed.config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/dev/pts");
    symlink("/dev/null", dev.join("pts/ptmx")).unwrap();
    assert!(text(&bed.run(&["true"]).stderr).contains("/dev/pts"));
}

/// CVE-2025-52881: a kernel setting that is redirected by what is mounted or linked in the container's /proc.
#[test]
fn cve_2025_52881_settings_are_written_to_the_kernel_alone() {
    let mut bed = Bed::new();
    let trap = bed.dir.join("trap");
    fs::write(&trap, "untouched").unwrap();
    bed.config["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1" });
    bed.mount(json!({ "destination": "/proc/sys/net/ipv4/ip_forward", "source": trap, "options": ["bind"] }));
    assert!(bed.refusal(&["true"]).contains("mount inside of proc"));
    assert_eq!(fs::read_to_string(&trap).unwrap(), "untouched");
    // A procfs of the host, and over it what its owner likes: the setting is found or refused, but not in there.
    bed.config["mounts"].as_array_mut().unwrap().pop();
    let proc = bed.dir.join("proc");
    fs::create_dir(&proc).unwrap();
    let procfs = hull_sys::mount::new_fs("proc", &[], hull_sys::mount::Attr::empty()).unwrap();
    hull_sys::mount::move_to_path(std::os::fd::AsFd::as_fd(&procfs), &proc).unwrap();
    let covered = hull_sys::mount::open_tree_clone(CWD, &trap, false).unwrap();
    hull_sys::mount::move_to_path(std::os::fd::AsFd::as_fd(&covered), proc.join("sys/net/ipv4/ip_forward"))
        .unwrap();
    for mount in bed.config["mounts"].as_array_mut().unwrap() {
        if mount["destination"] == "/proc" {
            *mount = json!({ "destination": "/proc", "source": proc, "options": ["rbind"] });
        }
    }
    bed.run(&["true"]);
    assert_eq!(fs::read_to_string(&trap).unwrap(), "untouched");
    hull_sys::mount::detach(proc.join("sys/net/ipv4/ip_forward")).unwrap();
    hull_sys::mount::detach(&proc).unwrap();
}

/// CVE-2023-28642, CVE-2023-27561, CVE-2026-41579: an image that puts links where the kernel's file
/// systems go.
#[test]
fn cve_2023_28642_links_in_place_of_kernel_file_systems_are_refused() {
    for name in ["proc", "dev", "sys"] {
        let mut bed = Bed::new();
        fs::create_dir(bed.rootfs().join("elsewhere")).unwrap();
        symlink("/elsewhere", bed.rootfs().join(name)).unwrap();
        let message = bed.refusal(&["true"]);
        assert!(message.contains("symbolic link"), "{name}: {message}");
    }
}

/// CVE-2022-0811, GHSA-w2j5-3rcx-vx7x.
#[test]
fn cve_2022_0811_only_settings_of_own_namespaces_are_set() {
    let mut bed = Bed::new();
    bed.config["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1", "kernel.shmmni": "99" });
    assert_eq!(bed.shell("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni"), "1\n99\n");
    for name in
        ["kernel.core_pattern", "vm.swappiness", "kernel.shm_rmid_forced+kernel.core_pattern", "net..x"]
    {
        bed.config["linux"]["sysctl"] = json!({ name: "1" });
        assert!(bed.refusal(&["true"]).contains("sysctl: "), "{name}");
    }
    bed.config["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1" });
    bed.config["linux"]["namespaces"]
        .as_array_mut()
        .unwrap()
        .retain(|namespace| namespace["type"] != "network");
    assert!(bed.refusal(&["true"]).contains("sysctl: "));
}

/// GHSA-g54h-m393-cpwq: a container whose spec says nothing of devices may use the standard ones alone.
#[test]
fn ghsa_g54h_devices_are_denied_unless_they_are_allowed() {
    let mut bed = Bed::new();
    bed.config["linux"]["devices"] = json!([{ "path": "/dev/mem2", "type": "c", "major": 1, "minor": 1 }]);
    for resources in [json!(null), json!({}), json!({ "devices": [] })] {
        bed.config["linux"]["resources"] = resources.clone();
        let said = bed.shell("cat /dev/mem2 2>&1 | head -c 100; head -c 1 /dev/zero | wc -c");
        assert!(said.contains("Operation not permitted") && said.ends_with("1\n"), "{resources}: {said}");
    }
}
