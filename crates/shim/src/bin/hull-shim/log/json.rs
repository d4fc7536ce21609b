//! One line of output as one line of JSON: a head, the text, a tail that says the stream and the time.

use std::collections::BTreeMap;

use hull_shim::protocol::Stream;

use crate::clock::Stamp;

/// The longest piece of a line that a record holds, in bytes; longer lines are several records, of which only the
/// last one ends with a newline.
pub(crate) const LIMIT: usize = 16 << 10;
/// The most bytes that [`encode`] writes: every byte as `\u00xx`, and the slack of the last word.
const WORST: usize = 6 * LIMIT + WORD;

const WORD: usize = size_of::<u64>();
const HEAD: &[u8; 8] = br#"{"log":""#;
/// The newline in front of a tail.
const NEWLINE: &[u8] = br"\n";
/// A tail without attributes has 63 bytes: a number that is known when this is compiled makes copying it cheap.
const BLOCK: usize = 64;

/// What makes records of one stream's lines.
pub(super) struct JsonRecorder {
    /// The tail, with the newline in front, padded to a [`BLOCK`].
    tail: Vec<u8>,
    /// Its length without the padding.
    length: usize,
    /// Where in it the time is.
    time: usize,
}

impl JsonRecorder {
    pub(super) fn new(stream: Stream, attrs: &BTreeMap<String, String>) -> Self {
        let name = if stream == Stream::Stderr { "stderr" } else { "stdout" };
        let attrs = match serde_json::to_string(attrs) {
            Ok(text) if !attrs.is_empty() => format!(r#""attrs":{text},"#),
            _ => String::new(),
        };
        let mut tail = [NEWLINE, format!(r#"","stream":"{name}",{attrs}"time":""#).as_bytes()].concat();
        let time = tail.len();
        tail.extend_from_slice(&[b' '; Stamp::SIZE]);
        tail.extend_from_slice(b"\"}\n");
        let length = tail.len();
        tail.resize(length.max(BLOCK), 0);
        Self { tail, length, time }
    }

    /// Sets the time of the records that follow.
    pub(super) fn stamp(&mut self, now: &Stamp) {
        self.tail[self.time..self.time + Stamp::SIZE].copy_from_slice(now.as_bytes());
    }

    /// The most bytes that a record takes.
    pub(super) fn room(&self) -> usize {
        HEAD.len() + WORST + self.tail.len()
    }

    /// Records the lines of `text` that are complete or too long, while there is room in `out` and until `enough` is
    /// written. Returns how much was taken and written.
    pub(super) fn lines(&self, text: &[u8], out: &mut [u8], enough: usize) -> (usize, usize) {
        let (mut taken, mut written) = (0, 0);
        while written < enough && out.len() - written >= self.room() {
            out[written..written + HEAD.len()].copy_from_slice(HEAD);
            let encoded = encode(&text[taken..], &mut out[written + HEAD.len()..]);
            if encoded.end == End::Open {
                break;
            }
            taken += encoded.taken;
            written += HEAD.len() + encoded.written;
            written += self.put_tail(encoded.end, &mut out[written..]);
        }
        (taken, written)
    }

    /// Records what is left when a stream ends; how much was written. There must be room for it.
    pub(super) fn rest(&self, text: &[u8], out: &mut [u8]) -> usize {
        out[..HEAD.len()].copy_from_slice(HEAD);
        let written = HEAD.len() + encode(text, &mut out[HEAD.len()..]).written;
        written + self.put_tail(End::Open, &mut out[written..])
    }

    fn put_tail(&self, end: End, out: &mut [u8]) -> usize {
        match (end, self.tail.first_chunk::<BLOCK>()) {
            (End::Newline, Some(block)) if self.tail.len() == BLOCK => {
                out[..BLOCK].copy_from_slice(block);
                self.length
            }
            (end, _) => {
                let skip = if end == End::Newline { 0 } else { NEWLINE.len() };
                let tail = &self.tail[skip..self.length];
                out[..tail.len()].copy_from_slice(tail);
                tail.len()
            }
        }
    }
}

/// How far [`encode`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Encoded {
    /// Bytes of the text that it stands for, the newline included.
    taken: usize,
    /// Bytes written; the newline is not among them.
    written: usize,
    /// Why it stopped there.
    end: End,
}

/// What ends a piece of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// A newline.
    Newline,
    /// The piece is as long as a record may be.
    Limit,
    /// There is no more text yet.
    Open,
}

/// Writes the first line of `text`, up to [`LIMIT`] bytes of it, as the inside of a JSON string. `out` has room
/// for [`WORST`] bytes. What is not UTF-8 becomes U+FFFD.
///
/// Eight bytes a step: they are copied first and looked at then, because nearly all of them may stay as they are.
#[inline]
fn encode(text: &[u8], out: &mut [u8]) -> Encoded {
    let window = &text[..piece(text)];
    let (mut taken, mut written) = (0, 0);
    loop {
        let plain = copy_plain(&window[taken..], &mut out[written..]);
        taken += plain;
        written += plain;
        match window.get(taken) {
            None => break,
            Some(b'\n') => return Encoded { taken: taken + 1, written, end: End::Newline },
            Some(byte @ ..0x80) => {
                written += escape(*byte, &mut out[written..]);
                taken += 1;
            }
            Some(_) => {
                let run = window[taken..].iter().position(u8::is_ascii).unwrap_or(window.len() - taken);
                written += copy_unicode(&window[taken..taken + run], &mut out[written..]);
                taken += run;
            }
        }
    }
    match text.get(taken) {
        Some(b'\n') => Encoded { taken: taken + 1, written, end: End::Newline },
        Some(_) => Encoded { taken, written, end: End::Limit },
        None => Encoded { taken, written, end: End::Open },
    }
}

/// The length of the piece at the start of `text` that fits a record and cuts no character in two.
pub(super) fn piece(text: &[u8]) -> usize {
    if text.len() <= LIMIT {
        return text.len();
    }
    let continues = |at: usize| text[at] & 0xc0 == 0x80;
    // A character has at most three continuation bytes; more of them are no UTF-8, and cut anywhere.
    (LIMIT - 3..=LIMIT).rev().find(|at| !continues(*at)).unwrap_or(LIMIT)
}

/// Copies bytes until the first one that must not stand in a JSON string as it is (or is not ASCII); their number.
#[inline]
fn copy_plain(text: &[u8], out: &mut [u8]) -> usize {
    let mut at = 0;
    while let Some(word) = text.get(at..).and_then(<[u8]>::first_chunk::<WORD>) {
        out[at..at + WORD].copy_from_slice(word);
        match specials(u64::from_le_bytes(*word)) {
            0 => at += WORD,
            marks => return at + marks.trailing_zeros() as usize / 8,
        }
    }
    while let Some(byte @ (b' ' | b'!' | b'#'..=b'[' | b']'..=0x7f)) = text.get(at) {
        out[at] = *byte;
        at += 1;
    }
    at
}

/// Marks bytes that are control characters, quotes, backslashes or not ASCII with their highest bit. Borrows of
/// the subtractions may mark bytes above a marked one wrongly; the lowest mark is always right.
fn specials(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xff;
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word;
    let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (below(word, b' ') | equal(b'"') | equal(b'\\') | word) & (ONES * 0x80)
}

/// Writes an ASCII character that JSON wants escaped; the number of bytes.
fn escape(byte: u8, out: &mut [u8]) -> usize {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            let digit = |value: u8| b"0123456789abcdef"[usize::from(value & 0xf)];
            out[..6].copy_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte)]);
            return 6;
        }
    };
    out[..2].copy_from_slice(&[b'\\', short]);
    2
}

/// Copies what is UTF-8 and replaces what is not; the number of bytes, at most three for each of `text`.
fn copy_unicode(text: &[u8], out: &mut [u8]) -> usize {
    let mut written = 0;
    let mut put = |bytes: &[u8]| {
        out[written..written + bytes.len()].copy_from_slice(bytes);
        written += bytes.len();
    };
    for chunk in text.utf8_chunks() {
        put(chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            put("\u{fffd}".as_bytes());
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Encodes all of `text`; the records' texts, and what is left open.
    fn records(mut text: &[u8]) -> (Vec<String>, usize) {
        let mut out = vec![0; WORST];
        let mut records = Vec::new();
        loop {
            let Encoded { taken, written, end } = encode(text, &mut out);
            if end == End::Open {
                return (records, text.len());
            }
            let newline = if end == End::Newline { "\\n" } else { "" };
            let json = format!("\"{}{newline}\"", std::str::from_utf8(&out[..written]).expect("UTF-8"));
            records.push(serde_json::from_str(&json).expect("JSON"));
            text = &text[taken..];
        }
    }

    #[test]
    fn lines_survive() {
        let long = "0123456789".repeat(99) + "\n";
        for line in [
            "\n",
            "a\n",
            "plain text of some length\n",
            "tab\tquote\"back\\slash\r\n",
            "\x1b[1mhé € 😀\n",
            &long,
        ] {
            assert_eq!(records(line.as_bytes()), (vec![line.to_owned()], 0));
        }
        assert_eq!(records(b"one\ntwo\nthr"), (vec!["one\n".to_owned(), "two\n".to_owned()], 3));
    }

    #[test]
    fn every_byte_at_every_place_of_a_word() {
        for byte in 0..=255u8 {
            for place in 0..17 {
                let mut line = vec![b'x'; 20];
                line[place] = byte;
                line.push(b'\n');
                let expected: Vec<String> =
                    String::from_utf8_lossy(&line).split_inclusive('\n').map(str::to_owned).collect();
                assert_eq!(records(&line).0, expected, "byte {byte} at {place}");
            }
        }
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        let line = "x".repeat(LIMIT) + "y\n";
        assert_eq!(records(line.as_bytes()).0, ["x".repeat(LIMIT), "y\n".to_owned()]);
        let exact = "x".repeat(LIMIT) + "\n";
        assert_eq!(records(exact.as_bytes()).0, [exact]);
        let unicode = "€".repeat(LIMIT / 3 + 1) + "\n";
        assert_eq!(records(unicode.as_bytes()).0, ["€".repeat(LIMIT / 3), "€\n".to_owned()]);
    }

    #[test]
    fn the_worst_text_has_room() {
        let (controls, _) = records(&[vec![1; 2 * LIMIT], vec![b'\n']].concat());
        assert_eq!(controls.concat().len(), 2 * LIMIT + 1);
        let (invalid, _) = records(&[vec![0xff; LIMIT], vec![b'\n']].concat());
        assert_eq!(invalid.concat().chars().filter(|c| *c == '\u{fffd}').count(), LIMIT);
    }
}
