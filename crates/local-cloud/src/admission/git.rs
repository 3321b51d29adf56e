//! CodeCommit's signature for git over HTTP, sent with Basic authentication: the user is the access
//! key (`KEY%TOKEN` for a session), the password a date and a signature of the repository's path,
//! as `aws codecommit credential-helper` and git-remote-codecommit create them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use http::header::{AUTHORIZATION, HOST};
use http::request::Parts;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::{caller_with_token, secret_key, sessions, signature, text};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::cloud::caller::Caller;
use crate::credentials::Credentials;

/// Prefix of the host names for which git must authenticate even if the server accepts any credentials. (Git
/// sends credentials only after a 401.)
const CODECOMMIT: &str = "git-codecommit.";

/// Authenticates a request of git's protocol; returns its caller. A session's signature is always verified,
/// any other if credentials are required. `path` is the start of the request's path, up to the service:
/// `/v1/repos/NAME/`.
pub(crate) fn check_git(cloud: &Cloud, parts: &Parts, path: &str) -> ApiResult<Caller> {
    let host = text(&parts.headers, HOST.as_str()).unwrap_or_default();
    let signed = Signed {
        region: cloud.region(),
        host,
        path,
    };
    // After a 401, git discards the credentials and requests others from its helper next time.
    let again = |error: ApiError| match error.status {
        400..500 => error.status(401),
        _ => error,
    };
    let refused = || {
        ApiError::new(
            "InvalidSignature",
            "git needs the credentials of a session, or those of the local cloud's address.json, and `aws \
             codecommit credential-helper --ignore-host-check` (see docs/local-cloud.md)",
        )
        .status(401)
    };
    let Some((user, password)) = basic(parts) else {
        return match cloud.credentials() {
            Credentials::Any if !host.starts_with(CODECOMMIT) => Ok(Caller::Root),
            _ => Err(refused()),
        };
    };
    let (access_key, token) = match user.split_once('%') {
        Some((access_key, token)) => (access_key, Some(token)),
        None => (user.as_str(), None),
    };
    let caller = caller_with_token(cloud, access_key, token).map_err(again)?;
    // Only sessions have a token.
    if token.is_some() && sessions::secret_key(cloud, access_key)?.is_none() {
        return Err(refused());
    }
    match secret_key(cloud, access_key).map_err(again)? {
        None => Ok(caller),
        Some(secret) if signed.verify(&secret, &password, Timestamp::now()) => Ok(caller),
        Some(_) => Err(refused()),
    }
}

/// Parses user and password.
fn basic(parts: &Parts) -> Option<(String, String)> {
    let (scheme, encoded) = parts
        .headers
        .get(AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// The signed parts of a request.
struct Signed<'a> {
    region: &'a str,
    host: &'a str,
    path: &'a str,
}

impl Signed<'_> {
    /// Checks `yyyymmddThhmmssZ` and the hexadecimal signature that follows it.
    fn verify(&self, secret: &str, password: &str, now: Timestamp) -> bool {
        let Some((date, sent)) = password.split_once('Z') else {
            return false;
        };
        let Ok(signed_at) = signature::seconds(&format!("{date}Z")) else {
            return false;
        };
        if (now.as_second() - signed_at).abs() > signature::SKEW {
            return false;
        }
        let sent = hex::decode(sent).unwrap_or_default();
        [self.path.trim_end_matches('/'), self.path]
            .into_iter()
            // Compares in constant time.
            .any(|path| self.mac(secret, path, date).verify_slice(&sent).is_ok())
    }

    /// Computes the signature; `date` is `yyyymmddThhmmss`.
    fn mac(&self, secret: &str, path: &str, date: &str) -> Hmac<Sha256> {
        let day = date.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/codecommit/aws4_request", self.region);
        // The helpers omit the port; a path is signed as it is in the remote URL.
        let host = self.host.split(':').next().unwrap_or_default();
        let request = format!("GIT\n{path}\n\nhost:{host}\n\nhost\n");
        let text = format!(
            "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
            hex::encode(Sha256::digest(request))
        );
        signature::mac(&signature::key(secret, &scope), text.as_bytes())
    }
}

/// The password for a repository's path on a host, valid for 15 minutes from now.
pub(crate) fn git_password(secret: &str, region: &str, host: &str, path: &str) -> String {
    let date = Timestamp::now().strftime("%Y%m%dT%H%M%S").to_string();
    let signed = Signed { region, host, path };
    let mac = signed.mac(secret, path, &date).finalize().into_bytes();
    format!("{date}Z{}", hex::encode(mac))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sts;
    use crate::test_cloud::TestCloud;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    /// What botocore's `SigV4Auth` computes in awscli's `sign_request` (awscli 1.46.3) for
    /// `http://127.0.0.1:4566/v1/repos/flights` in us-east-1 at 2026-01-02 03:04:05.
    const PASSWORD: &str =
        "20260102T030405Z47318e3d8b16aca27b0bf1c3671a69fdd21cbb393adeee2d5180669651442f32";

    fn verify(region: &str, host: &str, path: &str, password: &str, now: &str) -> bool {
        let signed = Signed { region, host, path };
        signed.verify(SECRET, password, now.parse().unwrap())
    }

    #[test]
    fn the_signature_matches_the_aws_credential_helper() {
        let (region, host, path) = ("us-east-1", "127.0.0.1:4566", "/v1/repos/flights/");
        let now = "2026-01-02T03:10:00Z";
        assert!(verify(region, host, path, PASSWORD, now));
        for (region, host, path, now) in [
            ("eu-west-1", host, path, now),
            (region, "localhost:4566", path, now),
            (region, host, "/v1/repos/other/", now),
            (region, host, path, "2026-01-02T03:20:00Z"),
            (region, host, path, "2026-01-02T02:40:00Z"),
        ] {
            assert!(
                !verify(region, host, path, PASSWORD, now),
                "{region} {host} {path} {now}"
            );
        }
        for password in [
            "",
            "Z",
            "20260102T030405Z",
            "20260102T030405",
            "ü",
            "üüüüüüüüüZ00",
        ] {
            assert!(!verify(region, host, path, password, now), "{password}");
        }
        let own = git_password(SECRET, region, host, "/v1/repos/flights");
        assert!(verify(
            region,
            host,
            path,
            &own,
            &Timestamp::now().to_string()
        ));
        let other = PASSWORD.replace("030405", "030406");
        assert!(!verify(region, host, path, &other, now));
    }

    #[test]
    fn sessions_use_git_with_their_token() {
        let credentials = Credentials::Required {
            access_key: "AKIDEXAMPLE".to_owned(),
            secret_key: SECRET.to_owned(),
        };
        let at = TestCloud::with_credentials(credentials);
        let cloud = at.cloud();
        let valid = sts::session(&cloud, "VALID", 900);
        let expired = sts::session(&cloud, "EXPIRED", -1);
        let path = "/v1/repos/flights/";
        let refusal = |user: &str, secret: &str| {
            let password = git_password(secret, "us-east-1", "127.0.0.1", path);
            let basic = STANDARD.encode(format!("{user}:{password}"));
            let request = http::Request::builder()
                .header(HOST, "127.0.0.1:4566")
                .header(AUTHORIZATION, format!("Basic {basic}"));
            let parts = request.body(()).unwrap().into_parts().0;
            check_git(&cloud, &parts, path)
                .err()
                .map(|error| (error.status, error.code))
        };
        assert_eq!(refusal("AKIDEXAMPLE", SECRET), None);
        assert_eq!(refusal(&format!("{valid}%token"), "secret"), None);
        for (user, secret, code) in [
            (valid.clone(), "secret", "InvalidClientTokenId"),
            (format!("{valid}%other"), "secret", "InvalidClientTokenId"),
            (format!("{valid}%token"), SECRET, "InvalidSignature"),
            (format!("{expired}%token"), "secret", "ExpiredToken"),
            (
                "ASIAUNKNOWN%token".to_owned(),
                "secret",
                "InvalidClientTokenId",
            ),
            ("AKIDEXAMPLE".to_owned(), "secret", "InvalidSignature"),
        ] {
            assert_eq!(
                refusal(&user, secret),
                Some((401, code.to_owned())),
                "{user}"
            );
        }
    }
}
