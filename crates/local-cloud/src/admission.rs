//! Authentication and origin checks: a web page must not control the local cloud, and every request
//! must be signed.

use std::path::Path;

use http::request::Parts;
use http::{HeaderMap, header};
use sha2::{Digest, Sha256};

use super::Cloud;
use super::api::{ApiError, ApiResult};
use super::cloud::caller::Caller;
use super::credentials::Credentials;

mod git;
mod sessions;
mod signature;

pub(crate) use git::{check_git, git_password};
pub(crate) use sessions::{caller_of, caller_with_token};

/// Headers that may occur only once: with two, this server, the signature check and the service
/// could each read a different one.
const SINGLE: [&str; 16] = [
    "authorization",
    "content-length",
    "content-md5",
    "content-type",
    "expect",
    "host",
    "origin",
    "sec-fetch-site",
    "smithy-protocol",
    "transfer-encoding",
    "x-amz-content-sha256",
    "x-amz-copy-source",
    "x-amz-date",
    "x-amz-decoded-content-length",
    "x-amz-security-token",
    "x-amz-target",
];

/// Marks a request that has both `Content-Length` and `Transfer-Encoding`.
#[derive(Debug, Clone)]
pub(crate) struct TwoLengths;

/// Refuses a request that can be interpreted in two ways. Hyper itself refuses other malformed
/// headers: conflicting lengths, folded lines, spaces before a colon. It drops a `Content-Length`
/// next to `Transfer-Encoding` (`server::framing` detects that) and then closes the connection.
fn check_shape(parts: &Parts) -> ApiResult<()> {
    let invalid = |message: String| Err(ApiError::new("InvalidRequest", message));
    for name in SINGLE {
        let mut values = parts.headers.get_all(name).iter();
        let first = values.next();
        if values.next().is_some() {
            return invalid(format!("the request has two headers {name}"));
        }
        if first.is_some_and(|value| value.to_str().is_err()) {
            return invalid(format!("the header {name} is not ASCII text"));
        }
    }
    if parts.extensions.get::<TwoLengths>().is_some() {
        let message = "the request has both Content-Length and Transfer-Encoding";
        return invalid(message.to_owned());
    }
    if has_two_credentials(parts) {
        return invalid("the request has more than one kind of credentials".to_owned());
    }
    let Some(host) = text(&parts.headers, header::HOST.as_str()) else {
        return invalid("the request has no Host".to_owned());
    };
    if let Some(authority) = parts.uri.authority()
        && !authority.as_str().eq_ignore_ascii_case(host)
    {
        return invalid(format!(
            "the request is for {authority}, but its Host is {host}"
        ));
    }
    if parts.method == http::Method::CONNECT || !parts.uri.path().starts_with('/') {
        return invalid("the request's target is not a path".to_owned());
    }
    if let Some(coding) = text(&parts.headers, header::TRANSFER_ENCODING.as_str())
        && !coding.trim().eq_ignore_ascii_case("chunked")
    {
        return invalid(format!("the transfer coding {coding} is not supported"));
    }
    if let Some(expect) = text(&parts.headers, header::EXPECT.as_str())
        && !expect.eq_ignore_ascii_case("100-continue")
    {
        let message = format!("the expectation {expect} is not supported");
        return Err(ApiError::new("ExpectationFailed", message).status(417));
    }
    Ok(())
}

/// True for a request with credentials in two places: the permissions could be evaluated for the one and the
/// signature verified with the other. Parameter names count in any case.
fn has_two_credentials(parts: &Parts) -> bool {
    let query = parts.uri.query().unwrap_or_default().as_bytes();
    let count = |wanted: &str| {
        url::form_urlencoded::parse(query)
            .filter(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .count()
    };
    let version_4 = ["x-amz-algorithm", "x-amz-credential", "x-amz-signature"].map(count);
    let version_2 = count("awsaccesskeyid");
    let kinds = [
        parts.headers.contains_key(header::AUTHORIZATION),
        version_4.iter().any(|count| *count > 0),
        version_2 > 0,
    ];
    let repeats = version_2 > 1 || version_4.iter().any(|count| *count > 1);
    repeats || kinds.into_iter().filter(|is_there| *is_there).count() > 1
}

/// Refuses an ambiguous request, and one that a web page could have sent: with a foreign Host or
/// Origin, or a cross-site fetch.
pub(crate) fn check_origin(parts: &Parts) -> ApiResult<()> {
    check_shape(parts)?;
    let host = text(&parts.headers, header::HOST.as_str()).unwrap_or_default();
    if !is_own_host(host) {
        return Err(ApiError::new(
            "AccessDenied",
            format!("the Host `{host}` is not a name of this local cloud"),
        )
        .status(403));
    }
    if let Some(origin) = text(&parts.headers, header::ORIGIN.as_str())
        && origin.strip_prefix("http://") != Some(host)
    {
        return Err(
            ApiError::new("AccessDenied", "requests from a web page are refused").status(403),
        );
    }
    if let Some(site) = text(&parts.headers, "sec-fetch-site")
        && site != "same-origin"
        && site != "none"
    {
        return Err(
            ApiError::new("AccessDenied", "requests from a web page are refused").status(403),
        );
    }
    Ok(())
}

/// The credential scope of a signed request, from the `Authorization` header or a presigned URL. A
/// request without SigV4 is refused.
pub(crate) fn scope(parts: &Parts) -> ApiResult<Scope> {
    let missing = || {
        ApiError::new(
            "MissingAuthenticationToken",
            "the request is not signed: use an AWS SDK with any credentials",
        )
        .status(403)
    };
    let query = parts.uri.query().unwrap_or_default().as_bytes();
    let member = |name: &str| {
        url::form_urlencoded::parse(query)
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.into_owned())
    };
    let authorization = text(&parts.headers, header::AUTHORIZATION.as_str());
    // boto3 presigns S3 URLs with signature version 2 by default.
    if authorization.is_none()
        && member("Signature").is_some()
        && let Some(access_key) = member("AWSAccessKeyId")
    {
        return Ok(Scope {
            access_key,
            region: "us-east-1".to_owned(),
            service: "s3".to_owned(),
        });
    }
    let asymmetric = authorization.and_then(|value| value.strip_prefix("AWS4-ECDSA-P256-SHA256"));
    let credential = match authorization {
        Some(authorization) => authorization
            .strip_prefix("AWS4-HMAC-SHA256")
            .or(asymmetric)
            .and_then(|rest| {
                rest.split(',')
                    .find_map(|part| part.trim().strip_prefix("Credential="))
            })
            .map(str::to_owned),
        None => member("X-Amz-Credential"),
    }
    .ok_or_else(missing)?;
    let mut fields = credential.split('/').rev();
    let mut next = || fields.next().map(str::to_owned).ok_or_else(missing);
    let (_terminator, service) = (next()?, next()?);
    // Version 4A signs for a set of regions, which is not in the scope.
    let region = match asymmetric {
        Some(_) => text(&parts.headers, "x-amz-region-set").map_or_else(String::new, str::to_owned),
        None => next()?,
    };
    let (_date, access_key) = (next()?, next()?);
    Ok(Scope {
        access_key,
        region,
        service,
    })
}

/// Prefix of access keys that identify a state directory.
const STATE_KEY_PREFIX: &str = "local-";

/// The access key that `mlops` uses with the server of a state directory if any credentials are
/// accepted.
pub(crate) fn access_key(directory: &Path) -> String {
    let directory = directory
        .canonicalize()
        .unwrap_or_else(|_| directory.to_owned());
    let hash = Sha256::digest(directory.as_os_str().as_encoded_bytes());
    format!("{STATE_KEY_PREFIX}{}", hex::encode(&hash[..8]))
}

/// Refuses a client of a state directory other than the one with the key `own`: its server has
/// ended, and this one has the same address.
pub(crate) fn check_state(own: &str, scope: &Scope) -> ApiResult<()> {
    if !scope.access_key.starts_with(STATE_KEY_PREFIX) || scope.access_key == own {
        return Ok(());
    }
    Err(ApiError::new(
        "InvalidClientTokenId",
        "this is the local cloud of another state directory; the requested one has ended",
    )
    .status(403))
}

/// Who signed a request. Its session is looked up once.
#[derive(Debug)]
pub(crate) struct Signer {
    /// On whose behalf the request is.
    pub(crate) caller: Caller,
    /// The signing name of the service.
    pub(crate) service: String,
    /// See [`secret_key`]. An error is that of the signature, so it is reported when that is checked.
    secret_key: ApiResult<Option<String>>,
}

impl Signer {
    /// The signer of a request. A request with the access key of a session is refused if the session has
    /// expired or the request does not carry its token.
    pub(crate) fn of(cloud: &Cloud, scope: &Scope, parts: &Parts) -> ApiResult<Self> {
        let session = sessions::of_request(cloud, scope, parts)?;
        let (caller, secret_key) = match session {
            Some(session) => (session.caller, Ok(Some(session.secret_key))),
            None => (Caller::Root, own_secret_key(cloud, &scope.access_key)),
        };
        Ok(Self {
            caller,
            service: scope.service.clone(),
            secret_key,
        })
    }

    /// Verifies the signature of the request, including its entire body, if there is a secret to verify it
    /// with.
    pub(crate) fn check_signature(&self, parts: &Parts, body: &[u8]) -> ApiResult<()> {
        check_expiry(parts)?;
        match self.secret_key.clone()? {
            Some(secret_key) => signature::check(parts, body, &secret_key, jiff::Timestamp::now()),
            None => Ok(()),
        }
    }
}

/// The secret key that the signatures of an access key are verified with: that of the server or of a session.
/// `None` if the server accepts any credentials, and these are not a session's: there is nothing to verify
/// them with.
pub(crate) fn secret_key(cloud: &Cloud, access_key: &str) -> ApiResult<Option<String>> {
    match sessions::secret_key(cloud, access_key)? {
        Some(secret_key) => Ok(Some(secret_key)),
        None => own_secret_key(cloud, access_key),
    }
}

/// The secret key of an access key that is not a session's.
fn own_secret_key(cloud: &Cloud, access_key: &str) -> ApiResult<Option<String>> {
    match cloud.credentials() {
        Credentials::Any => Ok(None),
        Credentials::Required {
            access_key: own,
            secret_key,
        } if own == access_key => Ok(Some(secret_key.clone())),
        Credentials::Required { .. } => Err(ApiError::new(
            "InvalidClientTokenId",
            "this local cloud was started with --require-credentials and does not recognize these \
             credentials",
        )
        .status(403)),
    }
}

/// True if the signature of a request must be verified: that of every session, and every one if credentials
/// are required.
pub(crate) fn is_verified(cloud: &Cloud, parts: &Parts) -> ApiResult<bool> {
    match (cloud.credentials(), scope(parts)) {
        (Credentials::Required { .. }, _) => Ok(true),
        (Credentials::Any, Ok(scope)) => Ok(secret_key(cloud, &scope.access_key)?.is_some()),
        (Credentials::Any, Err(_)) => Ok(false),
    }
}

/// Secret keys for s3s, which verifies the signatures of S3 requests because they cover the chunks
/// of a body.
pub(crate) struct SecretKeys(Cloud);

impl SecretKeys {
    /// The keys that a cloud accepts.
    pub(crate) fn new(cloud: &Cloud) -> Self {
        Self(cloud.clone())
    }
}

#[async_trait::async_trait]
impl s3s::auth::S3Auth for SecretKeys {
    async fn get_secret_key(&self, access_key: &str) -> s3s::S3Result<s3s::auth::SecretKey> {
        match secret_key(&self.0, access_key) {
            Ok(Some(key)) => Ok(key.into()),
            Err(error) if error.code == "ExpiredToken" => Err(error.into()),
            Err(error) if error.status >= 500 => Err(s3s::S3Error::internal_error(error)),
            Ok(None) | Err(_) => Err(s3s::s3_error!(InvalidAccessKeyId)),
        }
    }
}

/// Fails with `AccessDenied` if a presigned URL has expired, whatever the credentials.
pub(crate) fn check_expiry(parts: &Parts) -> ApiResult<()> {
    signature::check_expiry(parts, jiff::Timestamp::now())
}

/// The contents of a SigV4 credential scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scope {
    /// The access key id.
    pub(crate) access_key: String,
    /// The region.
    pub(crate) region: String,
    /// The signing name of the service (`s3`, `sagemaker`, …).
    pub(crate) service: String,
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// True for loopback, `*.localhost`, and AWS names (for clients whose DNS points here).
fn is_own_host(host: &str) -> bool {
    let name = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
        .map_or(host, |(name, _)| name)
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
        || name.ends_with(".amazonaws.com")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().uri("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn only_our_host_names_are_accepted() {
        for host in [
            "127.0.0.1:4566",
            "localhost",
            "b.localhost:1",
            "[::1]:80",
            "s3.us-east-1.amazonaws.com",
        ] {
            assert!(check_origin(&parts(&[("host", host)])).is_ok(), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "10.0.0.1:4566"] {
            assert!(check_origin(&parts(&[("host", host)])).is_err(), "{host}");
        }
    }

    #[test]
    fn requests_from_web_pages_are_refused() {
        let host = ("host", "127.0.0.1:4566");
        assert!(check_origin(&parts(&[host, ("origin", "https://evil.example")])).is_err());
        assert!(check_origin(&parts(&[host, ("origin", "null")])).is_err());
        assert!(check_origin(&parts(&[host, ("origin", "http://localhost:3000")])).is_err());
        assert!(check_origin(&parts(&[host, ("sec-fetch-site", "cross-site")])).is_err());
        assert!(check_origin(&parts(&[host, ("origin", "http://127.0.0.1:4566")])).is_ok());
    }

    #[test]
    fn issue_8_1_6_ambiguous_requests_are_refused() {
        let host = ("host", "127.0.0.1:4566");
        let status = |parts: &Parts| check_origin(parts).map_err(|error| error.status);
        assert_eq!(status(&parts(&[host])), Ok(()));
        assert_eq!(status(&parts(&[])), Err(400));
        for (name, value) in [
            ("host", "127.0.0.1:4566"),
            ("host", "evil.example"),
            ("origin", "http://127.0.0.1:4566"),
            ("authorization", "AWS4-HMAC-SHA256 x"),
            ("x-amz-target", "SageMaker.ListModels"),
            ("content-length", "0"),
        ] {
            let twice = parts(&[host, (name, value), (name, value)]);
            assert_eq!(status(&twice), Err(400), "{name}");
        }
        for (name, value, wanted) in [
            ("transfer-encoding", "gzip, chunked", Err(400)),
            ("transfer-encoding", "chunked", Ok(())),
            ("expect", "200-ok", Err(417)),
            ("expect", "100-Continue", Ok(())),
        ] {
            assert_eq!(
                status(&parts(&[host, (name, value)])),
                wanted,
                "{name}: {value}"
            );
        }
        for (method, uri, wanted) in [
            ("GET", "http://127.0.0.1:4566/", Ok(())),
            ("GET", "http://evil.example/", Err(400)),
            ("GET", "http://127.0.0.1:1/", Err(400)),
            ("CONNECT", "127.0.0.1:4566", Err(400)),
            ("OPTIONS", "*", Err(400)),
        ] {
            let request = http::Request::builder().method(method).uri(uri);
            let request = request.header("host", host.1).body(()).unwrap();
            assert_eq!(status(&request.into_parts().0), wanted, "{method} {uri}");
        }
        let mut odd = parts(&[host]);
        let value = http::HeaderValue::from_bytes(b"http://\xff").unwrap();
        odd.headers.insert("origin", value);
        assert_eq!(status(&odd), Err(400));
    }

    #[test]
    fn a_request_has_credentials_in_one_place() {
        let header = "AWS4-HMAC-SHA256 Credential=A/1/us-east-1/s3/aws4_request";
        let refused = |uri: &str, authorization: Option<&str>| {
            let mut request = http::Request::builder()
                .uri(uri)
                .header("host", "localhost");
            if let Some(value) = authorization {
                request = request.header("authorization", value);
            }
            check_origin(&request.body(()).unwrap().into_parts().0).is_err()
        };
        let version_2 = "/b/k?AWSAccessKeyId=A&Signature=x&Expires=1";
        let version_4 = "/b/k?X-Amz-Credential=A&X-Amz-Signature=x&X-Amz-Algorithm=y";
        for uri in [version_2, version_4] {
            assert!(!refused(uri, None), "{uri}");
            for value in [header, "Basic eDp5", "AWS A:x"] {
                assert!(refused(uri, Some(value)), "{uri} {value}");
            }
        }
        assert!(!refused("/b/k?Signature=x&Expires=1", Some("Basic eDp5")));
        for uri in [
            "/b/k?x-amz-credential=A",
            "/b/k?X-AMZ-SIGNATURE=A",
            "/b/k?X%2DAmz-Algorithm=A",
            "/b/k?awsaccesskeyid=A",
        ] {
            assert!(refused(uri, Some(header)), "{uri}");
        }
        assert!(refused(&format!("{version_4}&AWSAccessKeyId=B"), None));
        assert!(refused(&format!("{version_4}&X-Amz-Credential=B"), None));
    }

    #[test]
    fn clients_of_another_state_directory_are_refused() {
        let (one, other) = (
            access_key(Path::new("/one")),
            access_key(Path::new("/other")),
        );
        let scope = |access_key: &str| Scope {
            access_key: access_key.to_owned(),
            region: "us-east-1".to_owned(),
            service: "sts".to_owned(),
        };
        assert!(check_state(&one, &scope(&one)).is_ok());
        assert!(check_state(&one, &scope("AKIDEXAMPLE")).is_ok());
        let error = check_state(&one, &scope(&other)).unwrap_err();
        assert_eq!(error.code, "InvalidClientTokenId");
    }

    #[test]
    fn scopes_are_read_from_headers_and_presigned_urls() {
        let signed = parts(&[(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=AK/20260101/eu-west-1/sts/aws4_request, SignedHeaders=host, Signature=0",
        )]);
        assert_eq!(scope(&signed).unwrap().service, "sts");
        let asymmetric = parts(&[(
            "authorization",
            "AWS4-ECDSA-P256-SHA256 Credential=AK/20260101/events/aws4_request, SignedHeaders=host, Signature=0",
        )]);
        assert_eq!(scope(&asymmetric).unwrap().service, "events");
        let (presigned, ()) = http::Request::builder()
            .uri("/b/k?X-Amz-Credential=AK%2F20260101%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Signature=0")
            .body(())
            .unwrap()
            .into_parts();
        assert_eq!(scope(&presigned).unwrap().region, "us-east-1");
        let (presigned, ()) = http::Request::builder()
            .uri("/b/k?AWSAccessKeyId=AK&Signature=x&Expires=1")
            .body(())
            .unwrap()
            .into_parts();
        assert_eq!(scope(&presigned).unwrap().service, "s3");
        assert!(check_expiry(&presigned).is_err());
        assert!(scope(&parts(&[])).is_err());
        assert!(scope(&parts(&[("authorization", "Bearer x")])).is_err());
    }

    /// The example of the AWS General Reference, "Signature Version 4 test suite",
    /// get-vanilla-query.
    const EXAMPLE: &str = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
         SignedHeaders=host;x-amz-date, Signature=";

    fn example(query: &str, signature: &str) -> Parts {
        http::Request::builder()
            .uri(format!("/{query}"))
            .header("host", "example.amazonaws.com")
            .header("x-amz-date", "20150830T123600Z")
            .header("authorization", format!("{EXAMPLE}{signature}"))
            .body(())
            .unwrap()
            .into_parts()
            .0
    }

    #[test]
    fn signatures_match_the_aws_test_suite() {
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let now = "2015-08-30T12:40:00Z".parse().unwrap();
        let vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
        let ordered = "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500";
        signature::check(&example("", vanilla), b"", secret, now).unwrap();
        signature::check(
            &example("?Param2=value2&Param1=value1", ordered),
            b"",
            secret,
            now,
        )
        .unwrap();
        for (parts, body, secret, now) in [
            (example("?a=b", vanilla), &b""[..], secret, now),
            (example("", vanilla), b"x", secret, now),
            (example("", vanilla), b"", "another", now),
            (example("", ordered), b"", secret, now),
            (
                example("", vanilla),
                b"",
                secret,
                "2015-08-30T13:00:00Z".parse().unwrap(),
            ),
        ] {
            assert!(signature::check(&parts, body, secret, now).is_err());
        }
    }
}
