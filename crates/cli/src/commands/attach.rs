//! `hull attach`.

use crate::attached::{self, Attachment, Ended, Resizable};
use crate::command::{Operands, command};
use crate::commands::run;
use crate::complain::{Complaint, DONE, Outcome, Status};
use crate::request::Attaching;
use crate::session::Session;
use crate::terminal::DetachKeys;
use hull_api::wire::container::{ContainerInspect, WaitResponse};
use std::io::IsTerminal as _;

command! {
    names: ["container attach", "attach"], about: "Attach input, output and errors to a running container",
    usage: "[OPTIONS] CONTAINER", operands: Operands::Exactly(1), flags: Flags
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// Keys that detach from it
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    detach_keys: String,
    /// Leave its input alone
    #[arg(long)]
    no_stdin: bool,
    /// Pass signals on to it
    #[arg(long, value_name = "bool", default_value = "true", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set, value_parser = crate::command::switch)]
    sig_proxy: bool,
}

async fn run(flags: Flags, operands: Vec<String>, session: Session) -> Outcome {
    let keys = DetachKeys::parse(&flags.detach_keys).map_err(Complaint::new)?;
    let client = session.connect().await?;
    let container: ContainerInspect = client.get(["containers", &operands[0], "json"]).read().await?;
    let state = &container.state;
    for (is, text) in [
        (!state.running, "cannot attach to a stopped container, start it first"),
        (state.paused, "cannot attach to a paused container, unpause it first"),
        (state.restarting, "cannot attach to a restarting container, wait until it is running"),
    ] {
        if is {
            return Err(Complaint::new(text));
        }
    }
    let tty = container.config.tty;
    let stdin = !flags.no_stdin && container.config.open_stdin;
    if tty && stdin && !std::io::stdin().is_terminal() {
        return Err(Complaint::new("the input device is not a TTY"));
    }
    let id = container.id.as_str();
    let streams = Attaching { stdin, stdout: true, stderr: true, tty };
    let mut caught = attached::catch_signals()?;
    let connection = run::attach(&client, id, streams, &flags.detach_keys).await?;
    let attachment = Attachment { stdin, stdout: true, stderr: true, tty, keys };
    let target = Resizable { kind: "containers", id };
    if tty {
        attached::redraw(&client, target).await;
    }
    let ended = tokio::select! {
        ended = attached::pump(connection, attachment) => ended?,
        () = attached::forward_signals(&client, id, &mut caught), if flags.sig_proxy && !tty => Ended::Closed,
        () = attached::follow_size(&client, target), if tty => Ended::Closed,
    };
    if ended == Ended::Detached {
        return Err(Complaint::new("read escape sequence"));
    }
    // What is removed when it ends has no status any more.
    match client.post(["containers", id, "wait"]).read::<WaitResponse>().await {
        Err(error) if error.is_not_found() => Ok(DONE),
        answer => Ok(Status((answer?.status_code & 0xff) as u8)),
    }
}
