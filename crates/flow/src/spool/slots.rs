//! The turns of a spool's attempts.
//!
//! Owns the semaphore whose permits are attempts under way, and its changing size. Promises that first attempts and
//! repetitions take turns when both wait. Must not know what an attempt does.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::width::{Sign, Step, Width};

pub(super) struct Slots {
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    size: Mutex<Size>,
    /// Repetitions that are under way or wait for their turn. As many as there may be first attempts, so that each
    /// has its share of the turns.
    repetitions: Arc<Semaphore>,
}

struct Size {
    width: Width,
    /// Turns under way that are not given back.
    too_many: usize,
}

/// A turn; its end gives it back.
pub(super) struct Slot {
    slots: Arc<Slots>,
    permit: Option<OwnedSemaphorePermit>,
    sign: Option<Sign>,
}

impl Slots {
    pub fn new(least: usize, most: usize) -> Arc<Self> {
        let turns = Arc::new(Semaphore::new(least));
        let size = Size { width: Width::new(least, most), too_many: 0 };
        let repetitions = Arc::new(Semaphore::new(most.max(least)));
        Arc::new(Self { turns, waiting: AtomicUsize::new(0), size: Mutex::new(size), repetitions })
    }

    /// A place among the repetitions; none when the spool is gone.
    pub async fn repetition(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.repetitions).acquire_owned().await.ok()
    }

    /// Waits for a turn; none when the spool is gone.
    pub async fn turn(self: &Arc<Self>) -> Option<Slot> {
        let waiting = Waiting::new(&self.waiting);
        let permit = Arc::clone(&self.turns).acquire_owned().await.ok();
        drop(waiting);
        permit.map(|permit| Slot { slots: Arc::clone(self), permit: Some(permit), sign: None })
    }
}

/// Counts those who wait, also one who goes away.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Slot {
    /// What the attempt of this turn told.
    pub fn note(&mut self, sign: Sign) {
        self.sign = Some(sign);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else { return };
        let Slots { turns, waiting, size, .. } = &*self.slots;
        let mut size = size.lock().unwrap_or_else(PoisonError::into_inner);
        let others_wait = waiting.load(Ordering::Relaxed) > 0;
        match self.sign.map_or(Step::Same, |sign| size.width.note(sign, others_wait)) {
            Step::Same => {}
            Step::Wider if size.too_many > 0 => size.too_many -= 1,
            Step::Wider => turns.add_permits(1),
            Step::Narrower(by) => size.too_many += by,
        }
        if size.too_many > 0 {
            permit.forget();
            size.too_many -= 1;
            // Nobody waits for one that is free.
            size.too_many -= turns.forget_permits(size.too_many);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::future::FutureExt;

    use super::*;

    /// As many turns as there are.
    fn all(slots: &Arc<Slots>) -> Vec<Slot> {
        std::iter::from_fn(|| slots.turn().now_or_never().flatten()).collect()
    }

    #[test]
    fn turns_are_as_many_as_the_width_whatever_is_under_way_when_it_changes() {
        let slots = Slots::new(2, 4);
        let end = |mut slot: Slot, sign| {
            slot.note(sign);
            drop(slot);
        };
        for _ in 0..3 {
            let mut taken = all(&slots);
            assert_eq!(taken.len(), 2);
            for expected in [3, 4, 4] {
                let mut waiting = Box::pin(slots.turn());
                assert!(waiting.as_mut().now_or_never().is_none());
                end(taken.pop().unwrap(), Sign::Taken);
                taken.extend(waiting.now_or_never().flatten());
                taken.extend(all(&slots));
                assert_eq!(taken.len(), expected);
            }
            // Two too many, of which one ends with this.
            end(taken.pop().unwrap(), Sign::TooMany);
            assert_eq!((taken.len(), all(&slots).len()), (3, 0));
            drop(taken.pop());
            assert_eq!((taken.len(), all(&slots).len()), (2, 0));
        }
    }

    #[test]
    fn a_turn_that_tells_nothing_changes_nothing() {
        let slots = Slots::new(3, 9);
        drop(all(&slots));
        assert_eq!(all(&slots).len(), 3);
    }
}
