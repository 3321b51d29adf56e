//! Some rows of text, as the readers hand them over and the columns take them.

/// How a cell says that it has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Missing {
    /// It is empty (CSV, where nothing else could say it).
    #[default]
    Empty,
    /// It is [`NOTHING`]; an empty cell is an empty text (JSON).
    Marked,
}

/// One byte that is no UTF-8.
const NOTHING: &[u8] = &[0xff];

/// Rows of text cells. The bytes of a row's cells follow each other with one byte between them,
/// whatever it is, so that a CSV file's block is a batch as it lies in memory.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    /// Where the cells end, row by row; a cell begins one byte after the end before it. The first
    /// entry stands for the end before the first cell.
    pub(super) ends: Vec<u32>,
    columns: usize,
    rows: usize,
    missing: Missing,
    /// A cell that begins with a quote ends with one; neither belongs to it.
    quoted: bool,
    /// The last cell of a row has a carriage return that does not belong to it.
    crlf: bool,
}

/// "One byte before the first".
const BEFORE: u32 = u32::MAX;

impl Batch {
    /// Starts anew for rows that are pushed cell by cell; an empty cell is missing.
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

    /// Starts anew for rows in which only `None` is missing.
    pub(super) fn clear_marked(&mut self, columns: usize) {
        self.clear(columns);
        self.missing = Missing::Marked;
    }

    /// Starts anew for a block in which `rows` rows were found by filling `ends`. Its cells may still
    /// stand in quotes, and its lines end in CRLF.
    pub(super) fn set(&mut self, columns: usize, rows: usize, quoted: bool, crlf: bool) {
        self.columns = columns;
        self.rows = rows;
        self.missing = Missing::Empty;
        self.quoted = quoted;
        self.crlf = crlf;
    }

    /// Makes room for `count` ends beside the first.
    pub(super) fn reserve_ends(&mut self, count: usize) {
        if self.ends.len() < count + 1 {
            self.ends.resize(count + 1, 0);
        }
        self.ends[0] = BEFORE;
    }

    /// Adds the next cell of the row that is being pushed.
    pub(super) fn push(&mut self, cell: Option<&[u8]>) {
        match cell {
            Some(bytes) => self.bytes.extend_from_slice(bytes),
            None if self.missing == Missing::Marked => self.bytes.extend_from_slice(NOTHING),
            None => {}
        }
        self.end_cell();
    }

    /// Ends the cell whose bytes were added to `bytes`.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "readers hand a batch over long before 4 GiB"
    )]
    pub(super) fn end_cell(&mut self) {
        self.ends.push(self.bytes.len() as u32);
        self.bytes.push(b'\n');
    }

    /// Ends the row that was pushed.
    pub(super) fn end_row(&mut self) {
        self.rows += 1;
    }

    /// Cells that were pushed since the last row ended.
    pub(super) fn open_cells(&self) -> usize {
        self.ends.len() - 1 - self.rows * self.columns
    }

    /// How many columns there are.
    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// All cells that were pushed.
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
