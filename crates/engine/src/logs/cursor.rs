//! A place in a rotated log, moving forward over whole records.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use hull_shim::protocol::LogFormat;
use jiff::Timestamp;

use super::files::{Identity, Part, all, identity, open_if_any, younger_than};
use super::shape;
use crate::model::Tail;

/// Bytes read at once.
const BLOCK: usize = 256 * 1024;

/// A place in a rotated log. It holds its file open, so a rotation under it loses nothing.
pub(super) struct Cursor {
    path: PathBuf,
    format: LogFormat,
    tail: Option<Tail>,
    /// Older files need not be read.
    since: Option<Timestamp>,
    /// Whether what is written from now on is of no interest.
    only_past: bool,
    /// Where the past ends in the youngest file, in bytes.
    end: Option<u64>,
    file: Option<File>,
    /// Which one that is; the contents of a packed one are in another.
    place: Identity,
    /// Files between this one and the youngest, in order.
    next: VecDeque<Part>,
    /// What was read, and room for more.
    buffer: Vec<u8>,
    filled: usize,
    /// Bytes at the beginning of the buffer that were given out.
    given: usize,
}

impl Cursor {
    /// A place `tail` before the end of the log at `path`.
    pub(super) fn new(path: PathBuf, format: LogFormat, tail: Tail, since: Option<Timestamp>) -> Self {
        Self {
            path,
            format,
            tail: Some(tail),
            since,
            only_past: false,
            end: None,
            file: None,
            place: (0, 0),
            next: VecDeque::new(),
            buffer: Vec::new(),
            filled: 0,
            given: 0,
        }
    }

    /// The same, which ends where the log does when reading begins: who writes faster than is read is not followed for ever.
    pub(super) fn up_to_now(self) -> Self {
        Self { only_past: true, ..self }
    }

    /// The next whole records; `None` if there are none yet.
    pub(super) fn read(&mut self) -> io::Result<Option<&[u8]>> {
        if let Some(tail) = self.tail.take() {
            self.open(tail)?;
        }
        self.buffer.copy_within(self.given..self.filled, 0);
        self.filled -= std::mem::take(&mut self.given);
        loop {
            if self.file.is_none()
                && !self.only_past
                && let Some(file) = open_if_any(&self.path)?
            {
                self.turn_to(Part::plain(file))?;
            }
            let end = self.end.filter(|_| self.next.is_empty());
            let Some(file) = &mut self.file else { return Ok(None) };
            let begun = self.filled;
            if self.buffer.len() < begun + BLOCK {
                self.buffer.resize(begun + BLOCK, 0);
            }
            let room = match end {
                Some(end) => end.saturating_sub(io::Seek::stream_position(file)?),
                None => u64::MAX,
            };
            let count = match file.take(room).read(&mut self.buffer[begun..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                outcome => outcome?,
            };
            self.filled += count;
            match shape::whole(self.format, &self.buffer[..self.filled], begun) {
                Some(0) => {}
                Some(end) => {
                    self.given = end;
                    return Ok(Some(&self.buffer[..end]));
                }
                // Torn by a crash of the machine; the supervisor went on in another file.
                None => {
                    self.filled = 0;
                    io::Seek::seek(file, io::SeekFrom::End(0))?;
                    continue;
                }
            }
            if count == 0 && (end.is_some() || !self.turn_page()?) {
                return Ok(None);
            }
        }
    }

    /// At the end of a file: goes on to the next, if there is one.
    fn turn_page(&mut self) -> io::Result<bool> {
        if let Some(next) = self.next.pop_front() {
            self.turn_to(next)?;
            return Ok(true);
        }
        let Some(file) = &self.file else { return Ok(false) };
        if open_if_any(&self.path)?.map(|file| file.metadata()).transpose()?.map(|now| identity(&now))
            == Some(self.place)
        {
            return Ok(false);
        }
        // Rotated under us. What the writer added between our last read and its rename is still in our file.
        if file.metadata()?.len() > io::Seek::stream_position(&mut &*file)? {
            return Ok(true);
        }
        self.next = younger_than(&self.path, self.place)?;
        let Some(next) = self.next.pop_front() else {
            self.file = None;
            return Ok(false);
        };
        self.turn_to(next).map(|()| true)
    }

    fn open(&mut self, tail: Tail) -> io::Result<()> {
        let mut parts = all(&self.path, self.since)?;
        if self.only_past {
            self.end = parts.last().map(Part::length).transpose()?;
        }
        let Tail::Lines(mut wanted) = tail else {
            self.next = parts.into();
            return self.next.pop_front().map_or(Ok(()), |first| self.turn_to(first));
        };
        let mut files = VecDeque::new();
        while let Some(part) = parts.pop() {
            let (mut file, place) = part.open()?;
            let past = self.end.filter(|_| files.is_empty());
            let end = file.metadata()?.len().min(past.unwrap_or(u64::MAX));
            let (offset, found) = shape::from_end(self.format, &file, end, wanted)?;
            io::Seek::seek(&mut file, io::SeekFrom::Start(offset))?;
            files.push_front(Part::at(file, place));
            wanted -= found;
            if wanted == 0 {
                break;
            }
        }
        self.next = files;
        self.next.pop_front().map_or(Ok(()), |first| self.turn_to(first))
    }

    fn turn_to(&mut self, part: Part) -> io::Result<()> {
        let (file, place) = part.open()?;
        (self.file, self.place, self.filled) = (Some(file), place, 0);
        Ok(())
    }
}
