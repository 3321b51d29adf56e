//! Receives bodies: into a temporary file, hashed once, never entirely in memory, and off the async
//! threads.

use std::collections::BTreeSet;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::StreamExt;
use http::HeaderMap;
use md5::Md5;
use s3s::checksum::ChecksumHasher;
use s3s::dto::StreamingBlob;
use s3s::{S3Request, S3Result};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::checksums::{self, Algorithm, Checksums};
use super::chunked::Trailers;
use crate::Cloud;
use crate::api::{ApiError, ApiResult};

/// Size of the batches in which a body is written, in bytes.
const BATCH: usize = 256 * 1024;

/// Received bytes in a temporary file.
pub(super) struct Received {
    pub(super) file: NamedTempFile,
    pub(super) size: u64,
    /// Hex; the `ETag` of an object that was uploaded in one request.
    pub(super) md5: String,
    /// Hex.
    pub(super) sha256: String,
    pub(super) checksums: Checksums,
}

/// The length and checksums that a request announces for its body.
pub(super) struct ExpectedBody {
    sent: Checksums,
    algorithms: BTreeSet<Algorithm>,
    /// The algorithms that the request itself names; `None` if it has no checksum.
    announced: Option<BTreeSet<Algorithm>>,
    length: Option<i64>,
    md5: Option<String>,
    /// Hex, from `x-amz-content-sha256`.
    payload: Option<String>,
    chunked_trailers: Option<Trailers>,
    signed_trailers: Option<s3s::TrailingHeaders>,
}

impl ExpectedBody {
    /// Reads the announcement from the request's members and headers. Without a checksum, `default`
    /// is computed, as AWS does.
    pub(super) fn new<T>(
        request: &S3Request<T>,
        sent: Checksums,
        named: Option<&str>,
        length: Option<i64>,
        md5: Option<String>,
        default: Algorithm,
    ) -> ApiResult<Self> {
        let announced = checksums::announced(&sent, named, &request.headers)?;
        let algorithms = announced.clone().unwrap_or_else(|| [default].into());
        Ok(Self {
            sent,
            algorithms,
            announced,
            length,
            md5,
            payload: payload(&request.headers),
            chunked_trailers: request.extensions.get::<Trailers>().cloned(),
            signed_trailers: request.trailing_headers.clone(),
        })
    }

    /// The algorithms of the checksums that the request carries.
    pub(super) fn announced(&self) -> Option<&BTreeSet<Algorithm>> {
        self.announced.as_ref()
    }

    /// Requests one more checksum.
    pub(super) fn compute(&mut self, algorithm: Algorithm) {
        self.algorithms.insert(algorithm);
    }

    fn check(&self, received: &Received) -> ApiResult<()> {
        if let Some(length) = self.length
            && u64::try_from(length) != Ok(received.size)
        {
            return Err(ApiError::new(
                "IncompleteBody",
                "You did not provide the number of bytes specified by the Content-Length HTTP \
                 header",
            ));
        }
        if let Some(sent) = &self.md5 {
            let digest = hex::decode(&received.md5).unwrap_or_default();
            if *sent != STANDARD.encode(digest) {
                return Err(ApiError::new(
                    "BadDigest",
                    "The Content-MD5 you specified did not match what we received.",
                ));
            }
        }
        if let Some(sent) = &self.payload
            && !sent.eq_ignore_ascii_case(&received.sha256)
        {
            return Err(ApiError::new(
                "XAmzContentSHA256Mismatch",
                "The provided 'x-amz-content-sha256' header does not match what was computed.",
            ));
        }
        let mut sent = self.sent.clone();
        if let Some(trailers) = &self.chunked_trailers {
            sent.extend(checksums::trailing(&trailers.get()));
        }
        if let Some(found) = self
            .signed_trailers
            .as_ref()
            .and_then(|trailers| trailers.read(checksums::trailing))
        {
            sent.extend(found);
        }
        checksums::verify(&sent, &received.checksums)
    }
}

fn payload(headers: &HeaderMap) -> Option<String> {
    headers
        .get("x-amz-content-sha256")
        .and_then(|value| value.to_str().ok())
        .filter(|value| value.len() == 64)
        .map(str::to_owned)
}

/// Receives a body and compares it with what the request announced.
pub(super) async fn receive(
    cloud: &Cloud,
    body: Option<StreamingBlob>,
    expected: &ExpectedBody,
) -> S3Result<Received> {
    let mut writer = Writer::new(expected.algorithms.clone());
    let mut batch: Vec<Bytes> = Vec::new();
    let mut gathered = 0;
    if let Some(mut body) = body {
        while let Some(bytes) = body.next().await {
            let bytes = bytes.map_err(|error| broken(error.as_ref()))?;
            gathered += bytes.len();
            batch.push(bytes);
            if gathered >= BATCH {
                let full = std::mem::take(&mut batch);
                gathered = 0;
                let cloud = cloud.clone();
                writer = blocking(move || {
                    writer.write(&cloud, &full)?;
                    Ok(writer)
                })
                .await?;
            }
        }
    }
    let last = cloud.clone();
    let received = blocking(move || {
        writer.write(&last, &batch)?;
        writer.finish(&last)
    })
    .await?;
    expected.check(&received)?;
    Ok(received)
}

fn broken(error: &(dyn std::error::Error + Send + Sync)) -> ApiError {
    let text = error.to_string();
    let code = if text.contains("SignatureMismatch") {
        return ApiError::new("SignatureDoesNotMatch", "a chunk's signature is wrong").status(403);
    } else if text.to_ascii_lowercase().contains("checksum") {
        "XAmzContentSHA256Mismatch"
    } else {
        "IncompleteBody"
    };
    ApiError::new(code, text)
}

/// Runs file or database work off the async threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> ApiResult<T> + Send + 'static,
) -> ApiResult<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(ApiError::internal)?
}

/// Copies the contents of a reader to a temporary file and hashes them.
pub(super) fn copy(cloud: &Cloud, reader: &mut impl std::io::Read) -> ApiResult<Received> {
    let mut writer = Writer::new(BTreeSet::from([Algorithm::Crc64nvme]));
    writer.append(cloud, reader)?;
    writer.finish(cloud)
}

/// Writes bytes to a temporary file and hashes them.
pub(super) struct Writer {
    file: Option<NamedTempFile>,
    size: u64,
    md5: Md5,
    sha256: Sha256,
    hasher: ChecksumHasher,
    algorithms: BTreeSet<Algorithm>,
}

impl Writer {
    pub(super) fn new(algorithms: BTreeSet<Algorithm>) -> Self {
        Self {
            file: None,
            size: 0,
            md5: Md5::new(),
            sha256: Sha256::new(),
            hasher: checksums::hasher(&algorithms),
            algorithms,
        }
    }

    fn write(&mut self, cloud: &Cloud, batch: &[Bytes]) -> ApiResult<()> {
        for bytes in batch {
            self.write_slice(cloud, bytes)?;
        }
        Ok(())
    }

    /// Writes bytes.
    pub(super) fn write_slice(&mut self, cloud: &Cloud, bytes: &[u8]) -> ApiResult<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(cloud.blobs().temporary()?),
        };
        file.write_all(bytes)?;
        self.size += bytes.len() as u64;
        self.md5.update(bytes);
        self.sha256.update(bytes);
        self.hasher.update(bytes);
        Ok(())
    }

    /// Writes the contents of a reader.
    pub(super) fn append(
        &mut self,
        cloud: &Cloud,
        reader: &mut impl std::io::Read,
    ) -> ApiResult<()> {
        let mut buffer = vec![0; BATCH];
        loop {
            match reader.read(&mut buffer)? {
                0 => return Ok(()),
                count => self.write_slice(cloud, &buffer[..count])?,
            }
        }
    }

    /// Returns the temporary file and its hashes.
    pub(super) fn finish(mut self, cloud: &Cloud) -> ApiResult<Received> {
        self.write_slice(cloud, &[])?;
        let sha256 = hex::encode(self.sha256.finalize());
        Ok(Received {
            file: self
                .file
                .ok_or_else(|| ApiError::internal("no temporary file"))?,
            size: self.size,
            md5: hex::encode(self.md5.finalize()),
            checksums: checksums::finish(self.hasher, &self.algorithms, &sha256),
            sha256,
        })
    }
}
