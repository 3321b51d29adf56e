//! Artifacts, actions, contexts and trial components: one record each, under its ARN.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::{requests, tags};
use super::associations;
use crate::api::{ApiError, ApiResult};
use crate::{Cloud, clock};

/// A kind of entity (the service model's `LineageType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    Artifact,
    Action,
    Context,
    TrialComponent,
}

impl Kind {
    /// The prefix of member names, and the value of `LineageType`.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Artifact => "Artifact",
            Self::Action => "Action",
            Self::Context => "Context",
            Self::TrialComponent => "TrialComponent",
        }
    }

    fn resource(self) -> &'static str {
        match self {
            Self::Artifact => "artifact",
            Self::Action => "action",
            Self::Context => "context",
            Self::TrialComponent => "experiment-trial-component",
        }
    }

    fn member(self, suffix: &str) -> String {
        format!("{}{suffix}", self.word())
    }
}

/// An entity as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Entity {
    pub(super) kind: Kind,
    pub(super) arn: String,
    pub(super) name: Option<String>,
    /// `ArtifactType`, `ActionType`, `ContextType`; of a trial component the kind of job.
    pub(super) type_name: String,
    /// `Source` as the API writes it.
    pub(super) source: Value,
    pub(super) properties: BTreeMap<String, String>,
    /// `Description`, `Status`, `MetadataProperties`, and what only a trial component has.
    pub(super) rest: Map<String, Value>,
    pub(super) created: f64,
    pub(super) modified: f64,
}

impl Entity {
    /// A new entity; of an artifact `id` is the source URI, of the others the name.
    pub(super) fn new(cloud: &Cloud, kind: Kind, id: &str, type_name: &str, source: Value) -> Self {
        let (name, key) = match kind {
            Kind::Artifact => (None, artifact_id(id)),
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

    /// The entity as `Describe…` answers it.
    fn describe(&self) -> Value {
        let mut answer = self.summary();
        if self.kind != Kind::TrialComponent {
            answer["Properties"] = json!(self.properties);
        }
        if let Value::Object(answer) = &mut answer {
            answer.extend(self.rest.clone());
        }
        answer
    }

    fn summary(&self) -> Value {
        let mut answer = json!({
            self.kind.member("Arn"): self.arn,
            "Source": self.source,
            "CreationTime": self.created,
            "LastModifiedTime": self.modified,
        });
        if let Some(name) = &self.name {
            answer[self.kind.member("Name")] = json!(name);
        }
        if self.kind == Kind::TrialComponent {
            answer["DisplayName"] = json!(self.name);
        } else {
            answer[self.kind.member("Type")] = json!(self.type_name);
        }
        answer
    }
}

/// The same source URI always has the same ARN: there is only one artifact of it.
fn artifact_id(source_uri: &str) -> String {
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, source_uri.as_bytes())
        .simple()
        .to_string()
}

/// Keeps a new entity; false when it exists already.
pub(super) fn insert(cloud: &Cloud, entity: &Entity) -> ApiResult<bool> {
    cloud
        .store()
        .collection("sagemaker", "lineage-entity")
        .insert(&entity.arn, entity)
}

/// Keeps an entity, new or changed.
pub(super) fn put(cloud: &Cloud, entity: &Entity) -> ApiResult<()> {
    cloud
        .store()
        .collection("sagemaker", "lineage-entity")
        .put(&entity.arn, entity)
}

/// An entity by its ARN.
pub(super) fn find(cloud: &Cloud, arn: &str) -> ApiResult<Option<Entity>> {
    cloud
        .store()
        .collection::<Entity>("sagemaker", "lineage-entity")
        .get(arn)
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
fn all(cloud: &Cloud, kind: Kind) -> ApiResult<Vec<Entity>> {
    let prefix = cloud.arn("sagemaker", format_args!("{}/", kind.resource()));
    Ok(cloud
        .store()
        .collection::<Entity>("sagemaker", "lineage-entity")
        .list(&prefix)?
        .into_iter()
        .map(|(_, entity)| entity)
        .collect())
}

/// The ARN that a request means: by ARN or name; an artifact also by its source.
fn target(cloud: &Cloud, kind: Kind, input: &Value) -> ApiResult<String> {
    if kind == Kind::Artifact {
        if let Some(uri) = input["Source"]["SourceUri"].as_str() {
            return Ok(cloud.arn("sagemaker", format_args!("artifact/{}", artifact_id(uri))));
        }
        return requests::required(input, "ArtifactArn").map(str::to_owned);
    }
    let name = requests::required(input, &kind.member("Name"))?;
    if name.starts_with("arn:") {
        return Ok(name.to_owned());
    }
    Ok(cloud.arn(
        "sagemaker",
        format_args!("{}/{}", kind.resource(), name.to_lowercase()),
    ))
}

fn create(cloud: &Cloud, kind: Kind, input: &Value) -> ApiResult<Value> {
    let source = &input["Source"];
    let uri = requests::required(source, "SourceUri")?;
    let type_name = requests::required(input, &kind.member("Type"))?;
    let mut entity = if kind == Kind::Artifact {
        let mut entity = Entity::new(cloud, kind, uri, type_name, source.clone());
        entity.name = requests::optional(input, "ArtifactName").map(str::to_owned);
        entity
    } else {
        let name = requests::name(input, &kind.member("Name"), 120)?;
        Entity::new(cloud, kind, name, type_name, source.clone())
    };
    if let Some(properties) = input.get("Properties") {
        entity.properties = crate::api::parse(properties.clone())?;
    }
    check(&entity.properties)?;
    if let Value::Object(rest) =
        requests::pick(input, &["Description", "Status", "MetadataProperties"])
    {
        entity.rest = rest;
    }
    requests::one_of(input, "Status", STATUSES)?;
    let entities = cloud.store().collection("sagemaker", "lineage-entity");
    cloud.store().transaction(|transaction| {
        if entities.get_in(transaction, &entity.arn)?.is_some() {
            return Err(ApiError::validation(format!(
                "{} already exists: {}",
                kind.word(),
                entity.arn
            )));
        }
        entities.put_in(transaction, &entity.arn, &entity)?;
        tags::put_in(cloud, transaction, &entity.arn, input.get("Tags"))
    })?;
    Ok(json!({ kind.member("Arn"): entity.arn }))
}

const STATUSES: &[&str] = &[
    "Unknown",
    "InProgress",
    "Completed",
    "Failed",
    "Stopping",
    "Stopped",
];

fn check(properties: &BTreeMap<String, String>) -> ApiResult<()> {
    if properties.len() > 30 || properties.values().any(|value| value.len() > 4096) {
        return Err(ApiError::validation(
            "An entity can have at most 30 properties of at most 4096 characters",
        ));
    }
    Ok(())
}

fn describe(cloud: &Cloud, kind: Kind, input: &Value) -> ApiResult<Value> {
    Ok(get(cloud, &target(cloud, kind, input)?)?.describe())
}

fn list(cloud: &Cloud, kind: Kind, input: &Value) -> ApiResult<Value> {
    let type_member = kind.member("Type");
    let found = all(cloud, kind)?
        .into_iter()
        .filter(|entity| {
            let source = requests::optional(input, "SourceUri")
                .is_none_or(|uri| entity.source["SourceUri"] == uri);
            let job = requests::optional(input, "SourceArn")
                .is_none_or(|arn| entity.source["SourceArn"] == arn);
            let of_type = requests::optional(input, &type_member)
                .is_none_or(|wanted| entity.type_name == wanted);
            source && job && of_type
        })
        .map(|entity| {
            let mut summary = entity.summary();
            if let Some(status) = entity.rest.get("Status") {
                summary["Status"] = status.clone();
            }
            if kind == Kind::TrialComponent {
                summary["TrialComponentSource"] = summary["Source"].take();
                summary["StartTime"] = entity.rest.get("StartTime").cloned().unwrap_or_default();
                summary["EndTime"] = entity.rest.get("EndTime").cloned().unwrap_or_default();
            }
            summary
        })
        .collect();
    let listing = requests::Listing {
        name: match kind {
            Kind::Artifact => "ArtifactName",
            Kind::Action => "ActionName",
            Kind::Context => "ContextName",
            Kind::TrialComponent => "TrialComponentName",
        },
        status: None,
        sort_by: "CreationTime",
        descending: true,
    };
    let (page, token) = listing.page(found, input)?;
    Ok(json!({ kind.member("Summaries"): page, "NextToken": token }))
}

fn update(cloud: &Cloud, kind: Kind, input: &Value) -> ApiResult<Value> {
    let arn = target(cloud, kind, input)?;
    let mut entity = get(cloud, &arn)?;
    if kind == Kind::Artifact
        && let Some(name) = requests::optional(input, "ArtifactName")
    {
        entity.name = Some(name.to_owned());
    }
    requests::one_of(input, "Status", STATUSES)?;
    if let Value::Object(changed) = requests::pick(input, &["Description", "Status"]) {
        entity.rest.extend(changed);
    }
    if let Some(properties) = input.get("Properties") {
        let changed: BTreeMap<String, String> = crate::api::parse(properties.clone())?;
        entity.properties.extend(changed);
    }
    if let Some(removed) = input.get("PropertiesToRemove") {
        let removed: Vec<String> = crate::api::parse(removed.clone())?;
        entity.properties.retain(|key, _| !removed.contains(key));
    }
    check(&entity.properties)?;
    entity.modified = clock::epoch();
    put(cloud, &entity)?;
    Ok(json!({ kind.member("Arn"): arn }))
}

fn delete(cloud: &Cloud, kind: Kind, input: &Value) -> ApiResult<Value> {
    let arn = get(cloud, &target(cloud, kind, input)?)?.arn;
    if associations::all(cloud)?
        .iter()
        .any(|edge| edge.source == arn || edge.destination == arn)
    {
        return Err(ApiError::validation(format!(
            "Cannot delete {arn}: it has associations. Delete them first."
        )));
    }
    let entities = cloud
        .store()
        .collection::<Entity>("sagemaker", "lineage-entity");
    cloud.store().transaction(|transaction| {
        entities.remove_in(transaction, &arn)?;
        tags::remove_in(cloud, transaction, &arn)
    })?;
    Ok(json!({ kind.member("Arn"): arn }))
}

macro_rules! handlers {
    ($($name:ident => $work:ident($kind:ident)),* $(,)?) => {
        $(pub(super) async fn $name(cloud: &Cloud, input: Value) -> ApiResult<Value> {
            $work(cloud, Kind::$kind, &input)
        })*
    };
}

handlers! {
    create_artifact => create(Artifact),
    describe_artifact => describe(Artifact),
    list_artifacts => list(Artifact),
    update_artifact => update(Artifact),
    delete_artifact => delete(Artifact),
    create_action => create(Action),
    describe_action => describe(Action),
    list_actions => list(Action),
    update_action => update(Action),
    delete_action => delete(Action),
    create_context => create(Context),
    describe_context => describe(Context),
    list_contexts => list(Context),
    update_context => update(Context),
    delete_context => delete(Context),
    list_trial_components => list(TrialComponent),
    describe_trial_component => describe(TrialComponent),
}
