//! Uploads the files of a push: small files in parallel, large ones in parts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use anyhow::{Result, anyhow};
use aws_sdk_s3::Client;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use mlops_core::error::hinted;
use mlops_core::names::DatasetName;
use tokio::sync::{OnceCell, SemaphorePermit};

use super::reading::{self, Buffers};
use super::upload::{self, Memory, PART, blocking};
use super::{LocalFile, ManifestFile, STANDS, prefix, resume, unversioned};
use crate::aws::s3::S3Uri;

/// Maximum number of small files uploaded in parallel.
const PARALLEL: usize = 32;

/// Maximum number of large files uploaded in parallel; the parts of each are parallel too.
const PARALLEL_LARGE: usize = 4;

/// Approximate number of bytes per group of small files; two groups are read ahead.
const GROUP: u64 = 512 << 10;

/// Number of files to upload before searching for an earlier push: the search costs more than a few
/// uploads.
const FEW: usize = 32;

/// The result for one file.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) entry: ManifestFile,
    pub(super) sent: bool,
    pub(super) sent_bytes: u64,
    pub(super) resumed_bytes: u64,
}

/// Uploads files of one data set.
pub(super) struct Sender {
    client: Client,
    bucket: String,
    dataset: DatasetName,
    /// When the previous version was written, in seconds; older objects belong to that version.
    since: i64,
    memory: Memory,
    /// For small files.
    buffers: Buffers,
    sending: AtomicUsize,
    objects: OnceCell<BTreeMap<String, u64>>,
    uploads: OnceCell<BTreeMap<String, Vec<String>>>,
    counter: Arc<AtomicU64>,
}

/// A small file that was read.
struct Ready<'a> {
    file: LocalFile,
    bytes: Bytes,
    sha256: [u8; 32],
    room: Option<SemaphorePermit<'a>>,
}

impl Sender {
    pub(super) fn new(client: Client, bucket: String, dataset: DatasetName, since: i64) -> Self {
        Self {
            client,
            bucket,
            dataset,
            since,
            memory: Memory::new(),
            buffers: Buffers::default(),
            sending: AtomicUsize::new(0),
            objects: OnceCell::new(),
            uploads: OnceCell::new(),
            counter: Arc::new(AtomicU64::new(0)),
        }
    }

    /// Counts the bytes that need no further work.
    pub(super) fn counter(&self) -> Arc<AtomicU64> {
        self.counter.clone()
    }

    /// Uploads files in any order.
    pub(super) async fn send(&self, files: Vec<LocalFile>) -> Result<Vec<Outcome>> {
        let (large, small): (Vec<_>, Vec<_>) = files.into_iter().partition(|f| f.size > PART);
        let small = futures::stream::iter(groups(small))
            .map(|group| self.read(group))
            .buffer_unordered(2)
            .map_ok(|ready| futures::stream::iter(ready.into_iter().map(anyhow::Ok)))
            .try_flatten()
            .map_ok(|ready| self.small(ready))
            .try_buffer_unordered(PARALLEL);
        let large = futures::stream::iter(large)
            .map(|file| self.large(file))
            .buffer_unordered(PARALLEL_LARGE);
        let outcomes: Result<Vec<Outcome>> =
            futures::stream::select(small, large).try_collect().await;
        outcomes.map_err(|error| {
            if self.sending.load(Ordering::Relaxed) > 0 {
                hinted(error, STANDS)
            } else {
                error
            }
        })
    }

    fn uri(&self, file: &LocalFile) -> S3Uri {
        let key = format!("{}{}", prefix(&self.dataset), file.path);
        S3Uri::new(&self.bucket, key)
    }

    fn settled(&self, bytes: u64) {
        self.counter.fetch_add(bytes, Ordering::Relaxed);
    }

    fn outcome(
        &self,
        file: LocalFile,
        version_id: Option<String>,
        sha256: String,
        resumed_bytes: u64,
    ) -> Result<Outcome> {
        let version_id = version_id
            .filter(|id| id != "null")
            .ok_or_else(|| unversioned(&self.bucket))?;
        let sent_bytes = file.size - resumed_bytes;
        Ok(Outcome {
            entry: ManifestFile {
                key: self.uri(&file).key,
                path: file.path,
                version_id,
                size: file.size,
                sha256,
            },
            sent: sent_bytes > 0 || resumed_bytes == 0,
            sent_bytes,
            resumed_bytes,
        })
    }

    /// Whether an object with this key and size exists that no manifest references yet.
    async fn left_behind(&self, uri: &S3Uri, size: u64) -> Result<bool> {
        let objects = self
            .objects
            .get_or_try_init(|| async {
                let under = S3Uri::new(&self.bucket, prefix(&self.dataset));
                resume::objects(&self.client, &under, self.since).await
            })
            .await?;
        Ok(objects.get(&uri.key) == Some(&size))
    }

    async fn read(&self, group: Vec<LocalFile>) -> Result<Vec<Ready<'_>>> {
        let total = group.iter().map(|file| Memory::units(file.size)).sum();
        let mut room = self.memory.room(total).await?;
        let buffers = self.buffers.clone();
        let read = blocking(move || {
            let read = group.into_iter().map(|file| {
                let (bytes, sha256) = reading::whole(&file, &buffers)?;
                anyhow::Ok((file, bytes, sha256))
            });
            read.collect::<Result<Vec<_>>>()
        })
        .await?;
        read.into_iter()
            .map(|(file, bytes, sha256)| {
                let units = usize::try_from(Memory::units(file.size))?;
                let room = room
                    .split(units)
                    .ok_or_else(|| anyhow!("the memory for a group is too small"))?;
                Ok(Ready {
                    file,
                    bytes,
                    sha256,
                    room: Some(room),
                })
            })
            .collect()
    }

    async fn small(&self, ready: Ready<'_>) -> Result<Outcome> {
        let Ready {
            file,
            bytes,
            sha256,
            room,
        } = ready;
        let (uri, hex) = (self.uri(&file), hex::encode(sha256));
        if self.sending.fetch_add(1, Ordering::Relaxed) >= FEW
            && self.left_behind(&uri, file.size).await?
            && let Some(id) = resume::current_single(&self.client, &uri, file.size, &sha256).await?
        {
            self.settled(file.size);
            let size = file.size;
            return self.outcome(file, Some(id), hex, size);
        }
        let id = upload::single(&self.client, &uri, bytes, &sha256).await?;
        drop(room);
        self.settled(file.size);
        self.outcome(file, id, hex, 0)
    }

    async fn large(&self, file: LocalFile) -> Result<Outcome> {
        let uri = self.uri(&file);
        if self.left_behind(&uri, file.size).await? {
            let source = file.clone();
            let digests = blocking(move || reading::digests(&source)).await?;
            if let Some(id) = resume::current(&self.client, &uri, file.size, &digests).await? {
                self.settled(file.size);
                let size = file.size;
                return self.outcome(file, Some(id), digests.hex(), size);
            }
        }
        self.sending.fetch_add(1, Ordering::Relaxed);
        let uploads = self
            .uploads
            .get_or_try_init(|| async {
                let under = S3Uri::new(&self.bucket, prefix(&self.dataset));
                resume::uploads(&self.client, &under).await
            })
            .await?;
        let unfinished = match uploads.get(&uri.key) {
            Some(ids) => resume::unfinished(&self.client, &uri, ids).await?,
            None => None,
        };
        let settled = |bytes| self.settled(bytes);
        let done = upload::parts(
            &self.client,
            &uri,
            &file,
            unfinished,
            &self.memory,
            &settled,
        )
        .await?;
        self.outcome(file, done.version_id, done.sha256, done.resumed)
    }
}

/// Groups files into about [`GROUP`] bytes, to amortize the cost of passing them between threads.
fn groups(files: Vec<LocalFile>) -> Vec<Vec<LocalFile>> {
    let mut found: Vec<Vec<LocalFile>> = Vec::new();
    let mut filled = GROUP;
    for file in files {
        // An empty file costs a request too.
        let size = file.size.max(4 << 10);
        if filled + size > GROUP {
            found.push(Vec::new());
            filled = 0;
        }
        filled += size;
        if let Some(group) = found.last_mut() {
            group.push(file);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_hold_all_files_in_order() {
        let sizes = [0, 1, GROUP, 3, GROUP * 2, 1, GROUP - (8 << 10), 5];
        let files: Vec<_> = (0..)
            .zip(sizes)
            .map(|(index, size)| LocalFile {
                source: format!("{index}").into(),
                path: format!("{index}"),
                size,
            })
            .collect();
        let found = groups(files.clone());
        assert_eq!(found.concat(), files);
        let lengths: Vec<_> = found.iter().map(Vec::len).collect();
        assert_eq!(lengths, [2, 1, 1, 1, 3]);
        assert!(groups(Vec::new()).is_empty());
    }
}
