//! `AWS::S3::Bucket` and `AWS::S3::BucketPolicy`.

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::{Handler, Job, Made, Naming, Type, differs};
use crate::api::{ApiError, ApiResult};
use crate::limits;
use crate::s3::buckets;

/// The types of this file.
pub(super) const TYPES: &[Type] = &[
    Type {
        name: "AWS::S3::Bucket",
        properties: &[
            "BucketEncryption",
            "BucketName",
            "LifecycleConfiguration",
            "NotificationConfiguration",
            "OwnershipControls",
            "PublicAccessBlockConfiguration",
            "Tags",
            "VersioningConfiguration",
        ],
        naming: Some(Naming {
            property: "BucketName",
            longest: 63,
            lower: true,
        }),
        attributes: &[
            "Arn",
            "DomainName",
            "DualStackDomainName",
            "RegionalDomainName",
            "WebsiteURL",
        ],
        handler: &Bucket,
    },
    Type {
        name: "AWS::S3::BucketPolicy",
        properties: &["Bucket", "PolicyDocument"],
        naming: None,
        attributes: &[],
        handler: &BucketPolicy,
    },
];

struct Bucket;
struct BucketPolicy;

/// Turns a property into the API's form of it.
type Form = fn(&Value) -> ApiResult<Value>;

/// The settings of a bucket: the property, the setting's name, the API's form of it.
const SETTINGS: &[(&str, &str, Form)] = &[
    ("VersioningConfiguration", "Versioning", as_it_is),
    ("BucketEncryption", "Encryption", encryption),
    (
        "PublicAccessBlockConfiguration",
        "PublicAccessBlock",
        as_it_is,
    ),
    ("OwnershipControls", "OwnershipControls", as_it_is),
    ("LifecycleConfiguration", "Lifecycle", lifecycle),
    ("Tags", "Tagging", tagging),
    ("NotificationConfiguration", "Notification", notification),
];

#[expect(
    clippy::unnecessary_wraps,
    reason = "one of a table of functions, some of which refuse"
)]
fn as_it_is(value: &Value) -> ApiResult<Value> {
    Ok(value.clone())
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "one of a table of functions, some of which refuse"
)]
fn tagging(value: &Value) -> ApiResult<Value> {
    Ok(json!({"TagSet": value}))
}

/// The members of an array member.
fn members<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value
        .get(name)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "one of a table of functions, some of which refuse"
)]
fn encryption(value: &Value) -> ApiResult<Value> {
    let rules: Vec<Value> = members(value, "ServerSideEncryptionConfiguration")
        .map(|rule| {
            let mut shown = Map::new();
            if let Some(default) = rule.get("ServerSideEncryptionByDefault") {
                shown.insert(
                    "ApplyServerSideEncryptionByDefault".to_owned(),
                    default.clone(),
                );
            }
            if let Some(enabled) = rule.get("BucketKeyEnabled") {
                shown.insert("BucketKeyEnabled".to_owned(), enabled.clone());
            }
            Value::Object(shown)
        })
        .collect();
    Ok(json!({"Rules": rules}))
}

/// Only `EventBridge`, as the local cloud's S3 sends its events nowhere else.
fn notification(value: &Value) -> ApiResult<Value> {
    for name in [
        "LambdaConfigurations",
        "QueueConfigurations",
        "TopicConfigurations",
    ] {
        if value.get(name).is_some() {
            return Err(ApiError::not_implemented(format_args!(
                "the property NotificationConfiguration/{name} of AWS::S3::Bucket"
            )));
        }
    }
    Ok(
        match value.pointer("/EventBridgeConfiguration/EventBridgeEnabled") {
            Some(Value::Bool(false)) => json!({}),
            _ => json!({"EventBridgeConfiguration": {}}),
        },
    )
}

fn lifecycle(value: &Value) -> ApiResult<Value> {
    let rules: Vec<Value> = members(value, "Rules")
        .map(rule)
        .collect::<ApiResult<_>>()?;
    Ok(json!({"Rules": rules}))
}

/// One life-cycle rule: `CloudFormation`'s names to those of `PutBucketLifecycleConfiguration`.
fn rule(rule: &Value) -> ApiResult<Value> {
    let mut shown = Map::new();
    let mut prefix = Value::from("");
    let mut tags = Vec::new();
    let mut expiration = Map::new();
    for (name, value) in rule.as_object().into_iter().flatten() {
        match name.as_str() {
            "Id" => {
                shown.insert("ID".to_owned(), value.clone());
            }
            "Status" | "AbortIncompleteMultipartUpload" | "NoncurrentVersionExpiration" => {
                shown.insert(name.clone(), value.clone());
            }
            "Prefix" => prefix = value.clone(),
            "TagFilters" => tags = value.as_array().cloned().unwrap_or_default(),
            "ExpirationInDays" => {
                expiration.insert("Days".to_owned(), value.clone());
            }
            "ExpirationDate" => {
                expiration.insert("Date".to_owned(), value.clone());
            }
            "ExpiredObjectDeleteMarker" => {
                expiration.insert(name.clone(), value.clone());
            }
            "NoncurrentVersionExpirationInDays" => {
                shown.insert(
                    "NoncurrentVersionExpiration".to_owned(),
                    json!({"NoncurrentDays": value}),
                );
            }
            "Transitions" => {
                const NAMES: &[(&str, &str)] = &[
                    ("TransitionInDays", "Days"),
                    ("TransitionDate", "Date"),
                    ("StorageClass", "StorageClass"),
                ];
                shown.insert(name.clone(), transitions(value, NAMES));
            }
            "NoncurrentVersionTransitions" => {
                const NAMES: &[(&str, &str)] = &[
                    ("TransitionInDays", "NoncurrentDays"),
                    ("NewerNoncurrentVersions", "NewerNoncurrentVersions"),
                    ("StorageClass", "StorageClass"),
                ];
                shown.insert(name.clone(), transitions(value, NAMES));
            }
            other => {
                return Err(ApiError::not_implemented(format_args!(
                    "the property LifecycleConfiguration/Rules/{other} of AWS::S3::Bucket"
                )));
            }
        }
    }
    if !expiration.is_empty() {
        shown.insert("Expiration".to_owned(), Value::Object(expiration));
    }
    let filter = match (tags.as_slice(), prefix == "") {
        ([], _) => json!({"Prefix": prefix}),
        ([tag], true) => json!({"Tag": tag}),
        (tags, true) => json!({"And": {"Tags": tags}}),
        (tags, false) => json!({"And": {"Prefix": prefix, "Tags": tags}}),
    };
    shown.insert("Filter".to_owned(), filter);
    Ok(Value::Object(shown))
}

/// A list of transitions with the members renamed as `names` says.
fn transitions(value: &Value, names: &[(&str, &str)]) -> Value {
    let one = |transition: &Value| -> Value {
        names
            .iter()
            .filter_map(|(from, to)| Some(((*to).to_owned(), transition.get(from)?.clone())))
            .collect::<Map<_, _>>()
            .into()
    };
    value.as_array().into_iter().flatten().map(one).collect()
}

fn attributes(job: &Job<'_>, name: &str) -> Map<String, Value> {
    let region = job.cloud.region();
    [
        ("Arn", format!("arn:aws:s3:::{name}")),
        ("DomainName", format!("{name}.s3.amazonaws.com")),
        (
            "DualStackDomainName",
            format!("{name}.s3.dualstack.{region}.amazonaws.com"),
        ),
        (
            "RegionalDomainName",
            format!("{name}.s3.{region}.amazonaws.com"),
        ),
        (
            "WebsiteURL",
            format!("http://{name}.s3-website-{region}.amazonaws.com"),
        ),
    ]
    .map(|(name, value)| (name.to_owned(), Value::String(value)))
    .into_iter()
    .collect()
}

#[async_trait]
impl Handler for Bucket {
    async fn create(&self, job: &Job<'_>) -> ApiResult<Made> {
        for (property, _, form) in SETTINGS {
            job.get(property).map(form).transpose()?;
        }
        // S3 itself answers a second CreateBucket of the owner in us-east-1 with success;
        // CloudFormation does not adopt a bucket that was there.
        if buckets::exists(job.cloud, job.name)? {
            return Err(ApiError::new(
                "BucketAlreadyOwnedByYou",
                format!("{} already exists", job.name),
            )
            .status(409));
        }
        buckets::create(job.cloud, job.name)?;
        Ok(Made {
            physical: job.name.to_owned(),
            attributes: attributes(job, job.name),
        })
    }

    async fn stabilize(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        for (property, setting, form) in SETTINGS {
            if let Some(value) = job.get(property) {
                buckets::set(job.cloud, physical, setting, Some(form(value)?))?;
            }
        }
        Ok(())
    }

    async fn update(
        &self,
        job: &Job<'_>,
        physical: &str,
        old: &Map<String, Value>,
    ) -> ApiResult<Map<String, Value>> {
        for (property, setting, form) in SETTINGS {
            if !differs(old, job.properties, &[property]) {
                continue;
            }
            let value = match job.get(property) {
                Some(value) => Some(form(value)?),
                // Versioning, once on, can only be suspended.
                None if *setting == "Versioning" => Some(json!({"Status": "Suspended"})),
                None => None,
            };
            buckets::set(job.cloud, physical, setting, value)?;
        }
        Ok(Map::new())
    }

    async fn delete(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        buckets::delete(job.cloud, physical)
    }
}

#[async_trait]
impl Handler for BucketPolicy {
    async fn create(&self, job: &Job<'_>) -> ApiResult<Made> {
        let bucket = job.text("Bucket");
        self.update(job, &bucket, &Map::new()).await?;
        Ok(Made {
            physical: bucket,
            attributes: Map::new(),
        })
    }

    async fn update(
        &self,
        job: &Job<'_>,
        physical: &str,
        _old: &Map<String, Value>,
    ) -> ApiResult<Map<String, Value>> {
        if !buckets::exists(job.cloud, physical)? {
            return Err(
                ApiError::new("NoSuchBucket", "The specified bucket does not exist").status(404),
            );
        }
        let policy = match job.get("PolicyDocument") {
            Some(Value::String(text)) => limits::document(text.as_bytes()).map_err(|_| {
                ApiError::new(
                    "MalformedPolicy",
                    "Policies must be valid JSON and the first byte must be '{'",
                )
            })?,
            other => other.cloned().unwrap_or_default(),
        };
        buckets::set(job.cloud, physical, "Policy", Some(policy))?;
        Ok(Map::new())
    }

    async fn delete(&self, job: &Job<'_>, physical: &str) -> ApiResult<()> {
        if buckets::exists(job.cloud, physical)? {
            buckets::set(job.cloud, physical, "Policy", None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn life_cycle_rules_get_the_names_of_the_api() {
        let value = json!({"Rules": [{
            "Id": "r", "Status": "Enabled", "Prefix": "snapshots/", "ExpirationInDays": 30,
            "NoncurrentVersionExpirationInDays": 7,
            "Transitions": [{"StorageClass": "GLACIER", "TransitionInDays": 9}],
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
        }]});
        assert_eq!(
            lifecycle(&value).unwrap(),
            json!({"Rules": [{
                "ID": "r", "Status": "Enabled", "Filter": {"Prefix": "snapshots/"},
                "Expiration": {"Days": 30},
                "NoncurrentVersionExpiration": {"NoncurrentDays": 7},
                "Transitions": [{"Days": 9, "StorageClass": "GLACIER"}],
                "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
            }]})
        );
        let unknown = json!({"Rules": [{"Status": "Enabled", "ObjectSizeLessThan": "5"}]});
        assert!(
            lifecycle(&unknown)
                .unwrap_err()
                .message
                .contains("ObjectSizeLessThan")
        );
    }
}
