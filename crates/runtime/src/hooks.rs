//! Hooks: programs of the host's owner that run at fixed moments of a container's life; config.md, "POSIX-platform
//! Hooks". Each gets the container's state as JSON on its standard input.
//!
//! | moment | where it runs | when |
//! |---|---|---|
//! | prestart, createRuntime | the caller's namespaces | all is mounted, the root is not changed yet |
//! | createContainer | the container's namespaces, by a path of the caller's | then |
//! | startContainer | the container, by a path of the container | right before its program |
//! | poststart | the caller's namespaces | the program runs |
//! | poststop | the caller's namespaces | nothing is left of the container |

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};

use hull_oci::runtime::{ContainerState, Hook, Hooks, Spec, State};
use hull_sys::{Context, Error, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Step};

/// How much of what a failed hook said is told, in bytes.
const TOLD: usize = 512;

/// When hooks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Deprecated by the specification, and run right before those of [`Moment::CreateRuntime`].
    Prestart,
    /// The caller's half of a container being created.
    CreateRuntime,
    /// The container's half.
    CreateContainer,
    /// In the container, before its program.
    StartContainer,
    /// The program runs.
    Poststart,
    /// The container is gone.
    Poststop,
}

impl Moment {
    /// The step that its failures belong to.
    pub(crate) const fn step(self) -> &'static str {
        match self {
            Self::Prestart => "prestart hooks",
            Self::CreateRuntime => "createRuntime hooks",
            Self::CreateContainer => "createContainer hooks",
            Self::StartContainer => "startContainer hooks",
            Self::Poststart => "poststart hooks",
            Self::Poststop => "poststop hooks",
        }
    }

    /// Those of `hooks` that run at this moment, in order.
    fn of(self, hooks: &Hooks) -> &[Hook] {
        let list = match self {
            Self::Prestart => hooks.prestart(),
            Self::CreateRuntime => hooks.create_runtime(),
            Self::CreateContainer => hooks.create_container(),
            Self::StartContainer => hooks.start_container(),
            Self::Poststart => hooks.poststart(),
            Self::Poststop => hooks.poststop(),
        };
        list.as_deref().unwrap_or_default()
    }

    fn status(self) -> ContainerState {
        match self {
            Self::Prestart | Self::CreateRuntime | Self::CreateContainer => ContainerState::Creating,
            Self::StartContainer => ContainerState::Created,
            Self::Poststart => ContainerState::Running,
            Self::Poststop => ContainerState::Stopped,
        }
    }

    /// A hook without an environment of its own has the caller's, unless the program may be the container's.
    fn hides_environment(self) -> bool {
        self == Self::StartContainer
    }
}

/// All moments, for checks.
const MOMENTS: [Moment; 6] = [
    Moment::Prestart,
    Moment::CreateRuntime,
    Moment::CreateContainer,
    Moment::StartContainer,
    Moment::Poststart,
    Moment::Poststop,
];

/// The hooks of a container, with what they are told of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hooked {
    hooks: Hooks,
    state: State,
}

impl Hooked {
    /// Those of `spec`, if it has any, for the container `id` with this bundle.
    pub fn of(spec: &Spec, id: &str, bundle: &Path) -> Option<Self> {
        let hooks = spec.hooks().clone()?;
        Some(Self { hooks, state: state(spec, id, bundle) })
    }

    /// Runs the hooks of one moment in order, up to the first that fails. `pid` is the container's process, as the
    /// hooks are to see it.
    pub fn run(&self, moment: Moment, pid: i32) -> std::result::Result<(), Failure> {
        self.run_in_step(moment, pid).step(moment.step())
    }

    /// As [`Self::run`], in a step of the moment's own name.
    pub(crate) fn run_in_step(&self, moment: Moment, pid: i32) -> Result<()> {
        self.failures(moment, pid).next().map_or(Ok(()), Err)
    }

    /// Runs the hooks for a container of which nothing is left, whichever of them fail; their failures, which are no more
    /// than warnings.
    pub fn stopped(&self) -> Vec<Failure> {
        let moment = Moment::Poststop;
        self.failures(moment, 0).map(|error| Failure::of(moment.step(), &error)).collect()
    }

    fn failures(&self, moment: Moment, pid: i32) -> impl Iterator<Item = Error> {
        let mut state = self.state.clone();
        state.set_status(moment.status()).set_pid((pid != 0).then_some(pid));
        moment.of(&self.hooks).iter().filter_map(move |hook| run_one(hook, moment, &state).err())
    }

    /// Whether any run at this moment.
    pub fn has(&self, moment: Moment) -> bool {
        !moment.of(&self.hooks).is_empty()
    }
}

/// What is told of the container `id`; status and pid are not set.
pub(crate) fn state(spec: &Spec, id: &str, bundle: &Path) -> State {
    let mut state = State::default();
    state.set_version(spec.version().clone()).set_id(id.to_owned()).set_bundle(bundle.to_owned());
    state.set_annotations(spec.annotations().clone());
    state
}

/// Checks what the specification asks of hooks.
pub(crate) fn check(hooks: &Hooks) -> std::result::Result<(), Failure> {
    for moment in MOMENTS {
        for hook in moment.of(hooks) {
            let path = hook.path().display();
            let failed = |text: String| Err(Failure::text(moment.step(), text));
            if !hook.path().is_absolute() {
                return failed(format!("{path} is not an absolute path"));
            }
            if hook.timeout().is_some_and(|timeout| timeout <= 0) {
                return failed(format!("{path}: the timeout is not greater than zero"));
            }
        }
    }
    Ok(())
}

fn run_one(hook: &Hook, moment: Moment, state: &State) -> Result<()> {
    let failed = |why: String| Err(Error::new("run", format!("{}: {why}", hook.path().display()), 0));
    let mut said = anonymous("hook output")?;
    let child = command(hook, moment)
        .stdin(state_file(state)?)
        .stdout(said.try_clone().op("dup")?)
        .stderr(said.try_clone().op("dup")?)
        .spawn();
    match wait(&mut child.on("run", hook.path())?, hook.timeout())? {
        Some(status) if status.success() => Ok(()),
        Some(status) => failed(told(status, &mut said)),
        None => failed(format!("not done after {} s", hook.timeout().unwrap_or_default())),
    }
}

fn command(hook: &Hook, moment: Moment) -> Command {
    let mut command = Command::new(hook.path());
    if let Some((name, rest)) = hook.args().as_deref().unwrap_or_default().split_first() {
        command.arg0(name).args(rest);
    }
    if hook.env().is_some() || moment.hides_environment() {
        command.env_clear();
    }
    let variables = hook.env().iter().flatten().filter_map(|variable| variable.split_once('='));
    command.envs(variables.map(|(name, value)| (OsStr::new(name), OsStr::new(value))));
    command
}

/// A file in memory: nobody has to write or read at the other end of it while the hook runs.
fn anonymous(name: &str) -> Result<File> {
    rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC).map(File::from).on("memfd_create", name)
}

fn state_file(state: &State) -> Result<File> {
    let mut file = anonymous("state")?;
    let text = serde_json::to_vec(state).map_err(std::io::Error::from).op("write the state")?;
    file.write_all(&text).and_then(|()| file.rewind()).op("write the state")?;
    Ok(file)
}

/// Waits for the end, at most `timeout` seconds; then it is killed.
fn wait(child: &mut Child, timeout: Option<i64>) -> Result<Option<ExitStatus>> {
    if let Some(seconds) = timeout {
        let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).op("pidfd_open")?;
        let patience = rustix::time::Timespec { tv_sec: seconds, tv_nsec: 0 };
        if rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&patience)))
            .op("poll")?
            == 0
        {
            child.kill().op("kill")?;
            child.wait().op("wait")?;
            return Ok(None);
        }
    }
    child.wait().op("wait").map(Some)
}

/// How it ended, and the last of what it said, on one line.
fn told(status: ExitStatus, said: &mut File) -> String {
    let mut bytes = Vec::new();
    let length = said.metadata().map_or(0, |metadata| metadata.len());
    let start = std::io::SeekFrom::Start(length.saturating_sub(TOLD as u64));
    // What it said is a help; that it failed is what counts.
    let _ = said.seek(start).and_then(|_| said.take(TOLD as u64).read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes).split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() { status.to_string() } else { format!("{status}: {text}") }
}
