//! The frames of a supervisor, on their way to a client.

use hull_shim::protocol::{Header, Stream};

/// Reads frames as they come, in pieces of any size: takes the headers off for a terminal, keeps them otherwise, and
/// keeps the exit code of an exec session for itself.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    strip: bool,
    header: [u8; Header::SIZE],
    header_bytes: usize,
    /// Bytes still to come of the present payload.
    left: usize,
    /// Whether they are an exit code.
    is_exit: bool,
    code: [u8; 4],
    /// Whether what came is no frame: the rest is not passed on.
    broken: bool,
}

impl Frames {
    /// Takes the headers off, if `strip`.
    pub(crate) fn new(strip: bool) -> Self {
        Self { strip, ..Self::default() }
    }

    /// Passes `bytes` on to `out`; returns the exit code if it was complete in them.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Option<i32> {
        let mut exit = None;
        while !bytes.is_empty() && !self.broken {
            if self.left > 0 {
                let (payload, rest) = bytes.split_at(self.left.min(bytes.len()));
                exit = self.payload(payload, out).or(exit);
                bytes = rest;
                continue;
            }
            let (some, rest) = bytes.split_at((Header::SIZE - self.header_bytes).min(bytes.len()));
            self.header[self.header_bytes..self.header_bytes + some.len()].copy_from_slice(some);
            self.header_bytes += some.len();
            bytes = rest;
            if self.header_bytes == Header::SIZE {
                self.begin(out);
            }
        }
        exit
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        self.header_bytes = 0;
        let Some(header) = Header::decode(self.header) else {
            self.broken = true;
            return;
        };
        self.left = header.length;
        self.is_exit = header.stream == Stream::Exit;
        if !self.strip && !self.is_exit {
            out.extend_from_slice(&self.header);
        }
    }

    fn payload(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Option<i32> {
        self.left -= payload.len();
        if !self.is_exit {
            out.extend_from_slice(payload);
            return None;
        }
        for byte in payload {
            self.code.rotate_left(1);
            self.code[3] = *byte;
        }
        (self.left == 0).then(|| i32::from_be_bytes(self.code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Vec<u8> {
        let mut bytes = vec![1, 0, 0, 0, 0, 0, 0, 3];
        bytes.extend(b"one");
        bytes.extend([2, 0, 0, 0, 0, 0, 0, 2]);
        bytes.extend(b"er");
        bytes.extend([255, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 127]);
        bytes
    }

    #[test]
    fn the_size_of_the_pieces_does_not_matter() {
        let session = session();
        for size in 1..session.len() {
            let (mut bare, mut framed) = (Vec::new(), Vec::new());
            let (mut stripping, mut keeping) = (Frames::new(true), Frames::new(false));
            let codes: Vec<_> =
                session.chunks(size).filter_map(|piece| stripping.feed(piece, &mut bare)).collect();
            session.chunks(size).for_each(|piece| {
                keeping.feed(piece, &mut framed);
            });
            assert_eq!(codes, [127]);
            assert_eq!(bare, b"oneer");
            assert_eq!(framed, session[..session.len() - 12]);
        }
    }

    #[test]
    fn what_is_no_frame_is_not_passed_on() {
        let mut out = Vec::new();
        let mut frames = Frames::new(true);
        frames.feed(b"HTTP/1.1 200 OK", &mut out);
        assert!(out.is_empty());
    }
}
