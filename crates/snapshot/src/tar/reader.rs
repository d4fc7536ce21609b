//! Reading archives.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use hull_sys::root::Time;

use crate::{Error, Kind, Node, Result};

use super::header::{self, Header};
use super::pax::{self, Records};
use super::sparse::Map;
use super::{BLOCK, padding};

/// The longest extended header or long name; the same as in Go's archive/tar, so that what passes there passes
/// here.
const SPECIAL_MAX: u64 = 1 << 20;

/// Read ahead this much: more than a pipe holds.
const BUFFER: usize = 128 << 10;

/// An archive, entry by entry. Reading from it gives the content of the entry that [`Reader::next_entry`] returned
/// last; of a sparse file the data alone, without the holes.
pub struct Reader<R> {
    input: BufReader<io::Take<R>>,
    limit: u64,
    /// Bytes of the current entry that were not read yet, and those that fill up its last block.
    content: u64,
    padding: u64,
}

/// What stands before an entry and belongs to it.
#[derive(Default)]
struct Extensions {
    records: Records,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: Read> Reader<R> {
    /// Reads an archive of at most `limit` bytes.
    pub fn new(input: R, limit: u64) -> Self {
        let input = BufReader::with_capacity(BUFFER, input.take(limit));
        Self { input, limit, content: 0, padding: 0 }
    }

    /// The next entry, or `None` at the end of the archive; then the source is read to its end, too.
    pub fn next_entry(&mut self) -> Result<Option<Node>> {
        let rest =
            self.content.checked_add(self.padding).ok_or_else(|| Error::invalid("invalid tar size"))?;
        self.skip(rest)?;
        (self.content, self.padding) = (0, 0);
        let mut extensions = Extensions::default();
        let mut first = true;
        loop {
            let Some(header) = self.header(first)? else { return Ok(None) };
            first = false;
            match header.kind() {
                b'x' | b'X' => extensions.records = Records::parse(&self.special(&header)?)?,
                b'L' => extensions.long_name = Some(self.special(&header)?),
                b'K' => extensions.long_link = Some(self.special(&header)?),
                // Records for all entries that follow. Docker does not apply them; git writes a comment.
                b'g' => drop(self.special(&header)?),
                _ => return self.entry(&header, extensions).map(Some),
            }
        }
    }

    /// The next header; `None` at the end, which must not come behind an extension (`first` is false).
    fn header(&mut self, first: bool) -> Result<Option<Header>> {
        let block = match self.block()? {
            Some(block) if block != [0; BLOCK] => return Header::parse(block).map(Some),
            block => block,
        };
        if !first {
            return Err(self.cut());
        }
        if block.is_some() && self.block()?.is_some_and(|block| block != [0; BLOCK]) {
            return Err(Error::invalid("invalid tar header: half an end of the archive"));
        }
        self.drain()?;
        Ok(None)
    }

    /// A block, or `None` if the source ends before it.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        if self.input.fill_buf().map_err(Error::reading)?.is_empty() {
            return if self.input.get_ref().limit() == 0 { Err(self.cut()) } else { Ok(None) };
        }
        self.exactly(&mut block)?;
        Ok(Some(block))
    }

    fn exactly(&mut self, buffer: &mut [u8]) -> Result<()> {
        self.input.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.cut(),
            _ => Error::reading(error),
        })
    }

    /// Why the archive ends where it must not.
    fn cut(&self) -> Error {
        match self.input.get_ref().limit() {
            0 => Error::Invalid(format!("archive is larger than the limit of {} bytes", self.limit)),
            _ => Error::invalid("unexpected end of archive"),
        }
    }

    fn skip(&mut self, mut length: u64) -> Result<()> {
        while length > 0 {
            let available = self.input.fill_buf().map_err(Error::reading)?.len();
            if available == 0 {
                return Err(self.cut());
            }
            let step = available.min(usize::try_from(length).unwrap_or(available));
            self.input.consume(step);
            length -= step as u64;
        }
        Ok(())
    }

    /// Reads whatever follows the archive: its digest is that of all bytes.
    fn drain(&mut self) -> Result<()> {
        loop {
            let available = self.input.fill_buf().map_err(Error::reading)?.len();
            if available == 0 {
                break;
            }
            self.input.consume(available);
        }
        if self.input.get_ref().limit() == 0 { Err(self.cut()) } else { Ok(()) }
    }

    /// The content of an extension.
    fn special(&mut self, header: &Header) -> Result<Vec<u8>> {
        let size = header.size(header::SIZE)?;
        if size > SPECIAL_MAX {
            return Err(Error::Invalid(format!("extended tar header of {size} bytes is too large")));
        }
        let mut content = vec![0; usize::try_from(size).unwrap_or_default()];
        self.exactly(&mut content)?;
        self.skip(padding(size))?;
        Ok(content)
    }

    fn entry(&mut self, header: &Header, extensions: Extensions) -> Result<Node> {
        let Extensions { mut records, long_name, long_link } = extensions;
        let long = |name: Vec<u8>| header::until_nul(&name).to_vec();
        let path = records.path.take().or(long_name.map(long)).unwrap_or_else(|| header.name());
        let path = records.sparse.name.take().unwrap_or(path);
        let link =
            records.link.take().or(long_link.map(long)).unwrap_or_else(|| header.text(header::LINK).to_vec());
        let kind = self.kind(header, &mut records, &path, link)?;
        if let Kind::File { .. } = kind {
            self.padding = padding(self.content);
        }
        let owner = |record: Option<u64>, field, what| match record {
            Some(id) => id_from(i64::try_from(id).unwrap_or(-1), what),
            None => id_from(header.number(field)?, what),
        };
        Ok(Node {
            path: clean(&path)?,
            kind,
            mode: u32::try_from(header.number(header::MODE)? & 0o7777).unwrap_or_default(),
            uid: owner(records.uid, header::UID, "uid")?,
            gid: owner(records.gid, header::GID, "gid")?,
            modified: match records.modified {
                Some(time) => time,
                None => Time { seconds: header.number(header::MTIME)?, nanos: 0 },
            },
            xattrs: records.xattrs,
        })
    }

    fn kind(&mut self, header: &Header, records: &mut Records, path: &[u8], link: Vec<u8>) -> Result<Kind> {
        Ok(match header.kind() {
            // Old archives know no directories but by their names.
            b'0' | 0 if path.ends_with(b"/") => Kind::Directory,
            b'0' | 0 | b'7' => self.file(header, records)?,
            b'S' => self.old_sparse(header, records)?,
            b'1' => Kind::HardLink(clean(&link)?),
            b'2' if link.is_empty() || link.contains(&0) => {
                return Err(Error::invalid("invalid symbolic link in archive"));
            }
            b'2' => Kind::Symlink(OsString::from_vec(link)),
            b'3' => device(header).map(|(major, minor)| Kind::Char(major, minor))?,
            b'4' => device(header).map(|(major, minor)| Kind::Block(major, minor))?,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            other => {
                return Err(Error::Invalid(format!("unknown tar entry type {:?}", char::from(other))));
            }
        })
    }

    /// A regular file, which may be sparse in one of the PAX forms.
    fn file(&mut self, header: &Header, records: &mut Records) -> Result<Kind> {
        self.content = match records.size {
            Some(size) => size,
            None => header.size(header::SIZE)?,
        };
        let sparse = std::mem::take(&mut records.sparse);
        let Some(size) = sparse.size else { return Ok(Kind::file(self.content)) };
        let mut map = Map::default();
        if sparse.major == 1 {
            self.map_before_data(&mut map)?;
        } else {
            map.extend(&sparse.map)?;
        }
        // The map has been read as part of the content, in whole blocks.
        let data = map.finish(size, self.content)?;
        Ok(Kind::File { size, data: Some(data) })
    }

    /// Version 1.0: a count and that many pairs, each number on a line, filled up to whole blocks.
    fn map_before_data(&mut self, map: &mut Map) -> Result<()> {
        let mut lines = Lines { block: [0; BLOCK], at: BLOCK };
        let pieces = lines.number(self)?;
        for _ in 0..pieces {
            let (offset, length) = (lines.number(self)?, lines.number(self)?);
            map.push(offset, length)?;
        }
        Ok(())
    }

    /// The old GNU form: four pieces in the header, 21 in each block that follows.
    fn old_sparse(&mut self, header: &Header, records: &Records) -> Result<Kind> {
        let stored = match records.size {
            Some(size) => size,
            None => header.size(header::SIZE)?,
        };
        let mut map = Map::default();
        old_pieces(header.bytes(header::SPARSE), &mut map)?;
        let mut more = header.bytes((header::SPARSE_EXTENDED, 1)) != [0];
        while more {
            let block = self.block()?.ok_or_else(|| self.cut())?;
            old_pieces(&block[..504], &mut map)?;
            more = block[504] != 0;
        }
        self.content = stored;
        let size = header.size(header::SPARSE_SIZE)?;
        Ok(Kind::File { size, data: Some(map.finish(size, stored)?) })
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(usize::try_from(self.content).unwrap_or(usize::MAX));
        if length == 0 {
            return Ok(0);
        }
        let read = self.input.read(&mut buffer[..length])?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, self.cut().to_string()));
        }
        self.content -= read as u64;
        Ok(read)
    }
}

/// Numbers on lines, read block by block.
struct Lines {
    block: [u8; BLOCK],
    at: usize,
}

impl Lines {
    fn number<R: Read>(&mut self, reader: &mut Reader<R>) -> Result<u64> {
        let mut digits = Vec::new();
        loop {
            if self.at == BLOCK {
                reader.content = reader
                    .content
                    .checked_sub(BLOCK as u64)
                    .ok_or_else(|| Error::invalid("malformed sparse file"))?;
                reader.exactly(&mut self.block)?;
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            match byte {
                b'\n' => return pax::integer(&digits),
                _ if digits.len() == 20 => return Err(Error::invalid("malformed sparse file")),
                _ => digits.push(byte),
            }
        }
    }
}

/// Pairs of twelve bytes each; an empty one is the last.
fn old_pieces(pieces: &[u8], map: &mut Map) -> Result<()> {
    for piece in pieces.chunks_exact(24) {
        if piece[0] == 0 || piece[12] == 0 {
            break;
        }
        let number = |field: &[u8]| {
            u64::try_from(header::number(field)?).map_err(|_| Error::invalid("malformed sparse file"))
        };
        map.push(number(&piece[..12])?, number(&piece[12..])?)?;
    }
    Ok(())
}

/// A path of an archive, relative to its root. `..` is refused, even where it would stay below.
fn clean(path: &[u8]) -> Result<PathBuf> {
    let refused = |why| Error::Invalid(format!("{why} in archive: {:?}", String::from_utf8_lossy(path)));
    if path.contains(&0) {
        return Err(refused("name with a NUL"));
    }
    let mut clean = PathBuf::new();
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return Err(refused("path leading out")),
            name => clean.push(OsString::from_vec(name.to_vec())),
        }
    }
    Ok(clean)
}

/// A user or group id; the last one means "unchanged" to the kernel.
fn id_from(number: i64, what: &str) -> Result<u32> {
    match u32::try_from(number) {
        Ok(id) if id != u32::MAX => Ok(id),
        _ => Err(Error::Invalid(format!("{what} {number} in archive is out of range"))),
    }
}

/// Major and minor number, within what Linux has bits for.
fn device(header: &Header) -> Result<(u32, u32)> {
    if !header.has_devices() {
        return Err(Error::invalid("device without numbers in archive"));
    }
    let (major, minor) = (header.number(header::MAJOR)?, header.number(header::MINOR)?);
    match (u32::try_from(major), u32::try_from(minor)) {
        (Ok(major), Ok(minor)) if major < 1 << 12 && minor < 1 << 20 => Ok((major, minor)),
        _ => Err(Error::Invalid(format!("device {major}:{minor} in archive is out of range"))),
    }
}
