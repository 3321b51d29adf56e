//! Finds the newest run with an image, and the versions to compare it with.

use anyhow::{Result, anyhow};
use mlops_core::error::Hint;
use mlops_core::names::BranchName;
use mlops_oci::Digest;

use crate::aws::sagemaker::models::{self, Model};
use crate::aws::sagemaker::runs::{self, Origin, Run, RunSummary};
use crate::aws::{Clients, hosting};

/// Number of runs to search, newest first.
const SEARCHED: usize = 1000;

/// Maximum number of earlier runs to inspect for a version.
const INSPECTED: usize = 20;

/// A run with the image, and the versions to compare it with.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) run: Run,
    /// The version that the run registered.
    pub(super) model: Option<Model>,
    pub(super) previous: Option<Other>,
    pub(super) live: Option<Other>,
}

/// A version, and the inputs of its run.
#[derive(Debug)]
pub(super) struct Other {
    pub(super) model: Model,
    pub(super) origin: Origin,
}

/// Finds the newest run of a branch with an image, and everything to compare it with.
pub(super) async fn find(
    clients: &Clients,
    project: &str,
    branch: &BranchName,
    image: Digest,
) -> Result<Found> {
    let runs = runs::list(clients, project, SEARCHED).await?;
    let is_of_branch = |run: &RunSummary| run.origin.branch.as_deref() == Some(branch.as_str());
    let newest = runs
        .iter()
        .position(|(_, run)| is_of_branch(run) && run.origin.image == Some(image))
        .ok_or_else(|| anyhow!("no run of `{branch}` used the image {image}"))
        .hint(format!(
            "start one with `{}`",
            clients.command(&format!("train --branch {branch} --image {image}"))
        ))?;
    let earlier = runs[newest + 1..].iter().filter(|(_, run)| {
        is_of_branch(run) && run.origin.image.is_some_and(|other| other != image)
    });
    let (run, previous, live) = tokio::try_join!(
        runs::describe(clients, &runs[newest].0),
        previous(clients, earlier),
        live(clients, project),
    )?;
    let model = match run.model_package() {
        Some(arn) => models::describe(clients, arn).await?,
        None => None,
    };
    Ok(Found {
        run,
        model,
        previous,
        live,
    })
}

/// Returns the newest version that one of these runs registered.
async fn previous<'a>(
    clients: &Clients,
    runs: impl Iterator<Item = &'a (String, RunSummary)>,
) -> Result<Option<Other>> {
    let ended = runs.filter(|(_, run)| run.status.has_succeeded());
    for (arn, _) in ended.take(INSPECTED) {
        let run = runs::describe(clients, arn).await?;
        if let Some(package) = run.model_package()
            && let Some(model) = models::describe(clients, package).await?
        {
            return Ok(Some(Other {
                model,
                origin: run.origin,
            }));
        }
    }
    Ok(None)
}

/// Returns the version that the endpoint serves.
async fn live(clients: &Clients, project: &str) -> Result<Option<Other>> {
    let endpoint = hosting::endpoint(clients, project).await?;
    let Some(package) = endpoint.and_then(|endpoint| endpoint.model_package) else {
        return Ok(None);
    };
    let Some(model) = models::describe(clients, &package).await? else {
        return Ok(None);
    };
    let origin = match &model.run_arn {
        Some(run) => runs::origin_of(clients, run).await?,
        None => Origin::default(),
    };
    Ok(Some(Other { model, origin }))
}
