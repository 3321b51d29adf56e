//! The hidden job process (`mlops job-process SPEC`): enters the namespaces of the job and becomes
//! the program. It is single-threaded, because changing namespaces requires that.
//!
//! ```text
//! first stage   user 0 of a user namespace, own mounts: private /opt, nothing in ~/.aws
//!   └ second stage (`job-process -`)   process 1 of a process namespace: own /proc, then
//!     │                                user 1000 of a second user namespace
//!     └ the program                    no rights over the mounts, sees only its own processes
//! ```

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, anyhow};
use serde::{Deserialize, Serialize};

use crate::log;

/// Exit code of Docker and shells for a command that does not exist.
const NOT_FOUND: u8 = 127;

/// Argument, in place of a file, for the second stage, which reads the specification from its
/// standard input.
const SECOND_STAGE: &str = "-";

/// User and group id of the program in its namespace.
#[cfg(target_os = "linux")]
const ORDINARY_USER: u32 = 1000;

/// The isolation of a job from the machine, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum IsolationLevel {
    /// Own users, mounts and processes: the program cannot change what hides the files of the user,
    /// sees no other process, and leaves none behind.
    Processes,
    /// Own users and mounts. Other processes are visible, but not their environments, because they
    /// belong to another user namespace.
    Mounts,
    /// Own mounts and processes of the superuser: the program could undo the mounts.
    Superuser,
    /// Only a clean environment.
    Nothing,
}

impl IsolationLevel {
    /// Levels to try, in this order.
    pub(super) const ALL: [Self; 3] = [Self::Processes, Self::Mounts, Self::Superuser];

    /// What a program can still access, for its log.
    pub(super) fn gap(self) -> Option<&'static str> {
        match self {
            Self::Processes => None,
            Self::Mounts => Some(
                "not hidden here: the names and arguments of your other processes (this kernel \
                 refuses a /proc of the job's own); their environments and ~/.aws are hidden",
            ),
            Self::Superuser => Some(
                "not safe here: the job runs as the superuser without a user namespace, which \
                 this kernel refuses, and a malicious program can undo what hides ~/.aws and \
                 your processes",
            ),
            Self::Nothing => Some(
                "not hidden here: your files, including ~/.aws, and the environments of your \
                 processes; only the job's own environment is clean. Run only programs that you \
                 would run in your shell",
            ),
        }
    }

    /// True if the program has its own user namespace.
    fn users(self) -> bool {
        matches!(self, Self::Processes | Self::Mounts)
    }

    /// True if the program has its own process namespace.
    fn processes(self) -> bool {
        matches!(self, Self::Processes | Self::Superuser)
    }
}

/// Files that a program sees in place of those of the machine.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum View {
    /// The directory of a job as /opt/ml, and the files of its image under /opt.
    Job {
        /// Becomes /opt/ml.
        base_dir: PathBuf,
        /// The image's /opt.
        opt: PathBuf,
    },
    /// The code of a Lambda function as /var/task.
    Task {
        /// Becomes /var/task.
        code: PathBuf,
    },
}

/// The specification that the server passes to the job process in a file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SandboxSpec {
    /// The namespaces to enter.
    pub(super) level: IsolationLevel,
    /// False for an empty network namespace.
    pub(super) network: bool,
    /// Files that the program sees in place of those of the machine.
    pub(super) view: View,
    /// HOME, TMPDIR and the directories that mounting needs.
    pub(super) scratch: PathBuf,
    /// Directories that appear empty to the program.
    pub(super) hide: Vec<PathBuf>,
    /// The program and its arguments; empty to only try the namespaces.
    pub(super) command: Vec<String>,
    /// The complete environment.
    pub(super) environment: BTreeMap<String, String>,
    /// The working directory of the program.
    pub(super) working_directory: PathBuf,
    /// The process id of the server.
    pub(super) parent: u32,
}

/// Runs the hidden job process: enters the namespaces of the job and becomes the program, or the
/// first process of its process namespace, which starts the program.
pub(crate) fn exec(arguments: &[String]) -> ExitCode {
    let [file] = arguments else {
        log::write_line("error: job-process is started by the local cloud only");
        return ExitCode::from(2);
    };
    let result = if file == SECOND_STAGE {
        second_stage()
    } else {
        first_stage(Path::new(file))
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(Failure { code, error }) => {
            // The server writes this to the log of the job.
            log::write_line(&format!("[mlops] {error:#}"));
            ExitCode::from(code)
        }
    }
}

/// A failure to start the program, with the exit code.
struct Failure {
    code: u8,
    error: anyhow::Error,
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            code: 1,
            error: error.into(),
        }
    }
}

fn first_stage(file: &Path) -> Result<u8, Failure> {
    let text = std::fs::read(file)?;
    let spec: SandboxSpec = serde_json::from_slice(&text)?;
    if spec.level != IsolationLevel::Nothing {
        isolate(&spec)?;
    }
    if spec.level.processes() {
        exit_with_parent(spec.parent)?;
        return stages::first(text);
    }
    if spec.level.users() {
        drop_privileges()?;
    }
    exit_with_parent(spec.parent)?;
    match program(&spec)? {
        Some(mut program) => Err(exec_failure(&spec, program.exec())),
        None => Ok(0),
    }
}

fn second_stage() -> Result<u8, Failure> {
    let spec = stages::second()?;
    match program(&spec)? {
        Some(mut command) => match command.stdin(Stdio::null()).spawn() {
            Ok(child) => Ok(stages::wait(&child)?),
            Err(error) => Err(exec_failure(&spec, error)),
        },
        None => Ok(0),
    }
}

fn exec_failure(spec: &SandboxSpec, error: std::io::Error) -> Failure {
    Failure {
        code: NOT_FOUND - 1,
        error: anyhow!(error).context(format!("cannot run {}", spec.command.join(" "))),
    }
}

/// The program with its environment and directory; `None` if only the namespaces are tried.
fn program(spec: &SandboxSpec) -> Result<Option<Command>, Failure> {
    let Some((name, arguments)) = spec.command.split_first() else {
        return Ok(None);
    };
    let directory = &spec.working_directory;
    std::env::set_current_dir(directory)
        .or_else(|_| std::env::set_current_dir("/"))
        .with_context(|| format!("cannot change the directory to {}", directory.display()))?;
    let Some(program) = find(name, spec) else {
        let path = spec.environment.get("PATH").map_or("", String::as_str);
        return Err(Failure {
            code: NOT_FOUND,
            error: anyhow!("no program `{name}` in the image (PATH={path})"),
        });
    };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(&spec.environment);
    Ok(Some(command))
}

/// Finds the file of the program in its own PATH.
fn find(name: &str, spec: &SandboxSpec) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| path.is_file());
    }
    spec.environment
        .get("PATH")?
        .split(':')
        .map(|directory| Path::new(directory).join(name))
        .find(|path| path.is_file())
}

/// Requests SIGKILL from the kernel when the server dies. Entering a user namespace cancels the
/// request, so it comes after that.
#[cfg(target_os = "linux")]
fn exit_with_parent(parent: u32) -> Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    let now = nix::unistd::getppid().as_raw();
    if u32::try_from(now) != Ok(parent) {
        return Err(anyhow!("the local cloud has ended"));
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn exit_with_parent(_parent: u32) -> Result<()> {
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn isolate(_spec: &SandboxSpec) -> Result<()> {
    Err(anyhow!("this system has no mount namespaces"))
}

#[cfg(not(target_os = "linux"))]
fn drop_privileges() -> Result<()> {
    Err(anyhow!("this system has no user namespaces"))
}

#[cfg(not(target_os = "linux"))]
mod stages {
    use super::{Failure, Result, SandboxSpec, anyhow};

    pub(super) fn first(_spec: Vec<u8>) -> Result<u8, Failure> {
        Err(anyhow!("this system has no process namespaces").into())
    }

    pub(super) fn second() -> Result<SandboxSpec> {
        Err(anyhow!("this system has no process namespaces"))
    }

    pub(super) fn wait(_program: &std::process::Child) -> Result<u8> {
        Err(anyhow!("this system has no process namespaces"))
    }
}

#[cfg(target_os = "linux")]
fn isolate(spec: &SandboxSpec) -> Result<()> {
    use nix::mount::MsFlags;
    use nix::sched::{CloneFlags, unshare};
    use nix::unistd::{getegid, geteuid};

    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let mut flags = CloneFlags::CLONE_NEWNS;
    if !spec.network {
        flags |= CloneFlags::CLONE_NEWNET;
    }
    if spec.level.processes() {
        flags |= CloneFlags::CLONE_NEWPID;
    }
    if spec.level.users() {
        // The superuser, too: the program must not be able to change the mounts.
        unshare(flags | CloneFlags::CLONE_NEWUSER)
            .context("cannot enter a user and a mount namespace")?;
        map(0, uid, gid)?;
    } else {
        unshare(flags).context("cannot enter a mount namespace")?;
    }
    nix::mount::mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .context("cannot make the mounts private")?;
    mounts::private(spec)?;
    let empty = spec.scratch.join("empty");
    for directory in &spec.hide {
        mounts::bind(&empty, directory)?;
    }
    Ok(())
}

/// Maps `inner` to a user and group of the parent namespace.
#[cfg(target_os = "linux")]
fn map(inner: u32, uid: u32, gid: u32) -> Result<()> {
    let write = |file: &str, text: String| {
        std::fs::write(file, text).with_context(|| format!("cannot write {file}"))
    };
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("{inner} {uid} 1"))?;
    write("/proc/self/gid_map", format!("{inner} {gid} 1"))
}

/// Enters a second user namespace as an ordinary user. The mounts belong to the first namespace,
/// where the program has no capabilities; and because its user is not 0, it has none in its own
/// namespace after it is executed.
#[cfg(target_os = "linux")]
fn drop_privileges() -> Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER)
        .context("cannot enter a second user namespace")?;
    map(ORDINARY_USER, 0, 0)
}

/// The two processes around a program with a process namespace: the first waits outside, the second
/// is the first process of the namespace; when it ends, the kernel kills all others.
#[cfg(target_os = "linux")]
mod stages {
    use std::io::{BufRead, Read, Write};
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Child, Command, Stdio};

    use anyhow::{Context as _, Result, anyhow};
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    use nix::mount::{MsFlags, mount};
    use nix::sys::prctl::set_pdeathsig;
    use nix::sys::signal::{SigSet, Signal};
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::Pid;

    use super::{Failure, SECOND_STAGE, SandboxSpec, drop_privileges};

    /// Starts the second stage and passes its exit code on.
    pub(super) fn first(mut spec: Vec<u8>) -> Result<u8, Failure> {
        // SIGTERM is sent to the whole group: the program must handle it, not this process.
        SigSet::all().thread_block()?;
        let mut child = Command::new("/proc/self/exe")
            .arg0("mlops")
            .args(["job-process", SECOND_STAGE])
            .env_clear()
            .stdin(Stdio::piped())
            .spawn()
            .context("cannot enter a process namespace")?;
        let mut pipe = child.stdin.take().context("no pipe")?;
        spec.push(b'\n');
        pipe.write_all(&spec).context("the second stage ended")?;
        let status = child.wait()?;
        // Kept open until now: its end would tell the second stage that this process is gone.
        drop(pipe);
        let code = status
            .code()
            .or_else(|| status.signal().map(|signal| 128 + signal));
        Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
    }

    /// Completes the isolation inside the namespace.
    pub(super) fn second() -> Result<SandboxSpec> {
        let mut input = std::io::stdin().lock();
        let mut line = Vec::new();
        input.read_until(b'\n', &mut line)?;
        let spec: SandboxSpec = serde_json::from_slice(&line)?;
        mount(
            Some("proc"),
            "/proc",
            Some("proc"),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
            None::<&str>,
        )
        .context("cannot mount its own /proc")?;
        if spec.level.users() {
            drop_privileges()?;
        }
        set_pdeathsig(Signal::SIGKILL)?;
        // If the first stage had ended before that, the pipe would have ended, too.
        fcntl(std::io::stdin(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        if matches!(input.read(&mut [0]), Ok(0)) {
            return Err(anyhow!("the local cloud has ended"));
        }
        // The kernel does not deliver signals to the first process of a namespace; its children
        // inherit the mask, which must be empty for them.
        SigSet::empty().thread_set_mask()?;
        Ok(spec)
    }

    /// Waits for the program, and reaps orphans, which are adopted by the first process.
    pub(super) fn wait(program: &Child) -> Result<u8> {
        let program = Pid::from_raw(i32::try_from(program.id())?);
        loop {
            let (ended, code) = match waitpid(Pid::from_raw(-1), None) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
                Ok(_) | Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            if ended == program {
                return Ok(u8::try_from(code).unwrap_or(1));
            }
        }
    }
}

#[cfg(target_os = "linux")]
mod mounts {
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

    /// Covers /opt with its old contents, the directory of the job as /opt/ml and the entries of
    /// the image; or /var with its old contents and the code of the function as /var/task. Nothing
    /// is written to the directories of the machine.
    pub(super) fn private(spec: &SandboxSpec) -> Result<()> {
        // The mounted directories may themselves be below the directory that is covered.
        match &spec.view {
            View::Job { base_dir, opt } => {
                let (base_dir, image) = (open_handle(base_dir)?, open_handle(opt)?);
                cover(Path::new("/opt"), spec, |opt| {
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
                cover(Path::new("/var"), spec, |var| {
                    let task = var.join("task");
                    std::fs::create_dir(&task)?;
                    bind(&handle_path(&code), &task)?;
                    read_only(&task);
                    Ok(())
                })
            }
        }
    }

    /// Covers a directory with an empty one, calls `fill` to add entries to it, and then restores
    /// the old contents.
    fn cover(
        directory: &Path,
        spec: &SandboxSpec,
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
            bind_entry(&entries.join(&name), &directory.join(&name))?;
        }
        // Its target may be covered by now; the lazily detached mount is not used any more.
        let _ = umount2(&old, MntFlags::MNT_DETACH);
        Ok(())
    }

    /// Opens a directory, so that it stays accessible whatever covers its path. A directory that a
    /// program replaced with a link is refused.
    fn open_handle(directory: &Path) -> Result<OwnedFd> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        open(directory, flags, Mode::empty())
            .with_context(|| format!("cannot open {}", directory.display()))
    }

    fn handle_path(handle: &OwnedFd) -> PathBuf {
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
}
