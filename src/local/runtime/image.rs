//! Unpacking an image's layers: what lies under /opt, which is all that the host runtime uses.

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;
use tar::{Archive, Entry, EntryType};

use crate::local::api::{ApiError, ApiResult};

/// Unpacks layers, in order, into `directory`, unless that was done before. Returns the
/// directory that is the image's /opt, and what a reader of the job's log should know.
pub(super) fn unpack(
    directory: &Path,
    layers: &[(PathBuf, String)],
) -> ApiResult<(PathBuf, Vec<String>)> {
    let opt = directory.join("opt");
    let notes_file = directory.join("notes.json");
    if !directory.is_dir() {
        let parent = directory
            .parent()
            .ok_or_else(|| ApiError::internal("an image directory has no parent"))?;
        std::fs::create_dir_all(parent)?;
        let temporary = tempfile::Builder::new()
            .prefix(".unpack-")
            .tempdir_in(parent)?;
        let mut outside = 0;
        for (path, media_type) in layers {
            outside += layer(temporary.path(), path, media_type)?;
        }
        std::fs::create_dir_all(temporary.path().join("opt"))?;
        let mut notes = Vec::new();
        if outside > 0 {
            notes.push(format!(
                "{outside} files of the image outside /opt are not used by the host runtime"
            ));
        }
        let text = serde_json::to_vec(&notes).map_err(ApiError::internal)?;
        std::fs::write(temporary.path().join("notes.json"), text)?;
        // Another job may have been faster: its result is the same.
        if let Err(error) = std::fs::rename(temporary.path(), directory)
            && !directory.is_dir()
        {
            return Err(error.into());
        }
    }
    let notes = serde_json::from_slice(&std::fs::read(notes_file)?).map_err(ApiError::internal)?;
    Ok((opt, notes))
}

/// Applies one layer; returns how many files it has outside /opt.
fn layer(root: &Path, path: &Path, media_type: &str) -> ApiResult<usize> {
    let open = || -> ApiResult<Archive<Box<dyn Read>>> {
        let file = File::open(path)?;
        let reader: Box<dyn Read> = match media_type {
            _ if media_type.ends_with("tar+gzip") || media_type.ends_with("tar.gzip") => {
                Box::new(MultiGzDecoder::new(file))
            }
            _ if media_type.rsplit('.').next() == Some("tar") => Box::new(file),
            _ => {
                return Err(ApiError::not_implemented(format_args!(
                    "image layers of type {media_type}"
                )));
            }
        };
        Ok(Archive::new(reader))
    };
    // A whiteout removes what lower layers have, never what its own layer has: it goes first.
    for entry in open()?.entries()? {
        let relative = checked(&entry?)?;
        whiteout(root, &relative)?;
    }
    let mut outside = 0;
    for entry in open()?.entries()? {
        let mut entry = entry?;
        let relative = checked(&entry)?;
        let kind = entry.header().entry_type();
        let is_whiteout = name(&relative).starts_with(".wh.");
        if is_whiteout || relative.as_os_str().is_empty() {
            continue;
        }
        if !relative.starts_with("opt") {
            outside += usize::from(!kind.is_dir());
            continue;
        }
        let usable = matches!(
            kind,
            EntryType::Regular
                | EntryType::Continuous
                | EntryType::Directory
                | EntryType::Symlink
                | EntryType::Link
        );
        // `unpack_in` follows no link out of the root, which `checked` cannot see.
        if usable
            && !entry
                .unpack_in(root)
                .map_err(|error| escape(&relative, &error))?
        {
            return Err(escape(&relative, &"it leaves the image"));
        }
    }
    Ok(outside)
}

fn name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

fn escape(path: &Path, why: &dyn std::fmt::Display) -> ApiError {
    ApiError::validation(format!(
        "the image's entry `{}` cannot be unpacked: {why}",
        path.display()
    ))
}

/// The entry's path below the root, in plain names.
fn checked<R: Read>(entry: &Entry<'_, R>) -> ApiResult<PathBuf> {
    let path = entry.path()?;
    let mut relative = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => relative.push(part),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(escape(&path, &"it leaves the image"));
            }
        }
    }
    Ok(relative)
}

/// Removes what a whiteout names. Lower layers' links must not lead the removal out of the root.
fn whiteout(root: &Path, relative: &Path) -> ApiResult<()> {
    let Some(removed) = name(relative).strip_prefix(".wh.") else {
        return Ok(());
    };
    let parent = root.join(relative.parent().unwrap_or(Path::new("")));
    let Ok(parent) = parent.canonicalize() else {
        return Ok(());
    };
    if !parent.starts_with(root.canonicalize()?) {
        return Err(escape(relative, &"it leaves the image"));
    }
    if removed == ".wh..opq" {
        for entry in std::fs::read_dir(&parent)? {
            remove(&entry?.path())?;
        }
    } else if removed != "." && removed != ".." && !removed.is_empty() {
        remove(&parent.join(removed))?;
    }
    Ok(())
}

fn remove(path: &Path) -> std::io::Result<()> {
    match path.symlink_metadata() {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tar::{Builder, Header};

    const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

    enum Item<'a> {
        File(&'a str, &'a str),
        Link(&'a str, &'a str),
    }

    fn write(directory: &Path, name: &str, items: &[Item<'_>]) -> (PathBuf, String) {
        let path = directory.join(name);
        let mut builder = Builder::new(File::create(&path).unwrap());
        for item in items {
            let mut header = Header::new_gnu();
            let (name, body) = match item {
                Item::File(name, body) => {
                    header.set_size(body.len() as u64);
                    header.set_mode(0o755);
                    (name, *body)
                }
                Item::Link(name, target) => {
                    header.set_entry_type(EntryType::Symlink);
                    header.set_size(0);
                    header.set_link_name(target).unwrap();
                    (name, "")
                }
            };
            // `set_path` refuses `..`, which is just what a hostile image has.
            let bytes = name.as_bytes();
            header.as_gnu_mut().unwrap().name[..bytes.len()].copy_from_slice(bytes);
            header.set_cksum();
            builder.append(&header, body.as_bytes()).unwrap();
        }
        builder.finish().unwrap();
        (path, TAR.to_owned())
    }

    #[test]
    fn entries_cannot_escape() {
        let at = tempfile::tempdir().unwrap();
        for (number, items) in [
            vec![Item::File("opt/../../x", "evil")],
            vec![
                Item::Link("opt/out", "../../.."),
                Item::File("opt/out/x", "evil"),
            ],
            vec![
                Item::Link("opt/out", "/"),
                Item::File("opt/out/tmp/mlops-escaped", "evil"),
            ],
        ]
        .into_iter()
        .enumerate()
        {
            let layer = write(at.path(), &format!("{number}.tar"), &items);
            let into = at.path().join(format!("image-{number}"));
            assert!(unpack(&into, &[layer]).is_err(), "{number}");
            assert!(!into.exists(), "a half-unpacked image must not be used");
        }
        assert!(!Path::new("/tmp/mlops-escaped").exists());
        assert!(!at.path().join("x").exists());
    }

    #[test]
    fn whiteouts_remove_what_lower_layers_have() {
        let at = tempfile::tempdir().unwrap();
        let lower = write(
            at.path(),
            "lower.tar",
            &[
                Item::File("opt/program/train", "old"),
                Item::File("opt/program/gone", "x"),
                Item::File("opt/other/gone", "x"),
                Item::File("usr/bin/tool", "x"),
            ],
        );
        let upper = write(
            at.path(),
            "upper.tar",
            &[
                Item::File("opt/other/kept", "y"),
                Item::File("opt/program/.wh.gone", ""),
                Item::File("opt/other/.wh..wh..opq", ""),
                Item::File("opt/program/train", "new"),
            ],
        );
        let (opt, notes) = unpack(&at.path().join("image"), &[lower, upper]).unwrap();
        assert_eq!(
            std::fs::read_to_string(opt.join("program/train")).unwrap(),
            "new"
        );
        assert!(!opt.join("program/gone").exists());
        assert!(!opt.join("other/gone").exists());
        assert!(opt.join("other/kept").exists());
        assert!(notes[0].starts_with("1 files"), "{notes:?}");
    }
}
