//! One pass over the data: the statistics of each column.

use std::collections::HashMap;

use rayon::prelude::*;

use super::batch::Batch;
use super::categories::Categories;
use super::column::Column;
use super::distinct::Distinct;
use super::kll::Sketch;
use super::moments::Moments;
use super::rule_set::RuleSet;
use super::statistics::{Dataset, Statistics};
use super::types::{InferredType, TypeCounts};
use super::watch::{self, Watch};
use super::{Baseline, DataError, NO_ROWS};

/// The statistics of every column after one pass.
#[derive(Debug, Clone)]
pub struct Profile {
    pub(super) columns: Vec<Column>,
    pub(super) rows: u64,
    /// Whether rows contain their columns' names, so that another part may have other columns.
    pub(super) open: bool,
    places: HashMap<String, usize>,
}

impl Profile {
    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns.len()
    }

    /// The share of a column's present values that have a type; `None` without present values.
    #[expect(clippy::cast_precision_loss, reason = "counts above 2^53 do not occur")]
    pub(super) fn type_match(
        &self,
        column: &str,
        expected: InferredType,
        rules: RuleSet,
    ) -> Option<f64> {
        let types = &self.column(column)?.types;
        let matching = types.matching(expected, rules) as f64;
        (types.present() > 0).then(|| matching / types.present() as f64)
    }

    /// The number of present values of a column.
    pub(super) fn present(&self, column: &str) -> Option<u64> {
        Some(self.column(column)?.types.present())
    }

    /// Returns the counted categories and, if not all were counted, examples of others.
    #[expect(
        clippy::type_complexity,
        reason = "both are read together, in one place"
    )]
    pub(super) fn categories(&self, column: &str) -> Option<(Vec<(&str, u64)>, Option<Vec<&str>>)> {
        let categories = &self.column(column)?.categories;
        Some((categories.counts()?, categories.examples()))
    }

    /// The statistics for a column's opt-in checks.
    pub(super) fn watch(&self, column: &str) -> Option<&Watch> {
        self.column(column)?.watch.as_ref()
    }

    pub(super) fn new(columns: Vec<Column>, rows: u64, open: bool) -> Self {
        let named = columns.iter().enumerate();
        Self {
            places: named.map(|(i, column)| (column.name.clone(), i)).collect(),
            columns,
            rows,
            open,
        }
    }

    /// Sets the baseline that a merged profile is compared with, as if it had been known from the
    /// start.
    ///
    /// # Errors
    /// A part did not count a category that the baseline has.
    pub fn expect(&mut self, baseline: &Baseline) -> Result<(), String> {
        let statistics = baseline.statistics.iter().flat_map(|s| &s.features);
        for feature in statistics {
            if let Some(column) = self.column(&feature.name) {
                for category in feature.categories() {
                    counted(column, &category.value)?;
                }
            }
        }
        for feature in &baseline.constraints.features {
            let Some(place) = self.places.get(&feature.name) else {
                continue;
            };
            let column = &mut self.columns[*place];
            column.expected = Some(feature.inferred_type);
            for category in feature.string_constraints.iter().flat_map(|s| &s.domains) {
                counted(column, category)?;
            }
        }
        Ok(())
    }

    /// Merges another part of the same data set. Parts whose rows contain their columns' names
    /// (JSON Lines) may have different columns: a column that a part lacks is missing in its rows.
    ///
    /// # Errors
    /// The columns differ.
    pub fn merge(&mut self, other: &Self) -> Result<(), String> {
        let known = |theirs: &Column| self.places.contains_key(&theirs.name);
        let same_columns =
            self.columns.len() == other.columns.len() && other.columns.iter().all(known);
        let open = self.open && other.open;
        if !same_columns && !open {
            return Err("the columns of the two profiles differ".to_owned());
        }
        for column in &mut self.columns {
            match other.column(&column.name) {
                Some(theirs) => column.merge(theirs)?,
                None => column.repeat(None, other.rows),
            }
        }
        for theirs in &other.columns {
            if !self.places.contains_key(&theirs.name) {
                let mut column = theirs.clone();
                column.repeat(None, self.rows);
                self.places.insert(column.name.clone(), self.columns.len());
                self.columns.push(column);
            }
        }
        self.rows += other.rows;
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
        self.places.get(name).map(|place| &self.columns[*place])
    }
}

fn counted(column: &Column, category: &str) -> Result<(), String> {
    if column.categories.counted(category) {
        return Ok(());
    }
    Err(format!(
        "the profile has not counted the category `{category}` of the column `{}`: pass \
         --constraints and --statistics when profiling",
        column.name
    ))
}

/// Maximum number of columns of data whose rows name them, or that has no header: more names are values,
/// and each would cost memory in every later row.
pub(super) const MAX_COLUMNS: usize = 16 * 1024;

/// Builds a [`Profile`] row by row.
#[derive(Debug)]
pub struct Profiler {
    expected: Vec<(String, InferredType)>,
    /// The expected type of each column by its name.
    kinds: HashMap<String, InferredType>,
    categories: HashMap<String, Vec<String>>,
    watches: HashMap<String, Watch>,
    columns: Vec<Column>,
    /// The index of each column by its name.
    places: HashMap<String, usize>,
    /// The position of each column in the current source; empty if positions are unchanged.
    order: Vec<usize>,
    rows: u64,
    /// Whether more columns may follow.
    open: bool,
    /// Number of rows before the current source.
    begun: u64,
    /// Rows that were added one by one and not processed yet.
    pending: Batch,
}

/// Number of bytes of single rows to collect before they are processed.
const PENDING: usize = 256 * 1024;

impl Profiler {
    /// Creates a profiler for data that will be compared with a baseline.
    ///
    /// # Errors
    /// The baseline requests a check that cannot be parsed.
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
        let mut kinds = HashMap::with_capacity(expected.len());
        for (name, kind) in &expected {
            kinds.entry(name.clone()).or_insert(*kind);
        }
        Ok(Self {
            expected,
            kinds,
            categories,
            watches,
            columns: Vec::new(),
            places: HashMap::new(),
            order: Vec::new(),
            rows: 0,
            open: false,
            begun: 0,
            pending: Batch::default(),
        })
    }

    /// Sets the column names. Every source of a data set has the same names, in any order.
    pub(super) fn columns(&mut self, names: Vec<String>) -> Result<(), String> {
        let mut places = HashMap::with_capacity(names.len());
        for (place, name) in names.iter().enumerate() {
            if name.is_empty() {
                return Err("a column has no name".to_owned());
            }
            if places.insert(name.as_str(), place).is_some() {
                return Err(format!("two columns are named `{name}`"));
            }
        }
        self.order.clear();
        if self.columns.is_empty() {
            self.columns = names.into_iter().map(|name| self.column(name)).collect();
            let named = self.columns.iter().enumerate();
            self.places = named.map(|(i, column)| (column.name.clone(), i)).collect();
            return Ok(());
        }
        if self.columns.iter().map(|c| &c.name).eq(names.iter()) {
            return Ok(());
        }
        let known = self.columns.iter();
        self.order = known
            .filter_map(|c| places.get(&*c.name).copied())
            .collect();
        if self.order.len() == self.columns.len() && self.order.len() == names.len() {
            return Ok(());
        }
        let missing = self.columns.iter().map(|column| &column.name);
        let missing = missing.filter(|name| !places.contains_key(name.as_str()));
        let new = |name: &&String| !self.places.contains_key(name.as_str());
        let differences: Vec<String> = missing
            .map(|name| format!("`{name}` is missing"))
            .chain(
                names
                    .iter()
                    .filter(new)
                    .map(|name| format!("`{name}` is new")),
            )
            .take(5)
            .collect();
        Err(format!(
            "the columns differ from those of the first file: {}",
            differences.join(", ")
        ))
    }

    /// Begins a source: its own columns, then those of its location (`partition`).
    pub(super) fn begin(
        &mut self,
        mut names: Vec<String>,
        partition: &[(String, Option<String>)],
    ) -> Result<(), String> {
        if let Some((key, _)) = partition.iter().find(|(key, _)| names.contains(key)) {
            return Err(format!(
                "the column `{key}` is both in the file and in its directory's name"
            ));
        }
        names.extend(partition.iter().map(|(key, _)| key.clone()));
        self.begun = self.rows;
        self.columns(names)
    }

    /// Ends a source: all rows since its beginning are in that partition.
    pub(super) fn end(&mut self, partition: &[(String, Option<String>)]) {
        let rows = self.rows - self.begun;
        let first = self.columns.len() - partition.len();
        for (column, (_, value)) in self.columns[first..].iter_mut().zip(partition) {
            column.repeat(value.as_deref().map(str::as_bytes), rows);
        }
    }

    /// Names columns without a header: the baseline's names in order, then `_cN`.
    ///
    /// # Errors
    /// There are more than [`MAX_COLUMNS`], or two names are equal.
    pub(super) fn columns_by_position(&mut self, count: usize) -> Result<(), String> {
        if !self.columns.is_empty() {
            return Ok(());
        }
        if count > MAX_COLUMNS {
            return Err(too_many_columns());
        }
        let names = (0..count).map(|i| self.name_at(i)).collect();
        self.columns(names)
    }

    /// Returns the name of an unnamed column: the baseline's at that position, or `_cN`.
    pub(super) fn name_at(&self, index: usize) -> String {
        match self.expected.get(index) {
            Some((name, _)) => name.clone(),
            None => format!("_c{index}"),
        }
    }

    /// Adds a batch. Runs columns in parallel if `parallel`; each processes its cells in order, so the
    /// result does not depend on the number of threads.
    pub(super) fn batch(&mut self, batch: &Batch, parallel: bool) {
        if batch.rows() == 0 {
            return;
        }
        self.rows += batch.rows() as u64;
        let columns = &mut self.columns[..batch.columns()];
        let order = &self.order;
        let place = |column: usize| order.get(column).copied().unwrap_or(column);
        if parallel {
            // A column of a wide table is little work, so group several per task.
            let together = columns.len() / 64;
            columns
                .par_iter_mut()
                .with_min_len(together.max(1))
                .enumerate()
                .for_each(|(index, column)| column.observe(batch, place(index)));
        } else {
            for (index, column) in columns.iter_mut().enumerate() {
                column.observe(batch, place(index));
            }
        }
    }

    /// Returns the columns except the last `without`, each with its position in the source, for a
    /// reader that adds `rows` values to each of them itself.
    pub(super) fn take_columns(
        &mut self,
        rows: u64,
        without: usize,
    ) -> impl Iterator<Item = (usize, &mut Column)> {
        self.rows += rows;
        let own = self.columns.len() - without;
        let order = &self.order;
        let columns = self.columns[..own].iter_mut().enumerate();
        columns.map(|(index, column)| (order.get(index).copied().unwrap_or(index), column))
    }

    /// Adds one row; `None` is missing.
    pub(super) fn row<'a>(
        &mut self,
        cells: impl ExactSizeIterator<Item = Option<&'a str>>,
    ) -> Result<(), String> {
        if cells.len() != self.columns.len() {
            return Err(format!(
                "{} fields, but there are {} columns",
                cells.len(),
                self.columns.len()
            ));
        }
        if self.pending.rows() == 0 {
            self.pending.clear_marked(self.columns.len());
        }
        for cell in cells {
            self.pending.push(cell.map(str::as_bytes));
        }
        self.pending.end_row();
        if self.pending.bytes.len() > PENDING {
            self.flush();
        }
        Ok(())
    }

    /// Processes the rows that were added one by one.
    fn flush(&mut self) {
        if self.pending.rows() > 0 {
            let mut pending = std::mem::take(&mut self.pending);
            self.batch(&pending, true);
            pending.clear_marked(self.columns.len());
            self.pending = pending;
        }
    }

    /// Number of columns so far.
    pub(super) fn width(&self) -> usize {
        self.columns.len()
    }

    /// Returns whether there is a column of this name.
    pub(super) fn has_column(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// Returns the index of a column. A new column is missing in all earlier rows.
    ///
    /// # Errors
    /// The name is empty, or there are [`MAX_COLUMNS`] others.
    pub(super) fn ensure_column(&mut self, name: &str) -> Result<usize, String> {
        self.open = true;
        if let Some(index) = self.places.get(name) {
            return Ok(*index);
        }
        if name.is_empty() {
            return Err("a column has no name".to_owned());
        }
        if self.columns.len() >= MAX_COLUMNS {
            return Err(too_many_columns());
        }
        self.flush();
        let mut column = self.column(name.to_owned());
        column.repeat(None, self.rows);
        let index = self.columns.len();
        self.places.insert(name.to_owned(), index);
        self.columns.push(column);
        Ok(index)
    }

    /// Returns the profile of everything that was read.
    ///
    /// # Errors
    /// The data has no rows.
    pub fn finish(mut self) -> Result<Profile, DataError> {
        self.flush();
        if self.rows == 0 {
            return Err(DataError::new("the data", NO_ROWS));
        }
        Ok(Profile::new(self.columns, self.rows, self.open))
    }

    fn column(&mut self, name: String) -> Column {
        let known = self.categories.remove(&name).unwrap_or_default();
        let watch = self.watches.remove(&name);
        Column {
            expected: self.kinds.get(&name).copied(),
            name,
            types: TypeCounts::default(),
            moments: Moments::default(),
            sketch: Sketch::default(),
            distinct: Distinct::default(),
            categories: Categories::with(known),
            numbers_uncounted: false,
            watch,
        }
    }
}

/// The error about more than [`MAX_COLUMNS`].
pub(super) fn too_many_columns() -> String {
    format!("more than {MAX_COLUMNS} columns: names must not be values")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_without_end_are_refused() {
        let mut profiler = Profiler::new(None).unwrap();
        for i in 0..MAX_COLUMNS {
            assert_eq!(profiler.ensure_column(&format!("k{i}")), Ok(i));
        }
        assert_eq!(profiler.ensure_column("k7"), Ok(7));
        let named = profiler.ensure_column("x").unwrap_err();
        assert!(named.contains("more than 16384 columns"), "{named}");
        let mut profiler = Profiler::new(None).unwrap();
        let unnamed = profiler.columns_by_position(MAX_COLUMNS + 1).unwrap_err();
        assert_eq!(unnamed, named);
        profiler.columns_by_position(MAX_COLUMNS).unwrap();
    }

    fn profile_of(rows: impl Iterator<Item = [String; 2]>) -> Profile {
        let mut profiler = Profiler::new(None).unwrap();
        profiler.columns(vec!["n".into(), "s".into()]).unwrap();
        for row in rows {
            profiler
                .row(
                    row.iter()
                        .map(|cell| (!cell.is_empty()).then_some(cell.as_str())),
                )
                .unwrap();
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
    fn parts_of_json_lines_may_have_different_columns() {
        let part = |names: &[&str], rows: &[&[Option<&str>]]| {
            let mut profiler = Profiler::new(None).unwrap();
            for name in names {
                profiler.ensure_column(name).unwrap();
            }
            for row in rows {
                profiler.row(row.iter().copied()).unwrap();
            }
            profiler.finish().unwrap()
        };
        let mut left = part(&["a", "b"], &[&[Some("1"), Some("x")], &[Some("2"), None]]);
        let right = part(&["c", "a"], &[&[Some("y"), Some("3")]]);
        left.merge(&Profile::from_bytes("p", &right.to_bytes()).unwrap())
            .unwrap();
        let counts: Vec<(String, u64, u64)> = left
            .statistics()
            .features
            .iter()
            .map(|f| {
                (
                    f.name.clone(),
                    f.common().unwrap().num_present,
                    f.common().unwrap().num_missing,
                )
            })
            .collect();
        assert_eq!(
            counts,
            [
                ("a".to_owned(), 3, 0),
                ("b".to_owned(), 1, 2),
                ("c".to_owned(), 1, 2)
            ]
        );
        let closed = profile_of((0..3).map(row));
        assert!(left.merge(&closed).is_err());
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
