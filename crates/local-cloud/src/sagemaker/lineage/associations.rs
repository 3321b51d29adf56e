//! Associations: the directed edges between entities.

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::requests::{ListRequest, Listing, SortOrder};
use super::graph::{self, AssociationType};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AssociationRequest {
    source_arn: String,
    destination_arn: String,
    association_type: Option<AssociationType>,
}

pub(super) async fn add(cloud: &Cloud, input: AssociationRequest) -> ApiResult<Value> {
    let source = graph::get(cloud, &input.source_arn)?.arn;
    let destination = graph::get(cloud, &input.destination_arn)?.arn;
    if source == destination {
        return Err(ApiError::validation(
            "SourceArn and DestinationArn cannot be the same",
        ));
    }
    graph::connect(cloud, &source, &destination, input.association_type)?;
    Ok(json!({"SourceArn": source, "DestinationArn": destination}))
}

pub(super) async fn delete(cloud: &Cloud, input: AssociationRequest) -> ApiResult<Value> {
    let (source, destination) = (&input.source_arn, &input.destination_arn);
    if !graph::disconnect(cloud, source, destination)? {
        return Err(ApiError::not_found(
            "ResourceNotFound",
            format!(
                "Association with source '{source}' and destination '{destination}' does not exist."
            ),
        ));
    }
    Ok(json!({"SourceArn": source, "DestinationArn": destination}))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListAssociations {
    source_arn: Option<String>,
    destination_arn: Option<String>,
    source_type: Option<String>,
    destination_type: Option<String>,
    association_type: Option<AssociationType>,
    #[serde(flatten)]
    list: ListRequest,
}

pub(super) async fn list(cloud: &Cloud, input: ListAssociations) -> ApiResult<Value> {
    let is = |wanted: &Option<String>, value: &str| {
        wanted.as_deref().is_none_or(|wanted| wanted == value)
    };
    let mut found = Vec::new();
    for edge in graph::edges(cloud)? {
        let of_type = input.association_type;
        if !is(&input.source_arn, &edge.source)
            || !is(&input.destination_arn, &edge.destination)
            || of_type.is_some() && of_type != edge.association
        {
            continue;
        }
        let ends = (
            graph::find(cloud, &edge.source)?,
            graph::find(cloud, &edge.destination)?,
        );
        let (Some(source), Some(destination)) = ends else {
            continue;
        };
        if !is(&input.source_type, &source.type_name)
            || !is(&input.destination_type, &destination.type_name)
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
    let listing = Listing {
        name: "SourceName",
        status: None,
        sort_by: "CreationTime",
        order: SortOrder::Descending,
    };
    let (page, token) = listing.page(found, &input.list)?;
    Ok(json!({"AssociationSummaries": page, "NextToken": token}))
}
