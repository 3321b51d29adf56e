//! Lambda: functions whose code runs as processes of this machine.
//!
//! ```text
//! rest ── Cloud::call ── functions (records) ── code (the zip, unpacked once for each SHA-256)
//!                     └─ invoke ── pool (warm environments) ── environment ── one process
//!                                                                   └── api: the Runtime API that
//!                                                                       the process fetches events from
//! ```
//!
//! A function's record is the response of `GetFunctionConfiguration`. Versions, aliases, layers,
//! VPCs and images are refused by name.

use anyhow::Result;

use super::Cloud;
use super::api::ApiError;
use super::cloud::service::{Protocol, RESERVED_TAG, Route, Service, operations};
use super::signed_urls;

mod api;
pub(crate) mod code;
mod download;
mod environment;
mod functions;
mod invoke;
mod permissions;
mod pool;
mod records;
mod rest;
mod settings;
mod states;
mod tags;

operations! {
    "AddPermission" => permissions::add,
    "CreateFunction" => functions::create,
    "DeleteFunction" => functions::delete,
    "GetFunction" => functions::get,
    "GetFunctionConfiguration" => functions::get_configuration,
    "GetPolicy" => permissions::get,
    "Invoke" => invoke::invoke,
    "ListFunctions" => functions::list,
    "ListTags" => tags::list,
    "RemovePermission" => permissions::remove,
    "TagResource" => tags::tag,
    "UntagResource" => tags::untag,
    "UpdateFunctionCode" => functions::update_code,
    "UpdateFunctionConfiguration" => functions::update_configuration,
}

/// The service.
pub(crate) const SERVICE: Service = Service {
    resource_policy: Some(permissions::policy_of),
    routes: &[Route {
        matches: |parts, _| signed_urls::is_below(parts, download::PATH),
        handle: |cloud, request| {
            Box::pin(async move { download::handle(cloud, &request.into_parts().0).await })
        },
    }],
    reserved_tag: ("InvalidParameterValueException", RESERVED_TAG),
    recover: Some(recover),
    shut_down: Some(|cloud| Box::pin(pool::shut_down(cloud))),
    ..Service::new(
        "lambda",
        "Lambda",
        Protocol::Rest(rest::REST),
        &[OPERATIONS],
    )
};

/// The name of the only version that the local cloud has.
const LATEST: &str = "$LATEST";

/// Resumes the creations and updates that the end of the server interrupted, and delivers events
/// that were accepted before it.
fn recover(cloud: &Cloud) -> Result<()> {
    functions::recover(cloud)?;
    invoke::recover(cloud)?;
    Ok(())
}

/// `InvalidParameterValueException`
fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterValueException", message)
}

/// `ResourceConflictException`
fn conflict(message: impl Into<String>) -> ApiError {
    ApiError::new("ResourceConflictException", message).status(409)
}

fn arn(cloud: &Cloud, name: &str) -> String {
    cloud.arn("lambda", format_args!("function:{name}"))
}

fn not_found(cloud: &Cloud, name: &str) -> ApiError {
    ApiError::not_found(
        "ResourceNotFoundException",
        format!("Function not found: {}", arn(cloud, name)),
    )
    .status(404)
}

/// The name of a function that a request names by its name, its ARN, or a part of the ARN. A
/// qualifier other than `$LATEST` is a version or an alias, which do not exist here.
fn name_of(cloud: &Cloud, given: &str, qualifier: Option<&str>) -> Result<String, ApiError> {
    let prefix = format!("{}:function:", super::cloud::ACCOUNT);
    let rest = match given.strip_prefix("arn:") {
        Some(_) => given
            .strip_prefix(&cloud.arn("lambda", "function:"))
            .ok_or_else(|| {
                ApiError::not_found(
                    "ResourceNotFoundException",
                    format!("Functions from '{given}' are not reachable in this region"),
                )
                .status(404)
            })?,
        None => given
            .strip_prefix(&prefix)
            .or_else(|| given.strip_prefix("function:"))
            .unwrap_or(given),
    };
    let (name, suffix) = match rest.split_once(':') {
        Some((name, suffix)) => (name, Some(suffix)),
        None => (rest, None),
    };
    if name.is_empty() || name.len() > 64 || !name.bytes().all(is_name_byte) {
        return Err(ApiError::validation(format!(
            "1 validation error detected: Value '{given}' at 'functionName' failed to satisfy \
             constraint: Member must satisfy regular expression pattern: \
             (arn:(aws[a-zA-Z-]*)?:lambda:)?([a-z]{{2}}(-gov)?-[a-z]+-\\d{{1}}:)?(\\d{{12}}:)?\
             (function:)?([a-zA-Z0-9-_]+)(:(\\$LATEST|[a-zA-Z0-9-_]+))?"
        )));
    }
    match suffix.or(qualifier) {
        None | Some(LATEST) => Ok(name.to_owned()),
        Some(other) => Err(not_found(cloud, &format!("{name}:{other}"))),
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}
