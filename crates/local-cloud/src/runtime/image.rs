//! Unpacks the layers of an image: only files under /opt, which is all that the host runtime uses.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use tar::{Entry, EntryType};

use crate::api::{ApiError, ApiResult};
use crate::beneath::Directory;
use crate::unpack::{self, Scratch, Unpacker};

/// Maximum unpacked size of an image, in bytes; protects the disk. Holes of sparse files stay holes
/// and do not count.
const MAX_IMAGE_SIZE: u64 = 64 << 30;

/// Counts of entries that were skipped.
#[derive(Debug, Default)]
struct Skipped {
    /// Files outside /opt.
    outside: usize,
    /// Devices, FIFOs and the like.
    special: usize,
}

/// Unpacks layers, in order, into `directory`, unless that was done before. Returns the directory
/// of the image's /opt, and notes for the log of the job.
pub(super) fn unpack(
    directory: &Path,
    layers: &[(PathBuf, String)],
) -> ApiResult<(PathBuf, Vec<String>)> {
    unpack_at_most(MAX_IMAGE_SIZE, directory, layers)
}

fn unpack_at_most(
    budget: u64,
    directory: &Path,
    layers: &[(PathBuf, String)],
) -> ApiResult<(PathBuf, Vec<String>)> {
    let opt = directory.join("opt");
    let notes_file = directory.join("notes.json");
    if !directory.is_dir() {
        let scratch = Scratch::beside(directory)?;
        let root = Directory::open(scratch.path(), "the image")?;
        let mut unpacker = Unpacker::new(&root, "image", budget);
        let mut skipped = Skipped::default();
        for (number, (path, media_type)) in layers.iter().enumerate() {
            // Whiteouts come first: they remove files of lower layers, never of their own.
            if number > 0 {
                unpack::entries(open(path, media_type)?, |entry| {
                    let path = unpacker.place(&entry.path()?)?;
                    whiteout(&mut unpacker, &path)
                })?;
            }
            unpack::entries(open(path, media_type)?, |entry| {
                add(&mut unpacker, entry, &mut skipped)
            })?;
        }
        root.make_directory(Path::new("opt"))?;
        let mut notes = Vec::new();
        if skipped.outside > 0 {
            notes.push(format!(
                "{} files of the image outside /opt are not used by the host runtime",
                skipped.outside
            ));
        }
        if skipped.special > 0 {
            notes.push(format!(
                "{} devices, FIFOs or sockets of the image are not created by the host runtime",
                skipped.special
            ));
        }
        let text = serde_json::to_vec(&notes).map_err(ApiError::internal)?;
        root.write(Path::new("notes.json"), &text)?;
        scratch.publish(directory)?;
    }
    let notes = serde_json::from_slice(&std::fs::read(notes_file)?).map_err(ApiError::internal)?;
    Ok((opt, notes))
}

fn open(path: &Path, media_type: &str) -> ApiResult<Box<dyn Read>> {
    let file = File::open(path)?;
    Ok(match media_type {
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
    })
}

/// Unpacks an entry of a layer if it is under /opt.
fn add<R: Read>(
    unpacker: &mut Unpacker<'_>,
    entry: &mut Entry<'_, R>,
    skipped: &mut Skipped,
) -> ApiResult<()> {
    let path = unpacker.place(&entry.path()?)?;
    let kind = entry.header().entry_type();
    if name(&path).starts_with(".wh.") || path.as_os_str().is_empty() {
        return Ok(());
    }
    if !path.starts_with("opt") {
        skipped.outside += usize::from(!kind.is_dir());
        return Ok(());
    }
    if path == Path::new("opt") && !kind.is_dir() {
        // The directory that is mounted as /opt must belong to the image.
        return Err(unpacker.refuse(&path, "/opt is not a directory"));
    }
    match kind {
        EntryType::Regular
        | EntryType::Continuous
        | EntryType::GNUSparse
        | EntryType::Directory
        | EntryType::Symlink
        | EntryType::Link => unpacker.entry(&path, entry),
        EntryType::Char | EntryType::Block | EntryType::Fifo => {
            skipped.special += 1;
            Ok(())
        }
        _ => Ok(()),
    }
}

fn name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

/// Applies a whiteout.
fn whiteout(unpacker: &mut Unpacker<'_>, relative: &Path) -> ApiResult<()> {
    let Some(removed) = name(relative).strip_prefix(".wh.") else {
        return Ok(());
    };
    let parent = relative.parent().unwrap_or(Path::new(""));
    match removed {
        ".wh..opq" => unpacker.empty(parent),
        "" | "." | ".." => Ok(()),
        removed => unpacker.remove(&parent.join(removed)),
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
        /// A file with this size and data only at its end.
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
            // `set_path` refuses `..`, which a hostile image would contain.
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
            // Issue 8, 1.1: this would become the /opt of a job.
            vec![Item::Link("opt", "/root/.aws")],
            vec![Item::Link("opt", "data"), Item::File("opt/x", "")],
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
    fn whiteouts_remove_entries_of_lower_layers() {
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
    fn an_absolute_path_resolves_inside_the_image() {
        let at = tempfile::tempdir().unwrap();
        let layer = write(at.path(), "x.tar", &[Item::File("/opt/program/train", "x")]);
        let (opt, _) = unpack(&at.path().join("image"), &[layer]).unwrap();
        assert!(opt.join("program/train").is_file());
    }

    #[test]
    fn devices_are_skipped_and_reported() {
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

        const SIZE: u64 = 1 << 30;
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
