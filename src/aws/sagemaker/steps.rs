//! The steps of a run, and the parameters that it was started with.

use std::collections::BTreeMap;

use anyhow::Result;
use aws_sdk_sagemaker::types::{PipelineExecutionStep, PipelineExecutionStepMetadata, SortOrder};
use jiff::Timestamp;
use mlops_pipeline::StepType;
use serde::Serialize;

use super::timestamp;
use crate::aws::logs::LogPlace;
use crate::aws::state::StepState;
use crate::aws::{AwsResultExt, Clients};

/// A step of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunStep {
    /// Its name.
    pub name: String,
    /// Its type, once AWS reports it.
    pub kind: Option<StepType>,
    /// The service's own state.
    pub status: StepState,
    /// When it started.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Why it failed.
    pub failure: Option<String>,
    /// The ARN of the job, model or model package.
    pub arn: Option<String>,
    /// Outcome of a Condition step: `True` or `False`.
    pub outcome: Option<String>,
    /// The earlier run whose result was reused instead of running the step.
    pub cached_from: Option<String>,
    /// The number of attempts, if more than one.
    pub attempts: Option<i32>,
}

impl RunStep {
    /// Returns the status to display: a gate that refused its run has not failed.
    pub fn shown_status(&self) -> &str {
        self.status.shown(self.is_gate())
    }

    /// Returns whether it ends a run on purpose.
    fn is_gate(&self) -> bool {
        self.kind == Some(StepType::Fail)
    }

    /// Returns the name of the type, or `-` if it is unknown.
    pub fn shown_kind(&self) -> &str {
        self.kind.as_ref().map_or("-", StepType::name)
    }

    /// Returns how long it took, or has taken until `now`, in seconds.
    pub fn seconds(&self, now: Timestamp) -> Option<i64> {
        let end = self.ended.unwrap_or(now);
        Some((end.as_second() - self.started?.as_second()).max(0))
    }

    /// Returns the log of this step's job, if it ran one.
    pub fn log(&self) -> Option<LogPlace> {
        let group = match self.kind.as_ref()? {
            StepType::Processing => "/aws/sagemaker/ProcessingJobs",
            StepType::Training => "/aws/sagemaker/TrainingJobs",
            _ => return None,
        };
        Some(LogPlace::Job {
            group: group.to_owned(),
            job: self.arn.as_deref()?.rsplit('/').next()?.to_owned(),
        })
    }
}

/// Returns the Fail step that ended a run: a gate that refused it.
pub(super) fn fail_step(steps: &[RunStep]) -> Option<&RunStep> {
    steps
        .iter()
        .find(|step| step.is_gate() && step.status.has_failed())
}

pub(super) fn model_package(steps: &[RunStep]) -> Option<&str> {
    steps
        .iter()
        .filter(|step| step.kind == Some(StepType::RegisterModel))
        .find_map(|step| step.arn.as_deref())
}

/// Returns the id in an execution's ARN.
pub fn id(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

/// Lists the steps of a run that were started, in that order.
pub(super) async fn steps(clients: &Clients, arn: &str) -> Result<Vec<RunStep>> {
    let steps = clients
        .sagemaker
        .list_pipeline_execution_steps()
        .pipeline_execution_arn(arn)
        .sort_order(SortOrder::Ascending)
        .max_results(100)
        .into_paginator()
        .items()
        .send()
        .collect::<Result<Vec<_>, _>>()
        .await
        .aws("cannot list the steps of the run")?;
    Ok(steps.iter().map(step).collect())
}

fn step(step: &PipelineExecutionStep) -> RunStep {
    let (kind, arn) = step.metadata().map_or((None, None), subject);
    RunStep {
        name: step.step_name().unwrap_or_default().to_owned(),
        kind,
        status: StepState::of(step.step_status()),
        started: step.start_time().and_then(timestamp),
        ended: step.end_time().and_then(timestamp),
        failure: step
            .failure_reason()
            .or_else(|| step.metadata()?.fail()?.error_message())
            .map(str::to_owned),
        arn,
        outcome: step
            .metadata()
            .and_then(PipelineExecutionStepMetadata::condition)
            .and_then(|condition| condition.outcome())
            .map(|outcome| outcome.as_str().to_owned()),
        // AWS's own examples have an empty ARN if nothing was reused.
        cached_from: step
            .cache_hit_result()
            .and_then(|hit| hit.source_pipeline_execution_arn())
            .filter(|arn| !arn.is_empty())
            .map(|arn| id(arn).to_owned()),
        attempts: step.attempt_count().filter(|count| *count > 1),
    }
}

/// Parses a step's metadata: the step's type, and an ARN if it has one.
fn subject(metadata: &PipelineExecutionStepMetadata) -> (Option<StepType>, Option<String>) {
    let owned = |arn: Option<&str>| arn.map(str::to_owned);
    if let Some(job) = metadata.processing_job() {
        (Some(StepType::Processing), owned(job.arn()))
    } else if let Some(job) = metadata.training_job() {
        (Some(StepType::Training), owned(job.arn()))
    } else if let Some(model) = metadata.register_model() {
        (Some(StepType::RegisterModel), owned(model.arn()))
    } else if let Some(model) = metadata.model() {
        (Some(StepType::Model), owned(model.arn()))
    } else if metadata.condition().is_some() {
        (Some(StepType::Condition), None)
    } else if metadata.fail().is_some() {
        (Some(StepType::Fail), None)
    } else {
        (None, None)
    }
}

/// Returns the parameters that a run was started with.
pub async fn parameters(clients: &Clients, arn: &str) -> Result<BTreeMap<String, String>> {
    let parameters = clients
        .sagemaker
        .list_pipeline_parameters_for_execution()
        .pipeline_execution_arn(arn)
        .max_results(100)
        .into_paginator()
        .items()
        .send()
        .collect::<Result<Vec<_>, _>>()
        .await
        .aws("cannot list the parameters of the run")?;
    Ok(parameters
        .into_iter()
        .filter_map(|parameter| Some((parameter.name?, parameter.value?)))
        .collect())
}
