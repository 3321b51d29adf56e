//! The report of `mlops image scan`.

use std::collections::BTreeMap;
use std::fmt;

use mlops_core::error::Exit;
use mlops_core::text::{clean, table, time};
use mlops_oci::Digest;
use serde::Serialize;

use crate::aws::ecr::scan::{Finding, Severity};
use crate::aws::state::ScanState;

/// The result of a scan.
#[derive(Debug, Serialize)]
pub struct Scanned {
    pub(super) repository: String,
    pub(super) digest: Digest,
    pub(super) tags: Vec<String>,
    /// ECR's scan status.
    pub(super) status: ScanState,
    /// False while the scan is in progress.
    pub(super) done: bool,
    pub(super) completed: Option<jiff::Timestamp>,
    /// The number of findings by severity.
    pub(super) counts: BTreeMap<&'static str, usize>,
    /// Findings, most severe first.
    pub(super) findings: Vec<Finding>,
    pub(super) fail_on: Option<Severity>,
    /// The number of findings at or above `fail_on`.
    pub(super) too_bad: usize,
    #[serde(skip)]
    pub(super) again: String,
}

impl Scanned {
    pub(in crate::commands::image) fn exit(&self) -> Exit {
        match (self.done, self.too_bad) {
            (false, _) => Exit::TimedOut,
            (true, 0) => Exit::Done,
            (true, _) => Exit::Refused,
        }
    }
}

impl fmt::Display for Scanned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "image      {}", self.repository)?;
        writeln!(f, "digest     {}", self.digest)?;
        let when = self.completed.map(|at| format!(" at {}", time(at)));
        writeln!(f, "scan       {}{}", self.status, when.unwrap_or_default())?;
        if !self.done {
            return writeln!(f, "\nThe scan is in progress: {}", self.again);
        }
        let count = |severity: Severity| {
            let count = self.counts.get(severity.as_str())?;
            Some(format!("{count} {}", severity.as_str()))
        };
        let counts: Vec<String> = Severity::ALL.into_iter().filter_map(count).collect();
        let found = if counts.is_empty() {
            "none".to_owned()
        } else {
            counts.join(", ")
        };
        writeln!(f, "findings   {found}")?;
        if let Some(limit) = self.fail_on {
            writeln!(
                f,
                "gate       {} of them {} or worse",
                self.too_bad,
                limit.as_str()
            )?;
        }
        if self.findings.is_empty() {
            return Ok(());
        }
        let rows = self.findings.iter().map(|finding| {
            vec![
                finding.severity.as_str().to_owned(),
                clean(&finding.name),
                finding.package.clone().unwrap_or_default(),
            ]
        });
        writeln!(f)?;
        f.write_str(&table(&["SEVERITY", "NAME", "PACKAGE"], rows))
    }
}
