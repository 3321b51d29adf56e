//! Authorizes registry requests by the token of `GetAuthorizationToken`, sent as Basic credentials.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use http::header::AUTHORIZATION;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::api::{ApiResult, NoInput};
use crate::cloud::caller::Caller;
use crate::credentials::Credentials;
use crate::store::Collection;
use crate::{Cloud, admission, clock};

/// How long a token is valid, as in AWS.
const LIFETIME_SECONDS: f64 = 12.0 * 3600.0;

/// How long the URL of a layer is valid, as in AWS.
const DOWNLOAD_SECONDS: f64 = 3600.0;

/// The query parameter of a download token.
pub(super) const DOWNLOAD: &str = "X-Mlops-Download";

/// A token of [`get_authorization_token`].
#[derive(Serialize, Deserialize)]
struct Token {
    /// Seconds since the epoch.
    end: f64,
    /// The access key of the session that requested it; its permissions are those of the token.
    session: Option<String>,
}

/// The tokens, by the hex SHA-256 of each.
fn tokens(cloud: &Cloud) -> Collection<'_, Token> {
    cloud.store().collection("ecr", "registry-token")
}

fn key(token: &str) -> String {
    hex::encode(Sha256::digest(token))
}

/// Creates a random token. `proxyEndpoint` is the address of the registry.
pub(super) async fn get_authorization_token(cloud: &Cloud, _input: NoInput) -> ApiResult<Value> {
    let now = clock::epoch();
    for (key, token) in tokens(cloud).list("")? {
        if token.end < now {
            tokens(cloud).remove(&key)?;
        }
    }
    let caller = Caller::current();
    let session = caller.session().map(|session| session.access_key.clone());
    let token = format!(
        "{}{}",
        uuid::Uuid::new_v4().simple(),
        uuid::Uuid::new_v4().simple()
    );
    let expires = now + LIFETIME_SECONDS;
    let end = expires;
    tokens(cloud).put(&key(&token), &Token { end, session })?;
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

/// The caller of a request with a valid token: one that [`get_authorization_token`] created, or any password of
/// the user `AWS` where any credentials are accepted; or a download token. `None` without one.
pub(super) fn caller(cloud: &Cloud, parts: &Parts) -> ApiResult<Option<Caller>> {
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
        // Whoever got the URL was allowed to download the layer.
        let is_permitted = downloads_it(cloud, parts)?;
        return Ok(is_permitted.then_some(Caller::LocalCloud));
    };
    match tokens(cloud).get(&key(&password))? {
        Some(token) if token.end <= clock::epoch() => Ok(None),
        Some(Token { session: None, .. }) => Ok(Some(Caller::Root)),
        Some(Token {
            session: Some(access_key),
            ..
        }) => match admission::caller_of(cloud, &access_key) {
            Ok(caller) => Ok(Some(caller)),
            // The session has ended.
            Err(error) if error.status < 500 => Ok(None),
            Err(error) => Err(error),
        },
        None => Ok(match cloud.credentials() {
            Credentials::Any => Some(Caller::Root),
            Credentials::Required { .. } => None,
        }),
    }
}
