//! `mlops status`: the project on one screen.

use std::fmt;

use anyhow::Result;
use aws_sdk_ecr::operation::describe_images::DescribeImagesOutput;
use aws_sdk_ecr::primitives::DateTime;
use aws_sdk_ecr::types::DescribeImagesFilter;
use aws_sdk_ecr::types::TagStatus;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use serde::Serialize;
use serde_json::Value;

use crate::aws::hosting::{self, Endpoint, ModelVersion};
use crate::aws::{AwsResultExt, Clients, cloudformation};
use crate::config::Project;
use crate::context::Context;
use crate::infra;
use crate::names::Version;
use crate::output::{Report, clean};

/// Show the project on one screen
///
/// Stacks, newest image, data version, last run, model versions, the endpoint and the last
/// monitoring result, and what to do next. All of it comes from AWS.
///
/// Example: mlops status
#[derive(Debug, clap::Args)]
pub struct StatusArgs {}

/// The parts of the architecture, in the order in which they are deployed.
const PARTS: [&str; 4] = ["network", "platform", "workbench", "endpoint"];

/// Runs the command.
pub async fn run(ctx: &Context, _args: &StatusArgs) -> Result<StatusReport> {
    let project = ctx.project()?;
    let clients = ctx.aws().await?;
    let mut stacks = Vec::new();
    let mut platform = None;
    for part in PARTS {
        let name = infra::stack_name(&project.file.name, part);
        let stack = cloudformation::stack(clients, &name).await?;
        if let (Some(stack), "platform") = (&stack, part) {
            platform = infra::Platform::read(&name, &stack.outputs).ok();
        }
        stacks.push(Stack {
            part,
            status: stack.map(|stack| stack.status.as_str().to_owned()),
        });
    }
    let mut report = StatusReport {
        project: project.file.name.to_string(),
        account: clients.account().await?.to_owned(),
        region: clients.region().to_owned(),
        stacks,
        image: None,
        data: None,
        run: None,
        models: Vec::new(),
        endpoint: None,
        live: None,
        monitor: None,
        next: String::new(),
    };
    if let Some(platform) = platform {
        let name = project.file.name.as_str();
        let (image, data, run, models, endpoint, monitor) = futures::try_join!(
            newest_image(clients, &platform.image_repository),
            data_version(clients, &platform.data_bucket, &project),
            last_run(clients, name),
            hosting::versions(clients, &platform.model_package_group),
            hosting::endpoint(clients, name),
            last_monitoring(clients, &platform.artifact_bucket, name),
        )?;
        report.live = endpoint.as_ref().and_then(|endpoint| {
            let package = endpoint.model_package.as_deref()?;
            let live = models.iter().find(|model| model.arn == package)?;
            Some(live.version)
        });
        report.image = image;
        report.data = data;
        report.run = run;
        report.models = models;
        report.endpoint = endpoint;
        report.monitor = monitor;
    }
    report.next = report.next_step();
    Ok(report)
}

async fn newest_image(clients: &Clients, repository: &str) -> Result<Option<Image>> {
    let mut pages = clients
        .ecr
        .describe_images()
        .repository_name(repository)
        .filter(
            DescribeImagesFilter::builder()
                .tag_status(TagStatus::Tagged)
                .build(),
        )
        .into_paginator()
        .send();
    let mut newest: Option<(i64, Image)> = None;
    while let Some(page) = pages.next().await {
        let page = page.aws_unless("cannot list images", &["RepositoryNotFoundException"])?;
        for image in page
            .as_ref()
            .map_or(&[][..], DescribeImagesOutput::image_details)
        {
            let pushed = image.image_pushed_at().map_or(0, DateTime::secs);
            if newest.as_ref().is_none_or(|(newest, _)| pushed >= *newest) {
                let found = Image {
                    tags: image.image_tags().to_vec(),
                    digest: image.image_digest().unwrap_or_default().to_owned(),
                };
                newest = Some((pushed, found));
            }
        }
    }
    Ok(newest.map(|(_, image)| image))
}

async fn data_version(clients: &Clients, bucket: &str, project: &Project) -> Result<Option<Data>> {
    let dataset = project.dataset();
    let manifest = clients
        .s3
        .head_object()
        .bucket(bucket)
        .key(format!("datasets/{dataset}/manifest.json"))
        .send()
        .await
        .aws_unless(
            format!("cannot look up the data set {dataset}"),
            &["NotFound", "NoSuchKey", "NoSuchBucket"],
        )?;
    Ok(manifest.map(|manifest| Data {
        dataset: dataset.to_string(),
        version: manifest.version_id.unwrap_or_default(),
    }))
}

async fn last_run(clients: &Clients, pipeline: &str) -> Result<Option<Run>> {
    let listed = clients
        .sagemaker
        .list_pipeline_executions()
        .pipeline_name(pipeline)
        .sort_order(aws_sdk_sagemaker::types::SortOrder::Descending)
        .max_results(1)
        .send()
        .await
        .aws_unless("cannot list runs", &["ResourceNotFound"])?;
    Ok(listed.and_then(|listed| {
        let run = listed.pipeline_execution_summaries().first()?;
        Some(Run {
            id: run.pipeline_execution_arn()?.rsplit('/').next()?.to_owned(),
            status: run.pipeline_execution_status()?.as_str().to_owned(),
        })
    }))
}

async fn last_monitoring(
    clients: &Clients,
    bucket: &str,
    endpoint: &str,
) -> Result<Option<Monitoring>> {
    let prefix = format!("monitoring/{endpoint}/");
    let mut pages = clients
        .s3
        .list_objects_v2()
        .bucket(bucket)
        .prefix(&prefix)
        .into_paginator()
        .send();
    let mut newest: Option<String> = None;
    while let Some(page) = pages.next().await {
        let page = page.aws_unless("cannot list monitoring results", &["NoSuchBucket"])?;
        let keys = page
            .as_ref()
            .map_or(&[][..], ListObjectsV2Output::contents)
            .iter();
        // A run's directory is named by its time: the last in key order is the newest.
        for key in keys.filter_map(|object| object.key()) {
            let done = key.ends_with("/constraint_violations.json");
            if done && newest.as_deref().is_none_or(|newest| key > newest) {
                newest = Some(key.to_owned());
            }
        }
    }
    let Some(key) = newest else { return Ok(None) };
    let object = clients
        .s3
        .get_object()
        .bucket(bucket)
        .key(&key)
        .send()
        .await
        .aws(format!("cannot read s3://{bucket}/{key}"))?;
    let bytes = object.body.collect().await?.into_bytes();
    let report: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let when = key
        .trim_start_matches(&prefix)
        .split('/')
        .next()
        .unwrap_or_default();
    Ok(Some(Monitoring {
        time: when.to_owned(),
        violations: report["violations"].as_array().map_or(0, Vec::len),
        report: format!("s3://{bucket}/{key}"),
    }))
}

/// The project at a glance.
#[derive(Debug, Serialize)]
pub struct StatusReport {
    /// Its name.
    pub project: String,
    /// The account that was asked.
    pub account: String,
    /// The region.
    pub region: String,
    /// The stacks.
    pub stacks: Vec<Stack>,
    /// The newest tagged image.
    pub image: Option<Image>,
    /// The newest version of the training data.
    pub data: Option<Data>,
    /// The last pipeline execution.
    pub run: Option<Run>,
    /// The model versions, newest first.
    pub models: Vec<ModelVersion>,
    /// The endpoint.
    pub endpoint: Option<Endpoint>,
    /// The version that the endpoint serves.
    pub live: Option<Version>,
    /// The last monitoring result.
    pub monitor: Option<Monitoring>,
    /// What to do next.
    pub next: String,
}

/// A stack of the architecture.
#[derive(Debug, Serialize)]
pub struct Stack {
    /// Which one.
    pub part: &'static str,
    /// CloudFormation's status; null when there is none.
    pub status: Option<String>,
}

/// An image.
#[derive(Debug, Serialize)]
pub struct Image {
    /// Its tags.
    pub tags: Vec<String>,
    /// Its digest.
    pub digest: String,
}

/// A version of the training data.
#[derive(Debug, Serialize)]
pub struct Data {
    /// The data set.
    pub dataset: String,
    /// The version id of its manifest.
    pub version: String,
}

/// A pipeline execution.
#[derive(Debug, Serialize)]
pub struct Run {
    /// The last part of its ARN.
    pub id: String,
    /// Its status.
    pub status: String,
}

/// A monitoring result.
#[derive(Debug, Serialize)]
pub struct Monitoring {
    /// When it was made, as its directory is named.
    pub time: String,
    /// How many violations it found.
    pub violations: usize,
    /// Where it lies.
    pub report: String,
}

impl StatusReport {
    fn of_approval<'a>(&'a self, approval: &'a str) -> impl Iterator<Item = Version> + 'a {
        let models = self.models.iter();
        models
            .filter(move |model| model.approval == approval)
            .map(|model| model.version)
    }

    /// The first thing of the story that is missing.
    fn next_step(&self) -> String {
        let there = |part: &str| {
            let stack = self.stacks.iter().find(|stack| stack.part == part);
            stack.is_some_and(|stack| stack.status.is_some())
        };
        if !["network", "platform", "workbench"].into_iter().all(there) {
            return "`mlops init` puts the architecture into this account".to_owned();
        }
        if self.image.is_none() {
            return "`mlops image push` pushes the project's image".to_owned();
        }
        if self.data.is_none() {
            return "`mlops data push DIR` pushes the training data".to_owned();
        }
        if self
            .run
            .as_ref()
            .is_some_and(|run| run.status == "Executing")
        {
            return "`mlops runs list` follows the run that is under way".to_owned();
        }
        if self.models.is_empty() {
            return "`mlops train` trains the first model".to_owned();
        }
        let above_live = |version: &Version| self.live.is_none_or(|live| *version > live);
        let candidate = self
            .of_approval("Approved")
            .chain(self.of_approval("PendingManualApproval"))
            .filter(above_live)
            .max();
        if let Some(version) = candidate {
            return format!("`mlops promote {version}` puts version {version} into production");
        }
        match &self.monitor {
            None if self.live.is_some() => {
                "`mlops monitor run` compares the endpoint's traffic with the baseline".to_owned()
            }
            Some(monitor) if monitor.violations > 0 => {
                "`mlops monitor report` shows what drifted; `mlops train` trains on newer data"
                    .to_owned()
            }
            _ => "`mlops train` trains another version".to_owned(),
        }
    }
}

impl Report for StatusReport {}

/// A line of the screen: at most 80 columns.
fn line(f: &mut fmt::Formatter<'_>, label: &str, text: &str) -> fmt::Result {
    let text = clean(text);
    let text = if text.chars().count() > 68 {
        format!("{}…", text.chars().take(67).collect::<String>())
    } else {
        text
    };
    writeln!(f, "{label:<10} {text}")
}

fn list(versions: impl Iterator<Item = Version>) -> String {
    let all: Vec<String> = versions.map(|version| version.to_string()).collect();
    match all.len() {
        0 => "none".to_owned(),
        1..=5 => all.join(", "),
        more => format!("{} and {} more", all[..5].join(", "), more - 5),
    }
}

impl fmt::Display for StatusReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let none = || "none".to_owned();
        line(
            f,
            "project",
            &format!(
                "{} in account {}, {}",
                self.project, self.account, self.region
            ),
        )?;
        for stack in &self.stacks {
            let status = stack.status.as_deref().unwrap_or("not deployed");
            line(f, "stack", &format!("{:<10} {status}", stack.part))?;
        }
        let image = self.image.as_ref().map_or_else(none, |image| {
            let digest: String = image.digest.chars().take(19).collect();
            format!("{digest} ({})", image.tags.join(", "))
        });
        line(f, "image", &image)?;
        let data = self.data.as_ref().map_or_else(none, |data| {
            format!("{} version {}", data.dataset, data.version)
        });
        line(f, "data", &data)?;
        let run = self.run.as_ref();
        line(
            f,
            "last run",
            &run.map_or_else(none, |run| format!("{} {}", run.id, run.status)),
        )?;
        line(
            f,
            "models",
            &format!(
                "approved: {}; pending: {}; rejected: {}",
                list(self.of_approval("Approved")),
                list(self.of_approval("PendingManualApproval")),
                list(self.of_approval("Rejected"))
            ),
        )?;
        let endpoint = self.endpoint.as_ref().map_or_else(none, |endpoint| {
            let live = self
                .live
                .map_or_else(none, |version| format!("version {version}"));
            format!("{} {}, live: {live}", endpoint.name, endpoint.status)
        });
        line(f, "endpoint", &endpoint)?;
        if let Some(failure) = self.endpoint.as_ref().and_then(|e| e.failure.as_deref()) {
            line(f, "", &format!("last deployment failed: {failure}"))?;
        }
        let monitor = self.monitor.as_ref().map_or_else(none, |monitor| {
            format!("{} violations at {}", monitor.violations, monitor.time)
        });
        line(f, "monitoring", &monitor)?;
        line(f, "next", &self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> StatusReport {
        StatusReport {
            project: "flights".to_owned(),
            account: "000000000000".to_owned(),
            region: "us-east-1".to_owned(),
            stacks: PARTS
                .map(|part| Stack {
                    part,
                    status: Some("CREATE_COMPLETE".to_owned()),
                })
                .into(),
            image: Some(Image {
                tags: vec!["develop".to_owned()],
                digest: format!("sha256:{}", "0".repeat(64)),
            }),
            data: Some(Data {
                dataset: "flights".to_owned(),
                version: "v".to_owned(),
            }),
            run: None,
            models: (1..=9)
                .rev()
                .map(|version| ModelVersion {
                    version: Version(version),
                    arn: format!("arn/{version}"),
                    approval: "Approved".to_owned(),
                })
                .collect(),
            endpoint: Some(Endpoint {
                name: "flights".to_owned(),
                status: "InService".to_owned(),
                configuration: None,
                failure: Some("x".repeat(500)),
                model_package: Some("arn/9".to_owned()),
            }),
            live: Some(Version(9)),
            monitor: None,
            next: "n".to_owned(),
        }
    }

    #[test]
    fn it_is_one_screen() {
        let text = report().to_string();
        assert!(text.lines().count() <= 24, "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
    }

    #[test]
    fn the_next_step_follows_the_story() {
        let mut report = report();
        assert!(report.next_step().contains("monitor run"));
        report.live = Some(Version(7));
        assert!(report.next_step().contains("promote 9"));
        report.models.clear();
        assert!(report.next_step().contains("mlops train"));
        report.data = None;
        assert!(report.next_step().contains("data push"));
        report.image = None;
        assert!(report.next_step().contains("image push"));
        report.stacks[1].status = None;
        assert!(report.next_step().contains("mlops init"));
    }
}
