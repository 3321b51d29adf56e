//! The records of pipelines and executions.

use std::collections::BTreeMap;

use mlops_pipeline::Step;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::requests::name_of;
use super::states::ExecutionStatus;
use super::{ApiError, ApiResult, Cloud};
use crate::store::Collection;

/// A pipeline. Its definitions are its versions.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Pipeline {
    pub(super) name: String,
    pub(super) arn: String,
    pub(super) display_name: Option<String>,
    pub(super) description: Option<String>,
    pub(super) role: String,
    pub(super) parallelism: Option<u64>,
    pub(super) created: f64,
    /// Who created it, as `UserContext`.
    #[serde(default)]
    pub(super) created_by: Value,
    pub(super) modified: f64,
    /// Who changed it last.
    #[serde(default)]
    pub(super) modified_by: Value,
    pub(super) last_run: Option<f64>,
    /// The newest version.
    pub(super) version: i64,
    /// The `ClientRequestToken` of its creation.
    pub(super) token: String,
}

/// A version of a pipeline.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) id: i64,
    pub(super) definition: String,
    pub(super) created: f64,
    pub(super) display_name: Option<String>,
    pub(super) description: Option<String>,
    pub(super) last_execution: Option<String>,
}

/// An execution of a pipeline.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Execution {
    pub(super) id: String,
    pub(super) pipeline: String,
    pub(super) arn: String,
    pub(super) display_name: Option<String>,
    pub(super) description: Option<String>,
    pub(super) status: ExecutionStatus,
    pub(super) failure: Option<String>,
    pub(super) experiment: Option<Value>,
    pub(super) created: f64,
    /// Who started it, as `UserContext`.
    #[serde(default)]
    pub(super) created_by: Value,
    pub(super) modified: f64,
    /// Who changed it last.
    #[serde(default)]
    pub(super) modified_by: Value,
    pub(super) parallelism: Option<u64>,
    pub(super) version: i64,
    pub(super) role: String,
    pub(super) definition: String,
    /// The value of every declared parameter, typed.
    pub(super) parameters: BTreeMap<String, Value>,
    /// The steps that were started, in that order.
    pub(super) steps: Vec<StepRecord>,
}

/// A step that was started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StepRecord {
    pub(super) name: String,
    pub(super) display_name: Option<String>,
    pub(super) description: Option<String>,
    pub(super) status: ExecutionStatus,
    pub(super) started: f64,
    pub(super) ended: Option<f64>,
    pub(super) failure: Option<String>,
    /// `Metadata` of `ListPipelineExecutionSteps`.
    pub(super) metadata: Option<Value>,
    /// The outcome of a Condition step.
    pub(super) outcome: Option<bool>,
    /// The Describe response that expressions read.
    pub(super) response: Option<Value>,
    /// Number of attempts; 0 if an earlier result was used instead.
    #[serde(default = "once")]
    pub(super) attempts: u32,
    /// The cache key that later runs compare.
    #[serde(default)]
    pub(super) cache_key: Option<String>,
    /// The execution whose result was used.
    #[serde(default)]
    pub(super) cache_hit: Option<String>,
}

/// Records from before the member `attempts` had one attempt.
fn once() -> u32 {
    1
}

impl StepRecord {
    /// The record of a step that starts now.
    pub(super) fn begin(name: &str, step: Option<&Step>, now: f64) -> Self {
        Self {
            name: name.to_owned(),
            display_name: step.and_then(|step| step.display_name.clone()),
            description: step.and_then(|step| step.description.clone()),
            status: ExecutionStatus::Executing,
            started: now,
            ended: None,
            failure: None,
            metadata: None,
            outcome: None,
            response: None,
            attempts: 1,
            cache_key: None,
            cache_hit: None,
        }
    }
}

/// The pipelines, by name.
pub(super) fn pipelines(cloud: &Cloud) -> Collection<'_, Pipeline> {
    cloud.store().collection("sagemaker", "pipeline")
}

/// The versions, under `NAME/000000001`.
pub(super) fn versions(cloud: &Cloud) -> Collection<'_, Version> {
    cloud.store().collection("sagemaker", "pipeline-version")
}

/// The key of a version.
pub(super) fn version_key(name: &str, id: i64) -> String {
    format!("{name}/{id:09}")
}

/// The executions, under `PIPELINE/ID`.
pub(super) fn executions(cloud: &Cloud) -> Collection<'_, Execution> {
    cloud.store().collection("sagemaker", "pipeline-execution")
}

/// A pipeline by its name or ARN; `ResourceNotFound`.
pub(super) fn pipeline(cloud: &Cloud, name_or_arn: &str) -> ApiResult<Pipeline> {
    let name = name_of(cloud, "pipeline", name_or_arn);
    pipelines(cloud).get(name)?.ok_or_else(|| {
        let arn = cloud.arn("sagemaker", format_args!("pipeline/{name}"));
        ApiError::not_found(
            "ResourceNotFound",
            format!("Pipeline '{arn}' does not exist."),
        )
    })
}

/// The key of the execution with this ARN; `ResourceNotFound`.
pub(super) fn execution_key(cloud: &Cloud, arn: &str) -> ApiResult<String> {
    arn.strip_prefix(&cloud.arn("sagemaker", "pipeline/"))
        .and_then(|rest| rest.split_once("/execution/"))
        .map(|(pipeline, id)| format!("{pipeline}/{id}"))
        .ok_or_else(|| no_execution(arn))
}

/// The execution with this ARN; `ResourceNotFound`.
pub(super) fn execution(cloud: &Cloud, arn: &str) -> ApiResult<Execution> {
    let key = execution_key(cloud, arn)?;
    executions(cloud)
        .get(&key)?
        .ok_or_else(|| no_execution(arn))
}

/// The error for an execution that does not exist.
pub(super) fn no_execution(arn: &str) -> ApiError {
    ApiError::not_found(
        "ResourceNotFound",
        format!("Pipeline execution with ARN {arn} does not exist."),
    )
}

/// `ParallelismConfiguration` of a response.
pub(super) fn parallelism_json(steps: Option<u64>) -> Value {
    steps.map_or(
        Value::Null,
        |steps| json!({ "MaxParallelExecutionSteps": steps }),
    )
}

/// Removes the null members of a response.
pub(super) fn compact(mut response: Value) -> Value {
    if let Some(members) = response.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    response
}
