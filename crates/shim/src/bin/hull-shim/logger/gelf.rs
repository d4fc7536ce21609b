//! Graylog's extended log format 1.1, over udp (packed, and in chunks where that is too long) or tcp.

use std::io::Write;
use std::time::Duration;

use flate2::write::{GzEncoder, ZlibEncoder};
use hull_shim::entry::Entry;
use hull_shim::log::{Compression, Gelf};
use hull_shim::protocol::Stream;
use serde_json::{Map, Value, json};

use super::syslog::hostname;
use super::wire::Wire;
use super::{Outcome, Sink};

/// Bytes of a datagram that pass every network; with the head of a chunk.
const CHUNK: usize = 1420;
const CHUNK_HEAD: usize = 12;
const CHUNK_MAGIC: [u8; 2] = [0x1e, 0x0f];
const MOST_CHUNKS: usize = 128;
/// The severities info and err.
const LEVEL: [u8; 2] = [6, 3];

pub(super) struct Sender {
    config: Gelf,
    /// What all messages have.
    frame: Map<String, Value>,
    wire: Option<Wire>,
    /// Of the next message in chunks.
    number: u64,
}

impl Sender {
    pub(super) fn open(config: Gelf) -> Outcome<Self> {
        let failed = |why| format!("gelf: cannot connect to GELF endpoint: {} {why}", config.address.target);
        let wire = Wire::connect(&config.address).map_err(failed)?;
        let mut frame = Map::new();
        frame.insert("version".into(), json!("1.1"));
        frame.insert("host".into(), json!(hostname()));
        frame.extend(config.extra.iter().map(|(name, value)| (name.clone(), json!(value))));
        let number = u64::from(std::process::id()) << 32;
        Ok(Self { config, frame, wire: Some(wire), number })
    }

    fn message(&self, entry: &Entry<'_>) -> Vec<u8> {
        let mut message = self.frame.clone();
        let level = LEVEL[usize::from(entry.stream == Stream::Stderr)];
        message.insert("short_message".into(), json!(String::from_utf8_lossy(entry.line)));
        message.insert("timestamp".into(), json!((entry.time / 1_000_000) as f64 / 1000.0));
        message.insert("level".into(), json!(level));
        // Maps with names of text are always JSON.
        serde_json::to_vec(&message).unwrap_or_default()
    }

    fn send_stream(&mut self, mut message: Vec<u8>) {
        message.push(0);
        for attempt in 0..=self.config.max_reconnect {
            if attempt > 0 {
                std::thread::sleep(Duration::from_secs(self.config.reconnect_delay));
            }
            if self.wire.is_none() {
                self.wire = Wire::connect(&self.config.address).ok();
            }
            self.wire.take_if(|wire| wire.is_over() || wire.send(&message).is_err());
            if self.wire.is_some() {
                return;
            }
        }
    }

    fn send_datagrams(&mut self, message: &[u8]) -> std::io::Result<()> {
        let packed = pack(message, self.config.compression, self.config.level)?;
        let Some(wire) = &mut self.wire else { return Ok(()) };
        if packed.len() <= CHUNK {
            return wire.send(&packed);
        }
        let pieces = packed.chunks(CHUNK - CHUNK_HEAD);
        let count = pieces.len();
        if count > MOST_CHUNKS {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.number += 1;
        for (index, piece) in pieces.enumerate() {
            let id = self.number.to_be_bytes();
            wire.send(&[&CHUNK_MAGIC[..], &id, &[index as u8, count as u8], piece].concat())?;
        }
        Ok(())
    }
}

impl Sink for Sender {
    fn send(&mut self, entry: &Entry<'_>) {
        if entry.line.is_empty() {
            return;
        }
        let message = self.message(entry);
        if self.config.address.network == "udp" {
            // Most often nobody listens there just now: what is sent by udp may be lost.
            let _ = self.send_datagrams(&message);
        } else {
            self.send_stream(message);
        }
    }
}

fn pack(message: &[u8], compression: Compression, level: i32) -> std::io::Result<Vec<u8>> {
    let level =
        u32::try_from(level).map_or_else(|_| flate2::Compression::default(), flate2::Compression::new);
    match compression {
        Compression::None => Ok(message.to_vec()),
        Compression::Gzip => {
            let mut packer = GzEncoder::new(Vec::new(), level);
            packer.write_all(message)?;
            packer.finish()
        }
        Compression::Zlib => {
            let mut packer = ZlibEncoder::new(Vec::new(), level);
            packer.write_all(message)?;
            packer.finish()
        }
    }
}
