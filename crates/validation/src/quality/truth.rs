//! Records of ground truth, as AWS's merge job and [`Data::Captures`](super::Data) read them.

use serde_json::json;

use super::event::Event;
use super::join::LabelReader;
use super::settings::Settings;
use super::values::Classes;

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

/// Checks records of ground truth.
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

    /// Checks that a line is a record of ground truth: it names an event, and has data that can be read.
    ///
    /// # Errors
    /// What is missing or wrong.
    pub fn check(&self, line: &str) -> Result<(), String> {
        let event = Event::parse(line)?;
        if event.is_captured {
            return Err("the line has captured data, and only ground truth is expected".to_owned());
        }
        if event.id().is_none_or(str::is_empty) {
            return Err("the record has no eventId".to_owned());
        }
        if let Some((settings, classes)) = &self.settings {
            return LabelReader::new(settings, classes).read(line).map(|_| ());
        }
        let truth = event.truth.as_ref().ok_or("there is no groundTruthData")?;
        let content = truth.content();
        content
            .map(|_| ())
            .map_err(|error| format!("groundTruthData: {error}"))
    }
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
            RecordChecker::new(None).check(&record).unwrap();
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
            let error = RecordChecker::new(None).check(line).unwrap_err();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }

    #[test]
    fn a_label_that_the_analysis_cannot_use_is_refused() {
        let checker = |label: &'static str| {
            let attribute = [("ground_truth_attribute", label)];
            let mut variables = vec![("problem_type", "Regression"), ("inference_attribute", "0")];
            variables.extend(attribute.into_iter().filter(|(_, label)| !label.is_empty()));
            RecordChecker::new(Some(settings(&variables)))
        };
        checker("").check(&record("e", "1.5")).unwrap();
        let error = checker("").check(&record("e", "n/a")).unwrap_err();
        assert!(error.contains("`n/a` is not a number"), "{error}");
        assert!(checker("1").check(&record("e", "1.5")).is_err());
    }
}
