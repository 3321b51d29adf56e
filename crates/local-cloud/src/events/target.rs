//! A target of a rule, in its record and in requests.

use serde::{Deserialize, Serialize};

use super::transform::Transformer;

/// How often and for how long a delivery is retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RetryPolicy {
    #[serde(skip_serializing_if = "Option::is_none")]
    maximum_retry_attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maximum_event_age_in_seconds: Option<i64>,
}

/// The dead-letter queue of a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DeadLetters {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) arn: Option<String>,
}

/// Parameters of an SQS queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SqsParameters {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message_group_id: Option<String>,
}

/// Parameters of a SageMaker pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PipelineParameters {
    #[serde(default)]
    pub(super) pipeline_parameter_list: Vec<PipelineParameter>,
}

/// A parameter of a SageMaker pipeline; its value can be a JSON path into the event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PipelineParameter {
    pub(super) name: String,
    pub(super) value: String,
}

/// A target, with the names of the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Target {
    pub(super) id: String,
    pub(super) arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) role_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) input: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) input_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) input_transformer: Option<Transformer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sqs_parameters: Option<SqsParameters>,
    #[serde(
        rename = "SageMakerPipelineParameters",
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) pipeline_parameters: Option<PipelineParameters>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dead_letter_config: Option<DeadLetters>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retry_policy: Option<RetryPolicy>,
}

impl Target {
    /// Maximum number of retries.
    pub(super) fn max_retries(&self) -> u32 {
        let policy = self.retry_policy.and_then(|it| it.maximum_retry_attempts);
        policy.unwrap_or(185)
    }

    /// Maximum age of an event, in seconds.
    pub(super) fn max_age(&self) -> i64 {
        let policy = self.retry_policy;
        policy
            .and_then(|it| it.maximum_event_age_in_seconds)
            .unwrap_or(86_400)
    }

    /// The ARN of the dead-letter queue.
    pub(super) fn dead_letters(&self) -> Option<&str> {
        self.dead_letter_config.as_ref()?.arn.as_deref()
    }
}
