//! The fixed forms of a time, written and read by hand: every signed request has one.
//!
//! Owns the years 1970 to 9998 and exactly the forms that are usual; promises to say for them what the general
//! formatter says. Whatever else comes is left to that one.

use super::Timestamp;

const DAY_MS: i64 = 86_400_000;
/// 9999-01-01T00:00:00Z.
const END_MS: i64 = 253_370_764_800_000;
/// Days from 0000-03-01, where a leap day is the last of its year, to 1970-01-01.
const EPOCH_DAYS: i64 = 719_468;
/// Days of 400 years, after which the calendar repeats itself.
const ERA_DAYS: i64 = 146_097;

/// A date and a time of day in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Civil {
    year: u16,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
    pub(super) millis: u16,
}

impl Civil {
    /// The date of a time; none outside the years that are owned here.
    pub fn of(time: Timestamp) -> Option<Self> {
        let ms = time.millis();
        if !(0..END_MS).contains(&ms) {
            return None;
        }
        let (days, ms) = (ms / DAY_MS + EPOCH_DAYS, ms % DAY_MS);
        let (era, day_of_era) = (days / ERA_DAYS, days % ERA_DAYS);
        // Each fourth year has a day more, each hundredth not, each four-hundredth does.
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        // Months from March on have 153 days in each five.
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        Some(Self {
            year: (era * 400 + year_of_era + next_year) as u16,
            month: month as u8,
            day: day as u8,
            hour: (ms / 3_600_000) as u8,
            minute: (ms / 60_000 % 60) as u8,
            second: (ms / 1_000 % 60) as u8,
            millis: (ms % 1_000) as u16,
        })
    }

    /// When that was.
    pub fn timestamp(self) -> Timestamp {
        let (year, month) = (i64::from(self.year), i64::from(self.month));
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let (era, year_of_era) = (year / 400, year % 400);
        let day_of_year = (153 * month + 2) / 5 + i64::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * ERA_DAYS + day_of_era - EPOCH_DAYS;
        let seconds = (i64::from(self.hour) * 60 + i64::from(self.minute)) * 60 + i64::from(self.second);
        Timestamp::from_millis(days * DAY_MS + seconds * 1_000 + i64::from(self.millis))
    }

    /// `20261123T040506Z`.
    pub fn basic(self) -> String {
        let mut out = String::with_capacity(16);
        self.date(&mut out, None);
        out.push('T');
        self.time(&mut out, None);
        out.push('Z');
        out
    }

    /// `2026-11-23T04:05:06Z`, with `.789` when milliseconds are given.
    pub fn iso(self, millis: Option<u16>) -> String {
        let mut out = String::with_capacity(24);
        self.date(&mut out, Some('-'));
        out.push('T');
        self.time(&mut out, Some(':'));
        if let Some(millis) = millis {
            out.push('.');
            digit(&mut out, millis / 100);
            two(&mut out, millis % 100);
        }
        out.push('Z');
        out
    }

    /// Reads `20261123T040506Z`; none when it is of any other form or not a date that is owned here.
    pub fn read_basic(text: &str) -> Option<Self> {
        let text: &[u8; 16] = text.as_bytes().try_into().ok()?;
        let number = |digits: &[u8]| {
            digits
                .iter()
                .try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + u16::from(byte - b'0')))
        };
        let pair = |at: usize| number(&text[at..at + 2]).map(|number| number as u8);
        if (text[8], text[15]) != (b'T', b'Z') {
            return None;
        }
        let read = Self {
            year: number(&text[..4])?,
            month: pair(4)?,
            day: pair(6)?,
            hour: pair(9)?,
            minute: pair(11)?,
            second: pair(13)?,
            millis: 0,
        };
        // What is not in the calendar comes back as another date.
        let in_time = read.month > 0 && read.month <= 12 && read.hour < 24 && read.minute < 60 && read.second < 60;
        (in_time && read.year >= 1_970 && Self::of(read.timestamp()) == Some(read)).then_some(read)
    }

    fn date(self, out: &mut String, between: Option<char>) {
        two(out, self.year / 100);
        two(out, self.year % 100);
        for part in [self.month, self.day] {
            out.extend(between);
            two(out, part.into());
        }
    }

    fn time(self, out: &mut String, between: Option<char>) {
        two(out, self.hour.into());
        for part in [self.minute, self.second] {
            out.extend(between);
            two(out, part.into());
        }
    }
}

fn two(out: &mut String, number: u16) {
    digit(out, number / 10);
    digit(out, number % 10);
}

fn digit(out: &mut String, number: u16) {
    out.push(char::from(b'0' + number as u8));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::{BASIC, ISO_MILLIS, ISO_SECS};

    fn agrees(time: Timestamp) {
        assert_eq!(time.to_basic(), time.format(BASIC));
        assert_eq!(time.to_iso_secs(), time.format(ISO_SECS));
        assert_eq!(time.to_iso_millis(), time.format(ISO_MILLIS));
    }

    fn general(text: &str) -> Option<Timestamp> {
        let parsed = jiff::fmt::strtime::parse(BASIC, text).and_then(|t| t.to_datetime()).ok()?;
        Some(Timestamp::from_millis(parsed.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond()))
    }

    #[test]
    fn every_day_of_four_centuries_is_that_of_the_general_formatter() {
        for day in 0..ERA_DAYS {
            let time = Timestamp::from_millis(day * DAY_MS + (day * 7_919) % DAY_MS);
            assert_eq!(time.to_basic(), time.format(BASIC));
            assert_eq!(Civil::of(time).map(Civil::timestamp), Some(time));
        }
    }

    #[test]
    fn the_edges_agree() {
        for ms in [i64::MIN, -DAY_MS, -1, 0, 1, END_MS - 1, END_MS, END_MS + 400 * DAY_MS, i64::MAX] {
            agrees(Timestamp::from_millis(ms));
        }
    }

    proptest! {
        #[test]
        fn times_are_written_as_the_general_formatter_does(ms in -100_000_000_000_000_i64..260_000_000_000_000) {
            agrees(Timestamp::from_millis(ms));
        }

        #[test]
        fn times_are_read_as_the_general_parser_does(ms in 0..END_MS) {
            let time = Timestamp::from_millis(ms - ms % 1_000);
            prop_assert_eq!(Timestamp::from_basic(&time.to_basic()).unwrap(), time);
        }

        #[test]
        fn what_is_nearly_a_date_is_taken_or_refused_alike(
            text in "(19|20)[0-9]{2}(0|1)[0-9][0-3][0-9][Tt][0-2][0-9][0-6][0-9][0-6][0-9]Z",
        ) {
            prop_assert_eq!(Timestamp::from_basic(&text).ok(), general(&text));
        }

        #[test]
        fn any_text_is_taken_or_refused_alike(text in "[0-9TZ+ -]{14,18}") {
            prop_assert_eq!(Timestamp::from_basic(&text).ok(), general(&text));
        }
    }
}
