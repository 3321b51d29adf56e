//! The hidden job process (`mlops job-process SPEC`): enters the job's namespaces and becomes the
//! program. It has one thread, which changing namespaces needs.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, anyhow};
use serde::{Deserialize, Serialize};

use crate::progress::write_stderr;

/// What Docker and shells answer when a command is not there.
const NOT_FOUND: u8 = 127;

/// What the server passes to the job process, as a file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Spec {
    /// Enter a mount namespace with a private /opt.
    pub(super) namespace: bool,
    /// False: a network namespace with nothing in it.
    pub(super) network: bool,
    /// Becomes /opt/ml.
    pub(super) base_dir: PathBuf,
    /// The image's /opt.
    pub(super) opt: PathBuf,
    /// HOME, TMPDIR and the places that mounting needs.
    pub(super) scratch: PathBuf,
    /// Directories that are empty to the program.
    pub(super) hide: Vec<PathBuf>,
    /// The program and its arguments; none to try the namespaces only.
    pub(super) command: Vec<String>,
    /// The whole environment.
    pub(super) environment: BTreeMap<String, String>,
    /// Where the program starts.
    pub(super) working_directory: PathBuf,
    /// The server's process.
    pub(super) parent: u32,
}

/// The hidden job process: enters the job's mount namespace and becomes the program.
pub fn exec(arguments: &[String]) -> ExitCode {
    let [file] = arguments else {
        write_stderr("error: job-process is started by the local cloud only");
        return ExitCode::from(2);
    };
    let (code, error) = become_program(Path::new(file));
    // The server puts this into the job's log.
    write_stderr(&format!("[mlops] {error:#}"));
    ExitCode::from(code)
}

/// Returns only when something went wrong, or when there was no program to become.
fn become_program(file: &Path) -> (u8, anyhow::Error) {
    match prepare(file) {
        Ok(spec) if spec.command.is_empty() => (0, anyhow!("namespaces work here")),
        Ok(spec) => {
            let name = &spec.command[0];
            let Some(program) = find(name, &spec) else {
                let path = spec.environment.get("PATH").cloned().unwrap_or_default();
                return (
                    NOT_FOUND,
                    anyhow!("no program `{name}` in the image (PATH={path})"),
                );
            };
            let error = Command::new(&program)
                .args(&spec.command[1..])
                .env_clear()
                .envs(&spec.environment)
                .exec();
            (
                NOT_FOUND - 1,
                anyhow!(error).context(format!("cannot run {}", program.display())),
            )
        }
        Err(error) => (1, error),
    }
}

fn prepare(file: &Path) -> Result<Spec> {
    let spec: Spec = serde_json::from_slice(&std::fs::read(file)?)?;
    if spec.namespace {
        isolate(&spec)?;
    }
    die_with(spec.parent)?;
    let directory = &spec.working_directory;
    std::env::set_current_dir(directory)
        .or_else(|_| std::env::set_current_dir("/"))
        .with_context(|| format!("cannot change into {}", directory.display()))?;
    Ok(spec)
}

/// The program's file, by the PATH that it is given.
fn find(name: &str, spec: &Spec) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| path.is_file());
    }
    spec.environment
        .get("PATH")?
        .split(':')
        .map(|directory| Path::new(directory).join(name))
        .find(|path| path.is_file())
}

/// Asks the kernel to kill this process when the server dies. Entering a user namespace clears
/// the wish, so it comes after that.
#[cfg(target_os = "linux")]
fn die_with(parent: u32) -> Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    let now = nix::unistd::getppid().as_raw();
    if u32::try_from(now) != Ok(parent) {
        return Err(anyhow!("the local cloud has ended"));
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn die_with(_parent: u32) -> Result<()> {
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn isolate(_spec: &Spec) -> Result<()> {
    Err(anyhow!("this system has no mount namespaces"))
}

#[cfg(target_os = "linux")]
fn isolate(spec: &Spec) -> Result<()> {
    use nix::mount::MsFlags;
    use nix::sched::{CloneFlags, unshare};
    use nix::unistd::{getegid, geteuid};

    let (uid, gid) = (geteuid(), getegid());
    let mut flags = CloneFlags::CLONE_NEWNS;
    if !spec.network {
        flags |= CloneFlags::CLONE_NEWNET;
    }
    // The superuser of a container may lack the right; like anyone else's, its own user
    // namespace grants it.
    if !uid.is_root() || unshare(flags).is_err() {
        unshare(flags | CloneFlags::CLONE_NEWUSER).context("no user and mount namespace")?;
        let write = |file: &str, text: String| {
            std::fs::write(file, text).with_context(|| format!("cannot write {file}"))
        };
        write("/proc/self/setgroups", "deny".to_owned())?;
        write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
        write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
    }
    nix::mount::mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .context("cannot make the mounts private")?;
    mounts::private_opt(spec)?;
    let empty = spec.scratch.join("empty");
    for directory in &spec.hide {
        mounts::bind(&empty, directory)?;
    }
    Ok(())
}

#[cfg(target_os = "linux")]
mod mounts {
    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::path::{Path, PathBuf};

    use anyhow::{Context as _, Result};
    use nix::fcntl::{OFlag, open};
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    use nix::sys::stat::Mode;
    use nix::sys::statvfs::{FsFlags, statvfs};

    use super::Spec;

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

    /// Covers /opt with what it had, the job's directory as /opt/ml, and the image's entries.
    /// Nothing is written to the machine's own /opt.
    pub(super) fn private_opt(spec: &Spec) -> Result<()> {
        let opt = Path::new("/opt");
        let old = spec.scratch.join("old");
        bind(opt, &old)?;
        // The job's files may themselves lie under /opt, which is about to be covered.
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        let base_dir = open(&spec.base_dir, flags, Mode::empty())
            .with_context(|| format!("cannot open {}", spec.base_dir.display()))?;
        let image = open(&spec.opt, flags, Mode::empty())
            .with_context(|| format!("cannot open {}", spec.opt.display()))?;
        let old_opt = open(&old, flags, Mode::empty())?;
        let through = |handle: &std::os::fd::OwnedFd| {
            PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd()))
        };
        let (base_dir, image, old_entries) =
            (through(&base_dir), through(&image), through(&old_opt));
        mount(
            Some("tmpfs"),
            opt,
            Some("tmpfs"),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
            Some("mode=755,size=4m"),
        )
        .context("cannot cover /opt")?;
        let ml = opt.join("ml");
        std::fs::create_dir(&ml)?;
        bind(&base_dir, &ml)?;
        for entry in std::fs::read_dir(&image)? {
            let name = entry?.file_name();
            let target = opt.join(&name);
            if restore(&image.join(&name), &target)? {
                read_only(&target);
            }
        }
        for entry in std::fs::read_dir(&old_entries)? {
            let name = entry?.file_name();
            restore(&old_entries.join(&name), &opt.join(&name))?;
        }
        // Its target may be covered by now; what is lazily detached here is not used any more.
        let _ = umount2(&old, MntFlags::MNT_DETACH);
        Ok(())
    }

    /// Makes `target` show `source`; false when it is a link or already there.
    fn restore(source: &Path, target: &Path) -> Result<bool> {
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

    /// Jobs share the image's files. That they cannot be written is a kindness, not a wall: some
    /// kernels refuse the remount inside a user namespace, and the job runs all the same.
    fn read_only(target: &Path) {
        let mut flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        if let Ok(found) = statvfs(target) {
            // What the outer mount forbids must stay forbidden.
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
}
