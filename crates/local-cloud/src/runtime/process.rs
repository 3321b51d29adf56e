//! The server side of a process: started by its own thread, read line by line, ended with its whole
//! process group.

use std::collections::BTreeMap;
use std::io::{PipeWriter, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::sync::{oneshot, watch};

use super::Isolation;
use super::enter::{IsolationLevel, SandboxSpec, View};
use crate::api::{ApiError, ApiResult};
use crate::cloud::caller::Caller;
use crate::{Cloud, beneath, children, clock, logs};

/// Maximum length of a line, in bytes: CloudWatch Logs accepts events of 256 KiB, including 26
/// bytes of overhead.
const MAX_LINE: usize = (256 << 10) - 26;

/// Time to wait, after a program has ended, for output of processes that left its group.
const OUTPUT_GRACE: Duration = Duration::from_secs(2);

/// A running process; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    group: Arc<Mutex<Option<Pid>>>,
    code: watch::Receiver<Option<i32>>,
    output: Output,
}

/// The server's own write end of the output, while the process is alive.
type Output = Arc<Mutex<Option<PipeWriter>>>;

impl Running {
    /// Waits for the exit code; 128 plus the signal number if a signal ended the process.
    pub(crate) async fn wait(&self) -> i32 {
        let mut code = self.code.clone();
        // The thread reports before it ends; if it panics, there is no exit code.
        match code.wait_for(Option::is_some).await {
            Ok(code) => code.unwrap_or(-1),
            Err(_) => -1,
        }
    }

    /// Sends SIGTERM to every process of the group, and SIGKILL after `grace`.
    pub(crate) async fn terminate(&self, grace: Duration) -> i32 {
        self.signal(Signal::SIGTERM);
        tokio::select! {
            code = self.wait() => return code,
            () = clock::sleep(grace) => {}
        }
        self.signal(Signal::SIGKILL);
        self.wait().await
    }

    /// The exit code if the process has ended.
    pub(crate) fn ended(&self) -> Option<i32> {
        *self.code.borrow()
    }

    /// Appends a line to the output of the process: a reader that receives it has received
    /// everything written before. False if the process has ended.
    pub(crate) fn mark(&self, line: &str) -> bool {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        output
            .as_mut()
            .is_some_and(|output| output.write_all(format!("\n{line}\n").as_bytes()).is_ok())
    }

    fn signal(&self, signal: Signal) {
        signal_group(&self.group, signal);
    }
}

fn signal_group(group: &Mutex<Option<Pid>>, signal: Signal) {
    // The id is cleared before the process is reaped, so it cannot belong to another process.
    if let Some(pid) = *group.lock().unwrap_or_else(PoisonError::into_inner) {
        // It is fine if the group has already ended.
        let _ = killpg(pid, signal);
    }
}

/// Creates the directory next to that of a job for HOME, TMPDIR and the specification.
pub(super) fn scratch(base_dir: &Path) -> ApiResult<PathBuf> {
    let mut name = base_dir
        .file_name()
        .ok_or_else(|| ApiError::internal("a job's directory has no name"))?
        .to_owned();
    name.push(".run");
    let scratch = base_dir.with_file_name(name);
    // An earlier program could write to that directory: nothing in it is reused.
    beneath::remove(&scratch).map_err(|remains| ApiError::from(remains.error))?;
    for part in ["home", "tmp", "empty", "old"] {
        std::fs::create_dir_all(scratch.join(part))?;
    }
    Ok(scratch)
}

fn command(spec: &SandboxSpec) -> ApiResult<Command> {
    #[cfg(test)]
    if let Some((program, arguments)) = spec.command.split_first() {
        // The test binary cannot enter namespaces.
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(&spec.environment)
            .current_dir(&spec.working_directory)
            .stdin(Stdio::null())
            .process_group(0);
        return Ok(command);
    }
    let file = spec.scratch.join("spec.json");
    std::fs::write(&file, serde_json::to_vec(spec).map_err(ApiError::internal)?)?;
    let mut command = Command::new(children::own_executable()?);
    command
        .arg0("mlops")
        .arg("job-process")
        .arg(file)
        .env_clear()
        .current_dir(&spec.scratch)
        .stdin(Stdio::null())
        .process_group(0);
    Ok(command)
}

/// Detects, once per server, which namespaces the kernel allows.
pub(super) async fn isolation(cloud: &Cloud) -> ApiResult<Isolation> {
    static FOUND: OnceLock<Isolation> = OnceLock::new();
    if cfg!(test) {
        return Ok(Isolation::Directory("a test".to_owned()));
    }
    if let Some(found) = FOUND.get() {
        return Ok(found.clone());
    }
    let parent = cloud.directory().join("jobs");
    std::fs::create_dir_all(&parent)?;
    // Without namespaces, a job could otherwise read the environment of this process.
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_dumpable(false).map_err(ApiError::internal)?;
    let found = tokio::task::spawn_blocking(move || -> ApiResult<Isolation> {
        let mut reasons = Vec::new();
        for level in IsolationLevel::ALL {
            match try_level(&parent, level)? {
                None => return Ok(Isolation::Namespace(level)),
                Some(reason) => reasons.push(reason),
            }
        }
        reasons.dedup();
        Ok(Isolation::Directory(reasons.join("; ")))
    })
    .await
    .map_err(ApiError::internal)??;
    Ok(FOUND.get_or_init(|| found).clone())
}

/// Tries to enter the namespaces without a program; returns the reason for a failure.
fn try_level(parent: &Path, level: IsolationLevel) -> ApiResult<Option<String>> {
    let trial = tempfile::Builder::new()
        .prefix(".trial-")
        .tempdir_in(parent)?;
    let base_dir = trial.path().join("ml");
    let opt = trial.path().join("opt");
    std::fs::create_dir_all(&base_dir)?;
    std::fs::create_dir_all(opt.join("program"))?;
    let output = command(&SandboxSpec {
        level,
        network: true,
        scratch: scratch(&base_dir)?,
        view: View::Job { base_dir, opt },
        hide: Vec::new(),
        command: Vec::new(),
        environment: BTreeMap::default(),
        working_directory: "/".into(),
        parent: std::process::id(),
        supervised: false,
    })?
    .output()?;
    let reason = String::from_utf8_lossy(&output.stderr);
    Ok((!output.status.success()).then(|| reason.trim().replace("[mlops] ", "")))
}

/// Lines of output, each with its time in milliseconds since the epoch.
pub(super) type Lines = [(i64, String)];

/// Writes output to a log stream on behalf of a role.
pub(super) fn to_log(
    cloud: &Cloud,
    role: Caller,
    group: String,
    stream: String,
) -> impl FnMut(&Lines) + Send + 'static {
    let cloud = cloud.clone();
    let mut lost = 0;
    move |lines| {
        // A failure to write the log must not stop the job; the next lines that can be written
        // report how many are missing.
        let note = (lost > 0).then(|| {
            let time = lines.first().map_or(0, |(time, _)| *time);
            (
                time,
                format!("[mlops] {lost} lines were lost: the log could not be written"),
            )
        });
        let all: Vec<(i64, String)> = note.into_iter().chain(lines.iter().cloned()).collect();
        match logs::append(&cloud, &role, &group, &stream, &all) {
            Ok(()) => lost = 0,
            Err(_) => lost += lines.len(),
        }
    }
}

/// Starts the process and its thread. The thread lives as long as the process: Linux sends the
/// parent-death signal when the *thread* that started a process exits.
pub(super) async fn spawn(
    spec: &SandboxSpec,
    lines: impl FnMut(&Lines) + Send + 'static,
) -> ApiResult<Running> {
    spawn_with_input(spec, Stdio::null(), lines).await
}

/// [`spawn`] for a process that reads an input.
pub(super) async fn spawn_with_input(
    spec: &SandboxSpec,
    input: Stdio,
    lines: impl FnMut(&Lines) + Send + 'static,
) -> ApiResult<Running> {
    let mut command = command(spec)?;
    command.stdin(input);
    let scratch = spec.scratch.clone();
    let (reader, writer) = std::io::pipe()?;
    let output: Output = Arc::new(Mutex::new(Some(writer.try_clone()?)));
    let ours = output.clone();
    command.stdout(writer.try_clone()?).stderr(writer);
    let (started, start) = oneshot::channel();
    let (report, code) = watch::channel(None);
    std::thread::Builder::new()
        .name("job".to_owned())
        .spawn(move || {
            let child = command.spawn();
            // The pipe ends when its last writer is closed, so our own copies must be closed.
            drop(command);
            let child = match child {
                Ok(child) => child,
                Err(error) => {
                    close(&ours);
                    let _ = started.send(Err(ApiError::from(error)));
                    return;
                }
            };
            let pid = i32::try_from(child.id()).map(Pid::from_raw).ok();
            let group = Arc::new(Mutex::new(pid));
            let _ = started.send(Ok(group.clone()));
            let (finished, last) = mpsc::channel::<()>();
            let drain = std::thread::Builder::new()
                .name("job-log".to_owned())
                .spawn(move || {
                    read_lines(reader, lines);
                    drop(finished);
                });
            let result = reap(child, &group);
            close(&ours);
            if drain.is_ok() {
                let _ = last.recv_timeout(OUTPUT_GRACE);
            }
            // The scratch directory is not needed any more.
            let _ = beneath::remove(&scratch);
            let _ = report.send(Some(result));
        })?;
    let group = start.await.map_err(ApiError::internal)??;
    Ok(Running {
        group,
        code,
        output,
    })
}

/// Closes our end, so that the output ends when the last process closes it.
fn close(output: &Output) {
    *output.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// Waits for the process, then kills the rest of its group.
fn reap(mut child: Child, group: &Mutex<Option<Pid>>) -> i32 {
    #[cfg(target_os = "linux")]
    {
        use nix::sys::wait::{Id, WaitPidFlag, waitid};

        let pid = *group.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pid) = pid {
            // Does not reap it, so that the group keeps its id until it is killed.
            while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
                == Err(nix::errno::Errno::EINTR)
            {}
        }
    }
    #[cfg(not(target_os = "linux"))]
    let early = child.wait();
    signal_group(group, Signal::SIGKILL);
    *group.lock().unwrap_or_else(PoisonError::into_inner) = None;
    #[cfg(target_os = "linux")]
    let early = child.wait();
    match early {
        Ok(status) => status
            .code()
            .or_else(|| status.signal().map(|signal| 128 + signal))
            .unwrap_or(-1),
        Err(_) => -1,
    }
}

/// Reads lines as they arrive, in batches, until the last writer is closed.
fn read_lines(mut reader: impl Read, mut lines: impl FnMut(&[(i64, String)])) {
    let mut buffer = vec![0; 64 << 10];
    let mut rest: Vec<u8> = Vec::new();
    loop {
        let read = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let now = jiff::Timestamp::now().as_millisecond();
        rest.extend_from_slice(&buffer[..read]);
        let mut batch = Vec::new();
        let mut start = 0;
        while let Some(end) = rest[start..].iter().position(|byte| *byte == b'\n') {
            push_line(&mut batch, now, &rest[start..start + end]);
            start += end + 1;
        }
        rest.drain(..start);
        if rest.len() >= MAX_LINE {
            push_line(&mut batch, now, &rest);
            rest.clear();
        }
        if !batch.is_empty() {
            lines(&batch);
        }
    }
    let mut batch = Vec::new();
    push_line(&mut batch, jiff::Timestamp::now().as_millisecond(), &rest);
    if !batch.is_empty() {
        lines(&batch);
    }
}

/// Adds a line. CloudWatch Logs has no empty events, and none longer than the maximum.
fn push_line(batch: &mut Vec<(i64, String)>, now: i64, line: &[u8]) {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    for part in line.chunks(MAX_LINE) {
        batch.push((now, String::from_utf8_lossy(part).into_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_arrive_complete_and_long_ones_in_parts() {
        let long = "x".repeat(MAX_LINE + 10);
        let input = format!("one\r\n\ntwo\n{long}\nlast");
        let mut found = Vec::new();
        read_lines(input.as_bytes(), |lines| {
            found.extend(lines.iter().map(|(_, line)| line.clone()));
        });
        assert_eq!(found[..2], ["one", "two"]);
        assert_eq!(found.last().unwrap(), "last");
        let whole: String = found[2..found.len() - 1].concat();
        assert_eq!(whole, long);
        assert!(found.iter().all(|line| line.len() <= MAX_LINE));
    }
}
