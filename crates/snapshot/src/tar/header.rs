//! One header block, as it stands in the archive.

use crate::{Error, Result};

use super::BLOCK;

/// A field of a header: offset and length.
type Field = (usize, usize);

pub(super) const NAME: Field = (0, 100);
pub(super) const MODE: Field = (100, 8);
pub(super) const UID: Field = (108, 8);
pub(super) const GID: Field = (116, 8);
pub(super) const SIZE: Field = (124, 12);
pub(super) const MTIME: Field = (136, 12);
pub(super) const CHECKSUM: Field = (148, 8);
pub(super) const KIND: usize = 156;
pub(super) const LINK: Field = (157, 100);
pub(super) const MAGIC: Field = (257, 8);
pub(super) const MAJOR: Field = (329, 8);
pub(super) const MINOR: Field = (337, 8);
pub(super) const PREFIX: Field = (345, 155);
/// A star archive has its own sign at the end and room for two times behind a shorter prefix.
const STAR_PREFIX: Field = (345, 131);
const STAR_MAGIC: Field = (508, 4);
/// The part of a GNU header that describes a sparse file.
pub(super) const SPARSE: Field = (386, 96);
pub(super) const SPARSE_EXTENDED: usize = 482;
pub(super) const SPARSE_SIZE: Field = (483, 12);

/// A header whose checksum is right.
pub(super) struct Header {
    block: [u8; BLOCK],
}

impl Header {
    /// Checks the checksum, whose bytes count as spaces. Some old programs added signed bytes.
    pub(super) fn parse(block: [u8; BLOCK]) -> Result<Self> {
        let header = Self { block };
        let told = header.number(CHECKSUM).map_err(|_| Error::invalid("not a tar archive"))?;
        let inside = CHECKSUM.0..CHECKSUM.0 + CHECKSUM.1;
        let bytes =
            block.iter().enumerate().map(|(at, byte)| if inside.contains(&at) { b' ' } else { *byte });
        let unsigned: i64 = bytes.clone().map(i64::from).sum();
        let signed: i64 = bytes.map(|byte| i64::from(byte.cast_signed())).sum();
        match told == unsigned || told == signed {
            true => Ok(header),
            false => Err(Error::invalid("invalid tar header: wrong checksum")),
        }
    }

    pub(super) fn kind(&self) -> u8 {
        self.block[KIND]
    }

    /// The bytes of a field.
    pub(super) fn bytes(&self, (start, length): Field) -> &[u8] {
        &self.block[start..start + length]
    }

    /// The text of a field: up to its first NUL.
    pub(super) fn text(&self, field: Field) -> &[u8] {
        until_nul(self.bytes(field))
    }

    /// The number in a field.
    pub(super) fn number(&self, field: Field) -> Result<i64> {
        number(self.bytes(field))
    }

    /// A number that is not negative.
    pub(super) fn size(&self, field: Field) -> Result<u64> {
        u64::try_from(self.number(field)?).map_err(|_| Error::invalid("invalid tar header: negative size"))
    }

    /// The name, with the prefix where this format has one.
    pub(super) fn name(&self) -> Vec<u8> {
        let name = self.text(NAME);
        let prefix = match self.bytes(MAGIC) {
            _ if self.bytes(STAR_MAGIC) == b"tar\0" => self.text(STAR_PREFIX),
            [b'u', b's', b't', b'a', b'r', 0, ..] => self.text(PREFIX),
            _ => b"",
        };
        match prefix {
            b"" => name.to_vec(),
            prefix => [prefix, name].join(&b'/'),
        }
    }

    /// Whether the header has device numbers: old ones do not.
    pub(super) fn has_devices(&self) -> bool {
        self.bytes(MAGIC).starts_with(b"ustar")
    }
}

/// A number: octal digits between spaces and NULs, or two's complement in base 256 if the first bit is set.
pub(super) fn number(field: &[u8]) -> Result<i64> {
    if field[0] & 0x80 != 0 {
        return base256(field);
    }
    let invalid = || Error::invalid("invalid tar header: not a number");
    let blank = |byte: &u8| *byte == b' ' || *byte == 0;
    let start = field.iter().position(|byte| !blank(byte)).unwrap_or(field.len());
    let digits = &field[start..];
    let digits = &digits[..digits.iter().position(blank).unwrap_or(digits.len())];
    digits.iter().try_fold(0i64, |value, digit| match digit {
        b'0'..=b'7' => value
            .checked_mul(8)
            .and_then(|value| value.checked_add(i64::from(digit - b'0')))
            .ok_or_else(invalid),
        _ => Err(invalid()),
    })
}

fn base256(field: &[u8]) -> Result<i64> {
    let negative = field[0] & 0x40 != 0;
    // The first bit is the sign of this form; the second is that of the number.
    let first = if negative { field[0] } else { field[0] & 0x3f };
    let mut value: i128 = if negative { -1 } else { 0 };
    for byte in std::iter::once(&first).chain(&field[1..]) {
        value = (value << 8) | i128::from(*byte);
    }
    i64::try_from(value).map_err(|_| Error::invalid("invalid tar header: number out of range"))
}

pub(super) fn until_nul(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(number(b"0000644\0").unwrap(), 0o644);
        assert_eq!(number(b"  644 \0\0").unwrap(), 0o644);
        assert_eq!(number(&[0; 8]).unwrap(), 0);
        assert_eq!(number(b"77777777").unwrap(), 0o7777_7777);
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0x12, 0x34, 0x56]).unwrap(), 0x12_3456);
        assert_eq!(number(&[0xff; 12]).unwrap(), -1);
        assert_eq!(number(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe]).unwrap(), -2);
        assert!(number(b"12x4567\0").is_err());
        assert!(number(b"-0000001").is_err());
        let mut large = [0xff; 12];
        large[0] = 0x80;
        assert!(number(&large).is_err());
    }
}
