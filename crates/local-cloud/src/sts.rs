//! STS: the identity of callers, and sessions of roles.
//!
//! `admission` looks up the access key of every request among the sessions and verifies its signature.
//! `authorization` evaluates what the session may do.

use base64::Engine as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::api::form::list as form_list;
use super::api::tags::Tags;
use super::api::{ApiError, ApiResult, NoInput};
use super::cloud::ACCOUNT;
use super::cloud::caller::Caller;
use super::cloud::service::{Service, operations};
use super::credentials::Credentials;
use super::iam::{self, Assumption};
use super::limits;
use super::policy::{Context, Missing, Principal};
use super::{Cloud, authorization};

mod direct;
mod sessions;

/// Maximum number of managed session policies; AWS's own limit.
const MAX_POLICIES: usize = 10;

/// Longest session, in seconds, that a session can request; AWS's own limit for role chaining.
const MAX_CHAINED: i64 = 3600;

/// Maximum number of session tags; AWS's own limit.
const MAX_TAGS: usize = 50;

pub use direct::{SessionKeys, role_session};
#[cfg(test)]
pub(crate) use sessions::session;
pub(crate) use sessions::{AssumedSession, ServiceSession, for_service, for_service_within};

use sessions::Limits;

operations! {
    "AssumeRole" => assume_role,
    "AssumeRoleWithWebIdentity" => assume_role_with_web_identity,
    "GetCallerIdentity" => get_caller_identity,
    "GetSessionToken" => get_session_token,
}

/// The service.
pub(crate) const SERVICE: Service = Service {
    unsigned_operations: &["AssumeRoleWithWebIdentity"],
    find_session: Some(sessions::credentials),
    authorize: Some(authorization::operation),
    routes: &[direct::ROUTE],
    ..Service::query(
        "sts",
        "STS",
        "https://sts.amazonaws.com/doc/2011-06-15/",
        &[OPERATIONS],
    )
};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CallerIdentity {
    user_id: String,
    account: &'static str,
    arn: String,
}

async fn get_caller_identity(_cloud: &Cloud, _input: NoInput) -> ApiResult<CallerIdentity> {
    let (user_id, arn) = identity();
    Ok(CallerIdentity {
        user_id,
        account: ACCOUNT,
        arn,
    })
}

/// The id and the ARN of the current caller.
pub(crate) fn identity() -> (String, String) {
    match Caller::current().session() {
        Some(session) => (session.user_id.clone(), session.arn.clone()),
        None => (USER_ID.to_owned(), user_arn()),
    }
}

/// The id of a caller without a session.
const USER_ID: &str = "AIDALOCALCLOUD000000";

/// The id of a caller: `ROLE-ID:SESSION`, the id of the account's user, or the name of a service.
pub(crate) fn caller_id(caller: &Caller) -> &str {
    match caller {
        Caller::Session(session) => &session.user_id,
        Caller::Service(service) => service.principal,
        Caller::Root | Caller::LocalCloud => USER_ID,
    }
}

/// The ARN of a caller without a session.
fn user_arn() -> String {
    format!("arn:aws:iam::{ACCOUNT}:user/local")
}

/// The ARN of a caller.
pub(crate) fn arn_of(caller: &Caller) -> String {
    match caller.session() {
        Some(session) => session.arn.clone(),
        None => user_arn(),
    }
}

/// A text that must be there.
fn required(given: Option<String>, member: &str) -> ApiResult<String> {
    given.ok_or_else(|| invalid(format!("the request has no {member}")))
}

/// The members of a request that are not read could narrow what a session may do. To ignore them would widen
/// it, so they are refused by name.
fn refuse(operation: &str, others: &Map<String, Value>) -> ApiResult<()> {
    match others.keys().next() {
        None => Ok(()),
        Some(name) => Err(ApiError::not_implemented(format_args!(
            "the member {name} of sts:{operation}"
        ))),
    }
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("ValidationError", message)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetSessionToken {
    duration_seconds: Option<String>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

async fn get_session_token(cloud: &Cloud, input: GetSessionToken) -> ApiResult<Value> {
    refuse("GetSessionToken", &input.others)?;
    if Caller::current().session().is_some() {
        let message = "Cannot call GetSessionToken with session credentials";
        return Err(ApiError::new("AccessDenied", message).status(403));
    }
    let session = sessions::of_root(cloud, input.duration_seconds.as_deref())?;
    Ok(json!({ "Credentials": session.credentials() }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AssumeRole {
    role_arn: Option<String>,
    role_session_name: Option<String>,
    duration_seconds: Option<String>,
    external_id: Option<String>,
    policy: Option<String>,
    #[serde(default, deserialize_with = "form_list")]
    policy_arns: Vec<PolicyArn>,
    #[serde(default)]
    tags: Tags,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// A managed policy that is a session policy.
#[derive(Debug, Deserialize)]
struct PolicyArn {
    arn: String,
}

/// Checks the session policies and session tags of a request.
fn limits(
    cloud: &Cloud,
    policy: Option<String>,
    arns: Vec<PolicyArn>,
    tags: Tags,
) -> ApiResult<Limits> {
    if arns.len() > MAX_POLICIES || tags.len() > MAX_TAGS {
        return Err(invalid(format!(
            "A session has at most {MAX_POLICIES} managed policies and {MAX_TAGS} tags"
        )));
    }
    let policy = policy.map(|text| iam::session_policy(&text)).transpose()?;
    let policy_arns: Vec<String> = arns.into_iter().map(|policy| policy.arn).collect();
    for arn in &policy_arns {
        iam::require_policy(cloud, arn)?;
    }
    let tags = tags.into_iter();
    Ok(Limits {
        policies: policy.into_iter().collect(),
        policy_arns,
        tags: tags
            .map(|tag| (tag.key, tag.value.unwrap_or_default()))
            .collect(),
    })
}

async fn assume_role(cloud: &Cloud, input: AssumeRole) -> ApiResult<Value> {
    let role = required(input.role_arn, "RoleArn")?;
    let name = required(input.role_session_name, "RoleSessionName")?;
    let (duration, external) = (input.duration_seconds, input.external_id);
    refuse("AssumeRole", &input.others)?;
    let limits = limits(cloud, input.policy, input.policy_arns, input.tags)?;
    let caller = Caller::current();
    let session = caller.session();
    if let Some(text) = duration.as_deref().filter(|_| session.is_some())
        && text
            .parse::<i64>()
            .is_ok_and(|seconds| seconds > MAX_CHAINED)
    {
        return Err(invalid(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining",
        ));
    }
    let caller_arn = session.map_or_else(user_arn, |session| session.arn.clone());
    let principal = match session {
        Some(it) => Principal::session(&it.arn, &it.role, &it.user_id, ACCOUNT, it.tags.clone()),
        None => Principal::user(&caller_arn, USER_ID, ACCOUNT),
    };
    let mut context = Context::incomplete(Missing::Unknown);
    match external {
        Some(id) => context.set("sts:ExternalId", id),
        None => context.set_absent("sts:ExternalId"),
    }
    context.set("sts:RoleSessionName", &name);
    for (key, value) in &limits.tags {
        context.set(&format!("aws:RequestTag/{key}"), value);
    }
    if !limits.tags.is_empty() {
        context.set_list("aws:TagKeys", limits.tags.keys().cloned().collect());
    }
    let assumable = |action: &'static str| {
        let wanted = Assumption {
            principal: principal.clone(),
            action,
            context: context.clone(),
        };
        let refused = || {
            let message = format!(
                "User: {caller_arn} is not authorized to perform: {action} on resource: {role}"
            );
            ApiError::new("AccessDenied", message).status(403)
        };
        iam::assumable(cloud, &role, &wanted)?.ok_or_else(refused)
    };
    let found = assumable("sts:AssumeRole")?;
    if !limits.tags.is_empty() {
        assumable("sts:TagSession")?;
    }
    let session = sessions::create(cloud, &found, &name, duration.as_deref(), limits)?;
    Ok(session.answer())
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AssumeRoleWithWebIdentity {
    role_arn: Option<String>,
    role_session_name: Option<String>,
    duration_seconds: Option<String>,
    web_identity_token: Option<String>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// Assumes a role with a web identity token. AWS verifies the token with the keys of its issuer, which cannot
/// be reached from here: the claims are checked, the signature is not. A server that requires credentials
/// refuses the operation.
async fn assume_role_with_web_identity(
    cloud: &Cloud,
    input: AssumeRoleWithWebIdentity,
) -> ApiResult<Value> {
    let role = required(input.role_arn, "RoleArn")?;
    let name = required(input.role_session_name, "RoleSessionName")?;
    let token = required(input.web_identity_token, "WebIdentityToken")?;
    let duration = input.duration_seconds;
    refuse("AssumeRoleWithWebIdentity", &input.others)?;
    if matches!(cloud.credentials(), Credentials::Required { .. }) {
        return Err(ApiError::not_implemented(
            "AssumeRoleWithWebIdentity where credentials are required: the signatures of web \
             identity tokens are not verified",
        ));
    }
    let claims = claims(&token)?;
    let mut context = Context::incomplete(Missing::Unknown);
    context.set(&format!("{}:sub", claims.provider), &claims.subject);
    context.set(&format!("{}:aud", claims.provider), &claims.audience);
    let provider = &claims.provider;
    let wanted = Assumption {
        principal: Principal::federated(
            &format!("arn:aws:iam::{ACCOUNT}:oidc-provider/{provider}"),
            ACCOUNT,
        ),
        action: "sts:AssumeRoleWithWebIdentity",
        context,
    };
    let refused = || {
        let message = "Not authorized to perform sts:AssumeRoleWithWebIdentity";
        ApiError::new("AccessDenied", message).status(403)
    };
    let role = iam::assumable(cloud, &role, &wanted)?.ok_or_else(refused)?;
    let mut answer = {
        let duration = duration.as_deref();
        sessions::create(cloud, &role, &name, duration, Limits::default())?.answer()
    };
    answer["SubjectFromWebIdentityToken"] = json!(claims.subject);
    answer["Audience"] = json!(claims.audience);
    answer["Provider"] = json!(claims.provider);
    Ok(answer)
}

/// The claims of a token (RFC 7519).
struct Claims {
    /// The issuer without `https://`, as IAM names a provider.
    provider: String,
    subject: String,
    audience: String,
}

fn claims(token: &str) -> ApiResult<Claims> {
    let refused = |reason: &str| ApiError::new("InvalidIdentityToken", reason);
    let mut parts = token.split('.');
    let (Some(_), Some(body), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(refused("The ID Token provided is not a valid JWT."));
    };
    let body = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(body.trim_end_matches('='))
        .ok()
        .and_then(|bytes| limits::document(&bytes).ok())
        .ok_or_else(|| refused("The ID Token provided is not a valid JWT."))?;
    let text = |name: &str| {
        let value = match &body[name] {
            Value::Array(values) => values.first().unwrap_or(&Value::Null),
            value => value,
        };
        value
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| refused(&format!("The token has no claim `{name}`.")))
    };
    let expires = body["exp"]
        .as_i64()
        .ok_or_else(|| refused("The token has no claim `exp`."))?;
    if expires <= jiff::Timestamp::now().as_second() {
        let message = "Token expired: its `exp` is in the past";
        return Err(ApiError::new("ExpiredTokenException", message));
    }
    let issuer = text("iss")?;
    Ok(Claims {
        provider: issuer
            .strip_prefix("https://")
            .unwrap_or(&issuer)
            .to_owned(),
        subject: text("sub")?,
        audience: text("aud")?,
    })
}
