//! A bucket's settings, stored as the XML documents of the S3 API.

use s3s::S3Result;
use s3s::xml::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::api::{ApiError, ApiResult};

/// A setting of a bucket, other than versioning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setting {
    Encryption,
    PublicAccessBlock,
    Policy,
    Lifecycle,
    Tagging,
    OwnershipControls,
    Notification,
    Logging,
}

impl Setting {
    /// The name under which the setting is stored.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Encryption => "Encryption",
            Self::PublicAccessBlock => "PublicAccessBlock",
            Self::Policy => "Policy",
            Self::Lifecycle => "Lifecycle",
            Self::Tagging => "Tagging",
            Self::OwnershipControls => "OwnershipControls",
            Self::Notification => "Notification",
            Self::Logging => "Logging",
        }
    }

    /// The error of S3 if the setting is read but not set (notifications and logging are never
    /// missing).
    pub(super) fn missing(self) -> ApiError {
        let (code, message) = match self {
            Self::Encryption => (
                "ServerSideEncryptionConfigurationNotFoundError",
                "The server side encryption configuration was not found",
            ),
            Self::PublicAccessBlock => (
                "NoSuchPublicAccessBlockConfiguration",
                "The public access block configuration was not found",
            ),
            Self::Policy => ("NoSuchBucketPolicy", "The bucket policy does not exist"),
            Self::Lifecycle => (
                "NoSuchLifecycleConfiguration",
                "The lifecycle configuration does not exist",
            ),
            Self::Tagging => ("NoSuchTagSet", "The TagSet does not exist"),
            Self::OwnershipControls => (
                "OwnershipControlsNotFoundError",
                "The bucket ownership controls were not found",
            ),
            Self::Notification => ("NoSuchKey", "The notification configuration does not exist"),
            Self::Logging => ("NoSuchKey", "The logging configuration does not exist"),
        };
        ApiError::not_found(code, message).status(404)
    }
}

/// The defaults of a new bucket, as in AWS since 2023.
pub(super) fn defaults() -> Vec<(Setting, String)> {
    let document = |root: &str, json: Value| xml(root, &json);
    vec![
        (
            Setting::PublicAccessBlock,
            document(
                "PublicAccessBlockConfiguration",
                serde_json::json!({
                    "BlockPublicAcls": true, "IgnorePublicAcls": true,
                    "BlockPublicPolicy": true, "RestrictPublicBuckets": true,
                }),
            ),
        ),
        (
            Setting::OwnershipControls,
            document(
                "OwnershipControls",
                serde_json::json!({"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}),
            ),
        ),
        (Setting::Encryption, default_encryption()),
    ]
}

/// SSE-S3, which applies again after a bucket's own encryption is removed.
pub(super) fn default_encryption() -> String {
    xml(
        "ServerSideEncryptionConfiguration",
        &serde_json::json!({"Rules": [{
            "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
            "BucketKeyEnabled": false,
        }]}),
    )
}

/// Serializes a type of s3s to its XML document.
pub(super) fn write<T: Serialize>(value: &T) -> ApiResult<String> {
    let mut bytes = Vec::new();
    value
        .serialize(&mut Serializer::new(&mut bytes))
        .map_err(ApiError::internal)?;
    String::from_utf8(bytes).map_err(ApiError::internal)
}

/// Parses a type of s3s from its XML document.
pub(super) fn read<T: for<'xml> Deserialize<'xml>>(text: &str) -> S3Result<T> {
    let mut deserializer = Deserializer::new(text.as_bytes());
    Ok(T::deserialize(&mut deserializer).map_err(|error| {
        ApiError::new(
            "MalformedXML",
            format!(
                "The XML you provided was not well-formed or did not validate against our \
                 published schema ({error})"
            ),
        )
    })?)
}

/// Converts a request in the API's member names to its XML document. S3's model gives some lists
/// and members different names on the wire (botocore: `locationName`).
pub(super) fn xml(root: &str, value: &Value) -> String {
    let mut text = String::new();
    element(&mut text, root, value);
    text
}

fn element(text: &mut String, name: &str, value: &Value) {
    text.push_str(&format!("<{name}>"));
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                let wire = wire_name(member, value);
                match value {
                    Value::Null => {}
                    Value::Array(items) if member == "TagSet" => {
                        text.push_str("<TagSet>");
                        for item in items {
                            element(text, "Tag", item);
                        }
                        text.push_str("</TagSet>");
                    }
                    Value::Array(items) => {
                        for item in items {
                            element(text, wire, item);
                        }
                    }
                    value => element(text, wire, value),
                }
            }
        }
        Value::String(value) => text.push_str(&quick_xml::escape::escape(value.as_str())),
        Value::Null => {}
        value => text.push_str(&value.to_string()),
    }
    text.push_str(&format!("</{name}>"));
}

fn wire_name<'a>(member: &'a str, value: &Value) -> &'a str {
    match member {
        "Rules" => "Rule",
        "Transitions" => "Transition",
        "NoncurrentVersionTransitions" => "NoncurrentVersionTransition",
        "Tags" => "Tag",
        "FilterRules" => "FilterRule",
        "Events" => "Event",
        "LambdaFunctionConfigurations" => "CloudFunctionConfiguration",
        "LambdaFunctionArn" => "CloudFunction",
        "QueueConfigurations" => "QueueConfiguration",
        "QueueArn" => "Queue",
        "TopicConfigurations" => "TopicConfiguration",
        "TopicArn" => "Topic",
        "Key" if value.is_object() => "S3Key",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3s::dto::{BucketLifecycleConfiguration, NotificationConfiguration, Tagging};
    use serde_json::json;

    #[test]
    fn api_members_are_converted_to_the_wire_document() {
        let lifecycle: BucketLifecycleConfiguration = read(&xml(
            "LifecycleConfiguration",
            &json!({"Rules": [{
                "ID": "a<b", "Status": "Enabled", "Filter": {"Prefix": "x/"},
                "Expiration": {"Days": 30},
                "NoncurrentVersionExpiration": {"NoncurrentDays": 7},
            }]}),
        ))
        .unwrap();
        let rule = &lifecycle.rules[0];
        assert_eq!(rule.id.as_deref(), Some("a<b"));
        assert_eq!(rule.expiration.as_ref().unwrap().days, Some(30));
        assert_eq!(rule.filter.as_ref().unwrap().prefix.as_deref(), Some("x/"));
        let tags: Tagging = read(&xml(
            "Tagging",
            &json!({"TagSet": [{"Key": "k", "Value": "v"}]}),
        ))
        .unwrap();
        assert_eq!(tags.tag_set[0].value.as_deref(), Some("v"));
        let notification: NotificationConfiguration = read(&xml(
            "NotificationConfiguration",
            &json!({"EventBridgeConfiguration": {}, "QueueConfigurations": [{
                "QueueArn": "arn:q", "Events": ["s3:ObjectCreated:*"],
                "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "d/"}]}},
            }]}),
        ))
        .unwrap();
        assert!(notification.event_bridge_configuration.is_some());
        let queue = &notification.queue_configurations.as_ref().unwrap()[0];
        assert_eq!(queue.queue_arn, "arn:q");
        let written = write(&notification).unwrap();
        assert_eq!(
            read::<NotificationConfiguration>(&written).unwrap(),
            notification
        );
    }

    #[test]
    fn a_document_of_another_shape_is_refused() {
        assert!(read::<Tagging>("<Other/>").is_err());
        assert!(
            read::<BucketLifecycleConfiguration>(
                "<LifecycleConfiguration><Rule/></LifecycleConfiguration>"
            )
            .is_err()
        );
    }
}
