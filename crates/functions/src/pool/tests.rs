use proptest::prelude::*;

use super::*;

fn pool() -> Pool {
    Pool::new(Limits { total: 3, per_function: 2, idle: Duration::from_secs(600), age: Duration::from_secs(3_600) })
}

fn owner(function: &str, revision: &str) -> Owner {
    Owner { function: function.into(), revision: revision.into() }
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
    assert!(matches!(&acquire(&mut pool, 0, "f", "1")[..], [Action::Throttle(why)] if why.contains("one function")));
    assert_eq!(acquire(&mut pool, 0, "g", "1"), [start(3)]);
    assert!(matches!(&acquire(&mut pool, 0, "h", "1")[..], [Action::Throttle(why)] if why.contains("server")));
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
    let replaced = Input::Replaced { function: "f".into(), revision: Some("2".into()) };
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
                4 => Input::Replaced { function: owner.function.clone(), revision: Some(owner.revision.clone()) },
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
