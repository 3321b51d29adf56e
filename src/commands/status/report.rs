//! The report of `mlops status`.

use mlops_core::names::Version;
use mlops_oci::Digest;
use serde::Serialize;

use super::delivery::{Delivered, Waiting};
use crate::aws::billed::{Billed, Notebook};
use crate::aws::hosting::Endpoint;
use crate::aws::project_runs::short;
use crate::aws::sagemaker::gate::Gate;
use crate::aws::sagemaker::models::ModelVersion;
use crate::aws::state::{ModelApproval, RunState};
use crate::infra::Part;
use crate::output::Report;
use crate::releases::candidate::{self, Withdrawn};
use crate::releases::store::{Outcome, Release};

/// The project at a glance.
#[derive(Debug, Serialize)]
pub struct StatusReport {
    /// Its name.
    pub project: String,
    /// The account.
    pub account: String,
    /// The region.
    pub region: String,
    /// The stacks.
    pub stacks: Vec<Stack>,
    /// The notebook instance.
    pub notebook: Option<Notebook>,
    /// The newest tagged image.
    pub image: Option<NewestImage>,
    /// The newest version of the training data.
    pub data: Option<Data>,
    /// The last pipeline execution.
    pub run: Option<Run>,
    /// The last pipeline executions, newest first.
    pub runs: Vec<Run>,
    /// The newest execution of each pipeline of CodePipeline.
    pub delivery: Vec<Delivered>,
    /// The model versions, newest first.
    pub models: Vec<ModelVersion>,
    /// The endpoint.
    pub endpoint: Option<Endpoint>,
    /// The version that the endpoint serves.
    pub live: Option<Version>,
    /// The release that the endpoint serves.
    pub release: Option<u32>,
    /// The newest release, whatever became of it.
    pub last_release: Option<LastRelease>,
    /// The versions that must not be suggested.
    #[serde(skip)]
    pub withdrawn: Withdrawn,
    /// The last monitoring result.
    pub monitor: Option<Monitoring>,
    /// What waits for a person.
    pub waiting: Vec<Waiting>,
    /// What is billed by the hour.
    pub billed: Vec<Billed>,
    /// The next command to run.
    pub next: String,
}

/// A stack of the architecture.
#[derive(Debug, Serialize)]
pub struct Stack {
    /// The part of the architecture.
    pub part: Part,
    /// CloudFormation's status; null if the stack does not exist.
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
    /// The version id of its manifest; null if nothing was pushed.
    pub version: Option<String>,
}

/// The newest release.
#[derive(Debug, Serialize)]
pub struct LastRelease {
    /// Its number.
    pub release: u32,
    /// Its version of the model.
    pub version: Version,
    /// What became of it; null while it is being deployed.
    pub outcome: Option<Outcome>,
    /// Why, if it is not live.
    pub reason: Option<String>,
}

impl LastRelease {
    /// Summarizes a release.
    pub fn new(release: &Release) -> Self {
        Self {
            release: release.number(),
            version: release.sealed.manifest.model.version,
            outcome: release.outcome(),
            reason: release.last().and_then(|event| event.reason.clone()),
        }
    }
}

/// A pipeline execution.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// The last part of its ARN.
    pub id: String,
    /// Its status; `Refused` if a gate refused the model.
    pub status: RunState,
    /// The reason of a failure or refusal.
    pub gate: Option<Gate>,
}

/// A monitoring result.
#[derive(Debug, Serialize)]
pub struct Monitoring {
    /// When the result was created, as its directory is named.
    pub time: String,
    /// The number of violations.
    pub violations: usize,
    /// Its location in S3.
    pub report: String,
}

impl StatusReport {
    /// Returns a project of which only the stacks are known.
    pub(super) fn new(project: &str, account: &str, region: &str, stacks: Vec<Stack>) -> Self {
        Self {
            project: project.to_owned(),
            account: account.to_owned(),
            region: region.to_owned(),
            stacks,
            notebook: None,
            image: None,
            data: None,
            run: None,
            runs: Vec::new(),
            delivery: Vec::new(),
            models: Vec::new(),
            endpoint: None,
            live: None,
            release: None,
            last_release: None,
            withdrawn: Withdrawn::default(),
            monitor: None,
            waiting: Vec::new(),
            billed: Vec::new(),
            next: String::new(),
        }
    }

    /// Returns the versions with this approval status.
    pub(super) fn versions(
        &self,
        approval: fn(&ModelApproval) -> bool,
    ) -> impl Iterator<Item = Version> {
        let models = self.models.iter();
        models
            .filter(move |model| approval(&model.status))
            .map(|model| model.version)
    }

    /// Returns the versions newer than the live one that wait for an approval, newest first.
    pub(super) fn approvals(&self, command: impl Fn(Version) -> String) -> Vec<Waiting> {
        self.versions(ModelApproval::is_pending)
            .filter(|version| !self.withdrawn.has(*version))
            .filter(|version| self.live.is_none_or(|live| *version > live))
            .map(|version| Waiting {
                what: format!("version {version}"),
                waits_for: "an approver",
                command: command(version),
                run: None,
            })
            .collect()
    }

    /// Returns the command that creates the first missing part, without `mlops`.
    pub(super) fn next_step(&self) -> String {
        let mut initial = self.stacks.iter().filter(|stack| !stack.part.is_optional());
        if initial.any(|stack| stack.status.is_none()) {
            return "init".to_owned();
        }
        // What failed by itself was not seen by anybody.
        let failed = self.delivery.iter().filter(|it| it.failed().is_some());
        let newest = failed.max_by_key(|it| it.started);
        if let Some(run) = newest.and_then(Delivered::failed) {
            return format!("runs why {}", short(run));
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
        let candidate = candidate::newest(&self.models, self.live, &self.withdrawn);
        let candidate = candidate.map(|found| found.version);
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
