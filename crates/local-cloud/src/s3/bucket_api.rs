//! Operations on buckets.

use std::collections::BTreeMap;

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result};

use super::buckets::{self, Versioning};
use super::settings::{self, Setting};
use super::{lifecycle, notifications, tags, wire};
use crate::api::ApiError;
use crate::{Cloud, system_tags};

/// The canonical user id of every local cloud's account.
const OWNER: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The default minimum object size for transitions in AWS; the only one supported.
const MINIMUM_OBJECT_SIZE: &str = "all_storage_classes_128K";

/// The owner of every bucket and object.
pub(super) fn owner() -> Owner {
    Owner {
        display_name: Some("local".to_owned()),
        id: Some(OWNER.to_owned()),
    }
}

pub(super) async fn create(
    cloud: &Cloud,
    request: S3Request<CreateBucketInput>,
) -> S3Result<S3Response<CreateBucketOutput>> {
    let input = request.input;
    let requested = input
        .create_bucket_configuration
        .and_then(|configuration| configuration.location_constraint);
    if let Some(requested) = requested
        && requested.as_str() != cloud.region()
    {
        return Err(ApiError::new(
            "IllegalLocationConstraintException",
            format!(
                "The {} location constraint is incompatible for the region specific endpoint this \
                 request was sent to.",
                requested.as_str()
            ),
        )
        .into());
    }
    if input.object_lock_enabled_for_bucket == Some(true) {
        return Err(ApiError::not_implemented("s3 object lock").into());
    }
    buckets::create_or_repeat(cloud, &input.bucket)?;
    if let Some(ownership) = input.object_ownership {
        let controls = OwnershipControls {
            rules: vec![OwnershipControlsRule {
                object_ownership: ownership,
            }],
        };
        let document = settings::write(&controls)?;
        buckets::put_setting(
            cloud,
            &input.bucket,
            Setting::OwnershipControls,
            Some(document),
        )?;
    }
    Ok(S3Response::new(CreateBucketOutput {
        location: Some(format!("/{}", input.bucket)),
    }))
}

pub(super) async fn delete(
    cloud: &Cloud,
    request: S3Request<DeleteBucketInput>,
) -> S3Result<S3Response<DeleteBucketOutput>> {
    buckets::delete(cloud, &request.input.bucket)?;
    Ok(S3Response::with_status(
        DeleteBucketOutput::default(),
        http::StatusCode::NO_CONTENT,
    ))
}

pub(super) async fn head(
    cloud: &Cloud,
    request: S3Request<HeadBucketInput>,
) -> S3Result<S3Response<HeadBucketOutput>> {
    let bucket = cloud
        .store()
        .transaction(|transaction| buckets::find(transaction, &request.input.bucket))?;
    Ok(S3Response::new(HeadBucketOutput {
        bucket_region: Some(bucket.region),
        ..HeadBucketOutput::default()
    }))
}

pub(super) async fn list(
    cloud: &Cloud,
    request: S3Request<ListBucketsInput>,
) -> S3Result<S3Response<ListBucketsOutput>> {
    let input = request.input;
    let prefix = input.prefix.as_deref().unwrap_or_default();
    let after = input.continuation_token.as_deref().unwrap_or_default();
    let mut found: Vec<_> = buckets::all(cloud)?
        .into_iter()
        .filter(|bucket| bucket.name.starts_with(prefix) && bucket.name.as_str() > after)
        .filter(|bucket| {
            input
                .bucket_region
                .as_ref()
                .is_none_or(|region| *region == bucket.region)
        })
        .collect();
    let max = input.max_buckets.map_or(10_000, |max| max.clamp(1, 10_000));
    let max = usize::try_from(max).unwrap_or(1);
    let more = found.len() > max;
    found.truncate(max);
    let continuation_token = found
        .last()
        .filter(|_| more)
        .map(|bucket| bucket.name.clone());
    let found = found
        .into_iter()
        .map(|bucket| Bucket {
            bucket_region: Some(bucket.region),
            creation_date: Some(wire::timestamp(bucket.created)),
            name: Some(bucket.name),
        })
        .collect();
    Ok(S3Response::new(ListBucketsOutput {
        buckets: Some(found),
        continuation_token,
        owner: Some(owner()),
        prefix: input.prefix,
    }))
}

pub(super) async fn location(
    cloud: &Cloud,
    request: S3Request<GetBucketLocationInput>,
) -> S3Result<S3Response<GetBucketLocationOutput>> {
    let bucket = cloud
        .store()
        .transaction(|transaction| buckets::find(transaction, &request.input.bucket))?;
    // S3 returns no location for us-east-1.
    let constraint = (bucket.region != "us-east-1").then_some(bucket.region);
    Ok(S3Response::new(GetBucketLocationOutput {
        location_constraint: constraint.map(BucketLocationConstraint::from),
    }))
}

pub(super) async fn get_versioning(
    cloud: &Cloud,
    request: S3Request<GetBucketVersioningInput>,
) -> S3Result<S3Response<GetBucketVersioningOutput>> {
    let bucket = cloud
        .store()
        .transaction(|transaction| buckets::find(transaction, &request.input.bucket))?;
    let status = (bucket.versioning != Versioning::Off)
        .then(|| BucketVersioningStatus::from(bucket.versioning.name().to_owned()));
    Ok(S3Response::new(GetBucketVersioningOutput {
        status,
        ..GetBucketVersioningOutput::default()
    }))
}

pub(super) async fn put_versioning(
    cloud: &Cloud,
    request: S3Request<PutBucketVersioningInput>,
) -> S3Result<S3Response<PutBucketVersioningOutput>> {
    let input = request.input;
    let status = input.versioning_configuration.status;
    let status = status.as_ref().map_or("", BucketVersioningStatus::as_str);
    buckets::set_versioning(cloud, &input.bucket, status)?;
    Ok(S3Response::new(PutBucketVersioningOutput::default()))
}

pub(super) async fn get_policy(
    cloud: &Cloud,
    request: S3Request<GetBucketPolicyInput>,
) -> S3Result<S3Response<GetBucketPolicyOutput>> {
    let text = buckets::document(cloud, &request.input.bucket, Setting::Policy)?;
    Ok(S3Response::new(GetBucketPolicyOutput {
        policy: Some(text),
    }))
}

pub(super) async fn put_policy(
    cloud: &Cloud,
    request: S3Request<PutBucketPolicyInput>,
) -> S3Result<S3Response<PutBucketPolicyOutput>> {
    let input = request.input;
    buckets::put_setting(cloud, &input.bucket, Setting::Policy, Some(input.policy))?;
    Ok(S3Response::with_status(
        PutBucketPolicyOutput::default(),
        http::StatusCode::NO_CONTENT,
    ))
}

pub(super) async fn get_lifecycle(
    cloud: &Cloud,
    request: S3Request<GetBucketLifecycleConfigurationInput>,
) -> S3Result<S3Response<GetBucketLifecycleConfigurationOutput>> {
    let text = buckets::document(cloud, &request.input.bucket, Setting::Lifecycle)?;
    let found: BucketLifecycleConfiguration = settings::read(&text)?;
    Ok(S3Response::new(GetBucketLifecycleConfigurationOutput {
        rules: Some(found.rules),
        transition_default_minimum_object_size: Some(MINIMUM_OBJECT_SIZE.to_owned().into()),
    }))
}

pub(super) async fn put_lifecycle(
    cloud: &Cloud,
    request: S3Request<PutBucketLifecycleConfigurationInput>,
) -> S3Result<S3Response<PutBucketLifecycleConfigurationOutput>> {
    let input = request.input;
    if input
        .transition_default_minimum_object_size
        .is_some_and(|size| size.as_str() != MINIMUM_OBJECT_SIZE)
    {
        return Err(ApiError::not_implemented(
            "TransitionDefaultMinimumObjectSize=varies_by_storage_class",
        )
        .into());
    }
    let mut configuration = input
        .lifecycle_configuration
        .ok_or_else(|| ApiError::new("MalformedXML", "LifecycleConfiguration is missing"))?;
    lifecycle::check(&configuration)?;
    for rule in &mut configuration.rules {
        if rule.id.as_ref().is_none_or(String::is_empty) {
            rule.id = Some(uuid::Uuid::new_v4().simple().to_string());
        }
    }
    let document = settings::write(&configuration)?;
    buckets::put_setting(cloud, &input.bucket, Setting::Lifecycle, Some(document))?;
    Ok(S3Response::new(PutBucketLifecycleConfigurationOutput {
        transition_default_minimum_object_size: Some(MINIMUM_OBJECT_SIZE.to_owned().into()),
    }))
}

pub(super) async fn get_notification(
    cloud: &Cloud,
    request: S3Request<GetBucketNotificationConfigurationInput>,
) -> S3Result<S3Response<GetBucketNotificationConfigurationOutput>> {
    let document = buckets::find_document(cloud, &request.input.bucket, Setting::Notification)?;
    let found = match document {
        Some(text) => settings::read::<NotificationConfiguration>(&text)?,
        None => NotificationConfiguration::default(),
    };
    Ok(S3Response::new(GetBucketNotificationConfigurationOutput {
        event_bridge_configuration: found.event_bridge_configuration,
        lambda_function_configurations: found.lambda_function_configurations,
        queue_configurations: found.queue_configurations,
        topic_configurations: found.topic_configurations,
    }))
}

pub(super) async fn put_notification(
    cloud: &Cloud,
    request: S3Request<PutBucketNotificationConfigurationInput>,
) -> S3Result<S3Response<PutBucketNotificationConfigurationOutput>> {
    let mut input = request.input;
    notifications::check(&mut input.notification_configuration)?;
    let document = settings::write(&input.notification_configuration)?;
    buckets::put_setting(cloud, &input.bucket, Setting::Notification, Some(document))?;
    Ok(S3Response::new(
        PutBucketNotificationConfigurationOutput::default(),
    ))
}

pub(super) async fn get_logging(
    cloud: &Cloud,
    request: S3Request<GetBucketLoggingInput>,
) -> S3Result<S3Response<GetBucketLoggingOutput>> {
    let document = buckets::find_document(cloud, &request.input.bucket, Setting::Logging)?;
    let found = document.map(|text| settings::read::<BucketLoggingStatus>(&text));
    Ok(S3Response::new(GetBucketLoggingOutput {
        logging_enabled: found.transpose()?.and_then(|found| found.logging_enabled),
    }))
}

pub(super) async fn put_logging(
    cloud: &Cloud,
    request: S3Request<PutBucketLoggingInput>,
) -> S3Result<S3Response<PutBucketLoggingOutput>> {
    let status = &request.input.bucket_logging_status;
    let document = status.logging_enabled.is_some();
    let document = document.then(|| settings::write(status)).transpose()?;
    buckets::put_setting(cloud, &request.input.bucket, Setting::Logging, document)?;
    Ok(S3Response::new(PutBucketLoggingOutput::default()))
}

pub(super) async fn get_encryption(
    cloud: &Cloud,
    request: S3Request<GetBucketEncryptionInput>,
) -> S3Result<S3Response<GetBucketEncryptionOutput>> {
    let text = buckets::document(cloud, &request.input.bucket, Setting::Encryption)?;
    let found: ServerSideEncryptionConfiguration = settings::read(&text)?;
    Ok(S3Response::new(GetBucketEncryptionOutput {
        server_side_encryption_configuration: Some(found),
    }))
}

pub(super) async fn put_encryption(
    cloud: &Cloud,
    request: S3Request<PutBucketEncryptionInput>,
) -> S3Result<S3Response<PutBucketEncryptionOutput>> {
    let document = settings::write(&request.input.server_side_encryption_configuration)?;
    buckets::put_setting(
        cloud,
        &request.input.bucket,
        Setting::Encryption,
        Some(document),
    )?;
    Ok(S3Response::new(PutBucketEncryptionOutput::default()))
}

pub(super) async fn delete_encryption(
    cloud: &Cloud,
    request: S3Request<DeleteBucketEncryptionInput>,
) -> S3Result<S3Response<DeleteBucketEncryptionOutput>> {
    buckets::put_setting(cloud, &request.input.bucket, Setting::Encryption, None)?;
    Ok(S3Response::new(DeleteBucketEncryptionOutput::default()))
}

pub(super) async fn get_public_access(
    cloud: &Cloud,
    request: S3Request<GetPublicAccessBlockInput>,
) -> S3Result<S3Response<GetPublicAccessBlockOutput>> {
    let text = buckets::document(cloud, &request.input.bucket, Setting::PublicAccessBlock)?;
    let found: PublicAccessBlockConfiguration = settings::read(&text)?;
    Ok(S3Response::new(GetPublicAccessBlockOutput {
        public_access_block_configuration: Some(found),
    }))
}

pub(super) async fn put_public_access(
    cloud: &Cloud,
    request: S3Request<PutPublicAccessBlockInput>,
) -> S3Result<S3Response<PutPublicAccessBlockOutput>> {
    let document = settings::write(&request.input.public_access_block_configuration)?;
    buckets::put_setting(
        cloud,
        &request.input.bucket,
        Setting::PublicAccessBlock,
        Some(document),
    )?;
    Ok(S3Response::new(PutPublicAccessBlockOutput::default()))
}

pub(super) async fn delete_public_access(
    cloud: &Cloud,
    request: S3Request<DeletePublicAccessBlockInput>,
) -> S3Result<S3Response<DeletePublicAccessBlockOutput>> {
    buckets::put_setting(
        cloud,
        &request.input.bucket,
        Setting::PublicAccessBlock,
        None,
    )?;
    Ok(S3Response::new(DeletePublicAccessBlockOutput::default()))
}

pub(super) async fn get_tagging(
    cloud: &Cloud,
    request: S3Request<GetBucketTaggingInput>,
) -> S3Result<S3Response<GetBucketTaggingOutput>> {
    let text = buckets::document(cloud, &request.input.bucket, Setting::Tagging)?;
    let found: Tagging = settings::read(&text)?;
    Ok(S3Response::new(GetBucketTaggingOutput {
        tag_set: found.tag_set,
    }))
}

/// Fails if a new set of tags changes the tags that AWS sets: a request replaces the whole set and
/// must repeat these unchanged. (Unverified against AWS [s3-system-tags] for
/// `DeleteBucketTagging`.)
fn check_system_tags(cloud: &Cloud, bucket: &str, new: &[Tag]) -> S3Result<()> {
    let of = |tags: &[Tag]| -> BTreeMap<Option<String>, Option<String>> {
        let reserved = tags.iter().filter(|tag| {
            let key = tag.key.as_deref();
            key.is_some_and(system_tags::is_reserved)
        });
        reserved
            .map(|tag| (tag.key.clone(), tag.value.clone()))
            .collect()
    };
    let old = match buckets::find_document(cloud, bucket, Setting::Tagging)? {
        Some(text) => of(&settings::read::<Tagging>(&text)?.tag_set),
        None => BTreeMap::new(),
    };
    let new = of(new);
    let message = if new.iter().any(|(key, value)| old.get(key) != Some(value)) {
        "System tags cannot be added/updated by requester"
    } else if new.len() < old.len() {
        "System tags cannot be removed by requester"
    } else {
        return Ok(());
    };
    Err(ApiError::new("InvalidTag", message).into())
}

pub(super) async fn put_tagging(
    cloud: &Cloud,
    request: S3Request<PutBucketTaggingInput>,
) -> S3Result<S3Response<PutBucketTaggingOutput>> {
    let tagging = &request.input.tagging;
    let is_own = |tag: &&Tag| !tag.key.as_deref().is_some_and(system_tags::is_reserved);
    let own: Vec<Tag> = tagging.tag_set.iter().filter(is_own).cloned().collect();
    tags::check_bucket(&own)?;
    check_system_tags(cloud, &request.input.bucket, &tagging.tag_set)?;
    let document = settings::write(tagging)?;
    buckets::put_setting(
        cloud,
        &request.input.bucket,
        Setting::Tagging,
        Some(document),
    )?;
    Ok(S3Response::with_status(
        PutBucketTaggingOutput::default(),
        http::StatusCode::NO_CONTENT,
    ))
}

pub(super) async fn delete_tagging(
    cloud: &Cloud,
    request: S3Request<DeleteBucketTaggingInput>,
) -> S3Result<S3Response<DeleteBucketTaggingOutput>> {
    check_system_tags(cloud, &request.input.bucket, &[])?;
    buckets::put_setting(cloud, &request.input.bucket, Setting::Tagging, None)?;
    Ok(S3Response::with_status(
        DeleteBucketTaggingOutput::default(),
        http::StatusCode::NO_CONTENT,
    ))
}

pub(super) async fn get_ownership(
    cloud: &Cloud,
    request: S3Request<GetBucketOwnershipControlsInput>,
) -> S3Result<S3Response<GetBucketOwnershipControlsOutput>> {
    let text = buckets::document(cloud, &request.input.bucket, Setting::OwnershipControls)?;
    let found: OwnershipControls = settings::read(&text)?;
    Ok(S3Response::new(GetBucketOwnershipControlsOutput {
        ownership_controls: Some(found),
    }))
}

pub(super) async fn put_ownership(
    cloud: &Cloud,
    request: S3Request<PutBucketOwnershipControlsInput>,
) -> S3Result<S3Response<PutBucketOwnershipControlsOutput>> {
    let document = settings::write(&request.input.ownership_controls)?;
    buckets::put_setting(
        cloud,
        &request.input.bucket,
        Setting::OwnershipControls,
        Some(document),
    )?;
    Ok(S3Response::new(PutBucketOwnershipControlsOutput::default()))
}

pub(super) async fn delete_ownership(
    cloud: &Cloud,
    request: S3Request<DeleteBucketOwnershipControlsInput>,
) -> S3Result<S3Response<DeleteBucketOwnershipControlsOutput>> {
    buckets::put_setting(
        cloud,
        &request.input.bucket,
        Setting::OwnershipControls,
        None,
    )?;
    Ok(S3Response::new(
        DeleteBucketOwnershipControlsOutput::default(),
    ))
}

pub(super) async fn delete_policy(
    cloud: &Cloud,
    request: S3Request<DeleteBucketPolicyInput>,
) -> S3Result<S3Response<DeleteBucketPolicyOutput>> {
    buckets::put_setting(cloud, &request.input.bucket, Setting::Policy, None)?;
    Ok(S3Response::new(DeleteBucketPolicyOutput::default()))
}

pub(super) async fn delete_lifecycle(
    cloud: &Cloud,
    request: S3Request<DeleteBucketLifecycleInput>,
) -> S3Result<S3Response<DeleteBucketLifecycleOutput>> {
    buckets::put_setting(cloud, &request.input.bucket, Setting::Lifecycle, None)?;
    Ok(S3Response::new(DeleteBucketLifecycleOutput::default()))
}
