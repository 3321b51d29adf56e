//! `mlops monitor`: compares production data with the baseline.

mod report;
mod schedule;

use std::path::PathBuf;

use anyhow::Result;
use mlops_core::error::{Exit, Failure, Hint};
use mlops_validation::capture::Window;
use mlops_validation::{Baseline, files};
use serde::Serialize;

use self::schedule::{ScheduleStatus, Switched};
use crate::aws::Clients;
use crate::aws::monitoring_store::{self, Store};
use crate::aws::s3::S3Uri;
use crate::config::Project;
use crate::context::Context;
use crate::infra;
use crate::monitoring::MonitoringReport;
use crate::monitors::run::{
    BASELINE_CONSTRAINTS, BASELINE_STATISTICS, Comparison, UNREADABLE, compare, no_traffic,
};

/// Monitor the model in production
#[derive(Debug, clap::Subcommand)]
pub enum MonitorCommand {
    /// Compare captured requests with the baseline
    ///
    /// Reads the captured requests and predictions from S3, compares them with the project's
    /// baseline, and stores the result in the artifact bucket. Captured columns have no names: the
    /// prediction is matched with the baseline's first column, and the features with the following
    /// columns in order. Exits with 3 if there are violations.
    ///
    /// Example: mlops monitor run --hours 24
    Run(RunArgs),
    /// Compare captured traffic by a schedule, and set off an alarm on violations
    ///
    /// Stores the project's baseline in the artifact bucket, and deploys a schedule of EventBridge
    /// that starts a Processing job of the analyzer every `monitor.every_hours`. The job compares the
    /// traffic of that time, stores the result, and writes metrics. The alarm PROJECT-drift-data-quality
    /// goes off on violations. Run it again after a change of the baseline or of mlops.toml.
    ///
    /// Example: mlops monitor enable
    Enable,
    /// Delete the schedule and its alarms; results and baseline stay
    ///
    /// Example: mlops monitor disable
    Disable,
    /// Show the schedule, its alarms and its newest result
    ///
    /// Example: mlops monitor status
    Status,
    /// Show the newest result, or that of an earlier run
    ///
    /// Example: mlops monitor report --html drift.html
    Report(ReportArgs),
}

/// The predictions that `monitor run` checks.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Check only predictions from this time on (RFC 3339)
    #[arg(long, value_name = "TIME", conflicts_with = "hours")]
    since: Option<jiff::Timestamp>,
    /// Check only predictions before this time (RFC 3339)
    #[arg(long, value_name = "TIME", conflicts_with = "hours")]
    until: Option<jiff::Timestamp>,
    /// Check only predictions of this many last hours
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=87_600))]
    hours: Option<u32>,
    /// The location of the captured traffic [default: that of the live endpoint]
    #[arg(long, value_name = "S3-URI")]
    capture: Option<S3Uri>,
}

/// Selects a result for `monitor report`, and its format.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// The run to show [default: the newest]
    run: Option<String>,
    /// Write the report as an HTML page with a chart per drifted feature
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// A monitoring result.
#[derive(Debug, Serialize)]
pub struct Monitored {
    #[serde(flatten)]
    report: MonitoringReport,
    /// The result's location in S3.
    stored: String,
    /// The page that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<PathBuf>,
    #[serde(skip)]
    exit: Exit,
}

/// The result of a command.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum MonitorReport {
    /// `run`, `report`
    Monitored(Box<Monitored>),
    /// `enable`, `disable`
    Switched(Switched),
    /// `status`
    Status(ScheduleStatus),
}

/// Runs the monitor, schedules it, or shows a result.
pub async fn run(ctx: &Context, command: &MonitorCommand) -> Result<MonitorReport> {
    Ok(match command {
        MonitorCommand::Run(args) => {
            MonitorReport::Monitored(Box::new(Box::pin(analyse(ctx, args)).await?))
        }
        MonitorCommand::Report(args) => {
            MonitorReport::Monitored(Box::new(Box::pin(show(ctx, args)).await?))
        }
        MonitorCommand::Enable => MonitorReport::Switched(schedule::enable(ctx).await?),
        MonitorCommand::Disable => MonitorReport::Switched(schedule::disable(ctx).await?),
        MonitorCommand::Status => MonitorReport::Status(schedule::status(ctx).await?),
    })
}

async fn analyse(ctx: &Context, args: &RunArgs) -> Result<Monitored> {
    let project = ctx.project()?;
    let baseline = baseline(&project)?;
    let window = Window {
        since: match args.hours {
            Some(hours) => Some(ctx.now() - jiff::SignedDuration::from_hours(hours.into())),
            None => args.since,
        },
        until: args.until,
    };
    let clients = ctx.aws_for(&project).await?;
    let platform = infra::platform(clients, &project).await?;
    let endpoint = project.file.name.as_str();
    let store = Store::new(&platform.artifact_bucket, endpoint);
    let traffic = match &args.capture {
        Some(address) => address.clone(),
        None => monitoring_store::captured(&platform.capture_bucket, endpoint),
    };
    let task = ctx.progress.items("comparing captured traffic", 1);
    let comparison = Comparison {
        endpoint,
        store: &store,
        traffic: &traffic,
        window,
        baseline,
        minimum_records: project.file.monitor.minimum_records,
        now: ctx.now(),
    };
    let compared = compare(clients, comparison).await?;
    let (report, run) = compared.ok_or_else(|| no_traffic(&traffic, window))?;
    drop(task);
    let is_fine = report.violations.is_empty() && report.inconclusive().is_none();
    Ok(Monitored {
        exit: if is_fine { Exit::Done } else { Exit::Refused },
        stored: store.run(&run).to_string(),
        page: None,
        report,
    })
}

/// Reads the baseline of the project.
fn baseline(project: &Project) -> Result<Baseline> {
    let directory = project.path(&project.file.monitor.baseline);
    let mut baseline = Baseline::read(
        &directory.join(files::CONSTRAINTS),
        Some(&directory.join(files::STATISTICS)),
    )
    .hint("create a baseline with `mlops validate --suggest DATA`")?;
    if let (None, Some(rules)) = (baseline.constraints.rule_set(), project.file.validate.rules) {
        baseline.constraints.set_rules(rules);
    }
    Ok(baseline)
}

async fn show(ctx: &Context, args: &ReportArgs) -> Result<Monitored> {
    let project = ctx.project()?;
    let clients = ctx.aws_for(&project).await?;
    let store = store(clients, &project).await?;
    let run = store.find(clients, args.run.as_deref()).await?;
    let read = async |name: &str| -> Result<Vec<u8>> {
        store.get(clients, &run, name).await?.ok_or_else(|| {
            Failure::new(
                Exit::Failed,
                format!("{} is incomplete: {name} is missing", store.run(&run)),
            )
        })
    };
    let violations = files::parse(files::VIOLATIONS, &read(files::VIOLATIONS).await?)?;
    let statistics = files::parse(files::STATISTICS, &read(files::STATISTICS).await?)?;
    let constraints = read(BASELINE_CONSTRAINTS).await?;
    let before = store.get(clients, &run, BASELINE_STATISTICS).await?;
    let baseline = Baseline {
        constraints: files::parse(BASELINE_CONSTRAINTS, &constraints)?,
        statistics: before
            .map(|bytes| files::parse(BASELINE_STATISTICS, &bytes))
            .transpose()?,
    };
    let endpoint = project.file.name.as_str();
    let report = MonitoringReport::new(endpoint, &run, &baseline, &statistics, violations)
        .requiring(project.file.monitor.minimum_records);
    let unreadable = store.get(clients, &run, UNREADABLE).await?;
    let report = match unreadable {
        Some(bytes) => report.without(files::parse(UNREADABLE, &bytes)?),
        None => report,
    };
    if let Some(path) = &args.html {
        std::fs::write(path, report.html())
            .map_err(|error| Failure::new(Exit::Failed, format!("{}: {error}", path.display())))?;
    }
    Ok(Monitored {
        report,
        stored: store.run(&run).to_string(),
        page: args.html.clone(),
        exit: Exit::Done,
    })
}

/// The endpoint has the project's name; results are in the platform's artifact bucket.
async fn store(clients: &Clients, project: &Project) -> Result<Store> {
    let bucket = infra::platform(clients, project).await?.artifact_bucket;
    Ok(Store::new(bucket, project.file.name.as_str()))
}
