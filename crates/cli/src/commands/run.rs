//! `hull run`: create a container, and start it; attached unless it is detached.

use crate::attached::{self, Attachment, Ended, Resizable};
use crate::command::{Operands, command};
use crate::commands::create::{self, CreateFlags};
use crate::complain::{Complaint, DONE, Outcome, Status};
use crate::output;
use crate::request::{Attaching, ContainerFlags};
use crate::session::Session;
use crate::terminal::DetachKeys;
use hull_api::client::{Body, Call, Client, Hijacked};
use hull_api::wire::container::WaitResponse;
use std::io::IsTerminal as _;

command! {
    names: ["container run", "run"], about: "Create a container from an image and run it",
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]", operands: Operands::AtLeast(1), flags: RunFlags, flags_first: true
}

/// The flags of `run`.
#[derive(Debug, clap::Args)]
struct RunFlags {
    #[command(flatten)]
    create: CreateFlags,
    #[command(flatten)]
    container: ContainerFlags,
    /// Leave it running and print its ID
    #[arg(short, long)]
    detach: bool,
    /// Keys that detach from it
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    detach_keys: String,
    /// Pass signals on to it
    #[arg(long, value_name = "bool", default_value = "true", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set, value_parser = crate::command::switch)]
    sig_proxy: bool,
}

async fn run(flags: RunFlags, operands: Vec<String>, session: Session) -> Outcome {
    let tty = flags.container.attaching().tty;
    if !flags.detach && tty && flags.container.attaching().stdin && !std::io::stdin().is_terminal() {
        return Err(Complaint::new("the input device is not a TTY"));
    }
    start(&flags, &operands, &session).await.map_err(|complaint| match complaint.status {
        1 => complaint.with_status(125).hinted("run"),
        125..=127 => complaint.hinted("run"),
        _ => complaint,
    })
}

/// The status that tells a command which cannot be run from an engine which cannot run it.
fn not_started(complaint: Complaint) -> Complaint {
    let has = |text: &str| complaint.text.contains(text);
    let status = if has("executable file not found") || has("no such file or directory") {
        127
    } else if has("permission denied") || has("is a directory") {
        126
    } else {
        125
    };
    complaint.with_status(status)
}

async fn start(flags: &RunFlags, operands: &[String], session: &Session) -> Outcome {
    let attaching = flags.container.attaching();
    if flags.detach && flags.container.attach_is_given() {
        return Err(Complaint::new("conflicting options: cannot specify both --attach and --detach"));
    }
    let keys = DetachKeys::parse(&flags.detach_keys).map_err(Complaint::new)?;
    let mut request = create::request(&flags.container, operands)?;
    if flags.detach {
        let config = &mut request.config;
        (config.attach_stdin, config.attach_stdout, config.attach_stderr) = (false, false, false);
        config.stdin_once = false;
    }
    let client = session.connect().await?;
    let id = create::create(&client, session, &flags.create, flags.container.cidfile(), &request).await?;
    if flags.detach {
        output::line(&id)?;
        let started = client.post(["containers", &id, "start"]).status().await;
        started.map_err(|error| not_started(error.into()))?;
        return Ok(DONE);
    }
    let attachment = Attachment {
        stdin: attaching.stdin,
        stdout: attaching.stdout,
        stderr: attaching.stderr,
        tty: attaching.tty,
        keys,
    };
    let watch = Watch {
        sig_proxy: flags.sig_proxy && !attaching.tty,
        removes_itself: flags.container.removes_itself(),
    };
    let connection = attach(&client, &id, attaching, &flags.detach_keys).await?;
    let start = client.post(["containers", &id, "start"]);
    start_attached(&client, &id, start, connection, attachment, watch).await
}

/// What is done for an attached container beside moving its bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch {
    /// Pass signals on.
    pub(crate) sig_proxy: bool,
    /// Its end is its removal.
    pub(crate) removes_itself: bool,
}

/// Attaches to a container: before its start, so that no output is missed.
pub(crate) async fn attach(
    client: &Client,
    id: &str,
    streams: Attaching,
    keys: &str,
) -> Result<Hijacked, Complaint> {
    let call = client.post(["containers", id, "attach"]).flag("stream", true);
    let call =
        call.flag("stdin", streams.stdin).flag("stdout", streams.stdout).flag("stderr", streams.stderr);
    Ok(call.query_if("detachKeys", Some(keys).filter(|keys| !keys.is_empty())).hijack().await?)
}

/// Starts a container that we are attached to, and stays until it ends.
pub(crate) async fn start_attached(
    client: &Client,
    id: &str,
    start: Call<'_>,
    connection: Hijacked,
    attachment: Attachment,
    watch: Watch,
) -> Outcome {
    let mut caught = attached::catch_signals()?;
    // Asked for before the start: a container may end faster than the next request arrives.
    let condition = if watch.removes_itself { "removed" } else { "next-exit" };
    let mut end = client.post(["containers", id, "wait"]).query("condition", condition).send().await?;
    if let Err(error) = start.status().await {
        if watch.removes_itself {
            // The daemon removes what did not start: it is gone when we are.
            let _ = status(&mut end).await;
        }
        return Err(not_started(error.into()));
    }
    let tty = attachment.tty;
    let beside = async {
        tokio::select! {
            () = attached::forward_signals(client, id, &mut caught), if watch.sig_proxy => {}
            () = attached::follow_size(client, Resizable { kind: "containers", id }), if tty => {}
            else => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        ended = attached::pump(connection, attachment) => ended?,
        () = beside => Ended::Closed,
    };
    match ended {
        Ended::Detached => Ok(DONE),
        Ended::Closed => status(&mut end).await,
    }
}

/// The container's own status, when it is there.
async fn status(end: &mut Body) -> Outcome {
    let mut text = Vec::new();
    while let Some(chunk) = end.chunk().await? {
        text.extend_from_slice(&chunk);
    }
    let answer: WaitResponse = serde_json::from_slice(&text)
        .map_err(|reason| Complaint::new(format!("read the container's exit status: {reason}")))?;
    match answer.error.filter(|error| !error.message.is_empty()) {
        Some(error) => {
            Err(Complaint::new(format!("Error waiting for container: {}", error.message)).with_status(125))
        }
        None => Ok(Status((answer.status_code & 0xff) as u8)),
    }
}
