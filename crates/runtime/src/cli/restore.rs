//! `restore`: makes a container again from the files that `checkpoint` wrote.

use std::fs;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use hull_cgroup::Cgroup;
use hull_runtime::criu::{Restore, Restored, Tree, go_on};
use hull_runtime::hooks::{Hooked, Moment};
use hull_runtime::{Running, seccomp};
use lexopt::{Arg, Parser};
use rustix::process::Signal;

use super::bundle::{self, Bundle, write_pid};
use super::container::{Container, Record};
use super::criu;
use super::error::{Error, Result};
use super::place::Place;
use super::{Global, exec, foreground, require, run, switch, take_id};

pub(super) const OPTIONS: &[(&str, &str)] = &[
    criu::IMAGES,
    criu::WORK,
    ("-b, --bundle DIR", "the directory with config.json (default: this one)"),
    ("-d, --detach", "do not wait for the process"),
    ("--pid-file FILE", "where the process id is written to"),
    criu::TCP,
    criu::UNIX,
    criu::SHELL,
    criu::LOCKS,
    criu::CGROUPS,
    criu::EMPTY,
    criu::DEDUP,
    criu::REMAP,
    ("--lsm-profile TYPE:NAME", "another profile of AppArmor or SELinux"),
    ("--lsm-mount-context CONTEXT", "another SELinux context for mounts"),
    ("--no-subreaper", "accepted: this runtime never is a subreaper"),
    ("--no-pivot", "accepted: criu changes the root"),
];

#[derive(Default)]
struct Options {
    bundle: bundle::Options,
    criu: criu::Options,
    labels: Vec<String>,
}

pub(super) fn run(global: &Global, parser: &mut Parser) -> Result<ExitCode> {
    let mut options = Options::parse(parser)?;
    options.criu.make_absolute()?;
    let images = options.criu.images();
    fs::read_dir(images).map_err(|e| Error::file("read images", images, e))?;
    options.criu.settings(global).find()?;
    let new = Container::create(&global.root, &require(options.bundle.id.clone())?)?;
    // Before the clone: a signal that comes from then on is for the container.
    let signals = if options.bundle.detach { None } else { Some(foreground::take_signals()?) };
    let running = restore(global, new.container()?, &options)?;
    match signals {
        Some(signals) => run::stay(global, new, running, &signals, false),
        None => {
            new.keep();
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl Options {
    fn parse(parser: &mut Parser) -> Result<Self> {
        let mut options = Self::default();
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Value(value) => take_id(&mut options.bundle.id, value)?,
                other => {
                    let name = exec::owned(other)?;
                    options.take(&name, parser)?;
                }
            }
        }
        Ok(options)
    }

    fn take(&mut self, name: &str, parser: &mut Parser) -> Result<()> {
        match name {
            "b" | "bundle" => self.bundle.bundle = Some(parser.value()?.into()),
            "d" | "detach" => self.bundle.detach = switch(parser)?,
            "pid-file" => {
                let given = parser.value()?;
                let path = std::path::absolute(&given).map_err(|e| Error::file("find", &given, e))?;
                self.bundle.pid_file = Some(path);
            }
            "console-socket" => match parser.value()?.is_empty() {
                true => {}
                false => return Err(Error::usage("--console-socket is for containers with a terminal")),
            },
            "no-subreaper" | "no-pivot" => drop(switch(parser)?),
            "lsm-profile" | "lsm-mount-context" => {
                let value = parser.value()?.to_string_lossy().into_owned();
                self.labels.extend([format!("--{name}"), value]);
            }
            name => self.criu.take(name, parser)?,
        }
        Ok(())
    }
}

/// Makes the container again, and remembers it.
fn restore(global: &Global, container: &Container, options: &Options) -> Result<Running> {
    let bundle = Bundle::open(&global.log, &options.bundle)?;
    let spec = bundle.spec();
    criu::check(spec)?;
    let hooked = Hooked::of(spec, container.id(), &bundle.path);
    let early = [Moment::Prestart, Moment::CreateRuntime];
    // The hooks come before the processes go on.
    let stopped = hooked.as_ref().is_some_and(|hooked| early.iter().any(|moment| hooked.has(*moment)));
    let mut settings = options.criu.settings(global);
    settings.words.extend(options.labels.iter().map(Into::into));

    let place = Place::make(global, container.id(), &bundle.cgroups_path(), bundle.resources())?;
    let cgroup = place.cgroup.as_deref().map(|path| hull_runtime::make_cgroup(path, spec)).transpose()?;
    let mut undo = Undo(cgroup);
    let what = Restore {
        spec,
        bundle: &bundle.path,
        root: Tree::Path(bundle.rootfs.clone()),
        mounts: Vec::new(),
        network: None,
        stdio: [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()],
        cgroup: undo.0.as_ref(),
        stopped,
        dir: container.dir(),
    };
    let Restored { pid, pidfd } = hull_runtime::criu::restore(&settings, what)?;

    let path = undo.0.as_ref().map(|cgroup| cgroup.path().to_owned());
    let mut record = Record::new(container.id(), pid, bundle.path.clone(), bundle.rootfs.clone(), path, spec);
    let policy = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    record.seccomp = policy.map(seccomp::compile).transpose().map_err(|e| Error::new(e.to_string()))?;
    record.scope = place.scope.clone();
    record.hooked = hooked.clone();
    container.save(&record)?;
    let run_hooks = |moment: Moment| hooked.as_ref().map_or(Ok(()), |hooked| hooked.run(moment, pid));
    let begun = early.into_iter().try_for_each(run_hooks).map_err(Error::from);
    let begun = begun.and_then(|()| if stopped { Ok(go_on(record.pids()?)?) } else { Ok(()) });
    let begun = begun.and_then(|()| Ok(run_hooks(Moment::Poststart)?));
    begun.and_then(|()| write_pid(options.bundle.pid_file.as_deref(), pid)).inspect_err(|_| end(&pidfd))?;
    Ok(Running { pid, pidfd, terminal: None, cgroup: undo.0.take(), rdt: None, hooked, warnings: Vec::new() })
}

fn end(pidfd: &OwnedFd) {
    // It fails only if the process is gone, which is what it is for.
    let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
}

/// The cgroup of a container that may still fail; then it is removed, with what is in it.
struct Undo(Option<Cgroup>);

impl Drop for Undo {
    fn drop(&mut self) {
        if let Some(cgroup) = self.0.take() {
            // The failure that led here is the one to be told.
            let _ = run::end(&cgroup);
        }
    }
}
