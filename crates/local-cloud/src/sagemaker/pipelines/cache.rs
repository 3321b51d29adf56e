//! Caching: an earlier, successful run of a step replaces a new one.
//!
//! Per the developer guide ("Caching pipeline steps"): the same step of the same pipeline, with
//! the same values of the attributes that count for its type, no older than `ExpireAfter`; of several,
//! the most recent. A step that was itself a cache hit is not a candidate, so reuse does not renew a result.

use jiff::Timestamp;
use mlops_pipeline::{Step, StepType};
use serde_json::{Map, Value};

use super::records::{Execution, StepRecord, executions};
use super::states::ExecutionStatus;
use super::{ApiResult, Cloud};

/// The attributes that count ("Default cache key attributes by pipeline step type").
const PROCESSING: &[&str] = &["AppSpecification", "Environment", "ProcessingInputs"];
const TRAINING: &[&str] = &[
    "AlgorithmSpecification",
    "CheckpointConfig",
    "DebugHookConfig",
    "DebugRuleConfigurations",
    "Environment",
    "HyperParameters",
    "InputDataConfig",
];

/// An earlier run that can be used.
pub(super) struct Hit {
    /// The execution that ran the step.
    pub(super) execution: String,
    /// The step's record there.
    pub(super) step: StepRecord,
}

/// The compared part of a step's evaluated arguments; `None` for types that are not cached.
pub(super) fn key(step: &Step, arguments: &Value) -> Option<String> {
    let attributes = match step.kind {
        StepType::Processing => PROCESSING,
        StepType::Training => TRAINING,
        _ => return None,
    };
    let mut key = Map::new();
    key.insert("Type".to_owned(), step.kind.name().into());
    for name in attributes {
        if let Some(value) = arguments.get(*name) {
            key.insert((*name).to_owned(), sorted(value));
        }
    }
    Some(Value::Object(key).to_string())
}

/// The value with the members of its objects sorted, because their order is irrelevant.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<(String, Value)> = members
                .iter()
                .map(|(name, value)| (name.clone(), sorted(value)))
                .collect();
            members.sort_by(|left, right| left.0.cmp(&right.0));
            Value::Object(members.into_iter().collect())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// The earlier run to use for a step, if its cache is on and there is one.
pub(super) fn find(
    cloud: &Cloud,
    execution: &Execution,
    step: &Step,
    key: &str,
    now: Timestamp,
) -> ApiResult<Option<Hit>> {
    if !step
        .cache_config
        .as_ref()
        .is_some_and(|cache| cache.enabled)
    {
        return Ok(None);
    }
    let runs = executions(cloud).list(&format!("{}/", execution.pipeline))?;
    Ok(newest(runs.into_iter().map(|(_, run)| run), step, key, now))
}

fn newest(
    runs: impl Iterator<Item = Execution>,
    step: &Step,
    key: &str,
    now: Timestamp,
) -> Option<Hit> {
    let cache = step.cache_config.as_ref()?;
    runs.flat_map(|run| {
        let arn = run.arn;
        run.steps.into_iter().map(move |step| Hit {
            execution: arn.clone(),
            step,
        })
    })
    .filter(|hit| {
        let record = &hit.step;
        record.name == step.name
            && record.status == ExecutionStatus::Succeeded
            && record.cache_hit.is_none()
            && record.cache_key.as_deref() == Some(key)
            && moment(record.started).is_some_and(|then| cache.is_fresh(then, now))
    })
    .max_by(|left, right| {
        let ended = |hit: &Hit| hit.step.ended.unwrap_or(hit.step.started);
        ended(left).total_cmp(&ended(right))
    })
}

/// Converts seconds since the epoch to a timestamp.
fn moment(epoch: f64) -> Option<Timestamp> {
    #[expect(clippy::cast_possible_truncation, reason = "whole milliseconds")]
    let millis = (epoch * 1000.0).round() as i64;
    Timestamp::from_millisecond(millis).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    const NOW: f64 = 1_800_000_000.0;

    fn step() -> Step {
        serde_json::from_value(json!({"Name": "S", "Type": "Processing",
            "CacheConfig": {"Enabled": true, "ExpireAfter": "PT1H"}}))
        .unwrap()
    }

    fn record(ago: f64) -> StepRecord {
        let mut record = StepRecord::begin("S", None, NOW - ago);
        record.status = ExecutionStatus::Succeeded;
        record.ended = Some(NOW - ago);
        record.cache_key = Some("k".to_owned());
        record
    }

    fn run(name: &str, steps: Vec<StepRecord>) -> Execution {
        Execution {
            id: name.to_owned(),
            pipeline: "p".to_owned(),
            arn: name.to_owned(),
            display_name: None,
            description: None,
            status: ExecutionStatus::Failed,
            failure: None,
            experiment: None,
            created: NOW,
            created_by: Value::Null,
            modified: NOW,
            modified_by: Value::Null,
            parallelism: None,
            version: 1,
            role: String::new(),
            definition: String::new(),
            parameters: BTreeMap::new(),
            steps,
        }
    }

    fn hit(runs: Vec<Execution>) -> Option<String> {
        newest(runs.into_iter(), &step(), "k", moment(NOW).unwrap()).map(|hit| hit.execution)
    }

    /// Issue 8, 3.3: which earlier runs are candidates, and which of them is used.
    #[test]
    fn issue_8_3_3_the_newest_fresh_success_of_the_step_is_used() {
        assert_eq!(hit(vec![]), None);
        // The execution may have failed: only the step counts.
        let two = || {
            vec![
                run("old", vec![record(3000.0)]),
                run("new", vec![record(10.0)]),
            ]
        };
        assert_eq!(hit(two()).as_deref(), Some("new"));
        let mut reversed = two();
        reversed.reverse();
        assert_eq!(hit(reversed).as_deref(), Some("new"));
        assert_eq!(hit(vec![run("expired", vec![record(3601.0)])]), None);
        let refused: [fn(&mut StepRecord); 5] = [
            |step| step.name = "T".to_owned(),
            |step| step.status = ExecutionStatus::Failed,
            |step| step.status = ExecutionStatus::Executing,
            |step| step.cache_key = Some("other".to_owned()),
            |step| step.cache_hit = Some("older".to_owned()),
        ];
        for change in refused {
            let mut step = record(10.0);
            change(&mut step);
            assert_eq!(hit(vec![run("no", vec![step])]), None);
        }
    }

    #[test]
    fn issue_8_3_3_only_the_attributes_of_the_type_count() {
        let arguments = json!({"AppSpecification": {"ImageUri": "i", "ContainerArguments": ["a"]},
            "Environment": {"A": "1", "B": "2"}, "RoleArn": "r",
            "ProcessingOutputConfig": {"Outputs": []}});
        let first = key(&step(), &arguments).unwrap();
        let changed = |pointer: &str, value: Value| {
            let mut changed = arguments.clone();
            *changed.pointer_mut(pointer).unwrap() = value;
            key(&step(), &changed).unwrap()
        };
        assert_eq!(changed("/RoleArn", json!("other")), first);
        assert_eq!(changed("/ProcessingOutputConfig", json!({})), first);
        assert_eq!(changed("/Environment", json!({"B": "2", "A": "1"})), first);
        assert_ne!(changed("/Environment/A", json!("2")), first);
        assert_ne!(
            changed("/AppSpecification/ContainerArguments", json!(["b"])),
            first
        );
        let training: Step =
            serde_json::from_value(json!({"Name": "S", "Type": "Training"})).unwrap();
        assert_ne!(key(&training, &json!({})), key(&step(), &json!({})));
        let model: Step = serde_json::from_value(json!({"Name": "S", "Type": "Model"})).unwrap();
        assert_eq!(key(&model, &json!({})), None);
    }
}
