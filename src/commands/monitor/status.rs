//! `mlops monitor status`: the schedule, its alarms and the newest results.

use std::fmt;

use anyhow::Result;
use mlops_core::text::clean;
use mlops_validation::capture::Unreadable;
use mlops_validation::quality::QualityStatistics;
use mlops_validation::{Statistics, Violations, files};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::aws::monitoring_store::Store;
use crate::aws::{Clients, cloudwatch};
use crate::context::Context;
use crate::infra::{self, Part};
use crate::monitoring::model_quality::Join;
use crate::monitors::MonitorKind;
use crate::monitors::model_quality::JOIN;
use crate::monitors::run::UNREADABLE;

/// The schedule and what it did.
#[derive(Debug, Serialize)]
pub struct ScheduleStatus {
    enabled: bool,
    every_hours: Option<u32>,
    minimum_records: u64,
    alarms: Vec<AlarmStatus>,
    /// The newest result of data quality, of a scheduled run or of `mlops monitor run`.
    newest: Option<NewestRun>,
    /// The newest result of model quality.
    newest_model_quality: Option<NewestRun>,
}

#[derive(Debug, Serialize)]
struct AlarmStatus {
    alarm: String,
    state: String,
}

#[derive(Debug, Serialize)]
struct NewestRun {
    run: String,
    /// Rows of captured traffic; with a label, for model quality.
    rows: u64,
    violations: usize,
    /// Requests, predictions or labels that could not be read.
    unreadable: u64,
    /// Limits that could not be checked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unchecked: Vec<String>,
}

/// The alarms in monitoring.yaml, without the name of the endpoint.
const ALARMS: [&str; 7] = [
    "drift-data-quality",
    "monitor-data-quality-missing",
    "monitor-data-quality-unreadable",
    "drift-model-quality",
    "monitor-model-quality-missing",
    "monitor-model-quality-unreadable",
    "monitor-model-quality-unlabelled",
];

/// Reads the schedule, its alarms and the newest results.
pub(super) async fn status(ctx: &Context) -> Result<ScheduleStatus> {
    let project = ctx.project()?;
    let clients = ctx.aws_of(&project).await?;
    let name = project.file.name.as_str();
    let platform = infra::platform(clients, &project).await?;
    let stack = Part::Monitoring.stack(&project.file.name);
    let outputs = infra::outputs(clients, &stack).await?;
    let enabled = outputs.is_some_and(|outputs| !outputs.is_empty());
    let names = ALARMS.map(|alarm| format!("{name}-{alarm}"));
    let store = |kind: MonitorKind| kind.store(&platform.artifact_bucket, name);
    let (data, quality) = (
        store(MonitorKind::DataQuality),
        store(MonitorKind::ModelQuality),
    );
    let (alarms, newest, newest_model_quality) = futures::try_join!(
        cloudwatch::alarms(clients, &names),
        newest(clients, &data, |it: Statistics| it.dataset.item_count),
        newest(clients, &quality, |it: QualityStatistics| it
            .dataset
            .item_count),
    )?;
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
        newest_model_quality,
    })
}

/// The newest complete run; `rows` reads the number of rows from its statistics.
async fn newest<T: DeserializeOwned>(
    clients: &Clients,
    store: &Store,
    rows: impl Fn(T) -> u64,
) -> Result<Option<NewestRun>> {
    let Some((run, bytes)) = store.newest(clients, files::VIOLATIONS).await? else {
        return Ok(None);
    };
    let found: Violations = files::parse(files::VIOLATIONS, &bytes)?;
    let statistics = store.get(clients, &run, files::STATISTICS).await?;
    let statistics: Option<T> = statistics
        .map(|bytes| files::parse(files::STATISTICS, &bytes))
        .transpose()?;
    let join = store.get(clients, &run, JOIN).await?;
    let join: Option<Join> = join.map(|bytes| files::parse(JOIN, &bytes)).transpose()?;
    let skipped = store.get(clients, &run, UNREADABLE).await?;
    let skipped: Option<Unreadable> = skipped
        .map(|bytes| files::parse(UNREADABLE, &bytes))
        .transpose()?;
    let join = join.unwrap_or_default();
    Ok(Some(NewestRun {
        run,
        rows: statistics.map_or(0, rows),
        violations: found.violations.len(),
        unreadable: skipped.unwrap_or_default().invocations
            + join.counts.unreadable_predictions
            + join.counts.unreadable_labels,
        unchecked: join.unchecked,
    }))
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
            Some(newest) => writeln!(f, "newest     {}", newest.text(self.minimum_records))?,
            None => writeln!(f, "newest     no result yet")?,
        }
        match &self.newest_model_quality {
            Some(newest) => writeln!(f, "model      {}", newest.text(self.minimum_records)),
            None => Ok(()),
        }
    }
}

impl NewestRun {
    fn text(&self, minimum_records: u64) -> String {
        let (run, rows) = (clean(&self.run), self.rows);
        let mut text = if self.violations == 0 && rows < minimum_records {
            format!("{run}: not enough data ({rows} rows)")
        } else {
            format!("{run}: {} violations in {rows} rows", self.violations)
        };
        if self.unreadable > 0 {
            text.push_str(&format!(", {} not readable", self.unreadable));
        }
        if !self.unchecked.is_empty() {
            text.push_str(&format!(", {} limits not checked", self.unchecked.len()));
        }
        text
    }
}
