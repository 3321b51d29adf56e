//! The policy of a form upload: who signed it, when it expires, and what it allows.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde_json::Value;
use sha1::Sha1;
use sha2::Sha256;

use super::form_fields::{Fields, missing};
use crate::admission::{self, Scope};
use crate::api::{ApiError, ApiResult};
use crate::cloud::caller::Caller;
use crate::{Cloud, limits};

fn denied(message: impl Into<String>) -> ApiError {
    ApiError::new("AccessDenied", message).status(403)
}

fn invalid(why: &str) -> ApiError {
    ApiError::new("InvalidPolicyDocument", format!("Invalid Policy: {why}"))
}

/// The signature of a form's policy.
enum Signature<'a> {
    /// Version 4: `KEY/DATE/REGION/s3/aws4_request` and the hex signature.
    V4(&'a str, &'a str),
    /// Version 2: the access key and the base64 signature.
    V2(&'a str, &'a str),
}

impl<'a> Signature<'a> {
    fn of(fields: &'a Fields) -> ApiResult<Self> {
        if let Some(credential) = fields.get("x-amz-credential") {
            if fields.get("x-amz-algorithm") != Some("AWS4-HMAC-SHA256") {
                return Err(missing("X-Amz-Algorithm"));
            }
            fields
                .get("x-amz-date")
                .ok_or_else(|| missing("X-Amz-Date"))?;
            let signature = fields.get("x-amz-signature");
            return Ok(Self::V4(
                credential,
                signature.ok_or_else(|| missing("X-Amz-Signature"))?,
            ));
        }
        let Some(key) = fields.get("awsaccesskeyid") else {
            // An upload without credentials is anonymous, and no bucket here is public.
            return Err(denied("Access Denied"));
        };
        let signature = fields.get("signature");
        Ok(Self::V2(
            key,
            signature.ok_or_else(|| missing("signature"))?,
        ))
    }

    fn access_key(&self) -> &'a str {
        match self {
            Self::V4(credential, _) => credential.split('/').next().unwrap_or_default(),
            Self::V2(key, _) => key,
        }
    }

    /// True if this is the signature of the policy by `secret`.
    fn signs(&self, policy: &str, secret: &str) -> bool {
        fn mac256(key: &[u8], text: &str) -> Hmac<Sha256> {
            let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key)
                .expect("HMAC takes a key of any length");
            mac.update(text.as_bytes());
            mac
        }
        match self {
            Self::V4(credential, signature) => {
                let mut key = format!("AWS4{secret}").into_bytes();
                for field in credential.split('/').skip(1) {
                    key = mac256(&key, field).finalize().into_bytes().to_vec();
                }
                let sent = hex::decode(signature).unwrap_or_default();
                mac256(&key, policy).verify_slice(&sent).is_ok()
            }
            Self::V2(_, signature) => {
                let mut mac = <Hmac<Sha1> as KeyInit>::new_from_slice(secret.as_bytes())
                    .expect("HMAC takes a key of any length");
                mac.update(policy.as_bytes());
                let sent = STANDARD.decode(signature).unwrap_or_default();
                mac.verify_slice(&sent).is_ok()
            }
        }
    }
}

/// Authenticates a form; returns its caller. If any credentials are accepted, only a session's signature can be
/// verified, but a form without credentials is still refused.
pub(super) fn authenticate(cloud: &Cloud, fields: &Fields) -> ApiResult<Caller> {
    let signature = Signature::of(fields)?;
    let policy = fields.get("policy").ok_or_else(|| missing("policy"))?;
    let scope = Scope {
        access_key: signature.access_key().to_owned(),
        region: cloud.region().to_owned(),
        service: "s3".to_owned(),
    };
    admission::check_state(&admission::access_key(cloud.directory()), &scope)?;
    let token = fields.get("x-amz-security-token");
    let unknown = |error: ApiError| match error.code.as_str() {
        "InvalidClientTokenId" => ApiError::new(
            "InvalidAccessKeyId",
            "The AWS Access Key Id you provided does not exist in our records.",
        )
        .status(403),
        _ => error,
    };
    let secret_key = admission::secret_key(cloud, &scope.access_key).map_err(unknown)?;
    let caller = admission::caller_with_token(cloud, &scope.access_key, token)?;
    match secret_key {
        None => Ok(caller),
        Some(secret_key) if signature.signs(policy, &secret_key) => Ok(caller),
        Some(_) => Err(ApiError::new(
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. Check your \
             key and signing method.",
        )
        .status(403)),
    }
}

/// A condition of a policy on a field, whose name is in lower case.
#[derive(Debug, PartialEq, Eq)]
enum Condition {
    Equal(String, String),
    StartsWith(String, String),
    Length(u64, u64),
}

/// The uploads that the signer of a form allows.
#[derive(Debug)]
pub(super) struct Policy {
    expiration: Timestamp,
    conditions: Vec<Condition>,
}

/// Fields that the policy need not mention.
const EXEMPT: [&str; 5] = [
    "policy",
    "x-amz-signature",
    "signature",
    "awsaccesskeyid",
    "file",
];

impl Policy {
    /// The policy of a form.
    pub(super) fn of(fields: &Fields) -> ApiResult<Self> {
        let text = fields.get("policy").ok_or_else(|| missing("policy"))?;
        let bytes = STANDARD
            .decode(text.split_ascii_whitespace().collect::<String>())
            .map_err(|_| invalid("Invalid Base64 encoding."))?;
        let policy = limits::document(&bytes)
            .map_err(|error| invalid(&format!("Invalid JSON. ({error})")))?;
        let expiration = policy["expiration"]
            .as_str()
            .ok_or_else(|| invalid("Policy missing expiration."))?;
        // S3 accepts only this form of ISO 8601.
        let expiration = Some(expiration)
            .filter(|text| text.contains('T') && text.ends_with('Z'))
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| invalid("Invalid 'expiration' value."))?;
        let conditions = policy["conditions"]
            .as_array()
            .ok_or_else(|| invalid("Invalid 'conditions' value: must be a List."))?
            .iter()
            .map(condition)
            .collect::<ApiResult<Vec<_>>>()?;
        Ok(Self {
            expiration,
            conditions: conditions.into_iter().flatten().collect(),
        })
    }

    /// Minimum and maximum size of the file, in bytes.
    pub(super) fn range(&self) -> Option<(u64, u64)> {
        let mut found = None;
        for condition in &self.conditions {
            if let Condition::Length(least, most) = condition {
                let (low, high) = found.unwrap_or((0, u64::MAX));
                found = Some((low.max(*least), high.min(*most)));
            }
        }
        found
    }

    /// Fails with `AccessDenied` if the policy has expired or does not allow these fields.
    pub(super) fn check(&self, bucket: &str, fields: &Fields, now: Timestamp) -> ApiResult<()> {
        if now >= self.expiration {
            return Err(denied("Invalid according to Policy: Policy expired."));
        }
        let value = |name: &str| match name {
            "bucket" => Some(bucket),
            name => fields.get(name),
        };
        for condition in &self.conditions {
            let (operator, name, wanted, holds) = match condition {
                Condition::Length(..) => continue,
                Condition::Equal(name, wanted) => ("eq", name, wanted, value(name) == Some(wanted)),
                Condition::StartsWith(name, prefix) => {
                    let found = value(name).unwrap_or_default();
                    let holds = if name == "content-type" {
                        // A list of types: each must match.
                        found
                            .split(',')
                            .all(|found| found.trim_start().starts_with(prefix))
                    } else {
                        found.starts_with(prefix)
                    };
                    ("starts-with", name, prefix, holds)
                }
            };
            if !holds {
                return Err(denied(format!(
                    "Invalid according to Policy: Policy Condition failed: [\"{operator}\", \
                     \"${name}\", \"{wanted}\"]"
                )));
            }
        }
        let named = |field: &str| {
            self.conditions.iter().any(|condition| match condition {
                Condition::Equal(name, _) | Condition::StartsWith(name, _) => name == field,
                Condition::Length(..) => false,
            })
        };
        // The bucket is not a form field, but a policy without a condition on it would allow every
        // bucket.
        let extra: Vec<_> = std::iter::once("bucket")
            .chain(fields.iter().map(|(name, _)| name))
            .filter(|name| {
                let exempt = EXEMPT.contains(name)
                    || name.starts_with("x-ignore-")
                    // A checksum grants nothing: it can only make the upload fail. Unverified
                    // against AWS [s3-form-checksum].
                    || name.starts_with("x-amz-checksum-");
                !exempt && !named(name)
            })
            .collect();
        if extra.is_empty() {
            return Ok(());
        }
        Err(denied(format!(
            "Invalid according to Policy: Extra input fields: {}",
            extra.join(", ")
        )))
    }
}

/// Parses one entry: a list of an operator and its operands, or an object that maps fields to
/// required values.
fn condition(entry: &Value) -> ApiResult<Vec<Condition>> {
    let unknown = || invalid("Invalid Condition.");
    if let Some(members) = entry.as_object() {
        if members.len() != 1 {
            return Err(invalid(
                "Invalid Simple-Condition: Simple-Conditions must have exactly one property \
                 specified.",
            ));
        }
        return members
            .iter()
            .map(|(name, value)| {
                let value = value.as_str().ok_or_else(unknown)?;
                Ok(Condition::Equal(
                    name.to_ascii_lowercase(),
                    value.to_owned(),
                ))
            })
            .collect();
    }
    let [operator, first, second] = entry.as_array().map_or(&[][..], Vec::as_slice) else {
        return Err(unknown());
    };
    let operator = operator.as_str().ok_or_else(unknown)?.to_ascii_lowercase();
    if operator == "content-length-range" {
        let number = |value: &Value| {
            value
                .as_u64()
                .or_else(|| value.as_str()?.parse().ok())
                .ok_or_else(unknown)
        };
        return Ok(vec![Condition::Length(number(first)?, number(second)?)]);
    }
    let name = first
        .as_str()
        .and_then(|name| name.strip_prefix('$'))
        .ok_or_else(unknown)?
        .to_ascii_lowercase();
    let value = second.as_str().ok_or_else(unknown)?.to_owned();
    match operator.as_str() {
        "eq" => Ok(vec![Condition::Equal(name, value)]),
        "starts-with" => Ok(vec![Condition::StartsWith(name, value)]),
        _ => Err(unknown()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::credentials::Credentials;
    use crate::sts;
    use crate::test_cloud::TestCloud;

    #[test]
    fn conditions_have_two_spellings() {
        let read = |text: &str| condition(&serde_json::from_str(text).unwrap());
        let equal = vec![Condition::Equal("acl".to_owned(), "private".to_owned())];
        assert_eq!(read(r#"{"ACL": "private"}"#).unwrap(), equal);
        assert_eq!(read(r#"["EQ", "$acl", "private"]"#).unwrap(), equal);
        assert_eq!(
            read(r#"["content-length-range", 1, "10"]"#).unwrap(),
            [Condition::Length(1, 10)]
        );
        for bad in [
            r#"["like", "$acl", "x"]"#,
            r#"["eq", "acl", "x"]"#,
            r#"["eq", "$acl"]"#,
            r#"["content-length-range", -1, 3]"#,
            r#"{"acl": 1}"#,
            r#"{}"#,
            r#"{"acl": "private", "key": "k"}"#,
            "3",
        ] {
            assert_eq!(
                read(bad).unwrap_err().code,
                "InvalidPolicyDocument",
                "{bad}"
            );
        }
    }

    #[test]
    fn a_policy_names_its_bucket() {
        let check = |conditions: Value| {
            let policy = json!({"expiration": "2099-01-01T00:00:00Z", "conditions": conditions});
            let policy = STANDARD.encode(policy.to_string());
            let fields = Fields::of([("key", "k"), ("policy", policy.as_str())]);
            let now = "2026-01-01T00:00:00Z".parse().unwrap();
            Policy::of(&fields)
                .unwrap()
                .check("mine", &fields, now)
                .map_err(|error| error.message)
        };
        assert_eq!(check(json!([{"key": "k"}, {"bucket": "mine"}])), Ok(()));
        let any = json!([{"key": "k"}, ["starts-with", "$bucket", ""]]);
        assert_eq!(check(any), Ok(()));
        let other = check(json!([{"key": "k"}, {"bucket": "other"}])).unwrap_err();
        assert!(other.contains("Policy Condition failed"), "{other}");
        let none = check(json!([{"key": "k"}])).unwrap_err();
        assert_eq!(
            none,
            "Invalid according to Policy: Extra input fields: bucket"
        );
    }

    #[test]
    fn sessions_sign_forms_with_their_token() {
        let signed = |key: &str, secret: &str, token: Option<&str>| {
            let mut mac = <Hmac<Sha1> as KeyInit>::new_from_slice(secret.as_bytes()).unwrap();
            mac.update(b"e30=");
            let signature = STANDARD.encode(mac.finalize().into_bytes());
            let mut fields = vec![
                ("awsaccesskeyid", key),
                ("policy", "e30="),
                ("signature", signature.as_str()),
            ];
            fields.extend(token.map(|token| ("x-amz-security-token", token)));
            Fields::of(fields)
        };
        let required = Credentials::Required {
            access_key: "AKIDEXAMPLE".to_owned(),
            secret_key: "own".to_owned(),
        };
        for credentials in [Credentials::Any, required] {
            let at = TestCloud::with_credentials(credentials);
            let cloud = at.cloud();
            let valid = sts::session(&cloud, "VALID", 900);
            let expired = sts::session(&cloud, "EXPIRED", -1);
            let refusal = |key: &str, secret: &str, token: Option<&str>| {
                authenticate(&cloud, &signed(key, secret, token))
                    .err()
                    .map(|error| error.code)
            };
            assert_eq!(refusal("AKIDEXAMPLE", "own", None), None);
            assert_eq!(refusal(&valid, "secret", Some("token")), None);
            for token in [None, Some("another")] {
                let code = refusal(&valid, "secret", token);
                assert_eq!(code.as_deref(), Some("InvalidClientTokenId"), "{token:?}");
            }
            let code = refusal(&expired, "secret", Some("token"));
            assert_eq!(code.as_deref(), Some("ExpiredToken"));
            let code = refusal(&valid, "wrong", Some("token"));
            assert_eq!(code.as_deref(), Some("SignatureDoesNotMatch"));
            let code = refusal("ASIAUNKNOWN", "secret", Some("token"));
            assert_eq!(code.as_deref(), Some("InvalidAccessKeyId"));
        }
    }

    /// The example of "Browser-based uploads using POST (AWS signature version 4)".
    #[test]
    fn signatures_match_the_documentation() {
        let policy = concat!(
            "eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiLA0KICAiY29uZGl0aW9ucyI6IFsNCi",
            "AgICB7ImJ1Y2tldCI6ICJzaWd2NGV4YW1wbGVidWNrZXQifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRrZXki",
            "LCAidXNlci91c2VyMS8iXSwNCiAgICB7ImFjbCI6ICJwdWJsaWMtcmVhZCJ9LA0KICAgIHsic3VjY2Vzc19hY3",
            "Rpb25fcmVkaXJlY3QiOiAiaHR0cDovL3NpZ3Y0ZXhhbXBsZWJ1Y2tldC5zMy5hbWF6b25hd3MuY29tL3N1Y2Nl",
            "c3NmdWxfdXBsb2FkLmh0bWwifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRDb250ZW50LVR5cGUiLCAiaW1hZ2",
            "UvIl0sDQogICAgeyJ4LWFtei1tZXRhLXV1aWQiOiAiMTQzNjUxMjM2NTEyNzQifSwNCiAgICB7IngtYW16LXNl",
            "cnZlci1zaWRlLWVuY3J5cHRpb24iOiAiQUVTMjU2In0sDQogICAgWyJzdGFydHMtd2l0aCIsICIkeC1hbXotbW",
            "V0YS10YWciLCAiIl0sDQoNCiAgICB7IngtYW16LWNyZWRlbnRpYWwiOiAiQUtJQUlPU0ZPRE5ON0VYQU1QTEUv",
            "MjAxNTEyMjkvdXMtZWFzdC0xL3MzL2F3czRfcmVxdWVzdCJ9LA0KICAgIHsieC1hbXotYWxnb3JpdGhtIjogIk",
            "FXUzQtSE1BQy1TSEEyNTYifSwNCiAgICB7IngtYW16LWRhdGUiOiAiMjAxNTEyMjlUMDAwMDAwWiIgfQ0KICBd",
            "DQp9"
        );
        let signature = Signature::V4(
            "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request",
            "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e",
        );
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        assert!(signature.signs(policy, secret));
        assert!(!signature.signs(policy, "another"));
        assert!(!signature.signs(&policy[..100], secret));
    }
}
