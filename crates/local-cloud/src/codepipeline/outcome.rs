//! How actions end, and what they write to their records.

use std::collections::BTreeMap;

use super::records::{ActionRun, ErrorDetails, Location, Revision};
use crate::api::ApiError;

/// Maximum size of the variables that an action produces, in bytes (quotas of the user guide).
pub(super) const MAX_VARIABLES: usize = 122_880;

/// How an action ended.
#[derive(Debug, Clone)]
pub(super) enum Ended {
    Succeeded(Box<Output>),
    Failed(Failure),
}

/// What a successful action leaves.
#[derive(Debug, Clone, Default)]
pub(super) struct Output {
    pub(super) external_id: Option<String>,
    pub(super) summary: Option<String>,
    pub(super) updated_by: Option<String>,
    pub(super) variables: BTreeMap<String, String>,
    pub(super) artifacts: Vec<(String, Location)>,
    pub(super) revision: Option<Revision>,
}

impl Output {
    /// The failure of an action that produces too much. Unverified against AWS [codepipeline-variables-size]: code
    /// and message.
    pub(super) fn excess(&self) -> Option<Failure> {
        let variables = self.variables.iter();
        let size: usize = variables
            .map(|(name, value)| name.len() + value.len())
            .sum();
        (size > MAX_VARIABLES).then(|| {
            let message = format!("The output variables have more than {MAX_VARIABLES} bytes");
            Failure::new("JobFailed", message)
        })
    }

    pub(super) fn write(&self, run: &mut ActionRun) {
        let or = |new: &Option<String>, old: &mut Option<String>| {
            if new.is_some() {
                old.clone_from(new);
            }
        };
        or(&self.external_id, &mut run.external_id);
        or(&self.summary, &mut run.summary);
        or(&self.updated_by, &mut run.updated_by);
        if !self.artifacts.is_empty() {
            run.outputs.clone_from(&self.artifacts);
        }
        run.variables.clone_from(&self.variables);
        run.revision.clone_from(&self.revision);
        run.percent = None;
    }
}

/// Why an action failed.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) error: Option<ErrorDetails>,
    pub(super) summary: Option<String>,
    pub(super) external_id: Option<String>,
    pub(super) updated_by: Option<String>,
}

impl Failure {
    pub(super) fn new(code: &str, message: impl Into<String>) -> Self {
        let message: String = message.into();
        Self {
            error: Some(ErrorDetails {
                code: code.to_owned(),
                message: message.chars().take(5000).collect(),
            }),
            summary: None,
            external_id: None,
            updated_by: None,
        }
    }

    pub(super) fn write(&self, run: &mut ActionRun) {
        run.error.clone_from(&self.error);
        for (new, old) in [
            (&self.summary, &mut run.summary),
            (&self.external_id, &mut run.external_id),
            (&self.updated_by, &mut run.updated_by),
        ] {
            if new.is_some() {
                old.clone_from(new);
            }
        }
    }
}

/// An error of another service, in the codes of the API reference (`FailureDetails`).
impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let code = if error.is_denied() {
            "PermissionError"
        } else if error.status >= 500 && error.code != "NotImplemented" {
            "SystemUnavailable"
        } else {
            "ConfigurationError"
        };
        Self::new(code, error.message)
    }
}
