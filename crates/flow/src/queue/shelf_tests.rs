//! The shelf against what the service promises of queues: a model that keeps every message in a list and answers each
//! question by looking at all of them.

use std::collections::BTreeMap;
use std::time::Duration;

use base::{Position, Timestamp};
use proptest::prelude::*;

use super::change::Change;
use super::shelf::{Arrival, Counts, Holding, Shelf};

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn arrival(group: Option<&str>, sent: i64, until: Option<i64>) -> Arrival {
    Arrival { sent: at(sent), until: until.map(at), group: group.map(str::to_owned), receives: 0, first_received: None }
}

fn received(message: u64, receives: u32, now: i64, until: i64) -> Change {
    Change::Received { message: Position::new(message), receives, at: at(now), until: at(until) }
}

fn taken(shelf: &mut Shelf, max: usize) -> Vec<u64> {
    shelf.take(max).into_iter().map(|taken| taken.message.get()).collect()
}

#[test]
fn a_message_is_visible_delayed_held_and_gone() {
    let mut shelf = Shelf::new(false);
    shelf.arrive(Position::new(1), arrival(None, 0, None));
    shelf.arrive(Position::new(2), arrival(None, 0, Some(500)));
    assert_eq!(shelf.counts(), Counts { visible: 1, in_flight: 0, delayed: 1 });
    assert_eq!(taken(&mut shelf, 10), [1]);
    assert_eq!(shelf.holding(Position::new(1), 0), Holding::Newer);
    shelf.apply(received(1, 1, 10, 1_010), Position::new(3));
    assert_eq!(shelf.holding(Position::new(1), 1), Holding::Held);
    assert_eq!(shelf.next_due(), Some(at(500)));
    assert_eq!((shelf.wake(at(499)), shelf.wake(at(500)), shelf.wake(at(1_010))), (0, 1, 1));
    assert_eq!(shelf.holding(Position::new(1), 1), Holding::Over);
    let both = shelf.take(10);
    assert_eq!(both.iter().map(|taken| taken.message.get()).collect::<Vec<_>>(), [1, 2]);
    shelf.put_back(&both[1]);
    assert_eq!(shelf.counts(), Counts { visible: 1, in_flight: 1, delayed: 0 });
    shelf.apply(Change::Purged, Position::new(9));
    assert_eq!((shelf.counts(), shelf.first()), (Counts::default(), None));
    assert_eq!(shelf.holding(Position::new(1), 1), Holding::Gone);
}

#[test]
fn a_fifo_group_is_served_in_order_and_by_one_receive_at_a_time() {
    let mut shelf = Shelf::new(true);
    for (message, group) in [(1, "a"), (2, "a"), (3, "b"), (4, "a"), (5, "b")] {
        shelf.arrive(Position::new(message), arrival(Some(group), 0, None));
    }
    // As many of one group as there is room for, then the next group.
    assert_eq!(taken(&mut shelf, 4), [1, 2, 4, 3]);
    assert_eq!(taken(&mut shelf, 4), [] as [u64; 0]);
    for message in [1, 2, 4, 3] {
        shelf.apply(received(message, 1, 0, 100), Position::new(9));
    }
    shelf.apply(Change::Deleted { message: Position::new(3) }, Position::new(10));
    assert_eq!(taken(&mut shelf, 4), [5]);
    // One of a group that is under way is enough to hold the others back.
    let deferred = Change::Deferred { message: Position::new(1), receives: 1, until: at(0) };
    shelf.apply(deferred, Position::new(11));
    shelf.wake(at(0));
    assert_eq!(taken(&mut shelf, 4), [] as [u64; 0]);
    shelf.wake(at(100));
    assert_eq!(taken(&mut shelf, 2), [1, 2]);
}

#[test]
fn a_busy_sender_does_not_keep_the_others_of_a_standard_queue_waiting() {
    let mut shelf = Shelf::new(false);
    for message in 1..=100 {
        shelf.arrive(Position::new(message), arrival(Some("busy"), 0, None));
    }
    shelf.arrive(Position::new(101), arrival(Some("calm"), 0, None));
    shelf.arrive(Position::new(102), arrival(None, 0, None));
    assert_eq!(taken(&mut shelf, 1), [1]);
    assert_eq!(taken(&mut shelf, 2), [101, 102]);
}

#[test]
fn what_is_too_old_goes_but_for_what_is_on_its_way() {
    let mut shelf = Shelf::new(false);
    for (message, sent) in [(1, 0), (2, 0), (3, 50), (4, 0)] {
        shelf.arrive(Position::new(message), arrival(None, sent, None));
    }
    assert_eq!(taken(&mut shelf, 1), [1]);
    let age = Duration::from_millis(99);
    let from = Position::new(0);
    assert_eq!(shelf.expire(at(99), age, from, 10), (0, None));
    assert_eq!(shelf.expire(at(100), age, from, 2), (1, Some(Position::new(3))));
    assert_eq!(shelf.expire(at(100), age, Position::new(3), 2), (1, None));
    assert_eq!((shelf.counts().visible, shelf.counts().in_flight), (1, 1));
    shelf.arrive(Position::new(5), arrival(None, 1_000, None));
    let mut rest = Shelf::new(false);
    std::mem::swap(&mut rest, &mut shelf);
    (1..9).for_each(|message| shelf.arrive(Position::new(message), arrival(None, 0, None)));
    assert_eq!((shelf.expire_first(at(100), age, 3), shelf.expire_first(at(100), age, 100)), (3, 5));
}

#[test]
fn what_is_taken_belongs_to_who_took_it_until_it_is_deleted() {
    let mut shelf = Shelf::new(false);
    (1..=2).for_each(|message| shelf.arrive(Position::new(message), arrival(None, 0, None)));
    let first = shelf.take(2);
    assert!(first.iter().all(|taken| shelf.is_taken(taken)));
    shelf.leave(Position::new(1));
    shelf.put_back(&first[1]);
    let second = shelf.take(2);
    assert_eq!(second.len(), 1);
    assert!(shelf.is_taken(&second[0]) && !first.iter().any(|taken| shelf.is_taken(taken)));
    // The first of them coming back late takes nothing away from the second.
    first.iter().for_each(|taken| shelf.put_back(taken));
    assert_eq!(shelf.counts(), Counts { visible: 0, in_flight: 2, delayed: 0 });
}

#[test]
fn a_purge_takes_what_was_before_it_and_leaves_the_rest_as_it_is() {
    let mut shelf = Shelf::new(true);
    for message in [1, 2, 8, 9] {
        shelf.arrive(Position::new(message), arrival(Some("g"), 0, Some(100 * message as i64)));
    }
    assert_eq!(shelf.purge(Position::new(5)).len(), 2);
    assert_eq!((shelf.counts().delayed, shelf.next_due()), (2, Some(at(800))));
    shelf.wake(at(850));
    assert_eq!(taken(&mut shelf, 9), [8]);
}

/// What can happen to a queue.
#[derive(Debug, Clone)]
enum Event {
    Arrive { group: u8, delay: i64 },
    Receive { max: usize, visible_in: i64 },
    GiveUp { max: usize },
    DeleteTaken { max: usize },
    Delete { of: prop::sample::Index },
    Defer { of: prop::sample::Index, by: i64 },
    Pass { ms: i64 },
    Purge,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0u8..4, 0i64..3).prop_map(|(group, delay)| Event::Arrive { group, delay: (delay - 1).max(0) * 20 }),
        5 => (1usize..4, 1i64..60).prop_map(|(max, visible_in)| Event::Receive { max, visible_in }),
        1 => (1usize..4).prop_map(|max| Event::GiveUp { max }),
        1 => (1usize..4).prop_map(|max| Event::DeleteTaken { max }),
        4 => any::<prop::sample::Index>().prop_map(|of| Event::Delete { of }),
        2 => (any::<prop::sample::Index>(), 0i64..60).prop_map(|(of, by)| Event::Defer { of, by }),
        4 => (1i64..40).prop_map(|ms| Event::Pass { ms }),
        1 => Just(Event::Purge),
    ]
}

#[derive(Debug, Clone)]
struct Known {
    group: u8,
    invisible_until: i64,
    held: bool,
    receives: u32,
}

/// The queue as a list.
#[derive(Default)]
struct Model {
    messages: BTreeMap<u64, Known>,
    now: i64,
}

impl Model {
    fn is_visible(&self, message: u64) -> bool {
        self.messages[&message].invisible_until <= self.now
    }

    fn is_in_flight(&self, known: &Known) -> bool {
        known.held && known.invisible_until > self.now
    }

    /// Whether a message may be handed out now, when those before it in this receive are `so_far`.
    fn may_give(&self, fifo: bool, message: u64, so_far: &[u64]) -> bool {
        let group = self.messages[&message].group;
        let others = self.messages.iter().filter(|(_, known)| known.group == group);
        let undisturbed = others.clone().all(|(_, known)| !self.is_in_flight(known));
        let oldest_first =
            others.map(|(other, _)| *other).filter(|other| *other < message).all(|m| so_far.contains(&m));
        self.is_visible(message) && (!fifo || (undisturbed && oldest_first))
    }
}

/// What the log would have.
type Logged<T> = Vec<(u64, T)>;

/// Runs events on a shelf and the model; what the log would have, and the time at the end.
fn run(fifo: bool, events: &[Event]) -> Result<(Shelf, Logged<Change>, Logged<Arrival>, i64), TestCaseError> {
    let (mut shelf, mut model, mut next) = (Shelf::new(fifo), Model::default(), 1);
    let (mut changes, mut arrivals) = (Vec::new(), Vec::new());
    for event in events {
        next += 1;
        match event {
            Event::Arrive { group, delay } => {
                let name = (fifo || *group > 0).then(|| group.to_string());
                let until = (*delay > 0).then_some(model.now + delay);
                let arrival = arrival(name.as_deref(), model.now, until);
                shelf.arrive(Position::new(next), arrival.clone());
                arrivals.push((next, arrival));
                let known = Known { group: *group, invisible_until: model.now + delay, held: false, receives: 0 };
                model.messages.insert(next, known);
            }
            Event::Receive { max, visible_in } => {
                let got = taken(&mut shelf, *max);
                let could = |so_far: &[u64]| {
                    let rest = model.messages.keys().filter(|m| !so_far.contains(m));
                    rest.copied().filter(|m| model.may_give(fifo, *m, so_far)).count()
                };
                for (n, message) in got.iter().enumerate() {
                    prop_assert!(model.may_give(fifo, *message, &got[..n]), "{message} was handed out");
                }
                // Nothing is kept back.
                prop_assert!(got.len() == *max || could(&got) == 0, "{} more could be had", could(&got));
                for message in got {
                    let known = model.messages.get_mut(&message).unwrap();
                    (known.receives, known.held) = (known.receives + 1, true);
                    known.invisible_until = model.now + visible_in;
                    let change = received(message, known.receives, model.now, known.invisible_until);
                    shelf.apply(change, Position::new(next));
                    changes.push((next, change));
                }
            }
            Event::GiveUp { max } => {
                for taken in shelf.take(*max) {
                    shelf.put_back(&taken);
                }
            }
            Event::DeleteTaken { max } => {
                let taken = shelf.take(*max);
                for taken in &taken[..taken.len().min(1)] {
                    let change = Change::Deleted { message: taken.message };
                    shelf.leave(taken.message);
                    prop_assert!(!shelf.is_taken(taken));
                    shelf.apply(change, Position::new(next));
                    changes.push((next, change));
                    model.messages.remove(&taken.message.get());
                }
                taken.iter().for_each(|taken| shelf.put_back(taken));
            }
            Event::Delete { of } => {
                let held: Vec<u64> = model.messages.iter().filter(|(_, k)| k.receives > 0).map(|(m, _)| *m).collect();
                if held.is_empty() {
                    continue;
                }
                let message = held[of.index(held.len())];
                let known = &model.messages[&message];
                let expected = if model.is_in_flight(known) { Holding::Held } else { Holding::Over };
                prop_assert_eq!(shelf.holding(Position::new(message), known.receives), expected);
                prop_assert_eq!(shelf.holding(Position::new(message), known.receives - 1), Holding::Newer);
                let change = Change::Deleted { message: Position::new(message) };
                shelf.leave(Position::new(message));
                shelf.apply(change, Position::new(next));
                changes.push((next, change));
                model.messages.remove(&message);
            }
            Event::Defer { of, by } => {
                let held: Vec<u64> =
                    model.messages.iter().filter(|(_, k)| model.is_in_flight(k)).map(|(m, _)| *m).collect();
                if held.is_empty() {
                    continue;
                }
                let message = held[of.index(held.len())];
                let known = model.messages.get_mut(&message).unwrap();
                known.invisible_until = model.now + by;
                let (receives, until) = (known.receives, at(known.invisible_until));
                let change = Change::Deferred { message: Position::new(message), receives, until };
                shelf.apply(change, Position::new(next));
                shelf.wake(at(model.now));
                changes.push((next, change));
            }
            Event::Pass { ms } => {
                model.now += ms;
                shelf.wake(at(model.now));
            }
            Event::Purge => {
                shelf.apply(Change::Purged, Position::new(next));
                changes.push((next, Change::Purged));
                model.messages.clear();
            }
        }
        let in_flight = model.messages.values().filter(|known| model.is_in_flight(known)).count();
        let visible = model.messages.keys().filter(|message| model.is_visible(**message)).count();
        let delayed = model.messages.len() - in_flight - visible;
        prop_assert_eq!(shelf.counts(), Counts { visible, in_flight, delayed });
        prop_assert_eq!(shelf.first().map(Position::get), model.messages.keys().next().copied());
    }
    Ok((shelf, changes, arrivals, model.now))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_shelf_is_what_its_queue_promises(fifo: bool, events in proptest::collection::vec(event(), 0..80)) {
        run(fifo, &events)?;
    }

    #[test]
    fn a_shelf_read_back_from_the_log_is_the_same(fifo: bool, events in proptest::collection::vec(event(), 0..80)) {
        let (mut shelf, changes, arrivals, now) = run(fifo, &events)?;
        let mut again = Shelf::new(fifo);
        let mut records: Vec<(u64, Result<Arrival, Change>)> =
            arrivals.into_iter().map(|(at, arrival)| (at, Ok(arrival))).collect();
        records.extend(changes.into_iter().map(|(at, change)| (at, Err(change))));
        records.sort_by_key(|(at, _)| *at);
        for (position, record) in records {
            match record {
                Ok(arrival) => again.arrive(Position::new(position), arrival),
                Err(change) => again.apply(change, Position::new(position)),
            }
        }
        again.wake(at(now));
        prop_assert_eq!(again.counts(), shelf.counts());
        prop_assert_eq!((again.first(), again.next_due()), (shelf.first(), shelf.next_due()));
        prop_assert_eq!(taken(&mut again, 100), taken(&mut shelf, 100));
    }
}
