//! The one task that runs what the engine has started, and fails actions whose time is over, by the cloud's time.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use tokio::task::AbortHandle;

use super::actions;
use super::engine::{CHANGES, change, take_started};
use super::outcome::{Ended, Failure};
use super::records::{Execution, open, pipelines, prefix};
use crate::api::ApiResult;
use crate::clock::Work;
use crate::cloud::catch_panic;
use crate::{Cloud, log};

/// Pause after the state could not be read.
const PAUSE: SignedDuration = SignedDuration::from_mins(1);

/// Pause after the records of a pipeline could not be read, which no other attempt repairs.
const LONG_PAUSE: SignedDuration = SignedDuration::from_hours(6);

/// The task; it begins with the first pipeline. It does not keep a server running: an approval may wait for weeks.
#[derive(Debug, Default)]
struct Executor(Mutex<Option<AbortHandle>>);

/// Starts the task, if it is not running.
pub(super) fn ensure_running(cloud: &Cloud) {
    let executor = &cloud.state::<Executor>().0;
    let mut task = executor.lock().unwrap_or_else(PoisonError::into_inner);
    if task.as_ref().is_some_and(|task| !task.is_finished()) {
        return;
    }
    let work = cloud.clock().begin("the executor of pipelines");
    *task = Some(tokio::spawn(run(cloud.clone(), work)).abort_handle());
}

/// Ends the task, which holds the cloud, and forgets what does not run yet.
pub(super) fn stop(cloud: &Cloud) {
    let executor = &cloud.state::<Executor>().0;
    let task = executor
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    if let Some(task) = task {
        task.abort();
    }
    drop(take_started(cloud));
}

async fn run(cloud: Cloud, mut work: Work) {
    loop {
        let seen = cloud.clock().announced(CHANGES);
        for started in take_started(&cloud) {
            actions::launch(&cloud, started);
        }
        let step = async { fail_overdue(&cloud) };
        let next = catch_panic("the timeouts of actions", step).await;
        let due = next.unwrap_or_else(|error| {
            log::write_line(&format!("cannot read the timeouts of actions: {error}"));
            Some(cloud.clock().now() + PAUSE)
        });
        let due = due.unwrap_or(Timestamp::MAX);
        work.sleep_until_announced(due, CHANGES, seen).await;
    }
}

/// Fails the actions whose time is over, and returns the next deadline. A pipeline with damaged records does not keep
/// the others from it.
fn fail_overdue(cloud: &Cloud) -> ApiResult<Option<Timestamp>> {
    let mut seen = Seen::default();
    for name in pipelines(cloud).keys("")? {
        match fail_overdue_of(cloud, &name, &mut seen) {
            Err(error) if error.is_unavailable() => return Err(error),
            Err(error) => {
                log::write_line(&format!(
                    "cannot read the timeouts of the pipeline {name}: {error}"
                ));
                seen.due(cloud.clock().now() + LONG_PAUSE);
            }
            Ok(()) => {}
        }
    }
    // Actions start in this task only, so that none is missing.
    actions::keep(cloud, &seen.running);
    Ok(seen.next)
}

/// What the pipelines have in progress.
#[derive(Debug, Default)]
struct Seen {
    /// The next deadline.
    next: Option<Timestamp>,
    /// The runs of actions that have not ended.
    running: BTreeSet<String>,
}

impl Seen {
    fn due(&mut self, due: Timestamp) {
        self.next = Some(self.next.map_or(due, |next| next.min(due)));
    }
}

fn fail_overdue_of(cloud: &Cloud, name: &str, seen: &mut Seen) -> ApiResult<()> {
    let now = cloud.clock().now().as_millisecond();
    for (_, execution) in open(cloud).list(&prefix(name))? {
        for (_, run) in execution.open_runs() {
            if run.deadline <= now {
                time_out(cloud, name, &execution, &run.id)?;
                continue;
            }
            seen.running.insert(run.id.clone());
            let due = Timestamp::from_millisecond(run.deadline);
            seen.due(due.unwrap_or(Timestamp::MAX));
        }
    }
    Ok(())
}

/// Fails an action whose time is over. Unverified against AWS [codepipeline-timeout-words]: code and message.
fn time_out(cloud: &Cloud, pipeline: &str, execution: &Execution, run: &str) -> ApiResult<()> {
    let failure = Failure::new("Timeout", "The action did not complete within its timeout");
    let changed = change(cloud, pipeline, |board| {
        board.finish(execution.number, run, &Ended::Failed(failure))
    });
    match changed {
        // Deleted in the meantime.
        Err(error) if error.is_not_found() => Ok(()),
        changed => changed,
    }
}
