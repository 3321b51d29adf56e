//! `GetPipelineState`: the last execution of each stage and action, and what waits before the stages.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::declaration::{Action, Stage};
use super::plan::Open;
use super::records::key;
use super::records::{
    ActionRun, Execution, Pipeline, StageRun, numbered, open, pipeline, prefix, versions,
};
use crate::Cloud;
use crate::api::ApiResult;

#[derive(Deserialize)]
pub(super) struct Name {
    name: String,
}

/// Executions that were read, by their numbers.
struct Executions<'a> {
    cloud: &'a Cloud,
    name: &'a str,
    read: BTreeMap<u64, Option<Execution>>,
}

impl Executions<'_> {
    fn get(&mut self, number: u64) -> ApiResult<Option<&Execution>> {
        if !self.read.contains_key(&number) {
            let found = numbered(self.cloud, self.name, number)?;
            self.read.insert(number, found);
        }
        Ok(self.read.get(&number).and_then(Option::as_ref))
    }
}

/// `GetPipelineState`
pub(super) async fn get(cloud: &Cloud, input: Name) -> ApiResult<Value> {
    let name = input.name.as_str();
    let found = pipeline(cloud, name)?;
    let waiting = waiting(cloud, name)?;
    let mut executions = Executions {
        cloud,
        name,
        read: BTreeMap::new(),
    };
    let mut stages = Vec::new();
    for stage in &found.declaration.stages {
        stages.push(stage_state(&found, stage, &mut executions, &waiting)?);
    }
    Ok(json!({
        "pipelineName": name,
        "pipelineVersion": found.declaration.version,
        "stageStates": stages,
        "created": found.created,
        "updated": found.updated,
    }))
}

/// The executions that wait before a stage, by its name, in the order of their arrival.
fn waiting(cloud: &Cloud, name: &str) -> ApiResult<BTreeMap<String, Vec<Execution>>> {
    let mut waiting: BTreeMap<String, Vec<Execution>> = BTreeMap::new();
    for (_, execution) in open(cloud).list(&prefix(name))? {
        let Some(structure) = versions(cloud).get(&key(name, execution.version))? else {
            continue;
        };
        let at = Open {
            execution: &execution,
            pipeline: &structure,
        };
        if let Some(stage) = at.waits_for() {
            waiting
                .entry(stage.name.clone())
                .or_default()
                .push(execution);
        }
    }
    for executions in waiting.values_mut() {
        executions.sort_by_key(|execution| execution.arrival);
    }
    Ok(waiting)
}

fn stage_state(
    pipeline: &Pipeline,
    stage: &Stage,
    executions: &mut Executions<'_>,
    waiting: &BTreeMap<String, Vec<Execution>>,
) -> ApiResult<Value> {
    let mut state = json!({
        "stageName": stage.name,
        "inboundTransitionState": transition(pipeline, &stage.name),
    });
    let inbound = waiting.get(&stage.name).into_iter().flatten();
    let inbound: Vec<Value> = inbound
        .map(|execution| {
            json!({
                "pipelineExecutionId": execution.id,
                "status": execution.status,
                "type": execution.kind(),
            })
        })
        .collect();
    if let Some(first) = inbound.first() {
        state["inboundExecution"] = first.clone();
    }
    state["inboundExecutions"] = inbound.into();
    if let Some(number) = pipeline.entered.get(&stage.name)
        && let Some(execution) = executions.get(*number)?
        && let Some(run) = execution.stage(&stage.name)
    {
        state["latestExecution"] = json!({
            "pipelineExecutionId": execution.id,
            "status": run.status,
            "type": execution.kind(),
        });
        if let Some(retries) = retries(run) {
            state["retryStageMetadata"] = retries;
        }
    }
    let mut actions = Vec::new();
    for action in &stage.actions {
        let name = format!("{}/{}", stage.name, action.name);
        let run = match pipeline.runs.get(&name) {
            Some((number, id)) => {
                let execution = executions.get(*number)?;
                execution.and_then(|execution| execution.run(id))
            }
            None => None,
        };
        actions.push(action_state(action, run.map(|(_, run)| run)));
    }
    state["actionStates"] = actions.into();
    Ok(state)
}

fn transition(pipeline: &Pipeline, stage: &str) -> Value {
    let Some(transition) = pipeline.transitions.get(stage) else {
        return json!({"enabled": true});
    };
    let mut state = json!({
        "enabled": transition.is_enabled,
        "lastChangedBy": transition.changed_by,
        "lastChangedAt": transition.changed,
    });
    if let Some(reason) = &transition.reason {
        state["disabledReason"] = json!(reason);
    }
    state
}

fn retries(run: &StageRun) -> Option<Value> {
    if run.automatic_retries + run.manual_retries == 0 {
        return None;
    }
    let mut metadata = json!({
        "latestRetryTrigger": if run.last_retry_was_automatic {
            "AutomatedStageRetry"
        } else {
            "ManualStageRetry"
        },
    });
    for (name, count) in [
        ("autoStageRetryAttempt", run.automatic_retries),
        ("manualStageRetryAttempt", run.manual_retries),
    ] {
        if count > 0 {
            metadata[name] = json!(count);
        }
    }
    Some(metadata)
}

fn action_state(action: &Action, run: Option<&ActionRun>) -> Value {
    let mut state = json!({"actionName": action.name});
    let Some(run) = run else {
        return state;
    };
    if let Some(revision) = &run.revision {
        state["currentRevision"] = json!({
            "revisionId": revision.id,
            "revisionChangeId": revision.id,
            "created": revision.created,
        });
    }
    let mut latest = json!({
        "actionExecutionId": run.id,
        "status": run.status,
        "lastStatusChange": run.updated,
    });
    for (member, value) in [
        ("summary", &run.summary),
        ("lastUpdatedBy", &run.updated_by),
        ("externalExecutionId", &run.external_id),
        ("logStreamARN", &run.log_stream),
    ] {
        if let Some(value) = value {
            latest[member] = json!(value);
        }
    }
    if let Some(token) = run.token.as_ref().filter(|_| run.is_open()) {
        latest["token"] = json!(token);
    }
    if let Some(percent) = run.percent {
        latest["percentComplete"] = json!(percent);
    }
    if let Some(error) = &run.error {
        latest["errorDetails"] = json!(error);
    }
    state["latestExecution"] = latest;
    state
}
