//! Downloads a blob into a file and hashes it while writing.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use mlops_core::network::is_loopback;
use reqwest::header::{CONTENT_RANGE, LOCATION, RANGE};
use reqwest::{Method, Response, StatusCode};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use url::Url;

use super::http::PATIENCE;
use super::{Attempts, Registry, refused};
use crate::Digest;

/// Maximum number of redirects.
const REDIRECTS: u32 = 5;

pub(super) async fn blob(
    registry: &Registry,
    repository: &str,
    digest: Digest,
    size: u64,
    into: &Path,
    advance: &(dyn Fn(u64) + Sync),
) -> Result<()> {
    let file =
        File::create_new(into).with_context(|| format!("cannot write {}", into.display()))?;
    let (sender, receiver) = mpsc::channel(8);
    let writer = tokio::task::spawn_blocking(move || write(file, receiver, size, digest));
    let fetched = fetch(registry, repository, digest, size, sender, advance).await;
    let written = writer.await?;
    // Prefer the writer's error; without one, report why nothing was received.
    let result = match (fetched, written) {
        (Err(FetchError::Writer) | Ok(()), Err(error)) => {
            Err(error.context(format!("cannot write {}", into.display())))
        }
        (Err(FetchError::Writer), Ok(())) => Err(anyhow!("{digest} has more than {size} bytes")),
        (Err(FetchError::Failed(error)), _) => Err(error),
        (Ok(()), Ok(())) => Ok(()),
    };
    if result.is_err() {
        // Report the error even if the partial file cannot be removed.
        let _ = std::fs::remove_file(into);
    }
    result
}

/// Why a download stopped.
enum FetchError {
    /// The writer has ended.
    Writer,
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for FetchError {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

fn write(
    mut file: File,
    mut chunks: mpsc::Receiver<Bytes>,
    size: u64,
    wanted: Digest,
) -> Result<()> {
    let mut hasher = Sha256::new();
    let mut written = 0;
    while let Some(chunk) = chunks.blocking_recv() {
        written += chunk.len() as u64;
        if written > size {
            bail!("the registry sent more than the {size} bytes of {wanted}");
        }
        hasher.update(&chunk);
        file.write_all(&chunk)?;
    }
    if written < size {
        bail!("the registry sent {written} bytes of {wanted}, not {size}");
    }
    let found = Digest::from(hasher);
    if found != wanted {
        bail!("the registry returned {found} for {wanted}");
    }
    Ok(())
}

async fn fetch(
    registry: &Registry,
    repository: &str,
    digest: Digest,
    size: u64,
    sender: mpsc::Sender<Bytes>,
    advance: &(dyn Fn(u64) + Sync),
) -> Result<(), FetchError> {
    let mut attempts = Attempts::default();
    let mut received = 0;
    loop {
        let response = open(registry, repository, digest, received).await?;
        let mut skip = match response.status() {
            StatusCode::OK => received,
            StatusCode::PARTIAL_CONTENT if starts_at(&response, received) => 0,
            _ => {
                return Err(refused(&format!("cannot read {digest}"), response)
                    .await
                    .into());
            }
        };
        let before = received;
        match body(response, &mut skip, &mut received, &sender, advance).await {
            Ok(()) if received >= size => return Ok(()),
            Ok(()) if received == before => {
                return Err(
                    anyhow!("the registry has {received} bytes of {digest}, not {size}").into(),
                );
            }
            Ok(()) => {}
            Err(FetchError::Writer) => return Err(FetchError::Writer),
            Err(FetchError::Failed(error)) => {
                if received > before {
                    attempts.reset();
                }
                attempts.pause(error, None).await?;
            }
        }
    }
}

async fn body(
    mut response: Response,
    skip: &mut u64,
    received: &mut u64,
    sender: &mpsc::Sender<Bytes>,
    advance: &(dyn Fn(u64) + Sync),
) -> Result<(), FetchError> {
    loop {
        let chunk = tokio::time::timeout(PATIENCE, response.chunk())
            .await
            .map_err(|_| anyhow!("the download stalled"))?
            .context("the download was interrupted")?;
        let Some(mut chunk) = chunk else {
            return Ok(());
        };
        let known = usize::try_from(*skip)
            .unwrap_or(usize::MAX)
            .min(chunk.len());
        *skip -= known as u64;
        chunk = chunk.slice(known..);
        let count = chunk.len() as u64;
        sender.send(chunk).await.map_err(|_| FetchError::Writer)?;
        *received += count;
        advance(count);
    }
}

/// Requests a blob from an offset on; the registry may redirect to its storage.
async fn open(
    registry: &Registry,
    repository: &str,
    digest: Digest,
    from: u64,
) -> Result<Response> {
    let mut url = registry.blob_url(repository, digest)?;
    for _ in 0..REDIRECTS {
        let response = registry
            .request(Method::GET, url.clone(), |request| {
                if from > 0 {
                    request.header(RANGE, format!("bytes={from}-"))
                } else {
                    request
                }
            })
            .await?;
        if !response.status().is_redirection() {
            return Ok(response);
        }
        let target: Url = response
            .headers()
            .get(LOCATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| url.join(text).ok())
            .context("the registry's redirect has no location")?;
        let ours = target.origin() == registry.base.origin();
        if target.scheme() != "https" && !is_loopback(&target) && !ours {
            bail!(
                "the registry redirects to {} over plain HTTP",
                target.host_str().unwrap_or("?")
            );
        }
        url = target;
    }
    bail!("too many redirects for {digest}")
}

fn starts_at(response: &Response, from: u64) -> bool {
    response
        .headers()
        .get(CONTENT_RANGE)
        .and_then(|value| value.to_str().ok()?.strip_prefix("bytes "))
        .and_then(|range| range.split('-').next()?.trim().parse::<u64>().ok())
        == Some(from)
}
