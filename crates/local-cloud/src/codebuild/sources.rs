//! The sources of a build: fetched into its directories on behalf of the service role.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::interrupt::{Interrupt, Limited};
use super::records::{PipelineLocation, Source};
use super::{CloneReference, invalid};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::beneath::Directory;
use crate::cloud::caller::Caller;
use crate::codecommit::{self, Wanted};
use crate::s3::objects::{self, Object};
use crate::unpack::{self, Unpacker, zip_index};

/// Maximum size of a source archive, in bytes.
const MAX_ARCHIVE: u64 = 2 << 30;

/// Maximum total size of the files of a source, in bytes.
const MAX_FILES: u64 = 20 << 30;

/// Maximum number of entries of an archive, and of objects of a folder.
const MAX_ENTRIES: usize = 500_000;

/// Maximum size of an archive's directory, in bytes: it is read into memory.
const MAX_INDEX: u64 = 128 << 20;

/// The repository of a CodeCommit URL.
pub(super) fn repository(location: &str) -> ApiResult<&str> {
    let wrong = || {
        invalid(format!(
            "Invalid location of a CodeCommit source: {location:?}; use the repository's cloneUrlHttp"
        ))
    };
    let has_scheme = location.starts_with("https://") || location.starts_with("http://");
    let (_, name) = location
        .split_once("/v1/repos/")
        .filter(|_| has_scheme)
        .ok_or_else(wrong)?;
    let name = name.trim_end_matches('/');
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || !name.bytes().all(fits) {
        return Err(wrong());
    }
    Ok(name)
}

/// Bucket and key of the location of a source in S3: `BUCKET/KEY`, where a key that ends with `/` is a folder.
pub(super) fn object(location: &str) -> ApiResult<(&str, &str)> {
    let text = location.strip_prefix("arn:aws:s3:::").unwrap_or(location);
    let text = text.strip_prefix("s3://").unwrap_or(text);
    text.split_once('/')
        .filter(|(bucket, key)| !bucket.is_empty() && !key.is_empty())
        .ok_or_else(|| {
            invalid(format!(
                "Invalid location of an S3 source: {location:?}; use BUCKET/KEY"
            ))
        })
}

/// Where a source comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    Nothing,
    Repository {
        name: String,
        version: Option<String>,
        depth: u32,
    },
    Commit(CloneReference),
    Objects {
        bucket: String,
        key: String,
        version: Option<String>,
    },
}

/// A source of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fetch {
    /// Its directory below the root of the build.
    pub(super) directory: String,
    /// The suffix of its environment variables; `None` for the primary source.
    pub(super) identifier: Option<String>,
    pub(super) origin: Origin,
    /// `CODEBUILD_SOURCE_REPO_URL`
    pub(super) url: Option<String>,
    /// `CODEBUILD_SOURCE_VERSION`
    pub(super) version: Option<String>,
}

impl Fetch {
    /// A source of a project with its version.
    pub(super) fn of(source: &Source, version: Option<&str>, is_primary: bool) -> ApiResult<Self> {
        let location = source.location.as_deref().unwrap_or_default();
        let version = version
            .filter(|version| !version.is_empty())
            .map(str::to_owned);
        let (origin, url) = match source.kind.as_str() {
            "CODECOMMIT" => {
                let name = repository(location)?.to_owned();
                let depth = source.git_clone_depth.unwrap_or(0);
                let version = version.clone();
                (
                    Origin::Repository {
                        name,
                        version,
                        depth,
                    },
                    Some(location.to_owned()),
                )
            }
            "S3" => {
                let (bucket, key) = object(location)?;
                let origin = Origin::Objects {
                    bucket: bucket.to_owned(),
                    key: key.to_owned(),
                    version: version.clone(),
                };
                (origin, Some(format!("s3://{bucket}/{key}")))
            }
            _ => (Origin::Nothing, None),
        };
        let identifier = source.source_identifier.clone().filter(|_| !is_primary);
        Ok(Self {
            directory: directory(identifier.as_deref()),
            identifier,
            origin,
            url,
            version,
        })
    }

    /// An input artifact of a pipeline.
    pub(super) fn of_pipeline(input: &PipelineLocation, is_primary: bool) -> Self {
        let identifier = (!is_primary).then(|| input.name.clone());
        let origin = match &input.clone {
            Some(clone) => Origin::Commit(clone.clone()),
            None => Origin::Objects {
                bucket: input.bucket.clone(),
                key: input.key.clone(),
                version: None,
            },
        };
        Self {
            directory: directory(identifier.as_deref()),
            identifier,
            origin,
            url: None,
            version: None,
        }
    }

    /// Fetches the source into its empty directory. Returns the resolved version.
    pub(super) async fn run(
        &self,
        cloud: &Cloud,
        role: &Caller,
        root: &Path,
        interrupt: &Interrupt,
    ) -> ApiResult<Option<String>> {
        let target = root.join(&self.directory);
        std::fs::create_dir_all(&target)?;
        match &self.origin {
            Origin::Nothing => Ok(None),
            Origin::Repository {
                name,
                version,
                depth,
            } => {
                let wanted = (name.as_str(), Wanted::Version(version.as_deref()));
                let stop = Box::pin(interrupt.is_set());
                codecommit::checkout(cloud, role, wanted, *depth, &target, stop)
                    .await
                    .map(Some)
            }
            Origin::Commit(clone) => {
                let wanted = Wanted::Commit {
                    id: &clone.commit,
                    branch: &clone.branch,
                };
                let wanted = (clone.repository.as_str(), wanted);
                let stop = Box::pin(interrupt.is_set());
                codecommit::checkout(cloud, role, wanted, 0, &target, stop)
                    .await
                    .map(Some)
            }
            Origin::Objects {
                bucket,
                key,
                version,
            } => {
                let (cloud, role, interrupt) = (cloud.clone(), role.clone(), interrupt.clone());
                let (bucket, key, version) = (bucket.clone(), key.clone(), version.clone());
                let work = move || {
                    let from = (bucket.as_str(), key.as_str(), version.as_deref());
                    download(&cloud, &role, from, &target, &interrupt)
                };
                tokio::task::spawn_blocking(work)
                    .await
                    .map_err(ApiError::internal)?
            }
        }
    }
}

fn directory(identifier: Option<&str>) -> String {
    match identifier {
        None => super::globs::SOURCE.to_owned(),
        Some(identifier) => format!("{}-{identifier}", super::globs::SOURCE),
    }
}

/// Downloads an object, which is unpacked if it is a zip, or a folder. Returns the version id of an object.
fn download(
    cloud: &Cloud,
    role: &Caller,
    (bucket, key, version): (&str, &str, Option<&str>),
    target: &Path,
    interrupt: &Interrupt,
) -> ApiResult<Option<String>> {
    let directory = Directory::open(target, "the source")?;
    if key.ends_with('/') {
        folder(cloud, role, (bucket, key), &directory, interrupt)?;
        return Ok(None);
    }
    let object = match version {
        Some(version) => objects::version(cloud, role, bucket, key, version)?,
        None => objects::head(cloud, role, bucket, key)?,
    };
    let mut file = objects::open(cloud, role, &object)?;
    let mut start = [0; 4];
    let is_zip = file.read_exact(&mut start).is_ok() && start.starts_with(b"PK");
    file.seek(SeekFrom::Start(0))?;
    if is_zip {
        unzip(file, &directory, interrupt)?;
    } else {
        // As on AWS, an object that is no archive is the only file of the source.
        let name = Path::new(key).file_name().unwrap_or_default();
        let mut budget = MAX_FILES;
        copy(
            &mut file,
            &mut directory.create_file(Path::new(name))?,
            &mut budget,
            interrupt,
        )?;
    }
    Ok(version.map(str::to_owned))
}

/// Downloads the objects of a folder.
fn folder(
    cloud: &Cloud,
    role: &Caller,
    (bucket, key): (&str, &str),
    directory: &Directory,
    interrupt: &Interrupt,
) -> ApiResult<()> {
    let objects = objects::list(cloud, role, bucket, key)?;
    if objects.is_empty() {
        return Err(ApiError::not_found(
            "NoSuchKey",
            format!("s3://{bucket}/{key} has no objects"),
        ));
    }
    if objects.len() > MAX_ENTRIES {
        return Err(ApiError::validation(format!(
            "s3://{bucket}/{key} has more than {MAX_ENTRIES} objects"
        )));
    }
    let mut budget = MAX_FILES;
    for object in objects {
        interrupt.check()?;
        let Some(path) = relative(key, &object)? else {
            continue;
        };
        let mut file = objects::open_newest(cloud, role, &object)?;
        copy(
            &mut file,
            &mut directory.create_file(&path)?,
            &mut budget,
            interrupt,
        )?;
    }
    Ok(())
}

/// The path of an object below its folder; `None` for the marker of a folder.
fn relative(folder: &str, object: &Object) -> ApiResult<Option<PathBuf>> {
    let name = object.key.strip_prefix(folder).unwrap_or(&object.key);
    if name.is_empty() || name.ends_with('/') {
        return Ok(None);
    }
    let is_plain = name.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if !is_plain || name.contains('\0') {
        let message = format!("the key {} cannot be the path of a file", object.key);
        return Err(ApiError::validation(message));
    }
    Ok(Some(PathBuf::from(name)))
}

fn copy(
    from: &mut impl Read,
    to: &mut impl std::io::Write,
    budget: &mut u64,
    interrupt: &Interrupt,
) -> ApiResult<()> {
    loop {
        interrupt.check()?;
        let copied = std::io::copy(&mut from.by_ref().take(64 << 20), to)?;
        if copied == 0 {
            return Ok(());
        }
        *budget = budget.checked_sub(copied).ok_or_else(|| {
            ApiError::validation(format!("a source has at most {MAX_FILES} bytes"))
        })?;
    }
}

/// Unpacks a zip. No name leads out of the directory, and no link is followed.
pub(super) fn unzip(file: File, directory: &Directory, interrupt: &Interrupt) -> ApiResult<()> {
    let broken = |error: zip::result::ZipError| {
        ApiError::validation(format!("the source is not a zip: {error}"))
    };
    check_size(&file)?;
    let limits = zip_index::Limits {
        entries: MAX_ENTRIES as u64,
        bytes: MAX_INDEX,
    };
    let mut archive = unpack::open_zip(std::io::BufReader::new(file), &limits)
        .map_err(|why| ApiError::validation(format!("the source archive: {why}")))?;
    let mut unpacker = Unpacker::new(directory, "source", MAX_FILES);
    for index in 0..archive.len() {
        interrupt.check()?;
        let mut entry = archive.by_index(index).map_err(broken)?;
        let name = PathBuf::from(entry.name().map_err(broken)?.into_owned());
        let path = unpacker.place(&name)?;
        if path.as_os_str().is_empty() {
            continue;
        }
        let mode = entry.unix_mode();
        if entry.is_dir() {
            unpacker.directory(&path, mode.unwrap_or(0o755))?;
        } else if entry.is_symlink() {
            let mut link = String::new();
            entry.by_ref().take(4096).read_to_string(&mut link)?;
            unpacker.symbolic_link(&path, Path::new(&link))?;
        } else {
            let mut contents = Limited::new(&mut entry, u64::MAX, interrupt);
            unpacker.file(&path, mode.unwrap_or(0o644), None, false, &mut contents)?;
        }
    }
    Ok(())
}

fn check_size(file: &File) -> ApiResult<()> {
    if file.metadata()?.len() > MAX_ARCHIVE {
        return Err(ApiError::validation(format!(
            "a source archive has at most {MAX_ARCHIVE} bytes"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn unpack(write: impl FnOnce(&mut ZipWriter<File>)) -> (ApiResult<()>, tempfile::TempDir) {
        let at = tempfile::tempdir().unwrap();
        let file = at.path().join("a.zip");
        let mut writer = ZipWriter::new(File::create(&file).unwrap());
        write(&mut writer);
        writer.finish().unwrap();
        let target = at.path().join("src");
        std::fs::create_dir(&target).unwrap();
        let directory = Directory::open(&target, "src").unwrap();
        let result = unzip(
            File::open(&file).unwrap(),
            &directory,
            &Interrupt::default(),
        );
        (result, at)
    }

    fn add(writer: &mut ZipWriter<File>, name: &str, text: &str) {
        let options = SimpleFileOptions::default().unix_permissions(0o755);
        writer.start_file(name, options).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn an_archive_is_unpacked_with_links_and_permissions() {
        use std::os::unix::fs::PermissionsExt;

        let (result, at) = unpack(|writer| {
            add(writer, "run.sh", "#!/bin/sh\n");
            add(writer, "a/b/c", "c");
            let options = SimpleFileOptions::default();
            writer.add_symlink("link", "a/b", options).unwrap();
        });
        result.unwrap();
        let src = at.path().join("src");
        let mode = src.join("run.sh").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        assert_eq!(
            std::fs::read_link(src.join("link")).unwrap(),
            Path::new("a/b")
        );
        assert_eq!(std::fs::read_to_string(src.join("a/b/c")).unwrap(), "c");
    }

    #[test]
    fn nothing_leaves_the_source() {
        let (result, at) = unpack(|writer| add(writer, "../x", "x"));
        assert!(result.is_err());
        assert!(!at.path().join("x").exists());
        let (result, at) = unpack(|writer| {
            let options = SimpleFileOptions::default();
            writer.add_symlink("out", "..", options).unwrap();
            add(writer, "out/x", "x");
        });
        assert!(result.is_err(), "written through a link");
        assert!(!at.path().join("x").exists());
    }

    #[test]
    fn a_stopped_build_unpacks_nothing_more() {
        let (result, at) = unpack(|writer| add(writer, "x", "x"));
        result.unwrap();
        let interrupt = Interrupt::default();
        interrupt.set();
        let directory = Directory::open(at.path(), "src").unwrap();
        let file = File::open(at.path().join("a.zip")).unwrap();
        assert!(unzip(file, &directory, &interrupt).is_err());
    }

    #[test]
    fn locations() {
        for (location, name) in [
            (
                "https://git-codecommit.us-east-1.amazonaws.com/v1/repos/app",
                "app",
            ),
            ("http://127.0.0.1:4566/v1/repos/a.b_c-d", "a.b_c-d"),
        ] {
            assert_eq!(repository(location).unwrap(), name);
        }
        for wrong in [
            "",
            "app",
            "https://x/v1/repos/",
            "https://x/v1/repos/../a",
            "ssh://x/v1/repos/a",
        ] {
            assert!(repository(wrong).is_err(), "{wrong}");
        }
        assert_eq!(object("b/k/x.zip").unwrap(), ("b", "k/x.zip"));
        assert_eq!(object("arn:aws:s3:::b/k").unwrap(), ("b", "k"));
        for wrong in ["", "b", "b/", "/k"] {
            assert!(object(wrong).is_err(), "{wrong}");
        }
    }
}
