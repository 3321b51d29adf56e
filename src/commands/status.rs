//! `mlops status`: the project on one screen.

use std::collections::BTreeMap;

use anyhow::Result;
use jiff::Timestamp;
use mlops_oci::analyzer;
use mlops_validation::{Violations, files};

use crate::aws::monitoring_store::Store;
use crate::aws::sagemaker::{models, runs};
use crate::aws::{Clients, cloudformation, datasets, ecr, hosting};
use crate::context::Context;
use crate::infra::{self, PARTS};

mod report;
mod screen;

pub use report::{Data, Monitoring, NewestImage, Run, Stack, StatusReport};

/// Show the project on one screen
///
/// Shows stacks, newest image, data version, last run, model versions, the endpoint and the last
/// monitoring result, and suggests the next command. Everything is read from AWS.
///
/// Example: mlops status
#[derive(Debug, clap::Args)]
pub struct StatusArgs {}

/// Runs the command.
pub async fn run(ctx: &Context, _args: &StatusArgs) -> Result<StatusReport> {
    let project = ctx.project()?;
    let name = project.file.name.as_str();
    let clients = ctx.aws_of(&project).await?;
    let mut stacks = Vec::new();
    let mut outputs = BTreeMap::new();
    let found = PARTS.map(async |part| {
        let name = part.stack(&project.file.name);
        anyhow::Ok((part, cloudformation::stack(clients, &name).await?))
    });
    for (part, stack) in futures::future::try_join_all(found).await? {
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
        let (images, data, run, models, endpoint, monitor) = futures::try_join!(
            ecr::list(clients, &platform.image_repository),
            datasets::latest(&clients.s3, &platform.data_bucket, &dataset),
            last_run(clients, name, ctx.now()),
            models::all(clients, &platform.model_package_group),
            hosting::endpoint(clients, name),
            monitoring(clients, &platform.artifact_bucket, name),
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
        report.run = run;
        report.live = endpoint
            .as_ref()
            .and_then(|endpoint| endpoint.live(&models))
            .map(|live| live.version);
        report.models = models;
        report.endpoint = endpoint;
        report.monitor = monitor;
    }
    report.next = ctx.command(&report.next_step());
    Ok(report)
}

/// Returns the newest run; if a gate refused its model, with the reason.
async fn last_run(clients: &Clients, pipeline: &str, now: Timestamp) -> Result<Option<Run>> {
    let newest = runs::list(clients, pipeline, 1).await?;
    let newest = runs::complete(clients, newest, now).await?;
    Ok(newest.into_iter().next().map(|run| Run {
        id: run.run,
        status: run.status,
        gate: run.gate,
    }))
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
