//! Bytes on their way to someone who may be slow.

use std::io::IoSlice;
use std::os::fd::AsFd;

use rustix::io::{Errno, Result};

/// What a non-blocking descriptor did not take yet; without memory when it took everything.
#[derive(Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outbox {
    /// How many bytes wait.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// What waits.
    pub(crate) fn into_unsent(mut self) -> Vec<u8> {
        self.bytes.drain(..self.sent);
        self.bytes
    }

    /// Writes both parts behind what waits already; what does not go now waits. The error is final.
    pub(crate) fn send(&mut self, to: impl AsFd, parts: [&[u8]; 2]) -> Result<()> {
        let gone = match self.len() {
            0 => write(to, &parts)?,
            _ => 0,
        };
        if self.sent > self.len() {
            self.bytes.drain(..std::mem::take(&mut self.sent));
        }
        let mut skip = gone;
        for part in parts {
            let part_skip = skip.min(part.len());
            self.bytes.extend_from_slice(&part[part_skip..]);
            skip -= part_skip;
        }
        Ok(())
    }

    /// Writes what waits. The error is final.
    pub(crate) fn flush(&mut self, to: impl AsFd) -> Result<()> {
        self.sent += write(to, &[&self.bytes[self.sent..], &[]])?;
        if self.len() == 0 {
            *self = Self::default();
        }
        Ok(())
    }
}

fn write(to: impl AsFd, parts: &[&[u8]; 2]) -> Result<usize> {
    let slices = [IoSlice::new(parts[0]), IoSlice::new(parts[1])];
    match rustix::io::writev(to, &slices) {
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        answer => answer,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_slow_reader_gets_everything_in_order() {
        let (writer, mut reader) = UnixStream::pair().expect("socket pair");
        writer.set_nonblocking(true).expect("nonblocking");
        let text: Vec<u8> = (0..3_000_000u32).map(|number| number as u8).collect();
        let mut outbox = Outbox::default();
        for part in text.chunks(100_000) {
            outbox.send(&writer, part.split_at(7).into()).expect("send");
        }
        assert!(outbox.len() > 1_000_000);
        let reading = std::thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).map(|_| all)
        });
        while outbox.len() > 0 {
            outbox.flush(&writer).expect("flush");
        }
        drop(writer);
        assert!(reading.join().expect("thread").expect("read") == text);
        assert_eq!(outbox.bytes.capacity(), 0);
    }

    #[test]
    fn a_reader_that_left_is_final() {
        let (writer, reader) = UnixStream::pair().expect("socket pair");
        drop(reader);
        assert_eq!(Outbox::default().send(&writer, [b"x", b""]), Err(Errno::PIPE));
    }
}
