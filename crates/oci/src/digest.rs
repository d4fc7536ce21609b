//! Content digests (OCI image specification, "Digests"): `sha256:` or `sha512:` and the hash in lower-case hex.

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use sha2::{Digest as _, Sha256, Sha512};

/// The hash function of a [`Digest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, what everybody uses.
    Sha256,
    /// SHA-512, allowed by the specification.
    Sha512,
}

impl Algorithm {
    /// The name as it stands before the colon; also the directory below `blobs/` of an image layout.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn hex_length(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// A valid content digest. Because it is valid, its parts are safe as file names and in URLs.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    hex: Box<str>,
}

/// Why a text is not a digest; the messages are those that Docker's users know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not of the form `algorithm:hex`.
    #[error("invalid checksum digest format")]
    Format,
    /// The hash has not as many digits as the algorithm makes.
    #[error("invalid checksum digest length")]
    Length,
    /// An algorithm that Hull does not compute.
    #[error("unsupported digest algorithm")]
    Algorithm,
}

impl Digest {
    /// The SHA-256 digest of `bytes`.
    pub fn sha256(bytes: &[u8]) -> Self {
        Self { algorithm: Algorithm::Sha256, hex: hex(&Sha256::digest(bytes)) }
    }

    /// Parses `sha256:<64 hex digits>` or `sha512:<128 hex digits>`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (algorithm, hex) = text.split_once(':').ok_or(Error::Format)?;
        let algorithm = match algorithm {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            "" => return Err(Error::Format),
            _ => return Err(Error::Algorithm),
        };
        Self::from_hex(algorithm, hex)
    }

    /// A digest from its hex digits alone, as they stand in file names.
    pub fn from_hex(algorithm: Algorithm, hex: &str) -> Result<Self, Error> {
        if hex.len() != algorithm.hex_length() {
            return Err(Error::Length);
        }
        if !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(Error::Format);
        }
        Ok(Self { algorithm, hex: hex.into() })
    }

    /// The hash function.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hash in lower-case hex, without the algorithm.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// The first twelve digits, as Docker shows ids to people.
    pub fn short(&self) -> &str {
        &self.hex[..12]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

crate::serde_as_text!(Digest);

/// Computes the digest of what is written into it.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl Hasher {
    /// A hasher for `algorithm`: take that of the digest which is expected.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Box::new(Sha512::new())),
        })
    }

    /// A hasher for new content.
    pub fn sha256() -> Self {
        Self::new(Algorithm::Sha256)
    }

    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
    }

    /// The digest of everything written so far.
    pub fn finish(self) -> Digest {
        match self.0 {
            State::Sha256(state) => Digest { algorithm: Algorithm::Sha256, hex: hex(&state.finalize()) },
            State::Sha512(state) => Digest { algorithm: Algorithm::Sha512, hex: hex(&state.finalize()) },
        }
    }
}

impl Default for Hasher {
    fn default() -> Self {
        Self::sha256()
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> Box<str> {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digits =
        bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    digits.collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn computes_and_parses() {
        assert_eq!(Digest::sha256(b"").to_string(), EMPTY);
        let digest = Digest::parse(EMPTY).unwrap();
        assert_eq!(digest.short(), "e3b0c44298fc");
        assert_eq!(Hasher::new(digest.algorithm()).finish(), digest);
        assert_eq!(serde_json::to_string(&digest).unwrap(), format!("\"{EMPTY}\""));
        assert_eq!(serde_json::from_str::<Digest>(&format!("\"{EMPTY}\"")).unwrap(), digest);
    }

    #[test]
    fn hasher_takes_pieces() {
        let mut hasher = Hasher::sha256();
        hasher.write_all(b"hello ").unwrap();
        hasher.write_all(b"world").unwrap();
        assert_eq!(hasher.finish(), Digest::sha256(b"hello world"));
        let mut long = Hasher::new(Algorithm::Sha512);
        long.update(b"x");
        let digest = long.finish();
        assert_eq!(Digest::parse(&digest.to_string()).unwrap(), digest);
    }

    #[test]
    fn refuses_what_is_not_a_digest() {
        assert_eq!(Digest::parse("sha256"), Err(Error::Format));
        assert_eq!(Digest::parse("sha256:abc"), Err(Error::Length));
        assert_eq!(Digest::parse(&EMPTY.to_uppercase().replace("SHA256", "sha256")), Err(Error::Format));
        assert_eq!(Digest::parse("md5:d41d8cd98f00b204e9800998ecf8427e"), Err(Error::Algorithm));
        assert_eq!(Digest::parse(&format!("sha256:../{}", "a".repeat(61))), Err(Error::Format));
    }
}
