//! Between S3 and a job's directory.

use std::path::{Component, Path, PathBuf};

use crate::local::Cloud;
use crate::local::api::{ApiError, ApiResult};
use crate::local::s3::objects::{self, Object};

/// Downloads what an input names into a directory; returns the number of files.
/// `data_type` is `S3Prefix` or `ManifestFile`.
pub(super) fn download(
    cloud: &Cloud,
    uri: &str,
    data_type: &str,
    directory: &Path,
) -> ApiResult<usize> {
    std::fs::create_dir_all(directory)?;
    let (bucket, key) = objects::parse_uri(uri)?;
    if data_type == "ManifestFile" {
        return manifest(cloud, &bucket, &key, directory);
    }
    let mut count = 0;
    for object in objects::list(cloud, &bucket, &key)? {
        let relative = relative(&key, &object.key);
        if fetch(cloud, &object, relative, directory)? {
            count += 1;
        }
    }
    if count == 0 {
        return Err(nothing(uri));
    }
    Ok(count)
}

/// True when there is something to download.
pub(super) fn has_objects(cloud: &Cloud, uri: &str) -> ApiResult<()> {
    let (bucket, key) = objects::parse_uri(uri)?;
    if objects::list(cloud, &bucket, &key)?.is_empty() {
        return Err(nothing(uri));
    }
    Ok(())
}

fn nothing(uri: &str) -> ApiError {
    ApiError::validation(format!(
        "No S3 objects found under S3 URL \"{uri}\" given in input data source. Please ensure that the bucket exists in the selected region, that objects exist under that S3 prefix, and that the role has \"s3:ListBucket\" permissions on the bucket."
    ))
}

/// `[{"prefix": "s3://bucket/a/"}, "b", "c/d", …]`
fn manifest(cloud: &Cloud, bucket: &str, key: &str, directory: &Path) -> ApiResult<usize> {
    let bad =
        |why: &str| ApiError::validation(format!("s3://{bucket}/{key} is no manifest: {why}"));
    let bytes = objects::read(cloud, bucket, key)?;
    let list: Vec<serde_json::Value> =
        serde_json::from_slice(&bytes).map_err(|error| bad(&error.to_string()))?;
    let (head, names) = list.split_first().ok_or_else(|| bad("it is empty"))?;
    let prefix = head["prefix"]
        .as_str()
        .ok_or_else(|| bad("its first entry has no `prefix`"))?;
    let (bucket, prefix) = objects::parse_uri(prefix)?;
    for name in names {
        let name = name.as_str().ok_or_else(|| bad("a name is not a string"))?;
        let object = objects::head(cloud, &bucket, &format!("{prefix}{name}"))?;
        fetch(cloud, &object, name, directory)?;
    }
    Ok(names.len())
}

/// A key's place below the directory of its input.
fn relative<'a>(prefix: &str, key: &'a str) -> &'a str {
    let folder = if key == prefix || !key[prefix.len()..].starts_with('/') {
        // The object itself, or a prefix that ends within a name.
        prefix.rfind('/').map_or(0, |slash| slash + 1)
    } else {
        prefix.len() + 1
    };
    if prefix.ends_with('/') && key != prefix {
        return &key[prefix.len()..];
    }
    &key[folder..]
}

/// Copies one object; false for a folder's marker.
fn fetch(cloud: &Cloud, object: &Object, relative: &str, directory: &Path) -> ApiResult<bool> {
    if relative.is_empty() || relative.ends_with('/') {
        return Ok(false);
    }
    let plain = Path::new(relative)
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if !plain {
        return Err(ApiError::validation(format!(
            "the key `{}` would be written outside the job's directory",
            object.key
        )));
    }
    let target = directory.join(relative);
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent)?;
    }
    // A copy, not a link: the program may write to its inputs, and blobs are shared.
    objects::copy_to(cloud, object, &target)?;
    Ok(true)
}

/// Uploads every file of a directory under an S3 URI; links are not followed and not uploaded.
pub(super) fn upload(cloud: &Cloud, directory: &Path, uri: &str) -> ApiResult<usize> {
    let (bucket, prefix) = objects::parse_uri(uri)?;
    let prefix = prefix.trim_end_matches('/');
    let files = files(directory)?;
    for relative in &files {
        let name = relative.to_string_lossy();
        let key = if prefix.is_empty() {
            name.into_owned()
        } else {
            format!("{prefix}/{name}")
        };
        objects::put_file(cloud, &bucket, &key, &directory.join(relative))?;
    }
    Ok(files.len())
}

/// The files below a directory, relative to it, sorted, without links; none when it is not there.
pub(super) fn files(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(relative) = pending.pop() {
        let entries = match std::fs::read_dir(directory.join(&relative)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            let path = relative.join(entry.file_name());
            if kind.is_dir() {
                pending.push(path);
            } else if kind.is_file() {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_what_comes_after_the_prefix() {
        assert_eq!(relative("a/b", "a/b/c/d.csv"), "c/d.csv");
        assert_eq!(relative("a/b/", "a/b/c.csv"), "c.csv");
        assert_eq!(relative("a/b.csv", "a/b.csv"), "b.csv");
        assert_eq!(relative("a/b", "a/bc/x"), "bc/x");
        assert_eq!(relative("", "a/b"), "a/b");
        assert_eq!(relative("a/", "a/"), "");
    }

    #[test]
    fn links_are_not_listed() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("sub")).unwrap();
        std::fs::write(directory.path().join("sub/a"), "").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", directory.path().join("b")).unwrap();
        std::os::unix::fs::symlink("/etc", directory.path().join("c")).unwrap();
        assert_eq!(files(directory.path()).unwrap(), [Path::new("sub/a")]);
        assert!(files(&directory.path().join("none")).unwrap().is_empty());
    }
}
