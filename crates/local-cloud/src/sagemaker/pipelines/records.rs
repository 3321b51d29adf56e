//! What is kept of pipelines and executions.

use std::collections::BTreeMap;

use mlops_pipeline::Step;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

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
    pub(super) modified: f64,
    pub(super) last_run: Option<f64>,
    /// The newest version.
    pub(super) version: i64,
    /// The `ClientRequestToken` that made it.
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
    pub(super) status: Status,
    pub(super) failure: Option<String>,
    pub(super) experiment: Option<Value>,
    pub(super) created: f64,
    pub(super) modified: f64,
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
    pub(super) status: Status,
    pub(super) started: f64,
    pub(super) ended: Option<f64>,
    pub(super) failure: Option<String>,
    /// `Metadata` of `ListPipelineExecutionSteps`.
    pub(super) metadata: Option<Value>,
    /// The outcome of a Condition step.
    pub(super) outcome: Option<bool>,
    /// The Describe response that expressions read.
    pub(super) response: Option<Value>,
    /// How often the step was tried; 0 when an earlier result was used instead.
    #[serde(default = "once")]
    pub(super) attempts: u32,
    /// What later runs compare to use this result.
    #[serde(default)]
    pub(super) cache_key: Option<String>,
    /// The execution whose result was used.
    #[serde(default)]
    pub(super) cache_hit: Option<String>,
}

/// Records that are older than `attempts` were tried once.
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
            status: Status::Executing,
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

/// The status of an execution or of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Status {
    Executing,
    Stopping,
    Stopped,
    Failed,
    Succeeded,
}

impl Status {
    /// True while there is work under way.
    pub(super) fn goes_on(self) -> bool {
        matches!(self, Self::Executing | Self::Stopping)
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
    let prefix = cloud.arn("sagemaker", "pipeline/");
    let name = name_or_arn.strip_prefix(&prefix).unwrap_or(name_or_arn);
    pipelines(cloud).get(name)?.ok_or_else(|| {
        ApiError::not_found(
            "ResourceNotFound",
            format!("Pipeline '{prefix}{name}' does not exist."),
        )
    })
}

/// The key of the execution that a request names; `ResourceNotFound`.
pub(super) fn execution_key(cloud: &Cloud, input: &Value) -> ApiResult<String> {
    let arn = super::requests::required(input, "PipelineExecutionArn")?;
    arn.strip_prefix(&cloud.arn("sagemaker", "pipeline/"))
        .and_then(|rest| rest.split_once("/execution/"))
        .map(|(pipeline, id)| format!("{pipeline}/{id}"))
        .ok_or_else(|| no_execution(arn))
}

/// The execution that a request names; `ResourceNotFound`.
pub(super) fn execution(cloud: &Cloud, input: &Value) -> ApiResult<Execution> {
    let key = execution_key(cloud, input)?;
    executions(cloud)
        .get(&key)?
        .ok_or_else(|| no_execution(input["PipelineExecutionArn"].as_str().unwrap_or(&key)))
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

/// Takes the null members out of a response.
pub(super) fn compact(mut response: Value) -> Value {
    if let Some(members) = response.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    response
}
