//! An execution environment: one process of a function, its Runtime API and its log stream.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::oneshot;

use super::api::{self, Event, ProcessMessage, Server};
use super::records::Plan;
use super::{LATEST, code};
use crate::api::{ApiError, ApiResult};
use crate::runtime::{self, FunctionSpec, Program, Running, TASK_ROOT};
use crate::sts::ServiceSession;
use crate::{Cloud, beneath, clock, logs, sts};

/// Minimum time for a process to request its first event (developer guide: the init phase).
const INIT: Duration = Duration::from_secs(10);

/// The time to read output that a process wrote before its response.
const OUTPUT: Duration = Duration::from_secs(2);

/// `LogResult` is the last this many bytes of an invocation's log.
const TAIL: usize = 4096;

/// The client of the Runtime API for `python3.*` functions.
const PYTHON: &str = include_str!("bootstrap.py");

/// A running environment. [`Environment::end`] ends it.
#[derive(Debug)]
pub(super) struct Environment {
    pub(super) plan: Plan,
    pub(super) process: Running,
    server: Server,
    pub(super) log: Arc<Log>,
    directory: PathBuf,
    /// True if the process has requested an event and has none.
    asked: bool,
    started: Instant,
    /// Start-up time, until an invocation has reported it.
    init: Option<Duration>,
}

/// How an invocation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// The function's response.
    Answer(Vec<u8>),
    /// The function, or its runtime, reported an error.
    Error(Vec<u8>),
    /// The response is too large.
    TooLarge,
    /// The process ended with this code.
    Exited(i32),
    /// It took longer than its timeout.
    TimedOut,
    /// The process cannot be started.
    NoEntry(String),
}

/// The outcome of an invocation.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) end: End,
    /// The end of its log.
    pub(super) tail: Vec<u8>,
}

impl Environment {
    /// Starts a process for the function without waiting for it.
    pub(super) async fn start(cloud: &Cloud, plan: &Plan) -> ApiResult<Self> {
        let session = sts::for_service(cloud, &plan.role, &plan.name, "lambda.amazonaws.com");
        let session = Arc::new(session.map_err(cannot_assume)?);
        let id = uuid::Uuid::new_v4().simple().to_string();
        let directory = cloud.directory().join("lambda").join(&id);
        let today = jiff::Timestamp::now().strftime("%Y/%m/%d");
        let log = Arc::new(Log {
            cloud: cloud.clone(),
            session: session.clone(),
            group: plan.log_group.clone(),
            stream: format!("{today}/[{LATEST}]{id}"),
            tail: Mutex::default(),
            marks: Marks::default(),
        });
        let server = api::serve().await?;
        let hear = log.clone();
        let function = FunctionSpec {
            code: code::directory(cloud, &plan.code),
            directory: directory.join("task"),
            session,
            program: if plan.runtime.starts_with("python") {
                Program::Python(PYTHON)
            } else {
                Program::Bootstrap
            },
            environment: variables(plan, &server.address, &log.stream),
        };
        let started = Instant::now();
        let (process, notes) =
            runtime::launch_function(cloud, function, move |lines| hear.output(lines)).await?;
        for note in notes {
            log.say(&format!("[mlops] {note}"));
        }
        Ok(Self {
            plan: plan.clone(),
            process,
            server,
            log,
            directory,
            asked: false,
            started,
            init: None,
        })
    }

    /// Waits until the process requests an event; the error is how it ended. A new process has its
    /// init phase for that, at least as long as the function's timeout.
    pub(super) async fn ready(&mut self) -> Result<(), End> {
        if self.asked {
            return self
                .process
                .ended()
                .map_or(Ok(()), |code| Err(End::Exited(code)));
        }
        let limit = INIT.max(Duration::from_secs(self.plan.timeout));
        let said = tokio::select! {
            biased;
            said = self.server.said.recv() => said,
            code = self.process.wait() => return Err(self.last_word().unwrap_or(End::Exited(code))),
            () = clock::sleep(limit) => return Err(End::TimedOut),
        };
        match said {
            Some(ProcessMessage::InitError(payload)) => Err(End::Error(payload)),
            Some(_) => {
                self.asked = true;
                self.init = Some(self.started.elapsed());
                Ok(())
            }
            None => Err(End::Exited(self.process.wait().await)),
        }
    }

    /// The last message of a process that has ended.
    fn last_word(&mut self) -> Option<End> {
        match self.server.said.try_recv() {
            Ok(ProcessMessage::InitError(payload) | ProcessMessage::Error(payload)) => {
                Some(End::Error(payload))
            }
            Ok(ProcessMessage::Response(payload)) => Some(End::Answer(payload)),
            _ => None,
        }
    }

    /// Runs one invocation in a process that is ready.
    pub(super) async fn run(&mut self, mut event: Event) -> Outcome {
        let id = event.id.clone();
        self.log.begin(&id);
        let timeout = Duration::from_secs(self.plan.timeout);
        let begun = Instant::now();
        event.deadline = jiff::Timestamp::now().as_millisecond()
            + i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX / 2);
        self.asked = false;
        let end = if self.server.events.send(event).await.is_err() {
            End::Exited(self.process.wait().await)
        } else {
            tokio::select! {
                end = self.answer() => end,
                () = clock::sleep(timeout) => End::TimedOut,
            }
        };
        let took = begun.elapsed();
        self.log.drained(&self.process).await;
        if !matches!(end, End::Answer(_) | End::Error(_) | End::TooLarge) {
            self.process.terminate(Duration::ZERO).await;
        }
        let init = self.init.take();
        Outcome {
            tail: self.log.finish(&id, &self.plan, &end, took, init),
            end,
        }
    }

    async fn answer(&mut self) -> End {
        loop {
            let said = tokio::select! {
                biased;
                said = self.server.said.recv() => said,
                code = self.process.wait() => {
                    return self.last_word().unwrap_or(End::Exited(code));
                }
            };
            return match said {
                Some(ProcessMessage::Response(payload)) => End::Answer(payload),
                Some(ProcessMessage::Error(payload) | ProcessMessage::InitError(payload)) => {
                    End::Error(payload)
                }
                Some(ProcessMessage::TooLarge) => End::TooLarge,
                // A second request for an event: the first one gets it.
                Some(ProcessMessage::Next) => continue,
                None => End::Exited(self.process.wait().await),
            };
        }
    }

    /// The log of an invocation whose process never became ready.
    pub(super) async fn give_up(&mut self, id: &str, end: End) -> Outcome {
        self.process.terminate(Duration::ZERO).await;
        self.log.begin(id);
        let took = self.started.elapsed();
        Outcome {
            tail: self.log.finish(id, &self.plan, &end, took, None),
            end,
        }
    }

    /// Ends the process and removes its files.
    pub(super) async fn end(self) {
        self.process.terminate(Duration::ZERO).await;
        let (state, directory) = (self.log.cloud.directory().to_owned(), self.directory);
        let discard = move || beneath::discard(&state, &directory);
        let _ = tokio::task::spawn_blocking(discard).await;
    }
}

/// The error of an invocation if Lambda cannot assume the function's role.
fn cannot_assume(error: ApiError) -> ApiError {
    if error.status >= 500 {
        return error;
    }
    let message = "The role defined for the function cannot be assumed by Lambda.";
    ApiError::new("AccessDeniedException", message).status(403)
}

/// The environment variables: those of the function, overridden by those that Lambda sets.
fn variables(plan: &Plan, address: &str, stream: &str) -> BTreeMap<String, String> {
    let mut all = plan.environment.clone();
    let library = format!("{TASK_ROOT}/lib");
    for (name, value) in [
        ("LANG", "en_US.UTF-8"),
        ("LD_LIBRARY_PATH", library.as_str()),
    ] {
        all.entry(name.to_owned())
            .or_insert_with(|| value.to_owned());
    }
    for (name, value) in [
        ("AWS_LAMBDA_FUNCTION_NAME", plan.name.clone()),
        ("AWS_LAMBDA_FUNCTION_VERSION", LATEST.to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", plan.memory.to_string()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", plan.log_group.clone()),
        ("AWS_LAMBDA_LOG_STREAM_NAME", stream.to_owned()),
        ("AWS_LAMBDA_RUNTIME_API", address.to_owned()),
        ("LAMBDA_TASK_ROOT", TASK_ROOT.to_owned()),
        ("TZ", ":UTC".to_owned()),
        ("_HANDLER", plan.handler.clone()),
    ] {
        all.insert(name.to_owned(), value);
    }
    if plan.runtime.starts_with("python") {
        let name = format!("AWS_Lambda_{}", plan.runtime);
        all.insert("AWS_EXECUTION_ENV".to_owned(), name);
    }
    all
}

/// The log stream of an environment.
pub(super) struct Log {
    cloud: Cloud,
    /// The session of the function's role.
    session: Arc<ServiceSession>,
    group: String,
    stream: String,
    /// The last part of the log of the current invocation.
    tail: Mutex<Vec<u8>>,
    marks: Marks,
}

/// Markers in the output, and their waiters: everything before a marker was read.
#[derive(Default)]
struct Marks(Mutex<Vec<(String, oneshot::Sender<()>)>>);

impl Marks {
    /// Adds a marker; the receiver hears when it was read.
    fn add(&self, line: &str) -> oneshot::Receiver<()> {
        let (reached, reach) = oneshot::channel();
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Drops markers whose waiter is gone.
        marks.retain(|(_, reached)| !reached.is_closed());
        marks.push((line.to_owned(), reached));
        reach
    }

    /// The position of the first marker in these lines, and its waiter.
    fn next(&self, lines: &[(i64, String)]) -> Option<(usize, oneshot::Sender<()>)> {
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if marks.is_empty() {
            return None;
        }
        lines.iter().enumerate().find_map(|(at, (_, line))| {
            let found = marks.iter().position(|(mark, _)| mark == line)?;
            Some((at, marks.swap_remove(found).1))
        })
    }

    /// Passes lines on without the markers, and tells the waiters of each marker when the lines before it were passed on.
    fn pass(&self, lines: &[(i64, String)], keep: impl Fn(&[(i64, String)])) {
        let mut rest = lines;
        while let Some((at, reached)) = self.next(rest) {
            keep(&rest[..at]);
            let _ = reached.send(());
            rest = &rest[at + 1..];
        }
        keep(rest);
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.group, self.stream)
    }
}

impl Log {
    /// Output of the process.
    fn output(&self, lines: &[(i64, String)]) {
        self.marks.pass(lines, |lines| self.keep(lines));
    }

    fn keep(&self, lines: &[(i64, String)]) {
        if lines.is_empty() {
            return;
        }
        // A failed log write must not stop the function.
        let role = self.session.caller();
        let _ = logs::append(&self.cloud, &role, &self.group, &self.stream, lines);
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, line) in lines {
            tail.extend_from_slice(line.as_bytes());
            tail.push(b'\n');
        }
        let excess = tail.len().saturating_sub(TAIL);
        tail.drain(..excess);
    }

    fn say(&self, line: &str) {
        self.keep(&[(jiff::Timestamp::now().as_millisecond(), line.to_owned())]);
    }

    fn begin(&self, id: &str) {
        self.tail
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.say(&format!("START RequestId: {id} Version: {LATEST}"));
    }

    /// Waits until all output written so far is in the log.
    pub(super) async fn drained(&self, process: &Running) {
        let line = format!("[mlops] {}", uuid::Uuid::new_v4());
        let reach = self.marks.add(&line);
        if process.mark(&line) {
            tokio::select! {
                _ = reach => {}
                () = clock::sleep(OUTPUT) => {}
            }
        }
    }

    /// Collects the last lines of an invocation. Returns the end of its log.
    fn finish(
        &self,
        id: &str,
        plan: &Plan,
        end: &End,
        took: Duration,
        init: Option<Duration>,
    ) -> Vec<u8> {
        let status = match end {
            End::Answer(_) | End::Error(_) => "",
            End::TimedOut => {
                let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ");
                let seconds = plan.timeout;
                self.say(&format!(
                    "{now} {id} Task timed out after {seconds}.00 seconds"
                ));
                "\tStatus: timeout"
            }
            End::Exited(_) | End::TooLarge | End::NoEntry(_) => {
                let (kind, message) = failure(id, plan, end);
                self.say(&format!("{message}\n{kind}"));
                "\tStatus: error"
            }
        };
        self.say(&format!("END RequestId: {id}"));
        let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
        let init = init.map_or_else(String::new, |init| {
            format!("\tInit Duration: {:.2} ms", milliseconds(init))
        });
        // AWS adds the memory that was used; the local cloud does not measure it.
        self.say(&format!(
            "REPORT RequestId: {id}\tDuration: {:.2} ms\tBilled Duration: {} ms\tMemory Size: {} \
             MB{init}{status}",
            milliseconds(took),
            took.as_millis() + 1,
            plan.memory
        ));
        std::mem::take(&mut *self.tail.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The error type and message, in AWS's words, for an end that the function itself did not report.
pub(super) fn failure(id: &str, plan: &Plan, end: &End) -> (&'static str, String) {
    let exited = |how: String| {
        (
            "Runtime.ExitError",
            format!("RequestId: {id} Error: Runtime exited {how}"),
        )
    };
    match end {
        End::Exited(0) => exited("without providing a reason".to_owned()),
        // A process that a signal ended is reported as 128 and the signal's number.
        End::Exited(137) => exited("with error: signal: killed".to_owned()),
        End::Exited(139) => exited("with error: signal: segmentation fault".to_owned()),
        End::Exited(code) => exited(format!("with error: exit status {code}")),
        End::NoEntry(reason) => (
            "Runtime.InvalidEntrypoint",
            format!("RequestId: {id} Error: {reason}"),
        ),
        End::TooLarge => (
            "Function.ResponseSizeTooLarge",
            format!(
                "Response payload size exceeded maximum allowed payload size ({} bytes).",
                api::MAX_RESPONSE
            ),
        ),
        End::TimedOut => (
            "Sandbox.Timedout",
            format!(
                "RequestId: {id} Error: Task timed out after {}.00 seconds",
                plan.timeout
            ),
        ),
        End::Answer(_) | End::Error(_) => ("", String::new()),
    }
}

impl Outcome {
    /// The payload that the caller gets.
    pub(super) fn payload(&self, id: &str, plan: &Plan) -> Vec<u8> {
        match &self.end {
            End::Answer(payload) | End::Error(payload) => payload.clone(),
            end => {
                let (kind, message) = failure(id, plan, end);
                json!({"errorType": kind, "errorMessage": message})
                    .to_string()
                    .into_bytes()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn two_waiters_each_hear_when_the_lines_before_their_marker_are_stored() {
        let marks = Marks::default();
        let (mut first, mut second) = (marks.add("[1]"), marks.add("[2]"));
        drop(marks.add("[gone]"));
        let lines = ["a", "[2]", "b", "[1]", "c"];
        let lines: Vec<(i64, String)> = lines.map(|line| (0, line.to_owned())).into();
        let kept = RefCell::new(String::new());
        let waiters = RefCell::new((&mut first, &mut second));
        marks.pass(&lines, |lines| {
            let mut waiters = waiters.borrow_mut();
            let heard = (waiters.0.try_recv().is_ok(), waiters.1.try_recv().is_ok());
            let text: Vec<&str> = lines.iter().map(|(_, line)| line.as_str()).collect();
            kept.borrow_mut()
                .push_str(&format!("{} {heard:?} ", text.concat()));
        });
        assert_eq!(
            kept.take(),
            "a (false, false) b (false, true) c (true, false) "
        );
        // The waiter of the third is gone.
        let _third = marks.add("[3]");
        assert_eq!(marks.0.lock().unwrap().len(), 1);
    }
}
