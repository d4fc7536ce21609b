//! The API versions that are spoken, and how a client and a daemon agree on one.

use std::fmt;
use std::str::FromStr;

/// The newest API version that is served and asked for.
pub const MAX: ApiVersion = ApiVersion { major: 1, minor: 56 };

/// The oldest API version that is served.
pub const MIN: ApiVersion = ApiVersion { major: 1, minor: 24 };

/// An API version as it stands in paths (`/v1.56/…`) and in the `Api-Version` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    /// Always 1 so far.
    pub major: u16,
    /// Counts up with every change of the API.
    pub minor: u16,
}

impl ApiVersion {
    /// Version 1.`minor`.
    pub const fn v1(minor: u16) -> Self {
        Self { major: 1, minor }
    }

    /// The version that a path asks for, by digits and dots: what is missing is 0, what comes after the second
    /// number does not count, and what is too large is larger than every version there is.
    pub fn of_path(text: &str) -> Self {
        let number = |part: Option<&str>| match part {
            None | Some("") => 0,
            Some(digits) => digits.parse().unwrap_or(u16::MAX),
        };
        let mut parts = text.split('.');
        Self { major: number(parts.next()), minor: number(parts.next()) }
    }
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
    fn a_path_may_say_it_oddly() {
        for (text, major, minor) in
            [("1.43", 1, 43), ("1", 1, 0), ("1.43.5", 1, 43), (".4", 0, 4), ("1.99999999", 1, 65535)]
        {
            assert_eq!(ApiVersion::of_path(text), ApiVersion { major, minor }, "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "1", "1.", "1.x", "+1.2", "1.51.0", "v1.51"] {
            assert_eq!(text.parse::<ApiVersion>(), Err(InvalidVersion(text.to_owned())), "{text}");
        }
    }
}
