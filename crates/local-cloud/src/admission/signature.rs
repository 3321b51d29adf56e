//! Signature version 4, as described in the AWS General Reference, for requests other than those of
//! S3 (s3s verifies these).

use hmac::{Hmac, KeyInit, Mac};
use http::request::Parts;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};

use crate::api::{ApiError, ApiResult};

/// Maximum clock skew of a client, in seconds.
pub(super) const SKEW: i64 = 900;

/// Characters that SigV4 does not encode in a URI.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// The parts of a signature, from the `Authorization` header or a presigned URL.
#[derive(Debug)]
struct Signed {
    /// `DATE/REGION/SERVICE/aws4_request`
    scope: String,
    headers: Vec<String>,
    signature: String,
    /// `yyyymmddThhmmssZ`
    date: String,
    presigned: bool,
}

fn mismatch(message: &str) -> ApiError {
    ApiError::new("SignatureDoesNotMatch", message).status(403)
}

fn incomplete(what: &str) -> ApiError {
    ApiError::new(
        "IncompleteSignature",
        format!("the signature has no {what}"),
    )
    .status(403)
}

fn query(parts: &Parts) -> Vec<(String, String)> {
    parts
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|member| !member.is_empty())
        .map(|member| {
            let (name, value) = member.split_once('=').unwrap_or((member, ""));
            // Unlike in a form, `+` is a plus sign.
            let decode = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
            (decode(name), decode(value))
        })
        .collect()
}

fn member(query: &[(String, String)], name: &str) -> Option<String> {
    query
        .iter()
        .find(|(found, _)| found == name)
        .map(|(_, value)| value.clone())
}

fn header<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    parts
        .headers
        .get(name)
        .and_then(|value| value.to_str().ok())
}

pub(super) fn seconds(date: &str) -> ApiResult<i64> {
    DateTime::strptime("%Y%m%dT%H%M%SZ", date)
        .ok()
        .and_then(|date| date.to_zoned(TimeZone::UTC).ok())
        .map(|date| date.timestamp().as_second())
        .ok_or_else(|| mismatch("the date is not of the form yyyymmddThhmmssZ"))
}

impl Signed {
    fn read(parts: &Parts) -> ApiResult<Self> {
        if let Some(authorization) = header(parts, "authorization") {
            let field = |name: &str| {
                authorization
                    .trim_start_matches("AWS4-HMAC-SHA256")
                    .split(',')
                    .find_map(|field| field.trim().strip_prefix(name))
                    .map(str::to_owned)
                    .ok_or_else(|| incomplete(name))
            };
            return Ok(Self {
                scope: scope(&field("Credential=")?)?,
                headers: field("SignedHeaders=")?
                    .split(';')
                    .map(str::to_owned)
                    .collect(),
                signature: field("Signature=")?,
                date: header(parts, "x-amz-date")
                    .ok_or_else(|| incomplete("X-Amz-Date"))?
                    .to_owned(),
                presigned: false,
            });
        }
        let query = query(parts);
        let field = |name: &str| member(&query, name).ok_or_else(|| incomplete(name));
        Ok(Self {
            scope: scope(&field("X-Amz-Credential")?)?,
            headers: field("X-Amz-SignedHeaders")?
                .split(';')
                .map(str::to_owned)
                .collect(),
            signature: field("X-Amz-Signature")?,
            date: field("X-Amz-Date")?,
            presigned: true,
        })
    }
}

fn scope(credential: &str) -> ApiResult<String> {
    let fields: Vec<_> = credential.rsplitn(5, '/').collect();
    match fields[..] {
        ["aws4_request", service, region, date, _key] => {
            Ok(format!("{date}/{region}/{service}/aws4_request"))
        }
        _ => Err(incomplete("credential scope")),
    }
}

/// Fails with `AccessDenied` if a presigned URL has expired or its date is in the future.
pub(super) fn check_expiry(parts: &Parts, now: Timestamp) -> ApiResult<()> {
    let query = query(parts);
    let denied = |message: &str| ApiError::new("AccessDenied", message).status(403);
    if member(&query, "AWSAccessKeyId").is_some() {
        let end = member(&query, "Expires").and_then(|text| text.parse::<i64>().ok());
        return match end {
            Some(end) if now.as_second() <= end => Ok(()),
            _ => Err(denied("Request has expired")),
        };
    }
    if member(&query, "X-Amz-Signature").is_none() {
        return Ok(());
    }
    let signed_at = member(&query, "X-Amz-Date")
        .and_then(|date| seconds(&date).ok())
        .ok_or_else(|| denied("X-Amz-Date is missing or malformed"))?;
    // S3 requires this parameter; elsewhere, a presigned URL without it is valid for 15 minutes.
    let lifetime = match member(&query, "X-Amz-Expires") {
        None => SKEW,
        Some(text) => text
            .parse::<i64>()
            .ok()
            .filter(|lifetime| (1..=604_800).contains(lifetime))
            .ok_or_else(|| {
                denied("X-Amz-Expires must be a number of seconds between 1 and 604800")
            })?,
    };
    let age = now.as_second() - signed_at;
    if age > lifetime {
        return Err(denied("Request has expired"));
    }
    if age < -SKEW {
        return Err(denied("Request is not yet valid"));
    }
    Ok(())
}

/// Verifies the signature and, for a signed header, the date.
pub(super) fn check(parts: &Parts, body: &[u8], secret: &str, now: Timestamp) -> ApiResult<()> {
    let signed = Signed::read(parts)?;
    // `check_expiry` checks presigned dates.
    if !signed.presigned && (now.as_second() - seconds(&signed.date)?).abs() > SKEW {
        return Err(ApiError::new(
            "RequestTimeTooSkewed",
            "the difference between the request time and the current time is too large",
        )
        .status(403));
    }
    if signed.date.get(..8) != signed.scope.get(..8) {
        return Err(mismatch(
            "the date of the credential scope is not that of the request",
        ));
    }
    if !signed.headers.iter().any(|name| name == "host") {
        return Err(mismatch("the header `host` must be signed"));
    }
    let request = canonical(parts, body, &signed);
    let text = format!(
        "AWS4-HMAC-SHA256\n{}\n{}\n{}",
        signed.date,
        signed.scope,
        hex::encode(Sha256::digest(request))
    );
    let key = key(secret, &signed.scope);
    let sent = hex::decode(&signed.signature).unwrap_or_default();
    // Compares in constant time.
    mac(&key, text.as_bytes()).verify_slice(&sent).map_err(|_| {
        mismatch(
            "The request signature we calculated does not match the signature you provided. Check \
             your AWS Secret Access Key and signing method.",
        )
    })
}

/// Derives the signing key for a scope.
pub(super) fn key(secret: &str, scope: &str) -> Vec<u8> {
    let mut key = format!("AWS4{secret}").into_bytes();
    for field in scope.split('/') {
        key = mac(&key, field.as_bytes()).finalize().into_bytes().to_vec();
    }
    key
}

pub(super) fn mac(key: &[u8], text: &[u8]) -> Hmac<Sha256> {
    let mut mac =
        <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(text);
    mac
}

fn canonical(parts: &Parts, body: &[u8], signed: &Signed) -> String {
    let encode = |text: &str| utf8_percent_encode(text, UNRESERVED).to_string();
    // Services other than S3 encode the path a second time.
    let path = parts
        .uri
        .path()
        .split('/')
        .map(encode)
        .collect::<Vec<_>>()
        .join("/");
    let mut members: Vec<_> = query(parts)
        .iter()
        .filter(|(name, _)| name != "X-Amz-Signature")
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    members.sort();
    let mut names = signed.headers.clone();
    names.sort();
    let mut headers = String::new();
    for name in &names {
        let values: Vec<_> = parts
            .headers
            .get_all(name.as_str())
            .iter()
            .map(|value| {
                let text = String::from_utf8_lossy(value.as_bytes());
                text.split_whitespace().collect::<Vec<_>>().join(" ")
            })
            .collect();
        headers.push_str(&format!("{name}:{}\n", values.join(",")));
    }
    format!(
        "{}\n{path}\n{}\n{headers}\n{}\n{}",
        parts.method,
        members.join("&"),
        names.join(";"),
        hex::encode(Sha256::digest(body))
    )
}
