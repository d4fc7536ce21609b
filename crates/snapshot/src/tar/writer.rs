//! Writing archives: the same nodes in the same order are the same bytes.

use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;

use hull_sys::root::Time;

use crate::{Error, Kind, Node, Result};

use super::header::{CHECKSUM, GID, KIND, LINK, MAGIC, MAJOR, MINOR, MODE, MTIME, NAME, PREFIX, SIZE, UID};
use super::{BLOCK, padding, pax};

/// What is copied at a time.
const BUFFER: usize = 128 << 10;

/// An archive that is being written. Without [`Writer::finish`] it has no end.
///
/// Names of users and groups are left out, times are cut to whole seconds (as Docker does), and holes of sparse
/// files are written as zeros: every reader understands that.
pub struct Writer<W> {
    output: W,
    buffer: Box<[u8]>,
}

impl<W: Write> Writer<W> {
    /// Writes to `output`, in pieces of up to 128 KiB.
    pub fn new(output: W) -> Self {
        Self { output, buffer: vec![0; BUFFER].into() }
    }

    /// Writes one entry. `content` is that of a regular file, of a sparse one its data without the holes; of it,
    /// exactly as much is read as the node says.
    pub fn append(&mut self, node: &Node, content: &mut dyn Read) -> Result<()> {
        let mut header = [0; BLOCK];
        let mut records = Vec::new();
        fill(&mut header, node, &mut records);
        for (name, value) in &node.xattrs {
            let key = [pax::XATTR.as_bytes(), name.as_bytes()].concat();
            pax::write(&mut records, &key, value);
        }
        if !records.is_empty() {
            self.extended(&records)?;
        }
        self.write(&seal(header))?;
        if let Kind::File { size, data } = &node.kind {
            match data {
                None => self.copy(content, *size)?,
                Some(data) => self.copy_sparse(content, *size, data)?,
            }
            self.zeros(padding(*size))?;
        }
        Ok(())
    }

    /// Ends the archive and hands the output back.
    pub fn finish(mut self) -> Result<W> {
        self.zeros(2 * BLOCK as u64)?;
        self.output.flush().map_err(Error::writing)?;
        Ok(self.output)
    }

    /// The extended header that the next entry needs.
    fn extended(&mut self, records: &[u8]) -> Result<()> {
        let mut header = [0; BLOCK];
        put(&mut header, NAME, b"PaxHeaders/entry");
        octal(&mut header, MODE, 0o644);
        octal(&mut header, UID, 0);
        octal(&mut header, GID, 0);
        octal(&mut header, MTIME, 0);
        octal(&mut header, SIZE, records.len() as u64);
        header[KIND] = b'x';
        self.write(&seal(header))?;
        self.write(records)?;
        self.zeros(padding(records.len() as u64))
    }

    fn copy(&mut self, content: &mut dyn Read, mut length: u64) -> Result<()> {
        while length > 0 {
            let step = BUFFER.min(usize::try_from(length).unwrap_or(BUFFER));
            let read = match content.read(&mut self.buffer[..step]) {
                Ok(0) => return Err(Error::reading(io::ErrorKind::UnexpectedEof.into())),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map_err(Error::reading)?,
            };
            self.output.write_all(&self.buffer[..read]).map_err(Error::writing)?;
            length -= read as u64;
        }
        Ok(())
    }

    fn copy_sparse(&mut self, content: &mut dyn Read, size: u64, data: &[(u64, u64)]) -> Result<()> {
        let mut at = 0;
        for (offset, length) in data {
            self.zeros(offset - at)?;
            self.copy(content, *length)?;
            at = offset + length;
        }
        self.zeros(size - at)
    }

    fn zeros(&mut self, mut length: u64) -> Result<()> {
        const ZEROS: [u8; 8 * BLOCK] = [0; 8 * BLOCK];
        while length > 0 {
            let step = ZEROS.len().min(usize::try_from(length).unwrap_or(ZEROS.len()));
            self.write(&ZEROS[..step])?;
            length -= step as u64;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.output.write_all(bytes).map_err(Error::writing)
    }
}

/// Fills a header. What does not fit there becomes a PAX record.
fn fill(header: &mut [u8; BLOCK], node: &Node, records: &mut Vec<u8>) {
    let mut path = node.path.as_os_str().as_bytes().to_vec();
    if node.kind == Kind::Directory {
        path.extend_from_slice(match path.as_slice() {
            b"" => b"./",
            b"/" => b"",
            _ => b"/",
        });
    }
    if !put_path(header, &path) {
        pax::write(records, b"path", &path);
        put(header, NAME, &path[..NAME.1]);
    }
    header[MAGIC.0..MAGIC.0 + MAGIC.1].copy_from_slice(b"ustar\x0000");
    octal(header, MODE, node.mode.into());
    number(header, UID, node.uid.into(), b"uid", records);
    number(header, GID, node.gid.into(), b"gid", records);
    put_time(header, node.modified, records);
    octal(header, SIZE, 0);
    let mut devices = |major: u32, minor: u32| {
        octal(header, MAJOR, major.into());
        octal(header, MINOR, minor.into());
    };
    match &node.kind {
        Kind::Char(major, minor) | Kind::Block(major, minor) => devices(*major, *minor),
        _ => devices(0, 0),
    }
    header[KIND] = match &node.kind {
        Kind::Directory => b'5',
        Kind::File { size, .. } => {
            number(header, SIZE, *size, b"size", records);
            b'0'
        }
        Kind::HardLink(target) => {
            put_link(header, target.as_os_str().as_bytes(), records);
            b'1'
        }
        Kind::Symlink(target) => {
            put_link(header, target.as_bytes(), records);
            b'2'
        }
        Kind::Char(..) => b'3',
        Kind::Block(..) => b'4',
        Kind::Fifo => b'6',
    };
}

/// Writes a path that fits, split at a slash if it must be.
fn put_path(header: &mut [u8; BLOCK], path: &[u8]) -> bool {
    if path.len() <= NAME.1 {
        put(header, NAME, path);
        return true;
    }
    let fits = |at: &usize| path[*at] == b'/' && *at > 0 && (1..=NAME.1).contains(&(path.len() - at - 1));
    match (0..path.len().min(PREFIX.1 + 1)).rev().find(fits) {
        Some(at) => {
            put(header, PREFIX, &path[..at]);
            put(header, NAME, &path[at + 1..]);
            true
        }
        None => false,
    }
}

fn put_link(header: &mut [u8; BLOCK], target: &[u8], records: &mut Vec<u8>) {
    if target.len() > LINK.1 {
        pax::write(records, b"linkpath", target);
    }
    put(header, LINK, &target[..target.len().min(LINK.1)]);
}

fn put_time(header: &mut [u8; BLOCK], time: Time, records: &mut Vec<u8>) {
    match u64::try_from(time.seconds) {
        Ok(seconds) => number(header, MTIME, seconds, b"mtime", records),
        Err(_) => {
            octal(header, MTIME, 0);
            pax::write(records, b"mtime", time.seconds.to_string().as_bytes());
        }
    }
}

/// Writes a number in octal, or as a record where the digits do not suffice.
fn number(header: &mut [u8; BLOCK], field: (usize, usize), value: u64, key: &[u8], records: &mut Vec<u8>) {
    let digits = 3 * (field.1 - 1);
    if value >> digits == 0 {
        octal(header, field, value);
    } else {
        octal(header, field, 0);
        pax::write(records, key, value.to_string().as_bytes());
    }
}

fn octal(header: &mut [u8; BLOCK], field: (usize, usize), value: u64) {
    let text = format!("{value:0width$o}", width = field.1 - 1);
    put(header, field, text.as_bytes());
}

fn put(header: &mut [u8; BLOCK], (start, _): (usize, usize), bytes: &[u8]) {
    header[start..start + bytes.len()].copy_from_slice(bytes);
}

/// Adds the checksum.
fn seal(mut header: [u8; BLOCK]) -> [u8; BLOCK] {
    put(&mut header, CHECKSUM, b"        ");
    let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    put(&mut header, CHECKSUM, format!("{sum:06o}\0 ").as_bytes());
    header
}
