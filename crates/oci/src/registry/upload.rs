//! Uploads a blob, hashing it during the upload.
//!
//! One `PUT` with the complete blob. After a broken connection, the client queries how much the
//! registry received (`GET` of the upload), and sends the rest in a `PATCH`; if the registry does
//! not report that, the upload restarts. The last bytes are held back until the digest is verified,
//! so that a file that changed never becomes a blob of the registry.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Error, Result, anyhow, bail};
use mlops_core::network::is_loopback;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, LOCATION, RANGE};
use reqwest::{Method, Response, StatusCode};
use url::Url;

use super::{Attempts, Refusal, Registry, is_passing, refused, retry_after};
use crate::{Blob, Digest};

mod body;

use body::{Flow, body};

/// A connection that accepts no byte for this long counts as broken.
const STALL: Duration = Duration::from_mins(1);

/// Time limit for a registry to store what it received.
const STORING: Duration = Duration::from_mins(15);

/// The outcome of storing a blob.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// Mounted from another repository.
    Mounted,
    /// Number of bytes sent, including those that were lost.
    Sent(u64),
    /// Another client uploaded it in the meantime.
    Found,
}

/// The upload's URL and the offset to resume from.
#[derive(Debug)]
struct Session {
    url: Url,
    offset: u64,
}

enum Started {
    Mounted,
    At(Session),
}

/// Why an attempt ended.
enum UploadError {
    /// Transient; retry.
    Passing {
        error: Error,
        after: Option<Duration>,
    },
    /// The authorization was rejected, and has been renewed.
    LoggedIn,
    /// The registry does not know the upload, or rejects its bytes.
    Lost(Error),
    /// The registry is still writing what the broken connection sent, or has a different part of
    /// it.
    OffsetConflict(Error),
    Final(Error),
}

impl From<Error> for UploadError {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

impl Registry {
    /// Stores a blob. `from` is another repository of the registry that may have it; `position`
    /// receives the number of bytes sent so far.
    pub(crate) async fn store(
        &self,
        repository: &str,
        blob: &Blob,
        from: Option<&str>,
        position: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Stored> {
        let sent = Arc::new(AtomicU64::new(0));
        let mut attempts = Attempts::default();
        let mut session: Option<Session> = None;
        let (mut first, mut conflicts, mut furthest) = (true, 0, 0);
        loop {
            let current = match session.take() {
                Some(session) => session,
                None if !first && self.has_blob(repository, blob.digest).await? => {
                    position(blob.size);
                    return Ok(match sent.load(Ordering::Relaxed) {
                        0 => Stored::Found,
                        sent => Stored::Sent(sent),
                    });
                }
                None => match self.start(repository, blob.digest, from).await? {
                    Started::Mounted => {
                        position(blob.size);
                        return Ok(Stored::Mounted);
                    }
                    Started::At(session) => session,
                },
            };
            first = false;
            let url = current.url.clone();
            // A restarted upload is not progress: it may break at the same offset each time.
            furthest = current.offset.max(furthest);
            let error = match self.send_rest(current, blob, &sent, position).await {
                Ok(()) => return Ok(Stored::Sent(sent.load(Ordering::Relaxed))),
                Err(UploadError::Final(error)) => {
                    self.cancel(&url).await;
                    return Err(error);
                }
                Err(UploadError::LoggedIn) if attempts.may_log_in() => None,
                Err(UploadError::LoggedIn) => {
                    Some((anyhow!("the registry rejected the login"), None))
                }
                Err(UploadError::Passing { error, after }) => Some((error, after)),
                Err(UploadError::Lost(error)) => {
                    attempts.pause(error, None).await?;
                    continue;
                }
                Err(UploadError::OffsetConflict(error)) => {
                    attempts.pause(error, None).await?;
                    conflicts += 1;
                    if conflicts % 3 == 0 {
                        self.cancel(&url).await;
                        continue;
                    }
                    None
                }
            };
            if let Some((error, after)) = error {
                attempts.pause(error, after).await?;
            }
            session = self.query(&url, blob.size).await;
            if session.as_ref().is_some_and(|now| now.offset > furthest) {
                attempts.reset();
            }
        }
    }

    /// Opens an upload, or mounts the blob from another repository.
    async fn start(&self, repository: &str, digest: Digest, from: Option<&str>) -> Result<Started> {
        let mut url = self.url(&format!("/v2/{repository}/blobs/uploads/"))?;
        if let Some(from) = from {
            url.query_pairs_mut()
                .append_pair("mount", &digest.to_string())
                .append_pair("from", from);
        }
        let response = self
            .request(Method::POST, url, |r| r.header(CONTENT_LENGTH, 0))
            .await?;
        match response.status() {
            StatusCode::CREATED if from.is_some() => Ok(Started::Mounted),
            StatusCode::ACCEPTED => {
                let url = self
                    .location(response.url(), response.headers())?
                    .context("the registry returned no upload URL")?;
                Ok(Started::At(Session { url, offset: 0 }))
            }
            _ => Err(refused("cannot start an upload", response).await),
        }
    }

    /// Returns the URL where a response continues the upload.
    fn location(&self, at: &Url, headers: &HeaderMap) -> Result<Option<Url>> {
        let Some(location) = headers.get(LOCATION).and_then(|value| value.to_str().ok()) else {
            return Ok(None);
        };
        let url = at
            .join(location)
            .context("the registry returned an invalid upload URL")?;
        let ours = url.origin() == self.base.origin();
        if url.scheme() != "https" && !is_loopback(&url) && !ours {
            bail!("the registry requests an upload over plain HTTP");
        }
        Ok(Some(url))
    }

    /// Queries how much of an upload was received; `None` if the registry does not report it.
    async fn query(&self, url: &Url, size: u64) -> Option<Session> {
        let response = self.request(Method::GET, url.clone(), |r| r).await.ok()?;
        if response.status() != StatusCode::NO_CONTENT {
            return None;
        }
        let offset = received(response.headers())?;
        let next = self.location(response.url(), response.headers()).ok()?;
        (offset <= size).then(|| Session {
            url: next.unwrap_or_else(|| url.clone()),
            offset,
        })
    }

    /// Cancels an abandoned upload. Otherwise, the registry would expire it.
    async fn cancel(&self, url: &Url) {
        let _ = self.request(Method::DELETE, url.clone(), |r| r).await;
    }

    /// Sends the missing bytes of a blob, and completes the upload.
    async fn send_rest(
        &self,
        session: Session,
        blob: &Blob,
        sent: &Arc<AtomicU64>,
        position: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), UploadError> {
        let mut url = session.url;
        let resumed = session.offset > 0;
        let mut left = Some(session.offset);
        if resumed {
            if session.offset < blob.size {
                let response = self
                    .send(
                        Method::PATCH,
                        &url,
                        blob,
                        Some(session.offset),
                        sent,
                        position,
                    )
                    .await?;
                if response.status() != StatusCode::ACCEPTED {
                    return Err(classify(blob, response, true).await);
                }
                url = self
                    .location(response.url(), response.headers())?
                    .unwrap_or(url);
            }
            left = None;
        }
        url.query_pairs_mut()
            .append_pair("digest", &blob.digest.to_string());
        let response = self
            .send(Method::PUT, &url, blob, left, sent, position)
            .await?;
        if response.status() == StatusCode::CREATED {
            Ok(())
        } else {
            Err(classify(blob, response, resumed).await)
        }
    }

    /// Sends one request with the bytes of a blob from `from` on, or with none.
    async fn send(
        &self,
        method: Method,
        url: &Url,
        blob: &Blob,
        from: Option<u64>,
        sent: &Arc<AtomicU64>,
        position: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Response, UploadError> {
        let authorization = self.auth.authorization(&self.http).await?;
        let client = self.http.client(url)?;
        let length = from.map_or(0, |from| blob.size - from);
        let mut request = self
            .authorize(
                client.request(method.clone(), url.clone()),
                url,
                &authorization,
            )
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, length);
        if let Some(from) = from.filter(|_| method == Method::PATCH) {
            request = request.header(CONTENT_RANGE, format!("{from}-{}", blob.size - 1));
        }
        let flow = Arc::new(Flow::default());
        if let Some(from) = from.filter(|_| length > 0) {
            request = request.body(body(blob, from, &flow)?);
        }
        let start = sent.load(Ordering::Relaxed);
        let answer = self.http.send_long(request);
        let watched = watch(answer, &flow, length, |moved| {
            sent.store(start + moved, Ordering::Relaxed);
            if let Some(from) = from {
                position(from + moved);
            }
        });
        let answer = watched.await;
        if let Some(error) = flow.failure() {
            return Err(UploadError::Final(error));
        }
        let response = answer.map_err(|error| UploadError::Passing {
            error: error.context(format!("the upload of {} was interrupted", blob.digest)),
            after: None,
        })?;
        if response.status() == StatusCode::UNAUTHORIZED
            && url.origin() == self.base.origin()
            && self
                .auth
                .refused(&self.http, &authorization, response.headers())
                .await?
        {
            return Err(UploadError::LoggedIn);
        }
        Ok(response)
    }
}

/// Classifies an unexpected response to an upload.
async fn classify(blob: &Blob, response: Response, resumed: bool) -> UploadError {
    let status = response.status();
    let after = retry_after(&response);
    let refusal = Refusal::read(response).await;
    let lost = status == StatusCode::NOT_FOUND && !refusal.lacks_repository();
    let error = refusal.error(&format!("cannot upload {}", blob.digest));
    if is_passing(status) {
        UploadError::Passing { error, after }
    } else if lost || (resumed && status == StatusCode::BAD_REQUEST) {
        // A registry may have less of a broken upload than it reports.
        UploadError::Lost(error)
    } else if matches!(
        status,
        StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::CONFLICT
    ) {
        UploadError::OffsetConflict(error)
    } else {
        UploadError::Final(error)
    }
}

/// Parses `Range: 0-LAST` of an upload's response. An empty upload is `0-0` too; one byte is not worth
/// the distinction.
fn received(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(RANGE)?.to_str().ok()?;
    let range = text.strip_prefix("bytes=").unwrap_or(text);
    match range.split_once('-')? {
        ("0", "0" | "-1") => Some(0),
        ("0", last) => last.parse::<u64>().ok()?.checked_add(1),
        _ => None,
    }
}

/// Waits for the response to an upload and reports progress; gives up if nothing moves.
async fn watch(
    answer: impl Future<Output = Result<Response>>,
    flow: &Flow,
    length: u64,
    moved: impl Fn(u64),
) -> Result<Response> {
    let mut answer = std::pin::pin!(answer);
    let mut looks = tokio::time::interval(Duration::from_millis(100));
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last = (0, tokio::time::Instant::now());
    loop {
        tokio::select! {
            answer = &mut answer => {
                moved(flow.moved.load(Ordering::Relaxed));
                return answer;
            }
            now = looks.tick() => {
                let so_far = flow.moved.load(Ordering::Relaxed);
                if so_far != last.0 {
                    moved(so_far);
                    last = (so_far, now);
                }
                let limit = if so_far >= length { STORING } else { STALL };
                if now.duration_since(last.1) > limit {
                    moved(so_far);
                    bail!("the registry accepted no data for {} s", limit.as_secs());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    #[test]
    fn ranges_are_read() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, HeaderValue::from_static(text));
            received(&headers)
        };
        for (text, bytes) in [
            ("0-0", Some(0)),
            ("0--1", Some(0)),
            ("0-9", Some(10)),
            ("bytes=0-9", Some(10)),
            ("5-9", None),
            ("x", None),
            ("0-x", None),
            ("0-18446744073709551615", None),
        ] {
            assert_eq!(of(text), bytes, "{text}");
        }
        assert_eq!(received(&HeaderMap::new()), None);
    }
}
