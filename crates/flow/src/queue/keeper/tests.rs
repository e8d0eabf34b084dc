use super::super::shelf::Arrival;
use super::*;

fn arrival_at(sent: i64) -> Arrival {
    let sent = Timestamp::from_millis(sent);
    Arrival { sent, until: None, group: None, receives: 0, first_received: None }
}

/// A message of our own is at 100 and durable, but waits to be applied; the other queue's keeper was quicker with its
/// dead letter at 101.
#[test]
fn the_floor_does_not_pass_what_waits_to_be_applied() {
    let (mut inner, now) = (Inner::new(false), Timestamp::from_millis(0));
    inner.applied_to = Position::new(90);
    inner.shelf.arrive(Position::new(101), arrival_at(0));
    assert_eq!(floor(&mut inner, now, true), Position::new(90));
    inner.shelf.arrive(Position::new(100), arrival_at(0));
    inner.applied_to = Position::new(101);
    assert_eq!(floor(&mut inner, now, false), Position::new(100));
}
