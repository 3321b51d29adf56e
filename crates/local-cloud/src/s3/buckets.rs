//! Buckets and their settings, also for CloudFormation.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Row, Transaction, params};
use s3s::dto::{
    BucketLifecycleConfiguration, BucketLoggingStatus, NotificationConfiguration,
    OwnershipControls, PublicAccessBlockConfiguration, ServerSideEncryptionConfiguration, Tagging,
};
use serde_json::{Value, json};

use super::settings::{self, Setting};
use super::{bucket_policy, lifecycle, wire};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::policy::Call;

/// The versioning state of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Versioning {
    Off,
    Enabled,
    Suspended,
}

impl Versioning {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Off => "",
            Self::Enabled => "Enabled",
            Self::Suspended => "Suspended",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Off, Self::Enabled, Self::Suspended]
            .into_iter()
            .find(|versioning| versioning.name() == text)
    }
}

/// A bucket.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    pub(super) name: String,
    /// Seconds since the epoch.
    pub(super) created: i64,
    pub(super) region: String,
    pub(super) versioning: Versioning,
    /// The default encryption of objects: `AES256` or `aws:kms`.
    pub(super) sse: String,
    pub(super) kms_key: Option<String>,
}

const COLUMNS: &str = "name, created, region, versioning, sse, kms_key";

fn from_row(row: &Row<'_>) -> rusqlite::Result<Bucket> {
    Ok(Bucket {
        name: row.get(0)?,
        created: row.get(1)?,
        region: row.get(2)?,
        versioning: Versioning::parse(&row.get::<_, String>(3)?).unwrap_or(Versioning::Off),
        sse: row.get(4)?,
        kms_key: row.get(5)?,
    })
}

pub(super) fn no_such_bucket() -> ApiError {
    ApiError::not_found("NoSuchBucket", "The specified bucket does not exist").status(404)
}

/// A bucket; `None` if it does not exist.
fn get(transaction: &Transaction<'_>, name: &str) -> ApiResult<Option<Bucket>> {
    Ok(transaction
        .prepare_cached(&format!("SELECT {COLUMNS} FROM s3_buckets WHERE name = ?1"))?
        .query_row([name], from_row)
        .optional()?)
}

/// Finds a bucket; fails with `NoSuchBucket`.
pub(super) fn find(transaction: &Transaction<'_>, name: &str) -> ApiResult<Bucket> {
    get(transaction, name)?.ok_or_else(no_such_bucket)
}

/// Every bucket, in name order.
pub(super) fn all(cloud: &Cloud) -> ApiResult<Vec<Bucket>> {
    cloud.store().transaction(|transaction| {
        let mut statement = transaction
            .prepare_cached(&format!("SELECT {COLUMNS} FROM s3_buckets ORDER BY name"))?;
        let found = statement
            .query_map([], from_row)?
            .collect::<Result<_, _>>()?;
        Ok(found)
    })
}

/// Creates a bucket; fails with `BucketAlreadyOwnedByYou` or `InvalidBucketName`.
pub(crate) fn create(cloud: &Cloud, name: &str) -> ApiResult<()> {
    if insert(cloud, name)? {
        return Ok(());
    }
    Err(already_owned())
}

/// [`create`] for a client, which may repeat its request in us-east-1.
pub(super) fn create_or_repeat(cloud: &Cloud, name: &str) -> ApiResult<()> {
    const LENIENT: &str = "us-east-1";
    if insert(cloud, name)? {
        return Ok(());
    }
    let bucket = cloud
        .store()
        .transaction(|transaction| find(transaction, name))?;
    if cloud.region() == LENIENT && bucket.region == LENIENT {
        return Ok(());
    }
    Err(already_owned())
}

fn already_owned() -> ApiError {
    ApiError::new(
        "BucketAlreadyOwnedByYou",
        "Your previous request to create the named bucket succeeded and you already own it.",
    )
    .status(409)
}

/// Adds a bucket; false if it exists.
fn insert(cloud: &Cloud, name: &str) -> ApiResult<bool> {
    if !s3s::path::check_bucket_name(name) {
        return Err(ApiError::new(
            "InvalidBucketName",
            "The specified bucket is not valid.",
        ));
    }
    let kept: BTreeMap<_, _> = settings::defaults()
        .into_iter()
        .map(|(setting, document)| (setting.name(), document))
        .collect();
    let kept = serde_json::to_string(&kept).map_err(ApiError::internal)?;
    cloud.store().transaction(|transaction| {
        let added = transaction.execute(
            "INSERT OR IGNORE INTO s3_buckets VALUES (?1, ?2, ?3, '', 'AES256', NULL, ?4)",
            params![name, wire::now(), cloud.region(), kept],
        )?;
        Ok(added == 1)
    })
}

/// Deletes an empty bucket; fails with `NoSuchBucket` or `BucketNotEmpty`.
pub(crate) fn delete(cloud: &Cloud, name: &str) -> ApiResult<()> {
    let uploads = cloud.store().transaction(|transaction| {
        find(transaction, name)?;
        let used: bool = transaction.query_row(
            "SELECT EXISTS (SELECT 1 FROM s3_versions WHERE bucket = ?1)",
            [name],
            |row| row.get(0),
        )?;
        if used {
            return Err(ApiError::new(
                "BucketNotEmpty",
                "The bucket you tried to delete is not empty. You must delete all versions in the \
                 bucket.",
            )
            .status(409));
        }
        let uploads = super::multipart::remove_all(transaction, name)?;
        transaction.execute("DELETE FROM s3_buckets WHERE name = ?1", [name])?;
        Ok(uploads)
    })?;
    super::multipart::remove_files(cloud, &uploads);
    Ok(())
}

/// The policy of the bucket that a call is about.
pub(super) fn policy_of(cloud: &Cloud, call: &Call) -> ApiResult<Option<String>> {
    let Some(path) = call.resource.strip_prefix("arn:aws:s3:::") else {
        return Ok(None);
    };
    let bucket = path.split('/').next().unwrap_or_default();
    match find_document(cloud, bucket, Setting::Policy) {
        Ok(policy) => Ok(policy),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// True if the bucket exists.
pub(crate) fn exists(cloud: &Cloud, name: &str) -> ApiResult<bool> {
    let found = cloud
        .store()
        .transaction(|transaction| get(transaction, name))?;
    Ok(found.is_some())
}

/// Sets or removes a setting of a bucket. `setting` is `Versioning`, `Encryption`,
/// `PublicAccessBlock`, `Policy`, `Lifecycle`, `Tagging`, `OwnershipControls`, `Notification` or `Logging`;
/// `value` has the shape of the corresponding S3 API request (`{"Status": "Enabled"}` for
/// `Versioning`), or is the policy document as JSON.
pub(crate) fn set(cloud: &Cloud, name: &str, setting: &str, value: Option<Value>) -> ApiResult<()> {
    if setting == "Versioning" {
        let status = value.as_ref().and_then(|value| value["Status"].as_str());
        return set_versioning(cloud, name, status.unwrap_or("Suspended"));
    }
    let (setting, document) = stored(setting, value)?;
    put_setting(cloud, name, setting, document)
}

/// The live value of a setting if it is not the one that [`set`] stores for this value; null if it is not set.
/// Versioning, the public access block and policies are JSON, the others text in S3's XML.
pub(crate) fn differing(
    cloud: &Cloud,
    name: &str,
    setting: &str,
    value: Value,
) -> ApiResult<Option<Value>> {
    if setting == "Versioning" {
        let bucket = cloud
            .store()
            .transaction(|transaction| find(transaction, name))?;
        let status = bucket.versioning.name();
        return Ok((value["Status"] != status).then(|| json!({"Status": status})));
    }
    let (setting, wanted) = stored(setting, Some(value))?;
    let found = find_document(cloud, name, setting)?;
    let policy = |text: &Option<String>| {
        let text = text.as_ref().filter(|_| setting == Setting::Policy);
        text.and_then(|text| serde_json::from_str::<Value>(text).ok())
    };
    if found == wanted || (policy(&found).is_some() && policy(&found) == policy(&wanted)) {
        return Ok(None);
    }
    Ok(Some(match (setting, found) {
        (_, None) => Value::Null,
        (Setting::Policy, Some(text)) => serde_json::from_str(&text).unwrap_or_default(),
        (Setting::PublicAccessBlock, Some(text)) => {
            let block: PublicAccessBlockConfiguration = settings::read(&text).map_err(malformed)?;
            json!({
                "BlockPublicAcls": block.block_public_acls.unwrap_or_default(),
                "BlockPublicPolicy": block.block_public_policy.unwrap_or_default(),
                "IgnorePublicAcls": block.ignore_public_acls.unwrap_or_default(),
                "RestrictPublicBuckets": block.restrict_public_buckets.unwrap_or_default(),
            })
        }
        (_, Some(text)) => Value::String(text),
    }))
}

/// The tags of a bucket, in order.
pub(crate) fn tags(cloud: &Cloud, name: &str) -> ApiResult<Vec<(String, String)>> {
    let Some(text) = find_document(cloud, name, Setting::Tagging)? else {
        return Ok(Vec::new());
    };
    let tagging: Tagging = settings::read(&text).map_err(malformed)?;
    let tags = tagging.tag_set.into_iter();
    Ok(tags
        .map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default()))
        .collect())
}

/// A setting by its name, and the document that is stored for a value.
fn stored(setting: &str, value: Option<Value>) -> ApiResult<(Setting, Option<String>)> {
    macro_rules! document {
        ($type:ty, $root:literal) => {
            value
                .map(|value| {
                    let text = settings::xml($root, &value);
                    let read: $type = settings::read(&text).map_err(malformed)?;
                    settings::write(&read)
                })
                .transpose()?
        };
    }
    Ok(match setting {
        "Encryption" => (
            Setting::Encryption,
            document!(
                ServerSideEncryptionConfiguration,
                "ServerSideEncryptionConfiguration"
            ),
        ),
        "PublicAccessBlock" => (
            Setting::PublicAccessBlock,
            document!(
                PublicAccessBlockConfiguration,
                "PublicAccessBlockConfiguration"
            ),
        ),
        "Policy" => {
            let document = match value {
                Some(Value::String(text)) => Some(text),
                other => other.map(|value| value.to_string()),
            };
            (Setting::Policy, document)
        }
        "Lifecycle" => {
            let document = document!(BucketLifecycleConfiguration, "LifecycleConfiguration");
            if let Some(text) = &document {
                lifecycle::check(&settings::read(text).map_err(malformed)?)?;
            }
            (Setting::Lifecycle, document)
        }
        "Tagging" => (Setting::Tagging, document!(Tagging, "Tagging")),
        "OwnershipControls" => (
            Setting::OwnershipControls,
            document!(OwnershipControls, "OwnershipControls"),
        ),
        "Notification" => (
            Setting::Notification,
            document!(NotificationConfiguration, "NotificationConfiguration"),
        ),
        "Logging" => (
            Setting::Logging,
            document!(BucketLoggingStatus, "BucketLoggingStatus"),
        ),
        other => {
            return Err(ApiError::not_implemented(format_args!(
                "the bucket setting {other}"
            )));
        }
    })
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn malformed(error: s3s::S3Error) -> ApiError {
    ApiError::new(
        "MalformedXML",
        error.message().unwrap_or("the setting has another shape"),
    )
}

/// Enables or suspends versioning; a bucket can never return to the unversioned state.
pub(super) fn set_versioning(cloud: &Cloud, name: &str, status: &str) -> ApiResult<()> {
    let wanted = match Versioning::parse(status) {
        None | Some(Versioning::Off) => {
            return Err(ApiError::new(
                "IllegalVersioningConfigurationException",
                "The Versioning element must be specified",
            ));
        }
        Some(wanted) => wanted,
    };
    cloud.store().transaction(|transaction| {
        find(transaction, name)?;
        transaction.execute(
            "UPDATE s3_buckets SET versioning = ?2 WHERE name = ?1",
            params![name, wanted.name()],
        )?;
        Ok(())
    })
}

/// Stores a setting's document, or removes it with `None`; fails with `NoSuchBucket`.
pub(super) fn put_setting(
    cloud: &Cloud,
    name: &str,
    setting: Setting,
    document: Option<String>,
) -> ApiResult<()> {
    let document = match (setting, document) {
        (Setting::Encryption, None) => Some(settings::default_encryption()),
        (Setting::Policy, Some(text)) => {
            bucket_policy::check(name, &text)?;
            Some(text)
        }
        (Setting::Logging, Some(text)) => {
            check_logging(cloud, &text)?;
            Some(text)
        }
        (_, document) => document,
    };
    cloud.store().transaction(|transaction| {
        let mut kept = documents(transaction, name)?;
        match &document {
            Some(document) => kept.insert(setting.name().to_owned(), document.clone()),
            None => kept.remove(setting.name()),
        };
        let text = serde_json::to_string(&kept).map_err(ApiError::internal)?;
        transaction.execute(
            "UPDATE s3_buckets SET settings = ?2 WHERE name = ?1",
            params![name, text],
        )?;
        if let (Setting::Encryption, Some(document)) = (setting, &document) {
            let encryption: ServerSideEncryptionConfiguration =
                settings::read(document).map_err(malformed)?;
            let chosen = encryption
                .rules
                .first()
                .and_then(|rule| rule.apply_server_side_encryption_by_default.clone());
            let sse = chosen
                .as_ref()
                .map_or("AES256", |chosen| chosen.sse_algorithm.as_str());
            let key = chosen
                .as_ref()
                .and_then(|chosen| chosen.kms_master_key_id.as_deref());
            transaction.execute(
                "UPDATE s3_buckets SET sse = ?2, kms_key = ?3 WHERE name = ?1",
                params![name, sse, key],
            )?;
        }
        Ok(())
    })
}

/// Checks where the access logs of a bucket go. The local cloud writes none.
fn check_logging(cloud: &Cloud, text: &str) -> ApiResult<()> {
    let status: BucketLoggingStatus = settings::read(text).map_err(malformed)?;
    let Some(logging) = status.logging_enabled else {
        return Ok(());
    };
    if logging
        .target_grants
        .is_some_and(|grants| !grants.is_empty())
    {
        return Err(ApiError::not_implemented(
            "TargetGrants of s3:PutBucketLogging",
        ));
    }
    if exists(cloud, &logging.target_bucket)? {
        return Ok(());
    }
    Err(ApiError::new(
        "InvalidTargetBucketForLogging",
        "The target bucket for logging does not exist",
    ))
}

/// A setting's document; fails with `NoSuchBucket`, or with the error of the setting if it is not
/// set.
pub(super) fn document(cloud: &Cloud, name: &str, setting: Setting) -> ApiResult<String> {
    find_document(cloud, name, setting)?.ok_or_else(|| setting.missing())
}

/// A setting's document; `None` if it is not set. Fails with `NoSuchBucket`.
pub(super) fn find_document(
    cloud: &Cloud,
    name: &str,
    setting: Setting,
) -> ApiResult<Option<String>> {
    cloud
        .store()
        .transaction(|transaction| document_in(transaction, name, setting))
}

/// [`find_document`] inside a transaction.
pub(super) fn document_in(
    transaction: &Transaction<'_>,
    name: &str,
    setting: Setting,
) -> ApiResult<Option<String>> {
    Ok(documents(transaction, name)?.remove(setting.name()))
}

/// True if the bucket exists and has a policy.
pub(crate) fn has_policy(cloud: &Cloud, name: &str) -> ApiResult<bool> {
    match document(cloud, name, Setting::Policy) {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

fn documents(transaction: &Transaction<'_>, name: &str) -> ApiResult<BTreeMap<String, String>> {
    let text: String = transaction
        .query_row(
            "SELECT settings FROM s3_buckets WHERE name = ?1",
            [name],
            |row| row.get(0),
        )
        .optional()?
        .ok_or_else(no_such_bucket)?;
    serde_json::from_str(&text).map_err(ApiError::internal)
}
