//! Reads parameters: one, several, or all below a path, and their history.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use super::describe::{Filter, Keys};
use super::{Parameter, ParameterVersion, names, parameters, require};
use crate::Cloud;
use crate::api::keyed_page::page;
use crate::api::{ApiError, ApiResult};

/// A version of a parameter as `GetParameter` shows it.
fn shown(cloud: &Cloud, parameter: &Parameter, version: &ParameterVersion) -> Value {
    json!({
        "Name": parameter.name,
        "Type": version.kind,
        "Value": version.value,
        "Version": version.version,
        "LastModifiedDate": version.last_modified_date,
        "ARN": names::arn(cloud, &parameter.name),
        "DataType": version.data_type,
    })
}

/// The version that `NAME`, `NAME:VERSION` or `NAME:LABEL` selects.
fn select(cloud: &Cloud, given: &str) -> ApiResult<Value> {
    let (name, selector) = names::split(given);
    let parameter = require(cloud, name)?;
    let version = match selector {
        None => parameter.latest()?,
        Some(selector) => match selector.parse() {
            Ok(number) => parameter.version(number)?,
            Err(_) => parameter.labelled(selector).ok_or_else(|| {
                ApiError::not_found(
                    "ParameterVersionNotFound",
                    format!(
                        "Systems Manager could not find label {selector} for parameter {name}. Verify the \
                         label and try again."
                    ),
                )
            })?,
        },
    };
    let mut shown = shown(cloud, &parameter, version);
    if let Some(selector) = selector {
        shown["Selector"] = format!(":{selector}").into();
    }
    Ok(shown)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Get {
    name: String,
}

/// `GetParameter`
pub(super) async fn get(cloud: &Cloud, input: Get) -> ApiResult<Value> {
    Ok(json!({"Parameter": select(cloud, &input.name)?}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetMany {
    names: Vec<String>,
}

/// `GetParameters`
pub(super) async fn get_many(cloud: &Cloud, input: GetMany) -> ApiResult<Value> {
    let distinct: BTreeSet<&String> = input.names.iter().collect();
    if distinct.len() < input.names.len() {
        return Err(ApiError::validation("Duplicated input is not allowed."));
    }
    let (mut found, mut invalid) = (Vec::new(), Vec::new());
    for name in input.names {
        match select(cloud, &name) {
            Ok(shown) => found.push(shown),
            Err(error) if error.is_not_found() => invalid.push(name),
            Err(error) => return Err(error),
        }
    }
    Ok(json!({"Parameters": found, "InvalidParameters": invalid}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ByPath {
    path: String,
    #[serde(default)]
    recursive: bool,
    #[serde(default)]
    parameter_filters: Vec<Filter>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

/// `GetParametersByPath`
pub(super) async fn by_path(cloud: &Cloud, input: ByPath) -> ApiResult<Value> {
    names::check_path(&input.path)?;
    Filter::check(&input.parameter_filters, Keys::OfPath)?;
    let mut found = Vec::new();
    for (name, parameter) in parameters(cloud).list("")? {
        if !names::is_below(&name, &input.path, input.recursive) {
            continue;
        }
        if let Some(version) = Filter::select(&input.parameter_filters, &parameter)? {
            found.push((name, shown(cloud, &parameter, version)));
        }
    }
    let size = input.max_results.unwrap_or(10);
    page("Parameters", found, size, input.next_token.as_deref())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct History {
    name: String,
    max_results: Option<usize>,
    next_token: Option<String>,
}

/// `GetParameterHistory`
pub(super) async fn history(cloud: &Cloud, input: History) -> ApiResult<Value> {
    let parameter = require(cloud, &input.name)?;
    let versions = parameter.versions.iter().map(|version| {
        let mut shown = json!(version);
        shown["Name"] = json!(parameter.name);
        shown["Policies"] = json!([]);
        (format!("{:020}", version.version), shown)
    });
    let size = input.max_results.unwrap_or(50);
    page("Parameters", versions, size, input.next_token.as_deref())
}
