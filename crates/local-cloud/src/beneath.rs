//! Access to directories that programs can write to: those of jobs, model servers, functions and
//! images.
//!
//! A program can leave anything there: links to files of the user, FIFOs, directories without
//! permissions, trees that are thousands of levels deep, and processes that replace one for another
//! while the server reads. A [`Directory`] is therefore an open handle that is created before the
//! program starts. Every path is resolved beneath it without following a symbolic link in any
//! component (`openat2` with `RESOLVE_BENEATH` and `RESOLVE_NO_SYMLINKS`; if the kernel or a
//! sandbox refuses that call, component by component with `O_NOFOLLOW`). A file that cannot be read
//! is an error that names its path.
//!
//! A file with several hard links is read like any other: a program can only link files that it can
//! already read or owns.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::api::ApiError;

mod remove;
mod resolve;

pub(crate) use remove::{UNREMOVED, discard, discard_all, remove};
pub(super) use remove::{clear_at, remove_at};
pub(super) use resolve::Links;

/// Maximum length of a path below a directory, in bytes: Linux's `PATH_MAX`. It also limits the
/// depth of a tree to half as many levels.
pub(crate) const MAX_PATH: usize = 4096;

/// Maximum number of entries in a tree; protects memory against trees of empty files.
pub(crate) const MAX_ENTRIES: usize = 1 << 20;

/// Mode of directories that the server creates.
const OWN: Mode = Mode::from_raw_mode(0o755);

/// Permissions that reading a directory requires.
const READ: Mode = Mode::RUSR.union(Mode::XUSR);

/// Flags for opening directories.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

/// An open directory whose contents are not trusted.
#[derive(Debug)]
pub(crate) struct Directory {
    handle: OwnedFd,
    /// Its path in error messages, such as `/opt/ml` for a job.
    shown: PathBuf,
}

/// The reason why something beneath a directory cannot be used.
#[derive(Debug)]
pub(crate) enum Error {
    /// It is not allowed there: a link, a FIFO, a name that is too long.
    Refused(String),
    /// The system failed to read or write it.
    Failed(PathBuf, std::io::Error),
}

/// An entry that a walk visits.
#[derive(Debug)]
pub(crate) enum WalkEntry {
    /// A directory; its contents follow.
    Directory(Metadata),
    /// An open file.
    File(File, Metadata),
    /// A symbolic link, which was not followed, and its target.
    Link(PathBuf),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(message) => f.write_str(message),
            Self::Failed(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Refused(_) => ApiError::validation(message),
            Error::Failed(_, cause) => ApiError {
                message,
                ..ApiError::from(cause)
            },
        }
    }
}

impl Directory {
    /// Opens a directory that the server itself created. Error messages call it `shown`.
    pub(crate) fn open(path: &Path, shown: impl Into<PathBuf>) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|error| Error::Failed(path.to_owned(), error.into()))?;
        Ok(Self {
            handle,
            shown: shown.into(),
        })
    }

    /// The path of an entry in error messages.
    pub(crate) fn shown(&self, relative: &Path) -> PathBuf {
        if relative.as_os_str().is_empty() {
            self.shown.clone()
        } else {
            self.shown.join(relative)
        }
    }

    /// The directory at `relative`; `None` if there is nothing.
    pub(crate) fn subdirectory(&self, relative: &Path) -> Result<Option<Self>, Error> {
        self.check_plain(relative)?;
        match self.open_readable(relative) {
            Ok(handle) => Ok(Some(Self {
                handle,
                shown: self.shown(relative),
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.explain(relative, error)),
        }
    }

    /// The directory at `relative`; missing directories are created.
    pub(crate) fn make_directory(&self, relative: &Path) -> Result<Self, Error> {
        Ok(Self {
            handle: self.make(relative, Links::Refused)?,
            shown: self.shown(relative),
        })
    }

    /// The regular file at `relative`; `None` if there is nothing.
    pub(crate) fn file(&self, relative: &Path) -> Result<Option<File>, Error> {
        let (parent, name) = self.split(relative)?;
        let explain = |error| self.explain(relative, error);
        let parent = match self.open_readable(parent) {
            Err(Errno::NOENT) => return Ok(None),
            parent => parent.map_err(explain)?,
        };
        match open_file(parent.as_fd(), name) {
            Ok(Some((file, _))) => Ok(Some(file)),
            Err(Errno::NOENT) => Ok(None),
            Ok(None) => Err(explain(Errno::INVAL)),
            Err(error) => Err(explain(error)),
        }
    }

    /// The entry at `relative`, which can itself be a link; `None` if there is nothing.
    pub(crate) fn entry(&self, relative: &Path) -> Result<Option<WalkEntry>, Error> {
        let (parent, name) = self.split(relative)?;
        let explain = |error| self.explain(relative, error);
        let parent = match self.open_readable(parent) {
            Err(Errno::NOENT) => return Ok(None),
            parent => parent.map_err(explain)?,
        };
        let parent = parent.as_fd();
        let entry = match kind_of(parent, name) {
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(explain(error)),
            Ok(FileType::Directory) => {
                let handle = open_with_mode(parent, name, READ).map_err(explain)?;
                WalkEntry::Directory(metadata(&handle).map_err(explain)?)
            }
            Ok(FileType::Symlink) => WalkEntry::Link(read_link(parent, name).map_err(explain)?),
            Ok(_) => match open_file(parent, name).map_err(explain)? {
                Some((file, metadata)) => WalkEntry::File(file, metadata),
                None => return Err(explain(Errno::INVAL)),
            },
        };
        Ok(Some(entry))
    }

    /// Creates an empty file at `relative`, with missing directories. It replaces a file or link
    /// with that name: nothing is ever written through a link.
    pub(crate) fn create_file(&self, relative: &Path) -> Result<File, Error> {
        let (parent, name) = self.split(relative)?;
        let parent = self.make(parent, Links::Refused)?;
        create_file(parent.as_fd(), name).map_err(|error| self.explain(relative, error))
    }

    /// Writes a file that [`Directory::create_file`] creates.
    pub(crate) fn write(&self, relative: &Path, bytes: &[u8]) -> Result<(), Error> {
        std::io::Write::write_all(&mut self.create_file(relative)?, bytes)
            .map_err(|error| Error::Failed(self.shown(relative), error))
    }

    /// Visits everything beneath, each directory before its contents, sorted by name. Links are
    /// reported and not followed; a FIFO, socket or device is an error.
    pub(crate) fn walk<E: From<Error>>(
        &self,
        visit: impl FnMut(&Path, WalkEntry) -> Result<(), E>,
    ) -> Result<(), E> {
        self.walk_where(|_, _| Ok(true), visit)
    }

    /// [`Directory::walk`] over a part of the tree. `wanted` tells, by the path of an entry and whether it is a
    /// directory, whether it is visited: a directory that is not wanted is not entered, and anything else that is
    /// not wanted is not opened, whatever it is.
    pub(crate) fn walk_where<E: From<Error>>(
        &self,
        mut wanted: impl FnMut(&Path, bool) -> Result<bool, E>,
        mut visit: impl FnMut(&Path, WalkEntry) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut parents = Parents::default();
        let root = self.open_readable(Path::new(""));
        let root = root.map_err(|error| self.explain(Path::new(""), error))?;
        let mut pending = self.names(&root, Path::new(""))?;
        let mut count = 0;
        while let Some(path) = pending.pop() {
            count += 1;
            if count > MAX_ENTRIES {
                return Err(Error::Refused(format!(
                    "{} has more than {MAX_ENTRIES} entries",
                    self.shown.display()
                ))
                .into());
            }
            let (parent, name) = self.split(&path)?;
            let explain = |error| self.explain(&path, error);
            let parent = parents
                .open(self, parent, Links::Refused)
                .map_err(explain)?;
            let kind = kind_of(parent, name).map_err(explain)?;
            if !wanted(&path, kind == FileType::Directory)? {
                continue;
            }
            match kind {
                FileType::Directory => {
                    let handle = open_with_mode(parent, name, READ).map_err(explain)?;
                    pending.extend(self.names(&handle, &path)?);
                    let metadata = metadata(&handle).map_err(explain)?;
                    parents.keep(&path, handle);
                    visit(&path, WalkEntry::Directory(metadata))?;
                }
                FileType::Symlink => {
                    let target = read_link(parent, name).map_err(explain)?;
                    visit(&path, WalkEntry::Link(target))?;
                }
                _ => match open_file(parent, name).map_err(explain)? {
                    Some((file, metadata)) => visit(&path, WalkEntry::File(file, metadata))?,
                    None => return Err(self.explain(&path, Errno::INVAL).into()),
                },
            }
        }
        Ok(())
    }

    /// The entries of an open directory as paths, in reverse order.
    fn names(&self, handle: &OwnedFd, relative: &Path) -> Result<Vec<PathBuf>, Error> {
        let mut names = list(handle).map_err(|error| self.explain(relative, error))?;
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(names.into_iter().map(|name| relative.join(name)).collect())
    }

    pub(super) fn open_directory(&self, relative: &Path, links: Links) -> Result<OwnedFd, Errno> {
        resolve::open(self.handle.as_fd(), relative, DIRECTORY, links)
    }

    /// Opens a directory even if a program has removed the permissions of its own user, as
    /// SageMaker, which reads it as the superuser.
    fn open_readable(&self, relative: &Path) -> Result<OwnedFd, Errno> {
        match self.open_directory(relative, Links::Refused) {
            Err(Errno::ACCESS) => {}
            opened => return opened,
        }
        add_mode(&self.handle, READ)?;
        let mut at = self.open_directory(Path::new(""), Links::Refused)?;
        for name in relative {
            at = open_with_mode(at.as_fd(), name, READ)?;
        }
        Ok(at)
    }

    /// Opens a directory and creates missing components.
    pub(super) fn make(&self, relative: &Path, links: Links) -> Result<OwnedFd, Error> {
        self.check_plain(relative)?;
        match self.open_directory(relative, links) {
            Err(Errno::NOENT) => {}
            found => return found.map_err(|error| self.explain(relative, error)),
        }
        let mut path = PathBuf::new();
        let mut parents = Parents::default();
        for name in relative {
            let parent = parents
                .open(self, &path, links)
                .map_err(|error| self.explain(&path, error))?;
            match rustix::fs::mkdirat(parent, name, OWN) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(self.explain(&path.join(name), error)),
            }
            path.push(name);
        }
        self.open_directory(relative, links)
            .map_err(|error| self.explain(relative, error))
    }

    /// Checks that a path consists of plain names and is not too long.
    pub(super) fn check_plain(&self, relative: &Path) -> Result<(), Error> {
        let bytes = relative.as_os_str().as_bytes();
        if bytes.len() > MAX_PATH {
            let start = String::from_utf8_lossy(&bytes[..64]).into_owned();
            return Err(Error::Refused(format!(
                "{}/{start}… has a path of {} bytes; the longest is {MAX_PATH} bytes",
                self.shown.display(),
                bytes.len()
            )));
        }
        let check_plain = |part| matches!(part, Component::Normal(_));
        if relative.components().all(check_plain) {
            Ok(())
        } else {
            Err(Error::Refused(format!(
                "`{}` leaves {}",
                relative.display(),
                self.shown.display()
            )))
        }
    }

    /// Splits a path into directory and name.
    fn split<'a>(&self, relative: &'a Path) -> Result<(&'a Path, &'a OsStr), Error> {
        self.check_plain(relative)?;
        match (relative.parent(), relative.file_name()) {
            (Some(parent), Some(name)) => Ok((parent, name)),
            _ => Err(Error::Refused(format!(
                "{} is a directory",
                self.shown.display()
            ))),
        }
    }

    /// The error for a path: names the first component that is not as required.
    pub(super) fn explain(&self, relative: &Path, error: Errno) -> Error {
        let mut path = PathBuf::new();
        for name in relative {
            let Ok(parent) = self.open_directory(&path, Links::Refused) else {
                break;
            };
            path.push(name);
            let shown = self.shown(&path);
            let refused = |what: String| Error::Refused(format!("{} is {what}", shown.display()));
            match kind_of(parent.as_fd(), name) {
                Ok(FileType::Directory)
                    if path == relative && matches!(error, Errno::INVAL | Errno::ISDIR) =>
                {
                    return refused("a directory".to_owned());
                }
                Ok(FileType::Directory) => {}
                Ok(FileType::RegularFile) if path == relative && error != Errno::NOTDIR => {}
                Ok(FileType::RegularFile) => return refused("not a directory".to_owned()),
                Ok(FileType::Symlink) => {
                    let target = read_link(parent.as_fd(), name).unwrap_or_default();
                    return refused(format!(
                        "a symbolic link to {}: links are not followed here",
                        target.display()
                    ));
                }
                Ok(FileType::Fifo) => return refused("a FIFO".to_owned()),
                Ok(FileType::Socket) => return refused("a socket".to_owned()),
                Ok(_) => return refused("a device".to_owned()),
                Err(_) => break,
            }
        }
        Error::Failed(self.shown(relative), error.into())
    }
}

/// Caches the last opened directory: most paths of a tree share it or are right below it.
#[derive(Debug, Default)]
pub(super) struct Parents(Option<(PathBuf, OwnedFd)>);

impl Parents {
    /// Opens the directory at `relative`, starting from the cached one if that is shorter.
    pub(super) fn open(
        &mut self,
        root: &Directory,
        relative: &Path,
        links: Links,
    ) -> Result<BorrowedFd<'_>, Errno> {
        if self.0.as_ref().is_none_or(|(path, _)| path != relative) {
            let near = self.0.as_ref().and_then(|(path, handle)| {
                let rest = relative.strip_prefix(path).ok()?;
                // A link in the rest could lead above `handle`, so no links are followed from
                // there.
                resolve::open(handle.as_fd(), rest, DIRECTORY, Links::Refused).ok()
            });
            let handle = match near {
                Some(handle) => handle,
                None => root.open_directory(relative, links)?,
            };
            self.keep(relative, handle);
        }
        match &self.0 {
            Some((_, handle)) => Ok(handle.as_fd()),
            None => Err(Errno::NOENT),
        }
    }

    /// Caches an open directory.
    pub(super) fn keep(&mut self, relative: &Path, handle: OwnedFd) {
        self.0 = Some((relative.to_owned(), handle));
    }

    /// Clears the cache, because something above the directory has changed.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }
}

/// The type of an entry; for a link, that of the link itself.
pub(super) fn kind_of(parent: BorrowedFd<'_>, name: &OsStr) -> Result<FileType, Errno> {
    let found = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(found.st_mode))
}

pub(super) fn read_link(parent: BorrowedFd<'_>, name: &OsStr) -> Result<PathBuf, Errno> {
    let target = rustix::fs::readlinkat(parent, name, Vec::new())?;
    Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
}

/// The names in an open directory.
fn list(handle: &OwnedFd) -> Result<Vec<OsString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(handle)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    Ok(names)
}

fn metadata(handle: &OwnedFd) -> Result<Metadata, Errno> {
    let file = File::from(handle.try_clone().map_err(|_| Errno::MFILE)?);
    file.metadata().map_err(|_| Errno::IO)
}

/// Opens a regular file; `None` for anything else. Nothing that a program left there can block: a
/// FIFO without a writer is opened at once and refused.
fn open_file(parent: BorrowedFd<'_>, name: &OsStr) -> Result<Option<(File, Metadata)>, Errno> {
    if kind_of(parent, name)? != FileType::RegularFile {
        return Ok(None);
    }
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let open = || rustix::fs::openat(parent, name, flags, Mode::empty());
    let handle = match open() {
        Err(Errno::ACCESS) => {
            chmod_entry(parent, name, Mode::RUSR)?;
            open()?
        }
        opened => opened?,
    };
    let file = File::from(handle);
    let metadata = file.metadata().map_err(|_| Errno::IO)?;
    Ok(metadata.is_file().then_some((file, metadata)))
}

pub(super) fn create_file(parent: BorrowedFd<'_>, name: &OsStr) -> Result<File, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
    let create = || rustix::fs::openat(parent, name, flags, mode);
    match create() {
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
            create()
        }
        created => created,
    }
    .map(File::from)
}

/// Opens a directory by name and ensures that its owner has these permissions.
fn open_with_mode(parent: BorrowedFd<'_>, name: &OsStr, needed: Mode) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || rustix::fs::openat(parent, name, flags, Mode::empty());
    let handle = match open() {
        Err(Errno::ACCESS) => {
            chmod_entry(parent, name, needed)?;
            open()?
        }
        opened => opened?,
    };
    add_mode(&handle, needed)?;
    Ok(handle)
}

/// Adds owner permissions to an open directory. A directory of another user is left unchanged;
/// using it then fails with its own error.
fn add_mode(handle: &OwnedFd, needed: Mode) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(rustix::fs::fstat(handle)?.st_mode);
    if mode.contains(needed) {
        return Ok(());
    }
    match rustix::fs::fchmod(handle, mode | needed) {
        Err(Errno::PERM | Errno::ROFS) => Ok(()),
        result => result,
    }
}

/// Adds owner permissions to an entry that cannot be opened; never follows a link.
#[cfg(target_os = "linux")]
fn chmod_entry(parent: BorrowedFd<'_>, name: &OsStr, more: Mode) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;

    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    let found = rustix::fs::fstat(&handle)?.st_mode;
    if FileType::from_raw_mode(found) == FileType::Symlink {
        return Err(Errno::LOOP);
    }
    // Linux cannot change a mode through such a handle, but through its name in /proc.
    let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
    rustix::fs::chmod(path, Mode::from_raw_mode(found) | more)
}

#[cfg(not(target_os = "linux"))]
fn chmod_entry(parent: BorrowedFd<'_>, name: &OsStr, more: Mode) -> Result<(), Errno> {
    let found = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode;
    let mode = Mode::from_raw_mode(found) | more;
    rustix::fs::chmodat(parent, name, mode, AtFlags::SYMLINK_NOFOLLOW)
}

/// True if the target of a link stays inside its tree, judged by names only. An absolute target
/// leaves it. `from` is the path of the link.
pub(crate) fn stays_inside(from: &Path, target: &Path) -> bool {
    let mut depth = from.components().count().saturating_sub(1);
    for part in target.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

#[cfg(test)]
pub(crate) mod tests;
