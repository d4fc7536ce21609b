//! `checkpoint`: saves a running container to files.

use std::path::PathBuf;
use std::process::ExitCode;

use hull_oci::runtime::{ContainerState, Spec};
use hull_runtime::criu::{Action, Save};
use lexopt::{Arg, Parser};

use super::bundle::read_spec;
use super::container::{Container, Record};
use super::criu;
use super::error::{Error, Result};
use super::{Global, delete, exec, require, switch, take_id};

pub(super) const OPTIONS: &[(&str, &str)] = &[
    criu::IMAGES,
    criu::WORK,
    ("--parent-path DIR", "images of an earlier --pre-dump, relative to the image path"),
    ("--leave-running", "let the container run on"),
    ("--pre-dump", "save its memory only, and let it run on"),
    criu::TCP,
    ("--tcp-skip-in-flight", "leave out TCP connections that are not established yet"),
    criu::UNIX,
    criu::SHELL,
    criu::LOCKS,
    criu::CGROUPS,
    criu::EMPTY,
    criu::DEDUP,
    criu::REMAP,
];

#[derive(Default)]
struct Options {
    id: Option<String>,
    criu: criu::Options,
    parent: Option<PathBuf>,
    leave_running: bool,
    pre_dump: bool,
    skip_in_flight: bool,
}

pub(super) fn run(global: &Global, parser: &mut Parser) -> Result<ExitCode> {
    let mut options = Options::parse(parser)?;
    options.criu.make_absolute()?;
    let container = Container::open(&global.root, &require(options.id.take())?)?;
    let record = container.load()?;
    if container.status(&record) != ContainerState::Running {
        return Err(Error::new(format!(
            "cannot checkpoint a container that is {}",
            container.status(&record)
        )));
    }
    let spec = read_spec(&global.log, &record.bundle.join("config.json"))?;
    criu::check(&spec)?;
    save(global, &container, &record, &spec, &options)?;
    if !options.leave_running && !options.pre_dump {
        delete::remove(global, &container, &record, true)?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Options {
    fn parse(parser: &mut Parser) -> Result<Self> {
        let mut options = Self::default();
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Value(value) => take_id(&mut options.id, value)?,
                other => match exec::owned(other)?.as_str() {
                    "parent-path" => options.parent = Some(parser.value()?.into()),
                    "leave-running" => options.leave_running = switch(parser)?,
                    "pre-dump" => options.pre_dump = switch(parser)?,
                    "tcp-skip-in-flight" => options.skip_in_flight = switch(parser)?,
                    name => options.criu.take(name, parser)?,
                },
            }
        }
        if options.parent.as_ref().is_some_and(|path| path.is_absolute()) {
            return Err(Error::usage("--parent-path is relative to the image path"));
        }
        Ok(options)
    }
}

/// Lets criu save all processes. If that fails, they run on.
fn save(
    global: &Global,
    container: &Container,
    record: &Record,
    spec: &Spec,
    options: &Options,
) -> Result<()> {
    let mut settings = options.criu.settings(global);
    if let Some(parent) = &options.parent {
        settings.words.extend(["--prev-images-dir".into(), parent.into()]);
    }
    for (wanted, word) in [
        (options.pre_dump || options.parent.is_some(), "--track-mem"),
        (options.skip_in_flight, "--skip-in-flight"),
    ] {
        settings.words.extend(wanted.then(|| word.into()));
    }
    let cgroup = record.cgroup()?;
    let what = Save {
        pid: record.pid,
        spec,
        rootfs: Some(&record.rootfs),
        cgroup: cgroup.as_ref(),
        given: &[],
        network_given: false,
        dir: container.dir(),
    };
    let action = match (options.pre_dump, options.leave_running) {
        (true, _) => Action::PreDump,
        (false, true) => Action::LeaveRunning,
        (false, false) => Action::End,
    };
    Ok(hull_runtime::criu::save(&settings, &what, action, &mut || ())?)
}
