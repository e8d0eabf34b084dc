//! Points in time, to the millisecond, as the AWS protocols carry them.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::InvalidId;

mod civil;

use civil::Civil;

const ISO_SECS: &str = "%Y-%m-%dT%H:%M:%SZ";
const ISO_MILLIS: &str = "%Y-%m-%dT%H:%M:%S%.3fZ";
const BASIC: &str = "%Y%m%dT%H%M%SZ";

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the epoch.
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// From seconds since the epoch, with a fraction, as JSON protocols carry times. Not-a-number is refused.
    pub fn from_secs_f64(secs: f64) -> Option<Self> {
        let ms = secs * 1_000.0;
        (ms.is_finite() && ms.abs() < 9.2e18).then_some(Self(ms.round() as i64))
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Seconds since the epoch, with milliseconds as fraction.
    pub fn secs_f64(self) -> f64 {
        self.0 as f64 / 1_000.0
    }

    /// Time passed since `earlier`; zero when the clock went back.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// `2026-11-23T04:05:06Z`: seconds only, as EventBridge writes times.
    pub fn to_iso_secs(self) -> String {
        Civil::of(self).map_or_else(|| self.format(ISO_SECS), |civil| civil.iso(None))
    }

    /// `2026-11-23T04:05:06.789Z`, as SNS writes times.
    pub fn to_iso_millis(self) -> String {
        Civil::of(self).map_or_else(|| self.format(ISO_MILLIS), |civil| civil.iso(Some(civil.millis)))
    }

    /// `20261123T040506Z`, as signatures write times.
    pub fn to_basic(self) -> String {
        Civil::of(self).map_or_else(|| self.format(BASIC), Civil::basic)
    }

    /// Formats in UTC by a strftime pattern that is part of the program, not of its input.
    pub fn format(self, pattern: &'static str) -> String {
        let time = jiff::Timestamp::from_millisecond(self.0).unwrap_or_default();
        jiff::fmt::strtime::format(pattern, &time.to_zoned(jiff::tz::TimeZone::UTC)).unwrap_or_default()
    }

    /// Parses `20261123T040506Z`.
    pub fn from_basic(v: &str) -> Result<Self, InvalidId> {
        if let Some(civil) = Civil::read_basic(v) {
            return Ok(civil.timestamp());
        }
        jiff::fmt::strtime::parse(BASIC, v)
            .and_then(|t| t.to_datetime())
            .and_then(|t| t.to_zoned(jiff::tz::TimeZone::UTC))
            .map(|t| Self(t.timestamp().as_millisecond()))
            .map_err(|_| InvalidId::new("date", v, "YYYYMMDD'T'HHMMSS'Z'"))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, d: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_iso_millis())
    }
}

impl FromStr for Timestamp {
    type Err = InvalidId;

    /// Parses RFC 3339, such as `2023-07-10T11:42:18Z`.
    fn from_str(v: &str) -> Result<Self, InvalidId> {
        v.parse::<jiff::Timestamp>()
            .map(|t| Self(t.as_millisecond()))
            .map_err(|_| InvalidId::new("time", v, "an RFC 3339 time such as 2023-07-10T11:42:18Z"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_read_back() {
        let time: Timestamp = "2023-07-10T11:42:18.123Z".parse().unwrap();
        assert_eq!(time.to_iso_millis(), "2023-07-10T11:42:18.123Z");
        assert_eq!(time.to_iso_secs(), "2023-07-10T11:42:18Z");
        assert_eq!(time.to_basic(), "20230710T114218Z");
        assert_eq!(Timestamp::from_basic("20230710T114218Z").unwrap().to_iso_secs(), "2023-07-10T11:42:18Z");
        assert_eq!(Timestamp::from_secs_f64(time.secs_f64()), Some(time));
        assert_eq!(Timestamp::from_secs_f64(f64::NAN), None);
    }
}
