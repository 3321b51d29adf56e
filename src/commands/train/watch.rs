//! Waits for a run, prints each step's change as a line, and explains failures.

use std::cell::RefCell;
use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use mlops_core::error::{Exit, Failure, Hint, hinted};
use mlops_core::text::duration;
use mlops_core::wait::Poll;

use crate::aws::Clients;
use crate::aws::run_failure::{self, Chain};
use crate::aws::sagemaker::gate::Gate;
use crate::aws::sagemaker::runs::{self, Run, RunStep};
use crate::aws::state::StepState;
use crate::context::Context;

/// Waits until the run has ended. A failed run is an error (exit 1). A run that a gate refused is
/// not an error yet, because its report comes first.
pub(super) async fn until_over(ctx: &Context, clients: &Clients, arn: &str) -> Result<Run> {
    let id = runs::id(arn);
    let seen: RefCell<BTreeMap<String, StepState>> = RefCell::default();
    let waited = {
        let _task = ctx.progress.task(format!("run {id} has started"));
        ctx.waiter
            .until(
                &format!("the run {id}"),
                |_| {},
                || async {
                    let run = runs::describe(clients, arn).await?;
                    say_changes(ctx, &run, &mut seen.borrow_mut());
                    if run.is_over() {
                        return Ok(Poll::Ready(run));
                    }
                    Ok(Poll::Pending(run.status.to_string()))
                },
            )
            .await
    };
    let run = waited.hint(format!(
        "inspect it with `{}`",
        ctx.command(&format!("runs show {id}"))
    ))?;
    if run.status.has_succeeded() || run.gate.is_some() {
        Ok(run)
    } else if run.status.was_stopped() {
        Err(anyhow!("the run {id} was stopped"))
    } else {
        Err(failure(ctx, clients, &run).await)
    }
}

fn say_changes(ctx: &Context, run: &Run, seen: &mut BTreeMap<String, StepState>) {
    for step in &run.steps {
        let before = seen.insert(step.name.clone(), step.status.clone());
        if before.as_ref() != Some(&step.status) {
            ctx.progress.say(line(step));
        }
    }
}

/// Formats `  Train  Succeeded  12 s`.
fn line(step: &RunStep) -> String {
    let mut line = format!("  {:<20} {}", step.name, step.shown_status());
    if let Some(seconds) = step.ended.and_then(|end| step.seconds(end)) {
        line.push_str(&format!("  {}", duration(seconds)));
    }
    if let Some(outcome) = &step.outcome {
        line.push_str(&format!("  ({outcome})"));
    }
    if let Some(run) = &step.cached_from {
        line.push_str(&format!("  (cached from {run})"));
    }
    line
}

/// Returns the error of a run that a gate refused (exit 3).
pub(super) fn refusal(ctx: &Context, id: &str, gate: &Gate) -> anyhow::Error {
    let mut reason = gate.message.clone();
    if !gate.checks.is_empty() {
        reason.push_str(&format!(" ({})", gate.sentence()));
    }
    hinted(
        Failure::new(
            Exit::Refused,
            format!("the run {id} was refused at `{}`: {reason}", gate.step),
        ),
        format!(
            "show the run with `{}`",
            ctx.command(&format!("runs show {id}"))
        ),
    )
}

/// Reports which step failed and why, after the last lines of its log.
async fn failure(ctx: &Context, clients: &Clients, run: &Run) -> anyhow::Error {
    let id = &run.run;
    let show = format!(
        "show the run with `{}`",
        ctx.command(&format!("runs show {id}"))
    );
    let failed = run.failed_steps();
    let Some(step) = failed.first() else {
        let reason = run.failure.as_deref().unwrap_or("no reason given");
        return hinted(anyhow!("the run {id} failed: {reason}"), show);
    };
    let chain = match run_failure::explain(clients, run).await {
        Ok(chain) => Some(chain),
        // The failure itself matters more than its log.
        Err(error) => {
            ctx.progress.say(mlops_core::error::message(&error));
            None
        }
    };
    for unread in chain.iter().flat_map(|chain| &chain.unread) {
        ctx.progress.say(unread);
    }
    if let Some(log) = chain.as_ref().and_then(|chain| chain.log.as_ref()) {
        ctx.progress.say(format!("last lines of `{}`:", step.name));
        for line in &log.lines {
            ctx.progress.say(format!("  {line}"));
        }
    }
    let reason = step.failure.as_deref().unwrap_or("no reason given");
    let error = anyhow!("the run {id} failed at step `{}`: {reason}", step.name);
    let error = match chain {
        Some(Chain {
            cause: Some(cause), ..
        }) => cause.explain(error),
        _ => error,
    };
    hinted(
        error,
        format!(
            "print the whole log with `{}`",
            ctx.command(&format!("runs logs {id} {}", step.name))
        ),
    )
}
