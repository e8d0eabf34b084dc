use std::path::Path;
use std::sync::Arc;

use base::fs::sim::SimFs;
use base::{File, Fs, OpenMode, Position, ProducerId, SeededRng, Timestamp};
use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::index::place_runs;
use crate::seal::{Opener, RecordKey, Sealing};
use crate::{Append, NewRecord, ShardRef, StreamId};

const MARK: u64 = 0x5eed_5eed_5eed_5eed;

fn plain() -> Sealing {
    Sealing::default()
}

/// Shards 1 and 3 are sealed.
fn sealing(append: &Append, seed: u64) -> Sealing {
    let key = key(7, 4);
    Sealing::new(&append.records, &SeededRng::new(seed), |s| Ok([1, 3].contains(&s.0).then_some(&key))).unwrap()
}

fn key(byte: u8, stream: u32) -> RecordKey {
    RecordKey::new(&[byte; 32], StreamId(stream))
}

fn opener(byte: u8, stream: u32) -> Opener {
    Opener::new(Arc::new(key(byte, stream)))
}

fn record(shard: u32, key: &str, data: &[u8], hash: Option<u128>) -> NewRecord {
    NewRecord {
        shard: ShardRef(shard),
        partition_key: key.parse().unwrap(),
        explicit_hash_key: hash.map(base::HashKey),
        data: Bytes::copy_from_slice(data),
    }
}

fn batch(first: u64, group: u64, records: Vec<NewRecord>) -> Bytes {
    let append = Append { producer: Some((ProducerId(9), Position::new(first))), records };
    let batch = EncodedBatch::data(&append, &plain()).unwrap();
    batch.complete(MARK, Position::new(first), Position::new(group), Timestamp::from_millis(1_000 + first as i64))
}

/// Three groups: [1..=3], [4..=5 in two batches], [6..=9]. Returns the file's bytes and the batches' offsets.
fn segment() -> (Vec<u8>, Vec<usize>) {
    let two = |a: u32, b: u32| vec![record(b, "b", b"bee", Some(7)), record(a, "a", b"ay", None)];
    let mut bytes = SegmentHeader { first: Position::new(1), mark: MARK }.encode().to_vec();
    let mut offsets = Vec::new();
    let mut push = |batch: Bytes| {
        offsets.push(bytes.len());
        bytes.extend_from_slice(&batch);
    };
    push(batch(1, 1, [two(1, 2), vec![record(1, "again", b"x", None)]].concat()));
    push(batch(4, 4, vec![record(3, "c", b"see", None)]));
    push(batch(5, 4, vec![record(1, "d", b"", None)]));
    push(batch(6, 6, [two(1, 2), two(3, 4)].concat()));
    (bytes, offsets)
}

fn file(bytes: &[u8]) -> std::sync::Arc<dyn File> {
    let fs = SimFs::new(1);
    let file = fs.open(Path::new("/s"), OpenMode::CreateNew).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file
}

fn known(end: Option<u64>, at_least: u64) -> Known {
    let at_least = Position::new(at_least);
    Known { mark: MARK, first: Position::new(1), end: end.map(Position::new), at_least, shard_limit: 100 }
}

fn scan(bytes: &[u8], known: Known) -> (Scan, Vec<(u64, bool)>) {
    let mut seen = Vec::new();
    let scan = scan_segment::<std::io::Error>(&*file(bytes), known, |b| {
        seen.push((b.header.first.get(), b.intact));
        Ok(())
    });
    (scan.unwrap(), seen)
}

#[test]
fn a_segment_reads_back_grouped_by_shard_in_stable_order() {
    let (bytes, offsets) = segment();
    let mut records = Vec::new();
    let scan = scan_segment::<std::io::Error>(&*file(&bytes), known(None, 0), |b| {
        assert!(b.intact && offsets.contains(&(b.offset as usize)));
        assert_eq!(b.header.producer, Some((ProducerId(9), b.header.first)));
        let records_at = b.offset + b.header.extent_len() as u64;
        for (shard, run) in place_runs(&b.header.runs, b.header.first, b.header.arrival, records_at) {
            let mut at = run.offset as usize;
            for n in 0..run.records {
                let view = decode_record(&bytes, at).unwrap();
                assert_eq!(view.shard, shard);
                let data = String::from_utf8(bytes[view.data..view.end].to_vec()).unwrap();
                records.push((shard.0, run.first.get() + u64::from(n), data, view.hash_key));
                at = view.end;
            }
        }
        Ok(())
    })
    .unwrap();
    assert_eq!((scan.offset, scan.next.get(), scan.torn), (bytes.len() as u64, 10, false));
    assert_eq!(records[0], (1, 1, "ay".into(), None));
    assert_eq!(records[1], (1, 2, "x".into(), None));
    assert_eq!(records[2], (2, 3, "bee".into(), Some(7)));
    assert_eq!(records.len(), 9);
}

#[test]
fn a_cut_in_the_last_group_is_a_torn_tail_and_zeroes_are_the_end() {
    let (mut bytes, offsets) = segment();
    for cut in offsets[3] + 1..bytes.len() {
        let (scan, seen) = scan(&bytes[..cut], known(None, 0));
        assert!(scan.torn && scan.damages.is_empty());
        assert_eq!((scan.offset, scan.next.get(), seen.len()), (offsets[3] as u64, 6, 3));
    }
    bytes.resize(bytes.len() + 3_000, 0);
    let (scan, _) = scan(&bytes, known(None, 0));
    assert!(!scan.torn && scan.damages.is_empty());
}

#[test]
fn a_hole_within_the_last_group_is_a_torn_tail_too() {
    let (mut bytes, offsets) = segment();
    bytes.truncate(offsets[3]);
    bytes[offsets[1]..offsets[2]].fill(0);
    let (scan, seen) = scan(&bytes, known(None, 0));
    assert!(scan.torn && scan.damages.is_empty(), "{scan:?}");
    assert_eq!((scan.offset, seen.len()), (offsets[1] as u64, 1));
}

#[test]
fn a_hole_before_a_later_group_is_corruption_that_names_its_shards() {
    let (mut bytes, offsets) = segment();
    bytes[offsets[1] + 20] ^= 1;
    let (scan, seen) = scan(&bytes, known(None, 0));
    let damage = &scan.damages[0];
    assert_eq!((damage.offset, damage.first.get(), damage.last.get()), (offsets[1] as u64, 4, 4));
    assert_eq!(damage.shards, Some([ShardRef(3)].into()));
    assert_eq!(seen, [(1, true), (5, true), (6, true)]);
}

#[test]
fn what_was_durable_when_last_seen_is_never_taken_for_a_torn_tail() {
    let (bytes, offsets) = segment();
    for known in [known(None, 10), known(Some(10), 0)] {
        let (scan, seen) = scan(&bytes[..offsets[3] + 30], known);
        assert_eq!((scan.damages[0].first.get(), scan.damages[0].last.get(), seen.len()), (6, 9, 3));
        assert_eq!(scan.damages[0].shards, None);
    }
}

#[test]
fn what_lies_behind_the_end_of_a_sealed_segment_was_given_up() {
    let (bytes, _) = segment();
    let (scan, seen) = scan(&bytes, known(Some(6), 0));
    assert_eq!((scan.next.get(), seen.len(), scan.damages.len()), (6, 3, 0));
}

#[test]
fn a_batch_within_a_records_data_is_not_taken_for_one() {
    let forged =
        EncodedBatch::data(&Append { producer: None, records: vec![record(1, "k", b"forged", None)] }, &plain())
            .unwrap();
    let forged = forged.complete(MARK ^ 1, Position::new(900), Position::new(900), Timestamp::default());
    let mut bytes = SegmentHeader { first: Position::new(1), mark: MARK }.encode().to_vec();
    bytes.extend_from_slice(&batch(1, 1, vec![record(1, "k", &forged, None)]));
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let (scan, seen) = scan(&bytes, known(None, 0));
    assert!(scan.torn && seen.is_empty() && scan.damages.is_empty());
}

/// The records of a batch whose header is at the start of these bytes.
fn records_of(bytes: &Bytes) -> Vec<(bool, NewRecord)> {
    let header = BatchHeader::decode(bytes, MARK).unwrap();
    let (mut at, mut records, mut opener) = (header.extent_len(), Vec::new(), opener(7, 4));
    while at < bytes.len() {
        let view = decode_record(bytes, at).unwrap();
        let (hash, name, data) = if view.sealed {
            let content = open_record(&bytes[view.data..view.end], view.shard, &mut opener).unwrap();
            (content.hash_key, content.partition_key, content.data)
        } else {
            (view.hash_key, bytes.slice(view.key..view.data), bytes.slice(view.data..view.end))
        };
        records.push((view.sealed, record(view.shard.0, std::str::from_utf8(&name).unwrap(), &data, hash)));
        at = view.end;
    }
    records
}

#[test]
fn sealed_records_show_nothing_and_belong_to_their_shard_and_key() {
    let secret = || record(1, "the-key-of-it", b"the data of it", Some(0x7465_6c6c_7461_6c65));
    let append = Append { producer: None, records: vec![secret(), secret(), record(2, "open", b"plain", None)] };
    let bytes = EncodedBatch::data(&append, &sealing(&append, 1)).unwrap();
    let bytes = bytes.complete(MARK, Position::new(1), Position::new(1), Timestamp::from_millis(1));
    let holds = |what: &[u8]| bytes.windows(what.len()).any(|w| w == what);
    assert!(!holds(b"the-key") && !holds(b"the data") && !holds(&0x7465_6c6c_7461_6c65_u64.to_le_bytes()));
    assert!(holds(b"open") && holds(b"plain"));
    let records = records_of(&bytes);
    assert_eq!(records.iter().map(|(sealed, _)| *sealed).collect::<Vec<_>>(), [true, true, false]);
    let view = decode_record(&bytes, BATCH_HEADER + 24).unwrap();
    let sealed = &bytes[view.data..view.end];
    let second = decode_record(&bytes, view.end).unwrap();
    assert_ne!(sealed, &bytes[second.data..second.end], "the same record is never sealed to the same bytes");
    let opens = |sealed: &[u8], shard, mut opener| open_record(sealed, ShardRef(shard), &mut opener).is_ok();
    assert!(opens(sealed, 1, opener(7, 4)));
    assert!(!opens(sealed, 3, opener(7, 4)), "another shard's");
    assert!(!opens(sealed, 1, opener(7, 5)), "another stream's");
    assert!(!opens(sealed, 1, opener(8, 4)), "another key");
    for place in 0..sealed.len() {
        let mut changed = sealed.to_vec();
        changed[place] ^= 1;
        assert!(!opens(&changed, 1, opener(7, 4)), "changed at {place}");
        assert!(!opens(&sealed[..place], 1, opener(7, 4)), "cut at {place}");
    }
}

/// What one record costs, sealed and opened, against a plain one.
#[test]
#[ignore = "a measurement: run it in release mode with --nocapture"]
#[allow(clippy::print_stdout, reason = "it is what the measurement is for")]
fn what_sealing_costs() {
    use base::Clock;
    let clock = base::SystemClock::new();
    for size in [200, 1_024] {
        let records: Vec<_> = (0..500).map(|n| record(1, &format!("key-{n}"), &vec![7; size], None)).collect();
        let append = Append { producer: None, records };
        let measure = |what: &str, work: &dyn Fn()| {
            let start = clock.instant();
            (0..400).for_each(|_| work());
            println!("{what} of {size} bytes: {} ns", (clock.instant() - start).as_nanos() / 200_000);
        };
        measure("encoding a plain record", &|| drop(EncodedBatch::data(&append, &plain()).unwrap()));
        measure("encoding a sealed record", &|| drop(EncodedBatch::data(&append, &sealing(&append, 1)).unwrap()));
        for (what, sealing) in [("reading a plain record", plain()), ("reading a sealed record", sealing(&append, 1))] {
            let batch = EncodedBatch::data(&append, &sealing).unwrap();
            let bytes = batch.complete(MARK, Position::new(1), Position::new(1), Timestamp::default());
            measure(what, &|| {
                let (mut at, mut opener) = (BATCH_HEADER + 12, opener(7, 4));
                while at < bytes.len() {
                    let view = decode_record(&bytes, at).unwrap();
                    if view.sealed {
                        open_record(&bytes[view.data..view.end], view.shard, &mut opener).unwrap();
                    }
                    at = view.end;
                }
            });
        }
    }
}

proptest! {
    #[test]
    fn records_read_back(
        records in prop::collection::vec((0u32..5, "\\PC{1,20}", prop::collection::vec(any::<u8>(), 0..200), any::<Option<u128>>()), 1..40)
    ) {
        let records: Vec<_> = records.iter().map(|(s, k, d, h)| record(*s, k, d, *h)).collect();
        let append = Append { producer: None, records: records.clone() };
        let encoded = EncodedBatch::data(&append, &plain()).unwrap();
        let order = encoded.order.clone();
        let bytes = encoded.complete(MARK, Position::new(5), Position::new(5), Timestamp::from_millis(-3));
        let header = BatchHeader::decode(&bytes, MARK).unwrap();
        prop_assert_eq!(header.arrival.millis(), -3);
        let mut at = header.extent_len();
        for place in order {
            let (view, original) = (decode_record(&bytes, at).unwrap(), &records[place as usize]);
            prop_assert_eq!(view.shard, original.shard);
            prop_assert_eq!(view.hash_key, original.explicit_hash_key.map(|h| h.0));
            prop_assert_eq!(&bytes[view.key..view.data], original.partition_key.as_str().as_bytes());
            prop_assert_eq!(&bytes[view.data..view.end], &original.data[..]);
            at = view.end;
        }
        prop_assert_eq!(at, bytes.len());
    }

    #[test]
    fn sealed_and_plain_records_read_back_together(
        records in prop::collection::vec((0u32..5, "\\PC{1,20}", prop::collection::vec(any::<u8>(), 0..200), any::<Option<u128>>()), 1..40),
        seed: u64,
    ) {
        let records: Vec<_> = records.iter().map(|(s, k, d, h)| record(*s, k, d, *h)).collect();
        let append = Append { producer: None, records };
        let encoded = EncodedBatch::data(&append, &sealing(&append, seed)).unwrap();
        let order = encoded.order.clone();
        let bytes = encoded.complete(MARK, Position::new(5), Position::new(5), Timestamp::from_millis(-3));
        let read = records_of(&bytes);
        prop_assert_eq!(read.len(), order.len());
        for ((sealed, read), place) in read.iter().zip(order) {
            let original = &append.records[place as usize];
            prop_assert_eq!(*sealed, [1, 3].contains(&original.shard.0));
            prop_assert_eq!((&read.shard, &read.data), (&original.shard, &original.data));
            prop_assert_eq!(&read.partition_key, &original.partition_key);
            prop_assert_eq!(read.explicit_hash_key, original.explicit_hash_key);
        }
    }

    #[test]
    fn any_flipped_byte_is_detected_and_other_shards_are_still_read(place: prop::sample::Index, change in 1u8..) {
        let (mut bytes, _) = segment();
        let place = SEGMENT_HEADER as usize + place.index(bytes.len() - SEGMENT_HEADER as usize);
        bytes[place] ^= change;
        let (scan, seen) = scan(&bytes, known(None, 10));
        let damaged = seen.iter().filter(|(_, intact)| !intact).count();
        prop_assert_eq!(damaged + scan.damages.len(), 1);
        prop_assert_eq!(seen.len() + scan.damages.len(), 4);
        prop_assert!(scan.damages.iter().all(|d| d.shards.is_some()), "{:?}", scan.damages);
    }

    #[test]
    fn any_bytes_are_scanned_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), place: prop::sample::Index) {
        let (mut whole, _) = segment();
        let at = place.index(whole.len());
        whole.splice(at..at, bytes);
        scan(&whole, known(None, 0));
    }
}
