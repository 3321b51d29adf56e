//! The HTTP clients: one for plain HTTP, which loads no certificates, one for TLS, made when needed.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use reqwest::{Client, RequestBuilder, Response};
use url::Url;

use super::reference::is_loopback;

/// How long a registry may take for an answer without a body of ours.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(super) struct Http {
    /// For plain HTTP and TLS, each to other machines and to this one.
    clients: [OnceLock<Client>; 4],
    requests: AtomicU64,
    /// Whether anything was ever answered.
    answered: AtomicBool,
}

impl Http {
    pub(super) fn new() -> Self {
        Self {
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
            // Reading the machine's root certificates would cost more than the request.
            builder = builder.tls_certs_only([]);
        }
        if local {
            builder = builder.no_proxy();
        }
        let client = builder.build().context("cannot make an HTTP client")?;
        Ok(cell.get_or_init(|| client))
    }

    /// How many requests were sent.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// True when a server has answered a request.
    pub(super) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Sends a request with no body or a small one.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let answer = tokio::time::timeout(PATIENCE, self.send_long(request)).await;
        answer.map_err(|_| anyhow!("no answer within {} s", PATIENCE.as_secs()))?
    }

    /// Sends a request that takes as long as it takes.
    pub(super) async fn send_long(&self, request: RequestBuilder) -> Result<Response> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        // An upload's URL lets anybody go on with it.
        let response = request.send().await.map_err(reqwest::Error::without_url)?;
        self.answered.store(true, Ordering::Relaxed);
        Ok(response)
    }
}

/// A whole body of at most `limit` bytes.
pub(super) async fn limited(mut response: Response, limit: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let chunk = tokio::time::timeout(PATIENCE, response.chunk())
            .await
            .map_err(|_| {
                anyhow!(
                    "the answer broke off: no byte within {} s",
                    PATIENCE.as_secs()
                )
            })?
            .context("the answer broke off")?;
        let Some(chunk) = chunk else {
            return Ok(bytes);
        };
        if bytes.len() + chunk.len() > limit {
            return Err(anyhow!("the answer is larger than {limit} bytes"));
        }
        bytes.extend_from_slice(&chunk);
    }
}
