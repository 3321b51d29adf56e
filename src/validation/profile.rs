//! One pass over the data: what each column holds.

use std::collections::HashMap;

use super::categories::Categories;
use super::distinct::Distinct;
use super::kll::Sketch;
use super::moments::Moments;
use super::statistics::{
    CategoricalDistribution, Category, Common, Dataset, Distribution, FeatureStatistics, Kll,
    KllBucket, KllParameters, KllSketch, NumericalStatistics, Statistics, StringDistribution,
    StringStatistics,
};
use super::types::{InferredType, Kind, TypeCounts, classify};
use super::watch::{self, Watch};
use super::{Baseline, DataError, NO_ROWS};

/// What is known about one column so far.
#[derive(Debug, Clone)]
struct Column {
    name: String,
    /// The baseline's type: a column that should be numeric keeps its numeric statistics even
    /// when some values are not.
    expected: Option<InferredType>,
    types: TypeCounts,
    moments: Moments,
    sketch: Sketch,
    distinct: Distinct,
    categories: Categories,
    /// What the opt-in checks of this column need.
    watch: Option<Watch>,
}

impl Column {
    fn observe(&mut self, text: &str) {
        if text.is_empty() {
            self.types.missing += 1;
            return;
        }
        match classify(text) {
            Kind::Integral(value) => {
                self.types.integral += 1;
                self.number(value);
            }
            Kind::Fractional(value) => {
                self.types.fractional += 1;
                self.number(value);
            }
            Kind::Boolean => self.types.boolean += 1,
            Kind::String => self.types.string += 1,
        }
        self.distinct.insert(text);
        self.categories.insert(text);
        if let Some(watch) = &mut self.watch {
            watch.observe(text);
        }
    }

    fn number(&mut self, value: f64) {
        self.moments.insert(value);
        self.sketch.insert(value);
    }

    fn merge(&mut self, other: &Self) -> Result<(), String> {
        match (&mut self.watch, &other.watch) {
            (Some(mine), Some(theirs)) => mine.merge(theirs)?,
            (None, None) => {}
            _ => return Err("the profiles were made for different constraints".to_owned()),
        }
        self.types.merge(&other.types);
        self.moments.merge(&other.moments);
        self.sketch.merge(&other.sketch);
        self.distinct.merge(&other.distinct);
        self.categories.merge(&other.categories);
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "counts above 2^53 do not occur")]
    fn statistics(&self) -> FeatureStatistics {
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
        let string = (!inferred.is_numeric()).then(|| StringStatistics {
            common,
            distinct_count: self.distinct.count() as f64,
            completeness: Some(completeness),
            distribution: self
                .categories
                .counts()
                .filter(|counts| !counts.is_empty())
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
                    c: super::kll::SHRINKING_FACTOR,
                    k: f64::from(super::kll::SKETCH_SIZE),
                },
                data: self.sketch.levels().map(<[f64]>::to_vec).collect(),
            }),
        }
    }
}

/// What one pass over data found out about every column.
#[derive(Debug, Clone)]
pub struct Profile {
    columns: Vec<Column>,
    rows: u64,
}

impl Profile {
    /// How many rows were read.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The share of a column's present values that are of a type; `None` when there are none.
    #[expect(clippy::cast_precision_loss, reason = "counts above 2^53 do not occur")]
    pub(super) fn type_match(&self, column: &str, expected: InferredType) -> Option<f64> {
        let types = &self.column(column)?.types;
        (types.present() > 0).then(|| types.matching(expected) as f64 / types.present() as f64)
    }

    /// How many values of a column are there.
    pub(super) fn present(&self, column: &str) -> Option<u64> {
        Some(self.column(column)?.types.present())
    }

    /// The categories that were counted, and whether those were all.
    pub(super) fn categories(&self, column: &str) -> Option<(Vec<(&str, u64)>, bool)> {
        let categories = &self.column(column)?.categories;
        Some((categories.counts()?, categories.is_complete()))
    }

    /// What was counted over a column for its opt-in checks.
    pub(super) fn watch(&self, column: &str) -> Option<&Watch> {
        self.column(column)?.watch.as_ref()
    }

    /// Takes in another part of the same data set.
    ///
    /// # Errors
    /// The columns differ.
    pub fn merge(&mut self, other: &Self) -> Result<(), String> {
        let names = |profile: &Self| -> Vec<String> {
            profile.columns.iter().map(|c| c.name.clone()).collect()
        };
        if names(self) != names(other) {
            return Err("the columns of the two profiles differ".to_owned());
        }
        self.rows += other.rows;
        for (mine, theirs) in self.columns.iter_mut().zip(&other.columns) {
            mine.merge(theirs)?;
        }
        Ok(())
    }

    /// The content of `statistics.json`.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            version: 0.0,
            dataset: Dataset {
                item_count: self.rows,
            },
            features: self.columns.iter().map(Column::statistics).collect(),
        }
    }

    fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// Builds a [`Profile`] row by row.
#[derive(Debug)]
pub struct Profiler {
    expected: Vec<(String, InferredType)>,
    categories: HashMap<String, Vec<String>>,
    watches: HashMap<String, Watch>,
    columns: Vec<Column>,
    rows: u64,
}

impl Profiler {
    /// A profiler that knows what the data will be compared with.
    ///
    /// # Errors
    /// The baseline asks for a check that is not understood.
    pub fn new(baseline: Option<&Baseline>) -> Result<Self, DataError> {
        let watches =
            watch::watches(baseline).map_err(|text| DataError::new("the constraints", text))?;
        let mut categories: HashMap<String, Vec<String>> = HashMap::new();
        let mut expected = Vec::new();
        if let Some(baseline) = baseline {
            for feature in &baseline.constraints.features {
                expected.push((feature.name.clone(), feature.inferred_type));
                if let Some(strings) = &feature.string_constraints {
                    let known = categories.entry(feature.name.clone()).or_default();
                    known.extend(strings.domains.iter().cloned());
                }
            }
            for feature in baseline.statistics.iter().flat_map(|s| &s.features) {
                let known = categories.entry(feature.name.clone()).or_default();
                known.extend(feature.categories().iter().map(|c| c.value.clone()));
            }
        }
        Ok(Self {
            expected,
            categories,
            watches,
            columns: Vec::new(),
            rows: 0,
        })
    }

    /// Names the columns; every source of a data set has the same.
    pub(super) fn columns(&mut self, names: Vec<String>) -> Result<(), String> {
        if self.columns.is_empty() {
            let mut seen = std::collections::HashSet::new();
            for name in &names {
                if name.is_empty() {
                    return Err("a column has no name".to_owned());
                }
                if !seen.insert(name.as_str()) {
                    return Err(format!("two columns are named `{name}`"));
                }
            }
            self.columns = names.into_iter().map(|name| self.column(name)).collect();
            return Ok(());
        }
        if self.columns.iter().map(|c| &c.name).eq(names.iter()) {
            Ok(())
        } else {
            Err("the columns differ from those of the first file".to_owned())
        }
    }

    /// Columns without a header: the baseline's names in order, then `_cN`.
    pub(super) fn columns_by_position(&mut self, count: usize) -> Result<(), String> {
        if !self.columns.is_empty() {
            return Ok(());
        }
        let names = (0..count)
            .map(|i| match self.expected.get(i) {
                Some((name, _)) => name.clone(),
                None => format!("_c{i}"),
            })
            .collect();
        self.columns(names)
    }

    /// Adds one row.
    pub(super) fn row<'a>(
        &mut self,
        fields: impl ExactSizeIterator<Item = &'a str>,
    ) -> Result<(), String> {
        if fields.len() != self.columns.len() {
            return Err(format!(
                "{} fields, but there are {} columns",
                fields.len(),
                self.columns.len()
            ));
        }
        self.rows += 1;
        for (column, field) in self.columns.iter_mut().zip(fields) {
            column.observe(field);
        }
        Ok(())
    }

    /// The profile of everything that was read.
    ///
    /// # Errors
    /// There was no row.
    pub fn finish(self) -> Result<Profile, DataError> {
        if self.rows == 0 {
            return Err(DataError::new("the data", NO_ROWS));
        }
        Ok(Profile {
            columns: self.columns,
            rows: self.rows,
        })
    }

    fn column(&mut self, name: String) -> Column {
        let known = self.categories.remove(&name).unwrap_or_default();
        let watch = self.watches.remove(&name);
        Column {
            expected: self
                .expected
                .iter()
                .find(|(expected, _)| *expected == name)
                .map(|(_, kind)| *kind),
            name,
            types: TypeCounts::default(),
            moments: Moments::default(),
            sketch: Sketch::default(),
            distinct: Distinct::default(),
            categories: Categories::with(known),
            watch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile_of(rows: impl Iterator<Item = [String; 2]>) -> Profile {
        let mut profiler = Profiler::new(None).unwrap();
        profiler.columns(vec!["n".into(), "s".into()]).unwrap();
        for row in rows {
            profiler.row(row.iter().map(String::as_str)).unwrap();
        }
        profiler.finish().unwrap()
    }

    fn row(i: u32) -> [String; 2] {
        let number = if i.is_multiple_of(10) {
            String::new()
        } else {
            (i * 7 % 1000).to_string()
        };
        [number, format!("c{}", i % 3)]
    }

    #[test]
    fn merged_parts_equal_the_whole() {
        let mut left = profile_of((0..4_000).map(row));
        let right = profile_of((4_000..9_000).map(row));
        let whole = profile_of((0..9_000).map(row)).statistics();
        left.merge(&right).unwrap();
        let merged = left.statistics();
        assert_eq!(merged.dataset.item_count, 9_000);
        let numbers = |s: &Statistics| s.features[0].numerical_statistics.clone().unwrap();
        let (a, b) = (numbers(&merged), numbers(&whole));
        assert_eq!(a.common, b.common);
        assert_eq!((a.sum, a.min, a.max), (b.sum, b.min, b.max));
        assert!((a.std_dev - b.std_dev).abs() < 1e-9);
        assert_eq!(merged.features[1], whole.features[1]);
    }

    #[test]
    fn statistics_have_aws_shape() {
        let statistics = profile_of((1..=30).map(row)).statistics();
        let json = serde_json::to_value(&statistics).unwrap();
        assert_eq!(json["version"], 0.0);
        assert_eq!(json["dataset"]["item_count"], 30);
        let number = &json["features"][0];
        assert_eq!(number["inferred_type"], "Integral");
        assert_eq!(number["numerical_statistics"]["common"]["num_missing"], 3);
        let kll = &number["numerical_statistics"]["distribution"]["kll"];
        assert_eq!(kll["buckets"].as_array().unwrap().len(), 10);
        assert_eq!(kll["sketch"]["parameters"]["k"], 2048.0);
        assert_eq!(kll["sketch"]["data"][0].as_array().unwrap().len(), 27);
        let text = &json["features"][1]["string_statistics"];
        assert_eq!(text["distinct_count"], 3.0);
        assert_eq!(
            text["distribution"]["categorical"]["buckets"][0]["count"],
            10
        );
    }
}
