//! What a new process does between clone and execve: two ordered lists of named steps, one for the first process of
//! a container ([`Init`]) and one for a process that joins ([`Join`]). The order is the design; each line says why
//! it stands where it does. A step that fails names the [`Failure`] that the caller gets.
//!
//! The process has a copy of the caller's memory and descriptors. It allocates freely (the caller had one thread)
//! and gives nothing back: whatever happens, it ends by execve or by `_exit`.

pub(crate) mod attributes;
mod console;
mod copy_up;
pub(crate) mod devices;
mod hide;
mod kernel;
pub(crate) mod mounts;
mod namespaces;
mod program;
pub(crate) mod rootfs;
mod task;

use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use hull_cgroup::{Cgroup, Entry};
use hull_sys::clone::exit_now;
use hull_sys::{Context, Result};
use rustix::net::{SocketFlags, accept_with};
use rustix::process::Signal;

use crate::channel::{Channel, Message};
use crate::create::{Create, Gate, hide_program};
use crate::exec::Exec;
use crate::failure::{Failure, Step as _};
use crate::hooks::Moment;
use crate::notify::Notifier;
use crate::outside::Outside;
use crate::plan::Plan;

use mounts::Prepared;
use task::Task;

/// The exit code of a process whose program the kernel does not take.
const NOT_EXECUTED: i32 = 255;

/// A named step.
type Step<T> = (&'static str, fn(&mut T) -> Result<()>);

/// The first process of a container, being set up.
pub(crate) struct Init<'a> {
    create: &'a Create,
    plan: &'a Plan,
    cgroup: Option<&'a Cgroup>,
    entry: Option<&'a Entry>,
    root_mount: Option<OwnedFd>,
    /// What the caller has made of the mounts, in their order; see [`Outside`].
    made_outside: Vec<Option<Prepared>>,
    /// For each mount of the plan, what it is made of.
    mounts: Vec<Vec<Prepared>>,
    /// The line to the caller, if he has hooks to run.
    line: Option<Channel>,
    /// Where hooks look for the container's root, if it had to be opened early.
    host_place: Option<OwnedFd>,
    /// The container's device nodes as binds, by their paths, where they cannot be made.
    device_binds: Vec<(PathBuf, OwnedFd)>,
    /// A standard node that is there already.
    node_made: Option<PathBuf>,
    /// Mounts that are written to once more before they become read-only.
    read_only_later: Vec<OwnedFd>,
    /// The root of /dev, if it was mounted here.
    dev: Option<OwnedFd>,
    task: Task<'a>,
}

impl<'a> Init<'a> {
    /// The setup of a container.
    const STEPS: &'a [Step<Self>] = &[
        // First of all, so that the container pays for everything that is made from here on.
        ("cgroup", namespaces::enter_cgroup),
        // The cgroup namespace shows as its root where we are now. What is mounted shows the namespaces we are in.
        ("namespaces", namespaces::enter),
        // As who the process is there; before anything can be put into the caller's.
        ("keyring", |init| init.task.join_keyring()),
        // The agent knows the process by its id on the host.
        ("seccomp", namespaces::learn_pid),
        // Everything of the host that the container is to see, while the host's paths are still there.
        ("mounts", mounts::prepare),
        // From here on no path leads to the host any more, unless there are hooks, which want to see it.
        ("rootfs", rootfs::attach),
        // In the order of the spec: later ones lie in earlier ones.
        ("mounts", mounts::place),
        // /dev is there now, and still writable.
        ("devices", devices::make),
        // All is mounted, the host is still in sight.
        (Moment::CreateContainer.step(), Self::run_create_hooks),
        // Now no path leads there any more.
        ("rootfs", rootfs::pivot_late),
        // Before anything of the container can be seen by a program.
        ("hostname", kernel::set_names),
        ("sysctl", kernel::set_sysctls),
        // Over what the mounts brought, and before the root can be read-only: the places are in it.
        ("masked paths", hide::mask),
        ("read-only paths", hide::make_read_only),
        // The container's own files say who its user is, so all volumes must be there.
        ("user", |init| init.task.resolve_user()),
        // A session of its own, so that the terminal can be its controlling one.
        ("console", |init| init.task.open_console()),
        // Makes the directory if it is missing, so before the root is read-only.
        ("cwd", |init| init.task.make_directory()),
        // The last change to any file is done.
        ("read-only root", rootfs::finish),
        // The rest is the process alone. Limits while it may still raise them.
        ("limits", |init| init.task.set_limits()),
        ("scheduler", |init| init.task.set_scheduler()),
        ("io priority", |init| init.task.set_io_priority()),
        ("personality", |init| init.task.set_personality()),
        ("memory policy", |init| init.task.set_memory_policy()),
        // Written to a procfs that nobody but us has mounted.
        ("apparmor profile", |init| init.task.set_apparmor()),
        ("selinux label", |init| init.task.set_selinux()),
        ("stdio", |init| init.task.take_stdio()),
        // After all files are open. Keeps the capabilities: the last steps need some.
        ("user", |init| init.task.become_user()),
        // The change of the user would have undone it.
        ("parent death", |init| init.die_with_caller()),
        // As that user, so that the answer is the one that execve will give.
        ("exec", |init| init.task.find_program()),
    ];

    /// All that the new process has to know. The caller's half makes it, after the clone.
    pub(crate) fn new(
        create: &'a Create,
        plan: &'a Plan,
        outside: Outside,
        cgroup: Option<&'a Cgroup>,
        entry: Option<&'a Entry>,
    ) -> std::result::Result<Self, Failure> {
        Ok(Self {
            create,
            plan,
            cgroup,
            entry,
            root_mount: outside.root,
            made_outside: outside.mounts,
            mounts: Vec::new(),
            line: None,
            host_place: None,
            device_binds: Vec::new(),
            node_made: None,
            read_only_later: Vec::new(),
            dev: None,
            task: Task::of_container(create, outside.notifier)?,
        })
    }

    /// Whether there are hooks that want the host's files and the container's at once.
    fn shows_host_to_hooks(&self) -> bool {
        let moments = [Moment::Prestart, Moment::CreateRuntime, Moment::CreateContainer];
        self.task.hooked.as_ref().is_some_and(|hooked| moments.iter().any(|moment| hooked.has(*moment)))
    }

    /// The hooks before pivot_root: those of the caller, then those of the container's namespaces.
    fn run_create_hooks(&mut self) -> Result<()> {
        let (Some(line), Some(hooked)) = (&self.line, &self.task.hooked) else { return Ok(()) };
        line.hooks()?;
        match line.receive()? {
            Message::Go => {}
            _ => exit_now(1),
        }
        hooked.run_in_step(Moment::CreateContainer, rustix::process::getpid().as_raw_nonzero().get())
    }

    /// Asks the kernel for SIGKILL when the caller ends. If it has ended already, the channel says so.
    fn die_with_caller(&mut self) -> Result<()> {
        let signal = self.create.dies_with_caller.then_some(Signal::KILL);
        rustix::process::set_parent_process_death_signal(signal).op("prctl PR_SET_PDEATHSIG")
    }
}

/// A process that joins a container, being set up.
pub(crate) struct Join<'a> {
    entry: Option<&'a Entry>,
    pidfd: &'a OwnedFd,
    pid: i32,
    task: Task<'a>,
}

impl<'a> Join<'a> {
    /// The setup of a process that joins a container.
    const STEPS: &'a [Step<Self>] = &[
        // First of all, so that the container pays for it; its file systems are the host's still.
        ("cgroup", |join| namespaces::enter_v1(join.entry)),
        // Those that the cgroup allows.
        ("cpu affinity", |join| join.task.set_final_affinity()),
        // The kernel's view of itself has to be opened while ours is there: the container's /proc is not to be trusted.
        ("namespaces", namespaces::join),
        ("keyring", |join| join.task.join_keyring()),
        ("user", |join| join.task.resolve_user()),
        ("console", |join| join.task.open_console()),
        ("cwd", |join| join.task.enter_directory()),
        ("limits", |join| join.task.set_limits()),
        ("scheduler", |join| join.task.set_scheduler()),
        ("io priority", |join| join.task.set_io_priority()),
        ("personality", |join| join.task.set_personality()),
        ("memory policy", |join| join.task.set_memory_policy()),
        ("apparmor profile", |join| join.task.set_apparmor()),
        ("selinux label", |join| join.task.set_selinux()),
        ("stdio", |join| join.task.take_stdio()),
        ("user", |join| join.task.become_user()),
        ("exec", |join| join.task.find_program()),
    ];

    /// All that the new process has to know.
    pub(crate) fn new(
        exec: &'a Exec,
        pidfd: &'a OwnedFd,
        entry: Option<&'a Entry>,
        notifier: Option<Notifier>,
    ) -> Self {
        Self { entry, pidfd, pid: exec.pid, task: Task::of_exec(exec, notifier) }
    }
}

impl<'a> Task<'a> {
    /// What remains when a process has been let go.
    const STEPS: &'a [Step<Self>] = &[
        // Marks what the caller had open; what the steps opened is marked already.
        ("descriptors", Self::close_descriptors),
        ("signals", Self::reset_signals),
        // Without no-new-privileges a filter needs a capability, so it comes before those go …
        ("seccomp", Self::filter_calls_privileged),
        ("capabilities", Self::drop_capabilities),
        // … and otherwise last, so that it need not allow what only we do.
        ("seccomp", Self::filter_calls_unprivileged),
        // Programs of the container, so they get no more than its own does.
        (Moment::StartContainer.step(), Self::run_start_hooks),
        ("exec", Self::execute),
    ];
}

/// Goes through the life of a container's first process. Its end is execve, or `_exit` after having said why.
pub(crate) fn run(init: std::result::Result<Init<'_>, Failure>, channel: Channel) -> ! {
    let _end = EndWithoutReturn;
    let mut channel = channel;
    let Err(failure) = init.and_then(|init| live(init, &mut channel));
    end(&channel, &failure)
}

/// Ends a process that has not become its program. What the kernel says of the program itself is output of the process, as
/// with runc: everything that could be asked before was in order, and so the process has been started.
fn end(channel: &Channel, failure: &Failure) -> ! {
    if failure.step == "exec" && failure.op == "execve" {
        // Nobody else is left to tell.
        let _ = writeln!(std::io::stderr(), "{failure}");
        exit_now(NOT_EXECUTED)
    }
    channel.failed(failure);
    exit_now(1)
}

fn live(mut init: Init<'_>, channel: &mut Channel) -> std::result::Result<std::convert::Infallible, Failure> {
    wait_for_go(channel)?;
    hide_program().step("clone")?;
    if init.shows_host_to_hooks() {
        init.line = Some(channel.try_clone().step("clone")?);
    }
    walk(Init::STEPS, &mut init)?;
    channel.ready(init.task.master()).step("console")?;
    match &init.create.gate {
        Gate::Caller => wait_for_go(channel)?,
        Gate::Listener(listener) => {
            let starter = rustix::io::retry_on_intr(|| accept_with(listener, SocketFlags::CLOEXEC));
            *channel = Channel::from(starter.op("accept").step("start")?);
        }
    }
    execute(&mut init.task, channel)
}

/// Goes through the life of a process that joins.
pub(crate) fn run_join(mut join: Join<'_>, channel: Channel) -> ! {
    let _end = EndWithoutReturn;
    let lived = walk(Join::STEPS, &mut join)
        .and_then(|()| channel.ready(join.task.master()).step("console"))
        .and_then(|()| execute(&mut join.task, &channel));
    let Err(failure) = lived;
    end(&channel, &failure)
}

fn walk<T>(steps: &[Step<T>], subject: &mut T) -> std::result::Result<(), Failure> {
    steps.iter().try_for_each(|(name, step)| step(subject).step(name))
}

fn execute(task: &mut Task<'_>, channel: &Channel) -> std::result::Result<std::convert::Infallible, Failure> {
    for (name, step) in Task::STEPS {
        step(task).step(name)?;
        task.warnings.drain(..).for_each(|warning| channel.warn(name, &warning));
    }
    Err(Failure::text("exec", "execve returned without an error"))
}

/// Waits until the caller lets the process go on. If the caller is gone, so is the process.
fn wait_for_go(channel: &Channel) -> std::result::Result<(), Failure> {
    match channel.receive().step("start")? {
        Message::Go => Ok(()),
        _ => exit_now(1),
    }
}

/// Ends the process if a panic would carry it back into the caller's code.
pub(crate) struct EndWithoutReturn;

impl Drop for EndWithoutReturn {
    fn drop(&mut self) {
        exit_now(1)
    }
}
