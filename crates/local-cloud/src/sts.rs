//! STS: the identity of callers, and sessions of roles.
//!
//! A session's credentials are a record under its access key, in which `admission` looks up the
//! access key of every request. What a session may do is not enforced yet: the local cloud lets every
//! caller do everything.

use std::collections::BTreeMap;

use base64::Engine as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Cloud;
use super::api::{ApiError, ApiResult, NoInput};
use super::cloud::ACCOUNT;
use super::cloud::service::{Service, operations};
use super::credentials::Credentials;
use super::iam::{self, Assumption};
use super::limits;

mod sessions;

#[cfg(test)]
pub(crate) use sessions::session;

operations! {
    "AssumeRole" => assume_role,
    "AssumeRoleWithWebIdentity" => assume_role_with_web_identity,
    "GetCallerIdentity" => get_caller_identity,
}

/// The service.
pub(crate) const SERVICE: Service = Service {
    unsigned_operations: &["AssumeRoleWithWebIdentity"],
    find_session: Some(sessions::credentials),
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

async fn get_caller_identity(cloud: &Cloud, _input: NoInput) -> ApiResult<CallerIdentity> {
    let (user_id, arn) = match sessions::caller(cloud)? {
        Some(session) => (session.user_id, session.arn),
        None => ("AIDALOCALCLOUD000000".to_owned(), user_arn()),
    };
    Ok(CallerIdentity {
        user_id,
        account: ACCOUNT,
        arn,
    })
}

/// The ARN of a caller without a session.
fn user_arn() -> String {
    format!("arn:aws:iam::{ACCOUNT}:user/local")
}

/// A text that must be there.
fn required(given: Option<String>, member: &str) -> ApiResult<String> {
    given.ok_or_else(|| invalid(format!("the request has no {member}")))
}

/// Session policies and tags narrow what a session may do. To ignore them would widen it, so members
/// that are not read are refused by name.
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
struct AssumeRole {
    role_arn: Option<String>,
    role_session_name: Option<String>,
    duration_seconds: Option<String>,
    external_id: Option<String>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

async fn assume_role(cloud: &Cloud, input: AssumeRole) -> ApiResult<Value> {
    let role = required(input.role_arn, "RoleArn")?;
    let name = required(input.role_session_name, "RoleSessionName")?;
    let (duration, external) = (input.duration_seconds, input.external_id);
    refuse("AssumeRole", &input.others)?;
    let caller = sessions::caller(cloud)?;
    let caller_arn = caller.as_ref().map_or_else(user_arn, |it| it.arn.clone());
    let mut principals = vec![
        "*".to_owned(),
        ACCOUNT.to_owned(),
        format!("arn:aws:iam::{ACCOUNT}:root"),
        caller_arn.clone(),
    ];
    principals.extend(caller.map(|session| session.role));
    let wanted = Assumption {
        kind: "AWS",
        principals,
        action: "sts:AssumeRole",
        context: external
            .map(|id| ("sts:ExternalId".to_owned(), id))
            .into_iter()
            .collect(),
    };
    let refused = || {
        let message = format!(
            "User: {caller_arn} is not authorized to perform: sts:AssumeRole on resource: {role}"
        );
        ApiError::new("AccessDenied", message).status(403)
    };
    let role = iam::assumable(cloud, &role, &wanted)?.ok_or_else(refused)?;
    let session = sessions::create(cloud, &role, &name, duration.as_deref())?;
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
    let wanted = Assumption {
        kind: "Federated",
        principals: vec![
            claims.provider.clone(),
            format!("arn:aws:iam::{ACCOUNT}:oidc-provider/{}", claims.provider),
        ],
        action: "sts:AssumeRoleWithWebIdentity",
        context: BTreeMap::from([
            (format!("{}:sub", claims.provider), claims.subject.clone()),
            (format!("{}:aud", claims.provider), claims.audience.clone()),
        ]),
    };
    let refused = || {
        let message = "Not authorized to perform sts:AssumeRoleWithWebIdentity";
        ApiError::new("AccessDenied", message).status(403)
    };
    let role = iam::assumable(cloud, &role, &wanted)?.ok_or_else(refused)?;
    let mut answer = sessions::create(cloud, &role, &name, duration.as_deref())?.answer();
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
