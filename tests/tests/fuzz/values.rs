//! Names, numbers and parameters: right, nearly right, and wrong.

use std::fmt::Write as _;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use crate::Route;

/// Numbers that look random and are the same each time (xorshift).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() >> 11).unwrap() % end
    }

    pub(crate) fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Names and other words: some that mean something here, and some that mean nothing anywhere.
pub(crate) const WORDS: &[&str] = &[
    "box",
    "run",
    "busybox",
    "busybox:latest",
    "net",
    "vol",
    "bridge",
    "none",
    "local",
    "json-file",
    "80/tcp",
    "8000-8010/udp",
    "true",
    "0",
    "-1",
    "a=b",
    "latest",
    "",
    " ",
    "/",
    "..",
    "a b",
    "ä€😀",
    "%",
    "\u{1}",
    "{}",
    "[",
    "null",
    "SIGKILL",
    "9",
    "no",
    "10.99.0.0/24",
    "10.99.0.9",
    "fd00::/64",
    "02:42:ac:11:00:99",
    "root",
    "0:0",
    "1.5",
    "99999999999999999999",
    "sha256:0",
    "UPPER/case",
    "127.0.0.1:1/no/such:image",
];
pub(crate) const NUMBERS: &[i64] =
    &[0, 1, -1, 2, 10, 4096, 65_535, 65_536, 6_291_456, i64::MAX, i64::MIN, 1 << 31, -4096];
/// What the paths name.
pub(crate) const NAMES: &[&str] =
    &["box", "box", "run", "run", "net", "vol", "busybox", "nosuch", "a/b", "0", "%20", "ä", "..."];
const FILTERS: &[&str] = &[
    "label",
    "label!",
    "name",
    "id",
    "status",
    "before",
    "since",
    "until",
    "dangling",
    "reference",
    "ancestor",
    "expose",
    "publish",
    "network",
    "volume",
    "health",
    "exited",
    "is-task",
    "isolation",
    "driver",
    "scope",
    "type",
    "event",
    "container",
    "image",
    "enabled",
    "stars",
    "all",
    "frob",
];

/// What kind of value a query parameter has; all that are not here take words.
fn parameter(dice: &mut Dice, name: &str) -> String {
    let word = dice.pick(WORDS).to_owned();
    if dice.one_in(5) {
        return word;
    }
    match name {
        "filters" => filters(dice),
        "limit" | "h" | "w" | "tail" | "version" | "memory" | "timeout" | "reserved-space" => {
            dice.pick(NUMBERS).to_string()
        }
        // Waiting as long as one is told is no hang.
        "t" => dice.pick(&["0", "1", "x", ""]).to_owned(),
        "since" | "until" => {
            dice.pick(&["0", "1700000000.5", "2023-11-14T22:13:20Z", "1h", "-5", "x"]).to_owned()
        }
        "platform" | "platforms" => dice
            .pick(&[
                "linux/amd64",
                r#"{"os":"linux","architecture":"amd64"}"#,
                r#"{"os":"linux"}"#,
                "a/b/c/d",
                "{",
            ])
            .to_owned(),
        "condition" => dice.pick(&["not-running", "next-exit", "removed", "x"]).to_owned(),
        "signal" => dice.pick(&["SIGKILL", "KILL", "9", "SIGFROB", "0", "65", "-1"]).to_owned(),
        "path" => dice.pick(&["/", "/etc/passwd", "/tmp", "..", "/proc/1", "/nosuch/x"]).to_owned(),
        "changes" => dice.pick(&["CMD [\"true\"]", "ENV A=b", "FROB x", "EXPOSE 99999", "LABEL"]).to_owned(),
        _ => dice.pick(&["0", "1", "true", "false", "", "box", "busybox"]).to_owned(),
    }
}

fn filters(dice: &mut Dice) -> String {
    let mut map = Map::new();
    for _ in 0..=dice.below(2) {
        let (name, word) = (dice.pick(FILTERS), dice.pick(WORDS));
        let values = match dice.below(4) {
            0 => json!({ word: true }),
            1 => json!([word, dice.pick(WORDS)]),
            2 => json!([word]),
            _ => json!(dice.pick(NUMBERS)),
        };
        map.insert(name.to_owned(), values);
    }
    Value::Object(map).to_string()
}

/// The parameters of the API, for all routes: what one does not know it has to pass over.
const PARAMETERS: &[&str] = &[
    "all",
    "limit",
    "size",
    "filters",
    "name",
    "platform",
    "v",
    "force",
    "link",
    "path",
    "noOverwriteDirNonDir",
    "copyUIDGID",
    "detachKeys",
    "logs",
    "stream",
    "stdin",
    "stdout",
    "stderr",
    "signal",
    "follow",
    "since",
    "until",
    "timestamps",
    "tail",
    "h",
    "w",
    "t",
    "one-shot",
    "ps_args",
    "condition",
    "container",
    "repo",
    "tag",
    "comment",
    "author",
    "pause",
    "changes",
    "message",
    "names",
    "quiet",
    "shared-size",
    "digests",
    "manifests",
    "identity",
    "term",
    "noprune",
    "platforms",
    "type",
    "verbose",
    "scope",
    "version",
    "remote",
    "timeout",
    "status",
    "reserved-space",
    "insertDefaults",
    "statement",
];

/// The most likely ones of a route come from what its path is about.
pub(crate) fn query(dice: &mut Dice, route: &Route) -> String {
    let mut query = String::new();
    for _ in 0..dice.below(4) {
        let name = match (route.path.as_str(), dice.one_in(3)) {
            ("/images/create", _) => {
                dice.pick(&["fromImage", "fromSrc", "tag", "repo", "platform", "changes"])
            }
            (path, false) if path.ends_with("/json") || path.ends_with("prune") => {
                dice.pick(&["filters", "all", "limit", "size", "manifests", "platform"])
            }
            (path, false) if path.contains("archive") => dice.pick(&["path", "noOverwriteDirNonDir"]),
            (path, false) if path.ends_with("logs") => {
                dice.pick(&["stdout", "stderr", "tail", "since", "until"])
            }
            _ => dice.pick(PARAMETERS),
        };
        let value = match (name, parameter(dice, name)) {
            ("fromImage", value) if value.is_empty() || !value.contains(['/', ' ', '[']) => {
                "127.0.0.1:1/x".to_owned()
            }
            (_, value) => value,
        };
        let value = match dice.one_in(40) {
            true => "%zz".to_owned(),
            false => utf8_percent_encode(&value, NON_ALPHANUMERIC).to_string(),
        };
        write!(query, "{}{name}={value}", if query.is_empty() { '?' } else { '&' }).unwrap();
    }
    query
}
