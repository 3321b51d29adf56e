//! Changes the records of executions, and announces the changes to EventBridge in the same transaction.

use serde_json::{Value, json};

use super::super::announce::{self, iso};
use super::records::{Execution, StepRecord, compact, executions};
use super::{ApiResult, Cloud};
use crate::clock;
use crate::events::{self, Event};

/// Changes an execution; `None` if it does not exist.
pub(super) fn change_execution<R>(
    cloud: &Cloud,
    key: &str,
    change: impl FnOnce(&mut Execution) -> ApiResult<R>,
) -> ApiResult<Option<R>> {
    let records = executions(cloud);
    let events = |before: &Execution, after: &Execution| changes(Some(before), after);
    events::update(cloud, announce::SOURCE, (&records, key), change, events)
}

/// Changes the record of a step.
pub(super) fn change_step(
    cloud: &Cloud,
    key: &str,
    name: &str,
    change: impl FnOnce(&mut StepRecord),
) -> ApiResult<()> {
    change_execution(cloud, key, |execution| {
        if let Some(step) = execution.steps.iter_mut().find(|step| step.name == name) {
            change(step);
        }
        execution.modified = clock::epoch();
        Ok(())
    })?;
    Ok(())
}

/// The ARN of an execution's pipeline.
fn pipeline(execution: &Execution) -> &str {
    let arn = execution.arn.as_str();
    arn.split_once("/execution/").map_or(arn, |(arn, _)| arn)
}

fn event(execution: &Execution, detail_type: &'static str, mut detail: Value) -> Event {
    detail["pipelineArn"] = pipeline(execution).into();
    detail["pipelineExecutionArn"] = execution.arn.as_str().into();
    Event {
        source: announce::SOURCE,
        detail_type,
        resources: vec![pipeline(execution).to_owned(), execution.arn.clone()],
        detail: compact(detail),
    }
}

/// The events of a change of an execution: of its status, and of its steps.
pub(super) fn changes(before: Option<&Execution>, after: &Execution) -> Vec<Event> {
    let mut events = Vec::new();
    for step in &after.steps {
        let known = before.and_then(|before| before.steps.iter().find(|it| it.name == step.name));
        if known.is_none_or(|known| known.status != step.status) {
            events.push(step_event(after, known, step));
        }
    }
    if before.is_none_or(|before| before.status != after.status) {
        let ended = (!after.status.is_in_progress()).then(|| iso(after.modified));
        events.push(event(
            after,
            "SageMaker Model Building Pipeline Execution Status Change",
            json!({
                "pipelineExecutionDescription": after.description,
                "pipelineExecutionDisplayName": after.display_name,
                "currentPipelineExecutionStatus": after.status,
                "previousPipelineExecutionStatus": before.map(|before| before.status),
                "executionStartTime": iso(after.created),
                "executionEndTime": ended,
            }),
        ));
    }
    events
}

fn step_event(execution: &Execution, before: Option<&StepRecord>, step: &StepRecord) -> Event {
    let definition: Value = serde_json::from_str(&execution.definition).unwrap_or_default();
    event(
        execution,
        "SageMaker Model Building Pipeline Execution Step Status Change",
        json!({
            "metadata": step.metadata.as_ref().map(lower),
            "stepStartTime": iso(step.started),
            "stepEndTime": step.ended.map(iso),
            "stepName": step.name,
            "stepType": kind(&definition, &step.name),
            "previousStepStatus": before.map(|before| before.status),
            "currentStepStatus": step.status,
            "failureReason": step.failure,
            "cacheHitResult": step.cache_hit.as_ref().map(|arn| json!({"sourcePipelineExecutionArn": arn})),
        }),
    )
}

/// The type of a step, which can be in a branch of a condition. Other members of a definition can look like steps.
fn kind(definition: &Value, name: &str) -> Option<String> {
    in_steps(&definition["Steps"], name)
}

fn in_steps(steps: &Value, name: &str) -> Option<String> {
    steps.as_array()?.iter().find_map(|step| {
        if step["Name"] == name {
            return step["Type"].as_str().map(str::to_owned);
        }
        let branches = ["IfSteps", "ElseSteps"].into_iter();
        branches
            .map(|branch| &step["Arguments"][branch])
            .find_map(|steps| in_steps(steps, name))
    })
}

/// Metadata as events write it: names begin with a lower-case letter.
fn lower(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| {
                let mut letters = name.chars();
                let first = letters.next().map(|first| first.to_ascii_lowercase());
                (first.into_iter().chain(letters).collect(), lower(value))
            });
            Value::Object(members.collect())
        }
        Value::Array(items) => items.iter().map(lower).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_the_recorded_shapes() {
        let arn = "arn:aws:sagemaker:us-east-1:000000000000:pipeline/p/execution/e";
        let record = |status: &str, steps: Value| -> Execution {
            let record = json!({
                "id": "e", "pipeline": "p", "arn": arn, "display_name": "d", "description": null, "status": status,
                "failure": null, "experiment": null, "created": 0.0, "modified": 60.0, "parallelism": null,
                "version": 1, "role": "r", "parameters": {}, "steps": steps,
                "definition": r#"{"Parameters": [{"Name": "s", "Type": "String"}], "Steps": [{"Name": "c", "Type": "Condition", "Arguments": {"IfSteps": [{"Name": "s", "Type": "Training"}]}}]}"#,
            });
            serde_json::from_value(record).unwrap()
        };
        let step = |status: &str, ended: Option<f64>| {
            json!([{"name": "s", "display_name": null, "description": null, "status": status, "started": 1.0,
                "ended": ended, "failure": null, "metadata": {"TrainingJob": {"Arn": "a"}}, "outcome": null,
                "response": null}])
        };
        let running = record("Executing", step("Executing", None));
        let done = record("Succeeded", step("Succeeded", Some(2.0)));
        assert!(changes(Some(&running), &running).is_empty());
        let events = changes(Some(&running), &done);
        let expected = json!({"metadata": {"trainingJob": {"arn": "a"}}, "stepStartTime": "1970-01-01T00:00:01Z",
            "stepEndTime": "1970-01-01T00:00:02Z", "stepName": "s", "stepType": "Training",
            "previousStepStatus": "Executing", "currentStepStatus": "Succeeded",
            "pipelineArn": "arn:aws:sagemaker:us-east-1:000000000000:pipeline/p", "pipelineExecutionArn": arn});
        assert_eq!(events[0].detail, expected);
        let expected = json!({"pipelineExecutionDisplayName": "d", "currentPipelineExecutionStatus": "Succeeded",
            "previousPipelineExecutionStatus": "Executing", "executionStartTime": "1970-01-01T00:00:00Z",
            "executionEndTime": "1970-01-01T00:01:00Z",
            "pipelineArn": "arn:aws:sagemaker:us-east-1:000000000000:pipeline/p", "pipelineExecutionArn": arn});
        assert_eq!(events[1].detail, expected);
        assert_eq!(events[1].resources.len(), 2);
        let events = changes(None, &record("Executing", json!([])));
        assert!(
            events[0]
                .detail
                .get("previousPipelineExecutionStatus")
                .is_none()
        );
    }
}
