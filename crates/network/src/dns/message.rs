//! The parts of a DNS message (RFC 1035, RFC 6891) that a forwarder must understand: the question, where the
//! lifetimes are, and how to answer. All else passes through as it came, known or not.

use std::net::IpAddr;

/// Types of records.
pub(crate) const A: u16 = 1;
pub(crate) const PTR: u16 = 12;
pub(crate) const AAAA: u16 = 28;
pub(crate) const ANY: u16 = 255;
const OPT: u16 = 41;
const IN: u16 = 1;

/// Codes of answers.
pub(crate) const NO_ERROR: u8 = 0;
pub(crate) const SERVER_FAILURE: u8 = 2;
pub(crate) const NAME_ERROR: u8 = 3;
pub(crate) const NOT_IMPLEMENTED: u8 = 4;
pub(crate) const REFUSED: u8 = 5;

const HEADER: usize = 12;
const RESPONSE: u8 = 0x80;
const TRUNCATED: u8 = 0x02;
const RECURSION_DESIRED: u8 = 0x01;
const RECURSION_AVAILABLE: u8 = 0x80;
const LONGEST_NAME: usize = 255;
/// What a client takes that does not say (RFC 1035).
const SMALLEST_LIMIT: usize = 512;
/// What we take by EDNS; it fits into every path.
const OUR_LIMIT: u16 = 1232;
/// A name that was there before: the question's.
const POINTER_TO_QUESTION: [u8; 2] = [0xc0, HEADER as u8];

/// A question that somebody has sent.
#[derive(Debug)]
pub(crate) struct Query<'a> {
    /// The whole message.
    pub(crate) bytes: &'a [u8],
    /// In lower case without the last dot; what no host name has becomes U+FFFD.
    pub(crate) name: String,
    /// The type of record.
    pub(crate) kind: u16,
    class: u16,
    /// Where the question ends.
    end: usize,
    /// The size of a datagram that the client takes, if it speaks EDNS.
    edns: Option<u16>,
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Data {
    Address(IpAddr),
    /// A name with dots and no last one.
    Name(String),
}

impl<'a> Query<'a> {
    /// Reads a message; `None` if it is no question.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() < HEADER || bytes[2] & RESPONSE != 0 || number(bytes, 4)? != 1 {
            return None;
        }
        let (name, at) = question_name(bytes)?;
        let (kind, class, end) = (number(bytes, at)?, number(bytes, at + 2)?, at + 4);
        let edns = records(bytes)?.into_iter().find(|record| record.kind == OPT);
        Some(Self { bytes, name, kind, class, end, edns: edns.map(|record| record.class) })
    }

    /// Whether it asks what a name server is asked every day: a standard query of the Internet's class.
    pub(crate) fn is_standard(&self) -> bool {
        self.bytes[2] & 0x78 == 0 && [IN, ANY].contains(&self.class)
    }

    /// How long an answer by datagram may be.
    pub(crate) fn limit(&self) -> usize {
        self.edns.map_or(SMALLEST_LIMIT, |size| usize::from(size).max(SMALLEST_LIMIT))
    }

    /// An answer without records.
    pub(crate) fn refuse(&self, code: u8) -> Vec<u8> {
        self.answer(code, &[], 0, usize::MAX)
    }

    /// An answer of at most `limit` bytes, cut and marked as such where that is too short.
    pub(crate) fn answer(&self, code: u8, answers: &[Data], ttl: u32, limit: usize) -> Vec<u8> {
        let mut message = self.bytes[..self.end].to_vec();
        message[2] = RESPONSE | self.bytes[2] & (0x78 | RECURSION_DESIRED);
        message[3] = RECURSION_AVAILABLE | code;
        let options = if self.edns.is_some() { opt() } else { Vec::new() };
        let mut count = 0u16;
        for answer in answers {
            let record = record(answer, ttl);
            if message.len() + record.len() + options.len() > limit {
                message[2] |= TRUNCATED;
                break;
            }
            message.extend(record);
            count += 1;
        }
        message[6..8].copy_from_slice(&count.to_be_bytes());
        message[8..HEADER].copy_from_slice(&[0, 0, 0, u8::from(!options.is_empty())]);
        message.extend(options);
        message
    }

    /// Whether this is an answer to it, when `id` was the question's.
    pub(crate) fn is_answered_by(&self, id: u16, answer: &[u8]) -> bool {
        let same_question = || {
            let asked = &self.bytes[HEADER..self.end];
            answer.get(HEADER..self.end).is_some_and(|question| question.eq_ignore_ascii_case(asked))
        };
        answer.len() >= HEADER
            && number(answer, 0) == Some(id)
            && answer[2] & RESPONSE != 0
            // A server that cannot read the question does not repeat it.
            && (number(answer, 4) == Some(0) && code(answer) != NO_ERROR || same_question())
    }
}

/// The code of an answer.
pub(crate) fn code(answer: &[u8]) -> u8 {
    answer.get(3).map_or(SERVER_FAILURE, |flags| flags & 0x0f)
}

/// Whether an answer was cut.
pub(crate) fn is_truncated(answer: &[u8]) -> bool {
    answer.get(2).is_some_and(|flags| flags & TRUNCATED != 0)
}

/// Gives a message another number.
pub(crate) fn set_id(message: &mut [u8], id: u16) {
    if let Some(place) = message.get_mut(..2) {
        place.copy_from_slice(&id.to_be_bytes());
    }
}

/// The number of a message.
pub(crate) fn id(message: &[u8]) -> u16 {
    number(message, 0).unwrap_or_default()
}

/// The shortest lifetime of an answer's records in seconds; `None` without records.
pub(crate) fn lifetime(answer: &[u8]) -> Option<u32> {
    let records = records(answer)?;
    records.iter().filter(|record| record.kind != OPT).map(|record| record.ttl).min()
}

/// Shortens all lifetimes by so many seconds.
pub(crate) fn age(answer: &mut [u8], seconds: u32) {
    for record in records(answer).unwrap_or_default() {
        let place = answer.get_mut(record.ttl_at..record.ttl_at + 4);
        if let Some(place) = place.filter(|_| record.kind != OPT) {
            place.copy_from_slice(&record.ttl.saturating_sub(seconds).to_be_bytes());
        }
    }
}

/// The address that a name below in-addr.arpa or ip6.arpa stands for.
pub(crate) fn reversed(name: &str) -> Option<IpAddr> {
    if let Some(rest) = name.strip_suffix(".in-addr.arpa") {
        let mut parts: Vec<u8> = rest.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
        parts.reverse();
        return Some(<[u8; 4]>::try_from(parts).ok()?.into());
    }
    let digits = name.strip_suffix(".ip6.arpa")?.split('.').rev();
    let mut address = 0u128;
    let mut count = 0;
    for digit in digits {
        let value = u128::from_str_radix(digit, 16).ok().filter(|_| digit.len() == 1)?;
        (address, count) = (address << 4 | value, count + 1);
    }
    (count == 32).then(|| IpAddr::from(address.to_be_bytes()))
}

/// A record that follows the question.
#[derive(Debug)]
struct Record {
    kind: u16,
    class: u16,
    ttl: u32,
    ttl_at: usize,
}

/// The records of a message with one question; `None` where it is cut short.
fn records(bytes: &[u8]) -> Option<Vec<Record>> {
    let mut at = match number(bytes, 4)? {
        0 => HEADER,
        _ => question_name(bytes)?.1 + 4,
    };
    let count: usize = [6, 8, 10].iter().filter_map(|place| number(bytes, *place)).map(usize::from).sum();
    let mut records = Vec::new();
    for _ in 0..count {
        at = behind_name(bytes, at)?;
        let (kind, class) = (number(bytes, at)?, number(bytes, at + 2)?);
        let ttl = u32::from_be_bytes(bytes.get(at + 4..at + 8)?.try_into().ok()?);
        records.push(Record { kind, class, ttl, ttl_at: at + 4 });
        at += 10 + usize::from(number(bytes, at + 8)?);
        bytes.get(..at)?;
    }
    Some(records)
}

/// The question's name, and where it ends.
fn question_name(bytes: &[u8]) -> Option<(String, usize)> {
    let (mut name, mut at) = (String::new(), HEADER);
    loop {
        let length = usize::from(*bytes.get(at)?);
        let label = bytes.get(at + 1..at + 1 + length).filter(|_| length < 64)?;
        at += 1 + length;
        if at - HEADER > LONGEST_NAME {
            return None;
        }
        if label.is_empty() {
            return Some((name, at));
        }
        if !name.is_empty() {
            name.push('.');
        }
        name.extend(label.iter().map(|byte| match byte {
            b'.' | b'\\' | 0..=b' ' | 0x7f.. => char::REPLACEMENT_CHARACTER,
            byte => char::from(byte.to_ascii_lowercase()),
        }));
    }
}

fn behind_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            length if length < 64 => at += 1 + usize::from(length),
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            _ => return None,
        }
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn record(data: &Data, ttl: u32) -> Vec<u8> {
    let (kind, payload) = match data {
        Data::Address(IpAddr::V4(address)) => (A, address.octets().to_vec()),
        Data::Address(IpAddr::V6(address)) => (AAAA, address.octets().to_vec()),
        Data::Name(name) => (PTR, labels(name)),
    };
    let mut record = POINTER_TO_QUESTION.to_vec();
    record.extend(kind.to_be_bytes());
    record.extend(IN.to_be_bytes());
    record.extend(ttl.to_be_bytes());
    record.extend(u16::try_from(payload.len()).unwrap_or_default().to_be_bytes());
    record.extend(payload);
    record
}

/// A name as labels; one that does not fit is cut.
fn labels(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        let label = &label.as_bytes()[..label.len().min(63)];
        if bytes.len() + label.len() + 2 > LONGEST_NAME {
            break;
        }
        bytes.push(label.len() as u8);
        bytes.extend(label);
    }
    bytes.push(0);
    bytes
}

fn opt() -> Vec<u8> {
    let [high, low] = OUR_LIMIT.to_be_bytes();
    vec![0, 0, OPT as u8, high, low, 0, 0, 0, 0, 0, 0]
}

#[cfg(test)]
mod tests {
    use simple_dns::rdata::RData;
    use simple_dns::{CLASS, Name, Packet, Question, ResourceRecord, TYPE};

    use super::*;

    fn query(name: &str, kind: TYPE, edns: bool) -> Vec<u8> {
        let mut packet = Packet::new_query(7);
        packet.set_flags(simple_dns::PacketFlag::RECURSION_DESIRED);
        packet.questions.push(Question::new(Name::new(name).unwrap(), kind.into(), CLASS::IN.into(), false));
        if edns {
            let opt = simple_dns::rdata::OPT { opt_codes: vec![], udp_packet_size: 1400, version: 0 };
            *packet.opt_mut() = Some(opt);
        }
        packet.build_bytes_vec().unwrap()
    }

    fn addresses(count: u8) -> Vec<Data> {
        (1..=count).map(|last| Data::Address([10, 0, 0, last].into())).collect()
    }

    #[test]
    fn a_question_is_read_and_answered() {
        let bytes = query("Web.Example", TYPE::A, true);
        let query = Query::parse(&bytes).unwrap();
        assert_eq!((query.name.as_str(), query.kind, query.limit()), ("web.example", A, 1400));
        assert!(query.is_standard());
        let answer = query.answer(NO_ERROR, &addresses(2), 9, query.limit());
        let packet = Packet::parse(&answer).unwrap();
        assert_eq!((packet.id(), packet.questions[0].qname.to_string()), (7, "Web.Example".to_owned()));
        assert_eq!(packet.answers.len(), 2);
        assert_eq!(packet.answers[1].ttl, 9);
        assert!(
            matches!(&packet.answers[1].rdata, RData::A(a) if a.address == u32::from_be_bytes([10, 0, 0, 2]))
        );
        assert_eq!(packet.opt().unwrap().udp_packet_size, OUR_LIMIT);
        assert!(query.is_answered_by(7, &answer) && !query.is_answered_by(8, &answer));
    }

    #[test]
    fn an_answer_that_is_too_long_is_cut() {
        let bytes = query("web", TYPE::A, false);
        let query = Query::parse(&bytes).unwrap();
        let answer = query.answer(NO_ERROR, &addresses(60), 9, query.limit());
        assert!(answer.len() <= 512 && is_truncated(&answer));
        assert!(Packet::parse(&answer).unwrap().answers.len() > 25);
        assert!(!is_truncated(&query.answer(NO_ERROR, &addresses(60), 9, usize::MAX)));
    }

    #[test]
    fn names_of_addresses_are_written_as_labels() {
        let bytes = query("2.0.0.10.in-addr.arpa", TYPE::PTR, false);
        let query = Query::parse(&bytes).unwrap();
        assert_eq!(reversed(&query.name), Some([10, 0, 0, 2].into()));
        let answer = query.answer(NO_ERROR, &[Data::Name("web.blue".into())], 9, 512);
        let packet = Packet::parse(&answer).unwrap();
        assert!(matches!(&packet.answers[0].rdata, RData::PTR(name) if name.0.to_string() == "web.blue"));
        let six = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
        assert_eq!(reversed(six), Some("2001:db8::1".parse().unwrap()));
        for wrong in ["1.in-addr.arpa", "1.2.3.4.5.in-addr.arpa", "x.ip6.arpa", "web"] {
            assert_eq!(reversed(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn lifetimes_run_down() {
        let bytes = query("web", TYPE::A, true);
        let mut packet = Packet::parse(&bytes).unwrap().into_reply();
        for ttl in [30, 20] {
            let data = RData::A(simple_dns::rdata::A { address: 1 });
            packet.answers.push(ResourceRecord::new(Name::new("web").unwrap(), CLASS::IN, ttl, data));
        }
        let mut answer = packet.build_bytes_vec_compressed().unwrap();
        assert_eq!(lifetime(&answer), Some(20));
        age(&mut answer, 25);
        let aged = Packet::parse(&answer).unwrap();
        assert_eq!(aged.answers.iter().map(|record| record.ttl).collect::<Vec<_>>(), [5, 0]);
        assert_eq!(lifetime(&Query::parse(&bytes).unwrap().refuse(NAME_ERROR)), None);
    }

    #[test]
    fn what_is_no_question_is_refused_and_never_panics() {
        let good = query("web.example", TYPE::A, true);
        for length in 0..good.len() - 1 {
            assert!(Query::parse(&good[..length]).is_none(), "cut at {length}");
        }
        for place in 0..good.len() {
            for value in [0, 1, 0x3f, 0x40, 0xc0, 0xff] {
                let mut bytes = good.clone();
                bytes[place] = value;
                if let Some(query) = Query::parse(&bytes) {
                    query.answer(NO_ERROR, &addresses(3), 1, query.limit());
                }
                lifetime(&bytes);
                age(&mut bytes, 1);
            }
        }
        let bytes = query("a\\.b", TYPE::A, false);
        assert_eq!(Query::parse(&bytes).unwrap().name, "a\u{fffd}b");
    }
}
