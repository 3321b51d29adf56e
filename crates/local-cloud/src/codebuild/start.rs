//! Starts builds: for a client, as a retry, or for an action of a pipeline.

use rusqlite::Transaction;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::records::{
    Artifacts, Build, BuildArtifacts, BuildRecord, Cache, CloudWatchLogs, Environment, Logs,
    LogsConfig, Phase, PipelineLocation, PipelinePart, Project, Settings, Source, SourceVersion,
    Status, Token, Variable, builds, projects, tokens,
};
use super::{
    PipelineBuild, SERVICE, VariableType, arn, artifacts, event, invalid, queue, run, settings,
};
use crate::api::ApiResult;
use crate::cloud::caller::Caller;
use crate::{Cloud, authorization, events};

/// How long an idempotency token is remembered, in seconds, as on AWS.
const TOKEN_TIME: f64 = 300.0;

/// `StartBuild`
#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Start {
    project_name: String,
    secondary_sources_override: Option<Vec<Source>>,
    secondary_sources_version_override: Option<Vec<SourceVersion>>,
    source_version: Option<String>,
    artifacts_override: Option<Artifacts>,
    secondary_artifacts_override: Option<Vec<Artifacts>>,
    environment_variables_override: Vec<Variable>,
    source_type_override: Option<String>,
    source_location_override: Option<String>,
    git_clone_depth_override: Option<u32>,
    buildspec_override: Option<String>,
    environment_type_override: Option<String>,
    image_override: Option<String>,
    compute_type_override: Option<String>,
    cache_override: Option<Cache>,
    service_role_override: Option<String>,
    privileged_mode_override: Option<bool>,
    timeout_in_minutes_override: Option<u32>,
    queued_timeout_in_minutes_override: Option<u32>,
    encryption_key_override: Option<String>,
    #[serde(skip_serializing)]
    idempotency_token: Option<String>,
    logs_config_override: Option<LogsConfig>,
    image_pull_credentials_type_override: Option<String>,
}

impl Start {
    /// The settings of the project with the overrides of the request.
    fn apply(&self, settings: &mut Settings) {
        fn set<T: Clone>(target: &mut T, value: Option<&T>) {
            if let Some(value) = value {
                target.clone_from(value);
            }
        }
        let project = settings.name.clone();
        let complete = |artifacts: Artifacts| super::projects::complete(artifacts, &project);
        let source = &mut settings.source;
        set(&mut source.kind, self.source_type_override.as_ref());
        for (target, value) in [
            (&mut source.location, &self.source_location_override),
            (&mut source.buildspec, &self.buildspec_override),
            (&mut settings.source_version, &self.source_version),
        ] {
            if value.is_some() {
                target.clone_from(value);
            }
        }
        if source.kind == "NO_SOURCE" {
            source.location = None;
        }
        if self.git_clone_depth_override.is_some() {
            source.git_clone_depth = self.git_clone_depth_override;
        }
        set(
            &mut settings.secondary_sources,
            self.secondary_sources_override.as_ref(),
        );
        set(
            &mut settings.secondary_source_versions,
            self.secondary_sources_version_override.as_ref(),
        );
        if let Some(artifacts) = &self.artifacts_override {
            settings.artifacts = complete(artifacts.clone());
        }
        if let Some(all) = &self.secondary_artifacts_override {
            settings.secondary_artifacts = all.iter().cloned().map(complete).collect();
        }
        let environment = &mut settings.environment;
        for variable in &self.environment_variables_override {
            environment.set(variable.clone());
        }
        set(
            &mut environment.kind,
            self.environment_type_override.as_ref(),
        );
        set(&mut environment.image, self.image_override.as_ref());
        set(
            &mut environment.compute_type,
            self.compute_type_override.as_ref(),
        );
        set(
            &mut environment.privileged_mode,
            self.privileged_mode_override.as_ref(),
        );
        if self.image_pull_credentials_type_override.is_some() {
            environment
                .image_pull_credentials_type
                .clone_from(&self.image_pull_credentials_type_override);
        }
        set(&mut settings.cache, self.cache_override.as_ref());
        set(
            &mut settings.service_role,
            self.service_role_override.as_ref(),
        );
        set(
            &mut settings.timeout_in_minutes,
            self.timeout_in_minutes_override.as_ref(),
        );
        set(
            &mut settings.queued_timeout_in_minutes,
            self.queued_timeout_in_minutes_override.as_ref(),
        );
        set(
            &mut settings.encryption_key,
            self.encryption_key_override.as_ref(),
        );
        if self.logs_config_override.is_some() {
            settings.logs_config.clone_from(&self.logs_config_override);
        }
    }
}

impl Environment {
    /// Sets a variable, or replaces its value.
    fn set(&mut self, variable: Variable) {
        let all = &mut self.environment_variables;
        match all.iter_mut().find(|found| found.name == variable.name) {
            Some(found) => *found = variable,
            None => all.push(variable),
        }
    }
}

/// `StartBuild`
pub(super) async fn start(cloud: &Cloud, input: Start) -> ApiResult<Value> {
    let name = super::projects::name_of(cloud, &input.project_name).to_owned();
    let project = super::projects::require(cloud, &name)?;
    let mut settings = project.settings;
    input.apply(&mut settings);
    if settings.source.kind == "CODEPIPELINE" {
        return Err(invalid(
            "Invalid source type: a build with a source of type CODEPIPELINE is started by a pipeline; set \
             sourceTypeOverride and artifactsOverride",
        ));
    }
    // The request, not what it resolves to: the project may change between two requests with a token.
    let request = digest(&json!(["start", name, input]));
    let token = input.idempotency_token.map(|name| Identity {
        name,
        request,
        lasts: false,
    });
    let build = begin(cloud, settings, initiator(), None, token).await?;
    Ok(json!({ "build": build }))
}

fn digest(request: &Value) -> String {
    hex::encode(Sha256::digest(request.to_string()))
}

/// Who started a build: for a session, its role and its name.
fn initiator() -> String {
    let caller = Caller::current();
    let arn = caller.session().map(|session| session.arn.clone());
    let role = arn
        .as_deref()
        .and_then(|arn| arn.split_once(":assumed-role/"));
    role.map_or_else(|| "local".to_owned(), |(_, name)| name.to_owned())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Retry {
    id: Option<String>,
    idempotency_token: Option<String>,
}

/// `RetryBuild`: starts a build with the settings of another one.
pub(super) async fn retry(cloud: &Cloud, input: Retry) -> ApiResult<Value> {
    let given = input.id.unwrap_or_default();
    let id = super::builds::id_of(cloud, &given);
    let record = super::builds::require(cloud, id)?;
    if record.pipeline.is_some() {
        return Err(invalid(
            "A build that a pipeline started cannot be retried: retry the stage of the pipeline",
        ));
    }
    if !record.build.build_complete {
        return Err(invalid(format!("The build {id} is in progress")));
    }
    super::projects::require(cloud, &record.build.project_name)?;
    let token = input.idempotency_token.map(|name| Identity {
        name,
        request: digest(&json!(["retry", id])),
        lasts: false,
    });
    let build = begin(cloud, record.settings, initiator(), None, token).await?;
    Ok(json!({ "build": build }))
}

/// The settings and the part of a build for an action of a pipeline.
fn for_pipeline(project: &Project, build: &PipelineBuild) -> ApiResult<(Settings, PipelinePart)> {
    let mut settings = project.settings.clone();
    if settings.source.kind != "CODEPIPELINE" {
        return Err(invalid(format!(
            "The project {} cannot be used in a pipeline: its source and its artifacts must have the type CODEPIPELINE",
            build.project
        )));
    }
    for (name, value, kind) in &build.variables {
        settings.environment.set(Variable {
            name: name.clone(),
            value: value.clone(),
            kind: match kind {
                VariableType::Plaintext => "PLAINTEXT",
                VariableType::ParameterStore => "PARAMETER_STORE",
            }
            .to_owned(),
        });
    }
    if let Some(buildspec) = &build.buildspec {
        settings.source.buildspec = Some(buildspec.clone());
    }
    if let Some(key) = &build.encryption_key {
        settings.encryption_key.clone_from(key);
    }
    let location = |artifact: &super::PipelineArtifact| PipelineLocation {
        name: artifact.name.clone(),
        bucket: artifact.bucket.clone(),
        key: artifact.key.clone(),
        clone: artifact.clone.clone(),
    };
    let mut inputs: Vec<_> = build.inputs.iter().map(location).collect();
    if let Some(primary) = &build.primary {
        let position = inputs.iter().position(|input| input.name == *primary);
        let position = position
            .ok_or_else(|| invalid(format!("PrimarySource {primary} is not an input artifact")))?;
        inputs[..=position].rotate_right(1);
    }
    if inputs.is_empty() {
        return Err(invalid("A build in a pipeline needs an input artifact"));
    }
    let part = PipelinePart {
        execution: build.execution.clone(),
        inputs,
        outputs: build.outputs.iter().map(location).collect(),
        revision: build.revision.clone(),
    };
    Ok((settings, part))
}

/// [`super::start_for_pipeline`]
pub(super) async fn from_pipeline(cloud: &Cloud, build: PipelineBuild) -> ApiResult<String> {
    let request = json!({"projectName": build.project});
    authorization::operation(cloud, &SERVICE, "StartBuild", &request)?;
    let project = super::projects::require(cloud, &build.project)?;
    let (settings, part) = for_pipeline(&project, &build)?;
    let request = digest(&json!(["pipeline", build]));
    let token = build.token.map(|name| Identity {
        name,
        request,
        lasts: true,
    });
    let initiator = format!("codepipeline/{}", build.pipeline);
    Ok(begin(cloud, settings, initiator, Some(part), token)
        .await?
        .id)
}

/// What makes two requests the same.
struct Identity {
    /// The idempotency token.
    name: String,
    /// The members of the request.
    request: String,
    /// True if the token is remembered as long as its build: an action of a pipeline can be retried much later.
    lasts: bool,
}

/// Records a build with an event, and starts it. The same token returns the same build.
async fn begin(
    cloud: &Cloud,
    settings: Settings,
    initiator: String,
    pipeline: Option<PipelinePart>,
    token: Option<Identity>,
) -> ApiResult<Build> {
    settings::check(&settings)?;
    settings::check_vpc(cloud, settings.vpc_config.as_ref()).await?;
    if let Some(token) = &token {
        let found = cloud.store().transaction(|tx| of_token(cloud, tx, token))?;
        if let Some(id) = found {
            return Ok(super::builds::require(cloud, &id)?.build);
        }
    }
    let place = queue::reserve(cloud)?;
    place.set(&settings.name, settings.concurrent_build_limit)?;
    let work = cloud.clock().begin("a build");
    let mut record = BuildRecord {
        build: new_build(cloud, &settings, initiator, pipeline.as_ref()),
        settings,
        pipeline,
        cache: String::new(),
    };
    // Whoever sees the build can stop it.
    let registered = run::register(cloud, &record.build.id);
    let existing = cloud.store().transaction(|tx| {
        if let Some(token) = &token {
            // Another request with the token may have been faster.
            if let Some(id) = of_token(cloud, tx, token)? {
                return Ok(Some(id));
            }
            let known = Token {
                build: record.build.id.clone(),
                request: token.request.clone(),
                time: record.build.start_time,
                lasts: token.lasts,
            };
            tokens(cloud).put_in(tx, &token.name, &known)?;
        }
        if let Some(mut project) = projects(cloud).get_in(tx, &record.settings.name)? {
            project.builds += 1;
            record.build.build_number = project.builds;
            if project.cache.is_empty() {
                project.cache = super::cache::new_id();
            }
            record.cache.clone_from(&project.cache);
            projects(cloud).put_in(tx, &record.settings.name, &project)?;
        }
        builds(cloud).put_in(tx, &record.build.id, &record)?;
        events::publish_in(tx, cloud, event::state_change(&record.build))?;
        Ok(None)
    })?;
    if let Some(id) = existing {
        return Ok(super::builds::require(cloud, &id)?.build);
    }
    events::deliver_soon(cloud);
    let build = record.build.clone();
    run::launch(registered, record, work, place);
    Ok(build)
}

/// True for a token that still names its build. One whose build was deleted counts as absent.
fn is_current(cloud: &Cloud, tx: &Transaction<'_>, token: &Token) -> ApiResult<bool> {
    let is_recent = token.lasts || cloud.clock().epoch() - token.time < TOKEN_TIME;
    Ok(is_recent && builds(cloud).get_in(tx, &token.build)?.is_some())
}

/// The build that was started with a token.
fn of_token(cloud: &Cloud, tx: &Transaction<'_>, token: &Identity) -> ApiResult<Option<String>> {
    let Some(found) = tokens(cloud).get_in(tx, &token.name)? else {
        return Ok(None);
    };
    if !is_current(cloud, tx, &found)? {
        return Ok(None);
    }
    if found.request == token.request {
        return Ok(Some(found.build));
    }
    Err(invalid(
        "The idempotency token was used for a build with other parameters",
    ))
}

/// Removes tokens that are no longer valid.
pub(super) fn forget_tokens(cloud: &Cloud) -> ApiResult<()> {
    for (name, _) in tokens(cloud).list("")? {
        cloud.store().transaction(|tx| {
            let found = tokens(cloud).get_in(tx, &name)?;
            if let Some(token) = found
                && !is_current(cloud, tx, &token)?
            {
                tokens(cloud).remove_in(tx, &name)?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// A build that is about to be queued.
fn new_build(
    cloud: &Cloud,
    settings: &Settings,
    initiator: String,
    pipeline: Option<&PipelinePart>,
) -> Build {
    let uuid = uuid::Uuid::new_v4().to_string();
    let id = format!("{}:{uuid}", settings.name);
    let now = cloud.clock().epoch();
    let submitted = Phase {
        phase_type: "SUBMITTED".to_owned(),
        phase_status: Some(Status::Succeeded),
        start_time: now,
        end_time: Some(now),
        duration_in_seconds: Some(0),
        contexts: Vec::new(),
    };
    let queued = Phase {
        phase_type: "QUEUED".to_owned(),
        phase_status: None,
        start_time: now,
        end_time: None,
        duration_in_seconds: None,
        contexts: Vec::new(),
    };
    let source_version = match pipeline {
        Some(part) => part
            .inputs
            .first()
            .map(|input| format!("arn:aws:s3:::{}/{}", input.bucket, input.key)),
        None => settings
            .source_version
            .clone()
            .filter(|version| !version.is_empty()),
    };
    let secondary = settings.secondary_artifacts.iter();
    Build {
        arn: arn(cloud, "build", &id),
        build_number: 1,
        start_time: now,
        end_time: None,
        current_phase: "QUEUED".to_owned(),
        build_status: Status::InProgress,
        source_version,
        resolved_source_version: pipeline.and_then(|part| part.revision.clone()),
        project_name: settings.name.clone(),
        phases: vec![submitted, queued],
        source: settings.source.clone(),
        secondary_sources: settings.secondary_sources.clone(),
        secondary_source_versions: settings.secondary_source_versions.clone(),
        artifacts: Some(shown_artifacts(&settings.artifacts, &uuid)),
        secondary_artifacts: secondary.map(|one| shown_artifacts(one, &uuid)).collect(),
        cache: settings.cache.clone(),
        environment: settings.environment.clone(),
        service_role: settings.service_role.clone(),
        logs: logs(cloud, settings, &uuid),
        timeout_in_minutes: settings.timeout_in_minutes,
        queued_timeout_in_minutes: settings.queued_timeout_in_minutes,
        build_complete: false,
        initiator,
        vpc_config: settings.vpc_config.clone(),
        encryption_key: settings.encryption_key.clone(),
        exported_environment_variables: Vec::new(),
        report_arns: Vec::new(),
        id,
    }
}

/// The artifacts of a build before they exist.
fn shown_artifacts(artifacts: &Artifacts, uuid: &str) -> BuildArtifacts {
    let is_known = artifacts.kind == "S3" && artifacts.override_artifact_name != Some(true);
    BuildArtifacts {
        location: if is_known {
            artifacts::arn(artifacts, uuid, None, None)
        } else {
            String::new()
        },
        override_artifact_name: artifacts.override_artifact_name,
        encryption_disabled: artifacts.encryption_disabled,
        artifact_identifier: artifacts.artifact_identifier.clone(),
        ..BuildArtifacts::default()
    }
}

/// Where the log of a build goes.
fn logs(cloud: &Cloud, settings: &Settings, uuid: &str) -> Logs {
    let config = settings.logs_config.clone().unwrap_or_default();
    let own = config.cloud_watch_logs.unwrap_or_else(|| CloudWatchLogs {
        status: "ENABLED".to_owned(),
        ..CloudWatchLogs::default()
    });
    let s3 = config.s3_logs.unwrap_or_default();
    if own.status == "DISABLED" {
        return Logs {
            cloud_watch_logs: Some(own),
            s3_logs: Some(s3),
            ..Logs::default()
        };
    }
    let group = own
        .group_name
        .clone()
        .unwrap_or_else(|| format!("/aws/codebuild/{}", settings.name));
    let stream = match &own.stream_name {
        Some(prefix) => format!("{prefix}/{uuid}"),
        None => uuid.to_owned(),
    };
    Logs {
        deep_link: Some(format!(
            "https://console.aws.amazon.com/cloudwatch/home?region={}#logEvent:group={group};stream={stream}",
            cloud.region()
        )),
        cloud_watch_logs_arn: Some(cloud.arn(
            "logs",
            format_args!("log-group:{group}:log-stream:{stream}"),
        )),
        group_name: Some(group),
        stream_name: Some(stream),
        cloud_watch_logs: Some(own),
        s3_logs: Some(s3),
    }
}
