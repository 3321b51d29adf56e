//! Translation between the HTTP server and s3s: signatures that cannot be verified, aws-chunked
//! bodies, host names and errors.

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header};
use s3s::dto::{Range, Timestamp, TimestampFormat};
use s3s::host::{S3Host, VirtualHost};
use s3s::{HttpRequest, S3Error, S3ErrorCode, S3Result};

use super::{chunked, stored};
use crate::api::ApiError;

/// Prepares a request for s3s. If its signature is `verified`, s3s does that and decodes an aws-chunked body.
/// Otherwise there is no secret to verify a signature with, and s3s would refuse it: the signature is removed
/// and the body is decoded here. The dispatcher has already checked whether a presigned URL has expired.
pub(super) fn prepare(request: Request<Body>, verified: bool) -> S3Result<HttpRequest> {
    let (mut parts, body) = request.into_parts();
    if verified {
        restore_headers(&parts.uri, &mut parts.headers);
        return Ok(Request::from_parts(
            parts,
            s3s::Body::http_body_unsync(body),
        ));
    }
    parts.headers.remove(header::AUTHORIZATION);
    // RFC 9110: a malformed range, or more than one, is ignored.
    let range = parts.headers.get(header::RANGE).map(HeaderValue::to_str);
    if range.is_some_and(|range| !range.is_ok_and(|range| Range::parse(range).is_ok())) {
        parts.headers.remove(header::RANGE);
    }
    // RFC 9110, sections 13.1.3 and 13.1.4: so is a malformed date.
    for name in [header::IF_MODIFIED_SINCE, header::IF_UNMODIFIED_SINCE] {
        let date = parts.headers.get(&name).map(HeaderValue::to_str);
        let is_date = |text| Timestamp::parse(TimestampFormat::HttpDate, text).is_ok();
        if date.is_some_and(|date| !date.is_ok_and(is_date)) {
            parts.headers.remove(&name);
        }
    }
    parts.uri = without_signature(&parts.uri, &mut parts.headers)?;
    if !is_aws_chunked(&parts.headers) {
        return Ok(Request::from_parts(
            parts,
            s3s::Body::http_body_unsync(body),
        ));
    }
    let length = parts
        .headers
        .remove("x-amz-decoded-content-length")
        .ok_or_else(|| {
            S3Error::with_message(
                S3ErrorCode::MissingContentLength,
                "missing header: x-amz-decoded-content-length",
            )
        })?;
    parts.headers.insert(header::CONTENT_LENGTH, length);
    let (stream, trailers) = chunked::decode(body);
    parts.extensions.insert(trailers);
    Ok(Request::from_parts(
        parts,
        s3s::Body::http_body_unsync(Body::from_stream(stream)),
    ))
}

/// Adds the headers that the signer of a URL with signature version 2 moved into the query: s3s verifies them as
/// headers, such as the session token.
fn restore_headers(uri: &Uri, headers: &mut HeaderMap) {
    let query = uri.query().unwrap_or_default();
    if !query.contains("AWSAccessKeyId=") {
        return;
    }
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let name = name.to_ascii_lowercase();
        if name.starts_with("x-amz-")
            && let (Ok(name), Ok(value)) =
                (HeaderName::try_from(name), HeaderValue::from_str(&value))
        {
            headers.entry(name).or_insert(value);
        }
    }
}

fn is_aws_chunked(headers: &HeaderMap) -> bool {
    headers
        .get("x-amz-content-sha256")
        .is_some_and(|value| value.as_bytes().starts_with(b"STREAMING-"))
}

/// The URI of a presigned request without its signature. Other `x-amz-…` query parameters are
/// headers that the signer moved into the query; they become headers again.
fn without_signature(uri: &Uri, headers: &mut HeaderMap) -> S3Result<Uri> {
    let Some(query) = uri.query() else {
        return Ok(uri.clone());
    };
    let is_version_2 = query.contains("AWSAccessKeyId=");
    if !is_version_2 && !query.contains("X-Amz-") {
        return Ok(uri.clone());
    }
    let mut kept = Vec::new();
    for member in query.split('&') {
        let (name, value) = member.split_once('=').unwrap_or((member, ""));
        if is_version_2 && ["AWSAccessKeyId", "Signature", "Expires"].contains(&name) {
            continue;
        }
        if !name.to_ascii_lowercase().starts_with("x-amz-") {
            kept.push(member);
            continue;
        }
        let signing = [
            "X-Amz-Algorithm",
            "X-Amz-Credential",
            "X-Amz-Date",
            "X-Amz-Expires",
            "X-Amz-SignedHeaders",
            "X-Amz-Signature",
            "X-Amz-Security-Token",
        ];
        if signing.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            continue;
        }
        let value = percent_encoding::percent_decode_str(value).decode_utf8_lossy();
        if let (Ok(name), Ok(value)) = (
            HeaderName::try_from(name.to_ascii_lowercase()),
            HeaderValue::from_str(&value),
        ) {
            headers.entry(name).or_insert(value);
        }
    }
    let text = if kept.is_empty() {
        uri.path().to_owned()
    } else {
        format!("{}?{}", uri.path(), kept.join("&"))
    };
    text.parse()
        .map_err(|_| S3Error::new(S3ErrorCode::InvalidURI))
}

/// Parses the host names of this server: `bucket.localhost`, `bucket.s3.REGION.amazonaws.com`, and
/// the same without a bucket for path-style requests.
#[derive(Debug)]
pub(super) struct Hosts;

impl S3Host for Hosts {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let found = VirtualHost::new(without_port(host));
        Ok(match bucket_of_host(host) {
            Some(bucket) => found.with_bucket(bucket),
            None => found,
        })
    }
}

fn without_port(host: &str) -> &str {
    host.rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
        .map_or(host, |(name, _)| name)
}

/// The bucket in a host name of this server.
pub(crate) fn bucket_of_host(host: &str) -> Option<&str> {
    let name = without_port(host);
    if let Some(bucket) = name.strip_suffix(".localhost") {
        return Some(bucket);
    }
    let rest = name.strip_suffix(".amazonaws.com")?;
    rest.rfind(".s3.")
        .map(|at| &rest[..at])
        .or_else(|| rest.strip_suffix(".s3"))
}

impl From<ApiError> for S3Error {
    fn from(error: ApiError) -> Self {
        let code = match error.code.as_str() {
            "InternalFailure" => S3ErrorCode::InternalError,
            "ValidationException" => S3ErrorCode::InvalidArgument,
            other => {
                S3ErrorCode::from_bytes(other.as_bytes()).unwrap_or(S3ErrorCode::InternalError)
            }
        };
        let damaged = error.code == stored::DAMAGED;
        let mut answer = S3Error::with_message(code, error.message);
        if damaged {
            let mut headers = HeaderMap::new();
            headers.insert(stored::DAMAGED_HEADER, HeaderValue::from_static("true"));
            answer.set_headers(headers);
        }
        if let Ok(status) = http::StatusCode::from_u16(error.status) {
            answer.set_status_code(status);
        }
        answer
    }
}

/// Converts a timestamp of s3s to seconds since the epoch.
pub(super) fn seconds(time: &Timestamp) -> i64 {
    let mut text = Vec::new();
    if time
        .format(s3s::dto::TimestampFormat::EpochSeconds, &mut text)
        .is_err()
    {
        return 0;
    }
    let text = String::from_utf8_lossy(&text);
    text.split('.')
        .next()
        .and_then(|whole| whole.parse().ok())
        .unwrap_or(0)
}

/// Converts seconds since the epoch to a timestamp of s3s.
pub(super) fn timestamp(seconds: i64) -> Timestamp {
    let since = std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    Timestamp::from(std::time::UNIX_EPOCH + since)
}

/// The current time in whole seconds, the resolution that S3 shows.
pub(super) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_name_buckets() {
        let bucket = |host| {
            Hosts
                .parse_host_header(host)
                .unwrap()
                .bucket()
                .map(str::to_owned)
        };
        assert_eq!(bucket("a.b.localhost:4566"), Some("a.b".to_owned()));
        assert_eq!(bucket("x.s3.eu-west-1.amazonaws.com"), Some("x".to_owned()));
        assert_eq!(bucket("x.s3.amazonaws.com"), Some("x".to_owned()));
        assert_eq!(bucket("localhost:4566"), None);
        assert_eq!(bucket("s3.us-east-1.amazonaws.com"), None);
    }

    #[test]
    fn presigned_queries_keep_everything_but_the_signature() {
        let mut headers = HeaderMap::new();
        let uri = without_signature(
            &"/b/k?versionId=3&X-Amz-Signature=0&X-Amz-Date=1&x-amz-meta-a=b%20c"
                .parse()
                .unwrap(),
            &mut headers,
        )
        .unwrap();
        assert_eq!(uri, "/b/k?versionId=3");
        assert_eq!(headers["x-amz-meta-a"], "b c");
    }
}
