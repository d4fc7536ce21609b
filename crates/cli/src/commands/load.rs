//! `hull load`.

use crate::command::{Operands, command};
use crate::complain::{Complaint, DONE, Outcome};
use crate::progress::{self, Screen};
use crate::session::Session;
use crate::values::environment::open_failed;
use bytes::Bytes;
use std::io::IsTerminal as _;
use tokio::io::{AsyncRead, AsyncReadExt as _};

command! {
    names: ["image load", "load"], about: "Read images from an archive or STDIN",
    usage: "[OPTIONS]", operands: Operands::Exactly(0), flags: Flags
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// Read from this file in place of STDIN
    #[arg(short, long, value_name = "string")]
    input: Option<String>,
    /// Only images of these platforms
    #[arg(long, value_name = "stringSlice")]
    platform: Vec<String>,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
}

async fn run(flags: Flags, _: Vec<String>, session: Session) -> Outcome {
    let source = source(flags.input.as_deref()).await?;
    let client = session.connect().await?;
    let quiet = flags.quiet || !std::io::stdout().is_terminal();
    let mut call = client.post(["images", "load"]).query("quiet", if quiet { "1" } else { "0" });
    for platform in &flags.platform {
        call = call.query("platform", &crate::commands::platform_json(platform)?);
    }
    let call = call.stream("application/x-tar", chunks(source));
    let answer = call.messages().await;
    progress::show(answer?, Screen::Stdout).await?;
    Ok(DONE)
}

/// A file, or stdin unless it is a terminal.
async fn source(input: Option<&str>) -> Result<Box<dyn AsyncRead + Send + Unpin>, Complaint> {
    match input {
        Some(path) => open(path).await,
        None if std::io::stdin().is_terminal() => {
            Err(Complaint::new("requested load from stdin, but stdin is empty"))
        }
        None => standard_input(),
    }
}

/// Stdin as a file of its own.
pub(crate) fn standard_input() -> Result<Box<dyn AsyncRead + Send + Unpin>, Complaint> {
    let own = rustix::io::dup(rustix::stdio::stdin()).map_err(std::io::Error::from)?;
    Ok(Box::new(tokio::fs::File::from_std(own.into())))
}

/// A file that is there.
pub(crate) async fn open(path: &str) -> Result<Box<dyn AsyncRead + Send + Unpin>, Complaint> {
    match tokio::fs::File::open(path).await {
        Ok(file) => Ok(Box::new(file)),
        Err(reason) => Err(Complaint::new(open_failed(path, &reason))),
    }
}

/// What is read, in pieces for a request's body.
pub(crate) fn chunks(
    source: Box<dyn AsyncRead + Send + Unpin>,
) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> + Send {
    futures_util::stream::try_unfold(source, |mut source| async move {
        let mut buffer = Vec::with_capacity(256 << 10);
        match source.read_buf(&mut buffer).await? {
            0 => Ok(None),
            _ => Ok(Some((Bytes::from(buffer), source))),
        }
    })
}

/// Where an archive goes that is no text: a file, or stdout unless it is a terminal.
pub(crate) async fn store(
    mut body: hull_api::client::Body,
    file: Option<&str>,
    refusal: &str,
) -> Result<(), Complaint> {
    let Some(path) = file else {
        if std::io::stdout().is_terminal() {
            return Err(Complaint::new(refusal));
        }
        while let Some(chunk) = body.chunk().await? {
            std::io::Write::write_all(&mut std::io::stdout().lock(), &chunk)?;
        }
        return Ok(());
    };
    // Beside its place, and moved there when it is whole.
    let beside = format!("{path}.hull-{}", std::process::id());
    let written = write(&beside, &mut body).await;
    if written.is_ok() {
        std::fs::rename(&beside, path)?;
    } else {
        let _ = std::fs::remove_file(&beside);
    }
    written
}

async fn write(path: &str, body: &mut hull_api::client::Body) -> Result<(), Complaint> {
    let failed = |reason: std::io::Error| Complaint::new(open_failed(path, &reason));
    let mut file = std::fs::File::create_new(path).map_err(failed)?;
    while let Some(chunk) = body.chunk().await? {
        std::io::Write::write_all(&mut file, &chunk)?;
    }
    Ok(())
}

/// Refuses to write an archive on a terminal before the daemon makes it.
pub(crate) fn check_target(file: Option<&str>, refusal: &str) -> Result<(), Complaint> {
    match file {
        None if std::io::stdout().is_terminal() => Err(Complaint::new(refusal)),
        Some(path) if std::path::Path::new(path).is_dir() => {
            Err(Complaint::new(format!("invalid output path: {path:?} is a directory")))
        }
        _ => Ok(()),
    }
}
