//! Removes what programs left behind, whatever it is.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{kind_of, list};
use crate::log;

/// Maximum number of directories open at once. Deeper directories are first moved up, so that the
/// depth of a tree requires neither stack nor file handles.
const MAX_OPEN: usize = 32;

/// Number of times that a directory is read again while entries are still being added.
const ROUNDS: usize = 4;

/// Directory, within a state directory, of everything that cannot be removed.
pub(crate) const UNREMOVED: &str = "unremoved";

/// The result of an incomplete removal.
#[derive(Debug)]
pub(crate) struct Remains {
    /// The first path that could not be removed.
    pub(crate) path: PathBuf,
    /// The reason.
    pub(crate) error: std::io::Error,
}

/// A directory that is being emptied.
struct Level {
    handle: OwnedFd,
    /// Its name in the level above.
    name: OsString,
    names: VecDeque<OsString>,
    rounds: usize,
}

/// Removes a file, link or tree; succeeds if there is nothing. Links are removed, not followed, and
/// missing permissions of their owner are added to directories.
pub(crate) fn remove(path: &Path) -> Result<(), Remains> {
    let failed = |error: Errno| Remains {
        path: path.to_owned(),
        error: error.into(),
    };
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(failed(Errno::INVAL));
    };
    let parent = match open_parent(parent) {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened.map_err(failed)?,
    };
    // A program can also change the directory above its own.
    super::add_mode(&parent, Mode::RWXU).map_err(failed)?;
    remove_at(parent.as_fd(), name, path)
}

/// [`remove`] for an entry of an open directory.
pub(crate) fn remove_at(parent: BorrowedFd<'_>, name: &OsStr, shown: &Path) -> Result<(), Remains> {
    let mut first = None;
    remove_tree(parent, name, shown, &mut first);
    first.map_or(Ok(()), Err)
}

/// Removes everything in a directory except the entries named in `kept`, but not the directory
/// itself.
pub(super) fn clear(directory: &Path, kept: &[&str]) -> Result<(), Remains> {
    let failed = |error: Errno| Remains {
        path: directory.to_owned(),
        error: error.into(),
    };
    let handle = match open_parent(directory) {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened.map_err(failed)?,
    };
    super::add_mode(&handle, Mode::RWXU).map_err(failed)?;
    clear_except(&handle, directory, kept)
}

/// Removes everything in an open directory.
pub(crate) fn clear_at(handle: &OwnedFd, shown: &Path) -> Result<(), Remains> {
    clear_except(handle, shown, &[])
}

fn clear_except(handle: &OwnedFd, shown: &Path, kept: &[&str]) -> Result<(), Remains> {
    let names = list(handle).map_err(|error| Remains {
        path: shown.to_owned(),
        error: error.into(),
    })?;
    let mut first = None;
    for name in names {
        if kept.iter().any(|kept| name == *kept) {
            continue;
        }
        remove_tree(handle.as_fd(), &name, &shown.join(&name), &mut first);
    }
    first.map_or(Ok(()), Err)
}

/// Removes part of a state directory. Whatever cannot be removed is moved to `unremoved` there, out
/// of the way, and named in the log of the server. Never fails.
pub(crate) fn discard(state: &Path, path: &Path) {
    let Err(remains) = remove(path) else {
        return;
    };
    let unremoved = state.join(UNREMOVED);
    if path == unremoved {
        return;
    }
    let target = unremoved.join(uuid::Uuid::new_v4().simple().to_string());
    let moved = std::fs::create_dir_all(&unremoved).and_then(|()| std::fs::rename(path, &target));
    let place = if moved.is_ok() { &target } else { path };
    log::write_line(&format!(
        "warning: cannot remove {} ({}); the remaining files are now in {}",
        remains.path.display(),
        remains.error,
        place.display()
    ));
}

/// Removes a state directory. Whatever cannot be removed is moved next to it, under a unique name,
/// so that the next cloud starts in an empty directory. A directory that is a mount point remains,
/// empty. The files named in `last` identify the owner of the directory: they are removed last.
pub(crate) fn discard_all(state: &Path, last: &[&str]) {
    let Err(remains) = clear(state, last).and_then(|()| clear(state, &[])) else {
        let _ = std::fs::remove_dir(state);
        return;
    };
    let mut unremoved = state.as_os_str().to_owned();
    unremoved.push(format!(".{UNREMOVED}-{}", uuid::Uuid::new_v4().simple()));
    let moved = std::fs::rename(state, &unremoved).is_ok();
    let place = if moved { Path::new(&unremoved) } else { state };
    log::write_line(&format!(
        "warning: cannot remove {} ({}); the remaining files are now in {}",
        remains.path.display(),
        remains.error,
        place.display()
    ));
}

fn open_parent(path: &Path) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = || rustix::fs::open(path, flags, Mode::empty());
    match open() {
        Err(Errno::ACCESS) => {
            rustix::fs::chmod(path, Mode::RWXU)?;
            open()
        }
        opened => opened,
    }
}

/// Removes an entry and everything below it. Continues after a failure; the first one is stored in
/// `first`.
fn remove_tree(parent: BorrowedFd<'_>, name: &OsStr, shown: &Path, first: &mut Option<Remains>) {
    let top = match remove_or_open(parent, name) {
        Ok(None) => return,
        Ok(Some(handle)) => handle,
        Err(error) => return keep_first(first, shown.to_owned(), error),
    };
    let mut levels: Vec<Level> = Vec::new();
    match open_level(top, name) {
        Ok(open_level) => levels.push(open_level),
        Err(error) => return keep_first(first, shown.to_owned(), error),
    }
    while let Some(depth) = levels.len().checked_sub(1) {
        let path = |levels: &[Level]| {
            let below = levels[1..].iter().map(|open_level| &open_level.name);
            below.fold(shown.to_owned(), |path, name| path.join(name))
        };
        let Some(next) = levels[depth].names.pop_front() else {
            let above = depth.checked_sub(1).map(|above| &levels[above].handle);
            let above = above.map_or(parent, OwnedFd::as_fd);
            match rustix::fs::unlinkat(above, &levels[depth].name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::NOTEMPTY | Errno::EXIST)
                    if levels[depth].rounds > 0 && first.is_none() =>
                {
                    levels[depth].rounds -= 1;
                    if let Ok(names) = list(&levels[depth].handle)
                        && !names.is_empty()
                    {
                        levels[depth].names = names.into();
                        continue;
                    }
                }
                Err(error) => keep_first(first, path(&levels), error),
            }
            levels.pop();
            continue;
        };
        let handle = match remove_or_open(levels[depth].handle.as_fd(), &next) {
            Ok(None) => continue,
            Ok(Some(handle)) => handle,
            Err(error) => {
                keep_first(first, path(&levels).join(&next), error);
                continue;
            }
        };
        if levels.len() < MAX_OPEN {
            match open_level(handle, &next) {
                Ok(open_level) => levels.push(open_level),
                Err(error) => keep_first(first, path(&levels).join(&next), error),
            }
            continue;
        }
        let up = OsString::from(format!(".{}", uuid::Uuid::new_v4().simple()));
        let moved = rustix::fs::renameat(&levels[depth].handle, &next, &levels[0].handle, &up);
        match moved {
            Ok(()) => levels[0].names.push_back(up),
            Err(error) => keep_first(first, path(&levels).join(&next), error),
        }
    }
}

/// Removes an entry that is not a directory, or opens one that is.
fn remove_or_open(parent: BorrowedFd<'_>, name: &OsStr) -> Result<Option<OwnedFd>, Errno> {
    let kind = match kind_of(parent, name) {
        Err(Errno::NOENT) => return Ok(None),
        kind => kind?,
    };
    if kind != FileType::Directory {
        return match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        };
    }
    super::open_with_mode(parent, name, Mode::RWXU).map(Some)
}

fn keep_first(first: &mut Option<Remains>, path: PathBuf, error: Errno) {
    first.get_or_insert_with(|| Remains {
        path,
        error: error.into(),
    });
}

fn open_level(handle: OwnedFd, name: &OsStr) -> Result<Level, Errno> {
    Ok(Level {
        names: list(&handle)?.into(),
        handle,
        name: name.to_owned(),
        rounds: ROUNDS,
    })
}
