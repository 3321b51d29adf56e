//! `model.tar.gz` and `output.tar.gz`.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header, HeaderMode};

use super::interrupt::Interrupt;
use crate::api::{ApiError, ApiResult};
use crate::beneath::{Directory, WalkEntry, stays_inside};

/// Writes a directory's contents, without the directory itself. Equal contents produce equal bytes:
/// entries are sorted, without times and owners.
///
/// A symbolic link is stored as a link, never followed; one whose target leaves the directory (as
/// every absolute one does) is an error that names it, as is a FIFO, a socket or a device.
pub(super) fn write(
    directory: &Directory,
    archive: impl Write,
    interrupt: &Interrupt,
) -> ApiResult<()> {
    let encoder = GzEncoder::new(archive, Compression::fast());
    let mut builder = Builder::new(encoder);
    directory.walk(|path, found| {
        interrupt.check()?;
        let mut header = Header::new_gnu();
        match found {
            WalkEntry::Directory(metadata) => {
                header.set_metadata_in_mode(&metadata, HeaderMode::Deterministic);
                builder.append_data(&mut header, path, std::io::empty())?;
            }
            WalkEntry::Link(target) => {
                if !stays_inside(path, &target) {
                    return Err(ApiError::validation(format!(
                        "{} is a symbolic link to {}, which leaves {}: it is not followed; \
                         copy the file, or link to it by a relative path",
                        directory.shown(path).display(),
                        target.display(),
                        directory.shown("".as_ref()).display()
                    )));
                }
                header.set_entry_type(EntryType::Symlink);
                header.set_size(0);
                header.set_mode(0o755);
                header.set_mtime(LINK_TIME);
                header.set_uid(0);
                header.set_gid(0);
                builder.append_link(&mut header, path, &target)?;
            }
            WalkEntry::File(file, metadata) => {
                header.set_metadata_in_mode(&metadata, HeaderMode::Deterministic);
                let mut contents = interrupt.reader(file.take(metadata.len()));
                builder.append_data(&mut header, path, &mut contents)?;
                if contents.inner.limit() > 0 {
                    return Err(ApiError::validation(format!(
                        "{} became shorter while it was read",
                        directory.shown(path).display()
                    )));
                }
            }
        }
        Ok(())
    })?;
    builder.into_inner()?.finish()?;
    Ok(())
}

/// The time that the `tar` crate gives files in `HeaderMode::Deterministic`.
const LINK_TIME: u64 = 1_153_704_088;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn packed(directory: &Path) -> ApiResult<Vec<u8>> {
        let mut bytes = Vec::new();
        let model = Directory::open(directory, "/opt/ml/model")?;
        write(&model, &mut bytes, &Interrupt::never())?;
        Ok(bytes)
    }

    fn names(archive: &[u8]) -> Vec<String> {
        tar::Archive::new(flate2::read::GzDecoder::new(archive))
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect()
    }

    #[test]
    fn equal_contents_produce_equal_archives() {
        let at = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let directory = at.path().join(name);
            std::fs::create_dir_all(directory.join("sub")).unwrap();
            std::fs::write(directory.join("model.joblib"), "weights").unwrap();
            std::fs::write(directory.join("sub/a"), "a").unwrap();
            std::os::unix::fs::symlink("model.joblib", directory.join("latest")).unwrap();
            packed(&directory).unwrap()
        };
        let first = make("one");
        assert_eq!(first, make("two"));
        assert_eq!(names(&first), ["latest", "model.joblib", "sub", "sub/a"]);
    }

    // Issue 8, 1.1
    #[test]
    fn a_link_out_of_the_model_is_reported_and_not_followed() {
        for target in ["/root/.aws", "../../.aws", "../secret", "/opt/ml/model/x"] {
            let at = tempfile::tempdir().unwrap();
            let model = at.path().join("model");
            std::fs::create_dir_all(model.join("sub")).unwrap();
            std::fs::write(at.path().join("secret"), "SECRET").unwrap();
            std::fs::write(model.join("sub/weights"), "1").unwrap();
            std::os::unix::fs::symlink(target, model.join("link")).unwrap();
            let error = packed(&model).unwrap_err();
            let expected = format!("/opt/ml/model/link is a symbolic link to {target}, ");
            assert!(error.message.starts_with(&expected), "{error}");
            assert_eq!(error.status, 400, "the job's owner can fix it");
        }
    }
}
