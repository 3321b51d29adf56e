//! A push: what differs is sent, the manifest comes last.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketVersioningStatus, ChecksumAlgorithm};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use tokio::sync::OnceCell;

use super::upload::{self, Memory, PART, blocking};
use super::{
    DatasetVersion, LocalFile, Manifest, ManifestFile, SCHEMA, earlier, manifest_uri, newest,
    prefix, reading, unversioned,
};
use crate::aws::AwsResultExt;
use crate::aws::s3::S3Uri;
use crate::error::{Exit, Failure, Hint, hinted};
use crate::names::DatasetName;

/// Files that are sent side by side.
const PARALLEL: usize = 32;

/// So many files are sent before it is asked what an earlier push left: that costs more than
/// sending a few.
const FEW: usize = 32;

/// The longest key that S3 takes, in bytes.
const MAX_KEY: usize = 1024;

/// What to know about a push that did not come to its end.
pub const STANDS: &str = "no version was made, and the one before stands whole; push again: what \
                          was sent is not sent again";

/// What a push did.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// The version that the data set has now.
    pub version: DatasetVersion,
    /// The files that were uploaded, or a part of them.
    pub uploaded: usize,
    /// The bytes that were uploaded.
    pub uploaded_bytes: u64,
    /// The bytes that an interrupted push had uploaded, and that were not sent again.
    pub resumed_bytes: u64,
    /// True when the newest version already was the same, and stays.
    pub unchanged: bool,
}

/// What came of one file.
struct Outcome {
    entry: ManifestFile,
    sent: bool,
    sent_bytes: u64,
    resumed_bytes: u64,
}

/// A push under way.
struct Push<'a> {
    client: &'a Client,
    bucket: &'a str,
    dataset: &'a DatasetName,
    /// The files of the version before, by path.
    known: BTreeMap<&'a str, &'a ManifestFile>,
    /// When the version before was written, in seconds; what is older belongs to it.
    since: i64,
    memory: Memory,
    sending: AtomicUsize,
    objects: OnceCell<BTreeMap<String, u64>>,
    uploads: OnceCell<BTreeMap<String, Vec<String>>>,
    sent: &'a (dyn Fn(u64) + Sync),
}

/// Makes the data set consist of these files. Files that the newest version has with the same
/// bytes are not sent again, nor what an interrupted push has sent; when nothing differs the newest
/// version stays. Each file is read once and hashed on its way, unless its size is one that S3
/// already has: then it is hashed first. `sent` hears how many bytes are settled. Of two pushes at
/// the same time one fails, and says so.
pub async fn push(
    client: &Client,
    bucket: &str,
    dataset: &DatasetName,
    files: &[LocalFile],
    now: Timestamp,
    sent: &(dyn Fn(u64) + Sync),
) -> Result<Pushed> {
    check_keys(dataset, files)?;
    let previous = newest(client, bucket, dataset).await?;
    if previous.is_none() {
        require_versions(client, bucket).await?;
    }
    let push = Push {
        client,
        bucket,
        dataset,
        known: previous
            .iter()
            .flat_map(|newest| &newest.version.manifest.files)
            .map(|file| (file.path.as_str(), file))
            .collect(),
        since: previous.as_ref().map_or(i64::MIN, |newest| newest.written),
        memory: Memory::new(),
        sending: AtomicUsize::new(0),
        objects: OnceCell::new(),
        uploads: OnceCell::new(),
        sent,
    };
    let outcomes: Result<Vec<Outcome>> = futures::stream::iter(files)
        .map(|file| push.file(file))
        .buffer_unordered(PARALLEL)
        .try_collect()
        .await;
    let mut outcomes = match outcomes {
        Ok(outcomes) => outcomes,
        Err(error) if push.sending.load(Ordering::Relaxed) > 0 => {
            return Err(hinted(error, STANDS));
        }
        Err(error) => return Err(error),
    };
    outcomes.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
    let uploaded = outcomes.iter().filter(|outcome| outcome.sent).count();
    let uploaded_bytes = outcomes.iter().map(|outcome| outcome.sent_bytes).sum();
    let resumed_bytes = outcomes.iter().map(|outcome| outcome.resumed_bytes).sum();
    let files: Vec<_> = outcomes.into_iter().map(|outcome| outcome.entry).collect();
    if let Some(newest) = &previous
        && newest.version.manifest.files == files
    {
        return Ok(Pushed {
            version: newest.version.clone(),
            uploaded,
            uploaded_bytes,
            resumed_bytes,
            unchanged: true,
        });
    }
    let manifest = Manifest {
        schema: SCHEMA,
        dataset: dataset.clone(),
        created: now,
        files,
    };
    let etag = previous.map(|newest| newest.etag);
    let id = write(client, bucket, &manifest, etag).await?;
    Ok(Pushed {
        version: DatasetVersion { id, manifest },
        uploaded,
        uploaded_bytes,
        resumed_bytes,
        unchanged: false,
    })
}

fn check_keys(dataset: &DatasetName, files: &[LocalFile]) -> Result<()> {
    let before = prefix(dataset).len();
    match files.iter().find(|file| before + file.path.len() > MAX_KEY) {
        None => Ok(()),
        Some(long) => Err(Failure::usage(format!(
            "{} has a path of {} bytes, S3 takes {} in this data set",
            long.source.display(),
            long.path.len(),
            MAX_KEY - before
        ))),
    }
}

/// Refuses a bucket without versions before anything is sent. Where these credentials may not ask,
/// the first answer to an upload tells.
async fn require_versions(client: &Client, bucket: &str) -> Result<()> {
    let found = client
        .get_bucket_versioning()
        .bucket(bucket)
        .send()
        .await
        .aws_unless(
            format!("cannot tell whether the bucket {bucket} keeps versions"),
            &["AccessDenied", "NotImplemented", "MethodNotAllowed"],
        )?;
    match found {
        Some(found) if found.status != Some(BucketVersioningStatus::Enabled) => {
            Err(unversioned(bucket))
        }
        _ => Ok(()),
    }
}

impl Push<'_> {
    async fn file(&self, file: &LocalFile) -> Result<Outcome> {
        if file.size > PART {
            self.large(file).await
        } else {
            self.small(file).await
        }
    }

    fn uri(&self, file: &LocalFile) -> S3Uri {
        S3Uri::new(
            self.bucket,
            format!("{}{}", prefix(self.dataset), file.path),
        )
    }

    /// The file in the version before, if it has the same size.
    fn before(&self, file: &LocalFile) -> Option<&ManifestFile> {
        let before = self.known.get(file.path.as_str()).copied();
        before.filter(|before| before.size == file.size)
    }

    fn stays(&self, before: &ManifestFile) -> Outcome {
        (self.sent)(before.size);
        Outcome {
            entry: before.clone(),
            sent: false,
            sent_bytes: 0,
            resumed_bytes: 0,
        }
    }

    fn is_there(
        &self,
        file: &LocalFile,
        version_id: Option<String>,
        sha256: String,
        resumed_bytes: u64,
    ) -> Result<Outcome> {
        let version_id = version_id
            .filter(|id| id != "null")
            .ok_or_else(|| unversioned(self.bucket))?;
        let sent_bytes = file.size - resumed_bytes;
        Ok(Outcome {
            entry: ManifestFile {
                path: file.path.clone(),
                key: self.uri(file).key,
                version_id,
                size: file.size,
                sha256,
            },
            sent: sent_bytes > 0 || resumed_bytes == 0,
            sent_bytes,
            resumed_bytes,
        })
    }

    /// True when an object that no manifest names yet has this key and size.
    async fn left_behind(&self, uri: &S3Uri, size: u64) -> Result<bool> {
        let objects = self
            .objects
            .get_or_try_init(|| {
                let under = S3Uri::new(self.bucket, prefix(self.dataset));
                async move { earlier::objects(self.client, &under, self.since).await }
            })
            .await?;
        Ok(objects.get(&uri.key) == Some(&size))
    }

    async fn small(&self, file: &LocalFile) -> Result<Outcome> {
        let room = self.memory.room(file.size).await?;
        let source = file.clone();
        let (bytes, sha256) = blocking(move || reading::whole(&source)).await?;
        let hex = hex::encode(sha256);
        if let Some(before) = self.before(file)
            && before.sha256 == hex
        {
            return Ok(self.stays(before));
        }
        let uri = self.uri(file);
        if self.sending.fetch_add(1, Ordering::Relaxed) >= FEW
            && self.left_behind(&uri, file.size).await?
            && let Some(id) = earlier::current_single(self.client, &uri, file.size, &sha256).await?
        {
            (self.sent)(file.size);
            return self.is_there(file, Some(id), hex, file.size);
        }
        let id = upload::single(self.client, &uri, bytes, &sha256).await?;
        drop(room);
        (self.sent)(file.size);
        self.is_there(file, id, hex, 0)
    }

    async fn digests(&self, file: &LocalFile) -> Result<reading::Digests> {
        let source = file.clone();
        blocking(move || reading::digests(&source)).await
    }

    async fn large(&self, file: &LocalFile) -> Result<Outcome> {
        let uri = self.uri(file);
        let mut digests = None;
        if let Some(before) = self.before(file) {
            let found = self.digests(file).await?;
            if before.sha256 == found.hex() {
                return Ok(self.stays(before));
            }
            digests = Some(found);
        }
        if self.left_behind(&uri, file.size).await? {
            let digests = match digests {
                Some(digests) => digests,
                None => self.digests(file).await?,
            };
            if let Some(id) = earlier::current(self.client, &uri, file.size, &digests).await? {
                (self.sent)(file.size);
                return self.is_there(file, Some(id), digests.hex(), file.size);
            }
        }
        self.sending.fetch_add(1, Ordering::Relaxed);
        let uploads = self
            .uploads
            .get_or_try_init(|| {
                let under = S3Uri::new(self.bucket, prefix(self.dataset));
                async move { earlier::uploads(self.client, &under).await }
            })
            .await?;
        let unfinished = match uploads.get(&uri.key) {
            Some(ids) => earlier::unfinished(self.client, &uri, ids).await?,
            None => None,
        };
        let done =
            upload::parts(self.client, &uri, file, unfinished, &self.memory, self.sent).await?;
        self.is_there(file, done.version_id, done.sha256, done.resumed)
    }
}

/// Writes the manifest if the one that it follows is still the newest.
async fn write(
    client: &Client,
    bucket: &str,
    manifest: &Manifest,
    previous: Option<String>,
) -> Result<String> {
    let uri = manifest_uri(bucket, &manifest.dataset);
    let request = client
        .put_object()
        .bucket(bucket)
        .key(&uri.key)
        .content_type("application/json")
        .checksum_algorithm(ChecksumAlgorithm::Sha256)
        .body(ByteStream::from(serde_json::to_vec_pretty(manifest)?));
    let request = match previous {
        Some(etag) => request.if_match(etag),
        None => request.if_none_match("*"),
    };
    let written = request.send().await.aws_unless(
        format!("cannot write {uri}"),
        &["PreconditionFailed", "ConditionalRequestConflict"],
    )?;
    written
        .ok_or_else(|| {
            Failure::new(
                Exit::Failed,
                format!("another push of {} was faster", manifest.dataset),
            )
        })
        .hint("push again: it starts from what the other push left")?
        .version_id
        .filter(|id| id != "null")
        .ok_or_else(|| unversioned(bucket))
}
