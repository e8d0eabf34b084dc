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

const fn start(id: u64) -> Action {
    Action::Start(EnvironmentId(id))
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
    assert_eq!(acquire(&mut pool, 6, "h", "1"), [retire(1), start(4)]);
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
    let reserve = |function: &str, n| Input::Reserved { function: function.into(), environments: n };
    assert_eq!(pool.step(Duration::ZERO, reserve("r", Some(1))), []);
    acquire(&mut pool, 0, "f", "1");
    acquire(&mut pool, 0, "g", "1");
    assert!(matches!(&acquire(&mut pool, 0, "h", "1")[..], [Action::Throttle(Full::Server(2))]));
    assert_eq!(acquire(&mut pool, 0, "r", "1"), [start(3)]);
    assert!(matches!(&acquire(&mut pool, 0, "r", "1")[..], [Action::Throttle(Full::Reserved(1))]));
    // An idle one that is set aside stays; one of the others makes room.
    release(&mut pool, 1, 3);
    release(&mut pool, 2, 1);
    assert_eq!(acquire(&mut pool, 3, "h", "1"), [retire(1), start(4)]);
    assert_eq!(pool.step(Duration::ZERO, reserve("r", Some(0))), []);
    assert_eq!(pool.step(Duration::ZERO, reserve("s", None)), []);
    acquire(&mut pool, 4, "r", "1");
    assert!(matches!(&acquire(&mut pool, 4, "r", "1")[..], [Action::Throttle(Full::Reserved(0))]));
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

proptest! {
    /// Whatever happens in whatever order: the limits hold, an environment has one call at a time, and calls get
    /// environments of their own revision.
    #[test]
    fn limits_and_ownership_hold(script in prop::collection::vec((0u8..5, 0u8..3, 0u8..3), 1..200)) {
        let mut pool = pool();
        let mut busy: Vec<(EnvironmentId, Owner)> = Vec::new();
        let mut owners: BTreeMap<EnvironmentId, Owner> = BTreeMap::new();
        for (at, (what, function, revision)) in script.into_iter().enumerate() {
            let now = Duration::from_secs(at as u64 * 90);
            let owner = owner(&function.to_string(), &revision.to_string());
            let input = match what {
                0 | 1 => Input::Acquire(owner.clone()),
                2 | 3 if !busy.is_empty() => {
                    let (id, _) = busy.remove(usize::from(revision) % busy.len());
                    if what == 2 { Input::Released(id) } else { Input::Ended(id) }
                }
                4 => Input::Replaced {
                    function: owner.function.clone(),
                    version: Some(owner.version),
                    revision: Some(owner.revision.clone()),
                },
                _ => Input::Tick,
            };
            for action in pool.step(now, input) {
                match action {
                    Action::Assign(id) => {
                        prop_assert!(busy.iter().all(|(b, _)| *b != id));
                        prop_assert_eq!(&owners[&id], &owner);
                        busy.push((id, owner.clone()));
                    }
                    Action::Start(id) => {
                        prop_assert!(owners.insert(id, owner.clone()).is_none());
                        busy.push((id, owner.clone()));
                    }
                    Action::Retire(id) => prop_assert!(busy.iter().all(|(b, _)| *b != id)),
                    Action::Throttle(_) => {}
                }
            }
            prop_assert!(pool.environments.len() <= 3);
            for function in ["0", "1", "2"] {
                let (b, i) = pool.count(function);
                prop_assert!(b + i <= 2);
                prop_assert_eq!(b, busy.iter().filter(|(_, o)| &*o.function == function).count());
            }
        }
    }
}
