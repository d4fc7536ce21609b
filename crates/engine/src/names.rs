//! Names of containers: which are allowed, and random ones for those that were given none.

use crate::identity;
use crate::{Error, Result};

const QUALITIES: [&str; 64] = [
    "able", "airy", "amber", "ample", "apt", "arctic", "avid", "balmy", "bold", "brave", "breezy", "bright",
    "brisk", "calm", "candid", "civil", "clever", "coastal", "cosy", "crisp", "curious", "deft", "eager",
    "early", "easy", "fair", "fleet", "fond", "frank", "fresh", "gentle", "glad", "golden", "grand", "hale",
    "handy", "hardy", "honest", "jolly", "keen", "kind", "lively", "lucid", "mellow", "merry", "mild",
    "neat", "nimble", "noble", "patient", "placid", "plucky", "proud", "quick", "quiet", "ready", "robust",
    "serene", "steady", "sunny", "swift", "tidy", "vivid", "witty",
];

/// Those who knew the sea, its ships and its sky.
const SAILORS: [&str; 64] = [
    "almeida",
    "amundsen",
    "anson",
    "baffin",
    "barents",
    "beaufort",
    "behaim",
    "bellingshausen",
    "bering",
    "blackborow",
    "bligh",
    "bougainville",
    "bowditch",
    "cabot",
    "cabral",
    "cartier",
    "cavendish",
    "champlain",
    "chichester",
    "columbus",
    "cook",
    "cousteau",
    "crozier",
    "davis",
    "dias",
    "drake",
    "dumont",
    "earhart",
    "eriksson",
    "fitzroy",
    "flinders",
    "franklin",
    "frobisher",
    "gama",
    "harrison",
    "henry",
    "heyerdahl",
    "hudson",
    "humboldt",
    "jeanne",
    "knoxjohnston",
    "kotzebue",
    "laperouse",
    "lind",
    "macarthur",
    "magellan",
    "maury",
    "mercator",
    "nansen",
    "nelson",
    "piri",
    "polo",
    "pytheas",
    "ross",
    "scott",
    "shackleton",
    "slocum",
    "tabarly",
    "tasman",
    "tupaia",
    "vancouver",
    "vespucci",
    "worsley",
    "zhenghe",
];

/// A random name; with `attempt` above zero a digit makes it rarer.
pub(crate) fn random(attempt: u32) -> Result<String> {
    let mut dice = [0u8; 3];
    identity::random(&mut dice)?;
    let [quality, sailor, digit] = dice.map(usize::from);
    let name = format!("{}_{}", QUALITIES[quality % QUALITIES.len()], SAILORS[sailor % SAILORS.len()]);
    Ok(if attempt == 0 { name } else { format!("{name}{}", digit % 10) })
}

/// Checks a name given by a user and takes its leading slash off.
pub(crate) fn check(name: &str) -> Result<&str> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    if is_allowed(bare) {
        return Ok(bare);
    }
    Err(Error::invalid(format!(
        "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
    )))
}

/// Whether it is made of letters, digits, and inside of it also `_`, `.` and `-`; at least two of them.
pub(crate) fn is_allowed(name: &str) -> bool {
    let mut letters = name.bytes();
    let well_begun = letters.next().is_some_and(|letter| letter.is_ascii_alphanumeric());
    let allowed = |letter: u8| letter.is_ascii_alphanumeric() || matches!(letter, b'_' | b'.' | b'-');
    well_begun && name.len() > 1 && letters.all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_names_are_allowed_names() {
        for attempt in 0..200 {
            let name = random(attempt % 2).unwrap();
            assert_eq!(check(&name), Ok(name.as_str()));
        }
    }

    #[test]
    fn names_are_checked() {
        assert_eq!(check("/web-1.a_b"), Ok("web-1.a_b"));
        for name in ["", "/", "a", "-a", "a b", "a/b", "é1", ".hidden"] {
            assert!(check(name).is_err(), "{name}");
        }
    }
}
