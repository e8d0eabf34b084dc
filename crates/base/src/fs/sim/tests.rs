use std::io;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::content::SECTOR;
use super::{Call, Fault, SimFs};
use crate::{File, Fs, OpenMode};

fn root() -> &'static Path {
    Path::new("/")
}

fn create(fs: &SimFs, path: &str) -> Arc<dyn File> {
    fs.open(Path::new(path), OpenMode::CreateNew).unwrap()
}

/// A file `/f` that is durable with this content.
fn durable(fs: &SimFs, content: &[u8]) -> Arc<dyn File> {
    let file = create(fs, "/f");
    file.write_all_at(content, 0).unwrap();
    file.sync_data().unwrap();
    fs.sync_dir(root()).unwrap();
    file
}

/// What different seeds make of the same calls.
fn outcomes<T: Ord>(run: impl Fn(&SimFs) -> T) -> std::collections::BTreeSet<T> {
    (0..200).map(|seed| run(&SimFs::new(seed))).collect()
}

#[test]
fn reads_see_writes_and_files_grow_with_zeroes() {
    let fs = SimFs::new(1);
    let file = create(&fs, "/f");
    file.write_all_at(b"abc", 2).unwrap();
    assert_eq!(fs.read(Path::new("/f")).unwrap(), b"\0\0abc");
    file.set_len(3).unwrap();
    file.set_len(6).unwrap();
    assert_eq!(fs.read(Path::new("f")).unwrap(), b"\0\0a\0\0\0");
    assert_eq!(file.read_at(&mut [0; 4], 6).unwrap(), 0);
    let reader = fs.open(Path::new("/f"), OpenMode::Read).unwrap();
    assert!(reader.write_at(b"x", 0).is_err());
    assert_eq!(fs.open(Path::new("/f"), OpenMode::CreateNew).err().unwrap().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs.open(Path::new("/g"), OpenMode::ReadWrite).err().unwrap().kind(), io::ErrorKind::NotFound);
}

#[test]
fn unsynced_bytes_survive_by_sectors_and_lengths_by_themselves() {
    let found = outcomes(|fs| {
        let file = durable(fs, &[b'-'; SECTOR * 2]);
        file.write_all_at(&[b'+'; SECTOR * 3], 0).unwrap();
        fs.power_cut();
        fs.read(Path::new("/f")).unwrap()
    });
    for bytes in &found {
        assert!((SECTOR * 2..=SECTOR * 3).contains(&bytes.len()));
        assert!(bytes.chunks(SECTOR).all(|sector| sector.iter().all(|b| *b == sector[0])), "torn inside a sector");
    }
    let marks = |bytes: &Vec<u8>| (bytes[0], bytes[SECTOR]);
    for expected in [(b'-', b'-'), (b'+', b'-'), (b'-', b'+'), (b'+', b'+')] {
        assert!(found.iter().any(|bytes| marks(bytes) == expected), "{expected:?} never came out");
    }
    assert!(found.iter().any(|bytes| bytes.len() == SECTOR * 3 && bytes[SECTOR * 2] == 0));
    assert!(found.iter().any(|bytes| bytes.len() % SECTOR != 0));
}

#[test]
fn names_need_a_sync_of_their_folder() {
    let found = outcomes(|fs| {
        create(fs, "/a").sync_data().unwrap();
        create(fs, "/b").sync_data().unwrap();
        fs.power_cut();
        fs.read_dir(root()).unwrap().into_iter().map(|entry| entry.name).collect::<String>()
    });
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["", "a", "ab", "b"]);
}

#[test]
fn a_folder_whose_name_is_lost_takes_its_files_along() {
    let found = outcomes(|fs| {
        fs.create_dir_all(Path::new("/d/e")).unwrap();
        create(fs, "/d/e/f").sync_data().unwrap();
        fs.sync_dir(Path::new("/d/e")).unwrap();
        fs.sync_dir(Path::new("/d")).unwrap();
        fs.power_cut();
        fs.exists(Path::new("/d/e/f")).unwrap()
    });
    assert_eq!(found.len(), 2);
}

#[test]
fn a_folder_made_durable_stays() {
    for seed in 0..50 {
        let fs = SimFs::new(seed);
        fs.create_dir_durable(Path::new("/d/e/f")).unwrap();
        fs.create_dir_durable(Path::new("/d/e/g")).unwrap();
        fs.power_cut();
        assert!(fs.exists(Path::new("/d/e/f")).unwrap() && fs.exists(Path::new("/d/e/g")).unwrap());
    }
}

#[test]
fn a_rename_is_whole_or_absent() {
    let found = outcomes(|fs| {
        durable(fs, b"old");
        let new = create(fs, "/f.tmp");
        new.write_all_at(b"new", 0).unwrap();
        new.sync_data().unwrap();
        fs.rename(Path::new("/f.tmp"), Path::new("/f")).unwrap();
        fs.power_cut();
        (fs.read(Path::new("/f")).unwrap(), fs.exists(Path::new("/f.tmp")).unwrap())
    });
    let expected = [(b"new".to_vec(), false), (b"old".to_vec(), false), (b"old".to_vec(), true)];
    assert_eq!(found.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn syncing_one_folder_makes_a_rename_between_two_durable() {
    let fs = SimFs::new(3);
    for folder in ["/a", "/b"] {
        fs.create_dir_all(Path::new(folder)).unwrap();
    }
    fs.sync_dir(root()).unwrap();
    create(&fs, "/a/f");
    fs.rename(Path::new("/a/f"), Path::new("/b/f")).unwrap();
    fs.sync_dir(Path::new("/b")).unwrap();
    fs.power_cut();
    assert!(fs.exists(Path::new("/b/f")).unwrap() && !fs.exists(Path::new("/a/f")).unwrap());
}

#[test]
fn an_atomic_write_leaves_the_old_or_the_new() {
    let path = Path::new("/f");
    let changes = {
        let fs = SimFs::new(0);
        fs.write_atomic(path, b"old", 0o600).unwrap();
        let before = fs.calls(Call::CHANGES);
        fs.write_atomic(path, b"new", 0o640).unwrap();
        assert_eq!(fs.mode(path).unwrap(), 0o640);
        fs.calls(Call::CHANGES) - before
    };
    for nth in 1..=changes {
        for seed in 0..20 {
            let fs = SimFs::new(seed);
            fs.write_atomic(path, b"old", 0o600).unwrap();
            fs.fail(Call::CHANGES, nth, Fault::Crash);
            fs.write_atomic(path, b"new", 0o600).unwrap_err();
            assert!(fs.is_off() && fs.read(path).is_err());
            fs.power_cut();
            let content = fs.read(path).unwrap();
            assert!(content == b"old" || content == b"new", "call {nth}, seed {seed}: {content:?}");
        }
    }
}

#[test]
fn a_failed_sync_drops_what_a_later_one_cannot_bring_back() {
    let found = outcomes(|fs| {
        let file = durable(fs, b"old");
        file.write_all_at(b"new", 0).unwrap();
        fs.fail(&[Call::SyncData], 1, Fault::Eio);
        assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(5));
        assert_eq!(fs.read(Path::new("/f")).unwrap(), b"new");
        file.sync_data().unwrap();
        fs.power_cut();
        fs.read(Path::new("/f")).unwrap()
    });
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [b"new".to_vec(), b"old".to_vec()]);
}

#[test]
fn faults_strike_the_call_they_are_planned_for() {
    let fs = SimFs::new(5);
    let file = create(&fs, "/f");
    fs.fail(&[Call::Write], 2, Fault::Short);
    fs.fail(&[Call::Write], 3, Fault::Torn);
    fs.fail(&[Call::Write], 4, Fault::Enospc);
    assert_eq!(file.write_at(&[1; 100], 0).unwrap(), 100);
    let short = file.write_at(&[2; 100], 0).unwrap();
    assert!((1..100).contains(&short));
    assert_eq!(file.write_at(&[3; 100], 200).unwrap_err().raw_os_error(), Some(5));
    assert!((201..300).contains(&file.len().unwrap()));
    assert_eq!(file.write_at(&[4; 100], 0).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.write_at(&[5; 100], 0).unwrap(), 100);
    assert_eq!(fs.calls(&[Call::Write]), 5);
    fs.fail(&[Call::Read], 1, Fault::Eio);
    assert!(file.read_at(&mut [0; 1], 0).is_err());
    assert_eq!(file.read_at(&mut [0; 1], 0).unwrap(), 1);
}

#[test]
fn a_full_disk_takes_what_fits_and_is_freed() {
    let fs = SimFs::new(6);
    fs.set_capacity(Some(1_000));
    let file = create(&fs, "/a");
    assert_eq!(file.write_at(&[1; 800], 0).unwrap(), 800);
    let other = create(&fs, "/b");
    assert_eq!(other.write_at(&[2; 800], 0).unwrap(), 200);
    assert_eq!(other.write_at(&[2; 1], 200).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(other.write_at(&[3; 200], 0).unwrap(), 200, "overwriting needs no room");
    fs.remove_file(Path::new("/a")).unwrap();
    assert!(other.set_len(201).is_err(), "an open file keeps its room");
    drop(file);
    other.set_len(1_000).unwrap();
}

#[test]
fn handles_and_locks_end_with_the_process() {
    let fs = SimFs::new(8);
    let file = durable(&fs, b"old");
    let lock = fs.lock(Path::new("/lock")).unwrap();
    assert_eq!(fs.lock(Path::new("/lock")).err().unwrap().kind(), io::ErrorKind::WouldBlock);
    file.write_all_at(b"new", 0).unwrap();
    fs.kill();
    assert!(file.len().is_err() && file.write_at(b"x", 0).is_err());
    assert_eq!(fs.read(Path::new("/f")).unwrap(), b"new", "a killed process loses nothing that it wrote");
    let again = fs.lock(Path::new("/lock")).unwrap();
    drop(lock);
    assert!(fs.lock(Path::new("/lock")).is_err(), "an old lock frees nothing");
    drop(again);
    fs.lock(Path::new("/lock")).unwrap();
}

#[test]
fn a_lying_sync_loses() {
    let found = outcomes(|fs| {
        let file = durable(fs, b"old");
        fs.set_lying_sync(true);
        file.write_all_at(b"new", 0).unwrap();
        file.sync_data().unwrap();
        fs.power_cut();
        fs.read(Path::new("/f")).unwrap()
    });
    assert!(found.contains(b"old".as_slice()));
}

#[test]
fn folders_come_and_go() {
    let fs = SimFs::new(9);
    fs.create_dir_all(Path::new("/a/b")).unwrap();
    create(&fs, "/a/f");
    let entries = fs.read_dir(Path::new("/a")).unwrap();
    assert_eq!(entries.iter().map(|e| (e.name.as_str(), e.is_dir)).collect::<Vec<_>>(), [("b", true), ("f", false)]);
    assert!(fs.create_dir_all(Path::new("/a/f/g")).is_err());
    fs.rename(Path::new("/a"), Path::new("/c")).unwrap();
    assert!(fs.exists(Path::new("/c/f")).unwrap());
    fs.remove_dir_all(Path::new("/c")).unwrap();
    assert_eq!(fs.read_dir(root()).unwrap(), []);
}

#[derive(Debug, Clone)]
enum Step {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
    FailedSync,
    PowerCut,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0u64..4_000, 1usize..2_000, any::<u8>()).prop_map(|(at, len, byte)| Step::Write(at, vec![byte; len])),
        1 => (0u64..5_000).prop_map(Step::SetLen),
        2 => Just(Step::Sync),
        1 => Just(Step::FailedSync),
        1 => Just(Step::PowerCut),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    /// The oracle keeps every content since the last sync that succeeded: each byte after a cut must be of one of
    /// them, and so must the length lie between theirs. With one content, that is: what was synced is there.
    #[test]
    fn what_was_synced_survives(seed: u64, steps in steps()) {
        let fs = SimFs::new(seed);
        let mut file = durable(&fs, b"");
        let mut seen: Vec<u8> = Vec::new();
        // What may be on the disk; the last is what reads see.
        let mut possible = vec![Vec::new()];
        // Whether a sync failed: no later one brings back for sure what it dropped.
        let mut dropped = false;
        for step in steps {
            match step {
                Step::Write(at, data) => {
                    file.write_all_at(&data, at).unwrap();
                    let (at, end) = (at as usize, at as usize + data.len());
                    seen.resize(seen.len().max(end), 0);
                    seen[at..end].copy_from_slice(&data);
                    possible.push(seen.clone());
                }
                Step::SetLen(len) => {
                    file.set_len(len).unwrap();
                    seen.resize(len as usize, 0);
                    possible.push(seen.clone());
                }
                Step::Sync => {
                    file.sync_data().unwrap();
                    if !dropped {
                        possible = vec![seen.clone()];
                    }
                }
                Step::FailedSync => {
                    fs.fail(&[Call::SyncData], 1, Fault::Eio);
                    file.sync_data().unwrap_err();
                    dropped = true;
                }
                Step::PowerCut => {
                    fs.power_cut();
                    let found = fs.read(Path::new("/f")).unwrap();
                    check(&found, &possible)?;
                    file = fs.open(Path::new("/f"), OpenMode::ReadWrite).unwrap();
                    seen.clone_from(&found);
                    possible = vec![found];
                    dropped = false;
                }
            }
        }
    }

    #[test]
    fn a_seed_repeats(seed: u64, steps in steps()) {
        let run = || {
            let fs = SimFs::new(seed);
            let file = durable(&fs, b"");
            for step in &steps {
                match step {
                    Step::Write(at, data) => file.write_all_at(data, *at).unwrap(),
                    Step::SetLen(len) => file.set_len(*len).unwrap(),
                    _ => {}
                }
            }
            fs.power_cut();
            fs.read(Path::new("/f")).unwrap()
        };
        prop_assert_eq!(run(), run());
    }
}

fn check(found: &[u8], possible: &[Vec<u8>]) -> Result<(), TestCaseError> {
    let lens = possible.iter().map(Vec::len);
    prop_assert!(lens.clone().min() <= Some(found.len()) && Some(found.len()) <= lens.max());
    for (at, byte) in found.iter().enumerate() {
        let known = possible.iter().any(|content| content.get(at).copied().unwrap_or(0) == *byte);
        prop_assert!(known, "byte {} is {}, which it never was", at, byte);
    }
    Ok(())
}

#[test]
fn a_tree_that_is_synced_stays_whole() {
    let kept = outcomes(|fs| {
        fs.create_dir_durable(Path::new("/t")).unwrap();
        fs.create_dir_all(Path::new("/t/a/b")).unwrap();
        for path in ["/t/f", "/t/a/g", "/t/a/b/h"] {
            create(fs, path).write_all_at(path.as_bytes(), 0).unwrap();
        }
        fs.sync_tree(Path::new("/t")).unwrap();
        fs.power_cut();
        ["/t/f", "/t/a/g", "/t/a/b/h"].map(|path| fs.read(Path::new(path)).ok() == Some(path.as_bytes().to_vec()))
    });
    assert_eq!(kept.into_iter().collect::<Vec<_>>(), [[true; 3]]);
}
