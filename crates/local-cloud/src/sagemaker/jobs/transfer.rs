//! Transfers between S3 and a job's directory.

use std::io::Read;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::interrupt::Interrupt;
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::beneath::{Directory, WalkEntry, stays_inside};
use crate::cloud::caller::Caller;
use crate::s3::objects::{self, Object};

/// Bytes that are copied between two checks of the interrupt.
const PIECE: u64 = 64 << 20;

/// `S3DataType` of an input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum DataType {
    #[default]
    S3Prefix,
    ManifestFile,
    AugmentedManifestFile,
    Converse,
}

/// Downloads what an input names into a directory. Returns the number of files.
pub(super) fn download(
    cloud: &Cloud,
    role: &Caller,
    uri: &str,
    data_type: DataType,
    directory: &Directory,
    interrupt: &Interrupt,
) -> ApiResult<usize> {
    let (bucket, key) = objects::parse_uri(uri)?;
    if data_type == DataType::ManifestFile {
        return manifest(cloud, role, (&bucket, &key), directory, interrupt);
    }
    let mut count = 0;
    let listed = objects::list(cloud, role, &bucket, &key);
    let listed = listed.map_err(|error| {
        // SageMaker treats objects that the role cannot list as missing.
        if error.is_denied() {
            failed_download(&nothing(uri).message)
        } else {
            error
        }
    })?;
    for object in listed {
        let relative = relative(&key, &object.key);
        if fetch(cloud, role, &object, relative, directory, interrupt)? {
            count += 1;
        }
    }
    if count == 0 {
        return Err(nothing(uri));
    }
    Ok(count)
}

/// Fails if there is nothing to download. What the role may read is checked when the job reads it.
pub(super) fn has_objects(cloud: &Cloud, uri: &str) -> ApiResult<()> {
    let (bucket, key) = objects::parse_uri(uri)?;
    if objects::list(cloud, &Caller::LocalCloud, &bucket, &key)?.is_empty() {
        return Err(nothing(uri));
    }
    Ok(())
}

fn nothing(uri: &str) -> ApiError {
    ApiError::validation(format!(
        "No S3 objects found under S3 URL \"{uri}\" given in input data source. Please ensure that the bucket exists in the selected region, that objects exist under that S3 prefix, and that the role has \"s3:ListBucket\" permissions on the bucket."
    ))
}

/// The failure of a download, in SageMaker's words.
fn failed_download(why: &str) -> ApiError {
    ApiError::validation(format!("Data download failed:{why}"))
}

/// An object that the role may not read, in SageMaker's words; any other error is unchanged.
fn unreadable(error: ApiError, bucket: &str, key: &str) -> ApiError {
    if !error.is_denied() {
        return error;
    }
    failed_download(&format!(
        "Unable to download object s3://{bucket}/{key} (AccessDenied: {})",
        error.message
    ))
}

/// `[{"prefix": "s3://bucket/a/"}, "b", "c/d", …]`
fn manifest(
    cloud: &Cloud,
    role: &Caller,
    (bucket, key): (&str, &str),
    directory: &Directory,
    interrupt: &Interrupt,
) -> ApiResult<usize> {
    let bad =
        |why: &str| ApiError::validation(format!("s3://{bucket}/{key} is not a manifest: {why}"));
    let bytes =
        objects::read(cloud, role, bucket, key).map_err(|error| unreadable(error, bucket, key))?;
    let list: Vec<serde_json::Value> =
        serde_json::from_slice(&bytes).map_err(|error| bad(&error.to_string()))?;
    let (head, names) = list.split_first().ok_or_else(|| bad("it is empty"))?;
    let prefix = head["prefix"]
        .as_str()
        .ok_or_else(|| bad("its first entry has no `prefix`"))?;
    let (bucket, prefix) = objects::parse_uri(prefix)?;
    for name in names {
        let name = name.as_str().ok_or_else(|| bad("a name is not a string"))?;
        let key = format!("{prefix}{name}");
        let object = objects::head(cloud, role, &bucket, &key)
            .map_err(|error| unreadable(error, &bucket, &key))?;
        fetch(cloud, role, &object, name, directory, interrupt)?;
    }
    Ok(names.len())
}

/// A key's path below the directory of its input.
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

/// Copies one object; returns false for a folder marker.
fn fetch(
    cloud: &Cloud,
    role: &Caller,
    object: &Object,
    relative: &str,
    directory: &Directory,
    interrupt: &Interrupt,
) -> ApiResult<bool> {
    interrupt.check()?;
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
    // A copy, not a link: the program may write to its inputs, and blobs are shared.
    let mut blob = objects::open_newest(cloud, role, object)
        .map_err(|error| unreadable(error, object.bucket(), &object.key))?;
    let mut file = directory.create_file(Path::new(relative))?;
    loop {
        interrupt.check()?;
        // In chunks, each of which the kernel copies by itself.
        if std::io::copy(&mut (&mut blob).take(PIECE), &mut file)? == 0 {
            return Ok(true);
        }
    }
}

/// Uploads every file of a directory under an S3 URI. S3 has no links, and their targets are not
/// read: a link that leaves the directory is an error that names it; one that stays inside is
/// skipped and returned for the job's log.
pub(super) fn upload(
    cloud: &Cloud,
    role: &Caller,
    directory: &Directory,
    uri: &str,
    interrupt: &Interrupt,
) -> ApiResult<Vec<PathBuf>> {
    let mut left_out = Vec::new();
    let (bucket, prefix) = objects::parse_uri(uri)?;
    let prefix = prefix.trim_end_matches('/');
    directory.walk(|path, found| {
        interrupt.check()?;
        match found {
            WalkEntry::Directory(_) => Ok(()),
            WalkEntry::Link(target) if stays_inside(path, &target) => {
                left_out.push(directory.shown(path));
                Ok(())
            }
            WalkEntry::Link(target) => Err(ApiError::validation(format!(
                "{} is a symbolic link to {}, which leaves {}: it is not followed; copy the file \
             instead",
                directory.shown(path).display(),
                target.display(),
                directory.shown("".as_ref()).display()
            ))),
            WalkEntry::File(file, metadata) => {
                // Two such names could map to one key.
                let name = path.to_str().ok_or_else(|| {
                    ApiError::validation(format!(
                        "the name of {} is not UTF-8, as the key of an S3 object must be",
                        directory.shown(path).display()
                    ))
                })?;
                let key = if prefix.is_empty() {
                    name.to_owned()
                } else {
                    format!("{prefix}/{name}")
                };
                let mut contents = interrupt.reader(file.take(metadata.len()));
                objects::put_from(cloud, role, &bucket, &key, &mut contents).map_err(
                    |mut error| {
                        error.message =
                            format!("{}: {}", directory.shown(path).display(), error.message);
                        error
                    },
                )?;
                Ok(())
            }
        }
    })?;
    Ok(left_out)
}

/// True if a directory contains anything other than directories.
pub(super) fn has_contents(directory: &Directory) -> ApiResult<bool> {
    let mut found_any = false;
    directory.walk(|_, found| {
        found_any |= !matches!(found, WalkEntry::Directory(_));
        Ok::<_, ApiError>(())
    })?;
    Ok(found_any)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_cloud::TestCloud;

    #[test]
    fn keys_keep_the_part_after_the_prefix() {
        assert_eq!(relative("a/b", "a/b/c/d.csv"), "c/d.csv");
        assert_eq!(relative("a/b/", "a/b/c.csv"), "c.csv");
        assert_eq!(relative("a/b.csv", "a/b.csv"), "b.csv");
        assert_eq!(relative("a/b", "a/bc/x"), "bc/x");
        assert_eq!(relative("", "a/b"), "a/b");
        assert_eq!(relative("a/", "a/"), "");
    }

    // Issue 8, 1.1
    #[test]
    fn a_link_in_an_output_is_reported_and_nothing_is_uploaded() {
        let at = TestCloud::new();
        let cloud = at.cloud();
        let output = at.path().join("output");
        std::fs::create_dir_all(output.join("sub")).unwrap();
        std::fs::write(at.path().join("credentials"), "SECRET").unwrap();
        let upload = || {
            let directory = Directory::open(&output, "/opt/ml/processing/output")?;
            assert!(has_contents(&directory)?);
            let role = Caller::Root;
            super::upload(
                &cloud,
                &role,
                &directory,
                "s3://none/prefix",
                &Interrupt::never(),
            )
        };
        for (target, name) in [("../../credentials", "sub/data.csv"), ("/", "all")] {
            let link = output.join(name);
            std::os::unix::fs::symlink(target, &link).unwrap();
            let error = upload().unwrap_err();
            let expected = format!("/opt/ml/processing/output/{name} is a symbolic link");
            assert!(error.message.starts_with(&expected), "{error}");
            std::fs::remove_file(link).unwrap();
        }
        std::fs::write(output.join("sub/data.csv"), "1,2").unwrap();
        assert_eq!(upload().unwrap_err().code, "NoSuchBucket");
    }
}
