//! `mlops lineage`: where a model version comes from, and where it is used.

use std::fmt;

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

use crate::aws::hosting::{self, ModelDetails};
use crate::aws::lineage::{self, Entity};
use crate::aws::{AwsResultExt, Clients};
use crate::context::Context;
use crate::error::Hint;
use crate::names::Version;
use crate::output::{Report, clean};

/// Show where a model version comes from
///
/// Its data version, image digest, git commit, pipeline execution and metrics, and the endpoint
/// that serves it. All of it comes from AWS: nothing is kept on this machine.
///
/// Example: mlops lineage 3
#[derive(Debug, clap::Args)]
pub struct LineageArgs {
    /// The version, as `mlops models list` shows it (default: the live one)
    model: Option<Version>,
}

/// Runs the command.
pub async fn run(ctx: &Context, args: &LineageArgs) -> Result<LineageReport> {
    let project = ctx.project()?;
    let clients = ctx.aws().await?;
    let group = project.file.name.as_str();
    let versions = hosting::versions(clients, group).await?;
    let endpoint = hosting::endpoint(clients, group).await?;
    let live = endpoint
        .as_ref()
        .and_then(|endpoint| endpoint.model_package.as_deref());
    let chosen = match args.model {
        Some(wanted) => versions
            .iter()
            .find(|version| version.version == wanted)
            .ok_or_else(|| anyhow::anyhow!("{group} has no version {wanted}"))
            .hint("`mlops models list` shows what there is"),
        None => versions
            .iter()
            .find(|version| Some(version.arn.as_str()) == live)
            .ok_or_else(|| anyhow::anyhow!("no version of {group} is live"))
            .hint("name one: `mlops lineage VERSION`, or put one live: `mlops promote`"),
    }?;
    let details = hosting::details(clients, &chosen.arn).await?;
    let graph = lineage::around(clients, &chosen.arn)
        .await?
        .unwrap_or_default();
    let metrics = metrics(clients, &details).await?;
    let endpoint = endpoint
        .filter(|endpoint| endpoint.model_package.as_deref() == Some(&chosen.arn))
        .map(|endpoint| ServedBy {
            name: endpoint.name,
            status: endpoint.status,
            configuration: endpoint.configuration,
        });
    Ok(LineageReport::new(
        group, details, &graph, metrics, endpoint,
    ))
}

/// The metrics that the evaluation wrote, if the package says where.
async fn metrics(clients: &Clients, details: &ModelDetails) -> Result<Vec<Metric>> {
    let place = details
        .quality
        .as_deref()
        .and_then(|uri| uri.strip_prefix("s3://")?.split_once('/'));
    let Some((bucket, key)) = place else {
        return Ok(Vec::new());
    };
    let object = clients
        .s3
        .get_object()
        .bucket(bucket)
        .key(key)
        .send()
        .await
        .aws_unless(
            format!("cannot read s3://{bucket}/{key}"),
            &["NoSuchKey", "NoSuchBucket"],
        )?;
    let Some(object) = object else {
        return Ok(Vec::new());
    };
    let bytes = object.body.collect().await?.into_bytes();
    Ok(read_metrics(
        &serde_json::from_slice(&bytes).unwrap_or_default(),
    ))
}

/// The metrics of `{"regression_metrics": {"rmse": {"value": 1.0}}}`, of any kind of model.
fn read_metrics(evaluation: &Value) -> Vec<Metric> {
    let kinds = evaluation.as_object().into_iter().flatten();
    kinds
        .filter(|(kind, _)| kind.ends_with("_metrics"))
        .filter_map(|(_, metrics)| metrics.as_object())
        .flatten()
        .filter_map(|(name, metric)| {
            Some(Metric {
                name: name.clone(),
                value: metric["value"].as_f64()?,
            })
        })
        .collect()
}

/// Where a model version comes from.
#[derive(Debug, Serialize)]
pub struct LineageReport {
    /// The model package group.
    pub model: String,
    /// What the registry knows of the version.
    #[serde(flatten)]
    pub details: ModelDetails,
    /// The versions of data sets that went into it.
    pub data: Vec<DataVersion>,
    /// Images by digest.
    pub images: Vec<String>,
    /// Git commits.
    pub commits: Vec<String>,
    /// The jobs that made it.
    pub jobs: Vec<Job>,
    /// What the evaluation found.
    pub metrics: Vec<Metric>,
    /// What serves it now.
    pub endpoint: Option<ServedBy>,
}

/// A version of a data set.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct DataVersion {
    /// The version id of its manifest.
    pub version: String,
    /// The manifest.
    pub uri: String,
}

/// A job.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Job {
    /// Its name.
    pub name: String,
    /// `TrainingJob` or `ProcessingJob`.
    pub r#type: String,
    /// How it ended.
    pub status: Option<String>,
}

/// A metric of the evaluation.
#[derive(Debug, PartialEq, Serialize)]
pub struct Metric {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: f64,
}

/// The endpoint that serves a version.
#[derive(Debug, Serialize)]
pub struct ServedBy {
    /// Its name.
    pub name: String,
    /// Its status.
    pub status: String,
    /// Its configuration.
    pub configuration: Option<String>,
}

impl LineageReport {
    fn new(
        model: &str,
        details: ModelDetails,
        graph: &lineage::Graph,
        metrics: Vec<Metric>,
        endpoint: Option<ServedBy>,
    ) -> Self {
        let of_type = |word: &'static str| {
            let found = graph.ascendants.iter();
            found.filter(move |entity| entity.kind == "Artifact" && entity.r#type == word)
        };
        let mut data: Vec<DataVersion> = of_type("DataSet").filter_map(data_version).collect();
        let mut commits: Vec<String> = of_type("Code").filter_map(commit).collect();
        // A version that was never promoted is only in the registry's own record.
        let recorded = |name: &str| details.properties.get(name);
        if let (true, Some(version), Some(uri)) = (
            data.is_empty(),
            recorded("InputDataVersion"),
            recorded("InputDataUri"),
        ) {
            data.push(DataVersion {
                version: version.clone(),
                uri: uri.clone(),
            });
        }
        if commits.is_empty() {
            commits.extend(details.commit.clone());
        }
        let mut images: Vec<String> = of_type("Image")
            .filter_map(|entity| entity.source.clone())
            .collect();
        if images.is_empty() {
            images.extend(details.image.clone());
        }
        let mut jobs: Vec<Job> = graph
            .ascendants
            .iter()
            .filter(|entity| entity.kind == "TrialComponent")
            .map(|entity| Job {
                name: entity
                    .source
                    .as_deref()
                    .and_then(|arn| arn.rsplit('/').next())
                    .unwrap_or_default()
                    .to_owned(),
                r#type: entity.r#type.clone(),
                status: entity.properties.get("Status").cloned(),
            })
            .collect();
        // Ascendants come nearest first; a story is told from its beginning.
        jobs.reverse();
        Self {
            model: model.to_owned(),
            details,
            data,
            images,
            commits,
            jobs,
            metrics,
            endpoint,
        }
    }
}

fn data_version(entity: &Entity) -> Option<DataVersion> {
    let uri = entity.source.as_ref()?;
    let (_, version) = uri.split_once("?versionId=")?;
    Some(DataVersion {
        version: version.to_owned(),
        uri: uri.clone(),
    })
}

fn commit(entity: &Entity) -> Option<String> {
    let (_, commit) = entity.source.as_ref()?.split_once("?commit=")?;
    Some(commit.to_owned())
}

impl Report for LineageReport {}

impl fmt::Display for LineageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let details = &self.details;
        let stage = details.stage.as_ref().map(|stage| format!(", {stage}"));
        writeln!(
            f,
            "{} version {} ({}{})",
            self.model,
            details.version.version,
            details.version.approval,
            stage.unwrap_or_default()
        )?;
        let mut lines: Vec<(&str, String)> = Vec::new();
        for data in &self.data {
            lines.push(("data", format!("version {}\n{}", data.version, data.uri)));
        }
        for image in &self.images {
            lines.push(("image", image.replacen('@', "\n@", 1)));
        }
        for commit in &self.commits {
            lines.push(("commit", commit.clone()));
        }
        if let Some(execution) = &details.generated_by {
            let id = execution.rsplit('/').next().unwrap_or(execution);
            lines.push(("execution", id.to_owned()));
        }
        for job in &self.jobs {
            let status = job.status.as_deref().unwrap_or("unknown");
            lines.push(("job", format!("{} ({}, {status})", job.name, job.r#type)));
        }
        for metric in &self.metrics {
            lines.push(("metric", format!("{} {:.4}", metric.name, metric.value)));
        }
        if let Some(artifact) = &details.artifact {
            lines.push(("artifact", artifact.clone()));
        }
        match &self.endpoint {
            Some(endpoint) => lines.push((
                "endpoint",
                format!("{} ({})", endpoint.name, endpoint.status),
            )),
            None => lines.push(("endpoint", "none serves it".to_owned())),
        }
        let last = lines.len() - 1;
        let mut before = "";
        for (index, (label, text)) in lines.iter().enumerate() {
            let (branch, stem) = if index == last {
                ("└─", "  ")
            } else {
                ("├─", "│ ")
            };
            let shown = if *label == before { "" } else { label };
            before = label;
            for (number, line) in clean(text).lines().enumerate() {
                if number == 0 {
                    writeln!(f, "{branch} {shown:<10} {line}")?;
                } else {
                    writeln!(f, "{stem} {:<10} {line}", "")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn entity(kind: &str, word: &str, source: &str) -> Entity {
        Entity {
            arn: "a".to_owned(),
            kind: kind.to_owned(),
            r#type: word.to_owned(),
            name: None,
            source: Some(source.to_owned()),
            properties: BTreeMap::from([("Status".to_owned(), "Completed".to_owned())]),
        }
    }

    #[test]
    fn the_report_is_read_from_the_graph() {
        let details = ModelDetails {
            version: hosting::ModelVersion {
                version: Version(1),
                arn: "arn".to_owned(),
                approval: "Approved".to_owned(),
            },
            stage: None,
            image: Some("h/flights@sha256:old".to_owned()),
            artifact: None,
            commit: Some("from-metadata".to_owned()),
            generated_by: None,
            properties: BTreeMap::new(),
            quality: None,
        };
        let graph = lineage::Graph {
            ascendants: vec![
                entity(
                    "TrialComponent",
                    "TrainingJob",
                    "arn:x:training-job/train-1",
                ),
                entity(
                    "Artifact",
                    "DataSet",
                    "s3://b/datasets/f/manifest.json?versionId=v7",
                ),
                entity("Artifact", "DataSet", "s3://b/snapshots/f/v7/"),
                entity("Artifact", "Image", "h/flights@sha256:new"),
                entity(
                    "Artifact",
                    "Code",
                    "codecommit::us-east-1://flights?commit=abc",
                ),
            ],
            descendants: Vec::new(),
        };
        let report = LineageReport::new("flights", details, &graph, Vec::new(), None);
        assert_eq!(report.data[0].version, "v7");
        assert_eq!(report.data.len(), 1, "a snapshot is not a version");
        assert_eq!(report.images, ["h/flights@sha256:new"]);
        assert_eq!(report.commits, ["abc"]);
        assert_eq!(report.jobs[0].name, "train-1");
        let text = report.to_string();
        assert!(text.contains("└─ endpoint   none serves it"), "{text}");
    }

    #[test]
    fn metrics_of_any_kind_are_read() {
        let evaluation = json!({"version": 0.0, "regression_metrics": {
            "rmse": {"value": 1.5, "standard_deviation": "NaN"}, "note": "x"}});
        let found = read_metrics(&evaluation);
        assert_eq!(
            found,
            [Metric {
                name: "rmse".to_owned(),
                value: 1.5
            }]
        );
    }
}
