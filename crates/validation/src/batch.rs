//! Rows of text cells, the format in which readers pass data to columns.

/// The representation of a missing value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Missing {
    /// An empty cell is missing (CSV has no other marker).
    #[default]
    Empty,
    /// [`NOTHING`] is missing; an empty cell is an empty text (JSON).
    Marked,
}

/// A byte that never occurs in UTF-8.
const NOTHING: &[u8] = &[0xff];

/// Rows of text cells. Adjacent cells are separated by one byte of any value, so that a block of a
/// CSV file is a batch exactly as it is in memory.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    /// Offsets of the ends of cells, row by row. A cell begins one byte after the previous end; the
    /// first entry is the "end" before the first cell.
    pub(super) ends: Vec<u32>,
    columns: usize,
    rows: usize,
    missing: Missing,
    /// Whether cells that begin with a quote also end with one; the quotes are not part of the
    /// value.
    quoted: bool,
    /// Whether the last cell of a row ends with a carriage return, which is not part of the value.
    crlf: bool,
}

/// The position one byte before the first.
const BEFORE: u32 = u32::MAX;

impl Batch {
    /// Clears the batch for rows that are added cell by cell; empty cells are missing.
    pub(super) fn clear(&mut self, columns: usize) {
        self.bytes.clear();
        self.ends.clear();
        self.ends.push(BEFORE);
        self.columns = columns;
        self.rows = 0;
        self.missing = Missing::Empty;
        self.quoted = false;
        self.crlf = false;
    }

    /// Clears the batch for rows in which only `None` is missing.
    pub(super) fn clear_marked(&mut self, columns: usize) {
        self.clear(columns);
        self.missing = Missing::Marked;
    }

    /// Resets the batch for a block of `rows` rows whose cells `ends` already describes. Cells may
    /// still be quoted, and lines may end in CRLF.
    pub(super) fn set(&mut self, columns: usize, rows: usize, quoted: bool, crlf: bool) {
        self.columns = columns;
        self.rows = rows;
        self.missing = Missing::Empty;
        self.quoted = quoted;
        self.crlf = crlf;
    }

    /// Reserves space for `count` ends after the first.
    pub(super) fn reserve_ends(&mut self, count: usize) {
        if self.ends.len() < count + 1 {
            self.ends.resize(count + 1, 0);
        }
        self.ends[0] = BEFORE;
    }

    /// Appends a cell to the current row.
    pub(super) fn push(&mut self, cell: Option<&[u8]>) {
        match cell {
            Some(bytes) => self.bytes.extend_from_slice(bytes),
            None if self.missing == Missing::Marked => self.bytes.extend_from_slice(NOTHING),
            None => {}
        }
        self.end_cell();
    }

    /// Ends the cell whose bytes were appended to `bytes`.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "readers hand a batch over long before 4 GiB"
    )]
    pub(super) fn end_cell(&mut self) {
        self.ends.push(self.bytes.len() as u32);
        self.bytes.push(b'\n');
    }

    /// Ends the current row.
    pub(super) fn end_row(&mut self) {
        self.rows += 1;
    }

    /// Number of cells pushed since the last row ended.
    pub(super) fn open_cells(&self) -> usize {
        self.ends.len() - 1 - self.rows * self.columns
    }

    /// Number of columns.
    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// Number of rows.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// All cells, row by row.
    pub(super) fn cells(&self) -> impl Iterator<Item = &[u8]> {
        let ends = self.ends.windows(2);
        ends.map(|ends| &self.bytes[ends[0].wrapping_add(1) as usize..ends[1] as usize])
    }

    /// The cells of one column; `None` is missing.
    #[inline]
    pub(super) fn column(&self, index: usize) -> impl Iterator<Item = Option<&[u8]>> {
        let marked = self.missing == Missing::Marked;
        let quoted = self.quoted;
        let crlf = self.crlf && index + 1 == self.columns;
        let starts = self.ends[index..].iter().step_by(self.columns);
        let ends = self.ends[index + 1..].iter().step_by(self.columns);
        starts.zip(ends).take(self.rows).map(move |(before, end)| {
            let mut cell = &self.bytes[before.wrapping_add(1) as usize..*end as usize];
            if crlf {
                cell = cell.strip_suffix(b"\r").unwrap_or(cell);
            }
            if quoted && let [b'"', text @ .., _] = cell {
                cell = text;
            }
            if marked {
                (cell != NOTHING).then_some(cell)
            } else {
                (!cell.is_empty()).then_some(cell)
            }
        })
    }
}
