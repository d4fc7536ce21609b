//! The daemon may die at any moment; containers, their output and their exit codes do not care.

use std::thread;
use std::time::Duration;

use hull_testkit::Daemon;
use hull_testkit::output::{PATIENCE, eventually};

#[test]
fn a_killed_daemon_finds_its_containers_again() {
    let mut daemon = Daemon::with_busybox();
    let script = "i=0; while true; do i=$((i+1)); echo line $i; sleep 0.01; done";
    daemon.hull(["run", "-d", "--name", "talker", "busybox", "sh", "-c", script]).ok();
    let pid = daemon.hull(["inspect", "-f", "{{.State.Pid}}", "talker"]).ok().to_owned();
    daemon.kill9();
    thread::sleep(Duration::from_millis(300));
    daemon.restart();
    let again = daemon.hull(["inspect", "-f", "{{.State.Running}} {{.State.Pid}}", "talker"]);
    assert_eq!(again.ok(), format!("true {pid}"));
    daemon.hull(["exec", "talker", "true"]).ok();
    daemon.hull(["stop", "-t", "0", "talker"]).ok();
    let log = daemon.hull(["logs", "talker"]);
    for (number, line) in log.lines().iter().enumerate() {
        assert_eq!(*line, format!("line {}", number + 1), "no line is lost and none comes twice");
    }
    assert!(log.lines().len() > 20, "it went on while the daemon was away: {}", log.lines().len());
}

#[test]
fn an_exit_without_a_daemon_is_kept() {
    let mut daemon = Daemon::with_busybox();
    daemon.hull(["run", "-d", "--name", "brief", "busybox", "sh", "-c", "sleep 0.3; echo done; exit 7"]).ok();
    daemon.kill9();
    assert!(eventually(PATIENCE, || daemon.processes().is_empty()), "it ends by itself");
    daemon.restart();
    let state = daemon.hull(["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "brief"]);
    assert_eq!(state.ok(), "exited 7");
    assert_eq!(daemon.hull(["logs", "brief"]).ok(), "done");
    assert_eq!(daemon.hull(["wait", "brief"]).ok(), "7");
}

#[test]
fn a_removal_after_an_exit_without_a_daemon_is_told_once() {
    let mut daemon = Daemon::with_busybox();
    daemon.hull(["run", "-d", "--rm", "busybox", "sleep", "0.3"]).ok();
    daemon.kill9();
    assert!(eventually(PATIENCE, || daemon.processes().is_empty()), "it ends by itself");
    daemon.restart();
    assert_eq!(daemon.hull(["ps", "-aq"]).ok(), "");
    let events = daemon.hull(["events", "--since", "1h", "--until", "0s", "--format", "{{.Action}}"]);
    let removals = events.lines().iter().filter(|action| **action == "destroy").count();
    assert_eq!(removals, 1, "{events:#?}");
}

#[test]
fn after_a_crash_of_everything_nothing_runs_and_everything_is_known() {
    let mut daemon = Daemon::with_busybox();
    daemon.hull(["run", "-d", "--name", "gone", "busybox", "sleep", "1000"]).ok();
    daemon.hull(["run", "-d", "--name", "back", "--restart", "always", "busybox", "sleep", "1000"]).ok();
    daemon.hull(["create", "--name", "new", "busybox", "echo", "I start"]).ok();
    daemon.crash_everything();
    daemon.restart();
    let status = |name: &str| daemon.hull(["inspect", "-f", "{{.State.Status}}", name]).ok().to_owned();
    assert_eq!(status("gone"), "exited");
    assert!(eventually(PATIENCE, || status("back") == "running"), "{}", status("back"));
    assert_eq!(status("new"), "created");
    assert_eq!(daemon.hull(["start", "-a", "new"]).ok(), "I start");
    daemon.hull(["start", "gone"]).ok();
    assert_eq!(status("gone"), "running");
}

#[test]
fn a_daemon_killed_in_the_middle_of_its_work_leaves_nothing_half_done() {
    let mut daemon = Daemon::with_busybox();
    for round in 0..12u64 {
        let clients: Vec<_> =
            (0..3).map(|_| daemon.spawn_hull(["run", "--rm", "busybox", "echo", "work"])).collect();
        thread::sleep(Duration::from_millis(round * 4));
        daemon.kill9();
        drop(clients);
        daemon.restart();
        let settled = eventually(PATIENCE, || {
            let states = daemon.hull(["ps", "-a", "--format", "{{.State}}"]);
            states.ok().lines().all(|state| ["created", "exited"].contains(&state))
        });
        assert!(settled, "round {round}: {}", daemon.hull(["ps", "-a"]).stdout);
        for id in daemon.hull(["ps", "-aq"]).ok().lines() {
            daemon.hull(["rm", "-f", id]).ok();
        }
    }
    assert_eq!(daemon.hull(["run", "--rm", "busybox", "echo", "still works"]).ok(), "still works");
}

#[test]
fn a_daemon_that_stops_leaves_containers_alone() {
    let mut daemon = Daemon::with_busybox();
    daemon
        .hull(["run", "-d", "--name", "stays", "-p", "18080:80", "busybox", "httpd", "-f", "-h", "/etc"])
        .ok();
    daemon.restart();
    assert_eq!(daemon.hull(["inspect", "-f", "{{.State.Running}}", "stays"]).ok(), "true");
    let fetched = std::process::Command::new("busybox")
        .args(["wget", "-q", "-O", "-", "http://127.0.0.1:18080/passwd"])
        .output()
        .expect("busybox");
    assert!(String::from_utf8_lossy(&fetched.stdout).contains("root"), "the port still works: {fetched:?}");
    let taken = daemon.hull(["run", "--rm", "-p", "18080:80", "busybox", "true"]);
    taken.complains("port is already allocated").fails(125);
}

/// Whether it runs.
fn runs(daemon: &Daemon, name: &str) -> bool {
    daemon.hull(["inspect", "-f", "{{.State.Running}}", name]).ok() == "true"
}

#[test]
fn a_daemon_that_keeps_nothing_alive_ends_its_containers_and_starts_those_that_are_to_run() {
    let mut daemon = Daemon::start_with(&["--live-restore=false"]);
    let archive = hull_testkit::images::busybox(daemon.dir()).expect("an image");
    daemon.hull(["load", "-q", "-i", archive.to_str().expect("utf-8")]).ok();
    assert_eq!(daemon.api("GET", "/info", None).json()["LiveRestoreEnabled"], false);
    let polite = "trap 'echo asked; exit 3' TERM; while true; do sleep 0.05; done";
    daemon.hull(["run", "-d", "--name", "once", "busybox", "sh", "-c", polite]).ok();
    let always = ["run", "-d", "--name", "always", "--restart", "always", "--stop-timeout", "0"];
    daemon.hull(always.into_iter().chain(["busybox", "sleep", "1000"])).ok();
    daemon.stop();
    assert!(daemon.processes().is_empty(), "nothing outlives it: {:?}", daemon.processes());
    daemon.restart();
    assert_eq!(daemon.hull(["logs", "once"]).ok(), "asked");
    assert_eq!(
        daemon.hull(["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "once"]).ok(),
        "exited 3"
    );
    assert!(eventually(PATIENCE, || runs(&daemon, "always")));
    // What it could not end itself, the next one does.
    daemon.hull(["start", "once"]).ok();
    let pid = daemon.hull(["inspect", "-f", "{{.State.Pid}}", "always"]).ok().to_owned();
    daemon.kill9();
    daemon.restart();
    assert!(!runs(&daemon, "once"));
    assert!(eventually(PATIENCE, || runs(&daemon, "always")));
    assert_ne!(daemon.hull(["inspect", "-f", "{{.State.Pid}}", "always"]).ok(), pid);
}
