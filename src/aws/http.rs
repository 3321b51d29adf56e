//! The HTTP client of the SDK, with the certificates and proxy of a [`Network`], and errors that
//! name the proxy or certificate at fault. The SDK's own client reads neither `AWS_CA_BUNDLE` nor
//! the proxy variables.

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
