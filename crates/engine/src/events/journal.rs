//! Events on disk: a line of JSON each, the time first.
//!
//! ```text
//! events ──as large as it may be──► events.1 (the one before is deleted); a new `events` is begun
//! ```
//!
//! A line is one write to the page cache. Nothing is synchronised: a crash of the machine may cost the last lines, a crash
//! of the daemon costs none.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Event, EventKind};

/// Bytes of one file: a few thousand events in both.
const LIMIT: u64 = 1 << 20;
/// What stands before the time.
const HEAD: &[u8] = br#"{"time":"#;

/// One line.
#[derive(Serialize, Deserialize)]
struct Line<'a> {
    /// Nanoseconds since 1970.
    time: i64,
    kind: EventKind,
    #[serde(borrow)]
    action: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    id: std::borrow::Cow<'a, str>,
    attributes: std::borrow::Cow<'a, BTreeMap<String, String>>,
}

/// The place where events are written.
pub(super) struct Journal {
    path: PathBuf,
    file: io::Result<File>,
    size: u64,
}

impl Journal {
    pub(super) fn open(path: PathBuf) -> Self {
        let mut journal = Self { file: open(&path), path, size: 0 };
        if let Err(why) = journal.go_on() {
            tracing::warn!("events are not kept: {}: {why}", journal.path.display());
            journal.file = Err(why);
        }
        journal
    }

    /// Ends a line that a crash has torn.
    fn go_on(&mut self) -> io::Result<()> {
        let file = self.file.as_mut().map_err(|why| io::Error::from(why.kind()))?;
        self.size = file.metadata()?.len();
        let mut last = [b'\n'];
        if let Some(end) = self.size.checked_sub(1) {
            std::os::unix::fs::FileExt::read_exact_at(file, &mut last, end)?;
        }
        if last != [b'\n'] {
            file.write_all(b"\n")?;
            self.size += 1;
        }
        Ok(())
    }

    /// Appends an event. When the disk is full, it is not kept.
    pub(super) fn write(&mut self, event: &Event) {
        let line = Line {
            time: i64::try_from(event.time.as_nanosecond()).unwrap_or(i64::MAX),
            kind: event.kind,
            action: event.action.as_str().into(),
            id: event.id.as_str().into(),
            attributes: std::borrow::Cow::Borrowed(&event.attributes),
        };
        let Ok(mut line) = serde_json::to_vec(&line) else { return };
        line.push(b'\n');
        if self.size >= LIMIT {
            self.turn();
        }
        if let Ok(file) = &mut self.file {
            // What was written of it is a torn line, which readers skip.
            let _ = file.write_all(&line);
            self.size += line.len() as u64;
        }
    }

    fn turn(&mut self) {
        // If it fails, the file is only longer.
        if std::fs::rename(&self.path, older(&self.path)).is_ok() {
            (self.file, self.size) = (open(&self.path), 0);
        }
    }

    /// What was written up to now.
    pub(super) fn past(&self) -> io::Result<Past> {
        let young = File::open(&self.path)?;
        let old = match File::open(older(&self.path)) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Past { old, young: young.take(self.size) })
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).read(true).mode(0o600).open(path)
}

fn older(path: &Path) -> PathBuf {
    path.with_extension("1")
}

/// The events of the past, not read yet.
pub struct Past {
    old: Option<File>,
    young: io::Take<File>,
}

impl Past {
    /// Those that are not older than that, the oldest first. Blocks, as reading files does.
    pub fn since(self, since: Option<Timestamp>) -> impl Iterator<Item = Event> + Send {
        let since = since.map_or(i64::MIN, |since| i64::try_from(since.as_nanosecond()).unwrap_or(i64::MAX));
        // Nothing is read of a file that was over by then. The kernel's own stamps are a tick behind.
        let is_over = |file: &File| {
            let modified = file.metadata().ok()?.modified().ok()?;
            let modified = i64::try_from(Timestamp::try_from(modified).ok()?.as_nanosecond()).ok()?;
            Some(modified.saturating_add(1_000_000_000) < since)
        };
        let old = self.old.filter(|file| is_over(file) != Some(true));
        let young = Some(self.young).filter(|file| is_over(file.get_ref()) != Some(true));
        let old = old.into_iter().flat_map(|file| BufReader::new(file).split(b'\n'));
        let young = young.into_iter().flat_map(|file| BufReader::new(file).split(b'\n'));
        let lines = old.chain(young).map_while(io::Result::ok);
        lines
            .filter(move |line| time_of(line).is_some_and(|time| time >= since))
            .filter_map(|line| event(&line))
    }
}

/// The time of a line, without reading the rest.
fn time_of(line: &[u8]) -> Option<i64> {
    let rest = line.strip_prefix(HEAD)?;
    let end = rest.iter().position(|byte| *byte == b',')?;
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

fn event(line: &[u8]) -> Option<Event> {
    let line: Line<'_> = serde_json::from_slice(line).ok()?;
    Some(Event {
        time: Timestamp::from_nanosecond(i128::from(line.time)).ok()?,
        kind: line.kind,
        action: line.action.into_owned(),
        id: line.id.into_owned(),
        attributes: line.attributes.into_owned(),
    })
}
