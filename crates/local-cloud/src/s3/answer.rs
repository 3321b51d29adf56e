//! Completes the responses of s3s: S3's error members, request ids, and two responses whose form
//! differs.

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, RANGE};
use http::request::Parts;
use http::{Method, Response, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use s3s::host::S3Host;
use s3s::{HttpResponse, StdError};

use super::wire::Hosts;

/// Maximum size of a response that is rewritten, in bytes; errors and object attributes are far
/// smaller.
const MAX_REWRITTEN: usize = 8 << 20;

/// The parts of a request that its response depends on.
#[derive(Debug)]
pub(super) struct RequestInfo {
    method: Method,
    pub(super) bucket: String,
    pub(super) key: String,
    /// Bucket and key of a copy's source.
    pub(super) source: Option<(String, String)>,
    /// True if the missing bucket is the target of a copy.
    pub(super) target_missing: bool,
    /// Name and value of the argument that an `InvalidArgument` refers to.
    pub(super) argument: Option<(String, String)>,
    /// The resource type of a `MethodNotAllowed`, unless it is an object.
    pub(super) resource: Option<String>,
    path: String,
    version: Option<String>,
    upload: Option<String>,
    range: Option<String>,
    condition: Option<&'static str>,
    attributes: bool,
}

/// Conditional headers, with the names that S3 uses in its errors.
const CONDITION_HEADERS: [(&str, &str); 8] = [
    ("if-match", "If-Match"),
    ("if-unmodified-since", "If-Unmodified-Since"),
    ("if-none-match", "If-None-Match"),
    ("if-modified-since", "If-Modified-Since"),
    ("x-amz-copy-source-if-match", "x-amz-copy-source-If-Match"),
    (
        "x-amz-copy-source-if-unmodified-since",
        "x-amz-copy-source-If-Unmodified-Since",
    ),
    (
        "x-amz-copy-source-if-none-match",
        "x-amz-copy-source-If-None-Match",
    ),
    (
        "x-amz-copy-source-if-modified-since",
        "x-amz-copy-source-If-Modified-Since",
    ),
];

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

impl RequestInfo {
    pub(super) fn of(parts: &Parts) -> Self {
        let (bucket, key) = bucket_and_key(&parts.uri, &parts.headers);
        let query = parts.uri.query().unwrap_or_default();
        let member = |wanted: &str| {
            query.split('&').find_map(|member| {
                let (name, value) = member.split_once('=').unwrap_or((member, ""));
                (name == wanted).then(|| decoded(value))
            })
        };
        let source = header(&parts.headers, "x-amz-copy-source").and_then(|source| {
            let path = source.split_once('?').map_or(source, |(path, _)| path);
            let (bucket, key) = path.trim_start_matches('/').split_once('/')?;
            Some((decoded(bucket), decoded(key)))
        });
        Self {
            method: parts.method.clone(),
            bucket,
            key,
            source,
            target_missing: false,
            argument: None,
            resource: None,
            path: parts.uri.path().to_owned(),
            version: member("versionId"),
            upload: member("uploadId"),
            range: header(&parts.headers, RANGE.as_str()).map(str::to_owned),
            condition: CONDITION_HEADERS
                .into_iter()
                .find(|(name, _)| parts.headers.contains_key(*name))
                .map(|(_, shown)| shown),
            attributes: parts.method == Method::GET && member("attributes").is_some(),
        }
    }

    /// The members that S3 adds to an error with this code.
    fn members(&self, code: &str, headers: &HeaderMap) -> Vec<(&'static str, String)> {
        let (bucket, key) = match (&self.source, code) {
            (Some((bucket, key)), "NoSuchKey" | "NoSuchVersion") => (bucket, key),
            (Some((bucket, key)), "NoSuchBucket") if !self.target_missing => (bucket, key),
            _ => (&self.bucket, &self.key),
        };
        let mut members = Vec::new();
        match code {
            "NoSuchKey" => members.push(("Key", key.clone())),
            "NoSuchVersion" => {
                members.push(("Key", key.clone()));
                members.extend(self.version.clone().map(|id| ("VersionId", id)));
            }
            "NoSuchUpload" => members.extend(self.upload.clone().map(|id| ("UploadId", id))),
            "NoSuchBucket"
            | "BucketNotEmpty"
            | "BucketAlreadyOwnedByYou"
            | "BucketAlreadyExists"
            | "InvalidBucketName"
            | "NoSuchBucketPolicy"
            | "NoSuchLifecycleConfiguration"
            | "NoSuchTagSet"
            | "NoSuchPublicAccessBlockConfiguration"
            | "OwnershipControlsNotFoundError"
            | "ServerSideEncryptionConfigurationNotFoundError" => {
                members.push(("BucketName", bucket.clone()));
            }
            "MethodNotAllowed" => {
                members.push(("Method", self.method.to_string()));
                let resource = self.resource.as_deref().unwrap_or("OBJECT");
                members.push(("ResourceType", resource.to_owned()));
            }
            "InvalidArgument" => {
                if let Some((name, value)) = &self.argument {
                    members.push(("ArgumentName", name.clone()));
                    members.push(("ArgumentValue", value.clone()));
                }
            }
            "MalformedXML" | "InvalidURI" | "KeyTooLongError" => {
                if code == "InvalidURI" {
                    members.push(("URI", self.path.clone()));
                }
                if code == "KeyTooLongError" {
                    members.push(("Size", key.len().to_string()));
                    members.push(("MaxSizeAllowed", "1024".to_owned()));
                }
                for (name, value) in [("BucketName", bucket), ("Key", key)] {
                    if !value.is_empty() {
                        members.push((name, value.clone()));
                    }
                }
            }
            "PreconditionFailed" => {
                members.extend(self.condition.map(|name| ("Condition", name.to_owned())));
            }
            "InvalidRange" => {
                members.extend(self.range.clone().map(|range| ("RangeRequested", range)));
                let size = header(headers, CONTENT_RANGE.as_str())
                    .and_then(|range| range.strip_prefix("bytes */"));
                members.extend(size.map(|size| ("ActualObjectSize", size.to_owned())));
            }
            _ => {}
        }
        members
    }
}

/// Bucket and key of a request, from its host and path; empty if absent.
pub(super) fn bucket_and_key(uri: &Uri, headers: &HeaderMap) -> (String, String) {
    let path = decoded(uri.path().strip_prefix('/').unwrap_or_default());
    let host = header(headers, http::header::HOST.as_str()).unwrap_or_default();
    let hosted = Hosts
        .parse_host_header(host)
        .ok()
        .and_then(|found| found.bucket().map(str::to_owned));
    if let Some(bucket) = hosted {
        return (bucket, path);
    }
    let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
    (bucket.to_owned(), key.to_owned())
}

/// S3's message for an error for which s3s has none (API reference, "List of error codes").
fn message(code: &str) -> &'static str {
    match code {
        "AccessDenied" => "Access Denied",
        "BadDigest" => {
            "The Content-MD5 or checksum value that you specified did not match what the server received."
        }
        "EntityTooLarge" => "Your proposed upload exceeds the maximum allowed object size.",
        "IncompleteBody" => {
            "You did not provide the number of bytes specified by the Content-Length HTTP header."
        }
        "InvalidAccessKeyId" => {
            "The AWS access key ID that you provided does not exist in our records."
        }
        "InvalidBucketName" => "The specified bucket is not valid.",
        "InvalidDigest" => "The Content-MD5 or checksum value that you specified is not valid.",
        "InvalidURI" => "Couldn't parse the specified URI.",
        "KeyTooLongError" => "Your key is too long",
        "MalformedXML" => {
            "The XML you provided was not well-formed or did not validate against our published schema"
        }
        "MaxMessageLengthExceeded" => "Your request was too large.",
        "MissingContentLength" => "You must provide the Content-Length HTTP header.",
        "NotImplemented" => {
            "A header or query you provided implies functionality that is not implemented."
        }
        "RequestTimeTooSkewed" => {
            "The difference between the request time and the server's time is too large."
        }
        "SignatureDoesNotMatch" => {
            "The request signature that the server calculated does not match the signature that you provided."
        }
        _ => "The request could not be served.",
    }
}

/// Completes the response of s3s; a failure of s3s itself becomes an `InternalError`.
pub(super) async fn complete(
    result: Result<HttpResponse, StdError>,
    info: &RequestInfo,
) -> Response<Body> {
    let mut response = match result {
        Ok(response) => response.map(Body::new),
        Err(error) => {
            let text = format!(
                "<Error><Code>InternalError</Code><Message>{}</Message></Error>",
                quick_xml::escape::escape(error.to_string())
            );
            let mut response = Response::new(Body::from(text));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            let xml = http::HeaderValue::from_static("application/xml");
            response.headers_mut().insert(CONTENT_TYPE, xml);
            response
        }
    };
    let id = uuid::Uuid::new_v4().simple().to_string().to_uppercase();
    let id = &id[..16];
    let host = format!("{}{}", id.to_lowercase(), uuid::Uuid::new_v4().simple());
    for (name, value) in [("x-amz-request-id", id), ("x-amz-id-2", &host)] {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    let status = response.status();
    if status == StatusCode::NOT_MODIFIED {
        // It carries the headers of the object, but none that describe a body.
        response.headers_mut().remove(CONTENT_TYPE);
        response.headers_mut().remove(CONTENT_LENGTH);
        // A body of known length would add a Content-Length header.
        let nothing = futures::stream::empty::<std::io::Result<Bytes>>();
        *response.body_mut() = Body::from_stream(nothing);
        return response;
    }
    if info.method == Method::HEAD && response.headers().contains_key(CONTENT_RANGE) {
        // s3s does not set the status of a HeadObject with a range.
        if status == StatusCode::OK {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        return response;
    }
    if status.is_client_error() || status.is_server_error() {
        return rewrite(response, |text, headers| {
            let code = text
                .split_once("<Code>")
                .and_then(|(_, rest)| rest.split_once("</Code>"))
                .map_or("", |(code, _)| code);
            let without_message = !text.contains("<Message>");
            let message = without_message.then(|| ("Message", message(code).to_owned()));
            let members = message.into_iter().chain(info.members(code, headers));
            let mut members: Vec<_> = members.collect();
            members.push(("RequestId", id.to_owned()));
            members.push(("HostId", host.clone()));
            let mut added = String::new();
            for (name, value) in members {
                let value = quick_xml::escape::escape(&value);
                added.push_str(&format!("<{name}>{value}</{name}>"));
            }
            text.replacen("</Error>", &format!("{added}</Error>"), 1)
        })
        .await;
    }
    if info.attributes {
        // S3 writes this ETag, and no other, without quotes.
        return rewrite(response, |text, _| {
            let Some((before, rest)) = text.split_once("<ETag>") else {
                return text.to_owned();
            };
            let (etag, after) = rest.split_once("</ETag>").unwrap_or((rest, ""));
            let bare = etag.replace("&quot;", "").replace('"', "");
            format!("{before}<ETag>{bare}</ETag>{after}")
        })
        .await;
    }
    response
}

/// Rewrites an XML body.
async fn rewrite(
    response: Response<Body>,
    change: impl FnOnce(&str, &HeaderMap) -> String,
) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, MAX_REWRITTEN)
        .await
        .unwrap_or_default();
    let bytes = match std::str::from_utf8(&bytes) {
        Ok(text) if !text.is_empty() => Bytes::from(change(text, &parts.headers)),
        _ => bytes,
    };
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(method: Method, uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    async fn error(code: &str, parts: &Parts) -> String {
        let error = s3s::S3Error::with_message(
            s3s::S3ErrorCode::from_bytes(code.as_bytes()).unwrap(),
            "why",
        );
        let result = error.to_http_response().map_err(Into::into);
        let response = complete(result, &RequestInfo::of(parts)).await;
        let id = response.headers()["x-amz-request-id"].to_str().unwrap();
        let host = response.headers()["x-amz-id-2"].to_str().unwrap();
        let ids = format!("<RequestId>{id}</RequestId><HostId>{host}</HostId></Error>");
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await;
        let text = String::from_utf8(bytes.unwrap().to_vec()).unwrap();
        let (text, ours) = text.split_once("<RequestId>").unwrap();
        assert_eq!(format!("<RequestId>{ours}"), ids);
        text.split_once("</Message>").unwrap().1.to_owned()
    }

    #[tokio::test]
    async fn every_error_has_a_message() {
        let put = parts(Method::PUT, "/b/k", &[("host", "localhost")]);
        for (code, part) in [
            ("MalformedXML", "not well-formed"),
            ("InvalidURI", "<URI>/b/k</URI>"),
            (
                "KeyTooLongError",
                "<Size>1</Size><MaxSizeAllowed>1024</MaxSizeAllowed>",
            ),
        ] {
            let error = s3s::S3Error::new(s3s::S3ErrorCode::from_bytes(code.as_bytes()).unwrap());
            let result = error.to_http_response().map_err(Into::into);
            let response = complete(result, &RequestInfo::of(&put)).await;
            let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await;
            let text = String::from_utf8(bytes.unwrap().to_vec()).unwrap();
            assert_eq!(text.matches("<Message>").count(), 1, "{text}");
            assert!(text.contains(part), "{text}");
            assert!(
                text.contains("<BucketName>b</BucketName><Key>k</Key>"),
                "{text}"
            );
        }
    }

    #[tokio::test]
    async fn errors_name_their_subject() {
        let get = parts(
            Method::GET,
            "/b/a%20%26b?versionId=3",
            &[("host", "localhost")],
        );
        assert_eq!(error("NoSuchKey", &get).await, "<Key>a &amp;b</Key>");
        assert_eq!(
            error("NoSuchVersion", &get).await,
            "<Key>a &amp;b</Key><VersionId>3</VersionId>"
        );
        assert_eq!(
            error("NoSuchBucket", &get).await,
            "<BucketName>b</BucketName>"
        );
        assert_eq!(error("SlowDown", &get).await, "");
        let hosted = parts(Method::GET, "/x/y", &[("host", "b.localhost:1")]);
        assert_eq!(error("NoSuchKey", &hosted).await, "<Key>x/y</Key>");
        let copy = [
            ("host", "localhost"),
            ("x-amz-copy-source", "s/k%2Bl?versionId=1"),
        ];
        let copy = parts(Method::PUT, "/b/c", &copy);
        assert_eq!(error("NoSuchKey", &copy).await, "<Key>k+l</Key>");
        let conditional = parts(Method::PUT, "/b/c", &[("if-none-match", "*")]);
        assert_eq!(
            error("PreconditionFailed", &conditional).await,
            "<Condition>If-None-Match</Condition>"
        );
    }
}
