//! Data sets: files under `datasets/NAME/` of a versioned bucket, and one manifest that is written
//! last. The manifest's own version id is the version of the data set.
//!
//! SageMaker jobs cannot read an object by its version id, so the first run that uses a version
//! copies it, by version id and on S3's side, to `snapshots/NAME/VERSION/`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumAlgorithm;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::AwsResultExt;
use super::s3::{self, S3Uri};
use crate::error::{Exit, Failure, Hint};
use crate::names::DatasetName;

pub mod files;
mod upload;

pub use files::{LocalFile, gather};

/// How many requests run side by side.
const PARALLEL: usize = 8;

/// The format of a manifest.
pub const SCHEMA: u32 = 1;

/// The name of a data set's manifest beside its files.
pub const MANIFEST: &str = "manifest.json";

/// What a version of a data set consists of: `datasets/NAME/manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format, [`SCHEMA`].
    pub schema: u32,
    /// The data set.
    pub dataset: DatasetName,
    /// When it was pushed.
    pub created: Timestamp,
    /// Its files, by path.
    pub files: Vec<ManifestFile>,
}

/// A file of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// The path in the data set, with `/`.
    pub path: String,
    /// The key in the bucket.
    pub key: String,
    /// The version of the object.
    pub version_id: String,
    /// The size in bytes.
    pub size: u64,
    /// The SHA-256 of the bytes, hex.
    pub sha256: String,
}

/// A version of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetVersion {
    /// The version: the manifest's version id.
    pub id: String,
    /// What it consists of.
    pub manifest: Manifest,
}

/// What a push did.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// The version that the data set has now.
    pub version: DatasetVersion,
    /// The files that were uploaded.
    pub uploaded: usize,
    /// The bytes that were uploaded.
    pub uploaded_bytes: u64,
    /// True when the newest version already was the same, and stays.
    pub unchanged: bool,
}

fn prefix(dataset: &DatasetName) -> String {
    format!("datasets/{dataset}/")
}

fn manifest_uri(bucket: &str, dataset: &DatasetName) -> S3Uri {
    S3Uri::new(bucket, format!("{}{MANIFEST}", prefix(dataset)))
}

/// Where the snapshot of a version lies; ends in `/`.
pub fn snapshot_uri(bucket: &str, dataset: &DatasetName, version: &str) -> S3Uri {
    S3Uri::new(bucket, format!("snapshots/{dataset}/{version}/"))
}

fn parse(bytes: &[u8], uri: &S3Uri, id: Option<String>) -> Result<DatasetVersion> {
    let manifest: Manifest = serde_json::from_slice(bytes)
        .with_context(|| format!("{uri} is not a manifest of this mlops"))?;
    if manifest.schema != SCHEMA {
        bail!(
            "{uri} has the format {}, this mlops reads {SCHEMA}",
            manifest.schema
        );
    }
    let id = id
        .filter(|id| id != "null")
        .ok_or_else(|| unversioned(&uri.bucket))?;
    Ok(DatasetVersion { id, manifest })
}

fn unversioned(bucket: &str) -> anyhow::Error {
    anyhow!("the bucket {bucket} does not keep versions, so data sets in it have none")
}

/// The versions of a data set, newest first: (version, when it was pushed).
pub async fn versions(
    client: &Client,
    bucket: &str,
    dataset: &DatasetName,
) -> Result<Vec<DatasetVersion>> {
    let uri = manifest_uri(bucket, dataset);
    let found = s3::versions(client, &uri).await?;
    futures::stream::iter(found)
        .map(|version| {
            let uri = &uri;
            async move {
                let id = version.version_id.ok_or_else(|| unversioned(bucket))?;
                resolve_at(client, uri, &id).await
            }
        })
        .buffered(PARALLEL)
        .try_collect()
        .await
}

/// The newest version of a data set; `None` when there is none.
pub async fn latest(
    client: &Client,
    bucket: &str,
    dataset: &DatasetName,
) -> Result<Option<DatasetVersion>> {
    Ok(newest(client, bucket, dataset)
        .await?
        .map(|(version, _etag)| version))
}

async fn newest(
    client: &Client,
    bucket: &str,
    dataset: &DatasetName,
) -> Result<Option<(DatasetVersion, String)>> {
    let uri = manifest_uri(bucket, dataset);
    let Some(fetched) = s3::get(client, &uri, None).await? else {
        return Ok(None);
    };
    let etag = fetched.etag.unwrap_or_default();
    let version = parse(&fetched.bytes, &uri, fetched.version_id)?;
    Ok(Some((version, etag)))
}

/// A version by its id.
pub async fn resolve(
    client: &Client,
    bucket: &str,
    dataset: &DatasetName,
    version: &str,
) -> Result<DatasetVersion> {
    resolve_at(client, &manifest_uri(bucket, dataset), version)
        .await
        .hint(format!("`mlops data versions {dataset}` lists them"))
}

async fn resolve_at(client: &Client, uri: &S3Uri, version: &str) -> Result<DatasetVersion> {
    let fetched = s3::get(client, uri, Some(version))
        .await?
        .ok_or_else(|| anyhow!("{uri} has no version {version}"))?;
    parse(&fetched.bytes, uri, Some(version.to_owned()))
}

/// Makes the data set consist of these files. Files that the newest version has with the same
/// bytes are not sent again; when nothing differs the newest version stays. `sent` hears how many
/// bytes have come to S3. Of two pushes at the same time one fails, and says so.
pub async fn push(
    client: &Client,
    bucket: &str,
    dataset: &DatasetName,
    files: &[LocalFile],
    now: Timestamp,
    sent: &(dyn Fn(u64) + Sync),
) -> Result<Pushed> {
    let previous = newest(client, bucket, dataset).await?;
    let known: BTreeMap<&str, &ManifestFile> = previous
        .iter()
        .flat_map(|(version, _)| &version.manifest.files)
        .map(|file| (file.path.as_str(), file))
        .collect();
    let (mut uploaded, mut uploaded_bytes) = (0, 0);
    let mut entries: Vec<ManifestFile> = Vec::with_capacity(files.len());
    let mut changed = Vec::new();
    for file in files {
        match known.get(file.path.as_str()) {
            Some(same) if same.sha256 == file.sha256 => {
                sent(file.size);
                entries.push((*same).clone());
            }
            _ => {
                uploaded += 1;
                uploaded_bytes += file.size;
                changed.push(file);
            }
        }
    }
    if let Some((version, _)) = &previous
        && changed.is_empty()
        && entries.len() == version.manifest.files.len()
    {
        return Ok(Pushed {
            version: version.clone(),
            uploaded,
            uploaded_bytes,
            unchanged: true,
        });
    }
    let fresh: Vec<ManifestFile> = futures::stream::iter(changed)
        .map(|file| async move {
            let uri = S3Uri::new(bucket, format!("{}{}", prefix(dataset), file.path));
            let version_id = upload::file(client, &uri, file, sent)
                .await?
                .filter(|id| id != "null")
                .ok_or_else(|| unversioned(bucket))?;
            anyhow::Ok(ManifestFile {
                path: file.path.clone(),
                key: uri.key,
                version_id,
                size: file.size,
                sha256: file.sha256.clone(),
            })
        })
        .buffer_unordered(PARALLEL)
        .try_collect()
        .await?;
    entries.extend(fresh);
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let manifest = Manifest {
        schema: SCHEMA,
        dataset: dataset.clone(),
        created: now,
        files: entries,
    };
    let etag = previous.map(|(_, etag)| etag);
    let id = write(client, bucket, &manifest, etag).await?;
    Ok(Pushed {
        version: DatasetVersion { id, manifest },
        uploaded,
        uploaded_bytes,
        unchanged: false,
    })
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

/// Copies a version to its snapshot, if it is not there, and returns the snapshot's prefix. What
/// is there is never overwritten; in the end every file is there with its size.
pub async fn snapshot(
    client: &Client,
    bucket: &str,
    version: &DatasetVersion,
    copied: &(dyn Fn(u64) + Sync),
) -> Result<S3Uri> {
    let manifest = &version.manifest;
    let target = snapshot_uri(bucket, &manifest.dataset, &version.id);
    let present = sizes(client, &target).await?;
    futures::stream::iter(&manifest.files)
        .map(|file| {
            let key = format!("{}{}", target.key, file.path);
            let present = present.contains_key(&key);
            async move {
                if !present {
                    upload::copy(client, bucket, file, &key).await?;
                }
                copied(file.size);
                anyhow::Ok(())
            }
        })
        .buffer_unordered(PARALLEL)
        .try_collect::<Vec<()>>()
        .await?;
    let present = sizes(client, &target).await?;
    for file in &manifest.files {
        let key = format!("{}{}", target.key, file.path);
        match present.get(&key) {
            Some(size) if *size == file.size => {}
            Some(size) => bail!(
                "the snapshot {target} is damaged: {} has {size} bytes, not {}",
                file.path,
                file.size
            ),
            None => bail!(
                "the snapshot {target} is incomplete: {} is missing",
                file.path
            ),
        }
    }
    Ok(target)
}

async fn sizes(client: &Client, prefix: &S3Uri) -> Result<BTreeMap<String, u64>> {
    Ok(s3::list(client, prefix)
        .await?
        .into_iter()
        .filter_map(|object| {
            let size = u64::try_from(object.size?).ok()?;
            Some((object.key?, size))
        })
        .collect())
}

/// What `verify` found of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The path in the data set.
    pub path: String,
    /// What is wrong.
    pub problem: String,
}

/// Reads every file of a version and compares size and SHA-256 with the manifest.
pub async fn verify(
    client: &Client,
    bucket: &str,
    version: &DatasetVersion,
    read: &(dyn Fn(u64) + Sync),
) -> Result<Vec<Finding>> {
    let findings: Vec<Option<Finding>> = futures::stream::iter(&version.manifest.files)
        .map(|file| async move {
            let problem = upload::check(client, bucket, file, read).await?;
            anyhow::Ok(problem.map(|problem| Finding {
                path: file.path.clone(),
                problem,
            }))
        })
        .buffered(PARALLEL)
        .try_collect()
        .await?;
    Ok(findings.into_iter().flatten().collect())
}

/// The total size of local files, in bytes.
pub fn total(files: &[LocalFile]) -> u64 {
    files.iter().map(|file| file.size).sum()
}

/// The data set's name that a path suggests: the name of the directory, or of the file without its
/// suffix.
pub fn suggested_name(path: &Path) -> Option<DatasetName> {
    let path = path.canonicalize().ok()?;
    let name = if path.is_dir() {
        path.file_name()
    } else {
        path.file_stem()
    };
    name?.to_str()?.parse().ok()
}
