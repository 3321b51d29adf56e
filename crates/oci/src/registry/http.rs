//! The HTTP clients: one for plain HTTP, which loads no certificates, and one for TLS, each created on
//! first use.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use mlops_core::network::{Network, is_loopback};
use reqwest::{Certificate, Client, RequestBuilder, Response};
use url::Url;

/// Time limit of a response to a request without a body.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(super) struct Http {
    /// For plain HTTP and TLS, each for other machines and for this one.
    clients: [OnceLock<Client>; 4],
    network: Network,
    requests: AtomicU64,
    /// Whether any request was ever answered.
    answered: AtomicBool,
}

impl Http {
    pub(super) fn new(network: Network) -> Self {
        Self {
            network,
            clients: [const { OnceLock::new() }; 4],
            requests: AtomicU64::new(0),
            answered: AtomicBool::new(false),
        }
    }

    /// The client for a URL.
    pub(super) fn client(&self, url: &Url) -> Result<&Client> {
        let (plain, local) = (url.scheme() == "http", is_loopback(url));
        let cell = &self.clients[usize::from(plain) * 2 + usize::from(local)];
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let mut builder = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(30));
        if plain {
            // Loading the machine's root certificates would take longer than the request.
            builder = builder.tls_certs_only([]);
        }
        if let Some(trusted) = self.network.certificates().filter(|_| !plain) {
            let trusted = trusted
                .iter()
                .map(|certificate| Certificate::from_der(certificate))
                .collect::<Result<Vec<_>, _>>()?;
            builder = builder.tls_certs_only(trusted);
        }
        if local {
            builder = builder.no_proxy();
        }
        let client = builder.build().context("cannot create an HTTP client")?;
        Ok(cell.get_or_init(|| client))
    }

    /// The number of requests sent.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Returns whether a server has answered any request.
    pub(super) fn has_responded(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Sends a request with no body or a small one.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let answer = tokio::time::timeout(PATIENCE, self.send_long(request)).await;
        answer.map_err(|_| anyhow!("no response within {} s", PATIENCE.as_secs()))?
    }

    /// Sends a request without a time limit.
    pub(super) async fn send_long(&self, request: RequestBuilder) -> Result<Response> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Err(self.explained(error).await),
        };
        self.answered.store(true, Ordering::Relaxed);
        Ok(response)
    }

    /// Formats a connection error with its reason, without the URL: anybody who has an upload's URL
    /// could continue the upload.
    async fn explained(&self, error: reqwest::Error) -> anyhow::Error {
        if error.is_connect()
            && let Some(url) = error.url().cloned()
            && let Some(problem) = self.network.explain(&url, &error).await
        {
            return problem.into();
        }
        error.without_url().into()
    }
}

/// Downloads at most `limit` bytes from a signed URL, which no error repeats.
///
/// # Errors
/// The server is unreachable, refuses, or sends more.
pub async fn download(url: &str, limit: u64, network: &Network) -> Result<Vec<u8>> {
    let url = Url::parse(url).context("the address is not a URL")?;
    let http = Http::new(network.clone());
    let response = http.send(http.client(&url)?.get(url.clone())).await?;
    if !response.status().is_success() {
        bail!("the server answered HTTP {}", response.status().as_u16());
    }
    limited(response, usize::try_from(limit)?).await
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn limited(mut response: Response, limit: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let chunk = tokio::time::timeout(PATIENCE, response.chunk())
            .await
            .map_err(|_| {
                anyhow!(
                    "the response was interrupted: no byte within {} s",
                    PATIENCE.as_secs()
                )
            })?
            .context("the response was interrupted")?;
        let Some(chunk) = chunk else {
            return Ok(bytes);
        };
        if bytes.len() + chunk.len() > limit {
            return Err(anyhow!("the response is larger than {limit} bytes"));
        }
        bytes.extend_from_slice(&chunk);
    }
}
