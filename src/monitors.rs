//! Monitors: compare captured traffic with a baseline, here or in a job on a schedule.
//!
//! ```text
//! captured traffic ────────── run::compare ─────────┬─ report ── files of the run in the artifact bucket
//! captured traffic, labels ── model_quality::compare ┘
//! job of the schedule ── job::run ── compare ── publish ── metrics of the alarms
//! ```

use std::fmt;

use serde::Serialize;

use crate::monitoring::MonitoringReport;
use crate::monitoring::model_quality::ModelQualityReport;

pub mod job;
mod kind;
pub mod labels;
pub mod model_quality;
mod publish;
pub mod run;
pub mod tune;

pub use kind::MonitorKind;

/// The report of any monitor.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum AnyReport {
    /// Of data quality.
    DataQuality(Box<MonitoringReport>),
    /// Of model quality.
    ModelQuality(Box<ModelQualityReport>),
}

impl AnyReport {
    /// The number of violations.
    pub fn violations(&self) -> usize {
        match self {
            Self::DataQuality(report) => report.violations.len(),
            Self::ModelQuality(report) => report.violations.len(),
        }
    }

    /// Why the run does not count as healthy although it found no violations.
    pub fn inconclusive(&self) -> Option<String> {
        match self {
            Self::DataQuality(report) => report.inconclusive(),
            Self::ModelQuality(report) => report.inconclusive(),
        }
    }
}

impl fmt::Display for AnyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DataQuality(report) => report.fmt(f),
            Self::ModelQuality(report) => report.fmt(f),
        }
    }
}
