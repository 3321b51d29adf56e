//! Tags whose keys begin with `aws:`: only AWS adds, changes or removes them. They do not count
//! towards the limit of a resource.
//!
//! Only requests of clients are checked here. Calls between services are not, because
//! `CloudFormation` sets such tags on the resources that it creates.

use std::collections::BTreeMap;

use serde_json::Value;

use super::api::{ApiError, ApiResult};
use super::cloud::service::Service;

pub(crate) use super::cloud::service::RESERVED_TAG as RESERVED;

/// True for a key that only AWS sets; the prefix can be in any case.
pub(crate) fn is_reserved(key: &str) -> bool {
    key.get(..4)
        .is_some_and(|start| start.eq_ignore_ascii_case("aws:"))
}

/// Keys of the tags that SageMaker sets on resources created by a pipeline: the ARN of the
/// execution, the name of the pipeline and of the step.
pub(crate) const OF_PIPELINES: [&str; 3] = [
    "sagemaker:pipeline-execution-arn",
    "sagemaker:pipeline-name",
    "sagemaker:pipeline-step-name",
];

/// True for a tag that counts towards a limit. (That the tags of pipelines do not count is
/// unverified against AWS [pipeline-tag-limit].)
fn counts(key: &str) -> bool {
    !is_reserved(key) && !OF_PIPELINES.contains(&key)
}

/// Replaces the tags of a resource with those of a client's request, which cannot have the tags that only AWS sets:
/// those of the resource remain.
pub(crate) fn replace(tags: &mut BTreeMap<String, String>, new: BTreeMap<String, String>) {
    tags.retain(|key, _| is_reserved(key));
    tags.extend(new);
}

/// The number of tags that count towards a limit.
pub(crate) fn counted<'a>(keys: impl IntoIterator<Item = &'a String>) -> usize {
    keys.into_iter().filter(|key| counts(key)).count()
}

/// Returns the request with only those of its `Tags` that count towards a limit.
pub(crate) fn with_counted(input: &Value) -> Value {
    let mut input = input.clone();
    if let Some(tags) = input.get_mut("Tags").and_then(Value::as_array_mut) {
        tags.retain(|tag| tag["Key"].as_str().is_none_or(counts));
    }
    input
}

/// Members of requests that hold tags or tag keys, in lower case.
const MEMBERS: &[&str] = &[
    "tag",
    "tagkeys",
    "tags",
    "tagspecification",
    "tagspecifications",
];

/// Fails, with the error of the service, if a request sets or removes a reserved tag.
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
            // A list of tags, of keys, or of specifications that contain lists of tags.
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

    #[test]
    fn the_tags_of_a_request_replace_those_of_clients_only() {
        let tags = |keys: &[&str]| -> BTreeMap<String, String> {
            let pair = |key: &&str| ((*key).to_owned(), "v".to_owned());
            keys.iter().map(pair).collect()
        };
        let mut all = tags(&["a", "aws:cloudformation:stack-name", "b"]);
        replace(&mut all, tags(&["b", "c"]));
        assert_eq!(all, tags(&["aws:cloudformation:stack-name", "b", "c"]));
    }
}
