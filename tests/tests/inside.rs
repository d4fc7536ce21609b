//! Being in a running container: exec, attach, logs, terminals, files.

use hull_testkit::Daemon;
use hull_testkit::output::{PATIENCE, eventually};

fn sleeper(daemon: &Daemon, name: &str) {
    daemon.hull(["run", "-d", "--name", name, "busybox", "sleep", "1000"]).ok();
}

#[test]
fn exec_runs_beside_the_program() {
    let daemon = Daemon::with_busybox();
    sleeper(&daemon, "box");
    assert_eq!(daemon.hull(["exec", "box", "cat", "/proc/1/comm"]).ok(), "sleep");
    assert_eq!(
        daemon
            .hull([
                "exec",
                "-u",
                "55:66",
                "-w",
                "/tmp",
                "-e",
                "A=b",
                "box",
                "sh",
                "-c",
                "id -u; pwd; echo $A"
            ])
            .ok(),
        "55\n/tmp\nb"
    );
    assert_eq!(daemon.hull(["exec", "box", "sh", "-c", "exit 9"]).code, 9);
    assert_eq!(daemon.hull_with_input(["exec", "-i", "box", "wc", "-c"], b"12345").ok(), "5");
    let missing = daemon.hull(["exec", "box", "nosuchprogram"]);
    assert_eq!(missing.code, 127, "{missing:#?}");
    assert!((missing.stdout + &missing.stderr).contains("executable file not found"));
    let both = daemon.hull(["exec", "box", "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((both.stdout.as_str(), both.stderr.as_str()), ("out\n", "err\n"));
    daemon.hull(["exec", "-d", "box", "touch", "/tmp/detached"]).ok();
    assert!(eventually(PATIENCE, || daemon.hull(["exec", "box", "test", "-e", "/tmp/detached"]).code == 0));
}

#[test]
fn exec_gets_the_containers_limits_and_no_more_rights() {
    let daemon = Daemon::with_busybox();
    sleeper(&daemon, "box");
    let status = daemon.hull(["exec", "box", "grep", "-E", "CapEff|CapInh|Seccomp:", "/proc/self/status"]);
    status.says("CapEff:\t00000000a80425fb").says("CapInh:\t0000000000000000").says("Seccomp:\t2");
    let open = daemon.hull(["exec", "box", "ls", "/proc/self/fd"]);
    assert_eq!(open.lines(), ["0", "1", "2", "3"], "3 is the directory that ls reads");
}

#[test]
fn logs_have_every_line_with_its_time() {
    let daemon = Daemon::with_busybox();
    daemon
        .hull([
            "run",
            "--name",
            "box",
            "busybox",
            "sh",
            "-c",
            "for i in 1 2 3 4 5; do echo line $i; done; echo last >&2",
        ])
        .ok();
    assert_eq!(daemon.hull(["logs", "box"]).stdout, "line 1\nline 2\nline 3\nline 4\nline 5\n");
    assert_eq!(daemon.hull(["logs", "box"]).stderr, "last\n");
    assert_eq!(daemon.hull(["logs", "--tail", "2", "box"]).stdout, "line 5\n");
    let timed = daemon.hull(["logs", "-t", "box"]);
    let (time, text) = timed.lines()[0].split_once(' ').expect("a time and a line");
    assert_eq!(text, "line 1");
    assert!(time.starts_with("20") && time.ends_with('Z') && time.contains('.'), "{time}");
    assert_eq!(daemon.hull(["logs", "--since", "2100-01-01T00:00:00Z", "box"]).ok(), "");
    assert_eq!(daemon.hull(["logs", "--until", "2000-01-01T00:00:00Z", "box"]).ok(), "");
}

#[test]
fn following_a_log_ends_with_the_container() {
    let daemon = Daemon::with_busybox();
    let script = "for i in 1 2 3; do echo $i; sleep 0.1; done";
    daemon.hull(["run", "-d", "--name", "box", "busybox", "sh", "-c", script]).ok();
    assert_eq!(daemon.hull(["logs", "-f", "box"]).stdout, "1\n2\n3\n");
}

#[test]
fn a_client_attaches_and_leaves() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "-d", "-i", "--name", "echo", "busybox", "cat"]).ok();
    let mut client = daemon.spawn_hull(["attach", "echo"]);
    client.write(b"ping\n");
    client.wait_for("ping");
    drop(client);
    assert_eq!(daemon.hull(["inspect", "-f", "{{.State.Running}}", "echo"]).ok(), "true");
    let mut again = daemon.spawn_hull(["attach", "echo"]);
    again.write(b"pong\n");
    again.wait_for("pong");
}

#[test]
fn a_lot_of_output_arrives_whole() {
    let daemon = Daemon::with_busybox();
    let script = "seq 1 200000; seq 1 1000 >&2";
    let numbers = |last| (1..=last).map(|number| format!("{number}\n")).collect::<String>();
    let attached = daemon.hull(["run", "--name", "box", "busybox", "sh", "-c", script]);
    for output in [attached, daemon.hull(["logs", "box"])] {
        assert!(output.stdout == numbers(200_000), "{} bytes", output.stdout.len());
        assert_eq!(output.stderr, numbers(1000));
    }
}

#[test]
fn files_go_in_and_out() {
    let daemon = Daemon::with_busybox();
    sleeper(&daemon, "box");
    let (file, back) = (daemon.dir().join("file"), daemon.dir().join("back"));
    std::fs::write(&file, "content").expect("write");
    daemon.docker(["cp", file.to_str().expect("utf-8"), "box:/tmp/"]).ok();
    assert_eq!(daemon.hull(["exec", "box", "cat", "/tmp/file"]).ok(), "content");
    daemon.docker(["cp", "box:/tmp/file", back.to_str().expect("utf-8")]).ok();
    assert_eq!(std::fs::read_to_string(&back).expect("copied back"), "content");
    daemon.hull(["stop", "-t", "0", "box"]).ok();
    daemon.docker(["cp", "box:/tmp/file", back.to_str().expect("utf-8")]).ok();
    daemon
        .docker(["cp", "box:/nosuch", "/tmp/x"])
        .complains("Could not find the file /nosuch in container box")
        .fails(1);
}

#[test]
fn diff_export_and_commit_show_what_was_written() {
    let daemon = Daemon::with_busybox();
    daemon
        .hull(["run", "--name", "author", "busybox", "sh", "-c", "echo text >/root/note; rm /etc/group"])
        .ok();
    let changes = daemon.hull(["diff", "author"]);
    for line in ["A /root/note", "C /root", "D /etc/group", "C /etc"] {
        assert!(changes.lines().contains(&line), "{line} is missing: {changes:#?}");
    }
    daemon.hull(["commit", "--change", "CMD [\"cat\",\"/root/note\"]", "author", "noted:1"]).ok();
    assert_eq!(daemon.hull(["run", "--rm", "noted:1"]).ok(), "text");
    daemon.hull(["run", "--rm", "noted:1", "test", "-e", "/etc/group"]).fails(1);
    let archive = daemon.dir().join("root.tar");
    daemon.hull(["export", "-o", archive.to_str().expect("utf-8"), "author"]).ok();
    let listed = std::process::Command::new("tar").arg("-tf").arg(&archive).output().expect("tar");
    let names = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(names.contains("root/note") && !names.contains("etc/group"), "{names}");
    daemon.hull(["rm", "author"]).ok();
    daemon.hull(["rmi", "noted:1"]).ok();
}

#[test]
fn an_exec_is_refused_before_it_starts_where_that_can_be_known() {
    let daemon = Daemon::with_busybox();
    daemon.hull(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]).ok();
    let create = |config: serde_json::Value| {
        let answer = daemon.api("POST", "/containers/box/exec", Some(&config));
        (answer.status, answer.message())
    };
    let user = |user: &str| create(serde_json::json!({"Cmd": ["true"], "User": user}));
    let unknown = "unable to find user nobody-here: no matching entries in passwd file";
    assert_eq!(user("nobody-here"), (400, unknown.to_owned()));
    let unknown = "unable to find group nowhere: no matching entries in group file";
    assert_eq!(user("0:nowhere"), (400, unknown.to_owned()));
    assert_eq!(user("4711").0, 201);
    let keys = create(serde_json::json!({"Cmd": ["true"], "DetachKeys": "ctrl-%"}));
    assert_eq!(keys, (400, "Invalid escape keys (ctrl-%) provided".to_owned()));
    let session = serde_json::json!({"Cmd": ["sleep", "1000"], "Tty": true});
    let id = daemon.api("POST", "/containers/box/exec", Some(&session)).json()["Id"].clone();
    let start = format!("/exec/{}/start", id.as_str().expect("an id"));
    assert_eq!(daemon.api("POST", &start, Some(&serde_json::json!({"Detach": true}))).status, 200);
    let resize = || daemon.api("POST", &format!("/exec/{}/resize?h=5&w=5", id.as_str().unwrap_or("")), None);
    assert_eq!(resize().status, 200);
    daemon.docker(["exec", "-w", "/nosuch", "box", "true"]).fails(127);
    let box_id = daemon.hull(["inspect", "-f", "{{.Id}}", "box"]).ok().to_owned();
    daemon.hull(["kill", "box"]).ok();
    let late = resize();
    assert_eq!((late.status, late.message()), (409, format!("container {box_id} is not running")));
}

#[test]
fn what_runs_is_exported_as_it_sees_its_own_files() {
    let daemon = Daemon::with_busybox();
    let mounts = ["-v", "/volume", "--tmpfs", "/scratch"];
    daemon
        .hull(["run", "-d", "--name", "box"].into_iter().chain(mounts).chain(["busybox", "sleep", "1000"]))
        .ok();
    daemon
        .hull(["exec", "box", "sh", "-c", "echo text >/root/note; touch /volume/v /scratch/s; rm /etc/group"])
        .ok();
    let archive = daemon.dir().join("running.tar");
    daemon.hull(["export", "-o", archive.to_str().expect("utf-8"), "box"]).ok();
    let listed = std::process::Command::new("tar").arg("-tf").arg(&archive).output().expect("tar");
    let names = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(names.contains("root/note") && !names.contains("etc/group"), "{names}");
    assert!(!names.contains("volume/v") && !names.contains("scratch/s"), "{names}");
}

#[test]
fn a_container_has_what_programs_look_for_and_that_is_no_change() {
    let daemon = Daemon::with_busybox();
    let look = "test -f /.dockerenv && readlink /etc/mtab && stat -c '%a %u:%g' /etc";
    assert_eq!(
        daemon.hull(["run", "--name", "box", "busybox", "sh", "-c", look]).ok(),
        "/proc/mounts\n755 0:0"
    );
    assert_eq!(daemon.hull(["diff", "box"]).ok(), "");
    // What an image has of its own stays, and so does its absence in a layer above.
    let change = "chmod 700 /etc; chown 7:8 /etc; rm /etc/mtab /.dockerenv; echo own >/etc/mtab; echo own >/.dockerenv";
    daemon.hull(["run", "--name", "author", "busybox", "sh", "-c", change]).ok();
    daemon.hull(["commit", "author", "own:1"]).ok();
    let look = "cat /.dockerenv /etc/mtab; stat -c '%a %u:%g' /etc";
    assert_eq!(daemon.hull(["run", "--rm", "own:1", "sh", "-c", look]).ok(), "own\nown\n700 7:8");
    daemon.hull(["run", "--name", "remover", "own:1", "rm", "/etc/mtab", "/.dockerenv"]).ok();
    assert_eq!(daemon.hull(["diff", "remover"]).lines(), ["D /.dockerenv", "C /etc", "D /etc/mtab"]);
    // And so does that of what only containers have.
    daemon.hull(["run", "--name", "bare", "busybox", "rm", "/etc/mtab", "/.dockerenv"]).ok();
    assert_eq!(daemon.hull(["diff", "bare"]).lines(), ["D /.dockerenv", "C /etc", "D /etc/mtab"]);
    daemon.hull(["commit", "remover", "own:2"]).ok();
    let look = "readlink /etc/mtab; stat -c '%a %u:%g' /etc";
    assert_eq!(daemon.hull(["run", "--rm", "own:2", "sh", "-c", look]).ok(), "/proc/mounts\n700 7:8");
}

#[test]
fn who_looks_from_the_host_is_told_where_files_lie() {
    let daemon = Daemon::with_busybox();
    let made = "echo made >/made; exec sleep 1000";
    daemon.hull(["run", "-d", "--name", "box", "--init", "busybox", "sh", "-c", made]).ok();
    let told = |what: &str| daemon.api("GET", what, None).json()["GraphDriver"].take();
    let driver = told("/containers/box/json");
    let path = |name: &str| std::path::PathBuf::from(driver["Data"][name].as_str().unwrap());
    assert_eq!(driver["Name"], "overlay2");
    assert!(eventually(PATIENCE, || path("UpperDir").join("made").exists()));
    assert!(path("MergedDir").join("made").exists() && path("MergedDir").join("bin/busybox").exists());
    assert!(path("WorkDir").is_dir());
    let lower = path("LowerDir");
    let lower: Vec<_> = lower.to_str().unwrap().split(':').map(std::path::Path::new).collect();
    assert!(lower.iter().any(|tree| tree.join("bin/busybox").exists()), "{lower:?}");
    let image = told("/images/busybox/json");
    assert_eq!(lower.last().unwrap().to_str(), image["Data"]["UpperDir"].as_str());
    // Without its process there is no merged tree: nothing is mounted on the host.
    daemon.hull(["kill", "box"]).ok();
    assert_eq!(told("/containers/box/json")["Data"]["MergedDir"], serde_json::Value::Null);
}
