//! `mlops models approve` and `mlops models reject`: the decision of the approver.

use std::fmt;

use anyhow::{Result, anyhow};
use mlops_core::error::Hint;
use mlops_core::names::Version;
use serde::Serialize;

use crate::aws::sagemaker::models::{self, ModelVersion};
use crate::aws::state::ModelApproval;
use crate::aws::{Clients, hosting};
use crate::context::Context;

/// Arguments of `mlops models approve` and `mlops models reject`.
#[derive(Debug, clap::Args)]
pub struct DecisionArgs {
    /// The version, as shown by `mlops models list`
    version: Version,
    /// The reason, which the registry keeps with the version
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

/// The approval of a version after the command.
#[derive(Debug, Serialize)]
pub struct Decision {
    model: String,
    version: Version,
    model_package_arn: String,
    status: ModelApproval,
    /// False if the version had this status already.
    changed: bool,
    #[serde(skip)]
    next: Option<String>,
}

/// `mlops models approve`
pub(super) async fn approve(ctx: &Context, args: &DecisionArgs) -> Result<Decision> {
    let clients = clients(ctx).await?;
    let (group, version) = find(ctx, clients, args).await?;
    let changed = !version.status.is_approved();
    if changed {
        let note = args.note.as_deref();
        let note = note.unwrap_or("approved by `mlops models approve`");
        models::approve(clients, &version.arn, note).await?;
    }
    // With pipelines, the approval starts the deployment.
    let next = match ctx.project()?.file.delivery {
        Some(_) => ctx.command(&format!("runs watch --model-version {}", version.version)),
        None => ctx.command("status"),
    };
    Ok(Decision::new(
        group,
        version,
        ModelApproval::approved(),
        changed,
        Some(next),
    ))
}

/// `mlops models reject`
pub(super) async fn reject(ctx: &Context, args: &DecisionArgs) -> Result<Decision> {
    let clients = clients(ctx).await?;
    let (group, version) = find(ctx, clients, args).await?;
    let live = hosting::endpoint(clients, &group).await?;
    if live.is_some_and(|endpoint| endpoint.serves(&version.arn)) {
        return Err(anyhow!("version {} of {group} is live", version.version))
            .hint("deploy another version before you reject this one");
    }
    let changed = !version.status.is_rejected();
    if changed {
        let note = args.note.as_deref();
        let note = note.unwrap_or("rejected by `mlops models reject`");
        models::reject(clients, &version.arn, note).await?;
    }
    Ok(Decision::new(
        group,
        version,
        ModelApproval::rejected(),
        changed,
        None,
    ))
}

async fn clients(ctx: &Context) -> Result<&Clients> {
    ctx.aws_for(&ctx.project()?).await
}

/// Finds the version in the project's group.
async fn find(
    ctx: &Context,
    clients: &Clients,
    args: &DecisionArgs,
) -> Result<(String, ModelVersion)> {
    let group = ctx.project()?.file.name.to_string();
    let versions = models::all(clients, &group).await?;
    let found = versions
        .into_iter()
        .find(|found| found.version == args.version)
        .ok_or_else(|| anyhow!("the model `{group}` has no version {}", args.version))
        .hint(format!(
            "list the versions with `{}`",
            ctx.command("models list")
        ))?;
    Ok((group, found))
}

impl Decision {
    fn new(
        model: String,
        version: ModelVersion,
        status: ModelApproval,
        changed: bool,
        next: Option<String>,
    ) -> Self {
        Self {
            model,
            version: version.version,
            model_package_arn: version.arn,
            status,
            changed,
            next,
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let already = if self.changed { "" } else { " already" };
        writeln!(
            f,
            "version {} of {} is{already} {}",
            self.version,
            self.model,
            self.status.as_str().to_lowercase()
        )?;
        match &self.next {
            Some(next) => writeln!(f, "see what to do next with `{next}`"),
            None => Ok(()),
        }
    }
}
