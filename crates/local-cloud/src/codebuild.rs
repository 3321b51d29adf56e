//! CodeBuild: projects, and builds that run as processes of this machine.
//!
//! ```text
//! StartBuild, RetryBuild ┐                       ┌ download: sources, buildspec, parameters, cache
//! start_for_pipeline     ┴ start ─ queue ─ run ──┼ commands: runtime::launch_build ─ driver.sh ─ command.sh …
//!                          (record, event)       └ output: reports, artifacts, cache
//!                                        │
//!                              progress (a phase: record and event in one transaction), log (CloudWatch Logs)
//! ```
//!
//! A build runs in the scope of a session of its service role, with a job's isolation and the programs of this machine:
//! the image of the environment is recorded and not used. It runs as an ordinary user, HOME is a directory of the
//! build, and /tmp is private. `buildspec`, `globs` and `junit` are pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Cloud;
use super::api::page::Page;
use super::api::{ApiError, ApiResult};
use super::cloud::service::{Housekeeping, RESERVED_TAG, Service, operations};

mod artifacts;
mod builds;
mod buildspec;
mod cache;
mod driver;
mod event;
mod globs;
mod interrupt;
mod junit;
mod log;
mod progress;
mod projects;
mod queue;
mod records;
mod reports;
mod run;
mod runtimes;
mod settings;
mod sources;
mod start;

operations! {
    "BatchDeleteBuilds" => builds::batch_delete,
    "BatchGetBuilds" => builds::batch_get,
    "BatchGetProjects" => projects::batch_get,
    "BatchGetReportGroups" => reports::batch_get_groups,
    "BatchGetReports" => reports::batch_get,
    "CreateProject" => projects::create,
    "CreateReportGroup" => reports::create_group,
    "DeleteProject" => projects::delete,
    "DeleteReport" => reports::delete,
    "DeleteReportGroup" => reports::delete_group,
    "DescribeTestCases" => reports::describe_tests,
    "ListBuilds" => builds::list,
    "ListBuildsForProject" => builds::list_for_project,
    "ListProjects" => projects::list,
    "ListReportGroups" => reports::list_groups,
    "ListReports" => reports::list,
    "ListReportsForReportGroup" => reports::list,
    "RetryBuild" => start::retry,
    "StartBuild" => start::start,
    "StopBuild" => builds::stop,
    "UpdateProject" => projects::update,
    "UpdateReportGroup" => reports::update_group,
}

/// The service.
pub(crate) const SERVICE: Service = Service {
    cbor_times: Some(&["created", "endTime", "expired", "lastModified", "startTime"]),
    housekeeping: Housekeeping {
        remove_expired: Some(remove_expired),
        ..Housekeeping::NONE
    },
    reserved_tag: ("InvalidInputException", RESERVED_TAG),
    recover: Some(recover),
    shut_down: Some(|cloud| Box::pin(run::shut_down(cloud))),
    ..Service::json(
        "codebuild",
        "CodeBuild",
        "CodeBuild_20161006",
        &[OPERATIONS],
    )
};

/// The principal that assumes service roles.
const PRINCIPAL: &str = "codebuild.amazonaws.com";

fn recover(cloud: &Cloud) -> anyhow::Result<()> {
    builds::recover(cloud)?;
    cache::recover(cloud);
    Ok(())
}

fn remove_expired(cloud: &Cloud) -> ApiResult<()> {
    builds::remove_expired(cloud)?;
    reports::remove_expired(cloud)?;
    start::forget_tokens(cloud)
}

/// `InvalidInputException`
fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidInputException", message)
}

/// `arn:aws:codebuild:REGION:ACCOUNT:KIND/NAME`
fn arn(cloud: &Cloud, kind: &str, name: &str) -> String {
    cloud.arn("codebuild", format_args!("{kind}/{name}"))
}

/// Tags as the API shows them.
fn shown_tags(tags: &BTreeMap<String, String>) -> Value {
    tags.iter()
        .map(|(key, value)| json!({"key": key, "value": value}))
        .collect()
}

/// True for a list from the last element to the first.
fn is_descending(order: Option<&str>, default: bool) -> ApiResult<bool> {
    match order {
        None => Ok(default),
        Some("ASCENDING") => Ok(false),
        Some("DESCENDING") => Ok(true),
        Some(other) => Err(invalid(format!("Invalid sortOrder: {other}"))),
    }
}

/// One page of a list of names.
fn page(member: &str, names: Vec<String>, size: usize, token: Option<&str>) -> ApiResult<Value> {
    let page = Page::new(token, size, |_| invalid("Invalid nextToken"))?;
    let (names, next) = page.cut(names);
    let mut answer = json!({ member: names });
    if let Some(next) = next {
        answer["nextToken"] = next.into();
    }
    Ok(answer)
}

/// An artifact of a pipeline: a zip in S3, or a reference to a commit.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PipelineArtifact {
    /// Its name in the pipeline, such as `SourceOutput`.
    pub(crate) name: String,
    /// The artifact bucket.
    pub(crate) bucket: String,
    /// The key of the zip: read for an input, written for an output.
    pub(crate) key: String,
    /// For an input of the format `CODEBUILD_CLONE_REF`: what is cloned; the object in S3 is not read.
    pub(crate) clone: Option<CloneReference>,
}

/// A commit of a CodeCommit repository (`OutputArtifactFormat: CODEBUILD_CLONE_REF` of a source action). The build
/// gets a clone with its whole history at this commit: on a local branch of this name if the branch still contains
/// the commit, otherwise detached. The service role of the project needs `codecommit:GitPull`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CloneReference {
    /// The name of the repository.
    pub(crate) repository: String,
    /// The full id of the commit.
    pub(crate) commit: String,
    /// The branch of the source action.
    pub(crate) branch: String,
}

/// The type of an environment variable (`EnvironmentVariables` of the action's configuration).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum VariableType {
    /// The value itself.
    Plaintext,
    /// The value is the name of a parameter of Parameter Store.
    ParameterStore,
}

/// A build that an action of a pipeline starts.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PipelineBuild {
    /// The project, whose source and artifacts have the type `CODEPIPELINE`.
    pub(crate) project: String,
    /// The pipeline: the build's initiator is `codepipeline/PIPELINE`.
    pub(crate) pipeline: String,
    /// The id of the pipeline's execution.
    pub(crate) execution: String,
    /// The input artifacts. The first, or the one that `primary` names, is unpacked to `CODEBUILD_SRC_DIR`, the
    /// others to `CODEBUILD_SRC_DIR_NAME`.
    pub(crate) inputs: Vec<PipelineArtifact>,
    /// `PrimarySource` of the action's configuration.
    pub(crate) primary: Option<String>,
    /// The revision of the primary input (`CODEBUILD_RESOLVED_SOURCE_VERSION`), such as a commit id.
    pub(crate) revision: Option<String>,
    /// The output artifacts: the first is the buildspec's `artifacts`, and with several, each is the secondary
    /// artifact of its name.
    pub(crate) outputs: Vec<PipelineArtifact>,
    /// `BuildspecOverride`: a file of the primary input or a definition, instead of the project's.
    pub(crate) buildspec: Option<String>,
    /// Environment variables that override those of the project: name, value and type.
    pub(crate) variables: Vec<(String, String, VariableType)>,
    /// The KMS key of the pipeline's artifact store.
    pub(crate) encryption_key: Option<String>,
    /// The same token always returns the same build (`idempotencyToken`), so that an action that is retried after
    /// a crash starts no second build.
    pub(crate) token: Option<String>,
}

/// Starts a build for an action of a pipeline, on behalf of the current caller: the session of the pipeline's role,
/// which needs `codebuild:StartBuild` on the project. The service role of the project reads the input artifacts and
/// writes the output artifacts.
///
/// Returns the build's id (`PROJECT:UUID`) once the build is recorded. Call `BatchGetBuilds` for its state and
/// `exportedEnvironmentVariables`, and `StopBuild` to end it. `cloud.clock()` announces [`BUILDS`] whenever a build
/// has ended.
///
/// # Errors
/// `ResourceNotFoundException` for an unknown project, `AccessDenied…` without the permission, `InvalidInputException`
/// if the project's source or artifacts are not of the type `CODEPIPELINE`.
pub(crate) async fn start_for_pipeline(cloud: &Cloud, build: PipelineBuild) -> ApiResult<String> {
    start::from_pipeline(cloud, build).await
}

/// Announced on the cloud's clock whenever a build has ended.
pub(crate) const BUILDS: super::clock::Topic = super::clock::Topic("codebuild builds");

#[cfg(test)]
mod tests;
