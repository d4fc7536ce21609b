//! The life of a container, by the command line.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;

use serde_json::{Value, json};
use support::{Bed, text, wait_for};

#[test]
fn a_container_has_namespaces_of_its_own() {
    let mut bed = Bed::new();
    let inside =
        bed.shell("for n in /proc/self/ns/*; do readlink $n; done; echo $$; hostname; pwd; ps | wc -l");
    let mut lines: Vec<&str> = inside.lines().collect();
    let processes = lines.pop().unwrap();
    assert_eq!(lines.split_off(lines.len() - 3), ["1", "hull", "/"]);
    assert!(processes.trim().parse::<u32>().unwrap() < 5, "{processes} processes are seen");
    for kind in ["cgroup", "ipc", "mnt", "net", "pid", "uts"] {
        let outside = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        let inside = lines.iter().find(|line| line.starts_with(&format!("{kind}:"))).unwrap();
        assert_ne!(outside.to_str().unwrap(), *inside);
    }
}

#[test]
fn the_status_is_that_of_the_program() {
    let mut bed = Bed::new();
    assert_eq!(bed.run(&["true"]).status.code(), Some(0));
    assert_eq!(bed.run(&["sh", "-c", "exit 42"]).status.code(), Some(42));
    // The shell is pid 1, which a signal without a handler cannot end; its child is not.
    assert_eq!(bed.run(&["sh", "-c", "sh -c 'kill -9 $$'; exit $?"]).status.code(), Some(137));
}

#[test]
fn a_container_is_created_started_and_deleted() {
    let mut bed = Bed::new();
    bed.config["process"]["args"] = json!(["sh", "-c", "echo started > /dev/shm/mark; exec sleep 1000"]);
    bed.write_config();
    bed.leave(&["create", "--pid-file", "pid", "one"]);
    let state = |bed: &Bed| serde_json::from_str::<Value>(&bed.ok(&["state", "one"])).unwrap();
    assert_eq!(state(&bed)["status"], "created");
    assert_eq!(fs::read_to_string(bed.dir.join("pid")).unwrap(), state(&bed)["pid"].to_string());
    let twice = bed.runtime(&["create", "one"]).output().unwrap();
    assert!(text(&twice.stderr).contains("container with id exists"));

    bed.ok(&["start", "one"]);
    assert_eq!(state(&bed)["status"], "running");
    let again = bed.runtime(&["start", "one"]).output().unwrap();
    assert!(text(&again.stderr).contains("cannot start a container that is running"));
    let deleted = bed.runtime(&["delete", "one"]).output().unwrap();
    assert!(text(&deleted.stderr).contains("cannot delete container one that is not stopped: running"));
    assert!(bed.ok(&["list"]).contains("running"));
    assert_eq!(bed.ok(&["list", "-q"]), "one\n");

    bed.ok(&["pause", "one"]);
    assert_eq!(state(&bed)["status"], "paused");
    let paused = bed.runtime(&["exec", "one", "true"]).output().unwrap();
    assert!(text(&paused.stderr).contains("cannot exec in a paused container"));
    bed.ok(&["resume", "one"]);

    assert_eq!(bed.ok(&["exec", "one", "cat", "/dev/shm/mark"]), "started\n");
    bed.ok(&["kill", "one", "KILL"]);
    wait_for("the end", || state(&bed)["status"] == "stopped");
    bed.ok(&["delete", "one"]);
    let gone = bed.runtime(&["state", "one"]).output().unwrap();
    assert!(text(&gone.stderr).contains("does not exist"));
}

#[test]
fn a_terminal_is_relayed_or_handed_over() {
    use std::os::fd::OwnedFd;
    let mut bed = Bed::new();
    bed.config["process"]["terminal"] = json!(true);
    bed.config["process"]["consoleSize"] = json!({ "height": 21, "width": 43 });
    bed.config["process"]["args"] = json!(["sh", "-c", "tty; read word; echo $word; exit 9"]);
    bed.write_config();
    let mut run = bed.runtime(&["run", "c"]);
    let (reader, mut writer) = std::io::pipe().unwrap();
    let run = run.stdin(OwnedFd::from(reader)).stdout(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut writer, b"typed\n").unwrap();
    let output = run.wait_with_output().unwrap();
    // The terminal echoes what is typed whenever it comes, so the first two lines may come either way around.
    let said = text(&output.stdout);
    let mut lines: Vec<&str> = said.split_terminator("\r\n").collect();
    assert_eq!(lines.pop(), Some("typed"));
    lines.sort_unstable();
    assert_eq!(lines, ["/dev/pts/0", "typed"]);
    assert_eq!(output.status.code(), Some(9));

    let without = bed.runtime(&["create", "c"]).output().unwrap();
    assert!(text(&without.stderr).contains("without --console-socket"));
    let path = bed.dir.join("console");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    bed.leave(&["create", "--console-socket", path.to_str().unwrap(), "c"]);
    let (stream, _) = listener.accept().unwrap();
    let (_, mut descriptors) = hull_sys::scm::receive(&stream, &mut [0; 64]).unwrap();
    let master = descriptors.pop().unwrap();
    let size = rustix::termios::tcgetwinsize(&master).unwrap();
    assert_eq!((size.ws_row, size.ws_col), (21, 43));
    bed.ok(&["delete", "c"]);
}

#[test]
fn delete_ends_what_was_only_created() {
    let mut bed = Bed::new();
    bed.config["process"]["args"] = json!(["true"]);
    bed.write_config();
    bed.leave(&["create", "one"]);
    bed.ok(&["delete", "one"]);
    bed.ok(&["delete", "--force", "never-was"]);
}

#[test]
fn an_exec_joins_the_container() {
    let mut bed = Bed::new();
    bed.config["process"]["args"] = json!(["sleep", "1000"]);
    bed.write_config();
    bed.leave(&["run", "--detach", "one"]);
    let inside = |args: &[&str]| {
        let all: Vec<&str> = ["exec"].iter().chain(args).copied().collect();
        bed.ok(&all)
    };
    let links = "for n in /proc/1/ns/* /proc/self/ns/*; do readlink $n; done";
    let namespaces = inside(&["one", "sh", "-c", links]);
    let namespaces: Vec<&str> = namespaces.lines().collect();
    let (first, second) = namespaces.split_at(namespaces.len() / 2);
    assert_eq!(first, second);
    // A hybrid host has a line for each hierarchy: in all of them the container's own cgroup is the root.
    assert!(inside(&["one", "cat", "/proc/self/cgroup"]).lines().all(|line| line.ends_with(":/")));
    assert_eq!(inside(&["--cwd", "/etc", "--env", "A=b", "one", "sh", "-c", "pwd; echo $A"]), "/etc\nb\n");
    assert_eq!(
        inside(&["--user", "33:44", "one", "sh", "-c", "id -u; id -g; echo $HOME"]),
        "33\n44\n/var/www\n"
    );
    // Nothing of us is open in it, and its capabilities are the container's.
    assert_eq!(inside(&["one", "sh", "-c", "ls /proc/self/fd | wc -l"]).trim(), "4");
    let same = "for p in 1 self; do grep Cap /proc/$p/status | cat; done";
    let sets = inside(&["one", "sh", "-c", same]);
    let sets: Vec<&str> = sets.lines().collect();
    assert_eq!(sets[..5], sets[5..]);

    let status = |args: &[&str]| bed.runtime(args).output().unwrap();
    assert_eq!(status(&["exec", "one", "sh", "-c", "exit 3"]).status.code(), Some(3));
    let missing = status(&["exec", "one", "nope"]);
    assert!(text(&missing.stderr).contains(r#"exec: "nope": executable file not found in $PATH"#));
    bed.ok(&["delete", "--force", "one"]);
}

#[test]
fn descriptors_are_kept_only_on_demand() {
    use std::os::unix::process::CommandExt;
    let mut bed = Bed::new();
    bed.config["process"]["args"] = json!(["sh", "-c", "ls /proc/$$/fd; cat <&3"]);
    bed.write_config();
    let open = format!(
        "exec 3</etc/hostname 4</ 5</etc; exec {} --root state run $KEEP c",
        env!("CARGO_BIN_EXE_hull-runtime")
    );
    let run = |keep: &str| {
        let mut shell = std::process::Command::new("/bin/sh");
        shell.args(["-c", &open]).env("KEEP", keep).current_dir(&bed.dir).process_group(0);
        shell.output().unwrap()
    };
    let kept = run("--preserve-fds 1");
    assert!(kept.status.success(), "{}", text(&kept.stderr));
    assert!(text(&kept.stdout).starts_with("0\n1\n2\n3\n"), "{}", text(&kept.stdout));
    assert!(!text(&kept.stdout).contains("\n4\n5\n"));
    let closed = run("");
    assert!(text(&closed.stdout).starts_with("0\n1\n2\n") && !text(&closed.stdout).contains("\n4\n"));
    assert!(!closed.status.success(), "descriptor 3 is open in the container");
}

#[test]
fn unknown_words_change_nothing() {
    let bed = Bed::new();
    for args in
        [&["fly"][..], &["run", "--fly", "c"], &["create"], &["state", "../x"], &["kill", "c", "SIGNONE"]]
    {
        let output = bed.runtime(args).output().unwrap();
        assert!(!output.status.success(), "{args:?}");
        assert!(text(&output.stderr).starts_with("hull-runtime: "), "{args:?}");
    }
}
