//! What a SageMaker endpoint captured: JSON Lines, one invocation each.
//!
//! Output columns come first, then the input's, as AWS's analyzer has them. The data of an
//! invocation is CSV or JSON (an array of values, or an array of rows), as text or in base64, and
//! may hold several rows; input and output then have as many rows each. An output of one line with
//! a value per input row (as AWS's built-in algorithms answer) counts as a column. There is no
//! header: the columns are the baseline's, in order, or `_c0`, `_c1`, … without one.

use std::io::{BufRead, Read};

use base64::Engine as _;
use serde::Deserialize;
use serde_json::Value;

use super::DataError;
use super::profile::Profiler;

/// A longer line is an error (an endpoint's payload is at most 25 MB).
const MAX_LINE: u64 = 128 * 1024 * 1024;

/// The time of inference that counts, each end optional.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    /// From here on.
    pub since: Option<jiff::Timestamp>,
    /// Before this.
    pub until: Option<jiff::Timestamp>,
}

impl Window {
    /// Whether a time lies in the window.
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

type Table = Vec<Vec<String>>;

/// Reads a whole capture file into the profiler.
pub(super) fn read(
    name: &str,
    mut input: impl BufRead,
    window: Window,
    profiler: &mut Profiler,
) -> Result<(), DataError> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let length = (&mut input)
            .take(MAX_LINE)
            .read_until(b'\n', &mut line)
            .map_err(|error| DataError::at(name, number, error.to_string()))?;
        if length == 0 {
            break;
        }
        if length as u64 == MAX_LINE {
            return Err(DataError::at(
                name,
                number,
                "the line is longer than 128 MiB",
            ));
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        invocation(&line, window, profiler)
            .map_err(|message| DataError::at(name, number, message))?;
    }
    Ok(())
}

fn invocation(line: &[u8], window: Window, profiler: &mut Profiler) -> Result<(), String> {
    let event: Invocation = serde_json::from_slice(line)
        .map_err(|error| format!("not a captured invocation: {error}"))?;
    if window != Window::default() {
        let time = event
            .event_metadata
            .inference_time
            .ok_or("the invocation has no inferenceTime")?;
        if !window.contains(time) {
            return Ok(());
        }
    }
    let rows = |side: &str, payload: Option<Payload>| {
        payload
            .map(|payload| table(&payload).map_err(|error| format!("{side}: {error}")))
            .transpose()
    };
    let input = rows("endpointInput", event.capture_data.endpoint_input)?;
    let output = rows("endpointOutput", event.capture_data.endpoint_output)?;
    for row in join(output, input)? {
        profiler.columns_by_position(row.len())?;
        profiler.row(
            row.iter()
                .map(|cell| (!cell.is_empty()).then_some(cell.as_str())),
        )?;
    }
    Ok(())
}

/// Output columns, then input columns.
fn join(output: Option<Table>, input: Option<Table>) -> Result<Table, String> {
    let (mut output, input) = match (output, input) {
        (Some(output), Some(input)) => (output, input),
        (Some(one), None) | (None, Some(one)) => return Ok(one),
        (None, None) => return Err("neither input nor output was captured".to_owned()),
    };
    if output.len() == 1 && input.len() > 1 && output[0].len() == input.len() {
        output = output
            .remove(0)
            .into_iter()
            .map(|value| vec![value])
            .collect();
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

fn table(payload: &Payload) -> Result<Table, String> {
    match payload.encoding.as_str() {
        "CSV" => csv(&payload.data),
        "JSON" => json(&payload.data),
        "BASE64" => {
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(payload.data.trim())
                .map_err(|error| format!("not base64: {error}"))?;
            let text = String::from_utf8(bytes).map_err(|_| {
                format!(
                    "the content type {} is not text, which the data checks need",
                    payload.observed_content_type
                )
            })?;
            if payload.observed_content_type.contains("json") {
                json(&text)
            } else {
                csv(&text)
            }
        }
        other => Err(format!("unknown encoding `{other}`")),
    }
}

fn csv(text: &str) -> Result<Table, String> {
    let mut table = super::csv::table(text)?;
    for cell in table.iter_mut().flatten() {
        *cell = cell.trim().to_owned();
    }
    Ok(table)
}

fn json(text: &str) -> Result<Table, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    let rows = match value {
        Value::Array(items) if items.iter().all(Value::is_array) => items,
        row @ Value::Array(_) => vec![row],
        scalar @ (Value::Number(_) | Value::String(_) | Value::Bool(_)) => {
            vec![Value::Array(vec![scalar])]
        }
        _ => return Err("JSON must be an array of values or of rows".to_owned()),
    };
    rows.into_iter()
        .map(|row| match row {
            Value::Array(values) => values.into_iter().map(scalar).collect(),
            _ => Err("JSON must be an array of values or of rows".to_owned()),
        })
        .collect()
}

fn scalar(value: Value) -> Result<String, String> {
    match value {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err("JSON must be an array of values or of rows".to_owned()),
    }
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
        let data = Value::String(data.to_owned());
        format!(
            r#"{{"observedContentType":"text/csv","mode":"INPUT","data":{data},"encoding":"{encoding}"}}"#
        )
    }

    fn profile(lines: &str, window: Window) -> Result<super::super::Profile, String> {
        let mut profiler = Profiler::new(None);
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
                &event(&payload("{\"a\":1}", "JSON"), &payload("1", "CSV")),
                "JSON must be an array",
            ),
        ] {
            let error = profile(&format!("{good}\n{line}\n"), Window::default()).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
