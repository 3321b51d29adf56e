//! The mounts of a program: what it sees in place of the files of the machine.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;
use nix::sys::statvfs::{FsFlags, statvfs};

use super::{SandboxSpec, View};

pub(super) fn bind(source: &Path, target: &Path) -> Result<()> {
    mount(
        Some(source),
        target,
        None::<&str>,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        None::<&str>,
    )
    .with_context(|| format!("cannot mount {} on {}", source.display(), target.display()))
}

/// What becomes of the old contents of a directory that is covered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    Unchanged,
    ReadOnly,
}

/// Covers /opt with its old contents, the directory of the job as /opt/ml and the entries of
/// the image; or /var with its old contents and the code of the function as /var/task; or several
/// directories for a notebook instance. Nothing is written to the directories of the machine.
pub(super) fn private(spec: &SandboxSpec) -> Result<()> {
    // The mounted directories may themselves be below the directory that is covered.
    match &spec.view {
        View::Job { base_dir, opt } => {
            let (base_dir, image) = (open_handle(base_dir)?, open_handle(opt)?);
            cover(Path::new("/opt"), spec, Rest::Unchanged, |opt| {
                let ml = opt.join("ml");
                std::fs::create_dir(&ml)?;
                bind(&handle_path(&base_dir), &ml)?;
                let image = handle_path(&image);
                for entry in std::fs::read_dir(&image)? {
                    let name = entry?.file_name();
                    let target = opt.join(&name);
                    if bind_entry(&image.join(&name), &target)? {
                        read_only(&target);
                    }
                }
                Ok(())
            })
        }
        View::Task { code } => {
            let code = open_handle(code)?;
            cover(Path::new("/var"), spec, Rest::Unchanged, |var| {
                let task = var.join("task");
                std::fs::create_dir(&task)?;
                bind(&handle_path(&code), &task)?;
                read_only(&task);
                Ok(())
            })
        }
        View::Build { root } => {
            let (root, temporary) = build_handles(root)?;
            build(spec, &root, &temporary)
        }
        View::Notebook {
            volume,
            private_tmp,
        } => notebook(spec, &open_handle(volume)?, *private_tmp),
    }
}

/// Directories for temporary files, which stay writable.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];

/// Mount points that are not files of the machine, or that have files of the notebook instance.
const OF_NOTEBOOK: &[&str] = &[
    "/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp", "/opt", "/etc",
];

/// Mount points that are not files of the machine, or that have files of the build.
const OF_BUILD: &[&str] = &["/proc", "/sys", "/dev", "/tmp", "/var/tmp"];

/// Covers /home, /opt and /etc, and makes everything else read-only: life-cycle scripts run as a
/// superuser, which can be the machine's.
fn notebook(spec: &SandboxSpec, volume: &OwnedFd, private_tmp: bool) -> Result<()> {
    let files = open_handle(&spec.scratch)?;
    let ours = |name: &str| handle_path(&files).join(name);
    let points = mount_points()?;
    let make = |name: &str, target: &Path| {
        std::fs::create_dir(target)?;
        bind(&ours(name), target)
    };
    cover(Path::new("/home"), spec, Rest::ReadOnly, |home| {
        let own = home.join("ec2-user");
        make("home", &own)?;
        bind(&handle_path(volume), &own.join("SageMaker"))
    })?;
    cover(Path::new("/opt"), spec, Rest::ReadOnly, |opt| {
        for name in ["ml", "mlops", "root", "tmp"] {
            make(name, &opt.join(name))?;
        }
        read_only(&opt.join("mlops"));
        Ok(())
    })?;
    cover(Path::new("/etc"), spec, Rest::ReadOnly, |etc| {
        make("profile.d", &etc.join("profile.d"))?;
        for name in ["passwd", "group", "gitconfig"] {
            File::create(etc.join(name))?;
            bind(&ours("etc").join(name), &etc.join(name))?;
        }
        Ok(())
    })?;
    if private_tmp {
        bind(&ours("tmp"), Path::new("/tmp"))?;
    }
    for directory in TEMPORARY.map(Path::new) {
        let is_private = private_tmp && directory == Path::new("/tmp");
        if directory.is_dir() && !is_private && !points.iter().any(|point| point == directory) {
            bind(directory, directory)?;
        }
    }
    read_only_except(&points, OF_NOTEBOOK);
    Ok(())
}

/// Makes mounts read-only, except those below these directories.
fn read_only_except(points: &[PathBuf], kept: &[&str]) {
    for point in points {
        if !kept.iter().any(|kept| point.starts_with(kept)) {
            read_only(point);
        }
    }
}

/// Adds the directories of a build as /opt/codebuild, with a private /tmp and /var/tmp, and makes everything else
/// read-only: a build is written for a container that it may change, and the server's user can be the superuser.
fn build(spec: &SandboxSpec, root: &OwnedFd, temporary: &OwnedFd) -> Result<()> {
    let points = mount_points()?;
    let (root, temporary) = (handle_path(root), handle_path(temporary));
    cover(Path::new("/opt"), spec, Rest::ReadOnly, |opt| {
        let own = opt.join("codebuild");
        std::fs::create_dir(&own)?;
        bind(&root, &own)
    })?;
    for directory in TEMPORARY.map(Path::new) {
        if directory.is_dir() {
            bind(&temporary, directory)?;
        }
    }
    read_only_except(&points, OF_BUILD);
    Ok(())
}

/// Files of the kernel's settings in /proc. The kernel checks the user who writes them and no capability, so the program
/// of a server of the superuser could set what the machine executes (`core_pattern`).
const SETTINGS: [&str; 5] = [
    "/proc/sys",
    "/proc/irq",
    "/proc/bus",
    "/proc/fs",
    "/proc/sysrq-trigger",
];

/// Makes the kernel's settings in the /proc of this mount namespace read-only. A new /proc can be mounted only before.
pub(super) fn protect_proc() -> Result<()> {
    for path in SETTINGS
        .map(Path::new)
        .into_iter()
        .filter(|path| path.exists())
    {
        bind(path, path)?;
        read_only(path);
    }
    Ok(())
}

/// Makes /sys read-only, gives the program a /dev/shm of its own, and covers the sockets of the machine's services: who
/// reaches a container engine or a session bus can start programs outside of the namespaces.
pub(super) fn protect_machine() -> Result<()> {
    for point in mount_points()? {
        if point.starts_with("/sys") {
            read_only(&point);
        }
    }
    let shared = Path::new("/dev/shm");
    if shared.is_dir() {
        mount(
            Some("tmpfs"),
            shared,
            Some("tmpfs"),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
            Some("mode=1777"),
        )
        .context("cannot mount its own /dev/shm")?;
    }
    for socket in sockets(Path::new("/run"), 3) {
        bind(Path::new("/dev/null"), &socket)?;
    }
    Ok(())
}

/// Sockets below a directory. Those that answer the names of hosts and users stay.
fn sockets(directory: &Path, depth: u32) -> Vec<PathBuf> {
    const NAMES: [&str; 4] = [
        "/run/systemd/resolve",
        "/run/systemd/userdb",
        "/run/nscd",
        "/run/avahi-daemon",
    ];
    use std::os::unix::fs::FileTypeExt as _;

    let mut found = Vec::new();
    // What this user may not list, the program may not, either.
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if NAMES.iter().any(|name| path.starts_with(name)) {
            continue;
        }
        if kind.is_socket() {
            found.push(path);
        } else if kind.is_dir() && depth > 1 {
            found.extend(sockets(&path, depth - 1));
        }
    }
    found
}

/// The mount points of the machine (proc(5), mountinfo: the fifth field, with spaces as `\040`).
fn mount_points() -> Result<Vec<PathBuf>> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    Ok(points
        .map(|point| point.replace("\\040", " ").into())
        .collect())
}

/// Covers a directory with an empty one, calls `fill` to add entries to it, and then restores
/// the old contents.
fn cover(
    directory: &Path,
    spec: &SandboxSpec,
    rest: Rest,
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let old = spec.scratch.join("old");
    bind(directory, &old)?;
    let handle = open_handle(&old)?;
    mount(
        Some("tmpfs"),
        directory,
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some("mode=755,size=4m"),
    )
    .with_context(|| format!("cannot cover {}", directory.display()))?;
    fill(directory)?;
    let entries = handle_path(&handle);
    for entry in std::fs::read_dir(&entries)? {
        let name = entry?.file_name();
        let target = directory.join(&name);
        if bind_entry(&entries.join(&name), &target)? && rest == Rest::ReadOnly {
            read_only(&target);
        }
    }
    // Its target may be covered by now; the lazily detached mount is not used any more.
    let _ = umount2(&old, MntFlags::MNT_DETACH);
    Ok(())
}

/// Opens a directory, so that it stays accessible even if something is mounted over its path. A directory that a
/// program replaced with a link is refused.
pub(super) fn open_handle(directory: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    open(directory, flags, Mode::empty())
        .with_context(|| format!("cannot open {}", directory.display()))
}

/// The root of a build and its directory for temporary files. Either may be a link by now, which `mount` would follow
/// to any directory of the machine.
fn build_handles(root: &Path) -> Result<(OwnedFd, OwnedFd)> {
    let root = open_handle(root)?;
    let temporary = open_handle(&handle_path(&root).join("tmp"))?;
    Ok((root, temporary))
}

pub(super) fn handle_path(handle: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd()))
}

/// Mounts `source` on `target`; false if it is a link or already exists.
fn bind_entry(source: &Path, target: &Path) -> Result<bool> {
    if target.symlink_metadata().is_ok() {
        return Ok(false);
    }
    let kind = source.symlink_metadata()?.file_type();
    if kind.is_symlink() {
        std::os::unix::fs::symlink(std::fs::read_link(source)?, target)?;
        return Ok(false);
    }
    if kind.is_dir() {
        std::fs::create_dir(target)?;
    } else {
        File::create(target)?;
    }
    bind(source, target)?;
    Ok(true)
}

/// Makes a mount read-only, because jobs share the files of the image. This is a convenience,
/// not a protection: some kernels refuse the remount inside a user namespace, and the job runs
/// anyway.
fn read_only(target: &Path) {
    let mut flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    if let Ok(found) = statvfs(target) {
        // Restrictions of the outer mount must be kept.
        for (set, flag) in [
            (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
            (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
            (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
            (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
            (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
        ] {
            if found.flags().contains(set) {
                flags |= flag;
            }
        }
    }
    let _ = mount(None::<&str>, target, None::<&str>, flags, None::<&str>);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_services_are_found_and_those_of_names_stay() {
        let root = tempfile::tempdir().unwrap();
        let below = root.path().join("user/1000");
        std::fs::create_dir_all(below.join("deep/deeper")).unwrap();
        let bind = |path: PathBuf| {
            std::os::unix::net::UnixListener::bind(&path).unwrap();
            path
        };
        let engine = bind(root.path().join("docker.sock"));
        let bus = bind(below.join("bus"));
        bind(below.join("deep/deeper/s"));
        std::fs::write(root.path().join("file"), "").unwrap();
        let mut found = sockets(root.path(), 3);
        found.sort();
        assert_eq!(found, [engine, bus]);
    }

    #[test]
    fn a_link_does_not_become_the_temporary_directory_of_a_build() {
        let root = tempfile::tempdir().unwrap();
        let temporary = root.path().join("tmp");
        std::fs::create_dir(&temporary).unwrap();
        build_handles(root.path()).unwrap();
        std::fs::remove_dir(&temporary).unwrap();
        std::os::unix::fs::symlink("/etc", &temporary).unwrap();
        assert!(build_handles(root.path()).is_err());
    }
}
