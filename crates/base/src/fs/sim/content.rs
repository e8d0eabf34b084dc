//! One file's bytes: what reads see, what the disk holds for sure, and the changes between the two.

use std::collections::BTreeMap;

use crate::{Rng, SeededRng};

/// The unit in which a disk writes whole or not at all.
pub(super) const SECTOR: usize = 512;

/// A change since the last sync.
#[derive(Debug, Clone)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    SetLen { len: usize },
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write { offset, data } => {
                let end = offset + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(data);
            }
            Self::SetLen { len } => bytes.resize(*len, 0),
        }
    }
}

/// A file's content.
#[derive(Debug, Default)]
pub(super) struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

impl Content {
    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }

    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.seen.len());
        let n = buf.len().min(self.seen.len() - start);
        buf[..n].copy_from_slice(&self.seen[start..start + n]);
        n
    }

    pub(super) fn write(&mut self, data: &[u8], offset: usize) {
        self.change(Change::Write { offset, data: data.to_vec() });
    }

    pub(super) fn set_len(&mut self, len: usize) {
        self.change(Change::SetLen { len });
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.pending.push(change);
    }

    /// Makes every change durable.
    pub(super) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// A sync that fails: part of the changes reaches the disk, the others are forgotten, reads notice nothing.
    pub(super) fn fail_sync(&mut self, rng: &SeededRng) {
        self.durable = self.survivors(rng);
        self.pending.clear();
    }

    /// Power is cut: reads see from now on what reached the disk.
    pub(super) fn cut(&mut self, rng: &SeededRng) {
        if !self.pending.is_empty() {
            self.fail_sync(rng);
        }
        self.seen.clone_from(&self.durable);
    }

    fn survivors(&self, rng: &SeededRng) -> Vec<u8> {
        match rng.below(6) {
            0 => self.durable.clone(),
            1 => {
                let mut bytes = self.durable.clone();
                self.pending.iter().for_each(|change| change.apply(&mut bytes));
                bytes
            }
            2 | 3 => self.first_changes(rng),
            _ => self.scattered(rng),
        }
    }

    /// The first changes in order, the last of them torn between two sectors.
    fn first_changes(&self, rng: &SeededRng) -> Vec<u8> {
        let count = rng.below(self.pending.len() as u64 + 1) as usize;
        let mut bytes = self.durable.clone();
        self.pending[..count].iter().for_each(|change| change.apply(&mut bytes));
        if let Some(Change::Write { offset, data }) = self.pending.get(count) {
            let sectors = (offset + data.len()).div_ceil(SECTOR) - offset / SECTOR;
            let end = (offset / SECTOR + rng.below(sectors as u64 + 1) as usize) * SECTOR;
            let kept = end.saturating_sub(*offset).min(data.len());
            Change::Write { offset: *offset, data: data[..kept].to_vec() }.apply(&mut bytes);
        }
        bytes
    }

    /// Every sector as it was at a moment of its own, and so the length.
    fn scattered(&self, rng: &SeededRng) -> Vec<u8> {
        let mut moments = BTreeMap::new();
        let mut lens = vec![self.durable.len()];
        let mut bytes = self.durable.clone();
        for (at, change) in self.pending.iter().enumerate() {
            let before = lens.last().copied().unwrap_or_default();
            let (start, data, len) = match change {
                Change::Write { offset, data } => (*offset, Some(data), before.max(offset + data.len())),
                Change::SetLen { len } => (*len, None, *len),
            };
            // A cut leaves zeroes behind it, up to where the file ended before.
            let end = data.map_or(before, |data| start + data.len());
            lens.push(len);
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            let mut from = start;
            while from < end {
                let sector = from / SECTOR;
                let to = end.min((sector + 1) * SECTOR);
                let moment = *moments.entry(sector).or_insert_with(|| self.moment(rng));
                if at < moment {
                    match data {
                        Some(data) => bytes[from..to].copy_from_slice(&data[from - start..to - start]),
                        None => bytes[from..to].fill(0),
                    }
                }
                from = to;
            }
        }
        bytes.resize(self.length(&lens, rng), 0);
        bytes
    }

    /// The length at some moment. A file system sets a length at once, but a write that appends grows the file as its
    /// pages get to the disk, so its moment may be in the middle.
    fn length(&self, lens: &[usize], rng: &SeededRng) -> usize {
        let moment = rng.below(lens.len() as u64) as usize;
        match self.pending.get(moment) {
            Some(Change::Write { .. }) if rng.below(2) == 0 => {
                lens[moment] + rng.below((lens[moment + 1] - lens[moment]) as u64 + 1) as usize
            }
            _ => lens[moment],
        }
    }

    fn moment(&self, rng: &SeededRng) -> usize {
        match rng.below(3) {
            0 => 0,
            1 => self.pending.len(),
            _ => rng.below(self.pending.len() as u64 + 1) as usize,
        }
    }
}
