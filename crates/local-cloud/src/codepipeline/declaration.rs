//! The structure of a pipeline, as requests and responses have it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A pipeline's structure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Declaration {
    pub(super) name: String,
    pub(super) role_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) artifact_store: Option<ArtifactStore>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) artifact_stores: Option<BTreeMap<String, ArtifactStore>>,
    pub(super) stages: Vec<Stage>,
    /// Set by the service.
    #[serde(default)]
    pub(super) version: i64,
    #[serde(default)]
    pub(super) execution_mode: ExecutionMode,
    #[serde(default)]
    pub(super) pipeline_type: PipelineType,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) variables: Vec<Variable>,
}

impl Declaration {
    /// The artifact store of the region.
    pub(super) fn store(&self, region: &str) -> Option<&ArtifactStore> {
        let of_region = self.artifact_stores.as_ref();
        let of_region = of_region.and_then(|stores| stores.get(region));
        self.artifact_store.as_ref().or(of_region)
    }

    /// The position of a stage.
    pub(super) fn stage(&self, name: &str) -> Option<usize> {
        self.stages.iter().position(|stage| stage.name == name)
    }

    /// An action, by its stage and name.
    pub(super) fn action(&self, stage: &str, name: &str) -> Option<&Action> {
        let stage = &self.stages[self.stage(stage)?];
        stage.actions.iter().find(|action| action.name == name)
    }
}

/// Where artifacts are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ArtifactStore {
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// The bucket.
    pub(super) location: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) encryption_key: Option<EncryptionKey>,
}

/// The key of KMS that encrypts artifacts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EncryptionKey {
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
}

/// How executions of a pipeline are processed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum ExecutionMode {
    /// A newer execution replaces those that wait.
    #[default]
    Superseded,
    /// Executions wait for each other.
    Queued,
    /// Executions do not wait for each other.
    Parallel,
}

/// The type of a pipeline: V1 lacks variables, and modes other than SUPERSEDED.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum PipelineType {
    #[default]
    V1,
    V2,
}

/// A variable of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Variable {
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) default_value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
}

/// A stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stage {
    pub(super) name: String,
    pub(super) actions: Vec<Action>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) on_failure: Option<OnFailure>,
}

/// What happens after a stage has failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OnFailure {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<FailureResult>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retry_configuration: Option<RetryConfiguration>,
}

/// The result of a failed stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum FailureResult {
    Rollback,
    Fail,
    Retry,
    Skip,
}

/// How a failed stage is retried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RetryConfiguration {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retry_mode: Option<RetryMode>,
}

/// The actions that a retry runs again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum RetryMode {
    #[serde(rename = "FAILED_ACTIONS")]
    FailedActions,
    #[serde(rename = "ALL_ACTIONS")]
    AllActions,
}

/// An action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "named as in the API")]
pub(super) struct Action {
    pub(super) name: String,
    pub(super) action_type_id: ActionTypeId,
    #[serde(default = "first")]
    pub(super) run_order: u32,
    #[serde(default)]
    pub(super) configuration: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) output_artifacts: Vec<ArtifactName>,
    #[serde(default)]
    pub(super) input_artifacts: Vec<ArtifactName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) role_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timeout_in_minutes: Option<u32>,
}

/// The default of `runOrder`.
fn first() -> u32 {
    1
}

/// The name of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ArtifactName {
    pub(super) name: String,
}

/// The type of an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ActionTypeId {
    pub(super) category: String,
    pub(super) owner: String,
    pub(super) provider: String,
    pub(super) version: String,
}
