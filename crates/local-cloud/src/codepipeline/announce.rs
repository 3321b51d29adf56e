//! The events of `CodePipeline`, in the form of the user guide's samples and of events that projects have logged
//! (which have the version as a number).

use serde_json::{Value, json};

use super::declaration::Action;
use super::records::{ActionRun, Execution, Location};
use crate::Cloud;
use crate::events::Event;

const SOURCE: &str = "aws.codepipeline";

/// The states of executions, stages and actions in events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Started,
    Resumed,
    Succeeded,
    Failed,
    Stopping,
    Stopped,
    Superseded,
    Abandoned,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Started => "STARTED",
            Self::Resumed => "RESUMED",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Stopping => "STOPPING",
            Self::Stopped => "STOPPED",
            Self::Superseded => "SUPERSEDED",
            Self::Abandoned => "ABANDONED",
        }
    }
}

fn event(cloud: &Cloud, pipeline: &str, detail_type: &'static str, detail: Value) -> Event {
    Event {
        source: SOURCE,
        detail_type,
        resources: vec![cloud.arn("codepipeline", pipeline)],
        detail,
    }
}

/// The event of a change of an execution.
pub(super) fn execution(
    cloud: &Cloud,
    pipeline: &str,
    execution: &Execution,
    state: State,
) -> Event {
    let mut detail = json!({
        "pipeline": pipeline,
        "execution-id": execution.id,
        "state": state.name(),
        "version": execution.version,
    });
    if state == State::Started {
        detail["execution-trigger"] = json!({
            "trigger-type": execution.trigger.trigger_type,
            "trigger-detail": execution.trigger.trigger_detail,
        });
    }
    let reason = execution
        .stop
        .as_ref()
        .and_then(|stop| stop.reason.as_ref());
    if let (State::Stopping, Some(reason)) = (state, reason) {
        detail["stop-execution-comments"] = json!(reason);
    }
    event(
        cloud,
        pipeline,
        "CodePipeline Pipeline Execution State Change",
        detail,
    )
}

/// The event of a change of a stage.
pub(super) fn stage(
    cloud: &Cloud,
    pipeline: &str,
    execution: &Execution,
    stage: &str,
    state: State,
) -> Event {
    let detail = json!({
        "pipeline": pipeline,
        "execution-id": execution.id,
        "stage": stage,
        "state": state.name(),
        "version": execution.version,
    });
    event(
        cloud,
        pipeline,
        "CodePipeline Stage Execution State Change",
        detail,
    )
}

/// The event of a change of an action, in a pipeline, an execution and a stage.
pub(super) fn action(
    cloud: &Cloud,
    (pipeline, execution, stage): (&str, &Execution, &str),
    action: &Action,
    run: &ActionRun,
    state: State,
) -> Event {
    let mut detail = json!({
        "pipeline": pipeline,
        "execution-id": execution.id,
        "stage": stage,
        "action": action.name,
        "state": state.name(),
        "region": cloud.region(),
        "type": action.action_type_id,
        "version": execution.version,
    });
    if !run.inputs.is_empty() {
        detail["input-artifacts"] = artifacts(&run.inputs);
    }
    if matches!(state, State::Succeeded | State::Failed) {
        if !run.outputs.is_empty() {
            detail["output-artifacts"] = artifacts(&run.outputs);
        }
        let mut result = json!({});
        let error = run.error.as_ref().map(|error| &error.code);
        let summary = run.error.as_ref().map(|error| &error.message);
        for (name, value) in [
            (
                "external-execution-summary",
                summary.or(run.summary.as_ref()),
            ),
            ("external-execution-id", run.external_id.as_ref()),
            ("error-code", error),
        ] {
            if let Some(value) = value {
                result[name] = json!(value);
            }
        }
        detail["execution-result"] = result;
    }
    event(
        cloud,
        pipeline,
        "CodePipeline Action Execution State Change",
        detail,
    )
}

fn artifacts(found: &[(String, Location)]) -> Value {
    let found = found.iter().map(
        |(name, at)| json!({"name": name, "s3location": {"bucket": at.bucket, "key": at.key}}),
    );
    found.collect()
}
