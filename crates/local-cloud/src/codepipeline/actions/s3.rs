//! The source action of S3: the newest version of an object, or the version or key that the start of the execution
//! names. The object is the artifact.

use super::super::records::RevisionType;
use super::{Failure, Outcome, Running};
use crate::s3::objects;

/// Maximum size of the object, in bytes (quotas of the user guide).
const LARGEST: u64 = 5 << 30;

pub(super) async fn run(running: &Running<'_>) -> Outcome {
    let bucket = running.text("S3Bucket").to_owned();
    let key = match running.overridden(RevisionType::S3ObjectKey) {
        Some(key)
            if running
                .text("AllowOverrideForS3ObjectKey")
                .eq_ignore_ascii_case("true") =>
        {
            key.to_owned()
        }
        Some(_) => {
            let message = format!(
                "AllowOverrideForS3ObjectKey of the action {} is not true",
                running.action.name
            );
            return Err(Failure::new("ConfigurationError", message));
        }
        None => running.text("S3ObjectKey").to_owned(),
    };
    let version = running.overridden(RevisionType::S3ObjectVersionId);
    let version = version.map(str::to_owned);
    let place = running.place(running.output())?;
    let (stored, name) = (place.clone(), key.clone());
    let object = running.blocking(move |cloud, caller| {
        let version = match version {
            Some(version) => version,
            None => objects::head(cloud, caller, &bucket, &name)?
                .version_id()
                .to_owned(),
        };
        let object = objects::version(cloud, caller, &bucket, &name, &version)?;
        // Unverified against AWS [codepipeline-s3-versioning]: the words.
        if object.version_id() == "null" {
            let message = format!("The bucket {bucket} must have versioning enabled");
            return Err(crate::api::ApiError::validation(message));
        }
        if object.size > LARGEST {
            let message = format!("The object {name} has more than {LARGEST} bytes");
            return Err(crate::api::ApiError::validation(message));
        }
        let mut contents = objects::open(cloud, caller, &object)?;
        stored.put(cloud, caller, &mut contents)?;
        Ok(object)
    });
    let object = object.await?;
    let version = object.version_id().to_owned();
    let summary = Some(format!("Amazon S3 version id: {version}"));
    let variables = [
        ("BucketName", object.bucket().to_owned()),
        ("ETag", object.etag.clone()),
        ("ObjectKey", key),
        ("VersionId", version.clone()),
    ];
    Ok(Some(running.sourced(place, version, summary, variables)))
}
