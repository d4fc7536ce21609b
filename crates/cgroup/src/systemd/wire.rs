//! Messages of the D-Bus protocol, as far as systemd is spoken to: the D-Bus specification, "Marshaling (Wire Format)"
//! and "Message Format". We write little-endian; what others write is read in either order.

use crate::error::{Error, Result};

pub(super) const CALL: u8 = 1;
pub(super) const RETURN: u8 = 2;
pub(super) const ERROR: u8 = 3;
pub(super) const SIGNAL: u8 = 4;

/// The fixed part of every message: endianness, kind, flags, version, body length, serial, length of the fields.
pub(super) const PREFIX: usize = 16;
/// The longest message that the protocol allows.
const LONGEST: usize = 128 << 20;

/// A message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: u8,
    pub(super) serial: u32,
    pub(super) reply_to: Option<u32>,
    pub(super) path: String,
    pub(super) interface: String,
    pub(super) member: String,
    pub(super) error: String,
    pub(super) destination: String,
    pub(super) sender: String,
    pub(super) body: Body,
}

/// Arguments with their types.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) signature: String,
    bytes: Vec<u8>,
    big_endian: bool,
}

/// The value of a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// `b`
    Bool(bool),
    /// `t`
    Number(u64),
    /// `s`
    Text(String),
    /// `au`
    Numbers(Vec<u32>),
    /// `ay`
    Bytes(Vec<u8>),
    /// `a(ss)`
    Pairs(Vec<(String, String)>),
}

/// A property with its name.
pub(crate) type Property = (&'static str, Value);

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Self::Bool(_) => "b",
            Self::Number(_) => "t",
            Self::Text(_) => "s",
            Self::Numbers(_) => "au",
            Self::Bytes(_) => "ay",
            Self::Pairs(_) => "a(ss)",
        }
    }
}

impl Body {
    pub(super) fn text(mut self, text: &str) -> Self {
        self.signature.push('s');
        put_text(&mut self.bytes, text);
        self
    }

    #[cfg(test)]
    pub(super) fn path(mut self, path: &str) -> Self {
        self.signature.push('o');
        put_text(&mut self.bytes, path);
        self
    }

    #[cfg(test)]
    pub(super) fn number(mut self, number: u32) -> Self {
        self.signature.push('u');
        put_u32(&mut self.bytes, number);
        self
    }

    pub(super) fn flag(mut self, flag: bool) -> Self {
        self.signature.push('b');
        put_u32(&mut self.bytes, u32::from(flag));
        self
    }

    pub(super) fn properties(mut self, properties: &[Property]) -> Self {
        self.signature.push_str("a(sv)");
        put_array(&mut self.bytes, 8, properties, |bytes, (name, value)| {
            align(bytes, 8);
            put_text(bytes, name);
            put_signature(bytes, value.signature());
            put_value(bytes, value);
        });
        self
    }

    /// The empty list of further units that StartTransientUnit takes.
    pub(super) fn no_units(mut self) -> Self {
        self.signature.push_str("a(sa(sv))");
        put_array::<()>(&mut self.bytes, 8, &[], |_, ()| {});
        self
    }

    /// The arguments as far as they are texts, paths and numbers; numbers as text.
    pub(super) fn words(&self) -> Result<Vec<String>> {
        let mut reader = Reader { bytes: &self.bytes, at: 0, big_endian: self.big_endian };
        let mut words = Vec::new();
        for kind in self.signature.chars() {
            match kind {
                's' | 'o' => words.push(reader.text()?),
                'u' => words.push(reader.u32()?.to_string()),
                // A variant with a text in it: what Get answers.
                'v' if reader.signature()? == "s" => words.push(reader.text()?),
                _ => break,
            }
        }
        Ok(words)
    }
}

impl Message {
    pub(super) fn call(path: &str, interface: &str, member: &str, destination: &str, body: Body) -> Self {
        Self {
            kind: CALL,
            path: path.to_owned(),
            interface: interface.to_owned(),
            member: member.to_owned(),
            destination: destination.to_owned(),
            body,
            ..Self::default()
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![b'l', self.kind, 0, 1];
        put_u32(&mut bytes, u32::try_from(self.body.bytes.len()).unwrap_or(u32::MAX));
        put_u32(&mut bytes, self.serial);
        let texts = [
            (1, "o", &self.path),
            (2, "s", &self.interface),
            (3, "s", &self.member),
            (4, "s", &self.error),
            (6, "s", &self.destination),
            (8, "g", &self.body.signature),
        ];
        let texts: Vec<_> = texts.into_iter().filter(|(_, _, text)| !text.is_empty()).collect();
        put_array(&mut bytes, 8, &texts, |bytes, (code, kind, text)| {
            align(bytes, 8);
            bytes.push(*code);
            put_signature(bytes, kind);
            match *kind {
                "g" => put_signature(bytes, text),
                _ => put_text(bytes, text),
            }
        });
        if let Some(serial) = self.reply_to {
            // Appended to the array, whose length stands behind the two numbers.
            align(&mut bytes, 8);
            bytes.push(5);
            put_signature(&mut bytes, "u");
            put_u32(&mut bytes, serial);
            let length = u32::try_from(bytes.len() - PREFIX).unwrap_or(u32::MAX);
            bytes[PREFIX - 4..PREFIX].copy_from_slice(&length.to_le_bytes());
        }
        align(&mut bytes, 8);
        bytes.extend(&self.body.bytes);
        bytes
    }

    /// How long the message is that begins so.
    pub(super) fn length(prefix: &[u8; PREFIX]) -> Result<usize> {
        let big_endian = match prefix[0] {
            b'l' => false,
            b'B' => true,
            _ => return Err(garbled()),
        };
        let mut reader = Reader { bytes: prefix, at: 4, big_endian };
        let body = reader.u32()? as usize;
        reader.u32()?;
        let fields = reader.u32()? as usize;
        let length = PREFIX + fields.next_multiple_of(8) + body;
        if length > LONGEST { Err(garbled()) } else { Ok(length) }
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let big_endian = bytes.first() == Some(&b'B');
        let mut reader = Reader { bytes, at: 8, big_endian };
        let mut message =
            Self { kind: *bytes.get(1).ok_or_else(garbled)?, serial: reader.u32()?, ..Self::default() };
        let end = PREFIX + reader.u32()? as usize;
        while reader.at < end {
            reader.align(8);
            let code = reader.byte()?;
            let kind = reader.signature()?;
            match (code, kind.as_str()) {
                (5, "u") => message.reply_to = Some(reader.u32()?),
                (_, "u") => drop(reader.u32()?),
                (8, "g") => message.body.signature = reader.signature()?,
                (1, "o") => message.path = reader.text()?,
                (2, "s") => message.interface = reader.text()?,
                (3, "s") => message.member = reader.text()?,
                (4, "s") => message.error = reader.text()?,
                (6, "s") => message.destination = reader.text()?,
                (7, "s") => message.sender = reader.text()?,
                (_, "s" | "o") => drop(reader.text()?),
                _ => return Err(garbled()),
            }
        }
        message.body.bytes = bytes.get(end.next_multiple_of(8)..).ok_or_else(garbled)?.to_vec();
        message.body.big_endian = big_endian;
        Ok(message)
    }
}

fn garbled() -> Error {
    Error::Unsupported("the bus speaks something that is not D-Bus".to_owned())
}

fn align(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

fn put_u32(bytes: &mut Vec<u8>, number: u32) {
    align(bytes, 4);
    bytes.extend(number.to_le_bytes());
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_u32(bytes, u32::try_from(text.len()).unwrap_or(u32::MAX));
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

fn put_signature(bytes: &mut Vec<u8>, signature: &str) {
    bytes.push(u8::try_from(signature.len()).unwrap_or(u8::MAX));
    bytes.extend(signature.as_bytes());
    bytes.push(0);
}

/// The length, the gap up to the first element, which does not count, and the elements.
fn put_array<T>(bytes: &mut Vec<u8>, alignment: usize, all: &[T], mut put: impl FnMut(&mut Vec<u8>, &T)) {
    put_u32(bytes, 0);
    let length_at = bytes.len() - 4;
    align(bytes, alignment);
    let start = bytes.len();
    all.iter().for_each(|one| put(bytes, one));
    let length = u32::try_from(bytes.len() - start).unwrap_or(u32::MAX);
    bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
}

fn put_value(bytes: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Bool(flag) => put_u32(bytes, u32::from(*flag)),
        Value::Number(number) => {
            align(bytes, 8);
            bytes.extend(number.to_le_bytes());
        }
        Value::Text(text) => put_text(bytes, text),
        Value::Numbers(numbers) => put_array(bytes, 4, numbers, |bytes, number| put_u32(bytes, *number)),
        Value::Bytes(all) => put_array(bytes, 1, all, |bytes, byte| bytes.push(*byte)),
        Value::Pairs(pairs) => put_array(bytes, 8, pairs, |bytes, (one, other)| {
            align(bytes, 8);
            put_text(bytes, one);
            put_text(bytes, other);
        }),
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    big_endian: bool,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, length: usize) -> Result<&[u8]> {
        let end = self.at.checked_add(length).ok_or_else(garbled)?;
        let taken = self.bytes.get(self.at..end).ok_or_else(garbled)?;
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn u32(&mut self) -> Result<u32> {
        self.align(4);
        let big_endian = self.big_endian;
        let bytes = *self.take(4)?.first_chunk().ok_or_else(garbled)?;
        Ok(if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn text(&mut self) -> Result<String> {
        let length = self.u32()? as usize;
        self.text_of(length)
    }

    fn signature(&mut self) -> Result<String> {
        let length = usize::from(self.byte()?);
        self.text_of(length)
    }

    fn text_of(&mut self, length: usize) -> Result<String> {
        let text = String::from_utf8(self.take(length)?.to_vec()).map_err(|_| garbled())?;
        self.take(1)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_wire() {
        let body = Body::default().number(7).path("/job/7").text("box.scope").text("done");
        let message =
            Message { serial: 3, reply_to: Some(2), ..Message::call("/a/b", "c.D", "E", "f.G", body) };
        let bytes = message.encode();
        assert_eq!(Message::length(bytes.first_chunk().unwrap()).unwrap(), bytes.len());
        let decoded = Message::decode(&bytes).unwrap();
        assert_eq!(decoded, message);
        assert_eq!(decoded.body.words().unwrap(), ["7", "/job/7", "box.scope", "done"]);
    }

    /// The example of a header with a big-endian body length, by hand.
    #[test]
    fn the_other_byte_order_is_understood() {
        let bytes = *b"B\x02\x00\x01\x00\x00\x00\x08\x00\x00\x00\x09\x00\x00\x00\x0f\
            \x05\x01u\x00\x00\x00\x00\x07\x08\x01g\x00\x01s\x00\x00\x00\x00\x00\x03abc\x00";
        assert_eq!(Message::length(bytes.first_chunk().unwrap()).unwrap(), bytes.len());
        let message = Message::decode(&bytes).unwrap();
        assert_eq!((message.kind, message.serial, message.reply_to), (RETURN, 9, Some(7)));
        assert_eq!(message.body.words().unwrap(), ["abc"]);
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(Message::length(&[0; PREFIX]).is_err());
        let bytes = Message::call("/", "a.b", "c", "d.e", Body::default().text("x")).encode();
        for end in 0..bytes.len() - 8 {
            assert!(Message::decode(&bytes[..end]).is_err(), "{end}");
        }
    }
}
