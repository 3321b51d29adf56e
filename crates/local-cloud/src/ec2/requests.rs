//! Common parts of EC2 requests: required members, ids, filters, pages and tags.
//!
//! Members have their wire names, where every list is singular (`VpcId.1`, `Filter.1.Value.1`).

use serde::Deserialize;
use serde_json::{Value, json};

use super::filters::{self, Filter, FilterRequest};
use crate::api::form::{list, whole};
use crate::api::page::Page;
use crate::api::tags::{Tag, Tags};
use crate::api::{ApiError, ApiResult};

/// A required text; `MissingParameter` if it is absent.
pub(super) fn required<'a>(text: &'a str, member: &str) -> ApiResult<&'a str> {
    if text.is_empty() {
        return Err(ApiError::new(
            "MissingParameter",
            format!("The request must contain the parameter {member}"),
        ));
    }
    Ok(text)
}

/// The request of a describe operation. The name of the member with the ids depends on the kind;
/// the dispatcher has checked that the operation has it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Describe {
    #[serde(
        alias = "AllocationId",
        alias = "FlowLogId",
        alias = "GroupId",
        alias = "InternetGatewayId",
        alias = "NatGatewayId",
        alias = "RouteTableId",
        alias = "SubnetId",
        alias = "VpcEndpointId",
        alias = "VpcId",
        alias = "ZoneName",
        deserialize_with = "list"
    )]
    pub(super) ids: Vec<String>,
    /// Elastic addresses can also be selected by their value.
    #[serde(deserialize_with = "list")]
    public_ip: Vec<String>,
    #[serde(deserialize_with = "list")]
    filter: Vec<FilterRequest>,
    next_token: String,
    #[serde(deserialize_with = "whole")]
    max_results: Option<i64>,
}

impl Describe {
    /// The filters; `known` pairs their names with paths into the records.
    pub(super) fn filters(&self, known: &[(&str, &'static str)]) -> ApiResult<Vec<Filter>> {
        let addresses = (!self.public_ip.is_empty())
            .then(|| FilterRequest::new("public-ip", self.public_ip.clone()));
        filters::read(self.filter.iter().chain(&addresses), known)
    }

    /// The response, with one page of records as its member `set`.
    pub(super) fn page(&self, set: &str, records: Vec<Value>) -> ApiResult<Value> {
        let size = match self.max_results {
            None => usize::MAX,
            Some(limit) => usize::try_from(limit.max(1)).map_err(ApiError::internal)?,
        };
        let token = Some(self.next_token.as_str()).filter(|token| !token.is_empty());
        let page = Page::new(token, size, |token| {
            ApiError::new(
                "InvalidNextToken",
                format!("The token '{token}' is invalid"),
            )
        })?;
        let (part, next) = page.cut(records);
        let mut answer = json!({ set: part });
        if let Some(next) = next {
            answer["nextToken"] = json!(next);
        }
        Ok(answer)
    }
}

/// The tags of a new resource: `TagSpecification.N`.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct TagSpecifications(#[serde(deserialize_with = "list")] Vec<TagSpecification>);

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct TagSpecification {
    resource_type: String,
    tag: Tags,
}

impl TagSpecifications {
    /// The tags for a new record of this resource type.
    pub(super) fn of(&self, resource_type: &str) -> ApiResult<Value> {
        let mut tags = Vec::new();
        for specification in &self.0 {
            let kind = &specification.resource_type;
            if kind != resource_type {
                return Err(ApiError::new(
                    "InvalidParameterValue",
                    format!("'{kind}' is not a valid taggable resource type for this operation."),
                ));
            }
            merge(&mut tags, specification.tag.iter());
        }
        Ok(Value::Array(tags))
    }
}

/// Adds tags of a request to those of a record, replacing those with the same keys.
pub(super) fn merge<'a>(tags: &mut Vec<Value>, new: impl IntoIterator<Item = &'a Tag>) {
    for tag in new {
        tags.retain(|old| old["key"] != tag.key.as_str());
        let value = tag.value.as_deref().unwrap_or_default();
        tags.push(json!({"key": tag.key, "value": value}));
    }
}
