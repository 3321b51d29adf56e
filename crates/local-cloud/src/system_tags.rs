//! Tags whose keys begin with `aws:`: AWS sets them, and nobody else may add, change or remove them.
//! They don't count towards the limit of a resource.
//!
//! Requests from outside are checked here; the services of the local cloud call each other past this
//! check, as `CloudFormation` does when it tags what it makes.

use serde_json::Value;

use super::api::{ApiError, ApiResult};
use super::cloud::service::Service;

pub(crate) use super::cloud::service::RESERVED_TAG as RESERVED;

/// True for a key that only AWS sets; upper case counts, too.
pub(crate) fn is_reserved(key: &str) -> bool {
    key.get(..4)
        .is_some_and(|start| start.eq_ignore_ascii_case("aws:"))
}

/// The keys of the tags that SageMaker puts on what a pipeline makes: its execution's ARN, its name
/// and the step's.
pub(crate) const OF_PIPELINES: [&str; 3] = [
    "sagemaker:pipeline-execution-arn",
    "sagemaker:pipeline-name",
    "sagemaker:pipeline-step-name",
];

/// True for a tag that counts towards a limit. (Unverified against AWS: that those of pipelines do
/// not.)
fn counts(key: &str) -> bool {
    !is_reserved(key) && !OF_PIPELINES.contains(&key)
}

/// The number of tags that count towards a limit.
pub(crate) fn counted<'a>(keys: impl IntoIterator<Item = &'a String>) -> usize {
    keys.into_iter().filter(|key| counts(key)).count()
}

/// A request with only those of its `Tags` that count towards a limit.
pub(crate) fn with_counted(input: &Value) -> Value {
    let mut input = input.clone();
    if let Some(tags) = input.get_mut("Tags").and_then(Value::as_array_mut) {
        tags.retain(|tag| tag["Key"].as_str().is_none_or(counts));
    }
    input
}

/// The members of requests that hold tags or tag keys, in lower case.
const MEMBERS: &[&str] = &[
    "tag",
    "tagkeys",
    "tags",
    "tagspecification",
    "tagspecifications",
];

/// Refuses a request that sets or removes a reserved tag, with the error of its service.
pub(crate) fn check(service: &Service, input: &Value) -> ApiResult<()> {
    match reserved(input) {
        Some(key) => {
            let (code, message) = service.reserved_tag;
            Err(ApiError::new(code, message.replace("{key}", key)))
        }
        None => Ok(()),
    }
}

/// The first reserved key among the tags of a request.
fn reserved(input: &Value) -> Option<&str> {
    let members = input.as_object()?.iter();
    members
        .filter(|(name, _)| MEMBERS.contains(&name.to_ascii_lowercase().as_str()))
        .find_map(|(_, value)| match value {
            // A list of tags, of keys, or of specifications, which have lists of tags.
            Value::Array(items) => items.iter().find_map(|item| match item {
                Value::String(key) => Some(key.as_str()).filter(|key| is_reserved(key)),
                item => ["Key", "key", "TagKey"]
                    .iter()
                    .find_map(|name| item.get(*name)?.as_str())
                    .filter(|key| is_reserved(key))
                    .or_else(|| reserved(item)),
            }),
            Value::Object(tags) => tags.keys().map(String::as_str).find(|key| is_reserved(key)),
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn issue_8_3_6_reserved_tags_are_found_wherever_a_request_has_tags() {
        for input in [
            json!({"Tags": [{"Key": "team", "Value": "ml"}, {"Key": "aws:x", "Value": "v"}]}),
            json!({"tags": [{"Key": "AWS:x", "Value": "v"}]}),
            json!({"Tags": [{"TagKey": "aws:x", "TagValue": "v"}]}),
            json!({"tags": {"aws:x": "v"}}),
            json!({"TagKeys": ["a", "aws:x"]}),
            json!({"tagKeys": ["aws:x"]}),
            json!({"TagSpecification": [{"ResourceType": "vpc", "Tag": [{"Key": "aws:x"}]}]}),
            json!({"TagSpecifications": [{"Tags": [{"Key": "aws:x"}]}]}),
            json!({"Tag": [{"Key": "aws:x"}]}),
        ] {
            assert!(
                check(&crate::sagemaker::SERVICE, &input).is_err(),
                "{input}"
            );
        }
        for input in [
            json!({}),
            json!({"Tags": null}),
            json!({"Tags": [{"Key": "aws", "Value": "aws:x"}]}),
            json!({"Key": "aws:x"}),
            json!({"PolicyDocument": {"Tags": {"aws:x": 1}}}),
        ] {
            assert!(check(&crate::sagemaker::SERVICE, &input).is_ok(), "{input}");
        }
        let keys = ["a", "aws:b", "sagemaker:pipeline-name"].map(str::to_owned);
        assert_eq!(counted(&keys), 1);
    }
}
