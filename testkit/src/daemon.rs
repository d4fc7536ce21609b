//! A daemon of a test's own: private directories, namespaces, cgroups and socket.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;

use crate::http::{self, Response};
use crate::leaks::{self, Before};
use crate::output::{Output, PATIENCE, Running, eventually};
use crate::{images, namespaces};

/// A `hulld` that runs until this is dropped. Then every container is removed, and what is left is listed by a
/// panic: processes, cgroups, mounts, links, files.
pub struct Daemon {
    dir: TempDir,
    /// In every command line and cgroup of this daemon, and nowhere else.
    mark: String,
    cgroup: String,
    /// The mark of the test, which may have more than one daemon.
    outer: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    child: Option<Child>,
    before: Before,
}

impl Daemon {
    /// Starts a daemon and waits until it answers. It has no images.
    ///
    /// # Panics
    /// Without root, without the binaries, and if the daemon does not come up.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with the image `busybox`.
    pub fn with_busybox() -> Self {
        let daemon = Self::start();
        let archive = images::busybox(daemon.dir()).unwrap();
        daemon.hull(["load", "-q", "-i", archive.to_str().unwrap()]).ok();
        fs::remove_file(archive).unwrap();
        daemon
    }

    /// The same as [`Daemon::start`], with more flags.
    pub fn start_with(flags: &[&str]) -> Self {
        Self::start_in(flags, &[])
    }

    /// The same as [`Daemon::start_with`], with more variables in its environment.
    pub fn start_in(flags: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::start_below(&std::env::temp_dir(), flags, environment)
    }

    /// The same as [`Daemon::start_with`], with all that it has below `parent`.
    pub fn start_on(parent: &Path, flags: &[&str]) -> Self {
        Self::start_below(parent, flags, &[])
    }

    fn start_below(parent: &Path, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        namespaces::enter();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let outer =
            std::env::var(namespaces::MARK).unwrap_or_else(|_| format!("hull-test-{}", std::process::id()));
        let mark = format!("{outer}.d{number}");
        let dir = tempfile::Builder::new().prefix(&format!("{mark}-")).tempdir_in(parent).unwrap();
        let mut daemon = Self {
            cgroup: format!("/{outer}/{mark}"),
            outer,
            arguments: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            environment: environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            child: None,
            before: Before::look(),
            mark,
            dir,
        };
        daemon.launch();
        daemon
    }

    /// A directory for files of the test; it goes with the daemon.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("hull.sock")
    }

    /// Where the daemon keeps what is to stay: below the root it was given, if it maps users (`UID.GID`).
    pub fn data_root(&self) -> PathBuf {
        let given = self.given_data_root();
        let entries = fs::read_dir(&given).into_iter().flatten().flatten();
        let mapped = entries.map(|entry| entry.path()).find(|path| path.join("hull.db").exists());
        mapped.unwrap_or(given)
    }

    fn given_data_root(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Where the daemon keeps what goes with the machine's run.
    pub fn exec_root(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// The cgroup that the containers' are in, the same in all hierarchies.
    pub fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// The daemon's process id.
    ///
    /// # Panics
    /// If it was killed.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the daemon runs").id()
    }

    /// What the daemon has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("hulld.log")).unwrap_or_default()
    }

    /// Runs our own client and waits for its end.
    #[track_caller]
    pub fn hull<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Output {
        self.spawn_hull(arguments).finish()
    }

    /// Runs our own client with something on its standard input.
    #[track_caller]
    pub fn hull_with_input<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
        input: &[u8],
    ) -> Output {
        let mut client = self.spawn_hull(arguments);
        client.write(input);
        client.finish()
    }

    /// Starts our own client.
    pub fn spawn_hull<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Running {
        Running::start(self.command(&binary("hull")).args(arguments))
    }

    /// Runs Docker's client, unmodified.
    ///
    /// # Panics
    /// If there is none: `make test` installs it.
    #[track_caller]
    pub fn docker<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Output {
        self.spawn_docker(arguments).finish()
    }

    /// Starts Docker's client.
    pub fn spawn_docker<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Running {
        Running::start(self.command(Path::new("docker")).args(arguments))
    }

    /// A program that finds this daemon and no other, and no configuration of the user.
    pub fn command(&self, program: &Path) -> Command {
        client(program, &self.socket(), &self.dir.path().join("home"))
    }

    /// Sends one request to the daemon's API.
    pub fn api(&self, method: &str, path: &str, body: Option<&Value>) -> Response {
        http::request(&self.socket(), method, path, body).unwrap()
    }

    /// The same with headers and a body of one's own.
    pub fn send(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Response {
        http::send(&self.socket(), method, path, headers, body).unwrap()
    }

    /// Kills the daemon, and nothing else.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may be dead, and whoever traced it has then waited for it.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks the daemon to stop, and waits until it has.
    ///
    /// # Panics
    /// If it does not.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
        let stopped = eventually(PATIENCE, || child.try_wait().unwrap().is_some());
        if !stopped {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(stopped, "the daemon does not stop:\n{}", self.log());
    }

    /// Starts the daemon again; one that still runs is stopped first.
    pub fn restart(&mut self) {
        self.stop();
        self.launch();
    }

    /// Kills the daemon, every supervisor and every container, as a crash of the machine does.
    pub fn crash_everything(&mut self) {
        self.kill9();
        leaks::kill(&self.mark);
    }

    /// The supervisors and containers that run.
    pub fn processes(&self) -> Vec<leaks::Process> {
        let daemon = self.child.as_ref().map(|child| child.id().cast_signed());
        leaks::processes(&self.mark).into_iter().filter(|process| Some(process.pid) != daemon).collect()
    }

    fn launch(&mut self) {
        let log =
            fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join("hulld.log")).unwrap();
        let socket = self.socket();
        let mut command = Command::new(binary("hulld"));
        command.arg("-H").arg(format!("unix://{}", socket.display()));
        command.arg("--data-root").arg(self.given_data_root()).arg("--exec-root").arg(self.exec_root());
        command.arg("--pidfile").arg(self.dir.path().join("hulld.pid"));
        command.arg("--cgroup-parent").arg(&self.cgroup).args(&self.arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut child = command.spawn().unwrap();
        let up = eventually(PATIENCE, || {
            child.try_wait().unwrap().is_some() || http::request(&socket, "GET", "/_ping", None).is_ok()
        });
        let ended = child.try_wait().unwrap();
        self.child = Some(child);
        assert!(up && ended.is_none(), "the daemon does not come up ({ended:?}):\n{}", self.log());
        assert_eq!(self.api("GET", "/_ping", None).status, 200, "{}", self.log());
    }

    /// Removes every container and stops the daemon; returns what is left.
    fn finish(&mut self) -> Vec<String> {
        if self.child.is_none() {
            self.launch();
        }
        let all = self.hull(["ps", "-aq", "--no-trunc"]);
        let ids = all.ok().lines();
        for id in ids {
            self.hull(["rm", "-f", "-v", id]).ok();
        }
        // Removed files are deleted in the background.
        let unfinished = self.data_root().join("snapshots/unfinished");
        eventually(PATIENCE, || fs::read_dir(&unfinished).is_ok_and(|mut entries| entries.next().is_none()));
        self.stop();
        self.leftovers()
    }

    fn leftovers(&self) -> Vec<String> {
        let processes = leaks::lingering(&self.mark).into_iter();
        let mut left: Vec<_> =
            processes.map(|process| format!("process {}: {}", process.pid, process.command)).collect();
        let cgroups = leaks::cgroups_below(self.cgroup.trim_start_matches('/'));
        left.extend(cgroups.iter().map(|path| format!("cgroup {}", path.display())));
        left.extend(self.before.added());
        let data = self.data_root();
        let emptied =
            ["containers", "snapshots/snapshots", "snapshots/unfinished"].map(|below| data.join(below));
        for directory in emptied.into_iter().chain([self.exec_root().join("shim")]) {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            left.extend(entries.map(|entry| format!("file {}", entry.path().display())));
        }
        left
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let failing = std::thread::panicking();
        // A test that fails says why already; what it left is swept away all the same.
        let left = match failing {
            true => Vec::new(),
            false => self.finish(),
        };
        self.kill9();
        // Once is not enough: a supervisor may be starting a container at this very moment.
        let cgroup = self.cgroup.trim_start_matches('/');
        eventually(Duration::from_secs(5), || {
            leaks::kill(&self.mark);
            leaks::remove_cgroups(cgroup);
            leaks::cgroups(cgroup).is_empty()
        });
        leaks::remove_empty_cgroups(&self.outer);
        if failing {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "---- the daemon's log\n{}", self.log());
        }
        assert!(left.is_empty(), "left behind:\n  {}\nthe daemon's log:\n{}", left.join("\n  "), self.log());
    }
}

/// A client's program that finds the daemon at `socket` and no other, and lives at `home`.
pub(crate) fn client(program: &Path, socket: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    let host = format!("unix://{}", socket.display());
    for variable in ["DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_API_VERSION"] {
        command.env_remove(variable);
    }
    command
        .env("HULL_HOST", &host)
        .env("DOCKER_HOST", &host)
        .env("DOCKER_CONFIG", home.join("docker"))
        .env("HULL_CONFIG", home.join("hull"))
        .env("HOME", home);
    command
}

/// A binary of ours: in `$HULL_BIN_DIR`, or where cargo has built it beside this test.
///
/// # Panics
/// If it was not built: `cargo build --workspace --bins`.
pub fn binary(name: &str) -> PathBuf {
    let built = || std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned();
    let dir = std::env::var_os("HULL_BIN_DIR").map_or_else(built, PathBuf::from);
    let path = dir.join(name);
    assert!(path.exists(), "{} is missing: cargo build --workspace --bins", path.display());
    path
}
