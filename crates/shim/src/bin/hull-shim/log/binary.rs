//! Lines of output as entries ([`hull_shim::entry`]).

use std::fmt::Write;

use hull_shim::entry::{Entry, OVERHEAD, Piece};
use hull_shim::protocol::Stream;

use super::json::{End, LIMIT, piece};
use crate::clock::Stamp;

/// Bytes of randomness in the id of a line that is cut.
const ID: usize = 32;

/// What makes entries of one stream's lines.
pub(super) struct EntryRecorder {
    stream: Stream,
    now: i64,
    /// The long line that is not at its end yet.
    open: Option<OpenLine>,
}

/// A line of several entries.
struct OpenLine {
    id: String,
    /// Of the piece that comes next.
    ordinal: u32,
    since: i64,
}

impl EntryRecorder {
    /// The most bytes that a record takes.
    pub(super) const ROOM: usize = LIMIT + OVERHEAD;

    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, now: 0, open: None }
    }

    pub(super) fn stamp(&mut self, now: &Stamp) {
        self.now = now.nanoseconds();
    }

    /// As [`super::record::Recorder::lines`].
    pub(super) fn lines(&mut self, text: &[u8], out: &mut [u8], enough: usize) -> (usize, usize) {
        let (mut taken, mut written) = (0, 0);
        while written < enough && out.len() - written >= Self::ROOM {
            let (count, end) = first_line(&text[taken..]);
            if end == End::Open {
                break;
            }
            written += self.put(&text[taken..taken + count], end, &mut out[written..]);
            taken += count + usize::from(end == End::Newline);
        }
        (taken, written)
    }

    /// As [`super::record::Recorder::rest`].
    pub(super) fn rest(&mut self, text: &[u8], out: &mut [u8]) -> usize {
        let mut written = 0;
        let mut left = text;
        while !left.is_empty() && out.len() - written >= Self::ROOM {
            let (count, _) = first_line(left);
            written += self.put(&left[..count], End::Open, &mut out[written..]);
            left = &left[count..];
        }
        written
    }

    fn put(&mut self, line: &[u8], end: End, out: &mut [u8]) -> usize {
        if end != End::Newline && self.open.is_none() {
            self.open = Some(OpenLine { id: random_id(), ordinal: 1, since: self.now });
        }
        let last = end == End::Newline;
        let piece = self.open.as_ref().map(|open| Piece { id: &open.id, ordinal: open.ordinal, last });
        let time = self.open.as_ref().map_or(self.now, |open| open.since);
        let written = Entry { stream: self.stream, time, line, piece }.put(out);
        match &mut self.open {
            _ if last => self.open = None,
            Some(open) => open.ordinal += 1,
            None => {}
        }
        written
    }
}

/// The length of the first line without its newline, or of the piece of it that fits an entry.
fn first_line(text: &[u8]) -> (usize, End) {
    let window = piece(text);
    match memchr::memchr(b'\n', &text[..text.len().min(window + 1)]) {
        Some(end) => (end, End::Newline),
        None if window < text.len() => (window, End::Limit),
        None => (window, End::Open),
    }
}

fn random_id() -> String {
    let mut bytes = [0u8; ID];
    // The kernel gives so few bytes whole, or none; then the line has no name.
    let _ = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::NONBLOCK);
    bytes.iter().fold(String::with_capacity(2 * ID), |mut id, byte| {
        let _ = write!(id, "{byte:02x}");
        id
    })
}
