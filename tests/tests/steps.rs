//! The daemon is killed at the steps of everything that it does to its state. After its restart each operation has
//! happened or has not, can be asked for again, and once it is taken back nothing is left: no file, row, process,
//! cgroup, mount, link or rule of the firewall.
//!
//! `HULL_EVERY_STEP=1` takes every step instead of some of each operation.

use std::collections::BTreeSet;

use hull_testkit::output::eventually;
use hull_testkit::{Daemon, Registry, images, steps, world};

/// How many steps of an operation are taken. With the operations' number this decides how long these tests take.
const SOME: usize = 16;

/// Longer than anything is on its way out.
const MOMENT: std::time::Duration = std::time::Duration::from_secs(20);

type Words<'a> = &'a [&'a str];

/// An operation, as command lines of the client.
#[derive(Default)]
struct Operation<'a> {
    /// What leads up to it.
    before: &'a [Words<'a>],
    act: Words<'a>,
    /// How a repetition may fail: it has happened.
    done: Words<'a>,
    /// What shows whether it has happened.
    look: Words<'a>,
    /// All that may be seen: not yet, or done.
    seen: Words<'a>,
    /// What takes it back. That there is nothing to be taken back is fine.
    after: &'a [Words<'a>],
}

fn killed_at_its_steps(daemon: &mut Daemon, operation: &Operation<'_>) {
    // The first time may leave something that stays for good, as the row of a counter.
    for command in
        operation.before.iter().copied().chain([operation.act]).chain(operation.after.iter().copied())
    {
        daemon.hull(command);
    }
    // The kernel takes a link of a container that has ended away when it finds the time.
    let idle = daemon.hull(["ps", "-q"]).ok().is_empty();
    let passing = |line: &String| {
        line.contains("/unfinished/")
            || line.starts_with("process") && line.contains("/hull-shim ")
            || line.starts_with("link veth") && idle
    };
    assert!(eventually(MOMENT, || !world::look(daemon).iter().any(passing)), "something is never done");
    let clean = world::look(daemon);
    let all = killed_at(daemon, usize::MAX, operation, &clean);
    assert!(all > 0, "{:?} has no steps", operation.act);
    let stride = match std::env::var_os("HULL_EVERY_STEP") {
        Some(_) => 1,
        None => all.div_ceil(SOME),
    };
    for n in (1..=all).step_by(stride) {
        killed_at(daemon, n, operation, &clean);
    }
}

/// Once, at step `n`. Returns how many steps there were until then.
fn killed_at(daemon: &mut Daemon, n: usize, operation: &Operation<'_>, clean: &BTreeSet<String>) -> usize {
    let Operation { before, act, done, look, seen, after } = operation;
    for command in *before {
        daemon.hull(*command).ok();
    }
    let steps = steps::kill_at(daemon, n, |daemon| drop(daemon.hull(*act)));
    daemon.restart();
    let about = format!("{act:?} was cut at step {n}");
    let state = || daemon.hull(*look).stdout.trim().to_owned();
    assert!(eventually(MOMENT, || seen.contains(&state().as_str())), "{about}: {}", state());
    let again = daemon.hull(*act);
    let fine = again.code == 0 || done.iter().any(|text| again.stderr.contains(text));
    assert!(fine, "{about}, again: {again:#?}\n{}", daemon.log());
    for command in *after {
        daemon.hull(*command);
    }
    let left = || {
        let now = world::look(daemon);
        let more = now.difference(clean).map(|line| format!("+ {line}"));
        more.chain(clean.difference(&now).map(|line| format!("- {line}"))).collect::<Vec<_>>()
    };
    assert!(eventually(MOMENT, || left().is_empty()), "{about}:\n{}\n{}", left().join("\n"), daemon.log());
    steps
}

const STATES: Words<'static> = &["ps", "-a", "--format", "{{.Names}} {{.State}}"];
const REMOVE: Words<'static> = &["rm", "-f", "-v", "box"];
const SLEEP: [&str; 3] = ["busybox", "sleep", "1000"];

#[test]
fn making_and_starting() {
    let mut daemon = Daemon::with_busybox();
    let create = ["create", "--name", "box", "-v", "/data", "-p", "18081:80", "busybox", "sleep", "1000"];
    killed_at_its_steps(
        &mut daemon,
        &Operation {
            act: &create,
            done: &["is already in use by container"],
            look: STATES,
            seen: &["", "box created"],
            after: &[REMOVE],
            ..Operation::default()
        },
    );
    killed_at_its_steps(
        &mut daemon,
        &Operation {
            before: &[&create],
            act: &["start", "box"],
            look: STATES,
            seen: &["box created", "box exited", "box running"],
            after: &[REMOVE],
            ..Operation::default()
        },
    );
}

#[test]
fn ending_and_removing() {
    let mut daemon = Daemon::with_busybox();
    let run = [&["run", "-d", "--name", "box", "-p", "18081:80"], &SLEEP[..]].concat();
    let run_once = [&["run", "-d", "--rm", "--name", "box", "-v", "/data"], &SLEEP[..]].concat();
    let create = [&["create", "--name", "box"], &SLEEP[..]].concat();
    let running = Operation { before: &[&run], look: STATES, after: &[REMOVE], ..Operation::default() };
    killed_at_its_steps(
        &mut daemon,
        &Operation { act: &["stop", "-t", "0", "box"], seen: &["box running", "box exited"], ..running },
    );
    killed_at_its_steps(
        &mut daemon,
        &Operation {
            before: &[&run_once],
            act: &["kill", "box"],
            done: &["No such container", "is not running"],
            seen: &["box running", ""],
            ..running
        },
    );
    let gone = Operation { done: &["No such container"], ..running };
    let seen = &["box running", "box exited", ""];
    killed_at_its_steps(&mut daemon, &Operation { act: &["rm", "-f", "box"], seen, ..gone });
    killed_at_its_steps(
        &mut daemon,
        &Operation { before: &[&create], act: &["rm", "box"], seen: &["box created", ""], ..gone },
    );
}

#[test]
fn ports() {
    let mut daemon = Daemon::with_busybox();
    let run = [&["run", "-d", "--name", "box"], &SLEEP[..]].concat();
    let look: Words<'_> = &["port", "box"];
    let seen: Words<'_> = &["", "80/tcp -> 0.0.0.0:18083\n80/tcp -> [::]:18083"];
    let add: Words<'_> = &["port", "add", "box", "18083:80"];
    let running = Operation { before: &[&run], look, seen, after: &[REMOVE], ..Operation::default() };
    let done: Words<'_> = &["port is already allocated"];
    killed_at_its_steps(&mut daemon, &Operation { act: add, done, ..running });
    let published = &[&run[..], add];
    let act: Words<'_> = &["port", "rm", "box", "18083:80"];
    let done: Words<'_> = &["is not published"];
    killed_at_its_steps(&mut daemon, &Operation { before: published, act, done, ..running });
}

#[test]
fn links() {
    let mut daemon = Daemon::start_with(&["--icc=false"]);
    let archive = images::busybox(daemon.dir()).expect("an image");
    daemon.hull(["load", "-q", "-i", archive.to_str().expect("utf-8")]).ok();
    let db = [&["run", "-d", "--name", "db", "--expose", "80"], &SLEEP[..]].concat();
    let run = [&["run", "-d", "--name", "box", "--link", "db"], &SLEEP[..]].concat();
    let operation = Operation { look: STATES, ..Operation::default() };
    killed_at_its_steps(
        &mut daemon,
        &Operation {
            before: &[&db],
            act: &run,
            done: &["is already in use"],
            seen: &["db running", "box created\ndb running", "box running\ndb running"],
            after: &[REMOVE, &["rm", "-f", "db"]],
            ..operation
        },
    );
    killed_at_its_steps(
        &mut daemon,
        &Operation {
            before: &[&db, &run],
            act: &["rm", "-f", "db"],
            done: &["No such container"],
            seen: &["box running", "box running\ndb exited", "box running\ndb running"],
            after: &[REMOVE],
            ..operation
        },
    );
}

#[test]
fn changing() {
    let mut daemon = Daemon::with_busybox();
    let run = [&["run", "-d", "--name", "box"], &SLEEP[..]].concat();
    let running = Operation { before: &[&run], look: STATES, after: &[REMOVE], ..Operation::default() };
    killed_at_its_steps(
        &mut daemon,
        &Operation {
            act: &["rename", "box", "crate"],
            done: &["No such container: box"],
            seen: &["box running", "crate running"],
            after: &[REMOVE, &["rm", "-f", "crate"]],
            ..running
        },
    );
    let seen = &["box running"];
    killed_at_its_steps(&mut daemon, &Operation { act: &["exec", "box", "true"], seen, ..running });
    killed_at_its_steps(
        &mut daemon,
        &Operation { act: &["update", "-m", "64m", "--memory-swap", "128m", "box"], seen, ..running },
    );
    killed_at_its_steps(
        &mut daemon,
        &Operation {
            act: &["pause", "box"],
            done: &["already paused"],
            seen: &["box running", "box paused"],
            after: &[&["unpause", "box"], REMOVE],
            ..running
        },
    );
}

#[test]
fn networks_and_volumes() {
    let mut daemon = Daemon::with_busybox();
    let make = ["network", "create", "front"];
    let has = ["network", "inspect", "-f", "{{.Name}}", "front"];
    let network = Operation { look: &has, seen: &["", "front"], ..Operation::default() };
    let remove = ["network", "rm", "front"];
    killed_at_its_steps(
        &mut daemon,
        &Operation { act: &make, done: &["already exists"], after: &[&remove], ..network },
    );
    killed_at_its_steps(
        &mut daemon,
        &Operation { before: &[&make], act: &remove, done: &["not found"], ..network },
    );
    let run = [&["run", "-d", "--name", "box", "-p", "18081:80"], &SLEEP[..]].concat();
    let (connect, disconnect) =
        (["network", "connect", "front", "box"], ["network", "disconnect", "front", "box"]);
    let in_networks =
        ["inspect", "-f", "{{range $name, $x := .NetworkSettings.Networks}}{{$name}} {{end}}", "box"];
    let running = Operation {
        look: &in_networks,
        seen: &["bridge", "bridge front"],
        after: &[REMOVE, &remove],
        ..Operation::default()
    };
    killed_at_its_steps(
        &mut daemon,
        &Operation { before: &[&make, &run], act: &connect, done: &["already exists in network"], ..running },
    );
    killed_at_its_steps(
        &mut daemon,
        &Operation {
            before: &[&make, &run, &connect],
            act: &disconnect,
            done: &["is not connected"],
            ..running
        },
    );
    let volume = Operation { look: &["volume", "ls", "-q"], seen: &["", "store"], ..Operation::default() };
    let (make, remove) = (["volume", "create", "store"], ["volume", "rm", "store"]);
    killed_at_its_steps(&mut daemon, &Operation { act: &make, after: &[&remove], ..volume });
    killed_at_its_steps(
        &mut daemon,
        &Operation { before: &[&make], act: &remove, done: &["no such volume"], ..volume },
    );
}

/// An archive of the image `small:1`, which has two layers.
fn small_archive(daemon: &Daemon) -> std::path::PathBuf {
    let archive = daemon.dir().join("small.tar");
    let layers = ["lower", "upper"].map(|name| images::pack(&[(images::file(name, 0o644), name.as_bytes())]));
    std::fs::write(&archive, images::Image::of(layers.to_vec()).docker_archive("small:1")).expect("write");
    archive
}

#[test]
fn images() {
    let mut daemon = Daemon::with_busybox();
    let archive = small_archive(&daemon);
    let load = ["load", "-q", "-i", archive.to_str().expect("utf-8")];
    let names = Operation {
        look: &["images", "--format", "{{.Repository}}:{{.Tag}}", "small"],
        seen: &["", "small:1"],
        after: &[&["rmi", "small:1"]],
        ..Operation::default()
    };
    killed_at_its_steps(&mut daemon, &Operation { act: &load, ..names });
    let remove = Operation { act: &["rmi", "small:1"], done: &["No such image"], ..names };
    killed_at_its_steps(&mut daemon, &Operation { before: &[&load], ..remove });
    killed_at_its_steps(
        &mut daemon,
        &Operation {
            before: &[&load],
            act: &["tag", "small:1", "small:2"],
            seen: &["small:1", "small:1\nsmall:2", "small:2\nsmall:1"],
            after: &[&["rmi", "small:1", "small:2"]],
            ..names
        },
    );
    killed_at_its_steps(
        &mut daemon,
        &Operation {
            before: &[&["create", "--name", "box", "busybox"], &["cp", load[3], "box:/file"]],
            act: &["commit", "box", "small:1"],
            after: &[&["rmi", "small:1"], REMOVE, &["image", "prune", "-f"]],
            ..names
        },
    );
}

#[test]
fn pulling() {
    let mut daemon = Daemon::start();
    let _registry = Registry::start(&daemon);
    let name = "127.0.0.1:5000/small:1";
    daemon.hull(["load", "-q", "-i", small_archive(&daemon).to_str().expect("utf-8")]).ok();
    daemon.hull(["tag", "small:1", name]).ok();
    daemon.hull(["push", name]).ok();
    daemon.hull(["rmi", name, "small:1"]).ok();
    killed_at_its_steps(
        &mut daemon,
        &Operation {
            act: &["pull", name],
            look: &["images", "--format", "{{.Repository}}:{{.Tag}}"],
            seen: &["", name],
            after: &[&["rmi", name]],
            ..Operation::default()
        },
    );
}
