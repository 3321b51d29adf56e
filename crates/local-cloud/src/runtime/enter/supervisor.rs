//! The first process of a notebook instance: starts programs in its namespaces, as the server
//! requests, and ends them all.
//!
//! ```text
//! server ── one [`Start`] per line of its input ──> supervisor ── starts ──> life-cycle scripts, git, JupyterLab
//!        <── one [`Event`] per line of its output ──┘
//! ```
//!
//! What a script leaves in the background keeps running, as on AWS, until the instance stops: the
//! supervisor adopts orphans. It ends when its input does, so it never outlives the server.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, PipeReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::{AS_USER, IsolationLevel, ORDINARY_USER};

/// Time for programs to exit after SIGTERM.
const GRACE: Duration = Duration::from_secs(3);

/// Time to wait, after a program has ended, for output of what it left in the background.
const OUTPUT_GRACE: Duration = Duration::from_millis(200);

/// Interval between checks for remaining processes.
const INTERVAL: Duration = Duration::from_millis(10);

/// Maximum length of a line in an event, in bytes.
const MAX_LINE: usize = 32 << 10;

/// A program to start.
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) struct Start {
    /// Its name in events.
    pub(in super::super) name: String,
    /// True for the superuser of the instance, false for ec2-user.
    pub(in super::super) superuser: bool,
    /// The program and its arguments.
    pub(in super::super) command: Vec<String>,
    /// The complete environment.
    pub(in super::super) environment: BTreeMap<String, String>,
    /// The working directory.
    pub(in super::super) working_directory: PathBuf,
    /// Time after which it is killed, with its process group.
    pub(in super::super) limit: Option<Duration>,
}

/// The end of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Ended {
    /// The exit code; 128 plus the signal number if a signal ended it.
    pub(in super::super) code: i32,
    /// True if it was killed because it exceeded its limit.
    pub(in super::super) timed_out: bool,
}

/// Something that happened to a program.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in super::super) enum Event {
    /// A line of output.
    Output { name: String, line: String },
    /// The program has ended. Its output up to here was sent before.
    Ended { name: String, end: Ended },
}

fn emit(event: &Event) {
    let Ok(mut line) = serde_json::to_vec(event) else {
        return;
    };
    line.push(b'\n');
    // If the server is gone, so is the reader of events.
    let _ = std::io::stdout().lock().write_all(&line);
}

/// The programs that have not been reaped.
#[derive(Debug, Default)]
struct Programs {
    /// Number of programs started so far.
    started: u64,
    running: BTreeMap<Pid, mpsc::Sender<i32>>,
}

#[derive(Debug)]
struct Supervisor {
    level: IsolationLevel,
    programs: Mutex<Programs>,
    change: Condvar,
}

/// Starts programs until the input ends, then ends all.
pub(super) fn run(level: IsolationLevel) -> Result<u8> {
    // SIGTERM is sent to the whole group; programs are ended by this process.
    SigSet::all().thread_block()?;
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_child_subreaper(true)?;
    let supervisor = Arc::new(Supervisor {
        level,
        programs: Mutex::default(),
        change: Condvar::new(),
    });
    let reaper = supervisor.clone();
    std::thread::spawn(move || reaper.reap());
    let served = supervisor.serve();
    // Also after an error: without a process namespace, nothing else ends the programs.
    supervisor.end();
    served.map(|()| 0)
}

impl Supervisor {
    /// Starts programs until the input ends.
    fn serve(self: &Arc<Self>) -> Result<()> {
        for line in std::io::stdin().lock().lines() {
            let start: Start = serde_json::from_str(&line?)?;
            let name = start.name.clone();
            if let Err(error) = self.start(start) {
                let line = format!("[mlops] {error:#}");
                emit(&Event::Output {
                    name: name.clone(),
                    line,
                });
                let end = Ended {
                    code: 126,
                    timed_out: false,
                };
                emit(&Event::Ended { name, end });
            }
        }
        Ok(())
    }

    fn programs(&self) -> MutexGuard<'_, Programs> {
        self.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, start: Start) -> Result<()> {
        let (program, arguments) = start.command.split_first().context("no program")?;
        let mut command = if self.level.users() && !start.superuser {
            let mut command = Command::new("/proc/self/exe");
            let id = ORDINARY_USER.to_string();
            command
                .arg0("mlops")
                .args(["job-process", AS_USER, &id, program]);
            command
        } else {
            Command::new(program)
        };
        let (reader, writer) = std::io::pipe()?;
        command
            .args(arguments)
            .env_clear()
            .envs(&start.environment)
            .current_dir(&start.working_directory)
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0);
        let (report, code) = mpsc::channel();
        let pid = {
            // Held while the program starts, so that only `start` reaps one that could not be executed.
            let mut programs = self.programs();
            let child = command
                .spawn()
                .with_context(|| format!("cannot run {program}"))?;
            let pid = Pid::from_raw(i32::try_from(child.id())?);
            programs.started += 1;
            programs.running.insert(pid, report);
            self.change.notify_all();
            pid
        };
        // Our copies of the pipe's end; a reader would otherwise never see the end of the output.
        drop(command);
        let (finished, last) = mpsc::channel::<()>();
        let name = start.name.clone();
        std::thread::spawn(move || {
            forward(&name, reader);
            drop(finished);
        });
        std::thread::spawn(move || {
            let (code, timed_out) = await_end(&code, pid, start.limit);
            let _ = last.recv_timeout(OUTPUT_GRACE);
            let end = Ended { code, timed_out };
            emit(&Event::Ended {
                name: start.name,
                end,
            });
        });
        Ok(())
    }

    /// Reaps programs and orphans, which are adopted by this process.
    fn reap(&self) {
        loop {
            let before = self.programs().started;
            match next_ended() {
                Ok(pid) => {
                    let mut programs = self.programs();
                    // An error: `start` has reaped it.
                    let code = match waitpid(pid, None) {
                        Ok(WaitStatus::Exited(_, code)) => code,
                        Ok(WaitStatus::Signaled(_, signal, _)) => 128 + signal as i32,
                        _ => continue,
                    };
                    if let Some(report) = programs.running.remove(&pid) {
                        let _ = report.send(code);
                    }
                    self.change.notify_all();
                }
                Err(Errno::ECHILD) => {
                    let mut programs = self.programs();
                    while programs.started == before {
                        let woken = self.change.wait(programs);
                        programs = woken.unwrap_or_else(PoisonError::into_inner);
                    }
                }
                Err(_) => {}
            }
        }
    }

    /// Ends the programs: SIGTERM, and SIGKILL after a grace period. The rest of a process namespace is
    /// killed by the kernel when this process ends; elsewhere, everything that descends from it is.
    fn end(&self) {
        let until = Instant::now() + GRACE;
        let mut programs = self.programs();
        for pid in programs.running.keys() {
            let _ = killpg(*pid, Signal::SIGTERM);
        }
        while !programs.running.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let woken = self.change.wait_timeout(programs, left);
            programs = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        for pid in programs.running.keys() {
            let _ = killpg(*pid, Signal::SIGKILL);
        }
        drop(programs);
        if !self.level.processes() {
            self.kill_descendants();
        }
    }

    /// Kills what descends from this process, and waits until it is reaped.
    fn kill_descendants(&self) {
        let until = Instant::now() + GRACE;
        while Instant::now() < until {
            let mut found = Vec::new();
            let mut waiting = children(Pid::this());
            while let Some(pid) = waiting.pop() {
                waiting.extend(children(pid));
                found.push(pid);
            }
            if found.is_empty() {
                return;
            }
            for pid in found {
                let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
            }
            // Reaping one of them ends the wait.
            let _ = self.change.wait_timeout(self.programs(), INTERVAL);
        }
    }
}

/// Waits for the exit code of a program, which is killed at its limit.
fn await_end(code: &mpsc::Receiver<i32>, pid: Pid, limit: Option<Duration>) -> (i32, bool) {
    let in_time = match limit {
        Some(limit) => code.recv_timeout(limit).ok(),
        None => code.recv().ok(),
    };
    if let Some(code) = in_time {
        return (code, false);
    }
    let _ = killpg(pid, Signal::SIGKILL);
    (code.recv().unwrap_or(-1), limit.is_some())
}

/// Waits until a child has ended, without reaping it.
#[cfg(target_os = "linux")]
fn next_ended() -> nix::Result<Pid> {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};

    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    waitid(Id::All, flags)?.pid().ok_or(Errno::EAGAIN)
}

#[cfg(not(target_os = "linux"))]
fn next_ended() -> nix::Result<Pid> {
    Err(Errno::ENOSYS)
}

/// The children of a process (proc(5), /proc/PID/task/TID/children).
fn children(pid: Pid) -> Vec<Pid> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    tasks
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|list| {
            let ids = list.split_whitespace().filter_map(|id| id.parse().ok());
            ids.map(Pid::from_raw).collect::<Vec<_>>()
        })
        .collect()
}

/// Sends output line by line; long lines in parts.
fn forward(name: &str, reader: PipeReader) {
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
        match reader.by_ref().take(limit).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if !text.is_empty() {
            emit(&Event::Output {
                name: name.to_owned(),
                line: String::from_utf8_lossy(text).into_owned(),
            });
        }
    }
}
