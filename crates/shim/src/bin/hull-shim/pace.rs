//! When output is read: at once, or after it had a moment to gather.
//!
//! A read costs a turn of the supervisor, of the daemon and of every client, however little it brings. So a process that
//! writes small pieces without a break is read a moment later than it writes; the moment is doubled while reads bring
//! little and halved when they bring much, so that the pipe never fills. One that writes now and then is read at once.

use std::time::{Duration, Instant};

/// Bytes that are worth a turn.
const ENOUGH: usize = 64 << 10;
const SHORTEST: Duration = Duration::from_micros(32);
/// Less than anybody sees.
const LONGEST: Duration = Duration::from_millis(1);
/// A longer break between two reads, and it is no stream but single messages.
const BREAK: Duration = Duration::from_millis(1);

/// The pace of one stream.
#[derive(Default)]
pub(crate) struct Pace {
    pause: Duration,
    last: Option<Instant>,
    until: Option<Instant>,
}

impl Pace {
    /// Notes what a read brought; with `much`, the pipe may soon be full.
    pub(crate) fn brought(&mut self, count: usize, much: usize, now: Instant) {
        let (pause, much) = (self.pause, count >= much);
        let streams = self.last.is_some_and(|last| now.duration_since(last) < pause + BREAK);
        self.pause = match count {
            _ if !streams => Duration::ZERO,
            _ if much && pause <= SHORTEST => Duration::ZERO,
            _ if much => pause / 2,
            ..ENOUGH => (pause * 2).clamp(SHORTEST, LONGEST),
            _ => pause,
        };
        self.last = Some(now);
        self.until = (!self.pause.is_zero()).then(|| now + self.pause);
    }

    /// Until when there is nothing to be read; `None` if it is time now.
    pub(crate) fn pauses(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }

    /// Whether the last read was to be followed by a pause.
    pub(crate) fn is_slow(&self) -> bool {
        self.until.is_some()
    }

    /// Somebody waits for the next words.
    pub(crate) fn hurry(&mut self) {
        (self.pause, self.last, self.until) = (Duration::ZERO, None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPE: usize = 1 << 20;
    const MUCH: usize = 256 << 10;

    /// Lets a process write `rate` bytes a millisecond for a while: what the last read brought, the most that was in
    /// the pipe, and the longest pause.
    fn stream(rate: usize) -> (usize, usize, Duration) {
        let mut pace = Pace::default();
        let mut now = Instant::now();
        let (mut filled, mut most, mut longest, mut count) = (0, 0, Duration::ZERO, 0);
        for _ in 0..200 {
            let pause = pace.pauses(now).map_or(Duration::ZERO, |until| until - now);
            longest = longest.max(pause);
            // A turn takes time of its own.
            let passed = pause + Duration::from_micros(10);
            now += passed;
            filled += rate * passed.as_micros() as usize / 1000;
            most = most.max(filled);
            count = filled.min(MUCH);
            filled -= count;
            pace.brought(count, MUCH, now);
        }
        (count, most, longest)
    }

    #[test]
    fn a_stream_gathers_and_never_fills_the_pipe() {
        for rate in [1_000, 50_000, 150_000, 1_000_000, 5_000_000] {
            let (count, most, longest) = stream(rate);
            assert!(longest <= LONGEST, "{rate}: {longest:?}");
            assert!(most < PIPE, "{rate}: {most}");
            assert!(count >= ENOUGH.min(rate) / 2, "{rate}: {count}");
        }
    }

    #[test]
    fn single_messages_do_not_wait() {
        let mut pace = Pace::default();
        let mut now = Instant::now();
        for _ in 0..10 {
            pace.brought(100, MUCH, now);
            assert_eq!(pace.pauses(now), None);
            now += Duration::from_millis(2);
        }
    }

    #[test]
    fn who_is_in_a_hurry_does_not_wait() {
        let mut pace = Pace::default();
        let now = Instant::now();
        pace.brought(100, MUCH, now);
        pace.brought(100, MUCH, now);
        assert!(pace.pauses(now).is_some());
        pace.hurry();
        assert_eq!(pace.pauses(now), None);
        pace.brought(100, MUCH, now);
        assert_eq!(pace.pauses(now), None);
    }
}
