//! Talking to a container's supervisor without blocking: one connection a request.

use std::io;
use std::path::{Path, PathBuf};

use hull_shim::client;
use hull_shim::protocol::{self, Answer, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::{Error, Result};

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// A connection after its answer: a stream, if the request asks for one.
pub(crate) struct Connection {
    /// The socket.
    pub(crate) stream: UnixStream,
    /// What came behind the answer's line already.
    pub(crate) ahead: Vec<u8>,
}

/// The directory of a container's supervisor.
pub(crate) fn directory(exec_root: &Path, id: &str) -> PathBuf {
    exec_root.join("shim").join(id)
}

/// Sends `request` to the supervisor in `dir` and reads its answer.
pub(crate) async fn ask(dir: &Path, request: &Request) -> Result<(Answer, Connection)> {
    let unreachable = |error: io::Error| Error::system(format!("supervisor in {}: {error}", dir.display()));
    // Connecting to a listening unix socket does not block.
    let stream = hull_shim::client::connect(dir)?;
    stream.set_nonblocking(true).map_err(unreachable)?;
    let mut stream = UnixStream::from_std(stream).map_err(unreachable)?;
    let line = protocol::encode(request).map_err(|error| Error::system(error.to_string()))?;
    stream.write_all(&line).await.map_err(unreachable)?;
    let (line, ahead) = read_line(&mut stream).await.map_err(unreachable)?;
    let answer = protocol::decode(&line).map_err(|error| unreachable(error.into()))?;
    Ok((answer, Connection { stream, ahead }))
}

async fn read_line(stream: &mut UnixStream) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut line = Vec::with_capacity(4096);
    loop {
        let searched = line.len();
        if stream.read_buf(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(end) = line[searched..].iter().position(|byte| *byte == b'\n') {
            let ahead = line.split_off(searched + end + 1);
            return Ok((line, ahead));
        }
        if line.len() > MAX_ANSWER {
            return Err(io::Error::other("the answer is too long"));
        }
    }
}

/// Ends a supervisor with its container, and removes its directory. Blocks.
pub(crate) fn end(dir: &Path) -> io::Result<()> {
    let kill = Request::Kill(protocol::Kill { signal: 9, exec: None, all: true });
    if client::request(dir, &kill).is_ok() {
        // It tells its end when it has written all that it writes.
        let _ = client::request(dir, &Request::Wait);
    }
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// An answer that does not belong to its request, as an error.
pub(crate) fn unexpected(answer: &Answer) -> Error {
    match answer {
        Answer::Failed(failure) => Error::system(failure.to_string()),
        Answer::Invalid(why) => Error::conflict(why.clone()),
        answer => Error::system(format!("supervisor: unexpected answer {answer:?}")),
    }
}
