//! Associations: the directed edges between entities.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::requests;
use super::entities;
use crate::api::{ApiError, ApiResult};
use crate::{Cloud, clock};

/// The types that an association can have.
const TYPES: &[&str] = &[
    "ContributedTo",
    "AssociatedWith",
    "DerivedFrom",
    "Produced",
    "SameAs",
];

/// An edge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Edge {
    pub(super) source: String,
    pub(super) destination: String,
    pub(super) association: Option<String>,
    pub(super) created: f64,
}

fn key(source: &str, destination: &str) -> String {
    format!("{source} {destination}")
}

/// Every edge.
pub(super) fn all(cloud: &Cloud) -> ApiResult<Vec<Edge>> {
    Ok(cloud
        .store()
        .collection::<Edge>("sagemaker", "lineage-association")
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
    association: Option<&str>,
) -> ApiResult<()> {
    cloud
        .store()
        .collection("sagemaker", "lineage-association")
        .put(
            &key(source, destination),
            &Edge {
                source: source.to_owned(),
                destination: destination.to_owned(),
                association: association.map(str::to_owned),
                created: clock::epoch(),
            },
        )
}

pub(super) async fn add(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let source = entities::get(cloud, requests::required(&input, "SourceArn")?)?.arn;
    let destination = entities::get(cloud, requests::required(&input, "DestinationArn")?)?.arn;
    let association = requests::one_of(&input, "AssociationType", TYPES)?;
    if source == destination {
        return Err(ApiError::validation(
            "SourceArn and DestinationArn cannot be the same",
        ));
    }
    connect(cloud, &source, &destination, association)?;
    Ok(json!({"SourceArn": source, "DestinationArn": destination}))
}

pub(super) async fn delete(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let source = requests::required(&input, "SourceArn")?;
    let destination = requests::required(&input, "DestinationArn")?;
    let removed = cloud
        .store()
        .collection::<Edge>("sagemaker", "lineage-association")
        .remove(&key(source, destination))?;
    if !removed {
        return Err(ApiError::not_found(
            "ResourceNotFound",
            format!(
                "Association with source '{source}' and destination '{destination}' does not exist."
            ),
        ));
    }
    Ok(json!({"SourceArn": source, "DestinationArn": destination}))
}

pub(super) async fn list(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let wants = |member: &str, value: Option<&str>| {
        requests::optional(&input, member).is_none_or(|wanted| value == Some(wanted))
    };
    let mut found = Vec::new();
    for edge in all(cloud)? {
        if !wants("SourceArn", Some(&edge.source))
            || !wants("DestinationArn", Some(&edge.destination))
            || !wants("AssociationType", edge.association.as_deref())
        {
            continue;
        }
        let ends = (
            entities::find(cloud, &edge.source)?,
            entities::find(cloud, &edge.destination)?,
        );
        let (Some(source), Some(destination)) = ends else {
            continue;
        };
        if !wants("SourceType", Some(&source.type_name))
            || !wants("DestinationType", Some(&destination.type_name))
        {
            continue;
        }
        found.push(json!({
            "SourceArn": edge.source,
            "DestinationArn": edge.destination,
            "SourceType": source.type_name,
            "DestinationType": destination.type_name,
            "AssociationType": edge.association,
            "SourceName": source.name,
            "DestinationName": destination.name,
            "CreationTime": edge.created,
        }));
    }
    let listing = requests::Listing {
        name: "SourceName",
        status: None,
        sort_by: "CreationTime",
        descending: true,
    };
    let (page, token) = listing.page(found, &input)?;
    Ok(json!({"AssociationSummaries": page, "NextToken": token}))
}
