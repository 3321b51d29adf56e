//! `mlops runs logs --follow`: prints lines as they are written.

use std::collections::BTreeMap;

use anyhow::Result;
use mlops_core::wait::Poll;
use serde::Serialize;
use tokio::sync::Mutex;

use super::log_line::LogLine;
use super::steps::{chosen, named};
use crate::aws::sagemaker::runs::{self, Run};
use crate::aws::state::RunState;
use crate::aws::{Clients, logs};
use crate::context::Context;

/// A run whose log was followed to its end.
#[derive(Debug, Serialize)]
pub struct Followed {
    run: String,
    pub(super) status: RunState,
}

/// How far each log has been read.
#[derive(Default)]
struct FollowState {
    readers: BTreeMap<String, logs::Reader>,
    was_over: bool,
    said_waiting: bool,
}

/// Prints the log of a run until the run ends.
pub(super) async fn until_over(
    ctx: &Context,
    clients: &Clients,
    arn: &str,
    step: Option<&str>,
    timestamps: bool,
) -> Result<Followed> {
    let state = Mutex::new(FollowState::default());
    let what = format!("the end of the run {}", runs::id(arn));
    let run = ctx
        .waiter
        .until(
            &what,
            |_| {},
            || async {
                let mut state = state.lock().await;
                let run = runs::describe(clients, arn).await?;
                if let Some(step) = step
                    && named(&run.steps, step).is_empty()
                    && !std::mem::replace(&mut state.said_waiting, true)
                    && !run.is_over()
                {
                    ctx.progress.say(format!(
                        "waiting for the step {step} of the run {}",
                        run.run
                    ));
                }
                let read =
                    print_new(ctx, clients, &run, step, timestamps, &mut state.readers).await?;
                if !read {
                    return Ok(Poll::Ready(run));
                }
                // The last lines of a job may reach CloudWatch after its status, so read once more.
                if run.is_over() && std::mem::replace(&mut state.was_over, true) {
                    return Ok(Poll::Ready(run));
                }
                Ok(Poll::Pending(run.status.to_string()))
            },
        )
        .await?;
    chosen(&run, step)?;
    ctx.progress.say(format!("run {}: {}", run.run, run.status));
    Ok(Followed {
        run: run.run,
        status: run.status,
    })
}

/// Prints new lines; returns false if stdout was closed.
async fn print_new(
    ctx: &Context,
    clients: &Clients,
    run: &Run,
    only: Option<&str>,
    timestamps: bool,
    readers: &mut BTreeMap<String, logs::Reader>,
) -> Result<bool> {
    let steps = match only {
        Some(name) => named(&run.steps, name),
        None => run.steps.iter().collect(),
    };
    for step in steps {
        let Some((group, job)) = step.log() else {
            continue;
        };
        let reader = readers
            // Each attempt of a step is a separate job.
            .entry(job.to_owned())
            .or_insert_with(|| logs::Reader::new(group, job));
        for event in reader.read(clients).await? {
            let line = LogLine::new(Some(&step.name), event, timestamps);
            if !ctx.output.line(&line)? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
