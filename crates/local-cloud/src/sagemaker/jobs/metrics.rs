//! The metrics of a training job, found in its log by the definitions' regular expressions.

use regex::Regex;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::{ApiError, ApiResult};

/// A metric to search for.
#[derive(Debug)]
pub(super) struct Definition {
    name: String,
    pattern: Regex,
}

/// An element of `MetricDefinitions` in a request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MetricDefinition {
    name: String,
    regex: String,
}

/// Compiles `MetricDefinitions`. Refuses a pattern that has no group or that our engine does not
/// support, before the job starts.
pub(super) fn definitions(given: &[MetricDefinition]) -> ApiResult<Vec<Definition>> {
    given
        .iter()
        .map(|definition| {
            let text = &definition.regex;
            let pattern = Regex::new(text).map_err(|error| {
                ApiError::validation(format!("MetricDefinitions: `{text}`: {error}"))
            })?;
            if pattern.captures_len() < 2 {
                return Err(ApiError::validation(format!(
                    "MetricDefinitions: `{text}` has no group for the value"
                )));
            }
            Ok(Definition {
                name: definition.name.clone(),
                pattern,
            })
        })
        .collect()
}

/// The last value of each metric in the lines, as `FinalMetricDataList` has it.
pub(super) fn last_values(definitions: &[Definition], lines: &[(i64, String)]) -> Vec<Value> {
    definitions
        .iter()
        .filter_map(|definition| {
            lines.iter().rev().find_map(|(time, line)| {
                let found = definition.pattern.captures(line)?;
                let value: f64 = found.get(1)?.as_str().parse().ok()?;
                value.is_finite().then(|| {
                    json!({
                        "MetricName": definition.name,
                        "Value": value,
                        "Timestamp": time / 1000,
                    })
                })
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(name: &str, regex: &str) -> MetricDefinition {
        MetricDefinition {
            name: name.to_owned(),
            regex: regex.to_owned(),
        }
    }

    #[test]
    fn the_last_numeric_value_wins() {
        let definitions = definitions(&[
            metric("rmse", r"rmse=([0-9.]+);"),
            metric("auc", r"auc=(\S+)"),
        ])
        .unwrap();
        let lines = [
            (1000, "rmse=3.5;".to_owned()),
            (2000, "epoch 2 rmse=2.5; auc=x".to_owned()),
            (3000, "done".to_owned()),
        ];
        let found = last_values(&definitions, &lines);
        assert_eq!(
            found,
            [json!({"MetricName": "rmse", "Value": 2.5, "Timestamp": 2})]
        );
    }

    #[test]
    fn a_pattern_without_a_group_is_refused() {
        for bad in ["rmse", "(", r"(?<=a)(b)"] {
            let given = [metric("m", bad)];
            assert_eq!(definitions(&given).unwrap_err().code, "ValidationException");
        }
    }
}
