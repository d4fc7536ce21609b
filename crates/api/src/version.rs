//! The API versions that are spoken, and how a client and a daemon agree on one.

use std::fmt;
use std::str::FromStr;

/// The newest API version that is served and asked for.
pub const MAX: ApiVersion = ApiVersion { major: 1, minor: 51 };

/// The oldest API version that is served.
pub const MIN: ApiVersion = ApiVersion { major: 1, minor: 24 };

/// An API version as it stands in paths (`/v1.51/…`) and in the `Api-Version` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    /// Always 1 so far.
    pub major: u16,
    /// Counts up with every change of the API.
    pub minor: u16,
}

/// A text that is no `MAJOR.MINOR`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid API version: {0}")]
pub struct InvalidVersion(pub String);

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for ApiVersion {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        let invalid = || InvalidVersion(text.to_owned());
        let (major, minor) = text.split_once('.').ok_or_else(invalid)?;
        let number = |part: &str| match part.bytes().all(|b| b.is_ascii_digit()) {
            true => part.parse().map_err(|_| invalid()),
            false => Err(invalid()),
        };
        Ok(ApiVersion { major: number(major)?, minor: number(minor)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number_not_by_text() {
        let old: ApiVersion = "1.9".parse().unwrap();
        let new: ApiVersion = "1.51".parse().unwrap();
        assert!(old < new);
        assert_eq!(new.to_string(), "1.51");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "1", "1.", "1.x", "+1.2", "1.51.0", "v1.51"] {
            assert_eq!(text.parse::<ApiVersion>(), Err(InvalidVersion(text.to_owned())), "{text}");
        }
    }
}
