//! Downloads a version in parallel: each file is written next to its destination, verified against
//! the manifest, then renamed. Existing files with the right content are kept; interrupted
//! downloads resume.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use aws_sdk_s3::Client;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use mlops_core::directory;
use mlops_core::error::{Failure, Hint, hinted};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::fetch::{Opened, compare, open};
use super::upload::blocking;
use super::{DatasetVersion, Finding, ManifestFile, PARALLEL};

/// Number of bytes to collect before a write.
const BATCH: usize = 1 << 20;

/// Maximum number of attempts to resume an interrupted download.
const ATTEMPTS: usize = 5;

/// Prefix of incomplete files; the rest of the name is derived from path and version.
const UNFINISHED: &str = ".mlops-part-";

/// The plan of a pull.
#[derive(Debug)]
pub struct Plan {
    root: PathBuf,
    todo: Vec<ManifestFile>,
    /// Number of existing files with the right content.
    pub kept: usize,
    /// Number of bytes to download.
    pub bytes: u64,
    /// Existing files with different content, which would be replaced: their paths in the data set.
    pub replaced: Vec<String>,
    /// Number of files in the directory that are not part of the version; they are kept.
    pub others: usize,
}

/// The result of a pull.
#[derive(Debug, Default)]
pub struct Pulled {
    /// Number of downloaded files.
    pub fetched: usize,
    /// Number of downloaded bytes.
    pub fetched_bytes: u64,
    /// Number of bytes of interrupted downloads that were reused.
    pub resumed_bytes: u64,
    /// Files that are missing or damaged in S3; nothing was written for them.
    pub problems: Vec<Finding>,
}

/// Compares a directory with a version without writing. A path that could not be written is an
/// error. `read` receives the number of bytes read.
pub fn plan(version: &DatasetVersion, root: &Path, read: &(dyn Fn(u64) + Sync)) -> Result<Plan> {
    if root.exists() && !root.is_dir() {
        return Err(Failure::usage(format!(
            "{} is not a directory",
            root.display()
        )));
    }
    let mut directories = BTreeSet::new();
    for file in &version.manifest.files {
        check_parents(root, &file.path, &mut directories)?;
    }
    let compared: Vec<Result<ExistingFile>> = version
        .manifest
        .files
        .par_iter()
        .map(|file| inspect(&root.join(&file.path), file, read))
        .collect();
    let mut plan = Plan {
        root: root.to_owned(),
        todo: Vec::new(),
        kept: 0,
        bytes: 0,
        replaced: Vec::new(),
        others: others(root, version),
    };
    for (file, found) in version.manifest.files.iter().zip(compared) {
        match found? {
            ExistingFile::Same => {
                plan.kept += 1;
                continue;
            }
            ExistingFile::Other => plan.replaced.push(file.path.clone()),
            ExistingFile::Absent => {}
        }
        plan.bytes += file.size;
        plan.todo.push(file.clone());
    }
    Ok(plan)
}

/// Checks that the parents of a file are real directories: a link would point outside the target.
fn check_parents(root: &Path, path: &str, checked: &mut BTreeSet<PathBuf>) -> Result<()> {
    let mut destination = root.to_owned();
    let Some((parents, _name)) = path.rsplit_once('/') else {
        return Ok(());
    };
    for part in parents.split('/') {
        destination.push(part);
        if !checked.insert(destination.clone()) {
            continue;
        }
        match destination.symlink_metadata() {
            Ok(found) if found.is_dir() => {}
            Ok(_) => {
                return Err(Failure::usage(format!(
                    "{} is not a directory, but the version has files below it",
                    destination.display()
                )))
                .hint("pull into an empty directory");
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot read {}", destination.display()));
            }
        }
    }
    Ok(())
}

enum ExistingFile {
    Absent,
    Same,
    Other,
}

fn inspect(
    destination: &Path,
    file: &ManifestFile,
    read: &(dyn Fn(u64) + Sync),
) -> Result<ExistingFile> {
    let metadata = match destination.symlink_metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(ExistingFile::Absent),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", destination.display()));
        }
    };
    if metadata.is_dir() {
        return Err(Failure::usage(format!(
            "{} is a directory, but in the version it is a file",
            destination.display()
        )))
        .hint("pull into an empty directory");
    }
    if !metadata.is_file() || metadata.len() != file.size {
        return Ok(ExistingFile::Other);
    }
    let doing = || format!("cannot read {}", destination.display());
    let mut sha256 = Sha256::new();
    let mut opened = File::open(destination).with_context(doing)?;
    let length = hash(&mut opened, &mut sha256, read).with_context(doing)?;
    Ok(if compare(file, length, sha256).is_none() {
        ExistingFile::Same
    } else {
        ExistingFile::Other
    })
}

fn hash(source: &mut File, sha256: &mut Sha256, read: &dyn Fn(u64)) -> std::io::Result<u64> {
    let mut buffer = vec![0; 128 << 10];
    let mut length = 0;
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(length),
            count => {
                sha256.update(&buffer[..count]);
                length += count as u64;
                read(count as u64);
            }
        }
    }
}

/// Counts files in a directory that a version does not have.
fn others(root: &Path, version: &DatasetVersion) -> usize {
    let known: BTreeSet<&str> = version
        .manifest
        .files
        .iter()
        .map(|file| file.path.as_str())
        .collect();
    let mut count = 0;
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        // Informational only: unreadable directories are not counted.
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                pending.push(entry.path());
                continue;
            }
            let path = entry.path();
            let path = path.strip_prefix(root).ok().and_then(Path::to_str);
            let unfinished = entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.starts_with(UNFINISHED));
            if !unfinished && path.is_none_or(|path| !known.contains(path)) {
                count += 1;
            }
        }
    }
    count
}

/// Downloads the files that the plan found missing. `done` receives the number of bytes downloaded.
pub async fn pull(
    client: &Client,
    bucket: &str,
    plan: &Plan,
    done: &(dyn Fn(u64) + Sync),
) -> Result<Pulled> {
    let root = plan.root.clone();
    blocking(move || directory::create(&root)).await?;
    let replaced: BTreeSet<&str> = plan.replaced.iter().map(String::as_str).collect();
    let replaced = &replaced;
    let outcomes: Vec<(&ManifestFile, Outcome)> = futures::stream::iter(&plan.todo)
        .map(|file| async move {
            let destination = Destination {
                path: plan.root.join(&file.path),
                taken: replaced.contains(file.path.as_str()),
            };
            let outcome = one(client, bucket, destination, file, done)
                .await
                .with_context(|| format!("cannot pull {}", file.path))?;
            anyhow::Ok((file, outcome))
        })
        .buffered(PARALLEL)
        .try_collect()
        .await?;
    let mut pulled = Pulled::default();
    for (file, outcome) in outcomes {
        pulled.resumed_bytes += outcome.resumed;
        pulled.fetched_bytes += outcome.fetched;
        match outcome.problem {
            None => pulled.fetched += 1,
            Some(problem) => pulled.problems.push(Finding {
                path: file.path.clone(),
                problem,
            }),
        }
    }
    Ok(pulled)
}

/// The destination of a file.
struct Destination {
    path: PathBuf,
    /// Whether a different file exists that may be replaced.
    taken: bool,
}

/// The result for one file.
struct Outcome {
    fetched: u64,
    resumed: u64,
    problem: Option<String>,
}

async fn one(
    client: &Client,
    bucket: &str,
    destination: Destination,
    file: &ManifestFile,
    done: &(dyn Fn(u64) + Sync),
) -> Result<Outcome> {
    let (path, size) = (unfinished(&destination.path, file), file.size);
    let mut draft = blocking(move || Draft::open(path, size)).await?;
    let (mut fetched, mut resumed) = (0, draft.length);
    done(resumed);
    let mut attempts = 0;
    loop {
        attempts += 1;
        let before = draft.length;
        let (back, cut) = fill(client, bucket, file, draft, done).await?;
        draft = back;
        fetched += draft.length - before;
        match cut {
            Some(Cut::Lost(problem)) => {
                blocking(move || draft.discard()).await?;
                return Ok(Outcome {
                    fetched,
                    resumed: 0,
                    problem: Some(problem),
                });
            }
            // The connection broke: request the rest.
            Some(Cut::Broken(_)) if attempts < ATTEMPTS => continue,
            Some(Cut::Broken(error)) => return Err(error),
            None => {}
        }
        let Some(problem) = compare(file, draft.length, draft.sha256.clone()) else {
            blocking(move || draft.publish(&destination)).await?;
            return Ok(Outcome {
                fetched,
                resumed,
                problem: None,
            });
        };
        if resumed == 0 {
            blocking(move || draft.discard()).await?;
            return Ok(Outcome {
                fetched,
                resumed,
                problem: Some(problem),
            });
        }
        // The partial file was not a prefix of this file.
        resumed = 0;
        draft = blocking(move || draft.restart()).await?;
    }
}

enum Cut {
    /// The file is missing or damaged; the text states which.
    Lost(String),
    Broken(anyhow::Error),
}

/// Downloads the missing rest of a partial file.
async fn fill(
    client: &Client,
    bucket: &str,
    file: &ManifestFile,
    mut draft: Draft,
    done: &(dyn Fn(u64) + Sync),
) -> Result<(Draft, Option<Cut>)> {
    if draft.length == file.size && file.size > 0 {
        return Ok((draft, None));
    }
    let mut body = match open(client, bucket, file, draft.length).await? {
        Opened::Body(body) => body,
        Opened::Lost(problem) => return Ok((draft, Some(Cut::Lost(problem)))),
    };
    let (mut batch, mut gathered, mut cut) = (Vec::new(), 0, None);
    loop {
        match body.next().await {
            Some(Ok(bytes)) => {
                gathered += bytes.len();
                batch.push(bytes);
                if gathered < BATCH {
                    continue;
                }
            }
            Some(Err(error)) => cut = Some(Cut::Broken(anyhow!(error))),
            None if gathered == 0 => return Ok((draft, cut)),
            None => {}
        }
        let ended = gathered < BATCH;
        let full = std::mem::take(&mut batch);
        draft = blocking(move || draft.write(&full)).await?;
        done(gathered as u64);
        gathered = 0;
        if ended || cut.is_some() {
            return Ok((draft, cut));
        }
    }
}

/// Returns the temporary path of an incomplete file: next to its destination, with a unique name
/// per path and version.
fn unfinished(destination: &Path, file: &ManifestFile) -> PathBuf {
    let id = Sha256::digest(format!("{}\0{}", file.path, file.version_id));
    destination.with_file_name(format!("{UNFINISHED}{}", hex::encode(&id[..10])))
}

/// An incomplete file.
struct Draft {
    path: PathBuf,
    file: File,
    length: u64,
    sha256: Sha256,
}

impl Draft {
    /// Opens it; keeps the bytes of an earlier pull.
    fn open(path: PathBuf, size: u64) -> Result<Self> {
        let doing = || format!("cannot write {}", path.display());
        if let Some(parent) = path.parent() {
            directory::create(parent)?;
        }
        if path.symlink_metadata().is_ok_and(|found| !found.is_file()) {
            return Err(Failure::usage(format!(
                "{} exists and is not a file",
                path.display()
            )));
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(doing)?;
        if file.try_lock().is_err() {
            return Err(anyhow!("another pull is writing {}", path.display()))
                .hint("wait for it, or pull into another directory");
        }
        let mut sha256 = Sha256::new();
        let mut length = hash(&mut file, &mut sha256, &|_| {}).with_context(doing)?;
        if length > size {
            file.set_len(0).with_context(doing)?;
            file.seek(SeekFrom::Start(0)).with_context(doing)?;
            (length, sha256) = (0, Sha256::new());
        }
        Ok(Self {
            path,
            file,
            length,
            sha256,
        })
    }

    fn write(mut self, batch: &[Bytes]) -> Result<Self> {
        for bytes in batch {
            if let Err(error) = self.file.write_all(bytes) {
                let full = error.kind() == ErrorKind::StorageFull;
                let error = anyhow!(error).context(format!("cannot write {}", self.path.display()));
                if full {
                    // A partial file that cannot be resumed would only waste disk space.
                    self.discard()?;
                    return Err(hinted(
                        error,
                        "free some disk space and pull again: complete files are not downloaded again",
                    ));
                }
                return Err(error);
            }
            self.sha256.update(bytes);
            self.length += bytes.len() as u64;
        }
        Ok(self)
    }

    fn restart(mut self) -> Result<Self> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        (self.length, self.sha256) = (0, Sha256::new());
        Ok(self)
    }

    /// Moves the complete file to its destination. A file created there since the plan was made is
    /// kept.
    fn publish(self, destination: &Destination) -> Result<()> {
        let to = &destination.path;
        let doing = || format!("cannot write {}", to.display());
        if !destination.taken {
            let linked = std::fs::hard_link(&self.path, to);
            let there = match &linked {
                Ok(()) => return self.discard(),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => true,
                // Some file systems do not support links.
                Err(_) => to.symlink_metadata().is_ok(),
            };
            if there {
                return Err(anyhow!(
                    "{} was created in the meantime and is kept",
                    to.display()
                ))
                .hint("pull again: you are asked before anything is replaced");
            }
        }
        std::fs::rename(&self.path, to).with_context(doing)
    }

    fn discard(self) -> Result<()> {
        std::fs::remove_file(&self.path)
            .with_context(|| format!("cannot remove {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Manifest;
    use super::*;
    use std::os::unix::fs::symlink;

    fn version(files: &[(&str, &str)]) -> DatasetVersion {
        DatasetVersion {
            id: "v".to_owned(),
            manifest: Manifest {
                schema: 1,
                dataset: "d".parse().unwrap(),
                created: jiff::Timestamp::UNIX_EPOCH,
                files: files
                    .iter()
                    .map(|(path, bytes)| ManifestFile {
                        path: (*path).to_owned(),
                        key: format!("datasets/d/{path}"),
                        version_id: "1".to_owned(),
                        size: bytes.len() as u64,
                        sha256: hex::encode(Sha256::digest(bytes)),
                    })
                    .collect(),
            },
        }
    }

    #[test]
    fn files_created_after_the_plan_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let destination = |taken| Destination {
            path: directory.path().join("a"),
            taken,
        };
        let draft = || {
            let draft = Draft::open(directory.path().join("draft"), 3).unwrap();
            draft.restart().unwrap().write(&[Bytes::from("new")])
        };
        let read = || std::fs::read_to_string(directory.path().join("a")).unwrap();
        draft().unwrap().publish(&destination(false)).unwrap();
        assert_eq!(read(), "new");
        assert!(!directory.path().join("draft").exists());

        std::fs::write(directory.path().join("a"), "mine").unwrap();
        let error = draft().unwrap().publish(&destination(false)).unwrap_err();
        assert!(
            error.to_string().contains("was created in the meantime"),
            "{error}"
        );
        assert_eq!(read(), "mine");
        draft().unwrap().publish(&destination(true)).unwrap();
        assert_eq!(read(), "new");
    }

    #[test]
    fn existing_files_are_compared_by_content() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::create_dir(root.join("s")).unwrap();
        for (path, bytes) in [("s/same", "ab"), ("other", "xx"), ("mine", "m")] {
            std::fs::write(root.join(path), bytes).unwrap();
        }
        let version = version(&[("s/same", "ab"), ("other", "ab"), ("new/deep", "abc")]);
        let plan = plan(&version, root, &|_| {}).unwrap();
        assert_eq!((plan.kept, plan.others, plan.bytes), (1, 1, 5));
        assert_eq!(plan.replaced, ["other"]);
        assert_eq!(plan.todo.len(), 2);
    }

    #[test]
    fn links_lead_nowhere() {
        let outside = tempfile::tempdir().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        symlink(outside.path(), root.join("sub")).unwrap();
        let error = plan(&version(&[("sub/x", "1")]), root, &|_| {}).unwrap_err();
        assert!(error.to_string().contains("not a directory"), "{error}");
        // A link in a file's own destination is replaced, not followed.
        std::fs::write(outside.path().join("x"), "1").unwrap();
        symlink(outside.path().join("x"), root.join("x")).unwrap();
        let found = plan(&version(&[("x", "1")]), root, &|_| {}).unwrap();
        assert_eq!(found.replaced, ["x"]);
        std::fs::create_dir(root.join("y")).unwrap();
        let error = plan(&version(&[("y", "1")]), root, &|_| {}).unwrap_err();
        assert!(error.to_string().contains("is a directory"), "{error}");
        assert!(plan(&version(&[("a", "1")]), &root.join("x"), &|_| {}).is_err());
    }

    #[test]
    fn a_draft_resumes_where_it_was_interrupted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("draft");
        let draft = Draft::open(path.clone(), 6).unwrap();
        let error = Draft::open(path.clone(), 6).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("another pull"), "{error}");
        drop(draft.write(&[Bytes::from_static(b"abc")]).unwrap());
        let draft = Draft::open(path.clone(), 6).unwrap();
        assert_eq!(draft.length, 3);
        let draft = draft.write(&[Bytes::from_static(b"def")]).unwrap();
        assert_eq!(draft.sha256.clone().finalize(), Sha256::digest(b"abcdef"));
        let destination = Destination {
            path: directory.path().join("whole"),
            taken: false,
        };
        draft.publish(&destination).unwrap();
        assert_eq!(std::fs::read(destination.path).unwrap(), b"abcdef");
        std::fs::write(&path, "too long for this").unwrap();
        assert_eq!(Draft::open(path, 6).unwrap().length, 0);
    }
}
