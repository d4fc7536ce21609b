//! Fluentd's forward protocol: one MessagePack array an event, `[tag, time, record, options]`.

use std::io;
use std::time::Duration;

use hull_shim::entry::Entry;
use hull_shim::log::Fluentd;
use hull_shim::protocol::Stream;

use super::wire::Wire;
use super::{Outcome, Sink};

/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Bytes of an acknowledgement, at most.
const ACKNOWLEDGEMENT: usize = 256;

pub(super) struct Sender {
    config: Fluentd,
    wire: Option<Wire>,
    /// Names the next event that wants to be acknowledged.
    number: u64,
}

impl Sender {
    pub(super) fn open(config: Fluentd) -> Outcome<Self> {
        let wire = match config.connects_later {
            true => None,
            false => Some(Wire::connect(&config.address)?),
        };
        Ok(Self { config, wire, number: 0 })
    }

    fn event(&self, entry: &Entry<'_>, id: &str) -> Vec<u8> {
        let mut to = Pack(Vec::with_capacity(entry.line.len() + 512));
        to.0.push(0x94);
        to.text(self.config.tag.as_bytes());
        to.time(entry.time, self.config.sub_second);
        let piece = entry.piece.as_ref();
        to.map(self.config.record.len() + 2 + if piece.is_some() { 4 } else { 0 });
        for (name, value) in &self.config.record {
            to.pair(name, value.as_bytes());
        }
        to.pair("source", if entry.stream == Stream::Stderr { b"stderr" } else { b"stdout" });
        to.pair("log", entry.line);
        if let Some(piece) = piece {
            to.pair("partial_message", b"true");
            to.pair("partial_id", piece.id.as_bytes());
            to.pair("partial_ordinal", piece.ordinal.to_string().as_bytes());
            to.pair("partial_last", piece.last.to_string().as_bytes());
        }
        match self.config.request_ack {
            false => to.map(0),
            true => {
                to.map(1);
                to.pair("chunk", id.as_bytes());
            }
        }
        to.0
    }

    fn attempt(&mut self, event: &[u8], id: &str) -> io::Result<()> {
        if self.wire.as_ref().is_none_or(Wire::is_over) {
            self.wire = None;
            self.wire = Some(Wire::connect(&self.config.address).map_err(io::Error::other)?);
        }
        let Some(wire) = &mut self.wire else { return Ok(()) };
        wire.send(event)?;
        if self.config.request_ack {
            let mut answer = [0; ACKNOWLEDGEMENT];
            let count = wire.receive(&mut answer)?;
            // `{"ack": id}`; the id is no part of anything else.
            if !answer[..count].windows(id.len()).any(|window| window == id.as_bytes()) {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(())
    }
}

impl Sink for Sender {
    fn send(&mut self, entry: &Entry<'_>) {
        self.number += 1;
        let id = format!("{:08x}{:016x}", std::process::id(), self.number);
        let event = self.event(entry, &id);
        let mut wait = Duration::from_millis(self.config.retry_wait);
        for attempt in 0..=self.config.max_retries {
            if attempt > 0 {
                std::thread::sleep(wait.min(LONGEST_WAIT));
                wait = wait.saturating_mul(3) / 2;
            }
            match self.attempt(&event, &id) {
                Ok(()) => return,
                Err(_) => self.wire = None,
            }
        }
    }
}

/// MessagePack, as far as it is needed.
struct Pack(Vec<u8>);

impl Pack {
    fn map(&mut self, count: usize) {
        match u8::try_from(count) {
            Ok(count @ ..16) => self.0.push(0x80 | count),
            _ => {
                self.0.push(0xde);
                self.0.extend_from_slice(&(count as u16).to_be_bytes());
            }
        }
    }

    fn text(&mut self, text: &[u8]) {
        match text.len() {
            length @ ..32 => self.0.push(0xa0 | length as u8),
            length @ ..0x100 => self.0.extend_from_slice(&[0xd9, length as u8]),
            length @ ..0x10000 => {
                self.0.push(0xda);
                self.0.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                self.0.push(0xdb);
                self.0.extend_from_slice(&(length as u32).to_be_bytes());
            }
        }
        self.0.extend_from_slice(text);
    }

    fn pair(&mut self, name: &str, value: &[u8]) {
        self.text(name.as_bytes());
        self.text(value);
    }

    /// Whole seconds, or Fluentd's own extension with nanoseconds.
    fn time(&mut self, nanoseconds: i64, sub_second: bool) {
        let (seconds, rest) = (nanoseconds.div_euclid(1_000_000_000), nanoseconds.rem_euclid(1_000_000_000));
        if sub_second {
            self.0.extend_from_slice(&[0xd7, 0x00]);
            self.0.extend_from_slice(&(seconds as u32).to_be_bytes());
            self.0.extend_from_slice(&(rest as u32).to_be_bytes());
        } else {
            self.0.push(0xd3);
            self.0.extend_from_slice(&seconds.to_be_bytes());
        }
    }
}
