//! System call filters: from a policy of the OCI specification to a program for the kernel.
//!
//! [`compile`] is pure and takes well under a millisecond; its [`Program`] is plain data, so whoever starts many
//! containers compiles once and hands the bytes on. [`docker_default`] is the policy that containers get unless
//! told otherwise, [`Profile`] the file format of `--security-opt seccomp=FILE`.

mod assembler;
mod compiler;
mod default;
mod multiplex;
mod policy;
mod profile;
mod syscalls;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use hull_oci::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompFilterFlag as Flag};
use hull_sys::seccomp::{INSTRUCTION, MAX_INSTRUCTIONS};
use serde::{Deserialize, Serialize};

pub use default::docker_default;
pub use profile::{Profile, parse_profile};

/// Why a policy cannot be compiled or a profile not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A condition on an argument that no system call has.
    #[error("seccomp condition on argument {0}, but a system call has the arguments 0 to 5")]
    Argument(usize),
    /// An errno that does not fit the kernel's 16 bits.
    #[error("seccomp errno {0} is out of range")]
    Errno(u32),
    /// A policy with notifications must say who receives them.
    #[error("seccomp action SCMP_ACT_NOTIFY needs a listenerPath")]
    NoListener,
    /// The process itself hands its listener to the agent: see `notify`.
    #[error("seccomp policy with SCMP_ACT_NOTIFY must allow sendmsg, by which the listener is handed over")]
    NoHandOver,
    /// The program would be longer than the kernel takes.
    #[error("seccomp policy needs {0} instructions, more than the kernel's {MAX_INSTRUCTIONS}")]
    TooLong(usize),
    /// A profile that is no JSON, or contradicts itself.
    #[error("{0}")]
    Profile(String),
}

/// A compiled filter, ready to be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    #[serde(with = "hex")]
    filter: Vec<u8>,
    flags: u32,
    listener: Option<Listener>,
}

/// Who receives the notifications of a filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// A unix socket that takes the filter's descriptor.
    pub path: PathBuf,
    /// Handed on with the descriptor as it is.
    pub metadata: Option<String>,
}

impl Program {
    /// Loads the filter into the calling thread; allocates nothing. The descriptor is for the
    /// [`listener`](Self::listener), where there is one.
    pub fn load(&self) -> hull_sys::Result<Option<OwnedFd>> {
        hull_sys::seccomp::load(&self.filter, self.flags)
    }

    /// Who is to get the descriptor of [`load`](Self::load).
    pub fn listener(&self) -> Option<&Listener> {
        self.listener.as_ref()
    }

    /// The length in instructions.
    pub fn instructions(&self) -> usize {
        self.filter.len() / INSTRUCTION
    }
}

/// Compiles a policy. Names of system calls that no supported architecture knows are passed over, as every
/// runtime does: profiles name calls of newer kernels and other machines.
pub fn compile(spec: &LinuxSeccomp) -> Result<Program, Error> {
    let policy = policy::Policy::new(spec)?;
    let filter = compiler::compile(&policy);
    let instructions = filter.len() / INSTRUCTION;
    if instructions > MAX_INSTRUCTIONS {
        return Err(Error::TooLong(instructions));
    }
    let listener = listener(spec)?;
    if listener.is_some() && !policy.permits("sendmsg") {
        return Err(Error::NoHandOver);
    }
    let flags = match listener {
        // There is one thread, and the kernel does not take both.
        Some(_) => flags(spec) & !hull_sys::seccomp::TSYNC | hull_sys::seccomp::NEW_LISTENER,
        // It is about notifications, and the kernel refuses it without.
        None => flags(spec) & !hull_sys::seccomp::WAIT_KILLABLE_RECV,
    };
    Ok(Program { filter, flags, listener })
}

fn listener(spec: &LinuxSeccomp) -> Result<Option<Listener>, Error> {
    let actions = spec.syscalls().iter().flatten().map(hull_oci::runtime::LinuxSyscall::action);
    let notifies = actions.chain([spec.default_action()]).any(|a| a == LinuxSeccompAction::ScmpActNotify);
    match (notifies, spec.listener_path()) {
        (false, _) => Ok(None),
        (true, None) => Err(Error::NoListener),
        (true, Some(path)) => {
            Ok(Some(Listener { path: path.clone(), metadata: spec.listener_metadata().clone() }))
        }
    }
}

/// The kernel's flags. A policy that names none keeps the processor's speculation as it is outside: the kernel
/// itself no longer mitigates for filtered processes by default (since 5.16), and runc does the same.
fn flags(spec: &LinuxSeccomp) -> u32 {
    let Some(flags) = spec.flags() else { return hull_sys::seccomp::SPEC_ALLOW };
    flags.iter().fold(0, |bits, flag| {
        bits | match flag {
            Flag::SeccompFilterFlagLog => hull_sys::seccomp::LOG,
            Flag::SeccompFilterFlagTsync => hull_sys::seccomp::TSYNC,
            Flag::SeccompFilterFlagSpecAllow => hull_sys::seccomp::SPEC_ALLOW,
            Flag::SeccompFilterFlagWaitKillableRecv => hull_sys::seccomp::WAIT_KILLABLE_RECV,
        }
    })
}

/// Bytes as one string of hexadecimal digits: four times shorter in JSON than a list of numbers.
mod hex {
    use std::fmt::Write;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        serializer.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let pairs = text.as_bytes().chunks(2);
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        pairs
            .map(byte)
            .collect::<Option<_>>()
            .ok_or_else(|| D::Error::custom("a filter is hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests;
