//! `mlops runs logs --follow`: prints lines as they are written.

use std::collections::BTreeMap;

use anyhow::Result;
use mlops_core::wait::Poll;
use serde::Serialize;
use tokio::sync::Mutex;

use super::log_line::LogLine;
use super::steps::{chosen, named};
use crate::aws::project_runs::{self, RunPart, RunRef};
use crate::aws::state::RunState;
use crate::aws::{Clients, logs};
use crate::context::Context;

/// A run that was followed to its end.
#[derive(Debug, Serialize)]
pub struct Followed {
    pub(super) run: String,
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
    project: &str,
    run: &RunRef,
    step: Option<&str>,
    timestamps: bool,
) -> Result<Followed> {
    let state = Mutex::new(FollowState::default());
    let id = run.id();
    let what = format!("the end of the run {id}");
    let run = ctx
        .waiter
        .until(
            &what,
            |_| {},
            || async {
                let mut state = state.lock().await;
                let run = project_runs::describe(clients, project, run).await?;
                let (parts, is_over) = (run.parts(), run.status().is_over());
                if let Some(step) = step
                    && named(&parts, step).is_empty()
                    && !std::mem::replace(&mut state.said_waiting, true)
                    && !is_over
                {
                    ctx.progress
                        .say(format!("waiting for the step {step} of the run {id}"));
                }
                let read =
                    print_new(ctx, clients, &parts, step, timestamps, &mut state.readers).await?;
                if !read {
                    return Ok(Poll::Ready(run));
                }
                // The last lines of a job may reach CloudWatch after its status, so read once more.
                if is_over && std::mem::replace(&mut state.was_over, true) {
                    return Ok(Poll::Ready(run));
                }
                Ok(Poll::Pending(run.status().to_string()))
            },
        )
        .await?;
    chosen(id, &run.parts(), step)?;
    ctx.progress.say(format!("run {id}: {}", run.status()));
    Ok(Followed {
        run: id.to_owned(),
        status: run.status().clone(),
    })
}

/// Prints new lines; returns false if stdout was closed.
async fn print_new(
    ctx: &Context,
    clients: &Clients,
    parts: &[RunPart],
    only: Option<&str>,
    timestamps: bool,
    readers: &mut BTreeMap<String, logs::Reader>,
) -> Result<bool> {
    let parts = match only {
        Some(name) => named(parts, name),
        None => parts.iter().collect(),
    };
    for part in parts {
        let Some(log) = &part.log else {
            continue;
        };
        let reader = readers
            // Each attempt of a step is a separate job or build.
            .entry(log.name().to_owned())
            .or_insert_with(|| logs::Reader::new(log.clone()));
        for event in reader.read(clients).await? {
            let line = LogLine::new(Some(&part.name), event, timestamps);
            if !ctx.output.line(&line)? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
