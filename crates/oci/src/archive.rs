//! A tar archive as an index of offsets. Nothing is extracted, so names, links and devices in it
//! cannot affect this machine; a file is read at its offset.
//!
//! An archive is rejected if it contains anything that image builders never write (names and links
//! that point outside, devices, FIFOs, sparse files) or if it is truncated. The formats are
//! POSIX.1-2001 (pax) and GNU tar. The `tar` crate parses the header fields, but not long names and
//! pax records, which it would read into memory at any size.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use mlops_core::error::Hint;
use tar::{EntryType, Header, PaxExtensions};

/// Maximum number of entries; no image has more files.
const MAX_ENTRIES: usize = 1 << 15;
/// Maximum size in bytes of a long name or pax record.
const MAX_RECORD: u64 = 1 << 20;
/// Maximum length of a name in bytes, as on Linux.
const MAX_NAME: usize = 4096;
/// Maximum number of links to follow for one file.
const MAX_LINKS: usize = 16;
const BLOCK: u64 = 512;

/// The index of an archive.
#[derive(Debug)]
pub(super) struct Archive {
    path: PathBuf,
    entries: HashMap<String, Entry>,
}

/// The position of a file in the archive, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) offset: u64,
    pub(super) size: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Entry {
    File(Location),
    /// A link to another entry.
    Link(String),
    /// Ambiguous, because several entries have this name.
    Twice,
}

impl Archive {
    /// Indexes the archive at `path`.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let mut file =
            File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let length = file.metadata()?.len();
        let entries = index(&mut file, length)
            .with_context(|| format!("cannot read the archive {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            entries,
        })
    }

    /// The archive's file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether an entry with this name exists.
    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Returns the position of a file; follows links inside the archive.
    pub(super) fn place(&self, name: &str) -> Result<Location> {
        let archive = self.path.display();
        let mut at = inside("", name).with_context(|| {
            format!("{archive} references a file outside of the archive: {name:?}")
        })?;
        for _ in 0..MAX_LINKS {
            match self.entries.get(&at) {
                None => bail!("{archive} has no file {at:?}"),
                Some(Entry::File(place)) => return Ok(*place),
                Some(Entry::Link(target)) => at.clone_from(target),
                Some(Entry::Twice) => bail!("{archive} has the file {at:?} twice"),
            }
        }
        bail!("{archive}: the link {name:?} is part of a cycle")
    }

    /// Reads a file of at most `limit` bytes.
    pub(super) fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        let place = self.place(name)?;
        if place.size > limit {
            bail!(
                "{name:?} in {} has {} bytes; the limit is {limit}",
                self.path.display(),
                place.size
            );
        }
        let mut bytes = Vec::new();
        self.reader(place)?.read_to_end(&mut bytes)?;
        if bytes.len() as u64 != place.size {
            bail!(
                "{} was truncated while it was being read",
                self.path.display()
            );
        }
        Ok(bytes)
    }

    /// Opens a file of the archive.
    pub(super) fn reader(&self, place: Location) -> Result<std::io::Take<File>> {
        reader(&self.path, place)
    }
}

/// Opens a part of a file.
pub(super) fn reader(path: &Path, place: Location) -> Result<std::io::Take<File>> {
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    file.seek(SeekFrom::Start(place.offset))?;
    Ok(file.take(place.size))
}

/// Definitions for an entry from the records before its header.
#[derive(Debug, Default)]
struct Extended {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
}

fn index(file: &mut (impl Read + Seek), length: u64) -> Result<HashMap<String, Entry>> {
    let mut entries = HashMap::new();
    let mut extended = Extended::default();
    let mut position = 0;
    let mut count = 0;
    if length == 0 {
        bail!("it is empty");
    }
    loop {
        let mut block = [0; 512];
        if length - position < BLOCK {
            return cut_off(position == 0);
        }
        file.seek(SeekFrom::Start(position))?;
        file.read_exact(&mut block)?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(entries);
        }
        let header = Header::from_byte_slice(&block);
        if !sums_up(header) {
            return Err(anyhow!("it is not a tar archive (at byte {position})"))
                .hint("pass an OCI layout, or a tar archive from `docker save` or `skopeo copy`");
        }
        count += 1;
        if count > MAX_ENTRIES {
            bail!("it has more than {MAX_ENTRIES} entries");
        }
        let kind = header.entry_type();
        let size = match kind {
            // For these types, the size field is not a number of bytes in the archive.
            EntryType::Link | EntryType::Symlink | EntryType::Directory => 0,
            _ if is_record(kind) => header.entry_size()?,
            _ => match extended.size {
                Some(size) => size,
                None => header.entry_size()?,
            },
        };
        let offset = position + BLOCK;
        let end = offset
            .checked_add(size)
            .and_then(|end| end.checked_next_multiple_of(BLOCK))
            .filter(|_| offset + size <= length);
        let Some(end) = end else {
            return cut_off(false);
        };
        let place = Location { offset, size };
        if is_record(kind) {
            read_record(file, kind, place, &mut extended)?;
        } else {
            add(&mut entries, header, std::mem::take(&mut extended), place)?;
        }
        position = end.min(length);
    }
}

fn cut_off<T>(at_once: bool) -> Result<T> {
    if at_once {
        bail!("it is not a tar archive");
    }
    Err(anyhow!("it is truncated")).hint("create the archive again: its end is missing")
}

/// Returns whether an entry only describes the next one.
fn is_record(kind: EntryType) -> bool {
    matches!(
        kind,
        EntryType::GNULongName
            | EntryType::GNULongLink
            | EntryType::XHeader
            | EntryType::XGlobalHeader
    )
}

/// Verifies the header's checksum (POSIX: the sum of the bytes, with its own field as spaces).
fn sums_up(header: &Header) -> bool {
    let bytes = header.as_bytes();
    let sum: u32 = bytes[..148]
        .iter()
        .chain(&bytes[156..])
        .map(|byte| u32::from(*byte))
        .sum();
    header.cksum().is_ok_and(|said| said == sum + 8 * 32)
}

fn read_record(
    file: &mut impl Read,
    kind: EntryType,
    place: Location,
    extended: &mut Extended,
) -> Result<()> {
    if place.size > MAX_RECORD {
        bail!(
            "the header of an entry has {} bytes; the limit is {MAX_RECORD}",
            place.size
        );
    }
    if kind == EntryType::XGlobalHeader {
        return Ok(());
    }
    let mut bytes = Vec::new();
    file.take(place.size).read_to_end(&mut bytes)?;
    let text = |bytes: &[u8]| {
        bytes
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default()
            .to_vec()
    };
    match kind {
        EntryType::GNULongName => extended.name = Some(text(&bytes)),
        EntryType::GNULongLink => extended.link = Some(text(&bytes)),
        _ => {
            for record in PaxExtensions::new(&bytes) {
                let record = record.context("cannot parse a pax header")?;
                let value = record.value_bytes();
                match record.key_bytes() {
                    b"path" => extended.name = Some(value.to_vec()),
                    b"linkpath" => extended.link = Some(value.to_vec()),
                    b"size" => {
                        let size = record.value().ok().and_then(|size| size.parse().ok());
                        extended.size = Some(size.context("a pax header has an invalid size")?);
                    }
                    key if key.starts_with(b"GNU.sparse.") => extended.sparse = true,
                    _ => {}
                }
            }
        }
    }
    Ok(())
}

fn add(
    entries: &mut HashMap<String, Entry>,
    header: &Header,
    extended: Extended,
    place: Location,
) -> Result<()> {
    let bytes = extended
        .name
        .unwrap_or_else(|| header.path_bytes().into_owned());
    if bytes.len() > MAX_NAME {
        bail!(
            "the name of an entry has {} bytes; the limit is {MAX_NAME}",
            bytes.len()
        );
    }
    let shown = String::from_utf8_lossy(&bytes).into_owned();
    let text = String::from_utf8(bytes).map_err(|_| anyhow!("the name {shown:?} is not UTF-8"))?;
    let name =
        inside("", &text).with_context(|| format!("an entry points outside of it: {shown:?}"))?;
    let link = |parent: &str| {
        let target = extended
            .link
            .clone()
            .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
            .unwrap_or_default();
        let target = String::from_utf8_lossy(&target).into_owned();
        inside(parent, &target)
            .with_context(|| format!("the link {shown:?} points outside of it, to {target:?}"))
            .map(Entry::Link)
    };
    let entry = match header.entry_type() {
        EntryType::Directory => return Ok(()),
        EntryType::Regular if text.ends_with('/') => return Ok(()),
        EntryType::GNUSparse => bail!("the file {shown:?} is sparse"),
        EntryType::Regular | EntryType::Continuous if extended.sparse => {
            bail!("the file {shown:?} is sparse")
        }
        EntryType::Regular | EntryType::Continuous => Entry::File(place),
        EntryType::Symlink => link(name.rsplit_once('/').map_or("", |(parent, _)| parent))?,
        EntryType::Link => link("")?,
        EntryType::Char | EntryType::Block => bail!("the entry {shown:?} is a device"),
        EntryType::Fifo => bail!("the entry {shown:?} is a FIFO"),
        other => bail!(
            "the entry {shown:?} has the unknown type {:?}",
            char::from(other.as_byte())
        ),
    };
    match entries.entry(name) {
        Slot::Occupied(mut slot) => *slot.get_mut() = Entry::Twice,
        Slot::Vacant(slot) => {
            slot.insert(entry);
        }
    }
    Ok(())
}

/// Normalizes a path that is relative to `parent`; `None` if it points outside of the archive.
fn inside(parent: &str, path: &str) -> Option<String> {
    if path.starts_with('/') || path.contains('\0') {
        return None;
    }
    let mut parts: Vec<&str> = parent.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Builder = tar::Builder<Vec<u8>>;

    fn entry(archive: &mut Builder, name: &str, kind: EntryType, size: u64, bytes: &[u8]) {
        let mut header = Header::new_gnu();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_cksum();
        archive.append(&header, bytes).unwrap();
    }

    fn file(archive: &mut Builder, name: &str, bytes: &[u8]) {
        entry(archive, name, EntryType::Regular, bytes.len() as u64, bytes);
    }

    fn link(archive: &mut Builder, kind: EntryType, name: &str, target: &str) {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        archive.append_link(&mut header, name, target).unwrap();
    }

    fn opened(write: impl FnOnce(&mut Builder)) -> (tempfile::NamedTempFile, Result<Archive>) {
        let mut archive = Builder::new(Vec::new());
        write(&mut archive);
        raw(&archive.into_inner().unwrap())
    }

    fn raw(bytes: &[u8]) -> (tempfile::NamedTempFile, Result<Archive>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, bytes).unwrap();
        let archive = Archive::open(file.path());
        (file, archive)
    }

    fn refused(write: impl FnOnce(&mut Builder)) -> String {
        format!("{:#}", opened(write).1.unwrap_err())
    }

    #[test]
    fn files_are_found_through_links() {
        let long = format!("{}/layer.tar", "a".repeat(200));
        let (_file, archive) = opened(|archive| {
            entry(archive, "b/", EntryType::Directory, 0, b"");
            file(archive, "./b/layer.tar", b"first");
            let mut header = Header::new_gnu();
            header.set_size(6);
            archive
                .append_data(&mut header, &long, &b"second"[..])
                .unwrap();
            let records = [("path", &b"pax"[..]), ("mtime", b"1.5")];
            archive.append_pax_extensions(records).unwrap();
            file(archive, "short", b"third");
            link(archive, EntryType::Symlink, "c/layer.tar", "../b/layer.tar");
            link(archive, EntryType::Link, "hard", "b/layer.tar");
        });
        let archive = archive.unwrap();
        assert_eq!(archive.read("b/layer.tar", 9).unwrap(), b"first");
        assert_eq!(archive.read("c/layer.tar", 9).unwrap(), b"first");
        assert_eq!(archive.read("./hard", 9).unwrap(), b"first");
        assert_eq!(archive.read(&long, 9).unwrap(), b"second");
        assert_eq!(archive.read("pax", 9).unwrap(), b"third");
        assert!(!archive.has("short"));
        for (name, message) in [
            ("b", "has no file"),
            ("../b/layer.tar", "outside of the archive"),
            ("/b/layer.tar", "outside of the archive"),
        ] {
            let error = archive.read(name, 9).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
        let error = archive.read("pax", 4).unwrap_err().to_string();
        assert!(error.contains("has 5 bytes; the limit is 4"), "{error}");
    }

    #[test]
    fn entries_that_point_outside_the_archive_are_rejected() {
        for name in ["../x", "a/../../x", "/etc/passwd"] {
            let error = refused(|archive| file(archive, name, b"x"));
            assert!(error.contains("outside of it"), "{error}");
        }
        for (kind, name, target) in [
            (EntryType::Symlink, "x", "/etc/passwd"),
            (EntryType::Symlink, "a/x", "../../y"),
            (EntryType::Link, "a/x", "../y"),
        ] {
            let error = refused(|archive| link(archive, kind, name, target));
            assert!(error.contains("points outside of it"), "{error}");
        }
    }

    #[test]
    fn entries_that_no_builder_writes_are_rejected() {
        for (kind, message) in [
            (EntryType::Char, "is a device"),
            (EntryType::Block, "is a device"),
            (EntryType::Fifo, "is a FIFO"),
            (EntryType::GNUSparse, "is sparse"),
            (EntryType::new(b'Q'), "unknown type"),
        ] {
            let error = refused(|archive| entry(archive, "x", kind, 0, b""));
            assert!(error.contains(message), "{error}");
        }
        let error = refused(|archive| {
            archive
                .append_pax_extensions([("GNU.sparse.major", &b"1"[..])])
                .unwrap();
            file(archive, "x", b"x");
        });
        assert!(error.contains("is sparse"), "{error}");
    }

    #[test]
    fn cyclic_links_and_duplicate_names_are_rejected_when_used() {
        let (_file, archive) = opened(|archive| {
            link(archive, EntryType::Symlink, "a", "b");
            link(archive, EntryType::Symlink, "b", "a");
            file(archive, "c", b"1");
            file(archive, "./c", b"2");
        });
        let archive = archive.unwrap();
        let error = archive.place("a").unwrap_err().to_string();
        assert!(error.contains("of a cycle"), "{error}");
        let error = archive.place("c").unwrap_err().to_string();
        assert!(error.contains("twice"), "{error}");
    }

    #[test]
    fn wrong_sizes_are_rejected() {
        for size in [4, 513, 1 << 33, u64::MAX, u64::MAX - 1023] {
            let mut archive = Builder::new(Vec::new());
            entry(&mut archive, "x", EntryType::Regular, size, b"abc");
            let mut bytes = archive.into_inner().unwrap();
            bytes.truncate(512 + 3);
            let error = format!("{:#}", raw(&bytes).1.unwrap_err());
            assert!(error.contains("truncated"), "{size}: {error}");
        }
        let error = refused(|archive| {
            let name = [b'a'; 5000];
            entry(archive, "x", EntryType::GNULongName, 5000, &name);
            file(archive, "x", b"");
        });
        assert!(error.contains("the limit is 4096"), "{error}");
        for kind in [EntryType::GNULongName, EntryType::XHeader] {
            let large = vec![b'a'; 2 << 20];
            let error = refused(|archive| entry(archive, "x", kind, 2 << 20, &large));
            assert!(error.contains("the limit is"), "{error}");
        }
    }

    #[test]
    fn truncated_and_invalid_archives_are_rejected() {
        let mut archive = Builder::new(Vec::new());
        file(&mut archive, "a", &[1; 700]);
        file(&mut archive, "b", &[2; 100]);
        let whole = archive.into_inner().unwrap();
        for length in [1, 512, 600, 1024 + 512, 2048, 2100, 2048 + 512] {
            let error = format!("{:#}", raw(&whole[..length]).1.unwrap_err());
            let message = if length == 1 {
                "not a tar"
            } else {
                "truncated"
            };
            assert!(error.contains(message), "{length}: {error}");
        }
        for bytes in [&[][..], b"hello", &[b'x'; 4096]] {
            let error = format!("{:#}", raw(bytes).1.unwrap_err());
            assert!(
                error.contains("empty") || error.contains("not a tar"),
                "{error}"
            );
        }
        let mut changed = whole;
        changed[1536] ^= 1;
        let error = format!("{:#}", raw(&changed).1.unwrap_err());
        assert!(
            error.contains("not a tar archive (at byte 1536)"),
            "{error}"
        );
    }

    #[test]
    fn no_byte_of_a_header_makes_it_panic_or_read_outside() {
        let mut archive = Builder::new(Vec::new());
        file(&mut archive, "a", b"first");
        let records = [("path", &b"pax"[..]), ("size", b"5")];
        archive.append_pax_extensions(records).unwrap();
        file(&mut archive, "b", b"third");
        link(&mut archive, EntryType::Symlink, "c", "a");
        let whole = archive.into_inner().unwrap();
        let mut read = 0;
        for position in 0..whole.len() - 1024 {
            for value in [0, b'/', b'7', b'x', 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[position] = value;
                let block = position / 512 * 512;
                let mut header = Header::from_byte_slice(&bytes[block..block + 512]).clone();
                header.set_cksum();
                bytes[block..block + 512].copy_from_slice(header.as_bytes());
                let length = bytes.len() as u64;
                let Ok(entries) = index(&mut std::io::Cursor::new(bytes), length) else {
                    continue;
                };
                read += 1;
                for (name, entry) in entries {
                    assert!(!name.starts_with('/') && !name.split('/').any(|part| part == ".."));
                    if let Entry::File(place) = entry {
                        assert!(place.offset + place.size <= length);
                    }
                }
            }
        }
        assert!(read > 1000, "{read}");
    }
}
