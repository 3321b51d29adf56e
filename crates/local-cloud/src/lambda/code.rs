//! A function's code: the zip, checked before it is stored, and unpacked once for each SHA-256.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::invalid;
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::cloud::caller::Caller;
use crate::s3::objects;
use crate::unpack::Scratch;

pub(crate) mod archive;

use archive::{MAX_UNZIPPED, check, extract, open, too_large};

/// A zip in a request (Lambda quotas).
const MAX_DIRECT: usize = 50 << 20;

/// The source of the code in a request.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct CodeSource {
    zip_file: Option<String>,
    s3_bucket: Option<String>,
    s3_key: Option<String>,
    s3_object_version: Option<String>,
    image_uri: Option<String>,
}

/// A zip that was checked and stored.
#[derive(Debug)]
pub(super) struct Zip {
    /// Its hex SHA-256, the key in `Cloud::blobs`.
    pub(super) sha256: String,
    /// `CodeSha256`
    pub(super) base64: String,
    /// `CodeSize`
    pub(super) size: u64,
}

/// Validates and stores the code in a request.
pub(super) async fn keep(cloud: &Cloud, given: CodeSource) -> ApiResult<Zip> {
    if given.image_uri.is_some() {
        return Err(ApiError::not_implemented("functions from container images"));
    }
    let refused = |error: ApiError| {
        invalid(format!(
            "Error occurred while GetObject. S3 Error Code: {}. S3 Error Message: {}",
            error.code, error.message
        ))
    };
    let caller = Caller::current();
    let (sha256, object) = match (given.zip_file, given.s3_bucket, given.s3_key) {
        (Some(text), None, None) => {
            let bytes = STANDARD
                .decode(text)
                .map_err(|_| invalid("Could not decode the code's base64"))?;
            if bytes.len() > MAX_DIRECT {
                return Err(ApiError::new(
                    "RequestEntityTooLargeException",
                    "Request must be smaller than 70167211 bytes for the CreateFunction operation",
                )
                .status(413));
            }
            (cloud.blobs().write(&bytes)?, None)
        }
        (None, Some(bucket), Some(key)) => {
            let object = match given.s3_object_version {
                Some(id) => objects::version(cloud, &caller, &bucket, &key, &id),
                None => objects::head(cloud, &caller, &bucket, &key),
            };
            let object = object.map_err(refused)?;
            (object.sha256.clone(), Some(object))
        }
        _ => {
            return Err(invalid(
                "Please provide a source for function code: ZipFile, or S3Bucket and S3Key.",
            ));
        }
    };
    // From here on the function has its own copy; the object may change.
    cloud.blobs().touch(&sha256);
    let (worker, name) = (cloud.clone(), sha256.clone());
    let checked = tokio::task::spawn_blocking(move || {
        let file = match &object {
            Some(object) => objects::open(&worker, &caller, object).map_err(refused)?,
            None => worker.blobs().reader(&name)?,
        };
        let size = file.metadata()?.len();
        if size > MAX_UNZIPPED {
            return Err(too_large());
        }
        check(&mut open(file)?)?;
        ApiResult::Ok(size)
    });
    let size = checked.await.map_err(ApiError::internal)??;
    let digest = hex::decode(&sha256).map_err(ApiError::internal)?;
    Ok(Zip {
        base64: STANDARD.encode(digest),
        sha256,
        size,
    })
}

/// The directory of the unpacked code.
pub(super) fn directory(cloud: &Cloud, sha256: &str) -> PathBuf {
    cloud.directory().join("functions").join(sha256)
}

/// Unpacks a stored zip, unless it is already unpacked.
pub(super) async fn unpack(cloud: &Cloud, sha256: &str) -> ApiResult<()> {
    let (blobs, name) = (cloud.blobs().clone(), sha256.to_owned());
    let target = directory(cloud, sha256);
    tokio::task::spawn_blocking(move || {
        if target.is_dir() {
            return Ok(());
        }
        let scratch = Scratch::beside(&target)?;
        extract(&mut open(blobs.reader(&name)?)?, scratch.path())?;
        std::fs::set_permissions(scratch.path(), Permissions::from_mode(0o755))?;
        scratch.publish(&target)
    })
    .await
    .map_err(ApiError::internal)?
}
