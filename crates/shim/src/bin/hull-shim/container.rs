//! The container itself: its first process, its streams and its log.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use hull_cgroup::{Cgroup, OomWatch};
use hull_runtime::hooks::Hooked;
use hull_runtime::{Created, Failure, Running};
use hull_shim::protocol::{Config, Exit, Status};

use crate::checkpoint::{Made, Stopped};
use crate::clock::Stamp;
use crate::copy::{Chunk, Output, Streams};
use crate::foreign::{self, Foreign};
use crate::log::Log;

/// One container, from its creation to its end.
pub(crate) struct Container {
    pub(crate) pid: i32,
    pub(crate) cgroup: String,
    pub(crate) streams: Streams,
    pub(crate) stdin_once: bool,
    pub(crate) log: Option<Log>,
    pub(crate) started_at: Option<String>,
    /// Mount namespaces of file systems that it shares with others, held for them.
    pub(crate) shared: BTreeMap<String, OwnedFd>,
    /// Who its root is to us, if users are mapped.
    pub(crate) root: Option<(u32, u32)>,
    /// Tells when it has run out of memory, where there is a controller for that.
    pub(crate) oom: Option<OomWatch>,
    /// Its runtime, if that is not the library's.
    pub(crate) foreign: Option<Foreign>,
    stage: Stage,
    /// Closed when this process ends, after everybody has been told: then the kernel writes the changes to disk.
    _rootfs: Option<OwnedFd>,
}

/// Where in its life it is. The states are described in the module of the program.
enum Stage {
    Created(Created),
    /// The same where the runtime is another program.
    Waiting(foreign::Created),
    /// The same of one that was made from a checkpoint: its processes are stopped.
    Restored(Stopped),
    Running(Running),
    /// Init has ended; `give_up` is when we stop to wait for the end of its output.
    Exited {
        exit: Exit,
        cgroup: Option<Cgroup>,
        /// Its hooks: those for its end are run when nothing of it is left.
        hooked: Option<Hooked>,
        give_up: Instant,
    },
    Drained(Exit),
    /// Only while one becomes another.
    Between,
}

impl Container {
    pub(crate) fn new(
        mut created: Created,
        streams: Streams,
        log: Option<Log>,
        cgroup: String,
        stdin_once: bool,
    ) -> Self {
        let (pid, rootfs) = (created.pid, created.rootfs.take());
        let stage = Stage::Created(created);
        Self { pid, stage, _rootfs: rootfs, ..Self::unmade(streams, log, cgroup, stdin_once) }
    }

    /// One that another runtime has made.
    pub(crate) fn foreign(
        runtime: Foreign,
        mut created: foreign::Created,
        streams: Streams,
        log: Option<Log>,
        config: Config,
    ) -> Self {
        let unmade = Self::unmade(streams, log, config.cgroup, config.stdin_once);
        let (pid, rootfs) = (created.pid, created.rootfs.take());
        let stage = Stage::Waiting(created);
        Self { pid, stage, foreign: Some(runtime), _rootfs: rootfs, ..unmade }
    }

    /// One that was made from a checkpoint.
    pub(crate) fn restored(
        (stopped, pid, rootfs): Made,
        streams: Streams,
        log: Option<Log>,
        config: Config,
    ) -> Self {
        let unmade = Self::unmade(streams, log, config.cgroup, config.stdin_once);
        Self { pid, stage: Stage::Restored(stopped), _rootfs: rootfs, ..unmade }
    }

    /// What is alike however a container is made.
    fn unmade(streams: Streams, log: Option<Log>, cgroup: String, stdin_once: bool) -> Self {
        Self {
            pid: 0,
            cgroup,
            streams,
            stdin_once,
            log,
            started_at: None,
            shared: BTreeMap::new(),
            root: None,
            oom: None,
            foreign: None,
            stage: Stage::Between,
            _rootfs: None,
        }
    }

    pub(crate) fn status(&self) -> Status {
        match self.stage {
            Stage::Created(_) | Stage::Waiting(_) | Stage::Restored(_) => Status::Created,
            Stage::Running(_) => Status::Running,
            Stage::Exited { .. } | Stage::Drained(_) | Stage::Between => Status::Exited,
        }
    }

    /// Init, as long as there is one.
    pub(crate) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        match &self.stage {
            Stage::Created(created) => created.pidfd(),
            Stage::Waiting(created) => Some(created.pidfd()),
            Stage::Restored(stopped) => stopped.pidfd(),
            Stage::Running(running) => Some(running.pidfd.as_fd()),
            Stage::Exited { .. } | Stage::Drained(_) | Stage::Between => None,
        }
    }

    /// Lets init execute the program. `None`: it is not waiting for that.
    pub(crate) fn start(&mut self) -> Option<Result<(), Failure>> {
        let running = match (std::mem::replace(&mut self.stage, Stage::Between), &self.foreign) {
            (Stage::Created(created), _) => created.start(),
            (Stage::Waiting(created), Some(foreign)) => foreign.start(created, &self.cgroup),
            (Stage::Restored(stopped), _) => stopped.go_on(),
            (other, _) => {
                self.stage = other;
                return None;
            }
        };
        Some(running.map(|running| {
            self.started_at = Some(Stamp::now().to_string());
            self.oom = running.cgroup.as_ref().and_then(|cgroup| cgroup.watch_oom().ok());
            self.stage = Stage::Running(running);
        }))
    }

    /// Notes the end of init. Output is waited for until `give_up`.
    pub(crate) fn ended(&mut self, exit: Exit, give_up: Instant) {
        let (cgroup, hooked) = match std::mem::replace(&mut self.stage, Stage::Between) {
            Stage::Running(running) => (running.cgroup, running.hooked),
            Stage::Restored(stopped) => {
                stopped.take().map_or((None, None), |running| (running.cgroup, running.hooked))
            }
            // A container that never started takes its cgroup with it, and runs its hooks.
            _ => (None, None),
        };
        self.stage = Stage::Exited { exit, cgroup, hooked, give_up };
    }

    /// When to stop waiting for the end of the output; `None` before the exit and after the end.
    pub(crate) fn give_up(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Exited { give_up, .. } => Some(*give_up),
            _ => None,
        }
    }

    /// The cgroup that has to be emptied and removed after the exit.
    pub(crate) fn remains(&self) -> Option<&Cgroup> {
        match &self.stage {
            Stage::Exited { cgroup, .. } => cgroup.as_ref(),
            _ => None,
        }
    }

    /// Nothing of the container is left but this record.
    pub(crate) fn drained(&mut self) -> Option<&Exit> {
        match std::mem::replace(&mut self.stage, Stage::Between) {
            Stage::Exited { exit, hooked, .. } => {
                // There is nobody to tell that one has failed: the container has ended as it has.
                let _ = hooked.map(|hooked| hooked.stopped());
                self.foreign.iter().for_each(Foreign::delete);
                self.stage = Stage::Drained(exit);
            }
            other => self.stage = other,
        }
        self.exit()
    }

    /// How it ended, once it is drained.
    pub(crate) fn exit(&self) -> Option<&Exit> {
        match &self.stage {
            Stage::Drained(exit) => Some(exit),
            _ => None,
        }
    }

    /// The exit's record, to be completed until the container is drained.
    pub(crate) fn exit_mut(&mut self) -> Option<&mut Exit> {
        match &mut self.stage {
            Stage::Exited { exit, .. } => Some(exit),
            _ => None,
        }
    }
}

/// Logs a chunk of output and keeps the start of its last line.
pub(crate) fn log_chunk(log: Option<&mut Log>, output: &mut Output, chunk: &Chunk<'_>) {
    if let Some(log) = log {
        let taken = log.append(output.stream, chunk.lines, &Stamp::now());
        output.keep(&chunk.lines[taken..]);
    }
}

/// Logs the line that was never ended.
pub(crate) fn log_rest(log: Option<&mut Log>, output: &mut Output) {
    let rest = output.take_rest();
    if let Some(log) = log {
        log.finish(output.stream, &rest, &Stamp::now());
    }
}
