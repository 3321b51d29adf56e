//! Unpacks model.tar.gz into /opt/ml/model, as SageMaker does.

use std::fs::File;
use std::path::Path;

use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::beneath::{Directory, stays_inside};
use crate::cloud::caller::Caller;
use crate::s3::objects;
use crate::unpack::{self, Unpacker};

/// Maximum total size of a model's files in bytes; protects against compression bombs.
const LARGEST: u64 = 64 << 30;

/// Unpacks an artifact of S3, on behalf of the model's role, into a new `directory`.
pub(super) async fn fetch(
    cloud: &Cloud,
    role: &Caller,
    uri: &str,
    directory: &Path,
) -> ApiResult<()> {
    let (bucket, key) = objects::parse_uri(uri)?;
    let object = objects::head(cloud, role, &bucket, &key)?;
    let (cloud, role, directory) = (cloud.clone(), role.clone(), directory.to_owned());
    tokio::task::spawn_blocking(move || {
        let file = objects::open(&cloud, &role, &object)?;
        Ok(unpack(file, &directory))
    })
    .await
    .map_err(ApiError::internal)?
    .map_err(|error: ApiError| extraction(uri, &error.message))?
    .map_err(|error| ApiError {
        message: extraction(uri, &error.message).message,
        ..error
    })
}

fn extraction(uri: &str, reason: &str) -> ApiError {
    ApiError::validation(format!(
        "Failed to extract model data archive {uri}: {reason}"
    ))
}

/// Unpacks a gzipped tar. Nothing leaves `directory`: an entry with an absolute path, `..`, or a
/// link out of it, and anything that is not a file, directory or link, is refused.
fn unpack(file: File, directory: &Path) -> ApiResult<()> {
    std::fs::create_dir_all(directory)?;
    let root = Directory::open(directory, "the archive")?;
    let mut unpacker = Unpacker::new(&root, "archive", LARGEST);
    let archive = flate2::read::GzDecoder::new(file);
    unpack::entries(archive, |entry| {
        let path = entry.path()?.into_owned();
        if path.is_absolute() {
            return Err(unpacker.refuse(&path, "it leaves the archive's directory"));
        }
        let relative = unpacker.place(&path)?;
        if relative.as_os_str().is_empty() {
            return Ok(());
        }
        if entry.header().entry_type().is_symlink()
            && let Some(target) = entry.link_name()?
            && !stays_inside(&relative, &target)
        {
            return Err(unpacker.refuse(&path, "it is a link out of the archive's directory"));
        }
        unpacker.entry(&relative, entry)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn archive(entries: &[(&str, &str)]) -> tempfile::NamedTempFile {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, link) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            // `Header::set_path` would refuse malicious paths.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            if link.is_empty() {
                header.set_size(2);
                header.set_cksum();
                builder.append(&header, &b"hi"[..]).unwrap();
            } else {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                header.set_link_name(link).unwrap();
                header.set_cksum();
                builder.append(&header, std::io::empty()).unwrap();
            }
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut gzip = flate2::write::GzEncoder::new(&mut file, flate2::Compression::fast());
        gzip.write_all(&builder.into_inner().unwrap()).unwrap();
        gzip.finish().unwrap();
        file
    }

    #[test]
    fn a_model_is_unpacked() {
        let directory = tempfile::tempdir().unwrap();
        let file = archive(&[
            ("model.joblib", ""),
            ("code/x.py", ""),
            ("code/link", "../model.joblib"),
        ]);
        unpack(file.reopen().unwrap(), directory.path()).unwrap();
        let text = std::fs::read_to_string(directory.path().join("code/link")).unwrap();
        assert_eq!(text, "hi");
    }

    #[test]
    fn nothing_leaves_the_directory() {
        for (path, link) in [
            ("../evil", ""),
            ("/evil", ""),
            ("a/../../evil", ""),
            ("link", "/etc/passwd"),
            ("a/link", "../../etc"),
        ] {
            let outer = tempfile::tempdir().unwrap();
            let directory = outer.path().join("model");
            let error = unpack(archive(&[(path, link)]).reopen().unwrap(), &directory).unwrap_err();
            let named = error.message.contains("leaves") || error.message.contains("link out");
            assert!(named, "{path}: {error}");
            assert!(!outer.path().join("evil").exists(), "{path}");
        }
    }
}
