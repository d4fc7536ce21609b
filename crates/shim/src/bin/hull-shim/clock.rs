//! The time as logs and answers give it.

use rustix::time::{ClockId, Timespec};

const SECONDS_OF_DAY: i64 = 86_400;

/// A moment, as `2006-01-02T15:04:05.999999999Z`: RFC 3339 in UTC, always with nine digits, so that a stamp can be
/// written over another one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    text: [u8; Stamp::SIZE],
    nanoseconds: i64,
}

impl Stamp {
    /// Bytes of every stamp.
    pub(crate) const SIZE: usize = 30;

    /// This moment.
    pub(crate) fn now() -> Self {
        Self::of(rustix::time::clock_gettime(ClockId::Realtime))
    }

    /// That moment, in nanoseconds since 1970.
    pub(crate) fn at(nanoseconds: i64) -> Self {
        let (tv_sec, tv_nsec) =
            (nanoseconds.div_euclid(1_000_000_000), nanoseconds.rem_euclid(1_000_000_000));
        Self::of(Timespec { tv_sec, tv_nsec })
    }

    pub(crate) fn as_bytes(&self) -> &[u8; Self::SIZE] {
        &self.text
    }

    /// The same, counted from 1970.
    pub(crate) fn nanoseconds(&self) -> i64 {
        self.nanoseconds
    }

    fn of(time: Timespec) -> Self {
        let (year, month, day) = date(time.tv_sec.div_euclid(SECONDS_OF_DAY));
        let second = time.tv_sec.rem_euclid(SECONDS_OF_DAY);
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        decimal(&mut text[0..4], year);
        decimal(&mut text[5..7], month);
        decimal(&mut text[8..10], day);
        decimal(&mut text[11..13], second / 3600);
        decimal(&mut text[14..16], second / 60 % 60);
        decimal(&mut text[17..19], second % 60);
        decimal(&mut text[20..29], time.tv_nsec);
        Self { text, nanoseconds: time.tv_sec.wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec) }
    }
}

impl std::fmt::Display for Stamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.text.iter().try_for_each(|byte| write!(f, "{}", char::from(*byte)))
    }
}

/// Writes the last digits of `number` over all of `field`.
fn decimal(field: &mut [u8], mut number: i64) {
    for digit in field.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// The Gregorian date of a day counted from 1970-01-01: year, month, day.
fn date(days: i64) -> (i64, i64, i64) {
    // Count from 0000-03-01, so that the leap day is the last of its year; 400 years have 146,097 days.
    let days = days + 719_468;
    let (cycle, day_of_cycle) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_cycle =
        (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    // Months from March on have 31, 30, 31, 30, 31 days: 153 in five.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = cycle * 400 + year_of_cycle + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(tv_sec: i64, tv_nsec: i64) -> String {
        Stamp::of(Timespec { tv_sec, tv_nsec }).to_string()
    }

    #[test]
    fn known_moments() {
        assert_eq!(stamp(0, 0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(stamp(951_782_399, 999_999_999), "2000-02-28T23:59:59.999999999Z");
        assert_eq!(stamp(951_782_400, 1), "2000-02-29T00:00:00.000000001Z");
        assert_eq!(stamp(1_709_251_199, 120_000_000), "2024-02-29T23:59:59.120000000Z");
        assert_eq!(stamp(4_107_542_400, 0), "2100-03-01T00:00:00.000000000Z");
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut last = date(-1);
        assert_eq!(last, (1969, 12, 31));
        for day in 0..200_000 {
            let next = date(day);
            assert!(next > last && next.2 >= 1 && next.2 <= 31, "{last:?} {next:?}");
            last = next;
        }
    }
}
