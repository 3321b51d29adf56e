//! A random sample of the rows that an endpoint received.

use std::collections::HashMap;
use std::io::BufReader;

use super::super::capture::{self, Window};
use super::super::{DataError, Source, decode};
use super::table::{MAX_FEATURES, Table};
use crate::random::Random;

/// Maximum number of rows in a sample.
pub const MAX_ROWS: usize = 100_000;

/// The stream of the seed that selects rows.
const STREAM: u64 = u64::MAX - 1;

/// The name of the sample in errors.
const NAME: &str = "sample of captured traffic";

/// A sample of captured rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The rows in the order of their capture, with the columns of the model's input.
    pub table: Table,
    /// Number of rows in the window, of which the sample is a part.
    pub rows: u64,
}

/// Selects `limit` rows of the model's input at random from captured traffic within a window: each
/// row with equal probability, and the same rows for the same sources and seed. Memory is bounded by
/// `limit`, not by the traffic (reservoir sampling, Vitter's algorithm R).
///
/// `columns` are the features in order. Rows without names (CSV, JSON arrays) must have one value for
/// each; rows with names (JSON objects) may have them in any order, and a missing one is a missing
/// value. Without `columns`, unnamed values are called `_c0`, `_c1`, …, and named ones keep their
/// names in order of appearance. Output columns are not part of the sample; an invocation whose input
/// was not captured is an error.
///
/// # Errors
/// A source that cannot be read or parsed, by name and line, a row that does not fit the columns, more
/// than [`MAX_FEATURES`] columns, a `limit` that is not from 1 to [`MAX_ROWS`], or no rows in the window.
pub fn captured(
    sources: Vec<Source>,
    window: Window,
    columns: Option<&[String]>,
    limit: usize,
    seed: u64,
) -> Result<Sample, DataError> {
    if !(1..=MAX_ROWS).contains(&limit) {
        let message = format!("must have from 1 to {MAX_ROWS} rows, not {limit}");
        return Err(DataError::new(NAME, message));
    }
    let mut reservoir = Reservoir {
        limit,
        random: Random::new(seed, STREAM),
        rows: 0,
        chosen: Vec::new(),
        columns: Columns::new(columns).map_err(|message| DataError::new(NAME, message))?,
    };
    for source in sources {
        let name = source.name;
        let input = (source.open)().map_err(|error| DataError::unread(&name, error))?;
        let input = decode::decoded(&name, input.into_reader())?;
        let input = BufReader::with_capacity(256 * 1024, input);
        capture::inputs(&name, input, window, |row| reservoir.add(row))?;
    }
    reservoir.finish()
}

struct Reservoir {
    limit: usize,
    random: Random,
    /// Number of rows so far.
    rows: u64,
    /// The selected rows with their numbers; cells in the order of the columns.
    chosen: Vec<(u64, Vec<String>)>,
    columns: Columns,
}

impl Reservoir {
    /// Adds a row. Every row is checked, not only selected ones, so that an error does not depend on
    /// the seed.
    fn add(&mut self, row: Vec<capture::Cell>) -> Result<(), String> {
        let row = self.columns.arrange(row)?;
        let number = self.rows;
        self.rows += 1;
        if self.chosen.len() < self.limit {
            self.chosen.push((number, row));
            return Ok(());
        }
        let place = usize::try_from(self.random.below(self.rows)).ok();
        if let Some(slot) = place.and_then(|place| self.chosen.get_mut(place)) {
            *slot = (number, row);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Sample, DataError> {
        if self.rows == 0 {
            return Err(DataError::new(NAME, super::super::NO_ROWS));
        }
        self.chosen.sort_by_key(|(number, _)| *number);
        let columns = self.columns.names;
        let width = columns.len();
        let rows = self.chosen.into_iter().map(|(_, mut row)| {
            // Columns that appeared later are missing values.
            row.resize(width, String::new());
            row
        });
        Ok(Sample {
            table: Table::from_rows(NAME, columns, rows)?,
            rows: self.rows,
        })
    }
}

/// The columns of the sample.
struct Columns {
    names: Vec<String>,
    positions: HashMap<String, usize>,
    /// Whether the caller named them, so that others are errors.
    are_fixed: bool,
    /// Whether the rows have names.
    are_named: Option<bool>,
}

impl Columns {
    fn new(names: Option<&[String]>) -> Result<Self, String> {
        let mut columns = Self {
            names: Vec::new(),
            positions: HashMap::new(),
            are_fixed: names.is_some(),
            are_named: None,
        };
        for name in names.unwrap_or_default() {
            columns.push(name.clone())?;
        }
        Ok(columns)
    }

    /// Adds a column. Every later row has a cell for it, so the number is limited here.
    fn push(&mut self, name: String) -> Result<usize, String> {
        let position = self.names.len();
        if position == MAX_FEATURES {
            return Err(format!(
                "more than {MAX_FEATURES} features, which cannot be explained"
            ));
        }
        self.positions.insert(name.clone(), position);
        self.names.push(name);
        Ok(position)
    }

    /// Returns the cells of a row in the order of the columns.
    fn arrange(&mut self, row: Vec<capture::Cell>) -> Result<Vec<String>, String> {
        let named = row.iter().any(|(name, _)| name.is_some());
        let is_first = self.are_named.is_none();
        if *self.are_named.get_or_insert(named) != named {
            return Err("the values have names in some invocations and none in others".to_owned());
        }
        if !named {
            if is_first && !self.are_fixed {
                for i in 0..row.len() {
                    self.push(format!("_c{i}"))?;
                }
            }
            if row.len() != self.names.len() {
                return Err(format!(
                    "{} values, but there are {} features",
                    row.len(),
                    self.names.len()
                ));
            }
            let cells = row.into_iter().map(|(_, value)| value.unwrap_or_default());
            return Ok(cells.collect());
        }
        let mut cells: Vec<Option<String>> = vec![None; self.names.len()];
        for (name, value) in row {
            let name = name.unwrap_or_default();
            let position = match self.positions.get(&name) {
                Some(position) => *position,
                None if self.are_fixed => {
                    return Err(format!("the column `{name}` is not one of the features"));
                }
                None => {
                    let position = self.push(name.clone())?;
                    cells.push(None);
                    position
                }
            };
            if cells[position].replace(value.unwrap_or_default()).is_some() {
                return Err(format!("the column `{name}` occurs twice"));
            }
        }
        Ok(cells.into_iter().map(Option::unwrap_or_default).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn event(data: &str, encoding: &str, time: &str) -> String {
        let data = serde_json::Value::String(data.to_owned());
        format!(
            r#"{{"captureData":{{"endpointInput":{{"observedContentType":"x","mode":"INPUT","data":{data},"encoding":"{encoding}"}},"endpointOutput":{{"observedContentType":"x","mode":"OUTPUT","data":"0.5","encoding":"CSV"}}}},"eventMetadata":{{"eventId":"1","inferenceTime":"2026-11-22T{time}Z"}},"eventVersion":"0"}}"#
        )
    }

    fn numbered(rows: usize) -> Vec<String> {
        (0..rows)
            .map(|i| event(&format!("{i},x\n"), "CSV", "10:00:00"))
            .collect()
    }

    fn sample(
        files: &[Vec<String>],
        columns: Option<&[&str]>,
        limit: usize,
        seed: u64,
    ) -> Result<Sample, String> {
        let sources = files.iter().enumerate().map(|(i, lines)| {
            let text = lines.join("\n");
            Source::stream(format!("f{i}"), move || Ok(Cursor::new(text)))
        });
        let columns: Option<Vec<String>> =
            columns.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        let window = Window {
            since: Some("2026-11-22T10:00:00Z".parse().unwrap()),
            until: Some("2026-11-22T11:00:00Z".parse().unwrap()),
        };
        captured(sources.collect(), window, columns.as_deref(), limit, seed)
            .map_err(|error| error.to_string())
    }

    fn first_cells(sample: &Sample) -> Vec<usize> {
        let cells = (0..sample.table.rows()).map(|row| sample.table.cell(row, 0));
        cells.map(|cell| cell.parse().unwrap()).collect()
    }

    #[test]
    fn a_sample_has_only_rows_of_the_input_in_the_window() {
        let lines = vec![
            event("1,a\n2,\n", "CSV", "10:00:00"),
            event("3,c", "CSV", "09:59:59"),
            event("4,d", "CSV", "11:00:00"),
            event("[[5,\"e\"],[6,null]]", "JSON", "10:59:59"),
        ];
        let found = sample(&[lines], Some(&["n", "t"]), 10, 0).unwrap();
        assert_eq!(found.rows, 4);
        assert_eq!(found.table.columns(), ["n", "t"]);
        let rows: Vec<Vec<&str>> = (0..4).map(|row| found.table.row(row).collect()).collect();
        assert_eq!(rows, [["1", "a"], ["2", ""], ["5", "e"], ["6", ""]]);
    }

    #[test]
    fn rows_are_chosen_with_equal_probability() {
        let mut counts = [0_u32; 12];
        for seed in 0..1000 {
            let files = [numbered(12)];
            let chosen = first_cells(&sample(&files, None, 3, seed).unwrap());
            assert!(chosen.is_sorted() && chosen.len() == 3);
            for row in chosen {
                counts[row] += 1;
            }
        }
        // 250 expected, with a standard deviation of 14.
        assert!(counts.iter().all(|n| (190..310).contains(n)), "{counts:?}");
    }

    #[test]
    fn the_same_seed_selects_the_same_rows_however_they_are_divided() {
        let rows = numbered(200);
        let whole = sample(std::slice::from_ref(&rows), None, 20, 7).unwrap();
        let parts = [rows[..50].to_vec(), rows[50..].to_vec()];
        assert_eq!(sample(&parts, None, 20, 7).unwrap(), whole);
        assert_ne!(sample(&parts, None, 20, 8).unwrap(), whole);
        assert_eq!(whole.table.columns(), ["_c0", "_c1"]);
        assert_eq!(whole.rows, 200);
    }

    #[test]
    fn named_values_are_arranged_by_their_names() {
        let lines = vec![
            event(r#"{"b":1,"a":"x"}"#, "JSON", "10:00:00"),
            event(r#"{"a":"y","c":2}"#, "JSON", "10:00:00"),
        ];
        let rows = |sample: &Sample| -> Vec<Vec<String>> {
            let row = |row| sample.table.row(row).map(str::to_owned).collect();
            (0..sample.table.rows()).map(row).collect()
        };
        let free = sample(std::slice::from_ref(&lines), None, 5, 0).unwrap();
        assert_eq!(free.table.columns(), ["b", "a", "c"]);
        assert_eq!(rows(&free), [["1", "x", ""], ["", "y", "2"]]);
        let fixed = sample(&[lines], Some(&["a", "b", "c"]), 5, 0).unwrap();
        assert_eq!(rows(&fixed), [["x", "1", ""], ["y", "", "2"]]);
    }

    #[test]
    fn rows_that_do_not_fit_are_named() {
        let good = event("1,2", "CSV", "10:00:00");
        for (line, columns, message) in [
            (
                event("1,2,3", "CSV", "10:00:00"),
                None,
                "f0, line 2: 3 values, but there are 2 features",
            ),
            (
                event("{\"a\":1}", "JSON", "10:00:00"),
                None,
                "f0, line 2: the values have names in some invocations and none in others",
            ),
            (
                good.replace("endpointInput", "other"),
                None,
                "f0, line 2: endpointInput: not captured",
            ),
            (
                good.clone(),
                Some(&["a"][..]),
                "f0, line 1: 2 values, but there are 1 features",
            ),
        ] {
            let found = sample(&[vec![good.clone(), line]], columns, 5, 0);
            assert_eq!(found.unwrap_err(), message);
        }
        let other = event("{\"a\":1,\"z\":2}", "JSON", "10:00:00");
        let found = sample(&[vec![other]], Some(&["a"]), 5, 0).unwrap_err();
        assert_eq!(
            found,
            "f0, line 1: the column `z` is not one of the features"
        );
    }

    #[test]
    fn features_without_end_are_refused_at_their_row() {
        let members = |count: usize| {
            let members: Vec<String> = (0..count).map(|i| format!("\"k{i}\":1")).collect();
            format!("{{{}}}", members.join(","))
        };
        let values = vec!["1"; MAX_FEATURES + 1].join(",");
        let late = "{\"late\":1}".to_owned();
        for (first, second, line) in [
            (members(MAX_FEATURES + 1), late.clone(), 1),
            (members(MAX_FEATURES), late, 2),
            (format!("[{values}]"), "[1]".to_owned(), 1),
        ] {
            let lines = [first, second].map(|data| event(&data, "JSON", "10:00:00"));
            let found = sample(&[lines.to_vec()], None, 5, 0).unwrap_err();
            let expected = "more than 2048 features, which cannot be explained";
            assert_eq!(found, format!("f0, line {line}: {expected}"));
        }
        let names = vec!["x"; MAX_FEATURES + 1];
        let found = sample(&[numbered(1)], Some(&names), 5, 0).unwrap_err();
        assert!(found.contains("more than 2048 features"), "{found}");
    }

    #[test]
    fn an_empty_window_and_a_bad_limit_are_refused() {
        let line = event("1", "CSV", "12:00:00");
        let found = sample(&[vec![line]], None, 5, 0).unwrap_err();
        assert_eq!(found, "sample of captured traffic: no rows");
        let found = sample(&[], None, 0, 0).unwrap_err();
        let expected = "sample of captured traffic: must have from 1 to 100000 rows, not 0";
        assert_eq!(found, expected);
    }
}
