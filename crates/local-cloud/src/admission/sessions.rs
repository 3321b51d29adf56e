//! Requests that are signed with the credentials of a session: any service can issue sessions
//! ([`Service::find_session`](crate::cloud::service::Service)).

use http::request::Parts;

use super::Scope;
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::cloud::service::SessionCredentials;

tokio::task_local! {
    static CALLER: String;
}

/// Runs an operation on behalf of the owner of an access key.
pub(crate) async fn as_caller<R>(access_key: &str, operation: impl Future<Output = R>) -> R {
    CALLER.scope(access_key.to_owned(), operation).await
}

/// The access key of the current request; `None` for work of the server itself.
pub(crate) fn caller() -> Option<String> {
    CALLER.try_with(String::clone).ok()
}

fn find(cloud: &Cloud, access_key: &str) -> ApiResult<Option<SessionCredentials>> {
    for find in cloud.services().iter().filter_map(|it| it.find_session) {
        if let Some(found) = find(cloud, access_key)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The secret key of a session that has not expired.
pub(super) fn secret_key(cloud: &Cloud, access_key: &str) -> ApiResult<Option<String>> {
    Ok(find(cloud, access_key)?
        .filter(|session| !session.has_expired())
        .map(|session| session.secret_key))
}

/// Refuses a request with the access key of a session if the session has expired or the request
/// does not carry its token.
pub(crate) fn check_session(cloud: &Cloud, scope: &Scope, parts: &Parts) -> ApiResult<()> {
    let header = parts.headers.get("x-amz-security-token");
    let query = || {
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        url::form_urlencoded::parse(query)
            .find(|(name, _)| name.eq_ignore_ascii_case("x-amz-security-token"))
            .map(|(_, value)| value.into_owned())
    };
    let token = match header {
        Some(value) => value.to_str().ok().map(str::to_owned),
        None => query(),
    };
    check_session_token(cloud, &scope.access_key, token.as_deref())
}

/// Like [`check_session`], for a request that carries the token elsewhere.
pub(crate) fn check_session_token(
    cloud: &Cloud,
    access_key: &str,
    token: Option<&str>,
) -> ApiResult<()> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sts;
    use crate::test_cloud::TestCloud;

    #[test]
    fn a_session_is_accepted_with_its_token_until_it_expires() {
        let at = TestCloud::new();
        let cloud = at.cloud();
        let valid = sts::session(&cloud, "VALID", 900);
        let expired = sts::session(&cloud, "EXPIRED", -1);
        let refusal = |key: &str, token| {
            check_session_token(&cloud, key, token)
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
        // Access keys that belong to no session are checked elsewhere.
        assert_eq!(refusal("AKIDEXAMPLE", None), None);
        assert_eq!(
            secret_key(&cloud, &valid).unwrap().as_deref(),
            Some("secret")
        );
        assert_eq!(secret_key(&cloud, &expired).unwrap(), None);
    }
}
