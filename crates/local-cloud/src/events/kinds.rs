//! The kinds of targets, and the request that delivers an event to each.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::path::Path;
use super::target::Target;
use crate::api::{ApiError, ApiResult};
use crate::cloud::ACCOUNT;
use crate::{Cloud, clock, sqs};

/// How EventBridge signs its requests, and the principal of its roles and permissions.
pub(super) const PRINCIPAL: &str = "events.amazonaws.com";

/// Members of `StartPipelineExecution` that the input of a pipeline can have.
const PIPELINE_INPUT: [&str; 2] = ["sourceRevisions", "variables"];

/// A kind of target, with the name of its resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    CodeBuild(String),
    CodePipeline(String),
    Lambda(String),
    Logs(String),
    SageMaker(String),
    Sns,
    Sqs,
}

/// The event, and what the target receives of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delivery<'a> {
    pub(super) target: &'a Target,
    pub(super) rule: &'a str,
    pub(super) event: &'a Value,
    /// Identifies the delivery, so that a repeated one starts nothing twice.
    pub(super) token: &'a str,
    /// The text that the target receives.
    pub(super) payload: &'a str,
}

impl Kind {
    /// The kind of a target; fails for other kinds, accounts and Regions.
    pub(super) fn of(cloud: &Cloud, arn: &str) -> ApiResult<Self> {
        let refused = || ApiError::not_implemented(format_args!("targets such as {arn}"));
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let ["arn", _, service, region, account, resource] = parts[..] else {
            return Err(ApiError::validation(format!(
                "Parameter {arn} is not valid. Reason: Provided Arn is not in correct format."
            )));
        };
        if region != cloud.region() || account != ACCOUNT {
            return Err(ApiError::not_implemented(format_args!(
                "targets of other accounts and Regions, such as {arn}"
            )));
        }
        let below = |prefix: &str| resource.strip_prefix(prefix).map(str::to_owned);
        let kind = match service {
            "codebuild" => below("project/").map(Self::CodeBuild),
            "codepipeline" => Some(Self::CodePipeline(resource.to_owned())),
            "lambda" => below("function:").map(Self::Lambda),
            "logs" => below("log-group:")
                .map(|name| Self::Logs(name.strip_suffix(":*").unwrap_or(&name).to_owned())),
            "sagemaker" => below("pipeline/").map(Self::SageMaker),
            "sns" => Some(Self::Sns),
            "sqs" => Some(Self::Sqs),
            _ => None,
        };
        kind.ok_or_else(refused)
    }

    /// The name of the service of this kind.
    pub(super) fn service(&self) -> &'static str {
        match self {
            Self::CodeBuild(_) => "codebuild",
            Self::CodePipeline(_) => "codepipeline",
            Self::Lambda(_) => "lambda",
            Self::Logs(_) => "logs",
            Self::SageMaker(_) => "sagemaker",
            Self::Sns => "sns",
            Self::Sqs => "sqs",
        }
    }

    /// True for a kind to which EventBridge has access only by a role.
    pub(super) fn needs_role(&self) -> bool {
        matches!(
            self,
            Self::CodeBuild(_) | Self::CodePipeline(_) | Self::SageMaker(_)
        )
    }

    pub(super) fn is_queue(&self) -> bool {
        matches!(self, Self::Sqs)
    }

    pub(super) fn has_pipeline_parameters(&self) -> bool {
        matches!(self, Self::SageMaker(_))
    }

    /// Delivers an event, on behalf of the current caller.
    pub(super) async fn deliver(&self, cloud: &Cloud, it: Delivery<'_>) -> ApiResult<()> {
        let arn = &it.target.arn;
        let call = |service: &'static str, operation: &'static str, input: Value| async move {
            cloud.call(service, operation, input).await.map(drop)
        };
        match self {
            Self::Lambda(name) => {
                let payload = STANDARD.encode(it.payload);
                let input =
                    json!({"FunctionName": name, "InvocationType": "Event", "Payload": payload});
                call("lambda", "Invoke", input).await
            }
            Self::Sns => {
                let input = json!({"TopicArn": arn, "Message": it.payload});
                call("sns", "Publish", input).await
            }
            Self::Sqs => {
                let mut input =
                    json!({"QueueUrl": sqs::url(cloud, arn), "MessageBody": it.payload});
                let parameters = it.target.sqs_parameters.as_ref();
                if let Some(group) = parameters.and_then(|it| it.message_group_id.as_deref()) {
                    input["MessageGroupId"] = group.into();
                }
                call("sqs", "SendMessage", input).await
            }
            Self::Logs(group) => {
                let stream = it.rule;
                let new = json!({"logGroupName": group, "logStreamName": stream});
                match call("logs", "CreateLogStream", new).await {
                    Err(error) if error.code != "ResourceAlreadyExistsException" => {
                        return Err(error);
                    }
                    _ => {}
                }
                let event = log_event(it);
                let input =
                    json!({"logGroupName": group, "logStreamName": stream, "logEvents": [event]});
                let put = cloud.call("logs", "PutLogEvents", input).await?;
                match &put["rejectedLogEventsInfo"] {
                    Value::Null => Ok(()),
                    rejected => Err(ApiError::validation(format!(
                        "CloudWatch Logs rejected the event: {rejected}"
                    ))),
                }
            }
            Self::SageMaker(name) => {
                let input = json!({
                    "PipelineName": name,
                    "ClientRequestToken": it.token,
                    "PipelineParameters": pipeline_parameters(it),
                });
                call("sagemaker", "StartPipelineExecution", input).await
            }
            Self::CodePipeline(name) => {
                let mut input = json!({"name": name, "clientRequestToken": it.token});
                for member in PIPELINE_INPUT {
                    if let Some(value) = custom_input(it).get(member) {
                        input[member] = value.clone();
                    }
                }
                call("codepipeline", "StartPipelineExecution", input).await
            }
            Self::CodeBuild(name) => {
                let mut input = custom_input(it);
                input["projectName"] = name.as_str().into();
                input["idempotencyToken"] = it.token.into();
                call("codebuild", "StartBuild", input).await
            }
        }
    }
}

/// Maximum number of deliveries to a target in a minute before further ones wait. Pipelines and builds are expensive,
/// and announce events themselves.
pub(super) fn per_minute(arn: &str) -> u32 {
    match arn.split(':').nth(2) {
        Some("codebuild" | "codepipeline" | "sagemaker") => 60,
        _ => 6000,
    }
}

/// The members of the input that a client has chosen; none if the target receives the event itself.
fn custom_input(it: Delivery<'_>) -> Value {
    let target = it.target;
    let is_custom =
        target.input.is_some() || target.input_path.is_some() || target.input_transformer.is_some();
    let input = is_custom.then(|| serde_json::from_str(it.payload).ok());
    let input = input.flatten().filter(Value::is_object);
    input.unwrap_or_else(|| json!({}))
}

/// The parameters of a SageMaker pipeline. A value that begins with `$.` is a path into the original event.
fn pipeline_parameters(it: Delivery<'_>) -> Value {
    let parameters = it.target.pipeline_parameters.iter();
    let parameters = parameters.flat_map(|it| &it.pipeline_parameter_list);
    let parameters = parameters.map(|parameter| {
        let path = parameter
            .value
            .starts_with("$.")
            .then_some(&parameter.value);
        let found = path.and_then(|path| Path::parse(path)?.find(it.event));
        let value = match found {
            Some(Value::String(text)) => text,
            Some(other) => other.to_string(),
            None => parameter.value.clone(),
        };
        json!({"Name": parameter.name, "Value": value})
    });
    parameters.collect()
}

/// The line of a log. A transformer can write its time and text: `{"timestamp": …, "message": …}`.
fn log_event(it: Delivery<'_>) -> Value {
    let custom = custom_input(it);
    let time = match &custom["timestamp"] {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let message = match &custom["message"] {
        Value::Null => it.payload.to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let time = time.unwrap_or_else(|| clock::now().as_millisecond());
    json!({"timestamp": time, "message": message})
}
