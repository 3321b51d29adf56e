//! `mlops models list` and `mlops models show`.

use std::fmt;

use anyhow::{Result, anyhow};
use futures::{StreamExt, TryStreamExt};
use mlops_core::error::Hint;
use mlops_core::names::Version;
use mlops_core::text::{LIVE, state, table, wide_table};
use serde::Serialize;

use crate::aws::Clients;
use crate::aws::hosting::{self, Endpoint};
use crate::aws::sagemaker::models::{self, Model};
use crate::aws::sagemaker::runs;
use crate::context::Context;

/// Maximum number of versions to describe in parallel; SageMaker throttles beyond that.
const PARALLEL: usize = 6;

/// The newest versions.
#[derive(Debug, Serialize)]
pub struct ModelList {
    models: Vec<ListedModel>,
    #[serde(skip)]
    wide: bool,
    #[serde(skip)]
    train: String,
}

/// A version, and whether the endpoint serves it.
#[derive(Debug, Serialize)]
pub struct ListedModel {
    #[serde(flatten)]
    model: Model,
    /// The branch of the run that produced it.
    branch: Option<String>,
    live: bool,
}

/// Lists the newest versions.
pub(super) async fn list(ctx: &Context, limit: usize, wide: bool) -> Result<ModelList> {
    let project = ctx.project()?;
    let group = project.file.name.as_str();
    let clients = ctx.aws_of(&project).await?;
    let (found, live) = tokio::try_join!(
        models::list(clients, group, limit),
        hosting::endpoint(clients, group)
    )?;
    let described = found
        .iter()
        .map(|version| listed(clients, &version.arn, live.as_ref()));
    let models: Vec<_> = futures::stream::iter(described)
        .buffered(PARALLEL)
        .try_collect()
        .await?;
    Ok(ModelList {
        // A version can be deleted between the two calls.
        models: models.into_iter().flatten().collect(),
        wide,
        train: ctx.command("train"),
    })
}

/// Shows a version; without a number, the newest.
pub(super) async fn show(ctx: &Context, version: Option<Version>) -> Result<ListedModel> {
    let project = ctx.project()?;
    let group = project.file.name.as_str();
    let clients = ctx.aws_of(&project).await?;
    let arn = match version {
        Some(version) => models::arn(clients, group, version).await?,
        None => models::list(clients, group, 1)
            .await?
            .into_iter()
            .next()
            .map(|newest| newest.arn)
            .ok_or_else(|| anyhow!("no models yet"))
            .hint(format!(
                "train one with `{}`; it is registered if it passes the gate",
                ctx.command("train")
            ))?,
    };
    let live = hosting::endpoint(clients, group).await?;
    listed(clients, &arn, live.as_ref())
        .await?
        .ok_or_else(|| {
            let version = arn.rsplit('/').next().unwrap_or_default();
            anyhow!("the model `{group}` has no version {version}")
        })
        .hint(format!(
            "list the versions with `{}`",
            ctx.command("models list")
        ))
}

/// Formats the first metric only, because a line has no room for more.
fn first(metrics: &serde_json::Map<String, serde_json::Value>) -> String {
    models::sentence(
        &metrics
            .iter()
            .take(1)
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
    )
}

/// A version with its branch; `None` if it was deleted.
async fn listed(
    clients: &Clients,
    arn: &str,
    endpoint: Option<&Endpoint>,
) -> Result<Option<ListedModel>> {
    let Some(model) = models::describe(clients, arn).await? else {
        return Ok(None);
    };
    let branch = match &model.run_arn {
        Some(run) => runs::origin_of(clients, run).await?.branch,
        None => None,
    };
    Ok(Some(ListedModel {
        live: endpoint.is_some_and(|endpoint| endpoint.serves(&model.arn)),
        branch,
        model,
    }))
}

impl fmt::Display for ModelList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.models.is_empty() {
            return writeln!(
                f,
                "no models yet: train one with `{}`; it is registered if it passes the gate",
                self.train
            );
        }
        let rows = self.models.iter().map(|listed| {
            let model = &listed.model;
            vec![
                model.version.to_string(),
                if listed.live {
                    format!("{}{LIVE}", model.status)
                } else {
                    model.status.to_string()
                },
                if self.wide {
                    models::sentence(&model.metrics)
                } else {
                    first(&model.metrics)
                },
                model
                    .created
                    .map(mlops_core::text::time)
                    .unwrap_or_default(),
                listed.branch.clone().unwrap_or_default(),
                model.commit.as_deref().map_or_else(String::new, |commit| {
                    let short: String = commit.chars().take(7).collect();
                    short + if model.dirty { models::DIRTY } else { "" }
                }),
            ]
        });
        let metrics = if self.wide { "METRICS" } else { "METRIC" };
        let header = ["VERSION", "STATUS", metrics, "CREATED", "BRANCH", "COMMIT"];
        f.write_str(&if self.wide {
            wide_table(&header, rows)
        } else {
            table(&header, rows)
        })
    }
}

impl fmt::Display for ListedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model = &self.model;
        let live = if self.live { "  live" } else { "" };
        let status = state(model.status.as_str());
        writeln!(f, "version   {}  {status}{live}", model.version)?;
        let created = model.created.map(mlops_core::text::time);
        for (label, value) in [
            ("approval", &model.approval_description),
            ("created", &created),
            ("run", &model.run),
            ("branch", &self.branch),
            ("commit", &model.revision()),
            ("image", &model.image),
            ("artifact", &model.artifact),
        ] {
            if let Some(value) = value {
                writeln!(f, "{label:<9} {}", mlops_core::text::clean(value))?;
            }
        }
        for (name, value) in &model.properties {
            if !["CommitId", "ImageUri"].contains(&name.as_str()) {
                writeln!(f, "{name:<17} {}", mlops_core::text::clean(value))?;
            }
        }
        if !model.metrics.is_empty() {
            writeln!(f, "metrics   {}", models::sentence(&model.metrics))?;
        }
        Ok(())
    }
}
