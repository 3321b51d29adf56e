//! The HTTP client of the SDK, with the certificates and proxy of a [`Network`], and errors that
//! name the proxy or certificate at fault. The SDK's own client reads neither `AWS_CA_BUNDLE` nor
//! the proxy variables.

use std::sync::Arc;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::shared::IntoShared;
use mlops_core::network::{Network, is_direct};
use url::Url;

/// Returns a client for AWS, or for an endpoint that replaces it.
pub(super) fn client(network: &Network) -> SharedHttpClient {
    let through = |proxy: ProxyConfig| {
        let network = network.clone();
        Builder::new().build_with_connector_fn(move |settings, components| {
            let mut connector = Connector::builder();
            connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
            connector
                .connector_settings(settings.cloned().unwrap_or_default())
                .proxy_config(proxy.clone())
                .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
                .tls_context(tls(&network))
                .build()
        })
    };
    Explaining {
        direct: through(ProxyConfig::disabled()),
        proxied: through(ProxyConfig::from_env()),
        network: network.clone(),
    }
    .into_shared()
}

/// Where lines for a person go.
#[derive(Clone)]
pub struct Notice(Arc<dyn Fn(&str) + Send + Sync>);

impl Notice {
    /// Passes each line to this function.
    pub fn new(show: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(show))
    }
}

impl std::fmt::Debug for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Notice")
    }
}

/// Wraps a client to report retries, which the SDK does silently.
pub(super) fn noticing(inner: SharedHttpClient, notice: Option<Notice>) -> SharedHttpClient {
    match notice {
        None => inner,
        Some(notice) => Noticing { inner, notice }.into_shared(),
    }
}

#[derive(Debug)]
struct Noticing<C> {
    inner: C,
    notice: Notice,
}

impl HttpClient for Noticing<SharedHttpClient> {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Noticing {
            inner: self.inner.http_connector(settings, components),
            notice: self.notice.clone(),
        })
    }
}

impl HttpConnector for Noticing<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let header = |name: &str| request.headers().get(name);
        if let Some(line) = retry(header("amz-sdk-request"), header("authorization")) {
            (self.notice.0)(&line);
        }
        self.inner.call(request)
    }
}

/// A line for a request that is a retry. The headers have the number of the attempt
/// (`attempt=2; max=3`) and the service (`Credential=KEY/DATE/REGION/SERVICE/aws4_request`).
fn retry(attempt: Option<&str>, authorization: Option<&str>) -> Option<String> {
    let number = |name: &str| -> Option<u32> {
        let mut parts = attempt?.split(';').map(str::trim);
        parts.find_map(|part| part.strip_prefix(name)?.parse().ok())
    };
    let (attempt, most) = (number("attempt=")?, number("max=")?);
    let scope = authorization.and_then(|text| text.split("Credential=").nth(1));
    let service = scope
        .and_then(|scope| scope.split('/').nth(3))
        .unwrap_or("AWS");
    (attempt > 1)
        .then(|| format!("{service} is busy or did not answer: attempt {attempt} of {most}"))
}

fn tls(network: &Network) -> TlsContext {
    let Some(pem) = network.pem() else {
        return TlsContext::default();
    };
    TlsContext::builder()
        .with_trust_store(TrustStore::empty().with_pem_certificate(pem))
        .build()
        .unwrap_or_default()
}

/// Two clients, and the network that explains their failures.
#[derive(Debug)]
struct Explaining<C> {
    /// For this machine and for credential endpoints.
    direct: C,
    /// For all other hosts.
    proxied: C,
    network: Network,
}

impl HttpClient for Explaining<SharedHttpClient> {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Explaining {
            direct: self.direct.http_connector(settings, components),
            proxied: self.proxied.http_connector(settings, components),
            network: self.network.clone(),
        })
    }
}

impl HttpConnector for Explaining<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let url = Url::parse(request.uri()).ok();
        let connector = match &url {
            Some(url) if is_direct(url) => &self.direct,
            _ => &self.proxied,
        };
        let answer = connector.call(request);
        let network = self.network.clone();
        HttpConnectorFuture::new(async move {
            match (answer.await, url) {
                (Err(error), Some(url)) if !error.is_timeout() => {
                    match network.explain(&url, &error).await {
                        Some(problem) if problem.passing => Err(ConnectorError::io(problem.into())),
                        // A retry cannot succeed, so do not report a retryable I/O error.
                        Some(problem) => Err(ConnectorError::other(problem.into(), None)),
                        None => Err(error),
                    }
                }
                (answer, _) => answer,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_retries_are_shown() {
        let scope = Some("AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/sts/aws4_request, a=b");
        assert_eq!(retry(Some("attempt=1; max=3"), scope), None);
        assert_eq!(retry(None, scope), None);
        assert_eq!(
            retry(Some("ttl=20260101T000000Z; attempt=2; max=3"), scope).as_deref(),
            Some("sts is busy or did not answer: attempt 2 of 3")
        );
        assert_eq!(
            retry(Some("attempt=3; max=3"), None).as_deref(),
            Some("AWS is busy or did not answer: attempt 3 of 3")
        );
    }
}
