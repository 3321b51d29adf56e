//! `mlops runs`: the executions of the project's pipeline.

use anyhow::{Result, anyhow};

use crate::aws::sagemaker::runs::{self, Run};
use crate::aws::{Clients, logs};
use crate::context::Context;
use crate::error::Hint;

mod report;

use report::StepLog;
pub use report::{Logs, RunList, RunsReport, Shown, Stopped};

/// Look at training runs, read their logs, stop them
#[derive(Debug, clap::Subcommand)]
pub enum RunsCommand {
    /// List the newest runs
    ///
    /// Example: mlops runs list --limit 5
    List {
        /// How many runs
        #[arg(long, value_name = "NUMBER", default_value_t = 20)]
        limit: usize,
    },
    /// Show a run: its steps, what it was made of, its parameters
    ///
    /// Example: mlops runs show fb9lk2vgt5sk
    Show {
        /// The run's id (default: the newest)
        run: Option<String>,
    },
    /// Print what the jobs of a run wrote
    ///
    /// Example: mlops runs logs fb9lk2vgt5sk Train
    Logs {
        /// The run's id
        run: String,
        /// One step only
        step: Option<String>,
    },
    /// Stop a run and its jobs
    ///
    /// Example: mlops runs stop fb9lk2vgt5sk
    Stop {
        /// The run's id
        run: String,
    },
}

/// Looks at runs, or stops one.
pub async fn run(ctx: &Context, command: &RunsCommand) -> Result<RunsReport> {
    let project = ctx.project()?;
    let pipeline = project.file.name.as_str();
    Ok(match command {
        RunsCommand::List { limit } => {
            let found = runs::list(ctx.aws().await?, pipeline, *limit).await?;
            RunsReport::List(RunList {
                runs: found.into_iter().map(|(_, summary)| summary).collect(),
                train: ctx.command("train"),
            })
        }
        RunsCommand::Show { run } => {
            let clients = ctx.aws().await?;
            let arn = runs::find(clients, pipeline, run.as_deref()).await?;
            let (run, parameters) = tokio::try_join!(
                runs::describe(clients, &arn),
                runs::parameters(clients, &arn)
            )?;
            RunsReport::Show(Box::new(Shown {
                run,
                parameters,
                now: ctx.now(),
            }))
        }
        RunsCommand::Logs { run, step } => {
            let clients = ctx.aws().await?;
            let arn = runs::find(clients, pipeline, Some(run)).await?;
            let run = runs::describe(clients, &arn).await?;
            RunsReport::Logs(read_logs(clients, run, step.as_deref()).await?)
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

async fn read_logs(clients: &Clients, run: Run, only: Option<&str>) -> Result<Logs> {
    if let Some(name) = only
        && !run.steps.iter().any(|step| step.name == name)
    {
        let steps: Vec<&str> = run.steps.iter().map(|step| step.name.as_str()).collect();
        return Err(anyhow!(
            "the run `{}` has started no step `{name}`",
            run.run
        ))
        .hint(format!("its steps are {}", steps.join(", ")));
    }
    let mut found = Vec::new();
    for step in &run.steps {
        if only.is_some_and(|name| name != step.name) {
            continue;
        }
        if let Some((group, job)) = step.log() {
            found.push(StepLog {
                step: step.name.clone(),
                lines: logs::lines(clients, group, job, None).await?,
            });
        }
    }
    Ok(Logs {
        run: run.run,
        logs: found,
    })
}
