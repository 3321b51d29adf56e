//! The kinds of monitors.

use clap::ValueEnum;
use serde::Serialize;

use crate::aws::monitoring_store::Store;

/// A kind of monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum MonitorKind {
    /// Captured requests and predictions compared with the training data
    #[default]
    DataQuality,
    /// Predictions compared with labels (`mlops data label push`)
    ModelQuality,
}

impl MonitorKind {
    /// The name in commands, alarms, schedules and results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DataQuality => "data-quality",
            Self::ModelQuality => "model-quality",
        }
    }

    /// The name of an endpoint's monitor of this kind, in metrics.
    pub fn monitor(self, endpoint: &str) -> String {
        format!("{endpoint}-{}", self.as_str())
    }

    /// The baseline and the results of an endpoint's monitor of this kind, in the artifact bucket.
    pub fn store(self, bucket: &str, endpoint: &str) -> Store {
        let store = Store::new(bucket, endpoint);
        match self {
            Self::DataQuality => store,
            Self::ModelQuality => store.of(self.as_str()),
        }
    }
}
