//! What is accumulated of joined rows.

use super::super::DataError;
use super::Problem;
use super::confusion::Confusion;
use super::curve::Scores;
use super::regression::Errors;
use super::rows::Rows;
use super::settings::Settings;
use super::values::{MAX_CLASSES, TOO_MANY};

/// What the metrics are computed from. Merging parts gives the same result as accumulating all their
/// rows, up to the rounding of a regression's sums.
#[derive(Debug)]
pub(super) struct Tally {
    /// Rows with a prediction and a label.
    pub(super) rows: u64,
    /// Rows without a prediction or without a label.
    pub(super) incomplete: u64,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Regression(Errors),
    Classes(Confusion, Scores),
}

impl Tally {
    pub(super) fn new(problem: Problem) -> Self {
        let kind = match problem {
            Problem::Regression => Kind::Regression(Errors::default()),
            _ => Kind::Classes(Confusion::default(), Scores::default()),
        };
        Self {
            rows: 0,
            incomplete: 0,
            kind,
        }
    }

    /// Accumulates a block of rows.
    pub(super) fn of(mut rows: Rows, settings: &Settings) -> Self {
        let mut tally = Self::new(settings.problem);
        let incomplete = |rows: &Rows, row: usize| {
            rows.label[row].is_nan()
                || rows.prediction.get(row).is_some_and(|value| value.is_nan())
                || rows
                    .probability
                    .get(row)
                    .is_some_and(|value| value.is_nan())
        };
        let all = rows.label.len();
        if (0..all).any(|row| incomplete(&rows, row)) {
            let mut kept = 0;
            for row in 0..all {
                if !incomplete(&rows, row) {
                    for column in [&mut rows.prediction, &mut rows.probability, &mut rows.label] {
                        if !column.is_empty() {
                            column[kept] = column[row];
                        }
                    }
                    rows.mask[kept] = rows.mask[row];
                    kept += 1;
                }
            }
            rows.truncate(kept);
        }
        tally.rows = rows.label.len() as u64;
        tally.incomplete = all as u64 - tally.rows;
        if settings.prediction.is_none() {
            let threshold = settings.threshold;
            let predicted = rows
                .probability
                .iter()
                .map(|value| f64::from(u8::from(*value > threshold)));
            rows.prediction = predicted.collect();
        }
        match &mut tally.kind {
            Kind::Regression(errors) => *errors = Errors::of(&rows),
            Kind::Classes(confusion, scores) => {
                confusion.add(&rows);
                scores.add(&rows);
            }
        }
        tally
    }

    /// Adds the rows of another part, which come after those of this one.
    ///
    /// # Errors
    /// More than [`MAX_CLASSES`] classes.
    pub(super) fn merge(&mut self, other: Self) -> Result<(), DataError> {
        self.rows += other.rows;
        self.incomplete += other.incomplete;
        match (&mut self.kind, other.kind) {
            (Kind::Regression(errors), Kind::Regression(more)) => errors.merge(&more),
            (Kind::Classes(confusion, scores), Kind::Classes(more, more_scores)) => {
                confusion.merge(more);
                scores.merge(more_scores);
                if confusion.classes().len() > MAX_CLASSES {
                    return Err(DataError::new("the data", TOO_MANY));
                }
            }
            // Both have the problem of the settings.
            _ => {}
        }
        Ok(())
    }
}
