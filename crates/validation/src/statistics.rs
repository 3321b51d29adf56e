//! `statistics.json` as AWS's analyzer writes it.
//!
//! Parsed leniently: members that older analyzers omit are optional, counts may be floats and
//! numbers may be text (`"NaN"`). Unknown members are ignored.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::kll::Ranks;
use super::lenient;
use super::rule_set::RuleSet;
use super::types::InferredType;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// Always 0.0.
    #[serde(default)]
    pub version: f64,
    /// The data set as a whole.
    pub dataset: Dataset,
    /// One entry per column, in the order of the data.
    pub features: Vec<FeatureStatistics>,
}

/// The data set as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dataset {
    /// Number of rows.
    #[serde(deserialize_with = "lenient::count")]
    pub item_count: u64,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureStatistics {
    /// The column.
    pub name: String,
    /// Its type by Deequ's rules.
    pub inferred_type: InferredType,
    /// Statistics of a numeric column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numerical_statistics: Option<NumericalStatistics>,
    /// Statistics of any other column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub string_statistics: Option<StringStatistics>,
}

impl Statistics {
    /// The columns by name.
    pub(super) fn by_name(&self) -> HashMap<&str, &FeatureStatistics> {
        self.features
            .iter()
            .map(|feature| (feature.name.as_str(), feature))
            .collect()
    }
}

impl FeatureStatistics {
    /// Returns the numbers of present and missing values.
    pub fn common(&self) -> Option<&Common> {
        self.numerical_statistics
            .as_ref()
            .map(|numbers| &numbers.common)
            .or_else(|| self.string_statistics.as_ref().map(|text| &text.common))
    }

    /// Returns the categories, without Deequ's `NullValue` for missing values; empty if the column
    /// has too many.
    pub fn categories(&self) -> Vec<&Category> {
        let Some(text) = &self.string_statistics else {
            return Vec::new();
        };
        let buckets = || {
            text.distribution
                .iter()
                .filter_map(|distribution| distribution.categorical.as_ref())
                .flat_map(|categorical| &categorical.buckets)
        };
        // `NullValue` is an ordinary value if the buckets contain only present values.
        let all: u64 = buckets().map(|category| category.count).sum();
        let for_missing = text.common.num_missing > 0 && all > text.common.num_present;
        buckets()
            .filter(|category| !for_missing || category.value != "NullValue")
            .collect()
    }

    /// The distribution of a numeric column, if the file contains its sketch.
    pub fn ranks(&self) -> Option<Ranks> {
        self.ranks_by(RuleSet::Mlops)
    }

    /// The distribution to measure drift from: AWS's analyzer uses Deequ's rank map.
    pub(super) fn ranks_by(&self, rules: RuleSet) -> Option<Ranks> {
        let sketch = self.kll()?.sketch.as_ref()?;
        let levels = sketch.data.iter().cloned();
        let ranks = match rules {
            RuleSet::Aws => Ranks::of_distinct(levels),
            RuleSet::Mlops => Ranks::of(levels),
        };
        (ranks.total() > 0.0).then_some(ranks)
    }

    /// The approximate number of distinct values, if the file contains it.
    #[expect(clippy::cast_precision_loss, reason = "counts above 2^53 do not occur")]
    pub fn distinct(&self) -> Option<f64> {
        match (&self.string_statistics, &self.numerical_statistics) {
            (Some(text), _) => Some(text.distinct_count),
            (None, Some(numbers)) => Some(numbers.approximate_num_distinct_values? as f64),
            (None, None) => None,
        }
    }

    /// Returns whether the numeric distribution is approximate, because its sketch was compacted.
    pub fn is_compacted(&self) -> bool {
        self.kll()
            .and_then(|kll| kll.sketch.as_ref())
            .is_some_and(|sketch| sketch.data.len() > 1)
    }

    fn kll(&self) -> Option<&Kll> {
        self.numerical_statistics
            .as_ref()?
            .distribution
            .as_ref()?
            .kll
            .as_ref()
    }
}

/// Numbers of present and missing values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Common {
    /// Number of present values.
    #[serde(deserialize_with = "lenient::count")]
    pub num_present: u64,
    /// Number of missing values.
    #[serde(deserialize_with = "lenient::count")]
    pub num_missing: u64,
}

impl Common {
    /// The share of rows that have a value, 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "counts above 2^53 do not occur")]
    pub fn completeness(&self) -> f64 {
        let all = self.num_present + self.num_missing;
        if all == 0 {
            0.0
        } else {
            self.num_present as f64 / all as f64
        }
    }
}

/// Statistics of a numeric column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NumericalStatistics {
    /// Numbers of present and missing values.
    pub common: Common,
    /// The mean.
    #[serde(deserialize_with = "lenient::number")]
    pub mean: f64,
    /// The sum.
    #[serde(deserialize_with = "lenient::number")]
    pub sum: f64,
    /// The standard deviation of the population.
    #[serde(deserialize_with = "lenient::number")]
    pub std_dev: f64,
    /// The minimum.
    #[serde(deserialize_with = "lenient::number")]
    pub min: f64,
    /// The maximum.
    #[serde(deserialize_with = "lenient::number")]
    pub max: f64,
    /// Approximate number of distinct values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approximate_num_distinct_values: Option<u64>,
    /// The share of rows that have a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completeness: Option<f64>,
    /// The distribution of the values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<Distribution>,
}

/// The distribution of numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// Deequ's KLL sketch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kll: Option<Kll>,
}

/// Deequ's KLL sketch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kll {
    /// Ten ranges of equal width.
    pub buckets: Vec<KllBucket>,
    /// The sketch itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sketch: Option<KllSketch>,
}

/// The number of values in a range.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KllBucket {
    /// Its lower bound, inclusive.
    #[serde(deserialize_with = "lenient::number")]
    pub lower_bound: f64,
    /// Its upper bound, exclusive except in the last bucket.
    #[serde(deserialize_with = "lenient::number")]
    pub upper_bound: f64,
    /// Number of values in it, by the sketch.
    pub count: f64,
}

/// The sketch's items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KllSketch {
    /// The sketch's parameters.
    pub parameters: KllParameters,
    /// Items per level; an item of level i represents 2^i values.
    pub data: Vec<Vec<f64>>,
}

/// The parameters of a sketch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KllParameters {
    /// The shrinking factor.
    pub c: f64,
    /// The sketch size.
    pub k: f64,
}

/// Statistics of a column that is not numeric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StringStatistics {
    /// Numbers of present and missing values.
    pub common: Common,
    /// Approximate number of distinct values.
    #[serde(deserialize_with = "lenient::number")]
    pub distinct_count: f64,
    /// The share of rows that have a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completeness: Option<f64>,
    /// The frequency of each category, if there are few.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<StringDistribution>,
}

/// The distribution of categories.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StringDistribution {
    /// The frequency of each category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub categorical: Option<CategoricalDistribution>,
}

/// The frequency of each category.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CategoricalDistribution {
    /// One entry per category.
    pub buckets: Vec<Category>,
}

/// The frequency of one category.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Category {
    /// The category.
    pub value: String,
    /// Number of occurrences.
    #[serde(deserialize_with = "lenient::count")]
    pub count: u64,
}
