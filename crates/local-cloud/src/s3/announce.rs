//! Announces changes of objects to EventBridge, if the notification configuration of their bucket enables it.

use rusqlite::Transaction;
use s3s::dto::NotificationConfiguration;
use serde_json::{Value, json};

use super::buckets::{self, Bucket};
use super::settings::{self, Setting};
use super::versions::{Removed, Version, written_id};
use crate::Cloud;
use crate::api::ApiResult;
use crate::cloud::ACCOUNT;
use crate::events::{self, Event};

/// The source of the events.
const SOURCE: &str = "aws.s3";

/// True if a rule could match, and the bucket sends its events.
fn is_enabled(transaction: &Transaction<'_>, cloud: &Cloud, bucket: &Bucket) -> ApiResult<bool> {
    if events::is_ignored_in(transaction, cloud, SOURCE)? {
        return Ok(false);
    }
    let document = buckets::document_in(transaction, &bucket.name, Setting::Notification)?;
    let Some(document) = document else {
        return Ok(false);
    };
    // A configuration that was accepted can always be read.
    let configuration = settings::read::<NotificationConfiguration>(&document);
    Ok(configuration.is_ok_and(|it| it.event_bridge_configuration.is_some()))
}

fn publish(
    transaction: &Transaction<'_>,
    cloud: &Cloud,
    bucket: &Bucket,
    detail_type: &'static str,
    (mut object, more): (Value, Value),
) -> ApiResult<()> {
    // Events of one key can be ordered by it.
    let now = jiff::Timestamp::now().as_nanosecond();
    object["sequencer"] = format!("{now:018X}").into();
    let id = uuid::Uuid::new_v4().simple().to_string();
    let mut detail = json!({
        "version": "0",
        "bucket": {"name": bucket.name},
        "object": object,
        "request-id": id[..16].to_uppercase(),
        "requester": ACCOUNT,
        "source-ip-address": "127.0.0.1",
    });
    if let (Value::Object(detail), Value::Object(more)) = (&mut detail, more) {
        detail.extend(more);
    }
    let event = Event {
        source: SOURCE,
        detail_type,
        resources: vec![format!("arn:aws:s3:::{}", bucket.name)],
        detail,
    };
    events::publish_in(transaction, cloud, event)
}

/// Announces a new version of an object, in the transaction that adds it. `reason` is the operation: `PutObject`,
/// `CopyObject` or `CompleteMultipartUpload`.
pub(super) fn created(
    transaction: &Transaction<'_>,
    cloud: &Cloud,
    bucket: &Bucket,
    version: &Version,
    reason: &str,
) -> ApiResult<()> {
    if !is_enabled(transaction, cloud, bucket)? {
        return Ok(());
    }
    let mut object = json!({"key": version.key, "size": version.size, "etag": version.etag});
    if let Some(id) = written_id(bucket, version) {
        object["version-id"] = id.into();
    }
    let more = json!({"reason": reason});
    publish(transaction, cloud, bucket, "Object Created", (object, more))
}

/// Announces that an object, or one version of it, was deleted, in the transaction that deletes it. A delete of one
/// version is permanent, also of a delete marker.
pub(super) fn deleted(
    transaction: &Transaction<'_>,
    cloud: &Cloud,
    bucket: &Bucket,
    key: &str,
    (removed, is_version): (&Removed, bool),
) -> ApiResult<()> {
    if !is_enabled(transaction, cloud, bucket)? {
        return Ok(());
    }
    let mut object = json!({"key": key});
    if let Some(id) = &removed.id {
        object["version-id"] = id.as_str().into();
    }
    let kind = if removed.marker && !is_version {
        "Delete Marker Created"
    } else {
        "Permanently Deleted"
    };
    let more = json!({"reason": "DeleteObject", "deletion-type": kind});
    publish(transaction, cloud, bucket, "Object Deleted", (object, more))
}
