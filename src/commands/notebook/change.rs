//! `mlops notebook start` and `stop`.

use std::time::Duration;

use anyhow::Result;
use mlops_core::error::{self, Exit, Failure, Hint};
use mlops_core::wait::{Poll, Waiter};
use serde::Serialize;

use super::logs;
use crate::aws::Clients;
use crate::aws::sagemaker::notebooks::{self, Notebook};
use crate::context::Context;

/// Maximum time to wait for a transition. AWS needs minutes; an instance that is Pending or Stopping for
/// much longer is stuck, and nothing can force it out of that state.
const LONGEST: Duration = Duration::from_mins(20);

/// Number of lines of a failed life-cycle script to print.
const TAIL: i32 = 20;

/// A notebook that was started or stopped.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "named as in the JSON")]
pub struct Changed {
    #[serde(flatten)]
    pub(super) notebook: Notebook,
    /// False if it was already in this state.
    pub(super) changed_now: bool,
    #[serde(skip)]
    pub(super) next: String,
}

/// Starts a notebook. A transition that is in progress is waited for first.
pub(super) async fn start(ctx: &Context, clients: &Clients, name: &str) -> Result<Changed> {
    let mut found = settled(ctx, clients, name).await?;
    let mut changed_now = false;
    if !found.status.is_in_service() {
        notebooks::start(clients, name).await?;
        changed_now = true;
        found = settled(ctx, clients, name).await?;
    }
    if !found.status.is_in_service() {
        return failed(ctx, clients, &found).await;
    }
    Ok(Changed {
        notebook: found,
        changed_now,
        next: ctx.command("notebook open"),
    })
}

/// Stops a notebook. A transition that is in progress is waited for first.
pub(super) async fn stop(ctx: &Context, clients: &Clients, name: &str) -> Result<Changed> {
    let mut found = settled(ctx, clients, name).await?;
    let changed_now = found.status.is_in_service();
    if changed_now {
        notebooks::stop(clients, name).await?;
        found = settled(ctx, clients, name).await?;
        if !found.status.is_at_rest() {
            let message = format!("the notebook {name} did not stop: it is {}", found.status);
            return Err(Failure::new(Exit::Failed, message));
        }
    }
    Ok(Changed {
        notebook: found,
        changed_now,
        next: ctx.command("notebook start"),
    })
}

/// The error for a notebook that did not start. Prints the end of its life-cycle logs first.
async fn failed(ctx: &Context, clients: &Clients, found: &Notebook) -> Result<Changed> {
    let name = &found.notebook;
    for stream in logs::lifecycle(clients, name, TAIL).await? {
        ctx.progress.heading(&stream.stream);
        for event in stream.events {
            ctx.progress.say(event.to_string());
        }
    }
    let reason = found.failure_reason.as_deref();
    let reason = reason.unwrap_or("no reason was given");
    let message = format!("the notebook {name} is {}: {reason}", found.status);
    let hint = format!(
        "read the complete log with `{}`, correct the script, and start again",
        ctx.command("notebook logs")
    );
    Err(Failure::new(Exit::Failed, message)).hint(hint)
}

/// Waits until the notebook is in no transition. If it stays in one, the error has exit code 5 and says
/// what to do.
async fn settled(ctx: &Context, clients: &Clients, name: &str) -> Result<Notebook> {
    let status = ctx.command("notebook status");
    let _note = ctx.on_interrupt(format!(
        "the notebook {name} continues to change; check it with `{status}`"
    ));
    let waiter = Waiter {
        timeout: ctx.waiter.timeout.min(LONGEST),
        ..ctx.waiter
    };
    let what = format!("the notebook {name}");
    let outcome = waiter
        .until(
            &what,
            |status| ctx.progress.say(format!("notebook {name}: {status}")),
            || async {
                let found = notebooks::describe(clients, name).await?;
                Ok(if found.status.is_changing() {
                    Poll::Pending(found.status.to_string())
                } else {
                    Poll::Ready(found)
                })
            },
        )
        .await;
    match outcome {
        Err(error) if error::exit(&error) == Exit::TimedOut => Err(error).hint(format!(
            "no command can end this state. Check `{status}` in an hour. If it is unchanged, open a \
             case with AWS Support; files in ~/SageMaker that are not pushed are only on this instance"
        )),
        outcome => outcome,
    }
}
