//! `mlops endpoint delete`: deletes the endpoint, which stops its charges.

use std::fmt;

use anyhow::{Result, anyhow};
use mlops_core::error::Hint;
use mlops_core::text::clean;
use serde::Serialize;

use crate::aws::{Clients, hosting};
use crate::config::Project;
use crate::context::Context;
use crate::infra::{self, Part};
use crate::releases::prune;

/// Delete the endpoint and its models
///
/// Lists what will be deleted and asks. Deletes the endpoint's stack, as `mlops destroy` does. Model
/// versions, releases, captured traffic and the log are kept, and the promoted version stays the one
/// of the production branch. Requests fail from then on; `mlops promote` creates the endpoint again.
///
/// Example: mlops endpoint delete --dry-run
#[derive(Debug, clap::Args)]
pub struct DeleteArgs {
    /// List what would be deleted, and delete nothing
    #[arg(long)]
    dry_run: bool,
}

/// A resource of the stack.
#[derive(Debug, Serialize)]
struct Item {
    r#type: String,
    name: String,
}

/// What was deleted.
#[derive(Debug, Serialize)]
pub struct Deleted {
    endpoint: String,
    /// Null if there was nothing to delete.
    stack: Option<String>,
    resources: Vec<Item>,
    /// True if nothing was deleted.
    dry_run: bool,
    #[serde(skip)]
    promote: String,
}

pub(super) async fn run(
    ctx: &Context,
    clients: &Clients,
    project: &Project,
    args: &DeleteArgs,
) -> Result<Deleted> {
    let name = project.file.name.as_str();
    let stack = infra::deployed_stack(clients, project, Part::Endpoint).await?;
    let mut report = Deleted {
        endpoint: name.to_owned(),
        stack: stack.as_ref().map(|stack| stack.name.clone()),
        resources: Vec::new(),
        dry_run: args.dry_run,
        promote: ctx.command("promote"),
    };
    let Some(stack) = stack else {
        require_gone(clients, name, "no stack of the project contains it").await?;
        // An earlier deletion, which was confirmed, may have ended before it came to these.
        if !args.dry_run {
            delete_left(ctx, clients, name).await?;
        }
        return Ok(report);
    };
    report.resources = stack
        .resources
        .iter()
        .map(|resource| Item {
            r#type: resource.r#type.clone(),
            name: resource
                .id
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_owned(),
        })
        .collect();
    if args.dry_run {
        return Ok(report);
    }
    for line in report.list() {
        ctx.progress.say(line);
    }
    ctx.prompt.require(&format!(
        "Delete the endpoint {name} from account {} ({})? Requests to it will fail.",
        project.file.account, project.file.region
    ))?;
    let _note = ctx.on_interrupt(format!(
        "the deletion of {} continues; check it with `{}`",
        stack.name,
        ctx.command("endpoint show")
    ));
    if let Some(reason) = infra::delete(clients, ctx.waiter, &ctx.progress, &stack).await? {
        return Err(anyhow!("{} could not be deleted: {reason}", stack.name))
            .hint("fix the cause, then run the command again");
    }
    require_gone(clients, name, &format!("{} was deleted", stack.name)).await?;
    delete_left(ctx, clients, name).await?;
    Ok(report)
}

/// Deletes the models and configurations of releases, which the stack does not contain.
async fn delete_left(ctx: &Context, clients: &Clients, endpoint: &str) -> Result<()> {
    for left in prune::everything(clients, endpoint).await? {
        ctx.progress
            .say(format!("model or endpoint configuration {left}: deleted"));
    }
    Ok(())
}

/// Fails if the endpoint still exists, because it is billed. `although` is the reason why it should not exist.
async fn require_gone(clients: &Clients, name: &str, although: &str) -> Result<()> {
    let Some(left) = hosting::endpoint(clients, name).await? else {
        return Ok(());
    };
    Err(anyhow!(
        "the endpoint {name} is {} and still billed, although {although}",
        left.status
    ))
    .hint(format!(
        "delete it: aws sagemaker delete-endpoint --endpoint-name {name}"
    ))
}

impl Deleted {
    /// The resources to delete, one per line.
    fn list(&self) -> Vec<String> {
        let Some(stack) = &self.stack else {
            return Vec::new();
        };
        let resources = self.resources.iter();
        let resources = resources.map(|item| {
            let kind = item.r#type.trim_start_matches("AWS::");
            format!("  {kind:<26} {}", clean(&item.name))
        });
        std::iter::once(format!("delete stack {stack}"))
            .chain(resources)
            .collect()
    }
}

impl fmt::Display for Deleted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(stack) = &self.stack else {
            return write!(f, "There is no endpoint {} to delete.", self.endpoint);
        };
        if self.dry_run {
            for line in self.list() {
                writeln!(f, "{line}")?;
            }
            return write!(f, "\nNothing was deleted.");
        }
        let count = self.resources.len();
        let plural = if count == 1 { "" } else { "s" };
        writeln!(f, "deleted {stack} ({count} resource{plural})")?;
        writeln!(
            f,
            "kept    model versions, releases, captured traffic and the log"
        )?;
        writeln!(
            f,
            "\nThe endpoint is no longer billed; stored data still is."
        )?;
        write!(
            f,
            "Next: deploy a version again with `{} VERSION`",
            self.promote
        )
    }
}
