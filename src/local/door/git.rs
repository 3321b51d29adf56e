//! CodeCommit's signature for git over HTTP, sent as Basic: the user is the access key, the password
//! a date and a signature of the repository's path, as `aws codecommit credential-helper` and
//! git-remote-codecommit make them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use http::header::{AUTHORIZATION, HOST};
use http::request::Parts;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::{Credentials, signature, text};
use crate::local::Cloud;
use crate::local::api::{ApiError, ApiResult};

/// Checks who sends a request of git's protocol where credentials are required. `path` is the
/// request's, up to the service: `/v1/repos/NAME/`.
pub(crate) fn check_git(cloud: &Cloud, parts: &Parts, path: &str) -> ApiResult<()> {
    let Credentials::Required {
        access_key,
        secret_key,
    } = cloud.credentials()
    else {
        return Ok(());
    };
    let host = text(&parts.headers, HOST.as_str()).unwrap_or_default();
    let signed = Signed {
        region: cloud.region(),
        host,
        path,
    };
    let known = basic(parts).is_some_and(|(user, password)| {
        // The server issues no session tokens: a user with one (`KEY%TOKEN`) is unknown.
        user == *access_key && signed.is_signed(secret_key, &password, Timestamp::now())
    });
    if known {
        return Ok(());
    }
    Err(ApiError::new(
        "InvalidSignature",
        "this local cloud was started with --require-credentials: git needs the credentials of its \
         address.json and `aws codecommit credential-helper --ignore-host-check` (see \
         docs/local-cloud.md)",
    )
    .status(401))
}

/// User and password.
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

/// What a signature is over.
struct Signed<'a> {
    region: &'a str,
    host: &'a str,
    path: &'a str,
}

impl Signed<'_> {
    /// Checks `yyyymmddThhmmssZ` and the hexadecimal signature behind it.
    fn is_signed(&self, secret: &str, password: &str, now: Timestamp) -> bool {
        let Some((date, sent)) = password.split_once('Z') else {
            return false;
        };
        let Ok(made) = signature::seconds(&format!("{date}Z")) else {
            return false;
        };
        if (now.as_second() - made).abs() > signature::SKEW {
            return false;
        }
        let sent = hex::decode(sent).unwrap_or_default();
        [self.path.trim_end_matches('/'), self.path]
            .into_iter()
            // Compares in constant time.
            .any(|path| self.mac(secret, path, date).verify_slice(&sent).is_ok())
    }

    /// `date` is `yyyymmddThhmmss`.
    fn mac(&self, secret: &str, path: &str, date: &str) -> Hmac<Sha256> {
        let day = date.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/codecommit/aws4_request", self.region);
        // The helpers leave the port out; a path is signed as the remote's address has it.
        let host = self.host.split(':').next().unwrap_or_default();
        let request = format!("GIT\n{path}\n\nhost:{host}\n\nhost\n");
        let text = format!(
            "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
            hex::encode(Sha256::digest(request))
        );
        signature::mac(&signature::key(secret, &scope), text.as_bytes())
    }
}

/// The password for a repository's path on a host, from now on for 15 minutes.
pub(crate) fn git_password(secret: &str, region: &str, host: &str, path: &str) -> String {
    let date = Timestamp::now().strftime("%Y%m%dT%H%M%S").to_string();
    let signed = Signed { region, host, path };
    let mac = signed.mac(secret, path, &date).finalize().into_bytes();
    format!("{date}Z{}", hex::encode(mac))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    /// What botocore's `SigV4Auth` computes in awscli's `sign_request` (awscli 1.46.3) for
    /// `http://127.0.0.1:4566/v1/repos/flights` in us-east-1 at 2026-01-02 03:04:05.
    const PASSWORD: &str =
        "20260102T030405Z47318e3d8b16aca27b0bf1c3671a69fdd21cbb393adeee2d5180669651442f32";

    fn is_signed(region: &str, host: &str, path: &str, password: &str, now: &str) -> bool {
        let signed = Signed { region, host, path };
        signed.is_signed(SECRET, password, now.parse().unwrap())
    }

    #[test]
    fn the_signature_is_that_of_the_aws_credential_helper() {
        let (region, host, path) = ("us-east-1", "127.0.0.1:4566", "/v1/repos/flights/");
        let now = "2026-01-02T03:10:00Z";
        assert!(is_signed(region, host, path, PASSWORD, now));
        for (region, host, path, now) in [
            ("eu-west-1", host, path, now),
            (region, "localhost:4566", path, now),
            (region, host, "/v1/repos/other/", now),
            (region, host, path, "2026-01-02T03:20:00Z"),
            (region, host, path, "2026-01-02T02:40:00Z"),
        ] {
            assert!(
                !is_signed(region, host, path, PASSWORD, now),
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
            assert!(!is_signed(region, host, path, password, now), "{password}");
        }
        let own = git_password(SECRET, region, host, "/v1/repos/flights");
        assert!(is_signed(
            region,
            host,
            path,
            &own,
            &Timestamp::now().to_string()
        ));
        let other = PASSWORD.replace("030405", "030406");
        assert!(!is_signed(region, host, path, &other, now));
    }
}
