//! Handing the listener of a system call filter to the agent that answers its notifications: config-linux.md, "The
//! Container Process State".
//!
//! The agent's socket is connected to while the host's paths are there. Between the load of the filter and the execve
//! the process itself sends the listener, so a policy with notifications has to allow sendmsg(2) without asking.

use std::os::fd::{AsFd, OwnedFd};

use hull_oci::runtime::{ContainerProcessState, ContainerState, SECCOMP_FD_NAME, State};
use hull_sys::{Context, Result, scm};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::seccomp::Program;

/// A connection to the agent, and what it is told.
#[derive(Debug)]
pub(crate) struct Notifier {
    socket: OwnedFd,
    told: ContainerProcessState,
}

impl Notifier {
    /// Connects to the agent of a filter, if it has one. `state` is that of the container.
    pub(crate) fn connect(
        filter: Option<&Program>,
        state: impl FnOnce() -> State,
        status: ContainerState,
    ) -> Result<Option<Self>> {
        let Some(listener) = filter.and_then(Program::listener) else { return Ok(None) };
        let path = &listener.path;
        let op = "connect to the seccomp listener";
        let address = SocketAddrUnix::new(path.as_path()).on(op, path)?;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .on(op, path)?;
        rustix::net::connect(&socket, &address).on(op, path)?;
        let mut state = state();
        state.set_status(status);
        let mut told = ContainerProcessState::default();
        told.set_version(state.version().clone()).set_fds(vec![SECCOMP_FD_NAME.to_owned()]);
        told.set_metadata(listener.metadata.clone()).set_state(state);
        Ok(Some(Self { socket, told }))
    }

    /// Learns which process this is, as seen by the procfs of the host. Without a pid of the container so far, it is its
    /// first one.
    pub(crate) fn learn_pid(&mut self, procfs: impl AsFd) -> Result<()> {
        let link = rustix::fs::readlinkat(procfs, "self", Vec::new()).on("readlink", "/proc/self")?;
        let pid = link.to_str().ok().and_then(|text| text.parse().ok());
        let pid = pid.ok_or(Errno::SRCH).on("readlink", "/proc/self")?;
        self.told.set_pid(pid);
        if self.told.state().pid().is_none() {
            self.told.state_mut().set_pid(Some(pid));
        }
        Ok(())
    }

    /// Sends the listener.
    pub(crate) fn hand_over(&self, listener: OwnedFd) -> Result<()> {
        let text = serde_json::to_vec(&self.told).map_err(std::io::Error::from).op("write the state")?;
        let mut sent = scm::send(&self.socket, &text, &[listener.as_fd()])?;
        while sent < text.len() {
            sent += scm::send(&self.socket, &text[sent..], &[])?;
        }
        Ok(())
    }
}
