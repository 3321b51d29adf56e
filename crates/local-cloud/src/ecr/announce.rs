//! Announces pushed and deleted images to EventBridge, in the transaction that changes them.

use rusqlite::Transaction;
use serde_json::{Value, json};

use super::image_id::ImageId;
use crate::Cloud;
use crate::api::ApiResult;
use crate::events::{self, Event};

/// The source of the events.
const SOURCE: &str = "aws.ecr";

/// What happened to an image.
#[derive(Debug, Clone, Copy)]
pub(super) enum Action {
    Push,
    Delete,
}

/// Announces that an image was pushed or deleted: one event for each tag, or one for an image without any. Call
/// [`events::deliver_soon`] after the commit.
pub(super) fn image(
    tx: &Transaction<'_>,
    cloud: &Cloud,
    repository: &str,
    action: Action,
    id: &ImageId,
) -> ApiResult<()> {
    let mut detail = json!({
        "result": "SUCCESS",
        "repository-name": repository,
        "image-digest": id.image_digest,
        "action-type": match action {
            Action::Push => "PUSH",
            Action::Delete => "DELETE",
        },
    });
    if let Some(tag) = &id.image_tag {
        detail["image-tag"] = tag.as_str().into();
    }
    let event = Event {
        source: SOURCE,
        detail_type: "ECR Image Action",
        resources: Vec::new(),
        detail,
    };
    events::publish_in(tx, cloud, event)
}

/// Announces that the scan of an image is complete, with the number of findings of each severity.
pub(super) fn scan(
    cloud: &Cloud,
    repository: &str,
    digest: &str,
    tags: &[String],
    counts: &Value,
) -> ApiResult<()> {
    let event = Event {
        source: SOURCE,
        detail_type: "ECR Image Scan",
        resources: vec![cloud.arn("ecr", format_args!("repository/{repository}"))],
        detail: json!({
            "scan-status": "COMPLETE",
            "repository-name": repository,
            "finding-severity-counts": counts,
            "image-digest": digest,
            "image-tags": tags,
        }),
    };
    events::publish(cloud, event)
}
