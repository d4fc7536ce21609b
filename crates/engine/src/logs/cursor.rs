//! A place in a rotated log, moving forward over whole lines.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use memchr::memrchr;

use crate::model::Tail;

/// Bytes read at once.
const BLOCK: usize = 256 * 1024;
/// More rotated files than anybody keeps.
const MAX_FILES: u32 = 10_000;

/// A place in a rotated log. It holds its file open, so a rotation under it loses nothing.
pub(super) struct Cursor {
    path: PathBuf,
    tail: Option<Tail>,
    file: Option<File>,
    /// Files between this one and the youngest, in order.
    next: VecDeque<File>,
    /// What was read, and room for more.
    buffer: Vec<u8>,
    filled: usize,
    /// Bytes at the beginning of the buffer that were given out.
    given: usize,
}

impl Cursor {
    /// A place `tail` before the end of the log at `path`.
    pub(super) fn new(path: PathBuf, tail: Tail) -> Self {
        Self {
            path,
            tail: Some(tail),
            file: None,
            next: VecDeque::new(),
            buffer: Vec::new(),
            filled: 0,
            given: 0,
        }
    }

    /// The next whole lines; `None` if there are none yet.
    pub(super) fn read(&mut self) -> io::Result<Option<&[u8]>> {
        if let Some(tail) = self.tail.take() {
            self.open(tail)?;
        }
        self.buffer.copy_within(self.given..self.filled, 0);
        self.filled -= std::mem::take(&mut self.given);
        loop {
            if self.file.is_none() {
                self.file = open_if_any(&self.path)?;
            }
            let Some(file) = &mut self.file else { return Ok(None) };
            let begun = self.filled;
            if self.buffer.len() < begun + BLOCK {
                self.buffer.resize(begun + BLOCK, 0);
            }
            let count = match file.read(&mut self.buffer[begun..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                outcome => outcome?,
            };
            self.filled += count;
            if let Some(end) = memrchr(b'\n', &self.buffer[begun..self.filled]) {
                self.given = begun + end + 1;
                return Ok(Some(&self.buffer[..self.given]));
            }
            if count == 0 && !self.turn_page()? {
                return Ok(None);
            }
        }
    }

    /// At the end of a file: goes on to the next, if there is one.
    fn turn_page(&mut self) -> io::Result<bool> {
        if let Some(next) = self.next.pop_front() {
            self.file = Some(next);
            self.filled = 0;
            return Ok(true);
        }
        let Some(file) = &self.file else { return Ok(false) };
        let place = file.metadata()?;
        if open_if_any(&self.path)?.map(|file| file.metadata()).transpose()?.map(|now| identity(&now))
            == Some(identity(&place))
        {
            return Ok(false);
        }
        // Rotated under us. What the writer added between our last read and its rename is still in our file.
        if file.metadata()?.len() > io::Seek::stream_position(&mut &*file)? {
            return Ok(true);
        }
        self.next = younger_than(&self.path, identity(&place))?;
        self.file = self.next.pop_front();
        self.filled = 0;
        Ok(self.file.is_some())
    }

    fn open(&mut self, tail: Tail) -> io::Result<()> {
        let mut files = all(&self.path)?;
        let Tail::Lines(wanted) = tail else {
            self.next = files.into();
            self.file = self.next.pop_front();
            return Ok(());
        };
        let mut wanted = wanted;
        while let Some(mut file) = files.pop() {
            let (offset, found) = lines_from_end(&file, wanted)?;
            io::Seek::seek(&mut file, io::SeekFrom::Start(offset))?;
            self.next.push_front(file);
            wanted -= found;
            if wanted == 0 {
                break;
            }
        }
        self.file = self.next.pop_front();
        Ok(())
    }
}

/// Where the last `wanted` lines of a file begin, and how many there are (fewer, if the file is short).
fn lines_from_end(file: &File, wanted: usize) -> io::Result<(u64, usize)> {
    let mut end = file.metadata()?.len();
    if wanted == 0 || end == 0 {
        return Ok((end, 0));
    }
    let mut block = vec![0; BLOCK];
    // The newline that ends the last line begins no further one; an unfinished last line is none yet.
    let mut newlines = 0;
    while end > 0 {
        let start = end.saturating_sub(BLOCK as u64);
        let block = &mut block[..(end - start) as usize];
        file.read_exact_at(block, start)?;
        for index in memchr::memrchr_iter(b'\n', block) {
            if newlines == wanted {
                return Ok((start + index as u64 + 1, wanted));
            }
            newlines += 1;
        }
        end = start;
    }
    Ok((0, newlines))
}

fn identity(metadata: &std::fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn open_if_any(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Every file of the log, the oldest first.
fn all(path: &Path) -> io::Result<Vec<File>> {
    let mut files = Vec::new();
    files.extend(open_if_any(path)?);
    for number in 1..MAX_FILES {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        let Some(file) = open_if_any(Path::new(&name))? else { break };
        files.push(file);
    }
    files.reverse();
    Ok(files)
}

/// The files written after the one of that identity; all, if it is deleted by now.
fn younger_than(path: &Path, old: (u64, u64)) -> io::Result<VecDeque<File>> {
    let mut files: VecDeque<File> = all(path)?.into();
    for index in 0..files.len() {
        if identity(&files[index].metadata()?) == old {
            files.drain(..=index);
            break;
        }
    }
    Ok(files)
}
