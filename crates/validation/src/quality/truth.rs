//! Records of ground truth, as AWS's merge job and [`Data::Captures`](super::Data) read them.

use serde_json::json;

use super::event::Event;
use super::join::{LabelReader, record_id};
use super::settings::Settings;
use super::values::{Classes, POSITIVE};

/// Writes the label of the prediction with this event or inference id as a record, without a line end. The label becomes
/// one cell of CSV.
pub fn record(id: &str, label: &str) -> String {
    let needs_quotes = label.contains(['"', ',', '\n', '\r']);
    let data = if needs_quotes {
        format!("\"{}\"", label.replace('"', "\"\""))
    } else {
        label.to_owned()
    };
    json!({
        "groundTruthData": {"data": data, "encoding": "CSV"},
        "eventMetadata": {"eventId": id},
        "eventVersion": "0",
    })
    .to_string()
}

/// Checks the records of ground truth of one file.
pub struct RecordChecker {
    /// How the records will be read, if that is known.
    settings: Option<(Settings, Classes)>,
}

impl std::fmt::Debug for RecordChecker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let settings = self.settings.as_ref().map(|(settings, _)| settings);
        f.debug_struct("RecordChecker")
            .field("settings", &settings)
            .finish()
    }
}

impl RecordChecker {
    /// With settings, labels must be values that the analysis can use.
    pub fn new(settings: Option<Settings>) -> Self {
        Self {
            settings: settings.map(|settings| {
                let classes = Classes::new(settings.problem);
                (settings, classes)
            }),
        }
    }

    /// Returns a function that checks one record after another: each names an event, and has data that can be read. The
    /// labels of all records together have no more classes than the problem.
    pub fn checks(&self) -> impl FnMut(&str) -> Result<(), String> {
        let settings = self.settings.as_ref();
        let mut reader = settings.map(|(settings, classes)| LabelReader::new(settings, classes));
        // Predictions from a probability are 0 and 1.
        let has_codes = settings.is_some_and(|(settings, _)| settings.probability.is_some());
        move |line| {
            let event = Event::parse(line)?;
            let Some(reader) = &mut reader else {
                return plain(&event);
            };
            let (_, labels) = reader.read(&event)?;
            let is_code = |label: &f64| label.is_nan() || *label <= f64::from(POSITIVE);
            if has_codes && !labels.iter().all(is_code) {
                return Err("the label is neither 0 nor 1, as predictions are".to_owned());
            }
            Ok(())
        }
    }
}

/// Checks a record whose labels may be anything.
fn plain(event: &Event<'_>) -> Result<(), String> {
    record_id(event)?;
    let truth = event.truth.as_ref().ok_or("there is no groundTruthData")?;
    let content = truth.content();
    content
        .map(|_| ())
        .map_err(|error| format!("groundTruthData: {error}"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{close, settings, source};
    use super::super::{Data, analyse};
    use super::*;
    use crate::capture::Window;

    #[test]
    fn a_record_is_joined_with_its_prediction() {
        let settings = settings(&[
            ("problem_type", "MulticlassClassification"),
            ("inference_attribute", "0"),
        ]);
        for label in ["late", "very, very late", "a \"b\""] {
            let record = record("e-1", label);
            RecordChecker::new(None).checks()(&record).unwrap();
            let data = format!("\"{}\"", label.replace('"', "\"\""));
            let captured = json!({
                "captureData": {"endpointOutput": {"data": data, "encoding": "CSV"}},
                "eventMetadata": {"eventId": "e-1"},
            });
            let data = Data::Captures {
                captures: vec![source("captured", captured.to_string())],
                labels: vec![source("labels", record)],
            };
            let report = analyse(&settings, data, Window::default(), None).unwrap();
            assert_eq!(report.counts.joined, 1);
            close(report.statistics.metric("accuracy").unwrap().value, 1.0);
        }
    }

    #[test]
    fn a_line_that_is_no_record_is_refused() {
        for (line, reason) in [
            ("[]", "unexpected `[`"),
            (
                r#"{"groundTruthData":{"data":"1","encoding":"CSV"}}"#,
                "no eventId",
            ),
            (r#"{"eventMetadata":{"eventId":"e"}}"#, "no groundTruthData"),
            (
                r#"{"groundTruthData":{"data":"1","encoding":"X"},"eventMetadata":{"eventId":"e"}}"#,
                "encoding",
            ),
            (
                r#"{"captureData":{},"groundTruthData":{"data":"1"},"eventMetadata":{"eventId":"e"}}"#,
                "captured data",
            ),
        ] {
            let error = RecordChecker::new(None).checks()(line).unwrap_err();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }

    /// Checks the labels of a file; the problem, and other settings.
    fn checked(
        problem: &'static str,
        more: &[(&'static str, &'static str)],
        labels: &[&str],
    ) -> Result<(), String> {
        let variables = [&[("problem_type", problem)], more].concat();
        let checker = RecordChecker::new(Some(settings(&variables)));
        let mut check = checker.checks();
        labels
            .iter()
            .try_for_each(|label| check(&record("e", label)))
    }

    #[test]
    fn a_label_that_the_analysis_cannot_use_is_refused() {
        let first = [("inference_attribute", "0")];
        checked("Regression", &first, &["1.5"]).unwrap();
        let error = checked("Regression", &first, &["1.5", "n/a"]).unwrap_err();
        assert!(error.contains("`n/a` is not a number"), "{error}");
        let second = [first[0], ("ground_truth_attribute", "1")];
        assert!(checked("Regression", &second, &["1.5"]).is_err());

        let binary = "BinaryClassification";
        checked(binary, &first, &["yes", "no", "yes"]).unwrap();
        let error = checked(binary, &first, &["0", "1", "n/a"]).unwrap_err();
        assert!(error.contains("one class too many"), "{error}");
        let probability = [("probability_attribute", "0")];
        checked(binary, &probability, &["0", "true", "1.0"]).unwrap();
        let error = checked(binary, &probability, &["n/a"]).unwrap_err();
        assert!(error.contains("neither 0 nor 1"), "{error}");
    }

    #[test]
    fn too_many_classes_are_an_error_in_any_order() {
        let settings = settings(&[
            ("problem_type", "BinaryClassification"),
            ("inference_attribute", "0"),
        ]);
        for labels in [["0", "1", "n/a"], ["n/a", "0", "1"], ["1", "n/a", "0"]] {
            let lines: Vec<String> = labels
                .iter()
                .map(|label| record("e", label) + "\n")
                .collect();
            let data = Data::Captures {
                captures: Vec::new(),
                labels: vec![source("labels", lines.concat())],
            };
            let error = analyse(&settings, data, Window::default(), None).unwrap_err();
            assert!(
                error
                    .to_string()
                    .contains("labels, line 3: groundTruthData"),
                "{error}"
            );
        }
    }
}
