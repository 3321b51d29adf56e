//! The background rows, given or computed from data.

use std::collections::HashMap;

use super::super::DataError;
use super::coalitions::float;
use super::settings::{Baseline, Settings};
use super::table::Table;
use crate::random::Random;

/// The name of the background in errors.
pub(super) const NAME: &str = "SHAP baseline";

/// The stream of the seed that selects background rows; rows of the sample use their number.
const STREAM: u64 = u64::MAX;

/// Creates the background that the settings describe, for the columns of `data`: the training data,
/// or the sample itself.
///
/// # Errors
/// Bad settings, rows that do not have one value per feature, a file that was not read
/// ([`Baseline::Location`]), or computing from data without rows.
pub fn background(settings: &Settings, data: &Table) -> Result<Table, DataError> {
    let bad = |message: String| DataError::new(NAME, message);
    settings.check().map_err(bad)?;
    let columns = data.columns().to_vec();
    let computed = matches!(settings.baseline, Baseline::Average | Baseline::Sample(_));
    if computed && data.rows() == 0 {
        return Err(bad("the data has no rows to compute it from".to_owned()));
    }
    match &settings.baseline {
        Baseline::Rows(rows) => Table::from_rows(NAME, columns, rows),
        Baseline::Location(location) => {
            Err(bad(format!("`{location}` was not read: read it first")))
        }
        Baseline::Average => {
            let row = (0..columns.len()).map(|column| average(data, column));
            Table::from_rows(NAME, columns, [row.collect::<Vec<_>>()])
        }
        Baseline::Sample(rows) => {
            let mut random = Random::new(settings.seed, STREAM);
            let rows = choose(data.rows(), *rows, &mut random);
            Table::from_rows(NAME, columns, rows.into_iter().map(|row| data.row(row)))
        }
    }
}

/// The mean of a numeric column, or the most frequent value of another one. Missing values do not
/// count; a column without values stays missing. Of equally frequent values, the smallest text.
fn average(data: &Table, column: usize) -> String {
    let values = || {
        let cells = (0..data.rows()).map(|row| data.cell(row, column));
        cells.filter(|cell| !cell.is_empty())
    };
    let numbers: Option<Vec<f64>> = values()
        .map(|cell| {
            cell.trim()
                .parse()
                .ok()
                .filter(|value: &f64| value.is_finite())
        })
        .collect();
    match numbers {
        Some(numbers) if numbers.is_empty() => String::new(),
        Some(numbers) => {
            let count = float(numbers.len());
            // Divided first, so that large numbers do not overflow.
            let mean: f64 = numbers.iter().map(|number| number / count).sum();
            let sum: f64 = numbers.iter().sum();
            if sum.is_finite() { sum / count } else { mean }.to_string()
        }
        None => {
            let mut counts: HashMap<&str, usize> = HashMap::new();
            values().for_each(|value| *counts.entry(value).or_default() += 1);
            let most = counts
                .into_iter()
                .max_by(|a, b| a.1.cmp(&b.1).then_with(|| b.0.cmp(a.0)));
            most.map(|(value, _)| value.to_owned()).unwrap_or_default()
        }
    }
}

/// Chooses `count` of `rows` rows at random, in ascending order; all of them if there are fewer.
fn choose(rows: usize, count: usize, random: &mut Random) -> Vec<usize> {
    let mut left = count.min(rows);
    let mut chosen = Vec::with_capacity(left);
    for row in 0..rows {
        let rest = (rows - row) as u64;
        if random.below(rest) < left as u64 {
            chosen.push(row);
            left -= 1;
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data() -> Table {
        let columns = ["n", "text", "none", "b"].map(str::to_owned).to_vec();
        let rows = [
            ["1", "x", "", "b"],
            ["2.5", "7", "", "a"],
            ["", "7", "", ""],
        ];
        Table::from_rows("t", columns, rows).unwrap()
    }

    fn of(baseline: Baseline) -> Result<Vec<Vec<String>>, String> {
        let settings = Settings {
            baseline,
            ..Settings::default()
        };
        let table = background(&settings, &data()).map_err(|error| error.to_string())?;
        let row = |row| table.row(row).map(str::to_owned).collect();
        Ok((0..table.rows()).map(row).collect())
    }

    #[test]
    fn the_average_row_has_means_and_most_frequent_values() {
        let expected = ["1.75", "7", "", "a"];
        assert_eq!(of(Baseline::Average).unwrap(), [expected]);
    }

    #[test]
    fn random_rows_are_different_rows_of_the_data() {
        let two = of(Baseline::Sample(2)).unwrap();
        assert_eq!(two.len(), 2);
        assert_ne!(two[0], two[1]);
        assert_eq!(of(Baseline::Sample(2)).unwrap(), two);
        assert_eq!(of(Baseline::Sample(9)).unwrap().len(), 3);
        let mut counts = [0; 4];
        for seed in 0..4000 {
            let chosen = choose(4, 2, &mut Random::new(seed, STREAM));
            assert!(chosen[0] < chosen[1]);
            for row in chosen {
                counts[row] += 1;
            }
        }
        assert!(
            counts.iter().all(|n| (1850..2150).contains(n)),
            "{counts:?}"
        );
    }

    #[test]
    fn bad_backgrounds_are_refused() {
        for (baseline, message) in [
            (
                Baseline::Rows(vec![vec!["1".to_owned()]]),
                "SHAP baseline: row 1: 1 values, but there are 4 columns",
            ),
            (
                Baseline::Rows(Vec::new()),
                "SHAP baseline: the number of baseline rows must be a whole number from 1 to 1000, not 0",
            ),
            (
                Baseline::Location("s3://b/k".to_owned()),
                "SHAP baseline: `s3://b/k` was not read: read it first",
            ),
            (
                Baseline::Sample(0),
                "SHAP baseline: num_clusters must be a whole number from 1 to 1000, not 0",
            ),
        ] {
            assert_eq!(of(baseline).unwrap_err(), message);
        }
        let empty = Table::new("t", vec!["a".to_owned()]).unwrap();
        let error = background(&Settings::default(), &empty).unwrap_err();
        let expected = "SHAP baseline: the data has no rows to compute it from";
        assert_eq!(error.to_string(), expected);
    }
}
