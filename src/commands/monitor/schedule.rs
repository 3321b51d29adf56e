//! `mlops monitor enable`, `disable` and `status`: the monitor as a job on a schedule.

use std::fmt;

use anyhow::{Context as _, Result};
use mlops_core::error::{Failure, Hint};
use mlops_core::text::clean;
use mlops_validation::{Statistics, Violations, files};
use serde::Serialize;

use crate::aws::monitoring_store::Store;
use crate::aws::{cloudwatch, ecr, s3};
use crate::context::Context;
use crate::infra::{self, Part};

/// Maximum length of a project's name: that of a job's name, without the id of the schedule's execution.
const LONGEST_NAME: usize = 22;

/// A monitor that was enabled or disabled.
#[derive(Debug, Serialize)]
pub struct Switched {
    stack: String,
    /// `created`, `updated`, `unchanged` or `deleted`.
    action: &'static str,
    /// Hours between two runs; null for a disabled monitor.
    every_hours: Option<u32>,
    /// Where the baseline is.
    baseline: Option<String>,
    #[serde(skip)]
    next: Option<String>,
}

/// The schedule and what it did.
#[derive(Debug, Serialize)]
pub struct ScheduleStatus {
    enabled: bool,
    every_hours: Option<u32>,
    minimum_records: u64,
    alarms: Vec<AlarmStatus>,
    /// The newest result, of a scheduled run or of `mlops monitor run`.
    newest: Option<NewestRun>,
}

#[derive(Debug, Serialize)]
struct AlarmStatus {
    alarm: String,
    state: String,
}

#[derive(Debug, Serialize)]
struct NewestRun {
    run: String,
    /// Rows of captured traffic.
    rows: u64,
    violations: usize,
}

/// Stores the baseline and deploys the schedule.
pub(super) async fn enable(ctx: &Context) -> Result<Switched> {
    let project = ctx.project()?;
    let name = project.file.name.as_str();
    if name.len() > LONGEST_NAME {
        return Err(Failure::usage(format!(
            "the names of scheduled jobs would be too long: a monitored project's name has at most {LONGEST_NAME} \
             characters"
        )))
        .hint("run `mlops monitor run` by a schedule of your own");
    }
    let baseline = super::baseline(&project)?;
    let statistics = baseline
        .statistics
        .as_ref()
        .ok_or_else(|| {
            Failure::usage("the baseline has no statistics, which drift is measured with")
        })
        .hint("create both files with `mlops validate --suggest DATA`")?;
    let clients = ctx.aws_for(&project).await?;
    let platform = infra::platform(clients, &project).await?;
    let digest = infra::deployed_analyzer(clients, &project)
        .await?
        .context("the image repository has no analyzer")
        .hint(format!(
            "push it with `{}`",
            ctx.command("image push --analyzer")
        ))?;
    let uri = ecr::repository_uri(clients, &platform.image_repository).await?;
    let store = Store::new(&platform.artifact_bucket, name);
    let constraints = store.baseline(files::CONSTRAINTS);
    let rendered = files::render(&baseline.constraints)?;
    s3::put_json(&clients.s3, &constraints, rendered).await?;
    let address = store.baseline(files::STATISTICS);
    s3::put_json(&clients.s3, &address, files::render(statistics)?).await?;
    let spec = infra::monitoring_stack(&project, &uri.at(digest).to_string());
    let outcome = infra::deploy(clients, ctx.waiter, &ctx.progress, &spec).await?;
    Ok(Switched {
        stack: outcome.stack,
        action: outcome.action.as_str(),
        every_hours: Some(project.file.monitor.every_hours),
        baseline: Some(constraints.to_string()),
        next: Some(ctx.command("retrain on-drift")),
    })
}

/// Deletes the schedule and its alarms.
pub(super) async fn disable(ctx: &Context) -> Result<Switched> {
    let project = ctx.project()?;
    let clients = ctx.aws_for(&project).await?;
    let stack = Part::Monitoring.stack(&project.file.name);
    let deployed = infra::deployed_stack(clients, &project, Part::Monitoring).await?;
    let action = match deployed {
        None => "unchanged",
        Some(found) => {
            let reason = infra::delete(clients, ctx.waiter, &ctx.progress, &found).await?;
            if let Some(reason) = reason {
                return Err(anyhow::anyhow!("{stack} could not be deleted: {reason}"))
                    .hint("remove the obstacle, then run the command again");
            }
            "deleted"
        }
    };
    Ok(Switched {
        stack,
        action,
        every_hours: None,
        baseline: None,
        next: None,
    })
}

/// Reads the schedule, its alarms and the newest result.
pub(super) async fn status(ctx: &Context) -> Result<ScheduleStatus> {
    let project = ctx.project()?;
    let clients = ctx.aws_of(&project).await?;
    let name = project.file.name.as_str();
    let platform = infra::platform(clients, &project).await?;
    let stack = Part::Monitoring.stack(&project.file.name);
    let outputs = infra::outputs(clients, &stack).await?;
    let enabled = outputs.is_some_and(|outputs| !outputs.is_empty());
    let names: [String; 3] = [
        format!("{name}-drift-data-quality"),
        format!("{name}-monitor-data-quality-missing"),
        format!("{name}-monitor-data-quality-unreadable"),
    ];
    let store = Store::new(&platform.artifact_bucket, name);
    let (alarms, newest) = futures::try_join!(
        cloudwatch::alarms(clients, &names),
        store.newest(clients, files::VIOLATIONS)
    )?;
    let newest = match newest {
        None => None,
        Some((run, bytes)) => {
            let found: Violations = files::parse(files::VIOLATIONS, &bytes)?;
            let statistics = store.get(clients, &run, files::STATISTICS).await?;
            let statistics: Option<Statistics> = statistics
                .map(|bytes| files::parse(files::STATISTICS, &bytes))
                .transpose()?;
            Some(NewestRun {
                run,
                rows: statistics.map_or(0, |found| found.dataset.item_count),
                violations: found.violations.len(),
            })
        }
    };
    Ok(ScheduleStatus {
        enabled,
        every_hours: enabled.then_some(project.file.monitor.every_hours),
        minimum_records: project.file.monitor.minimum_records,
        alarms: alarms
            .into_iter()
            .map(|alarm| AlarmStatus {
                alarm: alarm.name,
                state: alarm.state,
            })
            .collect(),
        newest,
    })
}

impl fmt::Display for Switched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.stack, self.action)?;
        if let Some(hours) = self.every_hours {
            writeln!(f, "compares captured traffic every {hours} h")?;
        }
        if let Some(baseline) = &self.baseline {
            writeln!(f, "baseline   {}", clean(baseline))?;
        }
        if let Some(next) = &self.next {
            writeln!(f, "retrain when its alarm goes off: `{next}`")?;
        }
        Ok(())
    }
}

impl fmt::Display for ScheduleStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.every_hours {
            Some(hours) => writeln!(f, "schedule   every {hours} h")?,
            None => writeln!(f, "schedule   none: `mlops monitor enable` creates one")?,
        }
        for alarm in &self.alarms {
            writeln!(
                f,
                "alarm      {} {}",
                clean(&alarm.alarm),
                clean(&alarm.state)
            )?;
        }
        match &self.newest {
            Some(newest) if newest.violations == 0 && newest.rows < self.minimum_records => {
                let run = clean(&newest.run);
                writeln!(
                    f,
                    "newest     {run}: not enough data ({} rows)",
                    newest.rows
                )
            }
            Some(newest) => writeln!(
                f,
                "newest     {}: {} violations in {} rows",
                clean(&newest.run),
                newest.violations,
                newest.rows
            ),
            None => writeln!(f, "newest     no result yet"),
        }
    }
}
