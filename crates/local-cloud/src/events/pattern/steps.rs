//! How much work it may be to match an event.

use std::cell::Cell;

/// Maximum number of steps for one pattern: about 20 ms. An event of 256 KB with 10,000 values takes about 20,000
/// steps for each alternative with fields in it. Unverified against AWS [events-steps]: it has no such limit.
const OF_PATTERN: usize = 2_000_000;

/// Maximum number of steps for one event and all rules.
const OF_EVENT: usize = 10_000_000;

/// Bytes of a text that are compared in one step.
const BYTES: usize = 256;

/// An event and a pattern are too large to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooManySteps;

/// The steps that are left. A step is a value of the event that is compared.
#[derive(Debug)]
pub(crate) struct Steps(Cell<usize>);

impl Steps {
    /// For one pattern.
    pub(crate) fn of_pattern() -> Self {
        Self(Cell::new(OF_PATTERN))
    }

    /// For one event and all rules.
    pub(crate) fn of_event() -> Self {
        Self(Cell::new(OF_EVENT))
    }

    /// Does work for one pattern, with a part of these steps.
    pub(crate) fn part<R>(&self, work: impl FnOnce(&Self) -> R) -> R {
        let part = Self(Cell::new(self.0.get().min(OF_PATTERN)));
        let before = part.0.get();
        let result = work(&part);
        self.0.set(self.0.get() - (before - part.0.get()));
        result
    }

    #[cfg(test)]
    pub(super) fn left(&self) -> usize {
        self.0.get()
    }

    /// Takes steps.
    pub(super) fn take(&self, steps: usize) -> Result<(), TooManySteps> {
        let left = self.0.get().checked_sub(steps);
        self.0.set(left.unwrap_or(0));
        left.map(drop).ok_or(TooManySteps)
    }

    /// Takes the steps of comparing a text with this many matchers.
    pub(super) fn compare(&self, text: usize, matchers: usize) -> Result<(), TooManySteps> {
        self.take(matchers.saturating_mul(1 + text / BYTES))
    }
}
