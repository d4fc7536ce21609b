//! Attaching to a container's or an exec session's streams.
//!
//! A container's [`Door`] is `Closed` while no supervisor listens: who attaches then is a guest who waits. The start
//! lets the guests in before the first instruction of the container runs, so that they miss nothing, and leaves the
//! door `Open`: who comes later goes straight to the supervisor. The exit, or a failed start, closes it.

mod detach;
mod frames;
mod streams;

use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use hull_shim::protocol::{self, Answer, Request};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;

use crate::containers::Entry;
use crate::model::{AttachOptions, Container, LogOptions, Status};
use crate::supervisor::{self, Connection};
use crate::{Engine, Error, Result};

pub(crate) use detach::DetachKeys;
pub(crate) use frames::Frames;
pub(crate) use streams::detach_by;
pub use streams::{AttachInput, AttachOutput};

/// By then the exit is known of a container whose output has ended; one that has closed its output and goes on is left.
const KNOWN_BY: Duration = Duration::from_secs(5);

/// Both directions of an attached client.
pub struct Attachment {
    /// Whether the output is a terminal's bare bytes. Otherwise it is frames of Docker's multiplexed format
    /// (`[stream, 0, 0, 0, length BE]` and the payload).
    pub tty: bool,
    /// What the container writes; ends when it has ended or the client detached by keys.
    pub output: AttachOutput,
    /// What the container reads; shutting it down is the end of its input.
    pub input: AttachInput,
    /// Whether the end of the client's input is that of the conversation: the container's input stays open for others,
    /// or is a terminal, which has no end.
    pub leaves_with_input: bool,
}

/// Where attaching clients are shown to.
pub(crate) enum Door {
    /// There is no supervisor: they wait.
    Closed(Vec<Guest>),
    /// There is one that listens.
    Open,
}

impl Default for Door {
    fn default() -> Self {
        Self::Closed(Vec::new())
    }
}

/// One who attached before the start.
pub(crate) struct Guest {
    streams: protocol::Attach,
    output: oneshot::Sender<(OwnedReadHalf, Vec<u8>)>,
    input: oneshot::Sender<OwnedWriteHalf>,
}

impl Guest {
    async fn enter(self, dir: &Path) -> Result<()> {
        let Connection { stream, ahead } = connect(dir, self.streams).await?;
        let (output, input) = stream.into_split();
        // A guest that has left meanwhile drops both, and the supervisor sees an end.
        let _ = self.output.send((output, ahead));
        let _ = self.input.send(input);
        Ok(())
    }
}

impl Entry {
    /// Lets those in who wait; to be called when the supervisor listens and before the container runs.
    pub(crate) async fn open_door(&self, dir: &Path) -> Result<()> {
        let door =
            std::mem::replace(&mut *self.door.lock().unwrap_or_else(PoisonError::into_inner), Door::Open);
        if let Door::Closed(guests) = door {
            for guest in guests {
                guest.enter(dir).await?;
            }
        }
        Ok(())
    }

    /// Sends those away who wait; who comes now waits for the next start.
    pub(crate) fn close_door(&self) {
        *self.door.lock().unwrap_or_else(PoisonError::into_inner) = Door::default();
    }
}

async fn connect(dir: &Path, streams: protocol::Attach) -> Result<Connection> {
    match supervisor::ask(dir, &Request::Attach(streams)).await? {
        (Answer::Ok, connection) => Ok(connection),
        (answer, _) => Err(supervisor::unexpected(&answer)),
    }
}

impl Engine {
    /// Attaches to a container. Before its start the output waits, and then has everything from the first byte.
    pub async fn attach(self: &Arc<Self>, name: &str, options: AttachOptions) -> Result<Attachment> {
        let keys = DetachKeys::parse(options.detach_keys.as_deref())?;
        let entry = self.containers.find(name)?;
        let container = entry.now();
        refuse_wrong_state(&container, name)?;
        let tty = container.config.tty;
        let mut output = AttachOutput::ended();
        let mut input = AttachInput::closed();
        let streams = protocol::Attach {
            stdin: options.stdin && container.config.open_stdin,
            stdout: options.stdout,
            stderr: options.stderr,
        };
        let leaves_with_input = streams.stdin && (tty || !container.config.stdin_once);
        // Who wants none of them is not attached to anything.
        if options.stream && (streams.stdin || streams.stdout || streams.stderr) {
            let (ran, mut exit) = (Arc::clone(&entry), entry.next_exit());
            (output, input) = entry.unless_over(self.streams(&entry, streams, tty)).await?;
            // The output ends a moment before the exit is recorded, and whoever sees its end asks how it was.
            output.ends_after(Box::pin(async move {
                // A start that is under way first comes to its end, or fails.
                drop(ran.gate.lock().await);
                if ran.now().state.status.is_running() {
                    exit.within(Some(KNOWN_BY)).await;
                }
            }));
        }
        if options.logs {
            output.put_first(self.logged_so_far(&container, &options)?);
        }
        if tty {
            let (engine, container) = (Arc::clone(self), Arc::clone(&container));
            let left = Box::new(move || engine.emit(&container, "detach"));
            detach_by(keys, left, &mut input, &mut output);
        }
        self.emit(&container, "attach");
        Ok(Attachment { tty, output, input, leaves_with_input })
    }

    async fn streams(
        &self,
        entry: &Entry,
        streams: protocol::Attach,
        tty: bool,
    ) -> Result<(AttachOutput, AttachInput)> {
        if let Some((output, input)) = wait_at_door(entry, streams) {
            return Ok((AttachOutput::waiting(output, tty), AttachInput::waiting(input)));
        }
        let Connection { stream, ahead } = connect(&self.shim_dir(&entry.id), streams).await?;
        let (output, input) = stream.into_split();
        Ok((AttachOutput::open(output, ahead, tty), AttachInput::open(input)))
    }

    fn logged_so_far(&self, container: &Container, options: &AttachOptions) -> Result<crate::LogStream> {
        let wanted = LogOptions { stdout: options.stdout, stderr: options.stderr, ..LogOptions::default() };
        self.read_logs(container, wanted, None)
    }

    /// Sets the size of a container's terminal.
    pub async fn resize(&self, name: &str, rows: u16, cols: u16) -> Result<()> {
        let entry = self.containers.find(name)?;
        let container = entry.now();
        if !container.state.status.is_running() {
            return Err(Error::conflict(format!("container {} is not running", container.id)));
        }
        let request = Request::Resize(protocol::Resize { exec: None, rows, cols });
        let dir = self.shim_dir(&entry.id);
        match entry.unless_over(supervisor::ask(&dir, &request)).await? {
            (Answer::Ok, _) => {}
            (answer, _) => return Err(supervisor::unexpected(&answer)),
        }
        let size = [("height".into(), rows.to_string()), ("width".into(), cols.to_string())];
        self.emit_with(&container, "resize", size);
        Ok(())
    }
}

type Waiting = (oneshot::Receiver<(OwnedReadHalf, Vec<u8>)>, oneshot::Receiver<OwnedWriteHalf>);

/// Joins the guests; `None` if the door is open.
fn wait_at_door(entry: &Entry, streams: protocol::Attach) -> Option<Waiting> {
    let mut door = entry.door.lock().unwrap_or_else(PoisonError::into_inner);
    let Door::Closed(guests) = &mut *door else { return None };
    let (output, output_receiver) = oneshot::channel();
    let (input, input_receiver) = oneshot::channel();
    guests.push(Guest { streams, output, input });
    Some((output_receiver, input_receiver))
}

/// `name`: what the user calls it.
fn refuse_wrong_state(container: &Container, name: &str) -> Result<()> {
    match container.state.status {
        Status::Paused => {
            Err(Error::conflict(format!("container {name} is paused, unpause the container before attach")))
        }
        Status::Restarting => Err(Error::conflict(format!(
            "container {name} is restarting, wait until the container is running"
        ))),
        _ => Ok(()),
    }
}
