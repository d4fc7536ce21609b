//! A document's values as Go's decoder reads them: fields by their exact name or else by one that differs in case
//! alone, `null` as the zero value of whatever stands there, and lists of a fixed length shorter or longer than that.
//!
//! A structure of the wire asks its deserializer for the fields it knows, and this one answers with what the document
//! has for them. Keys of maps (labels, options, ports) are data and stay as they are. What is of another type is
//! refused with the way to it, in the form of Go's decoder.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// A value of a document, to be read.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a>(pub(crate) &'a Value);

/// A value that is not of the type it has to be.
#[derive(Debug)]
pub(crate) struct Wrong {
    /// The way to it, the last step first.
    path: Vec<String>,
    found: Found,
}

#[derive(Debug)]
enum Found {
    /// What is there, and the type that should be.
    Type(String, &'static str),
    Other(String),
}

impl Wrong {
    fn at(mut self, step: impl Into<String>) -> Self {
        self.path.push(step.into());
        self
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path: String = self.path.iter().rev().map(|step| format!(".{step}")).collect();
        match &self.found {
            Found::Type(value, wanted) if path.is_empty() => {
                write!(f, "json: cannot unmarshal {value} into Go value of type {wanted}")
            }
            Found::Type(value, wanted) => {
                write!(f, "json: cannot unmarshal {value} into Go struct field {path} of type {wanted}")
            }
            Found::Other(text) if path.is_empty() => f.write_str(text),
            Found::Other(text) => write!(f, "{path}: {text}"),
        }
    }
}

impl std::error::Error for Wrong {}

impl serde::de::Error for Wrong {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self { path: Vec::new(), found: Found::Other(text.to_string()) }
    }
}

/// What `object` has for each of `fields` that it has. A field that stands there several times counts once: as its
/// exact name says, or as the last one.
fn known<'a>(
    object: &'a Map<String, Value>,
    fields: &'static [&'static str],
) -> impl Iterator<Item = (&'a str, Fields<'a>)> {
    let spelt =
        |name: &str| object.iter().rfind(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    fields.iter().filter_map(move |name| Some((*name, Fields(object.get(*name).or_else(|| spelt(name))?))))
}

/// Entries of an object, which note the way to what is wrong.
struct Entries<'a, I> {
    entries: I,
    last: Option<(&'a str, Fields<'a>)>,
}

impl<'a, I: Iterator<Item = (&'a str, Fields<'a>)>> Entries<'a, I> {
    fn of(entries: I) -> Self {
        Self { entries, last: None }
    }
}

impl<'de, I: Iterator<Item = (&'de str, Fields<'de>)>> MapAccess<'de> for Entries<'de, I> {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Wrong> {
        self.last = self.entries.next();
        let Some((key, _)) = self.last else { return Ok(None) };
        seed.deserialize(key.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Wrong> {
        let (key, value) = self.last.take().ok_or_else(|| <Wrong as serde::de::Error>::custom("no entry"))?;
        seed.deserialize(value).map_err(|wrong| wrong.at(key))
    }
}

/// Items of a list, which do the same.
struct Items<I> {
    items: I,
    next: usize,
}

impl<I> Items<I> {
    fn of(items: I) -> Self {
        Self { items, next: 0 }
    }
}

impl<'de, I: Iterator<Item = &'de Value>> SeqAccess<'de> for Items<I> {
    type Error = Wrong;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Wrong> {
        let Some(item) = self.items.next() else { return Ok(None) };
        self.next += 1;
        seed.deserialize(Fields(item)).map(Some).map_err(|wrong| wrong.at((self.next - 1).to_string()))
    }
}

impl Fields<'_> {
    /// The refusal of what is here where a value of type `wanted` has to be.
    fn instead_of(self, wanted: &'static str) -> Wrong {
        let value = match self.0 {
            Value::Null => "null".to_owned(),
            Value::Bool(_) => "bool".to_owned(),
            Value::Number(number) if !matches!(wanted, "string" | "bool" | "list" | "object") => {
                format!("number {number}")
            }
            Value::Number(_) => "number".to_owned(),
            Value::String(_) => "string".to_owned(),
            Value::Array(_) => "array".to_owned(),
            Value::Object(_) => "object".to_owned(),
        };
        Wrong { path: Vec::new(), found: Found::Type(value, wanted) }
    }
}

/// Numbers: what fits, and zero for `null`.
macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty, $go:literal, $read:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
            let read: fn(&Value) -> Option<$type> = $read;
            match self.0 {
                Value::Null => visitor.$visit(<$type>::default()),
                value => visitor.$visit(read(value).ok_or_else(|| self.instead_of($go))?),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Fields<'de> {
    type Error = Wrong;

    numbers! {
        deserialize_i8 visit_i8 i8, "int8", |value| value.as_i64()?.try_into().ok();
        deserialize_i16 visit_i16 i16, "int16", |value| value.as_i64()?.try_into().ok();
        deserialize_i32 visit_i32 i32, "int32", |value| value.as_i64()?.try_into().ok();
        deserialize_i64 visit_i64 i64, "int64", Value::as_i64;
        deserialize_u8 visit_u8 u8, "uint8", |value| value.as_u64()?.try_into().ok();
        deserialize_u16 visit_u16 u16, "uint16", |value| value.as_u64()?.try_into().ok();
        deserialize_u32 visit_u32 u32, "uint32", |value| value.as_u64()?.try_into().ok();
        deserialize_u64 visit_u64 u64, "uint64", Value::as_u64;
        deserialize_f32 visit_f64 f64, "float32", Value::as_f64;
        deserialize_f64 visit_f64 f64, "float64", Value::as_f64;
        deserialize_bool visit_bool bool, "bool", Value::as_bool;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(_) => self.deserialize_bool(visitor),
            Value::Number(number) if number.is_u64() => self.deserialize_u64(visitor),
            Value::Number(number) if number.is_i64() => self.deserialize_i64(visitor),
            Value::Number(_) => self.deserialize_f64(visitor),
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(list) => visitor.visit_seq(Items::of(list.iter())),
            Value::Object(map) => visitor.visit_map(Entries::of(entries(map))),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.0 {
            Value::Null => visitor.visit_borrowed_str(""),
            Value::String(text) => visitor.visit_borrowed_str(text),
            _ => Err(self.instead_of("string")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.0 {
            Value::Null => visitor.visit_seq(Items::of(std::iter::empty())),
            Value::Array(list) => visitor.visit_seq(Items::of(list.iter())),
            _ => Err(self.instead_of("list")),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Wrong> {
        let list = match self.0 {
            Value::Null => [].as_slice(),
            Value::Array(list) => list,
            _ => return Err(self.instead_of("list")),
        };
        visitor.visit_seq(Items::of(list.iter().chain(std::iter::repeat(&Value::Null)).take(length)))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.0 {
            Value::Null => visitor.visit_map(Entries::of(std::iter::empty())),
            Value::Object(map) => visitor.visit_map(Entries::of(entries(map))),
            _ => Err(self.instead_of("object")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match self.0 {
            Value::Null => visitor.visit_map(Entries::of(std::iter::empty())),
            Value::Object(object) => visitor.visit_map(Entries::of(known(object, fields))),
            _ => Err(self.instead_of("object")),
        }
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple_struct enum identifier ignored_any
    }
}

fn entries(map: &Map<String, Value>) -> impl Iterator<Item = (&str, Fields<'_>)> {
    map.iter().map(|(key, value)| (key.as_str(), Fields(value)))
}

#[cfg(test)]
mod tests {
    use super::super::{create_body, document};
    use hull_api::wire::host::HostConfig;
    use hull_api::wire::network::NetworkCreateRequest;

    #[test]
    fn fields_are_found_in_any_case() {
        let text = r#"{"image": "x", "CMD": ["a"], "hostconfig": {"networkmode": "host", "MEMORY": 7,
            "restartPolicy": {"name": "always"}, "portBindings": {"80/tcp": [{"hostport": "81"}]}},
            "networkingConfig": {"endpointsconfig": {"Net": {"ipamconfig": {"IPv4address": "10.0.0.1"}}}}}"#;
        let body = create_body(&serde_json::from_str(text).unwrap()).unwrap().unwrap();
        assert_eq!((body.config.image.as_str(), body.config.cmd.unwrap().0), ("x", vec!["a".to_owned()]));
        let host = body.host_config;
        assert_eq!((host.network_mode.as_str(), host.memory), ("host", 7));
        assert_eq!(host.restart_policy.name, "always");
        assert_eq!(host.port_bindings["80/tcp"].as_ref().unwrap()[0].host_port, "81");
        let endpoint = body.networking_config.endpoints_config["Net"].clone().unwrap();
        assert_eq!(endpoint.ipam_config.unwrap().ipv4_address, "10.0.0.1");
    }

    #[test]
    fn keys_of_maps_are_data() {
        let text = r#"{"labels": {"Image": "1", "image": "2"}, "name": "n", "options": {"DRIVER": "x"}}"#;
        let body: NetworkCreateRequest = document(text.as_bytes()).unwrap();
        let labels: Vec<_> =
            body.labels.iter().flatten().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(labels, ["Image=1", "image=2"]);
        assert_eq!((body.name.as_str(), body.options.unwrap()["DRIVER"].as_str()), ("n", "x"));
    }

    #[test]
    fn a_field_that_is_there_twice_counts_once() {
        for (text, memory) in [
            (r#"{"Memory": 1, "Memory": 2}"#, 2),
            (r#"{"memory": 1, "Memory": 2}"#, 2),
            (r#"{"MEMORY": 1, "memory": 2}"#, 2),
            (r#"{"Memory": null, "CpuShares": 3}"#, 0),
        ] {
            assert_eq!(document::<HostConfig>(text.as_bytes()).unwrap().memory, memory, "{text}");
        }
    }

    #[test]
    fn null_is_the_zero_value_of_what_stands_there() {
        let text = r#"{"Image": null, "Tty": null, "Env": [null], "Labels": {"a": null}, "StopTimeout": null,
            "Healthcheck": {"Test": null, "Retries": null}, "HostConfig": {"Memory": null, "Binds": null,
            "Devices": [null], "PortBindings": {"80/tcp": [null]}, "ConsoleSize": [null, 7], "Sysctls": {"x": null}}}"#;
        let body = create_body(&serde_json::from_str(text).unwrap()).unwrap().unwrap();
        assert_eq!(
            (body.config.image.as_str(), body.config.tty, body.config.stop_timeout),
            ("", false, None)
        );
        assert_eq!(body.config.env.unwrap(), [""]);
        assert_eq!(body.config.labels["a"], "");
        assert_eq!(body.config.healthcheck.unwrap().retries, 0);
        let host = body.host_config;
        assert_eq!((host.memory, host.console_size, host.sysctls["x"].as_str()), (0, [0, 7], ""));
        assert_eq!(host.devices.unwrap()[0].path_on_host, "");
        assert_eq!(host.port_bindings["80/tcp"].as_ref().unwrap()[0].host_port, "");
    }

    #[test]
    fn lists_of_a_fixed_length_may_have_another() {
        for (text, size) in [("[]", [0, 0]), ("[5]", [5, 0]), ("[5, 6, 7]", [5, 6]), ("null", [0, 0])] {
            let text = format!(r#"{{"ConsoleSize": {text}}}"#);
            assert_eq!(document::<HostConfig>(text.as_bytes()).unwrap().console_size, size, "{text}");
        }
    }

    #[test]
    fn what_is_of_another_type_is_named_with_the_way_to_it() {
        let said = |text: &str| document::<HostConfig>(text.as_bytes()).unwrap_err();
        for (text, error) in [
            (r#"{"Memory": "1"}"#, "cannot unmarshal string into Go struct field .Memory of type int64"),
            (r#"{"Memory": 1.5}"#, "cannot unmarshal number 1.5 into Go struct field .Memory of type int64"),
            (
                r#"{"BlkioWeight": 70000}"#,
                "cannot unmarshal number 70000 into Go struct field .BlkioWeight of type uint16",
            ),
            (
                r#"{"BlkioDeviceReadBps": [{"Rate": -1}]}"#,
                "cannot unmarshal number -1 into Go struct field .BlkioDeviceReadBps.0.Rate of type uint64",
            ),
            (r#"{"Binds": "x"}"#, "cannot unmarshal string into Go struct field .Binds of type list"),
            (r#"{"Binds": [7]}"#, "cannot unmarshal number into Go struct field .Binds.0 of type string"),
            ("[]", "cannot unmarshal array into Go value of type object"),
        ] {
            assert_eq!(said(text), format!("invalid JSON: json: {error}"), "{text}");
        }
    }
}
