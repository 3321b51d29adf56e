//! Labels of parameter versions.

use serde::Deserialize;
use serde_json::{Value, json};

use super::change;
use crate::Cloud;
use crate::api::{ApiError, ApiResult};

/// Number of labels that a version can have.
const MAX_LABELS: usize = 10;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct LabelRequest {
    name: String,
    parameter_version: Option<i64>,
    labels: Vec<String>,
}

/// True for a label that a version can have (API reference: `LabelParameterVersion`).
fn is_label(label: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let lower = label.to_ascii_lowercase();
    label.chars().all(allowed)
        && !label.starts_with(|first: char| first.is_ascii_digit())
        && !lower.starts_with("aws")
        && !lower.starts_with("ssm")
}

/// `LabelParameterVersion`
pub(super) async fn add(cloud: &Cloud, input: LabelRequest) -> ApiResult<Value> {
    let (labels, invalid): (Vec<String>, Vec<String>) =
        input.labels.into_iter().partition(|label| is_label(label));
    let version = change(cloud, &input.name, |parameter| {
        let number = match input.parameter_version {
            Some(number) => parameter.version(number)?.version,
            None => parameter.latest()?.version,
        };
        for version in &mut parameter.versions {
            // A label belongs to one version only.
            version.labels.retain(|own| !labels.contains(own));
            if version.version == number {
                version.labels.extend(labels.iter().cloned());
                version.labels.sort();
                version.labels.dedup();
            }
            if version.labels.len() > MAX_LABELS {
                return Err(ApiError::new(
                    "ParameterVersionLabelLimitExceeded",
                    "A parameter version can have maximum 10 labels. Move one or more labels to another \
                     version and try again.",
                ));
            }
        }
        Ok(number)
    })?;
    Ok(json!({"InvalidLabels": invalid, "ParameterVersion": version}))
}

/// `UnlabelParameterVersion`
pub(super) async fn remove(cloud: &Cloud, input: LabelRequest) -> ApiResult<Value> {
    let number = input
        .parameter_version
        .ok_or_else(|| ApiError::validation("ParameterVersion is required"))?;
    let (removed, invalid) = change(cloud, &input.name, |parameter| {
        let own = parameter.version(number)?.labels.clone();
        let (removed, invalid): (Vec<String>, Vec<String>) = input
            .labels
            .into_iter()
            .partition(|label| own.contains(label));
        for version in &mut parameter.versions {
            if version.version == number {
                version.labels.retain(|label| !removed.contains(label));
            }
        }
        Ok((removed, invalid))
    })?;
    Ok(json!({"RemovedLabels": removed, "InvalidLabels": invalid}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_have_rules() {
        for label in ["prod", "Prod-1.2_x", "_"] {
            assert!(is_label(label), "{label}");
        }
        for label in ["1st", "aws-x", "SSM", "a/b", "a b"] {
            assert!(!is_label(label), "{label}");
        }
    }
}
