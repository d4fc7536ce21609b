//! Image references: `[domain/]path[:tag][@digest]`, read as Docker reads them (a short name means Docker Hub).

use std::fmt;
use std::str::FromStr;

use crate::{Digest, digest};

const HUB: &str = "docker.io";
const HUB_LIBRARY: &str = "library/";
const LONGEST_NAME: usize = 255;
const LONGEST_TAG: usize = 128;

/// A valid reference to an image, always with its domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not a reference; the messages are those that Docker's users know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It does not follow the grammar.
    #[error("invalid reference format")]
    Format,
    /// It would be a reference if it were lower case.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// Domain and path are too long.
    #[error("repository name must not be more than {LONGEST_NAME} characters")]
    TooLong,
    /// It looks like an id.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    Identifier(String),
    /// The part after `@` is not a digest.
    #[error(transparent)]
    Digest(#[from] digest::Error),
}

impl Reference {
    /// Parses what a user types: `busybox` is `docker.io/library/busybox`. No tag is added, see
    /// [`with_default_tag`](Self::with_default_tag).
    pub fn parse(text: &str) -> Result<Self, Error> {
        if is_identifier(text) {
            return Err(Error::Identifier(text.to_owned()));
        }
        let (domain, rest) = split_domain(text);
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (rest, None),
        };
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        let path = match domain == HUB && !path.contains('/') {
            true => format!("{HUB_LIBRARY}{path}"),
            false => path.to_owned(),
        };
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(Error::Uppercase(path));
        }
        if !is_domain(domain) || !path.split('/').all(is_path_component) || !tag.is_none_or(is_tag) {
            return Err(Error::Format);
        }
        if domain.len() + 1 + path.len() > LONGEST_NAME {
            return Err(Error::TooLong);
        }
        if !digest.is_none_or(looks_like_digest) {
            return Err(Error::Format);
        }
        let digest = digest.map(Digest::parse).transpose()?;
        Ok(Self { domain: domain.to_owned(), path, tag: tag.map(str::to_owned), digest })
    }

    /// The registry: `docker.io`, `localhost:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository within the registry: `library/busybox`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, if one was given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was given.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Domain and path: `docker.io/library/busybox`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The name as people write it: `busybox`, `user/app`, `localhost:5000/app`.
    pub fn familiar_name(&self) -> String {
        // `docker.io/a.b/c` without its domain would be read as another registry's.
        if self.domain != HUB || self.path.split_once('/').is_some_and(|(first, _)| looks_like_domain(first))
        {
            return self.name();
        }
        match self.path.strip_prefix(HUB_LIBRARY) {
            Some(short) if !short.contains('/') => short.to_owned(),
            _ => self.path.clone(),
        }
    }

    /// The whole reference as people write it: `busybox:latest`.
    pub fn familiar(&self) -> String {
        format!("{}{}", self.familiar_name(), Suffix(self))
    }

    /// Adds `:latest` where there is neither a tag nor a digest.
    #[must_use]
    pub fn with_default_tag(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".to_owned());
        }
        self
    }

    /// The same repository, by another tag and without a digest.
    pub fn with_tag(&self, tag: &str) -> Result<Self, Error> {
        match is_tag(tag) {
            true => Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() }),
            false => Err(Error::Format),
        }
    }

    /// The same repository, by digest and without a tag: `busybox@sha256:…`.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.domain, self.path, Suffix(self))
    }
}

/// Shows `[:tag][@digest]`.
struct Suffix<'a>(&'a Reference);

impl fmt::Display for Suffix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tag) = &self.0.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.0.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

crate::serde_as_text!(Reference);

/// Whether what stands behind `@` follows the grammar; whether it is a digest is another question.
fn looks_like_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    algorithm.starts_with(|first: char| first.is_ascii_alphabetic())
        && algorithm.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_+.".contains(&byte))
        && hex.len() >= 32
        && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_identifier(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The first component is a domain if it has a dot or a port, is `localhost`, or cannot be a path (upper case).
fn split_domain(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some((first, rest)) if looks_like_domain(first) => match first {
            "index.docker.io" => (HUB, rest),
            domain => (domain, rest),
        },
        _ => (HUB, text),
    }
}

fn looks_like_domain(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => return is_ipv6(address),
        Some((address, port)) => return is_ipv6(address) && port.strip_prefix(':').is_some_and(is_port),
        None => match domain.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (domain, None),
        },
    };
    host.split('.').all(is_domain_component) && port.is_none_or(is_port)
}

fn is_ipv6(address: &str) -> bool {
    !address.is_empty() && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':')
}

fn is_port(port: &str) -> bool {
    !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_domain_component(part: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !part.is_empty() && part.bytes().all(allowed) && !part.starts_with('-') && !part.ends_with('-')
}

/// Runs of `a-z0-9`, joined by one dot, one or two underscores, or any number of dashes.
fn is_path_component(part: &str) -> bool {
    let plain = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
    let bytes = part.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    let separators = bytes.split(plain).filter(|run| !run.is_empty());
    let joined = |run: &[u8]| matches!(run, b"." | b"_" | b"__") || run.iter().all(|byte| *byte == b'-');
    plain(first) && plain(last) && separators.into_iter().all(joined)
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let starts_well = tag.bytes().next().is_some_and(word);
    starts_well
        && tag.len() <= LONGEST_TAG
        && tag.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Reference {
        Reference::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn refused(text: &str) -> String {
        match Reference::parse(text) {
            Ok(reference) => panic!("{text} became {reference}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn short_names_mean_the_hub() {
        let busybox = parse("busybox").with_default_tag();
        assert_eq!(busybox.to_string(), "docker.io/library/busybox:latest");
        assert_eq!(busybox.familiar(), "busybox:latest");
        assert_eq!(parse("user/app:1").to_string(), "docker.io/user/app:1");
        assert_eq!(parse("index.docker.io/library/x").familiar(), "x");
        assert_eq!(parse("docker.io/x").familiar(), "x");
    }

    #[test]
    fn domains_ports_and_digests() {
        let local = parse("localhost:5000/a/b-c__d.e:V1.0");
        assert_eq!(
            (local.domain(), local.path(), local.tag()),
            ("localhost:5000", "a/b-c__d.e", Some("V1.0"))
        );
        assert_eq!(parse("[::1]:5000/x").domain(), "[::1]:5000");
        let digest = Digest::sha256(b"");
        let both = parse(&format!("example.org/x:t@{digest}"));
        assert_eq!((both.tag(), both.digest()), (Some("t"), Some(&digest)));
        assert_eq!(both.with_default_tag().tag(), Some("t"));
        assert_eq!(parse("x").with_digest(digest.clone()).familiar(), format!("x@{digest}"));
        assert_eq!(parse(&format!("x@{digest}")).with_default_tag().tag(), None);
    }

    #[test]
    fn errors_are_dockers() {
        assert_eq!(
            refused("FOO"),
            "invalid reference format: repository name (library/FOO) must be lowercase"
        );
        for text in ["", ":x", "a:", "a//b", "-a", "a:b:c", "a___b", "a..b", "../x", "x@", "ho_st:5/x", "a b"]
        {
            let error = refused(text);
            assert!(
                error.starts_with("invalid reference format") || error.contains("digest"),
                "{text}: {error}"
            );
        }
        assert_eq!(refused("x@sha256:abc"), "invalid reference format");
        assert_eq!(refused("x@y"), "invalid reference format");
        assert_eq!(refused(&format!("x@sha256:{}", "a".repeat(40))), "invalid checksum digest length");
        assert_eq!(refused(&format!("x@sha256:{}", "A".repeat(64))), "invalid checksum digest format");
        assert!(refused(&"a".repeat(64)).contains("cannot specify 64-byte hexadecimal strings"));
        assert!(refused(&"ab/".repeat(100).replace("b/", "b/a")).contains("255"));
        assert_eq!(refused(&format!("x:{}", "t".repeat(129))), "invalid reference format");
    }

    #[test]
    fn round_trips() {
        for text in [
            "docker.io/library/a",
            "docker.io/a.b/c",
            "docker.io/library/a:b",
            "h:1/x/y:z",
            "example.org/a--b.c",
        ] {
            assert_eq!(parse(text).to_string(), text);
            assert_eq!(parse(&parse(text).familiar()), parse(text));
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_parses_means_the_same_again(text in "[a-zA-Z0-9:/@._-]{0,80}|\\PC{0,40}") {
            if let Ok(reference) = Reference::parse(&text) {
                proptest::prop_assert_eq!(&parse(&reference.to_string()), &reference);
                proptest::prop_assert_eq!(&parse(&reference.familiar()), &reference);
                proptest::prop_assert!(!reference.path().split('/').any(|part| part == ".."));
            }
        }
    }
}
