//! Sessions for the owner of the local cloud, without a trust policy: `mlops local env --role`. AWS has nothing
//! like it. It accepts only the account's own credentials.

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use serde::{Deserialize, Serialize};

use super::sessions::{self, Limits};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::cloud::service::Route;
use crate::credentials::Credentials;
use crate::iam;
use crate::instance::Connection;

const PATH: &str = "/_mlops/session";

/// The name of the sessions.
const NAME: &str = "mlops-local-env";

/// The credentials of a session of a role.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SessionKeys {
    /// The access key.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: String,
    /// The session token.
    pub session_token: String,
    /// When they expire, as in ISO 8601.
    pub expiration: String,
}

/// The route of [`role_session`].
pub(super) const ROUTE: Route = Route {
    matches: |parts, _| parts.method == Method::POST && parts.uri.path() == PATH,
    handle: |cloud, request| Box::pin(async move { handle(cloud, &request.into_parts().0) }),
};

fn handle(cloud: &Cloud, parts: &Parts) -> Response<Body> {
    let (status, body) = match create(cloud, parts) {
        Ok(keys) => (200, keys.to_string()),
        Err(error) => (error.status, error.message),
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let kind = HeaderValue::from_static(if status == 200 {
        "application/json"
    } else {
        "text/plain"
    });
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn create(cloud: &Cloud, parts: &Parts) -> ApiResult<serde_json::Value> {
    if let Credentials::Required {
        access_key,
        secret_key,
    } = cloud.credentials()
    {
        let expected = basic(access_key, secret_key);
        let sent = parts.headers.get(AUTHORIZATION);
        if sent.is_none_or(|sent| sent.as_bytes() != expected.as_bytes()) {
            let message = "these are not the credentials of this local cloud";
            return Err(ApiError::new("AccessDenied", message).status(403));
        }
    }
    let query = parts.uri.query().unwrap_or_default().as_bytes();
    let role = url::form_urlencoded::parse(query)
        .find(|(name, _)| name == "role")
        .map(|(_, role)| role.into_owned())
        .unwrap_or_default();
    let role = iam::named(cloud, &role)?;
    let duration = role.max_session.to_string();
    let session = sessions::create(cloud, &role, NAME, Some(&duration), Limits::default())?;
    Ok(session.credentials())
}

fn basic(access_key: &str, secret_key: &str) -> String {
    format!(
        "Basic {}",
        STANDARD.encode(format!("{access_key}:{secret_key}"))
    )
}

/// Requests a session of a role, given its name or ARN, without checking its trust policy. The session has
/// the maximum duration of the role.
///
/// # Errors
/// If there is no such role, or the server does not answer.
pub async fn role_session(connection: &Connection, role: &str) -> anyhow::Result<SessionKeys> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let query: String = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("role", role)
        .finish();
    let response = client
        .post(format!("{}{PATH}?{query}", connection.endpoint))
        .header(
            AUTHORIZATION,
            basic(&connection.access_key, &connection.secret_key),
        )
        .send()
        .await?;
    if response.status().is_success() {
        return Ok(response.json().await?);
    }
    Err(anyhow::anyhow!(response.text().await?))
}
