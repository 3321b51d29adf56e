//! `mlops runs`: the executions of the project's pipeline.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Result, anyhow};
use jiff::Timestamp;
use serde::Serialize;

use crate::aws::sagemaker::runs::{self, Run, RunSummary};
use crate::aws::{Clients, logs};
use crate::context::Context;
use crate::error::Hint;
use crate::output::{Report, table};

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

/// What a `runs` command found.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum RunsReport {
    /// `runs list`
    List(RunList),
    /// `runs show`
    Show(Box<Shown>),
    /// `runs logs`
    Logs(Logs),
    /// `runs stop`
    Stopped(Stopped),
}

/// The newest runs.
#[derive(Debug, Serialize)]
pub struct RunList {
    runs: Vec<RunSummary>,
}

/// A run.
#[derive(Debug, Serialize)]
pub struct Shown {
    #[serde(flatten)]
    run: Run,
    parameters: BTreeMap<String, String>,
    #[serde(skip)]
    now: Timestamp,
}

/// The logs of a run.
#[derive(Debug, Serialize)]
pub struct Logs {
    run: String,
    logs: Vec<StepLog>,
}

#[derive(Debug, Serialize)]
struct StepLog {
    step: String,
    lines: Vec<String>,
}

/// A run that was asked to stop.
#[derive(Debug, Serialize)]
pub struct Stopped {
    run: String,
    status: String,
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

impl Report for RunsReport {}

impl fmt::Display for RunsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(list) => list.fmt(f),
            Self::Show(shown) => shown.fmt(f),
            Self::Logs(logs) => logs.fmt(f),
            Self::Stopped(stopped) => writeln!(f, "{}  {}", stopped.run, stopped.status),
        }
    }
}

impl fmt::Display for RunList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.runs.is_empty() {
            return writeln!(f, "no runs yet: start one with `mlops train`");
        }
        let rows = self.runs.iter().map(|run| {
            vec![
                run.run.clone(),
                run.status.clone(),
                run.started.map(crate::output::time).unwrap_or_default(),
                run.origin.branch.clone().unwrap_or_default(),
                run.origin.short_commit(),
            ]
        });
        f.write_str(&table(
            &["RUN", "STATUS", "STARTED", "BRANCH", "COMMIT"],
            rows,
        ))
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let run = &self.run;
        writeln!(f, "run       {}  {}", run.run, run.status)?;
        if let Some(started) = run.started {
            writeln!(f, "started   {}", crate::output::time(started))?;
        }
        write!(f, "{}", run.origin)?;
        if let Some(failure) = &run.failure {
            writeln!(f, "failure   {failure}")?;
        }
        let rows = run.steps.iter().map(|step| {
            let time = step.seconds(self.now).map(|s| format!("{s} s"));
            vec![
                step.name.clone(),
                step.kind.unwrap_or("-").to_owned(),
                step.status.clone(),
                time.unwrap_or_default(),
                step.failure
                    .clone()
                    .or_else(|| step.outcome.clone())
                    .unwrap_or_default(),
            ]
        });
        writeln!(f)?;
        f.write_str(&table(&["STEP", "TYPE", "STATUS", "TIME", "NOTE"], rows))?;
        if !self.parameters.is_empty() {
            let rows = self
                .parameters
                .iter()
                .map(|(name, value)| vec![name.clone(), value.clone()]);
            writeln!(f)?;
            f.write_str(&table(&["PARAMETER", "VALUE"], rows))?;
        }
        Ok(())
    }
}

impl fmt::Display for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for log in &self.logs {
            for line in &log.lines {
                writeln!(f, "{}  {}", log.step, crate::output::clean(line))?;
            }
        }
        Ok(())
    }
}
