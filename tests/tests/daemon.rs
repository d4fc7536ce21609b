//! The daemon's own business: its configuration and what is installed beside it.

use std::process::Command;

use hull_testkit::Daemon;
use hull_testkit::daemon::binary;
use hull_testkit::output::{PATIENCE, eventually};
use rustix::process::{Pid, Signal};

#[test]
fn a_hang_up_reloads_the_configuration() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let file = directory.path().join("daemon.json");
    let write = |text: &str| std::fs::write(&file, text).expect("write");
    write(r#"{"labels": ["old=1"]}"#);
    let daemon = Daemon::start_with(&["--config-file", file.to_str().expect("utf-8")]);
    let hang_up = || {
        let pid = Pid::from_raw(daemon.pid().cast_signed()).expect("a process id");
        rustix::process::kill_process(pid, Signal::HUP).expect("kill");
    };
    let info = || daemon.api("GET", "/info", None).json();
    assert_eq!(info()["Labels"][0], "old=1");
    let events =
        daemon.spawn_hull(["events", "--format", "{{.Type}} {{.Action}} {{json .Actor.Attributes}}"]);
    assert!(eventually(PATIENCE, || info()["NEventsListener"] == 1));

    write(r#"{"labels": ["new=2"], "debug": true, "insecure-registries": ["lab:5000"], "mtu": 1400}"#);
    hang_up();
    events.wait_for("daemon reload ");
    let now = info();
    assert_eq!((&now["Labels"][0], &now["Debug"]), (&"new=2".into(), &true.into()));
    assert_eq!(now["RegistryConfig"]["IndexConfigs"]["lab:5000"]["Secure"], false);
    assert!(events.stdout().contains(r#""debug":"true""#), "{}", events.stdout());
    assert!(eventually(PATIENCE, || daemon.log().contains("DEBUG")), "it logs more: {}", daemon.log());

    write(r#"{"labels": ["newer=3"], "no-such-key": 1}"#);
    hang_up();
    assert!(eventually(PATIENCE, || daemon.log().contains("the configuration stays as it was")));
    assert_eq!(info()["Labels"][0], "new=2", "a mistake changes nothing");
}

#[test]
fn the_manual_and_the_completions_are_of_its_own_flags() {
    let print = |what: &str| {
        let output = Command::new(binary("hulld")).args(["--print", what]).output().expect("hulld runs");
        assert!(output.status.success());
        String::from_utf8(output.stdout).expect("utf-8")
    };
    let page = print("man");
    assert!(page.contains(".TH hulld 8") && page.contains("insecure\\-registry"), "{page}");
    for shell in ["bash", "zsh", "fish"] {
        assert!(print(shell).contains("insecure-registry"), "{shell}");
    }
}
