//! Who may use the registry: the token of `GetAuthorizationToken`, sent back as Basic.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::local::Cloud;
use crate::local::api::ApiResult;
use crate::local::clock;
use crate::local::door::Credentials;
use crate::local::store::Collection;

/// How long a token is good for, as in AWS.
const LIFETIME_SECONDS: f64 = 12.0 * 3600.0;

/// When each token ends, by the hex SHA-256 of the token.
fn tokens(cloud: &Cloud) -> Collection<'_, f64> {
    cloud.store().collection("ecr", "token")
}

fn key(token: &str) -> String {
    hex::encode(Sha256::digest(token))
}

/// Makes a random token. `proxyEndpoint` is where the registry answers.
pub(super) async fn get_authorization_token(cloud: &Cloud, _input: Value) -> ApiResult<Value> {
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

/// True when the request carries a token that is good: any password of the user `AWS` where any
/// credentials pass, else one that [`get_authorization_token`] made.
pub(super) fn admits(cloud: &Cloud, headers: &HeaderMap) -> ApiResult<bool> {
    let password = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
        .and_then(|(_, encoded)| STANDARD.decode(encoded.trim()).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| text.strip_prefix("AWS:").map(str::to_owned))
        .filter(|password| !password.is_empty());
    let Some(password) = password else {
        return Ok(false);
    };
    Ok(match cloud.credentials() {
        Credentials::Any => true,
        Credentials::Required { .. } => tokens(cloud)
            .get(&key(&password))?
            .is_some_and(|end| end > clock::epoch()),
    })
}
