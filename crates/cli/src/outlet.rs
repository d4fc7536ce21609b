//! Standard output and standard error as what a stream is written to.
//!
//! A write blocks for as long as our own reader does, and this thread has signals to follow meanwhile. A pipe or a
//! socket is therefore written to as far as it has room (`RWF_NOWAIT`, pwritev2(2)) and awaited; its open file is shared
//! with others, who would be surprised by `O_NONBLOCK`. A file never blocks. All else, terminals first of all,
//! is written to on a thread beside this one.

use rustix::fd::BorrowedFd;
use rustix::fs::FileType;
use rustix::io::{Errno, IoSlice, ReadWriteFlags};
use std::io;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What a pipe is made to hold when it was full.
const PIPE: usize = 1 << 20;
/// The offset that means the file's own.
const HERE: u64 = u64::MAX;

/// One of our own outputs.
pub(crate) struct Outlet {
    fd: BorrowedFd<'static>,
    way: Way,
}

enum Way {
    /// Not written to yet, or never full.
    AtOnce,
    /// Was full.
    Awaited(AsyncFd<BorrowedFd<'static>>),
    /// A file.
    Plain,
    /// Cannot be written to without blocking.
    Beside,
}

impl Outlet {
    pub(crate) fn stdout() -> Self {
        Self::new(rustix::stdio::stdout())
    }

    pub(crate) fn stderr() -> Self {
        Self::new(rustix::stdio::stderr())
    }

    /// An outlet to `fd`.
    pub(crate) fn new(fd: BorrowedFd<'static>) -> Self {
        let kind = rustix::fs::fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode));
        let way = if kind == Ok(FileType::RegularFile) { Way::Plain } else { Way::AtOnce };
        Self { fd, way }
    }

    /// Writes all of `bytes`.
    pub(crate) async fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_some(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.room().await?,
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                    self.way = Way::Beside;
                    return self.write_beside(bytes).await;
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn write_some(&self, bytes: &[u8]) -> rustix::io::Result<usize> {
        match self.way {
            Way::Plain => rustix::io::write(self.fd, bytes),
            Way::Beside => Err(Errno::OPNOTSUPP),
            Way::AtOnce | Way::Awaited(_) => {
                rustix::io::pwritev2(self.fd, &[IoSlice::new(bytes)], HERE, ReadWriteFlags::NOWAIT)
            }
        }
    }

    /// Waits until the reader has made room.
    async fn room(&mut self) -> io::Result<()> {
        if !matches!(self.way, Way::Awaited(_)) {
            // Once, and if it is a pipe: a larger one takes fewer turns.
            let _ = rustix::pipe::fcntl_setpipe_size(self.fd, PIPE);
            #[expect(
                deprecated,
                reason = "its successor is unsafe for the sake of types that do not keep their descriptor open; this one is 'static"
            )]
            match AsyncFd::with_interest(self.fd, Interest::WRITABLE) {
                Ok(awaited) => self.way = Way::Awaited(awaited),
                // Nothing that can be waited for.
                Err(_) => self.way = Way::Beside,
            }
        }
        if let Way::Awaited(awaited) = &self.way {
            awaited.writable().await?.clear_ready();
        }
        Ok(())
    }

    async fn write_beside(&self, bytes: &[u8]) -> io::Result<()> {
        let (fd, bytes) = (self.fd, bytes.to_vec());
        let written = tokio::task::spawn_blocking(move || {
            let mut left = &bytes[..];
            while !left.is_empty() {
                match rustix::io::write(fd, left) {
                    Ok(count) => left = &left[count..],
                    Err(Errno::INTR) => {}
                    // Somebody else made it non-blocking.
                    Err(Errno::AGAIN) => wait_for_room(fd)?,
                    Err(errno) => return Err(errno),
                }
            }
            Ok(())
        });
        Ok(written.await.map_err(io::Error::other)??)
    }
}

fn wait_for_room(fd: BorrowedFd<'_>) -> rustix::io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], None).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, Write};
    use std::os::fd::AsFd;
    use std::os::fd::OwnedFd;

    /// An outlet to a descriptor that outlives every test.
    fn outlet(fd: impl Into<OwnedFd>) -> Outlet {
        let fd: &'static OwnedFd = Box::leak(Box::new(fd.into()));
        Outlet::new(fd.as_fd())
    }

    fn block_on<T>(what: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(what)
    }

    fn text() -> Vec<u8> {
        (0..3_000_000u32).map(|number| (number % 251) as u8).collect()
    }

    /// Reads from `reader` slowly what is written to `writer`; both must be the same.
    fn pass(writer: impl Into<OwnedFd>, mut reader: impl Read + Send + 'static) {
        let reading = std::thread::spawn(move || {
            let mut found = vec![0; 3_000_000];
            reader.read_exact(&mut found).map(|()| found)
        });
        block_on(async {
            let mut outlet = outlet(writer);
            for chunk in text().chunks(100_000) {
                outlet.write(chunk).await.unwrap();
            }
        });
        assert!(reading.join().unwrap().unwrap() == text());
    }

    #[test]
    fn a_pipe_and_a_socket_get_everything() {
        let (reader, writer) = io::pipe().unwrap();
        pass(writer, reader);
        let (writer, reader) = std::os::unix::net::UnixStream::pair().unwrap();
        pass(writer, reader);
    }

    #[test]
    fn a_terminal_gets_everything() {
        use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let terminal = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        let mut raw = rustix::termios::tcgetattr(&terminal).unwrap();
        raw.make_raw();
        rustix::termios::tcsetattr(&terminal, rustix::termios::OptionalActions::Now, &raw).unwrap();
        pass(terminal, std::fs::File::from(master));
    }

    #[test]
    fn a_file_gets_everything() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"before ").unwrap();
        let mut outlet = outlet(file.try_clone().unwrap());
        block_on(outlet.write(b"after")).unwrap();
        file.rewind().unwrap();
        assert_eq!(io::read_to_string(file).unwrap(), "before after");
    }

    #[test]
    fn a_full_pipe_lets_other_tasks_run() {
        use tokio::io::AsyncReadExt as _;
        let (reader, writer) = io::pipe().unwrap();
        block_on(async move {
            let writing = tokio::task::spawn(async move { outlet(writer).write(&text()).await });
            // On the same thread: nobody would read if the write blocked it.
            let mut reader = tokio::net::unix::pipe::Receiver::from_owned_fd(reader.into()).unwrap();
            let mut found = vec![0; 3_000_000];
            reader.read_exact(&mut found).await.unwrap();
            writing.await.unwrap().unwrap();
            assert!(found == text());
        });
    }

    #[test]
    fn a_reader_that_left_is_told() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let error = block_on(async { outlet(writer).write(b"x").await }).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
