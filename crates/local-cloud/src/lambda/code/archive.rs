//! Validates and unpacks a function's zip.

use std::fs::{File, Permissions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use zip::ZipArchive;

use crate::api::{ApiError, ApiResult};
use crate::lambda::invalid;
use crate::unpack::{self, zip_index};

/// Maximum total size of the unpacked files in bytes (Lambda quotas).
pub(super) const MAX_UNZIPPED: u64 = 262_144_000;

/// Maximum number of entries. Lambda has no such limit. Real functions of up to 250 MB have far
/// fewer entries, and each entry costs memory.
const MAX_ENTRIES: usize = 200_000;

/// Maximum size of an archive's directory, in bytes; protects memory.
const MAX_INDEX: u64 = 64 << 20;

/// Longest name of an entry, in bytes: Linux's `PATH_MAX`.
const LONGEST_NAME: usize = 4096;

fn broken() -> ApiError {
    invalid("Could not unzip uploaded file. Please check your file, then try to upload again.")
}

/// Opens an archive.
pub(crate) fn open<R: Read + Seek>(reader: R) -> ApiResult<ZipArchive<R>> {
    let limits = zip_index::Limits {
        // `check` refuses more than the maximum in words of its own.
        entries: 2 * MAX_ENTRIES as u64,
        bytes: MAX_INDEX,
    };
    unpack::open_zip(reader, &limits).map_err(|_| broken())
}

/// Refuses an archive with an entry that leaves its directory, or that exceeds Lambda's limits.
pub(crate) fn check<R: Read + Seek>(archive: &mut ZipArchive<R>) -> ApiResult<()> {
    if archive.len() > MAX_ENTRIES {
        return Err(invalid(format!(
            "Uploaded file has more than {MAX_ENTRIES} entries"
        )));
    }
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

/// The error for a zip that exceeds Lambda's size limit.
pub(super) fn too_large() -> ApiError {
    invalid(format!(
        "Unzipped size must be smaller than {MAX_UNZIPPED} bytes"
    ))
}

/// The path of an entry, which must stay below the code's directory.
fn inside(name: &str) -> ApiResult<PathBuf> {
    let path = Path::new(name);
    if name.len() > LONGEST_NAME {
        return Err(invalid(format!(
            "Uploaded file has an entry with a name of {} bytes; the longest is {LONGEST_NAME} bytes",
            name.len()
        )));
    }
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
pub(crate) fn extract<R: Read + Seek>(
    archive: &mut ZipArchive<R>,
    directory: &Path,
) -> ApiResult<()> {
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
        // The size in an entry's header cannot be trusted.
        let written =
            std::io::copy(&mut (&mut entry).take(left + 1), &mut file).map_err(|_| broken())?;
        left = left.checked_sub(written).ok_or_else(too_large)?;
        file.flush()?;
        // The server's user must be able to read and remove the files.
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

    // Issue 8, 1.6
    #[test]
    fn a_name_that_is_too_long_is_refused() {
        let long = "d/".repeat(2500) + "x";
        let error = check(&mut zip(&[(long.as_str(), 0o644)])).unwrap_err();
        assert!(error.message.contains("name of 5001 bytes"), "{error}");
        let deep = "d/".repeat(1500) + "x";
        let other = "d/".repeat(1500) + "y";
        let directory = tempfile::tempdir().unwrap();
        let mut archive = zip(&[(deep.as_str(), 0o644), (other.as_str(), 0o644)]);
        check(&mut archive).unwrap();
        extract(&mut archive, directory.path()).unwrap();
        assert!(directory.path().join(&deep).is_file());
        crate::beneath::remove(&directory.path().join("d")).unwrap();
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
    fn archives_over_lambdas_limits_are_refused_before_unpacking() {
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
