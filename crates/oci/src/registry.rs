//! A registry client: the OCI distribution specification 1.1 over HTTP.
//!
//! Responses are verified against their digest before use. Credentials go to the registry's host and to its
//! token server only, and never over plain HTTP to another machine. Transient failures (a broken connection,
//! 429, 5xx) are retried with back-off; others (4xx) are reported in the registry's own words.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Error, Result, anyhow, bail};
use bytes::Bytes;
use mlops_core::error::{Exit, Failure, Hint, hinted};
use mlops_core::network::{Network, Problem, is_loopback};
use mlops_core::wait::Backoff;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use url::Url;

use super::Digest;

mod auth;
mod credentials;
mod download;
mod http;
mod reference;
mod upload;

pub use auth::{Login, Renew};
pub use credentials::Credentials;
pub use http::download;
pub use reference::{ImageReference, InvalidReference, TagOrDigest, is_repository};

use auth::{Authorization, Authorizer};
use http::{Http, limited};
use reference::DOCKER_HUB;
pub(super) use upload::Stored;

/// The accepted manifest types.
const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";

/// Maximum size in bytes of a manifest; registries accept no larger ones.
const MAX_MANIFEST: usize = 4 << 20;

/// Maximum number of attempts per operation; the pauses between them add up to half a minute.
const ATTEMPTS: u32 = 8;

/// Maximum number of attempts for a registry that has never responded.
const FIRST_ATTEMPTS: u32 = 3;

/// A registry, and the login for it.
#[derive(Debug)]
pub struct Registry {
    http: Http,
    base: Url,
    auth: Authorizer,
}

/// A manifest as the registry stores it, verified against its digest.
#[derive(Debug)]
pub struct Fetched {
    /// The media type, on which manifest and response agree.
    pub media_type: String,
    /// The exact bytes.
    pub bytes: Vec<u8>,
    /// The digest of the bytes.
    pub digest: Digest,
}

impl Registry {
    /// Connects to the registry at `endpoint`: `https://HOST`, or `http://` and an address of this
    /// machine.
    pub fn new(endpoint: &str, login: Login, network: &Network) -> Result<Self> {
        let base = Url::parse(endpoint)
            .with_context(|| format!("the registry `{endpoint}` is not a URL"))?;
        match base.scheme() {
            "https" => {}
            "http" if is_loopback(&base) => {}
            _ => {
                return Err(anyhow!(
                    "credentials would be sent to the registry {endpoint} over plain HTTP"
                ))
                .hint("only a registry on this machine may be used without TLS");
            }
        }
        Ok(Self::at(base, login, network))
    }

    /// Connects to the registry of an image's name, by HTTPS or, on request, by plain HTTP. Another
    /// machine gets no credentials over plain HTTP.
    pub fn of(
        reference: &ImageReference,
        plain_http: bool,
        login: Login,
        network: &Network,
    ) -> Result<Self> {
        let scheme = if plain_http { "http" } else { "https" };
        let host = match reference.host.as_str() {
            DOCKER_HUB => "registry-1.docker.io",
            host => host,
        };
        let base = Url::parse(&format!("{scheme}://{host}/"))?;
        Ok(Self::at(base, login, network))
    }

    fn at(base: Url, login: Login, network: &Network) -> Self {
        let may_send = base.scheme() == "https" || is_loopback(&base);
        Self {
            http: Http::new(network.clone()),
            auth: Authorizer::new(login, may_send),
            base,
        }
    }

    /// Returns whether the registry is on this machine.
    pub fn is_local(&self) -> bool {
        is_loopback(&self.base)
    }

    /// Returns the number of requests so far, including those for tokens.
    pub fn requests(&self) -> u64 {
        self.http.requests()
    }

    /// Fetches the manifest that a tag or digest references, of any kind. Verifies the requested
    /// digest, or the one that the registry reports.
    ///
    /// # Errors
    ///
    /// A missing image, a refusal in the registry's words, bytes with a different digest, more than
    /// 4 MiB.
    pub async fn manifest(&self, repository: &str, reference: TagOrDigest<'_>) -> Result<Fetched> {
        let name = format!(
            "{}/{repository}{}{reference}",
            self.host(),
            reference.sign()
        );
        let response = self
            .request(
                Method::GET,
                self.manifest_url(repository, reference)?,
                |r| r.header(ACCEPT, ACCEPTED),
            )
            .await?;
        if response.status() != StatusCode::OK {
            return Err(refused(&format!("cannot read {name}"), response).await);
        }
        let header = |name: &str| {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some(value.split(';').next().unwrap_or(value).trim().to_owned())
        };
        let said = header("content-type");
        let reported = reported_digest(&response).with_context(|| format!("cannot read {name}"))?;
        let bytes = limited(response, MAX_MANIFEST)
            .await
            .with_context(|| format!("cannot read {name}"))?;
        let digest = Digest::of(&bytes);
        let mut expected = reference.digest().into_iter().chain(reported);
        if let Some(wanted) = expected.find(|wanted| *wanted != digest) {
            bail!("the registry returned {digest} for {wanted}");
        }
        let own = serde_json::from_slice::<serde_json::Value>(&bytes)
            .with_context(|| format!("{name} is not a manifest"))?["mediaType"]
            .as_str()
            .map(str::to_owned);
        // OCI image specification 1.1: the two must match. Proxies report generic types.
        let generic = said.as_deref().is_none_or(|said| !said.contains("vnd."));
        let media_type = match (own, said) {
            (Some(own), Some(said)) if !generic && own != said => {
                bail!(
                    "the registry reports the type {said} for {name}, but the manifest itself {own}"
                );
            }
            (Some(own), _) => own,
            (None, Some(said)) if !generic => said,
            (None, _) => bail!("the manifest of {name} has no media type"),
        };
        Ok(Fetched {
            media_type,
            bytes,
            digest,
        })
    }

    /// Downloads a blob of `size` bytes into a new file at `into` and verifies its digest. Resumes
    /// after a broken connection. `advance` receives the number of bytes as they arrive.
    ///
    /// # Errors
    ///
    /// A missing blob, another size or digest, an existing file. The partial file is removed.
    pub async fn blob(
        &self,
        repository: &str,
        digest: Digest,
        size: u64,
        into: &Path,
        advance: &(dyn Fn(u64) + Sync),
    ) -> Result<()> {
        download::blob(self, repository, digest, size, into, advance).await
    }

    /// Requests tokens for pushing to a repository and reading others from now on.
    pub(super) async fn request_access(&self, repository: &str, others: &[String]) {
        self.auth
            .add_scope(format!("repository:{repository}:pull,push"))
            .await;
        for other in others {
            self.auth
                .add_scope(format!("repository:{other}:pull"))
                .await;
        }
    }

    /// Returns whether an image of this name belongs to this registry.
    pub fn contains(&self, reference: &ImageReference) -> bool {
        Url::parse(&format!("{}://{}/", self.base.scheme(), reference.host))
            .is_ok_and(|url| url.origin() == self.base.origin())
    }

    /// `HOST` or `HOST:PORT`.
    fn host(&self) -> &str {
        &self.base[url::Position::BeforeHost..url::Position::AfterPort]
    }

    fn url(&self, path: &str) -> Result<Url> {
        Ok(self.base.join(path)?)
    }

    fn manifest_url(&self, repository: &str, reference: TagOrDigest<'_>) -> Result<Url> {
        self.url(&format!("/v2/{repository}/manifests/{reference}"))
    }

    fn blob_url(&self, repository: &str, digest: Digest) -> Result<Url> {
        self.url(&format!("/v2/{repository}/blobs/{digest}"))
    }

    /// Returns the digest of a tag or digest in the registry; `None` if it does not exist.
    pub(super) async fn manifest_digest(
        &self,
        repository: &str,
        reference: TagOrDigest<'_>,
    ) -> Result<Option<Digest>> {
        let url = self.manifest_url(repository, reference)?;
        let response = self
            .request(Method::HEAD, url, |r| r.header(ACCEPT, ACCEPTED))
            .await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => {
                let name = format!(
                    "{}/{repository}{}{reference}",
                    self.host(),
                    reference.sign()
                );
                match reported_digest(&response)
                    .with_context(|| format!("cannot check for {name}"))?
                {
                    Some(digest) => Ok(Some(digest)),
                    // The specification does not require registries to report it.
                    None => Ok(Some(self.manifest(repository, reference).await?.digest)),
                }
            }
            _ => Err(refused("cannot check for the image", response).await),
        }
    }

    pub(super) async fn has_blob(&self, repository: &str, digest: Digest) -> Result<bool> {
        let url = self.blob_url(repository, digest)?;
        let response = self.request(Method::HEAD, url, |r| r).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(false),
            // Registries may redirect to the blob itself.
            status if status.is_success() || status.is_redirection() => Ok(true),
            _ => Err(refused("cannot check for a layer", response).await),
        }
    }

    /// Stores a manifest under a tag or its digest.
    pub(super) async fn put_manifest(
        &self,
        repository: &str,
        media_type: &str,
        bytes: &[u8],
        reference: TagOrDigest<'_>,
    ) -> Result<()> {
        let url = self.manifest_url(repository, reference)?;
        let body = Bytes::copy_from_slice(bytes);
        let response = self
            .request(Method::PUT, url, |r| {
                r.header(CONTENT_TYPE, media_type).body(body.clone())
            })
            .await?;
        if response.status().is_success() {
            Ok(())
        } else {
            Err(refused(&format!("cannot push `{reference}`"), response).await)
        }
    }

    /// Adds the authorization to a request. Only the registry's own host receives credentials.
    fn authorize(
        &self,
        request: RequestBuilder,
        url: &Url,
        authorization: &Authorization,
    ) -> RequestBuilder {
        match authorization.header() {
            Some(header) if url.origin() == self.base.origin() => {
                request.header(AUTHORIZATION, header.clone())
            }
            _ => request,
        }
    }

    /// Sends a request with no body or a small one, with retries. Handles the first 401, and
    /// requests to back off.
    async fn request(
        &self,
        method: Method,
        url: Url,
        add: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response> {
        let mut attempts = Attempts::default();
        let client: &Client = self.http.client(&url)?;
        loop {
            let authorization = self.auth.authorization(&self.http).await?;
            let request = add(client.request(method.clone(), url.clone()));
            match self
                .http
                .send(self.authorize(request, &url, &authorization))
                .await
            {
                Ok(response) if is_passing(response.status()) => {
                    let after = retry_after(&response);
                    let error = refused("the registry is busy", response).await;
                    attempts.pause(error, after).await?;
                }
                Ok(response)
                    if response.status() == StatusCode::UNAUTHORIZED
                        && url.origin() == self.base.origin()
                        && attempts.may_log_in()
                        && self
                            .auth
                            .refused(&self.http, &authorization, response.headers())
                            .await? => {}
                Ok(response) => return Ok(response),
                Err(error) => {
                    let error = self.explain(error)?;
                    if !self.http.has_responded() && attempts.tried() + 1 >= FIRST_ATTEMPTS {
                        return Err(error);
                    }
                    attempts.pause(error, None).await?;
                }
            }
        }
    }

    /// Adds the registry's name to a connection error. Returns permanent errors as `Err`.
    fn explain(&self, error: Error) -> Result<Error> {
        let speaks_http = self.base.scheme() == "https"
            && ["InvalidContentType", "corrupt message"]
                .iter()
                .any(|sign| format!("{error:?}").contains(sign));
        let problem = error.downcast_ref::<Problem>().cloned();
        let error = error.context(format!("cannot reach the registry {}", self.base));
        if speaks_http {
            return Err(hinted(
                error,
                "if the registry does not support TLS, pass --plain-http",
            ));
        }
        if let Some(problem) = problem.filter(|problem| !problem.passing) {
            return Err(hinted(error, problem.hint));
        }
        Ok(error)
    }
}

/// Counts attempts.
#[derive(Debug)]
struct Attempts {
    pauses: Backoff,
    logins: u32,
}

impl Default for Attempts {
    fn default() -> Self {
        Self {
            pauses: Backoff::new(ATTEMPTS),
            logins: 0,
        }
    }
}

impl Attempts {
    fn tried(&self) -> u32 {
        self.pauses.tried()
    }

    /// Returns true twice: for an expired token, and for one with insufficient scope.
    fn may_log_in(&mut self) -> bool {
        self.logins += 1;
        self.logins <= 2
    }

    /// Backs off before another attempt. Returns the error after the last attempt, or if another
    /// attempt would fail at the same certificate or proxy.
    async fn pause(&mut self, error: Error, after: Option<Duration>) -> Result<()> {
        if let Some(problem) = error.downcast_ref::<Problem>().filter(|it| !it.passing) {
            let hint = problem.hint.clone();
            return Err(hinted(error, hint));
        }
        if self.pauses.pause(after).await {
            Ok(())
        } else {
            Err(error.context(format!("gave up after {} attempts", self.tried())))
        }
    }

    /// Resets the attempts after progress.
    fn reset(&mut self) {
        *self = Self::default();
    }
}

/// Returns the digest that a registry reports for a manifest; `None` without one, and for
/// algorithms other than SHA-256.
fn reported_digest(response: &Response) -> Result<Option<Digest>> {
    const HEADER: &str = "docker-content-digest";

    let Some(value) = response.headers().get(HEADER) else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    match text.trim() {
        text if text.starts_with("sha256:") => {
            Ok(Some(text.parse().with_context(|| {
                format!("the registry's header {HEADER} is invalid")
            })?))
        }
        _ => Ok(None),
    }
}

fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// Parses `Retry-After` (RFC 9110): seconds, or a date.
fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Duration::try_from(date.duration_since(jiff::Timestamp::now())).ok()
}

/// A request that the registry refused, in its own words.
struct Refusal {
    status: StatusCode,
    code: String,
    message: String,
}

impl Refusal {
    /// Reads the error of a response. The body may be anything.
    async fn read(response: Response) -> Self {
        let status = response.status();
        let bytes = limited(response, 64 << 10).await.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let answer: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let error = &answer["errors"][0];
        let message = error["message"].as_str().unwrap_or(text.trim());
        Self {
            status,
            code: error["code"].as_str().unwrap_or_default().to_owned(),
            message: message.chars().take(500).collect(),
        }
    }

    /// Whether the repository does not exist.
    fn lacks_repository(&self) -> bool {
        self.code == "NAME_UNKNOWN"
    }

    /// The error, with a hint for refusals that a user can fix.
    fn error(self, doing: &str) -> Error {
        let status = self.status.as_u16();
        let words = [self.code.as_str(), &self.message].join(" ");
        let text = match words.trim() {
            "" => format!("{doing} (HTTP {status})"),
            words => format!("{doing}: {words} (HTTP {status})"),
        };
        if matches!(
            self.status,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
        ) {
            return hinted(
                Failure::new(Exit::Credentials, text),
                "log in with `docker login` or `podman login`; in ECR the credentials need \
                 ecr:PutImage and the ecr:*Layer* actions on the repository",
            );
        }
        let error = anyhow!(text);
        // ECR returns TAG_INVALID, Harbor 412 with "immutable", others 409.
        if self.code == "TAG_INVALID" || self.message.contains("immutable") {
            return hinted(
                error,
                "the tag belongs to a different image and is immutable in this repository: a commit's \
                 image is pushed only once; for a branch, add the tag to the repository's tag mutability \
                 exclusions",
            );
        }
        if self.lacks_repository() {
            return hinted(
                error,
                "create the repository first; `mlops init` creates the project's",
            );
        }
        error
    }
}

/// The error of a request that the registry refused.
async fn refused(doing: &str, response: Response) -> Error {
    Refusal::read(response).await.error(doing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_never_leave_over_plain_http() {
        for endpoint in [
            "http://registry.example",
            "http://10.0.0.1:5000",
            "http://localhost.example",
            "ftp://127.0.0.1",
        ] {
            let registry = Registry::new(endpoint, Login::Anonymous, &Network::default());
            assert!(registry.is_err(), "{endpoint}");
        }
        for endpoint in [
            "http://127.0.0.1:4566",
            "http://localhost:1",
            "http://[::1]:1",
        ] {
            let registry = Registry::new(endpoint, Login::Anonymous, &Network::default());
            assert!(registry.unwrap().is_local());
        }
        let aws = "https://1.dkr.ecr.us-east-1.amazonaws.com";
        let aws = Registry::new(aws, Login::Anonymous, &Network::default()).unwrap();
        assert!(!aws.is_local());
    }

    #[test]
    fn a_name_has_its_registry() {
        let of = |name: &str, plain| {
            let reference = name.parse().unwrap();
            let registry =
                Registry::of(&reference, plain, Login::Anonymous, &Network::default()).unwrap();
            let digest = Digest::of(b"");
            let url = registry.blob_url("a/b", digest).unwrap().to_string();
            url.replace(&digest.hex(), "HEX")
        };
        assert_eq!(
            of("python", false),
            "https://registry-1.docker.io/v2/a/b/blobs/sha256:HEX"
        );
        assert_eq!(
            of("[::1]:5000/x", true),
            "http://[::1]:5000/v2/a/b/blobs/sha256:HEX"
        );
    }
}
