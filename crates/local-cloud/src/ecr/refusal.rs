//! Common parts of the registry's requests and responses.

use axum::body::Body;
use http::Response;
use http::request::Parts;
use http::response::Builder;

use super::digest::sha256_of;
use crate::api::ApiError;

/// An error response of the registry.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) message: String,
    /// Of an upload: the number of bytes received, and its id.
    pub(super) at: Option<(u64, String)>,
}

/// The result of one request.
pub(super) type Registered<T> = Result<T, Refusal>;

impl Refusal {
    pub(super) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            at: None,
        }
    }

    /// Adds the progress of an upload, so that its client can resume there.
    pub(super) fn at(self, received: u64, id: &str) -> Self {
        Self {
            at: Some((received, id.to_owned())),
            ..self
        }
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        let (status, code) = match error.code.as_str() {
            _ if error.is_denied() => (403, "DENIED"),
            "RepositoryNotFoundException" => (404, "NAME_UNKNOWN"),
            "ImageNotFoundException" => (404, "MANIFEST_UNKNOWN"),
            "LayersNotFoundException" | "ReferencedImagesNotFoundException" => {
                (400, "MANIFEST_BLOB_UNKNOWN")
            }
            "ImageTagAlreadyExistsException" => (400, "TAG_INVALID"),
            "InvalidParameterException" => (400, "MANIFEST_INVALID"),
            "ImageReferencedByManifestList" => (405, "UNSUPPORTED"),
            _ => (500, "UNKNOWN"),
        };
        Self::new(status, code, error.message)
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code, refusal.message).status(refusal.status)
    }
}

/// Builds a response. All header values are validated names and digests.
pub(super) fn send(builder: Builder, body: Body) -> Response<Body> {
    builder.body(body).unwrap_or_else(|_| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

/// The text of a header of a request.
pub(super) fn header<'a>(parts: &'a Parts, name: &http::HeaderName) -> Option<&'a str> {
    parts
        .headers
        .get(name)
        .and_then(|value| value.to_str().ok())
}

/// The hex part of a digest in a request.
pub(super) fn sha256(digest: &str) -> Registered<&str> {
    sha256_of(digest).ok_or_else(|| {
        Refusal::new(
            400,
            "DIGEST_INVALID",
            "expected `sha256:` and 64 hexadecimal digits",
        )
    })
}
