//! The hidden job process (`mlops job-process SPEC`): enters the job's namespaces and becomes the
//! program. It has one thread, which changing namespaces needs.
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

/// What Docker and shells answer when a command is not there.
const NOT_FOUND: u8 = 127;

/// Instead of a file: the second stage, which reads the specification from its standard input.
const SECOND_STAGE: &str = "-";

/// The program's user and group inside its namespace.
#[cfg(target_os = "linux")]
const ORDINARY_USER: u32 = 1000;

/// What stands between a job and the machine, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum IsolationLevel {
    /// Own users, mounts and processes: the program has no right over what hides the user's
    /// files, sees no other process, and no process of its outlives it.
    Processes,
    /// Own users and mounts. Other processes are listed; their environments cannot be read,
    /// because they belong to another user namespace.
    Mounts,
    /// The superuser's own mounts and processes: the program could undo the mounts.
    Superuser,
    /// None but the environment.
    Nothing,
}

impl IsolationLevel {
    /// What is tried, in this order.
    pub(super) const TRIED: [Self; 3] = [Self::Processes, Self::Mounts, Self::Superuser];

    /// What a program can still reach, for its log.
    pub(super) fn gap(self) -> Option<&'static str> {
        match self {
            Self::Processes => None,
            Self::Mounts => Some(
                "not hidden here: the names and arguments of your other processes (this kernel \
                 refuses a /proc of the job's own); their environments and ~/.aws are hidden",
            ),
            Self::Superuser => Some(
                "not safe here: the job runs as the superuser without a user namespace, which \
                 this kernel refuses, and a program that means to can undo what hides ~/.aws \
                 and your processes",
            ),
            Self::Nothing => Some(
                "not hidden here: your files, ~/.aws with them, and the environments of your \
                 processes; only the job's own environment is clean. Run only programs that you \
                 would run in your shell",
            ),
        }
    }

    /// Users of its own.
    fn users(self) -> bool {
        matches!(self, Self::Processes | Self::Mounts)
    }

    /// Processes of its own.
    fn processes(self) -> bool {
        matches!(self, Self::Processes | Self::Superuser)
    }
}

/// What a program sees in place of the machine's files.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum View {
    /// A job's directory as /opt/ml, and what its image has under /opt.
    Job {
        /// Becomes /opt/ml.
        base_dir: PathBuf,
        /// The image's /opt.
        opt: PathBuf,
    },
    /// A Lambda function's code as /var/task.
    Task {
        /// Becomes /var/task.
        code: PathBuf,
    },
}

/// What the server passes to the job process, as a file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Spec {
    /// The namespaces to enter.
    pub(super) level: IsolationLevel,
    /// False: a network namespace with nothing in it.
    pub(super) network: bool,
    /// What the program sees in place of the machine's files.
    pub(super) view: View,
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

/// The hidden job process: enters the job's namespaces and becomes the program, or the first
/// process of the job's own, which starts the program.
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
        Err(Stop { code, error }) => {
            // The server puts this into the job's log.
            log::write_line(&format!("[mlops] {error:#}"));
            ExitCode::from(code)
        }
    }
}

/// Why there is no program.
struct Stop {
    code: u8,
    error: anyhow::Error,
}

impl<E: Into<anyhow::Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self {
            code: 1,
            error: error.into(),
        }
    }
}

fn first_stage(file: &Path) -> Result<u8, Stop> {
    let text = std::fs::read(file)?;
    let spec: Spec = serde_json::from_slice(&text)?;
    if spec.level != IsolationLevel::Nothing {
        isolate(&spec)?;
    }
    if spec.level.processes() {
        die_with(spec.parent)?;
        return stages::first(text);
    }
    if spec.level.users() {
        step_down()?;
    }
    die_with(spec.parent)?;
    match program(&spec)? {
        Some(mut program) => Err(not_run(&spec, program.exec())),
        None => Ok(0),
    }
}

fn second_stage() -> Result<u8, Stop> {
    let spec = stages::second()?;
    match program(&spec)? {
        Some(mut command) => match command.stdin(Stdio::null()).spawn() {
            Ok(child) => Ok(stages::wait(&child)?),
            Err(error) => Err(not_run(&spec, error)),
        },
        None => Ok(0),
    }
}

fn not_run(spec: &Spec, error: std::io::Error) -> Stop {
    Stop {
        code: NOT_FOUND - 1,
        error: anyhow!(error).context(format!("cannot run {}", spec.command.join(" "))),
    }
}

/// The program, with its environment and directory; none when only the namespaces are tried.
fn program(spec: &Spec) -> Result<Option<Command>, Stop> {
    let Some((name, arguments)) = spec.command.split_first() else {
        return Ok(None);
    };
    let directory = &spec.working_directory;
    std::env::set_current_dir(directory)
        .or_else(|_| std::env::set_current_dir("/"))
        .with_context(|| format!("cannot change into {}", directory.display()))?;
    let Some(program) = find(name, spec) else {
        let path = spec.environment.get("PATH").map_or("", String::as_str);
        return Err(Stop {
            code: NOT_FOUND,
            error: anyhow!("no program `{name}` in the image (PATH={path})"),
        });
    };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(&spec.environment);
    Ok(Some(command))
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

#[cfg(not(target_os = "linux"))]
fn step_down() -> Result<()> {
    Err(anyhow!("this system has no user namespaces"))
}

#[cfg(not(target_os = "linux"))]
mod stages {
    use super::{Result, Spec, Stop, anyhow};

    pub(super) fn first(_spec: Vec<u8>) -> Result<u8, Stop> {
        Err(anyhow!("this system has no process namespaces").into())
    }

    pub(super) fn second() -> Result<Spec> {
        Err(anyhow!("this system has no process namespaces"))
    }

    pub(super) fn wait(_program: &std::process::Child) -> Result<u8> {
        Err(anyhow!("this system has no process namespaces"))
    }
}

#[cfg(target_os = "linux")]
fn isolate(spec: &Spec) -> Result<()> {
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
        // The superuser too: what is mounted here must be out of the program's reach.
        unshare(flags | CloneFlags::CLONE_NEWUSER).context("no user and mount namespace")?;
        map(0, uid, gid)?;
    } else {
        unshare(flags).context("no mount namespace")?;
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

/// Says which user and group of the parent namespace `inner` is.
#[cfg(target_os = "linux")]
fn map(inner: u32, uid: u32, gid: u32) -> Result<()> {
    let write = |file: &str, text: String| {
        std::fs::write(file, text).with_context(|| format!("cannot write {file}"))
    };
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("{inner} {uid} 1"))?;
    write("/proc/self/gid_map", format!("{inner} {gid} 1"))
}

/// Enters a second user namespace as an ordinary user. The mounts belong to the first, where the
/// program has no rights; and what is not user 0 has none in its own either once it is executed.
#[cfg(target_os = "linux")]
fn step_down() -> Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER)
        .context("no second user namespace")?;
    map(ORDINARY_USER, 0, 0)
}

/// The two processes around a program that has a process namespace: the first waits outside, the
/// second is the namespace's first process, whose end the kernel makes the end of all others.
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

    use super::{SECOND_STAGE, Spec, Stop, step_down};

    /// Starts the second stage and passes its exit code on.
    pub(super) fn first(mut spec: Vec<u8>) -> Result<u8, Stop> {
        // SIGTERM goes to the whole group: the program shall answer it, not this process.
        SigSet::all().thread_block()?;
        let mut child = Command::new("/proc/self/exe")
            .arg0("mlops")
            .args(["job-process", SECOND_STAGE])
            .env_clear()
            .stdin(Stdio::piped())
            .spawn()
            .context("no process namespace")?;
        let mut pipe = child.stdin.take().context("no pipe")?;
        spec.push(b'\n');
        pipe.write_all(&spec).context("the second stage ended")?;
        let status = child.wait()?;
        // Open until here: by its end the second stage would know that this process is gone.
        drop(pipe);
        let code = status
            .code()
            .or_else(|| status.signal().map(|signal| 128 + signal));
        Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
    }

    /// Shuts the last doors around the namespace's first process.
    pub(super) fn second() -> Result<Spec> {
        let mut input = std::io::stdin().lock();
        let mut line = Vec::new();
        input.read_until(b'\n', &mut line)?;
        let spec: Spec = serde_json::from_slice(&line)?;
        mount(
            Some("proc"),
            "/proc",
            Some("proc"),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
            None::<&str>,
        )
        .context("cannot mount a /proc of its own")?;
        if spec.level.users() {
            step_down()?;
        }
        set_pdeathsig(Signal::SIGKILL)?;
        // Had the first stage ended before that, the pipe would have, too.
        fcntl(std::io::stdin(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        if matches!(input.read(&mut [0]), Ok(0)) {
            return Err(anyhow!("the local cloud has ended"));
        }
        // The kernel keeps signals from the first process of a namespace; its children inherit
        // the mask, and theirs must be empty.
        SigSet::empty().thread_set_mask()?;
        Ok(spec)
    }

    /// Waits for the program, and meanwhile for the orphans that fall to the first process.
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

    use super::{Spec, View};

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

    /// Covers /opt with what it had, the job's directory as /opt/ml, and the image's entries; or
    /// /var with what it had and the function's code as /var/task. Nothing is written to the
    /// machine's own directory.
    pub(super) fn private(spec: &Spec) -> Result<()> {
        // What is mounted may itself lie under the directory that is about to be covered.
        match &spec.view {
            View::Job { base_dir, opt } => {
                let (base_dir, image) = (hold(base_dir)?, hold(opt)?);
                cover(Path::new("/opt"), spec, |opt| {
                    let ml = opt.join("ml");
                    std::fs::create_dir(&ml)?;
                    bind(&through(&base_dir), &ml)?;
                    let image = through(&image);
                    for entry in std::fs::read_dir(&image)? {
                        let name = entry?.file_name();
                        let target = opt.join(&name);
                        if restore(&image.join(&name), &target)? {
                            read_only(&target);
                        }
                    }
                    Ok(())
                })
            }
            View::Task { code } => {
                let code = hold(code)?;
                cover(Path::new("/var"), spec, |var| {
                    let task = var.join("task");
                    std::fs::create_dir(&task)?;
                    bind(&through(&code), &task)?;
                    read_only(&task);
                    Ok(())
                })
            }
        }
    }

    /// Covers a directory with an empty one, which `fill` puts its own entries into; then comes
    /// what the directory had.
    fn cover(directory: &Path, spec: &Spec, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let old = spec.scratch.join("old");
        bind(directory, &old)?;
        let held = hold(&old)?;
        mount(
            Some("tmpfs"),
            directory,
            Some("tmpfs"),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
            Some("mode=755,size=4m"),
        )
        .with_context(|| format!("cannot cover {}", directory.display()))?;
        fill(directory)?;
        let entries = through(&held);
        for entry in std::fs::read_dir(&entries)? {
            let name = entry?.file_name();
            restore(&entries.join(&name), &directory.join(&name))?;
        }
        // Its target may be covered by now; what is lazily detached here is not used any more.
        let _ = umount2(&old, MntFlags::MNT_DETACH);
        Ok(())
    }

    /// Keeps a directory within reach, whatever covers its path. One that a program exchanged for a
    /// link is not followed.
    fn hold(directory: &Path) -> Result<OwnedFd> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        open(directory, flags, Mode::empty())
            .with_context(|| format!("cannot open {}", directory.display()))
    }

    fn through(handle: &OwnedFd) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd()))
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
