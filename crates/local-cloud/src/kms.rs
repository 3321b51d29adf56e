//! KMS: keys and aliases as records that other services check.
//!
//! The local cloud encrypts nothing, so `Encrypt`, `Decrypt` and data keys are `NotImplemented`. A key
//! has an owner, a state and a policy.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Cloud;
use super::api::page::Page;
use super::api::tags::Tags;
use super::api::{ApiError, ApiResult};
use super::clock;
use super::cloud::ACCOUNT;
use super::cloud::service::{RESERVED_TAG, Service, operations};
use super::store::Collection;

mod policies;
mod tags;
mod usage;

pub(crate) use usage::{check_messages, require_use};

operations! {
    "CancelKeyDeletion" => cancel_deletion,
    "CreateAlias" => create_alias,
    "CreateKey" => create_key,
    "DeleteAlias" => delete_alias,
    "DescribeKey" => describe_key,
    "DisableKey" => disable_key,
    "DisableKeyRotation" => disable_rotation,
    "EnableKey" => enable_key,
    "EnableKeyRotation" => enable_rotation,
    "GetKeyPolicy" => policies::get,
    "GetKeyRotationStatus" => rotation_status,
    "ListAliases" => list_aliases,
    "ListKeys" => list_keys,
    "ListResourceTags" => tags::list,
    "PutKeyPolicy" => policies::put,
    "ScheduleKeyDeletion" => schedule_deletion,
    "TagResource" => tags::add,
    "UntagResource" => tags::remove,
    "UpdateAlias" => update_alias,
    "UpdateKeyDescription" => update_description,
}

/// The service.
pub(crate) const SERVICE: Service = Service {
    resource_policy: Some(policies::of_key),
    reserved_tag: ("TagException", RESERVED_TAG),
    ..Service::json("kms", "KMS", "TrentService", &[OPERATIONS])
};

const DAY: f64 = 86_400.0;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Key {
    id: String,
    arn: String,
    created: f64,
    description: String,
    enabled: bool,
    policy: String,
    rotation_days: Option<u32>,
    deletion: Option<Deletion>,
    tags: Vec<Tag>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Deletion {
    date: f64,
    days: u32,
}

/// The state of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum KeyState {
    Enabled,
    Disabled,
    PendingDeletion,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    tag_key: String,
    tag_value: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(clippy::struct_field_names, reason = "the API's names")]
struct Alias {
    alias_name: String,
    alias_arn: String,
    target_key_id: String,
    creation_date: f64,
    last_updated_date: f64,
}

#[derive(Debug, Serialize)]
struct Empty {}

impl Key {
    fn metadata(&self) -> Value {
        let mut metadata = json!({
            "AWSAccountId": ACCOUNT,
            "KeyId": self.id,
            "Arn": self.arn,
            "CreationDate": self.created,
            "Enabled": self.enabled,
            "Description": self.description,
            "KeyUsage": "ENCRYPT_DECRYPT",
            "KeyState": self.state(),
            "Origin": "AWS_KMS",
            "KeyManager": "CUSTOMER",
            "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
            "KeySpec": "SYMMETRIC_DEFAULT",
            "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
            "MultiRegion": false,
        });
        if let Some(deletion) = &self.deletion {
            metadata["DeletionDate"] = json!(deletion.date);
        }
        metadata
    }

    fn state(&self) -> KeyState {
        if self.deletion.is_some() {
            KeyState::PendingDeletion
        } else if self.enabled {
            KeyState::Enabled
        } else {
            KeyState::Disabled
        }
    }

    /// Fails for a key that is pending deletion: only cancelling is allowed then.
    fn staying(&self) -> ApiResult<()> {
        if self.deletion.is_none() {
            return Ok(());
        }
        Err(ApiError::pending_deletion(
            "KMSInvalidStateException",
            format!("{} is pending deletion.", self.arn),
        ))
    }

    fn usable(&self) -> ApiResult<()> {
        self.staying()?;
        if self.enabled {
            return Ok(());
        }
        Err(ApiError::new(
            "DisabledException",
            format!("{} is disabled.", self.arn),
        ))
    }
}

fn keys(cloud: &Cloud) -> Collection<'_, Key> {
    cloud.store().collection("kms", "key")
}

fn aliases(cloud: &Cloud) -> Collection<'_, Alias> {
    cloud.store().collection("kms", "alias")
}

fn not_found(message: String) -> ApiError {
    ApiError::not_found("NotFoundException", message)
}

/// The id of a key that is named by id, ARN, alias or alias ARN.
fn resolve(cloud: &Cloud, name: &str) -> ApiResult<String> {
    let prefix = cloud.arn("kms", "");
    let resource = name.strip_prefix(&prefix).unwrap_or(name);
    if resource.starts_with("alias/") {
        return aliases(cloud)
            .get(resource)?
            .map(|alias| alias.target_key_id)
            .ok_or_else(|| {
                not_found(format!(
                    "Alias {} is not found.",
                    cloud.arn("kms", resource)
                ))
            });
    }
    Ok(resource.strip_prefix("key/").unwrap_or(resource).to_owned())
}

/// The ARN of a key that is named by id, ARN, alias or alias ARN; `None` if there is no such key.
pub(crate) fn key_arn(cloud: &Cloud, name: &str) -> ApiResult<Option<String>> {
    match require(cloud, name) {
        Ok(key) => Ok(Some(key.arn)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn missing(cloud: &Cloud, id: &str) -> ApiError {
    not_found(format!(
        "Key '{}' does not exist",
        cloud.arn("kms", format_args!("key/{id}"))
    ))
}

fn require(cloud: &Cloud, name: &str) -> ApiResult<Key> {
    let id = resolve(cloud, name)?;
    keys(cloud).get(&id)?.ok_or_else(|| missing(cloud, &id))
}

fn change<R>(
    cloud: &Cloud,
    name: &str,
    change: impl FnOnce(&mut Key) -> ApiResult<R>,
) -> ApiResult<R> {
    let id = resolve(cloud, name)?;
    keys(cloud)
        .update(&id, change)?
        .ok_or_else(|| missing(cloud, &id))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct CreateKey {
    policy: Option<String>,
    description: Option<String>,
    key_usage: Option<String>,
    key_spec: Option<String>,
    customer_master_key_spec: Option<String>,
    origin: Option<String>,
    multi_region: Option<bool>,
    tags: Tags,
}

async fn create_key(cloud: &Cloud, input: CreateKey) -> ApiResult<Value> {
    let ordinary = [
        (&input.key_usage, "ENCRYPT_DECRYPT"),
        (&input.key_spec, "SYMMETRIC_DEFAULT"),
        (&input.customer_master_key_spec, "SYMMETRIC_DEFAULT"),
        (&input.origin, "AWS_KMS"),
    ];
    for (given, only) in ordinary {
        if let Some(given) = given
            && given != only
        {
            return Err(ApiError::not_implemented(format_args!(
                "{given} keys, only {only}"
            )));
        }
    }
    if input.multi_region == Some(true) {
        return Err(ApiError::not_implemented("multi-Region keys"));
    }
    let policy = match input.policy {
        Some(policy) => policies::check(policy)?,
        None => json!({
            "Version": "2012-10-17",
            "Id": "key-default-1",
            "Statement": [{
                "Sid": "Enable IAM User Permissions",
                "Effect": "Allow",
                "Principal": {"AWS": format!("arn:aws:iam::{ACCOUNT}:root")},
                "Action": "kms:*",
                "Resource": "*",
            }],
        })
        .to_string(),
    };
    let id = uuid::Uuid::new_v4().to_string();
    let key = Key {
        arn: cloud.arn("kms", format_args!("key/{id}")),
        created: clock::epoch(),
        description: input.description.unwrap_or_default(),
        enabled: true,
        policy,
        rotation_days: None,
        deletion: None,
        tags: stored(input.tags)?,
        id,
    };
    keys(cloud).put(&key.id, &key)?;
    Ok(json!({"KeyMetadata": key.metadata()}))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KeyId {
    key_id: String,
}

async fn describe_key(cloud: &Cloud, input: KeyId) -> ApiResult<Value> {
    Ok(json!({"KeyMetadata": require(cloud, &input.key_id)?.metadata()}))
}

/// The tags of a request as they are stored.
fn stored(tags: Tags) -> ApiResult<Vec<Tag>> {
    tags.into_iter()
        .map(|tag| {
            let value = tag.value;
            Ok(Tag {
                tag_key: tag.key,
                tag_value: value.ok_or_else(|| ApiError::validation("missing field `TagValue`"))?,
            })
        })
        .collect()
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct PageRequest {
    limit: Option<usize>,
    marker: Option<String>,
    key_id: Option<String>,
}

impl PageRequest {
    fn cut(&self, name: &str, items: Vec<Value>) -> ApiResult<Value> {
        let size = self.limit.unwrap_or(100).max(1);
        let page = Page::new(self.marker.as_deref(), size, |marker| {
            ApiError::new("InvalidMarkerException", format!("Invalid marker {marker}"))
        })?;
        let (part, next) = page.cut(items);
        let mut answer = json!({ name: part, "Truncated": next.is_some() });
        if let Some(next) = next {
            answer["NextMarker"] = json!(next);
        }
        Ok(answer)
    }
}

async fn list_keys(cloud: &Cloud, page: PageRequest) -> ApiResult<Value> {
    let keys = keys(cloud)
        .list("")?
        .into_iter()
        .map(|(_, key)| json!({"KeyId": key.id, "KeyArn": key.arn}))
        .collect();
    page.cut("Keys", keys)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AliasAndKey {
    alias_name: String,
    target_key_id: String,
}

/// The key of a new or changed alias: by id or ARN, not by another alias.
fn target(cloud: &Cloud, name: &str) -> ApiResult<String> {
    if name.contains("alias/") {
        return Err(ApiError::validation(
            "Aliases must refer to keys. Not aliases",
        ));
    }
    let key = require(cloud, name)?;
    key.staying()?;
    Ok(key.id)
}

async fn create_alias(cloud: &Cloud, input: AliasAndKey) -> ApiResult<Empty> {
    let name = input.alias_name;
    let rest = name.strip_prefix("alias/").unwrap_or_default();
    let sound = !rest.is_empty()
        && rest.len() <= 250
        && rest
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"/_-".contains(&b));
    if !sound {
        return Err(ApiError::new(
            "InvalidAliasNameException",
            "Alias must start with the prefix \"alias/\" and contain only letters, digits, /, _ and -",
        ));
    }
    if rest.starts_with("aws/") {
        return Err(ApiError::new("NotAuthorizedException", ""));
    }
    let now = clock::epoch();
    let alias = Alias {
        alias_arn: cloud.arn("kms", &name),
        target_key_id: target(cloud, &input.target_key_id)?,
        creation_date: now,
        last_updated_date: now,
        alias_name: name.clone(),
    };
    if aliases(cloud).insert(&name, &alias)? {
        Ok(Empty {})
    } else {
        Err(ApiError::new(
            "AlreadyExistsException",
            format!("An alias with the name {} already exists", alias.alias_arn),
        ))
    }
}

fn missing_alias(cloud: &Cloud, name: &str) -> ApiError {
    not_found(format!("Alias {} is not found.", cloud.arn("kms", name)))
}

async fn update_alias(cloud: &Cloud, input: AliasAndKey) -> ApiResult<Empty> {
    let target = target(cloud, &input.target_key_id)?;
    aliases(cloud)
        .update(&input.alias_name, |alias| {
            alias.target_key_id = target;
            alias.last_updated_date = clock::epoch();
            Ok(Empty {})
        })?
        .ok_or_else(|| missing_alias(cloud, &input.alias_name))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AliasName {
    alias_name: String,
}

async fn delete_alias(cloud: &Cloud, input: AliasName) -> ApiResult<Empty> {
    if aliases(cloud).remove(&input.alias_name)? {
        Ok(Empty {})
    } else {
        Err(missing_alias(cloud, &input.alias_name))
    }
}

async fn list_aliases(cloud: &Cloud, page: PageRequest) -> ApiResult<Value> {
    let key = match &page.key_id {
        Some(name) => Some(require(cloud, name)?.id),
        None => None,
    };
    let aliases = aliases(cloud)
        .list("")?
        .into_iter()
        .filter(|(_, alias)| key.as_ref().is_none_or(|key| alias.target_key_id == *key))
        .map(|(_, alias)| json!(alias))
        .collect();
    page.cut("Aliases", aliases)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EnableRotation {
    key_id: String,
    rotation_period_in_days: Option<u32>,
}

async fn enable_rotation(cloud: &Cloud, input: EnableRotation) -> ApiResult<Empty> {
    let days = input.rotation_period_in_days.unwrap_or(365);
    if !(90..=2560).contains(&days) {
        return Err(ApiError::validation(format!(
            "RotationPeriodInDays {days} is not between 90 and 2560"
        )));
    }
    change(cloud, &input.key_id, |key| {
        key.usable()?;
        key.rotation_days = Some(days);
        Ok(Empty {})
    })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Description {
    key_id: String,
    description: String,
}

async fn update_description(cloud: &Cloud, input: Description) -> ApiResult<Empty> {
    change(cloud, &input.key_id, |key| {
        key.staying()?;
        key.description = input.description;
        Ok(Empty {})
    })
}

async fn enable_key(cloud: &Cloud, input: KeyId) -> ApiResult<Empty> {
    set_enabled(cloud, &input.key_id, true)
}

async fn disable_key(cloud: &Cloud, input: KeyId) -> ApiResult<Empty> {
    set_enabled(cloud, &input.key_id, false)
}

fn set_enabled(cloud: &Cloud, name: &str, enabled: bool) -> ApiResult<Empty> {
    change(cloud, name, |key| {
        key.staying()?;
        key.enabled = enabled;
        Ok(Empty {})
    })
}

async fn disable_rotation(cloud: &Cloud, input: KeyId) -> ApiResult<Empty> {
    change(cloud, &input.key_id, |key| {
        key.usable()?;
        key.rotation_days = None;
        Ok(Empty {})
    })
}

async fn rotation_status(cloud: &Cloud, input: KeyId) -> ApiResult<Value> {
    let key = require(cloud, &input.key_id)?;
    let mut answer = json!({"KeyId": key.arn, "KeyRotationEnabled": key.rotation_days.is_some()});
    if let Some(days) = key.rotation_days {
        answer["RotationPeriodInDays"] = json!(days);
        answer["NextRotationDate"] = json!(key.created + f64::from(days) * DAY);
    }
    Ok(answer)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ScheduleDeletion {
    key_id: String,
    pending_window_in_days: Option<u32>,
}

async fn schedule_deletion(cloud: &Cloud, input: ScheduleDeletion) -> ApiResult<Value> {
    let days = input.pending_window_in_days.unwrap_or(30);
    if !(7..=30).contains(&days) {
        return Err(ApiError::validation(format!(
            "PendingWindowInDays {days} is not between 7 and 30"
        )));
    }
    change(cloud, &input.key_id, |key| {
        key.staying()?;
        let date = clock::epoch() + f64::from(days) * DAY;
        key.deletion = Some(Deletion { date, days });
        key.enabled = false;
        Ok(json!({
            "KeyId": key.arn,
            "DeletionDate": date,
            "KeyState": key.state(),
            "PendingWindowInDays": days,
        }))
    })
}

/// The key stays disabled, as in AWS: `EnableKey` makes it usable again.
async fn cancel_deletion(cloud: &Cloud, input: KeyId) -> ApiResult<Value> {
    change(cloud, &input.key_id, |key| {
        if key.deletion.take().is_none() {
            return Err(ApiError::new(
                "KMSInvalidStateException",
                format!("{} is not pending deletion.", key.arn),
            ));
        }
        Ok(json!({"KeyId": key.arn}))
    })
}
