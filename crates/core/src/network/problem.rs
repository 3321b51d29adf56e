//! Diagnoses a blocked request: a proxy that rejects it, or an untrusted certificate.
//!
//! HTTP clients report "tunnel error: unsuccessful" or "invalid peer certificate: `UnknownIssuer`". This
//! module connects once more and reports the certificate's issuer and the proxy's response. It always aborts
//! the handshake: no request and no credential is sent.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

use super::{Network, is_direct};

mod name;

/// Time limit of each step of the diagnosis.
const STEP: Duration = Duration::from_secs(5);

/// Maximum size in bytes of a proxy's response.
const MAX_ANSWER: usize = 8 << 10;

/// Why a request did not reach its server, and which setting to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    message: String,
    /// Suggested fix.
    pub hint: String,
    /// Whether a retry may succeed, because the proxy is unreachable or overloaded.
    pub passing: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl Problem {
    /// Finds a problem in an error's chain of causes.
    pub fn of<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(problem) = error.downcast_ref() {
                return Some(problem);
            }
            next = error.source();
        }
        None
    }
}

/// Formats the causes of an error on one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}

pub(super) async fn find(
    network: &Network,
    url: &Url,
    error: &(dyn std::error::Error + Send + Sync + 'static),
) -> Option<Problem> {
    let cause = chain(error);
    let host = url.host_str()?;
    let proxy = proxy_for(url);
    let tls = url.scheme() == "https";
    let certificate = cause
        .split_once("invalid peer certificate: ")
        .map(|(_, reason)| reason);
    let mut stream = None;
    if let Some(proxy) = &proxy {
        match through(proxy, url, tls).await {
            Ok(open) => stream = open,
            Err(problem) => return Some(problem),
        }
    }
    if !tls {
        return None;
    }
    let via = proxy
        .as_ref()
        .map(|proxy| format!(" (through the proxy {})", shown(proxy)))
        .unwrap_or_default();
    let Some(reason) = certificate else {
        return handshake(&cause).map(|reason| Problem {
            message: format!("the TLS handshake with {host}{via} failed: {reason}"),
            hint: "check the URL and the proxy; a server without TLS needs http://".to_owned(),
            passing: false,
        });
    };
    let issuer = issuer_of(url, stream).await;
    let issuer = issuer.map_or_else(
        || "its issuer could not be read".to_owned(),
        |issuer| format!("its issuer is {issuer}"),
    );
    Some(Problem {
        message: format!("the certificate of {host}{via} is not trusted ({reason}): {issuer}"),
        hint: advice(network, reason),
        passing: false,
    })
}

/// Returns why a handshake failed for a reason other than the certificate; `None` otherwise.
fn handshake(cause: &str) -> Option<&str> {
    [
        "received fatal alert",
        "received corrupt message",
        "peer is incompatible",
    ]
    .iter()
    .find_map(|sign| cause.find(sign))
    .map(|at| &cause[at..])
}

fn advice(network: &Network, reason: &str) -> String {
    if reason.contains("expired")
        || reason.contains("NotValidYet")
        || reason.contains("not valid yet")
    {
        return "check the clock of this machine, and who issues the certificate".to_owned();
    }
    if reason.contains("not valid for name") || reason.contains("NotValidForName") {
        return "the server presents the certificate of a different host: check the URL and the proxy"
            .to_owned();
    }
    match network.bundle() {
        Some(bundle) => format!(
            "{} ({}) lacks this issuer: add the issuer's certificate to that file",
            bundle.setting,
            bundle.path.display()
        ),
        None => "a corporate proxy may intercept TLS: set AWS_CA_BUNDLE (or ca_bundle in the AWS \
                 configuration) to a PEM file with its certificate"
            .to_owned(),
    }
}

/// Returns the proxy for requests to this URL.
fn proxy_for(url: &Url) -> Option<Intercept> {
    if is_direct(url) {
        return None;
    }
    Matcher::from_env().intercept(&url.as_str().parse().ok()?)
}

/// Formats a proxy's address without its password.
fn shown(proxy: &Intercept) -> String {
    let uri = proxy.uri();
    let port = uri.port_u16().map(|port| format!(":{port}"));
    format!(
        "{}://{}{}",
        uri.scheme_str().unwrap_or("http"),
        uri.host().unwrap_or_default(),
        port.unwrap_or_default()
    )
}

/// Connects to the proxy and, for TLS, through it. Returns `None` if the proxy is reachable but
/// cannot be examined further (it uses TLS or SOCKS).
async fn through(proxy: &Intercept, url: &Url, tls: bool) -> Result<Option<TcpStream>, Problem> {
    let name = shown(proxy);
    let host = url.host_str().unwrap_or_default();
    let problem = |message: String, hint: &str, passing: bool| Problem {
        message,
        hint: hint.to_owned(),
        passing,
    };
    let unreachable = |reason: String| {
        problem(
            format!("cannot reach the proxy {name}: {reason}"),
            "check HTTPS_PROXY and HTTP_PROXY; list hosts that need no proxy in NO_PROXY",
            true,
        )
    };
    let uri = proxy.uri();
    let Some(address) = uri.host() else {
        return Ok(None);
    };
    let port = uri.port_u16().unwrap_or(match uri.scheme_str() {
        Some("https") => 443,
        Some(scheme) if scheme.starts_with("socks") => 1080,
        _ => 80,
    });
    let address = address.trim_start_matches('[').trim_end_matches(']');
    let mut stream = match tokio::time::timeout(STEP, TcpStream::connect((address, port))).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(unreachable(error.to_string())),
        Err(_) => {
            return Err(unreachable(format!(
                "no response within {} s",
                STEP.as_secs()
            )));
        }
    };
    if !tls || uri.scheme_str() != Some("http") {
        return Ok(None);
    }
    let target = format!("{host}:{}", url.port_or_known_default().unwrap_or(443));
    let answer = tokio::time::timeout(STEP, tunnel(&mut stream, &target, proxy)).await;
    match answer {
        Ok(Ok(line)) => {
            let status = line.split(' ').nth(1).unwrap_or_default();
            if status.starts_with('2') {
                return Ok(Some(stream));
            }
            let words = line
                .split_once(' ')
                .map_or(line.as_str(), |(_, words)| words);
            Err(problem(
                format!("the proxy {name} refused the tunnel to {target}: {words}"),
                if status == "407" {
                    "the proxy requires a login: set HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT"
                } else {
                    "ask the proxy's administrator to allow this host, or add it to NO_PROXY"
                },
                status.starts_with('5'),
            ))
        }
        Ok(Err(error)) => Err(unreachable(error.to_string())),
        Err(_) => Err(unreachable(format!(
            "no response to CONNECT within {} s",
            STEP.as_secs()
        ))),
    }
}

/// Sends CONNECT and returns the status line of the response, after reading its headers.
async fn tunnel(
    stream: &mut TcpStream,
    target: &str,
    proxy: &Intercept,
) -> std::io::Result<String> {
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some((user, password)) = proxy.raw_auth() {
        let login = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        request.push_str(&format!("Proxy-Authorization: Basic {login}\r\n"));
    } else if let Some(login) = proxy.basic_auth().and_then(|login| login.to_str().ok()) {
        request.push_str(&format!("Proxy-Authorization: {login}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() == MAX_ANSWER {
            return Err(std::io::Error::other("its response is too long"));
        }
        let mut byte = [0];
        if stream.read(&mut byte).await? == 0 {
            return Err(std::io::Error::other("it closed the connection"));
        }
        answer.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&answer);
    let line = text.lines().next().unwrap_or_default();
    Ok(line.chars().filter(|sign| !sign.is_control()).collect())
}

/// Returns the issuer of the certificate that a server presents, such as `O=Corp, CN=Corp Root`.
async fn issuer_of(url: &Url, stream: Option<TcpStream>) -> Option<String> {
    let host = url.host_str()?;
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let port = url.port_or_known_default()?;
    let stream = match stream {
        Some(stream) => stream,
        None => tokio::time::timeout(STEP, TcpStream::connect((host.as_str(), port)))
            .await
            .ok()?
            .ok()?,
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let recorder = Arc::new(Recorder {
        provider: provider.clone(),
        seen: Mutex::new(None),
    });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(recorder.clone())
        .with_no_client_auth();
    let name = ServerName::try_from(host).ok()?;
    // Always fails, because the recorder trusts no certificate.
    let _ = tokio::time::timeout(
        STEP,
        TlsConnector::from(Arc::new(config)).connect(name, stream),
    )
    .await;
    let seen = recorder
        .seen
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()?;
    let seen = CertificateDer::from(seen);
    let issuer = name::shown(webpki::EndEntityCert::try_from(&seen).ok()?.issuer());
    let issuer: String = issuer
        .chars()
        .filter(|sign| !sign.is_control())
        .take(300)
        .collect();
    (!issuer.is_empty()).then_some(issuer)
}

/// Records the certificate that a server presents, and rejects it.
#[derive(Debug)]
struct Recorder {
    provider: Arc<CryptoProvider>,
    seen: Mutex<Option<Vec<u8>>>,
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(end_entity.to_vec());
        Err(rustls::Error::General("recorded".to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("recorded".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("recorded".to_owned()))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
