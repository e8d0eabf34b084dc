//! The targets over their seeds and over small changes of them: what the fuzzer found once stays found.
#![allow(clippy::unwrap_used, reason = "what a test is made of may panic as the test may")]
#![allow(clippy::disallowed_methods, reason = "the seeds lie beside the tests")]

use std::path::Path;

use base::{Rng, SeededRng};

/// Runs a target over each seed as it is and changed in `rounds` ways.
fn run(name: &str, target: fn(&[u8]), rounds: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
    let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no seeds in {}", folder.display());
    let seeds: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
    let rng = SeededRng::new(1);
    for seed in &seeds {
        target(seed);
        for _ in 0..rounds {
            let mut changed = seed.clone();
            for _ in 0..=below(&rng, 4) {
                change(&rng, &seeds, &mut changed);
            }
            target(&changed);
        }
    }
    for length in 0..rounds {
        let mut noise = vec![0; length % 100];
        rng.fill(&mut noise);
        target(&noise);
    }
}

fn below(rng: &SeededRng, bound: usize) -> usize {
    rng.below(bound.max(1) as u64) as usize
}

fn change(rng: &SeededRng, seeds: &[Vec<u8>], bytes: &mut Vec<u8>) {
    let place = below(rng, bytes.len() + 1);
    let end = (place + 1 + below(rng, 8)).min(bytes.len());
    match below(rng, 5) {
        0 if place < bytes.len() => bytes[place] ^= 1 << below(rng, 8),
        1 => bytes.insert(place, below(rng, 256) as u8),
        2 => drop(bytes.drain(place..end)),
        3 => bytes.truncate(place),
        _ => {
            let other = &seeds[below(rng, seeds.len())];
            let from = below(rng, other.len() + 1);
            let until = (from + 1 + below(rng, 16)).min(other.len());
            drop(bytes.splice(place..place, other[from..until].iter().copied()));
        }
    }
}

#[test]
fn json() {
    run("json", fuzz::json, 300);
}

#[test]
fn cbor() {
    run("cbor", fuzz::cbor, 300);
}

#[test]
fn policies() {
    run("policies", fuzz::policies, 300);
}

#[test]
fn sigv4() {
    run("sigv4", fuzz::sigv4, 300);
}

#[test]
fn segments() {
    run("segments", fuzz::segments, 20);
}
