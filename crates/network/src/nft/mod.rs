//! nftables over netlink: the messages, as `linux/netfilter/nf_tables.h` defines them.
//!
//! Only what Hull's table needs is here. All numbers of nftables are in network byte order; what a rule
//! compares is in the order of the register's content (addresses and ports: network, all else: host).

mod expression;
mod set;

use std::collections::BTreeMap;
use std::sync::Mutex;

use hull_sys::Result;
use hull_sys::netlink::{self, APPEND, CREATE, DUMP, Message, Socket};
use rustix::io::Errno;

use crate::conntrack::{self, Stale};

pub(crate) use expression::{Expression, Port, Verdict, chain};
pub(crate) use set::{Element, Field, Set};

/// The table that everything is in.
pub(crate) const TABLE: &str = "hull";

const SUBSYSTEM: u16 = 10 << 8;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEWTABLE: u16 = SUBSYSTEM;
const GETTABLE: u16 = SUBSYSTEM | 1;
const DELTABLE: u16 = SUBSYSTEM | 2;
const NEWCHAIN: u16 = SUBSYSTEM | 3;
const NEWRULE: u16 = SUBSYSTEM | 6;
const GETRULE: u16 = SUBSYSTEM | 7;
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_LIST_ELEM: u16 = 1;
const NF_ACCEPT: u32 = 1;

/// A family of addresses; each has a table of its own, under the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Family {
    /// NFPROTO_IPV4
    #[default]
    V4 = 2,
    /// NFPROTO_IPV6
    V6 = 10,
}

impl Family {
    /// Bytes of an address.
    pub(crate) fn size(self) -> u32 {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
        }
    }

    /// Registers that an address fills.
    pub(crate) fn words(self) -> u32 {
        self.size() / 4
    }

    /// The number of its control messages as a transport protocol.
    pub(crate) fn icmp(self) -> u8 {
        match self {
            Self::V4 => 1,
            Self::V6 => 58,
        }
    }

    /// Where the source and the destination are in the header.
    fn address_offsets(self) -> (u32, u32) {
        match self {
            Self::V4 => (12, 16),
            Self::V6 => (8, 24),
        }
    }
}

/// Where in a packet's way a base chain is called.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Hook {
    /// Arrived, not routed yet.
    Prerouting = 0,
    /// From one interface to another.
    Forward = 2,
    /// Made by the host itself.
    Output = 3,
    /// About to leave.
    Postrouting = 4,
}

/// A change of the tables: all of it happens, or nothing.
#[derive(Debug)]
pub(crate) struct Transaction {
    table: &'static str,
    family: Family,
    messages: Vec<Message>,
    rules: usize,
    elements: BTreeMap<String, usize>,
}

impl Default for Transaction {
    fn default() -> Self {
        Self::in_table(TABLE)
    }
}

impl Transaction {
    /// A change of other tables than those that everything is in, under this name.
    pub(crate) fn in_table(table: &'static str) -> Self {
        Self { table, family: Family::default(), messages: Vec::new(), rules: 0, elements: BTreeMap::new() }
    }

    /// What follows is about the table of this family.
    pub(crate) fn of(&mut self, family: Family) {
        self.family = family;
    }

    /// Empties the table if it exists and makes it.
    pub(crate) fn replace_table(&mut self) {
        // A table that is not there cannot be deleted, so it is made first: a no-op where it exists.
        for (kind, flags, op) in [
            (NEWTABLE, CREATE, "create table"),
            (DELTABLE, 0, "delete table"),
            (NEWTABLE, CREATE, "create table"),
        ] {
            let mut message = message(self.family, kind, flags, op, self.table);
            message.put_str(NFTA_TABLE_NAME, self.table);
            self.messages.push(message);
        }
    }

    /// Makes a chain that others jump to.
    pub(crate) fn chain(&mut self, name: &str) {
        let mut message = message(self.family, NEWCHAIN, CREATE, "create chain", name);
        message.put_str(NFTA_CHAIN_TABLE, self.table).put_str(NFTA_CHAIN_NAME, name);
        self.messages.push(message);
    }

    /// Makes a chain that the kernel calls; a packet at its end goes on. `kind` is `filter` or `nat`.
    pub(crate) fn base_chain(&mut self, name: &str, kind: &str, hook: Hook, priority: i32) {
        let mut message = message(self.family, NEWCHAIN, CREATE, "create chain", name);
        message
            .put_str(NFTA_CHAIN_TABLE, self.table)
            .put_str(NFTA_CHAIN_NAME, name)
            .nest(NFTA_CHAIN_HOOK, |inside| {
                inside
                    .put(NFTA_HOOK_HOOKNUM, &(hook as u32).to_be_bytes())
                    .put(NFTA_HOOK_PRIORITY, &priority.to_be_bytes());
            })
            .put_str(NFTA_CHAIN_TYPE, kind)
            .put(NFTA_CHAIN_POLICY, &NF_ACCEPT.to_be_bytes());
        self.messages.push(message);
    }

    /// Appends a rule to a chain.
    pub(crate) fn rule(&mut self, chain: &str, expressions: &[Expression<'_>]) {
        self.rules += 1;
        let family = self.family;
        let mut message = message(self.family, NEWRULE, CREATE | APPEND, "add rule to chain", chain);
        message.put_str(NFTA_RULE_TABLE, self.table).put_str(NFTA_RULE_CHAIN, chain).nest(
            NFTA_RULE_EXPRESSIONS,
            |list| {
                for expression in expressions {
                    list.nest(NFTA_LIST_ELEM, |element| expression.put(element, family));
                }
            },
        );
        self.messages.push(message);
    }

    /// Adds what another does.
    pub(crate) fn append(&mut self, other: Self) {
        self.messages.extend(other.messages);
        for (set, count) in other.elements {
            *self.elements.entry(set).or_default() += count;
        }
        self.rules += other.rules;
    }

    /// How many rules it adds.
    pub(crate) fn rules(&self) -> usize {
        self.rules
    }

    /// How many elements of a set it adds.
    pub(crate) fn elements(&self, set: &str) -> usize {
        self.elements.get(set).copied().unwrap_or_default()
    }

    /// Makes a set or a map.
    pub(crate) fn set(&mut self, set: &Set) {
        self.messages.push(set.message(self.family));
    }

    /// Adds elements to a set; one that is there already must be the same.
    pub(crate) fn add(&mut self, set: &str, elements: &[Element]) {
        self.messages.extend(set::add(self.family, set, elements));
        *self.elements.entry(set.to_owned()).or_default() += elements.len();
    }

    /// Removes elements from a set.
    pub(crate) fn remove(&mut self, set: &str, elements: &[Element]) {
        self.messages.extend(set::remove(self.family, set, elements));
    }
}

/// A socket to the netfilter of the namespace in which it was opened.
#[derive(Debug)]
pub(crate) struct Netfilter {
    socket: Mutex<Socket>,
}

impl Netfilter {
    /// To the calling thread's namespace.
    pub(crate) fn here() -> Result<Self> {
        Ok(Self { socket: Mutex::new(Socket::open(netlink::Family::Netfilter)?) })
    }

    /// Commits a transaction.
    pub(crate) fn commit(&self, transaction: Transaction) -> Result<()> {
        if transaction.messages.is_empty() {
            return Ok(());
        }
        let mut messages = Vec::with_capacity(transaction.messages.len() + 2);
        messages.push(bracket(BATCH_BEGIN));
        messages.extend(transaction.messages);
        messages.push(bracket(BATCH_END));
        crate::networks::lock(&self.socket).request(messages)
    }

    /// Forgets connections over UDP.
    pub(crate) fn forget_connections(&self, stale: Stale<'_>) -> Result<()> {
        conntrack::forget(&mut crate::networks::lock(&self.socket), stale)
    }

    /// Its address, which notices of its changes name.
    pub(crate) fn port(&self) -> Result<u32> {
        crate::networks::lock(&self.socket).port()
    }

    /// How many rules the table of a family has.
    pub(crate) fn count_rules(&self, family: Family) -> Result<usize> {
        let mut question = message(family, GETRULE, DUMP, "list rules", TABLE);
        question.put_str(NFTA_RULE_TABLE, TABLE);
        Ok(crate::networks::lock(&self.socket).ask(question)?.len())
    }

    /// How many elements a set of the table has; none where it is not there.
    pub(crate) fn count_elements(&self, family: Family, set: &str) -> Result<usize> {
        match crate::networks::lock(&self.socket).ask(set::question(family, set)) {
            Ok(answers) => Ok(answers.iter().map(set::count).sum()),
            Err(error) if error.is(Errno::NOENT) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Whether the table of a family is there.
    pub(crate) fn has_table(&self, family: Family) -> Result<bool> {
        let mut question = message(family, GETTABLE, 0, "find table", TABLE);
        question.put_str(NFTA_TABLE_NAME, TABLE);
        match crate::networks::lock(&self.socket).ask(question) {
            Ok(_) => Ok(true),
            Err(error) if error.is(Errno::NOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// A message with `struct nfgenmsg`: family, version, resource.
fn message(family: Family, kind: u16, flags: u16, op: &'static str, object: &str) -> Message {
    Message::new(kind, flags, op, object).fixed(&[family as u8, 0, 0, 0])
}

fn bracket(kind: u16) -> Message {
    let subsystem = (SUBSYSTEM >> 8).to_be_bytes();
    Message::new(kind, 0, "nftables transaction", TABLE).fixed(&[0, 0, subsystem[0], subsystem[1]])
}
