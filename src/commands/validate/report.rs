//! The report of a validation.

use std::fmt;
use std::path::PathBuf;

use mlops_core::error::Exit;
use mlops_core::text;
use mlops_validation::Violation;
use serde::Serialize;

use super::dataset::ValidatedVersion;
use super::explain::Explained;
use crate::monitoring;
use crate::output::Report;

/// Summary of the data.
#[derive(Debug, Serialize)]
pub struct Validation {
    pub(super) rows: u64,
    pub(super) columns: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) baseline: Option<PathBuf>,
    pub(super) violations: Vec<Violation>,
    pub(super) files: Vec<PathBuf>,
    /// The version of the data set, if one was validated.
    #[serde(flatten)]
    pub(super) version: Option<ValidatedVersion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) explanation: Option<Explained>,
    #[serde(skip)]
    pub(super) profile_only: bool,
}

impl Validation {
    pub(super) fn without_verdict(rows: u64, columns: usize, files: Vec<PathBuf>) -> Self {
        Self {
            rows,
            columns,
            baseline: None,
            violations: Vec::new(),
            files,
            version: None,
            explanation: None,
            profile_only: true,
        }
    }
}

impl Report for Validation {
    fn exit(&self) -> Exit {
        if self.violations.is_empty() {
            Exit::Done
        } else {
            Exit::Refused
        }
    }
}

impl fmt::Display for Validation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(explanation) = &self.explanation {
            writeln!(f, "{explanation}")?;
        }
        if let Some(version) = &self.version {
            let id = text::clean(&version.data_version);
            writeln!(f, "data set {}, version {id}", version.dataset)?;
        }
        let size = format!("{} rows, {} columns", self.rows, self.columns);
        if self.profile_only {
            writeln!(f, "{size}: profiled")?;
        } else if self.baseline.is_none() {
            writeln!(f, "{size}: baseline created")?;
        } else if self.violations.is_empty() {
            writeln!(f, "{size}: no violations")?;
        } else {
            if self.explanation.is_none() {
                f.write_str(&monitoring::violations(&self.violations))?;
                writeln!(f)?;
            }
            let count = self.violations.len();
            let plural = if count == 1 { "" } else { "s" };
            writeln!(f, "{size}: {count} violation{plural}")?;
        }
        for file in &self.files {
            writeln!(f, "wrote {}", text::clean(&file.display().to_string()))?;
        }
        Ok(())
    }
}
