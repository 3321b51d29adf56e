//! A push: uploads changed files, and writes the manifest last.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketVersioningStatus, ChecksumAlgorithm};
use jiff::Timestamp;
use mlops_core::error::{Exit, Failure, Hint, cause, hinted};
use mlops_core::names::DatasetName;
use tokio::sync::oneshot;

use super::send::{Outcome, Sender};
use super::{
    DatasetVersion, LocalFile, Manifest, ManifestFile, SCHEMA, manifest_uri, newest, prefix,
    reading, unversioned,
};
use crate::aws::s3::{self, S3Uri};
use crate::aws::{AwsResultExt, Expected};

/// Maximum length of an S3 key in bytes.
const MAX_KEY: usize = 1024;

/// The hint after a failed push.
pub const STANDS: &str = "no version was created, and the previous one is intact; push again to \
                          resume the upload";

/// The result of a push.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// The data set's version after the push.
    pub version: DatasetVersion,
    /// Number of files that were uploaded, completely or in part.
    pub uploaded: usize,
    /// Number of bytes uploaded.
    pub uploaded_bytes: u64,
    /// Number of bytes that an interrupted push had uploaded.
    pub resumed_bytes: u64,
    /// True if the newest version is identical and no new one was created.
    pub unchanged: bool,
}

/// Creates a version that consists of these files. Files with the content of the newest version,
/// and those that an interrupted push already uploaded, are not uploaded again. If nothing differs,
/// no version is created. Each file is read once and hashed during the upload, unless S3 has an
/// object of the same size: then it is hashed first. `seen` receives the number of bytes hashed or
/// uploaded. Of two concurrent pushes, one fails.
pub async fn push(
    client: &Client,
    bucket: &str,
    dataset: &DatasetName,
    files: &[LocalFile],
    now: Timestamp,
    seen: &(dyn Fn(u64) + Sync),
) -> Result<Pushed> {
    check_keys(dataset, files)?;
    let (previous, etag) = match newest(client, bucket, dataset).await {
        Ok(newest) => {
            let etag = newest.as_ref().map(|newest| newest.etag.clone());
            (newest, etag)
        }
        // A damaged manifest is replaced; the files that it references are found by their checksums.
        Err(error) if cause::<s3::Damaged>(&error).is_some() => {
            let uri = manifest_uri(bucket, dataset);
            (None, s3::etag(client, &uri).await?)
        }
        Err(error) => return Err(error),
    };
    if previous.is_none() {
        require_versions(client, bucket).await?;
    }
    let known: BTreeMap<&str, &ManifestFile> = previous
        .iter()
        .flat_map(|newest| &newest.version.manifest.files)
        .map(|file| (file.path.as_str(), file))
        .collect();
    let (kept, changed) = split(client, bucket, dataset, files, &known, seen).await?;
    let sender = Sender::new(
        client.clone(),
        bucket.to_owned(),
        dataset.clone(),
        previous.as_ref().map_or(i64::MIN, |newest| newest.written),
    );
    let counter = sender.counter();
    let outcomes = if changed.is_empty() {
        Vec::new()
    } else {
        apart(
            move || async move { sender.send(changed).await },
            counter,
            seen,
        )
        .await?
    };
    let uploaded = outcomes.iter().filter(|outcome| outcome.sent).count();
    let uploaded_bytes = outcomes.iter().map(|outcome| outcome.sent_bytes).sum();
    let resumed_bytes = outcomes.iter().map(|outcome| outcome.resumed_bytes).sum();
    let mut entries: Vec<ManifestFile> = outcomes
        .into_iter()
        .map(|outcome: Outcome| outcome.entry)
        .chain(kept.into_iter().cloned())
        .collect();
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    if let Some(newest) = &previous
        && newest.version.manifest.files == entries
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
        files: entries,
    };
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
            "{} has a path of {} bytes, but S3 allows {} in this data set",
            long.source.display(),
            long.path.len(),
            MAX_KEY - before
        ))),
    }
}

/// Fails for a bucket without versioning, before anything is uploaded. If these credentials may not
/// query it, the response to the first upload tells.
async fn require_versions(client: &Client, bucket: &str) -> Result<()> {
    let found = client
        .get_bucket_versioning()
        .bucket(bucket)
        .send()
        .await
        .aws_unless(
            format!("cannot determine whether versioning is enabled for the bucket {bucket}"),
            &[
                Expected::AccessDenied,
                Expected::NotImplemented,
                Expected::code("MethodNotAllowed"),
            ],
        )?;
    match found {
        Some(found) if found.status != Some(BucketVersioningStatus::Enabled) => {
            Err(unversioned(bucket))
        }
        _ => Ok(()),
    }
}

/// Separates unchanged files from files to upload. The latter include files whose version is
/// damaged or missing in S3.
async fn split<'a>(
    client: &Client,
    bucket: &str,
    dataset: &DatasetName,
    files: &[LocalFile],
    known: &BTreeMap<&str, &'a ManifestFile>,
    seen: &(dyn Fn(u64) + Sync),
) -> Result<(Vec<&'a ManifestFile>, Vec<LocalFile>)> {
    let (mut kept, mut changed, mut same_size) = (Vec::new(), Vec::new(), Vec::new());
    for file in files {
        match known.get(file.path.as_str()) {
            Some(before) if before.size == file.size => same_size.push((file.clone(), *before)),
            _ => changed.push(file.clone()),
        }
    }
    let hashed: Vec<_> = same_size.iter().map(|(file, _)| file.clone()).collect();
    let counter = Arc::new(AtomicU64::new(0));
    let count = counter.clone();
    let hashing = move || async move { reading::sha256_of_each(&hashed, &count) };
    if same_size.is_empty() {
        return Ok((kept, changed));
    }
    let wanted = same_size
        .iter()
        .map(|(_, before)| (before.key.clone(), before.version_id.clone()))
        .collect();
    let under = S3Uri::new(bucket, prefix(dataset));
    let (found, gone) = tokio::try_join!(
        apart(hashing, counter, seen),
        s3::missing_versions(client, &under, wanted),
    )?;
    let gone = |entry: &ManifestFile| {
        let version = (entry.key.clone(), entry.version_id.clone());
        gone.contains(&version)
    };
    for ((file, before), sha256) in same_size.into_iter().zip(found) {
        if before.sha256 == hex::encode(sha256) && !gone(before) {
            kept.push(before);
        } else {
            changed.push(file);
        }
    }
    Ok((kept, changed))
}

/// Runs work on a separate thread and runtime, and passes its count to `seen`. Thousands of small
/// requests cost much less if they do not wake other threads.
async fn apart<T, F>(
    work: impl FnOnce() -> F + Send + 'static,
    counter: Arc<AtomicU64>,
    seen: &(dyn Fn(u64) + Sync),
) -> Result<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>>,
{
    let (mut answer, mut result) = oneshot::channel();
    std::thread::Builder::new()
        .name("push".to_owned())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let outcome = match runtime {
                Ok(runtime) => runtime.block_on(async {
                    tokio::select! {
                        outcome = work() => Some(outcome),
                        () = answer.closed() => None,
                    }
                }),
                Err(error) => Some(Err(error.into())),
            };
            if let Some(outcome) = outcome {
                // The receiver may have been dropped.
                drop(answer.send(outcome));
            }
        })
        .context("cannot start a thread")?;
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(100));
    let mut heard = 0;
    loop {
        let outcome = tokio::select! {
            outcome = &mut result => Some(outcome),
            _ = ticks.tick() => None,
        };
        let now = counter.load(Ordering::Relaxed);
        if now > heard {
            seen(now - heard);
            heard = now;
        }
        if let Some(outcome) = outcome {
            return outcome.context("the push ended early")?;
        }
    }
}

/// Writes the manifest, provided that its predecessor is still the newest.
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
        &[
            Expected::code("PreconditionFailed"),
            Expected::code("ConditionalRequestConflict"),
        ],
    );
    let Some(written) = written.map_err(|error| hinted(error, STANDS))? else {
        // The response to our request may have been lost; the SDK's retry then finds the object of
        // the first attempt.
        let newest = newest(client, bucket, &manifest.dataset).await?;
        return newest
            .filter(|newest| newest.version.manifest == *manifest)
            .map(|newest| newest.version.id)
            .ok_or_else(|| {
                Failure::new(
                    Exit::Failed,
                    format!("someone else pushed {} first", manifest.dataset),
                )
            })
            .hint("push again, on top of the new version");
    };
    written
        .version_id
        .filter(|id| id != "null")
        .ok_or_else(|| unversioned(bucket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_on_another_thread_reports_until_its_end() {
        let counter = Arc::new(AtomicU64::new(0));
        let heard = AtomicU64::new(0);
        let seen = |bytes| {
            heard.fetch_add(bytes, Ordering::Relaxed);
        };
        let count = counter.clone();
        let work = move || async move {
            count.fetch_add(5, Ordering::Relaxed);
            tokio::task::yield_now().await;
            count.fetch_add(2, Ordering::Relaxed);
            Ok("done")
        };
        assert_eq!(apart(work, counter.clone(), &seen).await.unwrap(), "done");
        assert_eq!(heard.load(Ordering::Relaxed), 7);
        let failing = || async { Err::<(), _>(anyhow::anyhow!("no")) };
        let error = apart(failing, counter, &seen).await.unwrap_err();
        assert_eq!(error.to_string(), "no");
    }

    #[test]
    fn keys_that_are_too_long_are_refused() {
        let dataset = "d".parse().unwrap();
        let file = |length: usize| LocalFile {
            source: "x".into(),
            path: "a".repeat(length),
            size: 0,
        };
        let most = MAX_KEY - "datasets/d/".len();
        assert!(check_keys(&dataset, &[file(most)]).is_ok());
        let error = check_keys(&dataset, &[file(1), file(most + 1)]).unwrap_err();
        assert!(
            error.to_string().contains("1014 bytes, but S3 allows 1013"),
            "{error}"
        );
    }
}
