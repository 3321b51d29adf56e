//! The two processes around a program with a process namespace: the first waits outside, the second
//! is the first process of the namespace; when it ends, the kernel kills all others.

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

use super::{Failure, SECOND_STAGE, SandboxSpec, drop_privileges, mounts};

/// Starts the second stage and passes its exit code on.
pub(super) fn first(mut spec: Vec<u8>, supervised: bool) -> Result<u8, Failure> {
    // SIGTERM is sent to the whole group: the program must handle it, not this process.
    SigSet::all().thread_block()?;
    let stage = |input: Stdio| {
        Command::new("/proc/self/exe")
            .arg0("mlops")
            .args(["job-process", SECOND_STAGE])
            .env_clear()
            .stdin(input)
            .spawn()
            .context("cannot enter a process namespace")
    };
    let status = if supervised {
        // The server sends the specification, too; the end of its input tells that the server is gone.
        stage(Stdio::inherit())?.wait()?
    } else {
        let mut child = stage(Stdio::piped())?;
        let mut pipe = child.stdin.take().context("no pipe")?;
        spec.push(b'\n');
        pipe.write_all(&spec).context("the second stage ended")?;
        let status = child.wait()?;
        // Closing it earlier would tell the second stage that this process has exited.
        drop(pipe);
        status
    };
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
    mounts::protect_proc()?;
    if spec.level.users() {
        drop_privileges(&spec)?;
    }
    set_pdeathsig(Signal::SIGKILL)?;
    if spec.supervised {
        // It reads its input to the end.
        return Ok(spec);
    }
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
