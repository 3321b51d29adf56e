//! The report of `mlops status`.

use mlops_core::names::Version;
use mlops_oci::Digest;
use serde::Serialize;

use crate::aws::hosting::Endpoint;
use crate::aws::sagemaker::gate::Gate;
use crate::aws::sagemaker::models::ModelVersion;
use crate::aws::state::{ModelApproval, RunState};
use crate::output::Report;

/// The project at a glance.
#[derive(Debug, Serialize)]
pub struct StatusReport {
    /// Its name.
    pub project: String,
    /// The account that was asked.
    pub account: String,
    /// The region.
    pub region: String,
    /// The stacks.
    pub stacks: Vec<Stack>,
    /// The newest tagged image.
    pub image: Option<NewestImage>,
    /// The newest version of the training data.
    pub data: Option<Data>,
    /// The last pipeline execution.
    pub run: Option<Run>,
    /// The model versions, newest first.
    pub models: Vec<ModelVersion>,
    /// The endpoint.
    pub endpoint: Option<Endpoint>,
    /// The version that the endpoint serves.
    pub live: Option<Version>,
    /// The last monitoring result.
    pub monitor: Option<Monitoring>,
    /// The command to go on with.
    pub next: String,
}

/// A stack of the architecture.
#[derive(Debug, Serialize)]
pub struct Stack {
    /// Which one.
    pub part: &'static str,
    /// CloudFormation's status; null when there is none.
    pub status: Option<String>,
}

/// An image.
#[derive(Debug, Serialize)]
pub struct NewestImage {
    /// Its tags.
    pub tags: Vec<String>,
    /// Its digest.
    pub digest: Digest,
}

/// The training data.
#[derive(Debug, Serialize)]
pub struct Data {
    /// The data set.
    pub dataset: String,
    /// The version id of its manifest; null when nothing was pushed.
    pub version: Option<String>,
}

/// A pipeline execution.
#[derive(Debug, Serialize)]
pub struct Run {
    /// The last part of its ARN.
    pub id: String,
    /// Its status, `Refused` where a gate refused the model.
    pub status: RunState,
    /// Why.
    pub gate: Option<Gate>,
}

/// A monitoring result.
#[derive(Debug, Serialize)]
pub struct Monitoring {
    /// When it was made, as its directory is named.
    pub time: String,
    /// How many violations it found.
    pub violations: usize,
    /// Where it lies.
    pub report: String,
}

impl StatusReport {
    /// A project of which only the stacks are known.
    pub(super) fn new(project: &str, account: &str, region: &str, stacks: Vec<Stack>) -> Self {
        Self {
            project: project.to_owned(),
            account: account.to_owned(),
            region: region.to_owned(),
            stacks,
            image: None,
            data: None,
            run: None,
            models: Vec::new(),
            endpoint: None,
            live: None,
            monitor: None,
            next: String::new(),
        }
    }

    /// The versions with such an approval.
    pub(super) fn versions(
        &self,
        approval: fn(&ModelApproval) -> bool,
    ) -> impl Iterator<Item = Version> {
        let models = self.models.iter();
        models
            .filter(move |model| approval(&model.status))
            .map(|model| model.version)
    }

    /// What to do about the first thing of the story that is missing, as `mlops` is told it.
    pub(super) fn next_step(&self) -> String {
        let there = |part: &str| {
            let stack = self.stacks.iter().find(|stack| stack.part == part);
            stack.is_some_and(|stack| stack.status.is_some())
        };
        if !["network", "platform", "workbench"].into_iter().all(there) {
            return "init".to_owned();
        }
        if self.image.is_none() {
            return "image push".to_owned();
        }
        if let Some(data) = &self.data
            && data.version.is_none()
        {
            return format!("data push DIR {}", data.dataset);
        }
        if let Some(run) = &self.run
            && run.status.is_executing()
        {
            return format!("runs show {}", run.id);
        }
        let above_live = |version: &Version| self.live.is_none_or(|live| *version > live);
        let candidate = self
            .versions(ModelApproval::is_approved)
            .chain(self.versions(ModelApproval::is_pending))
            .filter(above_live)
            .max();
        if let Some(version) = candidate {
            return format!("promote {version}");
        }
        match &self.monitor {
            None if self.live.is_some() => "monitor run".to_owned(),
            Some(monitor) if monitor.violations > 0 => "monitor report".to_owned(),
            _ => "train".to_owned(),
        }
    }
}

impl Report for StatusReport {}
