//! The key sequence that leaves a terminal without ending it.

use crate::{Error, Result};

/// Looks for a sequence of keys in what a client types.
#[derive(Debug)]
pub(crate) struct DetachKeys {
    keys: Vec<u8>,
    matched: usize,
}

impl DetachKeys {
    /// Reads "ctrl-p,ctrl-q" (also the default), "a,b,c", "ctrl-@".
    pub(crate) fn parse(text: Option<&str>) -> Result<Self> {
        let text = text.filter(|text| !text.is_empty()).unwrap_or("ctrl-p,ctrl-q");
        let invalid = || Error::invalid(format!("Invalid detach keys ({text}) provided"));
        let keys: Option<Vec<u8>> = text.split(',').map(key).collect();
        Ok(Self { keys: keys.ok_or_else(invalid)?, matched: 0 })
    }

    /// The sequence.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.keys
    }

    /// Passes what is no part of the sequence on to `out`; true if the sequence is complete.
    pub(crate) fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> bool {
        for &byte in bytes {
            if self.keys.get(self.matched) == Some(&byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return true;
                }
                continue;
            }
            out.extend_from_slice(&self.keys[..self.matched]);
            self.matched = usize::from(self.keys.first() == Some(&byte));
            if self.matched == 0 {
                out.push(byte);
            }
        }
        false
    }
}

fn key(name: &str) -> Option<u8> {
    if let [letter] = name.as_bytes() {
        return Some(*letter);
    }
    let [letter] = name.strip_prefix("ctrl-")?.as_bytes() else { return None };
    match letter {
        b'a'..=b'z' => Some(letter - b'a' + 1),
        b'@' => Some(0),
        b'[' => Some(27),
        b'\\' => Some(28),
        b']' => Some(29),
        b'^' => Some(30),
        b'_' => Some(31),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_found_across_pieces() {
        let mut keys = DetachKeys::parse(None).unwrap();
        let mut out = Vec::new();
        assert!(!keys.feed(b"ls\n\x10", &mut out));
        assert!(keys.feed(b"\x11", &mut out));
        assert_eq!(out, b"ls\n");
    }

    #[test]
    fn a_broken_sequence_is_typed() {
        let mut keys = DetachKeys::parse(Some("a,b")).unwrap();
        let mut out = Vec::new();
        assert!(!keys.feed(b"aac", &mut out));
        assert_eq!(out, b"aac");
    }

    #[test]
    fn unknown_keys_are_refused() {
        for text in ["ctrl-1", "abc", "ctrl-", "a,,b"] {
            assert!(DetachKeys::parse(Some(text)).is_err(), "{text}");
        }
    }
}
