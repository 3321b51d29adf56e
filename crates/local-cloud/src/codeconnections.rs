//! `CodeConnections`: connections to the repositories of other providers, as records.
//!
//! A new connection is `PENDING` until its owner completes the handshake in AWS's console. Here is no console,
//! so it stays `PENDING`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Cloud;
use super::api::tags::Tags;
use super::api::{ApiError, ApiResult, keyed_page};
use super::cloud::ACCOUNT;
use super::cloud::service::{Service, operations};
use super::store::Collection;

operations! {
    "CreateConnection" => create,
    "DeleteConnection" => delete,
    "GetConnection" => get,
    "ListConnections" => list,
    "ListTagsForResource" => list_tags,
    "TagResource" => tag,
    "UntagResource" => untag,
}

/// The service.
pub(crate) const SERVICE: Service = Service {
    checks_limits: true,
    ..Service::json(
        "codeconnections",
        "CodeConnections",
        "com.amazonaws.codeconnections.CodeConnections_20231201",
        &[OPERATIONS],
    )
};

/// A connection; the key of its record is its ARN.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Connection {
    name: String,
    provider: String,
    tags: BTreeMap<String, String>,
}

impl Connection {
    fn described(&self, arn: &str) -> Value {
        json!({
            "ConnectionName": self.name,
            "ConnectionArn": arn,
            "ProviderType": self.provider,
            "OwnerAccountId": ACCOUNT,
            "ConnectionStatus": "PENDING",
        })
    }

    fn tag_list(&self) -> Value {
        let tags = self.tags.iter();
        tags.map(|(key, value)| json!({"Key": key, "Value": value}))
            .collect()
    }
}

fn records(cloud: &Cloud) -> Collection<'_, Connection> {
    cloud.store().collection("codeconnections", "connection")
}

fn missing(arn: &str) -> ApiError {
    ApiError::not_found(
        "ResourceNotFoundException",
        format!("Connection {arn} not found"),
    )
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreateConnection {
    connection_name: String,
    provider_type: Option<String>,
    #[serde(default)]
    tags: Tags,
}

/// `CreateConnection`. Unverified against AWS [connection-names]: two connections may have the same name.
async fn create(cloud: &Cloud, input: CreateConnection) -> ApiResult<Value> {
    let provider = input.provider_type.ok_or_else(|| {
        ApiError::validation("You must specify either a ProviderType or a HostArn.")
    })?;
    let id = uuid::Uuid::new_v4();
    let arn = cloud.arn("codeconnections", format_args!("connection/{id}"));
    let connection = Connection {
        name: input.connection_name,
        provider,
        tags: input.tags.into_map(),
    };
    records(cloud).put(&arn, &connection)?;
    Ok(json!({"ConnectionArn": arn, "Tags": connection.tag_list()}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ConnectionArn {
    connection_arn: String,
}

async fn get(cloud: &Cloud, input: ConnectionArn) -> ApiResult<Value> {
    let arn = input.connection_arn;
    let found = records(cloud).get(&arn)?.ok_or_else(|| missing(&arn))?;
    Ok(json!({"Connection": found.described(&arn)}))
}

async fn delete(cloud: &Cloud, input: ConnectionArn) -> ApiResult<Value> {
    if records(cloud).remove(&input.connection_arn)? {
        return Ok(json!({}));
    }
    Err(missing(&input.connection_arn))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListConnections {
    provider_type_filter: Option<String>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

async fn list(cloud: &Cloud, input: ListConnections) -> ApiResult<Value> {
    let wanted = |connection: &Connection| {
        let provider = input.provider_type_filter.as_ref();
        provider.is_none_or(|provider| *provider == connection.provider)
    };
    let all = records(cloud).list("")?;
    let shown = all
        .into_iter()
        .filter(|(_, connection)| wanted(connection))
        .map(|(arn, connection)| {
            let described = connection.described(&arn);
            (arn, described)
        });
    let size = input.max_results.filter(|size| *size > 0);
    let token = input.next_token.as_deref();
    keyed_page::page("Connections", shown, size.unwrap_or(usize::MAX), token)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tagging {
    resource_arn: String,
    #[serde(default)]
    tags: Tags,
    #[serde(default)]
    tag_keys: Vec<String>,
}

fn change(cloud: &Cloud, arn: &str, change: impl FnOnce(&mut Connection)) -> ApiResult<Value> {
    let changed = records(cloud).update(arn, |connection| {
        change(connection);
        Ok(())
    })?;
    changed.map(|()| json!({})).ok_or_else(|| missing(arn))
}

async fn tag(cloud: &Cloud, input: Tagging) -> ApiResult<Value> {
    change(cloud, &input.resource_arn, |connection| {
        connection.tags.extend(input.tags.into_map());
    })
}

async fn untag(cloud: &Cloud, input: Tagging) -> ApiResult<Value> {
    change(cloud, &input.resource_arn, |connection| {
        connection
            .tags
            .retain(|key, _| !input.tag_keys.contains(key));
    })
}

async fn list_tags(cloud: &Cloud, input: Tagging) -> ApiResult<Value> {
    let arn = &input.resource_arn;
    let found = records(cloud).get(arn)?.ok_or_else(|| missing(arn))?;
    Ok(json!({"Tags": found.tag_list()}))
}
