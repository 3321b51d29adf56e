//! Data sets: files under `datasets/NAME/` in a versioned bucket, plus one manifest that is written
//! last. The manifest's own version id is the version of the data set.
//!
//! SageMaker jobs cannot read an object by its version id, so the first run that uses a version
//! copies it server-side, by version id, to `snapshots/NAME/VERSION/`.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use aws_sdk_s3::Client;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use mlops_core::error::{Hint, cause};
use mlops_core::names::DatasetName;
use serde::{Deserialize, Serialize};

use super::s3::{self, S3Object, S3Uri};

mod difference;
mod fetch;
mod files;
mod pull;
mod push;
mod reading;
mod resume;
mod send;
mod snapshot;
mod upload;

pub use difference::{Changed, Difference, difference};
pub use fetch::verify;
pub use files::{LocalFile, gather};
pub use pull::{Plan, Pulled, plan, pull};
pub use push::{Pushed, STANDS, push};
pub use snapshot::snapshot;

/// Maximum number of parallel requests.
const PARALLEL: usize = 16;

/// The manifest format.
pub const SCHEMA: u32 = 1;

/// The name of a data set's manifest, next to its files.
pub const MANIFEST: &str = "manifest.json";

/// The prefix of snapshots in the data bucket.
const SNAPSHOTS: &str = "snapshots";

/// A problem that `verify` or `pull` found with a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The path in the data set.
    pub path: String,
    /// The problem.
    pub problem: String,
}

/// The contents of a version of a data set: `datasets/NAME/manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format; always [`SCHEMA`].
    pub schema: u32,
    /// The data set.
    pub dataset: DatasetName,
    /// When it was pushed.
    pub created: Timestamp,
    /// Its files, by path.
    pub files: Vec<ManifestFile>,
}

impl Manifest {
    /// The total size of the files, in bytes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
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
    /// Its contents.
    pub manifest: Manifest,
}

fn prefix(dataset: &DatasetName) -> String {
    format!("datasets/{dataset}/")
}

/// Returns the address of a data set's manifest.
pub fn manifest_uri(bucket: &str, dataset: &DatasetName) -> S3Uri {
    S3Uri::new(bucket, format!("{}{MANIFEST}", prefix(dataset)))
}

/// Returns the address of a version's snapshot; ends in `/`.
pub fn snapshot_uri(bucket: &str, dataset: &DatasetName, version: &str) -> S3Uri {
    S3Uri::new(bucket, format!("{SNAPSHOTS}/{dataset}/{version}/"))
}

/// Returns the manifest that a snapshot was created from, by version id. `snapshot` is the
/// `InputDataUri` of a run.
pub fn manifest_of_snapshot(snapshot: &S3Uri, version: &str) -> Option<S3Object> {
    let mut parts = snapshot.key.trim_matches('/').split('/');
    let (root, dataset) = (parts.next()?, parts.next()?.parse().ok()?);
    (root == SNAPSHOTS && parts.next()? == version)
        .then(|| manifest_uri(&snapshot.bucket, &dataset).version(version))
}

fn parse(bytes: &[u8], uri: &S3Uri, id: Option<String>) -> Result<DatasetVersion> {
    let manifest: Manifest = serde_json::from_slice(bytes)
        .with_context(|| format!("{uri} is not a data set manifest"))?;
    if manifest.schema != SCHEMA {
        bail!(
            "{uri} has the format {}, but this version of mlops supports {SCHEMA}",
            manifest.schema
        );
    }
    let before = prefix(&manifest.dataset);
    for file in &manifest.files {
        if !is_safe(&file.path) || file.key.strip_prefix(&before) != Some(file.path.as_str()) {
            bail!(
                "{uri} contains an entry that no push creates: {:?} at {:?}",
                file.path,
                file.key
            );
        }
    }
    let id = id
        .filter(|id| id != "null")
        .ok_or_else(|| unversioned(&uri.bucket))?;
    Ok(DatasetVersion { id, manifest })
}

/// Returns whether a path stays below the directory that it is joined to.
fn is_safe(path: &str) -> bool {
    !path.is_empty()
        && !path.contains('\0')
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn unversioned(bucket: &str) -> anyhow::Error {
    anyhow!("versioning is not enabled for the bucket {bucket}, but data sets require it")
}

/// A version in a list.
#[derive(Debug, Clone)]
pub struct ListedVersion {
    /// The version: the manifest's version id.
    pub id: String,
    /// When it was pushed, by S3's clock.
    pub written: Timestamp,
    /// True for the newest version.
    pub latest: bool,
    /// Its contents, if the manifest was read.
    pub manifest: Option<Manifest>,
}

/// The versions of a data set, newest first.
#[derive(Debug, Clone)]
pub struct Versions {
    /// The requested versions.
    pub versions: Vec<ListedVersion>,
    /// True if there are more.
    pub more: bool,
}

/// Lists at most `limit` versions of a data set, newest first, and reads the manifests of the
/// newest `read`.
pub async fn versions(
    client: &Client,
    bucket: &str,
    dataset: &DatasetName,
    limit: Option<usize>,
    read: usize,
) -> Result<Versions> {
    let uri = manifest_uri(bucket, dataset);
    let listed = s3::versions(client, &uri, limit).await?;
    let versions = futures::stream::iter(listed.versions.into_iter().enumerate())
        .map(|(index, version)| {
            let uri = &uri;
            async move {
                if version.id == "null" {
                    return Err(unversioned(bucket));
                }
                let manifest = if index < read {
                    match resolve_at(client, uri, &version.id).await {
                        Ok(version) => Some(version.manifest),
                        Err(error) if cause::<s3::Damaged>(&error).is_some() => None,
                        Err(error) => return Err(error),
                    }
                } else {
                    None
                };
                Ok(ListedVersion {
                    id: version.id,
                    written: version.written,
                    latest: version.latest,
                    manifest,
                })
            }
        })
        .buffered(PARALLEL)
        .try_collect()
        .await?;
    Ok(Versions {
        versions,
        more: listed.more,
    })
}

/// Returns the newest version of a data set, if there is one.
pub async fn latest(
    client: &Client,
    bucket: &str,
    dataset: &DatasetName,
) -> Result<Option<DatasetVersion>> {
    Ok(newest(client, bucket, dataset)
        .await?
        .map(|newest| newest.version))
}

/// The newest version, with the details that a push needs.
struct Newest {
    version: DatasetVersion,
    etag: String,
    /// When it was written, in seconds since the epoch.
    written: i64,
}

async fn newest(client: &Client, bucket: &str, dataset: &DatasetName) -> Result<Option<Newest>> {
    let uri = manifest_uri(bucket, dataset);
    let Some(fetched) = s3::get(client, &uri, None).await? else {
        return Ok(None);
    };
    Ok(Some(Newest {
        version: parse(&fetched.bytes, &uri, fetched.version_id)?,
        etag: fetched.etag.unwrap_or_default(),
        written: fetched.written.unwrap_or(i64::MIN),
    }))
}

/// Resolves a version by its id, or by `latest` or `previous`.
pub async fn resolve(
    client: &Client,
    bucket: &str,
    dataset: &DatasetName,
    version: &str,
) -> Result<DatasetVersion> {
    let uri = manifest_uri(bucket, dataset);
    let hint = || format!("list the versions with `mlops data versions {dataset}`");
    let place = match version {
        "latest" => 0,
        "previous" => 1,
        id => return resolve_at(client, &uri, id).await.hint(hint()),
    };
    let listed = s3::versions(client, &uri, Some(place + 1)).await?;
    let id = listed
        .versions
        .into_iter()
        .nth(place)
        .map(|version| version.id)
        .ok_or_else(|| anyhow!("{bucket} has no {version} version of {dataset}"))
        .hint(hint())?;
    resolve_at(client, &uri, &id).await
}

async fn resolve_at(client: &Client, uri: &S3Uri, version: &str) -> Result<DatasetVersion> {
    let fetched = s3::get(client, uri, Some(version))
        .await?
        .ok_or_else(|| anyhow!("{uri} has no version {version}"))?;
    parse(&fetched.bytes, uri, Some(version.to_owned()))
}

/// The total size of local files, in bytes.
pub fn total(files: &[LocalFile]) -> u64 {
    files.iter().map(|file| file.size).sum()
}

/// Derives the data set's name from a path: the name of the directory, or of the file without its
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

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(path: &str, key: &str) -> Result<DatasetVersion> {
        let text = serde_json::json!({
            "schema": 1,
            "dataset": "d",
            "created": "2026-01-01T00:00:00Z",
            "files": [{"path": path, "key": key, "version_id": "1", "size": 1, "sha256": "00"}],
        });
        let uri = S3Uri::new("b", "datasets/d/manifest.json");
        parse(text.to_string().as_bytes(), &uri, Some("v".to_owned()))
    }

    #[test]
    fn a_snapshot_names_the_manifest_of_its_version() {
        let of = |snapshot: &str| {
            let manifest = manifest_of_snapshot(&snapshot.parse().unwrap(), "v1")?;
            Some(manifest.to_string())
        };
        let dataset = "flights".parse().unwrap();
        let snapshot = snapshot_uri("b", &dataset, "v1").to_string();
        assert_eq!(snapshot, "s3://b/snapshots/flights/v1/");
        let manifest = "s3://b/datasets/flights/manifest.json?versionId=v1";
        assert_eq!(of(&snapshot).as_deref(), Some(manifest));
        for bad in [
            "s3://b/data/flights/v1/",
            "s3://b/snapshots/flights/v2/",
            "s3://b/snapshots/flights",
            "s3://b",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_hostile_manifest_is_refused() {
        for path in ["a", "a b/ü\n.csv", ".hidden/...", "a\\b"] {
            assert!(
                manifest(path, &format!("datasets/d/{path}")).is_ok(),
                "{path}"
            );
        }
        for path in [
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "..",
            ".",
            "a/./b",
            "a//b",
            "a/",
            "a\0b",
        ] {
            let error = manifest(path, &format!("datasets/d/{path}")).unwrap_err();
            assert!(
                error.to_string().contains("no push creates"),
                "{path}: {error}"
            );
        }
        assert!(manifest("a", "secrets/a").is_err());
        assert!(manifest("a", "datasets/d/b").is_err());
    }
}
