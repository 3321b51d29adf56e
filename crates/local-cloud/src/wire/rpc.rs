//! Requests that name their operation outside of their body: awsJson in `X-Amz-Target`, Smithy RPC v2 CBOR in the
//! path. Bodies can be compressed with gzip.

use std::borrow::Cow;
use std::io::Read;

use axum::body::Body;
use http::request::Parts;
use http::{HeaderValue, Response, header};
use serde_json::Value;

use super::{Dialect, cbor, json};
use crate::api::{ApiError, ApiResult};
use crate::cloud::service::{Service, Services};

/// The service and the operation of a request.
pub(crate) fn target(
    parts: &Parts,
    dialect: Dialect,
    services: Services,
) -> ApiResult<(&'static Service, &str)> {
    let unknown = |message: &str| ApiError::new("UnknownOperationException", message);
    if dialect == Dialect::Cbor {
        let (name, operation) = cbor::operation(parts.uri.path())
            .ok_or_else(|| unknown("the path is not /service/SERVICE/operation/OPERATION"))?;
        let service = services.of_target_prefix(name)?;
        if service.cbor_times.is_none() {
            return Err(ApiError::not_implemented(format_args!(
                "the protocol of this request for the service {}",
                service.signing_name
            )));
        }
        return Ok((service, operation));
    }
    let target = parts.headers.get("x-amz-target");
    let target = target.and_then(|value| value.to_str().ok());
    services.of_target(target.ok_or_else(|| unknown("the request has no X-Amz-Target"))?)
}

/// Decodes a request body.
pub(crate) fn decode(
    parts: &Parts,
    dialect: Dialect,
    service: &Service,
    body: &[u8],
) -> ApiResult<Value> {
    let limit = service.max_body;
    let body = decompressed(parts, body, limit)?;
    if body.len() > limit {
        return Err(super::body::BodyError::TooLong.into_error(limit));
    }
    match dialect {
        Dialect::Cbor => cbor::decode(&body),
        _ => json::decode(&body),
    }
}

/// Encodes the response of an operation; `service` is unknown if the request names none.
pub(crate) fn encode(
    parts: &Parts,
    dialect: Dialect,
    service: Option<&Service>,
    request_id: &str,
    result: ApiResult<Value>,
) -> Response<Body> {
    let query_error = service.and_then(|service| query_error(parts, service, &result));
    let times = service.and_then(|service| service.cbor_times);
    let mut response = match dialect {
        Dialect::Cbor => cbor::encode(times.unwrap_or_default(), request_id, result),
        Dialect::Json(kind) => json::encode(kind, request_id, result),
        _ => return dialect.refuse(request_id, &ApiError::internal("not a protocol of RPC")),
    };
    if let Some(value) = query_error {
        response.headers_mut().insert("x-amzn-query-error", value);
    }
    response
}

/// The code of an error in the query protocol, which the service once used: SDKs that request it report this code,
/// so that programs need no change.
fn query_error(parts: &Parts, service: &Service, result: &ApiResult<Value>) -> Option<HeaderValue> {
    let error = result.as_ref().err()?;
    if service.query_codes.is_empty() || !parts.headers.contains_key("x-amzn-query-mode") {
        return None;
    }
    let known = service
        .query_codes
        .iter()
        .find(|(shape, _)| *shape == error.code);
    let code = known.map_or(error.code.as_str(), |(_, code)| code);
    let fault = if error.status >= 500 {
        "Receiver"
    } else {
        "Sender"
    };
    HeaderValue::from_str(&format!("{code};{fault}")).ok()
}

/// The body without its compression, up to a limit.
fn decompressed<'a>(parts: &Parts, body: &'a [u8], limit: usize) -> ApiResult<Cow<'a, [u8]>> {
    let coding = parts.headers.get(header::CONTENT_ENCODING);
    let coding = coding.map_or(&b""[..], HeaderValue::as_bytes);
    // Clients of JSON protocols without an SDK send `amz-1.0`, which means no coding.
    let is_plain = ["", "identity", "amz-1.0"];
    if is_plain
        .iter()
        .any(|name| coding.eq_ignore_ascii_case(name.as_bytes()))
    {
        return Ok(Cow::Borrowed(body));
    }
    if !coding.eq_ignore_ascii_case(b"gzip") {
        let message = "unsupported Content-Encoding: use gzip or none";
        return Err(ApiError::new("UnsupportedMediaTypeException", message).status(415));
    }
    let mut plain = Vec::new();
    // One byte more than allowed shows that there is more.
    let limit = limit as u64 + 1;
    let mut reader = flate2::read::MultiGzDecoder::new(body).take(limit);
    reader.read_to_end(&mut plain).map_err(|error| {
        ApiError::new(
            "SerializationException",
            format!("the gzip body is invalid: {error}"),
        )
    })?;
    Ok(Cow::Owned(plain))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use serde_json::json;

    use super::*;

    const SERVICE: Service = Service {
        max_body: 1000,
        query_codes: &[("Absent", "NotThere")],
        ..Service::json("x", "X", "X_1", &[])
    };

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().uri("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn compressed_bodies_are_limited() {
        let json = Dialect::Json("application/x-amz-json-1.0");
        let of =
            |headers: &[(&str, &str)], body: &[u8]| decode(&parts(headers), json, &SERVICE, body);
        let zipped = [("content-encoding", "gzip")];
        assert_eq!(of(&zipped, &gzip(b"{\"a\": 1}")), Ok(json!({"a": 1})));
        assert_eq!(
            of(&[("content-encoding", "GZIP")], &gzip(b"1")),
            Ok(json!(1))
        );
        for plain in ["amz-1.0", "identity"] {
            assert_eq!(of(&[("content-encoding", plain)], b"2"), Ok(json!(2)));
        }
        // Nothing after the first member is dropped.
        let two = [gzip(b"{}"), gzip(b"x")].concat();
        assert_eq!(
            of(&zipped, &two).unwrap_err().code,
            "SerializationException"
        );
        let bomb = gzip(&vec![b' '; 10 << 20]);
        assert_eq!(of(&zipped, &bomb).unwrap_err().status, 413);
        assert_eq!(of(&[], &[b' '; 1001]).unwrap_err().status, 413);
        assert_eq!(
            of(&zipped, b"{}").unwrap_err().code,
            "SerializationException"
        );
        assert_eq!(
            of(&[("content-encoding", "br")], b"{}").unwrap_err().status,
            415
        );
    }

    #[test]
    fn errors_have_the_codes_of_the_query_protocol() {
        let json = Dialect::Json("application/x-amz-json-1.0");
        let code = |headers: &[(&str, &str)], error: ApiError| {
            let response = encode(&parts(headers), json, Some(&SERVICE), "id", Err(error));
            let code = response.headers().get("x-amzn-query-error").cloned();
            code.map(|code| code.to_str().unwrap().to_owned())
        };
        let mode = [("x-amzn-query-mode", "true")];
        let absent = ApiError::new("Absent", "");
        assert_eq!(
            code(&mode, absent.clone()).as_deref(),
            Some("NotThere;Sender")
        );
        assert_eq!(code(&[], absent), None);
        let broken = ApiError::internal("");
        assert_eq!(
            code(&mode, broken).as_deref(),
            Some("InternalFailure;Receiver")
        );
    }
}
