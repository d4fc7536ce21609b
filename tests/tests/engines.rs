//! Other engines over our runtime: podman and containerd, as their users have them, in directories of their own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hull_sys::mount;
use hull_testkit::leaks::{self, Before};
use hull_testkit::output::{PATIENCE, eventually};
use hull_testkit::{Output, Running, daemon, images, namespaces};
use tempfile::TempDir;

/// The file of a limit in either version of cgroups.
const MEMORY: [&str; 2] = ["memory.limit_in_bytes", "memory.max"];
const PIDS: [&str; 2] = ["pids.max", "pids.max"];

/// A place for an engine: namespaces, a directory, and cgroups below one that bears its mark.
struct Place {
    dir: TempDir,
    mark: String,
    before: Before,
}

impl Place {
    fn new() -> Self {
        namespaces::enter();
        let mark =
            std::env::var(namespaces::MARK).unwrap_or_else(|_| format!("hull-test-{}", std::process::id()));
        // What engines keep at fixed places is not to meet that of another test, or of the host's own engine.
        for path in ["/run", "/dev/shm"] {
            let tmpfs = mount::new_fs("tmpfs", &[], mount::Attr::empty()).unwrap();
            mount::move_to_path(std::os::fd::AsFd::as_fd(&tmpfs), path).unwrap();
        }
        let dir = tempfile::Builder::new().prefix("e").tempdir().unwrap();
        Self { dir, mark, before: Before::look() }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn cgroup(&self) -> String {
        format!("/{}", self.mark)
    }

    /// What the first of these files says that a cgroup has whose name begins so.
    fn limit(&self, container: &str, files: [&str; 2]) -> String {
        let ours = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(container))
        };
        let cgroups = leaks::cgroups_below(&self.mark).into_iter().filter(ours);
        let texts = cgroups.flat_map(|path| files.map(|file| fs::read_to_string(path.join(file)).ok()));
        texts.flatten().next().unwrap_or_else(|| panic!("no {files:?} of {container}")).trim().to_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            leaks::kill(&self.mark);
            leaks::remove_cgroups(&self.mark);
            return;
        }
        let dir = self.path("");
        // Monitors and shims end a moment after their containers.
        assert!(eventually(PATIENCE, || leaks::processes(&dir).is_empty()), "{:?}", leaks::processes(&dir));
        // Those of podman's monitors and pods are its own, and it leaves them where it knows no controller.
        let ours = |name: &str| name.starts_with("libpod-") || matches!(name, "once" | "box");
        let named = |path: &PathBuf| ours(&path.file_name().unwrap_or_default().to_string_lossy());
        let left: Vec<PathBuf> = leaks::cgroups_below(&self.mark).into_iter().filter(named).collect();
        leaks::remove_cgroups(&self.mark);
        assert_eq!(left, Vec::<PathBuf>::new(), "cgroups were left behind");
        assert_eq!(leaks::cgroups(&self.mark), Vec::<PathBuf>::new(), "cgroups cannot be removed");
        let added = self.before.added();
        assert!(added.iter().all(|mount| mount.contains(&dir)), "{added:?}");
    }
}

fn runtime() -> String {
    daemon::binary("hull-runtime").display().to_string()
}

struct Podman(Place);

impl Podman {
    fn new() -> Self {
        let place = Place::new();
        // Its defaults are more than root may have everywhere.
        let settings = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
                        [engine]\nruntime_supports_json = [\"hull-runtime\"]\n";
        fs::write(place.path("containers.conf"), settings).unwrap();
        let podman = Self(place);
        let archive = images::busybox(podman.0.dir.path()).unwrap();
        podman.call(&["load", "-q", "-i", archive.to_str().unwrap()]).ok();
        podman
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command
            .args(["--root", &self.0.path("data"), "--runroot", &self.0.path("run")])
            .args(["--tmpdir", &self.0.path("tmp"), "--storage-driver", "vfs", "--runtime", &runtime()])
            .args(["--cgroup-manager", "cgroupfs", "--events-backend", "file"])
            .env("CONTAINERS_CONF", self.0.path("containers.conf"))
            .env("TMPDIR", self.0.dir.path())
            // Its monitor tells of a kill for memory by a file in the directory it was started in.
            .current_dir(self.0.dir.path());
        match args {
            ["run", rest @ ..] => {
                command.args(["run", "--cgroup-parent", &self.0.cgroup(), "--network", "none"]).args(rest)
            }
            args => command.args(args),
        };
        command
    }

    fn call(&self, args: &[&str]) -> Output {
        Running::start(&mut self.command(args)).finish()
    }

    /// What a shell in a container says that runs with these options.
    #[track_caller]
    fn shell(&self, options: &[&str], script: &str) -> String {
        let args = [&["run", "--rm"], options, &["busybox", "sh", "-c", script]].concat();
        self.call(&args).ok().to_owned()
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let removed = self.call(&["rm", "-af", "-t", "0"]);
        if !std::thread::panicking() {
            removed.ok();
        }
    }
}

#[test]
fn podman_runs_and_ends_containers() {
    let podman = Podman::new();
    assert_eq!(podman.shell(&[], "echo hello"), "hello");
    assert_eq!(podman.call(&["run", "--rm", "busybox", "sh", "-c", "exit 42"]).code, 42);
    podman
        .call(&["run", "--rm", "busybox", "nosuchprogram"])
        .complains("executable file not found in $PATH")
        .fails(127);
    podman.call(&["run", "--rm", "busybox", "/etc"]).fails(126);

    podman
        .call(&["run", "-d", "--name", "box", "-m", "32m", "--pids-limit", "20", "busybox", "sleep", "1000"])
        .ok();
    assert_eq!(podman.0.limit("libpod-", MEMORY), (32 << 20).to_string());
    assert_eq!(podman.0.limit("libpod-", PIDS), "20");
    podman.call(&["update", "--memory", "48m", "box"]).ok();
    assert_eq!(podman.0.limit("libpod-", MEMORY), (48 << 20).to_string());
    assert_eq!(podman.call(&["exec", "-e", "A=1", "box", "sh", "-c", "echo $A"]).ok(), "1");
    assert_eq!(podman.call(&["exec", "box", "sh", "-c", "exit 4"]).code, 4);
    assert_eq!(
        podman.call(&["exec", "-t", "box", "sh", "-c", "test -t 0 && echo terminal"]).ok().trim(),
        "terminal"
    );
    podman.call(&["exec", "box", "nosuchprogram"]).complains("executable file not found in $PATH").fails(127);
    podman.call(&["top", "box"]).says("sleep 1000");
    podman.call(&["pause", "box"]).ok();
    let status =
        |podman: &Podman| podman.call(&["inspect", "--format", "{{.State.Status}}", "box"]).ok().to_owned();
    assert_eq!(status(&podman), "paused");
    podman.call(&["unpause", "box"]).ok();
    podman.call(&["kill", "-s", "KILL", "box"]).ok();
    assert!(eventually(PATIENCE, || status(&podman) == "exited"));
    assert_eq!(podman.call(&["wait", "box"]).ok(), "137");
    podman.call(&["start", "box"]).ok();
    podman.call(&["stop", "-t", "0", "box"]).ok();
    podman.call(&["rm", "box"]).ok();
    podman.call(&["run", "--name", "said", "busybox", "sh", "-c", "echo out; echo err >&2"]).ok();
    let logs = podman.call(&["logs", "said"]);
    assert_eq!((logs.stdout.as_str(), logs.stderr.as_str()), ("out\n", "err\n"));
}

#[test]
fn podman_confines_containers() {
    let podman = Podman::new();
    let plain = "id -u; id -g; grep -E 'CapEff|Seccomp:|NoNewPrivs' /proc/self/status";
    let options = ["--user", "1000:1000", "--cap-drop", "all", "--security-opt", "no-new-privileges"];
    let confined = "1000\n1000\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2";
    assert_eq!(podman.shell(&options, plain), confined);
    assert_eq!(podman.shell(&["--privileged"], "grep Seccomp: /proc/self/status"), "Seccomp:\t0");
    let map =
        podman.shell(&["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"], "cat /proc/self/uid_map");
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
    let volume = format!("{}:/volume:ro", podman.0.path(""));
    assert_eq!(podman.shell(&["-v", &volume], "touch /volume/x 2>/dev/null || echo refused"), "refused");
    let settings = ["--sysctl", "kernel.shmmax=1000000", "--oom-score-adj", "100", "--hostname", "here"];
    let script = "cat /proc/sys/kernel/shmmax /proc/self/oom_score_adj; hostname";
    assert_eq!(podman.shell(&settings, script), "1000000\n100\nhere");
    assert_eq!(podman.call(&["run", "--rm", "-m", "8m", "busybox", "tail", "/dev/zero"]).code, 137);
}

#[test]
fn podman_makes_pods() {
    let podman = Podman::new();
    let infra = ["--infra-image", "busybox", "--infra-command", "/bin/sleep 1000"];
    let create =
        ["pod", "create", "--name", "pod", "--network", "none", "--hostname", "shared", "--cgroup-parent"];
    let parent = podman.0.cgroup();
    podman.call(&[&create[..], &[&parent], &infra].concat()).ok();
    let member = |args: &[&str]| Running::start(podman.command(&["--log-level=error"]).args(args)).finish();
    member(&["run", "-d", "--pod", "pod", "--name", "one", "busybox", "sleep", "1000"]).ok();
    let namespaces = "readlink /proc/self/ns/net /proc/self/ns/ipc /proc/self/ns/uts; hostname";
    let inside = member(&["exec", "one", "sh", "-c", namespaces]).ok().to_owned();
    let beside = member(&["run", "--rm", "--pod", "pod", "busybox", "sh", "-c", namespaces]).ok().to_owned();
    assert_eq!(inside, beside);
    assert!(inside.ends_with("shared"), "{inside}");
    podman.call(&["pod", "stop", "-t", "0", "pod"]).ok();
    podman.call(&["pod", "rm", "-f", "pod"]).ok();
}

/// A user by the name `ordinary`, with subordinate ids; known in this mount namespace only.
fn ordinary_user(place: &Place) -> u32 {
    const USER: u32 = 12345;
    let entries = [
        ("passwd", format!("ordinary:x:{USER}:{USER}::{}:/bin/sh\n", place.path(""))),
        ("group", format!("ordinary:x:{USER}:\n")),
        ("subuid", "ordinary:200000:65536\n".to_owned()),
        ("subgid", "ordinary:200000:65536\n".to_owned()),
    ];
    for (name, entry) in entries {
        let real = Path::new("/etc").join(name);
        let before = fs::read_to_string(&real).unwrap_or_default();
        fs::write(place.path(name), before + &entry).unwrap();
        let bind = mount::open_tree_clone(rustix::fs::CWD, place.path(name), false).unwrap();
        mount::move_to_path(std::os::fd::AsFd::as_fd(&bind), &real).unwrap();
    }
    std::os::unix::fs::chown(place.path(""), Some(USER), Some(USER)).unwrap();
    USER
}

/// Everything by an ordinary user, who has no cgroup: the runtime is root of the user namespace that podman has made.
#[test]
fn podman_serves_an_ordinary_user() {
    use std::os::unix::process::CommandExt as _;
    let place = Place::new();
    let user = ordinary_user(&place);
    let archive = images::busybox(place.dir.path()).unwrap().display().to_string();
    let podman = |args: &[&str]| {
        let mut command = Command::new("podman");
        command
            .args(["--runtime", &runtime(), "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"])
            .args([
                "--events-backend",
                "file",
                "--root",
                &place.path("data"),
                "--runroot",
                &place.path("run"),
            ])
            .args(args)
            .env("HOME", place.path("home"))
            .env("XDG_RUNTIME_DIR", place.path("xdg"))
            .env("TMPDIR", place.dir.path())
            .current_dir(place.dir.path())
            .uid(user)
            .gid(user);
        Running::start(&mut command).finish()
    };
    for name in ["home", "xdg"] {
        fs::create_dir(place.path(name)).unwrap();
        std::os::unix::fs::chown(place.path(name), Some(user), Some(user)).unwrap();
    }
    podman(&["load", "-q", "-i", &archive]).ok();
    let run = ["run", "--network", "none"];
    let map = podman(&[&run[..], &["--rm", "busybox", "cat", "/proc/self/uid_map"]].concat());
    let map = map.ok().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(map, ["0", "12345", "1", "1", "200000", "65536"]);
    assert_eq!(podman(&[&run[..], &["--rm", "busybox", "sh", "-c", "exit 3"]].concat()).code, 3);
    podman(&[&run[..], &["-d", "--name", "box", "busybox", "sleep", "1000"]].concat()).ok();
    assert_eq!(podman(&["exec", "-u", "5:6", "box", "sh", "-c", "id -u; id -g"]).ok(), "5\n6");
    podman(&["rm", "-f", "-t", "0", "box"]).ok();
    // What belongs to other ids of his only his namespace may remove.
    podman(&["unshare", "rm", "-rf", &place.path("data")]).ok();
    // Ends the process that holds the namespace for the next call.
    podman(&["system", "migrate"]).ok();
}

struct Containerd {
    place: Place,
    daemon: Option<Running>,
}

impl Containerd {
    fn new() -> Self {
        let place = Place::new();
        let names = ["btrfs", "zfs", "devmapper", "aufs"]
            .map(|name| format!("\"io.containerd.snapshotter.v1.{name}\""));
        let settings = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ntemp = {:?}\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\", {}]\n\
             [grpc]\naddress = {:?}\n[debug]\naddress = {:?}\n",
            place.path("data"),
            place.path("state"),
            place.path("temp"),
            names.join(", "),
            place.path("sock"),
            place.path("debug"),
        );
        fs::write(place.path("config.toml"), settings).unwrap();
        let mut command = Command::new("containerd");
        let daemon = Running::start(command.args(["--config", &place.path("config.toml")]));
        let containerd = Self { place, daemon: Some(daemon) };
        assert!(
            eventually(PATIENCE, || containerd.ctr(&["version"]).code == 0),
            "containerd does not answer"
        );
        let archive = containerd.place.path("image.tar");
        fs::write(&archive, images::Image::busybox().docker_archive("localhost/busybox:latest")).unwrap();
        containerd.ctr(&["images", "import", "--snapshotter", "native", &archive]).ok();
        containerd
    }

    fn ctr(&self, args: &[&str]) -> Output {
        Running::start(Command::new("ctr").args(["--address", &self.place.path("sock")]).args(args)).finish()
    }

    /// Runs a container of that name.
    fn run(&self, options: &[&str], name: &str, args: &[&str]) -> Output {
        let cgroup = format!("{}/{name}", self.place.cgroup());
        let (root, runtime) = (self.place.path("runtime"), runtime());
        let ours = ["run", "--snapshotter", "native", "--runc-binary", &runtime, "--runc-root", &root];
        let image = ["localhost/busybox:latest", name];
        self.ctr(&[&ours[..], &["--cgroup", &cgroup], options, &image, args].concat())
    }

    fn status(&self, name: &str) -> String {
        let listed = self.ctr(&["tasks", "ls"]);
        let line = listed.lines().into_iter().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(2).unwrap_or_default().to_owned()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.signal(rustix::process::Signal::TERM);
            daemon.finish();
        }
    }
}

#[test]
fn containerd_runs_and_ends_containers() {
    let containerd = Containerd::new();
    assert_eq!(containerd.run(&["--rm"], "once", &["echo", "hello"]).ok(), "hello");
    assert_eq!(containerd.run(&["--rm"], "once", &["sh", "-c", "exit 42"]).code, 42);
    containerd
        .run(&["--rm"], "once", &["nosuchprogram"])
        .complains("OCI runtime create failed: exec: \"nosuchprogram\": executable file not found in $PATH");
    let limit = (32 << 20).to_string();
    containerd.run(&["-d", "--memory-limit", &limit], "box", &["sleep", "1000"]).ok();
    assert_eq!(containerd.place.limit("box", MEMORY), limit);
    assert_eq!(containerd.status("box"), "RUNNING");
    let exec = |id: &str, args: &[&str]| {
        containerd.ctr(&[&["tasks", "exec", "--exec-id", id, "box"], args].concat())
    };
    assert_eq!(exec("a", &["hostname"]).code, 0);
    assert_eq!(exec("b", &["sh", "-c", "exit 4"]).code, 4);
    exec("c", &["nosuchprogram"]).complains("OCI runtime exec failed: exec: \"nosuchprogram\"");
    containerd.ctr(&["tasks", "pause", "box"]).ok();
    assert_eq!(containerd.status("box"), "PAUSED");
    containerd.ctr(&["tasks", "resume", "box"]).ok();
    containerd.ctr(&["tasks", "metrics", "box"]).says(&limit);
    containerd.ctr(&["tasks", "kill", "-s", "KILL", "box"]).ok();
    assert!(eventually(PATIENCE, || containerd.status("box") == "STOPPED"));
    containerd.ctr(&["tasks", "rm", "box"]).complains("137");
    containerd.ctr(&["containers", "rm", "box"]).ok();
}

#[test]
fn containerd_confines_containers() {
    let containerd = Containerd::new();
    let shell = |options: &[&str], script: &str| {
        let output = containerd.run(&[&["--rm"], options].concat(), "once", &["sh", "-c", script]);
        output.ok().to_owned()
    };
    assert_eq!(shell(&["--seccomp"], "grep Seccomp: /proc/self/status"), "Seccomp:\t2");
    assert_eq!(shell(&["--read-only"], "touch /x 2>/dev/null || echo refused"), "refused");
    assert_eq!(shell(&["--net-host"], "ls /sys/class/net"), "lo");
    let map = shell(&["--uidmap", "0:1000:10", "--gidmap", "0:1000:10"], "cat /proc/self/uid_map");
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "1000", "10"]);
    assert_eq!(shell(&["--env", "A=b", "--cwd", "/etc"], "pwd; echo $A"), "/etc\nb");
}
