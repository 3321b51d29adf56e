//! The protocol of a client, as detected from its request, and how errors are written in it.

use axum::body::Body;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use quick_xml::escape::escape;
use serde_json::json;

use super::query::{self, Flavour};
use super::{cbor, json, services};
use crate::api::ApiError;
use crate::cloud::service::Services;

/// The protocol of a client. A client can only read errors in its own protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// awsJson 1.0 or 1.1, by content type.
    Json(&'static str),
    /// Smithy RPC v2 CBOR.
    Cbor,
    /// The query protocol or EC2's variant.
    Query(Flavour),
    /// REST-JSON.
    RestJson,
    /// REST-XML.
    RestXml,
    /// S3's REST-XML, whose errors have no envelope.
    S3,
    /// The OCI distribution protocol.
    Registry,
    /// Git over HTTP; git shows the text of an error.
    Git,
}

impl Dialect {
    /// Detects the protocol of a request to one of `services`. `signing` is the service in its
    /// credential scope, if any.
    pub(crate) fn of(parts: &Parts, signing: Option<&str>, services: Services) -> Self {
        let headers = &parts.headers;
        let is = |name: HeaderName, start: &str| starts(headers, &name, start);
        if is_cbor(headers) {
            return Self::Cbor;
        }
        if headers.contains_key("x-amz-target") {
            return Self::Json(json::content_type(headers));
        }
        let path = parts.uri.path();
        let form = is(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let Some(signing) = signing else {
            return if is_registry(parts, false) {
                Self::Registry
            } else if is_git(parts, false) {
                Self::Git
            } else if form {
                Self::Query(Flavour::Query(""))
            } else if is(header::CONTENT_TYPE, "application/json")
                || is(header::AUTHORIZATION, "Bearer ")
                || headers.contains_key("x-amz-sso_bearer_token")
            {
                Self::RestJson
            } else {
                Self::Json(json::content_type(headers))
            };
        };
        let of_query = || match services.of_form(signing) {
            Some(service) => Self::Query(Flavour::of(service)),
            None => Self::Query(Flavour::Query("")),
        };
        let rest = services::rest(Some(signing), path);
        let speaks_query = !services::signed(signing, &["query", "ec2"]).is_empty();
        let is_rest = rest.iter().any(|known| known.matches(path) > 0);
        if form && !is_rest && (rest.is_empty() || speaks_query) {
            return of_query();
        }
        match rest.first() {
            Some(first) if first.speaks(&["rest-json"]) => Self::RestJson,
            Some(_) if signing == "s3" && !path.starts_with("/v20180820/") => Self::S3,
            Some(_) => Self::RestXml,
            None if !services::signed(signing, &["json"]).is_empty() => {
                Self::Json(json::content_type(headers))
            }
            None if speaks_query => of_query(),
            None => Self::RestJson,
        }
    }

    /// Encodes an error.
    pub(crate) fn refuse(self, request_id: &str, error: &ApiError) -> Response<Body> {
        let (kind, body) = match self {
            Self::Json(kind) => return json::encode(kind, request_id, Err(error.clone())),
            Self::Query(flavour) => return query::refuse(flavour, request_id, error),
            Self::Cbor => (cbor::CONTENT_TYPE, cbor::error_bytes(error)),
            Self::RestJson => (
                "application/json",
                json!({"message": error.message}).to_string().into_bytes(),
            ),
            Self::RestXml => {
                let inner = format!("<Type>Sender</Type>{}", xml(&error.code, &error.message));
                let text = format!(
                    "{XML}<ErrorResponse><Error>{inner}</Error><RequestId>{request_id}</RequestId></ErrorResponse>"
                );
                ("application/xml", text.into_bytes())
            }
            Self::S3 => {
                let code = match error.code.as_str() {
                    "InternalFailure" => "InternalError",
                    code => code,
                };
                let inner = xml(code, &error.message);
                let text =
                    format!("{XML}<Error>{inner}<RequestId>{request_id}</RequestId></Error>");
                ("application/xml", text.into_bytes())
            }
            Self::Registry => {
                let code = match error.status {
                    401 => "UNAUTHORIZED",
                    403 => "DENIED",
                    413 => "SIZE_INVALID",
                    500.. => "UNKNOWN",
                    _ => "UNSUPPORTED",
                };
                let errors = json!({"errors": [{"code": code, "message": error.message}]});
                ("application/json", errors.to_string().into_bytes())
            }
            Self::Git => ("text/plain", format!("{}\n", error.message).into_bytes()),
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() =
            StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
        self.label(response.headers_mut(), kind, request_id, error);
        response
    }

    fn label(self, headers: &mut HeaderMap, kind: &'static str, id: &str, error: &ApiError) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        let id_header = match self {
            Self::S3 => "x-amz-request-id",
            _ => "x-amzn-requestid",
        };
        if let Ok(id) = HeaderValue::from_str(id) {
            headers.insert(id_header, id);
        }
        match self {
            Self::Cbor => {
                headers.insert("smithy-protocol", HeaderValue::from_static("rpc-v2-cbor"));
            }
            Self::RestJson => {
                if let Ok(code) = HeaderValue::from_str(&error.code) {
                    headers.insert("x-amzn-errortype", code);
                }
            }
            _ => {}
        }
    }
}

fn starts(headers: &HeaderMap, name: &HeaderName, start: &str) -> bool {
    let value = headers.get(name).map(HeaderValue::as_bytes);
    value.is_some_and(|value| value.starts_with(start.as_bytes()))
}

fn is_cbor(headers: &HeaderMap) -> bool {
    starts(
        headers,
        &HeaderName::from_static("smithy-protocol"),
        "rpc-v2-cbor",
    )
}

/// True for a request that only its path identifies: without signature, target or protocol header.
fn is_plain(parts: &Parts, signed: bool) -> bool {
    !signed && !is_cbor(&parts.headers) && !parts.headers.contains_key("x-amz-target")
}

/// True for a request of the OCI distribution protocol. A `signed` request with such a path is for
/// S3.
pub(crate) fn is_registry(parts: &Parts, signed: bool) -> bool {
    let path = parts.uri.path();
    is_plain(parts, signed) && (path == "/v2" || path.starts_with("/v2/"))
}

/// True for a request of git's protocol.
pub(crate) fn is_git(parts: &Parts, signed: bool) -> bool {
    is_plain(parts, signed) && parts.uri.path().starts_with("/v1/repos/")
}

const XML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

fn xml(code: &str, message: &str) -> String {
    let message = query::xml_text(message);
    let (code, message) = (escape(code), escape(&message));
    format!("<Code>{code}</Code><Message>{message}</Message>")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str, headers: &[(&str, &str)], signing: Option<&str>) -> Dialect {
        let mut request = http::Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        Dialect::of(&parts, signing, Services::new(crate::services::SERVICES))
    }

    #[test]
    fn the_protocol_of_a_request_is_detected() {
        let json_1_1 = Dialect::Json("application/x-amz-json-1.1");
        let form = (
            "content-type",
            "application/x-www-form-urlencoded; charset=utf-8",
        );
        let other = Dialect::Query(Flavour::Query(""));
        for (path, headers, signing, wanted) in [
            ("/", &[("x-amz-target", "A.B")][..], None, json_1_1),
            (
                "/",
                &[
                    ("x-amz-target", "A.B"),
                    ("content-type", "application/x-amz-json-1.0"),
                ],
                Some("dynamodb"),
                Dialect::Json("application/x-amz-json-1.0"),
            ),
            (
                "/service/S/operation/O",
                &[("smithy-protocol", "rpc-v2-cbor")],
                Some("monitoring"),
                Dialect::Cbor,
            ),
            ("/", &[form], Some("ec2"), Dialect::Query(Flavour::Ec2)),
            ("/", &[form], Some("elasticache"), other),
            ("/", &[form], Some("nobody"), other),
            ("/", &[], Some("ec2"), Dialect::Query(Flavour::Ec2)),
            ("/", &[form], None, other),
            ("/b/k", &[], Some("s3"), Dialect::S3),
            ("/v2/k", &[], Some("s3"), Dialect::S3),
            // curl sends every body with this content type.
            ("/b/k", &[form], Some("s3"), Dialect::S3),
            ("/v20180820/jobs", &[], Some("s3"), Dialect::RestXml),
            (
                "/2013-04-01/hostedzone",
                &[],
                Some("route53"),
                Dialect::RestXml,
            ),
            ("/v2/apis", &[], Some("apigateway"), Dialect::RestJson),
            (
                "/endpoints/e/invocations",
                &[form],
                Some("sagemaker"),
                Dialect::RestJson,
            ),
            ("/", &[], Some("logs"), json_1_1),
            (
                "/v2/",
                &[("authorization", "Basic QVdTOng=")],
                None,
                Dialect::Registry,
            ),
            ("/v1/repos/a/info/refs", &[], None, Dialect::Git),
            (
                "/v1/spaces",
                &[("authorization", "Bearer x")],
                None,
                Dialect::RestJson,
            ),
        ] {
            assert_eq!(
                of(path, headers, signing),
                wanted,
                "{path} {headers:?} {signing:?}"
            );
        }
    }

    #[tokio::test]
    async fn each_protocol_has_its_own_errors() {
        use http_body_util::BodyExt;

        let error = ApiError::new("Code", "a < b");
        for (dialect, wanted) in [
            (Dialect::RestJson, &br#"{"message":"a < b"}"#[..]),
            (Dialect::Json("application/x-amz-json-1.1"), br#"{"__type":"Code","message":"a < b"}"#),
            (Dialect::S3, b"<Error><Code>Code</Code><Message>a &lt; b</Message><RequestId>r</RequestId></Error>"),
            (Dialect::RestXml, b"<Code>Code</Code><Message>a &lt; b</Message></Error>"),
            (Dialect::Query(Flavour::Ec2), b"<Response><Errors><Error><Code>Code</Code>"),
            (Dialect::Query(Flavour::Query("")), b"<Type>Sender</Type><Code>Code</Code>"),
            (Dialect::Registry, br#"{"errors":[{"code":"UNSUPPORTED","message":"a < b"}]}"#),
            (Dialect::Git, b"a < b\n"),
            (Dialect::Cbor, b"\xa2\x66__type\x64Code\x67message\x65a < b"),
        ] {
            let response = dialect.refuse("r", &error);
            assert_eq!(response.status(), 400);
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let has = body.windows(wanted.len()).any(|part| part == wanted);
            assert!(has, "{dialect:?}: {}", String::from_utf8_lossy(&body));
        }
    }
}
