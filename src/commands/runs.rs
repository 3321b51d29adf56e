//! `mlops runs`: executions of the project's pipeline.

use anyhow::Result;

use crate::aws::sagemaker::runs;
use crate::context::Context;

mod follow;
mod log_line;
mod logs;
mod report;
mod steps;
mod why;
mod word;

pub use logs::{LogArgs, Logs};
pub use report::{RunDetails, RunList, RunsReport, Stopped};
pub use why::Why;

/// Inspect training runs, read their logs, explain failures, stop runs
#[derive(Debug, clap::Subcommand)]
pub enum RunsCommand {
    /// List the newest runs
    ///
    /// Example: mlops runs list --limit 5
    List {
        /// Maximum number of runs to list
        #[arg(long, value_name = "NUMBER", default_value_t = 20)]
        limit: usize,
    },
    /// Show a run: its steps, inputs and parameters
    ///
    /// Example: mlops runs show fb9lk2vgt5sk
    Show {
        /// The run's id [default: the newest]
        run: Option<String>,
    },
    Logs(LogArgs),
    /// Explain why a run failed: its likely cause, and how to fix it
    ///
    /// Follows the run to the step that failed first, to its job, to the job's failure reason and
    /// the last lines of its log, and compares them with known causes (docs/causes.md). Prints
    /// `unknown` and the log if none fits. The exit code is 0 whatever the cause.
    ///
    /// Example: mlops runs why fb9lk2vgt5sk
    Why {
        /// The run's id [default: the newest]
        run: Option<String>,
    },
    /// Stop a run and its jobs
    ///
    /// Example: mlops runs stop fb9lk2vgt5sk
    Stop {
        /// The run's id
        run: String,
    },
}

/// Lists, shows, explains or stops runs.
pub async fn run(ctx: &Context, command: &RunsCommand) -> Result<RunsReport> {
    let project = ctx.project()?;
    let pipeline = project.file.name.as_str();
    Ok(match command {
        RunsCommand::List { limit } => {
            let clients = ctx.aws_of(&project).await?;
            let found = runs::list(clients, pipeline, *limit).await?;
            RunsReport::List(RunList {
                runs: runs::complete(clients, found, ctx.now()).await?,
                train: ctx.command("train"),
            })
        }
        RunsCommand::Show { run } => {
            let clients = ctx.aws_of(&project).await?;
            let arn = runs::find(clients, pipeline, run.as_deref()).await?;
            let (run, parameters) = tokio::try_join!(
                runs::describe(clients, &arn),
                runs::parameters(clients, &arn)
            )?;
            RunsReport::Show(Box::new(RunDetails {
                seconds: run.seconds(ctx.now()),
                run,
                parameters,
                now: ctx.now(),
            }))
        }
        RunsCommand::Logs(args) => {
            let clients = ctx.aws_of(&project).await?;
            logs::run(ctx, clients, pipeline, args).await?
        }
        RunsCommand::Why { run } => {
            let clients = ctx.aws_of(&project).await?;
            why::run(ctx, clients, pipeline, run.as_deref()).await?
        }
        RunsCommand::Stop { run } => {
            let clients = ctx.aws_for(&project).await?;
            let arn = runs::find(clients, pipeline, Some(run)).await?;
            runs::stop(clients, &arn).await?;
            let run = runs::describe(clients, &arn).await?;
            RunsReport::Stopped(Stopped {
                run: run.run,
                status: run.status,
            })
        }
    })
}
