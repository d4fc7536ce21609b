//! Debian's Docker daemon, to see that a test tests Docker's behaviour and not ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::daemon::client;
use crate::output::{PATIENCE, Running, eventually};
use crate::{http, leaks, namespaces};

/// A `dockerd` in the namespaces of the test, with directories and cgroups of its own, and the image `busybox`. It
/// ends with this, and all that it ran.
pub struct Dockerd {
    dir: TempDir,
    mark: String,
    child: Child,
}

impl Dockerd {
    /// Starts it and waits until it answers.
    ///
    /// # Panics
    /// If there is none (`make test` installs it), or it does not come up.
    pub fn start() -> Self {
        namespaces::enter();
        let outer =
            std::env::var(namespaces::MARK).unwrap_or_else(|_| format!("hull-test-{}", std::process::id()));
        let mark = format!("{outer}.docker");
        let dir = tempfile::Builder::new().prefix(&format!("{mark}-")).tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let log = fs::File::create(path("dockerd.log")).unwrap();
        let mut command = Command::new("dockerd");
        // Debian has it where only root's shells look.
        let search = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{search}:/usr/sbin:/sbin"));
        command.arg("-H").arg(format!("unix://{}", path("docker.sock").display()));
        command.arg("--data-root").arg(path("data")).arg("--exec-root").arg(path("run"));
        command.arg("--pidfile").arg(path("pid")).arg("--config-file").arg(path("none.json"));
        command.args(["--cgroup-parent", &format!("/{mark}"), "--exec-opt", "native.cgroupdriver=cgroupfs"]);
        fs::write(path("none.json"), "{}").unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().expect("dockerd: `make test` installs it");
        let daemon = Self { dir, mark, child };
        let up = eventually(PATIENCE, || http::request(&daemon.socket(), "GET", "/_ping", None).is_ok());
        assert!(up, "dockerd does not come up:\n{}", daemon.log());
        daemon
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("docker.sock")
    }

    /// A directory for files of the test; it goes with the daemon.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A program that finds this daemon and no other, and no configuration of the user.
    pub fn command(&self, program: &Path) -> Command {
        client(program, &self.socket(), &self.dir.path().join("home"))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("dockerd.log")).unwrap_or_default()
    }

    fn docker(&self, words: &[&str]) -> String {
        Running::start(self.command(Path::new("docker")).args(words)).finish().stdout
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        let left = self.docker(&["ps", "-aq"]);
        for container in left.lines() {
            self.docker(&["rm", "-f", "-v", container]);
        }
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        let _ = rustix::process::kill_process(pid, Signal::TERM);
        eventually(PATIENCE, || self.child.try_wait().is_ok_and(|ended| ended.is_some()));
        let _ = self.child.kill();
        let _ = self.child.wait();
        leaks::kill(&self.mark);
        // What it has mounted for itself keeps its directory; the namespace of the test goes in any case.
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
        let below = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        for point in below.filter(|point| point.contains(&self.mark)) {
            let _ = rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH);
        }
        leaks::remove_cgroups(&self.mark);
        if std::thread::panicking() {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "---- dockerd's log\n{}", self.log());
        }
    }
}
