//! The words of an instruction: quotes, escapes and variables, as a Dockerfile has them; and Go's durations.

use std::iter::Peekable;
use std::str::Chars;

/// Splits at blanks outside of quotes, removes the quotes and replaces variables.
pub(crate) fn split(text: &str, env: &[String]) -> Vec<String> {
    let mut words = Vec::new();
    let mut scan = Scan { chars: text.chars().peekable(), env };
    while scan.skip_blanks() {
        words.push(scan.word(true));
    }
    words
}

/// The whole text as one word.
pub(crate) fn expand(text: &str, env: &[String]) -> String {
    Scan { chars: text.chars().peekable(), env }.word(false)
}

struct Scan<'a> {
    chars: Peekable<Chars<'a>>,
    env: &'a [String],
}

impl Scan<'_> {
    /// Whether a word follows.
    fn skip_blanks(&mut self) -> bool {
        while self.chars.next_if(|c| c.is_whitespace()).is_some() {}
        self.chars.peek().is_some()
    }

    fn word(&mut self, stop_at_blank: bool) -> String {
        let mut word = String::new();
        while let Some(c) = self.chars.next_if(|c| !(stop_at_blank && c.is_whitespace())) {
            match c {
                '\'' => word.extend(self.chars.by_ref().take_while(|c| *c != '\'')),
                '"' => self.double_quoted(&mut word),
                '\\' => word.extend(self.chars.next()),
                '$' => self.variable(&mut word),
                c => word.push(c),
            }
        }
        word
    }

    fn double_quoted(&mut self, word: &mut String) {
        while let Some(c) = self.chars.next() {
            match c {
                '"' => return,
                '\\' => match self.chars.next() {
                    Some(escaped @ ('"' | '\\' | '$')) => word.push(escaped),
                    other => {
                        word.push('\\');
                        word.extend(other);
                    }
                },
                '$' => self.variable(word),
                c => word.push(c),
            }
        }
    }

    /// `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME:+instead}`.
    fn variable(&mut self, word: &mut String) {
        if self.chars.next_if_eq(&'{').is_none() {
            let name = self.name();
            match name.is_empty() {
                true => word.push('$'),
                false => word.push_str(self.value(&name).unwrap_or_default()),
            }
            return;
        }
        let name = self.name();
        let rest: String = self.chars.by_ref().take_while(|c| *c != '}').collect();
        let value = self.value(&name).filter(|value| !value.is_empty());
        match (rest.get(..2), value) {
            (Some(":-"), None) | (Some(":+"), Some(_)) => word.push_str(&expand(&rest[2..], self.env)),
            (Some(":+"), None) => {}
            (_, value) => word.push_str(value.unwrap_or_default()),
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
            name.push(c);
        }
        name
    }

    fn value(&self, name: &str) -> Option<&str> {
        let pairs = self.env.iter().filter_map(|variable| variable.split_once('='));
        pairs.filter(|(known, _)| *known == name).map(|(_, value)| value).next()
    }
}

/// Go's `1h2m3.5s`, in nanoseconds.
pub(crate) fn duration(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = rest.split_at(digits);
        let length = unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len());
        let scale = match &unit[..length] {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * scale;
        rest = &unit[length..];
    }
    #[expect(clippy::cast_possible_truncation, reason = "the comparison keeps it in range")]
    (!text.is_empty() && total < 9e18).then_some(total as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let env = ["A=1".to_owned(), "B=".to_owned()];
        assert_eq!(split(r#"a  'b c'd "e \"f" g\ h"#, &env), ["a", "b cd", "e \"f", "g h"]);
        assert_eq!(split("$A${A}x '$A' \"$A\" \\$A", &env), ["11x", "$A", "1", "$A"]);
        assert_eq!(expand("${B:-x y} ${A:+set} ${C} $", &env), "x y set  $");
    }

    #[test]
    fn durations() {
        assert_eq!(duration("1m30s"), Some(90_000_000_000));
        assert_eq!(duration("1.5ms"), Some(1_500_000));
        for wrong in ["", "5", "s", "1x", "1s2"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }
}
