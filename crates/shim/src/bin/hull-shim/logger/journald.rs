//! systemd's journal, by its native protocol: a datagram of `NAME=value` lines; one that is too long for a datagram goes
//! in a sealed memory file, whose descriptor is sent.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;

use hull_shim::entry::Entry;
use hull_shim::protocol::Stream;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

use super::{Outcome, Sink};
use crate::clock::Stamp;

const SOCKET: &str = "/run/systemd/journal/socket";
/// The priorities info and err.
const PRIORITY: [&str; 2] = ["6", "3"];

pub(super) struct Journal {
    socket: UnixDatagram,
    /// The fields that all records have, as they are sent.
    fields: Vec<u8>,
    /// Counts records from 1: the journal alone does not tell their order.
    ordinal: u64,
}

impl Journal {
    pub(super) fn open(fields: &BTreeMap<String, String>) -> Outcome<Self> {
        let absent = |_| "journald is not enabled on this host".to_owned();
        let socket = UnixDatagram::unbound().map_err(absent)?;
        socket.connect(SOCKET).map_err(absent)?;
        let mut all = Vec::new();
        for (name, value) in fields {
            put(&mut all, name, value.as_bytes());
        }
        put(&mut all, "CONTAINER_LOG_EPOCH", Stamp::now().nanoseconds().to_string().as_bytes());
        Ok(Self { socket, fields: all, ordinal: 0 })
    }

    fn record(&self, entry: &Entry<'_>) -> Vec<u8> {
        let mut record = self.fields.clone();
        let priority = PRIORITY[usize::from(entry.stream == Stream::Stderr)];
        put(&mut record, "PRIORITY", priority.as_bytes());
        put(&mut record, "CONTAINER_LOG_ORDINAL", self.ordinal.to_string().as_bytes());
        put(&mut record, "SYSLOG_TIMESTAMP", Stamp::at(entry.time).as_bytes());
        if let Some(piece) = &entry.piece {
            put(&mut record, "CONTAINER_PARTIAL_ID", piece.id.as_bytes());
            put(&mut record, "CONTAINER_PARTIAL_ORDINAL", piece.ordinal.to_string().as_bytes());
            put(&mut record, "CONTAINER_PARTIAL_LAST", piece.last.to_string().as_bytes());
            if !piece.last {
                put(&mut record, "CONTAINER_PARTIAL_MESSAGE", b"true");
            }
        }
        put(&mut record, "MESSAGE", entry.line);
        record
    }

    fn send_file(&self, record: &[u8]) -> hull_sys::Result<()> {
        use hull_sys::Context;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut file = File::from(rustix::fs::memfd_create(c"journal", flags).op("memfd_create")?);
        file.write_all(record).op("write record")?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals).op("seal record")?;
        hull_sys::scm::send(&self.socket, &[], &[file.as_fd()]).map(drop)
    }
}

impl Sink for Journal {
    fn send(&mut self, entry: &Entry<'_>) {
        self.ordinal += 1;
        let record = self.record(entry);
        for _ in 0..2 {
            match self.socket.send(&record).map_err(|error| Errno::from_io_error(&error)) {
                Err(Some(Errno::MSGSIZE | Errno::NOBUFS)) => {
                    // What does not go is lost, as with Docker.
                    let _ = self.send_file(&record);
                    return;
                }
                // The journal has a new socket after its restart.
                Err(_) if self.socket.connect(SOCKET).is_ok() => {}
                Ok(_) | Err(_) => return,
            }
        }
    }
}

/// Appends a field: with its length, where a line would not do.
fn put(record: &mut Vec<u8>, name: &str, value: &[u8]) {
    record.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        record.push(b'\n');
        record.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        record.push(b'=');
    }
    record.extend_from_slice(value);
    record.push(b'\n');
}
