//! Images of the project's repository, and their users.

use std::collections::BTreeMap;

use anyhow::Result;
use mlops_core::error::{Exit, message};
use mlops_oci::Digest;

use super::pins;
use super::used_by::UsedBy;
use crate::aws::Clients;
use crate::aws::ecr::{self, Described};
use crate::aws::image_use;
use crate::config::Project;
use crate::context::Context;
use crate::infra::Platform;

/// Why the users of the images are only partly known.
struct UnknownUsers {
    users: Option<anyhow::Error>,
    pins: Option<anyhow::Error>,
}

/// The contents of the repository.
#[derive(Debug)]
pub(super) struct Inventory {
    pub(super) repository: String,
    /// Images, newest first.
    pub(super) images: Vec<Described>,
    /// The images that each index references.
    pub(super) children: BTreeMap<Digest, Vec<Digest>>,
    users: BTreeMap<Digest, UsedBy>,
    /// False without permission to read models, runs and endpoints: the users of an image are
    /// unknown.
    pub(super) users_known: bool,
}

impl Inventory {
    /// Reads everything; fails if anything cannot be read.
    pub(super) async fn read(
        clients: &Clients,
        project: &Project,
        platform: &Platform,
    ) -> Result<Self> {
        let (inventory, missing) = Self::collect(clients, project, platform).await?;
        let UnknownUsers { users, pins } = missing;
        users.or(pins).map_or(Ok(inventory), Err)
    }

    /// Reads what the permissions allow, and warns about the rest.
    pub(super) async fn read_permitted(
        ctx: &Context,
        clients: &Clients,
        project: &Project,
        platform: &Platform,
    ) -> Result<Self> {
        let (inventory, missing) = Self::collect(clients, project, platform).await?;
        if let Some(error) = missing.users {
            let why = message(&error);
            ctx.progress
                .say(format!("cannot determine which images are in use: {why}"));
        }
        if let Some(error) = missing.pins {
            ctx.progress.say(message(&error));
        }
        Ok(inventory)
    }

    async fn collect(
        clients: &Clients,
        project: &Project,
        platform: &Platform,
    ) -> Result<(Self, UnknownUsers)> {
        let repository = platform.image_repository.clone();
        let images = ecr::list(clients, &repository).await?;
        let scope = image_use::Scope {
            repository: &repository,
            group: &platform.model_package_group,
            pipeline: project.file.name.as_str(),
        };
        let (children, users) = tokio::join!(
            ecr::content::children(clients, &repository, &images),
            image_use::users(clients, scope, &images),
        );
        let children = children?;
        let (users, unknown) = match users {
            Ok(users) => (users, None),
            Err(error) if mlops_core::error::exit(&error) == Exit::Credentials => {
                (BTreeMap::new(), Some(error))
            }
            Err(error) => return Err(error),
        };
        let mut used: BTreeMap<Digest, UsedBy> = users
            .into_iter()
            .map(|(digest, users)| {
                let used = UsedBy {
                    models: users.models,
                    runs: users.runs,
                    endpoints: users.endpoints,
                    ..UsedBy::default()
                };
                (digest, used)
            })
            .collect();
        let pins = pins::branches(project, &repository, &images, &mut used)?;
        let analyzer = platform.analyzer_digest;
        if let Some(analyzer) = analyzer.filter(|it| images.iter().any(|i| i.digest == *it)) {
            used.entry(analyzer).or_default().analyzer = true;
        }
        // An index is pulled by its own digest and runs as one of its images, so each needs the
        // other.
        let direct = used.clone();
        for (index, parts) in &children {
            for part in parts {
                if let Some(by) = direct.get(index) {
                    used.entry(*part).or_default().add(by);
                }
                if let Some(by) = direct.get(part) {
                    used.entry(*index).or_default().add(by);
                }
            }
        }
        let inventory = Self {
            repository,
            images,
            children,
            users: used,
            users_known: unknown.is_none(),
        };
        let missing = UnknownUsers {
            users: unknown,
            pins,
        };
        Ok((inventory, missing))
    }

    pub(super) fn used_by(&self, digest: Digest) -> UsedBy {
        self.users.get(&digest).cloned().unwrap_or_default()
    }

    /// Returns the indexes that reference an image.
    pub(super) fn part_of(&self, digest: Digest) -> Vec<Digest> {
        self.children
            .iter()
            .filter(|(_, parts)| parts.contains(&digest))
            .map(|(index, _)| *index)
            .collect()
    }
}
