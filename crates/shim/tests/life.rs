//! The life of a container under its supervisor, on the real kernel. Needs root, and mount and network namespaces of
//! its own (`cargo xtask test`).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod kit;

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use hull_shim::client;
use hull_shim::protocol::{self, Answer, Kill, Request, Status};
use kit::{Host, alive, eventually};

#[test]
fn output_and_exit_code() {
    let host = Host::new();
    let container = host.shell("echo out; echo err >&2; exit 3").run();
    let exit = container.end();
    assert_eq!((exit.code, exit.signal, exit.oom), (3, None, false));
    assert!(exit.started_at.as_ref().is_some_and(|start| *start < exit.at), "{exit:?}");
    assert_eq!(container.logged("stdout"), "out\n");
    assert_eq!(container.logged("stderr"), "err\n");
}

#[test]
fn a_signal_is_128_and_its_number() {
    let host = Host::new();
    let container = host.shell("sleep 100").run();
    let kill = |signal| Request::Kill(Kill { signal, exec: None, all: false });
    assert!(matches!(container.ask(&kill(9)), Answer::Ok));
    let exit = container.end();
    assert_eq!((exit.code, exit.signal), (137, Some(9)));
}

#[test]
fn a_handled_signal_reaches_the_program() {
    let host = Host::new();
    let container = host.shell("trap 'echo got; exit 5' USR1; echo ready; while :; do sleep 0.1; done").run();
    eventually("the trap is set", || container.logged("stdout").contains("ready"));
    container.ask(&Request::Kill(Kill { signal: 10, exec: None, all: false }));
    assert_eq!(container.end().code, 5);
    assert_eq!(container.logged("stdout"), "ready\ngot\n");
}

#[test]
fn a_container_waits_for_its_start() {
    let host = Host::new();
    let container = host.shell("echo ran").create();
    let Answer::State(state) = container.ask(&Request::State) else { panic!("no state") };
    assert_eq!((state.status, state.pid, state.started_at), (Status::Created, container.pid, None));
    assert!(container.records().is_empty());
    let container = container.start();
    assert!(matches!(container.ask_twice(), Some(Answer::Invalid(_)) | None));
    assert_eq!(container.end().code, 0);
    assert_eq!(container.logged("stdout"), "ran\n");
}

trait AskTwice {
    fn ask_twice(&self) -> Option<Answer>;
}

impl AskTwice for kit::Container<'_> {
    /// A second start; `None` if the container has ended already.
    fn ask_twice(&self) -> Option<Answer> {
        client::request(&self.dir(), &Request::Start).ok().map(|(answer, _)| answer)
    }
}

#[test]
fn a_container_that_is_never_started_can_be_killed() {
    let host = Host::new();
    let container = host.shell("echo ran").create();
    container.ask(&Request::Kill(Kill { signal: 9, exec: None, all: false }));
    let exit = container.end();
    assert_eq!((exit.code, exit.started_at), (137, None));
    assert!(container.records().is_empty());
}

#[test]
fn a_program_that_is_not_there() {
    let host = Host::new();
    let container = host.container(&["/bin/nope"]);
    let failure =
        match client::spawn(&kit::program(), &container.dir(), container.config.clone(), None).unwrap() {
            Answer::Failed(failure) => failure,
            Answer::Created { .. } => match container.ask(&Request::Start) {
                Answer::Failed(failure) => failure,
                answer => panic!("{answer:?}"),
            },
            answer => panic!("{answer:?}"),
        };
    assert_eq!((failure.step.as_str(), failure.object.as_str(), failure.errno), ("exec", "/bin/nope", 2));
    eventually("the cgroup is gone", || !container.cgroup_exists());
    eventually("the socket is gone", || !container.dir().join(protocol::SOCKET).exists());
}

#[test]
fn a_container_that_cannot_be_made() {
    let host = Host::new();
    let mut container = host.shell("true");
    container.config.user = Some("nobody-of-this-name".into());
    let answer = client::spawn(&kit::program(), &container.dir(), container.config.clone(), None).unwrap();
    assert!(matches!(&answer, Answer::Failed(failure) if failure.step == "user"), "{answer:?}");
    assert!(!container.cgroup_exists());
}

#[test]
fn the_supervisor_outlives_its_spawner() {
    let host = Host::new();
    let container = host.shell("sleep 0.5; echo late").create();
    // This test's process is not the parent any more.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", container.shim_pid)).unwrap();
    let parent = stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().to_owned();
    assert_ne!(parent, std::process::id().to_string());
    let session = stat.rsplit_once(") ").unwrap().1.split(' ').nth(3).unwrap().to_owned();
    assert_eq!(session, container.shim_pid.to_string(), "a session of its own");
    // A daemon that is killed in the middle of an attachment.
    let container = container.start();
    let connection = Stdio::from(std::os::fd::OwnedFd::from(container.attach(true).0));
    let mut daemon = Command::new("sleep").arg("100").stdin(connection).spawn().unwrap();
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::HUP, rustix::process::Signal::INT]
    {
        rustix::process::kill_process(rustix::process::Pid::from_raw(container.shim_pid).unwrap(), signal)
            .unwrap();
    }
    assert_eq!(container.end().code, 0);
    assert_eq!(container.logged("stdout"), "late\n");
}

#[test]
fn the_container_dies_with_its_supervisor() {
    let host = Host::new();
    let container = host.shell("trap '' TERM HUP; while :; do sleep 1; done").run();
    assert!(alive(container.pid));
    let shim = rustix::process::Pid::from_raw(container.shim_pid).unwrap();
    rustix::process::kill_process(shim, rustix::process::Signal::KILL).unwrap();
    eventually("init is killed", || !alive(container.pid));
    assert_eq!(client::exit_record(&container.dir()).unwrap(), None);
}

#[test]
fn processes_outside_a_pid_namespace_are_killed_with_init() {
    let host = Host::new();
    let container = host.shell("sleep 1000 & echo $!; sleep 0.1").with_host_pids().run();
    assert_eq!(container.end().code, 0);
    let sleeper: i32 = container.logged("stdout").trim().parse().unwrap();
    assert!(!alive(sleeper));
}

#[test]
fn orphans_are_reaped() {
    let host = Host::new();
    let container = host.shell("(sleep 0.1 & echo $!); sleep 0.5; cat /proc/*/stat | grep -c ' Z ' ; exit 0");
    let container = container.with_host_pids().run();
    eventually("the orphan's pid", || !container.logged("stdout").is_empty());
    let orphan = container.logged("stdout").trim().to_owned();
    eventually("it is gone", || !std::path::Path::new("/proc").join(&orphan).exists());
    container.end();
}

#[test]
fn nothing_of_the_supervisor_leaks_into_the_container() {
    let host = Host::new();
    let container = host.shell("ls -l /proc/self/fd; grep -E '^Sig(Blk|Ign)' /proc/self/status; umask; cat /proc/self/oom_score_adj").run();
    assert_eq!(container.end().code, 0);
    let text = container.logged("stdout");
    // What ls itself reads has no target that could be shown.
    let descriptors: Vec<_> = text.lines().filter(|line| line.contains(" -> ")).collect();
    assert!(descriptors.len() == 3 || descriptors.len() == 4 && descriptors[3].contains("/proc/"), "{text}");
    let mask = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        // 32 and 33 belong to the C library, which hands them on as they are.
        u64::from_str_radix(line.trim(), 16).unwrap() & !(3 << 31)
    };
    assert_eq!((mask("SigBlk:"), mask("SigIgn:")), (0, 0), "{text}");
    assert!(text.ends_with("\n0022\n0\n"), "{text}");
}

#[test]
fn the_socket_is_roots_alone() {
    let host = Host::new();
    let container = host.shell("sleep 100").run();
    let mode = container.dir().join(protocol::SOCKET).metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let config = container.dir().join(protocol::CONFIG).metadata().unwrap().permissions().mode();
    assert_eq!(config & 0o777, 0o600);
    container.ask(&Request::Kill(Kill { signal: 9, exec: None, all: true }));
    container.end();
}

#[test]
fn nonsense_is_refused() {
    use std::io::Write;
    let host = Host::new();
    let container = host.shell("sleep 100").run();
    for nonsense in ["nonsense\n".to_owned(), "{\"Kill\":7}\n".to_owned(), "x".repeat(2 << 20)] {
        let mut stream = client::connect(&container.dir()).unwrap();
        stream.set_read_timeout(Some(kit::PATIENCE)).unwrap();
        // The supervisor may stop listening before all of it is said.
        let _ = stream.write_all(nonsense.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(matches!(protocol::decode(&answer), Ok(Answer::Invalid(_))), "{answer:?}");
    }
    container.ask(&Request::Kill(Kill { signal: 9, exec: None, all: false }));
    assert_eq!(container.end().code, 137);
}

#[test]
fn a_container_out_of_memory() {
    let host = Host::new();
    let mut container = host.shell("dd if=/dev/zero of=/dev/null bs=200M count=1; true");
    let mut linux = container.config.spec.linux().clone().unwrap();
    linux.set_resources(Some(
        serde_json::from_value(serde_json::json!({ "memory": { "limit": 16 << 20, "swap": 16 << 20 } }))
            .unwrap(),
    ));
    container.config.spec.set_linux(Some(linux));
    let container = container.run();
    assert!(container.end().oom);
}
