//! URLs that are their own permission, as S3's presigned URLs are: whoever has one can use it until it
//! expires. They carry a MAC over path and time, made with a key of this server.

use hmac::{Hmac, KeyInit, Mac};
use http::request::Parts;
use sha2::Sha256;

use crate::api::{ApiError, ApiResult};
use crate::{Cloud, clock};

/// A key that no other server has.
#[derive(Debug)]
struct Key([u8; 32]);

impl Default for Key {
    fn default() -> Self {
        let mut key = [0; 32];
        key[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        key[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        Self(key)
    }
}

fn mac(key: &Key, path: &str, expires: i64) -> Hmac<Sha256> {
    let mut mac =
        <Hmac<Sha256> as KeyInit>::new_from_slice(&key.0).expect("HMAC takes a key of any length");
    mac.update(format!("{path} {expires}").as_bytes());
    mac
}

/// Returns a URL for this path, valid for `lifetime` seconds.
pub(crate) fn sign(cloud: &Cloud, path: &str, lifetime: i64) -> String {
    let expires = clock::now().as_second() + lifetime;
    let signature = mac(cloud.state(), path, expires).finalize().into_bytes();
    format!(
        "{}{path}?Expires={expires}&Signature={}",
        cloud.endpoint(),
        hex::encode(signature)
    )
}

/// `AccessDenied` for a URL that this server did not issue or that has expired.
pub(crate) fn check(cloud: &Cloud, parts: &Parts) -> ApiResult<()> {
    permitted(cloud.state(), parts, clock::now().as_second())
}

fn permitted(key: &Key, parts: &Parts, now: i64) -> ApiResult<()> {
    let denied = |message: &str| ApiError::new("AccessDenied", message).status(403);
    let query = parts.uri.query().unwrap_or_default().as_bytes();
    let member = |name: &str| {
        url::form_urlencoded::parse(query)
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default()
    };
    let expires: i64 = member("Expires").parse().unwrap_or_default();
    let signature = hex::decode(member("Signature")).unwrap_or_default();
    mac(key, parts.uri.path(), expires)
        .verify_slice(&signature)
        .map_err(|_| denied("this URL was not issued by this server"))?;
    if expires < now {
        return Err(denied("Request has expired"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(path: &str) -> Parts {
        let request = http::Request::builder().uri(path).body(());
        request.unwrap().into_parts().0
    }

    fn url(path: &str, expires: i64, signature: &[u8]) -> Parts {
        let signature = hex::encode(signature);
        parts(&format!("{path}?Expires={expires}&Signature={signature}"))
    }

    #[test]
    fn issue_8_3_4_only_our_own_fresh_urls_are_permitted() {
        let key = Key::default();
        let signature = mac(&key, "/a/abc", 1000).finalize().into_bytes();
        assert_eq!(
            permitted(&key, &url("/a/abc", 1000, &signature), 1000),
            Ok(())
        );
        for (refused, now) in [
            (url("/a/abc", 1000, &signature), 1001),
            (url("/a/abd", 1000, &signature), 1000),
            (url("/b/abc", 1000, &signature), 1000),
            (url("/a/abc", 2000, &signature), 1000),
            (url("/a/abc", 1000, b""), 1000),
            (parts("/a/abc"), 0),
        ] {
            assert_eq!(
                permitted(&key, &refused, now).unwrap_err().code,
                "AccessDenied"
            );
        }
    }
}
