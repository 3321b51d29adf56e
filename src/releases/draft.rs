//! Writes the manifest of the next release.

use std::collections::BTreeMap;

use anyhow::Result;
use jiff::Timestamp;
use mlops_core::error::{Exit, Failure, Hint};
use mlops_core::names::Version;

use super::content::{self, Content};
use super::manifest::{Approval, Challenger, Manifest, SCHEMA};
use super::settings::{NONE, Settings};
use super::store::{History, Release};
use crate::aws::Clients;
use crate::aws::sagemaker::models::{self, ModelVersion};
use crate::config::Project;
use crate::context::Context;
use crate::infra::{self, Platform};

/// Reads a version, and shows how many bytes of its artifact were hashed.
pub async fn content(
    ctx: &Context,
    clients: &Clients,
    project: &Project,
    platform: &Platform,
    history: &History,
    arn: &str,
) -> Result<Content> {
    let task = ctx.progress.spinner("reading the version and its artifact");
    let read = |bytes| task.advance(bytes);
    // Boxed, because the futures of `promote` would otherwise exceed 16 KiB.
    Box::pin(content::of_version(
        clients, project, platform, history, arn, &read,
    ))
    .await
}

/// Reads the second version of a release, which must be approved; `None` if the settings have none.
pub async fn challenger(
    ctx: &Context,
    clients: &Clients,
    project: &Project,
    platform: &Platform,
    history: &History,
    versions: &[ModelVersion],
    main: Version,
) -> Result<Option<Content>> {
    let Some(other) = &project.file.deploy.challenger else {
        return Ok(None);
    };
    let version = other.version;
    let problem = match models::find(versions, version) {
        _ if version == main => format!("version {version} cannot be its own challenger"),
        None => format!("the challenger, version {version}, does not exist"),
        Some(found) if !found.status.is_approved() => {
            format!("the challenger, version {version}, is {}", found.status)
        }
        Some(found) => {
            let content = content(ctx, clients, project, platform, history, &found.arn).await?;
            return Ok(Some(content));
        }
    };
    Err(Failure::new(Exit::Refused, problem)).hint(
        "set deploy.challenger.version in mlops.toml to another approved version, or remove it",
    )
}

/// What the manifest of the next release consists of, besides the version.
#[derive(Debug)]
pub struct Draft<'a> {
    /// The project.
    pub project: &'a Project,
    /// Its stacks.
    pub platform: &'a Platform,
    /// How to deploy it.
    pub settings: Settings,
    /// Why.
    pub note: Option<String>,
    /// The releases so far.
    pub history: &'a History,
    /// The release that the endpoint serves.
    pub serving: Option<&'a Release>,
    /// The second version, if the settings have one.
    pub challenger: Option<Content>,
    /// The current time.
    pub now: Timestamp,
    /// ARN of the identity that requests it.
    pub by: String,
}

impl Draft<'_> {
    /// Returns the manifest of a version. `approve` means that the release approves it.
    pub fn manifest(self, content: Content, approve: bool) -> Manifest {
        let mut version = content.version;
        if approve {
            version.approval = Approval {
                by: Some(self.by.clone()),
                at: Some(self.now),
                note: self.note.clone(),
            };
        }
        let file = &self.project.file;
        let parameters: BTreeMap<String, String> = [
            ("EndpointName", file.name.to_string()),
            ("Source", "package".to_owned()),
            ("ModelPackageArn", version.package_arn.clone()),
            ("ImageUri", NONE.to_owned()),
            ("ModelDataUrl", NONE.to_owned()),
            (
                "ChallengerPackageArn",
                self.challenger.as_ref().map_or_else(
                    || NONE.to_owned(),
                    |other| other.version.package_arn.clone(),
                ),
            ),
            ("ChallengerImageUri", NONE.to_owned()),
            ("ChallengerDataUrl", NONE.to_owned()),
            ("RoleArn", self.platform.endpoint_role.clone()),
            ("CaptureUri", infra::capture_uri(self.platform).to_string()),
        ]
        .into_iter()
        .chain(self.settings.parameters())
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        let mut manifest = Manifest {
            schema: SCHEMA,
            release: self.history.next_number(),
            endpoint: file.name.to_string(),
            created: self.now,
            created_by: self.by,
            note: self.note,
            previous: self.serving.map(Release::number),
            restores: None,
            model: version,
            image: content.image,
            artifact: content.artifact,
            code: content.code,
            data: content.data,
            pipeline: content.pipeline,
            metrics: content.model.metrics,
            challenger: self.challenger.map(|other| Challenger {
                version: other.version.version,
                package_arn: other.version.package_arn,
                image: other.image,
                artifact: other.artifact,
            }),
            settings: self.settings,
            template_sha256: infra::endpoint_template_sha256(),
            parameters,
        };
        // The endpoint may serve what a killed client deployed: that request came after the release before it.
        if let Some(unfinished) = self.history.pending()
            && self.serving == Some(unfinished)
            && unfinished.sealed.manifest.serves_the_same(&manifest)
        {
            manifest.previous = unfinished.sealed.manifest.previous;
        }
        manifest
    }
}
