//! The packing of files that were rotated, in a process of its own: the supervisor does not wait for it.
//!
//! One file is packed at a time. When the next one is there before that, packing is given up, and the file stays as it is:
//! output that comes faster than it can be packed costs more space for a while, and never the container's time.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use flate2::{Compression, GzBuilder};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The name of this program when it packs a file.
pub(crate) const NAME: &str = "hull-pack";
/// The end of a process that is killed takes no longer, unless it waits for a disk.
const END: Duration = Duration::from_millis(100);

/// Packs files, one at a time.
#[derive(Default)]
pub(super) struct Packer(Option<OwnedFd>);

impl Packer {
    /// Begins to pack `file`. If it cannot, the file stays as it is.
    pub(super) fn start(&mut self, file: &Path) {
        let child = Command::new("/proc/self/exe")
            .arg0(NAME)
            .arg(file)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        // It is waited for where all children are.
        let pid = child.ok().and_then(|child| Pid::from_raw(child.id().cast_signed()));
        self.0 = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    }

    /// Gives `file` up, if it is still being packed.
    pub(super) fn stop(&mut self, file: &Path) {
        let Some(process) = self.0.take() else { return };
        // It may have ended.
        let _ = pidfd_send_signal(&process, Signal::KILL);
        let end = Timespec::try_from(END).ok();
        let _ = poll(&mut [PollFd::new(&process, PollFlags::IN)], end.as_ref());
        if file.exists() {
            let _ = std::fs::remove_file(packed(file));
        }
        let _ = std::fs::remove_file(unfinished(file));
    }
}

/// The name of a file when it is packed.
pub(super) fn packed(file: &Path) -> PathBuf {
    with_end(file, ".gz")
}

fn unfinished(file: &Path) -> PathBuf {
    with_end(file, ".gz.new")
}

fn with_end(file: &Path, end: &str) -> PathBuf {
    let mut name: OsString = file.into();
    name.push(OsStr::new(end));
    name.into()
}

/// Packs the file that the argument names.
pub(crate) fn run(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(file) = arguments.next().map(PathBuf::from) else { return ExitCode::from(2) };
    // Nobody waits for it.
    let _ = rustix::process::nice(10);
    match pack(&file) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => {
            let _ = std::fs::remove_file(unfinished(&file));
            ExitCode::FAILURE
        }
    }
}

/// The packed file tells in its head which file it was, for readers that have that one open: device and inode.
fn pack(file: &Path) -> io::Result<()> {
    let mut from = File::open(file)?;
    let facts = from.metadata()?;
    let identity = [facts.dev().to_le_bytes(), facts.ino().to_le_bytes()].concat();
    let to = File::options().write(true).create(true).truncate(true).mode(0o640).open(unfinished(file))?;
    let mut packer = GzBuilder::new().extra(identity).write(BufWriter::new(&to), Compression::fast());
    io::copy(&mut from, &mut packer)?;
    packer.finish()?.flush()?;
    to.set_modified(facts.modified()?)?;
    std::fs::rename(unfinished(file), packed(file))?;
    std::fs::remove_file(file)
}
