//! `--systemd-cgroup` with a bus on which nothing but a systemd is: it answers in canned bytes, and makes scopes as the
//! real one does. What the bus itself would check is checked in hull-cgroup, against a real one.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

use serde_json::{Value, json};
use support::{Bed, text};

/// Serves every connection to a bus in `dir`; tells the members that were called, and makes scopes at `cgroup`.
fn systemd(dir: &Path, cgroup: &str) -> Receiver<String> {
    let listener = UnixListener::bind(dir.join("bus")).unwrap();
    let (told, calls) = channel();
    let cgroup = cgroup.trim_start_matches('/').to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            serve(stream, &cgroup, &told);
        }
    });
    calls
}

fn serve(stream: UnixStream, cgroup: &str, told: &Sender<String>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "\0AUTH EXTERNAL 30\r\n");
    writer.write_all(b"OK 0123456789abcdef0123456789abcdef\r\n").unwrap();
    line.clear();
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "BEGIN\r\n");
    let mut prefix = [0; 16];
    while reader.read_exact(&mut prefix).is_ok() {
        let number = |at: usize| u32::from_le_bytes(prefix[at..at + 4].try_into().unwrap());
        let mut rest = vec![0; (number(12) as usize).next_multiple_of(8) + number(4) as usize];
        reader.read_exact(&mut rest).unwrap();
        let said = text(&rest);
        let members = [
            "Hello",
            "AddMatch",
            "Get",
            "Subscribe",
            "StartTransientUnit",
            "SetUnitProperties",
            "StopUnit",
            "ResetFailedUnit",
        ];
        let member = members.into_iter().find(|name| said.contains(&format!("\0{name}\0"))).unwrap();
        told.send(member.to_owned()).unwrap();
        let serial = number(8);
        match member {
            "Get" => writer.write_all(&answer(serial, "v", b"\x01s\0\0\x01\0\0\0/\0")).unwrap(),
            "StartTransientUnit" => {
                enter(cgroup, pid(&rest));
                writer.write_all(&answer(serial, "o", b"\x02\0\0\0/j\0")).unwrap();
                writer.write_all(&removed()).unwrap();
            }
            _ => writer.write_all(&answer(serial, "", b"")).unwrap(),
        }
    }
}

/// A method return with a body of that signature.
fn answer(serial: u32, signature: &str, body: &[u8]) -> Vec<u8> {
    let mut fields = vec![5, 1, b'u', 0];
    fields.extend(serial.to_le_bytes());
    if !signature.is_empty() {
        fields.extend([8, 1, b'g', 0, 1, signature.as_bytes()[0], 0]);
    }
    message(2, &fields, body)
}

/// The signal that job `/j` is done.
fn removed() -> Vec<u8> {
    let mut fields = vec![3, 1, b's', 0, 10, 0, 0, 0];
    fields.extend(b"JobRemoved\0");
    fields.resize(fields.len().next_multiple_of(8), 0);
    fields.extend(b"\x08\x01g\0\x04uoss\0");
    let body = b"\x07\0\0\0\x02\0\0\0/j\0\0\x01\0\0\0u\0\0\0\x04\0\0\0done\0";
    message(4, &fields, body)
}

fn message(kind: u8, fields: &[u8], body: &[u8]) -> Vec<u8> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
    let mut bytes = vec![b'l', kind, 0, 1];
    bytes.extend(length(body));
    bytes.extend([9, 0, 0, 0]);
    bytes.extend(length(fields));
    bytes.extend(fields);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend(body);
    bytes
}

/// The one process in the property `PIDs`: its name, the signature `au`, the array's length and the number.
fn pid(bytes: &[u8]) -> u32 {
    let name = bytes.windows(5).position(|window| window == b"PIDs\0").unwrap();
    let at = (name + 5 + 4).next_multiple_of(4);
    assert_eq!(bytes[at..at + 4], [4, 0, 0, 0]);
    u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap())
}

/// Where systemd puts the processes of its units: version 2, and its own hierarchy of version 1.
fn hierarchies() -> Vec<PathBuf> {
    let top = Path::new("/sys/fs/cgroup");
    let all = [top.join("unified"), top.join("systemd"), top.to_owned()];
    all.into_iter().filter(|dir| dir.join("cgroup.procs").exists()).collect()
}

fn enter(cgroup: &str, pid: u32) {
    for hierarchy in hierarchies() {
        fs::create_dir_all(hierarchy.join(cgroup)).unwrap();
        fs::write(hierarchy.join(cgroup).join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

fn called(calls: &Receiver<String>) -> Vec<String> {
    calls.try_iter().filter(|name| !matches!(name.as_str(), "Hello" | "AddMatch" | "Get")).collect()
}

#[test]
fn a_scope_is_asked_for_and_given_back() {
    let mut bed = Bed::new();
    // The slice bears the name by which the bed looks for what is left.
    let slice = bed.cgroup().trim_start_matches('/').replace('-', "_");
    let cgroup = format!("/{slice}.slice/hull-one.scope");
    let calls = systemd(&bed.dir, &cgroup);
    bed.config["linux"]["cgroupsPath"] = json!(format!("{slice}.slice:hull:one"));
    bed.config["linux"]["resources"] = json!({ "pids": { "limit": 9 } });
    bed.config["process"]["args"] = json!(["sleep", "1000"]);
    bed.write_config();
    let address = format!("unix:path={}/bus", bed.dir.display());
    let runtime = |args: &[&str]| {
        let all = [&["--systemd-cgroup"], args].concat();
        let mut command = bed.runtime(&all);
        let status =
            command.env("DBUS_SYSTEM_BUS_ADDRESS", &address).stdout(std::process::Stdio::null()).status();
        assert!(status.unwrap().success(), "{args:?}");
    };
    runtime(&["run", "-d", "one"]);
    assert_eq!(called(&calls), ["Subscribe", "StartTransientUnit"]);
    let state: Value = serde_json::from_str(&bed.ok(&["state", "one"])).unwrap();
    let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", state["pid"])).unwrap();
    assert!(cgroups.lines().all(|line| line.ends_with(&cgroup)), "{cgroups}");
    let here = hierarchies().remove(0).join(cgroup.trim_start_matches('/'));
    let procs = fs::read_to_string(here.join("cgroup.procs")).unwrap();
    assert_eq!(procs.trim(), state["pid"].to_string(), "the scope has the container alone");
    runtime(&["update", "--pids-limit", "11", "one"]);
    assert_eq!(called(&calls), ["SetUnitProperties"]);
    let stats: Value = serde_json::from_str(&bed.ok(&["events", "--stats", "one"])).unwrap();
    assert_eq!(stats["data"]["pids"]["limit"], 11);
    runtime(&["delete", "--force", "one"]);
    assert_eq!(called(&calls), ["StopUnit", "ResetFailedUnit"]);
    assert!(!here.exists());
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let _ = fs::remove_dir(hierarchy.path().join(format!("{slice}.slice")));
    }
    let _ = fs::remove_dir(Path::new("/sys/fs/cgroup").join(format!("{slice}.slice")));
}

#[test]
fn without_systemd_nothing_is_made() {
    let mut bed = Bed::new();
    bed.config["linux"]["cgroupsPath"] = json!("system.slice:hull:one");
    bed.write_config();
    let mut create = bed.runtime(&["--systemd-cgroup", "create", "one"]);
    let refused = create.env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus").output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("connect to the message bus /nonexistent/bus"));
    bed.config["linux"]["cgroupsPath"] = json!("/not/a/scope");
    bed.write_config();
    let refused = bed.runtime(&["--systemd-cgroup", "create", "one"]).output().unwrap();
    assert!(text(&refused.stderr).contains("is not of the form slice:prefix:name"));
    assert_eq!(bed.ok(&["list", "-q"]), "");
}
