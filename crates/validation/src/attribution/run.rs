//! Runs a model on the rows of coalitions: batches in parallel, results in order.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::super::DataError;
use super::coalitions::float;
use super::model::{Error, Limits, MAX_OUTPUTS, Model, Origin, Predictions, Rows, Subject};
use super::table::Table;

/// A model with the tables that its batches refer to.
pub(super) struct Runner<'a, M> {
    pub(super) model: &'a M,
    pub(super) sample: &'a Table,
    pub(super) background: &'a Table,
    /// Rows of a batch.
    pub(super) batch: usize,
    /// Batches in parallel.
    pub(super) parallel: usize,
}

/// The sums of a batch: of consecutive units, where a unit is a row of the sample or a coalition.
struct Sums {
    first: usize,
    sums: Vec<f64>,
}

impl<'a, M: Model> Runner<'a, M> {
    pub(super) fn new(
        model: &'a M,
        sample: &'a Table,
        background: &'a Table,
        limits: &Limits,
    ) -> Self {
        Self {
            model,
            sample,
            background,
            batch: super::model::batch_rows(limits, sample, background),
            parallel: limits.parallel,
        }
    }

    /// Predicts the background and returns the mean of each output.
    pub(super) fn expected(&self) -> Result<Vec<f64>, Error<M::Error>> {
        let rows = self.background.rows();
        let batches = self.batches(rows, |range| {
            let origins = range.map(Origin::Background).collect();
            self.predict(origins, None)
        })?;
        let outputs = batches.first().map_or(0, |batch| batch.outputs);
        let mut means = vec![0.0; outputs];
        for batch in batches {
            self.check_outputs(batch.outputs, Some(outputs))?;
            for row in batch.values.chunks_exact(outputs) {
                add(&mut means, row);
            }
        }
        for mean in &mut means {
            *mean /= float(rows);
        }
        Ok(means)
    }

    /// Predicts the rows of all subjects. Returns the outputs of each unit, unit by unit: for each
    /// subject those of the row itself, and the mean over the background for each coalition.
    pub(super) fn predict_all(
        &self,
        subjects: &[Subject],
        outputs: usize,
    ) -> Result<Vec<f64>, Error<M::Error>> {
        let background = self.background.rows();
        // The first row and the first unit of each subject.
        let mut starts = Vec::with_capacity(subjects.len());
        let (mut rows, mut units) = (0, 0);
        for subject in subjects {
            starts.push((rows, units));
            rows += 1 + subject.coalitions.len() * background;
            units += 1 + subject.coalitions.len();
        }
        let batches = self.batches(rows, |range| self.batch(subjects, &starts, range, outputs))?;
        let mut values = vec![0.0; units * outputs];
        // In the order of the rows, so that rounding does not depend on the threads.
        for Sums { first, sums } in batches {
            let start = first * outputs;
            add(&mut values[start..start + sums.len()], &sums);
        }
        for (subject, (_, first)) in subjects.iter().zip(&starts) {
            let coalitions = (first + 1) * outputs;
            let end = coalitions + subject.coalitions.len() * outputs;
            for value in &mut values[coalitions..end] {
                *value /= float(background);
            }
        }
        Ok(values)
    }

    /// Predicts a range of rows, counted over all subjects.
    fn batch(
        &self,
        subjects: &[Subject],
        starts: &[(usize, usize)],
        range: Range<usize>,
        outputs: usize,
    ) -> Result<Sums, Error<M::Error>> {
        let background = self.background.rows();
        let mut at = starts.partition_point(|(row, _)| *row <= range.start) - 1;
        let mut origins = Vec::with_capacity(range.len());
        let mut units = Vec::with_capacity(range.len());
        for row in range {
            if starts.get(at + 1).is_some_and(|(next, _)| *next <= row) {
                at += 1;
            }
            let (subject, (first_row, first_unit)) = (&subjects[at], starts[at]);
            match (row - first_row).checked_sub(1) {
                None => {
                    origins.push(Origin::Sample(subject));
                    units.push(first_unit);
                }
                Some(mixed) => {
                    let coalition = mixed / background;
                    origins.push(Origin::Mixed {
                        subject,
                        mask: subject.coalitions.mask(coalition),
                        background: mixed % background,
                    });
                    units.push(first_unit + 1 + coalition);
                }
            }
        }
        let predictions = self.predict(origins, Some(outputs))?;
        let first = units.first().copied().unwrap_or_default();
        let mut sums = Vec::new();
        for (row, unit) in predictions.values.chunks_exact(outputs).zip(units) {
            let start = (unit - first) * outputs;
            if sums.len() == start {
                sums.extend_from_slice(row);
            } else {
                add(&mut sums[start..], row);
            }
        }
        Ok(Sums { first, sums })
    }

    /// Calls the model and checks its result.
    fn predict(
        &self,
        origins: Vec<Origin<'_>>,
        outputs: Option<usize>,
    ) -> Result<Predictions, Error<M::Error>> {
        let rows = Rows {
            sample: self.sample,
            background: self.background,
            origins,
        };
        let predictions = self.model.predict(&rows).map_err(Error::Model)?;
        self.check_outputs(predictions.outputs, outputs)?;
        let (found, expected) = (predictions.values.len(), rows.len() * predictions.outputs);
        if found != expected {
            let message = format!(
                "the model returned {found} values for {} rows, not {expected}",
                rows.len()
            );
            return Err(DataError::new("predictions", message).into());
        }
        if let Some(value) = predictions.values.iter().find(|value| !value.is_finite()) {
            let message = format!("the model returned {value}, which cannot be explained");
            return Err(DataError::new("predictions", message).into());
        }
        Ok(predictions)
    }

    #[expect(
        clippy::unused_self,
        reason = "the model's error type is part of the result"
    )]
    fn check_outputs(&self, found: usize, expected: Option<usize>) -> Result<(), Error<M::Error>> {
        let message = match expected {
            Some(expected) if found != expected => {
                format!("the model returned {found} outputs per row, but {expected} before")
            }
            _ if !(1..=MAX_OUTPUTS).contains(&found) => {
                format!("the model has {found} outputs per row, not from 1 to {MAX_OUTPUTS}")
            }
            _ => return Ok(()),
        };
        Err(DataError::new("predictions", message).into())
    }

    /// Calls `run` for consecutive ranges of `total` rows, in parallel, and returns the results in
    /// order. Of several errors, that of the first range is returned; no batch starts after an error.
    fn batches<T: Send>(
        &self,
        total: usize,
        run: impl Fn(Range<usize>) -> Result<T, Error<M::Error>> + Sync,
    ) -> Result<Vec<T>, Error<M::Error>> {
        let count = total.div_ceil(self.batch);
        let next = AtomicUsize::new(0);
        let results = Mutex::new(Vec::new());
        let work = || loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return;
            }
            let start = index * self.batch;
            let result = run(start..(start + self.batch).min(total));
            if result.is_err() {
                next.store(count, Ordering::Relaxed);
            }
            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
            results.push((index, result));
        };
        thread::scope(|scope| {
            for _ in 1..self.parallel.min(count) {
                scope.spawn(work);
            }
            work();
        });
        let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        results.sort_by_key(|(index, _)| *index);
        results.into_iter().map(|(_, result)| result).collect()
    }
}

fn add(sums: &mut [f64], values: &[f64]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += value;
    }
}
