//! How much a container may write: project quotas of xfs and ext4, on file systems of the test's own. Kernels without
//! such quotas exist: there it is said that there are none, and in the machine of `cargo xtask test --vm` the kernel
//! has them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hull_testkit::output::{PATIENCE, eventually};
use hull_testkit::{Daemon, images};

/// What Docker says where nothing bounds a container.
const REFUSAL: &str = "--storage-opt is supported only for overlay over xfs with 'pquota' mount option";

/// Writes 4 MiB and then as much as there is room for; how many KiB that were.
const FILL: &str = "dd if=/dev/zero of=/a bs=1M count=4 2>/dev/null && echo four; dd if=/dev/zero of=/b bs=64k 2>&1; \
                    du -k /a /b";

/// A file system with room for projects, mounted in the test's own mount namespace.
struct Disk {
    image: PathBuf,
    mounted: PathBuf,
}

impl Disk {
    /// Makes one below `directory`; `None` if the kernel does not bound projects on it.
    fn make(directory: &Path, kind: &str) -> Option<Self> {
        let (image, mounted) = (directory.join("disk"), directory.join("mounted"));
        fs::create_dir_all(&mounted).expect("mkdir");
        fs::File::create(&image).and_then(|file| file.set_len(320 << 20)).expect("an image");
        let mkfs: &[&str] = match kind {
            "xfs" => &["/usr/sbin/mkfs.xfs", "-q"],
            _ => &["/usr/sbin/mkfs.ext4", "-q", "-O", "quota,project", "-E", "quotatype=prjquota"],
        };
        let made = Command::new(mkfs[0]).args(&mkfs[1..]).arg(&image).status();
        assert!(made.expect("xfsprogs and e2fsprogs").success(), "{mkfs:?}");
        let options = if kind == "xfs" { "loop,pquota" } else { "loop,prjquota" };
        let mut mount = Command::new("mount");
        mount.args(["-t", kind, "-o", options]).args([&image, &mounted]).stderr(Stdio::null());
        mount.status().expect("mount").success().then_some(Self { image, mounted })
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.mounted).status();
        let _ = fs::remove_file(&self.image);
        let _ = fs::remove_dir(&self.mounted);
    }
}

#[test]
fn where_nothing_bounds_containers_that_is_said() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "--storage-opt", "size=10m", "busybox", "true"]).complains(REFUSAL).fails(125);
    daemon
        .hull(["run", "--storage-opt", "colour=red", "busybox", "true"])
        .complains("Unknown option colour")
        .fails(125);
    let volume = ["volume", "create", "-o", "size=10m", "bounded"];
    daemon.hull(volume).complains("quota size requested but no quota support").fails(1);
    let root = daemon.dir().join("other");
    let mut hulld = daemon.command(&hull_testkit::daemon::binary("hulld"));
    hulld
        .args(["--storage-opt", "overlay2.size=10G", "-H", "unix:///nowhere/sock", "--data-root"])
        .arg(&root);
    let refused =
        hulld.arg("--exec-root").arg(&root).arg("--pidfile").arg(root.join("pid")).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success(), "{said}");
    assert!(said.contains("Storage option overlay2.size not supported"), "{said}");
}

#[test]
fn a_container_gets_its_share_of_xfs() {
    share("xfs");
}

#[test]
fn a_container_gets_its_share_of_ext4() {
    share("ext4");
}

fn share(kind: &str) {
    hull_testkit::namespaces::enter();
    let directory = tempfile::tempdir().expect("directory");
    let Some(disk) = Disk::make(directory.path(), kind) else {
        return;
    };
    let mut daemon = Daemon::start_on(&disk.mounted, &["--storage-opt", "overlay2.size=24m"]);
    let archive = images::busybox(directory.path()).expect("an image");
    daemon.hull(["load", "-q", "-i", archive.to_str().expect("utf-8")]).ok();

    fills(&daemon, "small", &["--storage-opt", "size=10m"], 10 << 10);
    fills(&daemon, "default", &[], 24 << 10);
    let option = ["inspect", "-f", "{{index .HostConfig.StorageOpt \"size\"}}", "small"];
    assert_eq!(daemon.hull(option).ok(), "10m");
    let size = daemon.hull(["ps", "-as", "--filter", "name=small", "--format", "{{.Size}}"]);
    assert!(size.ok().starts_with("10.") || size.ok().starts_with("9."), "{size:#?}");
    // What one has filled is nobody else's: neither after a restart of the daemon, nor in an id that is free again.
    daemon.restart();
    fills(&daemon, "third", &["--storage-opt", "size=16m"], 16 << 10);
    // Without room for a directory, overlayfs mounts for reading only.
    let again = daemon.hull(["start", "-a", "small"]);
    assert!(is_full(again.ok()) || again.ok().contains("Read-only file system"), "{again:#?}");
    daemon.hull(["rm", "-f", "small", "default", "third"]).ok();
    let unfinished = daemon.data_root().join("snapshots/unfinished");
    assert!(eventually(PATIENCE, || fs::read_dir(&unfinished).is_ok_and(|mut left| left.next().is_none())));
    daemon.restart();
    fills(&daemon, "again", &["--storage-opt", "size=12m"], 12 << 10);
    let write = ["sh", "-c", "dd if=/dev/zero of=/c bs=1M count=40"];
    daemon.hull([&["run", "--rm", "--storage-opt", "size=0", "busybox"], &write[..]].concat()).ok();
    let wrong = ["run", "--storage-opt", "size=much", "busybox", "true"];
    daemon.hull(wrong).complains("invalid size: 'much'").fails(125);
    a_volume_has_a_size(&mut daemon);
}

fn a_volume_has_a_size(daemon: &mut Daemon) {
    let fill = |daemon: &Daemon, name: &str| -> u64 {
        let script = "dd if=/dev/zero of=/v/file bs=64k count=320 2>/dev/null; du -k /v/file";
        let volume = format!("{name}:/v");
        let wrote = daemon.hull(["run", "--rm", "-v", &volume, "busybox", "sh", "-c", script]);
        wrote.ok().split('\t').next().and_then(|size| size.parse().ok()).expect("a size")
    };
    daemon.hull(["volume", "create", "-o", "size=8m", "small"]).ok();
    daemon.hull(["volume", "create", "-o", "size=12m", "middle"]).ok();
    daemon.hull(["volume", "create", "large"]).ok();
    assert!((7 << 10..=8 << 10).contains(&fill(daemon, "small")));
    daemon.restart();
    assert!((11 << 10..=12 << 10).contains(&fill(daemon, "middle")));
    assert_eq!(fill(daemon, "large"), 20 << 10);
    daemon.hull(["volume", "rm", "small", "middle", "large"]).ok();
}

/// Whether a program said that there is no room.
fn is_full(said: &str) -> bool {
    said.contains("No space left") || said.contains("Disk quota exceeded")
}

/// Runs a container that writes what it can: within a tenth, it is `kib`.
#[track_caller]
fn fills(daemon: &Daemon, name: &str, flags: &[&str], kib: u64) {
    let run = [&["run", "--name", name], flags, &["busybox", "sh", "-c", FILL]].concat();
    let output = daemon.hull(run);
    let said = output.ok();
    assert!(said.starts_with("four"), "{name}: {said}");
    assert!(is_full(said), "{name}: {said}");
    let sizes = said.lines().filter_map(|line| line.split_once('\t')?.0.parse::<u64>().ok());
    let wrote: u64 = sizes.sum();
    assert!(wrote <= kib && wrote * 10 >= kib * 9, "{name}: {wrote} KiB of {kib}: {said}");
}
