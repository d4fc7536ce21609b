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
    let mut connection = Connection { stream, ahead: Vec::with_capacity(4096) };
    let answer = connection.answer().await.map_err(unreachable)?;
    Ok((answer, connection))
}

impl Connection {
    /// The next answer, of a request that has more than one.
    pub(crate) async fn answer(&mut self) -> io::Result<Answer> {
        let mut searched = 0;
        loop {
            if let Some(end) = self.ahead[searched..].iter().position(|byte| *byte == b'\n') {
                let ahead = self.ahead.split_off(searched + end + 1);
                let line = std::mem::replace(&mut self.ahead, ahead);
                return Ok(protocol::decode(&line)?);
            }
            searched = self.ahead.len();
            if searched > MAX_ANSWER {
                return Err(io::Error::other("the answer is too long"));
            }
            if self.stream.read_buf(&mut self.ahead).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Ends a supervisor with its container, and removes its directory. Blocks.
pub(crate) fn end(dir: &Path) -> io::Result<()> {
    let kill = Request::Kill(protocol::Kill { signal: 9, exec: None, all: true });
    if client::request(dir, &kill).is_ok() {
        // It tells its end when it has written all that it writes.
        let _ = client::connect(dir).and_then(|mut stream| client::wait(&mut stream, dir));
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
