//! `mlops monitor enable` and `disable`: the monitors as jobs on a schedule.

use std::fmt;

use anyhow::{Context as _, Result};
use mlops_core::error::{Failure, Hint};
use mlops_core::text::clean;
use mlops_validation::files;
use serde::Serialize;

use super::{data_quality, model_quality};
use crate::aws::{ecr, s3};
use crate::context::Context;
use crate::infra::{self, Part};
use crate::monitors::MonitorKind;

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
    /// The monitors.
    monitors: Vec<MonitorKind>,
    /// Where the baseline of data quality is.
    baseline: Option<String>,
    #[serde(skip)]
    next: Option<String>,
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
    let baseline = data_quality::baseline(&project)?;
    let statistics = baseline
        .statistics
        .as_ref()
        .ok_or_else(|| {
            Failure::usage("the baseline has no statistics, which drift is measured with")
        })
        .hint("create both files with `mlops validate --suggest DATA`")?;
    let quality = project.file.monitor.model_quality.as_ref();
    let quality = quality
        .map(|_| model_quality::baseline(&project))
        .transpose()?;
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
    let store = |kind: MonitorKind| kind.store(&platform.artifact_bucket, name);
    let mut monitors = vec![MonitorKind::DataQuality];
    if let Some(quality) = quality {
        let address = store(MonitorKind::ModelQuality).baseline(files::CONSTRAINTS);
        s3::put_json(&clients.s3, &address, files::render(&quality)?).await?;
        monitors.push(MonitorKind::ModelQuality);
    }
    let store = store(MonitorKind::DataQuality);
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
        monitors,
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
        monitors: Vec::new(),
        baseline: None,
        next: None,
    })
}

impl fmt::Display for Switched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.stack, self.action)?;
        if let Some(hours) = self.every_hours {
            let monitors: Vec<&str> = self.monitors.iter().map(|kind| kind.as_str()).collect();
            writeln!(f, "every {hours} h    {}", monitors.join(", "))?;
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
