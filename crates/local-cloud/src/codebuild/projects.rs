//! Projects.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::records::{
    Artifacts, Cache, Environment, LogsConfig, Project, Settings, Source, SourceVersion, projects,
};
use super::settings::{self, DEFAULT_KEY, QUEUED_TIMEOUT, TIMEOUT};
use super::{arn, invalid};
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};
use crate::{Cloud, system_tags};

/// Maximum number of names of one request, as on AWS.
pub(super) const MAX_BATCH: usize = 100;

/// Maximum number of projects; AWS's default quota.
const MAX_PROJECTS: usize = 5000;

/// Maximum number of tags of a project, as on AWS.
pub(super) const MAX_TAGS: usize = 50;

/// The members of a request that describe a project. Those that are absent are not changed by an update.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProjectInput {
    name: String,
    description: Option<String>,
    source: Option<Source>,
    secondary_sources: Option<Vec<Source>>,
    source_version: Option<String>,
    secondary_source_versions: Option<Vec<SourceVersion>>,
    artifacts: Option<Artifacts>,
    secondary_artifacts: Option<Vec<Artifacts>>,
    cache: Option<Cache>,
    environment: Option<Environment>,
    service_role: Option<String>,
    timeout_in_minutes: Option<u32>,
    queued_timeout_in_minutes: Option<u32>,
    encryption_key: Option<String>,
    tags: Option<Tags>,
    vpc_config: Option<Value>,
    logs_config: Option<LogsConfig>,
    concurrent_build_limit: Option<i64>,
}

impl ProjectInput {
    /// Applies the request to settings. Returns its tags, if it has some.
    fn apply(self, settings: &mut Settings) -> ApiResult<Option<BTreeMap<String, String>>> {
        fn set<T>(target: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *target = value;
            }
        }
        let text = |value: String| Some(value).filter(|value| !value.is_empty());
        set(&mut settings.source, self.source);
        set(&mut settings.secondary_sources, self.secondary_sources);
        set(
            &mut settings.secondary_source_versions,
            self.secondary_source_versions,
        );
        set(
            &mut settings.artifacts,
            self.artifacts
                .map(|artifacts| complete(artifacts, &self.name)),
        );
        let secondary = self.secondary_artifacts;
        set(
            &mut settings.secondary_artifacts,
            secondary.map(|all| {
                all.into_iter()
                    .map(|one| complete(one, &self.name))
                    .collect()
            }),
        );
        set(&mut settings.cache, self.cache);
        set(&mut settings.environment, self.environment);
        set(&mut settings.service_role, self.service_role);
        set(&mut settings.timeout_in_minutes, self.timeout_in_minutes);
        set(
            &mut settings.queued_timeout_in_minutes,
            self.queued_timeout_in_minutes,
        );
        set(
            &mut settings.encryption_key,
            self.encryption_key.and_then(text),
        );
        set(&mut settings.description, self.description.map(text));
        set(&mut settings.source_version, self.source_version.map(text));
        if let Some(config) = self.vpc_config {
            let is_empty = config.as_object().is_none_or(serde_json::Map::is_empty);
            settings.vpc_config = (!is_empty).then_some(config);
        }
        if let Some(logs) = self.logs_config {
            settings.logs_config = Some(logs);
        }
        if let Some(limit) = self.concurrent_build_limit {
            // -1 removes the limit (UpdateProject).
            settings.concurrent_build_limit = match limit {
                -1 => None,
                limit => Some(u32::try_from(limit).unwrap_or(0)),
            };
        }
        settings
            .environment
            .image_pull_credentials_type
            .get_or_insert_with(|| "CODEBUILD".to_owned());
        let tags = self.tags.map(Tags::into_map);
        if tags
            .as_ref()
            .is_some_and(|tags| system_tags::counted(tags.keys()) > MAX_TAGS)
        {
            return Err(invalid(format!("A project has at most {MAX_TAGS} tags")));
        }
        Ok(tags)
    }
}

/// Adds the defaults of artifacts in S3.
pub(super) fn complete(mut artifacts: Artifacts, project: &str) -> Artifacts {
    if artifacts.kind == "S3" {
        artifacts
            .namespace_type
            .get_or_insert_with(|| "NONE".to_owned());
        artifacts.packaging.get_or_insert_with(|| "NONE".to_owned());
        artifacts.name.get_or_insert_with(|| project.to_owned());
        artifacts.encryption_disabled.get_or_insert(false);
    } else if artifacts.kind == "CODEPIPELINE" {
        artifacts.name.get_or_insert_with(|| project.to_owned());
        artifacts.packaging.get_or_insert_with(|| "NONE".to_owned());
        artifacts.encryption_disabled.get_or_insert(false);
    }
    artifacts
}

/// The ARN of a project.
fn project_arn(cloud: &Cloud, name: &str) -> String {
    arn(cloud, "project", name)
}

/// A project as the API shows it.
fn shown(cloud: &Cloud, project: &Project) -> ApiResult<Value> {
    let mut shown = serde_json::to_value(&project.settings).map_err(ApiError::internal)?;
    shown["arn"] = project_arn(cloud, &project.settings.name).into();
    shown["created"] = project.created.into();
    shown["lastModified"] = project.modified.into();
    shown["tags"] = super::shown_tags(&project.tags);
    shown["badge"] = json!({"badgeEnabled": false});
    shown["projectVisibility"] = "PRIVATE".into();
    Ok(shown)
}

async fn check(cloud: &Cloud, settings: &Settings) -> ApiResult<()> {
    settings::check(settings)?;
    settings::check_role(cloud, &settings.service_role)?;
    settings::check_vpc(cloud, settings.vpc_config.as_ref()).await
}

/// `CreateProject`
pub(super) async fn create(cloud: &Cloud, input: ProjectInput) -> ApiResult<Value> {
    settings::check_name(&input.name)?;
    for (member, is_absent) in [
        ("source", input.source.is_none()),
        ("artifacts", input.artifacts.is_none()),
        ("environment", input.environment.is_none()),
        ("serviceRole", input.service_role.is_none()),
    ] {
        if is_absent {
            return Err(invalid(format!("Project {member} is required")));
        }
    }
    let now = cloud.clock().epoch();
    let mut project = Project {
        settings: Settings {
            name: input.name.clone(),
            timeout_in_minutes: TIMEOUT,
            queued_timeout_in_minutes: QUEUED_TIMEOUT,
            encryption_key: DEFAULT_KEY.to_owned(),
            ..Settings::default()
        },
        created: now,
        modified: now,
        cache: super::cache::new_id(),
        ..Project::default()
    };
    if let Some(tags) = input.apply(&mut project.settings)? {
        project.tags = tags;
    }
    check(cloud, &project.settings).await?;
    let name = project.settings.name.clone();
    cloud.store().transaction(|tx| {
        if projects(cloud).get_in(tx, &name)?.is_some() {
            let message = format!("Project already exists: {}", project_arn(cloud, &name));
            return Err(ApiError::new("ResourceAlreadyExistsException", message));
        }
        let count: i64 = tx.query_row(
            "SELECT count(*) FROM records WHERE service = 'codebuild' AND kind = 'project'",
            [],
            |row| row.get(0),
        )?;
        if usize::try_from(count).unwrap_or(usize::MAX) >= MAX_PROJECTS {
            let message = format!("Cannot have more than {MAX_PROJECTS} projects");
            return Err(ApiError::new("AccountLimitExceededException", message));
        }
        projects(cloud).put_in(tx, &name, &project)
    })?;
    Ok(json!({"project": shown(cloud, &project)?}))
}

/// The error for a project that does not exist.
pub(super) fn missing(cloud: &Cloud, name: &str) -> ApiError {
    ApiError::not_found(
        "ResourceNotFoundException",
        format!("Project cannot be found: {}", project_arn(cloud, name)),
    )
}

/// The name of a project that a request names by name or by ARN.
pub(super) fn name_of<'a>(cloud: &Cloud, given: &'a str) -> &'a str {
    given.strip_prefix(&project_arn(cloud, "")).unwrap_or(given)
}

/// The record of a project.
pub(super) fn require(cloud: &Cloud, name: &str) -> ApiResult<Project> {
    projects(cloud)
        .get(name)?
        .ok_or_else(|| missing(cloud, name))
}

/// `UpdateProject`
pub(super) async fn update(cloud: &Cloud, input: ProjectInput) -> ApiResult<Value> {
    let name = input.name.clone();
    let mut project = require(cloud, &name)?;
    let tags = input.apply(&mut project.settings)?;
    check(cloud, &project.settings).await?;
    let settings = project.settings;
    let changed = projects(cloud).update(&name, |project| {
        project.settings = settings;
        project.modified = cloud.clock().epoch();
        if let Some(tags) = tags {
            system_tags::replace(&mut project.tags, tags);
        }
        shown(cloud, project)
    })?;
    let shown = changed.ok_or_else(|| missing(cloud, &name))?;
    Ok(json!({"project": shown}))
}

#[derive(Deserialize)]
pub(super) struct Name {
    name: String,
}

/// `DeleteProject`. Its builds remain. As on AWS, an absent project is no error.
pub(super) async fn delete(cloud: &Cloud, input: Name) -> ApiResult<Value> {
    let name = name_of(cloud, &input.name);
    let removed = cloud.store().transaction(|tx| {
        let found = projects(cloud).get_in(tx, name)?;
        projects(cloud).remove_in(tx, name)?;
        Ok(found)
    })?;
    if let Some(project) = removed {
        super::cache::forget(cloud, &project.cache);
    }
    Ok(json!({}))
}

#[derive(Deserialize)]
pub(super) struct Names {
    names: Vec<String>,
}

/// `BatchGetProjects`
pub(super) async fn batch_get(cloud: &Cloud, input: Names) -> ApiResult<Value> {
    if input.names.is_empty() || input.names.len() > MAX_BATCH {
        return Err(invalid(format!(
            "names must have 1 to {MAX_BATCH} elements"
        )));
    }
    let (mut found, mut not_found) = (Vec::new(), Vec::new());
    for given in &input.names {
        match projects(cloud).get(name_of(cloud, given))? {
            Some(project) => found.push(shown(cloud, &project)?),
            None => not_found.push(given),
        }
    }
    Ok(json!({"projects": found, "projectsNotFound": not_found}))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct List {
    sort_by: Option<String>,
    sort_order: Option<String>,
    next_token: Option<String>,
}

/// `ListProjects`
pub(super) async fn list(cloud: &Cloud, input: List) -> ApiResult<Value> {
    let mut all = projects(cloud).list("")?;
    match input.sort_by.as_deref() {
        None | Some("NAME") => {}
        Some("CREATED_TIME") => all.sort_by(|(_, a), (_, b)| a.created.total_cmp(&b.created)),
        Some("LAST_MODIFIED_TIME") => {
            all.sort_by(|(_, a), (_, b)| a.modified.total_cmp(&b.modified));
        }
        Some(other) => return Err(invalid(format!("Invalid sortBy: {other}"))),
    }
    if super::is_descending(input.sort_order.as_deref(), false)? {
        all.reverse();
    }
    let names = all.into_iter().map(|(name, _)| name).collect();
    super::page("projects", names, MAX_BATCH, input.next_token.as_deref())
}
