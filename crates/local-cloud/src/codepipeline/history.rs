//! The lists of executions and of runs of actions.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use super::declaration::Declaration;
use super::executions::describe;
use super::records;
use super::records::{
    ActionRun, Execution, Location, Revision, StageStatus, execution, key, pipeline, versions,
};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};

/// The default and maximum number of items of a page (API reference).
const PAGE: usize = 100;

/// Number of executions that are read at once.
const CHUNK: usize = 50;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SucceededInStage {
    stage_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecutionFilter {
    succeeded_in_stage: Option<SucceededInStage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListExecutions {
    pipeline_name: String,
    max_results: Option<usize>,
    filter: Option<ExecutionFilter>,
    next_token: Option<String>,
}

/// `ListPipelineExecutions`: the newest first.
pub(super) async fn executions(cloud: &Cloud, input: ListExecutions) -> ApiResult<Value> {
    let name = &input.pipeline_name;
    pipeline(cloud, name)?;
    let stage = input.filter.and_then(|filter| filter.succeeded_in_stage);
    let stage = stage.and_then(|stage| stage.stage_name);
    let is_wanted = |execution: &Execution| {
        stage.as_ref().is_none_or(|stage| {
            let run = execution.stage(stage);
            run.is_some_and(|run| run.status == StageStatus::Succeeded)
        })
    };
    let size = input.max_results.unwrap_or(PAGE).clamp(1, PAGE);
    // A token is the number of the last execution of the page before.
    let mut end = match &input.next_token {
        Some(token) => Some(token.parse().map_err(|_| no_token())?),
        None => None,
    };
    let mut found: Vec<Execution> = Vec::new();
    while found.len() <= size {
        let chunk = records::executions(cloud, name, end, CHUNK)?;
        let Some(last) = chunk.last() else {
            break;
        };
        end = Some(last.number);
        found.extend(chunk.into_iter().filter(is_wanted));
    }
    let has_more = found.len() > size;
    found.truncate(size);
    let summaries: Vec<Value> = found.iter().map(summary).collect();
    let mut response = json!({"pipelineExecutionSummaries": summaries});
    if let Some(last) = found.last().filter(|_| has_more) {
        response["nextToken"] = last.number.to_string().into();
    }
    Ok(response)
}

fn no_token() -> ApiError {
    ApiError::new("InvalidNextTokenException", "The next token is not valid")
}

fn summary(execution: &Execution) -> Value {
    let revisions: Vec<Value> = execution.revisions.iter().map(source).collect();
    let mut described = json!({
        "startTime": execution.started,
        "lastUpdateTime": execution.updated,
        "sourceRevisions": revisions,
    });
    describe(execution, &mut described);
    let reason = execution
        .stop
        .as_ref()
        .and_then(|stop| stop.reason.as_ref());
    if let Some(reason) = reason {
        described["stopTrigger"] = json!({"reason": reason});
    }
    described
}

fn source(revision: &Revision) -> Value {
    let mut described = json!({"actionName": revision.action, "revisionId": revision.id});
    if let Some(summary) = &revision.summary {
        described["revisionSummary"] = json!(summary);
    }
    described
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
enum StartTimeRange {
    Latest,
    All,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LatestInExecution {
    pipeline_execution_id: String,
    start_time_range: StartTimeRange,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ActionFilter {
    pipeline_execution_id: Option<String>,
    latest_in_pipeline_execution: Option<LatestInExecution>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListActions {
    pipeline_name: String,
    #[serde(default)]
    filter: ActionFilter,
    max_results: Option<usize>,
    next_token: Option<String>,
}

/// `ListActionExecutions`: the newest first.
pub(super) async fn actions(cloud: &Cloud, input: ListActions) -> ApiResult<Value> {
    let name = &input.pipeline_name;
    pipeline(cloud, name)?;
    let latest = input.filter.latest_in_pipeline_execution;
    let wanted = latest.as_ref().map(|latest| &latest.pipeline_execution_id);
    let wanted = wanted.or(input.filter.pipeline_execution_id.as_ref());
    let is_latest = latest
        .as_ref()
        .is_some_and(|latest| latest.start_time_range == StartTimeRange::Latest);
    let size = input.max_results.unwrap_or(PAGE).clamp(1, PAGE);
    let after = input.next_token.as_deref().map(place).transpose()?;
    // The rest of the execution in which the page before ended, and older ones.
    let mut end = after.map(|(number, _)| number.saturating_add(1));
    let mut structures = BTreeMap::new();
    let mut found = Vec::new();
    while found.len() <= size {
        let executions = match wanted {
            Some(id) => vec![execution(cloud, name, id)?],
            None => records::executions(cloud, name, end, CHUNK)?,
        };
        for execution in &executions {
            let version = execution.version;
            let structure = match structures.entry(version) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(versions(cloud).get(&key(name, version))?),
            };
            if let Some(structure) = structure {
                let runs = runs(execution, structure, is_latest);
                let is_left = |at: (u64, usize)| after.is_none_or(|after| at < after);
                let room = (size + 1).saturating_sub(found.len());
                found.extend(runs.filter(|(at, _)| is_left(*at)).take(room));
            }
        }
        match executions.last() {
            Some(last) if wanted.is_none() => end = Some(last.number),
            _ => break,
        }
    }
    let has_more = found.len() > size;
    found.truncate(size);
    let token = found.last().filter(|_| has_more);
    let token = token.map(|((number, run), _)| format!("{number}.{run}"));
    let found: Vec<Value> = found.into_iter().map(|(_, described)| described).collect();
    let mut response = json!({"actionExecutionDetails": found});
    if let Some(token) = token {
        response["nextToken"] = token.into();
    }
    Ok(response)
}

/// The place of a run that a token names: the number of its execution, and its position among the runs of it.
fn place(token: &str) -> ApiResult<(u64, usize)> {
    let place = token.split_once('.');
    let place = place.and_then(|(number, run)| Some((number.parse().ok()?, run.parse().ok()?)));
    place.ok_or_else(no_token)
}

/// The runs of an execution with their places, the newest first.
fn runs<'a>(
    execution: &'a Execution,
    structure: &'a Declaration,
    only_latest: bool,
) -> impl Iterator<Item = ((u64, usize), Value)> + 'a {
    let stages = execution.stages.iter().enumerate();
    let all = stages.flat_map(|(at, stage)| stage.runs.iter().map(move |run| (at, stage, run)));
    let all: Vec<_> = all.enumerate().collect();
    let mut seen = BTreeSet::new();
    let newest = all.into_iter().rev();
    newest.filter_map(move |(place, (at, stage, run))| {
        if only_latest && !seen.insert((at, run.action.as_str())) {
            return None;
        }
        let described = described(execution, structure, &stage.name, run);
        Some(((execution.number, place), described))
    })
}

fn described(
    execution: &Execution,
    structure: &Declaration,
    stage: &str,
    run: &ActionRun,
) -> Value {
    let mut described = json!({
        "pipelineExecutionId": execution.id,
        "actionExecutionId": run.id,
        "pipelineVersion": execution.version,
        "stageName": stage,
        "actionName": run.action,
        "startTime": run.started,
        "lastUpdateTime": run.updated,
        "status": run.status,
    });
    if let Some(by) = &run.updated_by {
        described["updatedBy"] = json!(by);
    }
    if let Some(action) = structure.action(stage, &run.action) {
        let mut input = json!({
            "actionTypeId": action.action_type_id,
            "configuration": action.configuration,
            "resolvedConfiguration": run.configuration,
            "inputArtifacts": artifacts(&run.inputs),
        });
        for (member, value) in [
            ("roleArn", &action.role_arn),
            ("region", &action.region),
            ("namespace", &action.namespace),
        ] {
            if let Some(value) = value {
                input[member] = json!(value);
            }
        }
        described["input"] = input;
    }
    let mut result = json!({});
    for (member, value) in [
        ("externalExecutionId", &run.external_id),
        ("externalExecutionSummary", &run.summary),
        ("logStreamARN", &run.log_stream),
    ] {
        if let Some(value) = value {
            result[member] = json!(value);
        }
    }
    if let Some(error) = &run.error {
        result["errorDetails"] = json!(error);
    }
    described["output"] = json!({
        "outputArtifacts": artifacts(&run.outputs),
        "executionResult": result,
        "outputVariables": run.variables,
    });
    described
}

fn artifacts(found: &[(String, Location)]) -> Value {
    let found = found.iter();
    found
        .map(|(name, at)| json!({"name": name, "s3location": {"bucket": at.bucket, "key": at.key}}))
        .collect()
}
