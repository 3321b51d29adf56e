//! Targets: the calls that schedules make.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::request::Request;
use super::universal;
use crate::api::{ApiError, ApiResult};
use crate::cloud::ACCOUNT;
use crate::{Cloud, sqs};

/// Maximum size of the input, in bytes (API reference, `Target`: 256 KB).
const MAX_INPUT: usize = 256 << 10;

/// `Target`, with the names of the API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Target {
    pub(super) arn: String,
    pub(super) role_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) input: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dead_letter_config: Option<DeadLetters>,
    #[serde(default)]
    pub(super) retry_policy: RetryPolicy,
    #[serde(skip_serializing_if = "Option::is_none")]
    sqs_parameters: Option<SqsParameters>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_bridge_parameters: Option<EventBridgeParameters>,
    #[serde(
        rename = "SageMakerPipelineParameters",
        skip_serializing_if = "Option::is_none"
    )]
    pipeline_parameters: Option<PipelineParameters>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DeadLetters {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) arn: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct RetryPolicy {
    /// Seconds.
    pub(super) maximum_event_age_in_seconds: i64,
    pub(super) maximum_retry_attempts: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            maximum_event_age_in_seconds: 86_400,
            maximum_retry_attempts: 185,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SqsParameters {
    #[serde(skip_serializing_if = "Option::is_none")]
    message_group_id: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EventBridgeParameters {
    detail_type: String,
    source: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PipelineParameters {
    #[serde(skip_serializing_if = "Option::is_none")]
    pipeline_parameter_list: Option<Value>,
}

/// Fails if a target cannot be called.
pub(super) fn check(cloud: &Cloud, target: &Target) -> ApiResult<()> {
    if target
        .input
        .as_ref()
        .is_some_and(|input| input.len() > MAX_INPUT)
    {
        return Err(ApiError::validation(
            "The Input of a target can have at most 256 KB.",
        ));
    }
    if let Some(arn) = target.dead_letters()
        && !arn.starts_with(&cloud.arn("sqs", ""))
    {
        return Err(ApiError::not_implemented(format_args!(
            "dead-letter queues of other accounts and regions ({arn})"
        )));
    }
    let input = target.input.as_deref().unwrap_or("{}");
    target.request(cloud, input, "").map(drop)
}

impl Target {
    /// The ARN of the dead-letter queue.
    pub(super) fn dead_letters(&self) -> Option<&str> {
        self.dead_letter_config.as_ref()?.arn.as_deref()
    }

    /// The operation of a universal target, as `SERVICE:operation`.
    fn action(&self) -> Option<&str> {
        self.arn.strip_prefix("arn:aws:scheduler:::aws-sdk:")
    }

    /// True for a universal target.
    pub(super) fn is_universal(&self) -> bool {
        self.action().is_some()
    }

    /// The call of the target with a text as its input. Every attempt of the invocation with this id has the same
    /// idempotency token.
    pub(super) fn request(&self, cloud: &Cloud, text: &str, id: &str) -> ApiResult<Request> {
        if let Some(action) = self.action() {
            let request = universal::request(cloud, action, text)?;
            return self.require_parameters_of(None, request);
        }
        let parts: Vec<&str> = self.arn.splitn(6, ':').collect();
        let [_, _, service, region, account, resource] = parts[..] else {
            return Err(ApiError::validation(format!(
                "Provided Arn is not in correct format: {}",
                self.arn
            )));
        };
        if region != cloud.region() || account != ACCOUNT {
            return Err(ApiError::not_implemented(format_args!(
                "targets in other accounts and regions ({})",
                self.arn
            )));
        }
        let request = self.templated(cloud, (service, resource), text, id)?;
        // The service must exist here.
        cloud
            .services()
            .named(request.service)?
            .operation(&request.operation)
            .ok_or_else(|| {
                ApiError::not_implemented(format_args!("{}:{}", request.service, request.operation))
            })?;
        self.require_parameters_of(Some(service), request)
    }

    fn templated(
        &self,
        cloud: &Cloud,
        (service, resource): (&str, &str),
        text: &str,
        id: &str,
    ) -> ApiResult<Request> {
        let (kind, name) = resource.split_once([':', '/']).unwrap_or(("", resource));
        let (service, operation, input) = match (service, kind) {
            ("lambda", "function") => {
                require_json(text)?;
                let payload = STANDARD.encode(text);
                let input = json!({"FunctionName": self.arn, "InvocationType": "Event", "Payload": payload});
                ("lambda", "Invoke", input)
            }
            ("sqs", "") => {
                let group = self.sqs_parameters.as_ref();
                let group = group.and_then(|it| it.message_group_id.as_deref());
                let url = sqs::url(cloud, &self.arn);
                let mut input = json!({"QueueUrl": url, "MessageBody": text});
                if let Some(group) = group {
                    input["MessageGroupId"] = group.into();
                }
                ("sqs", "SendMessage", input)
            }
            ("sns", "") => {
                let input = json!({"TopicArn": self.arn, "Message": text});
                ("sns", "Publish", input)
            }
            ("events", "event-bus") => {
                require_json(text)?;
                let parameters = self.event_bridge_parameters.as_ref().ok_or_else(|| {
                    ApiError::validation("EventBridgeParameters are required for this target.")
                })?;
                let entry = json!({
                    "EventBusName": name,
                    "Source": parameters.source,
                    "DetailType": parameters.detail_type,
                    "Detail": text,
                });
                ("events", "PutEvents", json!({"Entries": [entry]}))
            }
            ("sagemaker", "pipeline") => {
                let mut input = json!({
                    "PipelineName": name,
                    "ClientRequestToken": id,
                });
                let parameters = self.pipeline_parameters.as_ref();
                if let Some(list) = parameters.and_then(|it| it.pipeline_parameter_list.as_ref()) {
                    input["PipelineParameters"] = list.clone();
                }
                ("sagemaker", "StartPipelineExecution", input)
            }
            ("codebuild", "project") => {
                let mut input = self.own_input(text)?;
                input["projectName"] = name.into();
                input["idempotencyToken"] = id.into();
                ("codebuild", "StartBuild", input)
            }
            ("codepipeline", "") => {
                let mut input = self.own_input(text)?;
                input["name"] = name.into();
                input["clientRequestToken"] = id.into();
                ("codepipeline", "StartPipelineExecution", input)
            }
            _ => {
                return Err(ApiError::not_implemented(format_args!(
                    "the target {} of schedules",
                    self.arn
                )));
            }
        };
        Ok(Request {
            service,
            operation: operation.to_owned(),
            input,
        })
    }

    /// The members of the input that the schedule has; none without an input.
    fn own_input(&self, text: &str) -> ApiResult<Value> {
        if self.input.is_none() {
            return Ok(json!({}));
        }
        let input = serde_json::from_str(text).ok();
        input
            .filter(Value::is_object)
            .ok_or_else(|| ApiError::validation("The input of this target must be a JSON object."))
    }

    /// Fails if the target has parameters of another service, which AWS refuses, too.
    fn require_parameters_of(&self, service: Option<&str>, request: Request) -> ApiResult<Request> {
        for (owner, is_set, name) in [
            ("sqs", self.sqs_parameters.is_some(), "SqsParameters"),
            (
                "events",
                self.event_bridge_parameters.is_some(),
                "EventBridgeParameters",
            ),
            (
                "sagemaker",
                self.pipeline_parameters.is_some(),
                "SageMakerPipelineParameters",
            ),
        ] {
            if is_set && service != Some(owner) {
                return Err(ApiError::validation(format!(
                    "The target {} does not support {name}.",
                    self.arn
                )));
            }
        }
        Ok(request)
    }
}

/// Fails if the input of a target that needs JSON is none.
fn require_json(text: &str) -> ApiResult<()> {
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => Ok(()),
        Err(_) => Err(ApiError::validation(
            "The Input of this target must be valid JSON.",
        )),
    }
}
