//! `mlops runs`: the runs of the project, of SageMaker and of CodePipeline.

use anyhow::Result;

use crate::aws::project_runs;
use crate::context::Context;

mod follow;
mod list;
mod log_line;
mod logs;
mod report;
mod show;
mod steps;
mod watch;
mod why;
mod word;

pub use list::RunList;
pub use logs::{LogArgs, Logs};
pub use report::{Changed, RunsReport};
pub use show::RunDetails;
pub use watch::WatchArgs;
pub use why::Why;

/// Inspect runs of the pipelines, read their logs, explain failures, stop and retry runs
///
/// A run is an execution of the SageMaker pipeline (`mlops train`), or of a pipeline of CodePipeline
/// that a push, a new image or an approval started. A training that a pipeline started is shown
/// inside its execution, and alone if you pass its id. Of an execution's id, the first characters
/// are enough.
#[derive(Debug, clap::Subcommand)]
pub enum RunsCommand {
    /// List the newest runs
    ///
    /// A training that an execution started follows it, and does not count for --limit. Names
    /// pushed branches that have no delivery.
    ///
    /// Example: mlops runs list --limit 5
    List {
        /// Maximum number of runs to list
        #[arg(long, value_name = "NUMBER", default_value_t = 20)]
        limit: usize,
    },
    /// Show a run: its steps or stages, inputs and parameters
    ///
    /// Of an execution of CodePipeline: what started it, the revisions of its sources, its stages
    /// and actions, the training that a build started, and the model version that came out.
    ///
    /// Example: mlops runs show fb9lk2vgt5sk
    Show {
        /// The run's id [default: the newest]
        run: Option<String>,
    },
    Logs(LogArgs),
    /// Print each change of a run until it is over
    ///
    /// Exits with 0 if the run succeeded, 1 if it failed or was stopped, 3 if a gate or a person
    /// refused it, and 5 after --timeout. Names the command that approves a waiting action. With
    /// --commit or --model-version, waits until the run has started.
    ///
    /// Example: mlops runs watch --commit HEAD
    Watch(WatchArgs),
    /// Explain why a run failed: its likely cause, and how to fix it
    ///
    /// Follows the run to the stage, action and build, or to the step that failed first, to its job,
    /// to the failure reason and the last lines of the log, and compares them with known causes
    /// (docs/causes.md). Prints `unknown` and the log if none fits. The exit code is 0 whatever the
    /// cause.
    ///
    /// Example: mlops runs why fb9lk2vgt5sk
    Why {
        /// The run's id [default: the newest that did not succeed]
        run: Option<String>,
    },
    /// Stop a run and its jobs
    ///
    /// An execution of CodePipeline stops when its actions in progress have ended; a waiting
    /// approval must be decided. With --abandon, it does not wait for them; builds keep running.
    ///
    /// Example: mlops runs stop fb9lk2vgt5sk
    Stop {
        /// The run's id
        run: String,
        /// Do not wait for the actions of an execution of CodePipeline
        #[arg(long)]
        abandon: bool,
    },
    /// Continue a failed or stopped run where it ended
    ///
    /// Of an execution of CodePipeline, retries the failed actions of its stage; of a deployment, all
    /// actions of its stage. Of a training, keeps the steps that succeeded.
    ///
    /// Example: mlops runs retry 3f2a9c1e
    Retry {
        /// The run's id
        run: String,
    },
}

/// Lists, shows, explains, stops or retries runs.
pub async fn run(ctx: &Context, command: &RunsCommand) -> Result<RunsReport> {
    let project = ctx.project()?;
    let name = project.file.name.as_str();
    let clients = match command {
        RunsCommand::Stop { .. } | RunsCommand::Retry { .. } => ctx.aws_for(&project).await?,
        _ => ctx.aws_of(&project).await?,
    };
    Ok(match command {
        RunsCommand::List { limit } => list::run(ctx, clients, &project, *limit).await?,
        RunsCommand::Show { run } => {
            Box::pin(show::run(ctx, clients, name, run.as_deref())).await?
        }
        RunsCommand::Logs(args) => Box::pin(logs::run(ctx, clients, name, args)).await?,
        RunsCommand::Watch(args) => Box::pin(watch::run(ctx, clients, &project, args)).await?,
        RunsCommand::Why { run } => why::run(ctx, clients, name, run.as_deref()).await?,
        RunsCommand::Stop { run, abandon } => {
            let run = project_runs::find(clients, name, Some(run)).await?;
            RunsReport::Changed(Changed {
                status: project_runs::stop(clients, &run, *abandon).await?,
                run: run.id().to_owned(),
                stage: None,
            })
        }
        RunsCommand::Retry { run } => {
            let run = project_runs::find(clients, name, Some(run)).await?;
            let (status, stage) = project_runs::retry(clients, &run).await?;
            RunsReport::Changed(Changed {
                run: run.id().to_owned(),
                status,
                stage,
            })
        }
    })
}
