//! Platforms: `linux/amd64`, `linux/arm64/v8`, written with Go's names for systems and processors.

use std::fmt;
use std::str::FromStr;

/// An operating system and a processor, in normal form (`amd64`, not `x86_64`; no variant where it is the usual one).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`, `arm`, `386`, `riscv64`, …
    pub architecture: String,
    /// `v7` of `arm/v7`; absent where the processor has one usual variant.
    pub variant: Option<String>,
}

/// Why a text is not a platform; the messages are those that Docker's users know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A system with other characters than letters, digits, `_` and `-`.
    #[error(
        "{component:?} is an invalid OS component of {text:?}: OSAndVersion specifier component must match \"^([A-Za-z0-9_-]+)(?:\\\\(([A-Za-z0-9_.-]*)\\\\))?$\": invalid argument"
    )]
    System {
        /// The component.
        component: String,
        /// The whole text.
        text: String,
    },
    /// A processor or variant with other characters than those and `.`.
    #[error(
        "{component:?} is an invalid component of {text:?}: platform specifier component must match \"^[A-Za-z0-9_.-]+$\": invalid argument"
    )]
    Component {
        /// The component.
        component: String,
        /// The whole text.
        text: String,
    },
    /// One word that is neither a system nor a processor.
    #[error("{0:?}: unknown operating system or architecture: invalid argument")]
    Unknown(String),
    /// More than three components.
    #[error("{0:?}: cannot parse platform specifier: invalid argument")]
    Format(String),
}

impl Platform {
    /// A platform from its parts as manifests write them, brought into normal form.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let variant = variant.map(str::to_lowercase).unwrap_or_default();
        let (architecture, variant) = normal_form(&architecture.to_lowercase(), &variant);
        Self { os: normal_os(&os.to_lowercase()), architecture, variant }
    }

    /// Parses `os`, `architecture`, `os/architecture` or `os/architecture/variant`; what is missing is the host's.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let parts: Vec<&str> = text.split('/').collect();
        if !is_component(parts[0]) || parts[0].contains('.') {
            return Err(Error::System { component: parts[0].to_owned(), text: text.to_owned() });
        }
        if let Some(component) = parts.iter().find(|part| !is_component(part)) {
            return Err(Error::Component { component: (*component).to_owned(), text: text.to_owned() });
        }
        match parts[..] {
            [word] => Self::from_word(word),
            [os, architecture] => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::new(os, architecture, Some(variant))),
            _ => Err(Error::Format(text.to_owned())),
        }
    }

    fn from_word(word: &str) -> Result<Self, Error> {
        let host = Self::host();
        let lower = word.to_lowercase();
        if KNOWN_SYSTEMS.contains(&normal_os(&lower).as_str()) {
            return Ok(Self { os: normal_os(&lower), ..host });
        }
        let platform = Self::new(&host.os, &lower, None);
        match KNOWN_ARCHITECTURES.contains(&platform.architecture.as_str()) {
            true => Ok(platform),
            false => Err(Error::Unknown(word.to_owned())),
        }
    }

    /// What this program runs on.
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH, None)
    }

    /// The same with the level of its processor, as Go programs name it: `linux/amd64/v3`.
    pub fn host_in_full() -> Self {
        Self { variant: processor_level().map(str::to_owned), ..Self::host() }
    }

    /// Whether what was built for `other` runs where `self` is asked for.
    pub fn matches(&self, other: &Self) -> bool {
        self.rank(other).is_some()
    }

    /// How well `other` suits where `self` is asked for: 0 is exact, more is an older variant, `None` does not run.
    pub fn rank(&self, other: &Self) -> Option<u32> {
        if self.os != other.os || self.architecture != other.architecture {
            return None;
        }
        let wanted = level(&self.architecture, self.variant.as_deref())?;
        let offered = level(&other.architecture, other.variant.as_deref())?;
        wanted.checked_sub(offered)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

crate::serde_as_text!(Platform);

/// The highest level of the x86-64 psABI that this machine has; none is the first.
#[cfg(target_arch = "x86_64")]
fn processor_level() -> Option<&'static str> {
    macro_rules! has {
        ($($feature:tt)*) => { $(std::arch::is_x86_feature_detected!($feature))&&* };
    }
    let second = has!("cmpxchg16b" "popcnt" "sse3" "sse4.1" "sse4.2" "ssse3");
    let third = second && has!("avx" "avx2" "bmi1" "bmi2" "f16c" "fma" "lzcnt" "movbe");
    let fourth = third && has!("avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl");
    [(fourth, "v4"), (third, "v3"), (second, "v2")].iter().find(|(has, _)| *has).map(|(_, level)| *level)
}

#[cfg(not(target_arch = "x86_64"))]
fn processor_level() -> Option<&'static str> {
    (std::env::consts::ARCH == "aarch64").then_some("v8")
}

const KNOWN_SYSTEMS: [&str; 9] =
    ["linux", "windows", "darwin", "freebsd", "netbsd", "openbsd", "dragonfly", "solaris", "illumos"];

const KNOWN_ARCHITECTURES: [&str; 15] = [
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le",
    "riscv64", "s390x", "sparc64", "wasm",
];

fn is_component(part: &str) -> bool {
    !part.is_empty()
        && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

fn normal_os(os: &str) -> String {
    match os {
        "macos" => "darwin".to_owned(),
        other => other.to_owned(),
    }
}

fn normal_form(architecture: &str, variant: &str) -> (String, Option<String>) {
    let (architecture, variant) = match (architecture, variant) {
        ("i386" | "x86" | "386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64" | "arm64", variant) => ("arm64", variant),
        ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        (architecture, variant) => (architecture, variant),
    };
    (architecture.to_owned(), (!variant.is_empty()).then(|| variant.to_owned()))
}

/// Variants are levels: whoever runs one runs the lower ones (`v8.2` is 82).
fn level(architecture: &str, variant: Option<&str>) -> Option<u32> {
    let usual = match architecture {
        "arm64" => "v8",
        "arm" => "v7",
        _ => "v1",
    };
    let digits = variant.unwrap_or(usual).strip_prefix('v')?;
    let (major, minor) = digits.split_once('.').unwrap_or((digits, "0"));
    Some(
        major.parse::<u32>().ok()?.checked_mul(100)?
            + minor.parse::<u32>().ok().filter(|minor| *minor < 100)?,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Platform {
        Platform::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn normal_forms() {
        for (text, normal) in [
            ("linux/x86_64", "linux/amd64"),
            ("Linux/AMD64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("riscv64", "linux/riscv64"),
        ] {
            assert_eq!(parse(text).to_string(), normal);
        }
        assert_eq!(parse("linux"), Platform::host());
    }

    #[test]
    fn newer_processors_run_older_variants() {
        assert!(parse("linux/arm64").matches(&parse("linux/arm64/v8")));
        assert!(parse("linux/arm/v7").matches(&parse("linux/arm/v6")));
        assert!(!parse("linux/arm/v6").matches(&parse("linux/arm/v7")));
        assert!(!parse("linux/amd64").matches(&parse("linux/386")));
        assert!(!parse("linux/amd64").matches(&parse("linux/amd64/v3")));
        assert!(
            parse("linux/arm/v7").rank(&parse("linux/arm/v7"))
                < parse("linux/arm/v7").rank(&parse("linux/arm/v5"))
        );
    }

    #[test]
    fn refuses() {
        assert!(Platform::parse("").is_err());
        assert!(Platform::parse("a/b/c/d").is_err());
        assert!(Platform::parse("linux/a b").is_err());
        let error = Platform::parse("frobnicate").unwrap_err().to_string();
        assert_eq!(error, "\"frobnicate\": unknown operating system or architecture: invalid argument");
    }
}
