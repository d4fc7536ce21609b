//! `hull start`.

use crate::attached::Attachment;
use crate::command::{Operands, command};
use crate::commands::run::{Watch, attach, start_attached};
use crate::complain::{Complaint, DONE, Outcome};
use crate::output;
use crate::request::Attaching;
use crate::session::Session;
use crate::terminal::DetachKeys;
use hull_api::client::{Call, Client};
use hull_api::wire::container::ContainerInspect;

command! {
    names: ["container start", "start"], about: "Start stopped containers",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]", operands: Operands::AtLeast(1), flags: Flags
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// Attach its output, and pass signals on
    #[arg(short, long)]
    attach: bool,
    /// Start it where it was when it was saved
    #[arg(long, value_name = "string")]
    checkpoint: Option<String>,
    /// Another directory for checkpoints than the container's own
    #[arg(long, value_name = "string")]
    checkpoint_dir: Option<String>,
    /// Keys that detach from it
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    detach_keys: String,
    /// Attach its input
    #[arg(short, long)]
    interactive: bool,
}

impl Flags {
    fn start<'a>(&self, client: &'a Client, name: &str) -> Call<'a> {
        let call = client.post(["containers", name, "start"]);
        let call = call.query_if("checkpoint", self.checkpoint.as_deref());
        call.query_if("checkpoint-dir", self.checkpoint_dir.as_deref())
    }
}

async fn run(flags: Flags, operands: Vec<String>, session: Session) -> Outcome {
    if flags.attach || flags.interactive {
        if operands.len() > 1 {
            return Err(Complaint::new("you cannot start and attach multiple containers at once"));
        }
        return attached(&flags, &operands[0], &session).await;
    }
    if flags.checkpoint.is_some() && operands.len() > 1 {
        return Err(Complaint::new("you cannot restore multiple containers at once"));
    }
    let client = session.connect().await?;
    let mut failed = Vec::new();
    for name in &operands {
        match flags.start(&client, name).status().await {
            Ok(_) => output::line(name)?,
            Err(error) => {
                output::warn(&error.to_string());
                failed.push(name.as_str());
            }
        }
    }
    match failed.is_empty() {
        true => Ok(DONE),
        false => Err(Complaint::new(format!("Error: failed to start containers: {}", failed.join(", ")))),
    }
}

async fn attached(flags: &Flags, name: &str, session: &Session) -> Outcome {
    let keys = DetachKeys::parse(&flags.detach_keys).map_err(Complaint::new)?;
    let client = session.connect().await?;
    let container: ContainerInspect = client.get(["containers", name, "json"]).read().await?;
    let streams = Attaching {
        stdin: flags.interactive && container.config.open_stdin,
        stdout: true,
        stderr: true,
        tty: container.config.tty,
    };
    let connection = attach(&client, &container.id, streams, &flags.detach_keys).await?;
    let attachment = Attachment { stdin: streams.stdin, stdout: true, stderr: true, tty: streams.tty, keys };
    let watch = Watch { sig_proxy: !streams.tty, removes_itself: container.host_config.auto_remove };
    start_attached(&client, &container.id, flags.start(&client, &container.id), connection, attachment, watch)
        .await
}
