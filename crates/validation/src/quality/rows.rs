//! Joined rows as columns.

use super::sample;

/// A block of rows. Predictions and labels are numbers, or codes of classes; a missing value is not
/// a number.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) prediction: Vec<f64>,
    pub(super) probability: Vec<f64>,
    pub(super) label: Vec<f64>,
    /// The samples of each row.
    pub(super) mask: Vec<u8>,
}

impl Rows {
    /// Adds the samples of the rows after the last mask: those of one event.
    pub(super) fn end_event(&mut self, id: u64) {
        let count = self.label.len() - self.mask.len();
        let masks = (0..count as u64).map(|row| sample::mask(sample::key(id, row)));
        self.mask.extend(masks);
    }

    /// Drops rows from `rows` on.
    pub(super) fn truncate(&mut self, rows: usize) {
        self.prediction.truncate(rows);
        self.probability.truncate(rows);
        self.label.truncate(rows);
        self.mask.truncate(rows);
    }
}
