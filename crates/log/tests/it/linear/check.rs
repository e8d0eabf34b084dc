//! Whether a history could have come from a log that does one thing after the other.
//!
//! An object is a list that only grows: a partition key's records, or a stream's reshards. A put adds one element, a get
//! answers the whole list. Elements are unique and a get shows all of them in order, so that the order of the puts need
//! not be searched for, as for a register (Wing and Gong 1993): the longest get tells it. A put is then due at its place
//! in that get, a get right after the last element that it shows; what a put added that no get shows comes after all.
//! The history is linearizable exactly when gets agree with each other, and no operation that returned before another
//! was called is due after it. The tests below hold that against a search through all orders.
//!
//! Objects are checked one by one: a history is linearizable when each object's is (Herlihy and Wing 1990, locality).

use std::collections::BTreeMap;

/// A place in the real-time order; no two calls or returns share one.
pub type Moment = u64;
/// What a put adds.
pub type Element = u64;

/// How a put ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was acknowledged.
    Done,
    /// It was answered that nothing was done.
    Refused,
    /// Nobody knows. `returned` is when it was decided at the latest, such as at the next start.
    Unknown,
}

/// One put.
#[derive(Debug, Clone)]
pub struct Put {
    pub element: Element,
    pub called: Moment,
    pub returned: Moment,
    pub outcome: Outcome,
}

/// One get that was answered.
#[derive(Debug, Clone)]
pub struct Get {
    pub seen: Vec<Element>,
    pub called: Moment,
    pub returned: Moment,
}

/// All that happened to one object.
#[derive(Debug, Clone, Default)]
pub struct Object {
    pub puts: Vec<Put>,
    pub gets: Vec<Get>,
}

impl Object {
    /// The longest list that a get showed.
    pub fn longest(&self) -> &[Element] {
        self.gets.iter().map(|g| &g.seen[..]).max_by_key(|seen| seen.len()).unwrap_or_default()
    }
}

/// Why a history cannot be.
#[derive(Debug, PartialEq, Eq)]
pub enum Violation {
    /// Two gets show different lists, none the beginning of the other.
    Disagree { at: usize, one: Option<Element>, other: Option<Element> },
    /// A get shows an element twice.
    Twice(Element),
    /// A get shows what nobody put, or what was refused.
    Strange(Element),
    /// The first had returned before the second was called, but the second's effect comes first: a lost or stale
    /// element, or a wrong order.
    Order { first: String, second: String },
}

/// When an operation is due: elements at odd places, gets between them.
type Due = usize;

/// Checks one object's history. Takes time in proportion to n log n.
pub fn check(object: &Object) -> Result<(), Violation> {
    let longest = object.longest();
    for get in &object.gets {
        if let Some(at) = (0..get.seen.len()).find(|at| get.seen[*at] != longest[*at]) {
            return Err(Violation::Disagree { at, one: get.seen.get(at).copied(), other: longest.get(at).copied() });
        }
    }
    let mut places = BTreeMap::new();
    for (at, element) in longest.iter().enumerate() {
        if places.insert(*element, at).is_some() {
            return Err(Violation::Twice(*element));
        }
    }
    let put: BTreeMap<_, _> =
        object.puts.iter().filter(|p| p.outcome != Outcome::Refused).map(|p| (p.element, p)).collect();
    if let Some(strange) = longest.iter().find(|e| !put.contains_key(e)) {
        return Err(Violation::Strange(*strange));
    }
    let puts = put.values().filter_map(|p| match places.get(&p.element) {
        Some(at) => Some((2 * at + 1, p.called, p.returned, format!("put {}", p.element))),
        // What nobody saw may have been the last of all, or, if nobody knows, may never have been.
        None if p.outcome == Outcome::Unknown => None,
        None => Some((2 * longest.len() + 1, p.called, p.returned, format!("put {} (never seen)", p.element))),
    });
    let gets = object.gets.iter().map(|g| (2 * g.seen.len(), g.called, g.returned, format!("get of {}", g.seen.len())));
    in_real_time(&puts.chain(gets).collect::<Vec<_>>())
}

/// Whether nothing that returned is due after something that was called later.
fn in_real_time(operations: &[(Due, Moment, Moment, String)]) -> Result<(), Violation> {
    let mut by_call: Vec<_> = operations.iter().collect();
    by_call.sort_by_key(|(_, called, ..)| *called);
    let mut by_return: Vec<_> = operations.iter().collect();
    by_return.sort_by_key(|(_, _, returned, _)| *returned);
    let mut returned = by_return.into_iter().peekable();
    let mut latest: Option<&(Due, Moment, Moment, String)> = None;
    for operation in by_call {
        while let Some(before) = returned.next_if(|o| o.2 < operation.1) {
            latest = latest.filter(|l| l.0 >= before.0).or(Some(before));
        }
        if let Some(before) = latest.filter(|l| l.0 > operation.0) {
            return Err(Violation::Order { first: before.3.clone(), second: operation.3.clone() });
        }
    }
    Ok(())
}

mod tests {
    use proptest::prelude::*;

    use super::*;

    fn put(element: Element, called: Moment, returned: Moment, outcome: Outcome) -> Put {
        Put { element, called, returned, outcome }
    }

    fn get(seen: &[Element], called: Moment, returned: Moment) -> Get {
        Get { seen: seen.to_vec(), called, returned }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let puts = vec![put(1, 1, 2, Outcome::Done), put(2, 3, 4, Outcome::Done), put(3, 3, 9, Outcome::Refused)];
        let with = |gets: &[Get]| check(&Object { puts: puts.clone(), gets: gets.to_vec() });
        assert_eq!(with(&[get(&[], 1, 5), get(&[1, 2], 6, 7), get(&[1], 3, 8)]), Ok(()));
        let disagree = Err(Violation::Disagree { at: 0, one: Some(2), other: Some(1) });
        assert_eq!(with(&[get(&[2], 5, 6), get(&[1, 2], 7, 8)]), disagree);
        assert_eq!(with(&[get(&[1, 2, 1], 5, 6)]), Err(Violation::Twice(1)));
        assert_eq!(with(&[get(&[1, 2, 3], 5, 6)]), Err(Violation::Strange(3)));
        assert_eq!(with(&[get(&[1, 2, 4], 5, 6)]), Err(Violation::Strange(4)));
        for wrong in [&[2, 1][..], &[1], &[]] {
            assert!(matches!(with(&[get(wrong, 5, 6)]), Err(Violation::Order { .. })), "{wrong:?}");
        }
        let gone = [get(&[1, 2], 5, 6), get(&[1], 7, 8)];
        assert!(matches!(with(&gone), Err(Violation::Order { .. })), "what was seen is there from then on");
    }

    /// The definition: some order of all that took effect respects real time and is what one list would answer.
    fn possible(object: &Object) -> bool {
        let kept: Vec<_> = object.puts.iter().filter(|p| p.outcome != Outcome::Refused).collect();
        search(&kept, &object.gets, &mut vec![], &mut vec![false; kept.len()], &mut vec![false; object.gets.len()])
    }

    fn search(puts: &[&Put], gets: &[Get], list: &mut Vec<Element>, put: &mut [bool], got: &mut [bool]) -> bool {
        let open = |n: usize| !put[n];
        let done = (0..puts.len()).all(|n| put[n] || puts[n].outcome == Outcome::Unknown) && got.iter().all(|g| *g);
        if done {
            return true;
        }
        // Whatever returned before an operation was called must have been taken. An unknown put may be left out, but
        // then it must never be taken later: it is due before its return or not at all.
        let returns =
            (0..puts.len()).filter(|n| open(*n) && puts[*n].outcome == Outcome::Done).map(|n| puts[n].returned);
        let returns = returns.chain((0..gets.len()).filter(|n| !got[*n]).map(|n| gets[n].returned));
        let first = returns.min().unwrap_or(Moment::MAX);
        for n in 0..gets.len() {
            if !got[n] && gets[n].called < first && gets[n].seen == *list {
                got[n] = true;
                if search(puts, gets, list, put, got) {
                    return true;
                }
                got[n] = false;
            }
        }
        for n in 0..puts.len() {
            let taken_later = || {
                let later = |called: Moment| called > puts[n].returned;
                (0..puts.len()).any(|m| put[m] && later(puts[m].called))
                    || (0..gets.len()).any(|m| got[m] && later(gets[m].called))
            };
            if !put[n] && puts[n].called < first && !taken_later() {
                put[n] = true;
                list.push(puts[n].element);
                if search(puts, gets, list, put, got) {
                    return true;
                }
                list.pop();
                put[n] = false;
            }
        }
        false
    }

    /// Up to four puts and three gets at arbitrary times; the gets show arbitrary lists of the elements.
    fn objects() -> impl Strategy<Value = Object> {
        let span = (0..14_u64, 1..8_u64);
        let outcome = prop::sample::select(vec![Outcome::Done, Outcome::Done, Outcome::Unknown, Outcome::Refused]);
        let puts = prop::collection::vec((span.clone(), outcome), 1..5);
        let shown = Just((0..4_u64).collect::<Vec<_>>()).prop_shuffle();
        let gets = prop::collection::vec((span, 0..5_usize), 0..4);
        (puts, gets, shown, any::<bool>(), 0..4_u64).prop_map(|(puts, gets, shown, ordered, other)| {
            let puts: Vec<_> = puts
                .into_iter()
                .enumerate()
                // Calls at even moments, returns at odd ones: no two are the same, calls and returns of one element apart.
                .map(|(n, ((at, long), o))| put(n as u64, at * 100 + n as u64, (at + long) * 100 - 50 + n as u64, o))
                .collect();
            let mut order: Vec<_> = if ordered { (0..4).collect() } else { shown };
            order.retain(|e| (*e as usize) < puts.len() || (*e == other && !ordered));
            let gets = gets.into_iter().enumerate().map(|(n, ((at, long), len))| {
                let seen: Vec<_> = order.iter().copied().take(len).collect();
                get(&seen, at * 100 + 10 + n as u64, (at + long) * 100 - 40 + n as u64)
            });
            Object { gets: gets.collect(), puts }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn the_checker_says_what_a_search_through_all_orders_says(object in objects()) {
            prop_assert_eq!(check(&object).is_ok(), possible(&object), "{:?}", check(&object));
        }
    }
}
