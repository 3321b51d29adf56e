//! Records that a release is live, and deletes what old releases left behind.

use anyhow::Result;
use mlops_core::error::Exit;

use super::super::prune;
use super::super::store::{Event, Outcome, Release};
use super::{Deployment, Request};
use crate::aws::hosting::Endpoint;
use crate::aws::sagemaker::models;
use crate::aws::{lineage, release};

impl Deployment<'_> {
    /// Records that the release is live.
    pub(super) async fn complete(&self, endpoint: &Endpoint) -> Result<()> {
        let Self {
            clients, request, ..
        } = self;
        let manifest = &self.sealed.manifest;
        // First: until the new release is recorded as live, the same command completes it.
        if let Some(before) = request.rolls_back {
            let why = manifest
                .note
                .clone()
                .unwrap_or_else(|| format!("rolled back by release {}", manifest.release));
            let event = self.event(Outcome::RolledBack, Some(why)).await?;
            self.store.add(clients, &before.sealed, &event).await?;
        }
        let mut event = self.event(Outcome::Live, None).await?;
        event.configuration.clone_from(&endpoint.configuration);
        self.store.add(clients, &self.sealed, &event).await?;
        let version = manifest.model.version;
        let chosen = request
            .versions
            .iter()
            .find(|found| found.version == version);
        if let Some(chosen) = chosen {
            let description = format!(
                "endpoint {}, release {}",
                manifest.endpoint, manifest.release
            );
            release::mark_live(clients, request.versions, chosen, &description).await?;
            if let Some(model) = models::describe(clients, &chosen.arn).await? {
                lineage::register(clients, request.project.file.name.as_str(), &model).await?;
            }
        }
        self.prune(endpoint, event).await;
        Ok(())
    }

    /// Deletes models and configurations of old releases. The release is live, whether that succeeds or not.
    async fn prune(&self, endpoint: &Endpoint, live: Event) {
        let Request {
            project,
            history,
            rolls_back,
            ..
        } = self.request;
        let number = self.sealed.manifest.release;
        let own = Release {
            sealed: self.sealed.clone(),
            recorded_sha256: Some(self.sealed.sha256.clone()),
            events: vec![live],
        };
        let history = prune::after(history, own, *rolls_back);
        let keep = project.file.deploy.keep;
        match prune::prune(self.clients, endpoint, &history, number, keep).await {
            Ok(deleted) if deleted.is_empty() => {}
            Ok(deleted) => self.ctx.progress.say(format!(
                "deleted models and configurations of old releases: {}",
                deleted.join(", ")
            )),
            Err(error) => {
                let text = format!(
                    "models and configurations of old releases were not deleted: {error:#}"
                );
                // The next deployment by a caller with the permission deletes them.
                if mlops_core::error::exit(&error) == Exit::Credentials {
                    self.ctx.progress.detail(text);
                } else {
                    self.ctx.progress.say(text);
                }
            }
        }
    }
}
