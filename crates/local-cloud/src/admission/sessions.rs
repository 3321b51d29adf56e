//! Requests that are signed with the credentials of a session: any service can issue sessions
//! ([`Service::find_session`](crate::cloud::service::Service)).

use http::request::Parts;

use super::Scope;
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::cloud::caller::Caller;
use crate::cloud::service::SessionCredentials;

fn find(cloud: &Cloud, access_key: &str) -> ApiResult<Option<SessionCredentials>> {
    for find in cloud.services().iter().filter_map(|it| it.find_session) {
        if let Some(found) = find(cloud, access_key)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The secret key of a session that has not expired; `None` if the access key is not a session's.
pub(super) fn secret_key(cloud: &Cloud, access_key: &str) -> ApiResult<Option<String>> {
    unexpired(cloud, access_key).map(|found| found.map(|session| session.secret_key))
}

fn unexpired(cloud: &Cloud, access_key: &str) -> ApiResult<Option<SessionCredentials>> {
    let found = find(cloud, access_key)?;
    if found.as_ref().is_some_and(SessionCredentials::has_expired) {
        let message = "The security token included in the request is expired";
        return Err(ApiError::new("ExpiredToken", message));
    }
    Ok(found)
}

/// The caller that an access key belongs to, without a check of the session token.
pub(crate) fn caller_of(cloud: &Cloud, access_key: &str) -> ApiResult<Caller> {
    let session = unexpired(cloud, access_key)?;
    Ok(session.map_or(Caller::Root, |session| session.caller))
}

/// The session of a request, which is refused if the session has expired or the request does not carry its
/// token; `None` if the access key is not a session's.
pub(super) fn of_request(
    cloud: &Cloud,
    scope: &Scope,
    parts: &Parts,
) -> ApiResult<Option<SessionCredentials>> {
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
    with_token(cloud, &scope.access_key, token.as_deref())
}

/// The caller of a request that carries the token elsewhere.
pub(crate) fn caller_with_token(
    cloud: &Cloud,
    access_key: &str,
    token: Option<&str>,
) -> ApiResult<Caller> {
    let session = with_token(cloud, access_key, token)?;
    Ok(session.map_or(Caller::Root, |session| session.caller))
}

fn with_token(
    cloud: &Cloud,
    access_key: &str,
    token: Option<&str>,
) -> ApiResult<Option<SessionCredentials>> {
    let Some(session) = unexpired(cloud, access_key)? else {
        return Ok(None);
    };
    if token == Some(session.token.as_str()) {
        return Ok(Some(session));
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
            caller_with_token(&cloud, key, token)
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
        assert!(secret_key(&cloud, &expired).is_err());
        // A key that has the form of a session's is never that of the account.
        let code = refusal("ASIAUNKNOWN", Some("token"));
        assert_eq!(code.as_deref(), Some("InvalidClientTokenId"));
        let caller = caller_with_token(&cloud, &valid, Some("token")).unwrap();
        assert!(
            caller
                .session()
                .is_some_and(|session| session.access_key == valid)
        );
    }
}
