//! One line of output as bytes: what Docker's `local` driver writes, and what a supervisor hands to its logger.
//!
//! A frame is the length of the entry (four bytes, big endian), the entry, and its length again, so that a file can be
//! read from its end. The entry is protobuf: 1 the stream's name, 2 the time in nanoseconds, 3 the line without its
//! newline, 4 whether more of the line follows, 5 { 1 whether it is the last piece, 2 the line's id, 3 the piece's number }.

use crate::protocol::Stream;

/// Bytes of each of the two lengths.
const LENGTH: usize = 4;
/// More bytes than a frame has beside the line.
pub const OVERHEAD: usize = 160;
/// Longer entries are not ours.
const MAX_ENTRY: usize = 1 << 20;

/// A line of output, or a piece of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Where it was written.
    pub stream: Stream,
    /// When it was read, in nanoseconds since 1970; for a piece: when the first one was.
    pub time: i64,
    /// Without the newline.
    pub line: &'a [u8],
    /// What piece of a long line it is.
    pub piece: Option<Piece<'a>>,
}

/// A piece of a line that is too long for one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Names the line.
    pub id: &'a str,
    /// Counts from 1.
    pub ordinal: u32,
    /// Whether it ends the line.
    pub last: bool,
}

impl Entry<'_> {
    /// Whether a newline follows the text.
    pub fn ends_line(&self) -> bool {
        self.piece.as_ref().is_none_or(|piece| piece.last)
    }

    /// Writes the frame to the start of `out`, which has room for the line and [`OVERHEAD`]; how many bytes it has.
    pub fn put(&self, out: &mut [u8]) -> usize {
        let name: &[u8] = if self.stream == Stream::Stderr { b"stderr" } else { b"stdout" };
        let mut to = Writer { out, at: LENGTH };
        to.field(1, name);
        to.number(2, self.time as u64);
        to.field(3, self.line);
        if let Some(piece) = &self.piece {
            to.number(4, u64::from(!piece.last));
            let mut inner = [0; OVERHEAD / 2];
            let mut within = Writer { out: &mut inner, at: 0 };
            within.number(1, u64::from(piece.last));
            within.field(2, &piece.id.as_bytes()[..piece.id.len().min(64)]);
            within.number(3, u64::from(piece.ordinal));
            let length = within.at;
            to.field(5, &inner[..length]);
        }
        let end = to.at;
        let length = ((end - LENGTH) as u32).to_be_bytes();
        out[..LENGTH].copy_from_slice(&length);
        out[end..end + LENGTH].copy_from_slice(&length);
        end + LENGTH
    }
}

/// Writes fields of protobuf; zeros and empty texts are left out, as protobuf has it.
struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.out[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes(&[value as u8 | 0x80]);
            value >>= 7;
        }
        self.bytes(&[value as u8]);
    }

    fn number(&mut self, field: u8, value: u64) {
        if value != 0 {
            self.bytes(&[field << 3]);
            self.varint(value);
        }
    }

    fn field(&mut self, field: u8, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.bytes(&[field << 3 | 2]);
            self.varint(bytes.len() as u64);
            self.bytes(bytes);
        }
    }
}

/// What stands at the beginning of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// A frame of so many bytes.
    Whole(usize),
    /// The beginning of one.
    Partial,
    /// No frame.
    Foreign,
}

/// Looks at the beginning of `bytes`.
pub fn frame(bytes: &[u8]) -> Frame {
    let Some(length) = length_at(bytes, 0) else { return Frame::Partial };
    if length == 0 || length > MAX_ENTRY {
        return Frame::Foreign;
    }
    match length_at(bytes, LENGTH + length) {
        Some(again) if again == length => Frame::Whole(length + 2 * LENGTH),
        Some(_) => Frame::Foreign,
        None => Frame::Partial,
    }
}

/// The size of the frame that ends with these four bytes.
pub fn size_of_last(end: [u8; LENGTH]) -> u64 {
    u64::from(u32::from_be_bytes(end)) + 2 * LENGTH as u64
}

/// The frames that are whole of bytes whose beginning was cut off.
pub fn last_of(bytes: &[u8]) -> &[u8] {
    let mut at = bytes.len();
    while let Some(end) = bytes[..at].last_chunk() {
        match usize::try_from(size_of_last(*end)) {
            Ok(size) if size <= at => at -= size,
            _ => break,
        }
    }
    &bytes[at..]
}

/// Reads a whole frame; `None` if it holds no entry.
pub fn decode(frame: &[u8]) -> Option<Entry<'_>> {
    let mut fields = Fields(frame.get(LENGTH..frame.len().checked_sub(LENGTH)?)?);
    let mut entry = Entry { stream: Stream::Stdout, time: 0, line: &[], piece: None };
    let mut more = false;
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Bytes(b"stderr")) => entry.stream = Stream::Stderr,
            (2, Value::Number(time)) => entry.time = time as i64,
            (3, Value::Bytes(line)) => entry.line = line,
            (4, Value::Number(flag)) => more = flag != 0,
            (5, Value::Bytes(inner)) => entry.piece = Some(piece(inner)?),
            _ => {}
        }
    }
    if more && entry.piece.is_none() {
        entry.piece = Some(Piece { id: "", ordinal: 0, last: false });
    }
    Some(entry)
}

fn piece(bytes: &[u8]) -> Option<Piece<'_>> {
    let mut fields = Fields(bytes);
    let mut piece = Piece { id: "", ordinal: 0, last: false };
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Number(flag)) => piece.last = flag != 0,
            (2, Value::Bytes(id)) => piece.id = std::str::from_utf8(id).ok()?,
            (3, Value::Number(ordinal)) => piece.ordinal = ordinal as u32,
            _ => {}
        }
    }
    Some(piece)
}

fn length_at(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?) as usize)
}

/// The fields of a message of protobuf that are left.
struct Fields<'a>(&'a [u8]);

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Fields<'a> {
    /// The next field; `Some(None)` at the end, `None` if these are no fields.
    #[expect(clippy::option_option, reason = "broken and ended are two things")]
    fn next(&mut self) -> Option<Option<(u64, Value<'a>)>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            _ => return None,
        };
        Some(Some((key >> 3, value)))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survives(entry: &Entry<'_>) -> Vec<u8> {
        let mut out = vec![0; entry.line.len() + OVERHEAD];
        let count = entry.put(&mut out);
        out.truncate(count);
        assert_eq!(frame(&out), Frame::Whole(count));
        assert_eq!(size_of_last(*out.last_chunk().expect("an end")), count as u64);
        assert_eq!(decode(&out).as_ref(), Some(entry));
        out
    }

    #[test]
    fn entries_survive() {
        let long = vec![b'x'; 16 << 10];
        let id = "f".repeat(64);
        for line in [&b""[..], b"text", b"\xff\0", &long] {
            for stream in [Stream::Stdout, Stream::Stderr] {
                survives(&Entry { stream, time: 1_700_000_000_123_456_789, line, piece: None });
                for last in [false, true] {
                    let piece = Some(Piece { id: &id, ordinal: u32::MAX, last });
                    survives(&Entry { stream, time: i64::MAX, line, piece });
                }
            }
        }
    }

    #[test]
    fn the_bytes_are_dockers() {
        let entry = Entry { stream: Stream::Stdout, time: 300, line: b"hi", piece: None };
        let body = b"\x0a\x06stdout\x10\xac\x02\x1a\x02hi";
        let length = (body.len() as u32).to_be_bytes();
        assert_eq!(survives(&entry), [&length[..], body, &length].concat());
    }

    #[test]
    fn what_follows_a_cut_is_whole() {
        let mut bytes = [0; 3 * (OVERHEAD + 8)];
        let mut ends = vec![0];
        for line in [&b"one"[..], b"", b"three"] {
            let at = ends[ends.len() - 1];
            let entry = Entry { stream: Stream::Stderr, time: 7, line, piece: None };
            ends.push(at + entry.put(&mut bytes[at..]));
        }
        let all = &bytes[..ends[3]];
        for cut in 0..=all.len() {
            let whole = ends.iter().find(|end| **end >= cut).expect("an end");
            assert_eq!(last_of(&all[cut..]), &all[*whole..], "{cut}");
        }
    }

    #[test]
    fn what_is_no_entry_is_told_from_one_that_is_not_whole() {
        assert_eq!(frame(b"\0\0"), Frame::Partial);
        assert_eq!(frame(b"\0\0\0\x02ab"), Frame::Partial);
        assert_eq!(frame(b"\0\0\0\x02ab\0\0\0\x03"), Frame::Foreign);
        assert_eq!(frame(b"{\"log\":"), Frame::Foreign);
        assert_eq!(frame(&[0; 100]), Frame::Foreign);
        assert_eq!(decode(b"\0\0\0\x01\xff\0\0\0\x01"), None);
        assert_eq!(decode(b"\0"), None);
    }
}
