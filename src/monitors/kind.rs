//! The kinds of monitors.

use serde::Serialize;

/// A kind of monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum MonitorKind {
    /// Captured requests and predictions compared with the training data
    #[default]
    DataQuality,
    /// Predictions compared with labels (`mlops data label push`)
    ModelQuality,
}

/// Every kind.
pub const KINDS: [MonitorKind; 2] = [MonitorKind::DataQuality, MonitorKind::ModelQuality];

impl MonitorKind {
    /// The name in commands, alarms, schedules and results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DataQuality => "data-quality",
            Self::ModelQuality => "model-quality",
        }
    }

    /// Parses a name.
    pub fn parse(text: &str) -> Option<Self> {
        KINDS.into_iter().find(|kind| kind.as_str() == text)
    }

    /// The name of an endpoint's monitor of this kind, in metrics.
    pub fn monitor(self, endpoint: &str) -> String {
        format!("{endpoint}-{}", self.as_str())
    }
}
