//! The tags of queues.

use serde::Deserialize;
use serde_json::{Value, json};

use super::queues::{ByUrl, change, limited, of_url};
use crate::Cloud;
use crate::api::ApiResult;
use crate::api::tags::Tags;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tagging {
    #[serde(default)]
    queue_url: String,
    #[serde(default)]
    tags: Tags,
    #[serde(default)]
    tag_keys: Vec<String>,
}

/// `TagQueue`
pub(super) async fn add(cloud: &Cloud, input: Tagging) -> ApiResult<Value> {
    change(cloud, &input.queue_url, |queue| {
        let mut tags = queue.tags.clone();
        tags.extend(input.tags.into_map());
        queue.tags = limited(tags)?;
        Ok(Value::Null)
    })
}

/// `UntagQueue`
pub(super) async fn remove(cloud: &Cloud, input: Tagging) -> ApiResult<Value> {
    change(cloud, &input.queue_url, |queue| {
        queue.tags.retain(|key, _| !input.tag_keys.contains(key));
        Ok(Value::Null)
    })
}

/// `ListQueueTags`
pub(super) async fn list(cloud: &Cloud, input: ByUrl) -> ApiResult<Value> {
    let queue = of_url(cloud, &input.queue_url)?;
    Ok(if queue.tags.is_empty() {
        json!({})
    } else {
        json!({"Tags": queue.tags})
    })
}
