//! The statistics that one pass over the data collects for a column.

use super::batch::Batch;
use super::categories::Categories;
use super::distinct::Distinct;
use super::kll::{SHRINKING_FACTOR, SKETCH_SIZE, Sketch};
use super::moments::Moments;
use super::statistics::{
    CategoricalDistribution, Category, Common, Distribution, FeatureStatistics, Kll, KllBucket,
    KllParameters, KllSketch, NumericalStatistics, StringDistribution, StringStatistics,
};
use super::types::{InferredType, TypeCounts};
use super::watch::Watch;
use super::{hash, number};

/// The statistics of one column so far.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    /// The baseline's type: a column that should be numeric keeps its numeric statistics even if
    /// some values are not numbers.
    pub(super) expected: Option<InferredType>,
    pub(super) types: TypeCounts,
    pub(super) moments: Moments,
    pub(super) sketch: Sketch,
    pub(super) distinct: Distinct,
    pub(super) categories: Categories,
    /// Whether numbers of a typed column were not counted as categories.
    pub(super) numbers_uncounted: bool,
    /// Statistics for the opt-in checks of this column.
    pub(super) watch: Option<Watch>,
}

impl Column {
    /// Adds the column's cells of a batch.
    pub(super) fn observe(&mut self, batch: &Batch, index: usize) {
        let mut missing = 0;
        self.texts(
            batch.rows(),
            batch.column(index).filter_map(|cell| {
                missing += u64::from(cell.is_none());
                cell
            }),
        );
        self.types.missing += missing;
    }

    /// Adds present texts, about `count` of them.
    pub(super) fn texts<'a>(&mut self, count: usize, texts: impl Iterator<Item = &'a [u8]>) {
        let mut numbers = Vec::with_capacity(count);
        let mut integral = 0;
        let counting = self.categories.is_open();
        for text in texts {
            if let Some(watch) = &mut self.watch {
                watch.observe(&String::from_utf8_lossy(text), 1);
            }
            if let Some(number) = number::parse(text) {
                numbers.push(number.value);
                integral += u64::from(number.integral);
                self.distinct.insert(number.key);
                if counting {
                    self.categories.add(text, hash::of_text(text), 1);
                }
            } else {
                let hash = hash::of_text(text);
                self.distinct.insert(hash);
                self.types.word(text, 1);
                if counting {
                    self.categories.add(text, hash, 1);
                }
            }
        }
        self.types.integral += integral;
        self.types.fractional += numbers.len() as u64 - integral;
        self.moments.extend(&numbers);
        self.sketch.extend(&numbers);
    }

    /// Adds integers of a typed column.
    pub(super) fn integers(&mut self, values: impl Iterator<Item = i64>) {
        let mut numbers = Vec::new();
        let counting = self.counts_numbers();
        self.numbers_uncounted |= !counting;
        for value in values {
            #[expect(clippy::cast_precision_loss, reason = "Deequ's numbers are doubles")]
            numbers.push(value as f64);
            self.distinct.insert(number::key_of_integer(value));
            if counting {
                self.category(&value.to_string(), 1);
            }
            if let Some(watch) = &mut self.watch {
                watch.observe(&value.to_string(), 1);
            }
        }
        self.types.integral += numbers.len() as u64;
        self.moments.extend(&numbers);
        self.sketch.extend(&numbers);
    }

    /// Adds finite numbers of a typed column.
    pub(super) fn floats(&mut self, numbers: &[f64]) {
        let counting = self.counts_numbers();
        self.numbers_uncounted |= !counting && !numbers.is_empty();
        for value in numbers {
            self.distinct.insert(number::key_of(*value));
            if counting {
                self.category(&format!("{value:?}"), 1);
            }
            if let Some(watch) = &mut self.watch {
                watch.observe(&format!("{value:?}"), 1);
            }
        }
        self.types.fractional += numbers.len() as u64;
        self.moments.extend(numbers);
        self.sketch.extend(numbers);
    }

    /// Adds a date or time of a typed column. `key` identifies it; `text` formats it.
    pub(super) fn instant(&mut self, key: u64, count: u64, text: impl FnOnce() -> String) {
        self.types.string += count;
        self.distinct.insert(key);
        if self.categories.is_open() || self.watch.is_some() {
            let text = text();
            self.category(&text, count);
            if let Some(watch) = &mut self.watch {
                watch.observe(&text, count);
            }
        }
    }

    /// Adds the same cell `count` times; `None` is missing.
    pub(super) fn repeat(&mut self, cell: Option<&[u8]>, count: u64) {
        let Some(text) = cell else {
            self.types.missing += count;
            return;
        };
        if let Some(watch) = &mut self.watch {
            watch.observe(&String::from_utf8_lossy(text), count);
        }
        let hash = hash::of_text(text);
        if let Some(number) = number::parse(text) {
            if number.integral {
                self.types.integral += count;
            } else {
                self.types.fractional += count;
            }
            self.moments.repeat(number.value, count);
            self.sketch.repeat(number.value, count);
            self.distinct.insert(number.key);
        } else {
            self.types.word(text, count);
            self.distinct.insert(hash);
        }
        if self.categories.is_open() {
            self.categories.add(text, hash, count);
        }
    }

    /// Returns whether the values of a numeric column are counted as categories: only if the
    /// baseline counts them as categories.
    fn counts_numbers(&self) -> bool {
        self.categories.known().next().is_some()
    }

    fn category(&mut self, text: &str, count: u64) {
        let hash = hash::of_text(text.as_bytes());
        self.categories.add(text.as_bytes(), hash, count);
    }

    /// Merges another part of the same column.
    ///
    /// # Errors
    /// The two were created for different opt-in checks.
    pub(super) fn merge(&mut self, other: &Self) -> Result<(), String> {
        match (&mut self.watch, &other.watch) {
            (Some(mine), Some(theirs)) => mine.merge(theirs)?,
            (None, None) => {}
            _ => return Err(super::watch::DIFFERENT.to_owned()),
        }
        self.numbers_uncounted |= other.numbers_uncounted;
        self.types.merge(&other.types);
        self.moments.merge(&other.moments);
        self.sketch.merge(&other.sketch);
        self.distinct.merge(&other.distinct);
        self.categories.merge(&other.categories)?;
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "counts above 2^53 do not occur")]
    pub(super) fn statistics(&self) -> FeatureStatistics {
        let inferred = self.types.inferred();
        let common = Common {
            num_present: self.types.present(),
            num_missing: self.types.missing,
        };
        let completeness = common.completeness();
        let wanted = inferred.is_numeric() || self.expected.is_some_and(InferredType::is_numeric);
        let numerical = (wanted && self.moments.count > 0).then(|| NumericalStatistics {
            common,
            mean: self.moments.mean(),
            sum: self.moments.sum(),
            std_dev: self.moments.std_dev(),
            min: self.moments.min,
            max: self.moments.max,
            approximate_num_distinct_values: Some(self.distinct.count()),
            completeness: Some(completeness),
            distribution: Some(Distribution {
                kll: Some(self.kll()),
            }),
        });
        // A column of categories remains one even if all remaining values look like numbers.
        let text = !inferred.is_numeric() || self.expected == Some(InferredType::String);
        let string = text.then(|| StringStatistics {
            common,
            distinct_count: self.distinct.count() as f64,
            completeness: Some(completeness),
            distribution: self
                .categories
                .counts()
                .filter(|counts| !counts.is_empty() && !self.numbers_uncounted)
                .map(|counts| StringDistribution {
                    categorical: Some(CategoricalDistribution {
                        buckets: counts
                            .into_iter()
                            .map(|(value, count)| Category {
                                value: value.to_owned(),
                                count,
                            })
                            .collect(),
                    }),
                }),
        });
        FeatureStatistics {
            name: self.name.clone(),
            inferred_type: inferred,
            numerical_statistics: numerical,
            string_statistics: string,
        }
    }

    fn kll(&self) -> Kll {
        Kll {
            buckets: self
                .sketch
                .buckets(self.moments.min, self.moments.max)
                .into_iter()
                .map(|(lower_bound, upper_bound, count)| KllBucket {
                    lower_bound,
                    upper_bound,
                    count,
                })
                .collect(),
            sketch: Some(KllSketch {
                parameters: KllParameters {
                    c: SHRINKING_FACTOR,
                    k: f64::from(SKETCH_SIZE),
                },
                data: self.sketch.levels().collect(),
            }),
        }
    }
}
