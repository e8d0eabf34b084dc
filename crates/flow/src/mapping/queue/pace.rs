//! How many batches of a queue are under way at once.
//!
//! Owns the decision: five at first, one more with every batch that succeeds while others wait, fewer when the function
//! fails, half when it cannot be called for want of a free environment ("Configuring scaling behavior for SQS event
//! source mappings", Lambda Developer Guide). So it finds the function's concurrency by itself and stays near it.
//! Promises never fewer than one and never more than the mapping's bound. Pure.

/// Batches under way at the beginning.
const FIRST: usize = 5;
/// Batches under way at most, unless the mapping says less.
const MOST: usize = 1_000;

/// What became of a batch, as far as the pace goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// The function took it.
    Taken,
    /// The function failed.
    Failed,
    /// The function could not be called now.
    Busy,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Pace {
    most: usize,
    now: usize,
}

impl Pace {
    /// With the mapping's bound, if it has one.
    pub fn new(bound: Option<u32>) -> Self {
        let most = bound.map_or(MOST, |bound| usize::try_from(bound).unwrap_or(MOST)).clamp(1, MOST);
        Self { most, now: FIRST.min(most) }
    }

    /// Batches that may be under way.
    pub fn allows(&self) -> usize {
        self.now
    }

    /// Takes note of a batch's end, or of its first wait, while messages wait or none do.
    pub fn note(&mut self, sign: Sign, some_wait: bool) {
        self.now = match sign {
            Sign::Taken if some_wait => (self.now + 1).min(self.most),
            Sign::Taken => self.now,
            Sign::Failed => self.now.saturating_sub(1).max(1),
            Sign::Busy => (self.now / 2).max(1),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_while_it_is_asked_for_and_shrinks_when_the_function_cannot() {
        let mut pace = Pace::new(None);
        let mut after = |sign, some_wait| {
            pace.note(sign, some_wait);
            pace.allows()
        };
        assert_eq!([after(Sign::Taken, false), after(Sign::Taken, true), after(Sign::Taken, true)], [5, 6, 7]);
        assert_eq!([after(Sign::Busy, true), after(Sign::Failed, true), after(Sign::Failed, true)], [3, 2, 1]);
        assert_eq!([after(Sign::Failed, true), after(Sign::Busy, true), after(Sign::Taken, true)], [1, 1, 2]);
    }

    #[test]
    fn it_stays_within_its_bound() {
        let mut pace = Pace::new(Some(6));
        (0..10).for_each(|_| pace.note(Sign::Taken, true));
        assert_eq!((pace.allows(), Pace::new(Some(2)).allows()), (6, 2));
        let mut pace = Pace::new(None);
        (0..2_000).for_each(|_| pace.note(Sign::Taken, true));
        assert_eq!(pace.allows(), 1_000);
    }
}
