//! What servers have answered lately, for one container.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::message;

/// Bytes of questions and answers that are kept at most.
const CAPACITY: usize = 16 << 10;
/// Seconds after which even an answer that would last is asked for again.
const LONGEST: u32 = 60;

/// Answers by questions, the number of a message left out.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    answers: HashMap<Box<[u8]>, Answer>,
    bytes: usize,
    /// Of which state of the host's settings they are.
    generation: u64,
}

#[derive(Debug)]
struct Answer {
    bytes: Box<[u8]>,
    since: Instant,
    lifetime: Duration,
}

impl Cache {
    /// The answer to a question, its lifetimes run down; `None` if there is none, or the servers have changed.
    pub(crate) fn find(&mut self, query: &[u8], generation: u64, now: Instant) -> Option<Vec<u8>> {
        if generation != self.generation {
            *self = Self { generation, ..Self::default() };
        }
        let answer = self.answers.get(query.get(2..)?)?;
        let age = now.saturating_duration_since(answer.since);
        if age >= answer.lifetime {
            return None;
        }
        let mut bytes = answer.bytes.to_vec();
        message::set_id(&mut bytes, message::id(query));
        message::age(&mut bytes, u32::try_from(age.as_secs()).unwrap_or(u32::MAX));
        Some(bytes)
    }

    /// Keeps an answer for as long as it says.
    pub(crate) fn keep(&mut self, query: &[u8], answer: &[u8], generation: u64, now: Instant) {
        let lasting = [message::NO_ERROR, message::NAME_ERROR].contains(&message::code(answer))
            && !message::is_truncated(answer);
        let lifetime = message::lifetime(answer).filter(|ttl| lasting && *ttl > 0);
        let (Some(lifetime), Some(key)) = (lifetime, query.get(2..)) else { return };
        let size = key.len() + answer.len();
        if generation != self.generation || size > CAPACITY / 4 {
            return;
        }
        if self.bytes + size > CAPACITY {
            // Rarely reached within a minute; what is asked for often is back at once.
            self.answers.clear();
            self.bytes = 0;
        }
        let lifetime = Duration::from_secs(u64::from(lifetime.min(LONGEST)));
        let kept = Answer { bytes: answer.into(), since: now, lifetime };
        if let Some(old) = self.answers.insert(key.into(), kept) {
            self.bytes -= key.len() + old.bytes.len();
        }
        self.bytes += size;
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::{Data, NO_ERROR, Query};
    use super::*;

    /// A question for `name` with that number.
    fn question(id: u16, name: &str) -> Vec<u8> {
        let mut bytes = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, name.len() as u8];
        bytes.extend(name.bytes());
        bytes.extend([0, 0, 1, 0, 1]);
        message::set_id(&mut bytes, id);
        bytes
    }

    fn answer(question: &[u8], ttl: u32) -> Vec<u8> {
        let data = Data::Address([192, 0, 2, 1].into());
        Query::parse(question).unwrap().answer(NO_ERROR, &[data], ttl, 512)
    }

    #[test]
    fn answers_are_kept_for_as_long_as_they_say() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        let asked = question(1, "web");
        cache.keep(&asked, &answer(&asked, 10), 0, now);
        let found = cache.find(&question(2, "web"), 0, now + Duration::from_secs(4)).unwrap();
        assert_eq!((message::id(&found), message::lifetime(&found)), (2, Some(6)));
        assert!(cache.find(&question(2, "db"), 0, now).is_none());
        assert!(cache.find(&asked, 0, now + Duration::from_secs(10)).is_none());
    }

    #[test]
    fn other_servers_are_asked_anew() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        let asked = question(1, "web");
        cache.keep(&asked, &answer(&asked, 10), 0, now);
        assert!(cache.find(&asked, 1, now).is_none());
        cache.keep(&asked, &answer(&asked, 10), 0, now);
        assert!(cache.find(&asked, 1, now).is_none(), "an answer of the servers before");
    }

    #[test]
    fn the_cache_stays_small() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        for number in 0..2000 {
            let asked = question(1, &format!("host-{number}"));
            cache.keep(&asked, &answer(&asked, 10), 0, now);
            assert!(cache.bytes <= CAPACITY);
        }
        let held: usize = cache.answers.iter().map(|(key, answer)| key.len() + answer.bytes.len()).sum();
        assert_eq!(held, cache.bytes);
    }
}
