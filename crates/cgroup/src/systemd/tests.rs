//! Against a real message bus with a systemd of our own on it: the bus checks every message, we check what is asked.

use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use hull_oci::runtime::{
    LinuxCpuBuilder, LinuxDeviceCgroupBuilder, LinuxDeviceType, LinuxMemoryBuilder, LinuxPidsBuilder,
    LinuxResourcesBuilder,
};

use super::bus::Bus;
use super::wire::{CALL, ERROR, RETURN, SIGNAL};
use super::*;

/// A bus without services. It ends with this.
struct Daemon {
    child: Child,
    dir: PathBuf,
}

impl Daemon {
    fn start(test: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("hull-bus-{}-{test}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let settings = format!(
            "<busconfig><listen>unix:path={}/bus</listen><policy context=\"default\"><allow own=\"*\"/>\
             <allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/></policy></busconfig>",
            dir.display()
        );
        std::fs::write(dir.join("settings"), settings).unwrap();
        let child = Command::new("dbus-daemon")
            .args(["--nofork", "--nosyslog", "--config-file"])
            .arg(dir.join("settings"))
            .spawn()
            .expect("dbus-daemon is needed");
        let daemon = Self { child, dir };
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::os::unix::net::UnixStream::connect(daemon.dir.join("bus")).is_err() {
            assert!(Instant::now() < deadline, "the bus does not come up");
            std::thread::sleep(Duration::from_millis(2));
        }
        daemon
    }

    fn address(&self) -> String {
        format!("unix:path={}/bus", self.dir.display())
    }

    fn connect(&self) -> Manager {
        // As `Manager::connect`, which reads the environment that all tests share.
        Manager { bus: Bus::connect(&self.address()).unwrap(), parent: "/above".to_owned() }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A systemd: answers calls as `answer` says, and hands on what it was asked.
fn systemd(
    daemon: &Daemon,
    answer: impl Fn(&str, u32) -> std::result::Result<&'static str, &'static str> + Send + 'static,
) -> Receiver<Message> {
    let mut bus = Bus::connect(&daemon.address()).unwrap();
    let own = Body::default().text(NAME).number(0);
    bus.call(Message::call(
        "/org/freedesktop/DBus",
        "org.freedesktop.DBus",
        "RequestName",
        "org.freedesktop.DBus",
        own,
    ))
    .unwrap();
    let (told, calls) = channel();
    std::thread::spawn(move || {
        let mut count = 0;
        while let Ok(call) = bus.next() {
            if call.kind != CALL {
                continue;
            }
            count += 1;
            let (reply, result) = match answer(&call.member, count) {
                Ok(result) => {
                    let path = if call.member == "StartTransientUnit" { "/job/7" } else { "" };
                    let body = if path.is_empty() { Body::default() } else { Body::default().path(path) };
                    (
                        Message { kind: RETURN, reply_to: Some(call.serial), body, ..Message::default() },
                        result,
                    )
                }
                Err(name) => {
                    let error = name.to_owned();
                    let body = Body::default().text("it is so");
                    (
                        Message {
                            kind: ERROR,
                            reply_to: Some(call.serial),
                            error,
                            body,
                            ..Message::default()
                        },
                        "",
                    )
                }
            };
            let (sender, starts) = (call.sender.clone(), call.member == "StartTransientUnit");
            // Before the answer: who has that has been heard.
            if told.send(call).is_err() {
                return;
            }
            bus.send(&Message { serial: count, destination: sender, ..reply }.encode()).unwrap();
            if starts && !result.is_empty() {
                for (path, result) in [("/job/6", "failed"), ("/job/7", result)] {
                    let body = Body::default().number(7).path(path).text("box.scope").text(result);
                    let removed = Message::call(PATH, MANAGER, "JobRemoved", "", body);
                    count += 1;
                    bus.send(&Message { kind: SIGNAL, serial: count, ..removed }.encode()).unwrap();
                }
            }
        }
    });
    calls
}

fn members(calls: &Receiver<Message>) -> Vec<String> {
    calls.try_iter().map(|call| call.member).collect()
}

#[test]
fn a_scope_is_made_changed_and_ended() {
    let daemon = Daemon::start("scope");
    let calls = systemd(&daemon, |_, _| Ok("done"));
    let mut manager = daemon.connect();
    let scope = Scope::parse("box.slice:hull:one", "one", false).unwrap();
    assert_eq!(manager.cgroup(&scope).unwrap(), "/above/box.slice/hull-one.scope");
    let memory = LinuxMemoryBuilder::default().limit(1 << 20).build().unwrap();
    let resources = LinuxResourcesBuilder::default().memory(memory).build().unwrap();
    manager.start(&scope, "one", std::process::id(), Some(&resources)).unwrap();
    manager.update(&scope, &resources).unwrap();
    manager.stop(&scope).unwrap();
    let all = calls.try_iter().collect::<Vec<_>>();
    let names: Vec<&str> = all.iter().map(|call| call.member.as_str()).collect();
    assert_eq!(
        names,
        ["Subscribe", "StartTransientUnit", "SetUnitProperties", "StopUnit", "ResetFailedUnit"]
    );
    let signatures: Vec<&str> = all.iter().map(|call| call.body.signature.as_str()).collect();
    assert_eq!(signatures, ["", "ssa(sv)a(sa(sv))", "sba(sv)", "ss", "s"]);
    assert_eq!(all[1].body.words().unwrap()[..2], ["hull-one.scope", "fail"]);
}

#[test]
fn what_is_left_of_a_failed_one_is_forgotten() {
    let daemon = Daemon::start("failed");
    let calls = systemd(&daemon, |member, count| match (member, count) {
        ("StartTransientUnit", ..3) => Err(EXISTS),
        _ => Ok("done"),
    });
    let mut manager = daemon.connect();
    let scope = Scope::parse("", "one", false).unwrap();
    manager.start(&scope, "one", std::process::id(), None).unwrap();
    let expected = ["Subscribe", "StartTransientUnit", "ResetFailedUnit", "StartTransientUnit"];
    assert_eq!(members(&calls), expected);
}

#[test]
fn failures_are_told() {
    let daemon = Daemon::start("told");
    let scope = Scope::parse("", "one", false).unwrap();
    let none = daemon.connect().start(&scope, "one", 1, None).unwrap_err();
    assert!(none.to_string().starts_with("Subscribe: "), "{none}");
    let calls = systemd(&daemon, |member, _| match member {
        "StartTransientUnit" => Ok("timeout"),
        "SetUnitProperties" => Err("org.example.No"),
        _ => Ok("done"),
    });
    let mut manager = daemon.connect();
    let late = manager.start(&scope, "one", 1, None).unwrap_err();
    assert_eq!(late.to_string(), "systemd could not start hull-one.scope: timeout");
    let pids = LinuxPidsBuilder::default().limit(3).build().unwrap();
    let refused = manager.update(&scope, &LinuxResourcesBuilder::default().pids(pids).build().unwrap());
    assert_eq!(refused.unwrap_err().to_string(), "SetUnitProperties: it is so (org.example.No)");
    drop(calls);
    let nobody = Bus::connect("unix:path=/nonexistent/bus").unwrap_err();
    assert!(nobody.to_string().starts_with("connect to the message bus /nonexistent/bus"), "{nobody}");
    assert!(Bus::connect("tcp:host=x").is_err());
}

#[test]
fn paths_name_scopes_in_slices() {
    let path = |text: &str| Scope::parse(text, "id", false).and_then(|scope| scope.path());
    assert_eq!(path("").unwrap(), "/system.slice/hull-id.scope");
    assert_eq!(path("a-b-c.slice:x:y").unwrap(), "/a.slice/a-b.slice/a-b-c.slice/x-y.scope");
    assert_eq!(path("-.slice::y").unwrap(), "/y.scope");
    assert_eq!(Scope::parse("::y", "id", true).unwrap().path().unwrap(), "/user.slice/y.scope");
    for wrong in ["/a/b", "a:b", "a.slice:b:", "a:b:c", "a--b.slice:x:y", "../a.slice:x:y", "a.slice:x:../y"]
    {
        assert!(path(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn limits_have_names_in_both_versions() {
    let device = |allow: bool| LinuxDeviceCgroupBuilder::default().allow(allow);
    let fuse = device(true).typ(LinuxDeviceType::C).major(10).minor(229).access("rw").build().unwrap();
    let resources = LinuxResourcesBuilder::default()
        .memory(LinuxMemoryBuilder::default().limit(100).swap(300).reservation(50).build().unwrap())
        .cpu(LinuxCpuBuilder::default().shares(1024_u64).quota(55_500).cpus("0-1,9").build().unwrap())
        .pids(LinuxPidsBuilder::default().limit(-1).build().unwrap())
        .devices(vec![device(false).access("rwm").build().unwrap(), fuse])
        .build()
        .unwrap();
    let find = |v2: bool, name: &str| {
        let found = properties::in_version(&resources, v2).into_iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value)
    };
    assert_eq!(find(true, "MemoryMax"), Some(Value::Number(100)));
    assert_eq!(find(true, "MemoryLow"), Some(Value::Number(50)));
    assert_eq!(find(true, "MemorySwapMax"), Some(Value::Number(200)));
    assert_eq!(find(true, "CPUWeight"), Some(Value::Number(100)));
    assert_eq!(find(true, "CPUQuotaPerSecUSec"), Some(Value::Number(560_000)));
    assert_eq!(find(true, "AllowedCPUs"), Some(Value::Bytes(vec![3, 2])));
    assert_eq!(find(false, "MemoryLimit"), Some(Value::Number(100)));
    assert_eq!(find(false, "CPUShares"), Some(Value::Number(1024)));
    assert_eq!(find(false, "AllowedCPUs"), None);
    assert_eq!(find(false, "TasksMax"), Some(Value::Number(u64::MAX)));
    let Some(Value::Pairs(allowed)) = find(true, "DeviceAllow") else { panic!("no devices") };
    assert!(allowed.contains(&("/dev/char/10:229".to_owned(), "rw".to_owned())), "{allowed:?}");
    assert!(allowed.contains(&("char-pts".to_owned(), "rwm".to_owned())), "{allowed:?}");
}
