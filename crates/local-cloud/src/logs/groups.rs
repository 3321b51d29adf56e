//! Log groups, their retention and their tags.

use std::collections::BTreeMap;

use rusqlite::{Transaction, params};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{group_name, invalid, name_of_arn, no_group, now, require_group};
use crate::Cloud;
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};
use crate::store::Collection;

/// Valid numbers of days for `PutRetentionPolicy`.
const RETENTION: &[i64] = &[
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CreateGroup {
    log_group_name: String,
    #[serde(default)]
    tags: Tags,
    kms_key_id: Option<String>,
}

/// The keys that encrypt log groups, by the group's name. The local cloud encrypts nothing.
fn keys(cloud: &Cloud) -> Collection<'_, String> {
    cloud.store().collection("logs", "kms_key")
}

/// The key of a log group, which must exist and be enabled.
///
/// Unverified against AWS [logs-key-policy]: Logs also checks that the key's policy admits it.
async fn check_key(cloud: &Cloud, group: &str, key: &str) -> ApiResult<()> {
    let refused = || {
        let arn = cloud.arn("logs", format_args!("log-group:{group}"));
        invalid(format!(
            "The specified KMS Key Id could not be found or is not allowed to be used with Arn '{arn}'."
        ))
    };
    if !key.starts_with("arn:") {
        return Err(refused());
    }
    // The caller needs no permission for the key: Logs itself uses it.
    let found = cloud.internally("kms", "DescribeKey", json!({"KeyId": key}));
    match found.await {
        Ok(found) if found["KeyMetadata"]["KeyState"] == "Enabled" => Ok(()),
        Ok(_) => Err(refused()),
        Err(error) if error.is_gone() || error.status == 400 => Err(refused()),
        Err(error) => Err(error),
    }
}

pub(super) async fn create(cloud: &Cloud, input: CreateGroup) -> ApiResult<Value> {
    let name = input.log_group_name;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/#".contains(c);
    if name.is_empty() || name.len() > 512 || !name.chars().all(allowed) {
        return Err(invalid(format!("`{name}` is not a log group name")));
    }
    if let Some(key) = &input.kms_key_id {
        check_key(cloud, &name, key).await?;
    }
    let tags = serde_json::to_string(&input.tags.into_map()).map_err(ApiError::internal)?;
    let added = cloud.store().transaction(|tx| {
        let added = tx.execute(
            "INSERT OR IGNORE INTO log_groups VALUES (?1, ?2, NULL, ?3)",
            params![name, now(), tags],
        )?;
        if added == 1
            && let Some(key) = &input.kms_key_id
        {
            keys(cloud).put_in(tx, &name, key)?;
        }
        Ok(added)
    })?;
    if added == 0 {
        return Err(ApiError::new(
            "ResourceAlreadyExistsException",
            "The specified log group already exists",
        ));
    }
    Ok(Value::Null)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogGroupName {
    log_group_name: String,
}

pub(super) async fn delete(cloud: &Cloud, input: LogGroupName) -> ApiResult<Value> {
    cloud.store().transaction(|tx| {
        let name = [&input.log_group_name];
        tx.execute(
            "DELETE FROM log_events WHERE stream IN (SELECT id FROM log_streams WHERE log_group = ?1)",
            name,
        )?;
        tx.execute("DELETE FROM log_streams WHERE log_group = ?1", name)?;
        keys(cloud).remove_in(tx, &input.log_group_name)?;
        match tx.execute("DELETE FROM log_groups WHERE name = ?1", name)? {
            0 => Err(no_group()),
            _ => Ok(Value::Null),
        }
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DescribeGroups {
    #[serde(default)]
    log_group_name_prefix: String,
    #[serde(default)]
    log_group_name_pattern: String,
    next_token: Option<String>,
    limit: Option<usize>,
}

pub(super) async fn describe(cloud: &Cloud, input: DescribeGroups) -> ApiResult<Value> {
    if !input.log_group_name_prefix.is_empty() && !input.log_group_name_pattern.is_empty() {
        return Err(invalid(
            "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.",
        ));
    }
    let limit = input.limit.unwrap_or(50).clamp(1, 50);
    let after = input.next_token.unwrap_or_default();
    let mut groups = cloud.store().transaction(|tx| {
        let mut statement = tx.prepare_cached(
            "SELECT g.name, g.created, g.retention,
                    (SELECT coalesce(sum(length(e.message) + 26), 0) FROM log_events e
                     JOIN log_streams s ON s.id = e.stream WHERE s.log_group = g.name)
             FROM log_groups g
             WHERE g.name > ?1 AND substr(g.name, 1, length(?2)) = ?2 AND instr(g.name, ?3) > 0
             ORDER BY g.name LIMIT ?4",
        )?;
        let wanted = i64::try_from(limit + 1).map_err(ApiError::internal)?;
        let rows = statement.query_map(
            params![
                after,
                input.log_group_name_prefix,
                input.log_group_name_pattern,
                wanted
            ],
            |row| {
                let name: String = row.get(0)?;
                let arn = cloud.arn("logs", format_args!("log-group:{name}"));
                let mut group = json!({
                    "logGroupName": name,
                    "creationTime": row.get::<_, i64>(1)?,
                    "metricFilterCount": 0,
                    "arn": format!("{arn}:*"),
                    "logGroupArn": arn,
                    "storedBytes": row.get::<_, i64>(3)?,
                    "logGroupClass": "STANDARD",
                });
                if let Some(days) = row.get::<_, Option<i64>>(2)? {
                    group["retentionInDays"] = days.into();
                }
                Ok(group)
            },
        )?;
        Ok(rows.collect::<Result<Vec<_>, _>>()?)
    })?;
    let more = groups.len() > limit;
    groups.truncate(limit);
    for group in &mut groups {
        let name = group["logGroupName"].as_str().unwrap_or_default();
        if let Some(key) = keys(cloud).get(name)? {
            group["kmsKeyId"] = key.into();
        }
    }
    let mut answer = json!({ "logGroups": groups });
    if more && let Some(last) = groups.last() {
        answer["nextToken"] = last["logGroupName"].clone();
    }
    Ok(answer)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Retention {
    log_group_name: String,
    retention_in_days: i64,
}

pub(super) async fn put_retention(cloud: &Cloud, input: Retention) -> ApiResult<Value> {
    if !RETENTION.contains(&input.retention_in_days) {
        return Err(invalid(format!(
            "{} is not one of the retention periods {RETENTION:?}",
            input.retention_in_days
        )));
    }
    set_retention(cloud, &input.log_group_name, Some(input.retention_in_days))
}

pub(super) async fn delete_retention(cloud: &Cloud, input: LogGroupName) -> ApiResult<Value> {
    set_retention(cloud, &input.log_group_name, None)
}

fn set_retention(cloud: &Cloud, name: &str, days: Option<i64>) -> ApiResult<Value> {
    cloud.store().transaction(|tx| {
        match tx.execute(
            "UPDATE log_groups SET retention = ?2 WHERE name = ?1",
            params![name, days],
        )? {
            0 => Err(no_group()),
            _ => Ok(Value::Null),
        }
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AssociateKey {
    log_group_name: Option<String>,
    resource_identifier: Option<String>,
    kms_key_id: Option<String>,
}

/// `AssociateKmsKey`, and without a key `DisassociateKmsKey`.
pub(super) async fn associate_key(cloud: &Cloud, input: AssociateKey) -> ApiResult<Value> {
    let name = group_name(cloud, input.log_group_name, input.resource_identifier)?;
    if let Some(key) = &input.kms_key_id {
        check_key(cloud, &name, key).await?;
    }
    cloud.store().transaction(|tx| {
        require_group(tx, &name)?;
        match &input.kms_key_id {
            Some(key) => keys(cloud).put_in(tx, &name, key)?,
            None => drop(keys(cloud).remove_in(tx, &name)?),
        }
        Ok(Value::Null)
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tagging {
    resource_arn: String,
    #[serde(default)]
    tags: Tags,
    #[serde(default)]
    tag_keys: Vec<String>,
}

pub(super) async fn tag(cloud: &Cloud, input: Tagging) -> ApiResult<Value> {
    change_tags(cloud, &input.resource_arn, |tags| {
        tags.extend(input.tags.into_map());
    })?;
    Ok(Value::Null)
}

pub(super) async fn untag(cloud: &Cloud, input: Tagging) -> ApiResult<Value> {
    change_tags(cloud, &input.resource_arn, |tags| {
        tags.retain(|key, _| !input.tag_keys.contains(key));
    })?;
    Ok(Value::Null)
}

pub(super) async fn list_tags(cloud: &Cloud, input: Tagging) -> ApiResult<Value> {
    let tags = change_tags(cloud, &input.resource_arn, |_| {})?;
    Ok(json!({ "tags": tags }))
}

fn change_tags(
    cloud: &Cloud,
    arn: &str,
    change: impl FnOnce(&mut BTreeMap<String, String>),
) -> ApiResult<BTreeMap<String, String>> {
    let name = name_of_arn(cloud, arn)?;
    cloud.store().transaction(|tx| {
        require_group(tx, &name)?;
        let mut tags = read_tags(tx, &name)?;
        change(&mut tags);
        let text = serde_json::to_string(&tags).map_err(ApiError::internal)?;
        tx.execute(
            "UPDATE log_groups SET tags = ?2 WHERE name = ?1",
            params![name, text],
        )?;
        Ok(tags)
    })
}

fn read_tags(tx: &Transaction<'_>, name: &str) -> ApiResult<BTreeMap<String, String>> {
    let text: String = tx.query_row(
        "SELECT tags FROM log_groups WHERE name = ?1",
        [name],
        |row| row.get(0),
    )?;
    serde_json::from_str(&text).map_err(ApiError::internal)
}
