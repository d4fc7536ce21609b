//! `hull pull`.

use crate::command::{Operands, command};
use crate::complain::{Complaint, DONE, Outcome};
use crate::credentials;
use crate::output;
use crate::progress::{self, Screen};
use crate::session::Session;
use hull_api::client::Client;
use hull_api::wire::system::AuthConfig;
use hull_oci::Reference;

command! {
    names: ["image pull", "pull"], about: "Download an image from a registry",
    usage: "[OPTIONS] NAME[:TAG|@DIGEST]", operands: Operands::Exactly(1), flags: Flags
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// Download all tags of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Platform of the image, if it has several
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    platform: String,
    /// Show nothing but the name
    #[arg(short, long)]
    quiet: bool,
}

async fn run(flags: Flags, operands: Vec<String>, session: Session) -> Outcome {
    let mut reference = parse(&operands[0])?;
    if flags.all_tags && (reference.tag().is_some() || reference.digest().is_some()) {
        return Err(Complaint::new("tag can't be used with --all-tags/-a"));
    }
    let client = session.connect().await?;
    let screen = if flags.quiet { Screen::Nowhere } else { Screen::Stdout };
    if flags.all_tags {
        download(&client, &session, &reference.name(), None, &flags.platform, &reference, screen).await?;
    } else {
        if reference.tag().is_none() && reference.digest().is_none() {
            reference = reference.with_default_tag();
            if !flags.quiet {
                output::line("Using default tag: latest")?;
            }
        }
        pull(&client, &session, &operands[0], &flags.platform, screen).await?;
    }
    output::line(&reference.to_string())?;
    Ok(DONE)
}

/// Downloads one image.
pub(crate) async fn pull(
    client: &Client,
    session: &Session,
    image: &str,
    platform: &str,
    screen: Screen,
) -> Result<(), Complaint> {
    let reference = parse(image)?;
    let digest = reference.digest().map(ToString::to_string);
    let reference = if digest.is_none() { reference.with_default_tag() } else { reference };
    let tag = digest.or_else(|| reference.tag().map(str::to_owned));
    download(client, session, &reference.familiar_name(), tag.as_deref(), platform, &reference, screen).await
}

async fn download(
    client: &Client,
    session: &Session,
    name: &str,
    tag: Option<&str>,
    platform: &str,
    reference: &Reference,
    screen: Screen,
) -> Result<(), Complaint> {
    let call = client.post(["images", "create"]).query("fromImage", name).query_if("tag", tag);
    let call = call.query_if("platform", Some(platform).filter(|platform| !platform.is_empty()));
    let call = call.header("x-registry-auth", &auth(session, reference)?.to_header());
    progress::show(call.messages().await?, screen).await?;
    Ok(())
}

/// The credentials for an image's registry.
pub(crate) fn auth(session: &Session, reference: &Reference) -> Result<AuthConfig, Complaint> {
    credentials::lookup(&session.settings, reference.domain())
}

/// A valid reference.
pub(crate) fn parse(image: &str) -> Result<Reference, Complaint> {
    Reference::parse(image).map_err(|reason| Complaint::new(reason.to_string()))
}

/// Refuses what is no name of an image, and no id either.
pub(crate) fn check(image: &str) -> Result<(), Complaint> {
    let is_id = image.len() == 64 && image.bytes().all(|b| b.is_ascii_hexdigit());
    if is_id { Ok(()) } else { parse(image).map(drop) }
}

/// An image's name as users write it, with its tag.
pub(crate) fn familiar(image: &str) -> String {
    Reference::parse(image)
        .map_or_else(|_| image.to_owned(), |reference| reference.with_default_tag().familiar())
}
