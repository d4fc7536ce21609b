//! PAX records: `LENGTH KEY=VALUE\n`, where LENGTH counts the whole record (pax(1p), "pax Header Block").

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use hull_sys::root::Time;

use crate::{Error, Result};

/// The prefix of the keys that carry extended attributes.
pub(super) const XATTR: &str = "SCHILY.xattr.";

/// What the records before an entry say about it. An empty value takes back an earlier one.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) modified: Option<Time>,
    pub(super) xattrs: Vec<(OsString, Vec<u8>)>,
    pub(super) sparse: Sparse,
}

/// The `GNU.sparse.*` records.
#[derive(Debug, Default)]
pub(super) struct Sparse {
    /// Version 1.0: the map stands before the data.
    pub(super) major: u64,
    pub(super) name: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    /// Versions 0.0 and 0.1: offset, length, offset, length…
    pub(super) map: Vec<u64>,
}

impl Records {
    /// Reads all records of one extended header.
    pub(super) fn parse(mut text: &[u8]) -> Result<Self> {
        let mut records = Self::default();
        // GNU tar pads with NULs where it rewrote a header.
        while !text.iter().all(|byte| *byte == 0) {
            let (key, value, rest) = split(text).ok_or_else(|| Error::invalid("malformed PAX record"))?;
            records.add(key, value)?;
            text = rest;
        }
        records.xattrs.sort();
        Ok(records)
    }

    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let given = !value.is_empty();
        match key {
            b"path" => self.path = given.then(|| value.to_vec()),
            b"linkpath" => self.link = given.then(|| value.to_vec()),
            b"size" => self.size = given.then(|| integer(value)).transpose()?,
            b"uid" => self.uid = given.then(|| integer(value)).transpose()?,
            b"gid" => self.gid = given.then(|| integer(value)).transpose()?,
            b"mtime" => self.modified = given.then(|| time(value)).transpose()?,
            b"GNU.sparse.major" => self.sparse.major = integer(value)?,
            b"GNU.sparse.name" => self.sparse.name = given.then(|| value.to_vec()),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.size = Some(integer(value)?),
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => self.sparse.map.push(integer(value)?),
            b"GNU.sparse.map" => {
                self.sparse.map = value.split(|byte| *byte == b',').map(integer).collect::<Result<_>>()?;
            }
            _ => self.add_attribute(key, value)?,
        }
        Ok(())
    }

    fn add_attribute(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        // Keys that are not ours to know are skipped, as pax(1p) wants.
        let Some(name) = key.strip_prefix(XATTR.as_bytes()) else { return Ok(()) };
        if name.is_empty() || name.contains(&0) {
            return Err(Error::invalid("malformed PAX record: attribute without a name"));
        }
        let name = OsString::from_vec(name.to_vec());
        self.xattrs.retain(|(earlier, _)| *earlier != name);
        self.xattrs.push((name, value.to_vec()));
        Ok(())
    }
}

/// The key, the value and what follows the first record.
fn split(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = text.iter().position(|byte| *byte == b' ')?;
    let length = usize::try_from(integer(&text[..space]).ok()?).ok()?;
    let record = text.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], &text[length..]))
}

/// Decimal digits, nothing else.
pub(super) fn integer(text: &[u8]) -> Result<u64> {
    let digits = Some(text).filter(|text| text.iter().all(u8::is_ascii_digit));
    let value = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    value.ok_or_else(|| Error::invalid("malformed PAX record: not a number"))
}

/// Seconds since 1970 with an optional fraction: `-1.5` is half a second after second -2.
fn time(text: &[u8]) -> Result<Time> {
    let invalid = || Error::invalid("malformed PAX record: not a time");
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let seconds = integer(parts.next().unwrap_or_default()).map_err(|_| invalid())?;
    let seconds = i64::try_from(seconds).map_err(|_| invalid())?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(invalid());
    }
    let digits = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    let nanos = digits.fold(0, |nanos, digit| nanos * 10 + u32::from(digit - b'0'));
    Ok(match (negative, nanos) {
        (false, nanos) => Time { seconds, nanos },
        (true, 0) => Time { seconds: -seconds, nanos: 0 },
        (true, nanos) => Time { seconds: -seconds - 1, nanos: 1_000_000_000 - nanos },
    })
}

/// Writes one record. Its length counts its own digits.
pub(super) fn write(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_written() {
        let mut text = Vec::new();
        let path = vec![b'p'; 95];
        write(&mut text, b"path", &path);
        write(&mut text, b"SCHILY.xattr.user.binary", b"a\n=b\0\n12 x=y\n");
        write(&mut text, b"unknown", b"value");
        write(&mut text, b"mtime", b"-1.5");
        let records = Records::parse(&text).unwrap();
        assert_eq!(records.path.unwrap(), path);
        assert_eq!(records.xattrs, [("user.binary".into(), b"a\n=b\0\n12 x=y\n".to_vec())]);
        assert_eq!(records.modified.unwrap(), Time { seconds: -2, nanos: 500_000_000 });
    }

    #[test]
    fn lengths_that_grow_with_themselves() {
        for length in 0..1100 {
            let (mut text, value) = (Vec::new(), vec![b'v'; length]);
            write(&mut text, b"path", &value);
            let records = Records::parse(&text).unwrap();
            assert_eq!(records.path, (length > 0).then_some(value));
        }
    }

    #[test]
    fn malformed_records_are_refused() {
        let malformed: [&[u8]; 8] = [
            b"7 a=b",
            b"5 a=b\n",
            b"99999999999999999999 a=b\n",
            b"-6 a=b\n",
            b"6 a=b\n6",
            b"x",
            b"1 ",
            b"12 size=12x\n",
        ];
        for text in malformed {
            assert!(Records::parse(text).is_err(), "{}", String::from_utf8_lossy(text));
        }
        assert!(Records::parse(b"6 a=b\n\0\0\0").is_ok());
    }

    #[test]
    fn times() {
        assert_eq!(time(b"0").unwrap(), Time { seconds: 0, nanos: 0 });
        assert_eq!(time(b"12.000000001999").unwrap(), Time { seconds: 12, nanos: 1 });
        assert_eq!(time(b"-3").unwrap(), Time { seconds: -3, nanos: 0 });
        assert!(time(b"1.-5").is_err() && time(b"").is_err() && time(b"99999999999999999999").is_err());
    }
}
