//! `hull cp`.

use crate::archive::{self, Pieces, QUEUE, Unpack};
use crate::command::{Operands, command};
use crate::commands::load::{chunks, standard_input};
use crate::complain::{Complaint, DONE, Outcome};
use crate::human;
use crate::output;
use crate::session::Session;
use base64::Engine as _;
use hull_api::client::{Body, Client};
use hull_api::wire::container::PathStat;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

command! {
    names: ["container cp", "cp"], about: "Copy files between a container and this machine",
    usage: "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-", operands: Operands::Exactly(2), flags: Flags
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// Keep owners
    #[arg(short, long)]
    archive: bool,
    /// Copy what a symbolic link in SRC_PATH points at
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Do not tell what was copied
    #[arg(short, long)]
    quiet: bool,
}

/// Go's bits for directories and symbolic links.
const DIRECTORY: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;

async fn run(flags: Flags, operands: Vec<String>, session: Session) -> Outcome {
    let (source, destination) = (split(&operands[0]), split(&operands[1]));
    let client = match (&source, &destination) {
        ((Some(_), _), (Some(_), _)) => {
            return Err(Complaint::new("copying between containers is not supported"));
        }
        ((None, _), (None, _)) => return Err(Complaint::new("must specify at least one container source")),
        _ => session.connect().await?,
    };
    let bytes = match (source, destination) {
        ((Some(container), path), (_, to)) => fetch(&client, &flags, container, path, to).await?,
        ((None, path), (Some(container), to)) => send(&client, &flags, path, container, to).await?,
        _ => None,
    };
    if let Some(bytes) = bytes.filter(|_| !flags.quiet) {
        output::warn(&format!("Successfully copied {} to {}", human::size(bytes as i64, 3), operands[1]));
    }
    Ok(DONE)
}

/// The container and the path; a path of this machine begins with a slash or a dot, or has no colon.
fn split(operand: &str) -> (Option<&str>, &str) {
    match operand.split_once(':') {
        Some((container, path)) if !container.starts_with(['/', '.']) && !container.is_empty() => {
            (Some(container), path)
        }
        _ => (None, operand),
    }
}

/// "dir/." is what is in the directory.
fn is_content(path: &str) -> bool {
    path.ends_with("/.") || path == "."
}

/// What a path of a container is; nothing if it is not there.
async fn stat(client: &Client, container: &str, path: &str) -> Result<Option<PathStat>, Complaint> {
    let call = client.head(["containers", container, "archive"]).query("path", path);
    match call.headers().await {
        Ok(headers) => Ok(Some(read_stat(&headers)?)),
        Err(error) if error.is_not_found() => {
            // No container is another thing than no path; HEAD has no body to tell them apart.
            client.get(["containers", container, "json"]).bytes().await?;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn read_stat(headers: &hull_api::client::Headers) -> Result<PathStat, Complaint> {
    let malformed = || Complaint::new("the daemon did not tell what the path is");
    let header = headers.get("x-docker-container-path-stat").ok_or_else(malformed)?;
    let json = base64::engine::general_purpose::STANDARD.decode(header).map_err(|_| malformed())?;
    serde_json::from_slice(&json).map_err(|_| malformed())
}

/// The place that a link of a container leads to.
fn follow(path: &str, target: &str) -> String {
    match (target.starts_with('/'), Path::new(path).parent()) {
        (false, Some(parent)) => parent.join(target).to_string_lossy().into_owned(),
        _ => target.to_owned(),
    }
}

async fn fetch(
    client: &Client,
    flags: &Flags,
    container: &str,
    path: &str,
    to: &str,
) -> Result<Option<u64>, Complaint> {
    let mut path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    if flags.follow_link
        && let Some(link) = stat(client, container, &path).await?.filter(|stat| stat.mode & SYMLINK != 0)
    {
        path = follow(&path, &link.link_target);
    }
    if to != "-" {
        // Told before anything is asked of the container, as the other mistakes are.
        parent_exists(to)?;
    }
    let mut body = client.get(["containers", container, "archive"]).query("path", &path).send().await?;
    if to == "-" {
        while let Some(chunk) = body.chunk().await? {
            std::io::Write::write_all(&mut std::io::stdout().lock(), &chunk)?;
        }
        return Ok(None);
    }
    let stat = read_stat(body.headers())?;
    let unpack = plan(&path, &stat, to, flags.archive)?;
    unpacked(unpack, body).await.map(Some)
}

fn parent_exists(to: &str) -> Result<(), Complaint> {
    let parent = match Path::new(to.trim_end_matches('/')).parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    match parent.is_dir() || Path::new(to).is_dir() {
        true => Ok(()),
        false => Err(Complaint::new(format!(
            "invalid output path: directory {:?} does not exist",
            parent.display()
        ))),
    }
}

/// Into a directory under its own name; onto a name that is free; onto a file.
fn plan(path: &str, stat: &PathStat, to: &str, keep_owner: bool) -> Result<Unpack, Complaint> {
    let target = Path::new(to);
    let own_name = Path::new(path.trim_end_matches('/')).file_name().map(PathBuf::from).unwrap_or_default();
    let is_directory = stat.mode & DIRECTORY != 0;
    let beside = || {
        let trimmed = Path::new(to.trim_end_matches('/'));
        let parent =
            trimmed.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        (parent.to_owned(), trimmed.file_name().map(PathBuf::from).unwrap_or_default())
    };
    let unpack =
        |(root, name): (PathBuf, PathBuf), replaces_base| Unpack { root, replaces_base, name, keep_owner };
    match std::fs::metadata(target) {
        Ok(there) if there.is_dir() => match is_directory && is_content(path) {
            true => Ok(unpack((target.to_owned(), PathBuf::new()), false)),
            false => Ok(unpack((target.to_owned(), own_name), true)),
        },
        Ok(_) if is_directory => Err(Complaint::new("cannot copy directory")),
        Ok(_) => Ok(unpack(beside(), true)),
        Err(_) if to.ends_with('/') && !is_directory => Err(Complaint::new("no such directory")),
        Err(_) if is_directory && is_content(path) => {
            std::fs::create_dir(target)?;
            Ok(unpack((target.to_owned(), PathBuf::new()), false))
        }
        Err(_) => Ok(unpack(beside(), true)),
    }
}

/// Unpacks on a thread of its own what this one receives.
async fn unpacked(unpack: Unpack, mut body: Body) -> Result<u64, Complaint> {
    let (sender, receiver) = sync_channel(QUEUE);
    let unpacking = tokio::task::spawn_blocking(move || unpack.run(Pieces::new(receiver)));
    loop {
        let Some(chunk) = body.chunk().await? else { break };
        let queue = sender.clone();
        let sent =
            tokio::task::spawn_blocking(move || queue.send(chunk)).await.map_err(std::io::Error::other)?;
        // It ended before the archive did: its own error says why.
        if sent.is_err() {
            break;
        }
    }
    drop(sender);
    Ok(unpacking.await.map_err(std::io::Error::other)??)
}

async fn send(
    client: &Client,
    flags: &Flags,
    path: &str,
    container: &str,
    to: &str,
) -> Result<Option<u64>, Complaint> {
    let mut to = if to.starts_with('/') { to.to_owned() } else { format!("/{to}") };
    let mut there = stat(client, container, &to).await?;
    if let Some(link) = there.as_ref().filter(|stat| stat.mode & SYMLINK != 0) {
        to = follow(&to, &link.link_target);
        there = stat(client, container, &to).await?;
    }
    let into_directory = there.as_ref().is_some_and(|stat| stat.mode & DIRECTORY != 0);
    if path == "-" {
        if !into_directory {
            return Err(Complaint::new(format!("destination \"{container}:{to}\" must be a directory")));
        }
        put(client, flags, container, &to, chunks(standard_input()?)).await?;
        return Ok(None);
    }
    let source = source(path, flags.follow_link)?;
    let is_directory = source.is_dir() && !source.is_symlink();
    let own_name = source.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (directory, name) = match (into_directory, there.is_some()) {
        (true, _) if is_directory && is_content(path) => (to.clone(), String::new()),
        (true, _) => (to.clone(), own_name),
        (false, true) if is_directory => return Err(Complaint::new("cannot copy directory")),
        (false, false) if to.ends_with('/') && !is_directory => {
            return Err(Complaint::new("no such directory"));
        }
        (false, _) => {
            let (parent, name) = to.trim_end_matches('/').rsplit_once('/').unwrap_or(("", &to));
            (if parent.is_empty() { "/".to_owned() } else { parent.to_owned() }, name.to_owned())
        }
    };
    let (sender, receiver) = tokio::sync::mpsc::channel(QUEUE);
    let counted = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let packing = {
        let counted = std::sync::Arc::clone(&counted);
        tokio::task::spawn_blocking(move || {
            archive::pack(&source, &name, archive::Sender { sender, counted })
        })
    };
    let body = futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|piece| (Ok(piece), receiver))
    });
    let answered = put(client, flags, container, &directory, body).await;
    // What the daemon says comes first: a stream that it does not read to the end breaks on our side, too.
    let packed = packing.await.map_err(std::io::Error::other)?;
    answered?;
    packed?;
    Ok(Some(counted.load(std::sync::atomic::Ordering::Relaxed)))
}

/// The file of this machine, with its name.
fn source(path: &str, follow_link: bool) -> Result<PathBuf, Complaint> {
    let missing = |reason: std::io::Error| {
        let text = reason.to_string();
        Complaint::new(format!(
            "lstat {path}: {}",
            text.split(" (os error").next().unwrap_or(&text).to_lowercase()
        ))
    };
    let found = std::fs::symlink_metadata(path).map_err(missing)?;
    // A name for "." and "..", and the target of a link that is followed (as one with a slash behind it is).
    let resolves = follow_link || !found.is_symlink() || path.ends_with('/');
    if resolves { std::fs::canonicalize(path).map_err(missing) } else { Ok(PathBuf::from(path)) }
}

async fn put<S>(
    client: &Client,
    flags: &Flags,
    container: &str,
    directory: &str,
    body: S,
) -> Result<(), Complaint>
where
    S: futures_util::Stream<Item = std::io::Result<bytes::Bytes>> + Send + 'static,
{
    let call = client.put(["containers", container, "archive"]).query("path", directory);
    let call = call.query("noOverwriteDirNonDir", "true").flag("copyUIDGID", flags.archive);
    call.stream("application/x-tar", body).status().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_name_a_container_or_not() {
        assert_eq!(split("web:/etc"), (Some("web"), "/etc"));
        assert_eq!(split("/tmp/a:b"), (None, "/tmp/a:b"));
        assert_eq!(split("./a:b"), (None, "./a:b"));
        assert_eq!(split("plain"), (None, "plain"));
        assert_eq!(split("-"), (None, "-"));
    }

    #[test]
    fn links_lead_from_their_directory() {
        assert_eq!(follow("/a/link", "b"), "/a/b");
        assert_eq!(follow("/a/link", "/b"), "/b");
    }

    #[test]
    fn the_destination_decides_the_name() {
        let directory = PathStat { mode: DIRECTORY, ..PathStat::default() };
        let file = PathStat::default();
        let shown = |path: &str, stat: &PathStat, to: &str| match plan(path, stat, to, false) {
            Ok(plan) => format!("{} {} {}", plan.root.display(), plan.replaces_base, plan.name.display()),
            Err(complaint) => complaint.text,
        };
        assert_eq!(shown("/etc", &directory, "/tmp"), "/tmp true etc");
        assert_eq!(shown("/etc/.", &directory, "/tmp"), "/tmp false ");
        assert_eq!(
            shown("/etc", &directory, "/tmp/hull-surely-not-there"),
            "/tmp true hull-surely-not-there"
        );
        assert_eq!(shown("/etc/passwd", &file, "/tmp"), "/tmp true passwd");
        assert_eq!(shown("/etc/passwd", &file, "/tmp/hull-surely-not-there/"), "no such directory");
        assert_eq!(shown("/etc", &directory, "/dev/null"), "cannot copy directory");
    }
}
