//! The sessions of roles: their records, and the one that a request belongs to.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api::ApiResult;
use crate::cloud::ACCOUNT;
use crate::cloud::service::SessionCredentials;
use crate::iam::AssumedRole;
use crate::store::Collection;
use crate::{Cloud, admission};

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

/// The session that the current request belongs to; `None` for the user.
pub(super) fn caller(cloud: &Cloud) -> ApiResult<Option<Session>> {
    match admission::caller() {
        Some(access_key) => find(cloud, &access_key),
        None => Ok(None),
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

/// The credentials of the session with this access key.
pub(super) fn credentials(
    cloud: &Cloud,
    access_key: &str,
) -> ApiResult<Option<SessionCredentials>> {
    Ok(find(cloud, access_key)?.map(|session| SessionCredentials {
        secret_key: session.secret_key,
        token: session.token,
        expires: session.expires,
    }))
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
            .ok_or_else(|| super::invalid("DurationSeconds must be an integer of at least 900"))?,
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
