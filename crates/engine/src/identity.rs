//! Ids: 64 random hexadecimal digits.

use rustix::rand::{GetRandomFlags, getrandom};

use crate::{Error, Result};

/// A fresh id. Never all decimal in its first twelve digits: as a host name that would read as a number.
pub(crate) fn fresh() -> Result<String> {
    loop {
        let mut bytes = [0u8; 32];
        random(&mut bytes)?;
        let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        if id.bytes().take(12).any(|digit| !digit.is_ascii_digit()) {
            return Ok(id);
        }
    }
}

/// Fills `bytes` with random ones.
pub(crate) fn random(bytes: &mut [u8]) -> Result<()> {
    let got = getrandom(&mut *bytes, GetRandomFlags::empty())
        .map_err(|errno| Error::system(format!("getrandom: {errno}")))?;
    if got == bytes.len() { Ok(()) } else { Err(Error::system("getrandom: too few bytes")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_64_digits_and_differ() {
        let (one, other) = (fresh().unwrap(), fresh().unwrap());
        assert_eq!(one.len(), 64);
        assert!(one.bytes().all(|digit| digit.is_ascii_hexdigit()));
        assert_ne!(one, other);
    }
}
