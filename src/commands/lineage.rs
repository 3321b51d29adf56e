//! `mlops lineage`: the origin and the users of a model version.

use anyhow::{Result, anyhow};
use mlops_core::error::Hint;
use mlops_core::names::Version;

use crate::aws::sagemaker::models;
use crate::aws::sagemaker::runs::{self, Origin};
use crate::aws::{hosting, lineage};
use crate::context::Context;

mod report;
mod tree;

pub use report::{DataVersion, LineageJob, LineageReport, ServedBy};

/// Show the origin of a model version
///
/// Shows its data version, image digest, git commit, pipeline execution and metrics, and the
/// endpoint that serves it. Everything is read from AWS; nothing is stored on this machine.
///
/// Example: mlops lineage 3
#[derive(Debug, clap::Args)]
pub struct LineageArgs {
    /// The version, as shown by `mlops models list` [default: the live one]
    model: Option<Version>,
}

/// Runs the command.
pub async fn run(ctx: &Context, args: &LineageArgs) -> Result<LineageReport> {
    let project = ctx.project()?;
    let clients = ctx.aws_of(&project).await?;
    let group = project.file.name.as_str();
    let (versions, endpoint) = tokio::try_join!(
        models::all(clients, group),
        hosting::endpoint(clients, group)
    )?;
    let list = ctx.command("models list");
    let chosen = match args.model {
        Some(wanted) => versions
            .iter()
            .find(|version| version.version == wanted)
            .ok_or_else(|| anyhow!("{group} has no version {wanted}"))
            .hint(format!("list the versions with `{list}`")),
        None => endpoint
            .as_ref()
            .and_then(|endpoint| endpoint.live(&versions))
            .ok_or_else(|| anyhow!("no version of {group} is live"))
            .hint(format!(
                "pass a version: `{}`, or promote one: `{}`",
                ctx.command("lineage VERSION"),
                ctx.command("promote")
            )),
    }?;
    let model = models::describe(clients, &chosen.arn)
        .await?
        .ok_or_else(|| anyhow!("{group} no longer has version {}", chosen.version))
        .hint(format!("list the versions with `{list}`"))?;
    let origin = match &model.run_arn {
        Some(run) => runs::origin_of(clients, run).await?,
        None => Origin::default(),
    };
    let graph = lineage::graph(clients, &chosen.arn)
        .await?
        .unwrap_or_default();
    let endpoint = endpoint
        .filter(|endpoint| endpoint.serves(&chosen.arn))
        .map(|endpoint| ServedBy {
            name: endpoint.name,
            status: endpoint.status,
            configuration: endpoint.configuration,
        });
    Ok(LineageReport::new(group, model, origin, &graph, endpoint))
}
