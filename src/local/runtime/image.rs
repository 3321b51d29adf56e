//! Unpacking an image's layers: what lies under /opt, which is all that the host runtime uses.

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;
use tar::{Archive, Entry, EntryType};

use crate::local::api::{ApiError, ApiResult};

/// How much a machine that only runs a job should take from an image, in bytes. What a header
/// claims counts before a byte is written; holes of sparse files stay holes and do not count.
const LARGEST: u64 = 64 << 30;

/// What was left out.
#[derive(Debug, Default)]
struct LeftOut {
    /// Files outside /opt.
    outside: usize,
    /// Devices, FIFOs and the like.
    special: usize,
}

/// Unpacks layers, in order, into `directory`, unless that was done before. Returns the
/// directory that is the image's /opt, and what a reader of the job's log should know.
pub(super) fn unpack(
    directory: &Path,
    layers: &[(PathBuf, String)],
) -> ApiResult<(PathBuf, Vec<String>)> {
    unpack_at_most(LARGEST, directory, layers)
}

fn unpack_at_most(
    mut budget: u64,
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
        let mut left_out = LeftOut::default();
        for (path, media_type) in layers {
            layer(
                temporary.path(),
                path,
                media_type,
                &mut budget,
                &mut left_out,
            )?;
        }
        std::fs::create_dir_all(temporary.path().join("opt"))?;
        let mut notes = Vec::new();
        if left_out.outside > 0 {
            notes.push(format!(
                "{} files of the image outside /opt are not used by the host runtime",
                left_out.outside
            ));
        }
        if left_out.special > 0 {
            notes.push(format!(
                "{} devices, FIFOs or the like of the image are not made by the host runtime",
                left_out.special
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

fn open(path: &Path, media_type: &str) -> ApiResult<Archive<Box<dyn Read>>> {
    let file = File::open(path)?;
    let reader: Box<dyn Read> = match media_type {
        _ if media_type.ends_with("tar+gzip") || media_type.ends_with("tar.gzip") => {
            Box::new(MultiGzDecoder::new(file))
        }
        _ if media_type.ends_with("tar+zstd") => Box::new(zstd::stream::read::Decoder::new(file)?),
        _ if media_type.rsplit('.').next() == Some("tar") => Box::new(file),
        _ => {
            return Err(ApiError::not_implemented(format_args!(
                "image layers of type {media_type}"
            )));
        }
    };
    Ok(Archive::new(reader))
}

/// Applies one layer.
fn layer(
    root: &Path,
    path: &Path,
    media_type: &str,
    budget: &mut u64,
    left_out: &mut LeftOut,
) -> ApiResult<()> {
    // A whiteout removes what lower layers have, never what its own layer has: it goes first.
    // Where they have nothing, there is nothing to remove.
    if root.join("opt").exists() {
        for entry in open(path, media_type)?.entries()? {
            let relative = checked(&entry?)?;
            whiteout(root, &relative)?;
        }
    }
    for entry in open(path, media_type)?.entries()? {
        let mut entry = entry?;
        let relative = checked(&entry)?;
        let kind = entry.header().entry_type();
        let is_whiteout = name(&relative).starts_with(".wh.");
        if is_whiteout || relative.as_os_str().is_empty() {
            continue;
        }
        if !relative.starts_with("opt") {
            left_out.outside += usize::from(!kind.is_dir());
            continue;
        }
        match kind {
            EntryType::Regular
            | EntryType::Continuous
            | EntryType::GNUSparse
            | EntryType::Directory
            | EntryType::Symlink
            | EntryType::Link => {}
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                left_out.special += 1;
                continue;
            }
            _ => continue,
        }
        // A sparse file takes what the archive holds of it, not what it seems to hold.
        let stored = match kind {
            EntryType::GNUSparse => entry.header().entry_size()?,
            _ => entry.size(),
        };
        *budget = budget
            .checked_sub(stored)
            .ok_or_else(|| escape(&relative, &"the image has more than 64 GiB in /opt"))?;
        // `unpack_in` follows no link out of the root, which `checked` cannot see.
        if !entry
            .unpack_in(root)
            .map_err(|error| escape(&relative, &error))?
        {
            return Err(escape(&relative, &"it leaves the image"));
        }
    }
    Ok(())
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
        HardLink(&'a str, &'a str),
        Special(&'a str, EntryType),
        /// A file that claims this size and has one byte at its end.
        Sparse(&'a str, u64),
    }

    fn write(directory: &Path, name: &str, items: &[Item<'_>]) -> (PathBuf, String) {
        let path = directory.join(name);
        let mut builder = Builder::new(File::create(&path).unwrap());
        for item in items {
            let mut header = Header::new_gnu();
            let mut body = Vec::new();
            let name = match item {
                Item::File(name, text) => {
                    header.set_size(text.len() as u64);
                    header.set_mode(0o755);
                    body = text.as_bytes().to_vec();
                    name
                }
                Item::Link(name, target) | Item::HardLink(name, target) => {
                    header.set_entry_type(match item {
                        Item::Link(..) => EntryType::Symlink,
                        _ => EntryType::Link,
                    });
                    header.set_size(0);
                    header.set_link_name(target).unwrap();
                    name
                }
                Item::Special(name, kind) => {
                    header.set_entry_type(*kind);
                    header.set_size(0);
                    header.set_device_major(1).unwrap();
                    header.set_device_minor(3).unwrap();
                    name
                }
                Item::Sparse(name, size) => {
                    header.set_entry_type(EntryType::GNUSparse);
                    header.set_size(512);
                    let gnu = header.as_gnu_mut().unwrap();
                    let octal = |field: &mut [u8], value: u64| {
                        field.copy_from_slice(format!("{value:012o}").as_bytes());
                    };
                    octal(&mut gnu.realsize, *size);
                    octal(&mut gnu.sparse[0].offset, size - 512);
                    octal(&mut gnu.sparse[0].numbytes, 512);
                    body = vec![b'x'; 512];
                    name
                }
            };
            // `set_path` refuses `..`, which is just what a hostile image has.
            let bytes = name.as_bytes();
            header.as_gnu_mut().unwrap().name[..bytes.len()].copy_from_slice(bytes);
            header.set_cksum();
            builder.append(&header, &body[..]).unwrap();
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
            vec![Item::HardLink("opt/passwd", "/etc/passwd")],
            vec![Item::HardLink("opt/passwd", "../../../../../../etc/passwd")],
            vec![
                Item::Link("opt/out", "../../.."),
                Item::HardLink("opt/passwd", "opt/out/etc/passwd"),
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

    #[test]
    fn a_whiteout_reaches_nothing_outside() {
        let at = tempfile::tempdir().unwrap();
        let victim = at.path().join("victim");
        std::fs::create_dir(&victim).unwrap();
        std::fs::write(victim.join("file"), "x").unwrap();
        let target = victim.to_str().unwrap();
        let lower = write(at.path(), "lower.tar", &[Item::Link("opt/out", target)]);
        for (number, name) in ["opt/out/.wh.file", "opt/out/.wh..wh..opq"]
            .iter()
            .enumerate()
        {
            let upper = write(at.path(), "upper.tar", &[Item::File(name, "")]);
            let into = at.path().join(format!("image-{number}"));
            assert!(unpack(&into, &[lower.clone(), upper]).is_err(), "{name}");
            assert!(victim.join("file").exists(), "{name}");
        }
    }

    #[test]
    fn an_absolute_path_lies_in_the_image() {
        let at = tempfile::tempdir().unwrap();
        let layer = write(at.path(), "x.tar", &[Item::File("/opt/program/train", "x")]);
        let (opt, _) = unpack(&at.path().join("image"), &[layer]).unwrap();
        assert!(opt.join("program/train").is_file());
    }

    #[test]
    fn devices_are_left_out_and_said() {
        let at = tempfile::tempdir().unwrap();
        let layer = write(
            at.path(),
            "x.tar",
            &[
                Item::Special("opt/null", EntryType::Char),
                Item::Special("opt/disk", EntryType::Block),
                Item::Special("opt/pipe", EntryType::Fifo),
                Item::File("opt/program/train", "x"),
            ],
        );
        let (opt, notes) = unpack(&at.path().join("image"), &[layer]).unwrap();
        assert_eq!(std::fs::read_dir(&opt).unwrap().count(), 1);
        assert!(notes[0].starts_with("3 devices"), "{notes:?}");
    }

    #[test]
    fn a_sparse_file_keeps_its_holes_and_a_large_image_is_refused() {
        use std::os::unix::fs::MetadataExt;

        const SIZE: u64 = 10 << 30;
        let at = tempfile::tempdir().unwrap();
        let layer = write(at.path(), "x.tar", &[Item::Sparse("opt/hole", SIZE)]);
        let (opt, _) = unpack(&at.path().join("image"), &[layer]).unwrap();
        let file = opt.join("hole").metadata().unwrap();
        assert_eq!(file.len(), SIZE);
        assert!(file.blocks() * 512 < 1 << 20, "{} blocks", file.blocks());

        let items = [Item::File("opt/a", "12345"), Item::File("opt/b", "67890")];
        let layer = write(at.path(), "y.tar", &items);
        let into = at.path().join("large");
        let error = unpack_at_most(9, &into, std::slice::from_ref(&layer)).unwrap_err();
        assert!(error.message.contains("opt/b"), "{error}");
        assert!(!into.exists(), "a half-unpacked image must not be used");
        unpack_at_most(10, &into, &[layer]).unwrap();
    }

    #[test]
    fn layers_are_unpacked_however_they_are_compressed() {
        let at = tempfile::tempdir().unwrap();
        let (tar, _) = write(at.path(), "x.tar", &[Item::File("opt/program/train", "x")]);
        let bytes = std::fs::read(tar).unwrap();
        let (gzip, zstd) = (at.path().join("gzip"), at.path().join("zstd"));
        let mut encoder = flate2::write::GzEncoder::new(
            File::create(&gzip).unwrap(),
            flate2::Compression::fast(),
        );
        std::io::Write::write_all(&mut encoder, &bytes).unwrap();
        encoder.finish().unwrap();
        std::fs::write(&zstd, zstd::encode_all(&bytes[..], 1).unwrap()).unwrap();
        for (name, path, kind) in [
            ("g", &gzip, "application/vnd.oci.image.layer.v1.tar+gzip"),
            (
                "d",
                &gzip,
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
            ),
            ("z", &zstd, "application/vnd.oci.image.layer.v1.tar+zstd"),
        ] {
            let (opt, _) =
                unpack(&at.path().join(name), &[(path.clone(), kind.to_owned())]).unwrap();
            assert!(opt.join("program/train").is_file(), "{kind}");
        }
        let unknown = [(gzip, "application/x-lzma".to_owned())];
        assert!(unpack(&at.path().join("u"), &unknown).is_err());
    }
}
