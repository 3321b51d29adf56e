//! `ListObjects`, `ListObjectsV2`, `ListObjectVersions`.

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result};

use super::bucket_api::owner;
use super::buckets;
use super::listing::{self, Page, Query};
use super::versions::Version;
use super::{stored, wire};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};

fn asks_for_url(encoding: Option<&EncodingType>) -> bool {
    encoding.is_some_and(|encoding| encoding.as_str() == EncodingType::URL)
}

fn current(cloud: &Cloud, query: &Query<'_>) -> ApiResult<Page> {
    check(query)?;
    cloud.store().transaction(|transaction| {
        buckets::find(transaction, query.bucket)?;
        listing::objects(transaction, query)
    })
}

fn check(query: &Query<'_>) -> ApiResult<()> {
    if query.max.is_some_and(|max| max < 0) {
        return Err(ApiError::new(
            "InvalidArgument",
            "Argument maxKeys must be an integer between 0 and 2147483647",
        ));
    }
    Ok(())
}

fn algorithms(version: &Version) -> Option<Vec<ChecksumAlgorithm>> {
    let names: Vec<_> = version
        .details
        .checksums
        .keys()
        .map(|algorithm| ChecksumAlgorithm::from_static(algorithm.name()))
        .collect();
    (!names.is_empty()).then_some(names)
}

fn checksum_type(version: &Version) -> Option<ChecksumType> {
    (!version.details.checksums.is_empty()).then(|| {
        ChecksumType::from_static(if version.details.composite {
            ChecksumType::COMPOSITE
        } else {
            ChecksumType::FULL_OBJECT
        })
    })
}

fn object(version: Version, url: bool, with_owner: bool) -> Object {
    let class = version.details.storage_class.clone();
    Object {
        checksum_algorithm: algorithms(&version),
        checksum_type: checksum_type(&version),
        e_tag: Some(ETag::Strong(version.etag)),
        key: Some(listing::encode(version.key, url)),
        last_modified: Some(wire::timestamp(version.modified)),
        owner: with_owner.then(owner),
        size: i64::try_from(version.size).ok(),
        storage_class: Some(ObjectStorageClass::from(
            class.unwrap_or_else(|| "STANDARD".to_owned()),
        )),
        ..Object::default()
    }
}

fn prefixes(found: Vec<String>, url: bool) -> Option<Vec<CommonPrefix>> {
    (!found.is_empty()).then(|| {
        found
            .into_iter()
            .map(|prefix| CommonPrefix {
                prefix: Some(listing::encode(prefix, url)),
            })
            .collect()
    })
}

pub(super) async fn objects(
    cloud: &Cloud,
    request: S3Request<ListObjectsInput>,
) -> S3Result<S3Response<ListObjectsOutput>> {
    let input = request.input;
    let url = asks_for_url(input.encoding_type.as_ref());
    let query = Query {
        bucket: &input.bucket,
        prefix: input.prefix.as_deref().unwrap_or_default(),
        delimiter: input.delimiter.as_deref(),
        after: input.marker.as_deref().unwrap_or_default(),
        max: input.max_keys,
    };
    let max = query.max();
    let page = current(cloud, &query)?;
    let encode = |text: Option<String>| text.map(|text| listing::encode(text, url));
    // Without a delimiter S3 returns no next marker; the client uses the last key.
    let next_marker = page
        .next
        .clone()
        .filter(|_| input.delimiter.as_deref().is_some_and(|d| !d.is_empty()));
    Ok(S3Response::new(ListObjectsOutput {
        is_truncated: Some(page.next.is_some()),
        next_marker: encode(next_marker),
        contents: Some(
            page.versions
                .into_iter()
                .map(|version| object(version, url, true))
                .collect(),
        ),
        common_prefixes: prefixes(page.prefixes, url),
        name: Some(input.bucket),
        prefix: Some(listing::encode(input.prefix.unwrap_or_default(), url)),
        marker: Some(listing::encode(input.marker.unwrap_or_default(), url)),
        max_keys: Some(max),
        delimiter: encode(input.delimiter.filter(|delimiter| !delimiter.is_empty())),
        encoding_type: input.encoding_type,
        ..ListObjectsOutput::default()
    }))
}

pub(super) async fn objects_v2(
    cloud: &Cloud,
    request: S3Request<ListObjectsV2Input>,
) -> S3Result<S3Response<ListObjectsV2Output>> {
    let input = request.input;
    let url = asks_for_url(input.encoding_type.as_ref());
    let token = match &input.continuation_token {
        Some(token) => Some(
            hex::decode(token)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or_else(|| {
                    ApiError::new(
                        "InvalidArgument",
                        "The continuation token provided is incorrect",
                    )
                })?,
        ),
        None => None,
    };
    let query = Query {
        bucket: &input.bucket,
        prefix: input.prefix.as_deref().unwrap_or_default(),
        delimiter: input.delimiter.as_deref(),
        after: token
            .as_deref()
            .or(input.start_after.as_deref())
            .unwrap_or_default(),
        max: input.max_keys,
    };
    let max = query.max();
    let page = current(cloud, &query)?;
    let encode = |text: Option<String>| text.map(|text| listing::encode(text, url));
    let with_owner = input.fetch_owner == Some(true);
    Ok(S3Response::new(ListObjectsV2Output {
        key_count: i32::try_from(page.versions.len() + page.prefixes.len()).ok(),
        is_truncated: Some(page.next.is_some()),
        next_continuation_token: page.next.map(hex::encode),
        contents: Some(
            page.versions
                .into_iter()
                .map(|version| object(version, url, with_owner))
                .collect(),
        ),
        common_prefixes: prefixes(page.prefixes, url),
        name: Some(input.bucket),
        prefix: Some(listing::encode(input.prefix.unwrap_or_default(), url)),
        max_keys: Some(max),
        continuation_token: input.continuation_token,
        delimiter: encode(input.delimiter.filter(|delimiter| !delimiter.is_empty())),
        encoding_type: input.encoding_type,
        start_after: encode(input.start_after),
        ..ListObjectsV2Output::default()
    }))
}

pub(super) async fn versions(
    cloud: &Cloud,
    request: S3Request<ListObjectVersionsInput>,
) -> S3Result<S3Response<ListObjectVersionsOutput>> {
    let input = request.input;
    if input.version_id_marker.is_some() && input.key_marker.is_none() {
        return Err(ApiError::new(
            "InvalidArgument",
            "A version-id marker cannot be specified without a key marker.",
        )
        .into());
    }
    let url = asks_for_url(input.encoding_type.as_ref());
    let query = Query {
        bucket: &input.bucket,
        prefix: input.prefix.as_deref().unwrap_or_default(),
        delimiter: input.delimiter.as_deref(),
        after: input.key_marker.as_deref().unwrap_or_default(),
        max: input.max_keys,
    };
    check(&query)?;
    let max = query.max();
    let page = cloud.store().transaction(|transaction| {
        buckets::find(transaction, query.bucket)?;
        listing::all_versions(transaction, &query, input.version_id_marker.as_deref())
    })?;
    let damaged = if request.headers.contains_key(stored::VERIFY_HEADER) {
        let current = page.versions.iter().filter(|version| version.latest);
        let current = current.filter(|version| !version.marker).cloned().collect();
        stored::damaged(cloud, query.bucket, current).await?
    } else {
        Vec::new()
    };
    let encode = |text: Option<String>| text.map(|text| listing::encode(text, url));
    let (mut versions, mut markers) = (Vec::new(), Vec::new());
    for version in page.versions {
        if version.marker {
            markers.push(DeleteMarkerEntry {
                is_latest: Some(version.latest),
                key: Some(listing::encode(version.key, url)),
                last_modified: Some(wire::timestamp(version.modified)),
                owner: Some(owner()),
                version_id: Some(version.id),
            });
            continue;
        }
        let class = version.details.storage_class.clone();
        versions.push(ObjectVersion {
            checksum_algorithm: algorithms(&version),
            checksum_type: checksum_type(&version),
            e_tag: Some(ETag::Strong(version.etag)),
            is_latest: Some(version.latest),
            key: Some(listing::encode(version.key, url)),
            last_modified: Some(wire::timestamp(version.modified)),
            owner: Some(owner()),
            size: i64::try_from(version.size).ok(),
            storage_class: Some(ObjectVersionStorageClass::from(
                class.unwrap_or_else(|| "STANDARD".to_owned()),
            )),
            version_id: Some(version.id),
            ..ObjectVersion::default()
        });
    }
    let mut response = S3Response::new(ListObjectVersionsOutput {
        common_prefixes: prefixes(page.prefixes, url),
        delete_markers: Some(markers),
        delimiter: encode(input.delimiter.filter(|delimiter| !delimiter.is_empty())),
        encoding_type: input.encoding_type,
        is_truncated: Some(page.next.is_some()),
        key_marker: Some(listing::encode(input.key_marker.unwrap_or_default(), url)),
        max_keys: Some(max),
        name: Some(input.bucket),
        next_key_marker: encode(page.next),
        next_version_id_marker: page.next_version,
        prefix: Some(listing::encode(input.prefix.unwrap_or_default(), url)),
        version_id_marker: input.version_id_marker,
        versions: Some(versions),
        ..ListObjectVersionsOutput::default()
    });
    if !damaged.is_empty()
        && let Ok(ids) = damaged.join(",").parse()
    {
        response.headers.insert(stored::DAMAGED_HEADER, ids);
    }
    Ok(response)
}
