//! The report of `mlops lineage`.

use mlops_core::s3::S3Object;
use serde::Serialize;

use crate::aws::lineage::{Entity, Graph};
use crate::aws::sagemaker::models::Model;
use crate::aws::sagemaker::runs::Origin;
use crate::aws::state::EndpointState;
use crate::output::Report;

/// The origin of a model version.
#[derive(Debug, Serialize)]
pub struct LineageReport {
    /// The model package group.
    pub model: String,
    /// The registry's record of the version.
    #[serde(flatten)]
    pub version: Model,
    /// The branch that it was trained on, if its run recorded one.
    pub branch: Option<String>,
    /// Why its run was started, if that was recorded.
    pub reason: Option<String>,
    /// The versions of data sets it was trained on.
    pub data: Vec<DataVersion>,
    /// Images by digest.
    pub images: Vec<String>,
    /// Git commits.
    pub commits: Vec<String>,
    /// The jobs that produced it.
    pub jobs: Vec<LineageJob>,
    /// The endpoint that serves it now.
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
pub struct LineageJob {
    /// Name of the job.
    pub name: String,
    /// `TrainingJob` or `ProcessingJob`.
    pub r#type: String,
    /// Final status.
    pub status: Option<String>,
}

/// The endpoint that serves a version.
#[derive(Debug, Serialize)]
pub struct ServedBy {
    /// Name of the job.
    pub name: String,
    /// Its status.
    pub status: EndpointState,
    /// Its configuration.
    pub configuration: Option<String>,
}

impl LineageReport {
    pub(super) fn new(
        model: &str,
        version: Model,
        origin: Origin,
        graph: &Graph,
        endpoint: Option<ServedBy>,
    ) -> Self {
        let of_type = |word: &'static str| {
            let found = graph.ascendants.iter();
            found.filter(move |entity| entity.kind == "Artifact" && entity.r#type == word)
        };
        let mut data: Vec<DataVersion> = of_type("DataSet").filter_map(data_version).collect();
        let mut commits: Vec<String> = of_type("Code").filter_map(commit).collect();
        // A version that was never promoted exists only in the registry's own record.
        let recorded = |name: &str| version.properties.get(name);
        if let (true, Some(id), Some(uri)) = (
            data.is_empty(),
            recorded("InputDataVersion"),
            recorded("InputDataUri"),
        ) {
            data.push(DataVersion {
                version: id.clone(),
                uri: uri.clone(),
            });
        }
        if commits.is_empty() {
            commits.extend(version.revision());
        }
        let mut images: Vec<String> = of_type("Image")
            .filter_map(|entity| entity.source.clone())
            .collect();
        if images.is_empty() {
            images.extend(version.image.clone());
        }
        let mut jobs: Vec<LineageJob> = graph
            .ascendants
            .iter()
            .filter(|entity| entity.kind == "TrialComponent")
            .map(|entity| LineageJob {
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
        // Ascendants are listed nearest first; the report starts with the earliest.
        jobs.reverse();
        Self {
            model: model.to_owned(),
            version,
            branch: origin.branch,
            reason: origin.reason,
            data,
            images,
            commits,
            jobs,
            endpoint,
        }
    }
}

fn data_version(entity: &Entity) -> Option<DataVersion> {
    let uri = entity.source.as_ref()?;
    let manifest: S3Object = uri.parse().ok()?;
    Some(DataVersion {
        version: manifest.version_id?,
        uri: uri.clone(),
    })
}

fn commit(entity: &Entity) -> Option<String> {
    let (_, commit) = entity.source.as_ref()?.split_once("?commit=")?;
    Some(commit.to_owned())
}

impl Report for LineageReport {}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_sagemaker::types::ModelApprovalStatus;
    use mlops_core::names::Version;
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
        let version = Model {
            version: Version(1),
            arn: "arn".to_owned(),
            status: ModelApprovalStatus::Approved.into(),
            approval_description: None,
            stage: None,
            created: None,
            commit: Some("from-metadata".to_owned()),
            dirty: false,
            image: Some("h/flights@sha256:old".to_owned()),
            artifact: None,
            run: None,
            run_arn: None,
            metrics_uri: None,
            metrics: serde_json::Map::new(),
            properties: BTreeMap::new(),
            changed: None,
            changed_by: None,
        };
        let graph = Graph {
            ascendants: vec![
                entity(
                    "TrialComponent",
                    "TrainingJob",
                    "arn:x:training-job/train-1",
                ),
                entity(
                    "TrialComponent",
                    "ProcessingJob",
                    "arn:x:processing-job/preprocess-1",
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
        let origin = Origin {
            branch: Some("develop".to_owned()),
            reason: Some("drift: flights-drift-data-quality".to_owned()),
            ..Origin::default()
        };
        let report = LineageReport::new("flights", version, origin, &graph, None);
        assert_eq!(report.data[0].version, "v7");
        assert_eq!(report.data.len(), 1, "a snapshot is not a version");
        assert_eq!(report.images, ["h/flights@sha256:new"]);
        assert_eq!(report.commits, ["abc"]);
        assert_eq!(report.jobs[1].name, "train-1");
        let text = report.to_string();
        for line in [
            "├─ commit     abc, branch develop\n",
            "├─ job        preprocess-1 (ProcessingJob, Completed)\n",
            "│             train-1 (TrainingJob, Completed)\n",
            "└─ endpoint   not deployed\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }
}
