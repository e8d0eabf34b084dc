//! The merge on made-up shards, times and answers.

use proptest::prelude::*;

use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn id(number: u32) -> ShardId {
    ShardId::new(number)
}

fn lineage(shard: u32, parents: &[u32]) -> Lineage {
    Lineage { shard: id(shard), parents: parents.iter().copied().map(id).collect() }
}

fn record(shard: u32, arrival: i64) -> Record {
    let (sequence, key) = (format!("{arrival:04}{shard}"), String::new());
    Record { shard: id(shard), arrival: Timestamp::from_millis(arrival), sequence, key, data: Vec::new() }
}

fn records(shard: u32, arrivals: &[i64]) -> Vec<Record> {
    arrivals.iter().map(|arrival| record(shard, *arrival)).collect()
}

fn of(shards: &[u32], follow: bool) -> Merge {
    let newest = shards.iter().copied().max().map(id);
    Merge::new(shards.iter().map(|shard| lineage(*shard, &[])).collect(), newest, follow)
}

fn arrivals(shown: &[Record]) -> Vec<i64> {
    shown.iter().map(|record| record.arrival.millis()).collect()
}

#[test]
fn a_single_shard_is_shown_at_once() {
    let mut merge = of(&[0], true);
    assert_eq!(merge.ask(ms(0)), [id(0)]);
    assert_eq!(merge.ask(ms(1)), [], "one question at a time");
    merge.take(id(0), records(0, &[1, 2]), Rest::Nothing, ms(5));
    assert_eq!(arrivals(&merge.show(ms(5))), [1, 2]);
    assert_eq!(merge.wake(), Some(PERIOD));
    assert_eq!((merge.ask(ms(199)), merge.ask(ms(200))), (vec![], vec![id(0)]));
}

#[test]
fn backlogs_are_merged_and_an_empty_shard_is_asked_first() {
    let mut merge = of(&[0, 1], true);
    merge.ask(ms(0));
    merge.take(id(0), records(0, &[1, 4]), Rest::More, ms(1));
    assert_eq!(merge.show(ms(1)), [], "shard 1 may have older ones");
    merge.take(id(1), records(1, &[2, 3]), Rest::More, ms(2));
    assert_eq!(arrivals(&merge.show(ms(2))), [1, 2, 3], "then shard 1 may have more before 4");
    assert_eq!(merge.ask(ms(2)), [id(1)]);
    merge.take(id(1), records(1, &[5]), Rest::More, ms(3));
    assert_eq!(arrivals(&merge.show(ms(3))), [4]);
}

#[test]
fn a_record_waits_for_shards_that_were_asked_before_it_was_seen() {
    let mut merge = of(&[0, 1], true);
    merge.ask(ms(0));
    merge.take(id(1), Vec::new(), Rest::Nothing, ms(1));
    merge.take(id(0), records(0, &[10]), Rest::Nothing, ms(2));
    assert_eq!(merge.show(ms(2)), []);
    assert_eq!(merge.ask(ms(2)), [id(1)], "it holds a record up and is asked before its time");
    merge.take(id(1), records(1, &[9]), Rest::Nothing, ms(3));
    assert_eq!(arrivals(&merge.show(ms(3))), [9, 10]);
    assert_eq!(merge.wake(), Some(PERIOD), "then both are asked at their pace");
}

#[test]
fn a_silent_shard_holds_up_no_longer_than_patience() {
    let mut merge = of(&[0, 1], true);
    merge.ask(ms(0));
    merge.take(id(0), records(0, &[10]), Rest::Nothing, ms(5));
    assert_eq!(merge.show(ms(4) + PATIENCE), []);
    assert_eq!(merge.wake(), Some(ms(5) + PATIENCE));
    assert_eq!(arrivals(&merge.show(ms(5) + PATIENCE)), [10]);
}

#[test]
fn without_follow_a_shard_ends_where_it_has_nothing_more() {
    let mut merge = of(&[0, 1], false);
    merge.ask(ms(0));
    merge.take(id(0), records(0, &[1, 3]), Rest::Nothing, ms(1));
    merge.take(id(1), records(1, &[2]), Rest::More, ms(1));
    assert_eq!(arrivals(&merge.show(ms(1))), [1, 2]);
    assert!(!merge.is_over());
    assert_eq!(merge.ask(ms(1)), [id(1)]);
    merge.take(id(1), Vec::new(), Rest::Nothing, ms(2));
    assert_eq!(arrivals(&merge.show(ms(2))), [3]);
    assert!(merge.is_over());
}

#[test]
fn children_come_after_their_parents_even_when_the_clock_was_set_back() {
    let mut merge = of(&[0], true);
    merge.ask(ms(0));
    let heirs = vec![lineage(1, &[0]), lineage(2, &[0])];
    merge.take(id(0), records(0, &[50]), Rest::Ended(heirs), ms(1));
    assert_eq!(arrivals(&merge.show(ms(1))), [50]);
    assert_eq!(merge.ask(ms(1)), [id(1), id(2)]);
    merge.take(id(2), records(2, &[40]), Rest::More, ms(2));
    assert_eq!(merge.show(ms(2)), []);
    merge.take(id(1), records(1, &[45]), Rest::Ended(Vec::new()), ms(2));
    assert_eq!(arrivals(&merge.show(ms(2))), [40]);
}

#[test]
fn a_merged_shard_waits_for_both_parents_also_for_one_not_yet_known() {
    // 0 splits into 2 and 3; then 1 and 2 merge into 4. Shard 1 ends first and names 4, while 2 is still unknown.
    let mut merge = of(&[0, 1], true);
    merge.ask(ms(0));
    merge.take(id(1), Vec::new(), Rest::Ended(vec![lineage(4, &[1, 2])]), ms(1));
    merge.take(id(0), Vec::new(), Rest::Ended(vec![lineage(2, &[0]), lineage(3, &[0])]), ms(2));
    assert_eq!(merge.show(ms(2)), []);
    assert_eq!(merge.ask(ms(2)), [id(2), id(3)]);
    merge.take(id(2), records(2, &[5]), Rest::Ended(vec![lineage(4, &[1, 2])]), ms(3));
    merge.take(id(3), Vec::new(), Rest::Nothing, ms(3));
    assert_eq!(merge.ask(ms(3)), [id(3)], "4 waits for what is left of 2");
    merge.take(id(3), Vec::new(), Rest::Nothing, ms(4));
    assert_eq!(arrivals(&merge.show(ms(4))), [5]);
    assert_eq!(merge.ask(ms(4)), [id(4)]);
}

#[test]
fn parents_that_are_gone_or_not_wanted_hold_nobody_up() {
    // 0 and 1 expired before the start; 2 is closed, 3 its child.
    let mut merge = Merge::new(vec![lineage(2, &[0, 1]), lineage(3, &[2])], Some(id(3)), true);
    assert_eq!(merge.ask(ms(0)), [id(2)]);
    // From the latest record on, closed shards are not read at all.
    let mut merge = Merge::new(vec![lineage(3, &[2])], Some(id(3)), true);
    assert_eq!(merge.ask(ms(0)), [id(3)]);
}

proptest! {
    /// Whatever the pages and whoever answers first: each shard's records once and in order, and all in order of arrival
    /// as long as every shard answers.
    #[test]
    fn everything_is_shown_once_and_in_order(
        streams in proptest::collection::vec(proptest::collection::vec(0i64..200, 0..30), 1..5),
        page in 1usize..7,
        turns in proptest::collection::vec(0usize..5, 0..300),
    ) {
        let numbers: Vec<u32> = (0..).take(streams.len()).collect();
        let mut merge = of(&numbers, false);
        let mut backlog: Vec<VecDeque<i64>> = streams.iter().map(|arrivals| {
            let mut sorted = arrivals.clone();
            sorted.sort_unstable();
            sorted.into()
        }).collect();
        let (mut shown, mut asked, mut turns) = (Vec::new(), Vec::new(), turns.into_iter().chain(std::iter::repeat(0)));
        for step in 0u64.. {
            // A thousand steps take less than the patience.
            let now = Duration::from_micros(step);
            asked.extend(merge.ask(now));
            shown.extend(merge.show(now));
            if merge.is_over() {
                break;
            }
            if asked.is_empty() {
                continue;
            }
            let shard = asked.remove(turns.next().unwrap_or(0) % asked.len());
            let number = shard.number();
            let rest = &mut backlog[number as usize];
            let answer: Vec<i64> = rest.drain(..page.min(rest.len())).collect();
            let more = if rest.is_empty() { Rest::Nothing } else { Rest::More };
            merge.take(shard, records(number, &answer), more, now);
        }
        let mut expected: Vec<i64> = streams.concat();
        expected.sort_unstable();
        prop_assert_eq!(arrivals(&shown), expected);
        for number in numbers {
            let of_shard: Vec<i64> = shown.iter().filter(|r| r.shard == id(number)).map(|r| r.arrival.millis()).collect();
            prop_assert!(of_shard.is_sorted());
        }
    }
}
