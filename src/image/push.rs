//! The push: blobs first, each asked for before it is sent, then manifests, then a look at what
//! the registry has. One blob at a time, streamed from its file.
//!
//! The protocol is the OCI distribution specification 1.1: `HEAD` blob, `POST` and `PUT` an
//! upload, `PUT` manifest. Credentials go to the registry's own host only, and over plain HTTP to
//! loopback only.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, anyhow, bail};
use futures::StreamExt;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Body, Client, Method, RequestBuilder, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;
use url::Url;

use super::{Blob, Content, Image, Manifest, digest_of};
use crate::error::{Hint, hinted};
use crate::names::ImageTag;

/// A registry and how to log in to it.
#[derive(Debug)]
pub struct Registry {
    client: Client,
    base: Url,
    authorization: HeaderValue,
}

/// What a push did.
#[derive(Debug)]
pub struct Pushed {
    /// The image's digest.
    pub digest: String,
    /// Bytes of blobs and manifests that went over the wire.
    pub sent: u64,
    /// Bytes that the registry had already.
    pub saved: u64,
}

impl Registry {
    /// The registry at `endpoint` (`https://HOST`, or `http://` and a loopback address), with the
    /// base64 of `user:password`.
    pub fn new(endpoint: &str, basic: &str) -> Result<Self> {
        let base = Url::parse(endpoint)
            .with_context(|| format!("the registry `{endpoint}` is not a URL"))?;
        let loopback = is_loopback(&base);
        match base.scheme() {
            "https" => {}
            "http" if loopback => {}
            _ => {
                return Err(anyhow!(
                    "the registry {endpoint} would get its credentials over plain HTTP"
                ))
                .hint("only a registry on this machine may be used without TLS");
            }
        }
        let mut authorization = HeaderValue::from_str(&format!("Basic {basic}"))
            .context("the registry's token is not text")?;
        authorization.set_sensitive(true);
        let mut builder = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(std::time::Duration::from_secs(30));
        if loopback {
            builder = builder.no_proxy();
        }
        Ok(Self {
            client: builder.build().context("cannot make an HTTP client")?,
            base,
            authorization,
        })
    }

    /// True when the registry is on this machine.
    pub fn is_local(&self) -> bool {
        is_loopback(&self.base)
    }

    fn url(&self, path: &str) -> Result<Url> {
        Ok(self.base.join(path)?)
    }

    fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let ours = url.origin() == self.base.origin();
        let request = self.client.request(method, url);
        if ours {
            request.header(AUTHORIZATION, self.authorization.clone())
        } else {
            request
        }
    }

    /// The digest that a tag or digest has in the registry; `None` when it has none.
    async fn manifest_digest(&self, repository: &str, reference: &str) -> Result<Option<String>> {
        let url = self.url(&format!("/v2/{repository}/manifests/{reference}"))?;
        let response = self
            .request(Method::HEAD, url)
            .header(ACCEPT, ACCEPTED)
            .send()
            .await
            .context("cannot reach the registry")?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => Ok(response
                .headers()
                .get("docker-content-digest")
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)),
            _ => Err(refused("cannot look for the image", response).await),
        }
    }

    async fn has_blob(&self, repository: &str, digest: &str) -> Result<bool> {
        let url = self.url(&format!("/v2/{repository}/blobs/{digest}"))?;
        let response = self
            .request(Method::HEAD, url)
            .send()
            .await
            .context("cannot reach the registry")?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(false),
            // Registries may answer with the address of the blob itself.
            status if status.is_success() || status.is_redirection() => Ok(true),
            _ => Err(refused("cannot look for a layer", response).await),
        }
    }

    async fn upload(
        &self,
        repository: &str,
        blob: &Blob,
        sent: &(impl Fn(u64) + Clone + Send + Sync + 'static),
    ) -> Result<()> {
        let start = self.url(&format!("/v2/{repository}/blobs/uploads/"))?;
        let response = self
            .request(Method::POST, start)
            .header(CONTENT_LENGTH, 0)
            .send()
            .await
            .context("cannot reach the registry")?;
        if response.status() != StatusCode::ACCEPTED {
            return Err(refused("cannot start an upload", response).await);
        }
        let location = response
            .headers()
            .get(LOCATION)
            .and_then(|value| value.to_str().ok())
            .context("the registry does not say where to upload to")?;
        let mut url = response.url().join(location)?;
        if url.scheme() != "https" && !is_loopback(&url) {
            bail!("the registry asks for an upload over plain HTTP");
        }
        url.query_pairs_mut().append_pair("digest", &blob.digest);
        let response = self
            .request(Method::PUT, url)
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, blob.size)
            .body(body(blob, sent.clone()).await?)
            .send()
            .await
            .with_context(|| format!("the upload of {} broke off", blob.digest))?;
        if response.status() == StatusCode::CREATED {
            Ok(())
        } else {
            Err(refused(&format!("cannot upload {}", blob.digest), response).await)
        }
    }

    async fn put_manifest(
        &self,
        repository: &str,
        manifest: &Manifest,
        reference: &str,
    ) -> Result<()> {
        let url = self.url(&format!("/v2/{repository}/manifests/{reference}"))?;
        let response = self
            .request(Method::PUT, url)
            .header(CONTENT_TYPE, &manifest.media_type)
            .body(manifest.bytes.clone())
            .send()
            .await
            .context("cannot reach the registry")?;
        if response.status() == StatusCode::CREATED {
            Ok(())
        } else {
            Err(refused(&format!("cannot push `{reference}`"), response).await)
        }
    }
}

/// The manifests that are understood.
const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

async fn body(blob: &Blob, sent: impl Fn(u64) + Send + Sync + 'static) -> Result<Body> {
    match &blob.content {
        Content::Bytes(bytes) => {
            sent(bytes.len() as u64);
            Ok(Body::from(bytes.clone()))
        }
        Content::File { path, offset } => {
            let opened = async {
                let mut file = tokio::fs::File::open(path).await?;
                file.seek(std::io::SeekFrom::Start(*offset)).await?;
                std::io::Result::Ok(file.take(blob.size))
            };
            let file = opened
                .await
                .with_context(|| format!("cannot read {}", path.display()))?;
            let stream = ReaderStream::with_capacity(file, 256 << 10);
            Ok(Body::wrap_stream(stream.inspect(move |chunk| {
                if let Ok(chunk) = chunk {
                    sent(chunk.len() as u64);
                }
            })))
        }
    }
}

/// The registry's own words, and a hint for the refusals that a user can do something about.
async fn refused(doing: &str, response: Response) -> anyhow::Error {
    let status = response.status();
    let text = response.text().await.unwrap_or_default();
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let error = &answer["errors"][0];
    let code = error["code"].as_str().unwrap_or_default();
    let message = error["message"].as_str().unwrap_or(text.trim());
    let error = anyhow!("{doing}: {code} {message} (HTTP {})", status.as_u16());
    match (code, status) {
        ("TAG_INVALID", _) => hinted(
            error,
            "the tag names another image and does not move in this repository: a commit's image is \
             made once; for a branch, name it in the repository's tag mutability exclusions",
        ),
        ("NAME_UNKNOWN", _) => hinted(error, "the repository is made by `mlops init`"),
        (_, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => hinted(
            error,
            "the credentials need ecr:PutImage and the ecr:*Layer* actions on the repository",
        ),
        _ => error,
    }
}

/// Pushes an image under `tags`. `sent` hears of bytes as they leave. What the registry has is not
/// sent again; a tag that names this image already is left alone.
///
/// # Errors
///
/// Any refusal of the registry, in its own words; a tag that may not move has a hint.
pub async fn push(
    registry: &Registry,
    repository: &str,
    image: &Image,
    tags: &[ImageTag],
    sent: impl Fn(u64) + Clone + Send + Sync + 'static,
) -> Result<Pushed> {
    let mut pushed = Pushed {
        digest: image.digest().to_owned(),
        sent: 0,
        saved: 0,
    };
    let mut seen = BTreeSet::new();
    for blob in image.manifests.iter().flat_map(|manifest| &manifest.blobs) {
        if !seen.insert(&blob.digest) {
            continue;
        }
        if registry.has_blob(repository, &blob.digest).await? {
            pushed.saved += blob.size;
            sent(blob.size);
        } else {
            registry.upload(repository, blob, &sent).await?;
            pushed.sent += blob.size;
        }
    }
    for (index, manifest) in image.manifests.iter().enumerate() {
        let is_image = index + 1 == image.manifests.len();
        let references: Vec<&str> = if is_image && !tags.is_empty() {
            tags.iter().map(ImageTag::as_str).collect()
        } else {
            vec![&manifest.digest]
        };
        for reference in references {
            let found = registry.manifest_digest(repository, reference).await?;
            if found.as_deref() != Some(manifest.digest.as_str()) {
                registry
                    .put_manifest(repository, manifest, reference)
                    .await?;
                pushed.sent += manifest.bytes.len() as u64;
            }
        }
    }
    verify(registry, repository, image, tags).await?;
    Ok(pushed)
}

/// Reads the image's manifest back and looks at each tag.
async fn verify(
    registry: &Registry,
    repository: &str,
    image: &Image,
    tags: &[ImageTag],
) -> Result<()> {
    let digest = image.digest();
    let url = registry.url(&format!("/v2/{repository}/manifests/{digest}"))?;
    let response = registry
        .request(Method::GET, url)
        .header(ACCEPT, ACCEPTED)
        .send()
        .await
        .context("cannot read the image back")?;
    if !response.status().is_success() {
        return Err(refused("cannot read the image back", response).await);
    }
    let found = digest_of(&response.bytes().await?);
    if found != digest {
        bail!("the registry answers with {found} for {digest}");
    }
    for tag in tags {
        let found = registry.manifest_digest(repository, tag.as_str()).await?;
        if found.as_deref() != Some(digest) {
            bail!(
                "the tag `{tag}` names {} after the push of {digest}: somebody else pushes to it",
                found.as_deref().unwrap_or("nothing")
            );
        }
    }
    Ok(())
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
            assert!(Registry::new(endpoint, "QVdTOng=").is_err(), "{endpoint}");
        }
        for endpoint in [
            "http://127.0.0.1:4566",
            "http://localhost:1",
            "http://[::1]:1",
        ] {
            assert!(Registry::new(endpoint, "QVdTOng=").unwrap().is_local());
        }
        let aws = Registry::new("https://1.dkr.ecr.us-east-1.amazonaws.com", "QVdTOng=").unwrap();
        assert!(!aws.is_local());
    }
}
