//! Names of fields as Go's decoder finds them: the exact one, or else one that differs in case alone.
//!
//! A structure of the wire asks its deserializer for the fields it knows, and this one answers with what the document
//! has for them. Keys of maps (labels, options, ports) are data and stay as they are.

use serde::Deserializer;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{Error as _, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Map, Value};

/// A value of a document, to be read.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a>(pub(crate) &'a Value);

/// What `object` has for each of `fields` that it has. A field that stands there several times counts once: as its
/// exact name says, or as the last one.
fn known<'a>(
    object: &'a Map<String, Value>,
    fields: &'static [&'static str],
) -> impl Iterator<Item = (&'static str, Fields<'a>)> {
    let spelt =
        |name: &str| object.iter().rfind(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    fields.iter().filter_map(move |name| Some((*name, Fields(object.get(*name).or_else(|| spelt(name))?))))
}

impl<'de> Deserializer<'de> for Fields<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(list) => {
                let mut items = SeqDeserializer::new(list.iter().map(Fields));
                let read = visitor.visit_seq(&mut items)?;
                items.end().map(|()| read)
            }
            Value::Object(map) => {
                visitor.visit_map(MapDeserializer::new(map.iter().map(|(k, v)| (k.as_str(), Fields(v)))))
            }
            plain => plain.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    /// As in Go, `null` leaves a string as it was: empty.
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_borrowed_str(""),
            other => other.deserialize_string(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Object(object) => visitor.visit_map(MapDeserializer::new(known(object, fields))),
            Value::Array(_) => Err(Error::custom("an array is not an object")),
            other => other.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str bytes byte_buf unit unit_struct seq tuple
        tuple_struct map enum identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Error> for Fields<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
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
}
