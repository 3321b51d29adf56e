//! Authorizes registry requests by the token of `GetAuthorizationToken`, sent as Basic credentials.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use http::header::AUTHORIZATION;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::Cloud;
use crate::api::{ApiResult, NoInput};
use crate::clock;
use crate::credentials::Credentials;
use crate::store::Collection;

/// How long a token is valid, as in AWS.
const LIFETIME_SECONDS: f64 = 12.0 * 3600.0;

/// How long the URL of a layer is valid, as in AWS.
const DOWNLOAD_SECONDS: f64 = 3600.0;

/// The query parameter of a download token.
pub(super) const DOWNLOAD: &str = "X-Mlops-Download";

/// The expiry of each token, by the hex SHA-256 of the token.
fn tokens(cloud: &Cloud) -> Collection<'_, f64> {
    cloud.store().collection("ecr", "token")
}

fn key(token: &str) -> String {
    hex::encode(Sha256::digest(token))
}

/// Creates a random token. `proxyEndpoint` is the address of the registry.
pub(super) async fn get_authorization_token(cloud: &Cloud, _input: NoInput) -> ApiResult<Value> {
    let now = clock::epoch();
    for (key, end) in tokens(cloud).list("")? {
        if end < now {
            tokens(cloud).remove(&key)?;
        }
    }
    let token = format!(
        "{}{}",
        uuid::Uuid::new_v4().simple(),
        uuid::Uuid::new_v4().simple()
    );
    let expires = now + LIFETIME_SECONDS;
    tokens(cloud).put(&key(&token), &expires)?;
    Ok(json!({"authorizationData": [{
        "authorizationToken": STANDARD.encode(format!("AWS:{token}")),
        "expiresAt": expires,
        "proxyEndpoint": cloud.endpoint(),
    }]}))
}

/// The path that a download token permits.
#[derive(Serialize, Deserialize)]
struct Download {
    path: String,
    /// Seconds since the epoch.
    end: f64,
}

fn downloads(cloud: &Cloud) -> Collection<'_, Download> {
    cloud.store().collection("ecr", "download")
}

/// Creates a random token that permits reading one path.
pub(super) fn download_token(cloud: &Cloud, path: &str) -> ApiResult<String> {
    let now = clock::epoch();
    for (key, download) in downloads(cloud).list("")? {
        if download.end < now {
            downloads(cloud).remove(&key)?;
        }
    }
    let token = uuid::Uuid::new_v4().simple().to_string();
    let download = Download {
        path: path.to_owned(),
        end: now + DOWNLOAD_SECONDS,
    };
    downloads(cloud).put(&key(&token), &download)?;
    Ok(token)
}

/// True if the request has a download token for its path.
fn downloads_it(cloud: &Cloud, parts: &Parts) -> ApiResult<bool> {
    let token = url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
        .find(|(name, _)| name == DOWNLOAD)
        .map(|(_, token)| token.into_owned());
    let Some(token) = token.filter(|_| matches!(parts.method, Method::GET | Method::HEAD)) else {
        return Ok(false);
    };
    Ok(downloads(cloud)
        .get(&key(&token))?
        .is_some_and(|found| found.path == parts.uri.path() && found.end > clock::epoch()))
}

/// True if the request has a valid token: any password of the user `AWS` where any credentials are
/// accepted, otherwise one that [`get_authorization_token`] created; or a download token.
pub(super) fn admits(cloud: &Cloud, parts: &Parts) -> ApiResult<bool> {
    let password = parts
        .headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
        .and_then(|(_, encoded)| STANDARD.decode(encoded.trim()).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| text.strip_prefix("AWS:").map(str::to_owned))
        .filter(|password| !password.is_empty());
    let Some(password) = password else {
        return downloads_it(cloud, parts);
    };
    Ok(match cloud.credentials() {
        Credentials::Any => true,
        Credentials::Required { .. } => tokens(cloud)
            .get(&key(&password))?
            .is_some_and(|end| end > clock::epoch()),
    })
}
