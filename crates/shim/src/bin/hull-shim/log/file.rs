//! A log in files, written: Docker's `json-file` or `local`.
//!
//! ```text
//! Open ──write fails──► Failing ──next batch is written──► Open
//!   └──rotate──► Open (a new file; the old one has `.1` behind its name)
//! ```
//!
//! Output becomes records in a buffer, which is written when it is full and when its chunk of output ends; so the
//! file is never behind the container by more than what is being read. A crash of the supervisor loses nothing
//! that was read but the chunk at hand. When the disk is full, output is counted and dropped, whole records at
//! a time: the file stays a sequence of records, and the container never waits for it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use hull_shim::entry::{Frame, frame, size_of_last};
use hull_shim::protocol::{LogFile, LogFormat, Stream};
use hull_sys::memory::Pages;
use hull_sys::{Context, Result};
use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use super::packer::{Packer, packed};
use super::record::Recorder;
use crate::clock::Stamp;

const BUFFER: usize = 256 << 10;
/// Space on disk that a file takes at once while it grows by writes of so much: block by block, writing takes half as long
/// again. A supervisor that is killed leaves what it took too much with the file.
const AHEAD: u64 = 8 << 20;
const MUCH: usize = 64 << 10;

/// A container's log in files.
pub(super) struct Writer {
    path: PathBuf,
    format: LogFormat,
    max_size: u64,
    max_file: u32,
    packer: Option<Packer>,
    /// `None` after a rotation that could not make the new file; the next batch tries again.
    file: Option<File>,
    size: u64,
    /// Up to where space on disk was asked for; what is not needed is given back.
    reserved: u64,
    buffer: Pages,
    used: usize,
    /// How much room a record may take.
    room: usize,
    recorders: [Recorder; 2],
    dropped: u64,
}

impl Writer {
    /// Opens the file for appending.
    pub(super) fn open(config: &LogFile) -> Result<Self> {
        let (file, size) = open(&config.path)?;
        let recorders = [Stream::Stdout, Stream::Stderr].map(|stream| Recorder::new(stream, config));
        let room = recorders[0].room();
        let torn = config.format == LogFormat::Entries && !ends_whole(&file, size);
        let mut log = Self {
            path: config.path.clone(),
            format: config.format,
            packer: config.compress.then(Packer::default),
            max_size: config.max_size.unwrap_or(u64::MAX),
            max_file: config.max_file.max(1),
            file: Some(file),
            size,
            reserved: 0,
            buffer: Pages::new(BUFFER + room)?,
            used: 0,
            room,
            recorders,
            dropped: 0,
        };
        if torn {
            log.rotate();
        }
        Ok(log)
    }

    /// Logs all lines of `text` that are complete or too long; how many bytes that was. The rest belongs in front
    /// of what is read next.
    pub(super) fn append(&mut self, stream: Stream, text: &[u8], now: &Stamp) -> usize {
        self.recorder(stream).stamp(now);
        let mut at = 0;
        while at < text.len() {
            if self.buffer.len() - self.used < self.room {
                self.flush();
            }
            let recorder = &mut self.recorders[usize::from(stream == Stream::Stderr)];
            let left = self.max_size.saturating_sub(self.size + self.used as u64);
            let enough = usize::try_from(left).unwrap_or(usize::MAX).max(1);
            let (taken, written) = recorder.lines(&text[at..], &mut self.buffer[self.used..], enough);
            if taken == 0 {
                break;
            }
            at += taken;
            self.wrote(written);
        }
        self.flush();
        at
    }

    /// Logs what is left when the stream has ended: a line without a newline.
    pub(super) fn finish(&mut self, stream: Stream, rest: &[u8], now: &Stamp) {
        if rest.is_empty() {
            return;
        }
        self.recorder(stream).stamp(now);
        let recorder = &mut self.recorders[usize::from(stream == Stream::Stderr)];
        let written = recorder.rest(rest, &mut self.buffer[self.used..]);
        self.wrote(written);
        self.flush();
    }

    /// Bytes of records that could not be written.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Gives the buffer's memory and space on disk back until the next output.
    pub(super) fn rest(&mut self) {
        self.buffer.release();
        self.release_space();
    }

    /// Asks for the space of the next `count` bytes, and more. It is no error to get none: not every file system can.
    fn reserve_space(&mut self, count: usize) {
        let Some(file) = self.file.as_ref().filter(|_| self.size + count as u64 > self.reserved) else {
            return;
        };
        let length = AHEAD.min(self.max_size.saturating_sub(self.size)).max(count as u64);
        let _ = rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, self.size, length);
        self.reserved = self.size + length;
    }

    fn release_space(&mut self) {
        if std::mem::take(&mut self.reserved) > self.size
            && let Some(file) = &self.file
            // Not to our idea of its size: somebody may have emptied it.
            && let Ok(stat) = rustix::fs::fstat(file)
        {
            // Blocks behind the end, if they stay, go with the file.
            let _ = rustix::fs::ftruncate(file, stat.st_size as u64);
        }
    }

    fn recorder(&mut self, stream: Stream) -> &mut Recorder {
        &mut self.recorders[usize::from(stream == Stream::Stderr)]
    }

    /// Records are in the buffer; the file is rotated if they fill it.
    fn wrote(&mut self, count: usize) {
        self.used += count;
        if self.size + self.used as u64 >= self.max_size {
            self.flush();
        }
        // A full disk does not fill the file.
        if self.size >= self.max_size {
            self.rotate();
        }
    }

    /// Writes the buffer to the file, or drops it.
    fn flush(&mut self) {
        let used = std::mem::take(&mut self.used);
        if used == 0 {
            return;
        }
        if self.file.is_none() {
            self.reopen();
        }
        if used >= MUCH {
            self.reserve_space(used);
        }
        let written =
            self.file.as_ref().map_or(0, |file| write(file, self.format, self.size, &self.buffer[..used]));
        self.size += written as u64;
        self.dropped += (used - written) as u64;
    }

    /// Renames the files one number up, the oldest one out of existence, and begins a new one.
    fn rotate(&mut self) {
        self.release_space();
        self.file = None;
        if let Some(packer) = &mut self.packer {
            packer.stop(&numbered(&self.path, 1));
        }
        // Before the names move: ext4 writes a file to disk at once that takes the name of another one.
        self.each_form(self.max_file - 1, std::fs::remove_file);
        for number in (1..self.max_file).rev() {
            // The first rotations find no files of the higher numbers.
            let _ = std::fs::rename(self.name(number - 1), self.name(number));
            if self.packer.is_some() {
                let _ = std::fs::rename(packed(&self.name(number - 1)), packed(&self.name(number)));
            }
        }
        self.reopen();
        if let Some(packer) = self.packer.as_mut().filter(|_| self.max_file > 1) {
            packer.start(&numbered(&self.path, 1));
        }
    }

    /// Does something to the file that was rotated so many times, packed or not. It need not be there.
    fn each_form(&self, number: u32, act: impl Fn(PathBuf) -> std::io::Result<()>) {
        let name = self.name(number);
        if self.packer.is_some() {
            let _ = act(packed(&name));
        }
        let _ = act(name);
    }

    /// The name of the file that was rotated so many times.
    fn name(&self, number: u32) -> PathBuf {
        numbered(&self.path, number)
    }

    fn reopen(&mut self) {
        if let Ok((file, size)) = open(&self.path) {
            (self.file, self.size) = (Some(file), size);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.release_space();
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    match number {
        0 => path.to_owned(),
        _ => PathBuf::from(format!("{}.{number}", path.display())),
    }
}

fn open(path: &PathBuf) -> Result<(File, u64)> {
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::from_raw_mode(0o640)).on("open log", path)?;
    let size = rustix::fs::fstat(&fd).on("stat log", path)?.st_size;
    Ok((File::from(fd), size as u64))
}

/// Whether a file of entries ends with a whole one: the machine may have stopped while one was written.
fn ends_whole(file: &File, size: u64) -> bool {
    let length_at = |at: Option<u64>| {
        let mut length = [0; 4];
        file.read_exact_at(&mut length, at?).ok().map(|()| length)
    };
    let matches = |end: [u8; 4]| length_at(size.checked_sub(size_of_last(end))) == Some(end);
    size == 0 || length_at(size.checked_sub(4)).is_some_and(|end| end != [0; 4] && matches(end))
}

/// Appends as many whole records as the disk takes to a file of `size` bytes; how many bytes that was.
fn write(file: &File, format: LogFormat, size: u64, records: &[u8]) -> usize {
    let mut at = 0;
    while at < records.len() {
        match rustix::io::write(file, &records[at..]) {
            Ok(count) if count > 0 => at += count,
            Err(Errno::INTR) => {}
            _ => return keep_whole(file, size, whole(format, &records[..at])),
        }
    }
    at
}

/// Cuts the file after its first `size` bytes and the `whole` records behind them.
fn keep_whole(file: &File, size: u64, whole: usize) -> usize {
    // Should this fail as well, readers skip the broken record.
    let _ = rustix::fs::ftruncate(file, size + whole as u64);
    whole
}

/// How many bytes of `written` are whole records.
fn whole(format: LogFormat, written: &[u8]) -> usize {
    match format {
        LogFormat::JsonFile => written.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1),
        LogFormat::Entries => {
            let mut at = 0;
            while let Frame::Whole(count) = frame(&written[at..]) {
                at += count;
            }
            at
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
