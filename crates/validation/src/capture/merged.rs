//! One captured invocation as a table with its sides apart, and its ground truth if SageMaker's merge
//! job added one (`groundTruthData`, next to `captureData`).

use serde::Deserialize;

use super::{CaptureData, Cell, EventMetadata, Payload, Table, Window, join, table, within};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Merged {
    capture_data: CaptureData,
    ground_truth_data: Option<GroundTruth>,
    #[serde(default)]
    event_metadata: EventMetadata,
}

#[derive(Deserialize)]
struct GroundTruth {
    data: String,
    encoding: String,
}

/// A row of an invocation. A cell is the column's name, if the data has it, and the value.
#[derive(Debug)]
pub(in super::super) struct MergedRow {
    /// The output columns, then the input columns.
    pub(in super::super) cells: Vec<Cell>,
    /// The number of output columns.
    pub(in super::super) outputs: usize,
    /// The ground truth; empty if there is none.
    pub(in super::super) truth: Vec<Cell>,
}

/// Parses the rows of one invocation; empty if it is outside of the window.
///
/// # Errors
/// The line is not a captured invocation, or its parts have different numbers of rows.
pub(in super::super) fn merged(line: &str, window: Window) -> Result<Vec<MergedRow>, String> {
    let event = within(line, window, |event: &Merged| &event.event_metadata)?;
    let Some(event) = event else {
        return Ok(Vec::new());
    };
    let rows = |side: &str, payload: Option<Payload>| {
        payload
            .map(|payload| table(&payload).map_err(|error| format!("{side}: {error}")))
            .transpose()
    };
    let input = rows("endpointInput", event.capture_data.endpoint_input)?;
    let output = rows("endpointOutput", event.capture_data.endpoint_output)?;
    let truth = event.ground_truth_data.map(|truth| Payload {
        observed_content_type: String::new(),
        data: truth.data,
        encoding: truth.encoding,
    });
    let truth = rows("groundTruthData", truth)?;
    let widths: Vec<usize> = input.iter().flatten().map(Vec::len).collect();
    let joined = join(output, input)?;
    let truth = per_row(truth, joined.len())?;
    let rows = joined.into_iter().zip(truth).enumerate();
    Ok(rows
        .map(|(row, (cells, truth))| MergedRow {
            outputs: cells.len() - widths.get(row).copied().unwrap_or(0),
            cells,
            truth,
        })
        .collect())
}

/// The ground truth of each row: one row each, or one row with a value each.
fn per_row(truth: Option<Table>, rows: usize) -> Result<Table, String> {
    let Some(mut truth) = truth else {
        return Ok(vec![Vec::new(); rows]);
    };
    if truth.len() == 1 && rows > 1 && truth[0].len() == rows {
        truth = truth.remove(0).into_iter().map(|cell| vec![cell]).collect();
    }
    if truth.len() == rows {
        Ok(truth)
    } else {
        let found = truth.len();
        Err(format!(
            "{found} rows of ground truth for {rows} rows of data"
        ))
    }
}
