//! `Code.Location` of `GetFunction`: a URL that downloads a function's zip.
//!
//! As in AWS, anyone who has the URL can download the zip for ten minutes.

use axum::body::Body;
use http::request::Parts;
use http::{Response, StatusCode, header};

use crate::api::{ApiError, ApiResult};
use crate::{Cloud, signed_urls};

/// The path before the zip's SHA-256.
pub(crate) const PATH: &str = "/_mlops/functions/";

/// How long a URL can be used, in seconds (Lambda API reference: 10 minutes).
const LIFETIME: i64 = 600;

/// The URL of a stored zip.
pub(super) fn location(cloud: &Cloud, sha256: &str) -> String {
    signed_urls::sign(cloud, &format!("{PATH}{sha256}"), LIFETIME)
}

/// Serves a URL of [`location`].
pub(crate) async fn handle(cloud: &Cloud, parts: &Parts) -> Response<Body> {
    let zip: ApiResult<_> = async {
        signed_urls::check(cloud, parts)?;
        let sha256 = parts.uri.path().strip_prefix(PATH).unwrap_or_default();
        let (blobs, sha256) = (cloud.blobs().clone(), sha256.to_owned());
        let bytes = tokio::task::spawn_blocking(move || blobs.read(&sha256));
        bytes
            .await
            .map_err(ApiError::internal)?
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => ApiError::not_found(
                    "NoSuchKey",
                    "the function's code has been replaced: call GetFunction again",
                )
                .status(404),
                _ => error.into(),
            })
    }
    .await;
    let (status, kind, body) = match zip {
        Ok(bytes) => (200, "application/zip", Body::from(bytes)),
        Err(error) => (error.status, "text/plain", Body::from(error.to_string())),
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}
