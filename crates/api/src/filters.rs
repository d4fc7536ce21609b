//! The `filters` parameter of lists: `{"status":["running"]}`, or in its old form `{"status":{"running":true}}`.

use serde::de::{self, Deserialize, Deserializer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Names of filters with the values asked for. Values of one name are alternatives (for labels: all must hold),
/// different names must all hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

/// Filters that are not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The parameter is no JSON of either form.
    #[error("invalid filter")]
    Syntax,
    /// A list does not know this filter.
    #[error("invalid filter '{0}'")]
    Name(String),
    /// A filter does not take this value.
    #[error("invalid filter '{0}=[{1}]'")]
    Value(String, String),
}

impl Filters {
    /// Reads the parameter. An empty one filters nothing.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() {
            return Ok(Filters::default());
        }
        let fields: Option<BTreeMap<String, Values>> =
            serde_json::from_str(text).map_err(|_| Invalid::Syntax)?;
        Ok(Filters(fields.unwrap_or_default().into_iter().map(|(name, values)| (name, values.0)).collect()))
    }

    /// Adds a value.
    pub fn add(&mut self, name: &str, value: &str) {
        self.0.entry(name.to_owned()).or_default().insert(value.to_owned());
    }

    /// Writes the parameter.
    pub fn to_json(&self) -> String {
        // Strings in maps: serialising cannot fail.
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    /// Whether nothing is filtered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this filter is given.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The values of a filter, sorted.
    pub fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.0.get(name).into_iter().flatten().map(String::as_str)
    }

    /// Whether one of the filter's values is `wanted`; where there is no value, nothing is filtered.
    pub fn any(&self, name: &str, wanted: impl Fn(&str) -> bool) -> bool {
        let mut values = self.values(name).peekable();
        values.peek().is_none() || values.any(wanted)
    }

    /// Whether the filter is absent or names exactly this value.
    pub fn matches(&self, name: &str, value: &str) -> bool {
        self.any(name, |wanted| wanted == value)
    }

    /// A filter that is yes or no; nothing if it is absent.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, Invalid> {
        let Some(values) = self.0.get(name) else { return Ok(None) };
        if values.is_empty() {
            return Err(Invalid::Name(name.to_owned()));
        }
        let one_of = |words: [&str; 2]| words.iter().any(|word| values.contains(*word));
        match (one_of(["1", "true"]), one_of(["0", "false"])) {
            (true, false) => Ok(Some(true)),
            (false, true) => Ok(Some(false)),
            _ => Err(Invalid::Value(name.to_owned(), values.iter().cloned().collect::<Vec<_>>().join(" "))),
        }
    }

    /// Whether every value of the filter holds for these labels: `key` is there, or `key=value` is equal.
    pub fn matches_labels(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        self.values(name).all(|wanted| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|is| is == value),
            None => labels.contains_key(wanted),
        })
    }

    /// Refuses filters that a list does not know.
    pub fn accept(&self, names: &[&str]) -> Result<(), Invalid> {
        match self.0.keys().find(|name| !names.contains(&name.as_str())) {
            Some(unknown) => Err(Invalid::Name(unknown.clone())),
            None => Ok(()),
        }
    }
}

/// The values of one filter, in either form.
struct Values(BTreeSet<String>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListOrMap;
        impl<'de> de::Visitor<'de> for ListOrMap {
            type Value = Values;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of strings or a map of strings to booleans")
            }
            fn visit_unit<E: de::Error>(self) -> Result<Values, E> {
                Ok(Values(BTreeSet::new()))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Values, A::Error> {
                let mut values = BTreeSet::new();
                while let Some(value) = list.next_element()? {
                    values.insert(value);
                }
                Ok(Values(values))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Values, A::Error> {
                let mut values = BTreeSet::new();
                while let Some((value, _)) = map.next_entry::<String, bool>()? {
                    values.insert(value);
                }
                Ok(Values(values))
            }
        }
        deserializer.deserialize_any(ListOrMap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_mean_the_same() {
        let new = Filters::parse(r#"{"label":["a=b","c"],"status":["running"]}"#).unwrap();
        let old = Filters::parse(r#"{"label":{"a=b":true,"c":true},"status":{"running":true}}"#).unwrap();
        assert_eq!(new, old);
        assert_eq!(new.values("label").collect::<Vec<_>>(), ["a=b", "c"]);
        assert_eq!(Filters::parse(&new.to_json()).unwrap(), new);
        assert!(Filters::parse("").unwrap().is_empty());
        assert!(Filters::parse("null").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for text in ["x", "[]", r#"{"a":1}"#, r#"{"a":[1]}"#, r#"{"a":{"b":2}}"#] {
            assert!(matches!(Filters::parse(text), Err(Invalid::Syntax)), "{text}");
        }
        let filters = Filters::parse(r#"{"colour":["red"]}"#).unwrap();
        assert_eq!(filters.accept(&["name", "label"]).unwrap_err().to_string(), "invalid filter 'colour'");
    }

    #[test]
    fn labels_flags_and_values_match() {
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned()), ("c".to_owned(), String::new())]);
        let holds = |json| Filters::parse(json).unwrap().matches_labels("label", &labels);
        assert!(holds(r#"{"label":["a","a=b","c="]}"#));
        assert!(!holds(r#"{"label":["a=x"]}"#));
        assert!(!holds(r#"{"label":["a","d"]}"#));

        let flags = Filters::parse(r#"{"dangling":["1"],"both":["true","false"],"odd":["yes"]}"#).unwrap();
        assert_eq!(flags.flag("dangling"), Ok(Some(true)));
        assert_eq!(flags.flag("absent"), Ok(None));
        assert!(flags.flag("both").is_err());
        assert_eq!(flags.flag("odd").unwrap_err().to_string(), "invalid filter 'odd=[yes]'");
        assert!(flags.matches("absent", "x") && flags.matches("odd", "yes") && !flags.matches("odd", "no"));
    }
}
