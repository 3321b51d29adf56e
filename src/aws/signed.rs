//! Signed requests to services for which no SDK crate is compiled in.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, anyhow, bail};
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use mlops_core::error::{Failure, ServiceAnswer};
use mlops_core::network::is_loopback;
use quick_xml::Reader;
use quick_xml::events::Event;
use reqwest::Certificate;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::Clients;
use super::error::ErrorKind;

/// The largest response to read, in bytes.
const MAX_RESPONSE: usize = 4 << 20;

/// Time to connect.
const CONNECT: Duration = Duration::from_secs(5);

/// Time for a request and its response.
const WHOLE: Duration = Duration::from_secs(30);

/// A request to an AWS service.
#[derive(Debug)]
pub(super) struct SignedRequest<'a> {
    /// The name of the service in its endpoint and in signatures.
    pub(super) service: &'a str,
    /// The headers besides those of the signature.
    pub(super) headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub(super) body: String,
}

/// A response.
#[derive(Debug)]
pub(super) struct Response {
    /// The HTTP status.
    pub(super) status: u16,
    /// The body.
    pub(super) body: Vec<u8>,
}

/// Sends a request with `POST /` to a service's endpoint in the region of the clients.
pub(super) async fn post(clients: &Clients, request: &SignedRequest<'_>) -> Result<Response> {
    let url = match clients.endpoint_url() {
        Some(endpoint) => Url::parse(endpoint)?,
        None => Url::parse(&endpoint(request.service, clients.region()))?,
    };
    let credentials = clients
        .config
        .credentials_provider()
        .context("no credentials are configured")?
        .provide_credentials()
        .await?;
    let identity = credentials.into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(clients.region())
        .name(request.service)
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()?
        .into();
    let signable = SignableRequest::new(
        "POST",
        url.as_str(),
        request.headers.iter().copied(),
        SignableBody::Bytes(request.body.as_bytes()),
    )?;
    let (signature, _) = sign(signable, &parameters)?.into_parts();
    let mut signed = http::Request::post(url.as_str());
    for (name, value) in request.headers {
        signed = signed.header(*name, *value);
    }
    let mut signed = signed.body(request.body.clone())?;
    signature.apply_to_request_http1x(&mut signed);
    let mut response = client(clients, &url)?
        .execute(signed.try_into()?)
        .await
        .with_context(|| format!("no response from {}", url.host_str().unwrap_or_default()))?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MAX_RESPONSE {
            bail!("the response has more than {MAX_RESPONSE} bytes");
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Response { status, body })
}

/// The endpoint of a service.
fn endpoint(service: &str, region: &str) -> String {
    let domain = if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    };
    format!("https://{service}.{region}.{domain}/")
}

fn client(clients: &Clients, url: &Url) -> Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .timeout(WHOLE);
    if url.scheme() == "http" {
        builder = builder.tls_certs_only([]);
    } else if let Some(trusted) = clients.network().certificates() {
        let trusted = trusted
            .iter()
            .map(|certificate| Certificate::from_der(certificate))
            .collect::<Result<Vec<_>, _>>()?;
        builder = builder.tls_certs_only(trusted);
    }
    if is_loopback(url) {
        builder = builder.no_proxy();
    }
    Ok(builder.build()?)
}

/// The error of an operation, as awsJson encodes it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ServiceError {
    #[serde(rename = "__type")]
    name: String,
    #[serde(alias = "Message")]
    message: String,
}

impl ServiceError {
    /// Returns its code, without the namespace of its shape.
    pub(super) fn code(&self) -> &str {
        self.name.rsplit('#').next().unwrap_or_default()
    }

    /// Returns the error for people.
    pub(super) fn explain(&self, doing: &str) -> anyhow::Error {
        failure(doing, self.code(), &self.message)
    }
}

/// Calls an operation of a service with an awsJson protocol: `content_type` is that of its version, `target` the
/// value of `X-Amz-Target`.
pub(super) async fn json<T: DeserializeOwned>(
    clients: &Clients,
    service: &str,
    content_type: &str,
    target: &str,
    input: &Value,
) -> Result<std::result::Result<T, ServiceError>> {
    let request = SignedRequest {
        service,
        headers: &[("content-type", content_type), ("x-amz-target", target)],
        body: input.to_string(),
    };
    let response = post(clients, &request).await?;
    if response.status == 200 {
        // An operation without output may answer with nothing.
        let body: &[u8] = match response.body.as_slice() {
            [] => b"{}",
            body => body,
        };
        let answer = serde_json::from_slice(body);
        return Ok(Ok(answer.with_context(|| {
            format!("the response of {target} cannot be read")
        })?));
    }
    Ok(Err(
        serde_json::from_slice(&response.body).unwrap_or_default()
    ))
}

/// Calls an operation of a service with the query protocol; returns the XML of the response. `doing` says what
/// failed.
pub(super) async fn query(
    clients: &Clients,
    service: &str,
    doing: &str,
    parameters: &[(&str, &str)],
) -> Result<Vec<u8>> {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(parameters);
    let request = SignedRequest {
        service,
        headers: &[("content-type", "application/x-www-form-urlencoded")],
        body: form.finish(),
    };
    let response = post(clients, &request).await?;
    if response.status == 200 {
        return Ok(response.body);
    }
    let code = text(&response.body, "Code").unwrap_or_default();
    let message = text(&response.body, "Message").unwrap_or_default();
    Err(failure(doing, &code, &message))
}

/// Returns the text of the first XML element with a name.
pub(super) fn text(xml: &[u8], name: &str) -> Option<String> {
    let mut reader = Reader::from_reader(xml);
    let mut inside = false;
    loop {
        match reader.read_event().ok()? {
            Event::Start(element) => inside = element.local_name().as_ref() == name.as_bytes(),
            Event::Text(text) if inside => return Some(text.decode().ok()?.into_owned()),
            Event::Eof => return None,
            _ => {}
        }
    }
}

/// An error of a service as one line, with its exit code.
pub(super) fn failure(doing: &str, code: &str, message: &str) -> anyhow::Error {
    let kind = ErrorKind::of(Some(code), Some(message));
    let text = format!("{doing}: {code}: {message}");
    let answer = ServiceAnswer {
        code: code.to_owned(),
        message: message.to_owned(),
        request_id: None,
    };
    if code.is_empty() {
        return anyhow!("{doing}: {message}");
    }
    Failure::answered(kind.exit(), text, answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_read_from_xml() {
        let error = b"<Response><Errors><Error><Code>UnauthorizedOperation</Code>\
            <Message>no</Message></Error></Errors></Response>";
        assert_eq!(
            text(error, "Code").as_deref(),
            Some("UnauthorizedOperation")
        );
        assert_eq!(text(error, "Message").as_deref(), Some("no"));
        assert_eq!(text(error, "Type"), None);
    }

    #[test]
    fn an_endpoint_is_that_of_its_partition() {
        assert_eq!(
            endpoint("ec2", "eu-west-1"),
            "https://ec2.eu-west-1.amazonaws.com/"
        );
        assert_eq!(
            endpoint("servicequotas", "cn-north-1"),
            "https://servicequotas.cn-north-1.amazonaws.com.cn/"
        );
    }
}
