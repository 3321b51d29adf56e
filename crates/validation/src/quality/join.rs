//! Joins captured predictions with ground truth, or reads both from lines that are merged already.
//!
//! The key of a prediction is the inference id that its caller set, or else its event id; ground truth
//! names it in `eventMetadata.eventId` (developer guide). Labels are kept in memory, predictions are
//! read once.

use std::ops::AddAssign;

use mlops_core::quote::short;
use serde::{Deserialize, Serialize};

use super::super::capture::{Content, Window};
use super::super::{DataError, Source, hash};
use super::Problem;
use super::chunks::{self, Chunk};
use super::event::Event;
use super::labels::{MAX_ROWS, Records, Table};
use super::rows::Rows;
use super::settings::{Attribute, Settings};
use super::tally::Tally;
use super::values::{Cell, Classes, Local, number};

/// How predictions and labels met.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JoinCounts {
    /// Captured events in the window.
    pub predictions: u64,
    /// Captured events of the window that were joined with a label.
    pub joined: u64,
    /// Captured events of the window without a label.
    pub predictions_without_label: u64,
    /// Captured events of the window whose label has another number of rows.
    pub mismatched: u64,
    /// The first of them: file, line, id and both numbers.
    pub first_mismatch: Option<String>,
    /// Captured events of the window with an id that an earlier or later event has, too. Each is
    /// joined.
    pub duplicate_predictions: u64,
    /// Captured events that are not in the window.
    pub predictions_outside_window: u64,
    /// Ground truth records.
    pub labels: u64,
    /// Ground truth records that a later one with the same id replaced.
    pub duplicate_labels: u64,
    /// Ground truth records whose prediction is before the window: too late for its own window. They
    /// are known only if these captures are read, too.
    pub late_labels: u64,
    /// Ground truth records whose prediction is after the window.
    pub early_labels: u64,
    /// Ground truth records whose id no captured event has.
    pub labels_without_prediction: u64,
    /// Captured events that cannot be read, or whose prediction cannot.
    pub unreadable_predictions: u64,
    /// The first of them: file, line and reason.
    pub first_unreadable_prediction: Option<String>,
    /// Ground truth records that cannot be read.
    pub unreadable_labels: u64,
    /// The first of them: file, line and reason.
    pub first_unreadable_label: Option<String>,
    /// Joined rows, or rows of a table, in which the prediction or the label is missing. They do not
    /// count in the metrics.
    pub incomplete_rows: u64,
}

impl JoinCounts {
    /// The share of the window's captured events that were joined with a label, 0 to 1; `None`
    /// without captured events.
    #[expect(clippy::cast_precision_loss, reason = "counts above 2^53 do not occur")]
    pub fn join_rate(&self) -> Option<f64> {
        (self.predictions > 0).then(|| self.joined as f64 / self.predictions as f64)
    }
}

impl AddAssign for JoinCounts {
    fn add_assign(&mut self, other: Self) {
        self.predictions += other.predictions;
        self.joined += other.joined;
        self.predictions_without_label += other.predictions_without_label;
        self.mismatched += other.mismatched;
        self.first_mismatch = self.first_mismatch.take().or(other.first_mismatch);
        self.duplicate_predictions += other.duplicate_predictions;
        self.predictions_outside_window += other.predictions_outside_window;
        self.labels += other.labels;
        self.duplicate_labels += other.duplicate_labels;
        self.late_labels += other.late_labels;
        self.early_labels += other.early_labels;
        self.labels_without_prediction += other.labels_without_prediction;
        self.unreadable_predictions += other.unreadable_predictions;
        let first = self.first_unreadable_prediction.take();
        self.first_unreadable_prediction = first.or(other.first_unreadable_prediction);
        self.unreadable_labels += other.unreadable_labels;
        let first = self.first_unreadable_label.take();
        self.first_unreadable_label = first.or(other.first_unreadable_label);
        self.incomplete_rows += other.incomplete_rows;
    }
}

/// Joins captured traffic with ground truth. Lines that cannot be read are counted and skipped: clients choose the
/// content of their requests, and a label can be corrected by a later one.
pub(super) fn join(
    captures: Vec<Source>,
    labels: Vec<Source>,
    window: Window,
    settings: &Settings,
    classes: &Classes,
) -> Result<(Tally, JoinCounts), DataError> {
    let mut records = Records::default();
    let mut counts = JoinCounts::default();
    chunks::each(
        labels,
        |chunk| read_labels(chunk, settings, classes),
        |(part, more)| {
            records.append(&part);
            counts += more;
            Ok(())
        },
    )?;
    counts.labels = records.len() as u64;
    let table = records.into_table();
    counts.duplicate_labels = table.duplicates;
    let bounds = Bounds::of(window);
    let mut tally = Tally::new(settings.problem);
    chunks::each(
        captures,
        |chunk| read_predictions(chunk, Some(&table), &bounds, settings, classes),
        |(part, more)| {
            counts += more;
            tally.merge(part)
        },
    )?;
    counts.labels_without_prediction = table.unused();
    counts.incomplete_rows = tally.incomplete;
    Ok((tally, counts))
}

/// Reads lines that have both captured data and ground truth, as AWS's merge job writes them.
pub(super) fn merged(
    sources: Vec<Source>,
    window: Window,
    settings: &Settings,
    classes: &Classes,
) -> Result<(Tally, JoinCounts), DataError> {
    let bounds = Bounds::of(window);
    let mut tally = Tally::new(settings.problem);
    let mut counts = JoinCounts::default();
    chunks::each(
        sources,
        |chunk| read_predictions(chunk, None, &bounds, settings, classes),
        |(part, more)| {
            counts += more;
            tally.merge(part)
        },
    )?;
    counts.labels = counts.predictions + counts.predictions_outside_window;
    counts.incomplete_rows = tally.incomplete;
    Ok((tally, counts))
}

/// Converts cells to numbers, or to codes of classes.
pub(super) enum Converter<'a> {
    Numbers,
    Classes(Local<'a>),
}

impl<'a> Converter<'a> {
    pub(super) fn new(problem: Problem, classes: &'a Classes) -> Self {
        match problem {
            Problem::Regression => Self::Numbers,
            _ => Self::Classes(classes.local()),
        }
    }

    pub(super) fn value(&mut self, cell: Cell<'_>) -> Result<f64, String> {
        match self {
            Self::Numbers => number(cell),
            Self::Classes(local) => local.code(cell),
        }
    }

    /// Whether there were too many classes: which of them is one too many depends on the order, so that no line may be
    /// skipped for it.
    fn is_over(&self) -> bool {
        matches!(self, Self::Classes(local) if local.is_over)
    }
}

fn read_labels(
    chunk: &Chunk,
    settings: &Settings,
    classes: &Classes,
) -> Result<(Records, JoinCounts), DataError> {
    let mut records = Records::default();
    let mut counts = JoinCounts::default();
    let mut reader = LabelReader::new(settings, classes);
    let mut refuse = |number: u64, message: &str| {
        counts.unreadable_labels += 1;
        let first = &mut counts.first_unreadable_label;
        first.get_or_insert_with(|| chunk.error(number, message).to_string());
    };
    for (number, line) in chunk.lines() {
        let event = Event::parse(line);
        let read = event
            .as_ref()
            .map_err(Clone::clone)
            .and_then(|event| reader.read(event));
        let read = read.map(|(id, labels)| records.push(id, labels));
        if let Err(message) = read {
            if reader.converter.is_over() {
                return Err(chunk.error(number, &message));
            }
            refuse(number, &message);
        }
    }
    if let Some((number, message)) = &chunk.unreadable.first {
        refuse(*number, message);
        counts.unreadable_labels += chunk.unreadable.count - 1;
    }
    Ok((records, counts))
}

/// Reads records of ground truth.
pub(super) struct LabelReader<'a> {
    settings: &'a Settings,
    converter: Converter<'a>,
    labels: Vec<f64>,
}

impl<'a> LabelReader<'a> {
    pub(super) fn new(settings: &'a Settings, classes: &'a Classes) -> Self {
        Self {
            settings,
            converter: Converter::new(settings.problem, classes),
            labels: Vec::new(),
        }
    }

    /// The hash of a record's id, and its labels.
    pub(super) fn read(&mut self, event: &Event<'_>) -> Result<(u64, &[f64]), String> {
        let id = record_id(event)?;
        self.labels.clear();
        labels_of(event, self.settings, &mut self.converter, &mut self.labels)?;
        if self.labels.len() > MAX_ROWS {
            return Err(format!("more than {MAX_ROWS} rows"));
        }
        Ok((hash::of_text(id.as_bytes()), &self.labels))
    }
}

/// The id of a record of ground truth.
pub(super) fn record_id<'a>(event: &'a Event<'_>) -> Result<&'a str, String> {
    if event.is_captured {
        return Err("the line has captured data, and only ground truth is expected".to_owned());
    }
    let id = event.id().filter(|id| !id.is_empty());
    id.ok_or_else(|| "the record has no eventId".to_owned())
}

fn labels_of(
    event: &Event<'_>,
    settings: &Settings,
    converter: &mut Converter<'_>,
    labels: &mut Vec<f64>,
) -> Result<(), String> {
    let truth = event.truth.as_ref().ok_or("there is no groundTruthData")?;
    let content = truth
        .content()
        .map_err(|error| format!("groundTruthData: {error}"))?;
    content
        .column(settings.label.as_ref(), &mut |cell| {
            labels.push(converter.value(cell)?);
            Ok(())
        })
        .map_err(|error| format!("groundTruthData: {error}"))
}

fn read_predictions(
    chunk: &Chunk,
    table: Option<&Table>,
    bounds: &Bounds,
    settings: &Settings,
    classes: &Classes,
) -> Result<(Tally, JoinCounts), DataError> {
    if table.is_none() {
        chunk.all_readable()?;
    }
    let mut reader = Predictions {
        settings,
        converter: Converter::new(settings.problem, classes),
        rows: Rows::default(),
        counts: JoinCounts::default(),
    };
    let mut own = Vec::new();
    for (number, line) in chunk.lines() {
        let mut read = || {
            let event = Event::parse(line)?;
            if !event.is_captured {
                return Err("the line has no captureData: it is not a captured event".to_owned());
            }
            let id = event
                .id()
                .ok_or("the event has neither inferenceId nor eventId")?;
            let hash = hash::of_text(id.as_bytes());
            let place = bounds.place(event.time.as_deref(), table.is_some())?;
            let Some(table) = table else {
                own.clear();
                labels_of(&event, settings, &mut reader.converter, &mut own)?;
                return reader.event(&event, hash, place, Some((&own, false)));
            };
            reader.event(&event, hash, place, table.find(hash))
        };
        match read() {
            Ok(Outcome::Done) => {}
            Ok(Outcome::Mismatch(message)) => {
                let place = format!("{}, line {number}: {message}", short(&chunk.name));
                reader.counts.first_mismatch.get_or_insert(place);
            }
            Err(message) if table.is_some() && !reader.converter.is_over() => {
                reader.refuse(chunk, number, &message);
            }
            Err(message) => return Err(chunk.error(number, &message)),
        }
    }
    if let Some((number, message)) = &chunk.unreadable.first {
        reader.refuse(chunk, *number, message);
        reader.counts.unreadable_predictions += chunk.unreadable.count - 1;
    }
    Ok((Tally::of(reader.rows, settings), reader.counts))
}

enum Outcome {
    Done,
    Mismatch(String),
}

/// The predictions of one block.
struct Predictions<'a> {
    settings: &'a Settings,
    converter: Converter<'a>,
    rows: Rows,
    counts: JoinCounts,
}

impl Predictions<'_> {
    /// Counts an event that cannot be read.
    fn refuse(&mut self, chunk: &Chunk, number: u64, message: &str) {
        self.counts.unreadable_predictions += 1;
        let first = &mut self.counts.first_unreadable_prediction;
        first.get_or_insert_with(|| chunk.error(number, message).to_string());
    }

    /// Adds the rows of one event that has these labels.
    fn event(
        &mut self,
        event: &Event<'_>,
        id: u64,
        place: Place,
        labels: Option<(&[f64], bool)>,
    ) -> Result<Outcome, String> {
        let counts = &mut self.counts;
        if place != Place::Inside {
            counts.predictions_outside_window += 1;
            // A label that several events share is late or early once.
            if matches!(labels, Some((_, false))) {
                match place {
                    Place::Before => counts.late_labels += 1,
                    _ => counts.early_labels += 1,
                }
            }
            return Ok(Outcome::Done);
        }
        counts.predictions += 1;
        let Some((labels, is_used)) = labels else {
            counts.predictions_without_label += 1;
            return Ok(Outcome::Done);
        };
        counts.duplicate_predictions += u64::from(is_used);
        let output = event
            .output
            .as_ref()
            .ok_or("the endpoint's output was not captured")?;
        let content = output
            .content()
            .map_err(|error| format!("endpointOutput: {error}"))?;
        let before = self.rows.label.len();
        let added = self.columns(&content, labels.len());
        let found = added.map_err(|error| {
            self.rows.truncate(before);
            format!("endpointOutput: {error}")
        })?;
        if found == labels.len() {
            self.rows.label.extend_from_slice(labels);
            self.rows.end_event(id);
            self.counts.joined += 1;
            return Ok(Outcome::Done);
        }
        self.rows.truncate(before);
        self.counts.mismatched += 1;
        let id = event.id().unwrap_or_default();
        Ok(Outcome::Mismatch(format!(
            "{found} rows of predictions, and {} of labels (id `{}`)",
            labels.len(),
            short(id)
        )))
    }

    /// Adds predictions and probabilities, and returns the number of rows.
    fn columns(&mut self, content: &Content<'_>, wanted: usize) -> Result<usize, String> {
        let mut counts = [None; 2];
        let settings = self.settings;
        if let Some(attribute) = &settings.prediction {
            let converter = &mut self.converter;
            let mut convert = |cell: Cell<'_>| converter.value(cell);
            counts[0] = Some(column(
                content,
                attribute,
                wanted,
                &mut self.rows.prediction,
                &mut convert,
            )?);
        }
        if let Some(attribute) = &settings.probability {
            let column = column(
                content,
                attribute,
                wanted,
                &mut self.rows.probability,
                &mut number,
            );
            counts[1] = Some(column?);
        }
        match counts {
            [Some(predictions), Some(probabilities)] if predictions != probabilities => Err(
                format!("{predictions} predictions and {probabilities} probabilities"),
            ),
            [predictions, probabilities] => Ok(predictions.or(probabilities).unwrap_or(0)),
        }
    }
}

/// Adds the values of one attribute, and returns their number. One line with `wanted` values is a
/// column, if the attribute is the first value.
fn column(
    content: &Content<'_>,
    attribute: &Attribute,
    wanted: usize,
    values: &mut Vec<f64>,
    convert: &mut dyn FnMut(Cell<'_>) -> Result<f64, String>,
) -> Result<usize, String> {
    let before = values.len();
    content.column(Some(attribute), &mut |cell| {
        values.push(convert(cell)?);
        Ok(())
    })?;
    let found = values.len() - before;
    if found != 1 || wanted <= 1 || *attribute != Attribute::Index(0) {
        return Ok(found);
    }
    let first = values.split_off(before);
    let is_line = content.line(&mut |cell| {
        values.push(convert(cell)?);
        Ok(())
    });
    if matches!(is_line, Ok(true)) && values.len() - before == wanted {
        return Ok(wanted);
    }
    values.truncate(before);
    values.extend(first);
    Ok(found)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Before,
    Inside,
    After,
}

/// The window, and its ends as captured traffic writes times: such texts have the order of the times.
struct Bounds {
    window: Window,
    since: Option<String>,
    until: Option<String>,
}

/// The length of `2022-04-18T00:21:48Z`.
const TIME: usize = 20;

impl Bounds {
    fn of(window: Window) -> Self {
        let text = |time: Option<jiff::Timestamp>| time.map(|time| time.to_string());
        Self {
            window,
            since: text(window.since),
            until: text(window.until),
        }
    }

    /// Returns the place of an event. A merged line may lack the time; AWS's merge job reads the
    /// window's data only.
    fn place(&self, time: Option<&str>, needs_time: bool) -> Result<Place, String> {
        if self.window == Window::default() {
            return Ok(Place::Inside);
        }
        let Some(text) = time else {
            return if needs_time {
                Err("the event has no inferenceTime".to_owned())
            } else {
                Ok(Place::Inside)
            };
        };
        let is_plain = |text: &str| text.len() == TIME && text.ends_with('Z');
        let bounds = [self.since.as_deref(), self.until.as_deref()];
        let (is_before, is_after) = if is_plain(text)
            && is_time(text)
            && bounds.iter().flatten().all(|bound| is_plain(bound))
        {
            let [since, until] = bounds;
            (
                since.is_some_and(|since| text < since),
                until.is_some_and(|until| text >= until),
            )
        } else {
            let time: jiff::Timestamp = text
                .parse()
                .map_err(|_| format!("inferenceTime `{}` is not a time", short(text)))?;
            let Window { since, until } = self.window;
            (
                since.is_some_and(|since| time < since),
                until.is_some_and(|until| time >= until),
            )
        };
        Ok(match (is_before, is_after) {
            (true, _) => Place::Before,
            (false, true) => Place::After,
            (false, false) => Place::Inside,
        })
    }
}

/// Returns whether a text has the form of `2022-04-18T00:21:48Z`.
fn is_time(text: &str) -> bool {
    let form = b"0000-00-00T00:00:00Z";
    text.len() == form.len()
        && text.bytes().zip(form).all(|(found, wanted)| match wanted {
            b'0' => found.is_ascii_digit(),
            other => found == *other,
        })
}
