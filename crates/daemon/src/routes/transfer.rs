//! `/containers/{id}/archive`: what `docker cp` is made of.

use std::sync::Arc;

use base64::Engine as _;
use futures_util::TryStreamExt;
use http::{HeaderValue, StatusCode};
use http_body_util::BodyExt;
use hull_api::wire::container::PathStat as WireStat;
use hull_engine::Error;
use hull_engine::model::PathStat;
use tokio_util::io::StreamReader;

use crate::Daemon;
use crate::call::{Call, Outcome, Reply, invalid, status, streamed};
use crate::{render, streams};

/// The header that tells what a path is.
const STAT: &str = "X-Docker-Container-Path-Stat";

pub(super) async fn stat(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let path = wanted(&call)?;
    let stat = daemon.engine.archive_stat(call.param("id"), path).await?;
    with_stat(status(StatusCode::OK)?, &stat)
}

pub(super) async fn get(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let path = wanted(&call)?;
    let (stat, archive) = daemon.engine.archive_get(call.param("id"), path).await?;
    with_stat(streamed("application/x-tar", streams::chunks(archive)), &stat)
}

pub(super) async fn put(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let path = wanted(&call)?.to_owned();
    let id = call.param("id").to_owned();
    let no_overwrite = call.query().flag("noOverwriteDirNonDir");
    let copy_uid_gid = call.query().flag("copyUIDGID");
    daemon.engine.archive_put(&id, &path, no_overwrite, copy_uid_gid, body_reader(call)).await?;
    status(StatusCode::OK)
}

fn wanted(call: &Call) -> Result<&str, Error> {
    // The words are Docker's.
    let path = call.query().get("path").filter(|path| !path.is_empty());
    path.ok_or_else(|| invalid("bad parameter: pathcannot be empty"))
}

/// The body of a request as a reader.
pub(super) fn body_reader(call: Call) -> impl tokio::io::AsyncRead + Send + Unpin + 'static {
    StreamReader::new(call.into_body().into_data_stream().map_err(std::io::Error::other))
}

fn with_stat(mut reply: Reply, stat: &PathStat) -> Outcome {
    let wire = WireStat {
        name: stat.name.clone(),
        size: stat.size,
        mode: go_mode(stat.mode),
        mtime: render::time(stat.mtime),
        link_target: stat.link_target.clone(),
    };
    let json = serde_json::to_vec(&wire).map_err(|why| Error::system(format!("encode the answer: {why}")))?;
    let text = base64::engine::general_purpose::STANDARD.encode(json);
    let value =
        HeaderValue::from_str(&text).map_err(|why| Error::system(format!("encode the answer: {why}")))?;
    reply.headers_mut().insert(STAT, value);
    Ok(reply)
}

/// The bits of Go's `os.FileMode` for the `st_mode` of stat(2).
fn go_mode(mode: u32) -> u32 {
    let kind = match mode & 0o170_000 {
        0o040_000 => 1 << 31,               // directory
        0o120_000 => 1 << 27,               // symbolic link
        0o060_000 => 1 << 26,               // block device
        0o020_000 => (1 << 26) | (1 << 21), // character device
        0o010_000 => 1 << 25,               // named pipe
        0o140_000 => 1 << 24,               // socket
        _ => 0,
    };
    let bit = |from: u32, to: u32| if mode & from == 0 { 0 } else { 1 << to };
    (mode & 0o777) | kind | bit(0o4000, 23) | bit(0o2000, 22) | bit(0o1000, 20)
}

#[cfg(test)]
mod tests {
    use super::go_mode;

    #[test]
    fn modes_are_gos() {
        assert_eq!(go_mode(0o100_644), 0o644);
        assert_eq!(go_mode(0o040_755), (1 << 31) | 0o755);
        assert_eq!(go_mode(0o041_777), (1 << 31) | (1 << 20) | 0o777);
        assert_eq!(go_mode(0o120_777), (1 << 27) | 0o777);
        assert_eq!(go_mode(0o104_755), (1 << 23) | 0o755);
    }
}
