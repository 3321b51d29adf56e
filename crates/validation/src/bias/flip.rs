//! The flip test: how often the prediction of a row of the facet's group differs from what similar
//! rows outside of the group get.
//!
//! Clarify's approximation of Black et al., "`FlipTest`" (2020): for each row of the group, the
//! majority of the predictions of its nearest rows outside of the group, by Euclidean distance over
//! all columns except the facet, the label and the predictions; 5 neighbors, or 1 if fewer than 10
//! rows are outside. FT = (rows predicted positive whose neighbors are negative − rows predicted
//! negative whose neighbors are positive) / rows of the group. Of rows at equal distance, the first
//! in the data counts (unverified against AWS [flip-ties]: scikit-learn's order depends on its tree).
//!
//! The test needs the rows themselves. At most [`MAX_ROWS`] are kept, fewer in wide tables: a
//! uniform sample of a fixed seed (Vitter's algorithm R). With more data, the metric is that of the
//! sample, unlike AWS's, whose run time is not bounded.

use std::collections::HashMap;

use rayon::prelude::*;

use super::metrics::Predicted;
use super::selection::numeric;
use crate::random::Random;

/// Maximum number of rows for the flip test: at most 25 million distances per group.
pub const MAX_ROWS: usize = 10_000;

/// Maximum number of values in the sampled rows: 64 MiB.
const MAX_VALUES: usize = 8 * 1024 * 1024;

/// Maximum number of features: rows of JSON with more different keys are not a table.
const MAX_FEATURES: usize = 16 * 1024;

/// Neighbors of a row.
const NEIGHBORS: usize = 5;
/// With fewer rows outside of the group than this, one neighbor decides.
const FEW: usize = 10;

/// Seed of the sample ("flip test" in ASCII).
const SEED: u64 = 0x666c_6970_7465_7374;

/// A feature of the rows.
#[derive(Debug, Default)]
struct Feature {
    name: String,
    textual: bool,
}

/// A sampled row.
#[derive(Debug)]
struct Row {
    /// The class of each facet; `None` if its value is missing.
    facets: Box<[Option<u32>]>,
    /// The class of the prediction.
    predicted: u32,
    /// The features; NaN is missing. Features that occurred later are missing.
    values: Box<[f64]>,
}

/// A uniform sample of rows.
#[derive(Debug)]
pub(super) struct Sample {
    features: Vec<Feature>,
    places: HashMap<String, usize>,
    rows: Vec<Row>,
    seen: u64,
    random: Random,
}

/// Counts of flipped rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flips {
    pub(super) positive: u64,
    pub(super) negative: u64,
    pub(super) rows: u64,
}

impl Flips {
    /// The metric.
    #[expect(clippy::cast_precision_loss, reason = "at most MAX_ROWS")]
    pub(super) fn value(self) -> f64 {
        (self.positive as f64 - self.negative as f64) / self.rows as f64
    }

    /// The standard error of the metric: each row flips up, down or not at all.
    #[expect(clippy::cast_precision_loss, reason = "at most MAX_ROWS")]
    pub(super) fn standard_error(self) -> f64 {
        let rows = self.rows as f64;
        let flipped = (self.positive + self.negative) as f64 / rows;
        ((flipped - self.value().powi(2)) / rows).max(0.0).sqrt()
    }
}

impl Sample {
    pub(super) fn new() -> Self {
        Self {
            features: Vec::new(),
            places: HashMap::new(),
            rows: Vec::new(),
            seen: 0,
            random: Random::new(SEED, 0),
        }
    }

    /// Returns the index of a feature, a new one if the name is new.
    ///
    /// # Errors
    /// There are too many features.
    pub(super) fn feature(&mut self, name: &str) -> Result<usize, String> {
        if let Some(place) = self.places.get(name) {
            return Ok(*place);
        }
        if self.features.len() == MAX_FEATURES {
            return Err(format!(
                "more than {MAX_FEATURES} columns, too many for the flip test (FT)"
            ));
        }
        let place = self.features.len();
        self.places.insert(name.to_owned(), place);
        self.features.push(Feature {
            name: name.to_owned(),
            textual: false,
        });
        Ok(place)
    }

    /// Adds a row with a prediction to the sample, or not. `values` are pairs of a feature's index
    /// and its text.
    pub(super) fn add<'a>(
        &mut self,
        facets: &[Option<u32>],
        predicted: u32,
        values: impl Iterator<Item = (usize, Option<&'a str>)>,
    ) {
        let width = self.features.len().max(1);
        let limit = MAX_ROWS.min((MAX_VALUES / width).max(1));
        self.rows.truncate(limit);
        self.seen += 1;
        let place = if self.rows.len() < limit && self.seen <= limit as u64 {
            self.rows.len()
        } else {
            let place = self.random.below(self.seen);
            match usize::try_from(place) {
                Ok(place) if place < self.rows.len() => place,
                _ => return,
            }
        };
        let mut numbers = vec![f64::NAN; width].into_boxed_slice();
        for (index, text) in values {
            let Some(text) = text else { continue };
            numbers[index] = match (numeric(text), text) {
                (Some((value, _)), _) => value,
                (None, "true" | "True") => 1.0,
                (None, "false" | "False") => 0.0,
                _ => {
                    self.features[index].textual = true;
                    continue;
                }
            };
        }
        let row = Row {
            facets: facets.into(),
            predicted,
            values: numbers,
        };
        if place == self.rows.len() {
            self.rows.push(row);
        } else {
            self.rows[place] = row;
        }
    }

    /// Runs the test for one group of a facet. `inside` and `positive` say which classes of the
    /// facet and of the prediction are selected; `column` is the facet's own.
    ///
    /// # Errors
    /// A feature is text or has missing values, or a group is empty.
    pub(super) fn flips(
        &self,
        facet: usize,
        column: &str,
        inside: impl Fn(u32) -> bool,
        positive: impl Fn(u32) -> Predicted,
    ) -> Result<Flips, String> {
        let used: Vec<usize> = (0..self.features.len())
            .filter(|index| self.features[*index].name != column)
            .collect();
        if let Some(feature) = used.iter().map(|i| &self.features[*i]).find(|f| f.textual) {
            return Err(format!(
                "the flip test supports only numbers, and `{}` has text",
                feature.name
            ));
        }
        let (mut group, mut others) = (Vec::new(), Vec::new());
        for row in &self.rows {
            let Some(class) = row.facets[facet] else {
                continue;
            };
            let side = if inside(class) {
                &mut group
            } else {
                &mut others
            };
            let mut point = Vec::with_capacity(used.len());
            for index in &used {
                let value = row.values.get(*index).copied().unwrap_or(f64::NAN);
                if value.is_nan() {
                    return Err(format!(
                        "the flip test does not support missing values, and `{}` has some",
                        self.features[*index].name
                    ));
                }
                point.push(value);
            }
            side.push((point, positive(row.predicted) == Predicted::Positive));
        }
        if group.is_empty() || others.is_empty() {
            return Err("the flip test needs rows inside and outside of the group".to_owned());
        }
        let neighbors = if others.len() < FEW { 1 } else { NEIGHBORS };
        let (up, down) = group
            .par_iter()
            .map(
                |(point, predicted)| match (*predicted, majority(point, &others, neighbors)) {
                    (true, false) => (1, 0),
                    (false, true) => (0, 1),
                    _ => (0, 0),
                },
            )
            .reduce(|| (0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        Ok(Flips {
            positive: up,
            negative: down,
            rows: group.len() as u64,
        })
    }
}

/// The prediction of most of the nearest points.
fn majority(point: &[f64], others: &[(Vec<f64>, bool)], neighbors: usize) -> bool {
    // Ascending by distance; at equal distance, the earlier point.
    let mut nearest: [(f64, bool); NEIGHBORS] = [(f64::INFINITY, false); NEIGHBORS];
    for (other, predicted) in others {
        let distance: f64 = point
            .iter()
            .zip(other)
            .map(|(a, b)| (a - b) * (a - b))
            .sum();
        if distance < nearest[neighbors - 1].0 {
            let at = nearest[..neighbors].partition_point(|(known, _)| *known <= distance);
            nearest[at..neighbors].rotate_right(1);
            nearest[at] = (distance, *predicted);
        }
    }
    let positive = nearest[..neighbors]
        .iter()
        .filter(|(_, positive)| *positive);
    positive.count() * 2 > neighbors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positive(class: u32) -> Predicted {
        if class == 1 {
            Predicted::Positive
        } else {
            Predicted::Negative
        }
    }

    /// Rows of (group, prediction, feature).
    fn flips(rows: &[(u32, u32, &str)]) -> Result<Flips, String> {
        let mut sample = Sample::new();
        sample.feature("facet").unwrap();
        sample.feature("x").unwrap();
        for (facet, predicted, x) in rows {
            let facet_text = facet.to_string();
            let values = [
                (0, Some(facet_text.as_str())),
                (1, (!x.is_empty()).then_some(*x)),
            ];
            sample.add(&[Some(*facet)], *predicted, values.into_iter());
        }
        sample.flips(0, "facet", |class| class == 1, positive)
    }

    #[test]
    fn a_row_flips_if_its_neighbors_are_predicted_differently() {
        let few = [
            (0, 1, "0"),
            (0, 0, "10"),
            (1, 0, "1"),
            (1, 0, "9"),
            (1, 1, "8"),
            (1, 1, "2"),
        ];
        let found = flips(&few).unwrap();
        assert_eq!(
            found,
            Flips {
                positive: 1,
                negative: 1,
                rows: 4
            }
        );
        let mut many: Vec<_> = (0..10)
            .map(|i| {
                (
                    0,
                    u32::from(i < 4),
                    ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"][i],
                )
            })
            .collect();
        many.extend([(1, 0, "1.5"), (1, 1, "9.5")]);
        // The five neighbors of 1.5 are 0 to 3 and 4: four of them positive.
        let found = flips(&many).unwrap();
        assert_eq!(
            found,
            Flips {
                positive: 1,
                negative: 1,
                rows: 2
            }
        );
        many.extend([(1, 0, "0"), (1, 1, "0")]);
        let found = flips(&many).unwrap();
        assert_eq!(
            found,
            Flips {
                positive: 1,
                negative: 2,
                rows: 4
            }
        );
        assert!((found.value() + 0.25).abs() < 1e-15);
        // Flips of +1, −1, −1, 0: variance 0.6875, over 4 rows.
        assert!((found.standard_error() - (0.6875_f64 / 4.0).sqrt()).abs() < 1e-15);
    }

    #[test]
    fn text_missing_values_and_empty_groups_are_errors() {
        for (rows, message) in [
            (vec![(0, 1, "a"), (1, 1, "1")], "`x` has text"),
            (vec![(0, 1, ""), (1, 1, "1")], "`x` has some"),
            (vec![(0, 1, "1")], "needs rows inside"),
        ] {
            assert!(flips(&rows).unwrap_err().contains(message), "{message}");
        }
    }

    #[test]
    fn features_have_a_maximum() {
        let mut sample = Sample::new();
        for i in 0..MAX_FEATURES {
            assert_eq!(sample.feature(&i.to_string()), Ok(i));
        }
        assert_eq!(sample.feature("7"), Ok(7));
        assert!(sample.feature("x").unwrap_err().contains("more than 16384"));
    }

    #[test]
    fn large_data_is_sampled_uniformly() {
        let mut sample = Sample::new();
        sample.feature("x").unwrap();
        for i in 0..4 * MAX_ROWS {
            let text = i.to_string();
            sample.add(&[Some(0)], 0, [(0, Some(text.as_str()))].into_iter());
        }
        assert_eq!(sample.rows.len(), MAX_ROWS);
        let early = sample
            .rows
            .iter()
            .filter(|row| row.values[0] < 20_000.0)
            .count();
        assert!((4_800..5_200).contains(&early), "{early}");
    }
}
