//! S3: addresses, and the verbs that are paged.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Result};
use aws_sdk_s3::Client;
use aws_sdk_s3::types::{Object, ObjectVersion};

use super::AwsResultExt;
use crate::error::Failure;

/// The address of an object, or of a prefix: `s3://bucket/key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Uri {
    /// The bucket.
    pub bucket: String,
    /// The key or prefix; may be empty.
    pub key: String,
}

impl S3Uri {
    /// The address of `key` in `bucket`.
    pub fn new(bucket: impl Into<String>, key: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            key: key.into(),
        }
    }
}

impl FromStr for S3Uri {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        text.strip_prefix("s3://")
            .map(|rest| rest.split_once('/').unwrap_or((rest, "")))
            .filter(|(bucket, _)| !bucket.is_empty())
            .map(|(bucket, key)| Self::new(bucket, key))
            .ok_or_else(|| Failure::usage(format!("`{text}` is not an S3 address (s3://…)")))
    }
}

impl fmt::Display for S3Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

/// The objects under a prefix, in key order.
pub async fn list(client: &Client, prefix: &S3Uri) -> Result<Vec<Object>> {
    let mut pages = client
        .list_objects_v2()
        .bucket(&prefix.bucket)
        .prefix(&prefix.key)
        .into_paginator()
        .send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.aws(format!("cannot list {prefix}"))?;
        found.extend(page.contents.unwrap_or_default());
    }
    Ok(found)
}

/// The versions of one object, newest first, without delete markers.
pub async fn versions(client: &Client, object: &S3Uri) -> Result<Vec<ObjectVersion>> {
    let (mut key_marker, mut version_marker) = (None, None);
    let mut found = Vec::new();
    // The SDK has no paginator for ListObjectVersions.
    loop {
        let page = client
            .list_object_versions()
            .bucket(&object.bucket)
            .prefix(&object.key)
            .set_key_marker(key_marker)
            .set_version_id_marker(version_marker)
            .send()
            .await
            .aws(format!("cannot list the versions of {object}"))?;
        let versions = page.versions.unwrap_or_default();
        // Other keys may share the prefix; they sort after it.
        found.extend(
            versions
                .into_iter()
                .filter(|version| version.key.as_deref() == Some(&object.key)),
        );
        let passed = page
            .next_key_marker
            .as_deref()
            .is_some_and(|next| next != object.key);
        if page.is_truncated != Some(true) || passed {
            return Ok(found);
        }
        (key_marker, version_marker) = (page.next_key_marker, page.next_version_id_marker);
    }
}

/// An object's bytes with the version id and `ETag` that they have.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The version, in a versioned bucket.
    pub version_id: Option<String>,
    /// The `ETag`, with its quotes.
    pub etag: Option<String>,
}

/// An object, or one version of it; `None` when it is not there.
pub async fn get(
    client: &Client,
    object: &S3Uri,
    version_id: Option<&str>,
) -> Result<Option<Fetched>> {
    let Some(output) = client
        .get_object()
        .bucket(&object.bucket)
        .key(&object.key)
        .set_version_id(version_id.map(str::to_owned))
        .send()
        .await
        .aws_unless(
            format!("cannot read {object}"),
            &["NoSuchKey", "NoSuchVersion", "MethodNotAllowed"],
        )?
    else {
        return Ok(None);
    };
    let bytes = output
        .body
        .collect()
        .await
        .with_context(|| format!("cannot read {object}"))?;
    Ok(Some(Fetched {
        bytes: bytes.to_vec(),
        version_id: output.version_id,
        etag: output.e_tag,
    }))
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
    fn addresses_are_read_and_written() {
        let uri: S3Uri = "s3://b/a/../c".parse().unwrap();
        assert_eq!((uri.bucket.as_str(), uri.key.as_str()), ("b", "a/../c"));
        assert_eq!(uri.to_string(), "s3://b/a/../c");
        assert_eq!("s3://b".parse::<S3Uri>().unwrap(), S3Uri::new("b", ""));
        for bad in ["b/c", "s3://", "s3:///k", "https://b/c"] {
            assert!(bad.parse::<S3Uri>().is_err(), "{bad}");
        }
    }

    #[test]
    fn copy_sources_are_encoded() {
        assert_eq!(
            copy_source(&S3Uri::new("b", "a b/ü?.csv"), "v1"),
            "b/a%20b/%C3%BC%3F.csv?versionId=v1"
        );
    }
}
