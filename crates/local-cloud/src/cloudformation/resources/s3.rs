//! The S3 types. S3 has no operations that [`crate::Cloud::call`] reaches: it publishes functions.
#![expect(clippy::unnecessary_wraps, reason = "forms, some of which can fail")]

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::hooks::Hooks;
use super::table::{Source, Type};
use super::target::{Created, Target};
use crate::api::{ApiError, ApiResult};
use crate::cloudformation::template::text_of;
use crate::s3::{self, buckets};
use crate::{authorization, limits, system_tags};

/// The types of this file.
pub(super) const TYPES: &[Type] = &[
    Type::new("AWS::S3::Bucket", "s3")
        .named_lower("BucketName", 63)
        .attributes(&[
            ("Arn", Source::Text("arn:aws:s3:::{name}")),
            ("DomainName", Source::Text("{name}.s3.amazonaws.com")),
            (
                "DualStackDomainName",
                Source::Text("{name}.s3.dualstack.{region}.amazonaws.com"),
            ),
            (
                "RegionalDomainName",
                Source::Text("{name}.s3.{region}.amazonaws.com"),
            ),
            (
                "WebsiteURL",
                Source::Text("http://{name}.s3-website-{region}.amazonaws.com"),
            ),
        ])
        .find_by_code()
        .hooks(
            &Bucket,
            "AccessControl BucketEncryption LifecycleConfiguration LoggingConfiguration NotificationConfiguration \
             OwnershipControls PublicAccessBlockConfiguration Tags VersioningConfiguration",
        ),
    Type::new("AWS::S3::BucketPolicy", "s3")
        .id(Source::Property("Bucket"))
        .find_by_code()
        .hooks(&BucketPolicy, "Bucket PolicyDocument"),
];

struct Bucket;
struct BucketPolicy;

/// Converts a property of the bucket with this name to the form of the API.
type Form = fn(&Value, &str) -> ApiResult<Value>;

/// The settings of a bucket: the property, the name of the setting, and its form.
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
    ("LoggingConfiguration", "Logging", logging),
];

/// The operation that writes a setting; those that remove one need the same permission.
fn operation(setting: &str) -> &'static str {
    match setting {
        "Versioning" => "PutBucketVersioning",
        "Encryption" => "PutBucketEncryption",
        "PublicAccessBlock" => "PutPublicAccessBlock",
        "OwnershipControls" => "PutBucketOwnershipControls",
        "Lifecycle" => "PutBucketLifecycleConfiguration",
        "Logging" => "PutBucketLogging",
        "Tagging" => "PutBucketTagging",
        _ => "PutBucketNotificationConfiguration",
    }
}

fn as_it_is(value: &Value, _: &str) -> ApiResult<Value> {
    Ok(value.clone())
}

fn tagging(value: &Value, _: &str) -> ApiResult<Value> {
    Ok(json!({"TagSet": value}))
}

/// The elements of a member that is a list.
fn members<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value
        .get(name)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn encryption(value: &Value, _: &str) -> ApiResult<Value> {
    let rule = |rule: &Value| {
        let mut shown = rule.as_object().cloned().unwrap_or_default();
        if let Some(default) = shown.remove("ServerSideEncryptionByDefault") {
            shown.insert("ApplyServerSideEncryptionByDefault".to_owned(), default);
        }
        Value::Object(shown)
    };
    let rules = members(value, "ServerSideEncryptionConfiguration").map(rule);
    Ok(json!({"Rules": rules.collect::<Vec<_>>()}))
}

/// Without a destination, the logs go to the bucket itself.
fn logging(value: &Value, bucket: &str) -> ApiResult<Value> {
    let mut enabled = Map::from_iter([
        ("TargetBucket".to_owned(), bucket.into()),
        ("TargetPrefix".to_owned(), "".into()),
    ]);
    for (from, to) in [
        ("DestinationBucketName", "TargetBucket"),
        ("LogFilePrefix", "TargetPrefix"),
        ("TargetObjectKeyFormat", "TargetObjectKeyFormat"),
    ] {
        if let Some(value) = value.get(from) {
            enabled.insert(to.to_owned(), value.clone());
        }
    }
    Ok(json!({"LoggingEnabled": enabled}))
}

/// Only `EventBridge`: the local cloud's S3 sends its events nowhere else.
fn notification(value: &Value, _: &str) -> ApiResult<Value> {
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

fn lifecycle(value: &Value, _: &str) -> ApiResult<Value> {
    let rules: Vec<Value> = members(value, "Rules")
        .map(rule)
        .collect::<ApiResult<_>>()?;
    Ok(json!({"Rules": rules}))
}

/// One life-cycle rule, from `CloudFormation`'s names to those of `PutBucketLifecycleConfiguration`.
fn rule(rule: &Value) -> ApiResult<Value> {
    let mut shown = Map::new();
    let mut prefix = Value::from("");
    let mut tags = Vec::new();
    let mut expiration = Map::new();
    for (name, value) in rule.as_object().into_iter().flatten() {
        let (target, name, value) = match name.as_str() {
            "Id" => (&mut shown, "ID", value.clone()),
            "Status" | "AbortIncompleteMultipartUpload" | "NoncurrentVersionExpiration" => {
                (&mut shown, name.as_str(), value.clone())
            }
            "Prefix" => {
                prefix = value.clone();
                continue;
            }
            "TagFilters" => {
                tags = value.as_array().cloned().unwrap_or_default();
                continue;
            }
            "ExpirationInDays" => (&mut expiration, "Days", value.clone()),
            "ExpirationDate" => (&mut expiration, "Date", value.clone()),
            "ExpiredObjectDeleteMarker" => (&mut expiration, name.as_str(), value.clone()),
            "NoncurrentVersionExpirationInDays" => {
                let days = json!({"NoncurrentDays": value});
                (&mut shown, "NoncurrentVersionExpiration", days)
            }
            "Transitions" => (&mut shown, name.as_str(), transitions(value, "Days")),
            "NoncurrentVersionTransitions" => (
                &mut shown,
                name.as_str(),
                transitions(value, "NoncurrentDays"),
            ),
            other => {
                return Err(ApiError::not_implemented(format_args!(
                    "the property LifecycleConfiguration/Rules/{other} of AWS::S3::Bucket"
                )));
            }
        };
        target.insert(name.to_owned(), value);
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

/// A list of transitions in the API's names; `days` is its name for the number of days.
fn transitions(value: &Value, days: &str) -> Value {
    let names = [
        ("TransitionInDays", days),
        ("TransitionDate", "Date"),
        ("NewerNoncurrentVersions", "NewerNoncurrentVersions"),
        ("StorageClass", "StorageClass"),
    ];
    let one = |transition: &Value| -> Value {
        let members = names.iter();
        members
            .filter_map(|(from, to)| Some(((*to).to_owned(), transition.get(from)?.clone())))
            .collect::<Map<_, _>>()
            .into()
    };
    value.as_array().into_iter().flatten().map(one).collect()
}

/// Fails unless the current caller may run an operation of S3 on the target's bucket.
fn permit(target: &Target<'_>, operation: &str, bucket: &str) -> ApiResult<()> {
    let input = json!({"Bucket": bucket});
    authorization::operation(target.cloud, &s3::SERVICE, operation, &input)
}

/// Only `Private`: the local cloud's S3 has no access control lists.
fn check_access(target: &Target<'_>) -> ApiResult<()> {
    match target.get("AccessControl") {
        None => Ok(()),
        Some(acl) if acl == "Private" => Ok(()),
        Some(acl) => Err(ApiError::not_implemented(format_args!(
            "AccessControl {} of AWS::S3::Bucket",
            text_of(acl)
        ))),
    }
}

#[async_trait]
impl Hooks for Bucket {
    async fn create(&self, target: &Target<'_>) -> ApiResult<Created> {
        for (property, _, form) in SETTINGS {
            let value = target.get(property);
            value.map(|value| form(value, target.name)).transpose()?;
        }
        check_access(target)?;
        // In us-east-1 a second CreateBucket of the owner succeeds; CloudFormation does
        // not adopt an existing bucket.
        permit(target, "CreateBucket", target.name)?;
        if buckets::exists(target.cloud, target.name)? {
            let message = format!("{} already exists", target.name);
            return Err(ApiError::new("BucketAlreadyOwnedByYou", message).status(409));
        }
        buckets::create(target.cloud, target.name)?;
        target.create().await
    }

    async fn settle(&self, target: &Target<'_>) -> ApiResult<()> {
        self.update(target).await.map(drop)
    }

    async fn update(&self, target: &Target<'_>) -> ApiResult<Map<String, Value>> {
        check_access(target)?;
        for (property, setting, form) in SETTINGS {
            if !target.changes([*property].into_iter()) {
                continue;
            }
            let value = match target.get(property) {
                Some(value) => Some(form(value, target.physical)?),
                // Versioning, once on, can only be suspended.
                None if *setting == "Versioning" => Some(json!({"Status": "Suspended"})),
                None => None,
            };
            permit(target, operation(setting), target.physical)?;
            buckets::set(target.cloud, target.physical, setting, value)?;
        }
        Ok(Map::new())
    }

    async fn delete(&self, target: &Target<'_>) -> ApiResult<()> {
        permit(target, "DeleteBucket", target.physical)?;
        buckets::delete(target.cloud, target.physical)
    }

    fn reads_live(&self) -> bool {
        true
    }

    fn reads_property(&self, property: &str) -> bool {
        property != "AccessControl"
    }

    async fn live(&self, target: &Target<'_>) -> ApiResult<Option<Map<String, Value>>> {
        let (cloud, bucket) = (target.cloud, target.physical);
        if !buckets::exists(cloud, bucket)? {
            return Ok(None);
        }
        let mut live = Map::new();
        for (property, setting, form) in SETTINGS {
            let Some(wanted) = target.get(property) else {
                continue;
            };
            let value = if *setting == "Tagging" {
                let tags = buckets::tags(cloud, bucket)?.into_iter();
                let own = tags.filter(|(key, _)| !system_tags::is_reserved(key));
                own.map(|(key, value)| json!({"Key": key, "Value": value}))
                    .collect()
            } else {
                let actual = buckets::differing(cloud, bucket, setting, form(wanted, bucket)?)?;
                actual.unwrap_or_else(|| wanted.clone())
            };
            if !value.is_null() {
                live.insert((*property).to_owned(), value);
            }
        }
        if target.get("BucketName").is_some() {
            live.insert("BucketName".to_owned(), bucket.into());
        }
        Ok(Some(live))
    }

    async fn find(&self, target: &Target<'_>) -> ApiResult<Vec<String>> {
        let found = buckets::exists(target.cloud, target.name)?;
        Ok(found.then(|| target.name.to_owned()).into_iter().collect())
    }
}

impl BucketPolicy {
    /// Writes the policy of the properties.
    fn put(target: &Target<'_>, bucket: &str) -> ApiResult<()> {
        if !buckets::exists(target.cloud, bucket)? {
            let message = "The specified bucket does not exist";
            return Err(ApiError::not_found("NoSuchBucket", message).status(404));
        }
        let policy = Self::policy(target)?;
        permit(target, "PutBucketPolicy", bucket)?;
        buckets::set(target.cloud, bucket, "Policy", Some(policy))
    }

    fn policy(target: &Target<'_>) -> ApiResult<Value> {
        Ok(match target.get("PolicyDocument") {
            Some(Value::String(text)) => limits::document(text.as_bytes()).map_err(|_| {
                ApiError::new(
                    "MalformedPolicy",
                    "Policies must be valid JSON and the first byte must be '{'",
                )
            })?,
            other => other.cloned().unwrap_or_default(),
        })
    }
}

#[async_trait]
impl Hooks for BucketPolicy {
    async fn create(&self, target: &Target<'_>) -> ApiResult<Created> {
        let bucket = target.text("Bucket");
        // S3 replaces a policy; CloudFormation does not adopt an existing one.
        if buckets::has_policy(target.cloud, &bucket)? {
            let message = format!("The bucket policy already exists on bucket {bucket}.");
            return Err(ApiError::new("AlreadyExists", message).status(409));
        }
        Self::put(target, &bucket)?;
        target.create().await
    }

    async fn update(&self, target: &Target<'_>) -> ApiResult<Map<String, Value>> {
        Self::put(target, target.physical)?;
        Ok(Map::new())
    }

    async fn delete(&self, target: &Target<'_>) -> ApiResult<()> {
        if buckets::exists(target.cloud, target.physical)? {
            permit(target, "DeleteBucketPolicy", target.physical)?;
            buckets::set(target.cloud, target.physical, "Policy", None)?;
        }
        Ok(())
    }

    fn reads_live(&self) -> bool {
        true
    }

    async fn live(&self, target: &Target<'_>) -> ApiResult<Option<Map<String, Value>>> {
        let (cloud, bucket) = (target.cloud, target.physical);
        if !buckets::exists(cloud, bucket)? || !buckets::has_policy(cloud, bucket)? {
            return Ok(None);
        }
        let mut live = target.properties.clone();
        if let Some(actual) = buckets::differing(cloud, bucket, "Policy", Self::policy(target)?)? {
            live.insert("PolicyDocument".to_owned(), actual);
        }
        Ok(Some(live))
    }

    async fn find(&self, target: &Target<'_>) -> ApiResult<Vec<String>> {
        let bucket = target.text("Bucket");
        let found = buckets::has_policy(target.cloud, &bucket)?;
        Ok(found.then_some(bucket).into_iter().collect())
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
            lifecycle(&value, "").unwrap(),
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
            lifecycle(&unknown, "")
                .unwrap_err()
                .message
                .contains("ObjectSizeLessThan")
        );
    }
}
