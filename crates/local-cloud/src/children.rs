//! Programs that end together with their owner: the request that started them, or the server,
//! however that ends.
//!
//! ```text
//! server ── spawns, from a thread that never ends ──> `mlops job-process guard PARENT PROGRAM …`
//!                                                        └ the program, in the guard's process group
//! ```
//!
//! The kernel sends the guard SIGTERM when the server dies, and so does dropping a [`Guarded`]. The
//! guard then ends the whole group: SIGTERM first, so that git removes its lock files, and SIGKILL
//! after [`GRACE`].

use std::ffi::OsStr;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;

use crate::log;

/// The first argument of `mlops job-process` for a guard.
pub(super) const GUARD: &str = "guard";

/// Time for a program to exit after SIGTERM.
const GRACE: Duration = Duration::from_secs(3);

/// A running program under a guard. Dropping it ends the program.
#[derive(Debug)]
pub(super) struct Guarded {
    child: Child,
    ender: Ender,
}

/// Ends a guarded program; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Ender(Arc<Mutex<Option<Pid>>>);

impl Ender {
    /// Tells the guard to end its program, unless it has already ended.
    pub(super) fn end(&self) {
        if let Some(guard) = *self.lock() {
            // If the guard is gone, so is the program.
            let _ = kill(guard, Signal::SIGTERM);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Pid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guarded {
    /// Starts a program. `prepare` sets its environment, directory, input and output.
    pub(super) async fn spawn(
        program: &Path,
        arguments: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> std::io::Result<Self> {
        let mut command = if cfg!(test) {
            // The test binary cannot act as a guard.
            std::process::Command::new(program)
        } else {
            let mut guard = std::process::Command::new(own_executable()?);
            guard
                .arg0("mlops")
                .args(["job-process", GUARD])
                .arg(std::process::id().to_string())
                .arg(program);
            guard
        };
        command.args(arguments).process_group(0);
        let mut command = Command::from(command);
        prepare(&mut command);
        let child = spawn(command).await?;
        let guard = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .map(Pid::from_raw);
        Ok(Self {
            child,
            ender: Ender(Arc::new(Mutex::new(guard))),
        })
    }

    pub(super) fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    pub(super) fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    pub(super) fn ender(&self) -> Ender {
        self.ender.clone()
    }

    /// Waits for the program to exit.
    pub(super) async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        // From now on, another process may have its id.
        *self.ender.lock() = None;
        Ok(status)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // A program that was waited for has no id any more.
        if self.child.id().is_some() {
            self.ender.end();
        }
        // An ender that still exists must not signal another process.
        *self.ender.lock() = None;
    }
}

/// Path of this program; it stays valid if the file was replaced since the start.
pub(crate) fn own_executable() -> std::io::Result<PathBuf> {
    if cfg!(target_os = "linux") {
        Ok(PathBuf::from("/proc/self/exe"))
    } else {
        std::env::current_exe()
    }
}

type Work = Box<dyn FnOnce() + Send>;

/// Starts a process from a thread that lives as long as the server: Linux sends the parent-death
/// signal when the *thread* that started a process exits.
async fn spawn(mut command: Command) -> std::io::Result<Child> {
    static THREAD: OnceLock<Option<mpsc::Sender<Work>>> = OnceLock::new();

    let thread = THREAD.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<Work>();
        let work = move || {
            for work in receiver {
                work();
            }
        };
        std::thread::Builder::new()
            .name("children".to_owned())
            .spawn(work)
            .ok()
            .map(|_| sender)
    });
    let runtime = tokio::runtime::Handle::current();
    let (started, start) = oneshot::channel();
    let work = Box::new(move || {
        let _inside = runtime.enter();
        // The request may have ended in the meantime: a child that nobody receives is killed, and
        // reaped when dropped.
        if let Err(Ok(mut child)) = started.send(command.spawn()) {
            let _ = child.start_kill();
        }
    });
    thread
        .as_ref()
        .and_then(|thread| thread.send(work).ok())
        .ok_or_else(|| std::io::Error::other("no thread to start programs from"))?;
    start.await.map_err(std::io::Error::other)?
}

/// The guard (`mlops job-process guard PARENT PROGRAM …`): runs the program and ends it when told
/// to, or when its parent dies. It is single-threaded.
pub(super) fn guard(arguments: &[String]) -> ExitCode {
    match run_guard(arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            log::write_line(&format!("[mlops] {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run_guard(arguments: &[String]) -> Result<u8> {
    let [parent, program, arguments @ ..] = arguments else {
        return Err(anyhow!("a guard is started by the local cloud only"));
    };
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGCHLD);
    // `Command` resets the signal mask of the program.
    signals.thread_block()?;
    exit_with_parent(parent)?;
    let mut child = std::process::Command::new(OsStr::new(program))
        .args(arguments)
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    loop {
        if signals.wait()? == Signal::SIGTERM {
            return end(&mut child);
        }
        if let Some(status) = child.try_wait()? {
            return Ok(code(status));
        }
    }
}

fn code(status: ExitStatus) -> u8 {
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1)
}

/// Ends the program and everything that it started. SIGKILL also ends the guard, which is in the
/// same group.
fn end(child: &mut std::process::Child) -> Result<u8> {
    let group = nix::unistd::getpgrp();
    killpg(group, Signal::SIGTERM)?;
    // A timer that needs no thread or signal: nothing is ever sent.
    let (_silence, timer) = mpsc::channel::<()>();
    let start = Instant::now();
    while start.elapsed() < GRACE && child.try_wait()?.is_none() {
        let _ = timer.recv_timeout(Duration::from_millis(5));
    }
    killpg(group, Signal::SIGKILL)?;
    Ok(1)
}

/// Requests SIGTERM from the kernel when the parent dies; fails if the parent is already dead.
#[cfg(target_os = "linux")]
fn exit_with_parent(parent: &str) -> Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?;
    if nix::unistd::getppid().to_string() != parent {
        return Err(anyhow!("the local cloud has ended"));
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn exit_with_parent(_parent: &str) -> Result<()> {
    Ok(())
}
