//! The tags of functions.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::records::{find, records};
use super::{arn, name_of, not_found};
use crate::Cloud;
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tag {
    resource: String,
    #[serde(default)]
    tags: Tags,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Untag {
    resource: String,
    #[serde(default)]
    tag_keys: Vec<String>,
}

pub(super) async fn list(cloud: &Cloud, input: Tag) -> ApiResult<Value> {
    let name = function(cloud, &input.resource)?;
    Ok(json!({"Tags": find(cloud, &name)?.tags}))
}

pub(super) async fn tag(cloud: &Cloud, input: Tag) -> ApiResult<Value> {
    change(cloud, &input.resource, |tags| {
        tags.extend(input.tags.into_map());
    })
}

pub(super) async fn untag(cloud: &Cloud, input: Untag) -> ApiResult<Value> {
    change(cloud, &input.resource, |tags| {
        tags.retain(|key, _| !input.tag_keys.contains(key));
    })
}

/// The function with this ARN. A name or a qualifier is refused: permissions are evaluated on the ARN.
fn function(cloud: &Cloud, resource: &str) -> ApiResult<String> {
    let name = name_of(cloud, resource, None)?;
    if arn(cloud, &name) == resource {
        return Ok(name);
    }
    let message = format!("{resource} is not the ARN of a function");
    Err(ApiError::new("InvalidParameterValueException", message))
}

fn change(
    cloud: &Cloud,
    resource: &str,
    change: impl FnOnce(&mut BTreeMap<String, String>),
) -> ApiResult<Value> {
    let name = function(cloud, resource)?;
    records(cloud)
        .update(&name, |record| {
            change(&mut record.tags);
            Ok(())
        })?
        .ok_or_else(|| not_found(cloud, &name))?;
    Ok(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_cloud::TestCloud;

    #[test]
    fn tags_belong_to_the_arn_of_a_function() {
        let at = TestCloud::new();
        let cloud = at.cloud();
        let own = arn(&cloud, "f");
        assert_eq!(function(&cloud, &own).unwrap(), "f");
        for other in ["f", "function:f", "f:$LATEST", &format!("{own}:$LATEST")] {
            assert!(function(&cloud, other).is_err(), "{other}");
        }
    }
}
