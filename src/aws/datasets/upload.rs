//! Uploads one file of a push: in one request, or in parts that a later push can reuse.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, anyhow};
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::TryStreamExt;
use mlops_core::error::Hint;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::LocalFile;
use super::reading::{Buffers, Digests, Part, Parts, crc64_text};
use super::resume::{self, UnfinishedUpload, UploadedPart};
use crate::aws::s3::S3Uri;
use crate::aws::{AwsResultExt, Expected, Missing};

/// Maximum size in bytes of a file uploaded in one request, and size of the parts of larger files.
pub(super) const PART: u64 = 8 << 20;

/// Maximum number of parts that S3 accepts.
const MAX_PARTS: u64 = 10_000;

/// Maximum number of parts of one file uploaded in parallel, if memory permits.
const PARALLEL: usize = 8;

/// Limits the memory used by uploads in progress.
pub(super) struct Memory {
    permits: Semaphore,
    buffers: Buffers,
}

impl Memory {
    /// The limit, in KiB.
    const TOTAL: u32 = 40 << 10;

    pub(super) fn new() -> Self {
        Self {
            permits: Semaphore::new(Self::TOTAL as usize),
            buffers: Buffers::default(),
        }
    }

    /// Returns the number of units that `size` bytes occupy. Larger sizes occupy all units.
    pub(super) fn units(size: u64) -> u64 {
        size.div_ceil(1 << 10).clamp(1, Self::TOTAL.into())
    }

    /// Waits until `units` of memory are free.
    pub(super) async fn room(&self, units: u64) -> Result<SemaphorePermit<'_>> {
        let units = u32::try_from(units)?.min(Self::TOTAL);
        Ok(self.permits.acquire_many(units).await?)
    }
}

/// Runs file I/O off the async threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .context("reading a file")?
}

/// A file that was uploaded.
#[derive(Debug)]
pub(super) struct Uploaded {
    pub(super) version_id: Option<String>,
    /// The SHA-256 of its bytes, hex.
    pub(super) sha256: String,
    /// Number of bytes that an earlier push had uploaded.
    pub(super) resumed: u64,
}

/// Uploads bytes with their SHA-256, which S3 verifies; returns the object's version id.
pub(super) async fn single(
    client: &Client,
    uri: &S3Uri,
    bytes: Bytes,
    sha256: &[u8; 32],
) -> Result<Option<String>> {
    let output = client
        .put_object()
        .bucket(&uri.bucket)
        .key(&uri.key)
        .checksum_sha256(STANDARD.encode(sha256))
        .body(ByteStream::from(bytes))
        .send()
        .await
        .aws(format!("cannot upload {uri}"))?;
    Ok(output.version_id)
}

/// Returns the size of a file's parts: [`PART`], or more if that would exceed S3's maximum number
/// of parts.
fn part_size(size: u64) -> u64 {
    size.div_ceil(MAX_PARTS).next_multiple_of(1 << 20).max(PART)
}

/// Uploads a large file in parts, each with its CRC64NVME; S3 verifies them and the CRC of the
/// file. Parts already uploaded by an earlier push are skipped. After a failure, the parts remain
/// for the next push.
pub(super) async fn parts(
    client: &Client,
    uri: &S3Uri,
    file: &LocalFile,
    unfinished: Option<UnfinishedUpload>,
    memory: &Memory,
    sent: &(dyn Fn(u64) + Sync),
) -> Result<Uploaded> {
    if let Some(unfinished) = unfinished
        && let Some(uploaded) = attempt(
            client,
            uri,
            file,
            &unfinished.id,
            &unfinished.parts,
            memory,
            sent,
        )
        .await?
    {
        return Ok(uploaded);
    }
    let started = client
        .create_multipart_upload()
        .bucket(&uri.bucket)
        .key(&uri.key)
        .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
        .checksum_type(ChecksumType::FullObject)
        .send()
        .await
        .aws(format!("cannot start the upload of {uri}"))?;
    let id = started
        .upload_id
        .ok_or_else(|| anyhow!("S3 returned no upload id"))?;
    attempt(client, uri, file, &id, &BTreeMap::new(), memory, sent)
        .await?
        .ok_or_else(|| anyhow!("the upload {id} of {uri} was aborted by another client"))
        .hint("push again")
}

enum UploadEvent {
    Part(Part),
    End(Digests),
}

enum Step {
    Part {
        completed: Box<CompletedPart>,
        resumed: u64,
    },
    End(Digests),
}

/// Uploads the missing parts and completes the upload; `None` if the upload no longer exists.
async fn attempt(
    client: &Client,
    uri: &S3Uri,
    file: &LocalFile,
    id: &str,
    known: &BTreeMap<i32, UploadedPart>,
    memory: &Memory,
    sent: &(dyn Fn(u64) + Sync),
) -> Result<Option<Uploaded>> {
    let size = part_size(file.size);
    let opened = {
        let (file, buffers) = (file.clone(), memory.buffers.clone());
        blocking(move || Parts::open(&file, size, &buffers)).await?
    };
    let pieces = futures::stream::try_unfold(Some(opened), |parts| async move {
        let Some(mut parts) = parts else {
            return Ok(None);
        };
        let room = memory.room(Memory::units(size.min(file.size))).await?;
        let (piece, parts) = blocking(move || {
            Ok(match parts.next()? {
                Some(part) => (UploadEvent::Part(part), Some(parts)),
                None => (UploadEvent::End(parts.finish()?), None),
            })
        })
        .await?;
        anyhow::Ok(Some(((piece, room), parts)))
    });
    let steps = pieces
        .map_ok(|(piece, room)| async move {
            let step = match piece {
                UploadEvent::End(digests) => Some(Step::End(digests)),
                UploadEvent::Part(part) => self::part(client, uri, id, part, known, sent).await?,
            };
            drop(room);
            anyhow::Ok(step)
        })
        .try_buffered(PARALLEL);
    futures::pin_mut!(steps);
    let (mut completed, mut digests, mut resumed) = (Vec::new(), None, 0);
    while let Some(step) = steps.try_next().await? {
        match step {
            None => return Ok(None),
            Some(Step::End(found)) => digests = Some(found),
            Some(Step::Part {
                completed: part,
                resumed: bytes,
            }) => {
                completed.push(*part);
                resumed += bytes;
            }
        }
    }
    let digests = digests.ok_or_else(|| anyhow!("{} keeps growing", file.source.display()))?;
    let Some(version_id) = complete(client, uri, file.size, id, completed, &digests).await? else {
        return Ok(None);
    };
    Ok(Some(Uploaded {
        version_id,
        sha256: digests.hex(),
        resumed,
    }))
}

/// Uploads a part unless it is already uploaded; returns `None` if the upload no longer exists.
async fn part(
    client: &Client,
    uri: &S3Uri,
    id: &str,
    part: Part,
    known: &BTreeMap<i32, UploadedPart>,
    sent: &(dyn Fn(u64) + Sync),
) -> Result<Option<Step>> {
    let length = part.bytes.len() as u64;
    let crc64 = crc64_text(part.crc64);
    let there = known
        .get(&part.number)
        .filter(|known| known.size == length && known.crc64 == crc64);
    let (etag, resumed) = if let Some(there) = there {
        (there.etag.clone(), length)
    } else {
        let output = client
            .upload_part()
            .bucket(&uri.bucket)
            .key(&uri.key)
            .upload_id(id)
            .part_number(part.number)
            .checksum_crc64_nvme(&crc64)
            .body(ByteStream::from(part.bytes))
            .send()
            .await
            .aws_if_found(
                format!("cannot upload part {} of {uri}", part.number),
                Missing::Upload,
            )?;
        let Some(output) = output else {
            return Ok(None);
        };
        (output.e_tag, 0)
    };
    sent(length);
    Ok(Some(Step::Part {
        completed: Box::new(
            CompletedPart::builder()
                .part_number(part.number)
                .set_e_tag(etag)
                .checksum_crc64_nvme(crc64)
                .build(),
        ),
        resumed,
    }))
}

/// Completes an upload; S3 verifies the CRC64NVME and the size of the file. Returns the version, or
/// `None` if the upload no longer exists.
async fn complete(
    client: &Client,
    uri: &S3Uri,
    size: u64,
    id: &str,
    parts: Vec<CompletedPart>,
    digests: &Digests,
) -> Result<Option<Option<String>>> {
    let completed = client
        .complete_multipart_upload()
        .bucket(&uri.bucket)
        .key(&uri.key)
        .upload_id(id)
        .checksum_crc64_nvme(crc64_text(digests.crc64))
        .checksum_type(ChecksumType::FullObject)
        .mpu_object_size(i64::try_from(size)?)
        .multipart_upload(
            CompletedMultipartUpload::builder()
                .set_parts(Some(parts))
                .build(),
        )
        .send()
        .await
        .aws_unless(
            format!("cannot complete the upload of {uri}"),
            // InvalidPart: another push with different content shares the upload.
            &[
                Expected::Missing(Missing::Upload),
                Expected::code("InvalidPart"),
            ],
        )?;
    match completed {
        Some(output) => Ok(Some(output.version_id)),
        // The response to a first attempt may have been lost.
        None => Ok(resume::current(client, uri, size, digests).await?.map(Some)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_to_limit_their_number() {
        assert_eq!(part_size(9 << 20), PART);
        assert_eq!(part_size(PART * MAX_PARTS), PART);
        assert_eq!(part_size(PART * MAX_PARTS + 1), 9 << 20);
        let largest = 5 << 40;
        assert!(largest / part_size(largest) < MAX_PARTS);
    }
}
