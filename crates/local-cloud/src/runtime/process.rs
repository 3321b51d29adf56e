//! A job's process on the server's side: started by a thread of its own, read line by line, ended
//! with its whole process group.

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
use super::enter::{IsolationLevel, Spec, View};
use crate::api::{ApiError, ApiResult};
use crate::{Cloud, beneath, clock, logs};

/// CloudWatch Logs takes events of 256 KiB, 26 bytes of which are its own.
const LONGEST_LINE: usize = (256 << 10) - 26;

/// How long the output of a program that has ended may still come from processes that left its
/// group.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A running process; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    group: Arc<Mutex<Option<Pid>>>,
    code: watch::Receiver<Option<i32>>,
    output: Output,
}

/// The server's own end of a process's output, while the process lives.
type Output = Arc<Mutex<Option<PipeWriter>>>;

impl Running {
    /// Waits for the end; 128 and the signal's number when a signal ended it.
    pub(crate) async fn wait(&self) -> i32 {
        let mut code = self.code.clone();
        // The thread reports before it ends; were it to panic, the process would have no code.
        match code.wait_for(Option::is_some).await {
            Ok(code) => code.unwrap_or(-1),
            Err(_) => -1,
        }
    }

    /// Asks every process of the group to end (SIGTERM), and after `grace` kills them.
    pub(crate) async fn terminate(&self, grace: Duration) -> i32 {
        self.signal(Signal::SIGTERM);
        tokio::select! {
            code = self.wait() => return code,
            () = clock::sleep(grace) => {}
        }
        self.signal(Signal::SIGKILL);
        self.wait().await
    }

    /// The exit code when the process has ended.
    pub(crate) fn ended(&self) -> Option<i32> {
        *self.code.borrow()
    }

    /// Puts a line behind what the process has written so far: whoever reads its output has read
    /// all of that once this line comes. False when the process has ended.
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
    // The number is taken away before the process is reaped, so that it can be nobody else's.
    if let Some(pid) = *group.lock().unwrap_or_else(PoisonError::into_inner) {
        // A group that is gone already is what was wanted.
        let _ = killpg(pid, signal);
    }
}

/// Makes the directory beside a job's for its HOME, its TMPDIR and what starts it.
pub(super) fn scratch(base_dir: &Path) -> ApiResult<PathBuf> {
    let mut name = base_dir
        .file_name()
        .ok_or_else(|| ApiError::internal("a job's directory has no name"))?
        .to_owned();
    name.push(".run");
    let scratch = base_dir.with_file_name(name);
    // A program before this one reaches that directory: nothing of it is used again.
    beneath::remove(&scratch).map_err(|remains| ApiError::from(remains.error))?;
    for part in ["home", "tmp", "empty", "old"] {
        std::fs::create_dir_all(scratch.join(part))?;
    }
    Ok(scratch)
}

/// Our own program. By this path it is found even when it was replaced since the start.
fn own_program() -> ApiResult<PathBuf> {
    if cfg!(target_os = "linux") {
        Ok(PathBuf::from("/proc/self/exe"))
    } else {
        Ok(std::env::current_exe()?)
    }
}

fn command(spec: &Spec) -> ApiResult<Command> {
    let file = spec.scratch.join("spec.json");
    std::fs::write(&file, serde_json::to_vec(spec).map_err(ApiError::internal)?)?;
    let mut command = Command::new(own_program()?);
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

/// Finds out, once for each server, which namespaces the kernel allows.
pub(super) async fn isolation(cloud: &Cloud) -> ApiResult<Isolation> {
    static FOUND: OnceLock<Isolation> = OnceLock::new();
    if let Some(found) = FOUND.get() {
        return Ok(found.clone());
    }
    let parent = cloud.directory().join("jobs");
    std::fs::create_dir_all(&parent)?;
    // In directory mode a job could otherwise read the environment of this very process.
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_dumpable(false).map_err(ApiError::internal)?;
    let found = tokio::task::spawn_blocking(move || -> ApiResult<Isolation> {
        let mut reasons = Vec::new();
        for level in IsolationLevel::TRIED {
            match attempt(&parent, level)? {
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

/// Tries the namespaces without a program; the reason when they cannot be entered.
fn attempt(parent: &Path, level: IsolationLevel) -> ApiResult<Option<String>> {
    let trial = tempfile::Builder::new()
        .prefix(".trial-")
        .tempdir_in(parent)?;
    let base_dir = trial.path().join("ml");
    let opt = trial.path().join("opt");
    std::fs::create_dir_all(&base_dir)?;
    std::fs::create_dir_all(opt.join("program"))?;
    let output = command(&Spec {
        level,
        network: true,
        scratch: scratch(&base_dir)?,
        view: View::Job { base_dir, opt },
        hide: Vec::new(),
        command: Vec::new(),
        environment: BTreeMap::default(),
        working_directory: "/".into(),
        parent: std::process::id(),
    })?
    .output()?;
    let reason = String::from_utf8_lossy(&output.stderr);
    Ok((!output.status.success()).then(|| reason.trim().replace("[mlops] ", "")))
}

/// The lines of a process's output, each with its time in milliseconds since the epoch.
pub(super) type Lines = [(i64, String)];

/// What becomes of a job's output: the lines of a log stream.
pub(super) fn to_log(
    cloud: &Cloud,
    group: String,
    stream: String,
) -> impl FnMut(&Lines) + Send + 'static {
    let cloud = cloud.clone();
    let mut lost = 0;
    move |lines| {
        // A log that cannot be written must not stop the job it is about; the next lines that can
        // be written say what is missing.
        let note = (lost > 0).then(|| {
            let time = lines.first().map_or(0, |(time, _)| *time);
            (
                time,
                format!("[mlops] {lost} lines were lost: the log could not be written"),
            )
        });
        let all: Vec<(i64, String)> = note.into_iter().chain(lines.iter().cloned()).collect();
        match logs::append(&cloud, &group, &stream, &all) {
            Ok(()) => lost = 0,
            Err(_) => lost += lines.len(),
        }
    }
}

/// Starts the process and its thread. The thread lives as long as the process: Linux sends the
/// parent-death signal when the *thread* that started a process ends.
pub(super) async fn spawn(
    spec: &Spec,
    lines: impl FnMut(&Lines) + Send + 'static,
) -> ApiResult<Running> {
    let mut command = command(spec)?;
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
            // The pipe ends with its last writer: our own copies must go.
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
                let _ = last.recv_timeout(LAST_WORDS);
            }
            // What the scratch directory holds is of no use to anyone.
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

/// Lets the output end when the last process closes it.
fn close(output: &Output) {
    *output.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// Waits for the process, and kills what it leaves of its group.
fn reap(mut child: Child, group: &Mutex<Option<Pid>>) -> i32 {
    #[cfg(target_os = "linux")]
    {
        use nix::sys::wait::{Id, WaitPidFlag, waitid};

        let pid = *group.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pid) = pid {
            // Leaves it unreaped, so that the group still has its number when it is killed.
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

/// Reads lines as they come, as many at a time as are there, until the last writer is gone.
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
            push(&mut batch, now, &rest[start..start + end]);
            start += end + 1;
        }
        rest.drain(..start);
        if rest.len() >= LONGEST_LINE {
            push(&mut batch, now, &rest);
            rest.clear();
        }
        if !batch.is_empty() {
            lines(&batch);
        }
    }
    let mut batch = Vec::new();
    push(&mut batch, jiff::Timestamp::now().as_millisecond(), &rest);
    if !batch.is_empty() {
        lines(&batch);
    }
}

/// Adds a line; CloudWatch Logs has no empty ones, and none longer than an event.
fn push(batch: &mut Vec<(i64, String)>, now: i64, line: &[u8]) {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    for part in line.chunks(LONGEST_LINE) {
        batch.push((now, String::from_utf8_lossy(part).into_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_arrive_whole_and_long_ones_in_parts() {
        let long = "x".repeat(LONGEST_LINE + 10);
        let input = format!("one\r\n\ntwo\n{long}\nlast");
        let mut found = Vec::new();
        read_lines(input.as_bytes(), |lines| {
            found.extend(lines.iter().map(|(_, line)| line.clone()));
        });
        assert_eq!(found[..2], ["one", "two"]);
        assert_eq!(found.last().unwrap(), "last");
        let whole: String = found[2..found.len() - 1].concat();
        assert_eq!(whole, long);
        assert!(found.iter().all(|line| line.len() <= LONGEST_LINE));
    }
}
