//! A connection to a message bus: the D-Bus specification, "Authentication Protocol" and "Message Bus".

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use hull_sys::Context;

use super::wire::{Body, ERROR, Message, PREFIX, RETURN, SIGNAL};
use crate::error::{Error, Result};

/// How long an answer may take: systemd may be busy with a whole boot.
const PATIENCE: Duration = Duration::from_secs(30);

const BUS: &str = "org.freedesktop.DBus";

/// A connection that has said hello.
#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
    /// Signals that came while an answer was waited for.
    signals: VecDeque<Message>,
}

/// An answer that is an error.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The name of the error, as `org.freedesktop.systemd1.NoSuchUnit`.
    pub(super) name: String,
    /// What it means.
    pub(super) why: String,
}

impl Bus {
    /// Connects to the bus at `address`, a list as in `DBUS_SYSTEM_BUS_ADDRESS`.
    pub(super) fn connect(address: &str) -> Result<Self> {
        let path = address.split(';').find_map(|one| {
            let keys = one.strip_prefix("unix:")?;
            keys.split(',').find_map(|key| key.strip_prefix("path="))
        });
        let path =
            path.ok_or_else(|| Error::Unsupported(format!("no unix socket in bus address {address:?}")))?;
        let stream = UnixStream::connect(path).on("connect to the message bus", path)?;
        stream.set_read_timeout(Some(PATIENCE)).op("set timeout")?;
        let mut bus = Self { stream, serial: 0, signals: VecDeque::new() };
        bus.authenticate()?;
        bus.call(Message::call("/org/freedesktop/DBus", BUS, "Hello", BUS, Body::default()))?;
        Ok(bus)
    }

    /// By the credentials that the kernel gives the other side.
    fn authenticate(&mut self) -> Result<()> {
        let uid = rustix::process::geteuid().as_raw().to_string();
        let hex: String = uid.bytes().map(|digit| format!("{digit:02x}")).collect();
        self.send(format!("\0AUTH EXTERNAL {hex}\r\n").as_bytes())?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") && line.len() < 1024 {
            let mut byte = [0];
            self.receive(&mut byte)?;
            line.push(byte[0]);
        }
        match line.starts_with(b"OK ") {
            true => self.send(b"BEGIN\r\n"),
            false => Err(Error::Unsupported("the message bus does not let this user in".to_owned())),
        }
    }

    /// Asks for signals of that kind.
    pub(super) fn listen(&mut self, rule: &str) -> Result<()> {
        let body = Body::default().text(rule);
        self.call(Message::call("/org/freedesktop/DBus", BUS, "AddMatch", BUS, body)).map(drop)
    }

    /// Sends a call and waits for its answer; a refusal is an error.
    pub(super) fn call(&mut self, message: Message) -> Result<Body> {
        let member = message.member.clone();
        self.ask(message)?
            .map_err(|Refusal { name, why }| Error::Invalid(format!("{member}: {why} ({name})")))
    }

    /// Sends a call and waits for its answer.
    pub(super) fn ask(&mut self, mut message: Message) -> Result<std::result::Result<Body, Refusal>> {
        self.serial += 1;
        message.serial = self.serial;
        self.send(&message.encode())?;
        loop {
            let answer = self.next()?;
            match (answer.kind, answer.reply_to) {
                (RETURN, Some(serial)) if serial == self.serial => return Ok(Ok(answer.body)),
                (ERROR, Some(serial)) if serial == self.serial => {
                    let why = answer.body.words().ok().and_then(|words| words.into_iter().next());
                    return Ok(Err(Refusal { name: answer.error, why: why.unwrap_or_default() }));
                }
                (SIGNAL, _) => self.signals.push_back(answer),
                _ => {}
            }
        }
    }

    /// Waits for the next signal of that name.
    pub(super) fn signal(&mut self, member: &str) -> Result<Body> {
        loop {
            let signal = match self.signals.pop_front() {
                Some(signal) => signal,
                None => self.next()?,
            };
            if signal.kind == SIGNAL && signal.member == member {
                return Ok(signal.body);
            }
        }
    }

    /// The next message, whatever it is.
    pub(super) fn next(&mut self) -> Result<Message> {
        let mut prefix = [0; PREFIX];
        self.receive(&mut prefix)?;
        let mut bytes = prefix.to_vec();
        bytes.resize(Message::length(&prefix)?, 0);
        self.receive(&mut bytes[PREFIX..])?;
        Message::decode(&bytes)
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes).op("write to the message bus")?)
    }

    fn receive(&mut self, bytes: &mut [u8]) -> Result<()> {
        Ok(self.stream.read_exact(bytes).op("read from the message bus")?)
    }
}
