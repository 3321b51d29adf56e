//! Removing what programs left, whatever it is.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{kind_of, list};
use crate::log;

/// Directories that are open at once. What lies deeper is moved up first, so that the depth of a
/// tree costs neither stack nor file handles.
const MOST_OPEN: usize = 32;

/// How often a directory is read again that something is still added to.
const ROUNDS: usize = 4;

/// Where a state directory keeps what cannot be removed.
pub(crate) const UNREMOVED: &str = "unremoved";

/// What could not be removed.
#[derive(Debug)]
pub(crate) struct Remains {
    /// The first of it.
    pub(crate) path: PathBuf,
    /// Why it could not be removed.
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

/// Removes a file, a link or a tree; nothing there is fine. Links are removed, not followed, and
/// directories that their owner may not change are made changeable.
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
    // A program reaches the directory above its own, too.
    super::permit(&parent, Mode::RWXU).map_err(failed)?;
    remove_at(parent.as_fd(), name, path)
}

/// The same for an entry of an open directory.
pub(crate) fn remove_at(parent: BorrowedFd<'_>, name: &OsStr, shown: &Path) -> Result<(), Remains> {
    let mut first = None;
    tree(parent, name, shown, &mut first);
    first.map_or(Ok(()), Err)
}

/// Removes everything in a directory but the entries named in `kept`, and not the directory itself.
pub(super) fn clear(directory: &Path, kept: &[&str]) -> Result<(), Remains> {
    let failed = |error: Errno| Remains {
        path: directory.to_owned(),
        error: error.into(),
    };
    let handle = match open_parent(directory) {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened.map_err(failed)?,
    };
    super::permit(&handle, Mode::RWXU).map_err(failed)?;
    clear_but(&handle, directory, kept)
}

/// Removes everything in an open directory.
pub(crate) fn clear_at(handle: &OwnedFd, shown: &Path) -> Result<(), Remains> {
    clear_but(handle, shown, &[])
}

fn clear_but(handle: &OwnedFd, shown: &Path, kept: &[&str]) -> Result<(), Remains> {
    let names = list(handle).map_err(|error| Remains {
        path: shown.to_owned(),
        error: error.into(),
    })?;
    let mut first = None;
    for name in names {
        if kept.iter().any(|kept| name == *kept) {
            continue;
        }
        tree(handle.as_fd(), &name, &shown.join(&name), &mut first);
    }
    first.map_or(Ok(()), Err)
}

/// Removes something of a state directory. What resists is moved to `unremoved` there, where
/// it is in nobody's way, and the server's log names it: this never fails.
pub(crate) fn discard(state: &Path, path: &Path) {
    let Err(remains) = remove(path) else {
        return;
    };
    let aside = state.join(UNREMOVED);
    if path == aside {
        return;
    }
    let target = aside.join(uuid::Uuid::new_v4().simple().to_string());
    let moved = std::fs::create_dir_all(&aside).and_then(|()| std::fs::rename(path, &target));
    let place = if moved.is_ok() { &target } else { path };
    log::write_line(&format!(
        "warning: cannot remove {} ({}); the rest of it is now {}",
        remains.path.display(),
        remains.error,
        place.display()
    ));
}

/// Removes a state directory. What resists is moved next to it, under a name of its own, so that
/// the next cloud starts in an empty directory. A directory that is a mount stays, empty. The files
/// named in `last` tell whose directory it is: they are removed once the rest is gone.
pub(crate) fn discard_all(state: &Path, last: &[&str]) {
    let Err(remains) = clear(state, last).and_then(|()| clear(state, &[])) else {
        let _ = std::fs::remove_dir(state);
        return;
    };
    let mut aside = state.as_os_str().to_owned();
    aside.push(format!(".{UNREMOVED}-{}", uuid::Uuid::new_v4().simple()));
    let moved = std::fs::rename(state, &aside).is_ok();
    let place = if moved { Path::new(&aside) } else { state };
    log::write_line(&format!(
        "warning: cannot remove {} ({}); the rest of it is now {}",
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

/// Removes an entry and what is below it. The first failure goes to `first`; the rest is removed
/// all the same.
fn tree(parent: BorrowedFd<'_>, name: &OsStr, shown: &Path, first: &mut Option<Remains>) {
    let top = match single(parent, name) {
        Ok(None) => return,
        Ok(Some(handle)) => handle,
        Err(error) => return note(first, shown.to_owned(), error),
    };
    let mut levels: Vec<Level> = Vec::new();
    match level(top, name) {
        Ok(level) => levels.push(level),
        Err(error) => return note(first, shown.to_owned(), error),
    }
    while let Some(depth) = levels.len().checked_sub(1) {
        let path = |levels: &[Level]| {
            let below = levels[1..].iter().map(|level| &level.name);
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
                Err(error) => note(first, path(&levels), error),
            }
            levels.pop();
            continue;
        };
        let handle = match single(levels[depth].handle.as_fd(), &next) {
            Ok(None) => continue,
            Ok(Some(handle)) => handle,
            Err(error) => {
                note(first, path(&levels).join(&next), error);
                continue;
            }
        };
        if levels.len() < MOST_OPEN {
            match level(handle, &next) {
                Ok(level) => levels.push(level),
                Err(error) => note(first, path(&levels).join(&next), error),
            }
            continue;
        }
        let up = OsString::from(format!(".{}", uuid::Uuid::new_v4().simple()));
        let moved = rustix::fs::renameat(&levels[depth].handle, &next, &levels[0].handle, &up);
        match moved {
            Ok(()) => levels[0].names.push_back(up),
            Err(error) => note(first, path(&levels).join(&next), error),
        }
    }
}

/// Removes an entry that is no directory; opens one that is.
fn single(parent: BorrowedFd<'_>, name: &OsStr) -> Result<Option<OwnedFd>, Errno> {
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
    super::enter(parent, name, Mode::RWXU).map(Some)
}

fn note(first: &mut Option<Remains>, path: PathBuf, error: Errno) {
    first.get_or_insert_with(|| Remains {
        path,
        error: error.into(),
    });
}

fn level(handle: OwnedFd, name: &OsStr) -> Result<Level, Errno> {
    Ok(Level {
        names: list(&handle)?.into(),
        handle,
        name: name.to_owned(),
        rounds: ROUNDS,
    })
}
