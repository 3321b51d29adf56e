//! The default event bus, which is the only one.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::Cloud;
use crate::api::{ApiError, ApiResult, keyed_page};

/// The name of the bus to which AWS's services send their events.
pub(super) const DEFAULT: &str = "default";

/// Items on a page, if the request has no limit.
const PAGE: usize = 100;

fn arn(cloud: &Cloud) -> String {
    cloud.arn("events", format_args!("event-bus/{DEFAULT}"))
}

/// Fails for any other bus than the default one, by name or ARN.
pub(super) fn check(cloud: &Cloud, name: Option<&str>) -> ApiResult<()> {
    match name {
        Some(name) if name != DEFAULT && name != arn(cloud) => Err(ApiError::not_implemented(
            format_args!("the event bus {name}, only the one named {DEFAULT}"),
        )),
        _ => Ok(()),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DescribeEventBus {
    name: Option<String>,
}

/// `DescribeEventBus`
pub(super) async fn describe(cloud: &Cloud, input: DescribeEventBus) -> ApiResult<Value> {
    check(cloud, input.name.as_deref())?;
    Ok(json!({"Name": DEFAULT, "Arn": arn(cloud)}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListEventBuses {
    #[serde(default)]
    name_prefix: String,
    next_token: Option<String>,
    limit: Option<usize>,
}

/// `ListEventBuses`
pub(super) async fn list(cloud: &Cloud, input: ListEventBuses) -> ApiResult<Value> {
    let bus = (
        DEFAULT.to_owned(),
        json!({"Name": DEFAULT, "Arn": arn(cloud)}),
    );
    let found = DEFAULT.starts_with(&input.name_prefix).then_some(bus);
    keyed(
        "EventBuses",
        found,
        input.limit,
        input.next_token.as_deref(),
    )
}

/// A page of a list, with the error of this service for a token that is not valid.
pub(super) fn keyed(
    name: &str,
    items: impl IntoIterator<Item = (String, Value)>,
    limit: Option<usize>,
    token: Option<&str>,
) -> ApiResult<Value> {
    keyed_page::page(name, items, limit.unwrap_or(PAGE), token)
        .map_err(|_| ApiError::validation("Invalid NextToken"))
}
