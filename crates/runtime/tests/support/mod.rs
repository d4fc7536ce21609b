//! A place for one test: mount and network namespaces of its own, a bundle with busybox, and a look around at the
//! end for anything that was left behind.
#![allow(dead_code, reason = "each test file uses a part of this")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use hull_sys::clone::{self, Namespace};
use hull_sys::mount::{self, Propagation};
use serde_json::{Value, json};

/// The programs that the containers of the tests call.
const PROGRAMS: [&str; 34] = [
    "sh", "true", "false", "echo", "cat", "ls", "id", "mount", "ps", "hostname", "env", "pwd", "sleep",
    "stat", "grep", "readlink", "kill", "mkdir", "touch", "wc", "tty", "awk", "cut", "uname", "ln", "rm",
    "sort", "tr", "ip", "chmod", "head", "umount", "sed", "ionice",
];

static NEXT: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Bed {
    pub(crate) dir: PathBuf,
    pub(crate) config: Value,
    name: String,
    mounts: String,
}

impl Bed {
    /// Enters namespaces of its own (this thread alone) and makes a bundle.
    pub(crate) fn new() -> Self {
        clone::unshare(Namespace::Mount).expect("these tests need root");
        clone::unshare(Namespace::Network).expect("unshare net");
        mount::set_propagation("/", Propagation::Private, true).expect("make mounts private");
        let name = format!("hull-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(&name);
        fs::create_dir_all(dir.join("rootfs/bin")).unwrap();
        fs::create_dir_all(dir.join("rootfs/etc")).unwrap();
        // By another process: what this one has open for writing, a test beside this one would hand on to its
        // children, and a file that is open for writing cannot be executed.
        let copied = Command::new("cp").arg("/bin/busybox").arg(dir.join("rootfs/bin")).status().unwrap();
        assert!(copied.success(), "busybox-static is needed");
        for program in PROGRAMS {
            std::os::unix::fs::symlink("busybox", dir.join("rootfs/bin").join(program)).unwrap();
        }
        fs::write(
            dir.join("rootfs/etc/passwd"),
            "root:x:0:0::/root:/bin/sh\nweb:x:33:44::/var/www:/bin/sh\n",
        )
        .unwrap();
        fs::write(dir.join("rootfs/etc/group"), "root:x:0:\nwww:x:44:\naudio:x:29:web\n").unwrap();
        let mut config: Value = serde_json::from_str(include_str!("../../src/cli/spec.json")).unwrap();
        config["process"]["terminal"] = json!(false);
        config["linux"]["cgroupsPath"] = json!(format!("/{name}"));
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        Self { dir, config, name, mounts }
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    pub(crate) fn cgroup(&self) -> String {
        format!("/{}", self.name)
    }

    /// Whether the file system that the root lies on can show other ids: memory could not before Linux 6.3.
    pub(crate) fn can_map_ids(&self) -> bool {
        const MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];
        !MEMORY.contains(&(rustix::fs::statfs(self.rootfs()).unwrap().f_type as u32))
    }

    /// The command line of the runtime, in this bed's own root directory.
    pub(crate) fn runtime(&self, args: &[&str]) -> Command {
        let ours = env!("CARGO_BIN_EXE_hull-runtime");
        let mut command = Command::new(other_runtime().unwrap_or_else(|| ours.to_owned()));
        command
            .arg("--root")
            .arg(self.dir.join("state"))
            .args(args)
            .current_dir(&self.dir)
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn write_config(&self) {
        fs::write(self.dir.join("config.json"), self.config.to_string()).unwrap();
    }

    /// Runs a container to its end.
    pub(crate) fn run(&mut self, args: &[&str]) -> Output {
        self.config["process"]["args"] = json!(args);
        self.write_config();
        self.runtime(&["run", "c"]).output().unwrap()
    }

    /// What a shell in a container prints. It must succeed.
    pub(crate) fn shell(&mut self, script: &str) -> String {
        let output = self.run(&["sh", "-c", script]);
        let (text, errors) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{script}: {errors}{text}");
        text
    }

    /// The message of a container that cannot be made.
    pub(crate) fn refusal(&mut self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(1), "{}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stderr)
    }

    /// Runs a command of `hull-runtime`, which must succeed.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.runtime(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs a command that leaves a container behind, which keeps what it is given as standard output.
    pub(crate) fn leave(&self, args: &[&str]) {
        let status = self.runtime(args).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(status.success(), "{args:?}");
    }

    /// Lays a fragment of a spec over this one: objects are merged, an array under a name with a `+` is appended, and
    /// null removes.
    pub(crate) fn merge(&mut self, fragment: &Value) {
        merge(&mut self.config, fragment);
    }

    /// Adds to the mounts of the spec.
    pub(crate) fn mount(&mut self, mount: Value) {
        self.config["mounts"].as_array_mut().unwrap().push(mount);
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let ids = fs::read_dir(self.dir.join("state")).into_iter().flatten().flatten();
            for id in ids.filter_map(|entry| entry.file_name().into_string().ok()) {
                let _ = self.runtime(&["delete", "--force", &id]).status();
            }
            let _ = fs::remove_dir_all(&self.dir);
            return;
        }
        let left = cgroups(&self.name);
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let state = fs::read_dir(self.dir.join("state")).map(|dir| dir.count()).unwrap_or(0);
        let processes = processes_in(&self.dir);
        fs::remove_dir_all(&self.dir).unwrap();
        if other_runtime().is_some() {
            // What others leave behind is their affair.
            left.iter().for_each(|cgroup| drop(fs::remove_dir(cgroup)));
            return;
        }
        assert_eq!(left, Vec::<PathBuf>::new(), "cgroups were left behind");
        assert_eq!(mounts, self.mounts, "mounts were left behind");
        assert_eq!(state, 0, "containers were left behind");
        assert_eq!(processes, Vec::<String>::new(), "processes were left behind");
    }
}

/// The directories by that name in any hierarchy.
fn cgroups(name: &str) -> Vec<PathBuf> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
    let places = hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]).map(|place| place.join(name));
    places.filter(|place| place.exists()).collect()
}

/// Processes whose program lies below `dir`: those of containers.
fn processes_in(dir: &Path) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let program = |entry: &fs::DirEntry| fs::read_link(entry.path().join("exe")).ok();
    processes
        .filter(|entry| program(entry).is_some_and(|program| program.starts_with(dir)))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// The runtime that `HULL_TEST_RUNTIME` names: the tests of the specification must hold for others, too, or they would
/// test us against ourselves.
pub(crate) fn other_runtime() -> Option<String> {
    std::env::var("HULL_TEST_RUNTIME").ok()
}

/// Whether the runtime under test is one of these, by the name of its program.
pub(crate) fn runtime_is(names: &[&str]) -> bool {
    let other = other_runtime().unwrap_or_default();
    names.iter().any(|name| Path::new(&other).file_name().is_some_and(|file| file == *name))
}

/// Whether this kernel is at least of that version.
pub(crate) fn kernel_has(version: (u32, u32)) -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= version
}

fn merge(into: &mut Value, fragment: &Value) {
    let Value::Object(fields) = fragment else {
        *into = fragment.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (name, value) in fields {
        match (name.strip_suffix('+'), value) {
            (Some(name), Value::Array(more)) => match &mut into[name] {
                Value::Array(there) => there.extend(more.iter().cloned()),
                empty => *empty = value.clone(),
            },
            (_, Value::Null) => drop(into.as_object_mut().unwrap().remove(name)),
            _ => merge(&mut into[name], value),
        }
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits (at most 20 s) until something `is_there`.
pub(crate) fn wait_for(what: &str, is_there: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_there() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what} is waited for in vain");
        std::thread::sleep(Duration::from_millis(10));
    }
}
