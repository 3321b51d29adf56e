//! The parts of the architecture.

use mlops_core::names::ProjectName;
use serde::Serialize;

use crate::config::ProjectFile;

/// A part of the architecture: one stack with one life cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The key and the buckets.
    Data,
    /// The VPC.
    Network,
    /// Images and model packages.
    Registry,
    /// Git repositories.
    Code,
    /// The roles.
    Governance,
    /// The notebook.
    Workbench,
    /// What the pipelines of all branches share; each branch has a stack of its own.
    Delivery,
    /// The scheduled monitor, deployed by `mlops monitor enable`.
    Monitoring,
    /// The retrain gate, deployed by `mlops retrain`.
    Retraining,
    /// The validation function, deployed by `validate --on lambda`.
    Validation,
    /// The endpoint, deployed by `promote`.
    Endpoint,
}

/// Every part, in the order in which they are deployed; each needs only earlier ones.
pub const PARTS: [Part; 11] = [
    Part::Data,
    Part::Network,
    Part::Registry,
    Part::Code,
    Part::Governance,
    Part::Workbench,
    Part::Delivery,
    Part::Monitoring,
    Part::Retraining,
    Part::Validation,
    Part::Endpoint,
];

impl Part {
    /// The part's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Network => "network",
            Self::Registry => "registry",
            Self::Code => "code",
            Self::Governance => "governance",
            Self::Workbench => "workbench",
            Self::Delivery => "delivery",
            Self::Monitoring => "monitoring",
            Self::Retraining => "retraining",
            Self::Validation => "validation",
            Self::Endpoint => "endpoint",
        }
    }

    /// The name of its stack in a project.
    pub fn stack(self, project: &ProjectName) -> String {
        format!("{project}-{}", self.as_str())
    }

    /// Whether another command than `mlops init` deploys it, when it needs it.
    pub fn is_optional(self) -> bool {
        matches!(
            self,
            Self::Monitoring | Self::Retraining | Self::Validation | Self::Endpoint
        )
    }

    /// The parts that `mlops init` deploys for a project, in their order. Other commands deploy the rest when they
    /// need it.
    pub fn initial(project: &ProjectFile) -> impl Iterator<Item = Self> + use<> {
        let delivers = project.delivery.is_some();
        PARTS
            .into_iter()
            .filter(move |part| !part.is_optional() && (delivers || *part != Self::Delivery))
    }

    /// Whether it holds what cannot be created again, and keeps it when the stack is deleted.
    pub fn holds_data(self) -> bool {
        matches!(self, Self::Data | Self::Registry | Self::Code)
    }

    /// Whether something in it must be emptied before it can be deleted.
    pub fn has_contents(self) -> bool {
        self.holds_data() || self == Self::Delivery
    }
}
