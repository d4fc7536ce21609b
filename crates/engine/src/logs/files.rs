//! The files of a rotated log: `x.log` is the youngest one, `x.log.1` the one before; old ones may be packed (`x.log.2.gz`).

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::read::GzDecoder;
use jiff::Timestamp;

/// More rotated files than anybody keeps.
const MAX_FILES: u32 = 10_000;

/// More than the time between two ticks of the kernel's coarse clock.
const TICK: Duration = Duration::from_secs(1);

/// How often the files are looked at anew because they were rotated meanwhile.
const LOOKS: u32 = 20;

/// Device and inode.
pub(super) type Identity = (u64, u64);

/// One file, open.
pub(super) struct Part {
    file: File,
    packed: bool,
    whose: Option<Identity>,
    /// Where unpacked contents may be put for the time of reading.
    directory: PathBuf,
}

impl Part {
    /// A file that is open already, at the place from which it is to be read.
    pub(super) fn plain(file: File) -> Self {
        Self { file, packed: false, whose: None, directory: PathBuf::new() }
    }

    /// The same with the contents of that one.
    pub(super) fn at(file: File, whose: Identity) -> Self {
        Self { whose: Some(whose), ..Self::plain(file) }
    }

    /// The file whose contents these are; for a packed one, the one that it was made of.
    fn identity(&self) -> io::Result<Identity> {
        if let Some(whose) = self.whose {
            return Ok(whose);
        }
        if !self.packed {
            return self.file.metadata().map(|facts| identity(&facts));
        }
        let file = self.file.try_clone()?;
        let decoder = GzDecoder::new(io::BufReader::new(&file));
        let extra = decoder.header().and_then(|header| header.extra()).unwrap_or_default();
        let number = |at: usize| extra.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        (&self.file).rewind()?;
        Ok((number(0).unwrap_or(0), number(8).unwrap_or(0)))
    }

    /// Bytes that it has by now; a packed one gets no more.
    pub(super) fn length(&self) -> io::Result<u64> {
        if self.packed { Ok(u64::MAX) } else { Ok(self.file.metadata()?.len()) }
    }

    /// When it was written last; a packed one keeps the time of the one that it was made of.
    fn modified(&self) -> io::Result<Timestamp> {
        Timestamp::try_from(self.file.metadata()?.modified()?).map_err(io::Error::other)
    }

    /// Its contents in a file, and whose they are.
    pub(super) fn open(self) -> io::Result<(File, Identity)> {
        let identity = self.identity()?;
        if !self.packed {
            return Ok((self.file, identity));
        }
        let mut plain = tempfile(&self.directory)?;
        io::copy(&mut GzDecoder::new(io::BufReader::new(self.file)), &mut plain)?;
        plain.rewind()?;
        Ok((plain, identity))
    }
}

pub(super) fn identity(metadata: &std::fs::Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

pub(super) fn open_if_any(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Every file of the log, the oldest first; without those that were over before `since`.
pub(super) fn all(path: &Path, since: Option<Timestamp>) -> io::Result<Vec<Part>> {
    for _ in 0..LOOKS {
        let before = youngest(path)?;
        let parts = look(path, since)?;
        // A rotation in between has moved the files under our eyes.
        if youngest(path)? == before {
            return Ok(parts);
        }
    }
    look(path, since)
}

fn youngest(path: &Path) -> io::Result<Option<Identity>> {
    open_if_any(path)?.map(|file| Ok(identity(&file.metadata()?))).transpose()
}

fn look(path: &Path, since: Option<Timestamp>) -> io::Result<Vec<Part>> {
    let directory = path.parent().unwrap_or(Path::new("/")).to_owned();
    let mut parts: Vec<Part> = Vec::new();
    let (mut last, mut missing) = (None, 0);
    let part = |file, packed| Part { file, packed, whose: None, directory: directory.clone() };
    for number in 0..MAX_FILES {
        let name = if number == 0 { path.to_owned() } else { numbered(path, &format!(".{number}")) };
        let found = match open_if_any(&name)? {
            Some(file) => Some(part(file, false)),
            // It may have been packed between the two looks.
            None => open_if_any(&numbered(&name, ".gz"))?.map(|file| part(file, true)),
        };
        let Some(found) = found else {
            missing += 1;
            // One number is free while files move up.
            if missing > 1 && number > 1 {
                break;
            }
            continue;
        };
        // The kernel's own stamps are a tick behind.
        let over = |since: Timestamp| found.modified().is_ok_and(|modified| modified + TICK < since);
        if number > 0 && since.is_some_and(over) {
            break;
        }
        // The one before comes again when it has moved up meanwhile.
        let this = Some(found.identity()?);
        if this != last {
            parts.push(found);
            last = this;
        }
    }
    parts.reverse();
    Ok(parts)
}

/// The files written after the one of that identity; all, if it is deleted by now.
pub(super) fn younger_than(path: &Path, old: Identity) -> io::Result<VecDeque<Part>> {
    let mut parts: VecDeque<Part> = all(path, None)?.into();
    // The youngest one counts: inodes of files that were packed and deleted are used again.
    for index in (0..parts.len()).rev() {
        if parts[index].identity()? == old {
            parts.drain(..=index);
            break;
        }
    }
    Ok(parts)
}

fn numbered(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// A file without a name in `directory`.
fn tempfile(directory: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(rustix::fs::open(directory, flags, Mode::from_raw_mode(0o600)).map(File::from)?)
}
