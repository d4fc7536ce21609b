//! syslog: RFC 3164 and RFC 5424, over every kind of socket.

use std::fmt::Write;

use hull_shim::entry::Entry;
use hull_shim::log::{Address, Syslog, SyslogFormat};
use hull_shim::protocol::Stream;
use hull_sys::time::{Local, local};

use super::wire::Wire;
use super::{Outcome, Sink};

/// Where the syslog of this machine listens.
const OWN: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];
/// The severities err and info.
const SEVERITY: [u8; 2] = [6, 3];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

pub(super) struct Sender {
    config: Syslog,
    host: String,
    pid: u32,
    /// `None` after an outage; the next message tries again.
    wire: Option<Wire>,
}

impl Sender {
    pub(super) fn open(config: Syslog) -> Outcome<Self> {
        let wire = connect(config.address.as_ref())?;
        Ok(Self { config, host: hostname(), pid: std::process::id(), wire: Some(wire) })
    }

    fn message(&self, entry: &Entry<'_>) -> Vec<u8> {
        let Self { config: Syslog { tag, .. }, host, pid, .. } = self;
        let priority = self.config.facility << 3 | SEVERITY[usize::from(entry.stream == Stream::Stderr)];
        let (seconds, rest) = (entry.time.div_euclid(1_000_000_000), entry.time.rem_euclid(1_000_000_000));
        let Some(time) = local(seconds) else { return Vec::new() };
        let head = match self.config.format {
            SyslogFormat::Local => format!("<{priority}>{} {tag}[{pid}]: ", stamp(&time)),
            SyslogFormat::Rfc3164 => format!("<{priority}>{} {host} {tag}[{pid}]: ", stamp(&time)),
            SyslogFormat::Rfc5424 => {
                format!("<{priority}>1 {} {host} {tag} {pid} {tag} - ", rfc3339(&time, ""))
            }
            SyslogFormat::Rfc5424Micro => {
                let micros = format!(".{:06}", rest / 1000);
                format!("<{priority}>1 {} {host} {tag} {pid} {tag} - ", rfc3339(&time, &micros))
            }
        };
        [head.as_bytes(), entry.line, b"\n"].concat()
    }
}

impl Sink for Sender {
    fn send(&mut self, entry: &Entry<'_>) {
        if entry.line.is_empty() {
            return;
        }
        let message = self.message(entry);
        self.wire.take_if(|wire| wire.is_over() || wire.send(&message).is_err());
        if self.wire.is_none() {
            // Once more, on a new connection; then the message is lost.
            self.wire = connect(self.config.address.as_ref()).ok();
            self.wire.take_if(|wire| wire.send(&message).is_err());
        }
    }
}

fn connect(address: Option<&Address>) -> Outcome<Wire> {
    match address {
        Some(address) => Wire::connect(address),
        None => own().ok_or_else(|| "Unix syslog delivery error".to_owned()),
    }
}

fn own() -> Option<Wire> {
    let kinds = ["unixgram", "unix"].into_iter();
    let mut all = kinds.flat_map(|kind| OWN.map(|path| (kind, path)));
    all.find_map(|(kind, path)| {
        Wire::connect(&Address { network: kind.into(), target: path.into(), tls: None }).ok()
    })
}

/// This machine's name.
pub(super) fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// `Jan _2 15:04:05`.
fn stamp(time: &Local) -> String {
    let Local { day, hour, minute, second, .. } = time;
    let month = MONTHS[usize::from(time.month - 1) % MONTHS.len()];
    format!("{month} {day:2} {hour:02}:{minute:02}:{second:02}")
}

fn rfc3339(time: &Local, fraction: &str) -> String {
    let Local { year, month, day, hour, minute, second, offset } = time;
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}");
    let (sign, minutes) = (if *offset < 0 { '-' } else { '+' }, offset.abs() / 60);
    // A string takes everything.
    let _ = match minutes {
        0 => write!(text, "Z"),
        _ => write!(text, "{sign}{:02}:{:02}", minutes / 60, minutes % 60),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Local =
        Local { year: 2026, month: 2, day: 3, hour: 4, minute: 5, second: 6, offset: -12_600 };

    #[test]
    fn times_are_the_standards() {
        assert_eq!(stamp(&TIME), "Feb  3 04:05:06");
        assert_eq!(rfc3339(&TIME, ".000007"), "2026-02-03T04:05:06.000007-03:30");
        assert_eq!(rfc3339(&Local { offset: 0, ..TIME }, ""), "2026-02-03T04:05:06Z");
    }
}
