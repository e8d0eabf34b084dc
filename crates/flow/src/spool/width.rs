//! How many attempts are made at once.
//!
//! Owns the decision: the least while nothing waits, more while something does and the other side takes more than it
//! refuses, so that what gathered while it was away is gone soon though there is more to come. Promises never fewer
//! than the least and never more than the most. Pure.

/// What one attempt tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// It succeeded.
    Taken,
    /// It failed.
    Failed,
    /// The other side asks for fewer.
    TooMany,
}

/// The width and its bounds.
#[derive(Debug)]
pub(super) struct Width {
    least: usize,
    most: usize,
    now: usize,
}

/// By how much the width changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Wider,
    Narrower(usize),
    Same,
}

impl Width {
    pub fn new(least: usize, most: usize) -> Self {
        Self { least, most: most.max(least), now: least }
    }

    /// Takes note of an attempt that ended, while others wait for their turn or none does. One step an attempt: so the
    /// width doubles with every round that succeeds, and stays where as many fail as succeed.
    pub fn note(&mut self, sign: Sign, others_wait: bool) -> Step {
        let before = self.now;
        self.now = match sign {
            Sign::Taken if others_wait => (before + 1).min(self.most),
            Sign::TooMany => self.least,
            Sign::Taken | Sign::Failed => before.saturating_sub(1).max(self.least),
        };
        match before.cmp(&self.now) {
            std::cmp::Ordering::Less => Step::Wider,
            std::cmp::Ordering::Equal => Step::Same,
            std::cmp::Ordering::Greater => Step::Narrower(before - self.now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_with_a_backlog_that_is_taken_and_never_leaves_its_bounds() {
        let mut width = Width::new(2, 5);
        let mut after = |sign, others_wait| {
            width.note(sign, others_wait);
            width.now
        };
        assert_eq!([(); 4].map(|()| after(Sign::Taken, true)), [3, 4, 5, 5]);
        assert_eq!([after(Sign::Failed, true), after(Sign::Taken, true)], [4, 5], "as many fail as succeed");
        assert_eq!([(); 4].map(|()| after(Sign::Taken, false)), [4, 3, 2, 2], "nothing waits");
        assert_eq!([after(Sign::Taken, true), after(Sign::TooMany, true)], [3, 2]);
        assert_eq!(after(Sign::Failed, true), 2);
    }

    #[test]
    fn a_step_says_what_changed() {
        let mut width = Width::new(1, 3);
        assert_eq!(width.note(Sign::Failed, true), Step::Same);
        assert_eq!([(); 3].map(|()| width.note(Sign::Taken, true)), [Step::Wider, Step::Wider, Step::Same]);
        assert_eq!(width.note(Sign::TooMany, true), Step::Narrower(2));
    }
}
