//! A container of busybox under a real supervisor, and a look at what is left of it.

#![allow(dead_code, reason = "each test program uses its part of the kit")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use hull_shim::client;
use hull_shim::protocol::{
    Answer, Attach, Config, Exec, Exit, Header, LogConfig, LogFile, Request, Rootfs, Stream, Terminal,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A directory with a root file system; containers run on overlays over it.
pub(crate) struct Host {
    pub(crate) dir: TempDir,
}

impl Host {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("hull-shim-").tempdir().unwrap();
        for name in ["root/bin", "root/etc", "root/proc", "root/dev", "root/sys", "root/tmp"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let busybox = dir.path().join("root/bin/busybox");
        std::fs::copy("/usr/bin/busybox", &busybox)
            .or_else(|_| std::fs::copy("/bin/busybox", &busybox))
            .unwrap();
        std::os::unix::fs::symlink("busybox", dir.path().join("root/bin/sh")).unwrap();
        Self { dir }
    }

    /// A container that runs a shell script.
    pub(crate) fn shell(&self, script: &str) -> Container<'_> {
        self.container(&["/bin/sh", "-c", script])
    }

    pub(crate) fn container(&self, args: &[&str]) -> Container<'_> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mark =
            std::env::var("HULL_TEST_MARK").unwrap_or_else(|_| format!("hull-test-{}", std::process::id()));
        let id = format!("c{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let home = self.dir.path().join(&id);
        for name in ["upper", "work", "shim"] {
            std::fs::create_dir_all(home.join(name)).unwrap();
        }
        let config = Config {
            spec: serde_json::from_value(spec(args)).unwrap(),
            rootfs: Rootfs::Overlay {
                lower: vec![self.dir.path().join("root")],
                upper: home.join("upper"),
                work: home.join("work"),
                volatile: false,
                mapped: false,
            },
            user: None,
            extra_groups: vec![],
            terminal: None,
            open_stdin: false,
            stdin_once: false,
            cgroup: format!("/{mark}/{id}"),
            seccomp: None,
            netns_fd: None,
            shared: Vec::new(),
            runtime: None,
            checkpoint: None,
            sources: Default::default(),
            bundle: Default::default(),
            log: LogFile::bounded(home.join("log")).into(),
            id,
        };
        Container { home, config, pid: 0, shim_pid: 0, host: self }
    }
}

fn spec(args: &[&str]) -> Value {
    let namespaces = ["pid", "ipc", "uts", "mount", "cgroup"].map(|kind| json!({ "type": kind }));
    let bounding = ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID", "CAP_DAC_OVERRIDE"];
    json!({
        "ociVersion": "1.2.0",
        "root": { "path": "rootfs" },
        "hostname": "test",
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": args,
            "cwd": "/",
            "env": ["PATH=/bin"],
            "capabilities": { "bounding": bounding, "effective": bounding, "permitted": bounding },
        },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
        ],
        "linux": { "namespaces": namespaces, "resources": {} },
    })
}

/// A container; its end checks that nothing of it is left.
pub(crate) struct Container<'host> {
    pub(crate) home: PathBuf,
    pub(crate) config: Config,
    pub(crate) pid: i32,
    pub(crate) shim_pid: i32,
    host: &'host Host,
}

impl Container<'_> {
    pub(crate) fn with_stdin(mut self, once: bool) -> Self {
        (self.config.open_stdin, self.config.stdin_once) = (true, once);
        self
    }

    pub(crate) fn with_terminal(mut self) -> Self {
        self.config.terminal = Some(Terminal { rows: 24, cols: 80 });
        self.config.open_stdin = true;
        self
    }

    /// In the pid namespace of the host.
    pub(crate) fn with_host_pids(mut self) -> Self {
        let mut linux = self.config.spec.linux().clone().unwrap();
        let namespaces = linux.namespaces().clone().unwrap();
        let kept = namespaces.into_iter().filter(|one| one.typ().to_string() != "pid").collect();
        linux.set_namespaces(Some(kept));
        self.config.spec.set_linux(Some(linux));
        self
    }

    pub(crate) fn with_log(mut self, log: LogConfig) -> Self {
        self.config.log = log;
        self
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.home.join("shim")
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.home.join("log")
    }

    pub(crate) fn create(mut self) -> Self {
        match client::spawn(&program(), &self.dir(), self.config.clone(), None).unwrap() {
            Answer::Created { pid, shim_pid } => (self.pid, self.shim_pid) = (pid, shim_pid),
            answer => panic!("{answer:?}"),
        }
        self
    }

    pub(crate) fn start(self) -> Self {
        match self.ask(&Request::Start) {
            Answer::Started { pid, .. } => assert_eq!(pid, self.pid),
            answer => panic!("{answer:?}"),
        }
        self
    }

    pub(crate) fn run(self) -> Self {
        self.create().start()
    }

    pub(crate) fn ask(&self, request: &Request) -> Answer {
        client::request(&self.dir(), request).unwrap().0
    }

    pub(crate) fn connect(&self, request: &Request) -> (Answer, UnixStream) {
        let (answer, stream) = client::request(&self.dir(), request).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        (answer, stream)
    }

    pub(crate) fn attach(&self, stdin: bool) -> Client {
        let attach = Attach { stdin, stdout: true, stderr: true };
        let (answer, stream) = self.connect(&Request::Attach(attach));
        assert!(matches!(answer, Answer::Ok), "{answer:?}");
        Client(stream)
    }

    /// A process of its own in the container.
    pub(crate) fn exec(&self, id: &str, script: &str, change: impl FnOnce(&mut Exec)) -> Client {
        let process = json!({ "user": { "uid": 0, "gid": 0 }, "cwd": "/", "env": ["PATH=/bin"],
            "args": ["/bin/sh", "-c", script] });
        let mut exec = Exec {
            id: id.to_owned(),
            process: serde_json::from_value(process).unwrap(),
            user: None,
            extra_groups: vec![],
            terminal: None,
            stdin: false,
            stdout: true,
            stderr: true,
            seccomp: None,
        };
        change(&mut exec);
        let (answer, stream) = self.connect(&Request::Exec(Box::new(exec)));
        assert!(matches!(answer, Answer::Started { .. }), "{answer:?}");
        Client(stream)
    }

    /// Waits for the exit, as a daemon does that may come late.
    pub(crate) fn wait(&self) -> Exit {
        let answer = client::connect(&self.dir()).and_then(|mut stream| {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            client::wait(&mut stream, &self.dir())
        });
        match answer {
            Ok(Answer::Exited(exit)) => exit,
            Ok(answer) => panic!("{answer:?}"),
            Err(_) => client::exit_record(&self.dir()).unwrap().expect("a record of the exit"),
        }
    }

    /// Waits for the exit and for the end of the supervisor.
    pub(crate) fn end(&self) -> Exit {
        let exit = self.wait();
        assert_eq!(client::exit_record(&self.dir()).unwrap().as_ref(), Some(&exit));
        assert!(!self.cgroup_exists(), "the cgroup is left");
        eventually("the supervisor ends", || !alive(self.shim_pid));
        assert!(!alive(self.pid));
        let names = std::fs::read_dir(self.dir()).unwrap().map(|entry| entry.unwrap().file_name());
        // Records of execs whose end nobody has heard of wait for the daemon, which takes the directory away.
        let is_exec = |name: &std::ffi::OsString| name.to_string_lossy().starts_with("exec-");
        let left: Vec<_> = names.filter(|name| !is_exec(name)).collect();
        assert_eq!(left.len(), 2, "config.json and exit.json: {left:?}");
        exit
    }

    pub(crate) fn records(&self) -> Vec<Value> {
        records(&self.log_path())
    }

    /// What one stream logged.
    pub(crate) fn logged(&self, stream: &str) -> String {
        let records = self.records().into_iter().filter(|record| record["stream"] == stream);
        records.map(|record| record["log"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn cgroup_exists(&self) -> bool {
        hull_cgroup::Cgroup::open(&self.config.cgroup).is_ok()
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        // Only a test that failed leaves something to end here.
        for pid in [self.pid, self.shim_pid].into_iter().filter(|pid| *pid != 0 && alive(*pid)) {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        for path in [&*self.config.cgroup, self.config.cgroup.rsplit_once('/').unwrap().0] {
            // Whoever runs the tests looks for what is left.
            let _ = hull_cgroup::Cgroup::open(path).and_then(|cgroup| cgroup.remove());
        }
    }
}

/// A stream to a process.
pub(crate) struct Client(pub(crate) UnixStream);

impl Client {
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    pub(crate) fn end_input(&self) {
        self.0.shutdown(Shutdown::Write).unwrap();
    }

    pub(crate) fn frame(&mut self) -> Option<(Stream, Vec<u8>)> {
        let mut header = [0; Header::SIZE];
        match self.0.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return None,
            Err(error) => panic!("{error}"),
        }
        let header = Header::decode(header).expect("a header");
        let mut payload = vec![0; header.length];
        self.0.read_exact(&mut payload).unwrap();
        Some((header.stream, payload))
    }

    /// Reads until `text` has come.
    pub(crate) fn expect(&mut self, text: &str) -> String {
        let mut all = String::new();
        while !all.contains(text) {
            let Some((_, payload)) = self.frame() else { panic!("{text:?} is not in {all:?}") };
            all.push_str(&String::from_utf8_lossy(&payload));
        }
        all
    }

    /// Everything until the end: output, errors, and the exit code of an exec session.
    pub(crate) fn rest(mut self) -> (String, String, Option<i32>) {
        let (mut out, mut err, mut code) = (Vec::new(), Vec::new(), None);
        while let Some((stream, payload)) = self.frame() {
            match stream {
                Stream::Stdout => out.extend(payload),
                Stream::Stderr => err.extend(payload),
                Stream::Exit => code = Some(i32::from_be_bytes(payload.try_into().unwrap())),
            }
        }
        (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), code)
    }
}

pub(crate) fn program() -> client::Program {
    client::Program::open(&shim()).unwrap()
}

/// The supervisor under test: cargo's, or the one that `HULL_SHIM` names.
pub(crate) fn shim() -> PathBuf {
    std::env::var_os("HULL_SHIM").map_or_else(|| env!("CARGO_BIN_EXE_hull-shim").into(), PathBuf::from)
}

/// The records of a log that may be being written.
pub(crate) fn records(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Whether there is such a process, zombies not counted.
pub(crate) fn alive(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
