//! The comparison of a run with other versions.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use mlops_core::names::{BranchName, Version};
use mlops_oci::Digest;
use serde::Serialize;
use serde_json::{Map, Value};

use super::found::{Found, Other};
use super::metrics::{self, MetricRow};
use crate::aws::sagemaker::compared::{Compared, Role};
use crate::aws::sagemaker::gate::Gate;
use crate::aws::sagemaker::models::Model;
use crate::aws::sagemaker::runs::{Origin, Run};
use crate::aws::state::{ModelApproval, RunState};
use crate::config::{Better, Project};
use crate::context::Context;
use crate::releases::gate;

/// A run with an image, next to the previous image's newest version and the live version.
#[derive(Debug, Serialize)]
pub struct ImageReport {
    pub(super) model: String,
    pub(super) branch: BranchName,
    pub(super) image: Digest,
    pub(super) run: String,
    pub(super) status: RunState,
    pub(super) build: Option<String>,
    /// Why a gate refused the model.
    pub(super) gate: Option<Gate>,
    /// Why the run failed; null if a gate refused the model.
    pub(super) failure: Option<FailedRun>,
    pub(super) new: Facts,
    /// The newest version from the branch's previous image.
    pub(super) previous: Option<Facts>,
    pub(super) live: Option<Facts>,
    pub(super) metrics: Vec<MetricRow>,
    pub(super) compared: Vec<Compared>,
    /// Whether the run's record has the comparison now.
    pub(super) recorded: bool,
    /// The topic that the report was published to.
    pub(super) notified: Option<String>,
    #[serde(skip)]
    pub(super) next: Option<String>,
}

/// Where a run failed, and why.
#[derive(Debug, Serialize)]
pub(super) struct FailedRun {
    pub(super) step: Option<String>,
    pub(super) reason: Option<String>,
}

/// A version and what it was trained from. The new one has no version if none was registered.
#[derive(Debug, Serialize)]
pub(super) struct Facts {
    pub(super) version: Option<Version>,
    pub(super) status: Option<ModelApproval>,
    pub(super) model_package_arn: Option<String>,
    pub(super) run: Option<String>,
    pub(super) branch: Option<String>,
    /// With `-dirty` if uncommitted files were included.
    pub(super) commit: Option<String>,
    pub(super) image: Option<String>,
    pub(super) data_version: Option<String>,
}

impl Facts {
    fn of(model: Option<&Model>, origin: &Origin, run: Option<&str>) -> Self {
        let recorded = |name: &str| model?.properties.get(name).cloned();
        let image = origin.image.map(|digest| digest.to_string());
        Self {
            version: model.map(|model| model.version),
            status: model.map(|model| model.status.clone()),
            model_package_arn: model.map(|model| model.arn.clone()),
            run: run.map(str::to_owned),
            branch: origin.branch.clone(),
            commit: model
                .and_then(Model::revision)
                .or_else(|| origin.commit.clone()),
            image: image.or_else(|| model?.image.clone()),
            data_version: recorded("InputDataVersion").or_else(|| origin.data_version.clone()),
        }
    }

    fn of_other(other: &Other) -> Self {
        Self::of(
            Some(&other.model),
            &other.origin,
            other.model.run.as_deref(),
        )
    }
}

impl ImageReport {
    /// Compares the run that was found with the other versions.
    pub(super) fn new(
        ctx: &Context,
        project: &Project,
        branch: BranchName,
        image: Digest,
        found: &Found,
    ) -> Result<Self> {
        let run = &found.run;
        let model = found.model.as_ref();
        let others = [
            (Role::Previous, found.previous.as_ref()),
            (Role::Live, found.live.as_ref()),
        ];
        let measured = match (model, &run.gate) {
            (Some(model), _) => model.metrics.clone(),
            (None, Some(gate)) => gate.metrics.clone(),
            (None, None) => Map::new(),
        };
        let [previous, live] = others.map(|(_, other)| other.map(|other| &other.model.metrics));
        let directions = directions(project, found, &measured)?;
        let metrics = metrics::rows(&measured, previous, live, &directions);
        let new = Facts::of(model, &run.origin, Some(&run.run));
        let compared = others
            .into_iter()
            .filter(|_| !measured.is_empty())
            .filter_map(|(role, other)| {
                let other = Facts::of_other(other?);
                let data = new.data_version.as_ref().zip(other.data_version.as_ref());
                let same_data = data.map(|(new, other)| new == other);
                Some(metrics::compared(&metrics, role, other.version?, same_data))
            })
            .collect();
        Ok(Self {
            model: project.file.name.to_string(),
            branch,
            image,
            run: run.run.clone(),
            status: run.status.clone(),
            build: run.origin.build.clone(),
            gate: run.gate.clone(),
            failure: failure(run),
            new,
            previous: found.previous.as_ref().map(Facts::of_other),
            live: found.live.as_ref().map(Facts::of_other),
            metrics,
            compared,
            recorded: false,
            notified: None,
            next: next(run, model).map(|rest| ctx.command(&rest)),
        })
    }
}

/// Returns which value of each metric is better, where that is declared: by the model package, or in
/// mlops.toml.
fn directions(
    project: &Project,
    found: &Found,
    measured: &Map<String, Value>,
) -> Result<BTreeMap<String, Better>> {
    let others = [&found.previous, &found.live];
    let others = others.into_iter().flatten().map(|other| &other.model);
    let models: Vec<&Model> = found.model.iter().chain(others).collect();
    let none = BTreeMap::new();
    // A model that a gate refused has no package, but its predecessors come from the same pipeline.
    let properties = models.first().map_or(&none, |model| &model.properties);
    let names = models.iter().flat_map(|model| model.metrics.keys());
    let names: BTreeSet<&String> = names.chain(measured.keys()).collect();
    let mut directions = BTreeMap::new();
    for name in names {
        let better = gate::declared(name, properties, &project.file.deploy.metrics)?;
        directions.extend(better.map(|better| (name.clone(), better)));
    }
    Ok(directions)
}

fn failure(run: &Run) -> Option<FailedRun> {
    if run.gate.is_some() || !run.execution_status.has_failed() {
        return None;
    }
    let failed = run.failed_steps();
    let step = failed.first();
    Some(FailedRun {
        step: step.map(|step| step.name.clone()),
        reason: step
            .and_then(|step| step.failure.clone())
            .or_else(|| run.failure.clone()),
    })
}

/// Returns the command to run next.
fn next(run: &Run, model: Option<&Model>) -> Option<String> {
    match model {
        Some(model) if !model.status.is_pending() => None,
        Some(model) if model.dirty => Some(format!("promote {} --allow-dirty", model.version)),
        Some(model) => Some(format!("promote {}", model.version)),
        None if run.gate.is_none() && run.execution_status.has_failed() => {
            Some(format!("runs why {}", run.run))
        }
        None => Some(format!("runs show {}", run.run)),
    }
}
