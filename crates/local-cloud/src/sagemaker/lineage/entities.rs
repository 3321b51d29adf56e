//! The operations on artifacts, actions, contexts and trial components.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::requests::{ListRequest, Listing, SortOrder, Stored, check_name, null};
use super::super::tags;
use super::graph::{self, Entity, LineageType, artifact_id};
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};
use crate::{Cloud, clock};

/// `Source` of a request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EntitySource {
    source_uri: Option<String>,
}

/// How a request refers to an entity: by ARN or name; to an artifact also by its source.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct EntityReference {
    #[serde(
        alias = "ActionName",
        alias = "ContextName",
        alias = "TrialComponentName"
    )]
    name: Option<String>,
    artifact_arn: Option<String>,
    source: Option<EntitySource>,
}

impl EntityReference {
    /// The ARN of the entity.
    fn arn(&self, cloud: &Cloud, kind: LineageType) -> ApiResult<String> {
        if kind == LineageType::Artifact {
            let source = self.source.as_ref();
            return match source.and_then(|source| source.source_uri.as_deref()) {
                Some(uri) => {
                    Ok(cloud.arn("sagemaker", format_args!("artifact/{}", artifact_id(uri))))
                }
                None => self.artifact_arn.clone().ok_or_else(|| null("ArtifactArn")),
            };
        }
        let name = self.name.as_deref();
        let name = name.ok_or_else(|| null(&kind.member("Name")))?;
        if name.starts_with("arn:") {
            return Ok(name.to_owned());
        }
        Ok(cloud.arn(
            "sagemaker",
            format_args!("{}/{}", kind.resource(), name.to_lowercase()),
        ))
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateEntity {
    #[serde(alias = "ActionName", alias = "ArtifactName", alias = "ContextName")]
    name: Option<String>,
    #[serde(alias = "ActionType", alias = "ArtifactType", alias = "ContextType")]
    r#type: String,
    source: Stored<EntitySource>,
    properties: Option<BTreeMap<String, String>>,
    tags: Option<Tags>,
}

fn create(cloud: &Cloud, kind: LineageType, input: &Stored<CreateEntity>) -> ApiResult<Value> {
    let uri = input.source.source_uri.as_deref();
    let uri = uri.ok_or_else(|| null("SourceUri"))?;
    let source = input.source.members().clone();
    let mut entity = if kind == LineageType::Artifact {
        let mut entity = Entity::new(cloud, kind, uri, &input.r#type, source);
        entity.name.clone_from(&input.name);
        entity
    } else {
        let member = kind.member("Name");
        let name = input.name.as_deref().ok_or_else(|| null(&member))?;
        check_name(name, &member, 120)?;
        Entity::new(cloud, kind, name, &input.r#type, source)
    };
    entity.properties = input.properties.clone().unwrap_or_default();
    check(&entity.properties)?;
    if let Value::Object(rest) = input.pick(&["Description", "Status", "MetadataProperties"]) {
        entity.rest = rest;
    }
    let entities = graph::entities(cloud);
    cloud.store().transaction(|transaction| {
        if entities.get_in(transaction, &entity.arn)?.is_some() {
            return Err(ApiError::validation(format!(
                "{} already exists: {}",
                kind.word(),
                entity.arn
            )));
        }
        entities.put_in(transaction, &entity.arn, &entity)?;
        tags::put_in(cloud, transaction, &entity.arn, input.tags.as_ref())
    })?;
    Ok(json!({ kind.member("Arn"): entity.arn }))
}

fn check(properties: &BTreeMap<String, String>) -> ApiResult<()> {
    if properties.len() > 30 || properties.values().any(|value| value.len() > 4096) {
        return Err(ApiError::validation(
            "An entity can have at most 30 properties of at most 4096 characters",
        ));
    }
    Ok(())
}

fn describe(cloud: &Cloud, kind: LineageType, input: &EntityReference) -> ApiResult<Value> {
    Ok(graph::get(cloud, &input.arn(cloud, kind)?)?.describe())
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListEntities {
    source_uri: Option<String>,
    source_arn: Option<String>,
    #[serde(alias = "ActionType", alias = "ArtifactType", alias = "ContextType")]
    r#type: Option<String>,
    #[serde(flatten)]
    list: ListRequest,
}

fn list(cloud: &Cloud, kind: LineageType, input: &ListEntities) -> ApiResult<Value> {
    let is = |wanted: &Option<String>, value: &Value| {
        wanted.as_deref().is_none_or(|wanted| value == wanted)
    };
    let found = graph::entities_of(cloud, kind)?
        .into_iter()
        .filter(|entity| {
            is(&input.source_uri, &entity.source["SourceUri"])
                && is(&input.source_arn, &entity.source["SourceArn"])
                && (input.r#type.as_ref()).is_none_or(|wanted| entity.type_name == *wanted)
        })
        .map(|entity| {
            let mut summary = entity.summary();
            if let Some(status) = entity.rest.get("Status") {
                summary["Status"] = status.clone();
            }
            if kind == LineageType::TrialComponent {
                summary["TrialComponentSource"] = summary["Source"].take();
                summary["StartTime"] = entity.rest.get("StartTime").cloned().unwrap_or_default();
                summary["EndTime"] = entity.rest.get("EndTime").cloned().unwrap_or_default();
            }
            summary
        })
        .collect();
    let listing = Listing {
        name: match kind {
            LineageType::Artifact => "ArtifactName",
            LineageType::Action => "ActionName",
            LineageType::Context => "ContextName",
            LineageType::TrialComponent => "TrialComponentName",
        },
        status: None,
        sort_by: "CreationTime",
        order: SortOrder::Descending,
    };
    let (page, token) = listing.page(found, &input.list)?;
    Ok(json!({ kind.member("Summaries"): page, "NextToken": token }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UpdateEntity {
    #[serde(flatten)]
    entity: EntityReference,
    artifact_name: Option<String>,
    properties: Option<BTreeMap<String, String>>,
    #[serde(default)]
    properties_to_remove: Vec<String>,
}

fn update(cloud: &Cloud, kind: LineageType, input: &Stored<UpdateEntity>) -> ApiResult<Value> {
    let arn = input.entity.arn(cloud, kind)?;
    let mut entity = graph::get(cloud, &arn)?;
    if let Some(name) = &input.artifact_name {
        entity.name = Some(name.clone());
    }
    if let Value::Object(changed) = input.pick(&["Description", "Status"]) {
        entity.rest.extend(changed);
    }
    entity
        .properties
        .extend(input.properties.clone().unwrap_or_default());
    entity
        .properties
        .retain(|key, _| !input.properties_to_remove.contains(key));
    check(&entity.properties)?;
    entity.modified = clock::epoch();
    graph::put(cloud, &entity)?;
    Ok(json!({ kind.member("Arn"): arn }))
}

fn delete(cloud: &Cloud, kind: LineageType, input: &EntityReference) -> ApiResult<Value> {
    let arn = graph::get(cloud, &input.arn(cloud, kind)?)?.arn;
    if graph::edges(cloud)?
        .iter()
        .any(|edge| edge.source == arn || edge.destination == arn)
    {
        return Err(ApiError::validation(format!(
            "Cannot delete {arn}: it has associations. Delete them first."
        )));
    }
    cloud.store().transaction(|transaction| {
        graph::entities(cloud).remove_in(transaction, &arn)?;
        tags::remove_in(cloud, transaction, &arn)
    })?;
    Ok(json!({ kind.member("Arn"): arn }))
}

macro_rules! handlers {
    ($($name:ident => $work:ident($kind:ident, $input:ty)),* $(,)?) => {
        $(pub(super) async fn $name(cloud: &Cloud, input: $input) -> ApiResult<Value> {
            $work(cloud, LineageType::$kind, &input)
        })*
    };
}

handlers! {
    create_artifact => create(Artifact, Stored<CreateEntity>),
    describe_artifact => describe(Artifact, EntityReference),
    list_artifacts => list(Artifact, ListEntities),
    update_artifact => update(Artifact, Stored<UpdateEntity>),
    delete_artifact => delete(Artifact, EntityReference),
    create_action => create(Action, Stored<CreateEntity>),
    describe_action => describe(Action, EntityReference),
    list_actions => list(Action, ListEntities),
    update_action => update(Action, Stored<UpdateEntity>),
    delete_action => delete(Action, EntityReference),
    create_context => create(Context, Stored<CreateEntity>),
    describe_context => describe(Context, EntityReference),
    list_contexts => list(Context, ListEntities),
    update_context => update(Context, Stored<UpdateEntity>),
    delete_context => delete(Context, EntityReference),
    list_trial_components => list(TrialComponent, ListEntities),
    describe_trial_component => describe(TrialComponent, EntityReference),
}
