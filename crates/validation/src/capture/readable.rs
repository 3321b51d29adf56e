//! Profiles captured traffic without the invocations that cannot be read: a client chooses the content of
//! its requests, and one that the model accepts and the reader does not must not end the analysis.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};

use serde::{Deserialize, Serialize};

use super::super::jsonl::Lines;
use super::super::profile::{MAX_COLUMNS, Profile, Profiler, too_many_columns};
use super::super::{Baseline, DataError, Source, decode};
use super::{Cell, MAX_LINE, MIXED, Table, Window, add, invocation};

/// Maximum number of reasons in [`Unreadable::reasons`].
pub const MAX_REASONS: usize = 20;

/// The invocations that were skipped because they cannot be read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreadable {
    /// Number of invocations.
    pub invocations: u64,
    /// The reasons of the first [`MAX_REASONS`], each with the source's name and the line.
    pub reasons: Vec<String>,
}

impl Unreadable {
    fn push(&mut self, name: &str, line: u64, message: String) {
        self.invocations += 1;
        if self.reasons.len() < MAX_REASONS {
            self.reasons
                .push(DataError::at(name, line, message).to_string());
        }
    }
}

/// Maximum size in bytes of the invocations that wait for the shape of the columns.
const MAX_PENDING: usize = 16 << 20;

/// Maximum number of shapes that are counted.
const MAX_SHAPES: usize = 1000;

/// Size of a value in addition to its text.
const VALUE: usize = 64;

/// Profiles captured traffic as [`profile`](super::super::profile()) does, but counts and skips each
/// invocation that cannot be read. An invocation of several rows is skipped as a whole. Lines that cannot be
/// parsed have no time, so they count whatever the window is. Without a readable row, there is no profile.
///
/// Whether values have names, and how many there are without names, is decided by the most frequent shape among the first
/// invocations (16 MiB of them) that fit the baseline, or among all of the first ones if none fits: a single one may be
/// anybody's. Without a baseline, the first invocation decides.
///
/// # Errors
/// A source that cannot be opened or decoded.
pub fn profile_readable(
    sources: Vec<Source>,
    window: Window,
    baseline: Option<&Baseline>,
) -> Result<(Option<Profile>, Unreadable), DataError> {
    let mut reader = Reader::new(baseline)?;
    for source in sources {
        let name = source.name;
        let input = (source.open)().map_err(|error| DataError::unread(&name, error))?;
        let input = decode::decoded(&name, input.into_reader())?;
        let input = BufReader::with_capacity(256 * 1024, input);
        reader.read(Lines::new(&name, input, MAX_LINE), window)?;
    }
    reader.finish()
}

/// The rows of an invocation, and where it was.
struct Read {
    name: String,
    line: u64,
    rows: Table,
}

impl Read {
    /// Whether values have names, and the number of values without names.
    fn shape(&self) -> (bool, usize) {
        match self.rows.first() {
            Some(row) if has_names(row) => (true, 0),
            row => (false, row.map_or(0, Vec::len)),
        }
    }
}

struct Reader {
    profiler: Profiler,
    /// The names of the baseline's columns.
    expected: Vec<String>,
    /// Whether values have names, once that is decided.
    named: Option<bool>,
    /// The first invocations, until the shape is decided.
    pending: Vec<Read>,
    /// Their size in bytes.
    size: usize,
    skipped: Unreadable,
}

impl Reader {
    fn new(baseline: Option<&Baseline>) -> Result<Self, DataError> {
        let features = baseline.into_iter().flat_map(|it| &it.constraints.features);
        Ok(Self {
            profiler: Profiler::new(baseline)?,
            expected: features.map(|feature| feature.name.clone()).collect(),
            named: None,
            pending: Vec::new(),
            size: 0,
            skipped: Unreadable::default(),
        })
    }

    fn read<R: BufRead>(
        &mut self,
        mut lines: Lines<'_, R>,
        window: Window,
    ) -> Result<(), DataError> {
        let name = lines.name().to_owned();
        while let Some((number, line)) = lines.next_or_reason()? {
            match line.and_then(|line| invocation(line, window)) {
                Ok(rows) if rows.is_empty() => {}
                Ok(rows) => self.take(Read {
                    name: name.clone(),
                    line: number,
                    rows,
                })?,
                Err(message) => self.skipped.push(&name, number, message),
            }
        }
        Ok(())
    }

    /// Adds an invocation, or keeps it until the shape is decided.
    fn take(&mut self, read: Read) -> Result<(), DataError> {
        if self.named.is_some() || self.expected.is_empty() {
            return self.add(read);
        }
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let values = read.rows.iter().flatten();
        let size = values.map(|(name, value)| text(name) + text(value) + VALUE);
        self.size += size.sum::<usize>() + VALUE;
        self.pending.push(read);
        if self.size > MAX_PENDING {
            self.decide()?;
        }
        Ok(())
    }

    /// Whether an invocation has exactly the baseline's columns, or names them all.
    fn fits(&self, rows: &Table) -> bool {
        let expected = &self.expected;
        rows.iter().all(|row| {
            if !has_names(row) {
                return row.len() == expected.len();
            }
            let names = row.iter().zip(0..).map(|((name, _), index)| match name {
                Some(name) => name.as_str(),
                None => expected.get(index).map_or("", String::as_str),
            });
            let names: HashSet<&str> = names.collect();
            expected.iter().all(|name| names.contains(name.as_str()))
        })
    }

    /// Adds the pending invocations, first those of the shape that decides until one of them can be added.
    fn decide(&mut self) -> Result<(), DataError> {
        self.size = 0;
        let pending = std::mem::take(&mut self.pending);
        let fitting = pending.iter().filter(|read| self.fits(&read.rows));
        let shape = most_frequent(fitting).or_else(|| most_frequent(pending.iter()));
        let (first, rest): (Vec<Read>, Vec<Read>) = pending
            .into_iter()
            .partition(|read| Some(read.shape()) == shape);
        first
            .into_iter()
            .chain(rest)
            .try_for_each(|read| self.add(read))
    }

    fn add(&mut self, read: Read) -> Result<(), DataError> {
        let Read { name, line, rows } = read;
        if let Err(message) = check(&rows, self.named, &self.profiler) {
            self.skipped.push(&name, line, message);
            return Ok(());
        }
        rows.into_iter()
            .try_for_each(|row| add(row, &mut self.named, &mut self.profiler))
            .map_err(|message| DataError::at(name, line, message))
    }

    fn finish(mut self) -> Result<(Option<Profile>, Unreadable), DataError> {
        self.decide()?;
        match self.profiler.finish() {
            Ok(profile) => Ok((Some(profile), self.skipped)),
            Err(error) if error.is_empty() => Ok((None, self.skipped)),
            Err(error) => Err(error),
        }
    }
}

/// The most frequent shape; of several, the earliest.
fn most_frequent<'a>(reads: impl Iterator<Item = &'a Read>) -> Option<(bool, usize)> {
    let mut counts: Vec<((bool, usize), usize)> = Vec::new();
    for read in reads {
        let shape = read.shape();
        if let Some((_, count)) = counts.iter_mut().find(|(known, _)| *known == shape) {
            *count += 1;
        } else if counts.len() < MAX_SHAPES {
            counts.push((shape, 1));
        }
    }
    // The last of several maxima is returned.
    let most = counts.into_iter().rev().max_by_key(|(_, count)| *count);
    most.map(|(shape, _)| shape)
}

fn has_names(row: &[Cell]) -> bool {
    row.iter().any(|(name, _)| name.is_some())
}

/// Refuses an invocation before any of its rows is added.
fn check(rows: &Table, named: Option<bool>, profiler: &Profiler) -> Result<(), String> {
    let Some(first) = rows.first() else {
        return Ok(());
    };
    let named = named.unwrap_or_else(|| has_names(first));
    if rows.iter().any(|row| has_names(row) != named) {
        return Err(MIXED.to_owned());
    }
    if named {
        return check_names(rows, profiler);
    }
    let width = match profiler.width() {
        0 => first.len(),
        width => width,
    };
    if width == 0 {
        return Err("a row has no values".to_owned());
    }
    if width > MAX_COLUMNS {
        return Err(too_many_columns());
    }
    match rows.iter().map(Vec::len).find(|length| *length != width) {
        Some(length) => Err(format!("{length} fields, but there are {width} columns")),
        None => Ok(()),
    }
}

fn check_names(rows: &Table, profiler: &Profiler) -> Result<(), String> {
    let mut new = HashSet::new();
    for row in rows {
        let mut seen = HashSet::with_capacity(row.len());
        for (index, (name, _)) in row.iter().enumerate() {
            let name = name.clone().unwrap_or_else(|| profiler.name_at(index));
            if name.is_empty() {
                return Err("a column has no name".to_owned());
            }
            if !profiler.has_column(&name) {
                new.insert(name.clone());
            }
            if let Some(twice) = seen.replace(name) {
                return Err(format!("the column `{twice}` occurs twice"));
            }
        }
        if profiler.width() + new.len() > MAX_COLUMNS {
            return Err(too_many_columns());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::super::{Constraints, Format};
    use super::*;

    fn event(input: &str, encoding: &str) -> String {
        let data = serde_json::Value::String(input.to_owned());
        format!(
            r#"{{"captureData":{{"endpointInput":{{"data":{data},"encoding":"{encoding}"}},"endpointOutput":null}}}}"#
        )
    }

    fn sources(files: &[&[String]]) -> Vec<Source> {
        let sources = files.iter().enumerate().map(|(i, lines)| {
            let text = lines.join("\n");
            Source::stream(format!("f{i}"), move || Ok(Cursor::new(text)))
        });
        sources.collect()
    }

    fn profiled(files: &[&[String]]) -> (Profile, Unreadable) {
        let found = profile_readable(sources(files), Window::default(), None);
        let (profile, skipped) = found.unwrap();
        (profile.unwrap(), skipped)
    }

    #[test]
    fn single_invocations_are_skipped_as_a_whole() {
        let good = event("1,2\n3,4", "CSV");
        let lines = [
            good.clone(),
            event("5,6\n7,8,9", "CSV"),
            event("{\"a\":1}", "JSON"),
            event("{\"a\":{}}", "JSON"),
            event("/w==", "BASE64"),
            "{".to_owned(),
            event("\"", "CSV"),
            good.clone(),
        ];
        let named = [event("{\"a\":1}", "JSON"), good.clone()];
        let (profile, skipped) = profiled(&[&lines, &named]);
        let (expected, none) = profiled(&[&[good.clone(), good.clone(), good.clone()]]);
        assert_eq!(profile.statistics(), expected.statistics());
        assert_eq!(none, Unreadable::default());
        assert_eq!(skipped.invocations, 7);
        let expected = [
            "f0, line 2: 3 fields, but there are 2 columns",
            "f0, line 3: the values have names in some invocations and none in others",
            "f0, line 4: endpointInput: not flat JSON: `a`: an object is nested here",
            "f0, line 5: endpointInput: the content type",
            "f0, line 6: not a captured invocation",
            "f0, line 7: endpointInput: line 1: a quote is opened here",
            "f1, line 1: the values have names",
        ];
        for (found, expected) in skipped.reasons.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}");
        }
        assert_eq!(skipped.reasons.len(), expected.len());
    }

    #[test]
    fn names_are_checked_before_a_row_is_added() {
        let members: Vec<String> = (0..MAX_COLUMNS).map(|i| format!("\"k{i}\":1")).collect();
        let lines = [
            event("{\"a\":1}", "JSON"),
            event("{\"b\":1}\n{\"b\":1,\"b\":2}", "JSON"),
            event("{\"c\":1,\"\":2}", "JSON"),
            event(&format!("{{{}}}", members.join(",")), "JSON"),
            event("{\"d\":1,\"a\":2}", "JSON"),
        ];
        let (profile, skipped) = profiled(&[&lines]);
        assert_eq!((profile.rows(), profile.columns()), (2, 2));
        let expected = [
            "f0, line 2: the column `b` occurs twice",
            "f0, line 3: a column has no name",
            "f0, line 4: more than 16384 columns: names must not be values",
        ];
        assert_eq!(skipped.reasons, expected);
    }

    #[test]
    fn reasons_are_bounded_and_nothing_readable_is_no_profile() {
        let mut lines = vec!["x".to_owned(); 50];
        let read = |lines: &[String]| {
            profile_readable(sources(&[lines]), Window::default(), None).unwrap()
        };
        let (profile, skipped) = read(&lines);
        assert!(profile.is_none());
        assert_eq!(skipped.invocations, 50);
        assert!(
            skipped.reasons[0].starts_with("f0, line 1: not a"),
            "{skipped:?}"
        );
        let (profile, skipped) = read(&[]);
        assert!(profile.is_none() && skipped == Unreadable::default());
        lines.push(event("1", "CSV"));
        let (profile, skipped) = profiled(&[&lines]);
        assert_eq!((profile.rows(), skipped.invocations), (1, 50));
        assert_eq!(skipped.reasons.len(), MAX_REASONS);
    }

    /// Rows and skipped invocations, with a baseline of the columns `a` and `b`.
    fn with_baseline(lines: &[String]) -> (u64, u64, Vec<String>) {
        let table = Source::stream("t", || Ok("a,b\n1,2\n3,4\n".as_bytes()));
        let profile = super::super::super::profile(vec![table], &Format::Csv, None).unwrap();
        let baseline = Baseline {
            constraints: Constraints::suggest(&profile.statistics()),
            statistics: None,
        };
        let found = profile_readable(sources(&[lines]), Window::default(), Some(&baseline));
        let (profile, skipped) = found.unwrap();
        let profile = profile.unwrap();
        let names = profile.statistics().features.into_iter().map(|it| it.name);
        (profile.rows(), skipped.invocations, names.collect())
    }

    #[test]
    fn the_first_request_does_not_decide_what_the_others_mean() {
        let (fits, named) = (event("1,2", "CSV"), event("{\"b\":1,\"a\":2}", "JSON"));
        for first in ["7", "7,8,9", "{\"zz\":1}", "{\"a\":1}"] {
            let encoding = if first.starts_with('{') {
                "JSON"
            } else {
                "CSV"
            };
            let first = event(first, encoding);
            let columns = vec!["a".to_owned(), "b".to_owned()];
            let lines = [first.clone(), first.clone(), fits.clone(), fits.clone()];
            assert_eq!(with_baseline(&lines), (2, 2, columns));
        }
        // Nor does a single one that names all columns.
        let lines = [event("7", "CSV"), named.clone(), fits.clone(), fits];
        assert_eq!(with_baseline(&lines).0, 2);
        let lines = [named.clone(), event("7", "CSV"), named];
        assert_eq!(with_baseline(&lines).0, 2);
    }

    #[test]
    fn if_none_fits_the_most_frequent_shape_decides() {
        let wide = event("7,8,9", "CSV");
        let lines = [
            event("7", "CSV"),
            wide.clone(),
            event("{\"z\":1}", "JSON"),
            wide,
        ];
        let columns = ["a", "b", "_c2"].map(str::to_owned).to_vec();
        assert_eq!(with_baseline(&lines), (2, 2, columns));
        // The first one of the most frequent shape cannot be added.
        let lines = [
            event("7", "CSV"),
            event("7,8,9\n1", "CSV"),
            event("7,8,9", "CSV"),
        ];
        assert_eq!(with_baseline(&lines).0, 1);
        let text = "7".repeat(1000);
        let many = vec![event(&format!("{text},8,9"), "CSV"); MAX_PENDING / 1000 + 100];
        assert_eq!(with_baseline(&many).0, many.len() as u64);
    }

    #[test]
    fn long_lines_and_other_bytes_are_skipped() {
        let mut bytes = event("1", "CSV").into_bytes();
        bytes.extend(b"\n\xff\n");
        let long = event(&"2".repeat(1_000), "CSV");
        bytes.extend(format!("{long}\n\n{}", event("3", "CSV")).into_bytes());
        let mut reader = Reader::new(None).unwrap();
        let lines = Lines::new("f", &bytes[..], 300);
        reader.read(lines, Window::default()).unwrap();
        let (profile, skipped) = reader.finish().unwrap();
        assert_eq!(profile.unwrap().rows(), 2);
        assert_eq!(skipped.invocations, 2);
        assert!(skipped.reasons[0].starts_with("f, line 2: byte 0xff is not"));
        assert!(skipped.reasons[1].starts_with("f, line 3: the line is longer"));
    }
}
