//! The sessions of roles: their records, and the one that a request belongs to.

use http::request::Parts;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Cloud;
use crate::admission::Scope;
use crate::api::{ApiError, ApiResult};
use crate::cloud::ACCOUNT;
use crate::iam::AssumedRole;
use crate::store::Collection;

/// How the access keys of sessions begin, as in AWS.
const PREFIX: &str = "ASIA";

/// A session of a role.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Session {
    access_key: String,
    secret_key: String,
    token: String,
    /// The ARN of its role.
    pub(super) role: String,
    pub(super) arn: String,
    pub(super) user_id: String,
    /// Seconds since the epoch.
    expires: i64,
}

impl Session {
    /// The members that the responses of operations which create a session have in common.
    pub(super) fn answer(&self) -> Value {
        let expires = jiff::Timestamp::from_second(self.expires).unwrap_or_default();
        json!({
            "Credentials": {
                "AccessKeyId": self.access_key,
                "SecretAccessKey": self.secret_key,
                "SessionToken": self.token,
                "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            },
            "AssumedRoleUser": {"AssumedRoleId": self.user_id, "Arn": self.arn},
        })
    }

    fn has_expired(&self) -> bool {
        self.expires <= jiff::Timestamp::now().as_second()
    }
}

tokio::task_local! {
    static CALLER: String;
}

/// Runs an operation for the owner of an access key.
pub(crate) async fn as_caller<R>(access_key: &str, operation: impl Future<Output = R>) -> R {
    CALLER.scope(access_key.to_owned(), operation).await
}

/// The session that the current request belongs to; `None` for the user.
pub(super) fn caller(cloud: &Cloud) -> ApiResult<Option<Session>> {
    match CALLER.try_with(String::clone) {
        Ok(access_key) => find(cloud, &access_key),
        Err(_) => Ok(None),
    }
}

/// Every session that has not been forgotten, under its access key.
fn all(cloud: &Cloud) -> Collection<'_, Session> {
    cloud.store().collection("sts", "session")
}

fn find(cloud: &Cloud, access_key: &str) -> ApiResult<Option<Session>> {
    if access_key.starts_with(PREFIX) {
        all(cloud).get(access_key)
    } else {
        Ok(None)
    }
}

/// The secret key of a session that is still valid.
pub(crate) fn secret_key(cloud: &Cloud, access_key: &str) -> ApiResult<Option<String>> {
    Ok(find(cloud, access_key)?
        .filter(|session| !session.has_expired())
        .map(|session| session.secret_key))
}

/// Refuses a request with the access key of a session that has expired, or without its token.
pub(crate) fn admit(cloud: &Cloud, scope: &Scope, parts: &Parts) -> ApiResult<()> {
    let header = parts.headers.get("x-amz-security-token");
    let query = || {
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        url::form_urlencoded::parse(query)
            .find(|(name, _)| name.eq_ignore_ascii_case("x-amz-security-token"))
            .map(|(_, value)| value.into_owned())
    };
    let sent = match header {
        Some(value) => value.to_str().ok().map(str::to_owned),
        None => query(),
    };
    admit_token(cloud, &scope.access_key, sent.as_deref())
}

/// Like [`admit`], for a request that has its token elsewhere.
pub(crate) fn admit_token(cloud: &Cloud, access_key: &str, token: Option<&str>) -> ApiResult<()> {
    let Some(session) = find(cloud, access_key)? else {
        return Ok(());
    };
    if session.has_expired() {
        let message = "The security token included in the request is expired";
        return Err(ApiError::new("ExpiredToken", message));
    }
    if token == Some(session.token.as_str()) {
        return Ok(());
    }
    let message = "The security token included in the request is invalid.";
    Err(ApiError::new("InvalidClientTokenId", message).status(403))
}

/// Makes a session of a role and forgets those that have expired.
pub(super) fn create(
    cloud: &Cloud,
    role: &AssumedRole,
    name: &str,
    duration: Option<&str>,
) -> ApiResult<Session> {
    let fits = |sign: char| sign.is_ascii_alphanumeric() || "_+=,.@-".contains(sign);
    if !(2..=64).contains(&name.len()) || !name.chars().all(fits) {
        return Err(super::invalid(format!(
            "1 validation error detected: Value '{name}' at 'roleSessionName' failed to satisfy \
             constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]*, and have 2 to \
             64 characters"
        )));
    }
    let seconds = match duration {
        None => 3600,
        Some(text) => text
            .parse()
            .ok()
            .filter(|seconds| *seconds >= 900)
            .ok_or_else(|| super::invalid("DurationSeconds is a whole number of at least 900"))?,
    };
    if seconds > role.max_session {
        return Err(super::invalid(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        ));
    }
    for (key, session) in all(cloud).list(PREFIX)? {
        if session.has_expired() {
            all(cloud).remove(&key)?;
        }
    }
    let random = || uuid::Uuid::new_v4().simple().to_string();
    let access_key = format!("{PREFIX}{}", &random()[..16].to_uppercase());
    let session = Session {
        secret_key: format!("{}{}", random(), &random()[..8]),
        token: format!("{}{}", random(), random()),
        role: role.arn.clone(),
        arn: format!("arn:aws:sts::{ACCOUNT}:assumed-role/{}/{name}", role.name),
        user_id: format!("{}:{name}", role.id),
        expires: jiff::Timestamp::now().as_second() + seconds,
        access_key: access_key.clone(),
    };
    all(cloud).put(&access_key, &session)?;
    Ok(session)
}

/// A session with the access key `ASIA` and a name, the secret key `secret` and the token `token`, for
/// tests.
#[cfg(test)]
pub(crate) fn session(cloud: &Cloud, name: &str, seconds: i64) -> String {
    let access_key = format!("{PREFIX}{name}");
    let session = Session {
        access_key: access_key.clone(),
        secret_key: "secret".to_owned(),
        token: "token".to_owned(),
        role: format!("arn:aws:iam::{ACCOUNT}:role/r"),
        arn: format!("arn:aws:sts::{ACCOUNT}:assumed-role/r/{name}"),
        user_id: format!("AROA:{name}"),
        expires: jiff::Timestamp::now().as_second() + seconds,
    };
    all(cloud)
        .put(&access_key, &session)
        .expect("a session in a new cloud");
    access_key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_admitted_with_its_token_until_it_expires() {
        let at = tempfile::tempdir().unwrap();
        let cloud = Cloud::in_directory(at.path());
        let valid = session(&cloud, "VALID", 900);
        let expired = session(&cloud, "EXPIRED", -1);
        let refusal = |key: &str, token| {
            admit_token(&cloud, key, token)
                .err()
                .map(|error| error.code)
        };
        assert_eq!(refusal(&valid, Some("token")), None);
        for token in [None, Some(""), Some("another")] {
            let code = refusal(&valid, token);
            assert_eq!(code.as_deref(), Some("InvalidClientTokenId"), "{token:?}");
        }
        let code = refusal(&expired, Some("token"));
        assert_eq!(code.as_deref(), Some("ExpiredToken"));
        // Keys that are no session's are for others to judge.
        assert_eq!(refusal("AKIDEXAMPLE", None), None);
        assert_eq!(
            secret_key(&cloud, &valid).unwrap().as_deref(),
            Some("secret")
        );
        assert_eq!(secret_key(&cloud, &expired).unwrap(), None);
    }
}
