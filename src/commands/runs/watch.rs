//! `mlops runs watch`: a line for each change of a run, until it is over.

mod journey;

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Result, anyhow};
use jiff::Timestamp;
use mlops_core::error::{Exit, Failure, hinted};
use mlops_core::names::Version;
use mlops_core::text::{clean, duration, exact_time, state};
use mlops_core::wait::Poll;
use serde::Serialize;
use tokio::sync::Mutex;

use super::RunsReport;
use super::follow::Followed;
use crate::aws::Clients;
use crate::aws::project_runs::{self, ProjectRun, RunPart, RunRef};
use crate::aws::run_failure::{self, Outcome};
use crate::config::Project;
use crate::context::Context;

/// A change of a step or an action.
#[derive(Debug, Serialize)]
struct Change {
    /// When it was seen.
    time: Timestamp,
    /// The run.
    run: String,
    /// The stage, action or step: `Train/Train/Evaluate`.
    what: String,
    /// Its state before; null if it is new.
    from: Option<String>,
    /// Its state now.
    to: String,
    /// How long it took, once it has ended.
    seconds: Option<i64>,
    /// What else is known.
    note: String,
    /// The command that decides a waiting approval.
    command: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = exact_time(self.time);
        write!(f, "{time}  {:<22} {}", clean(&self.what), state(&self.to))?;
        if let Some(seconds) = self.seconds {
            write!(f, "  {}", duration(seconds))?;
        }
        if let Some(command) = &self.command {
            write!(f, "  waits for an approval: {command}")?;
        } else if !self.note.is_empty() {
            write!(f, "  {}", clean(&self.note).replace(['\n', '\t'], " "))?;
        }
        Ok(())
    }
}

/// Selects the run that `runs watch` follows.
#[derive(Debug, clap::Args)]
pub struct WatchArgs {
    /// The run's id [default: the newest]
    run: Option<String>,
    /// Watch what a pushed commit started: the build of its image, then the training with that image
    #[arg(long, value_name = "REVISION", conflicts_with = "run")]
    commit: Option<String>,
    /// Watch the deployment that the approval of this version started
    #[arg(long, value_name = "VERSION", conflicts_with_all = ["run", "commit"])]
    model_version: Option<Version>,
}

pub(super) async fn run(
    ctx: &Context,
    clients: &Clients,
    project: &Project,
    args: &WatchArgs,
) -> Result<RunsReport> {
    let name = project.file.name.as_str();
    let run = if let Some(revision) = &args.commit {
        Box::pin(journey::of_commit(ctx, clients, project, revision)).await?
    } else if let Some(version) = args.model_version {
        Box::pin(journey::of_version(ctx, clients, name, version)).await?
    } else {
        let run = project_runs::find(clients, name, args.run.as_deref()).await?;
        follow(ctx, clients, name, &run).await?
    };
    Ok(RunsReport::Followed(Followed {
        run: run.id().to_owned(),
        status: run.status().clone(),
    }))
}

/// Prints each change of a run until it is over, or until nobody reads.
///
/// # Errors
/// It did not succeed.
async fn follow(
    ctx: &Context,
    clients: &Clients,
    project: &str,
    run: &RunRef,
) -> Result<ProjectRun> {
    let id = run.id();
    let show = ctx.command(&format!("runs show {id}"));
    let _note = ctx.on_interrupt(format!("the run continues: {show}"));
    let seen: Mutex<BTreeMap<String, String>> = Mutex::default();
    let waited = ctx
        .waiter
        .until(
            &format!("the run {id}"),
            |_| {},
            || async {
                let run = project_runs::describe(clients, project, run).await?;
                let mut seen = seen.lock().await;
                let open = print_changes(ctx, &run, &mut seen)?;
                if run.status().is_over() || !open {
                    return Ok(Poll::Ready((run, open)));
                }
                Ok(Poll::Pending(run.status().to_string()))
            },
        )
        .await;
    let (run, open) = waited.map_err(|error| hinted(error, format!("inspect it with `{show}`")))?;
    // A reader that stopped reading is not interested in the end.
    if open && !run.status().has_succeeded() {
        return Err(ended(ctx, clients, &run).await);
    }
    ctx.progress.say(format!("run {id}: {}", run.status()));
    Ok(run)
}

/// Prints what changed; returns false if stdout was closed.
fn print_changes(
    ctx: &Context,
    run: &ProjectRun,
    seen: &mut BTreeMap<String, String>,
) -> Result<bool> {
    let mut open = true;
    for part in run.parts() {
        let known = seen.insert(part.path.clone(), part.status.clone());
        if known.as_ref() != Some(&part.status) {
            open &= ctx.output.line(&change(ctx, run, part, known))?;
        }
    }
    Ok(open)
}

fn change(ctx: &Context, run: &ProjectRun, part: RunPart, from: Option<String>) -> Change {
    let approve = ctx.command(&format!("approve {}", run.id()));
    Change {
        time: ctx.now(),
        run: run.id().to_owned(),
        seconds: part.ended.and_then(|end| part.seconds(end)),
        from,
        command: part.waits_for_approval.then_some(approve),
        what: part.path,
        to: part.status,
        note: part.note,
    }
}

/// The error of a run that did not succeed, with its likely cause.
async fn ended(ctx: &Context, clients: &Clients, run: &ProjectRun) -> anyhow::Error {
    let id = run.id();
    let chain = match run_failure::explain_any(clients, run).await {
        Ok(chain) => Some(chain),
        // The failure itself matters more than its cause.
        Err(error) => {
            ctx.progress.say(mlops_core::error::message(&error));
            None
        }
    };
    let reason = chain.as_ref().and_then(|chain| chain.reason());
    let reason = reason
        .map(|reason| format!(": {reason}"))
        .unwrap_or_default();
    let at = chain.as_ref().and_then(|chain| chain.step());
    let at = at.map(|step| format!(" at `{step}`")).unwrap_or_default();
    let outcome = chain
        .as_ref()
        .map_or(Outcome::Failed, |chain| chain.outcome);
    let error = match outcome {
        Outcome::Refused => Failure::new(
            Exit::Refused,
            format!("the run {id} was refused{at}{reason}"),
        ),
        Outcome::Stopped => anyhow!("the run {id} has ended: {}", run.status()),
        _ => anyhow!("the run {id} failed{at}{reason}"),
    };
    let error = match chain.and_then(|chain| chain.cause) {
        Some(cause) => cause.explain(error),
        None => error,
    };
    let why = ctx.command(&format!("runs why {id}"));
    hinted(error, format!("explain it with `{why}`"))
}
