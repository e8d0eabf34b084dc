use proptest::prelude::*;

use super::*;

fn pool() -> Pool {
    Pool::new(Limits { total: 3, per_function: 2, idle: Duration::from_secs(600), age: Duration::from_secs(3_600) })
}

fn owner(function: &str, revision: &str) -> Owner {
    Owner { function: function.into(), version: Version::Latest, revision: revision.into() }
}

fn published(function: &str, number: u64) -> Owner {
    Owner { function: function.into(), version: Version::Number(number), revision: number.to_string().into() }
}

fn acquire(pool: &mut Pool, at: u64, function: &str, revision: &str) -> Vec<Action> {
    pool.step(Duration::from_secs(at), Input::Acquire(owner(function, revision)))
}

fn release(pool: &mut Pool, at: u64, id: u64) -> Vec<Action> {
    pool.step(Duration::from_secs(at), Input::Released(EnvironmentId(id)))
}

fn reserve(pool: &mut Pool, function: &str, environments: Option<usize>) -> Vec<Action> {
    pool.step(Duration::ZERO, Input::Reserved { function: function.into(), environments })
}

fn gone(pool: &mut Pool, id: u64) {
    assert_eq!(pool.step(Duration::ZERO, Input::Ended(EnvironmentId(id))), []);
}

const fn start(id: u64) -> Action {
    Action::Start(EnvironmentId(id), None)
}

const fn start_after(id: u64, before: u64) -> Action {
    Action::Start(EnvironmentId(id), Some(EnvironmentId(before)))
}

const fn assign(id: u64) -> Action {
    Action::Assign(EnvironmentId(id))
}

const fn retire(id: u64) -> Action {
    Action::Retire(EnvironmentId(id))
}

#[test]
fn a_warm_environment_is_used_again_the_last_used_first() {
    let mut pool = pool();
    assert_eq!(acquire(&mut pool, 0, "f", "1"), [start(1)]);
    assert_eq!(acquire(&mut pool, 0, "f", "1"), [start(2)]);
    assert_eq!(release(&mut pool, 2, 2), []);
    assert_eq!(release(&mut pool, 1, 1), []);
    assert_eq!(acquire(&mut pool, 3, "f", "1"), [assign(2)]);
    assert_eq!(pool.count("f"), (1, 1));
}

#[test]
fn a_function_and_the_server_have_their_limits() {
    let mut pool = pool();
    acquire(&mut pool, 0, "f", "1");
    acquire(&mut pool, 0, "f", "1");
    assert!(matches!(&acquire(&mut pool, 0, "f", "1")[..], [Action::Throttle(Full::Function(2))]));
    assert_eq!(acquire(&mut pool, 0, "g", "1"), [start(3)]);
    assert!(matches!(&acquire(&mut pool, 0, "h", "1")[..], [Action::Throttle(Full::Server(3))]));
    // An idle one of another function makes room.
    release(&mut pool, 5, 1);
    assert_eq!(acquire(&mut pool, 6, "h", "1"), [retire(1), start_after(4, 1)]);
}

#[test]
fn a_change_replaces_idle_environments_at_once_and_busy_ones_after_their_call() {
    let mut pool = pool();
    acquire(&mut pool, 0, "f", "1");
    acquire(&mut pool, 0, "f", "1");
    release(&mut pool, 1, 1);
    let (version, revision) = (Some(Version::Latest), Some("2".into()));
    let replaced = Input::Replaced { function: "f".into(), version, revision };
    assert_eq!(pool.step(Duration::from_secs(2), replaced), [retire(1)]);
    assert_eq!(release(&mut pool, 3, 2), [retire(2)]);
    assert_eq!(acquire(&mut pool, 4, "f", "2"), [start(3)]);
}

#[test]
fn a_call_never_lands_on_another_revision() {
    let mut pool = pool();
    acquire(&mut pool, 0, "f", "1");
    release(&mut pool, 1, 1);
    assert_eq!(acquire(&mut pool, 2, "f", "2"), [retire(1), start(2)]);
}

#[test]
fn versions_live_beside_each_other_and_make_room_for_each_other() {
    let mut pool = pool();
    let at = |secs| Duration::from_secs(secs);
    assert_eq!(pool.step(at(0), Input::Acquire(published("f", 1))), [start(1)]);
    release(&mut pool, 1, 1);
    assert_eq!(acquire(&mut pool, 2, "f", "l"), [start(2)]);
    release(&mut pool, 3, 2);
    assert_eq!(pool.step(at(4), Input::Acquire(published("f", 1))), [assign(1)]);
    // A function has two at most: the idle one of another version goes.
    assert_eq!(pool.step(at(5), Input::Acquire(published("f", 2))), [retire(2), start(3)]);
    assert!(matches!(&acquire(&mut pool, 6, "f", "l")[..], [Action::Throttle(Full::Function(2))]));
    let gone = Input::Replaced { function: "f".into(), version: Some(Version::Number(2)), revision: None };
    assert_eq!(pool.step(at(7), gone), []);
    assert_eq!(release(&mut pool, 8, 3), [retire(3)]);
    assert_eq!(release(&mut pool, 8, 1), []);
    let deleted = Input::Replaced { function: "f".into(), version: None, revision: None };
    assert_eq!(pool.step(at(9), deleted), [retire(1)]);
}

#[test]
fn what_is_set_aside_is_kept_from_others_and_is_a_bound() {
    let mut pool = pool();
    assert_eq!(reserve(&mut pool, "r", Some(1)), []);
    acquire(&mut pool, 0, "f", "1");
    acquire(&mut pool, 0, "g", "1");
    assert!(matches!(&acquire(&mut pool, 0, "h", "1")[..], [Action::Throttle(Full::Server(2))]));
    assert_eq!(acquire(&mut pool, 0, "r", "1"), [start(3)]);
    assert!(matches!(&acquire(&mut pool, 0, "r", "1")[..], [Action::Throttle(Full::Reserved(1))]));
    // An idle one that is set aside stays; one of the others makes room.
    release(&mut pool, 1, 3);
    release(&mut pool, 2, 1);
    assert_eq!(acquire(&mut pool, 3, "h", "1"), [retire(1), start_after(4, 1)]);
    assert_eq!(reserve(&mut pool, "r", Some(0)), [retire(3)]);
    assert_eq!(reserve(&mut pool, "s", None), []);
    assert_eq!(acquire(&mut pool, 4, "r", "1"), [Action::Throttle(Full::Reserved(0))]);
}

#[test]
fn with_nothing_left_to_it_a_function_stops_at_once_also_when_it_is_warm() {
    let mut pool = pool();
    acquire(&mut pool, 0, "f", "1");
    acquire(&mut pool, 0, "f", "1");
    release(&mut pool, 1, 1);
    assert_eq!(reserve(&mut pool, "f", Some(0)), [retire(1)]);
    assert_eq!(acquire(&mut pool, 2, "f", "1"), [Action::Throttle(Full::Reserved(0))]);
    // The call under way comes to its end, and its environment with it.
    assert_eq!(release(&mut pool, 3, 2), [retire(2)]);
    assert_eq!(reserve(&mut pool, "f", None), []);
    gone(&mut pool, 1);
    assert_eq!(acquire(&mut pool, 4, "f", "1"), [start(3)]);
}

#[test]
fn a_lower_bound_ends_what_is_idle_first_and_counts_what_is_busy() {
    let mut pool = Pool::new(Limits { total: 12, per_function: 10, ..pool().limits });
    reserve(&mut pool, "f", Some(10));
    (0..10).for_each(|_| _ = acquire(&mut pool, 0, "f", "1"));
    (1..=5).for_each(|id| assert_eq!(release(&mut pool, id, id), []));
    // Five are idle, five busy; two may be left.
    assert_eq!(reserve(&mut pool, "f", Some(2)), (1..=5).map(retire).collect::<Vec<_>>());
    assert_eq!(acquire(&mut pool, 6, "f", "1"), [Action::Throttle(Full::Reserved(2))]);
    assert_eq!(release(&mut pool, 7, 6), []);
    // Four calls are still under way, though one environment is warm.
    assert_eq!(acquire(&mut pool, 8, "f", "1"), [Action::Throttle(Full::Reserved(2))]);
    (8..=10).for_each(|id| assert_eq!(release(&mut pool, 9, id), [retire(id)]));
    assert_eq!(acquire(&mut pool, 10, "f", "1"), [assign(6)]);
}

#[test]
fn what_is_set_aside_is_there_although_the_others_had_it() {
    let mut pool = Pool::new(Limits { total: 3, per_function: 3, ..pool().limits });
    (0..3).for_each(|_| _ = acquire(&mut pool, 0, "f", "1"));
    release(&mut pool, 1, 1);
    assert_eq!(reserve(&mut pool, "r", Some(2)), [retire(1)]);
    assert_eq!(acquire(&mut pool, 2, "r", "1"), [start_after(4, 1)]);
    // One more was busy than the others may have now: it is not warm for them, and makes room.
    assert_eq!(acquire(&mut pool, 3, "f", "1"), [Action::Throttle(Full::Server(1))]);
    assert_eq!(release(&mut pool, 4, 3), [retire(3)]);
    assert_eq!(acquire(&mut pool, 5, "r", "1"), [start_after(5, 3)]);
    assert_eq!(release(&mut pool, 6, 2), []);
    assert_eq!(acquire(&mut pool, 7, "f", "1"), [assign(2)]);
}

#[test]
fn environments_end_when_idle_or_too_old() {
    let mut pool = pool();
    acquire(&mut pool, 0, "f", "1");
    release(&mut pool, 1, 1);
    assert_eq!(pool.step(Duration::from_secs(600), Input::Tick), []);
    assert_eq!(pool.step(Duration::from_secs(601), Input::Tick), [retire(1)]);
    acquire(&mut pool, 700, "f", "1");
    release(&mut pool, 4_299, 2);
    gone(&mut pool, 1);
    assert_eq!(acquire(&mut pool, 4_300, "f", "1"), [retire(2), start(3)]);
}

#[test]
fn what_ended_is_forgotten() {
    let mut pool = pool();
    acquire(&mut pool, 0, "f", "1");
    pool.step(Duration::ZERO, Input::Ended(EnvironmentId(1)));
    assert_eq!(release(&mut pool, 1, 1), []);
    assert_eq!(acquire(&mut pool, 2, "f", "1"), [start(2)]);
}

#[test]
fn a_call_that_was_answered_counts_no_more_but_its_environment_does_until_it_is_gone() {
    let mut pool = pool();
    let ending = |pool: &mut Pool, id| assert_eq!(pool.step(Duration::ZERO, Input::Ending(EnvironmentId(id))), []);
    reserve(&mut pool, "f", Some(1));
    assert_eq!(acquire(&mut pool, 0, "f", "1"), [start(1)]);
    ending(&mut pool, 1);
    assert_eq!(pool.count("f"), (0, 0));
    // The next call is not refused, and while there is room it does not wait.
    assert_eq!(acquire(&mut pool, 1, "f", "1"), [start(2)]);
    assert_eq!(acquire(&mut pool, 1, "f", "1"), [Action::Throttle(Full::Reserved(1))]);
    ending(&mut pool, 2);
    assert_eq!(acquire(&mut pool, 2, "f", "1"), [start(3)]);
    ending(&mut pool, 3);
    // Three that end are as many as there may be: now it waits for one of them, which nobody else does.
    assert_eq!(acquire(&mut pool, 3, "f", "1"), [start_after(4, 1)]);
    assert_eq!(acquire(&mut pool, 3, "g", "1"), [start_after(5, 2)]);
    gone(&mut pool, 1);
    assert_eq!(acquire(&mut pool, 4, "g", "1"), [start_after(6, 3)]);
    assert_eq!(acquire(&mut pool, 4, "h", "1"), [Action::Throttle(Full::Server(2))]);
    // What ends takes no call.
    assert_eq!(release(&mut pool, 5, 3), []);
    [2, 3, 4].into_iter().for_each(|id| gone(&mut pool, id));
    assert_eq!(acquire(&mut pool, 6, "f", "1"), [start(7)]);
}

/// Whether what is not to end keeps to its bounds.
fn keeps_to_bounds(pool: &Pool) -> bool {
    let staying = |which: &dyn Fn(&Entry) -> bool| {
        let stays = |e: &Entry| !e.is_ending() && (e.idle_since().is_some() || !e.outdated);
        pool.environments.values().filter(|e| stays(e) && which(e)).count()
    };
    let reserved: usize = pool.reserved.values().sum();
    let each = ["0", "1", "2"].iter().all(|function| {
        let bound = pool.reserved.get(*function).copied().unwrap_or(pool.limits.per_function);
        staying(&|e| &*e.owner.function == *function) <= bound
    });
    let common = staying(&|e| !pool.reserved.contains_key(&e.owner.function));
    each && common <= pool.limits.total.saturating_sub(reserved)
}

proptest! {
    /// Whatever happens in whatever order: the limits hold, also when they change under calls, and for what runs as for
    /// what is being ended; an environment has one call at a time; calls get environments of their own version and
    /// revision; and a call is only refused when the limit that is named has been reached by calls.
    #[test]
    fn limits_and_ownership_hold(script in prop::collection::vec((0u8..10, 0u8..3, 0u8..4), 1..200)) {
        let mut pool = pool();
        let mut busy: Vec<(EnvironmentId, Owner)> = Vec::new();
        let mut ending: Vec<EnvironmentId> = Vec::new();
        // And whose end they wait for.
        let mut heirs: BTreeMap<EnvironmentId, EnvironmentId> = BTreeMap::new();
        let mut owners: BTreeMap<EnvironmentId, Owner> = BTreeMap::new();
        for (at, (what, function, which)) in script.into_iter().enumerate() {
            let now = Duration::from_secs(at as u64 * 90);
            let function = function.to_string();
            heirs.retain(|_, after| pool.environments.contains_key(after));
            let started: Vec<usize> = (0..busy.len()).filter(|at| !heirs.contains_key(&busy[*at].0)).collect();
            let one = started.get(usize::from(which) % started.len().max(1)).copied();
            let owner = match which {
                0 | 1 => owner(&function, &which.to_string()),
                number => published(&function, u64::from(number)),
            };
            let input = match what {
                0..=2 => Input::Acquire(owner.clone()),
                3 | 4 if one.is_some() => {
                    let (id, _) = busy.remove(one.unwrap_or_default());
                    if what == 3 { Input::Released(id) } else { Input::Ended(id) }
                }
                5 => Input::Replaced {
                    function: owner.function.clone(),
                    version: Some(owner.version),
                    revision: Some(owner.revision.clone()),
                },
                // Up to as many as there are.
                6 => {
                    let others: usize = pool.reserved.iter().filter(|(f, _)| **f != owner.function).map(|(_, n)| n).sum();
                    let environments = which.checked_sub(1).map(|n| usize::from(n).min(3 - others));
                    Input::Reserved { function: owner.function.clone(), environments }
                }
                7 if one.is_some() => {
                    let (id, _) = busy.remove(one.unwrap_or_default());
                    ending.push(id);
                    Input::Ending(id)
                }
                8 if !ending.is_empty() => Input::Ended(ending.remove(usize::from(which) % ending.len())),
                _ => Input::Tick,
            };
            let of = |busy: &[(EnvironmentId, Owner)], f: &dyn Fn(&str) -> bool| {
                busy.iter().filter(|(_, o)| f(&o.function)).count()
            };
            for action in pool.step(now, input) {
                match action {
                    Action::Assign(id) => {
                        prop_assert!(busy.iter().all(|(b, _)| *b != id));
                        prop_assert_eq!(&owners[&id], &owner);
                        busy.push((id, owner.clone()));
                        prop_assert!(of(&busy, &|f| f == function) <= pool.bound(&function).0);
                    }
                    Action::Start(id, after) => {
                        prop_assert!(after.is_none_or(|after| ending.contains(&after)));
                        prop_assert!(after.is_none_or(|after| heirs.values().all(|taken| *taken != after)));
                        heirs.extend(after.map(|after| (id, after)));
                        prop_assert!(owners.insert(id, owner.clone()).is_none());
                        busy.push((id, owner.clone()));
                        prop_assert!(of(&busy, &|f| f == function) <= pool.bound(&function).0);
                    }
                    Action::Retire(id) => {
                        prop_assert!(busy.iter().all(|(b, _)| *b != id));
                        prop_assert!(!ending.contains(&id));
                        ending.push(id);
                    }
                    Action::Throttle(Full::Reserved(n) | Full::Function(n)) => {
                        prop_assert!(of(&busy, &|f| f == function) >= n);
                    }
                    Action::Throttle(Full::Server(3)) => prop_assert_eq!(busy.len(), 3),
                    Action::Throttle(Full::Server(n)) => {
                        prop_assert!(of(&busy, &|f| !pool.reserved.contains_key(f)) >= n);
                    }
                }
            }
            prop_assert!(keeps_to_bounds(&pool));
            // Those that run are all but the heirs of what is not gone yet.
            let waits = |id: &EnvironmentId| heirs.get(id).is_some_and(|after| pool.environments.contains_key(after));
            prop_assert!(pool.environments.keys().filter(|id| !waits(id)).count() <= pool.limits.total);
            for function in ["0", "1", "2"] {
                let (b, _) = pool.count(function);
                prop_assert_eq!(b, of(&busy, &|f| f == function));
            }
        }
    }
}
