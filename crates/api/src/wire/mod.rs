//! The wire types of the Docker Engine API 1.56, one file per subject; what older versions have otherwise is in
//! [`versions`].
//!
//! Names and shapes are Docker's, down to what is `null`, what is `[]` and what is left out:
//! existing clients depend on it. In this module
//! - `Option<T>` serialises as `null` when absent, a plain type as its zero value,
//! - what Docker omits when empty carries `skip_serializing_if`,
//! - when reading, an absent field and `null` both become the default, and unknown fields are ignored.
//!
//! Values stay strings and integers here (`"80/tcp"`, `"no"`, bytes); they become types at the routes.
#![allow(missing_docs, reason = "fields are named and documented by the Engine API reference")]

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::BTreeMap;
use std::fmt;

pub mod container;
pub mod events;
pub mod exec;
pub mod host;
pub mod image;
pub mod mount;
pub mod network;
pub mod progress;
pub mod registry;
pub mod stats;
pub mod system;
pub mod versions;
pub mod volume;

/// Declares a wire struct: JSON names in Docker's PascalCase (or `snake_case`, if it says so), every
/// field optional and nullable when read.
macro_rules! wire {
    (snake_case $($rest:tt)*) => { wire! { @case "snake_case"; $($rest)* } };
    (
        @case $case:literal;
        $(#[$meta:meta])*
        pub struct $name:ident { $( $(#[$fmeta:meta])* $field:ident : $ty:ty ),* $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = $case, default)]
        pub struct $name {
            $(
                $(#[$fmeta])*
                #[serde(deserialize_with = "crate::wire::nullable")]
                pub $field: $ty,
            )*
        }
    };
    ($($rest:tt)*) => { wire! { @case "PascalCase"; $($rest)* } };
}
pub(crate) use wire;

/// Reads `null` as the default value.
pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Whether a value is what Go's `omitempty` leaves out.
pub(crate) fn zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// String pairs, sorted as Go writes maps.
pub type Labels = BTreeMap<String, String>;

/// Go's `map[string]struct{}`: a set written as `{"key": {}}`.
pub type Set = BTreeMap<String, Empty>;

/// The value `{}`. Anything is accepted in its place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Empty {}

impl<'de> Deserialize<'de> for Empty {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        de::IgnoredAny::deserialize(deserializer).map(|_| Empty {})
    }
}

/// A list of strings that may be written as one string (`Cmd`, `Entrypoint`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StrSlice(pub Vec<String>);

impl Serialize for StrSlice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for StrSlice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> de::Visitor<'de> for OneOrMany {
            type Value = StrSlice;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<StrSlice, E> {
                Ok(StrSlice(vec![text.to_owned()]))
            }
            fn visit_unit<E: de::Error>(self) -> Result<StrSlice, E> {
                Ok(StrSlice::default())
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<StrSlice, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = list.next_element()? {
                    words.push(word);
                }
                Ok(StrSlice(words))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

impl From<Vec<String>> for StrSlice {
    fn from(words: Vec<String>) -> Self {
        StrSlice(words)
    }
}

/// The body of every answer with a status of 400 or more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What the user reads after "Error response from daemon: ".
    #[serde(default)]
    pub message: String,
}

/// The answer to what creates a thing known only by its id (exec, commit).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdResponse {
    #[serde(rename = "Id", default)]
    pub id: String,
}

#[cfg(test)]
mod tests;
