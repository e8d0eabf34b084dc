//! A day in an AWS account, made up: plausible CloudTrail records for demonstrations and load.
//!
//! People work in office hours, machines around the clock; most calls only read; and a few attacks happen, each a
//! [`Story`] whose records say so. A seed repeats its day to the byte. Names and addresses are invented; addresses of
//! attackers are from the ranges that RFC 5737 sets aside for documentation.

mod calls;
mod cast;
mod record;
mod story;

use base::{AccountId, Region, Rng, SeededRng, Timestamp};
use std::time::Duration;

use calls::Call;
use cast::Actor;
use record::Scene;

pub use story::Story;

/// What a day is made from.
#[derive(Debug, Clone)]
pub struct Day {
    /// Whose day it is.
    pub account: AccountId,
    /// Where everything happens.
    pub region: Region,
    /// When the day begins.
    pub start: Timestamp,
    /// How many records it has; never fewer than the attacks need.
    pub events: usize,
    /// The same seed gives the same day.
    pub seed: u64,
}

/// One record of the day.
#[derive(Debug, Clone)]
pub struct Occurrence {
    /// When it happened.
    pub time: Timestamp,
    /// Its `eventID`.
    pub id: String,
    /// The CloudTrail record, JSON on one line.
    pub record: String,
    /// The attack that it is part of.
    pub story: Option<Story>,
}

/// How busy people are in each hour.
const OFFICE: [u64; 24] = [0, 0, 0, 0, 0, 0, 1, 4, 9, 12, 12, 9, 7, 10, 12, 11, 9, 6, 3, 1, 1, 0, 0, 0];

const HOUR_MS: u64 = 3_600_000;

/// What happens at a time; what it looks like is made when it is asked for, so that a long day needs little memory.
#[derive(Clone, Copy)]
enum Plan {
    Routine { actor: Actor, call: &'static Call },
    Attack { story: Story, step: usize },
}

impl Day {
    /// The records in the order of their times.
    pub fn occurrences(&self) -> impl Iterator<Item = Occurrence> + use<> {
        let rng = SeededRng::new(self.seed);
        let mut plans = Vec::with_capacity(self.events);
        for story in Story::ALL {
            for (step, offset) in story.offsets().enumerate() {
                plans.push((self.start + offset, Plan::Attack { story, step }));
            }
        }
        while plans.len() < self.events {
            plans.push(self.routine(&rng));
        }
        plans.sort_by_key(|(time, _)| *time);
        let (account, region) = (self.account.clone(), self.region.clone());
        plans.into_iter().map(move |(time, plan)| {
            // Each record has a generator of its own, so that what it draws does not change those after it.
            let rng = SeededRng::new(rng.u64());
            let scene = Scene { account: &account, region: &region, time, rng: &rng };
            let (id, record, story) = match plan {
                Plan::Routine { actor, call } => {
                    let (id, record) = scene.routine(actor, call);
                    (id, record, None)
                }
                Plan::Attack { story, step } => {
                    let (id, record) = story.record(step, &scene);
                    (id, record, Some(story))
                }
            };
            Occurrence { time, id, record, story }
        })
    }

    fn routine(&self, rng: &SeededRng) -> (Timestamp, Plan) {
        let actor = Actor::any(rng);
        let hour = if actor.is_person() { weighted(&OFFICE, rng) } else { rng.below(24) };
        let time = self.start + Duration::from_millis(hour * HOUR_MS + rng.below(HOUR_MS));
        (time, Plan::Routine { actor, call: Call::any(actor.is_person(), rng) })
    }
}

/// An index, each as likely as its weight.
fn weighted(weights: &[u64], rng: &dyn Rng) -> u64 {
    let mut left = rng.below(weights.iter().sum());
    for (index, weight) in (0..).zip(weights) {
        if left < *weight {
            return index;
        }
        left -= weight;
    }
    0
}

/// One of several.
fn pick<T: Copy>(all: &[T], rng: &dyn Rng) -> T {
    let index = usize::try_from(rng.below(all.len() as u64)).unwrap_or(0);
    all[index]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::Value;

    use super::*;
    use crate::cloudtrail;

    fn day(seed: u64, events: usize) -> Vec<Occurrence> {
        let day = Day {
            account: "111122223333".parse().unwrap(),
            region: "us-east-1".parse().unwrap(),
            start: "2026-03-02T00:00:00Z".parse().unwrap(),
            events,
            seed,
        };
        day.occurrences().collect()
    }

    #[test]
    fn a_seed_repeats_its_day() {
        let records = |seed| day(seed, 500).into_iter().map(|o| o.record).collect::<Vec<_>>();
        assert_eq!(records(7), records(7));
        assert_ne!(records(7), records(8));
    }

    #[test]
    fn every_record_is_an_event_of_its_own_in_order() {
        let day = day(1, 3_000);
        assert_eq!(day.len(), 3_000);
        assert_eq!(day.iter().map(|o| &o.id).collect::<HashSet<_>>().len(), 3_000);
        assert!(day.is_sorted_by_key(|o| o.time));
        for occurrence in &day {
            let event = cloudtrail::event(occurrence.record.as_bytes()).unwrap();
            assert_eq!(event.id, occurrence.id);
            assert_eq!(event.time.to_iso_secs(), occurrence.time.to_iso_secs());
            assert!(!occurrence.record.contains('\n'));
        }
    }

    #[test]
    fn a_day_has_reads_writes_office_hours_and_every_attack() {
        let day = day(2, 5_000);
        let records: Vec<Value> = day.iter().map(|o| serde_json::from_str(&o.record).unwrap()).collect();
        let reads = records.iter().filter(|r| r["readOnly"] == true).count();
        assert!((2_500..4_500).contains(&reads), "{reads}");
        let people_at_night = records.iter().zip(&day).filter(|(r, o)| {
            o.story.is_none()
                && r["userIdentity"]["type"] == "IAMUser"
                && r["eventTime"].as_str().unwrap()[11..13] < *"05"
        });
        assert_eq!(people_at_night.count(), 0);
        for story in Story::ALL {
            assert!(day.iter().any(|o| o.story == Some(story)), "{story:?}");
        }
        assert!(records.iter().filter(|r| r["eventName"] == "TerminateInstances").count() >= 2);
    }
}
