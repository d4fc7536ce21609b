//! `hull run`: what a container sees, and what comes back.

use hull_testkit::{Daemon, images};
use serde_json::json;

#[test]
fn a_container_says_hello() {
    let daemon = Daemon::with_busybox();
    assert_eq!(daemon.hull(["run", "--rm", "busybox", "echo", "hello world"]).ok(), "hello world");
}

#[test]
fn exit_codes_are_the_programs_own() {
    let daemon = Daemon::with_busybox();
    let exit = |script: &str| daemon.hull(["run", "--rm", "busybox", "sh", "-c", script]).code;
    assert_eq!(exit("exit 0"), 0);
    assert_eq!(exit("exit 42"), 42);
    assert_eq!(exit("kill -9 $$; sleep 1"), 0, "process 1 ignores signals of its own namespace");
    assert_eq!(exit("sh -c 'kill -9 $$'; exit $?"), 137);
}

#[test]
fn output_and_errors_stay_apart_and_input_arrives() {
    let daemon = Daemon::with_busybox();
    let both = daemon.hull(["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((both.stdout.as_str(), both.stderr.as_str()), ("out\n", "err\n"));
    let counted = daemon.hull_with_input(["run", "--rm", "-i", "busybox", "wc", "-c"], &[b'x'; 100_000]);
    assert_eq!(counted.ok().trim(), "100000");
    let none = daemon.hull_with_input(["run", "--rm", "busybox", "cat"], b"nobody reads this");
    assert_eq!(none.ok(), "");
}

#[test]
fn every_namespace_is_its_own() {
    let daemon = Daemon::with_busybox();
    let seen = daemon.hull([
        "run",
        "--rm",
        "--hostname",
        "inside",
        "busybox",
        "sh",
        "-c",
        "hostname; echo $$; ls -l /proc/self/ns | awk '/->/{print $11}'",
    ]);
    let lines = seen.lines();
    assert_eq!(&lines[..2], ["inside", "1"]);
    for kind in ["ipc", "mnt", "net", "pid", "uts"] {
        let own = std::fs::read_link(format!("/proc/self/ns/{kind}")).expect("our own namespace");
        assert!(lines[2..].iter().any(|line| line.starts_with(&format!("{kind}:["))), "{lines:?}");
        assert!(!lines.contains(&own.to_str().expect("utf-8")), "{kind} is shared");
    }
}

#[test]
fn the_environment_is_put_together() {
    let daemon = Daemon::with_busybox();
    let file = daemon.dir().join("env");
    std::fs::write(&file, "FROM_FILE=1\n# a comment\n\nWITH=a=b\n").expect("write");
    let file = file.to_str().expect("utf-8");
    let output = daemon.hull([
        "run",
        "--rm",
        "-h",
        "box",
        "-e",
        "A=1",
        "--env-file",
        file,
        "-w",
        "/tmp",
        "busybox",
        "sh",
        "-c",
        "env; pwd",
    ]);
    for line in ["A=1", "FROM_FILE=1", "WITH=a=b", "HOSTNAME=box", "HOME=/root", "/tmp"] {
        assert!(output.lines().contains(&line), "{line} is missing: {output:#?}");
    }
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert!(output.lines().contains(&path), "{output:#?}");
}

#[test]
fn users_come_from_the_image() {
    let daemon = Daemon::with_busybox();
    let id = |user: &str| daemon.hull(["run", "--rm", "-u", user, "busybox", "id", "-u"]);
    assert_eq!(id("0").ok(), "0");
    assert_eq!(id("1234:5678").ok(), "1234");
    id("nosuchuser").complains("unable to find user nosuchuser: no matching entries in passwd file");
    let groups = daemon.hull(["run", "--rm", "-u", "1000", "--group-add", "77", "busybox", "id", "-G"]);
    assert!(groups.ok().split(' ').any(|group| group == "77"), "{groups:#?}");
}

#[test]
fn the_root_can_be_read_only() {
    let daemon = Daemon::with_busybox();
    let script = "touch /x 2>&1; touch /tmp/y && echo tmp works";
    let output =
        daemon.hull(["run", "--rm", "--read-only", "--tmpfs", "/tmp", "busybox", "sh", "-c", script]);
    output.says("Read-only file system").says("tmp works");
}

#[test]
fn capabilities_are_dockers() {
    let daemon = Daemon::with_busybox();
    let effective = |flags: &[&str]| {
        let command = [
            "busybox",
            "sh",
            "-c",
            "grep CapEff /proc/self/status | cut -f2; grep CapInh /proc/self/status | cut -f2",
        ];
        let all = [&["run", "--rm"], flags, &command].concat();
        let output = daemon.hull(all);
        let lines: Vec<String> = output.ok().lines().map(str::to_owned).collect();
        assert_eq!(lines[1], "0000000000000000", "nothing is inheritable (CVE-2022-24769)");
        u64::from_str_radix(&lines[0], 16).expect("hexadecimal")
    };
    assert_eq!(effective(&[]), 0xa804_25fb);
    assert_eq!(effective(&["--cap-drop", "ALL"]), 0);
    assert_eq!(effective(&["--cap-drop", "ALL", "--cap-add", "NET_ADMIN"]), 1 << 12);
    assert!(effective(&["--privileged"]) > 0xa804_25fb);
}

#[test]
fn what_the_kernel_tells_is_masked() {
    let daemon = Daemon::with_busybox();
    let script = "cat /proc/keys /proc/timer_list /proc/interrupts 2>/dev/null | wc -c; \
                  ls /sys/firmware 2>/dev/null | wc -l; \
                  echo x >/proc/sys/kernel/hostname";
    let output = daemon.hull(["run", "--rm", "busybox", "sh", "-c", script]);
    assert_eq!(output.lines(), ["0", "0"], "{output:#?}");
    output.complains("Read-only file system");
    let open = daemon.hull(["run", "--rm", "--privileged", "busybox", "sh", "-c", "wc -c </proc/interrupts"]);
    assert_ne!(open.ok(), "0", "a privileged container sees it");
}

#[test]
fn seccomp_filters_and_can_be_left_out() {
    let daemon = Daemon::with_busybox();
    let mode = |flags: &[&str]| {
        let all = [&["run", "--rm"], flags, &["busybox", "grep", "Seccomp:", "/proc/self/status"]].concat();
        daemon.hull(all).ok().to_owned()
    };
    assert_eq!(mode(&[]), "Seccomp:\t2");
    assert_eq!(mode(&["--security-opt", "seccomp=unconfined"]), "Seccomp:\t0");
    let denied = daemon.hull(["run", "--rm", "busybox", "unshare", "-U", "true"]);
    assert_ne!(denied.code, 0);
    denied.complains("Operation not permitted");
    let privileges = [
        "run",
        "--rm",
        "--security-opt",
        "no-new-privileges",
        "busybox",
        "grep",
        "NoNewPrivs",
        "/proc/self/status",
    ];
    assert_eq!(daemon.hull(privileges).ok(), "NoNewPrivs:\t1");
}

#[test]
fn a_profile_of_the_users_own_is_obeyed() {
    let daemon = Daemon::with_busybox();
    let profile = daemon.dir().join("profile.json");
    let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}"#;
    std::fs::write(&profile, text).expect("write");
    let option = format!("seccomp={}", profile.display());
    let output = daemon.hull(["run", "--rm", "--security-opt", &option, "busybox", "mkdir", "/tmp/x"]);
    output.complains("Operation not permitted");
}

#[test]
fn an_init_reaps_and_forwards() {
    let daemon = Daemon::with_busybox();
    let output = daemon.hull(["run", "--rm", "--init", "busybox", "sh", "-c", "cat /proc/1/comm; echo $$"]);
    let lines = output.lines();
    assert_ne!(lines[1], "1", "the program is not process 1: {output:#?}");
    assert_ne!(lines[0], "sh", "{output:#?}");
}

#[test]
fn devices_are_the_standard_ones() {
    let daemon = Daemon::with_busybox();
    let script = "for d in null zero full random urandom tty; do test -c /dev/$d || echo no $d; done; echo x > /dev/null; head -c 3 /dev/zero | wc -c; mount | grep -c ' /dev/shm \\| /dev/pts \\| /dev/mqueue '; mknod /tmp/sda b 8 0 && head -c1 /tmp/sda";
    let output = daemon.hull(["run", "--rm", "busybox", "sh", "-c", script]);
    assert_eq!(output.lines(), ["3", "3"], "{output:#?}");
    output.complains("Operation not permitted");
}

#[test]
fn the_container_id_goes_to_a_file() {
    let daemon = Daemon::with_busybox();
    let file = daemon.dir().join("cid");
    let path = file.to_str().expect("utf-8");
    let id = daemon.hull(["run", "-d", "--cidfile", path, "busybox", "true"]).ok().to_owned();
    assert_eq!(std::fs::read_to_string(&file).expect("the file is there"), id);
    assert_eq!(id.len(), 64);
}

#[test]
fn a_container_may_stand_on_no_image() {
    let daemon = Daemon::start();
    let program = images::busybox_program();
    let bind = format!("{}:/bin/busybox:ro", program.display());
    let wish = |image: serde_json::Value| {
        json!({"Image": image, "Cmd": ["busybox", "sh", "-c", "busybox ls -a / && echo kept > /file"],
            "HostConfig": {"Binds": [bind.clone()]}})
    };
    for (name, version, image) in [("old", "v1.24", json!("")), ("new", "v1.51", json!(null))] {
        let created =
            daemon.api("POST", &format!("/{version}/containers/create?name={name}"), Some(&wish(image)));
        assert_eq!(created.status, 201, "{}", created.message());
    }
    let listing = daemon.hull(["start", "-a", "new"]).ok().to_owned();
    assert!(listing.contains("bin\n") && !listing.contains("usr"), "{listing}");
    let shown = daemon.api("GET", "/containers/new/json", None).json();
    assert_eq!((&shown["Image"], &shown["Config"]["Image"]), (&json!(""), &json!("")));
    let listed = daemon.api("GET", "/containers/json?all=1", None).json();
    assert_eq!((&listed[0]["Image"], &listed[0]["ImageID"]), (&json!(""), &json!("")));
    daemon.hull(["commit", "new", "made"]).ok();
    assert_eq!(
        daemon.api("GET", "/images/made/json", None).json()["RootFS"]["Layers"].as_array().map(Vec::len),
        Some(1)
    );
    let refused = daemon.api("POST", "/containers/create", Some(&json!({"Image": ""})));
    assert_eq!((refused.status, refused.message().as_str()), (400, "no command specified"));
    let spaces = daemon.api("POST", "/containers/create", Some(&wish(json!(" "))));
    assert_eq!((spaces.status, spaces.message().as_str()), (400, "invalid reference format"));
}
