//! Profiles captured traffic without the invocations that cannot be read: a client chooses the content of
//! its requests, and one that the model accepts and the reader does not must not end the analysis.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};

use serde::{Deserialize, Serialize};

use super::super::jsonl::Lines;
use super::super::profile::{MAX_COLUMNS, Profile, Profiler, too_many_columns};
use super::super::{Baseline, DataError, NO_ROWS, Source, decode};
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

/// Profiles captured traffic as [`profile`](super::super::profile()) does, but counts and skips each
/// invocation that cannot be read. An invocation of several rows is skipped as a whole. The first readable
/// one decides whether values have names, and the number of columns without names. Lines that cannot be
/// parsed have no time, so they count whatever the window is.
///
/// # Errors
/// A source that cannot be opened or decoded; no invocation can be read; no rows
/// ([`DataError::is_empty`]) although all can.
pub fn profile_readable(
    sources: Vec<Source>,
    window: Window,
    baseline: Option<&Baseline>,
) -> Result<(Profile, Unreadable), DataError> {
    let mut profiler = Profiler::new(baseline)?;
    let mut named = None;
    let mut skipped = Unreadable::default();
    for source in sources {
        let name = source.name;
        let input = (source.open)().map_err(|error| DataError::unread(&name, error))?;
        let input = decode::decoded(&name, input.into_reader())?;
        let input = BufReader::with_capacity(256 * 1024, input);
        read(
            Lines::new(&name, input, MAX_LINE),
            window,
            &mut named,
            &mut profiler,
            &mut skipped,
        )?;
    }
    let profile = profiler.finish().map_err(|error| {
        // Not the error of data without traffic.
        match skipped.reasons.first() {
            Some(reason) if error.is_empty() => DataError::new(
                "the captured traffic",
                format!(
                    "{NO_ROWS}, but {} invocations that cannot be read: {reason}",
                    skipped.invocations
                ),
            ),
            _ => error,
        }
    })?;
    Ok((profile, skipped))
}

/// Reads one source.
fn read<R: BufRead>(
    mut lines: Lines<'_, R>,
    window: Window,
    named: &mut Option<bool>,
    profiler: &mut Profiler,
    skipped: &mut Unreadable,
) -> Result<(), DataError> {
    let name = lines.name();
    while let Some((number, line)) = lines.next_or_reason()? {
        let rows = line
            .and_then(|line| invocation(line, window))
            .and_then(|rows| {
                check(&rows, *named, profiler)?;
                Ok(rows)
            });
        match rows {
            Ok(rows) => rows
                .into_iter()
                .try_for_each(|row| add(row, named, profiler))
                .map_err(|message| DataError::at(name, number, message))?,
            Err(message) => skipped.push(name, number, message),
        }
    }
    Ok(())
}

/// Refuses an invocation before any of its rows is added.
fn check(rows: &Table, named: Option<bool>, profiler: &Profiler) -> Result<(), String> {
    let Some(first) = rows.first() else {
        return Ok(());
    };
    let has_names = |row: &Vec<Cell>| row.iter().any(|(name, _)| name.is_some());
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

    use super::*;

    fn event(input: &str, encoding: &str) -> String {
        let data = serde_json::Value::String(input.to_owned());
        format!(
            r#"{{"captureData":{{"endpointInput":{{"data":{data},"encoding":"{encoding}"}},"endpointOutput":null}}}}"#
        )
    }

    fn profiled(files: &[&[String]]) -> Result<(Profile, Unreadable), DataError> {
        let sources = files.iter().enumerate().map(|(i, lines)| {
            let text = lines.join("\n");
            Source::stream(format!("f{i}"), move || Ok(Cursor::new(text)))
        });
        profile_readable(sources.collect(), Window::default(), None)
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
        let (profile, skipped) = profiled(&[&lines, &named]).unwrap();
        let (expected, none) = profiled(&[&[good.clone(), good.clone(), good.clone()]]).unwrap();
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
        let (profile, skipped) = profiled(&[&lines]).unwrap();
        assert_eq!((profile.rows(), profile.columns()), (2, 2));
        let expected = [
            "f0, line 2: the column `b` occurs twice",
            "f0, line 3: a column has no name",
            "f0, line 4: more than 16384 columns: names must not be values",
        ];
        assert_eq!(skipped.reasons, expected);
    }

    #[test]
    fn reasons_are_bounded_and_nothing_readable_is_an_error() {
        let mut lines = vec!["x".to_owned(); 50];
        let error = profiled(&[&lines]).unwrap_err();
        assert!(!error.is_empty());
        let error = error.to_string();
        assert!(
            error.contains("no rows, but 50 invocations that cannot be read: f0, line 1: not a"),
            "{error}"
        );
        assert!(profiled(&[&[]]).unwrap_err().is_empty());
        lines.push(event("1", "CSV"));
        let (profile, skipped) = profiled(&[&lines]).unwrap();
        assert_eq!((profile.rows(), skipped.invocations), (1, 50));
        assert_eq!(skipped.reasons.len(), MAX_REASONS);
    }

    #[test]
    fn long_lines_and_other_bytes_are_skipped() {
        let mut bytes = event("1", "CSV").into_bytes();
        bytes.extend(b"\n\xff\n");
        let long = event(&"2".repeat(1_000), "CSV");
        bytes.extend(format!("{long}\n\n{}", event("3", "CSV")).into_bytes());
        let (mut profiler, mut skipped) = (Profiler::new(None).unwrap(), Unreadable::default());
        let lines = Lines::new("f", &bytes[..], 300);
        let window = Window::default();
        read(lines, window, &mut None, &mut profiler, &mut skipped).unwrap();
        assert_eq!(profiler.finish().unwrap().rows(), 2);
        assert_eq!(skipped.invocations, 2);
        assert!(skipped.reasons[0].starts_with("f, line 2: byte 0xff is not"));
        assert!(skipped.reasons[1].starts_with("f, line 3: the line is longer"));
    }
}
