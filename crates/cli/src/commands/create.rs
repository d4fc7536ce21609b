//! `hull create`: make a container, pulling its image if it is not there.

use crate::command::{Operands, command};
use crate::commands::pull;
use crate::complain::{Complaint, DONE, Outcome};
use crate::output;
use crate::progress::Screen;
use crate::proxies;
use crate::request::ContainerFlags;
use crate::session::Session;
use crate::values::environment::open_failed;
use hull_api::client::Client;
use hull_api::wire::container::{ContainerCreateRequest, ContainerCreateResponse};
use std::io::Write as _;

command! {
    names: ["container create", "create"], about: "Create a container from an image",
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]", operands: Operands::AtLeast(1), flags: Flags, flags_first: true
}

/// The flags that are about creating, not about the container.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CreateFlags {
    /// Name of the container
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    name: String,
    /// Platform of the image, if it has several
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    platform: String,
    /// Pull the image first: always, missing, never
    #[arg(long, value_name = "string", default_value = "missing")]
    pull: String,
    /// Show nothing of the pull
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, clap::Args)]
struct Flags {
    #[command(flatten)]
    create: CreateFlags,
    #[command(flatten)]
    container: ContainerFlags,
}

async fn run(flags: Flags, operands: Vec<String>, session: Session) -> Outcome {
    let act = async {
        let request = request(&flags.container, &operands)?;
        let client = session.connect().await?;
        create(&client, &session, &flags.create, flags.container.cidfile(), &request).await
    };
    let id = act.await.map_err(|complaint: Complaint| match complaint.status {
        125 => complaint.hinted("create"),
        _ => complaint,
    })?;
    output::line(&id)?;
    Ok(DONE)
}

/// The request for an image, its command and the flags.
pub(crate) fn request(
    flags: &ContainerFlags,
    operands: &[String],
) -> Result<ContainerCreateRequest, Complaint> {
    let (image, command) = operands.split_first().map_or(("", operands), |(image, command)| (image, command));
    flags.request(image, command).map_err(|reason| Complaint::new(reason).with_status(125))
}

/// Creates the container and gives its id. An image that is missing is pulled, and it is tried again.
pub(crate) async fn create(
    client: &Client,
    session: &Session,
    flags: &CreateFlags,
    cidfile: &str,
    request: &ContainerCreateRequest,
) -> Result<String, Complaint> {
    if !["always", "missing", "never"].contains(&flags.pull.as_str()) {
        return Err(Complaint::new(format!(
            "invalid pull option: '{}': must be one of \"always\", \"missing\" or \"never\"",
            flags.pull
        )));
    }
    let request = &proxies::added(session, request)?;
    let image = &request.config.image;
    pull::check(image)?;
    let mut id_file = IdFile::reserve(cidfile)?;
    let screen = if flags.quiet { Screen::Nowhere } else { Screen::Stderr };
    if flags.pull == "always" {
        pull::pull(client, session, image, &flags.platform, screen).await?;
    }
    let response = match post(client, flags, request).await {
        Err(complaint) if complaint.is_missing_image() && flags.pull == "missing" => {
            output::warn(&format!("Unable to find image '{}' locally", pull::familiar(image)));
            pull::pull(client, session, image, &flags.platform, screen).await?;
            post(client, flags, request).await?
        }
        created => created?,
    };
    for warning in &response.warnings {
        output::warn(&format!("WARNING: {warning}"));
    }
    id_file.write(&response.id)?;
    Ok(response.id)
}

async fn post(
    client: &Client,
    flags: &CreateFlags,
    request: &ContainerCreateRequest,
) -> Result<ContainerCreateResponse, Complaint> {
    let given = |text: &'_ str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let call = client.post(["containers", "create"]).query_if("name", given(&flags.name).as_deref());
    Ok(call.query_if("platform", given(&flags.platform).as_deref()).json(request).read().await?)
}

/// The file for the id: reserved first, so that no container is made whose id cannot be told; removed again if
/// nothing was written.
struct IdFile<'p> {
    path: &'p str,
    file: Option<std::fs::File>,
}

impl<'p> IdFile<'p> {
    fn reserve(path: &'p str) -> Result<Self, Complaint> {
        if path.is_empty() {
            return Ok(IdFile { path, file: None });
        }
        match std::fs::OpenOptions::new().write(true).create_new(true).open(path) {
            Ok(file) => Ok(IdFile { path, file: Some(file) }),
            Err(reason) if reason.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(Complaint::new(format!(
                    "container ID file found, make sure the other container isn't running or delete {path}"
                )))
            }
            Err(reason) => Err(Complaint::new(format!(
                "failed to create the container ID file: {}",
                open_failed(path, &reason)
            ))),
        }
    }

    fn write(&mut self, id: &str) -> Result<(), Complaint> {
        if let Some(mut file) = self.file.take() {
            file.write_all(id.as_bytes())?;
        }
        Ok(())
    }
}

impl Drop for IdFile<'_> {
    fn drop(&mut self) {
        if self.file.is_some() {
            // It is empty and ours; that it stays is only untidy.
            let _ = std::fs::remove_file(self.path);
        }
    }
}
