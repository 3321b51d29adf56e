//! Opens paths beneath a directory.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

/// Maximum number of links followed for one path, as in Linux.
const MAX_LINKS: usize = 40;

/// How symbolic links in a path are handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// A link is an error (`ELOOP` or `ENOTDIR`).
    Refused,
    /// A link is followed if it stays beneath the directory: directories of images are often links.
    /// An absolute link leaves it (`EXDEV`).
    Inside,
}

/// Opens `relative` (plain names; empty for the directory itself) beneath `root`.
pub(super) fn open(
    root: BorrowedFd<'_>,
    relative: &Path,
    flags: OFlags,
    links: Links,
) -> Result<OwnedFd, Errno> {
    let mut flags = flags | OFlags::CLOEXEC;
    if links == Links::Refused {
        flags |= OFlags::NOFOLLOW;
    }
    #[cfg(target_os = "linux")]
    if let Some(result) = by_kernel(root, relative, flags, links) {
        return result;
    }
    by_component(root, relative, flags, links)
}

/// Opens with `openat2`; `None` if it does not exist or is not allowed.
#[cfg(target_os = "linux")]
fn by_kernel(
    root: BorrowedFd<'_>,
    relative: &Path,
    flags: OFlags,
    links: Links,
) -> Option<Result<OwnedFd, Errno>> {
    use rustix::fs::ResolveFlags;

    #[cfg(test)]
    if tests::BY_HAND.get() {
        return None;
    }
    let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    if links == Links::Refused {
        resolve |= ResolveFlags::NO_SYMLINKS;
    }
    let path = if relative.as_os_str().is_empty() {
        Path::new(".")
    } else {
        relative
    };
    match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
        // Old kernels, sandboxes that refuse unknown calls, and a `..` that raced with a rename.
        Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => None,
        result => Some(result),
    }
}

/// Opens one component after another.
fn by_component(
    root: BorrowedFd<'_>,
    relative: &Path,
    flags: OFlags,
    links: Links,
) -> Result<OwnedFd, Errno> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let search = OFlags::PATH;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let search = OFlags::RDONLY;
    let step = search | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at: Option<OwnedFd> = None;
    // The names that lead to `at`; all of them are real directories.
    let mut resolved = PathBuf::new();
    let mut pending: VecDeque<OsString> = relative.iter().map(OsString::from).collect();
    let mut followed = 0;
    while let Some(name) = pending.pop_front() {
        if name == ".." {
            if !resolved.pop() {
                return Err(Errno::XDEV);
            }
            at = (!resolved.as_os_str().is_empty())
                .then(|| by_component(root, &resolved, step, Links::Refused))
                .transpose()?;
            continue;
        }
        let from = at.as_ref().map_or(root, OwnedFd::as_fd);
        let flags = if pending.is_empty() { flags } else { step };
        match rustix::fs::openat(from, &name, flags | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(handle) => {
                at = Some(handle);
                resolved.push(name);
            }
            Err(error) => {
                let link = matches!(super::kind_of(from, &name), Ok(FileType::Symlink));
                if !link || links == Links::Refused {
                    return Err(error);
                }
                followed += 1;
                if followed > MAX_LINKS {
                    return Err(Errno::LOOP);
                }
                for part in super::read_link(from, &name)?.components().rev() {
                    match part {
                        Component::Normal(name) => pending.push_front(name.to_owned()),
                        Component::ParentDir => pending.push_front("..".into()),
                        Component::CurDir => {}
                        Component::RootDir | Component::Prefix(_) => return Err(Errno::XDEV),
                    }
                }
            }
        }
    }
    // The last step may have been a `..`, whose handle can only be used for more steps.
    let here = at.as_ref().map_or(root, OwnedFd::as_fd);
    if relative.as_os_str().is_empty() || followed > 0 {
        return rustix::fs::openat(here, ".", flags, Mode::empty());
    }
    at.map_or_else(|| rustix::fs::openat(root, ".", flags, Mode::empty()), Ok)
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::Cell;

    thread_local! {
        /// True in a test thread that must not use `openat2`.
        pub(in super::super) static BY_HAND: Cell<bool> = const { Cell::new(false) };
    }
}
