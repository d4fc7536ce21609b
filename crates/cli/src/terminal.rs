//! The user's terminal: raw mode, its size, and the keys that detach from a container.

use rustix::stdio::{stdin, stdout};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::io;

/// The keys that detach if nobody chooses others.
pub(crate) const DETACH_KEYS: &str = "ctrl-p,ctrl-q";

/// The terminal hands every key on as it is, until this is dropped.
pub(crate) struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Changes the terminal on stdin.
    pub(crate) fn enter() -> io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Drain, &raw)?;
        Ok(RawMode { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(stdin(), OptionalActions::Drain, &self.before);
    }
}

/// Rows and columns of the terminal on stdout.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(stdout()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// Finds the detach keys in what is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DetachKeys {
    keys: Vec<u8>,
    /// How many of them were typed last.
    typed: usize,
}

impl DetachKeys {
    /// Reads "ctrl-p,ctrl-q", "ctrl-@,x": single characters, and controls of a letter or one of `@[\]^_`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = if text.is_empty() { DETACH_KEYS } else { text };
        let keys = text.split(',').map(key).collect::<Option<Vec<u8>>>();
        match keys {
            Some(keys) => Ok(DetachKeys { keys, typed: 0 }),
            None => Err(format!("invalid detach keys ({text}): Unknown character: '{text}'")),
        }
    }

    /// Splits off what goes to the container; true if the keys were typed. Keys that begin the sequence are held
    /// back until it is clear whether they go on.
    pub(crate) fn filter(&mut self, input: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(input.len());
        for &byte in input {
            if byte == self.keys[self.typed] {
                self.typed += 1;
                if self.typed == self.keys.len() {
                    self.typed = 0;
                    return (passed, true);
                }
                continue;
            }
            passed.extend_from_slice(&self.keys[..self.typed]);
            self.typed = usize::from(byte == self.keys[0] && self.keys.len() > 1);
            if self.typed == 0 {
                passed.push(byte);
            }
        }
        (passed, false)
    }
}

fn key(name: &str) -> Option<u8> {
    match (name.strip_prefix("ctrl-"), name.as_bytes()) {
        (Some(control), _) => match control.as_bytes() {
            [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
            b"@" => Some(0),
            [sign @ (b'[' | b'\\' | b']' | b'^' | b'_')] => Some(sign - b'@'),
            _ => None,
        },
        (None, [byte]) if byte.is_ascii() => Some(*byte),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_names() {
        let bytes = |text: &str| DetachKeys::parse(text).map(|keys| keys.keys);
        assert_eq!(bytes(""), Ok(vec![16, 17]));
        assert_eq!(bytes("ctrl-@,a,ctrl-["), Ok(vec![0, b'a', 27]));
        for text in ["ctrl-1", "ab", "ctrl-", ",", "é"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_sequence_detaches_and_nothing_else_is_lost() {
        let mut keys = DetachKeys::parse("").unwrap();
        assert_eq!(keys.filter(b"abc"), (b"abc".to_vec(), false));
        assert_eq!(keys.filter(b"a\x10"), (b"a".to_vec(), false));
        assert_eq!(keys.filter(b"\x11"), (vec![], true));
        assert_eq!(keys.filter(b"\x10\x10x"), (b"\x10\x10x".to_vec(), false));
        assert_eq!(keys.filter(b"x\x10\x11y"), (b"x".to_vec(), true));
    }
}
