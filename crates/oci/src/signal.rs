//! Signals by name and number, as `--stop-signal`, `kill -s` and STOPSIGNAL write them.

use std::fmt;
use std::str::FromStr;

/// A signal of Linux, 1 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signal(i32);

/// The text is not a signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid signal: {0}")]
pub struct Invalid(String);

const REAL_TIME_FIRST: i32 = 34;
const REAL_TIME_LAST: i32 = 64;

/// Names by number, from 1; the numbers are those of x86, ARM, RISC-V, PowerPC and s390 (signal(7)).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

const ALIASES: [(&str, i32); 4] = [("IOT", 6), ("CLD", 17), ("POLL", 29), ("UNUSED", 31)];

impl Signal {
    /// SIGKILL, which cannot be caught.
    pub const KILL: Self = Self(9);
    /// SIGTERM, what stops a container unless its image says otherwise.
    pub const TERM: Self = Self(15);

    /// Parses `SIGTERM`, `TERM`, `term`, `15`, `RTMIN+3` or `SIGRTMAX-1`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let upper = text.to_ascii_uppercase();
        let found = match upper.parse::<i32>() {
            Ok(number) => Some(number),
            Err(_) => number_of(upper.strip_prefix("SIG").unwrap_or(&upper)),
        };
        found.and_then(Self::from_number).ok_or_else(|| Invalid(text.to_owned()))
    }

    /// The signal of that number, if there is one.
    pub fn from_number(number: i32) -> Option<Self> {
        (1..=REAL_TIME_LAST).contains(&number).then_some(Self(number))
    }

    /// The number, for kill(2).
    pub fn number(self) -> i32 {
        self.0
    }

    /// The name with its prefix: `SIGTERM`, `SIGRTMIN+3`; the two that libc keeps for itself are bare numbers.
    pub fn name(self) -> String {
        let index = usize::try_from(self.0 - 1).unwrap_or(usize::MAX);
        match NAMES.get(index) {
            Some(name) => format!("SIG{name}"),
            None if self.0 < REAL_TIME_FIRST => self.0.to_string(),
            None if self.0 == REAL_TIME_FIRST => "SIGRTMIN".to_owned(),
            None => format!("SIGRTMIN+{}", self.0 - REAL_TIME_FIRST),
        }
    }
}

fn number_of(name: &str) -> Option<i32> {
    if let Some(offset) = name.strip_prefix("RTMIN") {
        return real_time(offset, '+').map(|offset| REAL_TIME_FIRST + offset);
    }
    if let Some(offset) = name.strip_prefix("RTMAX") {
        return real_time(offset, '-').map(|offset| REAL_TIME_LAST - offset);
    }
    let index = NAMES.iter().position(|known| *known == name).and_then(|index| i32::try_from(index + 1).ok());
    index.or_else(|| ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, number)| *number))
}

fn real_time(offset: &str, sign: char) -> Option<i32> {
    if offset.is_empty() {
        return Some(0);
    }
    let digits = offset.strip_prefix(sign).filter(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok().filter(|offset| *offset <= REAL_TIME_LAST - REAL_TIME_FIRST)
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl FromStr for Signal {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

crate::serde_as_text!(Signal);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [
            ("SIGTERM", 15),
            ("term", 15),
            ("15", 15),
            ("KILL", 9),
            ("RTMIN+3", 37),
            ("SIGRTMAX-1", 63),
            ("SYS", 31),
        ] {
            assert_eq!(Signal::parse(text).map(Signal::number), Ok(number), "{text}");
        }
        assert_eq!(Signal::TERM.name(), "SIGTERM");
        assert_eq!(Signal::KILL.number(), 9);
    }

    #[test]
    fn every_signal_round_trips() {
        for number in 1..=64 {
            let signal = Signal::from_number(number).unwrap();
            assert_eq!(Signal::parse(&signal.name()), Ok(signal));
        }
    }

    #[test]
    fn refuses() {
        for text in
            ["", "0", "-1", "65", "SIG", "SIGFOO", "RTMIN-1", "RTMIN+31", "RTMIN+", "SIGSIGTERM", "15x"]
        {
            let error = Signal::parse(text).unwrap_err();
            assert_eq!(error.to_string(), format!("invalid signal: {text}"));
        }
    }
}
