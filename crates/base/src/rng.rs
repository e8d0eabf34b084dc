//! Randomness, handed in.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Timestamp;

/// A source of random bytes.
pub trait Rng: Send + Sync + 'static {
    /// Fills `buf`.
    fn fill(&self, buf: &mut [u8]);

    /// A random number.
    fn u64(&self) -> u64 {
        let mut b = [0; 8];
        self.fill(&mut b);
        u64::from_le_bytes(b)
    }

    /// A random number below `bound`; zero for a bound of zero.
    fn below(&self, bound: u64) -> u64 {
        // The bias of the multiply-shift is below bound / 2^64: no caller draws keys from it.
        ((u128::from(self.u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A version-4 UUID, hyphenated, lower case.
    fn uuid(&self) -> String {
        let mut b = [0; 16];
        self.fill(&mut b);
        spell(b)
    }

    /// A version-7 UUID (RFC 9562): it begins with the time in milliseconds, and is random otherwise.
    fn uuid_at(&self, now: Timestamp) -> String {
        let ms = now.millis().max(0) as u64 & 0xffff_ffff_ffff;
        // What follows the version of one that is random throughout.
        format!("{:08x}-{:04x}-7{}", ms >> 16, ms & 0xffff, &self.uuid()[15..])
    }
}

/// Sixteen random bytes as a version-4 UUID.
fn spell(mut b: [u8; 16]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    let mut out = String::with_capacity(36);
    for (i, byte) in b.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    out
}

/// Bytes that a thread draws for UUIDs at once.
const DRAWN: usize = 1_024;

thread_local! {
    /// Bytes drawn ahead, and how many of them are used. (This process never forks without becoming another program,
    /// so that no two have the same.)
    static AHEAD: RefCell<([u8; DRAWN], usize)> = const { RefCell::new(([0; DRAWN], DRAWN)) };
}

/// The operating system's generator: fit for keys and tokens.
#[derive(Debug, Default)]
pub struct SystemRng;

#[allow(clippy::disallowed_methods, reason = "the one place that asks the operating system for randomness")]
impl Rng for SystemRng {
    fn fill(&self, buf: &mut [u8]) {
        if let Err(error) = getrandom::fill(buf) {
            // Keys without randomness would be worse than no server.
            tracing::error!(%error, "the operating system gives no random bytes; stopping");
            std::process::abort();
        }
    }

    /// Every request has one: the system is asked for many at a time. Keys and tokens are drawn by
    /// [`fill`](Self::fill), one by one.
    fn uuid(&self) -> String {
        AHEAD.with_borrow_mut(|(bytes, used)| {
            if *used == DRAWN {
                self.fill(bytes);
                *used = 0;
            }
            let mut id = [0; 16];
            let taken = &mut bytes[*used..*used + id.len()];
            id.copy_from_slice(taken);
            // Nobody finds out later what was given out.
            taken.fill(0);
            *used += id.len();
            spell(id)
        })
    }
}

/// A generator that repeats its sequence for a seed (SplitMix64, Steele et al. 2014). Not for keys.
#[derive(Debug)]
pub struct SeededRng(AtomicU64);

impl SeededRng {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Rng for SeededRng {
    fn fill(&self, buf: &mut [u8]) {
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        for chunk in buf.chunks_mut(8) {
            let mut z = self.0.fetch_add(GAMMA, Ordering::SeqCst).wrapping_add(GAMMA);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_uuids_have_their_form() {
        let (a, b) = (SeededRng::new(7), SeededRng::new(7));
        let id = a.uuid();
        assert_eq!(id, b.uuid());
        assert_ne!(id, a.uuid());
        assert_eq!((id.len(), &id[14..15]), (36, "4"));
        assert!((0..100).all(|_| a.below(3) < 3));
    }

    #[test]
    fn no_two_uuids_of_the_system_are_alike() {
        let draw = || (0..1_000).map(|_| SystemRng.uuid()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(draw)).collect();
        let all: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert!(all.iter().all(|id| id.len() == 36 && id[14..15] == *"4" && !id.contains("00000000-")));
        assert_eq!(all.iter().collect::<std::collections::HashSet<_>>().len(), 4_000);
    }
}
