//! Where reading begins.

use std::str::FromStr;

use base::{Clock, SystemClock, Timestamp};
use serde_json::{Value, json};

use crate::figures::age;

/// A place in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The oldest record there is.
    TrimHorizon,
    /// After all there are.
    Latest,
    /// The first that arrived at this time or later.
    Time(Timestamp),
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "trim-horizon" => Ok(Self::TrimHorizon),
            "latest" => Ok(Self::Latest),
            _ => {
                let time = text.parse().ok().or_else(|| Some(SystemClock::new().now() - age(text).ok()?));
                time.map(Self::Time).ok_or_else(|| {
                    format!("'{text}' is not trim-horizon, latest, a time such as 2026-11-23T07:00:00Z or an age such as 10m")
                })
            }
        }
    }
}

impl From {
    /// As the parameters of `GetShardIterator`.
    pub fn parameters(self) -> Value {
        match self {
            Self::TrimHorizon => json!({ "ShardIteratorType": "TRIM_HORIZON" }),
            Self::Latest => json!({ "ShardIteratorType": "LATEST" }),
            Self::Time(time) => json!({ "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": time.secs_f64() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_words_times_and_ages() {
        assert_eq!("trim-horizon".parse(), Ok(From::TrimHorizon));
        let time: Timestamp = "2026-11-23T07:00:00Z".parse().unwrap();
        assert_eq!("2026-11-23T07:00:00Z".parse(), Ok(From::Time(time)));
        assert!(matches!("10m".parse(), Ok(From::Time(_))));
        assert!("yesterday".parse::<From>().unwrap_err().starts_with("'yesterday' is not"));
        assert_eq!(From::Time(time).parameters()["Timestamp"], 1_795_417_200.0);
    }
}
