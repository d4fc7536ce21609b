//! What a process keeps when it executes its program: scheduling, priorities, personality, memory policy, labels.

use std::os::fd::OwnedFd;

use hull_oci::runtime::{
    IOPriorityClass, LinuxPersonality, LinuxPersonalityDomain, LinuxSchedulerFlag as Flag,
    LinuxSchedulerPolicy as Policy, MemoryPolicyFlagType, MemoryPolicyModeType, Process, Scheduler,
};
use hull_sys::process::{self, IoClass, Scheduling};
use hull_sys::{Context, Error, Result, mount};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::task::Task;
use crate::create::Common;

/// `PROC_SUPER_MAGIC` of linux/magic.h.
const PROC_MAGIC: i32 = 0x9fa0;

/// The most nodes of memory that a kernel can have (`MAX_NUMNODES`).
const NODES_MAX: u32 = 1024;

impl Task<'_> {
    /// The processors of an additional process in its cgroup. Those before that are the caller's affair.
    pub(super) fn set_final_affinity(&mut self) -> Result<()> {
        let affinity = self.process.exec_cpu_affinity().as_ref();
        match affinity.and_then(|affinity| given(affinity.cpu_affinity_final())) {
            Some(list) => process::set_affinity(&process::parse_list(list, process::CPUS_MAX)?),
            None => Ok(()),
        }
    }

    pub(super) fn set_scheduler(&mut self) -> Result<()> {
        match self.process.scheduler() {
            Some(scheduler) => process::set_scheduling(&scheduling(scheduler)),
            None => Ok(()),
        }
    }

    pub(super) fn set_io_priority(&mut self) -> Result<()> {
        let Some(priority) = self.process.io_priority() else { return Ok(()) };
        let class = match priority.class() {
            IOPriorityClass::IoprioClassRt => IoClass::RealTime,
            IOPriorityClass::IoprioClassBe => IoClass::BestEffort,
            IOPriorityClass::IoprioClassIdle => IoClass::Idle,
        };
        let level = u8::try_from(priority.priority()).ok().filter(|level| *level < 8);
        let object = priority.priority().to_string();
        process::set_io_priority(class, level.ok_or(Errno::INVAL).on("ioprio_set", &object)?)
    }

    pub(super) fn set_personality(&mut self) -> Result<()> {
        let Some(personality) = self.common.as_ref().and_then(|common| common.personality.as_ref()) else {
            return Ok(());
        };
        process::set_personality(domain(personality))
    }

    pub(super) fn set_memory_policy(&mut self) -> Result<()> {
        let Some(policy) = self.common.as_ref().and_then(|common| common.memory_policy.as_ref()) else {
            return Ok(());
        };
        let flags = policy.flags().iter().flatten().fold(0, |bits, flag| bits | memory_flag(*flag));
        let nodes = process::parse_list(policy.nodes().as_deref().unwrap_or_default(), NODES_MAX)?;
        process::set_memory_policy(memory_mode(policy.mode()) | flags, &nodes)
    }

    /// The profile that the kernel puts the process under when it executes its program.
    pub(super) fn set_apparmor(&mut self) -> Result<()> {
        let Some(profile) = given(self.process.apparmor_profile()) else { return Ok(()) };
        let file = match self.open_attribute("apparmor/exec") {
            // Kernels before 5.8.
            Err(error) if error.is(Errno::NOENT) => self.open_attribute("exec")?,
            opened => opened?,
        };
        rustix::io::write(&file, format!("exec {profile}").as_bytes()).map(drop).on("change to", profile)
    }

    /// The label that the process gets when it executes its program.
    pub(super) fn set_selinux(&mut self) -> Result<()> {
        let Some(label) = given(self.process.selinux_label()) else { return Ok(()) };
        let file = self.open_attribute("exec")?;
        rustix::io::write(&file, label.as_bytes()).map(drop).on("change to", label)
    }

    /// Opens what the kernel keeps of this process, and nothing that somebody has put in its place (CVE-2019-16884,
    /// CVE-2025-52881).
    fn open_attribute(&self, name: &str) -> Result<OwnedFd> {
        let procfs = match &self.procfs {
            Some(procfs) => procfs.try_clone().op("dup")?,
            None => mount::new_fs("proc", &[], mount::Attr::empty())?,
        };
        if mount::fs_magic(&procfs)? != PROC_MAGIC {
            return Err(Error::new("open", name, Errno::NOTTY));
        }
        let path = format!("thread-self/attr/{name}");
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        rustix::fs::openat2(&procfs, &path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), how)
            .on("open", &path)
    }
}

/// What the processes of a container share, whoever starts them.
impl Common {
    /// Whether what it asks for exists at all.
    pub(crate) fn check(&self) -> std::result::Result<(), &'static str> {
        let flags = self.personality.as_ref().and_then(|personality| personality.flags().as_ref());
        match flags.is_some_and(|flags| !flags.is_empty()) {
            true => Err("linux.personality.flags: the specification knows none"),
            false => Ok(()),
        }
    }
}

/// A text that is there and not empty.
pub(crate) fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

/// Whether `process` asks for a security module that this host does not have.
pub(crate) fn check_modules(process: &Process) -> std::result::Result<(), (&'static str, String)> {
    if let Some(profile) = given(process.apparmor_profile()) {
        let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
        if !enabled.is_ok_and(|enabled| enabled.starts_with('Y')) {
            return Err(("apparmor profile", format!("{profile:?}: AppArmor is not enabled on this host")));
        }
    }
    match given(process.selinux_label()) {
        Some(label) if !has_selinux() => {
            Err(("selinux label", format!("{label:?}: SELinux is not enabled on this host")))
        }
        _ => Ok(()),
    }
}

/// Whether the host has SELinux.
pub(crate) fn has_selinux() -> bool {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    known.lines().any(|line| line.ends_with("selinuxfs"))
}

fn domain(personality: &LinuxPersonality) -> u32 {
    match personality.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => process::LINUX32,
    }
}

/// linux/sched.h, linux/sched/types.h.
fn scheduling(scheduler: &Scheduler) -> Scheduling {
    let policy = match scheduler.policy() {
        Policy::SchedOther => 0,
        Policy::SchedFifo => 1,
        Policy::SchedRr => 2,
        Policy::SchedBatch => 3,
        Policy::SchedIso => 4,
        Policy::SchedIdle => 5,
        Policy::SchedDeadline => 6,
    };
    let flag = |flag: &Flag| match flag {
        Flag::SchedResetOnFork => 0x01,
        Flag::SchedFlagReclaim => 0x02,
        Flag::SchedFlagDLOverrun => 0x04,
        Flag::SchedFlagKeepPolicy => 0x08,
        Flag::SchedFlagKeepParams => 0x10,
        Flag::SchedFlagUtilClampMin => 0x20,
        Flag::SchedFlagUtilClampMax => 0x40,
    };
    Scheduling {
        policy,
        flags: scheduler.flags().iter().flatten().fold(0, |bits, one| bits | flag(one)),
        nice: scheduler.nice().unwrap_or(0),
        // A negative one is refused by the kernel as a very large one.
        priority: scheduler.priority().unwrap_or(0) as u32,
        runtime: scheduler.runtime().unwrap_or(0),
        deadline: scheduler.deadline().unwrap_or(0),
        period: scheduler.period().unwrap_or(0),
    }
}

/// linux/mempolicy.h.
fn memory_mode(mode: MemoryPolicyModeType) -> u32 {
    match mode {
        MemoryPolicyModeType::MpolDefault => 0,
        MemoryPolicyModeType::MpolPreferred => 1,
        MemoryPolicyModeType::MpolBind => 2,
        MemoryPolicyModeType::MpolInterleave => 3,
        MemoryPolicyModeType::MpolLocal => 4,
        MemoryPolicyModeType::MpolPreferredMany => 5,
        MemoryPolicyModeType::MpolWeightedInterleave => 6,
    }
}

fn memory_flag(flag: MemoryPolicyFlagType) -> u32 {
    match flag {
        MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
        MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
        MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
    }
}
