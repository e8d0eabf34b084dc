//! Schedule expressions, and the instants that they name in a time zone.
//!
//! Promises that an expression which is accepted has been understood whole. Daylight saving is as "Schedule types in
//! EventBridge Scheduler" says: a minute that the clocks skip has no instant, one that they show twice has one, the
//! first; a rate of days counts days of 24 hours. Must not know what time it is.

use std::time::Duration;

use base::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

use super::{CATCH_UP, Cron};

/// A text is no schedule expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a schedule expression")]
pub struct BadExpression;

/// A parsed schedule expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// Once, on the clock of the schedule's zone.
    At(DateTime),
    /// Again and again after so much time.
    Rate(Duration),
    /// On the clock of the schedule's zone.
    Cron(Box<Cron>),
}

impl Expression {
    /// The expression of a rule that is being put: `cron(…)` or `rate(…)`, whose unit is singular for one and plural for
    /// more.
    pub fn of_rule(text: &str) -> Result<Self, BadExpression> {
        let expression = Self::of_stored_rule(text)?;
        let rate = text.strip_prefix("rate(").and_then(|rest| rest.strip_suffix(')')).map(rate_parts).transpose()?;
        match rate {
            Some((value, unit)) if (value == 1) == unit.ends_with('s') => Err(BadExpression),
            _ => Ok(expression),
        }
    }

    /// The expression of a rule that is kept, whose unit may be of either number, as it once could.
    pub fn of_stored_rule(text: &str) -> Result<Self, BadExpression> {
        match Self::of_schedule(text)? {
            Self::At(_) => Err(BadExpression),
            expression => Ok(expression),
        }
    }

    /// The expression of a schedule: `at(…)`, `cron(…)` or `rate(…)`.
    pub fn of_schedule(text: &str) -> Result<Self, BadExpression> {
        let inside = |name: &str| text.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')');
        if let Some(fields) = inside("cron") {
            return Ok(Self::Cron(Box::new(Cron::parse(fields)?)));
        }
        if let Some(time) = inside("at") {
            // Nothing but `yyyy-mm-ddThh:mm:ss`.
            if time.len() != 19 || time.as_bytes()[10] != b'T' {
                return Err(BadExpression);
            }
            return Ok(Self::At(time.parse().map_err(|_| BadExpression)?));
        }
        let (value, unit) = rate_parts(inside("rate").ok_or(BadExpression)?)?;
        Ok(Self::Rate(rate(value, unit)?))
    }
}

fn rate_parts(text: &str) -> Result<(u32, &str), BadExpression> {
    let (value, unit) = text.split_once(' ').ok_or(BadExpression)?;
    if value.is_empty() || !value.bytes().all(|b| b.is_ascii_digit()) {
        return Err(BadExpression);
    }
    Ok((value.parse().map_err(|_| BadExpression)?, unit))
}

fn rate(value: u32, unit: &str) -> Result<Duration, BadExpression> {
    let secs = match unit {
        "minute" | "minutes" => 60,
        "hour" | "hours" => 3_600,
        "day" | "days" => 86_400,
        _ => return Err(BadExpression),
    };
    if value == 0 { Err(BadExpression) } else { Ok(Duration::from_secs(secs * u64::from(value))) }
}

/// A zone of the IANA database, by name; none when there is none.
pub fn time_zone(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

/// All instants of something that has a schedule.
#[derive(Debug, Clone)]
pub struct Timetable {
    /// The expression.
    pub expression: Expression,
    /// The zone of `at` and `cron`.
    pub zone: TimeZone,
    /// The first instant of a rate.
    pub first: Timestamp,
    /// There are no instants before this.
    pub from: Option<Timestamp>,
    /// Nor from this on.
    pub until: Option<Timestamp>,
}

impl Timetable {
    /// The first instant after `after`; none when there is none.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        // An instant at the very beginning counts.
        let after = self.from.map_or(after, |from| after.max(Timestamp::from_millis(from.millis() - 1)));
        let next = match &self.expression {
            Expression::At(time) => self.once(*time).filter(|at| *at > after)?,
            Expression::Rate(period) => self.rate_after(*period, after)?,
            Expression::Cron(cron) => self.cron_after(cron, after)?,
        };
        self.until.is_none_or(|until| next < until).then_some(next)
    }

    /// How long after they passed instants are still acted on: what happens only once is, however late.
    pub(super) fn catch_up(&self) -> Duration {
        if matches!(self.expression, Expression::At(_)) { Duration::MAX } else { CATCH_UP }
    }

    /// A time that the clocks skip is that much later; one that they show twice is the first.
    fn once(&self, time: DateTime) -> Option<Timestamp> {
        let at = self.zone.to_ambiguous_timestamp(time).compatible().ok()?;
        Some(Timestamp::from_millis(at.as_millisecond()))
    }

    fn rate_after(&self, period: Duration, after: Timestamp) -> Option<Timestamp> {
        let first = self.from.map_or(self.first, |from| from.max(self.first));
        if after < first {
            return Some(first);
        }
        let period = i64::try_from(period.as_millis()).ok()?;
        let passed = (after.millis() - first.millis()) / period + 1;
        first.millis().checked_add(passed.checked_mul(period)?).map(Timestamp::from_millis)
    }

    fn cron_after(&self, cron: &Cron, after: Timestamp) -> Option<Timestamp> {
        let shown = jiff::Timestamp::from_millisecond(after.millis()).ok()?.to_zoned(self.zone.clone()).datetime();
        let mut time = shown;
        loop {
            time = cron.next_after(time)?;
            let found = self.zone.to_ambiguous_timestamp(time);
            let at = match found.offset() {
                AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => found.earlier().ok()?,
                AmbiguousOffset::Gap { .. } => continue,
            };
            let at = Timestamp::from_millis(at.as_millisecond());
            // While the clocks show an hour again, its times are past.
            if at > after {
                return Some(at);
            }
        }
    }
}
