//! What clients asked and what they were answered, each call and return at a moment of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::check::{Element, Get, Moment, Object, Outcome, Put, Violation, check};

/// Which list an operation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// The records of a key.
    Key(usize),
    /// The reshards of the stream.
    Topology,
}

/// Collects from all clients at once. Clones share it.
#[derive(Clone, Default)]
pub struct History(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    moment: Moment,
    objects: BTreeMap<Name, Object>,
    /// Elements that come and go together.
    batches: Vec<Vec<(Name, Element)>>,
    last_element: Element,
    faults: Vec<String>,
}

/// Puts under way; unknown until told otherwise, so that a client that is cut off leaves the truth behind.
#[must_use]
pub struct Pending(Vec<(Name, usize)>);

impl History {
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    /// The time now.
    pub fn moment(&self) -> Moment {
        self.with(State::tick)
    }

    /// An element that nobody has put.
    pub fn element(&self) -> Element {
        self.with(|state| {
            state.last_element += 1;
            state.last_element
        })
    }

    /// Puts are called, all in one.
    pub fn call(&self, puts: &[(Name, Element)]) -> Pending {
        self.with(|state| {
            let called = state.tick();
            if puts.len() > 1 {
                state.batches.push(puts.to_vec());
            }
            let pending = puts.iter().map(|&(name, element)| {
                let object = state.objects.entry(name).or_default();
                object.puts.push(Put { element, called, returned: Moment::MAX, outcome: Outcome::Unknown });
                (name, object.puts.len() - 1)
            });
            Pending(pending.collect())
        })
    }

    /// They have returned.
    pub fn returned(&self, pending: Pending, outcome: Outcome) {
        self.with(|state| {
            let returned = state.tick();
            for (name, at) in pending.0 {
                let put = &mut state.objects.entry(name).or_default().puts[at];
                put.outcome = outcome;
                if outcome == Outcome::Done {
                    put.returned = returned;
                }
            }
        });
    }

    /// A get that was called then has returned.
    pub fn got(&self, name: Name, called: Moment, seen: Vec<Element>) {
        self.with(|state| {
            let returned = state.tick();
            state.objects.entry(name).or_default().gets.push(Get { seen, called, returned });
        });
    }

    /// A process is gone for certain: what it left unknown has happened by now or never will.
    pub fn decided(&self) {
        self.with(|state| {
            let now = state.tick();
            for put in state.objects.values_mut().flat_map(|o| &mut o.puts) {
                if put.outcome == Outcome::Unknown {
                    put.returned = put.returned.min(now);
                }
            }
        });
    }

    /// Something that is wrong whatever else happened.
    pub fn fault(&self, what: String) {
        self.with(|state| state.faults.push(what));
    }

    /// How many puts were acknowledged, were refused and are unknown, and how many gets there were.
    pub fn counts(&self) -> [usize; 4] {
        self.with(|state| {
            let ended = |outcome| {
                let puts = state.objects.values().flat_map(|o| &o.puts);
                puts.filter(|p| p.outcome == outcome).count()
            };
            let gets = state.objects.values().map(|o| o.gets.len()).sum();
            [ended(Outcome::Done), ended(Outcome::Refused), ended(Outcome::Unknown), gets]
        })
    }

    /// The verdict.
    pub fn verdict(&self) -> Result<(), String> {
        self.with(|state| {
            if let Some(fault) = state.faults.first() {
                return Err(fault.clone());
            }
            for (name, object) in &state.objects {
                let object = if *name == Name::Topology { told_apart(object)? } else { object.clone() };
                check(&object).map_err(|violation: Violation| format!("{name:?}: {violation:?}"))?;
            }
            state.batches.iter().try_for_each(|batch| state.whole(batch))
        })
    }
}

impl State {
    fn tick(&mut self) -> Moment {
        self.moment += 1;
        self.moment
    }

    /// Whether what was put in one is there whole or not at all, in every get.
    fn whole(&self, batch: &[(Name, Element)]) -> Result<(), String> {
        let place = |(name, element): &(Name, Element)| {
            let seen = self.objects.get(name)?.longest();
            seen.iter().position(|e| e == element)
        };
        let places: Vec<_> = batch.iter().map(place).collect();
        let some = match batch {
            // Only the first step's name is this reshard's own; others may be asked for by several.
            [(Name::Topology, _), ..] => places[0].is_some(),
            _ => places.iter().any(Option::is_some),
        };
        if some && places.contains(&None) {
            return Err(format!("a part of what was put in one is there: {batch:?}"));
        }
        for (name, first) in batch {
            let same = batch.iter().zip(&places).filter(|((other, _), _)| other == name);
            let places: Vec<_> = same.filter_map(|(_, place)| *place).collect();
            let (Some(first_place), Some(last_place)) = (places.iter().min(), places.iter().max()) else { continue };
            let gets = self.objects.get(name).map_or(&[][..], |o| &o.gets);
            if some && gets.iter().any(|g| (first_place + 1..=*last_place).contains(&g.seen.len())) {
                return Err(format!("a get shows a part of what was put in one, such as {first}: {batch:?}"));
            }
        }
        Ok(())
    }
}

/// Two clients may ask for the same reshard. At most one is granted; those of the same name are taken for one.
fn told_apart(object: &Object) -> Result<Object, String> {
    let mut puts: BTreeMap<Element, Put> = BTreeMap::new();
    for put in &object.puts {
        let Some(other) = puts.get_mut(&put.element) else {
            puts.insert(put.element, put.clone());
            continue;
        };
        match (other.outcome, put.outcome) {
            (Outcome::Done, Outcome::Done) => return Err(format!("reshard {} was granted twice", put.element)),
            (Outcome::Done, _) | (Outcome::Unknown, Outcome::Refused) => {}
            (_, Outcome::Done) | (Outcome::Refused, _) => *other = put.clone(),
            (Outcome::Unknown, Outcome::Unknown) => {
                (other.called, other.returned) = (other.called.min(put.called), other.returned.max(put.returned));
            }
        }
    }
    Ok(Object { puts: puts.into_values().collect(), gets: object.gets.clone() })
}
