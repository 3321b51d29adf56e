//! `mlops models compare --image`: what a new image did to the metrics.

use anyhow::Result;
use mlops_core::error::{Failure, message};
use mlops_core::names::BranchName;
use mlops_oci::Digest;

use crate::aws::Clients;
use crate::aws::sagemaker::compared::Compared;
use crate::aws::sagemaker::runs::{self, Run};
use crate::aws::sns::{self, TopicArn};
use crate::config::Project;
use crate::context::Context;
use crate::git::Repository;
use crate::output::Report;

mod found;
mod metrics;
mod report;
mod screen;

pub(super) use report::ImageReport;

/// The arguments of a report on an image.
#[derive(Debug, clap::Args)]
pub(super) struct ImageArgs {
    /// Report on the newest run with this image (`sha256:…`), instead of comparing A and B
    #[arg(long, value_name = "DIGEST")]
    pub(super) image: Option<Digest>,
    /// The branch of the run [default: the current branch]
    #[arg(
        long,
        value_name = "BRANCH",
        requires = "image",
        conflicts_with = "version"
    )]
    branch: Option<BranchName>,
    /// Publish the report to this SNS topic
    #[arg(
        long,
        value_name = "TOPIC_ARN",
        requires = "image",
        conflicts_with = "version"
    )]
    notify: Option<TopicArn>,
    /// Record in the run how its metrics compare; `mlops runs show` shows it
    #[arg(long, requires = "image", conflicts_with = "version")]
    record: bool,
}

/// Reports on the newest run with an image.
pub(super) async fn run(ctx: &Context, args: &ImageArgs, image: Digest) -> Result<ImageReport> {
    let project = ctx.project()?;
    let branch = branch(&project, args.branch.as_ref())?;
    let clients = if args.record || args.notify.is_some() {
        ctx.aws_for(&project).await?
    } else {
        ctx.aws_of(&project).await?
    };
    if let Some(topic) = &args.notify
        && topic.region() != clients.region()
    {
        return Err(Failure::usage(format!(
            "the topic {topic} is not in the region {} of the project",
            clients.region()
        )));
    }
    let name = project.file.name.as_str();
    // Boxed: its future is large.
    let found = Box::pin(found::find(clients, name, &branch, image)).await?;
    let mut report = ImageReport::new(ctx, &project, branch, image, &found)?;

    let recorded = record(clients, args, &found.run, &report.compared).await;
    report.recorded = matches!(recorded, Ok(true));
    let notified = notify(clients, args, &report).await;
    report.notified = notified.as_ref().ok().cloned().flatten();
    match (recorded.err(), notified.err()) {
        (None, None) => Ok(report),
        (Some(first), second) => {
            ctx.output.report(&report)?;
            if let Some(second) = second {
                ctx.progress.say(message(&second));
            }
            Err(first)
        }
        (None, Some(error)) => {
            ctx.output.report(&report)?;
            Err(error)
        }
    }
}

/// Returns the requested branch, or the current one; develop if none is checked out.
fn branch(project: &Project, requested: Option<&BranchName>) -> Result<BranchName> {
    if let Some(branch) = requested {
        return Ok(branch.clone());
    }
    Repository::discover(&project.root)?.branch_or(&project.file.branches.develop)
}

/// Records the comparison if that was requested and there is something to record.
async fn record(
    clients: &Clients,
    args: &ImageArgs,
    run: &Run,
    compared: &[Compared],
) -> Result<bool> {
    if !args.record || compared.is_empty() {
        return Ok(false);
    }
    runs::record(clients, &run.arn, &run.origin, compared.to_vec()).await?;
    Ok(true)
}

/// Publishes the report if that was requested; returns the topic.
async fn notify(
    clients: &Clients,
    args: &ImageArgs,
    report: &ImageReport,
) -> Result<Option<String>> {
    let Some(topic) = &args.notify else {
        return Ok(None);
    };
    let text = report.to_string();
    let text = console::strip_ansi_codes(&text);
    sns::publish(clients, topic, &report.subject(), &text).await?;
    Ok(Some(topic.to_string()))
}

impl Report for ImageReport {}
