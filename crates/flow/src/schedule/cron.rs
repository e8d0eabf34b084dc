//! `cron(…)` in the AWS dialect: six fields, evaluated on the calendar without any time zone.
//!
//! Owns the fields and the search for the next minute that fits. Promises that a parsed expression is one the service
//! documents ("Cron expressions reference", EventBridge User Guide): minutes, hours, day of month, month, day of week,
//! year; `,` `-` `*` `/` everywhere, `?` in one of the two day fields, `L` and `W` for days of a month, `L` and `#` for
//! days of a week, where 1 is Sunday. Must not know what time it is.

use jiff::ToSpan;
use jiff::civil::{Date, DateTime, Weekday};

use super::expression::BadExpression;

const FIRST_YEAR: i16 = 1970;
const LAST_YEAR: i16 = 2199;
const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// A parsed `cron(…)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: Days,
    months: u64,
    /// Of the years from 1970 on, a bit each.
    years: [u64; 4],
}

/// The field of the two day fields that is not `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Days {
    OfMonth { listed: u64, special: Vec<MonthDay> },
    OfWeek(WeekDays),
}

/// A day of a month that depends on the month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MonthDay {
    /// The last one.
    Last,
    /// The last one from Monday to Friday.
    LastWeekday,
    /// The one from Monday to Friday that is closest to this one, in the same month.
    Nearest(i8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WeekDays {
    /// Every week; bit 1 is Sunday.
    Listed(u64),
    /// The last such day of the month.
    Last(i8),
    /// The n-th such day of the month.
    Nth(i8, i8),
}

/// What a plain field may hold.
struct Field {
    first: i16,
    last: i16,
    names: &'static [&'static str],
}

const MINUTE: Field = Field { first: 0, last: 59, names: &[] };
const HOUR: Field = Field { first: 0, last: 23, names: &[] };
const MONTH_DAY: Field = Field { first: 1, last: 31, names: &[] };
const MONTH: Field = Field { first: 1, last: 12, names: &MONTHS };
const WEEK_DAY: Field = Field { first: 1, last: 7, names: &WEEKDAYS };
const YEAR: Field = Field { first: FIRST_YEAR, last: LAST_YEAR, names: &[] };

impl Field {
    fn value(&self, text: &str) -> Result<i16, BadExpression> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let value = match named {
            Some(place) => self.first + place as i16,
            None if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
                text.parse().map_err(|_| BadExpression)?
            }
            None => return Err(BadExpression),
        };
        if (self.first..=self.last).contains(&value) { Ok(value) } else { Err(BadExpression) }
    }

    /// The values of one item of a list: `*`, `a`, `a-b`, each with `/step` or without. A range whose end is before its
    /// beginning goes on at the field's own beginning.
    fn item(&self, text: &str, mut take: impl FnMut(i16)) -> Result<(), BadExpression> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (text, None),
        };
        let by = match step {
            None => 1,
            Some(step) if step.bytes().all(|b| b.is_ascii_digit()) => step.parse::<i16>().map_err(|_| BadExpression)?,
            Some(_) => return Err(BadExpression),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (self.first, self.last),
            Some((from, to)) => (self.value(from)?, self.value(to)?),
            // `5/10` goes on to the end of the field.
            None => (self.value(range)?, if step.is_some() { self.last } else { self.value(range)? }),
        };
        let values = self.last - self.first + 1;
        if by < 1 || by > values {
            return Err(BadExpression);
        }
        let length = if from <= to { to - from } else { to - from + values };
        for offset in (0..=length).step_by(by as usize) {
            take((from - self.first + offset) % values + self.first);
        }
        Ok(())
    }

    fn bits(&self, text: &str) -> Result<u64, BadExpression> {
        let mut bits = 0;
        for item in text.split(',') {
            self.item(item, |value| bits |= 1 << value)?;
        }
        Ok(bits)
    }
}

impl Cron {
    /// Parses what stands between the parentheses.
    pub fn parse(fields: &str) -> Result<Self, BadExpression> {
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let &[minutes, hours, month_days, months, week_days, years] = fields.as_slice() else {
            return Err(BadExpression);
        };
        let days = match (month_days, week_days) {
            ("?", "?") => return Err(BadExpression),
            ("?", days) => week_days_of(days)?,
            (days, "?") => month_days_of(days)?,
            _ => return Err(BadExpression),
        };
        let mut bits = [0; 4];
        for item in years.split(',') {
            YEAR.item(item, |year| bits[(year - FIRST_YEAR) as usize / 64] |= 1 << ((year - FIRST_YEAR) % 64))?;
        }
        Ok(Self {
            minutes: MINUTE.bits(minutes)?,
            hours: HOUR.bits(hours)?,
            days,
            months: MONTH.bits(months)?,
            years: bits,
        })
    }

    /// The first minute after `after` that fits; none when there is none up to the year 2199.
    pub fn next_after(&self, after: DateTime) -> Option<DateTime> {
        let minute = after.with().second(0).subsec_nanosecond(0).build().ok()?;
        let start = minute.checked_add(1.minute()).ok()?;
        let first_year = start.year().max(FIRST_YEAR);
        for year in first_year..=LAST_YEAR {
            if !self.has_year(year) {
                continue;
            }
            let from = if year == start.year() { start.month() } else { 1 };
            for month in (from..=12).filter(|month| self.months >> month & 1 == 1) {
                let first = Date::new(year, month, 1).ok()?;
                let days = self.days_of(first);
                for day in (1..=first.days_in_month()).filter(|day| days >> day & 1 == 1) {
                    let date = Date::new(year, month, day).ok()?;
                    if let Some(found) = self.time_on(date, start) {
                        return Some(found);
                    }
                }
            }
        }
        None
    }

    fn has_year(&self, year: i16) -> bool {
        let place = year - FIRST_YEAR;
        self.years[place as usize / 64] >> (place % 64) & 1 == 1
    }

    /// The first fitting time on a date that is not before `start`.
    fn time_on(&self, date: Date, start: DateTime) -> Option<DateTime> {
        if date < start.date() {
            return None;
        }
        let (hour, minute) = if date == start.date() { (start.hour(), start.minute()) } else { (0, 0) };
        let hours = (hour..24).filter(|hour| self.hours >> hour & 1 == 1);
        hours
            .flat_map(|h| {
                let from = if h == hour { minute } else { 0 };
                (from..60).filter(|minute| self.minutes >> minute & 1 == 1).map(move |minute| (h, minute))
            })
            .next()
            .map(|(hour, minute)| date.at(hour, minute, 0, 0))
    }

    /// The fitting days of a month, a bit each. `first` is its first.
    fn days_of(&self, first: Date) -> u64 {
        let length = first.days_in_month();
        let weekday = |day: i8| first.weekday().wrapping_add(i64::from(day) - 1).to_sunday_one_offset();
        let days =
            |fits: &dyn Fn(i8) -> bool| (1..=length).filter(|day| fits(*day)).fold(0, |bits, day| bits | 1 << day);
        match &self.days {
            Days::OfMonth { listed, special } => special.iter().fold(*listed, |bits, day| {
                bits | match day {
                    MonthDay::Last => 1 << length,
                    MonthDay::LastWeekday => 1 << nearest_weekday(first, length),
                    MonthDay::Nearest(day) if *day <= length => 1 << nearest_weekday(first, *day),
                    MonthDay::Nearest(_) => 0,
                }
            }),
            Days::OfWeek(WeekDays::Listed(listed)) => days(&|day| listed >> weekday(day) & 1 == 1),
            Days::OfWeek(WeekDays::Last(wanted)) => days(&|day| weekday(day) == *wanted && day + 7 > length),
            Days::OfWeek(WeekDays::Nth(wanted, nth)) => days(&|day| weekday(day) == *wanted && (day + 6) / 7 == *nth),
        }
    }
}

/// The day from Monday to Friday that is closest to `day`, in the month that begins with `first`.
fn nearest_weekday(first: Date, day: i8) -> i8 {
    let length = first.days_in_month();
    match first.weekday().wrapping_add(i64::from(day) - 1) {
        Weekday::Saturday if day == 1 => day + 2,
        Weekday::Saturday => day - 1,
        Weekday::Sunday if day == length => day - 2,
        Weekday::Sunday => day + 1,
        _ => day,
    }
}

fn month_days_of(text: &str) -> Result<Days, BadExpression> {
    let (mut listed, mut special) = (0, Vec::new());
    for item in text.split(',') {
        match item {
            "L" => special.push(MonthDay::Last),
            "LW" => special.push(MonthDay::LastWeekday),
            _ => match item.strip_suffix('W') {
                Some(day) => special.push(MonthDay::Nearest(MONTH_DAY.value(day)? as i8)),
                None => listed |= MONTH_DAY.bits(item)?,
            },
        }
    }
    Ok(Days::OfMonth { listed, special })
}

fn week_days_of(text: &str) -> Result<Days, BadExpression> {
    let day = |text: &str| WEEK_DAY.value(text).map(|day| day as i8);
    let days = if text == "L" {
        // The last day of the week.
        WeekDays::Listed(1 << 7)
    } else if let Some((named, nth)) = text.split_once('#') {
        match nth.as_bytes() {
            [nth @ b'1'..=b'5'] => WeekDays::Nth(day(named)?, (nth - b'0') as i8),
            _ => return Err(BadExpression),
        }
    } else if let Some(named) = text.strip_suffix('L') {
        WeekDays::Last(day(named)?)
    } else {
        WeekDays::Listed(WEEK_DAY.bits(text)?)
    };
    Ok(Days::OfWeek(days))
}
