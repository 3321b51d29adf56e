//! Unpacks untrusted archives: image layers, models, code of functions.
//!
//! Each entry is written beneath an open directory: no name and no link leads out of it. The last
//! used directory stays open, so that the cost of an entry does not depend on its depth. The number
//! of entries, the length of a path (and so the depth), the number of bytes written, and the size
//! of a header are limited.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::Permissions;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;
use tar::{Archive, Entry, EntryType};

use super::api::{ApiError, ApiResult};
use super::beneath::{self, Directory, Links, MAX_ENTRIES, Parents};

pub(super) mod zip_index;

/// Maximum size of an entry's long name, link target and pax records, in bytes; protects memory.
const MAX_HEADER: u64 = 1 << 20;

/// Size of the blocks that are copied, in bytes. A block of zeros in a sparse file becomes a hole.
const BLOCK: usize = 64 << 10;

static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// Unpacks entries beneath a directory.
pub(super) struct Unpacker<'a> {
    root: &'a Directory,
    /// What is being unpacked, for errors: `image`, `archive`.
    what: &'static str,
    parents: Parents,
    /// Number of bytes that may still be written.
    budget: u64,
    limit: u64,
    /// Which links of the archive, or of what was there before, paths of entries may lead through.
    links: Links,
}

impl<'a> Unpacker<'a> {
    /// Creates an unpacker. `limit` is the maximum total size of all files, in bytes.
    pub(super) fn new(root: &'a Directory, what: &'static str, limit: u64) -> Self {
        Self {
            root,
            what,
            parents: Parents::default(),
            budget: limit,
            limit,
            links: Links::Inside,
        }
    }

    /// Refuses entries whose path leads through a link, also through one that stays inside.
    pub(super) fn through_no_link(mut self) -> Self {
        self.links = Links::Refused;
        self
    }

    /// The error for an entry.
    pub(super) fn refuse(&self, path: &Path, why: impl std::fmt::Display) -> ApiError {
        let shown = path.display().to_string();
        let mut start: String = shown.chars().take(200).collect();
        if start.len() < shown.len() {
            start.push('…');
        }
        ApiError::validation(format!(
            "the {}'s entry `{start}` cannot be unpacked: {why}",
            self.what
        ))
    }

    /// The error for a path, which names the first offending component.
    fn explain(&self, path: &Path, error: Errno) -> ApiError {
        match error {
            Errno::XDEV | Errno::LOOP => {
                self.refuse(path, format_args!("a link leads out of the {}", self.what))
            }
            error => self.refuse(path, self.root.explain(path, error)),
        }
    }

    /// Converts the path of an entry to a path below the root, of plain names.
    pub(super) fn place(&self, path: &Path) -> ApiResult<PathBuf> {
        let mut relative = PathBuf::new();
        for component in path.components() {
            match component {
                Component::Normal(part) => relative.push(part),
                Component::CurDir | Component::RootDir => {}
                Component::ParentDir | Component::Prefix(_) => {
                    return Err(self.refuse(path, format_args!("it leaves the {}", self.what)));
                }
            }
        }
        self.root
            .check_plain(&relative)
            .map_err(|error| self.refuse(path, error))?;
        Ok(relative)
    }

    /// Creates a directory. The user of the server keeps all permissions, so that it can be removed
    /// later.
    pub(super) fn directory(&mut self, path: &Path, mode: u32) -> ApiResult<()> {
        let Some((above, name)) = split(path) else {
            return Ok(());
        };
        let handle = self.parent(above, path)?;
        let mode = Mode::from_raw_mode(mode & 0o777) | Mode::RWXU;
        let result = match rustix::fs::mkdirat(handle, name, mode) {
            Err(Errno::EXIST) if !is_directory(handle, name) => {
                let again = rustix::fs::unlinkat(handle, name, AtFlags::empty())
                    .and_then(|()| rustix::fs::mkdirat(handle, name, mode));
                // The path through a link with that name led elsewhere.
                self.parents.forget();
                again
            }
            Err(Errno::EXIST) => Ok(()),
            other => other,
        };
        result.map_err(|error| self.explain(path, error))
    }

    /// Writes a file; all files of the archive share the size limit. A file that is `sparse` gets
    /// holes where its contents are zeros.
    pub(super) fn file(
        &mut self,
        path: &Path,
        mode: u32,
        changed: Option<SystemTime>,
        sparse: bool,
        contents: &mut impl Read,
    ) -> ApiResult<()> {
        let (parent, name) = split(path).ok_or_else(|| self.refuse(path, "it has no name"))?;
        self.clear(parent, name, path)?;
        let handle = self.parent(parent, path)?;
        let created = beneath::create_file(handle, name);
        let mut file = created.map_err(|error| self.explain(path, error))?;
        let mut buffer = vec![0; BLOCK];
        let mut size = 0;
        loop {
            let read = match contents.read(&mut buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                read => read.map_err(|error| self.refuse(path, error))?,
            };
            if read == 0 {
                break;
            }
            size += read as u64;
            if sparse {
                // Holes take no space, but processing them takes time.
                if size > self.limit {
                    return Err(self.too_large(path));
                }
                if buffer[..read] == ZEROS[..read] {
                    let hole = i64::try_from(read).map_err(ApiError::internal)?;
                    file.seek(std::io::SeekFrom::Current(hole))?;
                    continue;
                }
            }
            let left = self.budget.checked_sub(read as u64);
            self.budget = left.ok_or_else(|| self.too_large(path))?;
            file.write_all(&buffer[..read])?;
        }
        if sparse {
            file.set_len(size)?;
        }
        if let Some(changed) = changed {
            // If the file system does not support the time, nothing that is read changes.
            let _ = file.set_modified(changed);
        }
        // The user of the server must be able to read the file again.
        file.set_permissions(Permissions::from_mode(mode & 0o777 | 0o400))?;
        Ok(())
    }

    fn too_large(&self, path: &Path) -> ApiError {
        let why = format!("the {} has more than {} bytes", self.what, self.limit);
        self.refuse(path, why)
    }

    /// Creates a symbolic link. Wherever it points, the server does not follow it out of the root.
    pub(super) fn symbolic_link(&mut self, path: &Path, target: &Path) -> ApiResult<()> {
        let (parent, name) = split(path).ok_or_else(|| self.refuse(path, "it has no name"))?;
        self.clear(parent, name, path)?;
        let handle = self.parent(parent, path)?;
        let made = rustix::fs::symlinkat(target, handle, name);
        // The path through a name that was a directory leads elsewhere now.
        self.parents.forget();
        made.map_err(|error| self.explain(path, error))
    }

    /// Creates a hard link to a file that was unpacked before.
    pub(super) fn hard_link(&mut self, path: &Path, target: &Path) -> ApiResult<()> {
        let source = self
            .place(target)
            .map_err(|error| self.refuse(path, error.message))?;
        let (Some((from, file)), Some((parent, name))) = (split(&source), split(path)) else {
            return Err(self.refuse(path, "it is a link to a directory"));
        };
        if source == path {
            return Ok(());
        }
        self.clear(parent, name, path)?;
        let from = self
            .root
            .open_directory(from, self.links)
            .map_err(|error| self.explain(path, error))?;
        let handle = self.parent(parent, path)?;
        // Without AT_SYMLINK_FOLLOW, a hard link to a symbolic link refers to the link itself.
        rustix::fs::linkat(&from, file, handle, name, AtFlags::empty())
            .map_err(|error| self.refuse(path, format_args!("cannot link to it: {error}")))
    }

    /// Removes whatever has this path; succeeds if there is nothing.
    pub(super) fn remove(&mut self, path: &Path) -> ApiResult<()> {
        let Some((parent, name)) = split(path) else {
            return self.empty(path);
        };
        self.parents.forget();
        match self.root.open_directory(parent, self.links) {
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(error) => Err(self.explain(path, error)),
            Ok(handle) => beneath::remove_at(handle.as_fd(), name, path)
                .map_err(|remains| self.refuse(&remains.path, remains.error)),
        }
    }

    /// Removes everything in this directory; succeeds if there is nothing.
    pub(super) fn empty(&mut self, path: &Path) -> ApiResult<()> {
        self.parents.forget();
        match self.root.open_directory(path, self.links) {
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(error) => Err(self.explain(path, error)),
            Ok(handle) => beneath::clear_at(&handle, path)
                .map_err(|remains| self.refuse(&remains.path, remains.error)),
        }
    }

    /// Removes what is in the place of an entry that is not a directory.
    fn clear(&mut self, parent: &Path, name: &OsStr, path: &Path) -> ApiResult<()> {
        let handle = self.parent(parent, path)?;
        match beneath::kind_of(handle, name) {
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(self.explain(path, error)),
            Ok(_) => self.remove(path),
        }
    }

    /// The directory of an entry, which is created if the archive has no entry for it.
    fn parent(&mut self, parent: &Path, path: &Path) -> ApiResult<BorrowedFd<'_>> {
        let (root, what, links) = (self.root, self.what, self.links);
        let found = self.parents.open(root, parent, links).map(|_| ());
        match found {
            Ok(()) => {}
            Err(Errno::NOENT) => match root.make(parent, links) {
                Ok(handle) => self.parents.keep(parent, handle),
                Err(error) => return Err(self.refuse(path, error)),
            },
            Err(error) => return Err(self.explain(path, error)),
        }
        self.parents
            .open(root, parent, links)
            .map_err(|error| ApiError::internal(format_args!("the {what}: {error}")))
    }

    /// Unpacks an entry of a tar archive at a path that `place` has checked.
    pub(super) fn entry<R: Read>(
        &mut self,
        path: &Path,
        entry: &mut Entry<'_, R>,
    ) -> ApiResult<()> {
        let header = entry.header();
        let mode = header.mode().unwrap_or(0o644);
        let changed = header.mtime().ok();
        let changed =
            changed.and_then(|at| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(at)));
        let kind = header.entry_type();
        match kind {
            EntryType::Directory => self.directory(path, mode),
            EntryType::Symlink | EntryType::Link => {
                let target = entry
                    .link_name()?
                    .ok_or_else(|| self.refuse(path, "it is a link without a target"))?;
                if kind == EntryType::Symlink {
                    self.symbolic_link(path, &target)
                } else {
                    self.hard_link(path, &target)
                }
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                if let Some(records) = entry.pax_extensions()? {
                    for record in records {
                        if record?.key_bytes().starts_with(b"GNU.sparse.") {
                            return Err(ApiError::not_implemented(format_args!(
                                "sparse files in pax format, such as `{}`",
                                path.display()
                            )));
                        }
                    }
                }
                let sparse = kind == EntryType::GNUSparse;
                self.file(path, mode, changed, sparse, entry)
            }
            _ => Err(self.refuse(path, "it is neither a file, a directory nor a link")),
        }
    }
}

/// Opens a zip whose directory has been checked against limits, because `ZipArchive` reads it into memory.
pub(super) fn open_zip<R: Read + Seek>(
    mut reader: R,
    limits: &zip_index::Limits,
) -> Result<zip::ZipArchive<R>, String> {
    zip_index::check(&mut reader, limits)?;
    reader.rewind().map_err(|error| error.to_string())?;
    zip::ZipArchive::new(reader).map_err(|error| error.to_string())
}

/// Splits a path into directory and name; `None` for the root.
fn split(path: &Path) -> Option<(&Path, &OsStr)> {
    Some((path.parent()?, path.file_name()?))
}

fn is_directory(parent: BorrowedFd<'_>, name: &OsStr) -> bool {
    matches!(beneath::kind_of(parent, name), Ok(FileType::Directory))
}

/// Visits the entries of a tar archive. A long name or pax record that would fill the memory is an
/// error, because the `tar` crate reads any size.
pub(super) fn entries<R: Read>(
    reader: R,
    mut visit: impl FnMut(&mut Entry<'_, Metered<R>>) -> ApiResult<()>,
) -> ApiResult<()> {
    let left = Rc::new(Cell::new(0));
    let mut archive = Archive::new(Metered {
        inner: reader,
        left: left.clone(),
    });
    let mut entries = archive.entries()?;
    // Bytes of the previous entry that remain to be skipped.
    let mut unread: u64 = 0;
    for _ in 0..=MAX_ENTRIES {
        left.set(MAX_HEADER.saturating_add(unread));
        let Some(entry) = entries.next() else {
            return Ok(());
        };
        let mut entry = entry.map_err(|error| ApiError::validation(error.to_string()))?;
        left.set(u64::MAX);
        unread = match entry.header().entry_type() {
            // Its size includes the holes, which the archive does not contain.
            EntryType::GNUSparse => entry.header().entry_size()?,
            _ => entry.size(),
        };
        if entry.header().entry_type() != EntryType::XGlobalHeader {
            visit(&mut entry)?;
        }
        unread = unread.saturating_sub(u64::MAX - left.get());
    }
    Err(ApiError::validation(format!(
        "the archive has more than {MAX_ENTRIES} entries"
    )))
}

/// A reader that fails once it has read a number of bytes.
pub(super) struct Metered<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        match self.left.get().checked_sub(read as u64) {
            Some(left) => {
                self.left.set(left);
                Ok(read)
            }
            None => Err(std::io::Error::other(format!(
                "the name or the records of an entry have more than {MAX_HEADER} bytes"
            ))),
        }
    }
}

/// A directory that is filled under a temporary name and then renamed; removed if it was not.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Creates a directory next to its final place.
    pub(super) fn beside(target: &Path) -> ApiResult<Self> {
        let parent = target
            .parent()
            .ok_or_else(|| ApiError::internal("a directory to unpack has no parent"))?;
        std::fs::create_dir_all(parent)?;
        let scratch = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempdir_in(parent)?;
        Ok(Self(scratch.keep()))
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Renames the directory to its final name. If another one was faster, that one stays: the
    /// contents are the same.
    pub(super) fn publish(self, target: &Path) -> ApiResult<()> {
        match std::fs::rename(&self.0, target) {
            Err(error) if !target.is_dir() => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Leftovers with this prefix are removed when the server starts.
        let _ = beneath::remove(&self.0);
    }
}

/// Prefix of the names of unfinished directories.
pub(super) const UNFINISHED: &str = ".unpack-";

#[cfg(test)]
mod tests;
