//! Runs: executions of the project's SageMaker pipeline, and their steps.

use std::fmt;

use anyhow::{Context as _, Result, anyhow};
use aws_sdk_sagemaker::types::SortOrder;
use aws_smithy_types::DateTime;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use mlops_core::error::{Failure, Hint};
use mlops_core::names::Version;
use mlops_core::text::clean;
use mlops_oci::Digest;
use serde::{Deserialize, Serialize};

use super::compared::{Compared, readable_or_default};
use super::gate::{self, Gate};
pub use super::steps::{RunStep, id, parameters};
use super::steps::{model_package, steps};
use super::timestamp;
use crate::aws::state::{ExecutionState, RunState};
use crate::aws::{AwsResultExt, Clients, Missing};

/// The inputs of a run; `mlops train` records them as the execution's description.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The branch.
    pub branch: Option<String>,
    /// The commit of the definition.
    pub commit: Option<String>,
    /// The image, by digest.
    #[serde(default, deserialize_with = "readable")]
    pub image: Option<Digest>,
    /// Why it is this image: `pinned in B`, `newest from B`, `promoted as version N`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_why: Option<String>,
    /// The version of the data set.
    pub data_version: Option<String>,
    /// SHA-256 of the definition.
    pub definition_sha256: Option<String>,
    /// True if definition and program came from the working tree.
    #[serde(default)]
    pub dirty: bool,
    /// The build of CodeBuild that started the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
    /// Why it was started: `push`, or the reason of the request to the retrain gate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How its model compares with others, if `mlops models compare --image --record` was run.
    #[serde(
        default,
        deserialize_with = "readable_or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub compared: Vec<Compared>,
}

/// Another program may have written a description whose image is not a digest; the rest is still used.
fn readable<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Digest>, D::Error> {
    let text: Option<String> = Option::deserialize(from)?;
    Ok(text.and_then(|text| text.parse().ok()))
}

impl Origin {
    /// Returns the abbreviated commit.
    pub fn short_commit(&self) -> String {
        self.commit.iter().flat_map(|c| c.chars().take(7)).collect()
    }
}

/// A text of somebody else's on one line of a terminal.
fn line(text: &str) -> String {
    clean(text).replace(['\n', '\t'], " ")
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(branch) = &self.branch {
            let dirty = if self.dirty { " (working tree)" } else { "" };
            let branch = line(branch);
            writeln!(
                f,
                "branch    {branch}  {}{dirty}",
                line(&self.short_commit())
            )?;
        }
        let image = self.image.map(|digest| digest.to_string());
        let why = ("", &self.image_why);
        for (label, value) in [
            ("image", &image),
            why,
            ("data", &self.data_version),
            ("build", &self.build),
            ("reason", &self.reason),
        ] {
            if let Some(value) = value {
                writeln!(f, "{label:<9} {}", line(value))?;
            }
        }
        for (index, compared) in self.compared.iter().enumerate() {
            let label = if index == 0 { "compared" } else { "" };
            let text = clean(&compared.to_string()).replace("; ", ";\n          ");
            writeln!(f, "{label:<9} {text}")?;
        }
        Ok(())
    }
}

/// Summary of a run.
#[derive(Debug, Clone, Serialize)]
pub struct RunSummary {
    /// The execution's id.
    pub run: String,
    /// The state: that of the execution, unless a gate refused the model.
    pub status: RunState,
    /// The execution's own state.
    pub execution_status: ExecutionState,
    /// When it started.
    pub started: Option<Timestamp>,
    /// Duration; so far, for a run in progress.
    pub seconds: Option<i64>,
    /// The model version that it registered.
    pub model_version: Option<Version>,
    /// Why a gate refused it.
    pub gate: Option<Gate>,
    /// Its inputs.
    #[serde(flatten)]
    pub origin: Origin,
    /// Why it failed.
    pub failure: Option<String>,
}

/// Returns a run and its steps.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// The execution's id.
    pub run: String,
    /// Its ARN.
    pub arn: String,
    /// The state: that of the execution, unless a gate refused the model.
    pub status: RunState,
    /// The execution's own state.
    pub execution_status: ExecutionState,
    /// Why it failed.
    pub failure: Option<String>,
    /// When it started.
    pub started: Option<Timestamp>,
    /// When it last changed.
    pub changed: Option<Timestamp>,
    /// The model version that it registered.
    pub model_version: Option<Version>,
    /// Why a gate refused it.
    pub gate: Option<Gate>,
    /// Its inputs.
    #[serde(flatten)]
    pub origin: Origin,
    /// The steps that were started, in that order.
    pub steps: Vec<RunStep>,
}

impl RunSummary {
    /// Returns true if the run has ended.
    pub fn is_over(&self) -> bool {
        self.status.is_over()
    }
}

impl Run {
    /// Returns true if the run has ended.
    pub fn is_over(&self) -> bool {
        self.status.is_over()
    }

    /// Returns the ARN of the model package that the run registered.
    pub fn model_package(&self) -> Option<&str> {
        model_package(&self.steps)
    }

    /// Returns how long it took, or has taken until `now`.
    pub fn seconds(&self, now: Timestamp) -> Option<i64> {
        seconds(self.started, &self.steps, self.is_over(), self.changed, now)
    }

    /// Returns the steps that failed, in the order of their ends: the others may have failed because of the first.
    pub fn failed_steps(&self) -> Vec<&RunStep> {
        let steps = self.steps.iter();
        let mut failed: Vec<&RunStep> = steps.filter(|step| step.status.has_failed()).collect();
        failed.sort_by_key(|step| (step.ended.is_none(), step.ended));
        failed
    }
}

/// Parses the version from a model package's ARN.
fn version(package: &str) -> Option<Version> {
    package.rsplit('/').next()?.parse().ok()
}

/// Returns the duration: until the end of the last step, the last change, or now.
fn seconds(
    started: Option<Timestamp>,
    steps: &[RunStep],
    is_over: bool,
    changed: Option<Timestamp>,
    now: Timestamp,
) -> Option<i64> {
    let ended = steps.iter().filter_map(|step| step.ended).max();
    let end = if is_over { ended.or(changed)? } else { now };
    Some((end.as_second() - started?.as_second()).max(0))
}

/// Returns the ARN of a run of a pipeline, given its id, its ARN, or nothing for the newest.
pub async fn find(clients: &Clients, pipeline: &str, run: Option<&str>) -> Result<String> {
    match run {
        Some(arn) if arn.starts_with("arn:") => {
            let own = format!(":pipeline/{}/execution/", pipeline.to_lowercase());
            if arn.to_lowercase().contains(&own) {
                return Ok(arn.to_owned());
            }
            Err(Failure::usage(format!(
                "{arn} is not a run of the pipeline `{pipeline}`"
            )))
            .hint(format!(
                "list the runs with `{}`",
                clients.command("runs list")
            ))
        }
        Some(id) => {
            let described = clients
                .sagemaker
                .describe_pipeline()
                .pipeline_name(pipeline)
                .send()
                .await
                .aws_if_found(
                    format!("cannot describe the pipeline `{pipeline}`"),
                    Missing::Resource,
                )?
                .ok_or_else(|| anyhow!("no run `{id}`: nothing has been trained yet"))
                .hint(format!("start one with `{}`", clients.command("train")))?;
            let arn = described.pipeline_arn.context("the pipeline has no ARN")?;
            Ok(format!("{arn}/execution/{id}"))
        }
        None => {
            let newest = list(clients, pipeline, 1).await?;
            let arn = newest.into_iter().next().map(|(arn, _)| arn);
            arn.ok_or_else(|| anyhow!("no runs yet"))
                .hint(format!("start one with `{}`", clients.command("train")))
        }
    }
}

/// Lists the newest runs of a pipeline with their ARNs, newest first; none if the pipeline does not
/// exist.
pub async fn list(
    clients: &Clients,
    pipeline: &str,
    limit: usize,
) -> Result<Vec<(String, RunSummary)>> {
    let mut pages = clients
        .sagemaker
        .list_pipeline_executions()
        .pipeline_name(pipeline)
        .sort_order(SortOrder::Descending)
        .max_results(i32::try_from(limit.clamp(1, 100)).unwrap_or(100))
        .into_paginator()
        .send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let Some(page) = page.aws_if_found("cannot list the runs", Missing::Resource)? else {
            break;
        };
        for summary in page.pipeline_execution_summaries() {
            let arn = summary.pipeline_execution_arn().unwrap_or_default();
            let execution = ExecutionState::of(summary.pipeline_execution_status());
            found.push((
                arn.to_owned(),
                RunSummary {
                    run: id(arn).to_owned(),
                    status: RunState::new(execution.clone(), false),
                    execution_status: execution,
                    seconds: None,
                    model_version: None,
                    gate: None,
                    started: summary.start_time().and_then(timestamp),
                    origin: origin(summary.pipeline_execution_description()),
                    failure: summary
                        .pipeline_execution_failure_reason()
                        .map(str::to_owned),
                },
            ));
        }
        if found.len() >= limit {
            found.truncate(limit);
            break;
        }
    }
    Ok(found)
}

/// Returns the runs that these builds started, oldest first. They were created after `since`.
pub async fn of_builds(
    clients: &Clients,
    pipeline: &str,
    builds: &[String],
    since: Option<Timestamp>,
) -> Result<Vec<Run>> {
    /// A run is created seconds after its build; clocks of services differ.
    const MARGIN: i64 = 5_000;

    let since = since.map(|since| DateTime::from_millis(since.as_millisecond() - MARGIN));
    let page = clients
        .sagemaker
        .list_pipeline_executions()
        .pipeline_name(pipeline)
        .sort_order(SortOrder::Ascending)
        .set_created_after(since)
        .max_results(100)
        .send()
        .await
        .aws_if_found("cannot list the runs", Missing::Resource)?;
    let summaries = page.and_then(|page| page.pipeline_execution_summaries);
    let mut found = Vec::new();
    for summary in summaries.unwrap_or_default() {
        let build = origin(summary.pipeline_execution_description()).build;
        if let Some(arn) = summary.pipeline_execution_arn()
            && build.is_some_and(|build| builds.contains(&build))
        {
            found.push(describe(clients, arn).await?);
        }
    }
    Ok(found)
}

/// Adds what the list of runs lacks: duration, model version, and the gate that refused the run.
pub async fn complete(
    clients: &Clients,
    runs: Vec<(String, RunSummary)>,
    now: Timestamp,
) -> Result<Vec<RunSummary>> {
    /// Maximum number of requests in parallel; SageMaker throttles more.
    const PARALLEL: usize = 6;

    let completed = runs.into_iter().map(|(arn, mut run)| async move {
        let steps = if run.is_over() {
            steps(clients, &arn).await?
        } else {
            Vec::new()
        };
        run.seconds = seconds(run.started, &steps, run.is_over(), None, now);
        run.model_version = model_package(&steps).and_then(version);
        if run.execution_status.has_failed() {
            run.gate = gate::of(clients, &arn, &steps).await;
        }
        run.status = RunState::new(run.execution_status.clone(), run.gate.is_some());
        anyhow::Ok(run)
    });
    futures::stream::iter(completed)
        .buffered(PARALLEL)
        .try_collect()
        .await
}

/// Runs that `mlops` did not start have other descriptions.
fn origin(description: Option<&str>) -> Origin {
    description
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

/// Maximum number of characters in the description of an execution; SageMaker's limit.
const LONGEST_DESCRIPTION: usize = 3072;

/// Records how the model of a run compares with others, next to the run's inputs.
pub async fn record(
    clients: &Clients,
    arn: &str,
    origin: &Origin,
    compared: Vec<Compared>,
) -> Result<()> {
    let mut origin = Origin {
        compared,
        ..origin.clone()
    };
    let mut description = serde_json::to_string(&origin)?;
    if description.chars().count() > LONGEST_DESCRIPTION {
        origin.compared.iter_mut().for_each(Compared::shorten);
        description = serde_json::to_string(&origin)?;
    }
    clients
        .sagemaker
        .update_pipeline_execution()
        .pipeline_execution_arn(arn)
        .pipeline_execution_description(description)
        .send()
        .await
        .aws(format!(
            "cannot record the comparison in the run `{}`",
            id(arn)
        ))?;
    Ok(())
}

/// Returns the inputs of a run; empty if the run was deleted.
pub async fn origin_of(clients: &Clients, arn: &str) -> Result<Origin> {
    let described = clients
        .sagemaker
        .describe_pipeline_execution()
        .pipeline_execution_arn(arn)
        .send()
        .await
        .aws_if_found("cannot describe the run", Missing::Resource)?;
    Ok(origin(described.as_ref().and_then(|described| {
        described.pipeline_execution_description()
    })))
}

/// Returns true if a run with this ARN exists.
pub async fn exists(clients: &Clients, arn: &str) -> Result<bool> {
    let described = clients
        .sagemaker
        .describe_pipeline_execution()
        .pipeline_execution_arn(arn)
        .send()
        .await
        .aws_if_found("cannot describe the run", Missing::Resource)?;
    Ok(described.is_some())
}

/// Returns a run and its steps.
pub async fn describe(clients: &Clients, arn: &str) -> Result<Run> {
    let described = clients
        .sagemaker
        .describe_pipeline_execution()
        .pipeline_execution_arn(arn)
        .send()
        .await
        .aws_if_found("cannot describe the run", Missing::Resource)?
        .ok_or_else(|| anyhow!("no run `{}`", id(arn)))
        .hint(format!(
            "list the runs with `{}`",
            clients.command("runs list")
        ))?;
    let steps = steps(clients, arn).await?;
    let execution = ExecutionState::of(described.pipeline_execution_status());
    let gate = if execution.has_failed() {
        gate::of(clients, arn, &steps).await
    } else {
        None
    };
    Ok(Run {
        run: id(arn).to_owned(),
        arn: arn.to_owned(),
        status: RunState::new(execution.clone(), gate.is_some()),
        execution_status: execution,
        gate,
        model_version: model_package(&steps).and_then(version),
        failure: described.failure_reason().map(str::to_owned),
        started: described.creation_time().and_then(timestamp),
        changed: described.last_modified_time().and_then(timestamp),
        origin: origin(described.pipeline_execution_description()),
        steps,
    })
}

/// Returns the state of the execution of a run; a gate that refused the model is not considered.
pub async fn state(clients: &Clients, arn: &str) -> Result<RunState> {
    let described = clients
        .sagemaker
        .describe_pipeline_execution()
        .pipeline_execution_arn(arn)
        .send()
        .await
        .aws(format!("cannot describe the run `{}`", id(arn)))?;
    let execution = ExecutionState::of(described.pipeline_execution_status());
    Ok(RunState::new(execution, false))
}

/// Stops a run and its jobs.
pub async fn stop(clients: &Clients, arn: &str) -> Result<()> {
    clients
        .sagemaker
        .stop_pipeline_execution()
        .pipeline_execution_arn(arn)
        .send()
        .await
        .aws(format!("cannot stop the run `{}`", id(arn)))?;
    Ok(())
}

/// Continues a failed or stopped run from its failed steps.
pub async fn retry(clients: &Clients, arn: &str) -> Result<()> {
    clients
        .sagemaker
        .retry_pipeline_execution()
        .pipeline_execution_arn(arn)
        .send()
        .await
        .aws(format!("cannot retry the run `{}`", id(arn)))?;
    Ok(())
}
