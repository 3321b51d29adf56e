//! The stored lineage graph: entities (artifacts, actions, contexts and trial
//! components), each under its ARN, and the associations between them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::api::{ApiError, ApiResult};
use crate::store::Collection;
use crate::{Cloud, clock};

/// The types of entities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum LineageType {
    Artifact,
    Action,
    Context,
    TrialComponent,
}

impl LineageType {
    /// The prefix of member names, and the value of `LineageType`.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Artifact => "Artifact",
            Self::Action => "Action",
            Self::Context => "Context",
            Self::TrialComponent => "TrialComponent",
        }
    }

    pub(super) fn resource(self) -> &'static str {
        match self {
            Self::Artifact => "artifact",
            Self::Action => "action",
            Self::Context => "context",
            Self::TrialComponent => "experiment-trial-component",
        }
    }

    pub(super) fn member(self, suffix: &str) -> String {
        format!("{}{suffix}", self.word())
    }
}

/// A stored entity.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Entity {
    pub(super) kind: LineageType,
    pub(super) arn: String,
    pub(super) name: Option<String>,
    /// `ArtifactType`, `ActionType`, `ContextType`; of a trial component the kind of job.
    pub(super) type_name: String,
    /// `Source` as the API writes it.
    pub(super) source: Value,
    pub(super) properties: BTreeMap<String, String>,
    /// `Description`, `Status`, `MetadataProperties`, and the members that only trial components have.
    pub(super) rest: Map<String, Value>,
    pub(super) created: f64,
    pub(super) modified: f64,
}

impl Entity {
    /// A new entity; `id` is the source URI of an artifact, or the name of any other entity.
    pub(super) fn new(
        cloud: &Cloud,
        kind: LineageType,
        id: &str,
        type_name: &str,
        source: Value,
    ) -> Self {
        let (name, key) = match kind {
            LineageType::Artifact => (None, artifact_id(id)),
            // ARNs of actions, contexts and trial components are in lower case.
            _ => (Some(id.to_owned()), id.to_lowercase()),
        };
        let now = clock::epoch();
        Self {
            kind,
            arn: cloud.arn("sagemaker", format_args!("{}/{key}", kind.resource())),
            name,
            type_name: type_name.to_owned(),
            source,
            properties: BTreeMap::new(),
            rest: Map::new(),
            created: now,
            modified: now,
        }
    }

    /// The entity as `Describe…` returns it.
    pub(super) fn describe(&self) -> Value {
        let mut answer = self.summary();
        if self.kind != LineageType::TrialComponent {
            answer["Properties"] = json!(self.properties);
        }
        if let Value::Object(answer) = &mut answer {
            answer.extend(self.rest.clone());
        }
        answer
    }

    pub(super) fn summary(&self) -> Value {
        let mut answer = json!({
            self.kind.member("Arn"): self.arn,
            "Source": self.source,
            "CreationTime": self.created,
            "LastModifiedTime": self.modified,
        });
        if let Some(name) = &self.name {
            answer[self.kind.member("Name")] = json!(name);
        }
        if self.kind == LineageType::TrialComponent {
            answer["DisplayName"] = json!(self.name);
        } else {
            answer[self.kind.member("Type")] = json!(self.type_name);
        }
        answer
    }
}

/// A source URI always has the same ARN: it has only one artifact.
pub(super) fn artifact_id(source_uri: &str) -> String {
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, source_uri.as_bytes())
        .simple()
        .to_string()
}

/// Every entity, by its ARN.
pub(super) fn entities(cloud: &Cloud) -> Collection<'_, Entity> {
    cloud.store().collection("sagemaker", "lineage-entity")
}

/// Stores a new entity; false when it exists already.
pub(super) fn insert(cloud: &Cloud, entity: &Entity) -> ApiResult<bool> {
    entities(cloud).insert(&entity.arn, entity)
}

/// Stores an entity, new or changed.
pub(super) fn put(cloud: &Cloud, entity: &Entity) -> ApiResult<()> {
    entities(cloud).put(&entity.arn, entity)
}

/// An entity by its ARN.
pub(super) fn find(cloud: &Cloud, arn: &str) -> ApiResult<Option<Entity>> {
    entities(cloud).get(arn)
}

/// An entity by its ARN; `ResourceNotFound`.
pub(super) fn get(cloud: &Cloud, arn: &str) -> ApiResult<Entity> {
    find(cloud, arn)?.ok_or_else(|| {
        ApiError::not_found(
            "ResourceNotFound",
            format!("Lineage entity '{arn}' does not exist."),
        )
    })
}

/// Every entity of a kind.
pub(super) fn entities_of(cloud: &Cloud, kind: LineageType) -> ApiResult<Vec<Entity>> {
    let prefix = cloud.arn("sagemaker", format_args!("{}/", kind.resource()));
    Ok(entities(cloud)
        .list(&prefix)?
        .into_iter()
        .map(|(_, entity)| entity)
        .collect())
}

/// The types that an association can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum AssociationType {
    ContributedTo,
    AssociatedWith,
    DerivedFrom,
    Produced,
    SameAs,
}

/// An edge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Edge {
    pub(super) source: String,
    pub(super) destination: String,
    pub(super) association: Option<AssociationType>,
    pub(super) created: f64,
}

fn key(source: &str, destination: &str) -> String {
    format!("{source} {destination}")
}

fn associations(cloud: &Cloud) -> Collection<'_, Edge> {
    cloud.store().collection("sagemaker", "lineage-association")
}

/// Every edge.
pub(super) fn edges(cloud: &Cloud) -> ApiResult<Vec<Edge>> {
    Ok(associations(cloud)
        .list("")?
        .into_iter()
        .map(|(_, edge)| edge)
        .collect())
}

/// Connects two entities; one edge in each direction between two entities, the last type wins.
pub(super) fn connect(
    cloud: &Cloud,
    source: &str,
    destination: &str,
    association: Option<AssociationType>,
) -> ApiResult<()> {
    associations(cloud).put(
        &key(source, destination),
        &Edge {
            source: source.to_owned(),
            destination: destination.to_owned(),
            association,
            created: clock::epoch(),
        },
    )
}

/// Removes the edge between two entities; false when there is none.
pub(super) fn disconnect(cloud: &Cloud, source: &str, destination: &str) -> ApiResult<bool> {
    associations(cloud).remove(&key(source, destination))
}
