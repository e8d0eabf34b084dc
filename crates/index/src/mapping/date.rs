//! Dates as Elasticsearch reads them: `strict_date_optional_time`, `epoch_millis` and date math.
//!
//! Sources: the pages "Built-in formats", "Date math" and "Range query" of the Elasticsearch reference.

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// What stands for the parts that a date leaves out, and which way `/d` rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// The first millisecond, for `gte` and `lt`.
    Down,
    /// The last millisecond, for `gt` and `lte`.
    Up,
}

/// Milliseconds since the epoch for `yyyy[-MM[-dd['T'HH[:mm[:ss[.fraction]]][zone]]]]`, or `None`.
pub fn parse_date(text: &str, rounding: Rounding) -> Option<i64> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let year = digits(parts.next()?, 4)?;
    let month = parts.next().map_or(Some(1), |p| digits(p, 2))?;
    let day = parts.next().map_or(Some(1), |p| digits(p, 2))?;
    if parts.next().is_some() || !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    // A time needs the whole date before it: `2023-07T10` is none.
    if time.is_some() && date.len() != 10 {
        return None;
    }
    let of_day = match time {
        None | Some("") if rounding == Rounding::Up => DAY - 1,
        None | Some("") => 0,
        Some(time) => parse_time(time, rounding)?,
    };
    Some(days_from_civil(year, month, day) * DAY + of_day)
}

/// Milliseconds of the day, less the zone's offset.
fn parse_time(text: &str, rounding: Rounding) -> Option<i64> {
    let zone_at = text.find(['Z', '+', '-']).unwrap_or(text.len());
    let (clock, zone) = text.split_at(zone_at);
    let mut parts = clock.splitn(3, ':');
    let hour = digits(parts.next()?, 2)?;
    let minute = parts.next().map(|p| digits(p, 2));
    let second = parts.next();
    let up = rounding == Rounding::Up;
    let (whole, fraction) = match second {
        None => (None, None),
        Some(text) => match text.split_once(['.', ',']) {
            Some((whole, fraction)) => (Some(digits(whole, 2)?), Some(millis_of_fraction(fraction)?)),
            None => (Some(digits(text, 2)?), None),
        },
    };
    let minute = match minute {
        Some(minute) => minute?,
        None if up => 59,
        None => 0,
    };
    let second = whole.unwrap_or(if up { 59 } else { 0 });
    let milli = fraction.unwrap_or(if up { 999 } else { 0 });
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(hour * HOUR + minute * MINUTE + second * SECOND + milli - parse_zone(zone)?)
}

fn millis_of_fraction(text: &str) -> Option<i64> {
    if text.is_empty() || text.len() > 9 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    format!("{text:0<3}")[..3].parse().ok()
}

/// Milliseconds east of UTC.
fn parse_zone(text: &str) -> Option<i64> {
    let sign = match text.as_bytes().first() {
        None => return Some(0),
        Some(b'Z') => return (text.len() == 1).then_some(0),
        Some(b'-') => -1,
        _ => 1,
    };
    let (hours, minutes) = match text.len() {
        3 => (&text[1..], "00"),
        5 => (&text[1..3], text.get(3..)?),
        6 if text.as_bytes()[3] == b':' => (text.get(1..3)?, text.get(4..)?),
        _ => return None,
    };
    let (hours, minutes) = (digits(hours, 2)?, digits(minutes, 2)?);
    (hours <= 18 && minutes <= 59).then_some(sign * (hours * HOUR + minutes * MINUTE))
}

fn digits(text: &str, len: usize) -> Option<i64> {
    if text.len() != len || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// A date of a query: `now`, a date or milliseconds, each followed by date math such as `now-1h/d` or
/// `2023-07-10||+1M`.
pub fn resolve_date_math(text: &str, now_ms: i64, rounding: Rounding) -> Option<i64> {
    if let Some(math) = text.strip_prefix("now") {
        return apply_math(now_ms, math, rounding);
    }
    if let Some((anchor, math)) = text.split_once("||") {
        return apply_math(date_or_millis(anchor, Rounding::Down)?, math, rounding);
    }
    date_or_millis(text, rounding)
}

fn date_or_millis(text: &str, rounding: Rounding) -> Option<i64> {
    // Four digits are a year, as the first format of the list that matches wins.
    parse_date(text, rounding).or_else(|| text.parse().ok())
}

fn apply_math(start: i64, mut math: &str, rounding: Rounding) -> Option<i64> {
    let mut at = start;
    while let Some(operator) = math.chars().next() {
        math = &math[operator.len_utf8()..];
        if operator == '/' {
            let unit = math.chars().next()?;
            math = &math[unit.len_utf8()..];
            let floor = floor_to(at, unit)?;
            at = match rounding {
                Rounding::Down => floor,
                Rounding::Up => add_units(floor, 1, unit)?.checked_sub(1)?,
            };
            continue;
        }
        let sign = match operator {
            '+' => 1,
            '-' => -1,
            _ => return None,
        };
        let count_len = math.bytes().take_while(u8::is_ascii_digit).count();
        let count: i64 = if count_len == 0 { 1 } else { math[..count_len].parse().ok()? };
        math = &math[count_len..];
        let unit = math.chars().next()?;
        math = &math[unit.len_utf8()..];
        at = add_units(at, sign * count, unit)?;
    }
    Some(at)
}

fn add_units(at: i64, count: i64, unit: char) -> Option<i64> {
    let of_unit = |ms: i64| at.checked_add(count.checked_mul(ms)?);
    match unit {
        's' => of_unit(SECOND),
        'm' => of_unit(MINUTE),
        'h' | 'H' => of_unit(HOUR),
        'd' => of_unit(DAY),
        'w' => of_unit(7 * DAY),
        'M' => add_months(at, count),
        'y' => add_months(at, count.checked_mul(12)?),
        _ => None,
    }
}

fn add_months(at: i64, months: i64) -> Option<i64> {
    let (year, month, day) = civil_from_days(at.div_euclid(DAY));
    let index = (year * 12 + month - 1).checked_add(months)?;
    let (year, month) = (index.div_euclid(12), index.rem_euclid(12) + 1);
    if !(-9_999..=99_999).contains(&year) {
        return None;
    }
    let day = day.min(days_in_month(year, month));
    Some(days_from_civil(year, month, day) * DAY + at.rem_euclid(DAY))
}

fn floor_to(at: i64, unit: char) -> Option<i64> {
    let to = |ms: i64| Some(at - at.rem_euclid(ms));
    let days = at.div_euclid(DAY);
    let (year, month, _) = civil_from_days(days);
    match unit {
        's' => to(SECOND),
        'm' => to(MINUTE),
        'h' | 'H' => to(HOUR),
        'd' => to(DAY),
        // Weeks begin on Monday; 1970-01-01 was a Thursday.
        'w' => Some((days - (days + 3).rem_euclid(7)) * DAY),
        'M' => Some(days_from_civil(year, month, 1) * DAY),
        'y' => Some(days_from_civil(year, 1, 1) * DAY),
        _ => None,
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar, counted in eras of 400 years from March.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The reverse of [`days_from_civil`]: year, month and day.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(text: &str) -> i64 {
        text.parse::<base::Timestamp>().unwrap().millis()
    }

    #[test]
    fn dates_and_what_is_none() {
        for (text, same) in [
            ("2023-07-10T11:42:18Z", "2023-07-10T11:42:18Z"),
            ("2023-07-10T11:42:18.123456Z", "2023-07-10T11:42:18.123Z"),
            ("2023-07-10T11:42:18.5+02:00", "2023-07-10T09:42:18.5Z"),
            ("2023-07-10T11:42", "2023-07-10T11:42:00Z"),
            ("2023-07-10", "2023-07-10T00:00:00Z"),
            ("2023-07", "2023-07-01T00:00:00Z"),
            ("2024-02-29", "2024-02-29T00:00:00Z"),
        ] {
            assert_eq!(parse_date(text, Rounding::Down), Some(ms(same)), "{text}");
        }
        for text in ["", "2023-7-1", "2023-02-29", "2023-07-10T25", "10.7.2023", "2023-07-10 11:42", "2023-07T11", "x"]
        {
            assert_eq!(parse_date(text, Rounding::Down), None, "{text}");
        }
        assert_eq!(parse_date("2023-07-10", Rounding::Up), Some(ms("2023-07-10T23:59:59.999Z")));
    }

    #[test]
    fn date_math() {
        let now = ms("2023-07-12T11:42:18.123Z");
        for (text, rounding, expected) in [
            ("now", Rounding::Down, "2023-07-12T11:42:18.123Z"),
            ("now-1h", Rounding::Down, "2023-07-12T10:42:18.123Z"),
            ("now/d", Rounding::Down, "2023-07-12T00:00:00Z"),
            ("now/d", Rounding::Up, "2023-07-12T23:59:59.999Z"),
            ("now/w", Rounding::Down, "2023-07-10T00:00:00Z"),
            ("now-1M/M", Rounding::Down, "2023-06-01T00:00:00Z"),
            ("2024-01-31||+1M", Rounding::Down, "2024-02-29T00:00:00Z"),
            ("1689077538000", Rounding::Down, "2023-07-11T12:12:18Z"),
        ] {
            assert_eq!(resolve_date_math(text, now, rounding), Some(ms(expected)), "{text}");
        }
        assert_eq!(resolve_date_math("now-1x", now, Rounding::Down), None);
        assert_eq!(resolve_date_math("nowhere", now, Rounding::Down), None);
    }

    proptest! {
        #[test]
        fn days_read_back(days in -3_000_000i64..3_000_000) {
            let (year, month, day) = civil_from_days(days);
            prop_assert_eq!(days_from_civil(year, month, day), days);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,30}") {
            let _ = resolve_date_math(&text, 0, Rounding::Up);
            let _ = parse_date(&text, Rounding::Down);
        }
    }
}
