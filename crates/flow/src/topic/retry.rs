//! When a notification is sent again: the four phases of a delivery policy.
//!
//! Owns the phases, their limits and arithmetic ("Amazon SNS message delivery retries", SNS Developer Guide). Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The service's hard limit for all waits of a policy that somebody sets.
const MAX_TOTAL: Duration = Duration::from_secs(3_600);

/// How waits grow between the pre- and post-backoff phases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backoff {
    /// By equal steps.
    #[default]
    Linear,
    /// By steps that grow by one each.
    Arithmetic,
    /// By equal factors.
    Geometric,
    /// By factors that make the last step the greatest.
    Exponential,
}

/// `healthyRetryPolicy`. Its phases: at once, after the shortest wait, growing, after the longest wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealthyRetry {
    /// Retries in all, 0 to 100.
    #[serde(default = "three")]
    pub num_retries: u32,
    /// The shortest wait in seconds.
    #[serde(default = "twenty")]
    pub min_delay_target: u32,
    /// The longest wait in seconds, at most an hour.
    #[serde(default = "twenty")]
    pub max_delay_target: u32,
    /// Retries without a wait.
    #[serde(default)]
    pub num_no_delay_retries: u32,
    /// Retries after the shortest wait.
    #[serde(default)]
    pub num_min_delay_retries: u32,
    /// Retries after the longest wait.
    #[serde(default)]
    pub num_max_delay_retries: u32,
    /// How waits grow in between.
    #[serde(default)]
    pub backoff_function: Backoff,
}

fn three() -> u32 {
    3
}

fn twenty() -> u32 {
    20
}

impl Default for HealthyRetry {
    /// The service's default for HTTP: three retries, twenty seconds apart.
    fn default() -> Self {
        Self {
            num_retries: three(),
            min_delay_target: twenty(),
            max_delay_target: twenty(),
            num_no_delay_retries: 0,
            num_min_delay_retries: 0,
            num_max_delay_retries: 0,
            backoff_function: Backoff::Linear,
        }
    }
}

impl HealthyRetry {
    /// The service's for mail, which nobody can change: 50 retries in some six hours, for a mail server that is away.
    pub(super) const MAIL: Self = Self {
        num_retries: 50,
        min_delay_target: 10,
        max_delay_target: 600,
        num_no_delay_retries: 0,
        num_min_delay_retries: 2,
        num_max_delay_retries: 38,
        backoff_function: Backoff::Exponential,
    };

    /// Says what is wrong with it.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let phases = [self.num_no_delay_retries, self.num_min_delay_retries, self.num_max_delay_retries];
        if self.num_retries > 100 || phases.iter().any(|n| *n > 100) || phases.iter().sum::<u32>() > self.num_retries {
            return Err("numRetries is 0 to 100 and not less than its phases together");
        }
        if self.min_delay_target > self.max_delay_target || self.max_delay_target > 3_600 {
            return Err("the delay targets are 0 to 3600 seconds, the least first");
        }
        let total: Duration = (1..=self.num_retries).filter_map(|n| self.delay(n)).sum();
        if total > MAX_TOTAL {
            return Err("all retries together must not take more than 3600 seconds");
        }
        Ok(())
    }

    /// The wait before the `n`-th retry, from 1; `None` when there is no such retry.
    pub fn delay(&self, n: u32) -> Option<Duration> {
        if n > self.num_retries {
            return None;
        }
        let growing_from = self.num_no_delay_retries + self.num_min_delay_retries;
        let growing_to = self.num_retries.saturating_sub(self.num_max_delay_retries);
        let (min, max) = (f64::from(self.min_delay_target), f64::from(self.max_delay_target));
        let secs = if n <= self.num_no_delay_retries {
            0.0
        } else if n <= growing_from {
            min
        } else if n > growing_to {
            max
        } else {
            let steps = growing_to - growing_from;
            // The first of the growing waits is the shortest, the last the longest.
            let x = if steps > 1 { f64::from(n - growing_from - 1) / f64::from(steps - 1) } else { 0.0 };
            match self.backoff_function {
                Backoff::Linear => min + (max - min) * x,
                Backoff::Arithmetic => {
                    let k = f64::from(steps - 1);
                    min + (max - min) * x * (k * x + 1.0) / (k + 1.0)
                }
                Backoff::Geometric => min.max(1.0) * (max.max(1.0) / min.max(1.0)).powf(x),
                Backoff::Exponential => min + (max - min) * (2f64.powf(10.0 * x) - 1.0) / 1_023.0,
            }
        };
        Some(Duration::from_secs_f64(secs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(retry: &str) -> Vec<u64> {
        let retry: HealthyRetry = serde_json::from_str(retry).unwrap();
        retry.check().unwrap();
        (1..).map_while(|n| retry.delay(n)).map(|d| d.as_secs()).collect()
    }

    #[test]
    fn phases_follow_each_other() {
        assert_eq!(waits("{}"), [20, 20, 20]);
        let all = r#"{"numRetries":8,"minDelayTarget":2,"maxDelayTarget":10,"numNoDelayRetries":1,
            "numMinDelayRetries":2,"numMaxDelayRetries":2,"backoffFunction":"linear"}"#;
        assert_eq!(waits(all), [0, 2, 2, 2, 6, 10, 10, 10]);
        for function in ["arithmetic", "geometric", "exponential"] {
            let policy =
                format!(r#"{{"numRetries":5,"minDelayTarget":1,"maxDelayTarget":20,"backoffFunction":"{function}"}}"#);
            let waits = waits(&policy);
            assert!(waits.is_sorted() && waits[0] == 1 && waits[4] == 20, "{function}: {waits:?}");
        }
    }

    #[test]
    fn mails_are_tried_for_six_hours() {
        let waits: Vec<_> = (1..).map_while(|n| HealthyRetry::MAIL.delay(n)).map(|d| d.as_secs()).collect();
        assert_eq!((waits.len(), &waits[..3], waits[11], waits[12]), (50, &[10, 10, 10][..], 600, 600));
        assert!(waits.is_sorted() && (6 * 3_600..7 * 3_600).contains(&waits.iter().sum::<u64>()), "{waits:?}");
    }

    #[test]
    fn refuses_what_it_cannot_keep() {
        for retry in [
            r#"{"numRetries":101}"#,
            r#"{"numRetries":1,"numNoDelayRetries":2}"#,
            r#"{"minDelayTarget":30}"#,
            r#"{"numRetries":100,"minDelayTarget":60,"maxDelayTarget":60}"#,
        ] {
            assert!(serde_json::from_str::<HealthyRetry>(retry).unwrap().check().is_err(), "{retry}");
        }
    }
}
