//! One line of a log: from `json-file`'s JSON, or from an entry, to what a client sees.

use std::collections::BTreeMap;

use hull_shim::entry::{self, Frame};
use hull_shim::protocol::{LogFormat, Stream};
use jiff::Timestamp;
use memchr::{memchr, memchr2};
use serde::Deserialize;

use crate::model::LogOptions;

/// Turns lines of the file into frames (or a terminal's bytes).
pub(super) struct Painter {
    options: LogOptions,
    tty: bool,
    format: LogFormat,
}

/// One line, as the file has it. The text is still escaped.
struct Line<'a> {
    log: &'a [u8],
    stream: &'a [u8],
    time: &'a [u8],
}

/// The same by the general way, for lines with attributes or from other writers.
#[derive(Deserialize)]
struct AnyLine {
    #[serde(default)]
    log: String,
    #[serde(default)]
    stream: String,
    #[serde(default)]
    time: String,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
}

impl Painter {
    pub(super) fn new(options: LogOptions, tty: bool, format: LogFormat) -> Self {
        Self { options, tty, format }
    }

    /// Appends what whole records look like to `out`; false if all that follows is too young.
    pub(super) fn paint(&self, records: &[u8], out: &mut Vec<u8>) -> bool {
        out.reserve(records.len());
        match self.format {
            LogFormat::JsonFile => self.paint_lines(records, out),
            LogFormat::Entries => self.paint_entries(records, out),
        }
    }

    fn paint_entries(&self, mut records: &[u8], out: &mut Vec<u8>) -> bool {
        while let Frame::Whole(count) = entry::frame(records) {
            let (frame, rest) = records.split_at(count);
            records = rest;
            let Some(entry) = entry::decode(frame) else { continue };
            let time = Timestamp::from_nanosecond(i128::from(entry.time)).unwrap_or_default();
            let stream: &[u8] = if entry.stream == Stream::Stderr { b"stderr" } else { b"stdout" };
            let details = if self.options.details { " " } else { "" };
            let more = self.paint_parts(stream, time.to_string().as_bytes(), details, out, |out| {
                out.extend_from_slice(entry.line);
                if entry.ends_line() {
                    out.push(b'\n');
                }
            });
            if !more {
                return false;
            }
        }
        true
    }

    fn paint_lines(&self, lines: &[u8], out: &mut Vec<u8>) -> bool {
        let mut begin = 0;
        memchr::memchr_iter(b'\n', lines).all(|end| {
            let line = &lines[begin..=end];
            begin = end + 1;
            self.paint_line(line, out)
        })
    }

    fn paint_line(&self, text: &[u8], out: &mut Vec<u8>) -> bool {
        if let Some(line) = split(text).filter(|_| !self.options.details) {
            return self.paint_parts(line.stream, line.time, "", out, |out| unescape(line.log, out));
        }
        // A line torn by a crash of the machine says nothing.
        let Ok(line) = serde_json::from_slice::<AnyLine>(text) else { return true };
        let mut details = String::new();
        if self.options.details {
            let pairs: Vec<_> = line.attrs.iter().map(|(name, value)| format!("{name}={value}")).collect();
            details = pairs.join(",") + " ";
        }
        self.paint_parts(line.stream.as_bytes(), line.time.as_bytes(), &details, out, |out| {
            out.extend_from_slice(line.log.as_bytes());
        })
    }

    fn paint_parts(
        &self,
        stream: &[u8],
        time: &[u8],
        details: &str,
        out: &mut Vec<u8>,
        text: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        let is_stderr = stream == b"stderr";
        let options = &self.options;
        if options.since.is_some() || options.until.is_some() {
            let time = std::str::from_utf8(time).ok().and_then(|time| time.parse::<Timestamp>().ok());
            if options.until.zip(time).is_some_and(|(until, time)| time > until) {
                return false;
            }
            if options.since.zip(time).is_some_and(|(since, time)| time < since) {
                return true;
            }
        }
        if !(if is_stderr { options.stderr } else { options.stdout }) {
            return true;
        }
        let begin = out.len();
        if !self.tty {
            out.extend_from_slice(&[1 + u8::from(is_stderr), 0, 0, 0, 0, 0, 0, 0]);
        }
        if options.timestamps {
            put_time(time, out);
        }
        out.extend_from_slice(details.as_bytes());
        text(out);
        if !self.tty {
            let length = (out.len() - begin - 8) as u32;
            out[begin + 4..begin + 8].copy_from_slice(&length.to_be_bytes());
        }
        true
    }
}

/// The time with all nine digits, as Docker prints it: columns stay aligned.
fn put_time(time: &[u8], out: &mut Vec<u8>) {
    let seconds = time.strip_suffix(b"Z").unwrap_or(time);
    let (whole, digits) = match seconds.iter().position(|byte| *byte == b'.') {
        Some(point) => (&seconds[..point], &seconds[point + 1..]),
        None => (seconds, &[][..]),
    };
    out.extend_from_slice(whole);
    out.push(b'.');
    out.extend_from_slice(digits);
    out.resize(out.len() + 9usize.saturating_sub(digits.len()), b'0');
    out.extend_from_slice(b"Z ");
}

/// Takes a line of the usual shape apart without looking at each byte twice.
fn split(line: &[u8]) -> Option<Line<'_>> {
    let rest = line.strip_prefix(br#"{"log":""#)?;
    let end = closing_quote(rest)?;
    let (log, rest) = rest.split_at(end);
    let rest = rest.strip_prefix(br#"","stream":""#)?;
    let (stream, rest) = rest.split_at(plain(rest)?);
    let rest = rest.strip_prefix(br#"","time":""#)?;
    let (time, rest) = rest.split_at(plain(rest)?);
    (rest == b"\"}\n").then_some(Line { log, stream, time })
}

/// The length of a JSON string's text that has no escapes.
fn plain(text: &[u8]) -> Option<usize> {
    memchr2(b'"', b'\\', text).filter(|end| text[*end] == b'"')
}

fn closing_quote(text: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let quote = from + memchr(b'"', &text[from..])?;
        let backslashes = text[..quote].iter().rev().take_while(|byte| **byte == b'\\').count();
        if backslashes % 2 == 0 {
            return Some(quote);
        }
        from = quote + 1;
    }
}

/// Appends the text of a JSON string (without its quotes).
fn unescape(mut text: &[u8], out: &mut Vec<u8>) {
    while let Some(backslash) = memchr(b'\\', text) {
        out.extend_from_slice(&text[..backslash]);
        let plain = match text.get(backslash + 1) {
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'r') => b'\r',
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'u') => {
                text = unescape_unicode(&text[backslash..], out);
                continue;
            }
            Some(other) => *other,
            None => return,
        };
        out.push(plain);
        text = &text[backslash + 2..];
    }
    out.extend_from_slice(text);
}

/// Appends the character of "\uXXXX" (or of two, where it takes a pair) and returns what follows.
fn unescape_unicode<'a>(text: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let code = |text: &[u8]| {
        let digits = text.strip_prefix(b"\\u")?.get(..4)?;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let Some(first) = code(text) else { return &[] };
    let rest = &text[6..];
    let (value, rest) = match (first, code(rest)) {
        (0xd800..=0xdbff, Some(second @ 0xdc00..=0xdfff)) => {
            (0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00), &rest[6..])
        }
        _ => (first, rest),
    };
    let character = char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    rest
}

/// The stream, the text and the time of a line, by the short way alone.
#[cfg(test)]
pub(super) fn short(text: &[u8]) -> Option<[Vec<u8>; 3]> {
    let line = split(text)?;
    let mut log = Vec::new();
    unescape(line.log, &mut log);
    Some([line.stream.to_vec(), log, line.time.to_vec()])
}

/// The same by the general way.
#[cfg(test)]
pub(super) fn general(text: &[u8]) -> Option<[Vec<u8>; 3]> {
    let line = serde_json::from_slice::<AnyLine>(text).ok()?;
    Some([line.stream, line.log, line.time].map(String::into_bytes))
}
