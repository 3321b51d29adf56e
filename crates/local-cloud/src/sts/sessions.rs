//! Sessions: those that clients request are records; those of programs that the local cloud runs are kept in
//! memory, and end with the program.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::cloud::ACCOUNT;
use crate::cloud::caller::{Caller, RoleSession};
use crate::cloud::service::SessionCredentials;
use crate::iam::{self, AssumedRole};
use crate::store::Collection;

/// How the access keys of sessions begin, as in AWS.
const PREFIX: &str = "ASIA";

/// How long an expired session is remembered, in seconds: until then a client is told that it has expired.
const REMEMBERED: i64 = 7 * 86_400;

/// The credentials of a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Session {
    access_key: String,
    secret_key: String,
    token: String,
    /// Seconds since the epoch.
    expires: i64,
    /// The session of a role; `None` for one of the account's own credentials.
    role: Option<RoleSession>,
}

impl Session {
    fn new(seconds: i64) -> Self {
        let random = || uuid::Uuid::new_v4().simple().to_string();
        Self {
            access_key: format!("{PREFIX}{}", random()[..16].to_uppercase()),
            secret_key: format!("{}{}", random(), &random()[..8]),
            token: format!("{}{}", random(), random()),
            expires: jiff::Timestamp::now().as_second().saturating_add(seconds),
            role: None,
        }
    }

    /// `Credentials` of a response.
    pub(super) fn credentials(&self) -> Value {
        let expires = jiff::Timestamp::from_second(self.expires).unwrap_or_default();
        json!({
            "AccessKeyId": self.access_key,
            "SecretAccessKey": self.secret_key,
            "SessionToken": self.token,
            "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        })
    }

    /// The members that the responses of operations which assume a role have in common.
    pub(super) fn answer(&self) -> Value {
        let (id, arn) = self
            .role
            .as_ref()
            .map(|role| (&role.user_id, &role.arn))
            .unzip();
        json!({
            "Credentials": self.credentials(),
            "AssumedRoleUser": {"AssumedRoleId": id, "Arn": arn},
        })
    }

    fn caller(self) -> Caller {
        match self.role {
            Some(session) => Caller::Session(Arc::new(session)),
            None => Caller::Root,
        }
    }
}

/// The recorded sessions, under their access keys.
fn all(cloud: &Cloud) -> Collection<'_, Session> {
    cloud.store().collection("sts", "role-session")
}

/// The sessions of running programs, under their access keys.
#[derive(Debug, Default)]
struct Held(Mutex<HashMap<String, Session>>);

fn held(cloud: &Cloud) -> MutexGuard<'_, HashMap<String, Session>> {
    let held = &cloud.state::<Held>().0;
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The credentials of the session with this access key; `None` for a key that is not a session's.
pub(super) fn credentials(
    cloud: &Cloud,
    access_key: &str,
) -> ApiResult<Option<SessionCredentials>> {
    if !access_key.starts_with(PREFIX) {
        return Ok(None);
    }
    let running = held(cloud).get(access_key).cloned();
    let found = match running {
        Some(session) => Some(session),
        None => all(cloud).get(access_key)?,
    };
    let session = found.ok_or_else(|| {
        let message = "The security token included in the request is invalid.";
        ApiError::new("InvalidClientTokenId", message).status(403)
    })?;
    Ok(Some(SessionCredentials {
        secret_key: session.secret_key.clone(),
        token: session.token.clone(),
        expires: session.expires,
        caller: session.caller(),
    }))
}

/// What limits and describes a new session of a role.
#[derive(Debug, Default)]
pub(super) struct Limits {
    pub(super) policies: Vec<String>,
    pub(super) policy_arns: Vec<String>,
    pub(super) tags: BTreeMap<String, String>,
}

fn of_role(session: &Session, role: &AssumedRole, name: &str, limits: Limits) -> RoleSession {
    RoleSession {
        access_key: session.access_key.clone(),
        arn: format!("arn:aws:sts::{ACCOUNT}:assumed-role/{}/{name}", role.name),
        user_id: format!("{}:{name}", role.id),
        role: role.arn.clone(),
        role_id: role.id.clone(),
        policies: limits.policies,
        policy_arns: limits.policy_arns,
        tags: limits.tags,
        issued: jiff::Timestamp::now().as_second(),
    }
}

/// The duration of a session in a request.
fn seconds(duration: Option<&str>, default: i64) -> ApiResult<i64> {
    let Some(text) = duration else {
        return Ok(default);
    };
    let seconds = text.parse().ok().filter(|seconds| *seconds >= 900);
    seconds.ok_or_else(|| super::invalid("DurationSeconds must be an integer of at least 900"))
}

fn record(cloud: &Cloud, session: &Session) -> ApiResult<()> {
    let old = jiff::Timestamp::now().as_second() - REMEMBERED;
    for (key, session) in all(cloud).list(PREFIX)? {
        if session.expires < old {
            all(cloud).remove(&key)?;
        }
    }
    all(cloud).put(&session.access_key, session)
}

/// Creates a session of a role, and forgets those that expired long ago.
pub(super) fn create(
    cloud: &Cloud,
    role: &AssumedRole,
    name: &str,
    duration: Option<&str>,
    limits: Limits,
) -> ApiResult<Session> {
    let fits = |sign: char| sign.is_ascii_alphanumeric() || "_+=,.@-".contains(sign);
    if !(2..=64).contains(&name.len()) || !name.chars().all(fits) {
        return Err(super::invalid(format!(
            "1 validation error detected: Value '{name}' at 'roleSessionName' failed to satisfy \
             constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]*, and have 2 to \
             64 characters"
        )));
    }
    let seconds = seconds(duration, 3600)?;
    if seconds > role.max_session {
        return Err(super::invalid(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        ));
    }
    let mut session = Session::new(seconds);
    session.role = Some(of_role(&session, role, name, limits));
    record(cloud, &session)?;
    Ok(session)
}

/// Creates a session of the account's own credentials.
pub(super) fn of_root(cloud: &Cloud, duration: Option<&str>) -> ApiResult<Session> {
    // AWS limits a session of the root user to one hour.
    let seconds = seconds(duration, 3600)?;
    if seconds > 3600 {
        return Err(super::invalid(
            "The requested DurationSeconds exceeds the maximum of 3600 seconds for sessions of the account's \
             own credentials.",
        ));
    }
    let session = Session::new(seconds);
    record(cloud, &session)?;
    Ok(session)
}

/// A session of a role that a service uses to run something: a job, a function, an endpoint, a pipeline
/// execution, a stack. It ends when it is dropped, and with the server.
#[derive(Debug)]
pub(crate) struct ServiceSession {
    cloud: Cloud,
    session: Session,
}

impl ServiceSession {
    /// The session as the caller of what is done with the role.
    pub(crate) fn caller(&self) -> Caller {
        self.session.clone().caller()
    }

    /// The environment variables with which the SDKs use the session. The session does not expire while it
    /// is held, so that a program needs no other credentials. (AWS renews them.)
    pub(crate) fn environment(&self) -> [(String, String); 3] {
        [
            ("AWS_ACCESS_KEY_ID", &self.session.access_key),
            ("AWS_SECRET_ACCESS_KEY", &self.session.secret_key),
            ("AWS_SESSION_TOKEN", &self.session.token),
        ]
        .map(|(name, value)| (name.to_owned(), value.clone()))
    }
}

impl Drop for ServiceSession {
    fn drop(&mut self) {
        held(&self.cloud).remove(&self.session.access_key);
    }
}

/// A session that `AssumeRole` returned to a service. It ends when it is dropped, before it expires.
#[derive(Debug)]
pub(crate) struct AssumedSession {
    cloud: Cloud,
    access_key: String,
}

impl AssumedSession {
    /// The session with this access key.
    pub(crate) fn new(cloud: &Cloud, access_key: &str) -> Self {
        Self {
            cloud: cloud.clone(),
            access_key: access_key.to_owned(),
        }
    }
}

impl Drop for AssumedSession {
    fn drop(&mut self) {
        // If the record stays, the session expires.
        let _ = all(&self.cloud).remove(&self.access_key);
    }
}

/// Creates a session with which `service` (such as `sagemaker.amazonaws.com`) uses a role; fails if the role
/// does not exist or does not trust the service.
pub(crate) fn for_service(
    cloud: &Cloud,
    role: &str,
    name: &str,
    service: &str,
) -> ApiResult<ServiceSession> {
    for_service_within(cloud, role, name, service, Vec::new())
}

/// The same with session policies, which limit what the role allows.
pub(crate) fn for_service_within(
    cloud: &Cloud,
    role: &str,
    name: &str,
    service: &str,
    policies: Vec<String>,
) -> ApiResult<ServiceSession> {
    let role = iam::usable(cloud, role, service)?;
    let limits = Limits {
        policies,
        ..Limits::default()
    };
    let mut session = Session::new(i64::from(u32::MAX));
    session.role = Some(of_role(&session, &role, name, limits));
    held(cloud).insert(session.access_key.clone(), session.clone());
    let cloud = cloud.clone();
    Ok(ServiceSession { cloud, session })
}

/// A session with the access key `ASIA` and a name, the secret key `secret` and the token `token`, for
/// tests.
#[cfg(test)]
pub(crate) fn session(cloud: &Cloud, name: &str, seconds: i64) -> String {
    let access_key = format!("{PREFIX}{name}");
    let role = AssumedRole {
        arn: format!("arn:aws:iam::{ACCOUNT}:role/r"),
        id: "AROA".to_owned(),
        name: "r".to_owned(),
        max_session: 3600,
    };
    let mut session = Session {
        access_key: access_key.clone(),
        secret_key: "secret".to_owned(),
        token: "token".to_owned(),
        ..Session::new(seconds)
    };
    session.role = Some(of_role(&session, &role, name, Limits::default()));
    record(cloud, &session).expect("a session in a new cloud");
    access_key
}
