//! The caller's half of a new container: everything that happens outside of it.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use hull_cgroup::Cgroup;
use hull_oci::runtime::{LinuxMemoryPolicy, LinuxPersonality, LinuxResources, Spec};
use hull_sys::Context;
use hull_sys::clone::{Child, Clone, Namespace, Side};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Signal, WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};

use crate::channel::{Channel, Message};
use crate::failure::Step;
use crate::hooks::{Hooked, Moment};
use crate::init::{self, Init, devices};
use crate::netdev::{self, Moved};
use crate::outside::Outside;
use crate::plan::Plan;
use crate::sources::Source;
use crate::{Failure, birth, rdt, seccomp, userns};

/// What becomes the container's `/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rootfs {
    /// A directory of the host, with what is mounted below it.
    Directory(PathBuf),
    /// An overlay that only the container sees.
    Overlay {
        /// The read-only layers, top first.
        lower: Vec<PathBuf>,
        /// Where changes go.
        upper: PathBuf,
        /// The overlay's own directory, on the file system of `upper`.
        work: PathBuf,
        /// Nothing waits for the disk: see [`hull_sys::mount::Writable`].
        #[serde(default)]
        volatile: bool,
        /// The ids in the layers are those inside: the container's user namespace maps them, and nothing on the disk is
        /// changed.
        #[serde(default)]
        mapped: bool,
    },
}

/// What a process reads and writes.
#[derive(Debug)]
pub enum Stdio {
    /// What the caller has.
    Inherit,
    /// These three.
    Fds {
        /// Descriptor 0.
        stdin: OwnedFd,
        /// Descriptor 1.
        stdout: OwnedFd,
        /// Descriptor 2.
        stderr: OwnedFd,
    },
    /// A terminal of the container's own devpts; its master side is handed back.
    Terminal {
        /// Lines; 0 × 0 sets no size.
        rows: u16,
        /// Columns.
        cols: u16,
    },
}

/// What lets a container that was created go on.
#[derive(Debug)]
pub enum Gate {
    /// [`Created::start`].
    Caller,
    /// The first connection to this listening socket (`SOCK_SEQPACKET`), so that another process can start the
    /// container: see [`crate::start`].
    Listener(OwnedFd),
}

/// A container to be made.
#[derive(Debug)]
pub struct Create {
    /// Its name, for messages.
    pub id: String,
    /// Its bundle, for hooks and listeners; may be empty where there are none.
    pub bundle: PathBuf,
    /// What it is to be. Relative sources of bind mounts are relative to the working directory.
    pub spec: Spec,
    /// Its root file system; `spec.root.path` is not looked at, `spec.root.readonly` is.
    pub rootfs: Rootfs,
    /// What its process reads and writes; `spec.process.terminal` is not looked at.
    pub stdio: Stdio,
    /// `user[:group]` by name or number, resolved in the container as Docker does; an empty text is root with the
    /// groups that the container's files give it. `None` takes the numbers of `spec.process.user` as they are.
    pub user: Option<String>,
    /// Further groups by name or number, resolved in the container.
    pub extra_groups: Vec<String>,
    /// The compiled system call filter; `spec.linux.seccomp` is not looked at.
    pub seccomp: Option<seccomp::Program>,
    /// The cgroup to make (`/hull/<id>`), with the limits of `spec.linux.resources`.
    pub cgroup: Option<String>,
    /// The network namespace to join, whatever the spec says of it.
    pub network: Option<OwnedFd>,
    /// File systems that are made already, detached, by their destination in the spec: placed instead of new ones of the
    /// type that the spec says there.
    pub mounts: BTreeMap<PathBuf, OwnedFd>,
    /// By destination: where the files of a bind mount come from, whatever the spec says of its source.
    pub sources: BTreeMap<PathBuf, Source>,
    /// Who starts it.
    pub gate: Gate,
    /// How many descriptors from 3 on the process keeps.
    pub preserve_fds: u32,
    /// The session keyring to make for it; `None` leaves it the caller's.
    pub keyring: Option<String>,
    /// Whether the old root is only covered and left by chroot(2): for a host whose root is the initial ramdisk, which
    /// pivot_root(2) cannot leave. A process that is privileged can find its way back.
    pub no_pivot: bool,
    /// Whether it is killed when the caller ends (until it changes its user, which clears that: prctl(2)).
    pub dies_with_caller: bool,
}

impl Create {
    /// A container with nothing but a spec and a root: the caller's stdio, no cgroup, no filter.
    pub fn new(id: impl Into<String>, spec: Spec, rootfs: Rootfs) -> Self {
        Self {
            id: id.into(),
            bundle: PathBuf::new(),
            spec,
            rootfs,
            stdio: Stdio::Inherit,
            user: None,
            extra_groups: Vec::new(),
            seccomp: None,
            cgroup: None,
            network: None,
            mounts: BTreeMap::new(),
            sources: BTreeMap::new(),
            gate: Gate::Caller,
            preserve_fds: 0,
            keyring: None,
            no_pivot: false,
            dies_with_caller: false,
        }
    }
}

/// What all processes of a container share beside its namespaces, and inherit from nobody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Common {
    /// The execution domain.
    pub personality: Option<LinuxPersonality>,
    /// Where memory comes from.
    pub memory_policy: Option<LinuxMemoryPolicy>,
}

impl Common {
    /// That of a container; most have none.
    pub fn of(spec: &Spec) -> Option<Self> {
        let linux = spec.linux().as_ref()?;
        let common =
            Self { personality: linux.personality().clone(), memory_policy: linux.memory_policy().clone() };
        (common.personality.is_some() || common.memory_policy.is_some()).then_some(common)
    }
}

/// A container that waits to be started. Dropping it kills its process and removes its cgroup.
#[derive(Debug)]
pub struct Created {
    /// Its first process, as the caller sees it.
    pub pid: i32,
    /// The master side of its terminal, if it has one; to be taken.
    pub terminal: Option<OwnedFd>,
    /// Its overlay, if it has one; may be taken. The kernel writes all that is dirty on the disk below (syncfs(2)) when
    /// the last user of an overlay leaves, which would be the container's process on its way out. Who keeps this open
    /// sees its end that much sooner.
    pub rootfs: Option<OwnedFd>,
    guard: Guard,
    channel: Channel,
}

/// A process that executes the container's program. The caller is its parent and has to wait for it.
#[derive(Debug)]
pub struct Running {
    /// Its id, as the caller sees it.
    pub pid: i32,
    /// Names it even after its end.
    pub pidfd: OwnedFd,
    /// The master side of its terminal, if it has one that was not taken from [`Created`].
    pub terminal: Option<OwnedFd>,
    /// The cgroup that was made for it; the caller removes it after the end.
    pub cgroup: Option<Cgroup>,
    /// What was asked for and could not be given, in words.
    pub warnings: Vec<String>,
    /// Its share of caches and memory bandwidth, if it was given one; the caller removes it after the end.
    pub rdt: Option<rdt::Group>,
    /// The container's hooks, if it has any; the caller runs those for its end: [`Hooked::stopped`].
    pub hooked: Option<Hooked>,
}

/// Makes a container up to the point where only its program is missing. If that fails, nothing is left.
pub fn create(create: Create) -> Result<Created, Failure> {
    let plan = Plan::of(&create)?;
    let outside = Outside::prepare(&create, &plan)?;
    let group = Group::create(&create)?;
    let entry = group.0.as_ref().map(Cgroup::entry).transpose().step("cgroup")?;
    // An ordinary user could not write the maps of a process that is hidden already; `init` hides it then.
    if rustix::process::geteuid().is_root() {
        hide_program().step("clone")?;
    }

    let (ours, theirs) = Channel::pair().step("clone")?;
    let into = entry.as_ref().and_then(|entry| entry.clone_fd());
    let what = Clone { namespaces: plan.namespaces.fresh, cgroup: into, sibling: false };
    let child = match birth::give(&plan.namespaces, &what, &ours, &theirs)? {
        Side::Parent(child) => child,
        Side::Child => {
            drop(ours);
            init::run(Init::new(&create, &plan, outside, group.0.as_ref(), entry.as_ref()), theirs)
        }
    };
    drop(theirs);
    let hooked = Hooked::of(&create.spec, &create.id, &create.bundle);
    let mut guard = Guard { child: Some(child), group, hooked, devices: None, rdt: None };
    let pid = guard.pid();
    equip(&create, &plan, pid)?;
    guard.rdt = make_rdt(&create).step("intelRdt")?;
    guard.rdt.as_ref().map_or(Ok(()), |rdt| rdt.enter(pid)).step("intelRdt")?;
    guard.devices = move_devices(&create, &plan, pid).step("network devices")?;
    ours.go().step("clone")?;
    let terminal = wait_ready(&ours, &|| guard.run_hooks(&[Moment::Prestart, Moment::CreateRuntime]))
        .map_err(|failure| guard.explain(failure))?;
    Ok(Created { pid, terminal, rootfs: outside.root, guard, channel: ours })
}

impl Created {
    /// Names the process even after its end.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.guard.child.as_ref().map(|child| child.pidfd.as_fd())
    }

    /// Executes the program. Returns when that has succeeded; on failure nothing is left of the container.
    pub fn start(self) -> Result<Running, Failure> {
        self.channel.go().step("start")?;
        let warnings = wait_executed(&self.channel)?;
        self.guard.run_hooks(&[Moment::Poststart])?;
        Ok(Running { warnings, ..self.leave()? })
    }

    /// As [`Running::rdt`]: for who removes it instead of us.
    pub fn rdt(&self) -> Option<&rdt::Group> {
        self.guard.rdt.as_ref()
    }

    /// The container's hooks, if it has any: whoever starts or removes it instead of us runs those that are left.
    pub fn hooked(&self) -> Option<&Hooked> {
        self.guard.hooked.as_ref()
    }

    /// Leaves the container waiting for a connection to its [`Gate::Listener`], also after the end of the caller.
    pub fn leave(self) -> Result<Running, Failure> {
        let Self { terminal, guard, .. } = self;
        guard.disarm(terminal).ok_or_else(lost)
    }
}

/// Starts a container that waits at a [`Gate::Listener`]: `socket` is connected to it. Returns when its program
/// is executed; what it was warned of. The hooks for that moment are the caller's affair.
pub fn start(socket: OwnedFd) -> Result<Vec<String>, Failure> {
    wait_executed(&Channel::from(socket))
}

/// Waits until the new process is set up; the terminal that it made. If it asks, `hooks` run meanwhile.
pub(crate) fn wait_ready(
    channel: &Channel,
    hooks: &dyn Fn() -> Result<(), Failure>,
) -> Result<Option<OwnedFd>, Failure> {
    loop {
        match channel.receive().step("clone")? {
            Message::Hooks => {
                hooks()?;
                channel.go().step("clone")?;
            }
            Message::Ready(terminal) => return Ok(terminal),
            Message::Failed(failure) => return Err(failure),
            _ => return Err(died("the new process ended before it was set up")),
        }
    }
}

/// Waits until the program is executed; what it was warned of.
pub(crate) fn wait_executed(channel: &Channel) -> Result<Vec<String>, Failure> {
    let mut warnings = Vec::new();
    loop {
        match channel.receive().step("start")? {
            Message::End => return Ok(warnings),
            Message::Warning(warning) => warnings.push(warning),
            Message::Failed(failure) => return Err(failure),
            _ => return Err(died("the new process said nonsense")),
        }
    }
}

/// The failure of a process that is not there any more.
pub(crate) fn lost() -> Failure {
    died("the new process is gone")
}

fn died(text: &str) -> Failure {
    Failure::text("clone", text)
}

/// Keeps other processes from the memory and the program file of this one and its children until they execve.
pub(crate) fn hide_program() -> hull_sys::Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).op("prctl set_dumpable")
}

/// What only the caller may set, done before the new process sets up itself.
fn equip(create: &Create, plan: &Plan, pid: i32) -> Result<(), Failure> {
    if let (true, Some(linux)) = (plan.namespaces.fresh.contains(Namespace::User), create.spec.linux()) {
        let list = |maps: &'_ Option<Vec<_>>| maps.clone().unwrap_or_default();
        let (users, groups) = (list(linux.uid_mappings()), list(linux.gid_mappings()));
        userns::write_maps(pid, (&users, &groups)).step("user namespace")?;
    }
    match create.spec.process().as_ref().and_then(|process| process.oom_score_adj()) {
        Some(score) => set_oom_score(&format!("/proc/{pid}/oom_score_adj"), score).step("oom score"),
        None => Ok(()),
    }
}

/// Makes the container's share of caches and memory bandwidth, if it is to have one.
fn make_rdt(create: &Create) -> hull_sys::Result<Option<rdt::Group>> {
    let wanted = create.spec.linux().as_ref().and_then(|linux| linux.intel_rdt().as_ref());
    wanted.map(|wanted| rdt::create(wanted, &create.id, &rdt::mount_point()?)).transpose()
}

/// Moves the network devices of the spec into the container's namespace.
fn move_devices(create: &Create, plan: &Plan, pid: i32) -> hull_sys::Result<Option<Moved>> {
    let linux = create.spec.linux().as_ref();
    let devices = linux.and_then(|linux| linux.net_devices().as_ref()).filter(|devices| !devices.is_empty());
    let Some(devices) = devices else { return Ok(None) };
    if !plan.namespaces.has_own(Namespace::Network) {
        return Err(hull_sys::Error::new("there is no network namespace to move into", "", 0));
    }
    let joined = plan.namespaces.joined.iter().find(|(kind, _)| *kind == Namespace::Network);
    let namespace = match joined {
        Some((_, namespace)) => namespace.try_clone().op("dup")?,
        None => {
            let path = format!("/proc/{pid}/ns/net");
            rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).on("open", &path)?
        }
    };
    netdev::move_in(devices, namespace).map(Some)
}

/// Sets how soon the kernel kills a process for memory: -1000 (never) to 1000.
pub(crate) fn set_oom_score(path: &str, score: i32) -> hull_sys::Result<()> {
    write(path, &score.to_string())
}

fn write(path: &str, text: &str) -> hull_sys::Result<()> {
    let fd = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).on("open", path)?;
    rustix::io::write(fd, text.as_bytes()).map(drop).on("write", path)
}

/// Makes the cgroup of a container, with the limits of its spec. If that fails, nothing is left of it.
pub fn make_cgroup(path: &str, spec: &Spec) -> Result<Cgroup, Failure> {
    let group = Group(Some(Cgroup::create(path).step("cgroup")?));
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().clone()).unwrap_or_default();
    let unsaid = resources.devices().is_none();
    let apply =
        |resources: &LinuxResources| group.0.as_ref().map_or(Ok(()), |cgroup| cgroup.apply(resources));
    match apply(&devices::allow_standard(resources.clone())) {
        // Who is root in a user namespace alone may not limit devices, nor has he any to limit.
        Err(hull_cgroup::Error::System(error)) if unsaid && error.is(Errno::PERM) => {
            apply(&resources).step("cgroup")?;
        }
        applied => applied.step("cgroup")?,
    }
    group.take().ok_or_else(lost)
}

/// The cgroup made for a container; removed when dropped, unless it is taken out before.
#[derive(Debug)]
struct Group(Option<Cgroup>);

impl Group {
    fn create(create: &Create) -> Result<Self, Failure> {
        let made = create.cgroup.as_deref().map(|path| make_cgroup(path, &create.spec));
        Ok(Self(made.transpose()?))
    }

    /// The caller's from now on.
    fn take(mut self) -> Option<Cgroup> {
        self.0.take()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(cgroup) = self.0.take() {
            // The failure that led here is the one worth telling; a cgroup in use is found by its owner's path.
            let _ = cgroup.remove();
        }
    }
}

/// A process that is not to outlive its maker's failure.
#[derive(Debug)]
pub(crate) struct Guard {
    child: Option<Child>,
    group: Group,
    hooked: Option<Hooked>,
    devices: Option<Moved>,
    rdt: Option<rdt::Group>,
}

impl Guard {
    /// Guards a process that joined a container.
    pub(crate) fn of(child: Child) -> Self {
        Self { child: Some(child), group: Group(None), hooked: None, devices: None, rdt: None }
    }

    /// The process as the caller sees it.
    pub(crate) fn pid(&self) -> i32 {
        self.child.as_ref().map_or(0, |child| child.pid.as_raw_nonzero().get())
    }

    fn run_hooks(&self, moments: &[Moment]) -> Result<(), Failure> {
        let Some(hooked) = &self.hooked else { return Ok(()) };
        moments.iter().try_for_each(|moment| hooked.run(*moment, self.pid()))
    }

    /// A process that ends without a word has most likely been killed by its own limits.
    fn explain(&self, failure: Failure) -> Failure {
        match &self.group.0 {
            Some(cgroup) if failure.step == "clone" && cgroup.oom_kills() > 0 => {
                Failure::text("cgroup", "container init was OOM-killed (memory limit too low?)")
            }
            _ => failure,
        }
    }

    /// The process may live.
    pub(crate) fn disarm(mut self, terminal: Option<OwnedFd>) -> Option<Running> {
        let cgroup = self.group.0.take();
        let Child { pid, pidfd } = self.child.take()?;
        let hooked = self.hooked.take();
        if let Some(devices) = self.devices.take() {
            devices.keep();
        }
        Some(Running {
            pid: pid.as_raw_nonzero().get(),
            pidfd,
            terminal,
            cgroup,
            rdt: self.rdt.take(),
            hooked,
            warnings: Vec::new(),
        })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(Child { pidfd, .. }) = self.child.take() {
            // While their namespace is there.
            self.devices = None;
            // Both fail only if the process is gone, which is what they are for.
            let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
            let _ = rustix::io::retry_on_intr(|| {
                rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)
            });
            drop(std::mem::replace(&mut self.group, Group(None)));
            // As for the cgroup.
            let _ = self.rdt.take().map(|rdt| rdt.remove());
            // The failure that led here is the one to be told.
            let _ = self.hooked.take().map(|hooked| hooked.stopped());
        }
    }
}
