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
use std::io::BufRead;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, anyhow};
use serde::{Deserialize, Serialize};

use crate::log;

#[cfg(target_os = "linux")]
mod mounts;
#[cfg(target_os = "linux")]
mod stages;
mod supervisor;

pub(super) use supervisor::{Ended, Event, Start};

/// Exit code of Docker and shells for a command that does not exist.
const NOT_FOUND: u8 = 127;

/// Argument, in place of a file, for the second stage, which reads the specification from its
/// standard input.
const SECOND_STAGE: &str = "-";

/// The first argument of a process that becomes a user of its namespace and then a program.
const AS_USER: &str = "as-user";

/// User and group id of the program in its namespace; on Amazon Linux, of `ec2-user`.
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
    /// The directories of a build as /opt/codebuild, with one of them as /tmp.
    Build {
        /// Becomes /opt/codebuild; its directory `tmp` becomes /tmp.
        root: PathBuf,
    },
    /// The files of a notebook instance, most of them from the directory `scratch`: the home of
    /// ec2-user, a private /etc and /opt, and all others read-only where the kernel allows it.
    Notebook {
        /// Becomes /home/ec2-user/SageMaker.
        volume: PathBuf,
        /// True for a private /tmp; false if programs of the instance are in that of the machine.
        private_tmp: bool,
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
    /// True for a process that starts programs as its input requests, until that ends.
    #[serde(default)]
    pub(super) supervised: bool,
}

/// Runs the hidden job process: enters the namespaces of the job and becomes the program, or the
/// first process of its process namespace, which starts the program.
pub(crate) fn exec(arguments: &[String]) -> ExitCode {
    let result = match arguments {
        [first] if first == SECOND_STAGE => second_stage(),
        [file] => first_stage(Path::new(file)),
        [first, id, program, arguments @ ..] if first == AS_USER => as_user(id, program, arguments),
        _ => {
            log::write_line("error: job-process is started by the local cloud only");
            return ExitCode::from(2);
        }
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
        return stages::first(text, spec.supervised);
    }
    if spec.level.users() {
        drop_privileges(&spec)?;
    }
    if spec.supervised {
        // The first line is the specification again, for a second stage.
        std::io::stdin().lock().read_line(&mut String::new())?;
        // Its input closes when the server exits. The supervisor then stops its processes and exits.
        return Ok(supervisor::run(spec.level)?);
    }
    exit_with_parent(spec.parent)?;
    match program(&spec)? {
        Some(mut program) => Err(exec_failure(&spec, program.exec())),
        None => Ok(0),
    }
}

fn second_stage() -> Result<u8, Failure> {
    let spec = stages::second()?;
    if spec.supervised {
        return Ok(supervisor::run(spec.level)?);
    }
    match program(&spec)? {
        Some(mut command) => match command.stdin(Stdio::null()).spawn() {
            Ok(child) => Ok(stages::wait(&child)?),
            Err(error) => Err(exec_failure(&spec, error)),
        },
        None => Ok(0),
    }
}

/// Becomes a user of a new user namespace, and then the program.
fn as_user(id: &str, program: &str, arguments: &[String]) -> Result<u8, Failure> {
    become_user(id.parse()?)?;
    let error = Command::new(program).args(arguments).exec();
    Err(Failure {
        code: NOT_FOUND - 1,
        error: anyhow!(error).context(format!("cannot run {program}")),
    })
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
fn become_user(_id: u32) -> Result<()> {
    Err(anyhow!("this system has no user namespaces"))
}

#[cfg(not(target_os = "linux"))]
mod stages {
    use super::{Failure, Result, SandboxSpec, anyhow};

    pub(super) fn first(_spec: Vec<u8>, _supervised: bool) -> Result<u8, Failure> {
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
    // Its own path may be covered or hidden by then.
    let empty = mounts::open_handle(&spec.scratch.join("empty"))?;
    mounts::private(spec)?;
    mounts::protect_machine()?;
    if !spec.level.processes() {
        mounts::protect_proc()?;
    }
    for directory in spec.hide.iter().filter(|directory| directory.is_dir()) {
        mounts::bind(&mounts::handle_path(&empty), directory)?;
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

/// Enters a second user namespace. The mounts belong to the first namespace, where the program has no
/// capabilities. An ordinary user has none in its own namespace, either, after the program is executed;
/// what starts the programs of a notebook instance is that namespace's superuser, as which life-cycle
/// scripts run.
fn drop_privileges(spec: &SandboxSpec) -> Result<()> {
    become_user(if spec.supervised { 0 } else { ORDINARY_USER })
}

/// Enters a further user namespace as this user. The calling process is user 0 of its own.
#[cfg(target_os = "linux")]
fn become_user(id: u32) -> Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER)
        .context("cannot enter a further user namespace")?;
    map(id, 0, 0)
}
