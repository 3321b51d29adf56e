//! Unpacking archives that others made: image layers, models, functions' code.
//!
//! Each entry is written beneath an open directory: no name and no link leads out of it. The
//! directory that was used last stays open, so that an entry costs the same at any depth. What an
//! archive may make the server do is limited: the number of entries, the length of a path (and by
//! that the depth), the bytes that are written, and the bytes of a header.

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
use super::beneath::{self, Directory, Links, MOST_ENTRIES, Parents};

/// Most bytes of one entry's long name, link target and pax records; protects memory.
const LONGEST_HEADER: u64 = 1 << 20;

/// How much is copied at once. What is all zeros in a sparse file becomes a hole.
const BLOCK: usize = 64 << 10;

static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// Unpacks entries beneath a directory.
pub(super) struct Unpacker<'a> {
    root: &'a Directory,
    /// What is unpacked, for errors: `image`, `archive`.
    what: &'static str,
    parents: Parents,
    /// Bytes that may still be written.
    budget: u64,
    limit: u64,
}

impl<'a> Unpacker<'a> {
    /// `limit` is the most bytes that all files together may have.
    pub(super) fn new(root: &'a Directory, what: &'static str, limit: u64) -> Self {
        Self {
            root,
            what,
            parents: Parents::default(),
            budget: limit,
            limit,
        }
    }

    /// The error of an entry.
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

    /// The error of a path, with the first component that is to blame.
    fn explain(&self, path: &Path, error: Errno) -> ApiError {
        match error {
            Errno::XDEV | Errno::LOOP => {
                self.refuse(path, format_args!("a link leads out of the {}", self.what))
            }
            error => self.refuse(path, self.root.explain(path, error)),
        }
    }

    /// An entry's path below the root, in plain names.
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
            .plain(&relative)
            .map_err(|error| self.refuse(path, error))?;
        Ok(relative)
    }

    /// Makes a directory. The server's user can always change it, or it could not be removed.
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
                // The way through a link of that name led elsewhere.
                self.parents.forget();
                again
            }
            Err(Errno::EXIST) => Ok(()),
            other => other,
        };
        result.map_err(|error| self.explain(path, error))
    }

    /// Writes a file of at most `limit` bytes more than this archive wrote before. A file that is
    /// `sparse` has holes where its contents are zeros.
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
                // Holes take no space, but what makes them takes time.
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
            // A time that the file system does not have changes nothing that is read.
            let _ = file.set_modified(changed);
        }
        // The server's user must be able to read what it may have to read again.
        file.set_permissions(Permissions::from_mode(mode & 0o777 | 0o400))?;
        Ok(())
    }

    fn too_large(&self, path: &Path) -> ApiError {
        let why = format!("the {} has more than {} bytes", self.what, self.limit);
        self.refuse(path, why)
    }

    /// Makes a symbolic link. Wherever it points, the server does not follow it out of the root.
    pub(super) fn symbolic_link(&mut self, path: &Path, target: &Path) -> ApiResult<()> {
        let (parent, name) = split(path).ok_or_else(|| self.refuse(path, "it has no name"))?;
        self.clear(parent, name, path)?;
        let handle = self.parent(parent, path)?;
        let made = rustix::fs::symlinkat(target, handle, name);
        // The way through a name that was a directory before leads elsewhere now.
        self.parents.forget();
        made.map_err(|error| self.explain(path, error))
    }

    /// Makes another name for a file that was unpacked before.
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
            .open_directory(from, Links::Inside)
            .map_err(|error| self.explain(path, error))?;
        let handle = self.parent(parent, path)?;
        // Without AT_SYMLINK_FOLLOW: a link to a symbolic link is that link once more.
        rustix::fs::linkat(&from, file, handle, name, AtFlags::empty())
            .map_err(|error| self.refuse(path, format_args!("no link to it: {error}")))
    }

    /// Removes what has this path. Nothing there is fine.
    pub(super) fn remove(&mut self, path: &Path) -> ApiResult<()> {
        let Some((parent, name)) = split(path) else {
            return self.empty(path);
        };
        self.parents.forget();
        match self.root.open_directory(parent, Links::Inside) {
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(error) => Err(self.explain(path, error)),
            Ok(handle) => beneath::remove_at(handle.as_fd(), name, path)
                .map_err(|remains| self.refuse(&remains.path, remains.error)),
        }
    }

    /// Removes what is in this directory. Nothing there is fine.
    pub(super) fn empty(&mut self, path: &Path) -> ApiResult<()> {
        self.parents.forget();
        match self.root.open_directory(path, Links::Inside) {
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(error) => Err(self.explain(path, error)),
            Ok(handle) => beneath::clear_at(&handle, path)
                .map_err(|remains| self.refuse(&remains.path, remains.error)),
        }
    }

    /// Makes way for an entry that is no directory.
    fn clear(&mut self, parent: &Path, name: &OsStr, path: &Path) -> ApiResult<()> {
        let handle = self.parent(parent, path)?;
        match beneath::kind_of(handle, name) {
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(self.explain(path, error)),
            Ok(_) => self.remove(path),
        }
    }

    /// The directory of an entry, made if the archive has no entry for it.
    fn parent(&mut self, parent: &Path, path: &Path) -> ApiResult<BorrowedFd<'_>> {
        let (root, what) = (self.root, self.what);
        let found = self.parents.open(root, parent, Links::Inside).map(|_| ());
        match found {
            Ok(()) => {}
            Err(Errno::NOENT) => match root.make(parent, Links::Inside) {
                Ok(handle) => self.parents.keep(parent, handle),
                Err(error) => return Err(self.refuse(path, error)),
            },
            Err(error) => return Err(self.explain(path, error)),
        }
        self.parents
            .open(root, parent, Links::Inside)
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

/// A path's directory and name; none for the root.
fn split(path: &Path) -> Option<(&Path, &OsStr)> {
    Some((path.parent()?, path.file_name()?))
}

fn is_directory(parent: BorrowedFd<'_>, name: &OsStr) -> bool {
    matches!(beneath::kind_of(parent, name), Ok(FileType::Directory))
}

/// Visits the entries of a tar archive. A long name or pax record that would fill the memory is an
/// error: the `tar` crate reads any size of them.
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
    for _ in 0..=MOST_ENTRIES {
        left.set(LONGEST_HEADER.saturating_add(unread));
        let Some(entry) = entries.next() else {
            return Ok(());
        };
        let mut entry = entry.map_err(|error| ApiError::validation(error.to_string()))?;
        left.set(u64::MAX);
        unread = match entry.header().entry_type() {
            // Its size counts the holes, which the archive does not have.
            EntryType::GNUSparse => entry.header().entry_size()?,
            _ => entry.size(),
        };
        if entry.header().entry_type() != EntryType::XGlobalHeader {
            visit(&mut entry)?;
        }
        unread = unread.saturating_sub(u64::MAX - left.get());
    }
    Err(ApiError::validation(format!(
        "the archive has more than {MOST_ENTRIES} entries"
    )))
}

/// A reader that may read only so far.
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
                "the name or the records of an entry have more than {LONGEST_HEADER} bytes"
            ))),
        }
    }
}

/// A directory that is filled under a name of its own and then renamed; removed if it was not.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Makes one next to what it becomes.
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

    /// Gives it its name. Where another was faster, that one stays: the contents are the same.
    pub(super) fn publish(self, target: &Path) -> ApiResult<()> {
        match std::fs::rename(&self.0, target) {
            Err(error) if !target.is_dir() => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left under this name is removed when the server starts.
        let _ = beneath::remove(&self.0);
    }
}

/// How the names of unfinished directories start.
pub(super) const UNFINISHED: &str = ".unpack-";

#[cfg(test)]
mod tests;
