//! Tables without borders: columns two spaces apart, at most 80 columns wide. Words are never
//! broken: a cell wraps between words, then after punctuation; long digests, ARNs and paths are
//! truncated.

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use console::measure_text_width as width;

use super::state::{Meaning, state_of};
use super::{WIDTH, clean};

/// Number of spaces between two columns.
const GAP: usize = 2;

/// Width of a truncated part, including its `…`.
const CUT: usize = 13;

/// Headers of columns that contain states, which are colored.
const STATES: &[&str] = &["STATUS", "STATE", "NOW", "SCAN"];

/// Formats a table, at most 80 columns wide unless unbreakable words need more.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    render(header, rows, Some(WIDTH))
}

/// Formats a table with one line per row, however wide.
pub fn wide_table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    render(header, rows, None)
}

fn render(
    header: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
    limit: Option<usize>,
) -> String {
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|row| {
            row.iter()
                .map(|cell| clean(cell).replace(['\t', '\n'], " "))
                .collect()
        })
        .collect();
    let layout = limit.and_then(|limit| Layout::find(header, &rows, limit));
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header.iter().map(|cell| (*cell).to_owned()));
    if console::colors_enabled() {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    for row in &rows {
        let cells = row.iter().enumerate().map(|(column, text)| {
            let shown = match &layout {
                Some(layout) => layout.wrap(column, text),
                None => text.clone(),
            };
            let cell = Cell::new(shown);
            match header.get(column) {
                Some(name) if STATES.contains(name) => colored(cell, text),
                _ => cell,
            }
        });
        table.add_row(cells);
    }
    let padding = u16::try_from(GAP).unwrap_or_default();
    for column in table.column_iter_mut() {
        column.set_padding((0, padding));
    }
    let mut text = String::new();
    for line in table.to_string().lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn colored(cell: Cell, text: &str) -> Cell {
    match state_of(text) {
        Some(Meaning::Good) => cell.fg(Color::Green),
        Some(Meaning::Pending) => cell.fg(Color::Yellow),
        Some(Meaning::Bad) => cell.fg(Color::Red).add_attribute(Attribute::Bold),
        None => cell,
    }
}

/// The places at which cells may be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Breaks {
    /// Between words.
    Words,
    /// After punctuation too (`/`, `:`, `-`, …).
    Signs,
    /// Like `Signs`; also truncates long parts that are not words.
    Cuts,
}

/// The widths of the columns, and the breaks that achieve them.
struct Layout {
    breaks: Breaks,
    widths: Vec<usize>,
}

impl Layout {
    /// The width limit; `None` if every cell fits without breaks.
    fn find(header: &[&str], rows: &[Vec<String>], limit: usize) -> Option<Self> {
        let limit = limit.saturating_sub(GAP * header.len().saturating_sub(1));
        let column = |column: usize, measure: &dyn Fn(&str) -> usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            let cells = cells.map(|cell| measure(cell)).max();
            cells.unwrap_or(0).max(width(header[column]))
        };
        let measure = |measure: &dyn Fn(&str) -> usize| -> Vec<usize> {
            (0..header.len()).map(|i| column(i, measure)).collect()
        };
        let natural = measure(&|cell| cell.lines().map(width).max().unwrap_or(0));
        if natural.iter().sum::<usize>() <= limit {
            return None;
        }
        let mut breaks = Breaks::Words;
        let mut least = measure(&|cell| least(cell, breaks));
        for next in [Breaks::Signs, Breaks::Cuts] {
            if least.iter().sum::<usize>() <= limit {
                break;
            }
            breaks = next;
            least = measure(&|cell| self::least(cell, next));
        }
        // The widest column shrinks first.
        let mut widths: Vec<usize> = natural
            .iter()
            .zip(&least)
            .map(|(natural, least)| (*natural).min(limit).max(*least))
            .collect();
        let target = limit.saturating_sub(GAP);
        while widths.iter().sum::<usize>() > target {
            let widest = (0..widths.len())
                .filter(|i| widths[*i] > least[*i])
                .max_by_key(|i| widths[*i]);
            match widest {
                Some(widest) => widths[widest] -= 1,
                None => break,
            }
        }
        Some(Self { breaks, widths })
    }

    fn wrap(&self, column: usize, text: &str) -> String {
        let Some(room) = self.widths.get(column).copied() else {
            return text.to_owned();
        };
        let mut lines = Vec::new();
        for line in text.lines() {
            wrap(line, room, self.breaks, &mut lines);
        }
        lines.join("\n")
    }
}

/// Appends the lines of `text` that fit in `room` columns.
fn wrap(text: &str, room: usize, breaks: Breaks, lines: &mut Vec<String>) {
    let mut line = String::new();
    for word in words(text, breaks) {
        let space = usize::from(!line.is_empty());
        if width(&line) + space + width(&word) <= room {
            if space == 1 {
                line.push(' ');
            }
            line.push_str(&word);
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        if width(&word) <= room || breaks == Breaks::Words {
            line = word;
            continue;
        }
        for part in parts(&word) {
            let part = if breaks == Breaks::Cuts {
                cut(part, room)
            } else {
                part.to_owned()
            };
            if !line.is_empty() && width(&line) + width(&part) > room {
                lines.push(std::mem::take(&mut line));
            }
            line.push_str(&part);
        }
    }
    lines.push(line);
}

/// Returns the minimum width of a cell.
fn least(cell: &str, breaks: Breaks) -> usize {
    let words = cell.lines().flat_map(|line| words(line, breaks));
    let needed = words.map(|word| match breaks {
        Breaks::Words => width(&word),
        Breaks::Signs => parts(&word).into_iter().map(width).max().unwrap_or(0),
        Breaks::Cuts => {
            let parts = parts(&word).into_iter();
            let needed = parts.map(|part| {
                if is_cuttable(part) {
                    width(part).min(CUT)
                } else {
                    width(part)
                }
            });
            needed.max().unwrap_or(0)
        }
    });
    needed.max().unwrap_or(0)
}

/// Splits a line into words. A date and its time stay together, and so do a number and its unit,
/// unless `breaks` requires otherwise.
fn words(line: &str, breaks: Breaks) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for word in line.split_whitespace() {
        match found.last_mut() {
            Some(last) if breaks != Breaks::Cuts && is_one_word(last, word) => {
                last.push(' ');
                last.push_str(word);
            }
            _ => found.push(word.to_owned()),
        }
    }
    found
}

fn is_one_word(left: &str, right: &str) -> bool {
    let number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit()) && is_number(text);
    let unit = right.len() <= 3 && right.chars().all(|c| c.is_ascii_alphabetic());
    number(left) && (number(right) || unit)
}

/// Returns whether a word is a number, a date or a time.
fn is_number(word: &str) -> bool {
    word.chars()
        .all(|c| c.is_ascii_digit() || ".,:+-%TZe".contains(c))
}

/// Splits a word into parts that end with punctuation.
fn parts(word: &str) -> Vec<&str> {
    const SIGNS: &[char] = &['/', ':', '@', ',', ';', '=', '_', '-', '.', '|', '&', '?'];

    if is_number(word) || word.contains(' ') {
        return vec![word];
    }
    let mut found = Vec::new();
    let mut rest = word;
    // No break at the beginning, or between two punctuation marks.
    while let Some(end) = rest
        .char_indices()
        .skip(1)
        .find(|(at, c)| {
            SIGNS.contains(c) && rest[at + c.len_utf8()..].starts_with(char::is_alphanumeric)
        })
        .map(|(at, c)| at + c.len_utf8())
    {
        let (part, after) = rest.split_at(end);
        found.push(part);
        rest = after;
    }
    found.push(rest);
    found
}

/// Returns whether a part may be truncated: digits indicate an id, a digest or an account; letters
/// alone are a word.
fn is_cuttable(part: &str) -> bool {
    let is_id = part.contains(|c: char| c.is_ascii_digit()) && !is_number(part);
    is_id || part.len() > WIDTH
}

fn cut(part: &str, room: usize) -> String {
    if width(part) <= room || !is_cuttable(part) {
        return part.to_owned();
    }
    let kept: String = part.chars().take(room.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(cells: &[&[&str]]) -> Vec<Vec<String>> {
        cells
            .iter()
            .map(|row| row.iter().map(|cell| (*cell).to_owned()).collect())
            .collect()
    }

    #[track_caller]
    fn fits(text: &str) {
        for line in text.lines() {
            assert!(width(line) <= WIDTH, "{line:?} in\n{text}");
        }
    }

    #[test]
    fn fitting_text_is_unchanged() {
        let text = table(&["NAME", "STATUS"], rows(&[&["a", "b"], &["longer", ""]]));
        assert_eq!(text, "NAME    STATUS\na       b\nlonger\n");
    }

    #[test]
    fn tables_fit_in_80_columns() {
        let text = table(&["NAME", "TEXT"], rows(&[&["a", &"word ".repeat(40)]]));
        fits(&text);
        assert!(text.contains("NAME"));
    }

    /// Issue 8, 5.6: `PendingManualApproval` was broken as `PendingManualApprova/l`.
    #[test]
    fn no_word_is_broken() {
        let text = table(
            &["VERSION", "STATUS", "METRIC", "CREATED", "BRANCH", "COMMIT"],
            rows(&[&[
                "12",
                "PendingManualApproval",
                "weighted_mean_absolute_percentage_error 0.01234",
                "2026-01-02 03:04Z",
                "fix/more-columns",
                "0a58e72",
            ]]),
        );
        fits(&text);
        for word in [
            "PendingManualApproval",
            "2026-01-02 03:04Z",
            "0a58e72",
            "absolute_",
            "percentage_",
            "0.01234",
            "columns",
        ] {
            assert!(text.contains(word), "{word} in\n{text}");
        }
        assert!(!text.contains('…'), "{text}");
    }

    #[test]
    fn wrapped_cells_keep_every_word() {
        let prose = "Data type match requirement is not met. Expected data type: Integral, \
                     Expected match: 100.0%. Observed: Only 95.55% of data is Integral.";
        let text = table(
            &["FEATURE", "CHECK", "DESCRIPTION"],
            rows(&[&["dep_delay", "data_type_check", prose]]),
        );
        fits(&text);
        let mut rest = text.as_str();
        for word in prose.split(' ') {
            let at = rest.find(word).unwrap_or_else(|| panic!("{word}\n{text}"));
            rest = &rest[at + word.len()..];
        }
    }

    #[test]
    fn digests_and_arns_are_wrapped_at_punctuation_and_truncated_last() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let arn = "arn:aws:sagemaker:us-east-1:000000000000:model-package/flights/3";
        let text = table(
            &["DIGEST", "ARN", "STATUS"],
            rows(&[&[&digest, arn, "PendingManualApproval"]]),
        );
        fits(&text);
        assert!(text.contains("sha256:"), "{text}");
        assert!(text.contains('…'), "{text}");
        assert!(text.contains("PendingManualApproval"), "{text}");
        for part in ["sagemaker:", "model-", "flights/3"] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn words_that_do_not_fit_are_not_broken_either() {
        let long = "Donaudampfschifffahrtsgesellschaft";
        let text = table(&["A", "B", "C"], rows(&[&[long, long, long]]));
        assert_eq!(text.matches(long).count(), 3, "{text}");
    }

    #[test]
    fn a_wide_table_has_one_line_for_each_row() {
        let text = wide_table(&["A", "B"], rows(&[&[&"a ".repeat(60), &"b ".repeat(60)]]));
        assert_eq!(text.lines().count(), 2, "{text}");
    }
}
