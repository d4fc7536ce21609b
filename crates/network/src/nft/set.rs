//! Sets and maps, and their elements.

use hull_sys::netlink::{Answer, CREATE, DUMP, Message, attributes};

use super::{Family, NFTA_LIST_ELEM, SUBSYSTEM, TABLE, message};

const NEWSET: u16 = SUBSYSTEM | 9;
const NEWSETELEM: u16 = SUBSYSTEM | 12;
const GETSETELEM: u16 = SUBSYSTEM | 13;
const DELSETELEM: u16 = SUBSYSTEM | 14;
const NFTA_SET_TABLE: u16 = 1;
const NFTA_SET_NAME: u16 = 2;
const NFTA_SET_FLAGS: u16 = 3;
const NFTA_SET_KEY_TYPE: u16 = 4;
const NFTA_SET_KEY_LEN: u16 = 5;
const NFTA_SET_DATA_TYPE: u16 = 6;
const NFTA_SET_DATA_LEN: u16 = 7;
const NFTA_SET_DESC: u16 = 9;
const NFTA_SET_ID: u16 = 10;
const NFTA_SET_USERDATA: u16 = 13;
const NFTA_SET_DESC_CONCAT: u16 = 2;
const NFTA_SET_FIELD_LEN: u16 = 1;
const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_DATA: u16 = 2;
const NFTA_SET_ELEM_FLAGS: u16 = 3;
const NFTA_SET_ELEM_KEY_END: u16 = 10;
const NFTA_DATA_VALUE: u16 = 1;
const SET_INTERVAL: u32 = 0x4;
const SET_MAP: u32 = 0x8;
const SET_CONCAT: u32 = 0x80;
const ELEM_INTERVAL_END: u32 = 1;
/// For nft(8): the key's byte order (type 0, four bytes) is the host's.
const HOST_ORDER: [u8; 6] = [0, 4, 1, 0, 0, 0];
/// A list of elements is one attribute, whose length is 16 bits.
const LIST_LIMIT: usize = 60_000;

/// A part of a key or of what it leads to, with the number and length that nft(8) knows it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    /// An address of the table's family.
    Address,
    /// A transport protocol.
    Protocol,
    /// A port.
    Port,
    /// The name of an interface.
    Interface,
}

impl Field {
    /// nft's number of the type, and the bytes of its values.
    fn shape(self, family: Family) -> (u32, u32) {
        match self {
            Self::Address if family == Family::V6 => (8, 16),
            Self::Address => (7, 4),
            Self::Protocol => (12, 1),
            Self::Port => (13, 2),
            Self::Interface => (41, 16),
        }
    }
}

/// A set, or a map where `data` says what its keys lead to.
#[derive(Debug)]
pub(crate) struct Set {
    pub(crate) name: &'static str,
    /// Distinguishes the sets of one transaction.
    pub(crate) id: u32,
    pub(crate) key: &'static [Field],
    pub(crate) data: &'static [Field],
    /// Whether elements are ranges.
    pub(crate) interval: bool,
}

impl Set {
    pub(super) fn message(&self, family: Family) -> Message {
        let mut flags = 0;
        if self.interval {
            flags |= SET_INTERVAL | if self.key.len() > 1 { SET_CONCAT } else { 0 };
        }
        if !self.data.is_empty() {
            flags |= SET_MAP;
        }
        let mut message = message(family, NEWSET, CREATE, "create set", self.name);
        message
            .put_str(NFTA_SET_TABLE, TABLE)
            .put_str(NFTA_SET_NAME, self.name)
            .put(NFTA_SET_ID, &self.id.to_be_bytes())
            .put(NFTA_SET_FLAGS, &flags.to_be_bytes());
        put_type(&mut message, family, NFTA_SET_KEY_TYPE, NFTA_SET_KEY_LEN, self.key);
        if self.key == [Field::Interface] {
            // Names are strings to the kernel; nft(8) would print them backwards.
            message.put(NFTA_SET_USERDATA, &HOST_ORDER);
        }
        if !self.data.is_empty() {
            put_type(&mut message, family, NFTA_SET_DATA_TYPE, NFTA_SET_DATA_LEN, self.data);
        }
        if flags & SET_CONCAT != 0 {
            message.nest(NFTA_SET_DESC, |description| {
                description.nest(NFTA_SET_DESC_CONCAT, |fields| self.put_fields(fields, family));
            });
        }
        message
    }

    fn put_fields(&self, fields: &mut Message, family: Family) {
        for field in self.key {
            fields.nest(NFTA_LIST_ELEM, |element| {
                element.put(NFTA_SET_FIELD_LEN, &field.shape(family).1.to_be_bytes());
            });
        }
    }
}

/// A type of several fields is written six bits each, the first highest; each begins at a word.
fn put_type(message: &mut Message, family: Family, kind: u16, length: u16, fields: &[Field]) {
    let number = fields.iter().fold(0, |number, field| number << 6 | field.shape(family).0);
    let bytes: u32 = match fields {
        [field] => field.shape(family).1,
        _ => fields.iter().map(|field| field.shape(family).1.next_multiple_of(4)).sum(),
    };
    message.put(kind, &u32::to_be_bytes(number)).put(length, &bytes.to_be_bytes());
}

/// An element: a key, perhaps the end of a range of keys, perhaps what it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Element {
    key: Vec<u8>,
    end: Option<Vec<u8>>,
    data: Vec<u8>,
    flags: u32,
}

impl Element {
    /// One key, its fields padded to words.
    pub(crate) fn key(fields: &[&[u8]]) -> Self {
        Self { key: words(fields), end: None, data: Vec::new(), flags: 0 }
    }

    /// The bound behind a range of a set with one field, whose first key is an element of its own.
    pub(crate) fn behind(key: &[u8]) -> Self {
        Self { key: key.to_vec(), end: None, data: Vec::new(), flags: ELEM_INTERVAL_END }
    }

    /// The last key of a range in a set with several fields.
    pub(crate) fn to(mut self, fields: &[&[u8]]) -> Self {
        self.end = Some(words(fields));
        self
    }

    /// What the key leads to.
    pub(crate) fn leads(mut self, fields: &[&[u8]]) -> Self {
        self.data = words(fields);
        self
    }

    fn size(&self) -> usize {
        self.key.len() + self.end.as_ref().map_or(0, |end| end.len() + 8) + self.data.len() + 32
    }

    fn put(&self, message: &mut Message) {
        let value = |message: &mut Message, kind: u16, bytes: &[u8]| {
            message.nest(kind, |value| {
                value.put(NFTA_DATA_VALUE, bytes);
            });
        };
        if self.flags != 0 {
            message.put(NFTA_SET_ELEM_FLAGS, &self.flags.to_be_bytes());
        }
        value(message, NFTA_SET_ELEM_KEY, &self.key);
        if let Some(end) = &self.end {
            value(message, NFTA_SET_ELEM_KEY_END, end);
        }
        if !self.data.is_empty() {
            value(message, NFTA_SET_ELEM_DATA, &self.data);
        }
    }
}

/// A single field is as long as it is; of several, each begins at a word.
fn words(fields: &[&[u8]]) -> Vec<u8> {
    if let [field] = fields {
        return field.to_vec();
    }
    let mut bytes = Vec::new();
    for field in fields {
        bytes.extend_from_slice(field);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

/// The messages that add elements.
pub(super) fn add(family: Family, set: &str, elements: &[Element]) -> Vec<Message> {
    lists(family, NEWSETELEM, CREATE, "add to set", set, elements)
}

/// The messages that remove elements.
pub(super) fn remove(family: Family, set: &str, elements: &[Element]) -> Vec<Message> {
    lists(family, DELSETELEM, 0, "remove from set", set, elements)
}

/// The question for all elements of a set.
pub(super) fn question(family: Family, set: &str) -> Message {
    let mut message = message(family, GETSETELEM, DUMP, "list set", set);
    message.put_str(NFTA_SET_ELEM_LIST_TABLE, TABLE).put_str(NFTA_SET_ELEM_LIST_SET, set);
    message
}

/// How many elements an answer has.
pub(super) fn count(answer: &Answer) -> usize {
    let lists = attributes(answer.body.get(4..).unwrap_or_default());
    lists
        .filter(|list| list.kind == NFTA_SET_ELEM_LIST_ELEMENTS)
        .map(|list| attributes(list.payload).count())
        .sum()
}

fn lists(
    family: Family,
    kind: u16,
    flags: u16,
    op: &'static str,
    set: &str,
    elements: &[Element],
) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut rest = elements;
    while !rest.is_empty() {
        let mut size = 0;
        let fits = rest.iter().take_while(|element| {
            size += element.size();
            size <= LIST_LIMIT
        });
        let (now, later) = rest.split_at(fits.count());
        rest = later;
        let mut message = message(family, kind, flags, op, set);
        message.put_str(NFTA_SET_ELEM_LIST_TABLE, TABLE).put_str(NFTA_SET_ELEM_LIST_SET, set).nest(
            NFTA_SET_ELEM_LIST_ELEMENTS,
            |list| {
                for element in now {
                    list.nest(NFTA_LIST_ELEM, |inside| element.put(inside));
                }
            },
        );
        messages.push(message);
    }
    messages
}
