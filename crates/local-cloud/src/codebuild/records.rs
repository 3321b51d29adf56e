//! The records of projects and builds, with the member names of the API.
#![expect(
    clippy::struct_field_names,
    reason = "the names of the API, in which fields repeat the name of their structure"
)]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::CloneReference;
use crate::Cloud;
use crate::store::Collection;

/// A source of a project or a build.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Source {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) location: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) git_clone_depth: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) buildspec: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) insecure_ssl: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source_identifier: Option<String>,
}

/// The version of a secondary source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SourceVersion {
    pub(super) source_identifier: String,
    pub(super) source_version: String,
}

/// Where the output of a build goes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Artifacts {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) location: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) namespace_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) packaging: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) override_artifact_name: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) encryption_disabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) artifact_identifier: Option<String>,
}

/// The cache of a project.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Cache {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) modes: Vec<String>,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            kind: "NO_CACHE".to_owned(),
            modes: Vec::new(),
        }
    }
}

/// An environment variable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: String,
    #[serde(rename = "type", default = "plaintext")]
    pub(super) kind: String,
}

fn plaintext() -> String {
    "PLAINTEXT".to_owned()
}

/// The environment of builds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Environment {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) image: String,
    pub(super) compute_type: String,
    pub(super) environment_variables: Vec<Variable>,
    pub(super) privileged_mode: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) image_pull_credentials_type: Option<String>,
}

/// `CloudWatchLogsConfig`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct CloudWatchLogs {
    pub(super) status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) group_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stream_name: Option<String>,
}

/// `S3LogsConfig`, which is always disabled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct S3Logs {
    pub(super) status: String,
    pub(super) encryption_disabled: bool,
}

impl Default for S3Logs {
    fn default() -> Self {
        Self {
            status: "DISABLED".to_owned(),
            encryption_disabled: false,
        }
    }
}

/// Where the log of a build goes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct LogsConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cloud_watch_logs: Option<CloudWatchLogs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) s3_logs: Option<S3Logs>,
}

/// A project.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Project {
    pub(super) settings: Settings,
    pub(super) created: f64,
    pub(super) modified: f64,
    pub(super) tags: BTreeMap<String, String>,
    /// The number of the newest build.
    pub(super) builds: u64,
    /// The id of the local cache.
    pub(super) cache: String,
}

/// What a request sets of a project.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Settings {
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    pub(super) source: Source,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) secondary_sources: Vec<Source>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source_version: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) secondary_source_versions: Vec<SourceVersion>,
    pub(super) artifacts: Artifacts,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) secondary_artifacts: Vec<Artifacts>,
    pub(super) cache: Cache,
    pub(super) environment: Environment,
    pub(super) service_role: String,
    pub(super) timeout_in_minutes: u32,
    pub(super) queued_timeout_in_minutes: u32,
    pub(super) encryption_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) vpc_config: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) logs_config: Option<LogsConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) concurrent_build_limit: Option<u32>,
}

/// `StatusType`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Status {
    Succeeded,
    Failed,
    Fault,
    TimedOut,
    InProgress,
    Stopped,
}

impl Status {
    /// Its name in the API.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Fault => "FAULT",
            Self::TimedOut => "TIMED_OUT",
            Self::InProgress => "IN_PROGRESS",
            Self::Stopped => "STOPPED",
        }
    }
}

/// Why a phase ended as it did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PhaseContext {
    /// Empty for a phase that succeeded.
    pub(super) status_code: String,
    pub(super) message: String,
}

impl PhaseContext {
    /// The context of a phase that did not succeed.
    pub(super) fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            status_code: code.to_owned(),
            message: message.into(),
        }
    }
}

/// A phase of a build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Phase {
    pub(super) phase_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) phase_status: Option<Status>,
    pub(super) start_time: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) end_time: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) duration_in_seconds: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) contexts: Vec<PhaseContext>,
}

/// The output of a build.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct BuildArtifacts {
    pub(super) location: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sha256sum: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) md5sum: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) override_artifact_name: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) encryption_disabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) artifact_identifier: Option<String>,
}

/// `LogsLocation`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Logs {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) group_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stream_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) deep_link: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cloud_watch_logs_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cloud_watch_logs: Option<CloudWatchLogs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) s3_logs: Option<S3Logs>,
}

/// An environment variable that a build exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Exported {
    pub(super) name: String,
    pub(super) value: String,
}

/// A build, as `BatchGetBuilds` returns it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Build {
    pub(super) id: String,
    pub(super) arn: String,
    pub(super) build_number: u64,
    pub(super) start_time: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) end_time: Option<f64>,
    pub(super) current_phase: String,
    pub(super) build_status: Status,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) source_version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) resolved_source_version: Option<String>,
    pub(super) project_name: String,
    pub(super) phases: Vec<Phase>,
    pub(super) source: Source,
    #[serde(default)]
    pub(super) secondary_sources: Vec<Source>,
    #[serde(default)]
    pub(super) secondary_source_versions: Vec<SourceVersion>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) artifacts: Option<BuildArtifacts>,
    #[serde(default)]
    pub(super) secondary_artifacts: Vec<BuildArtifacts>,
    pub(super) cache: Cache,
    pub(super) environment: Environment,
    pub(super) service_role: String,
    pub(super) logs: Logs,
    pub(super) timeout_in_minutes: u32,
    pub(super) queued_timeout_in_minutes: u32,
    pub(super) build_complete: bool,
    pub(super) initiator: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) vpc_config: Option<Value>,
    pub(super) encryption_key: String,
    #[serde(default)]
    pub(super) exported_environment_variables: Vec<Exported>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) report_arns: Vec<String>,
}

/// An artifact of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PipelineLocation {
    pub(super) name: String,
    pub(super) bucket: String,
    pub(super) key: String,
    /// What is cloned instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) clone: Option<CloneReference>,
}

/// What a pipeline passes to a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PipelinePart {
    pub(super) execution: String,
    /// The first is the primary input.
    pub(super) inputs: Vec<PipelineLocation>,
    pub(super) outputs: Vec<PipelineLocation>,
    pub(super) revision: Option<String>,
}

/// The record of a build.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct BuildRecord {
    pub(super) build: Build,
    /// The settings of the project with the overrides of the build.
    pub(super) settings: Settings,
    pub(super) pipeline: Option<PipelinePart>,
    /// The id of the project's cache when the build started.
    #[serde(default)]
    pub(super) cache: String,
}

/// A build that was started with an idempotency token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Token {
    pub(super) build: String,
    /// The request, to recognize another one with the same token.
    pub(super) request: String,
    /// Seconds since the epoch, by the cloud's clock.
    pub(super) time: f64,
    /// True for a token that is remembered as long as its build.
    #[serde(default)]
    pub(super) lasts: bool,
}

/// The projects, by name.
pub(super) fn projects(cloud: &Cloud) -> Collection<'_, Project> {
    cloud.store().collection("codebuild", "project")
}

/// The builds, by id.
pub(super) fn builds(cloud: &Cloud) -> Collection<'_, BuildRecord> {
    cloud.store().collection("codebuild", "build")
}

/// The idempotency tokens of recent builds.
pub(super) fn tokens(cloud: &Cloud) -> Collection<'_, Token> {
    cloud.store().collection("codebuild", "token")
}
