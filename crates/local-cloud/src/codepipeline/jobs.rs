//! The operations with which functions report the results of their jobs.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::actions::lambda;
use super::engine::{self, Launch};
use super::outcome::{Ended, Failure, MAX_VARIABLES, Output};
use super::records::{jobs, key, open};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};

/// Time in milliseconds after which an action fails without a further reply, and the longest time of all (user guide,
/// "Quotas in AWS CodePipeline": 20 minutes, which a reply restarts, up to 24 hours).
const REPLY: i64 = 20 * 60 * 1000;
const LONGEST: i64 = 24 * 60 * 60 * 1000;

fn no_job(id: &str) -> ApiError {
    ApiError::not_found(
        "JobNotFoundException",
        format!("The job {id} does not exist"),
    )
}

fn has_ended(id: &str) -> ApiError {
    let message = format!("The job {id} is not in progress");
    ApiError::new("InvalidJobStateException", message)
}

/// The action that a job belongs to. The id of a job is that of the action's run; other actions have no job.
fn find(cloud: &Cloud, id: &str) -> ApiResult<Launch> {
    let job = jobs(cloud).get(id)?.ok_or_else(|| no_job(id))?;
    Ok(Launch {
        pipeline: job.pipeline,
        number: job.number,
        run: id.to_owned(),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Details {
    summary: Option<String>,
    external_execution_id: Option<String>,
    percent_complete: Option<u8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Success {
    job_id: String,
    continuation_token: Option<String>,
    execution_details: Option<Details>,
    #[serde(default)]
    output_variables: BTreeMap<String, String>,
}

/// `PutJobSuccessResult`
pub(super) async fn succeed(cloud: &Cloud, input: Success) -> ApiResult<Value> {
    let launch = find(cloud, &input.job_id)?;
    let details = input.execution_details;
    if let Some(token) = input.continuation_token {
        // Unverified against AWS [codepipeline-continuation-variables]: an action sets its variables when it ends.
        if !input.output_variables.is_empty() {
            return Err(ApiError::validation(
                "outputVariables cannot be set together with a continuationToken",
            ));
        }
        return proceed(cloud, launch, details.as_ref(), &token);
    }
    let output = Output {
        summary: details.as_ref().and_then(|it| it.summary.clone()),
        external_id: details.and_then(|it| it.external_execution_id),
        variables: input.output_variables,
        artifacts: lambda::outputs(cloud, &launch.run),
        ..Output::default()
    };
    if output.excess().is_some() {
        return Err(ApiError::new(
            "OutputVariablesSizeExceededException",
            format!("The output variables have more than {MAX_VARIABLES} bytes"),
        ));
    }
    end(cloud, &launch, &Ended::Succeeded(Box::new(output)))
}

/// Records the progress of a job whose function is invoked again.
fn proceed(
    cloud: &Cloud,
    launch: Launch,
    details: Option<&Details>,
    token: &str,
) -> ApiResult<Value> {
    let has_ended = || has_ended(&launch.run);
    // Only one invocation is pending: otherwise, each could request several.
    let pending = lambda::begin_continuation(cloud, &launch.run).ok_or_else(has_ended)?;
    let noted = open(cloud).update(&key(&launch.pipeline, launch.number), |execution| {
        let run = execution.run_mut(&launch.run).filter(|run| run.is_open());
        let run = run.ok_or_else(has_ended)?;
        if let Some(details) = details {
            let set = |to: &mut Option<String>, from: &Option<String>| {
                if from.is_some() {
                    to.clone_from(from);
                }
            };
            set(&mut run.summary, &details.summary);
            set(&mut run.external_id, &details.external_execution_id);
            run.percent = details.percent_complete.or(run.percent);
        }
        #[expect(clippy::cast_possible_truncation, reason = "milliseconds")]
        let begun = (run.started * 1000.0) as i64;
        let now = cloud.clock().now().as_millisecond();
        run.deadline = (now + REPLY).min(begun + LONGEST);
        Ok(())
    })?;
    noted.ok_or_else(has_ended)?;
    lambda::continue_later(cloud, launch, pending, token);
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Failed {
    job_id: String,
    failure_details: FailureDetails,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FailureDetails {
    #[serde(rename = "type")]
    kind: String,
    message: String,
    external_execution_id: Option<String>,
}

/// `PutJobFailureResult`
pub(super) async fn fail(cloud: &Cloud, input: Failed) -> ApiResult<Value> {
    let launch = find(cloud, &input.job_id)?;
    let details = input.failure_details;
    let mut failure = Failure::new(&details.kind, details.message);
    failure.external_id = details.external_execution_id;
    end(cloud, &launch, &Ended::Failed(failure))
}

fn end(cloud: &Cloud, launch: &Launch, ended: &Ended) -> ApiResult<Value> {
    engine::change(cloud, &launch.pipeline, |board| {
        if !board.is_running(launch.number, &launch.run) {
            return Err(has_ended(&launch.run));
        }
        board.finish(launch.number, &launch.run, ended)
    })?;
    lambda::end(cloud, &launch.run);
    Ok(json!({}))
}
