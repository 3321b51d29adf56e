//! model.tar.gz, unpacked as SageMaker does it into /opt/ml/model.

use std::fs::File;
use std::path::{Component, Path};

use crate::local::Cloud;
use crate::local::api::{ApiError, ApiResult};
use crate::local::s3::objects;

/// Unpacks an artifact of S3 into `directory`, which is made.
pub(super) async fn fetch(cloud: &Cloud, uri: &str, directory: &Path) -> ApiResult<()> {
    let (bucket, key) = objects::parse_uri(uri)?;
    let object = objects::head(cloud, &bucket, &key)?;
    let (cloud, directory) = (cloud.clone(), directory.to_owned());
    tokio::task::spawn_blocking(move || {
        let file = objects::open(&cloud, &object)?;
        Ok(unpack(file, &directory))
    })
    .await
    .map_err(ApiError::internal)?
    .map_err(|error: ApiError| extraction(uri, &error.message))?
    .map_err(|error| extraction(uri, &error.to_string()))
}

fn extraction(uri: &str, reason: &str) -> ApiError {
    ApiError::validation(format!(
        "Failed to extract model data archive {uri}: {reason}"
    ))
}

/// Unpacks a gzipped tar. Nothing leaves `directory`: an entry with an absolute path, `..`, or a
/// link out of it, and anything that is not a file, directory or link, is refused.
fn unpack(file: File, directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    archive.set_preserve_permissions(true);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let refuse = |why: &str| std::io::Error::other(format!("`{}` {why}", path.display()));
        if !stays_inside(&path) {
            return Err(refuse("leaves the archive's directory"));
        }
        let kind = entry.header().entry_type();
        if !(kind.is_file() || kind.is_dir() || kind.is_symlink() || kind.is_hard_link()) {
            return Err(refuse("is neither a file nor a directory"));
        }
        if let Some(target) = entry.link_name()? {
            let from = if kind.is_symlink() {
                path.parent().unwrap_or(Path::new("")).join(&target)
            } else {
                target.into_owned()
            };
            if from.is_absolute() || !stays_inside(&from) {
                return Err(refuse("is a link out of the archive's directory"));
            }
        }
        if !entry.unpack_in(directory)? {
            return Err(refuse("leaves the archive's directory"));
        }
    }
    Ok(())
}

/// True when a relative path never climbs above where it starts.
fn stays_inside(path: &Path) -> bool {
    let mut depth = 0_i32;
    for part in path.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir => depth -= 1,
            Component::RootDir | Component::Prefix(_) => return false,
        }
        if depth < 0 {
            return false;
        }
    }
    true
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
            // `Header::set_path` would refuse what an attacker writes.
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
            let file = archive(&[(path, link)]).reopen().unwrap();
            let error = unpack(file, &directory).unwrap_err();
            assert!(error.to_string().contains("directory"), "{path}: {error}");
            assert!(!outer.path().join("evil").exists(), "{path}");
        }
    }
}
