//! `hull exec`.

use crate::attached::{self, Attachment, Ended, Resizable};
use crate::command::{Operands, command};
use crate::complain::{Complaint, DONE, Outcome, Status};
use crate::session::Session;
use crate::terminal::{self, DetachKeys};
use crate::values::environment;
use hull_api::wire::IdResponse;
use hull_api::wire::exec::{ExecCreateRequest, ExecInspect, ExecStartRequest};
use std::io::IsTerminal as _;

command! {
    names: ["container exec", "exec"], about: "Run a command in a running container",
    usage: "[OPTIONS] CONTAINER COMMAND [ARG...]", operands: Operands::AtLeast(2), flags: Flags, flags_first: true
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// Leave it running and return at once
    #[arg(short, long)]
    detach: bool,
    /// Keys that detach from it
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    detach_keys: String,
    /// Set environment variables
    #[arg(short, long, value_name = "list")]
    env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "list")]
    env_file: Vec<String>,
    /// Keep STDIN open even if nothing is attached
    #[arg(short, long)]
    interactive: bool,
    /// Give extended privileges
    #[arg(long)]
    privileged: bool,
    /// Allocate a terminal
    #[arg(short, long)]
    tty: bool,
    /// Username or UID, and group: name|uid[:group|gid]
    #[arg(short, long, value_name = "string", default_value = "", hide_default_value = true)]
    user: String,
    /// Working directory inside the container
    #[arg(short, long, value_name = "string", default_value = "", hide_default_value = true)]
    workdir: String,
}

async fn run(flags: Flags, operands: Vec<String>, session: Session) -> Outcome {
    if !flags.detach && flags.tty && flags.interactive && !std::io::stdin().is_terminal() {
        return Err(Complaint::new("the input device is not a TTY"));
    }
    let keys = DetachKeys::parse(&flags.detach_keys).map_err(Complaint::new)?;
    let size = terminal::size().filter(|_| flags.tty).map(|(rows, columns)| [rows.into(), columns.into()]);
    let request = ExecCreateRequest {
        user: flags.user,
        privileged: flags.privileged,
        tty: flags.tty,
        console_size: size,
        attach_stdin: flags.interactive && !flags.detach,
        attach_stderr: !flags.detach,
        attach_stdout: !flags.detach,
        detach_keys: flags.detach_keys,
        env: Some(environment::collect(&flags.env_file, &flags.env).map_err(Complaint::new)?)
            .filter(|variables| !variables.is_empty()),
        working_dir: flags.workdir,
        cmd: Some(operands[1..].to_vec()),
    };
    let client = session.connect().await?;
    let IdResponse { id } = client.post(["containers", &operands[0], "exec"]).json(&request).read().await?;
    if id.is_empty() {
        return Err(Complaint::new("exec ID empty"));
    }
    let start = ExecStartRequest { detach: flags.detach, tty: flags.tty, console_size: size };
    let start = client.post(["exec", &id, "start"]).json(&start);
    if flags.detach {
        start.status().await?;
        return Ok(DONE);
    }
    let attachment =
        Attachment { stdin: flags.interactive, stdout: true, stderr: true, tty: flags.tty, keys };
    let connection = start.hijack().await?;
    let ended = tokio::select! {
        ended = attached::pump(connection, attachment) => ended?,
        () = attached::follow_size(&client, Resizable { kind: "exec", id: &id }), if flags.tty => Ended::Closed,
    };
    if ended == Ended::Detached {
        return Ok(DONE);
    }
    let end: ExecInspect = client.get(["exec", &id, "json"]).read().await?;
    Ok(Status((end.exit_code.unwrap_or(0) & 0xff) as u8))
}
