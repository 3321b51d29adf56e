//! Rows of text cells: the sample to explain, and the background.

use std::collections::HashSet;

use super::super::DataError;

/// Maximum number of features: the equations of one row need 8 × features² bytes.
pub const MAX_FEATURES: usize = 2048;

/// Maximum size of a table in bytes of text; larger input is not a sample.
const MAX_TEXT: usize = 256 * 1024 * 1024;

/// Rows of text cells with named columns. A cell is the text of a CSV cell without its quotes; an
/// empty cell is a missing value. Numbers and categories are not distinguished: the model receives
/// the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    columns: Vec<String>,
    /// The cells row by row, each with a comma after it, so that adjacent cells are valid CSV if no
    /// cell needs quotes.
    text: String,
    /// The end of each cell in `text`.
    ends: Vec<usize>,
    needs_quotes: bool,
}

impl Table {
    /// Creates a table without rows.
    ///
    /// # Errors
    /// No column, more than [`MAX_FEATURES`], or two columns with the same name. `name` is the table's
    /// name in the error.
    pub fn new(name: &str, columns: Vec<String>) -> Result<Self, DataError> {
        if columns.is_empty() {
            return Err(DataError::new(name, "there are no features"));
        }
        if columns.len() > MAX_FEATURES {
            let message = format!(
                "{} features, but at most {MAX_FEATURES} can be explained",
                columns.len()
            );
            return Err(DataError::new(name, message));
        }
        let mut seen = HashSet::new();
        if let Some(twice) = columns.iter().find(|column| !seen.insert(*column)) {
            let message = format!("the column `{twice}` occurs twice");
            return Err(DataError::new(name, message));
        }
        Ok(Self {
            columns,
            text: String::new(),
            ends: Vec::new(),
            needs_quotes: false,
        })
    }

    /// Creates a table with rows.
    ///
    /// # Errors
    /// As [`Table::new`] and [`Table::push`], with the number of the row, counted from 1.
    pub fn from_rows<R, C>(
        name: &str,
        columns: Vec<String>,
        rows: impl IntoIterator<Item = R>,
    ) -> Result<Self, DataError>
    where
        R: IntoIterator<Item = C>,
        C: AsRef<str>,
    {
        let mut table = Self::new(name, columns)?;
        for (number, row) in (1_u64..).zip(rows) {
            table
                .push(row)
                .map_err(|message| DataError::new(name, format!("row {number}: {message}")))?;
        }
        Ok(table)
    }

    /// Appends a row.
    ///
    /// # Errors
    /// A message if the row does not have one cell per column (the table is then unchanged), or if the
    /// table is too large.
    pub fn push<C: AsRef<str>>(&mut self, row: impl IntoIterator<Item = C>) -> Result<(), String> {
        let (text, ends) = (self.text.len(), self.ends.len());
        for cell in row {
            self.needs_quotes |= needs_quotes(cell.as_ref());
            self.text.push_str(cell.as_ref());
            self.ends.push(self.text.len());
            self.text.push(',');
        }
        let count = self.ends.len() - ends;
        let message = if count != self.columns.len() {
            format!(
                "{count} values, but there are {} columns",
                self.columns.len()
            )
        } else if self.text.len() > MAX_TEXT {
            format!("the rows have more than {} MiB", MAX_TEXT >> 20)
        } else {
            return Ok(());
        };
        self.text.truncate(text);
        self.ends.truncate(ends);
        Err(message)
    }

    /// The names of the columns.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.ends.len() / self.columns.len()
    }

    /// Returns one cell; empty beyond the table.
    pub fn cell(&self, row: usize, column: usize) -> &str {
        self.span(row, column, column + 1)
    }

    /// Adjacent cells of a row, from `start` to before `end`, separated by commas. It is CSV unless
    /// [`Table::needs_quotes`].
    pub(super) fn span(&self, row: usize, start: usize, end: usize) -> &str {
        let first = row * self.columns.len() + start;
        let last = row * self.columns.len() + end - 1;
        let from = match first.checked_sub(1) {
            Some(before) => self.ends.get(before).map_or(usize::MAX, |end| end + 1),
            None => 0,
        };
        let to = self.ends.get(last).copied().unwrap_or_default();
        self.text.get(from..to).unwrap_or_default()
    }

    /// Whether some cell must be quoted in CSV.
    pub(super) fn needs_quotes(&self) -> bool {
        self.needs_quotes
    }

    /// The cells of one row.
    pub fn row(&self, row: usize) -> impl Iterator<Item = &str> {
        (0..self.columns.len()).map(move |column| self.cell(row, column))
    }
}

/// Appends a cell as CSV (RFC 4180): in quotes if it contains a separator, a quote or a line break.
pub(super) fn push_csv(out: &mut String, cell: &str) {
    if needs_quotes(cell) {
        out.push('"');
        out.push_str(&cell.replace('"', "\"\""));
        out.push('"');
    } else {
        out.push_str(cell);
    }
}

/// Length of a cell as CSV in bytes.
pub(super) fn csv_length(cell: &str) -> usize {
    if needs_quotes(cell) {
        cell.len() + 2 + cell.bytes().filter(|byte| *byte == b'"').count()
    } else {
        cell.len()
    }
}

fn needs_quotes(cell: &str) -> bool {
    cell.bytes()
        .any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn cells_are_read_by_position() {
        let rows = [["1", ""], ["", "ä,b"]];
        let table = Table::from_rows("t", names(&["x", "y"]), rows).unwrap();
        assert_eq!(table.rows(), 2);
        let cells: Vec<Vec<&str>> = (0..2).map(|row| table.row(row).collect()).collect();
        assert_eq!(cells, rows);
        assert_eq!(table.cell(2, 0), "");
    }

    #[test]
    fn bad_tables_are_refused() {
        let error = |columns: &[&str], row: &[&str]| {
            let table = Table::from_rows("t", names(columns), [row.iter().copied()]);
            table.unwrap_err().to_string()
        };
        assert_eq!(error(&[], &[]), "t: there are no features");
        assert_eq!(error(&["a", "a"], &[]), "t: the column `a` occurs twice");
        let expected = "t: row 1: 1 values, but there are 2 columns";
        assert_eq!(error(&["a", "b"], &["1"]), expected);
        let many = (0..=MAX_FEATURES).map(|i| i.to_string()).collect();
        assert!(
            Table::new("t", many)
                .unwrap_err()
                .to_string()
                .contains("2049")
        );
    }

    #[test]
    fn a_refused_row_leaves_the_table_unchanged() {
        let mut table = Table::from_rows("t", names(&["x", "y"]), [["1", "2"]]).unwrap();
        let before = table.clone();
        assert!(table.push(["3"]).is_err());
        assert!(table.push(["3", "4", "5"]).is_err());
        assert_eq!(table, before);
    }

    #[test]
    fn csv_cells_are_quoted_where_necessary() {
        for (cell, csv) in [
            ("", ""),
            ("1.5", "1.5"),
            ("a,b", "\"a,b\""),
            ("a\"b", "\"a\"\"b\""),
            ("a\nb", "\"a\nb\""),
        ] {
            let mut text = String::new();
            push_csv(&mut text, cell);
            assert_eq!(text, csv);
            assert_eq!(csv_length(cell), csv.len());
        }
    }
}
