//! `mlops status`: the project on one screen.

use std::collections::BTreeMap;

use anyhow::Result;
use jiff::Timestamp;
use mlops_core::error::{self, Exit};
use mlops_oci::analyzer;
use mlops_validation::{Violations, files};

use crate::aws::billed::{self, Billed, Notebook};
use crate::aws::monitoring_store::Store;
use crate::aws::sagemaker::{models, runs};
use crate::aws::{Clients, cloudformation, datasets, ecr, hosting};
use crate::config::Project;
use crate::context::Context;
use crate::infra::{self, PARTS, Part};
use crate::releases::store::Release;
use crate::releases::{self, proof, restore};

mod delivery;
mod facts;
mod report;
mod screen;
mod shown;
mod watch;

pub use delivery::{Delivered, Waiting};
pub use report::{Data, LastRelease, Monitoring, NewestImage, Run, Stack, StatusReport};
pub use shown::Status;

/// Show the project on one screen
///
/// Shows stacks, notebook, newest image, data version, last runs, model versions, the endpoint and
/// the last monitoring result, the newest execution of each pipeline, what waits for an approval,
/// what is billed by the hour, and suggests the next command. Everything is read from AWS.
///
/// Example: mlops status
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// Show it again and again until Ctrl-C; without a terminal, print a line for each change
    #[arg(long)]
    watch: bool,
}

/// The number of runs to show.
const RUNS: usize = 3;

/// Runs the command.
pub async fn run(ctx: &Context, args: &StatusArgs) -> Result<Status> {
    let project = ctx.project()?;
    if args.watch {
        Box::pin(watch::run(ctx, &project)).await?;
        return Ok(Status::Watched);
    }
    Ok(Status::Shown(Box::new(
        Box::pin(look(ctx, &project)).await?,
    )))
}

/// Returns the parts of the network that are billed. A caller without permission to list them sees the rest of
/// the screen, and why they are missing.
fn network_or_note(ctx: &Context, found: Result<Vec<Billed>>) -> Result<Vec<Billed>> {
    match found {
        Err(error) if error::exit(&error) == Exit::Credentials => {
            let problem = error::message(&error);
            ctx.progress
                .say(format!("cannot tell what the network costs: {problem}"));
            Ok(Vec::new())
        }
        found => found,
    }
}

/// Reads the state of the project.
async fn look(ctx: &Context, project: &Project) -> Result<StatusReport> {
    let name = project.file.name.as_str();
    let clients = ctx.aws_of(project).await?;
    let mut stacks = Vec::new();
    let mut outputs = BTreeMap::new();
    let (mut vpc, mut notebook) = (None, None);
    let found = PARTS.map(async |part| {
        let name = part.stack(&project.file.name);
        anyhow::Ok((part, cloudformation::stack(clients, &name).await?))
    });
    for (part, stack) in futures::future::try_join_all(found).await? {
        if part == Part::Delivery && stack.is_none() && project.file.delivery.is_none() {
            continue;
        }
        if let Some(stack) = &stack {
            vpc = vpc.or_else(|| stack.outputs.get("VpcId").cloned());
            notebook = notebook.or_else(|| stack.outputs.get("NotebookName").cloned());
        }
        stacks.push(Stack {
            part,
            status: stack.as_ref().map(|stack| stack.status.as_str().to_owned()),
        });
        if infra::Platform::PARTS.contains(&part) {
            outputs.extend(stack.into_iter().flat_map(|stack| stack.outputs));
        }
    }
    // A stack without outputs is not deployed completely; its status shows that.
    let platform = infra::Platform::read(&project.file.name, &outputs).ok();
    let mut report = StatusReport::new(name, clients.account().await?, clients.region(), stacks);
    if let Some(platform) = platform {
        let dataset = project.dataset();
        let store = releases::store::Store::new(&platform.artifact_bucket, name);
        let (images, data, runs, models, endpoint, monitor, history) = futures::try_join!(
            ecr::list(clients, &platform.image_repository),
            datasets::latest(&clients.s3, &platform.data_bucket, &dataset),
            last_runs(clients, name, ctx.now()),
            models::all(clients, &platform.model_package_group),
            hosting::endpoint(clients, name),
            monitoring(clients, &platform.artifact_bucket, name),
            store.history(clients, releases::RECENT),
        )?;
        let image = images
            .into_iter()
            .find(|image| image.tags.iter().any(|tag| !tag.starts_with(analyzer::TAG)));
        report.image = image.map(|image| NewestImage {
            tags: image.tags,
            digest: image.digest,
        });
        report.data = Some(Data {
            dataset: dataset.to_string(),
            version: data.map(|version| version.id),
        });
        report.run = runs.first().cloned();
        report.runs = runs;
        report.live = endpoint
            .as_ref()
            .and_then(|endpoint| endpoint.live(&models))
            .map(|live| live.version);
        report.release = endpoint
            .as_ref()
            .and_then(|endpoint| proof::serving(&history, endpoint))
            .map(Release::number);
        report.last_release = history.newest().map(LastRelease::new);
        report.withdrawn = restore::withdrawn(clients, project, &platform, &history).await?;
        report.models = models;
        report.endpoint = endpoint;
        report.monitor = monitor;
    }
    let (notebook, endpoint, network) = futures::try_join!(
        async {
            match &notebook {
                Some(notebook) => billed::notebook(clients, notebook).await,
                None => Ok(None),
            }
        },
        billed::endpoint(clients, name),
        async {
            match &vpc {
                Some(vpc) => network_or_note(ctx, billed::network(clients, vpc).await),
                None => Ok(Vec::new()),
            }
        }
    )?;
    report.billed = endpoint;
    report
        .billed
        .extend(notebook.as_ref().and_then(Notebook::billed));
    report.billed.extend(network);
    report.notebook = notebook;
    let (delivered, waiting) = delivery::read(ctx, clients, name).await?;
    report.delivery = delivered;
    report.waiting = report.approvals(|version| ctx.command(&format!("promote {version}")));
    report.waiting.extend(waiting);
    report.next = ctx.command(&report.next_step());
    Ok(report)
}

/// Returns the newest runs, newest first; if a gate refused a run's model, with the reason.
async fn last_runs(clients: &Clients, pipeline: &str, now: Timestamp) -> Result<Vec<Run>> {
    let newest = runs::list(clients, pipeline, RUNS).await?;
    let newest = runs::complete(clients, newest, now).await?.into_iter();
    let runs = newest.map(|run| Run {
        id: run.run,
        status: run.status,
        gate: run.gate,
    });
    Ok(runs.collect())
}

/// The newest complete monitoring result.
async fn monitoring(clients: &Clients, bucket: &str, endpoint: &str) -> Result<Option<Monitoring>> {
    let store = Store::new(bucket, endpoint);
    let Some((run, bytes)) = store.newest(clients, files::VIOLATIONS).await? else {
        return Ok(None);
    };
    let found: Violations = files::parse(files::VIOLATIONS, &bytes)?;
    Ok(Some(Monitoring {
        violations: found.violations.len(),
        report: format!("{}{}", store.run(&run), files::VIOLATIONS),
        time: run,
    }))
}
