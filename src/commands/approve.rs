//! `mlops approve` and `mlops reject`: manual approvals of CodePipeline that wait.

use std::fmt;

use anyhow::{Result, anyhow};
use mlops_core::error::{Exit, Failure, hinted};
use mlops_core::names::Version;
use mlops_core::text::clean;
use serde::Serialize;

use crate::aws::Clients;
use crate::aws::delivery::approvals::{self, Approval, LONGEST_NOTE};
use crate::aws::delivery::pipelines;
use crate::aws::project_runs::identifies;
use crate::aws::sagemaker::models;
use crate::aws::state::ModelApproval;
use crate::context::Context;
use crate::output::Report;

/// Approve an execution of a pipeline that waits
///
/// Decides a manual approval action of CodePipeline, such as the review of a deployment. A model
/// version that waits for approval is approved with `mlops promote` or `mlops models approve`.
///
/// Example: mlops approve 3f2a9c1e --note reviewed-with-anna
#[derive(Debug, clap::Args)]
pub struct ApproveArgs {
    #[command(flatten)]
    decision: DecisionArgs,
}

/// Reject an execution of a pipeline that waits
///
/// The execution fails; nothing after the approval action runs. A model version is rejected with
/// `mlops models reject`.
///
/// Example: mlops reject 3f2a9c1e --note wrong-data
#[derive(Debug, clap::Args)]
pub struct RejectArgs {
    #[command(flatten)]
    decision: DecisionArgs,
}

#[derive(Debug, clap::Args)]
struct DecisionArgs {
    /// The execution's id, or its first characters [default: the only one that waits]
    run: Option<String>,
    /// The approval action, if several of the execution wait
    #[arg(long, value_name = "NAME")]
    action: Option<String>,
    /// The reason, which CodePipeline keeps with the execution
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

/// A decision.
#[derive(Debug, Serialize)]
pub struct Decided {
    #[serde(flatten)]
    approval: Approval,
    /// `approved` or `rejected`.
    decision: &'static str,
    /// The reason.
    note: String,
    /// The next command to run.
    next: String,
}

/// `mlops approve`
pub async fn approve(ctx: &Context, args: &ApproveArgs) -> Result<Decided> {
    decide(ctx, &args.decision, true).await
}

/// `mlops reject`
pub async fn reject(ctx: &Context, args: &RejectArgs) -> Result<Decided> {
    decide(ctx, &args.decision, false).await
}

async fn decide(ctx: &Context, args: &DecisionArgs, approves: bool) -> Result<Decided> {
    let verb = if approves { "approve" } else { "reject" };
    let note = args.note.clone();
    let note = note.unwrap_or_else(|| format!("by `mlops {verb}`"));
    if note.chars().count() > LONGEST_NOTE {
        let problem = format!("the note is longer than {LONGEST_NOTE} characters");
        return Err(Failure::usage(problem));
    }
    let project = ctx.project()?;
    let name = project.file.name.as_str();
    let clients = ctx.aws_for(&project).await?;
    let pipelines = pipelines::of_project(clients, name).await?;
    let waiting = approvals::waiting(clients, &pipelines).await?;
    let mut matching: Vec<Approval> = waiting
        .into_iter()
        .filter(|approval| {
            let run = args.run.as_ref();
            let is_run = run.is_none_or(|run| identifies(run, &approval.run));
            let action = args.action.as_ref();
            is_run && action.is_none_or(|action| *action == approval.action)
        })
        .collect();
    let approval = match (matching.len(), matching.pop()) {
        (1, Some(approval)) => approval,
        (_, Some(last)) => {
            matching.push(last);
            return Err(several(ctx, verb, &matching));
        }
        (_, None) => return Err(nothing_waits(ctx, clients, name, args, verb).await),
    };
    approvals::decide(clients, &approval, approves, &note).await?;
    let next = ctx.command(&format!("runs watch {}", approval.run));
    Ok(Decided {
        approval,
        decision: if approves { "approved" } else { "rejected" },
        note,
        next,
    })
}

/// Several approvals wait (exit 2).
fn several(ctx: &Context, verb: &str, waiting: &[Approval]) -> anyhow::Error {
    let error = Failure::usage(format!("{} approvals wait: choose one", waiting.len()));
    waiting.iter().fold(error, |error, approval| {
        let Approval {
            run, stage, action, ..
        } = approval;
        let same = waiting.iter().filter(|other| other.run == *run).count();
        let only = if same > 1 {
            format!(" --action {action}")
        } else {
            String::new()
        };
        let command = ctx.command(&format!("{verb} {run}{only}"));
        let pipeline = &approval.pipeline.name;
        hinted(
            error,
            format!("{stage}/{action} of {pipeline}: `{command}`"),
        )
    })
}

/// No approval of this execution waits; perhaps a model version was meant.
async fn nothing_waits(
    ctx: &Context,
    clients: &Clients,
    group: &str,
    args: &DecisionArgs,
    verb: &str,
) -> anyhow::Error {
    let error = match (&args.run, &args.action) {
        (Some(run), _) if is_version(run) => Failure::new(
            Exit::Usage,
            format!("`{run}` is not an execution that waits: `mlops {verb}` is for pipelines"),
        ),
        (Some(run), None) => anyhow!("no approval of the execution `{run}` waits"),
        (_, Some(action)) => anyhow!("no approval action `{action}` waits"),
        (None, None) => anyhow!("no execution of a pipeline waits for an approval"),
    };
    // Only a hint: it must not hide the error.
    let versions = models::all(clients, group).await.unwrap_or_default();
    let pending = versions
        .into_iter()
        .filter(|version| ModelApproval::is_pending(&version.status));
    let newest = pending.map(|version| version.version).next();
    let wanted = args.run.as_ref().filter(|run| is_version(run));
    let version = wanted.cloned().or(newest.map(|newest| newest.to_string()));
    let Some(version) = version else {
        let list = ctx.command("runs list");
        return hinted(error, format!("list the executions with `{list}`"));
    };
    let decide = ctx.command(&format!("models {verb} {version}"));
    let promote = ctx.command(&format!("promote {version}"));
    hinted(
        error,
        if verb == "approve" {
            format!(
                "approve the model version {version} with `{promote}`, which deploys it, or `{decide}`"
            )
        } else {
            format!("reject the model version {version} with `{decide}`")
        },
    )
}

/// A number of at most 4 digits is a version rather than the beginning of a UUID.
fn is_version(word: &str) -> bool {
    word.len() <= 4 && word.parse::<Version>().is_ok()
}

impl Report for Decided {}

impl fmt::Display for Decided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Approval {
            run, stage, action, ..
        } = &self.approval;
        writeln!(
            f,
            "{} {} of {} (run {run})",
            self.decision,
            clean(&format!("{stage}/{action}")),
            clean(&self.approval.pipeline.name)
        )?;
        writeln!(f, "see what happens next with `{}`", self.next)
    }
}
