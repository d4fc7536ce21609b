//! Input, output, terminals, exec sessions and logs under a real supervisor. Needs root, and mount and network
//! namespaces of its own (`cargo xtask test`).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod kit;

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use hull_shim::protocol::{Answer, Attach, Kill, LogConfig, LogFile, Request, Resize, Stream, Terminal};
use kit::{Container, Host, eventually, records};

fn kill(container: &Container<'_>) {
    container.ask(&Request::Kill(Kill { signal: 9, exec: None, all: true }));
    container.end();
}

#[test]
fn who_attaches_before_the_start_sees_everything() {
    let host = Host::new();
    let container = host.shell("echo out; echo err >&2").create();
    let (first, second) = (container.attach(false), container.attach(false));
    let errors = container.connect(&Request::Attach(Attach { stderr: true, ..Attach::default() })).1;
    let container = container.start();
    for client in [first, second] {
        assert_eq!(client.rest(), ("out\n".into(), "err\n".into(), None));
    }
    assert_eq!(kit::Client(errors).rest(), (String::new(), "err\n".into(), None));
    container.end();
}

#[test]
fn input_ends_with_the_first_client_if_it_is_read_once() {
    let host = Host::new();
    let container = host.container(&["/bin/busybox", "cat"]).with_stdin(true).create();
    let mut client = container.attach(true);
    client.send(b"before the start\n");
    let container = container.start();
    client.send(b"and after\n");
    client.end_input();
    assert_eq!(client.rest().0, "before the start\nand after\n");
    assert_eq!(container.end().code, 0);
}

#[test]
fn input_right_behind_the_request_is_input() {
    use std::io::Write;
    let host = Host::new();
    let container = host.container(&["/bin/busybox", "cat"]).with_stdin(true).run();
    let mut stream = hull_shim::client::connect(&container.dir()).unwrap();
    stream.write_all(b"{\"Attach\":{\"stdin\":true,\"stdout\":true}}\nat once\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    container.end();
    assert_eq!(container.logged("stdout"), "at once\n");
}

#[test]
fn input_stays_open_for_the_next_client() {
    let host = Host::new();
    let container = host.container(&["/bin/busybox", "cat"]).with_stdin(false).run();
    for line in ["one\n", "two\n"] {
        let mut client = container.attach(true);
        client.send(line.as_bytes());
        client.expect(line);
        client.end_input();
    }
    assert!(matches!(container.ask(&Request::CloseStdin), Answer::Ok));
    assert_eq!(container.end().code, 0);
    assert_eq!(container.logged("stdout"), "one\ntwo\n");
}

#[test]
fn without_input_there_is_none() {
    let host = Host::new();
    let container = host.container(&["/bin/busybox", "cat"]).run();
    assert_eq!(container.end().code, 0);
}

#[test]
fn megabytes_go_through_both_ways() {
    let host = Host::new();
    let container =
        host.container(&["/bin/busybox", "cat"]).with_stdin(true).with_log(LogConfig::default()).run();
    let mut client = container.attach(true);
    let mut writer = client.0.try_clone().unwrap();
    let data: Vec<u8> = (0..20_000_000u32).map(|number| (number % 251) as u8).collect();
    let sent = data.clone();
    let writing = std::thread::spawn(move || {
        use std::io::Write;
        writer.write_all(&sent).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut received = Vec::new();
    while let Some((stream, payload)) = client.frame() {
        assert_eq!(stream, Stream::Stdout);
        received.extend(payload);
    }
    writing.join().unwrap();
    assert!(received == data, "{} of {} bytes", received.len(), data.len());
    assert_eq!(container.end().code, 0);
}

#[test]
fn a_slow_client_holds_the_container_up_and_gets_everything() {
    let host = Host::new();
    let container =
        host.shell("i=0; while [ $i -lt 400000 ]; do echo $i; i=$((i+1)); done; echo over").create();
    let mut slow = container.attach(false);
    let container = container.start();
    std::thread::sleep(Duration::from_millis(700));
    let memory = resident(container.shim_pid);
    assert!(memory < 16 << 10, "{memory} KiB");
    let mut text = Vec::new();
    while let Some((_, payload)) = slow.frame() {
        text.extend(payload);
    }
    let expected: String = (0..400_000).map(|number| format!("{number}\n")).collect::<String>() + "over\n";
    assert!(text == expected.as_bytes(), "{} of {}", text.len(), expected.len());
    container.end();
    assert!(container.logged("stdout").ends_with("over\n"));
}

/// Resident memory in KiB.
fn resident(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_client_that_reads_nothing_does_not_keep_the_exit_back() {
    let host = Host::new();
    let container = host.shell("dd if=/dev/zero bs=1000 count=300; echo over").create();
    let stuck = container.attach(false);
    let container = container.start();
    assert_eq!(container.wait().code, 0);
    assert!(container.logged("stdout").ends_with("over\n"));
    // All of it is still delivered.
    assert!(stuck.rest().0.ends_with("over\n"));
    container.end();
}

#[test]
fn a_client_that_hangs_up_stops_nothing() {
    let host = Host::new();
    let container = host.shell("i=0; while [ $i -lt 50000 ]; do echo $i; i=$((i+1)); done").create();
    let client = container.attach(true);
    let container = container.start();
    drop(client);
    assert_eq!(container.end().code, 0);
    assert!(container.logged("stdout").ends_with("49999\n"));
}

#[test]
fn closed_output_is_the_end_for_clients_but_not_for_the_container() {
    let host = Host::new();
    let container = host.shell("echo bye; exec >/dev/null 2>&1; sleep 1000").create();
    let client = container.attach(false);
    let container = container.start();
    assert_eq!(client.rest().0, "bye\n");
    assert!(matches!(container.ask(&Request::State), Answer::State(_)));
    kill(&container);
}

#[test]
fn a_terminal() {
    let host = Host::new();
    let container = host.container(&["/bin/sh"]).with_terminal().create();
    let mut client = container.attach(true);
    let resize = |rows, cols| Request::Resize(Resize { exec: None, rows, cols });
    assert!(matches!(container.ask(&resize(33, 99)), Answer::Ok));
    let container = container.start();
    client.send(b"stty size; tty\n");
    client.expect("33 99\r\n/dev/pts/0");
    assert!(matches!(container.ask(&resize(11, 22)), Answer::Ok));
    client.send(b"stty size; echo err >&2\n");
    client.expect("11 22\r\nerr\r\n");
    // The client leaves and another one comes; the shell stays.
    drop(client);
    let mut client = container.attach(true);
    client.send(b"exit 7\n");
    let (out, err, code) = client.rest();
    assert!(out.contains("exit 7"), "{out:?}");
    assert_eq!((err, code), (String::new(), None));
    assert_eq!(container.end().code, 7);
    assert!(container.logged("stdout").contains("11 22\r\n"));
}

#[test]
fn a_terminal_loses_nothing_at_the_end() {
    let host = Host::new();
    for _ in 0..10 {
        let container =
            host.shell("i=0; while [ $i -lt 3000 ]; do echo $i; i=$((i+1)); done").with_terminal().create();
        let client = container.attach(false);
        let container = container.start();
        let expected: String = (0..3000).map(|number| format!("{number}\r\n")).collect();
        assert_eq!(client.rest().0, expected);
        container.end();
        assert_eq!(container.logged("stdout"), expected);
    }
}

#[test]
fn control_c_interrupts_what_runs_in_the_terminal() {
    let host = Host::new();
    let container = host.container(&["/bin/sh"]).with_terminal().run();
    let mut client = container.attach(true);
    client.send(b"echo first; cat\n");
    client.expect("\nfirst\r\n");
    std::thread::sleep(Duration::from_millis(100));
    client.send(b"\x03");
    // The shell throws away what was typed before its prompt.
    client.expect("^C");
    std::thread::sleep(Duration::from_millis(100));
    client.send(b"echo still $((1+1))\n");
    client.expect("still 2");
    kill(&container);
}

#[test]
fn exec_sessions() {
    let host = Host::new();
    let container = host.shell("sleep 1000").run();
    let client = container.exec("one", "echo out; echo err >&2; exit 9", |_| {});
    assert_eq!(client.rest(), ("out\n".into(), "err\n".into(), Some(9)));
    let mut client = container.exec("two", "cat", |exec| exec.stdin = true);
    client.send(b"hello");
    client.end_input();
    assert_eq!(client.rest(), ("hello".into(), String::new(), Some(0)));
    let client = container.exec("three", "kill -9 $$", |_| {});
    assert_eq!(client.rest().2, Some(137));
    assert!(container.records().is_empty(), "exec sessions are not logged");
    kill(&container);
}

#[test]
fn an_exec_session_with_a_terminal() {
    let host = Host::new();
    let container = host.shell("sleep 1000").run();
    let mut client = container.exec("tty", "stty size; read x; stty size; exit 4", |exec| {
        exec.terminal = Some(Terminal { rows: 5, cols: 6 });
        exec.stdin = true;
    });
    client.expect("5 6\r\n");
    let resize = Request::Resize(Resize { exec: Some("tty".into()), rows: 7, cols: 8 });
    assert!(matches!(container.ask(&resize), Answer::Ok));
    client.send(b"\n");
    let (out, _, code) = client.rest();
    assert!(out.contains("7 8\r\n"), "{out:?}");
    assert_eq!(code, Some(4));
    kill(&container);
}

#[test]
fn an_exec_session_ends_although_its_child_holds_its_output() {
    let host = Host::new();
    let container = host.shell("sleep 1000").run();
    let before = Instant::now();
    let client = container.exec("bg", "sleep 999 & echo begun", |_| {});
    assert_eq!(client.rest(), ("begun\n".into(), String::new(), Some(0)));
    assert!(before.elapsed() < Duration::from_secs(3));
    kill(&container);
}

#[test]
fn an_exec_session_can_be_killed_and_does_not_outlive_the_container() {
    let host = Host::new();
    let container = host.shell("sleep 1000").run();
    let first = container.exec("first", "sleep 1000", |_| {});
    let second = container.exec("second", "sleep 1000", |_| {});
    let Answer::State(state) = container.ask(&Request::State) else { panic!("no state") };
    assert_eq!(state.execs, ["first", "second"]);
    container.ask(&Request::Kill(Kill { signal: 15, exec: Some("first".into()), all: false }));
    assert_eq!(first.rest().2, Some(143));
    container.ask(&Request::Kill(Kill { signal: 9, exec: None, all: false }));
    assert_eq!(second.rest().2, Some(137));
    assert_eq!(container.end().code, 137);
}

#[test]
fn an_exec_whose_client_hangs_up_goes_on() {
    let host = Host::new();
    let container = host.shell("while [ ! -e /done ]; do sleep 0.05; done").run();
    drop(container.exec("quiet", "echo lost; sleep 0.3; echo lost; echo > /done", |_| {}));
    assert_eq!(container.end().code, 0);
}

#[test]
fn an_exec_that_cannot_be() {
    let host = Host::new();
    let container = host.shell("sleep 1000").run();
    let process = serde_json::json!({ "user": { "uid": 0, "gid": 0 }, "cwd": "/", "args": ["nope"], "env": ["PATH=/bin"] });
    let exec = serde_json::json!({ "Exec": { "id": "x", "process": process } });
    let (answer, stream) = container.connect(&serde_json::from_value(exec).unwrap());
    assert!(matches!(&answer, Answer::Failed(failure) if failure.step == "exec"), "{answer:?}");
    assert_eq!(kit::Client(stream).rest(), (String::new(), String::new(), None));
    assert!(matches!(
        container.ask(&Request::Kill(Kill { signal: 9, exec: Some("x".into()), all: false })),
        Answer::NotRunning
    ));
    kill(&container);
}

#[test]
fn logs_are_rotated() {
    let host = Host::new();
    let container = host.shell("i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done");
    let log = LogFile { max_size: Some(50_000), max_file: 3, ..LogFile::bounded(container.log_path()) };
    let container = container.with_log(LogConfig::from(log)).run();
    container.end();
    let name = |number| container.home.join(format!("log.{number}"));
    assert!(!name(3).exists());
    let all = [records(&name(2)), records(&name(1)), container.records()].concat();
    let text: String = all.iter().map(|record| record["log"].as_str().unwrap()).collect();
    let expected: String = (0..2000).map(|number| format!("line {number}\n")).collect();
    assert!(expected.ends_with(&text) && text.len() > expected.len() / 3, "{} bytes kept", text.len());
}

#[test]
fn what_gathers_stays_in_order() {
    let host = Host::new();
    let round = "i=0; while [ $i -lt 300 ]; do echo out; i=$((i+1)); done; echo err >&2";
    let container = host.shell(&format!("while read go; do {round}; done")).with_stdin(true).run();
    let mut client = container.attach(true);
    for _ in 0..50 {
        client.send(b"go\n");
        let mut shown = 0;
        while let Some((Stream::Stdout, payload)) = client.frame() {
            shown += payload.len();
        }
        assert_eq!(shown, 300 * "out\n".len());
    }
    client.end_input();
    container.end();
    let records = container.records();
    assert_eq!(records.len(), 50 * 301);
    for round in records.chunks(301) {
        assert_eq!(round[300]["stream"], "stderr");
    }
}

#[test]
fn a_full_disk_stops_neither_the_container_nor_its_clients() {
    let host = Host::new();
    let small = host.dir.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let disk =
        hull_sys::mount::new_fs("tmpfs", &[("size", Some("256k"))], hull_sys::mount::Attr::empty()).unwrap();
    hull_sys::mount::move_to_path(disk.as_fd(), &small).unwrap();
    let log = small.join("log");
    let container = host
        .shell("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; sleep 0.2; exit 6")
        .with_log(LogFile::bounded(log.clone()).into())
        .create();
    let client = container.attach(false);
    let container = container.start();
    assert!(client.rest().0.ends_with("line 19999\n"));
    let exit = container.end();
    assert_eq!(exit.code, 6);
    assert!(exit.log_dropped > 1_000_000, "{exit:?}");
    // What is there is whole.
    let kept = records(&log);
    assert!(kept.len() > 1000 && kept[0]["log"] == "line 0\n", "{}", kept.len());
    rustix::mount::unmount(&small, rustix::mount::UnmountFlags::DETACH).unwrap();
}

#[test]
fn a_prompt_without_a_newline_is_logged_at_the_end() {
    let host = Host::new();
    let container = host.shell("printf 'a prompt'; sleep 0.3").run();
    std::thread::sleep(Duration::from_millis(100));
    assert!(container.records().is_empty());
    container.end();
    assert_eq!(container.logged("stdout"), "a prompt");
}

#[test]
fn an_idle_supervisor_gives_its_memory_back() {
    let host = Host::new();
    let script = "read go; dd if=/dev/zero bs=64k count=200 | tr '\\0' 'x'; echo; sleep 1000";
    let container = host.shell(script).with_stdin(false).run();
    let anonymous = || {
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", container.shim_pid)).unwrap();
        let line = rollup.lines().find(|line| line.starts_with("Anonymous:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    // Long enough for it to have come to rest.
    std::thread::sleep(Duration::from_secs(1));
    let before = anonymous();
    container.attach(true).send(b"go\n");
    eventually("the output is logged", || container.logged("stdout").ends_with('\n'));
    eventually("the memory is given back", || anonymous() <= before + 64);
    kill(&container);
}
