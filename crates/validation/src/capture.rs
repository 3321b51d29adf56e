//! Traffic captured by a SageMaker endpoint: JSON Lines, one invocation per line.
//!
//! Output columns come first, then input columns, as in AWS's analyzer. The data of an invocation
//! is CSV or JSON, as text or in base64, and may have several rows; input and output then have the
//! same number of rows. An output of one line with one value per input row (the response of AWS's
//! built-in algorithms) counts as a column. Unnamed values get the baseline's names, in order, or
//! `_c0`, `_c1`, … without a baseline.
//!
//! JSON is limited to what the analyzer supports: an array of values, or flat objects
//! (`{"feature0": 1, "feature1": "a"}`) whose keys are the columns; and several rows of either, in
//! an array or one after another (JSON Lines). Nested data is rejected: AWS requires a
//! preprocessing script to flatten it.

use std::borrow::Cow;
use std::io::{BufRead, BufReader};

use base64::Engine as _;
use mlops_core::quote::short;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::flat::Scanner;
use super::jsonl::Lines;
use super::profile::Profiler;
use super::{DataError, Source, decode};

mod merged;
mod readable;

pub(super) use merged::{MergedRow, merged};
pub use readable::{MAX_REASONS, Unreadable, profile_readable};

/// Maximum length of a line in bytes. A line has a request and a response of at most 25 MB each, which base64
/// extends by a third (to 64 MiB for both), and escapes in text by more.
pub(super) const MAX_LINE: usize = 128 * 1024 * 1024;

/// The error about rows with and without names.
const MIXED: &str =
    "the values have names in some invocations and none in others: the columns are not known";

/// A window of inference times; both ends are optional.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    /// Start of the window, inclusive.
    pub since: Option<jiff::Timestamp>,
    /// End of the window, exclusive.
    pub until: Option<jiff::Timestamp>,
}

impl Window {
    /// Returns whether a time is in the window.
    pub fn contains(&self, time: jiff::Timestamp) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    capture_data: CaptureData,
    #[serde(default)]
    event_metadata: EventMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CaptureData {
    endpoint_input: Option<Payload>,
    endpoint_output: Option<Payload>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct EventMetadata {
    inference_time: Option<jiff::Timestamp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    #[serde(default)]
    observed_content_type: String,
    data: String,
    encoding: String,
}

/// A value, and its column's name if the data contains it.
pub(super) type Cell = (Option<String>, Option<String>);
type Table = Vec<Vec<Cell>>;

/// Returns whether the first line of a source is a captured invocation.
///
/// # Errors
/// The source cannot be read.
pub fn is_captured(source: Source) -> Result<bool, DataError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Event {
        #[serde(rename = "captureData")]
        _capture_data: serde::de::IgnoredAny,
    }

    let name = source.name;
    let input = (source.open)().map_err(|error| DataError::unread(&name, error))?;
    let input = decode::decoded(&name, input.into_reader())?;
    let mut lines = Lines::new(&name, BufReader::new(input), MAX_LINE);
    let line = lines.next_line()?;
    Ok(
        line.is_some_and(|(_, line)| {
            is_object(line) && serde_json::from_str::<Event>(line).is_ok()
        }),
    )
}

/// serde would also accept an array for a struct.
fn is_object(line: &str) -> bool {
    line.trim_ascii_start().starts_with('{')
}

/// Reads a capture file into the profiler.
pub(super) fn read(
    name: &str,
    input: impl BufRead,
    window: Window,
    profiler: &mut Profiler,
) -> Result<(), DataError> {
    let mut lines = Lines::new(name, input, MAX_LINE);
    let mut named = None;
    while let Some((number, line)) = lines.next_line()? {
        let rows = invocation(line, window).and_then(|rows| {
            rows.into_iter()
                .try_for_each(|row| add(row, &mut named, profiler))
        });
        rows.map_err(|message| DataError::at(name, number, message))?;
    }
    Ok(())
}

/// Reads the input rows of a capture file, in order. An error of `add` is reported with the line.
pub(super) fn inputs(
    name: &str,
    input: impl BufRead,
    window: Window,
    mut add: impl FnMut(Vec<Cell>) -> Result<(), String>,
) -> Result<(), DataError> {
    let mut lines = Lines::new(name, input, MAX_LINE);
    while let Some((number, line)) = lines.next_line()? {
        let added = event(line, window).and_then(|data| {
            let Some(data) = data else {
                return Ok(());
            };
            let side = |error| format!("endpointInput: {error}");
            let payload = data.endpoint_input.ok_or("not captured".to_owned());
            let rows = payload.and_then(|payload| table(&payload)).map_err(side)?;
            rows.into_iter().try_for_each(&mut add)
        });
        added.map_err(|message| DataError::at(name, number, message))?;
    }
    Ok(())
}

/// The data of one invocation; `None` if it is outside of the window.
fn event(line: &str, window: Window) -> Result<Option<CaptureData>, String> {
    let event = within(line, window, |event: &Invocation| &event.event_metadata)?;
    Ok(event.map(|event| event.capture_data))
}

/// Parses a line; `None` if the invocation is outside of the window.
fn within<T: DeserializeOwned>(
    line: &str,
    window: Window,
    metadata: impl Fn(&T) -> &EventMetadata,
) -> Result<Option<T>, String> {
    if !is_object(line) {
        return Err("not a captured invocation: it is not a JSON object".to_owned());
    }
    let event: T = serde_json::from_str(line)
        .map_err(|error| format!("not a captured invocation: {error}"))?;
    if window != Window::default() {
        let time = metadata(&event)
            .inference_time
            .ok_or("the invocation has no inferenceTime")?;
        if !window.contains(time) {
            return Ok(None);
        }
    }
    Ok(Some(event))
}

/// The rows of one invocation; empty if it is outside of the window.
fn invocation(line: &str, window: Window) -> Result<Table, String> {
    let Some(data) = event(line, window)? else {
        return Ok(Table::new());
    };
    let rows = |side: &str, payload: Option<Payload>| {
        payload
            .map(|payload| table(&payload).map_err(|error| format!("{side}: {error}")))
            .transpose()
    };
    let input = rows("endpointInput", data.endpoint_input)?;
    let output = rows("endpointOutput", data.endpoint_output)?;
    join(output, input)
}

fn add(row: Vec<Cell>, named: &mut Option<bool>, profiler: &mut Profiler) -> Result<(), String> {
    let has_names = row.iter().any(|(name, _)| name.is_some());
    if *named.get_or_insert(has_names) != has_names {
        return Err(MIXED.to_owned());
    }
    if !has_names {
        profiler.columns_by_position(row.len())?;
        return profiler.row(row.iter().map(|(_, value)| value.as_deref()));
    }
    let mut cells: Vec<Option<Option<String>>> = Vec::new();
    for (i, (name, value)) in row.into_iter().enumerate() {
        let name = name.unwrap_or_else(|| profiler.name_at(i));
        let column = profiler.ensure_column(&name)?;
        if cells.len() <= column {
            cells.resize(column + 1, None);
        }
        if cells[column].replace(value).is_some() {
            return Err(format!("the column `{name}` occurs twice"));
        }
    }
    cells.resize(profiler.width(), None);
    profiler.row(cells.iter().map(|cell| cell.as_ref()?.as_deref()))
}

/// Joins output columns and input columns.
fn join(output: Option<Table>, input: Option<Table>) -> Result<Table, String> {
    let (mut output, input) = match (output, input) {
        (Some(output), Some(input)) => (output, input),
        (Some(one), None) | (None, Some(one)) => return Ok(one),
        (None, None) => return Err("neither input nor output was captured".to_owned()),
    };
    if output.len() == 1
        && input.len() > 1
        && output[0].len() == input.len()
        && output[0].iter().all(|(name, _)| name.is_none())
    {
        let values = output.remove(0).into_iter();
        output = values.map(|value| vec![value]).collect();
    }
    if output.len() != input.len() {
        return Err(format!(
            "{} rows of output for {} rows of input",
            output.len(),
            input.len()
        ));
    }
    Ok(output
        .into_iter()
        .zip(input)
        .map(|(mut row, input)| {
            row.extend(input);
            row
        })
        .collect())
}

/// The text of a payload.
pub(super) enum Content<'a> {
    Csv(Cow<'a, str>),
    Json(Cow<'a, str>),
}

impl<'a> Content<'a> {
    /// Decodes the data of a payload.
    ///
    /// # Errors
    /// The encoding is unknown, or the data is not text.
    pub(super) fn of(encoding: &str, data: &'a str, content_type: &str) -> Result<Self, String> {
        match encoding {
            "CSV" => Ok(Self::Csv(data.into())),
            "JSON" => Ok(Self::Json(data.into())),
            "BASE64" => {
                let bytes = base64::engine::general_purpose::STANDARD
                    .decode(data.trim())
                    .map_err(|error| format!("not base64: {error}"))?;
                let text = String::from_utf8(bytes).map_err(|_| {
                    let kind = short(content_type);
                    format!("the content type {kind} is not text, which the data checks need")
                })?;
                Ok(if content_type.contains("json") {
                    Self::Json(text.into())
                } else {
                    Self::Csv(text.into())
                })
            }
            other => Err(format!("unknown encoding `{}`", short(other))),
        }
    }
}

fn table(payload: &Payload) -> Result<Table, String> {
    let kind = &payload.observed_content_type;
    let table = match Content::of(&payload.encoding, &payload.data, kind)? {
        Content::Csv(text) => csv(&text),
        Content::Json(text) => json(&text),
    }?;
    if table.is_empty() {
        return Err("the data is empty".to_owned());
    }
    Ok(table)
}

fn csv(text: &str) -> Result<Table, String> {
    let cell = |text: String| {
        let text = text.trim();
        (None, (!text.is_empty()).then(|| text.to_owned()))
    };
    let rows = super::csv::table(text)?.into_iter();
    Ok(rows
        .map(|row| row.into_iter().map(cell).collect())
        .collect())
}

fn json(text: &str) -> Result<Table, String> {
    let not_json = |error| format!("not flat JSON: {error}");
    let mut scanner = Scanner::new(text);
    let mut rows = Table::new();
    while scanner.peek().is_some() {
        document(&mut scanner, &mut rows).map_err(not_json)?;
    }
    Ok(rows)
}

/// Parses a value, a row, or an array of rows.
fn document(scanner: &mut Scanner<'_>, rows: &mut Table) -> Result<(), String> {
    if !scanner.take(b'[') {
        rows.push(row(scanner)?);
        return Ok(());
    }
    if !matches!(scanner.peek(), Some(b'[' | b'{')) {
        let values = array(scanner)?;
        if !values.is_empty() {
            rows.push(values);
        }
        return Ok(());
    }
    let mut first = true;
    while scanner.more(first, b']')? {
        rows.push(row(scanner)?);
        first = false;
    }
    Ok(())
}

/// Parses an object, an array or a value.
fn row(scanner: &mut Scanner<'_>) -> Result<Vec<Cell>, String> {
    if scanner.take(b'[') {
        return array(scanner);
    }
    if !scanner.take(b'{') {
        let value = scanner.scalar()?;
        return Ok(vec![(
            None,
            value.map(|piece| scanner.get(&piece).to_owned()),
        )]);
    }
    let mut cells = Vec::new();
    while let Some(key) = scanner.member(cells.is_empty())? {
        let key = scanner.get(&key).to_owned();
        let value = scanner
            .scalar()
            .map_err(|error| format!("`{key}`: {error}"))?;
        cells.push((Some(key), value.map(|piece| scanner.get(&piece).to_owned())));
    }
    Ok(cells)
}

/// Parses the rest of an array of values.
fn array(scanner: &mut Scanner<'_>) -> Result<Vec<Cell>, String> {
    let mut cells = Vec::new();
    while scanner.more(cells.is_empty(), b']')? {
        let value = scanner.scalar()?;
        cells.push((None, value.map(|piece| scanner.get(&piece).to_owned())));
    }
    Ok(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(input: &str, output: &str) -> String {
        format!(
            r#"{{"captureData":{{"endpointInput":{input},"endpointOutput":{output}}},"eventMetadata":{{"eventId":"1","inferenceTime":"2022-02-14T17:25:06Z"}},"eventVersion":"0"}}"#
        )
    }

    fn payload(data: &str, encoding: &str) -> String {
        let data = serde_json::Value::String(data.to_owned());
        format!(
            r#"{{"observedContentType":"text/csv","mode":"INPUT","data":{data},"encoding":"{encoding}"}}"#
        )
    }

    fn profile(lines: &str, window: Window) -> Result<super::super::Profile, String> {
        let mut profiler = Profiler::new(None).unwrap();
        read("c.jsonl", lines.as_bytes(), window, &mut profiler).map_err(|e| e.to_string())?;
        profiler.finish().map_err(|e| e.to_string())
    }

    #[test]
    fn output_columns_come_first_in_every_encoding() {
        let lines = [
            event(&payload("50,a\n60,b\n", "CSV"), &payload("0.5\n1.5", "CSV")),
            event(
                &payload("[[70,\"c\"],[80,null]]", "JSON"),
                &payload("[2.5,3.5]", "JSON"),
            ),
            event(&payload("OTAsZAo=", "BASE64"), &payload("4.5", "CSV")),
        ]
        .join("\n");
        let statistics = profile(&lines, Window::default()).unwrap().statistics();
        assert_eq!(statistics.dataset.item_count, 5);
        let sums: Vec<f64> = statistics
            .features
            .iter()
            .filter_map(|feature| Some(feature.numerical_statistics.as_ref()?.sum))
            .collect();
        assert_eq!(sums, [12.5, 350.0]);
        assert_eq!(statistics.features[2].name, "_c2");
        assert_eq!(statistics.features[2].common().unwrap().num_missing, 1);
    }

    #[test]
    fn flat_objects_name_their_columns() {
        let rows = [
            event(
                &payload("{\"b\":9223372036854775809,\"a\":\"x\"}", "JSON"),
                &payload("0.5", "CSV"),
            ),
            event(
                &payload("{\"a\":\"y\"}\n{\"b\":2,\"c\":\"\"}", "JSON"),
                &payload("[[1.5],[2.5]]", "JSON"),
            ),
            event(
                &payload("[{\"a\":null,\"b\":3}]", "JSON"),
                &payload("{\"score\":1}", "JSON"),
            ),
        ];
        let statistics = profile(&rows.join("\n"), Window::default())
            .unwrap()
            .statistics();
        let shape: Vec<(&str, u64)> = statistics
            .features
            .iter()
            .map(|f| (f.name.as_str(), f.common().unwrap().num_present))
            .collect();
        let expected = [("_c0", 3), ("b", 3), ("a", 2), ("c", 1), ("score", 1)];
        assert_eq!(shape, expected);
        let twice = event(&payload("{\"a\":1}", "JSON"), &payload("{\"a\":1}", "JSON"));
        let error = profile(&twice, Window::default()).unwrap_err();
        assert!(error.contains("the column `a` occurs twice"), "{error}");
    }

    #[test]
    fn captured_traffic_is_detected_by_its_first_line() {
        let look = |text: String| {
            is_captured(Source::stream("x", || Ok(std::io::Cursor::new(text)))).unwrap()
        };
        assert!(look(format!("\n{}", event("null", "null"))));
        assert!(!look("{\"a\":1}\n".to_owned()));
        assert!(!look("not JSON".to_owned()));
        assert!(!look("[{\"a\":1}]".to_owned()));
        assert!(!look(String::new()));
    }

    #[test]
    fn the_window_is_applied_to_each_invocation() {
        let line = event(&payload("1", "CSV"), &payload("2", "CSV"));
        let at = |text: &str| Some(text.parse().unwrap());
        let before = Window {
            since: None,
            until: at("2022-02-14T17:25:06Z"),
        };
        assert!(profile(&line, before).unwrap_err().contains("no rows"));
        let from = Window {
            since: at("2022-02-14T17:25:06Z"),
            until: None,
        };
        assert_eq!(profile(&line, from).unwrap().rows(), 1);
    }

    #[test]
    fn broken_lines_are_named() {
        let good = event(&payload("1,2", "CSV"), &payload("2", "CSV"));
        for (line, message) in [
            ("{", "line 2: not a captured invocation"),
            (
                &event(&payload("1\n2\n3", "CSV"), &payload("1,2", "CSV")),
                "1 rows of output for 3",
            ),
            (
                &event(&payload("1,2,3", "CSV"), &payload("1", "CSV")),
                "4 fields, but there are 3 columns",
            ),
            (
                &event(&payload("x", "PARQUET"), &payload("1", "CSV")),
                "unknown encoding `PARQUET`",
            ),
            (
                &event(&payload("{\"a\":{\"b\":1}}", "JSON"), &payload("1", "CSV")),
                "endpointInput: not flat JSON: `a`: an object is nested here: flatten it",
            ),
            (
                &event(&payload("[[1],2]", "JSON"), &payload("1", "CSV")),
                "2 rows of input",
            ),
            (
                &event(&payload("[1,[2]]", "JSON"), &payload("1", "CSV")),
                "an array is nested here",
            ),
            (
                &event(&payload("{\"a\":1}", "JSON"), &payload("1", "CSV")),
                "the values have names in some invocations and none in others",
            ),
            (
                &event(&payload("", "CSV"), &payload("1", "CSV")),
                "endpointInput: the data is empty",
            ),
            (
                &event(&payload("1,2", "CSV"), &payload(" ", "BASE64")),
                "endpointOutput: the data is empty",
            ),
        ] {
            let error = profile(&format!("{good}\n{line}\n"), Window::default()).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }

    /// A linear search for each of these keys would need minutes.
    #[test]
    fn keys_without_end_are_refused() {
        let members: Vec<String> = (0..150_000).map(|i| format!("\"k{i}\":1")).collect();
        let object = format!("{{{}}}", members.join(","));
        let values = format!("[{}]", vec!["1"; 20_000].join(","));
        for input in [object, values] {
            let line = event(&payload(&input, "JSON"), &payload("1", "CSV"));
            let error = profile(&line, Window::default()).unwrap_err();
            assert_eq!(
                error,
                "c.jsonl, line 1: more than 16384 columns: names must not be values"
            );
        }
    }
}
