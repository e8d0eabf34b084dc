//! Positions in the journal and the sequence numbers that show them to clients.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{InvalidId, ShardId, Timestamp};

/// A record's place in the journal: a counter over all records of all shards, starting at 1. Positions grow along
/// every shard, and a child shard's are greater than its parent's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Position(u64);

impl Position {
    /// Before every record.
    pub const ZERO: Self = Self(0);
    /// After every record.
    pub const MAX: Self = Self(u64::MAX);

    /// The position of this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The position's number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position after this one.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A place in the 128-bit space of hash keys, by which records are routed to shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashKey(pub u128);

impl fmt::Display for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for HashKey {
    type Err = InvalidId;

    fn from_str(v: &str) -> Result<Self, InvalidId> {
        let canonical = v == "0" || (v.bytes().all(|b| b.is_ascii_digit()) && !v.starts_with('0'));
        if !canonical {
            return Err(InvalidId::new("hash key", v, "a decimal number from 0 to 2^128 - 1"));
        }
        v.parse().map(Self).map_err(|_| InvalidId::new("hash key", v, "a decimal number from 0 to 2^128 - 1"))
    }
}

/// A record's number on its shard as clients see it: 56 decimal digits, ordered by the position alone.
///
/// ```text
/// number = 49 · 10^54 + position · 2^112 + shard · 2^80 + time_ms · 2^32
/// ```
/// The time (48 bits) and the shard (32 bits) inform a reader; they stand below the position, so they never order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceNumber {
    position: Position,
    shard: ShardId,
    time_ms: u64,
}

const RULE: &str = "56 digits as returned for a record of this stream";
/// 10^19, the greatest power of ten in 64 bits.
const TEN19: u128 = 10_000_000_000_000_000_000;
/// Characters of a number: `49`, then 54 digits.
const DIGITS: usize = 56;
const TIME_BITS: u64 = (1 << 48) - 1;

impl SequenceNumber {
    /// The number of the record at `position` of `shard`, which arrived at `time`.
    pub fn new(position: Position, shard: ShardId, time: Timestamp) -> Self {
        let time_ms = u64::try_from(time.millis()).unwrap_or(0) & TIME_BITS;
        Self { position, shard, time_ms }
    }

    /// The record's place in the journal.
    pub const fn position(self) -> Position {
        self.position
    }

    /// The shard that the number was given on.
    pub const fn shard(self) -> ShardId {
        self.shard
    }

    /// When the record arrived, by the wall clock of that moment.
    pub const fn arrival(self) -> Timestamp {
        Timestamp::from_millis(self.time_ms as i64)
    }

    /// The smallest number after this one on the same shard.
    pub const fn next(self) -> Self {
        Self { position: self.position.next(), ..self }
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // position · 2^112 + low in limbs of 64 bits, divided by 10^19 twice, limb by limb. Every record that is read
        // has one, so the divisions are counted: the topmost limb is below 2^48 and its quotient zero, and after the
        // first round the next one is below 2^49, and its quotient zero, too.
        let low = (u128::from(self.shard.number()) << 80) | (u128::from(self.time_ms) << 32);
        let high = (u128::from(self.position.get()) << 48) + (low >> 64);
        let (middle, rest) = (high / TEN19, high % TEN19);
        let bottom = (rest << 64) | u128::from(low as u64);
        let (quotient, last) = (bottom / TEN19, bottom % TEN19);
        let above = (middle << 64) | quotient;
        let (first, second) = (above / TEN19, above % TEN19);
        let mut text = [0; DIGITS];
        text[..2].copy_from_slice(b"49");
        for (place, part) in [(2..18, first), (18..37, second), (37..56, last)] {
            write_digits(&mut text[place], part as u64);
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

/// Fills the place with a number, with zeroes before it.
fn write_digits(place: &mut [u8], mut number: u64) {
    const PAIRS: &[u8; 200] = b"0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849\
                                5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";
    for pair in place.rchunks_mut(2) {
        let two = (number % 100) as usize * 2;
        number /= 100;
        // A place of odd length begins with one digit of its own.
        let length = pair.len();
        pair.copy_from_slice(&PAIRS[two + 2 - length..two + 2]);
    }
}

impl FromStr for SequenceNumber {
    type Err = InvalidId;

    fn from_str(v: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId::new("sequence number", v, RULE);
        if v.len() != 56 || !v.starts_with("49") || !v.bytes().all(|b| b.is_ascii_digit()) {
            return Err(invalid());
        }
        let mut limbs = [0u64; 3];
        for part in [&v[2..18], &v[18..37], &v[37..56]] {
            let mut carry = u128::from(part.parse::<u64>().map_err(|_| invalid())?);
            for limb in limbs.iter_mut().rev() {
                let current = u128::from(*limb) * TEN19 + carry;
                *limb = current as u64;
                carry = current >> 64;
            }
            if carry != 0 {
                return Err(invalid());
            }
        }
        let high = (u128::from(limbs[0]) << 64) | u128::from(limbs[1]);
        let low = ((high & ((1 << 48) - 1)) << 64) | u128::from(limbs[2]);
        let position = u64::try_from(high >> 48).map_err(|_| invalid())?;
        if low & 0xffff_ffff != 0 {
            return Err(invalid());
        }
        Ok(Self {
            position: Position(position),
            shard: ShardId::new((low >> 80) as u32),
            time_ms: (low >> 32) as u64 & TIME_BITS,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_back_as_written(position: u64, shard: u32, ms in 0i64..1 << 48) {
            let number = SequenceNumber::new(Position(position), ShardId::new(shard), Timestamp::from_millis(ms));
            let text = number.to_string();
            prop_assert_eq!(text.len(), 56);
            prop_assert_eq!(text.parse::<SequenceNumber>(), Ok(number));
        }

        #[test]
        fn text_orders_as_positions_do(a: u64, b: u64, shard: u32, ms in 0i64..1 << 48) {
            let number = |p, t| SequenceNumber::new(Position(p), ShardId::new(shard), Timestamp::from_millis(t));
            // The later position has the earlier time: time must not order.
            let (low, high) = (number(a.min(b), ms), number(a.max(b), 0));
            if a != b {
                prop_assert!(low.to_string() < high.to_string());
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9]{50,60}") {
            if let Ok(number) = text.parse::<SequenceNumber>() {
                prop_assert_eq!(number.to_string(), text);
            }
        }
    }
}
