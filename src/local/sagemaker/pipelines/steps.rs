//! What each step type does.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::records::{Execution, Status, executions};
use super::scope::Bound;
use super::{ApiError, ApiResult, Cloud, cache, executor, retries};
use crate::local::clock;
use crate::local::cloud::Service;
use crate::pipeline::{
    Condition, Exception, ExpressionError, Graph, Step, StepType, evaluate, holds,
};

/// Time between two looks at a job.
const INTERVAL: Duration = Duration::from_millis(100);

/// The longest name of a job (AWS service model: 63).
const LONGEST_NAME: usize = 63;

/// What a step that succeeded leaves behind.
#[derive(Debug, Default)]
pub(super) struct Result {
    /// The outcome of a Condition step.
    pub(super) outcome: Option<bool>,
    /// What expressions read of it.
    pub(super) response: Option<Value>,
    /// `Metadata` of `ListPipelineExecutionSteps`.
    pub(super) metadata: Option<Value>,
    /// What later runs compare to use this result.
    pub(super) cache_key: Option<String>,
    /// The execution whose result was used.
    pub(super) cache_hit: Option<String>,
}

/// How a step ended that did not succeed.
#[derive(Debug)]
pub(super) enum Ended {
    /// The execution was stopped.
    Stopped,
    /// It failed.
    Failed {
        /// Why.
        reason: String,
        /// `Metadata`, when there is some.
        metadata: Option<Value>,
        /// What retry policies call it.
        exception: Option<Exception>,
    },
}

impl Ended {
    /// A failure without metadata of its own.
    pub(super) fn failed(reason: impl Into<String>) -> Self {
        Self::Failed {
            reason: reason.into(),
            metadata: None,
            exception: None,
        }
    }
}

impl From<ApiError> for Ended {
    fn from(error: ApiError) -> Self {
        let reason = if error.status >= 500 && error.code != "NotImplemented" {
            format!("InternalServerError: {}", error.message)
        } else {
            format!("ClientError: {}", error.message)
        };
        Self::Failed {
            reason,
            metadata: None,
            exception: retries::of_call(&error),
        }
    }
}

type Outcome = std::result::Result<Result, Ended>;

/// The operations behind a step type that runs a job.
struct Job {
    create: &'static str,
    describe: &'static str,
    stop: &'static str,
    name: &'static str,
    arn: &'static str,
    status: &'static str,
    metadata: &'static str,
}

const PROCESSING: Job = Job {
    create: "CreateProcessingJob",
    describe: "DescribeProcessingJob",
    stop: "StopProcessingJob",
    name: "ProcessingJobName",
    arn: "ProcessingJobArn",
    status: "ProcessingJobStatus",
    metadata: "ProcessingJob",
};

const TRAINING: Job = Job {
    create: "CreateTrainingJob",
    describe: "DescribeTrainingJob",
    stop: "StopTrainingJob",
    name: "TrainingJobName",
    arn: "TrainingJobArn",
    status: "TrainingJobStatus",
    metadata: "TrainingJob",
};

/// Runs a step to its end.
pub(super) async fn run(
    cloud: &Cloud,
    key: &str,
    execution: &Execution,
    graph: &Graph,
    name: &str,
) -> Outcome {
    let step = graph
        .node(name)
        .map(|node| &node.step)
        .ok_or_else(|| Ended::failed(format!("there is no step `{name}`")))?;
    let failed = |error: ExpressionError| Ended::failed(format!("ClientError: {error}"));
    let prefix = prefix(cloud, execution, graph, step).map_err(failed)?;
    let generated = generated_name(&execution.id, &step.name, prefix.as_deref());
    let scope = Bound::new(cloud, execution, graph, Some(&generated));
    if step.kind == StepType::Condition {
        let conditions: Vec<Condition> =
            serde_json::from_value(step.arguments["Conditions"].clone())
                .map_err(|error| Ended::failed(error.to_string()))?;
        let outcome = holds(&conditions, &scope).map_err(failed)?;
        let text = if outcome { "True" } else { "False" };
        return Ok(Result {
            outcome: Some(outcome),
            response: Some(json!({ "Outcome": text })),
            metadata: Some(json!({"Condition": {"Outcome": text}})),
            ..Result::default()
        });
    }
    let arguments = evaluate(&step.arguments, &scope).map_err(failed)?;
    drop(scope);
    let cache_key = cache::key(step, &arguments);
    if let Some(key) = &cache_key
        && let Some(hit) = cache::find(cloud, execution, step, key, clock::now())?
    {
        return Ok(Result {
            outcome: None,
            response: hit.step.response,
            metadata: hit.step.metadata,
            cache_key,
            cache_hit: Some(hit.execution),
        });
    }
    let job = match step.kind {
        StepType::Processing => Some(&PROCESSING),
        StepType::Training => Some(&TRAINING),
        _ => None,
    };
    if let Some(job) = job {
        let request = named(tagged(arguments, execution, step), job, &generated);
        let result = run_job(cloud, key, step, job, request).await?;
        return Ok(Result {
            cache_key,
            ..result
        });
    }
    match step.kind {
        StepType::RegisterModel => register(cloud, execution, arguments).await,
        StepType::Model => model(cloud, execution, step, &generated, arguments).await,
        StepType::Fail => {
            let message = match &arguments["ErrorMessage"] {
                Value::Null => "The Fail step has no ErrorMessage.".to_owned(),
                Value::String(text) => text.clone(),
                other => {
                    return Err(Ended::failed(format!(
                        "ClientError: ErrorMessage is {other}, not text"
                    )));
                }
            };
            Err(Ended::Failed {
                metadata: Some(json!({"Fail": {"ErrorMessage": message}})),
                reason: message,
                exception: None,
            })
        }
        StepType::Processing | StepType::Training | StepType::Condition | StepType::Other(_) => {
            Err(
                ApiError::not_implemented(format_args!("the pipeline step type {}", step.kind))
                    .into(),
            )
        }
    }
}

/// The name that a definition gives to a job or model of its own, which becomes the prefix of the
/// generated one (SageMaker Python SDK: `use_custom_job_prefix`).
fn prefix(
    cloud: &Cloud,
    execution: &Execution,
    graph: &Graph,
    step: &Step,
) -> std::result::Result<Option<String>, ExpressionError> {
    let member = match step.kind {
        StepType::Processing => PROCESSING.name,
        StepType::Training => TRAINING.name,
        StepType::Model => "ModelName",
        _ => return Ok(None),
    };
    let Some(given) = step.arguments.get(member) else {
        return Ok(None);
    };
    let scope = Bound::new(cloud, execution, graph, None);
    match evaluate(given, &scope)? {
        Value::String(text) => Ok(Some(text)),
        other => Err(ExpressionError(format!("{member} is {other}, not text"))),
    }
}

/// `pipelines-<execution id>-<step>-<random>`, as AWS names the jobs of a pipeline; with a prefix
/// `<prefix>-<execution id>-<random>` (unverified against AWS: only that the name starts with it).
fn generated_name(execution: &str, step: &str, prefix: Option<&str>) -> String {
    let random = &uuid::Uuid::new_v4().simple().to_string()[..10];
    let tail = prefix.map_or("pipelines---".len(), |_| "--".len());
    let room = LONGEST_NAME - tail - execution.len() - random.len();
    let word: String = prefix
        .unwrap_or(step)
        .chars()
        .take(room)
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let word = word.trim_end_matches('-');
    match prefix {
        Some(_) => format!("{word}-{execution}-{random}"),
        None => format!("pipelines-{execution}-{word}-{random}"),
    }
}

/// Gives the job its generated name.
fn named(mut request: Value, job: &Job, name: &str) -> Value {
    request[job.name] = name.into();
    request
}

/// Adds the tags that AWS puts on what a pipeline creates.
fn tagged(mut arguments: Value, execution: &Execution, step: &Step) -> Value {
    let mut tags = arguments["Tags"].as_array().cloned().unwrap_or_default();
    for (key, value) in [
        ("sagemaker:pipeline-execution-arn", &execution.arn),
        ("sagemaker:pipeline-name", &execution.pipeline),
        ("sagemaker:pipeline-step-name", &step.name),
    ] {
        tags.push(json!({"Key": key, "Value": value}));
    }
    arguments["Tags"] = tags.into();
    arguments
}

async fn run_job(cloud: &Cloud, key: &str, step: &Step, job: &Job, request: Value) -> Outcome {
    let name = request[job.name].clone();
    let created = cloud.call(Service::SageMaker, job.create, request).await?;
    let metadata = json!({ job.metadata: {"Arn": created[job.arn]} });
    executor::record(cloud, key, &step.name, |record| {
        record.metadata = Some(metadata);
    })?;
    let mut stopped = false;
    loop {
        let response = cloud
            .call(Service::SageMaker, job.describe, json!({ job.name: name }))
            .await?;
        match response[job.status].as_str() {
            Some("Completed") => {
                return Ok(Result {
                    response: Some(response),
                    ..Result::default()
                });
            }
            Some("Failed") => {
                let reason = response["FailureReason"]
                    .as_str()
                    .unwrap_or("no reason given");
                return Err(Ended::Failed {
                    reason: format!("ClientError: {reason}"),
                    metadata: None,
                    exception: retries::of_job(reason),
                });
            }
            Some("Stopped") => return Err(Ended::Stopped),
            _ => {}
        }
        if !stopped && is_stopping(cloud, key)? {
            stopped = true;
            executor::record(cloud, key, &step.name, |record| {
                record.status = Status::Stopping;
            })?;
            // The job may have ended in between: the next look tells.
            let _ = cloud
                .call(Service::SageMaker, job.stop, json!({ job.name: name }))
                .await;
        }
        clock::sleep(INTERVAL).await;
    }
}

/// Waits before a retry; false when the execution is stopped meanwhile.
pub(super) async fn pause(cloud: &Cloud, key: &str, wait: Duration) -> ApiResult<bool> {
    let end = Instant::now() + wait;
    loop {
        if is_stopping(cloud, key)? {
            return Ok(false);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(true);
        }
        clock::sleep(left.min(INTERVAL)).await;
    }
}

fn is_stopping(cloud: &Cloud, key: &str) -> ApiResult<bool> {
    Ok(executions(cloud)
        .get(key)?
        .is_none_or(|execution| execution.status != Status::Executing))
}

/// Registers a version. The group is made when it does not exist, as AWS does for this step.
async fn register(cloud: &Cloud, execution: &Execution, mut arguments: Value) -> Outcome {
    if let Some(group) = arguments["ModelPackageGroupName"].as_str() {
        let group = json!({ "ModelPackageGroupName": group });
        let described = cloud
            .call(
                Service::SageMaker,
                "DescribeModelPackageGroup",
                group.clone(),
            )
            .await;
        if described.is_err_and(|error| error.code == "ValidationException") {
            cloud
                .call(Service::SageMaker, "CreateModelPackageGroup", group)
                .await?;
        }
    }
    if !arguments["MetadataProperties"].is_object() {
        arguments["MetadataProperties"] = json!({});
    }
    arguments["MetadataProperties"]["GeneratedBy"] = execution.arn.clone().into();
    let created = cloud
        .call(Service::SageMaker, "CreateModelPackage", arguments)
        .await?;
    let arn = &created["ModelPackageArn"];
    let response = cloud
        .call(
            Service::SageMaker,
            "DescribeModelPackage",
            json!({ "ModelPackageName": arn }),
        )
        .await?;
    Ok(Result {
        metadata: Some(json!({"RegisterModel": {"Arn": arn}})),
        response: Some(response),
        ..Result::default()
    })
}

async fn model(
    cloud: &Cloud,
    execution: &Execution,
    step: &Step,
    name: &str,
    arguments: Value,
) -> Outcome {
    let mut request = tagged(arguments, execution, step);
    request["ModelName"] = name.into();
    let created = cloud
        .call(Service::SageMaker, "CreateModel", request)
        .await?;
    let response = cloud
        .call(
            Service::SageMaker,
            "DescribeModel",
            json!({ "ModelName": name }),
        )
        .await?;
    Ok(Result {
        metadata: Some(json!({"Model": {"Arn": created["ModelArn"]}})),
        response: Some(response),
        ..Result::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_are_job_names() {
        for step in [
            "Train",
            "a_very-long_step_name_that-goes-on-and-on_until-it-is-64-chars_x",
            "x_",
        ] {
            let name = generated_name("abcdef123456", step, None);
            assert!(name.len() <= LONGEST_NAME, "{name}");
            assert!(name.starts_with("pipelines-abcdef123456-"), "{name}");
            assert!(!name.contains("--") && !name.contains('_'), "{name}");
        }
        assert_ne!(
            generated_name("a", "b", None),
            generated_name("a", "b", None)
        );
        let long = "my_prefix".repeat(8);
        let name = generated_name("abcdef123456", "Train", Some(&long));
        assert!(name.starts_with("my-prefixmy-prefix"), "{name}");
        assert!(name.len() <= LONGEST_NAME, "{name}");
    }
}
