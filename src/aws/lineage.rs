//! Lineage: the entities that SageMaker records, and those that `mlops` adds.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, Result};
use aws_sdk_sagemaker::types::{ArtifactSource, AssociationEdgeType, Direction};
use mlops_oci::registry::ImageReference;
use serde::Serialize;

use super::sagemaker::models::Model;
use super::{AwsResultExt, Clients, datasets};

/// An entity of the lineage graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entity {
    /// Its ARN.
    pub arn: String,
    /// `Artifact`, `Action`, `Context` or `TrialComponent`.
    pub kind: String,
    /// Its type: `DataSet`, `Model`, `Image`, `TrainingJob`, …
    pub r#type: String,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The source that it represents.
    pub source: Option<String>,
    /// Its properties; for a job, its status.
    pub properties: BTreeMap<String, String>,
}

impl Entity {
    /// Adds the response of a Describe call for an artifact, an action or a context.
    fn set(
        &mut self,
        name: Option<String>,
        source: Option<String>,
        properties: Option<HashMap<String, String>>,
    ) {
        self.name = name;
        self.source = source;
        self.properties = properties.into_iter().flatten().collect();
    }
}

/// The lineage of a model version.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Graph {
    /// The inputs of the version.
    pub ascendants: Vec<Entity>,
    /// The uses of the version.
    pub descendants: Vec<Entity>,
}

/// An artifact to register: source URI, type, properties.
type NewArtifact = (String, &'static str, Vec<(&'static str, String)>);

/// Registers what SageMaker does not track: the data set's version, the image's digest and the git
/// commit, each associated with the model version. Idempotent.
pub async fn register(clients: &Clients, repository: &str, model: &Model) -> Result<()> {
    let package = artifact(clients, &model.arn, "Model", &[]).await?;
    let property = |name: &str| model.properties.get(name).map(String::as_str);
    let mut sources: Vec<NewArtifact> = Vec::new();
    if let (Some(snapshot), Some(version)) =
        (property("InputDataUri"), property("InputDataVersion"))
        && let Ok(snapshot) = snapshot.parse()
        && let Some(manifest) = datasets::manifest_of_snapshot(&snapshot, version)
    {
        let properties = vec![("Version", version.to_owned())];
        sources.push((manifest.to_string(), "DataSet", properties));
    }
    if let Some(image) = property("ImageUri").or(model.image.as_deref())
        && image
            .parse::<ImageReference>()
            .is_ok_and(|image| image.digest.is_some())
    {
        sources.push((image.to_owned(), "Image", Vec::new()));
    }
    if let Some(commit) = model.revision() {
        let uri = format!(
            "codecommit::{}://{repository}?commit={commit}",
            clients.region()
        );
        sources.push((uri, "Code", vec![("CommitId", commit)]));
    }
    for (uri, kind, properties) in sources {
        let source = artifact(clients, &uri, kind, &properties).await?;
        associate(clients, &source, &package).await?;
    }
    Ok(())
}

/// Returns the ARN of the artifact with a source URI, if it exists.
async fn find(clients: &Clients, uri: &str) -> Result<Option<String>> {
    let found = clients
        .sagemaker
        .list_artifacts()
        .source_uri(uri)
        .send()
        .await
        .aws("cannot list lineage artifacts")?;
    Ok(found
        .artifact_summaries()
        .first()
        .and_then(|artifact| artifact.artifact_arn())
        .map(str::to_owned))
}

/// Returns the ARN of the artifact with a source URI; creates the artifact if necessary.
async fn artifact(
    clients: &Clients,
    uri: &str,
    kind: &str,
    properties: &[(&str, String)],
) -> Result<String> {
    if let Some(arn) = find(clients, uri).await? {
        return Ok(arn);
    }
    let mut request = clients
        .sagemaker
        .create_artifact()
        .artifact_type(kind)
        .source(ArtifactSource::builder().source_uri(uri).build());
    for (name, value) in properties {
        request = request.properties(*name, value);
    }
    let made = request
        .send()
        .await
        .aws(format!("cannot register {uri} in lineage"))?;
    made.artifact_arn
        .with_context(|| format!("SageMaker returned no ARN for {uri}"))
}

async fn associate(clients: &Clients, source: &str, destination: &str) -> Result<()> {
    let found = clients
        .sagemaker
        .list_associations()
        .source_arn(source)
        .destination_arn(destination)
        .send()
        .await
        .aws("cannot list lineage associations")?;
    if found.association_summaries().is_empty() {
        clients
            .sagemaker
            .add_association()
            .source_arn(source)
            .destination_arn(destination)
            .association_type(AssociationEdgeType::ContributedTo)
            .send()
            .await
            .aws("cannot register a lineage association")?;
    }
    Ok(())
}

/// Returns the ancestors and descendants of a model version; `None` if it has no lineage.
pub async fn graph(clients: &Clients, package: &str) -> Result<Option<Graph>> {
    let Some(start) = find(clients, package).await? else {
        return Ok(None);
    };
    Ok(Some(Graph {
        ascendants: walk(clients, &start, Direction::Ascendants).await?,
        descendants: walk(clients, &start, Direction::Descendants).await?,
    }))
}

async fn walk(clients: &Clients, start: &str, direction: Direction) -> Result<Vec<Entity>> {
    let mut pages = clients
        .sagemaker
        .query_lineage()
        .start_arns(start)
        .direction(direction)
        .include_edges(false)
        .max_depth(10)
        .into_paginator()
        .send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.aws("cannot query lineage")?;
        for vertex in page.vertices() {
            let (Some(arn), Some(kind)) = (vertex.arn(), vertex.lineage_type()) else {
                continue;
            };
            if arn != start {
                let word = vertex.r#type().unwrap_or_default();
                found.push(describe(clients, arn, kind.as_str(), word).await?);
            }
        }
    }
    Ok(found)
}

async fn describe(clients: &Clients, arn: &str, kind: &str, word: &str) -> Result<Entity> {
    let name = arn.rsplit('/').next().unwrap_or(arn);
    let doing = format!("cannot describe {arn}");
    let mut entity = Entity {
        arn: arn.to_owned(),
        kind: kind.to_owned(),
        r#type: word.to_owned(),
        name: None,
        source: None,
        properties: BTreeMap::new(),
    };
    let sagemaker = &clients.sagemaker;
    match kind {
        "Artifact" => {
            let found = sagemaker
                .describe_artifact()
                .artifact_arn(arn)
                .send()
                .await
                .aws(doing)?;
            let source = found.source.and_then(|source| source.source_uri);
            entity.set(found.artifact_name, source, found.properties);
        }
        "Action" => {
            let found = sagemaker
                .describe_action()
                .action_name(name)
                .send()
                .await
                .aws(doing)?;
            let source = found.source.and_then(|source| source.source_uri);
            entity.set(found.action_name, source, found.properties);
        }
        "Context" => {
            let found = sagemaker
                .describe_context()
                .context_name(name)
                .send()
                .await
                .aws(doing)?;
            let source = found.source.and_then(|source| source.source_uri);
            entity.set(found.context_name, source, found.properties);
        }
        _ => {
            let found = sagemaker
                .describe_trial_component()
                .trial_component_name(name)
                .send()
                .await
                .aws(doing)?;
            entity.source = found
                .source()
                .and_then(|source| source.source_arn())
                .map(str::to_owned);
            if let Some(status) = found.status().and_then(|status| status.primary_status()) {
                entity
                    .properties
                    .insert("Status".to_owned(), status.as_str().to_owned());
            }
            entity.name = found.trial_component_name;
        }
    }
    Ok(entity)
}
