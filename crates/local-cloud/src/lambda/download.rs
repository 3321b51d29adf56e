//! `Code.Location` of `GetFunction`: a URL that downloads a function's zip.
//!
//! As in AWS the URL is its own permission: whoever has it can read the zip for ten minutes. It carries
//! a MAC made with a key of this server, over the zip and the time.

use axum::body::Body;
use hmac::{Hmac, KeyInit, Mac};
use http::request::Parts;
use http::{Response, StatusCode, header};
use sha2::Sha256;

use crate::api::{ApiError, ApiResult};
use crate::{Cloud, clock};

/// The path before the zip's SHA-256.
pub(crate) const PATH: &str = "/_mlops/functions/";

/// How long a URL can be used, in seconds (Lambda API reference: 10 minutes).
const LIFETIME: i64 = 600;

/// A key that no other server has.
struct Key([u8; 32]);

impl Default for Key {
    fn default() -> Self {
        let mut key = [0; 32];
        key[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        key[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        Self(key)
    }
}

/// The URL of a kept zip.
pub(super) fn location(cloud: &Cloud, sha256: &str) -> String {
    let expires = clock::now().as_second() + LIFETIME;
    format!(
        "{}{PATH}{sha256}?Expires={expires}&Signature={}",
        cloud.endpoint(),
        hex::encode(mac(cloud.state(), sha256, expires).finalize().into_bytes())
    )
}

fn mac(key: &Key, sha256: &str, expires: i64) -> Hmac<Sha256> {
    let mut mac =
        <Hmac<Sha256> as KeyInit>::new_from_slice(&key.0).expect("HMAC takes a key of any length");
    mac.update(format!("{sha256} {expires}").as_bytes());
    mac
}

/// The zip that a URL names; `AccessDenied` for a URL that this server did not make or that is old.
fn permitted<'a>(key: &Key, parts: &'a Parts, now: i64) -> ApiResult<&'a str> {
    let denied = |message: &str| ApiError::new("AccessDenied", message).status(403);
    let sha256 = parts.uri.path().strip_prefix(PATH).unwrap_or_default();
    let query = parts.uri.query().unwrap_or_default().as_bytes();
    let member = |name: &str| {
        url::form_urlencoded::parse(query)
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default()
    };
    let expires: i64 = member("Expires").parse().unwrap_or_default();
    let signature = hex::decode(member("Signature")).unwrap_or_default();
    mac(key, sha256, expires)
        .verify_slice(&signature)
        .map_err(|_| denied("this server did not make this URL"))?;
    if expires < now {
        return Err(denied("Request has expired"));
    }
    Ok(sha256)
}

/// Serves a URL that [`location`] made.
pub(crate) async fn handle(cloud: &Cloud, parts: &Parts) -> Response<Body> {
    let zip: ApiResult<_> = async {
        let sha256 = permitted(cloud.state(), parts, clock::now().as_second())?;
        let (blobs, sha256) = (cloud.blobs().clone(), sha256.to_owned());
        let bytes = tokio::task::spawn_blocking(move || blobs.read(&sha256));
        bytes
            .await
            .map_err(ApiError::internal)?
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => ApiError::not_found(
                    "NoSuchKey",
                    "the function's code was replaced since: call GetFunction again",
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(path: &str) -> Parts {
        let request = http::Request::builder().uri(path).body(());
        request.unwrap().into_parts().0
    }

    fn url(sha256: &str, expires: i64, signature: &[u8]) -> Parts {
        let signature = hex::encode(signature);
        parts(&format!(
            "{PATH}{sha256}?Expires={expires}&Signature={signature}"
        ))
    }

    #[test]
    fn issue_8_3_4_only_our_own_fresh_urls_download_a_zip() {
        let key = Key::default();
        let signature = mac(&key, "abc", 1000).finalize().into_bytes();
        assert_eq!(
            permitted(&key, &url("abc", 1000, &signature), 1000).unwrap(),
            "abc"
        );
        for (refused, now) in [
            (url("abc", 1000, &signature), 1001),
            (url("abd", 1000, &signature), 1000),
            (url("abc", 2000, &signature), 1000),
            (url("abc", 1000, b""), 1000),
            (parts(PATH), 0),
        ] {
            assert_eq!(
                permitted(&key, &refused, now).unwrap_err().code,
                "AccessDenied"
            );
        }
    }
}
