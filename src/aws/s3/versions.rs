//! Lists object versions, up to hundreds of thousands. The SDK sends the requests, but parsing a
//! page with the SDK takes longer than producing it, so the pages are parsed here.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, anyhow, bail};
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_sdk_s3::types::EncodingType;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextMut;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use bytes::Bytes;
use jiff::Timestamp;
use quick_xml::events::Event;

use super::{DAMAGED_HEADER, S3Uri, VERIFY_HEADER, decode};
use crate::aws::{AwsResultExt, Expected};

/// Maximum entries per page of a listing.
const PAGE: usize = 1000;

/// A version of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectVersion {
    /// The version id; `null` in a bucket without versioning.
    pub id: String,
    /// When the version was written.
    pub written: Timestamp,
    /// True for the newest version.
    pub latest: bool,
}

/// The versions of one object, newest first.
#[derive(Debug, Clone)]
pub struct VersionListing {
    /// The versions, without delete markers.
    pub versions: Vec<ObjectVersion>,
    /// Whether more versions exist than were requested.
    pub more: bool,
}

/// Lists at most `limit` versions of one object, newest first. Requests the next page while parsing
/// the current one.
pub async fn versions(
    client: &Client,
    object: &S3Uri,
    limit: Option<usize>,
) -> Result<VersionListing> {
    let doing = || format!("cannot list the versions of {object}");
    let (mut marker, mut reading, mut versions) = (None, Vec::new(), Vec::new());
    let mut more = loop {
        // Delete markers count towards a page: after the first page, request full pages.
        let wanted = match limit {
            Some(limit) if marker.is_none() => limit.clamp(1, PAGE),
            _ => PAGE,
        };
        let (bytes, _) = page(client, object, wanted, marker.as_ref(), &[])
            .await?
            .with_context(doing)?;
        let next = next(&bytes).with_context(doing)?;
        let key = object.key.clone();
        let read = tokio::task::spawn_blocking(move || read(&bytes, &key));
        match limit {
            Some(_) => versions.extend(read.await?.with_context(doing)?),
            None => reading.push(read),
        }
        let more = next.as_ref().is_some_and(|next| next.key == object.key);
        if !more || limit.is_some_and(|limit| versions.len() >= limit) {
            break more;
        }
        marker = next;
    };
    for page in reading {
        versions.extend(page.await?.with_context(doing)?);
    }
    if let Some(limit) = limit
        && versions.len() > limit
    {
        versions.truncate(limit);
        more = true;
    }
    Ok(VersionListing { versions, more })
}

/// Returns those of the given versions (key and version id) under a prefix that no longer exist, or
/// that the local cloud reports as damaged. Returns `None` if these credentials may not list
/// versions.
pub async fn missing_versions(
    client: &Client,
    prefix: &S3Uri,
    mut wanted: BTreeSet<(String, String)>,
) -> Result<BTreeSet<(String, String)>> {
    let doing = || format!("cannot list the versions of {prefix}");
    let mut marker = None;
    while !wanted.is_empty() {
        let denied = &[Expected::AccessDenied];
        let found = page(client, prefix, PAGE, marker.as_ref(), denied).await?;
        let Some((bytes, damaged)) = found else {
            return Ok(BTreeSet::new());
        };
        let next = next(&bytes).with_context(doing)?;
        let read = move || {
            rows(&bytes, |[key, id, ..]| {
                if !damaged.contains(&id) {
                    wanted.remove(&(decode(&key), id));
                }
                Ok(())
            })?;
            anyhow::Ok(wanted)
        };
        wanted = tokio::task::spawn_blocking(read)
            .await?
            .with_context(doing)?;
        if next.is_none() {
            break;
        }
        marker = next;
    }
    Ok(wanted)
}

/// The start of the next page.
#[derive(Debug, PartialEq, Eq)]
struct Marker {
    key: String,
    version: Option<String>,
}

/// The body of a page and the ids of its damaged versions; `None` if S3 returns one of the codes in
/// `unless`.
async fn page(
    client: &Client,
    object: &S3Uri,
    count: usize,
    marker: Option<&Marker>,
    unless: &[Expected],
) -> Result<Option<(Bytes, BTreeSet<String>)>> {
    let doing = format!("cannot list the versions of {object}");
    let body = Body::default();
    let answered = client
        .list_object_versions()
        .bucket(&object.bucket)
        .prefix(&object.key)
        .encoding_type(EncodingType::Url)
        .max_keys(i32::try_from(count)?)
        .set_key_marker(marker.map(|marker| marker.key.clone()))
        .set_version_id_marker(marker.and_then(|marker| marker.version.clone()))
        .customize()
        .mutate_request(|request| {
            request.headers_mut().insert(VERIFY_HEADER, "true");
        })
        .interceptor(body.clone())
        .send()
        .await
        .aws_unless(doing.clone(), unless)?;
    if answered.is_none() {
        return Ok(None);
    }
    let (body, damaged) = body
        .take()
        .ok_or_else(|| anyhow!("{doing}: the response has no body"))?;
    let bytes = ByteStream::new(body).collect().await.context(doing)?;
    let damaged = damaged.split(',').map(str::to_owned).collect();
    Ok(Some((bytes.into_bytes(), damaged)))
}

/// Captures a response's body and its [`DAMAGED_HEADER`] before the SDK parses it.
#[derive(Debug, Clone, Default)]
struct Body(Arc<Mutex<Option<(SdkBody, String)>>>);

impl Body {
    fn take(&self) -> Option<(SdkBody, String)> {
        self.0.lock().ok()?.take()
    }
}

#[dyn_dispatch_hint]
impl Intercept for Body {
    fn name(&self) -> &'static str {
        "TakeBody"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        if response.status().is_success()
            && let Ok(mut place) = self.0.lock()
        {
            let empty = SdkBody::from("<ListVersionsResult/>");
            let damaged = response.headers().get(DAMAGED_HEADER);
            let damaged = damaged.unwrap_or_default().to_owned();
            *place = Some((std::mem::replace(response.body_mut(), empty), damaged));
        }
        Ok(())
    }
}

/// Returns the text of the only element with this name. XML escapes text, so it cannot contain a
/// tag.
fn element<'a>(page: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let open = format!("<{name}>");
    let start = memchr::memmem::find(page, open.as_bytes())? + open.len();
    let length = memchr::memchr(b'<', &page[start..])?;
    Some(&page[start..start + length])
}

fn text(bytes: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(bytes)?;
    Ok(quick_xml::escape::unescape(text)?.into_owned())
}

/// Returns the start of the next page; `None` after the last one.
fn next(page: &[u8]) -> Result<Option<Marker>> {
    if element(page, "IsTruncated") != Some(b"true") {
        return Ok(None);
    }
    let Some(key) = element(page, "NextKeyMarker") else {
        bail!("the list is truncated, but has no marker of the next page");
    };
    Ok(Some(Marker {
        key: decode(&text(key)?),
        version: element(page, "NextVersionIdMarker").map(text).transpose()?,
    }))
}

/// Returns the versions of `key` in a page; other keys may share the prefix.
fn read(page: &[u8], key: &str) -> Result<Vec<ObjectVersion>> {
    let mut found = Vec::new();
    rows(page, |[found_key, id, modified, latest]| {
        if found_key == key || decode(&found_key) == key {
            found.push(ObjectVersion {
                id,
                written: modified.parse()?,
                latest: latest == "true",
            });
        }
        Ok(())
    })?;
    Ok(found)
}

/// Passes every version of a page to `each`: key (still encoded), id, time, and whether it is the
/// newest.
fn rows(page: &[u8], mut each: impl FnMut([String; 4]) -> Result<()>) -> Result<()> {
    let mut reader = quick_xml::Reader::from_reader(page);
    let mut row: Option<[String; 4]> = None;
    let (mut field, mut whole) = (None, false);
    loop {
        match reader.read_event()? {
            Event::Start(tag) => match tag.local_name().as_ref() {
                b"Version" => row = Some(Default::default()),
                b"Key" => field = Some(0),
                b"VersionId" => field = Some(1),
                b"LastModified" => field = Some(2),
                b"IsLatest" => field = Some(3),
                _ => field = None,
            },
            Event::Text(part) => {
                if let (Some(row), Some(field)) = (&mut row, field) {
                    row[field].push_str(std::str::from_utf8(&part)?);
                }
            }
            Event::GeneralRef(part) => {
                if let (Some(row), Some(field)) = (&mut row, field) {
                    let name = std::str::from_utf8(&part)?;
                    row[field].push_str(&quick_xml::escape::unescape(&format!("&{name};"))?);
                }
            }
            Event::End(tag) => {
                field = None;
                whole = tag.local_name().as_ref() == b"ListVersionsResult";
                if tag.local_name().as_ref() == b"Version"
                    && let Some(row) = row.take()
                {
                    each(row)?;
                }
            }
            Event::Eof if whole => return Ok(()),
            Event::Eof => bail!("the page is truncated"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<ListVersionsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix>a+b</Prefix>
<KeyMarker/><NextKeyMarker>a+b%3C</NextKeyMarker><NextVersionIdMarker>x&amp;2</NextVersionIdMarker>
<IsTruncated>true</IsTruncated>
<Version><ETag>&quot;00&quot;</ETag><IsLatest>true</IsLatest><Key>a+b</Key>
<LastModified>2026-01-02T03:04:05.000Z</LastModified><Owner><ID>o</ID></Owner><Size>3</Size>
<VersionId>x&amp;1</VersionId></Version>
<DeleteMarker><Key>a+b</Key><VersionId>gone</VersionId><IsLatest>false</IsLatest></DeleteMarker>
<Version><Key>a+b2</Key><VersionId>other</VersionId><IsLatest>true</IsLatest>
<LastModified>2026-01-02T03:04:05.000Z</LastModified></Version></ListVersionsResult>"#;

    #[test]
    fn a_page_is_read() {
        assert_eq!(
            read(PAGE.as_bytes(), "a b").unwrap(),
            [ObjectVersion {
                id: "x&1".to_owned(),
                written: "2026-01-02T03:04:05Z".parse().unwrap(),
                latest: true,
            }]
        );
        let expected = Marker {
            key: "a b<".to_owned(),
            version: Some("x&2".to_owned()),
        };
        assert_eq!(next(PAGE.as_bytes()).unwrap(), Some(expected));
        let last = PAGE.replace("<IsTruncated>true", "<IsTruncated>false");
        assert_eq!(next(last.as_bytes()).unwrap(), None);
        assert!(read(&PAGE.as_bytes()[..PAGE.len() - 30], "a b").is_err());
        assert!(read(b"<a></b>", "a").is_err());
    }
}
