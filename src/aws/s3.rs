//! S3: paged operations.

use std::fmt;

use anyhow::{Context as _, Result};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::types::{EncodingType, Object};

use super::{AwsResultExt, Expected, Missing};

mod content;
mod versions;

pub use content::{Head, head, sha256};
pub use mlops_core::s3::{S3Object, S3Uri};
pub use versions::{ObjectVersion, VersionListing, missing_versions, versions};

/// Decodes a key of a response with `EncodingType=url`, in which S3 encodes spaces as `+`. Without
/// this encoding, XML could not represent every key.
pub fn decode(key: &str) -> String {
    percent_encoding::percent_decode_str(&key.replace('+', " "))
        .decode_utf8_lossy()
        .into_owned()
}

/// Lists the objects under a prefix, in key order.
pub async fn list(client: &Client, prefix: &S3Uri) -> Result<Vec<Object>> {
    let mut pages = client
        .list_objects_v2()
        .bucket(&prefix.bucket)
        .prefix(&prefix.key)
        .encoding_type(EncodingType::Url)
        .into_paginator()
        .send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.aws(format!("cannot list {prefix}"))?;
        let objects = page.contents.unwrap_or_default();
        found.extend(objects.into_iter().map(|mut object| {
            object.key = object.key.as_deref().map(decode);
            object
        }));
    }
    Ok(found)
}

/// An object's bytes with their version id and `ETag`.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The version, if the bucket is versioned.
    pub version_id: Option<String>,
    /// The `ETag`, with its quotes.
    pub etag: Option<String>,
    /// When it was written, in seconds since the epoch.
    pub written: Option<i64>,
}

const NO_KEY: &[Expected] = &[Expected::Missing(Missing::Object)];
const NO_VERSION: &[Expected] = &[
    Expected::Missing(Missing::Object),
    Expected::Missing(Missing::ObjectVersion),
    // The version is a delete marker.
    Expected::code("MethodNotAllowed"),
];

/// Response header with which the local cloud marks an object whose bytes are damaged; AWS never
/// sends it. In the response to a list request with [`VERIFY_HEADER`], it contains the ids of the
/// damaged versions.
const DAMAGED_HEADER: &str = "x-mlops-damaged";

/// Request header that makes the local cloud verify the newest versions that it lists.
const VERIFY_HEADER: &str = "x-mlops-verify";

/// The stored bytes of an object are damaged.
#[derive(Debug)]
pub struct Damaged(S3Uri);

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is damaged: its content differs from what was uploaded",
            self.0
        )
    }
}

impl std::error::Error for Damaged {}

/// Returns true if a request failed because the object's stored bytes are damaged.
pub fn is_damaged<T, E>(answered: &Result<T, SdkError<E, HttpResponse>>) -> bool {
    answered.as_ref().is_err_and(|error| {
        error
            .raw_response()
            .is_some_and(|response| response.headers().get(DAMAGED_HEADER).is_some())
    })
}

/// Returns the current `ETag` of an object; `None` if it does not exist, [`Damaged`] if its bytes
/// are damaged.
pub async fn etag(client: &Client, object: &S3Uri) -> Result<Option<String>> {
    let answered = client
        .head_object()
        .bucket(&object.bucket)
        .key(&object.key)
        .send()
        .await;
    if is_damaged(&answered) {
        return Err(Damaged(object.clone()).into());
    }
    Ok(answered
        .aws_if_found(format!("cannot read {object}"), Missing::Object)?
        .and_then(|found| found.e_tag))
}

/// Reads an object, or one version of it; `None` if it does not exist, [`Damaged`] if its bytes are
/// damaged.
pub async fn get(
    client: &Client,
    object: &S3Uri,
    version_id: Option<&str>,
) -> Result<Option<Fetched>> {
    let request = client
        .get_object()
        .bucket(&object.bucket)
        .key(&object.key)
        .set_version_id(version_id.map(str::to_owned));
    // Boxed, because the futures of commands that read objects would otherwise exceed 16 KiB.
    let answered = Box::pin(request.send()).await;
    if is_damaged(&answered) {
        return Err(Damaged(object.clone()).into());
    }
    let Some(output) = answered.aws_unless(
        format!("cannot read {object}"),
        if version_id.is_some() {
            NO_VERSION
        } else {
            NO_KEY
        },
    )?
    else {
        return Ok(None);
    };
    let written = output.last_modified.map(|time| time.secs());
    let bytes = output
        .body
        .collect()
        .await
        .with_context(|| format!("cannot read {object}"))?;
    Ok(Some(Fetched {
        bytes: bytes.to_vec(),
        version_id: output.version_id,
        etag: output.e_tag,
        written,
    }))
}

/// Returns whether an object exists and its bytes are undamaged, so that it need not be written again.
pub async fn exists(client: &Client, object: &S3Uri) -> Result<bool> {
    let answered = client
        .head_object()
        .bucket(&object.bucket)
        .key(&object.key)
        .send()
        .await;
    if is_damaged(&answered) {
        return Ok(false);
    }
    let found = answered.aws_if_found(format!("cannot check for {object}"), Missing::Object)?;
    Ok(found.is_some())
}

/// Writes a JSON document.
pub async fn put_json(client: &Client, object: &S3Uri, bytes: Vec<u8>) -> Result<()> {
    put(client, object, "application/json", bytes).await
}

/// Writes an object.
pub async fn put(
    client: &Client,
    object: &S3Uri,
    content_type: &str,
    bytes: Vec<u8>,
) -> Result<()> {
    client
        .put_object()
        .bucket(&object.bucket)
        .key(&object.key)
        .content_type(content_type)
        .body(bytes.into())
        .send()
        .await
        .aws(format!("cannot write {object}"))?;
    Ok(())
}

/// What must hold for an object to be written.
#[derive(Debug, Clone, Copy)]
pub enum Condition<'a> {
    /// It does not exist.
    Absent,
    /// It still has this `ETag`.
    Unchanged(&'a str),
}

/// Writes a JSON document if the condition holds. Returns false if it does not.
pub async fn put_json_if(
    client: &Client,
    object: &S3Uri,
    bytes: Vec<u8>,
    condition: Condition<'_>,
) -> Result<bool> {
    const OTHERS: &[Expected] = &[
        Expected::code("PreconditionFailed"),
        // Another conditional request is in progress.
        Expected::code("ConditionalRequestConflict"),
        Expected::Missing(Missing::Object),
    ];

    let request = client
        .put_object()
        .bucket(&object.bucket)
        .key(&object.key)
        .content_type("application/json")
        .body(bytes.into());
    let request = match condition {
        Condition::Absent => request.if_none_match("*"),
        Condition::Unchanged(etag) => request.if_match(etag),
    };
    let written = Box::pin(request.send())
        .await
        .aws_unless(format!("cannot write {object}"), OTHERS)?;
    Ok(written.is_some())
}

/// The value of `x-amz-copy-source` for a version of an object.
pub fn copy_source(object: &S3Uri, version_id: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'/')
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~');

    format!(
        "{}/{}?versionId={}",
        object.bucket,
        utf8_percent_encode(&object.key, KEPT),
        utf8_percent_encode(version_id, KEPT)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_keys_are_decoded() {
        assert_eq!(decode("a+b%2Bc%0A%C3%BC/d"), "a b+c\n\u{fc}/d");
    }

    #[test]
    fn copy_sources_are_encoded() {
        assert_eq!(
            copy_source(&S3Uri::new("b", "a b/ü?.csv"), "v1"),
            "b/a%20b/%C3%BC%3F.csv?versionId=v1"
        );
    }
}
