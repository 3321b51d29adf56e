//! A function's code: the zip, checked before it is kept and unpacked once for each SHA-256.

use std::fs::{File, Permissions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use zip::ZipArchive;

use super::invalid;
use crate::local::Cloud;
use crate::local::api::{ApiError, ApiResult};
use crate::local::s3::objects;

/// All files together, unpacked (Lambda quotas).
const MAX_UNZIPPED: u64 = 262_144_000;

/// A zip in a request (Lambda quotas).
const MAX_DIRECT: usize = 50 << 20;

/// Where a request says that the code is.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Given {
    zip_file: Option<String>,
    s3_bucket: Option<String>,
    s3_key: Option<String>,
    s3_object_version: Option<String>,
    image_uri: Option<String>,
}

/// A zip that was checked and is kept.
#[derive(Debug)]
pub(super) struct Zip {
    /// The hex SHA-256 under which `Cloud::blobs` has it.
    pub(super) sha256: String,
    /// `CodeSha256`
    pub(super) base64: String,
    /// `CodeSize`
    pub(super) size: u64,
}

/// Keeps and checks the code that a request gives.
pub(super) async fn keep(cloud: &Cloud, given: Given) -> ApiResult<Zip> {
    if given.image_uri.is_some() {
        return Err(ApiError::not_implemented("functions made of an image"));
    }
    let sha256 = match (given.zip_file, given.s3_bucket, given.s3_key) {
        (Some(text), None, None) => {
            let bytes = STANDARD
                .decode(text)
                .map_err(|_| invalid("Could not decode the code's base64"))?;
            if bytes.len() > MAX_DIRECT {
                return Err(ApiError::new(
                    "RequestEntityTooLargeException",
                    "Request must be smaller than 70167211 bytes for the CreateFunction operation",
                )
                .status(413));
            }
            cloud.blobs().write(&bytes)?
        }
        (None, Some(bucket), Some(key)) => {
            let object = match given.s3_object_version {
                Some(id) => objects::version(cloud, &bucket, &key, &id),
                None => objects::head(cloud, &bucket, &key),
            };
            object
                .map_err(|error| {
                    invalid(format!(
                        "Error occurred while GetObject. S3 Error Code: {}. S3 Error Message: {}",
                        error.code, error.message
                    ))
                })?
                .sha256
        }
        _ => {
            return Err(invalid(
                "Please provide a source for function code: ZipFile, or S3Bucket and S3Key.",
            ));
        }
    };
    let path = cloud.blobs().path(&sha256);
    let size = path.metadata()?.len();
    tokio::task::spawn_blocking(move || check(&mut open(File::open(path)?)?))
        .await
        .map_err(ApiError::internal)??;
    let digest = hex::decode(&sha256).map_err(ApiError::internal)?;
    Ok(Zip {
        base64: STANDARD.encode(digest),
        sha256,
        size,
    })
}

/// The directory of the unpacked code.
pub(super) fn directory(cloud: &Cloud, sha256: &str) -> PathBuf {
    cloud.directory().join("functions").join(sha256)
}

/// Unpacks a kept zip, unless that was done before.
pub(super) async fn unpack(cloud: &Cloud, sha256: &str) -> ApiResult<()> {
    let (zip, target) = (cloud.blobs().path(sha256), directory(cloud, sha256));
    tokio::task::spawn_blocking(move || {
        if target.is_dir() {
            return Ok(());
        }
        let parent = target
            .parent()
            .ok_or_else(|| ApiError::internal("the code's directory has no parent"))?;
        std::fs::create_dir_all(parent)?;
        let temporary = tempfile::Builder::new()
            .prefix(".unpack-")
            .tempdir_in(parent)?;
        extract(&mut open(File::open(zip)?)?, temporary.path())?;
        std::fs::set_permissions(temporary.path(), Permissions::from_mode(0o755))?;
        // Another function with the same code may have been faster: its result is the same.
        if let Err(error) = std::fs::rename(temporary.path(), &target)
            && !target.is_dir()
        {
            return Err(error.into());
        }
        Ok(())
    })
    .await
    .map_err(ApiError::internal)?
}

fn broken() -> ApiError {
    invalid("Could not unzip uploaded file. Please check your file, then try to upload again.")
}

fn open<R: Read + Seek>(reader: R) -> ApiResult<ZipArchive<R>> {
    ZipArchive::new(reader).map_err(|_| broken())
}

/// Refuses an archive with an entry that leaves its directory, or with more in it than Lambda
/// takes.
fn check<R: Read + Seek>(archive: &mut ZipArchive<R>) -> ApiResult<()> {
    let mut size: u64 = 0;
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(|_| broken())?;
        inside(&entry.name().map_err(|_| broken())?)?;
        if entry.is_symlink() {
            return Err(invalid(
                "symbolic links in a function's zip are not supported here",
            ));
        }
        size = size.saturating_add(entry.size());
    }
    if size > MAX_UNZIPPED {
        return Err(too_large());
    }
    if archive.is_empty() {
        return Err(invalid("Uploaded file must be a non-empty zip"));
    }
    Ok(())
}

fn too_large() -> ApiError {
    invalid(format!(
        "Unzipped size must be smaller than {MAX_UNZIPPED} bytes"
    ))
}

/// The path of an entry, which must stay below the code's directory.
fn inside(name: &str) -> ApiResult<PathBuf> {
    let path = Path::new(name);
    let stays = !name.contains(['\\', '\0'])
        && path
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if stays {
        Ok(path.to_owned())
    } else {
        Err(broken())
    }
}

/// Unpacks files and directories. A link is refused: with links, a later entry could be written
/// through an earlier one.
fn extract<R: Read + Seek>(archive: &mut ZipArchive<R>, directory: &Path) -> ApiResult<()> {
    let mut left = MAX_UNZIPPED;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(|_| broken())?;
        let target = directory.join(inside(&entry.name().map_err(|_| broken())?)?);
        if entry.is_symlink() {
            return Err(ApiError::not_implemented(
                "symbolic links in a function's zip",
            ));
        }
        if entry.is_dir() {
            std::fs::create_dir_all(&target)?;
            continue;
        }
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let mode = entry.unix_mode().unwrap_or(0o644) & 0o777;
        let mut file = File::create(&target)?;
        // What an entry says of its size is not to be trusted.
        let written =
            std::io::copy(&mut (&mut entry).take(left + 1), &mut file).map_err(|_| broken())?;
        left = left.checked_sub(written).ok_or_else(too_large)?;
        file.flush()?;
        // The server's user must be able to read what it has to clean up.
        file.set_permissions(Permissions::from_mode(mode | 0o400))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    fn zip(entries: &[(&str, u32)]) -> ZipArchive<Cursor<Vec<u8>>> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, mode) in entries {
            let options = SimpleFileOptions::default().unix_permissions(*mode);
            writer.start_file(*name, options).unwrap();
            writer.write_all(b"#!/bin/sh\n").unwrap();
        }
        open(writer.finish().unwrap()).unwrap()
    }

    #[test]
    fn executable_bits_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let mut archive = zip(&[("bootstrap", 0o755), ("lib/data", 0o644)]);
        check(&mut archive).unwrap();
        extract(&mut archive, directory.path()).unwrap();
        let mode = |name: &str| {
            let path = directory.path().join(name);
            path.metadata().unwrap().permissions().mode() & 0o777
        };
        assert_eq!((mode("bootstrap"), mode("lib/data")), (0o755, 0o644));
    }

    #[test]
    fn nothing_leaves_its_directory() {
        for name in ["../x", "/etc/x", "a/../../x", "a\\..\\x"] {
            let mut archive = zip(&[(name, 0o644)]);
            assert_eq!(check(&mut archive), Err(broken()), "{name}");
            let directory = tempfile::tempdir().unwrap();
            let inner = directory.path().join("inner");
            std::fs::create_dir(&inner).unwrap();
            assert!(extract(&mut archive, &inner).is_err(), "{name}");
            assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn links_are_refused() {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        writer
            .add_symlink("link", "/etc", SimpleFileOptions::default())
            .unwrap();
        let mut archive = open(writer.finish().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        assert!(extract(&mut archive, directory.path()).is_err());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn more_than_lambda_takes_is_refused_before_it_is_unpacked() {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        writer
            .start_file("zeros", SimpleFileOptions::default())
            .unwrap();
        let block = vec![0; 1 << 20];
        for _ in 0..251 {
            writer.write_all(&block).unwrap();
        }
        let mut archive = open(writer.finish().unwrap()).unwrap();
        assert_eq!(check(&mut archive), Err(too_large()));
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(extract(&mut archive, directory.path()), Err(too_large()));
    }
}
