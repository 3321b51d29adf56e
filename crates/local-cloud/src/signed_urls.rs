//! URLs that are their own permission, as S3's presigned URLs are: whoever has one can use it until it
//! expires. They carry a MAC over path and time, made with a key of this server.

use hmac::{Hmac, KeyInit, Mac};
use http::header;
use http::request::Parts;
use sha2::Sha256;

use crate::api::{ApiError, ApiResult};
use crate::{Cloud, clock, s3};

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

/// True for a request to a path below `prefix`, unless its host names a bucket: then the path is the key
/// of an object.
pub(crate) fn is_below(parts: &Parts, prefix: &str) -> bool {
    let header = parts.headers.get(header::HOST);
    let host = header
        .and_then(|host| host.to_str().ok())
        .or_else(|| Some(parts.uri.authority()?.as_str()));
    parts.uri.path().starts_with(prefix) && host.and_then(s3::bucket_of_host).is_none()
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

    #[test]
    fn objects_of_virtual_hosted_buckets_are_not_signed_urls() {
        for (host, path, expected) in [
            ("localhost:4566", "/a/b", true),
            ("127.0.0.1:4566", "/a/b", true),
            ("localhost:4566", "/b/a/b", false),
            ("bucket.localhost:4566", "/a/b", false),
            ("bucket.s3.us-east-1.amazonaws.com", "/a/b", false),
        ] {
            let mut with_header = parts(path);
            let value = http::HeaderValue::from_static(host);
            with_header.headers.insert(header::HOST, value);
            assert_eq!(is_below(&with_header, "/a/"), expected, "{host}{path}");
            let with_authority = parts(&format!("http://{host}{path}"));
            assert_eq!(is_below(&with_authority, "/a/"), expected, "{host}{path}");
        }
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
