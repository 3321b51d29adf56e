//! What a release is made from: the registry, the releases so far, and the endpoint.

use anyhow::Result;
use mlops_core::names::Version;

use super::content::Content;
use super::deploy::Request;
use super::draft::{self, Draft};
use super::manifest::Manifest;
use super::sample::Sample;
use super::settings::Settings;
use super::store::{History, Release, Store};
use super::{RECENT, proof};
use crate::aws::Clients;
use crate::aws::hosting::{self, Endpoint};
use crate::aws::sagemaker::models::{self, ModelVersion};
use crate::config::Project;
use crate::context::Context;
use crate::infra::Platform;

/// The registry, the releases and the endpoint of a project at one time.
#[derive(Debug)]
pub struct Situation<'a> {
    /// The project.
    pub project: &'a Project,
    /// Its stacks.
    pub platform: &'a Platform,
    /// The versions in the registry, newest first.
    pub versions: Vec<ModelVersion>,
    /// The releases so far.
    pub history: History,
    /// The endpoint.
    pub endpoint: Option<Endpoint>,
}

impl<'a> Situation<'a> {
    /// Reads it.
    pub async fn read(
        clients: &Clients,
        project: &'a Project,
        platform: &'a Platform,
    ) -> Result<Self> {
        let name = project.file.name.as_str();
        let store = Store::new(&platform.artifact_bucket, name);
        let (versions, history, endpoint) = futures::try_join!(
            models::all(clients, &platform.model_package_group),
            store.history(clients, RECENT),
            hosting::endpoint(clients, name)
        )?;
        Ok(Self {
            project,
            platform,
            versions,
            history,
            endpoint,
        })
    }

    /// Returns the release that the endpoint serves.
    pub fn serving(&self) -> Option<&Release> {
        let endpoint = self.endpoint.as_ref()?;
        proof::serving(&self.history, endpoint)
    }

    /// Returns the version that the endpoint serves.
    pub fn live(&self) -> Option<Version> {
        let endpoint = self.endpoint.as_ref()?;
        endpoint.live(&self.versions).map(|live| live.version)
    }

    /// Reads a version of the registry, and shows how many bytes of its artifact were hashed.
    pub async fn content(&self, ctx: &Context, clients: &Clients, arn: &str) -> Result<Content> {
        draft::content(
            ctx,
            clients,
            self.project,
            self.platform,
            &self.history,
            arn,
        )
        .await
    }

    /// Writes the manifest of the next release: of a version, with these settings. `approve` means that the release
    /// approves the version.
    pub async fn manifest(
        &self,
        ctx: &Context,
        clients: &Clients,
        content: Content,
        settings: Settings,
        note: Option<String>,
        approve: bool,
    ) -> Result<Manifest> {
        let challenger = draft::challenger(
            ctx,
            clients,
            self.project,
            self.platform,
            &self.history,
            &self.versions,
            content.model.version,
        )
        .await?;
        let draft = Draft {
            challenger,
            project: self.project,
            platform: self.platform,
            settings,
            note,
            history: &self.history,
            serving: self.serving(),
            now: ctx.now(),
            by: clients.caller().await?.to_owned(),
        };
        Ok(draft.manifest(content, approve))
    }

    /// Returns the request to deploy a manifest.
    pub fn request<'b>(
        &'b self,
        manifest: Manifest,
        sample: Option<&'b Sample>,
        approve: bool,
    ) -> Request<'b> {
        Request {
            project: self.project,
            platform: self.platform,
            history: &self.history,
            approve,
            versions: &self.versions,
            endpoint: self.endpoint.as_ref(),
            sample,
            rolls_back: None,
            manifest,
        }
    }
}
