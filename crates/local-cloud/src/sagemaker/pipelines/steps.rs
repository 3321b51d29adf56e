//! The execution of each step type.

use std::time::{Duration, Instant};

use mlops_pipeline::{
    Condition, Exception, ExpressionError, Graph, Step, StepType, evaluate, holds,
};
use serde_json::{Value, json};

use super::announce::change_step;
use super::records::{Execution, executions};
use super::scope::Bound;
use super::states::{ExecutionStatus, JobStatus};
use super::{ApiError, ApiResult, Cloud, cache, retries};
use crate::cloud::catch_panic;
use crate::{clock, system_tags};

/// Time between two status checks of a job.
const INTERVAL: Duration = Duration::from_millis(100);

/// The longest name of a job (AWS service model: 63).
const LONGEST_NAME: usize = 63;

/// The result of a step that succeeded.
#[derive(Debug, Default)]
pub(super) struct Result {
    /// The outcome of a Condition step.
    pub(super) outcome: Option<bool>,
    /// What expressions can read from the step.
    pub(super) response: Option<Value>,
    /// `Metadata` of `ListPipelineExecutionSteps`.
    pub(super) metadata: Option<Value>,
    /// The cache key that later runs compare.
    pub(super) cache_key: Option<String>,
    /// The execution whose result was used.
    pub(super) cache_hit: Option<String>,
}

/// The outcome of a step that did not succeed.
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
        /// The name of the exception in retry policies.
        exception: Option<Exception>,
    },
}

impl Ended {
    /// A failure without metadata.
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
        Self::Failed {
            reason: reason(&error),
            metadata: None,
            exception: retries::of_call(&error),
        }
    }
}

/// An error as the failure reason of a step.
fn reason(error: &ApiError) -> String {
    if error.status >= 500 && error.code != "NotImplemented" {
        format!("InternalServerError: {}", error.message)
    } else {
        format!("ClientError: {}", error.message)
    }
}

/// Runs an operation of SageMaker on behalf of the execution's role. A denial has AWS's words for it.
async fn invoke(cloud: &Cloud, operation: &str, request: Value) -> ApiResult<Value> {
    let called = cloud.call("sagemaker", operation, request).await;
    called.map_err(|error| {
        if !error.is_denied() {
            return error;
        }
        ApiError {
            message: format!(
                "Failed to invoke sagemaker:{operation}. Error Details: {}",
                error.message
            ),
            ..error
        }
    })
}

/// How a step ended.
pub(super) type Outcome = std::result::Result<Result, Ended>;

/// The operations of a step type that runs a job, and the members of their responses.
struct JobOperations {
    create: &'static str,
    describe: &'static str,
    stop: &'static str,
    name: &'static str,
    arn: &'static str,
    status: &'static str,
    metadata: &'static str,
}

const PROCESSING: JobOperations = JobOperations {
    create: "CreateProcessingJob",
    describe: "DescribeProcessingJob",
    stop: "StopProcessingJob",
    name: "ProcessingJobName",
    arn: "ProcessingJobArn",
    status: "ProcessingJobStatus",
    metadata: "ProcessingJob",
};

const TRAINING: JobOperations = JobOperations {
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
        .ok_or_else(|| Ended::failed(format!("no step `{name}`")))?;
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

/// The name of a job or model in a definition, which becomes the prefix of the generated one
/// (SageMaker Python SDK: `use_custom_job_prefix`).
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
/// `<prefix>-<execution id>-<random>` (unverified against AWS [step-job-name]: only that the name
/// starts with it).
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

/// Sets the job's generated name.
fn named(mut request: Value, job: &JobOperations, name: &str) -> Value {
    request[job.name] = name.into();
    request
}

/// Adds the tags that AWS sets on resources created by a pipeline.
fn tagged(mut arguments: Value, execution: &Execution, step: &Step) -> Value {
    let mut tags = arguments["Tags"].as_array().cloned().unwrap_or_default();
    let values = [&execution.arn, &execution.pipeline, &step.name];
    for (key, value) in system_tags::OF_PIPELINES.into_iter().zip(values) {
        tags.push(json!({"Key": key, "Value": value}));
    }
    arguments["Tags"] = tags.into();
    arguments
}

async fn run_job(
    cloud: &Cloud,
    key: &str,
    step: &Step,
    job: &JobOperations,
    request: Value,
) -> Outcome {
    let name = request[job.name].clone();
    let created = invoke(cloud, job.create, request).await?;
    let metadata = json!({ job.metadata: {"Arn": created[job.arn]} });
    follow(cloud, key, step, job, &name, metadata).await
}

/// Waits for the end of a job. An error stops the job and is not retried, because a retry would
/// start a second job.
async fn follow(
    cloud: &Cloud,
    key: &str,
    step: &Step,
    job: &JobOperations,
    name: &Value,
    metadata: Value,
) -> Outcome {
    let what = format!("step {} of pipeline execution {key}", step.name);
    match catch_panic(&what, watch(cloud, key, step, job, name, &metadata)).await {
        Ok(outcome) => outcome,
        Err(error) => {
            // A job that has ended cannot be stopped.
            let _ = insist(cloud, job.stop, &json!({ job.name: name })).await;
            Err(Ended::Failed {
                reason: reason(&error),
                metadata: Some(metadata),
                exception: None,
            })
        }
    }
}

async fn watch(
    cloud: &Cloud,
    key: &str,
    step: &Step,
    job: &JobOperations,
    name: &Value,
    metadata: &Value,
) -> ApiResult<Outcome> {
    let what = format!("pipeline execution {key}");
    let write = || {
        change_step(cloud, key, &step.name, |record| {
            record.metadata = Some(metadata.clone());
        })
    };
    cloud.persist(&what, write).await?;
    let mut stopped = false;
    loop {
        let response = insist(cloud, job.describe, &json!({ job.name: name })).await?;
        match JobStatus::of(&response[job.status]) {
            Some(JobStatus::Completed) => {
                return Ok(Ok(Result {
                    response: Some(response),
                    ..Result::default()
                }));
            }
            Some(JobStatus::Failed) => {
                let reason = response["FailureReason"]
                    .as_str()
                    .unwrap_or("no reason given");
                return Ok(Err(Ended::Failed {
                    reason: format!("ClientError: {reason}"),
                    metadata: None,
                    exception: retries::of_job(reason),
                }));
            }
            Some(JobStatus::Stopped) => return Ok(Err(Ended::Stopped)),
            Some(JobStatus::InProgress | JobStatus::Stopping | JobStatus::Deleting) | None => {}
        }
        if !stopped && cloud.persist(&what, || is_stopping(cloud, key)).await? {
            stopped = true;
            let write = || {
                change_step(cloud, key, &step.name, |record| {
                    record.status = ExecutionStatus::Stopping;
                })
            };
            cloud.persist(&what, write).await?;
            // The job may have ended in between; the next check finds out.
            let _ = insist(cloud, job.stop, &json!({ job.name: name })).await;
        }
        clock::sleep(INTERVAL).await;
    }
}

/// Calls a SageMaker operation on an existing resource; retries while the state cannot be read or written.
async fn insist(cloud: &Cloud, operation: &str, input: &Value) -> ApiResult<Value> {
    loop {
        match cloud.call("sagemaker", operation, input.clone()).await {
            Err(error) if error.is_unavailable() => clock::sleep(INTERVAL).await,
            result => return result,
        }
    }
}

/// Waits before a retry; false when the execution is stopped in the meantime.
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
        .is_none_or(|execution| execution.status != ExecutionStatus::Executing))
}

/// Registers a version, and creates the group if it does not exist, as AWS does for this step.
async fn register(cloud: &Cloud, execution: &Execution, mut arguments: Value) -> Outcome {
    if let Some(group) = arguments["ModelPackageGroupName"].as_str() {
        let group = json!({ "ModelPackageGroupName": group });
        let described = cloud
            .call("sagemaker", "DescribeModelPackageGroup", group.clone())
            .await;
        match described {
            Err(error) if error.is_not_found() => {
                cloud
                    .call("sagemaker", "CreateModelPackageGroup", group)
                    .await?;
            }
            described => drop(described?),
        }
    }
    if !arguments["MetadataProperties"].is_object() {
        arguments["MetadataProperties"] = json!({});
    }
    arguments["MetadataProperties"]["GeneratedBy"] = execution.arn.clone().into();
    let created = invoke(cloud, "CreateModelPackage", arguments).await?;
    let arn = &created["ModelPackageArn"];
    // An error is not retried, because that would create a second version.
    let described = json!({ "ModelPackageName": arn });
    let response = insist(cloud, "DescribeModelPackage", &described)
        .await
        .map_err(|error| Ended::failed(reason(&error)))?;
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
    let created = invoke(cloud, "CreateModel", request).await?;
    // An error is not retried, because that would create a second model.
    let response = insist(cloud, "DescribeModel", &json!({ "ModelName": name }))
        .await
        .map_err(|error| Ended::failed(reason(&error)))?;
    Ok(Result {
        metadata: Some(json!({"Model": {"Arn": created["ModelArn"]}})),
        response: Some(response),
        ..Result::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_cloud::TestCloud;

    /// Issue 8, 3.3: with a retry there were two jobs at once.
    #[tokio::test]
    async fn an_error_after_the_create_stops_the_job_and_is_not_retried() {
        let at = TestCloud::new();
        let cloud = at.cloud();
        let records = |kind| cloud.store().collection::<Value>("sagemaker", kind);
        let job = json!({"describe": {"TrainingJobStatus": "InProgress"}});
        records("training-job").put("j", &job).unwrap();
        records("pipeline-execution")
            .put("p/e", &json!("not an execution"))
            .unwrap();
        let step: Step =
            serde_json::from_value(json!({"Name": "Train", "Type": "Training"})).unwrap();
        let metadata = json!({"TrainingJob": {"Arn": "arn"}});
        let ended = follow(
            &cloud,
            "p/e",
            &step,
            &TRAINING,
            &json!("j"),
            metadata.clone(),
        )
        .await
        .unwrap_err();
        let Ended::Failed {
            reason,
            metadata: kept,
            exception,
        } = &ended
        else {
            panic!("{ended:?}");
        };
        assert!(reason.starts_with("InternalServerError"), "{reason}");
        assert_eq!(kept.as_ref(), Some(&metadata));
        assert_eq!(*exception, None);
        let job = records("training-job").get("j").unwrap().unwrap();
        assert_eq!(job["describe"]["TrainingJobStatus"], "Stopping");
    }

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
