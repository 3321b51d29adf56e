//! Users of an image.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::aws::image_use::UsingVersion;

/// The users of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct UsedBy {
    /// Versions of the project's models, newest first.
    pub models: Vec<UsingVersion>,
    /// Runs in progress that use the image.
    pub runs: BTreeSet<String>,
    /// Endpoints of the account that run the image.
    pub endpoints: BTreeSet<String>,
    /// Branches that pin the image, as far as this clone knows them.
    pub pins: BTreeSet<String>,
    /// Branches whose tag the image carries.
    pub branches: BTreeSet<String>,
    /// True for the analyzer that Processing jobs run.
    pub analyzer: bool,
}

impl UsedBy {
    pub(super) fn add(&mut self, other: &Self) {
        for model in &other.models {
            if !self.models.contains(model) {
                self.models.push(model.clone());
            }
        }
        self.runs.extend(other.runs.iter().cloned());
        self.endpoints.extend(other.endpoints.iter().cloned());
        self.pins.extend(other.pins.iter().cloned());
        self.branches.extend(other.branches.iter().cloned());
        self.analyzer |= other.analyzer;
    }

    /// Returns why the image must be kept; empty if it can be removed. A rejected version does not
    /// need its image.
    pub(super) fn needs(&self) -> Vec<String> {
        let versions = self
            .models
            .iter()
            .filter(|model| !model.status.is_rejected());
        let mut needs: Vec<String> = versions.map(|m| format!("version {}", m.version)).collect();
        needs.extend(self.runs.iter().map(|id| format!("run {id}")));
        needs.extend(self.endpoints.iter().map(|name| format!("endpoint {name}")));
        needs.extend(self.pins.iter().map(|name| format!("pin of {name}")));
        needs.extend(self.branches.iter().map(|name| format!("branch {name}")));
        needs.extend(self.analyzer.then(|| "analyzer".to_owned()));
        needs
    }

    /// Formats the users for a table column: `v3, v2 rejected, endpoint flights, pin of feature/x`.
    /// Branches appear among the tags.
    pub(super) fn brief(&self) -> String {
        let version = |model: &UsingVersion| {
            let rejected = if model.status.is_rejected() {
                " rejected"
            } else {
                ""
            };
            format!("v{}{rejected}", model.version)
        };
        let mut parts: Vec<String> = self.models.iter().map(version).collect();
        parts.extend(self.runs.iter().map(|id| format!("run {id}")));
        parts.extend(self.endpoints.iter().map(|name| format!("endpoint {name}")));
        parts.extend(self.pins.iter().map(|name| format!("pin of {name}")));
        parts.extend(self.analyzer.then(|| "analyzer".to_owned()));
        parts.join(", ")
    }
}
