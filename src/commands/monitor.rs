//! `mlops monitor`: compares production data with the baseline.

mod data_quality;
mod model_quality;
mod report;
mod schedule;
mod status;
mod tune;

use std::path::PathBuf;

use anyhow::Result;
use mlops_core::error::{Exit, Failure, Hint};
use mlops_validation::capture::Window;
use serde::Serialize;

use self::model_quality::Suggested;
use self::schedule::Switched;
use self::status::ScheduleStatus;
use self::tune::{TuneArgs, Tuned};
use crate::aws::monitoring_store;
use crate::aws::s3::S3Uri;
use crate::context::Context;
use crate::infra::Platform;
use crate::monitors::{AnyReport, MonitorKind};

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
    /// With `--kind model-quality`, compares predictions with their labels (`mlops data label push`)
    /// as `[monitor.model_quality]` describes, and the model's metrics with the limits of the baseline,
    /// which `--suggest` creates.
    ///
    /// Example: mlops monitor run --hours 24
    Run(RunArgs),
    /// Compare captured traffic by a schedule, and set off an alarm on violations
    ///
    /// Stores the project's baseline in the artifact bucket, and deploys a schedule of EventBridge
    /// that starts a Processing job of the analyzer every `monitor.every_hours`. The job compares the
    /// traffic of that time, stores the result, and writes metrics. The alarm PROJECT-drift-data-quality
    /// goes off on violations. With `[monitor.model_quality]`, a second job compares predictions with
    /// labels (alarm PROJECT-drift-model-quality). Run it again after a change of the baseline or of
    /// mlops.toml.
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
    /// Show what other thresholds of drift would have done
    ///
    /// Replays the captured traffic of the last days, compares each window of `monitor.every_hours` with
    /// today's baseline, and shows for each threshold how often the alarm would have gone off and how
    /// many runs the retrain gate would have started within the limits of mlops.toml. Changes nothing.
    ///
    /// Example: mlops monitor tune --days 30
    Tune(TuneArgs),
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
    /// What to compare
    #[arg(long, value_enum, default_value_t)]
    kind: MonitorKind,
    /// Write the metrics as the baseline's limits instead (model-quality)
    #[arg(long)]
    suggest: bool,
}

/// Selects a result for `monitor report`, and its format.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// The run to show [default: the newest]
    run: Option<String>,
    /// The monitor
    #[arg(long, value_enum, default_value_t)]
    kind: MonitorKind,
    /// Write the report as an HTML page with a chart per drifted feature (data-quality)
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// A monitoring result.
#[derive(Debug, Serialize)]
pub struct Monitored {
    #[serde(flatten)]
    report: AnyReport,
    /// The result's location in S3.
    stored: String,
    /// The page that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<PathBuf>,
    #[serde(skip)]
    exit: Exit,
}

impl Monitored {
    /// The result of a run that was made now: it is healthy, or exits with 3.
    fn now(report: AnyReport, stored: &S3Uri) -> Self {
        let is_fine = report.violations() == 0 && report.inconclusive().is_none();
        Self {
            report,
            stored: stored.to_string(),
            page: None,
            exit: if is_fine { Exit::Done } else { Exit::Refused },
        }
    }
}

/// The result of a command.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum MonitorReport {
    /// `run`, `report`
    Monitored(Box<Monitored>),
    /// `run --suggest`
    Suggested(Suggested),
    /// `enable`, `disable`
    Switched(Switched),
    /// `status`
    Status(ScheduleStatus),
    /// `tune`
    Tuned(Tuned),
}

/// Runs the monitor, schedules it, or shows a result.
pub async fn run(ctx: &Context, command: &MonitorCommand) -> Result<MonitorReport> {
    Ok(match command {
        MonitorCommand::Run(args) => match (args.kind, args.suggest) {
            (MonitorKind::DataQuality, true) => {
                return Err(Failure::usage("--suggest is for `--kind model-quality`")).hint(
                    "create the baseline of data quality with `mlops validate --suggest DATA`",
                );
            }
            (MonitorKind::DataQuality, false) => {
                MonitorReport::Monitored(Box::new(Box::pin(data_quality::run(ctx, args)).await?))
            }
            (MonitorKind::ModelQuality, false) => {
                MonitorReport::Monitored(Box::new(Box::pin(model_quality::run(ctx, args)).await?))
            }
            (MonitorKind::ModelQuality, true) => {
                MonitorReport::Suggested(Box::pin(model_quality::suggest(ctx, args)).await?)
            }
        },
        MonitorCommand::Report(args) => MonitorReport::Monitored(Box::new(match args.kind {
            MonitorKind::DataQuality => Box::pin(data_quality::show(ctx, args)).await?,
            MonitorKind::ModelQuality => Box::pin(model_quality::show(ctx, args)).await?,
        })),
        MonitorCommand::Enable => MonitorReport::Switched(schedule::enable(ctx).await?),
        MonitorCommand::Disable => MonitorReport::Switched(schedule::disable(ctx).await?),
        MonitorCommand::Tune(args) => MonitorReport::Tuned(Box::pin(tune::tune(ctx, args)).await?),
        MonitorCommand::Status => MonitorReport::Status(status::status(ctx).await?),
    })
}

impl RunArgs {
    /// The time of the traffic.
    fn window(&self, ctx: &Context) -> Window {
        Window {
            since: match self.hours {
                Some(hours) => Some(ctx.now() - jiff::SignedDuration::from_hours(hours.into())),
                None => self.since,
            },
            until: self.until,
        }
    }

    /// Where the traffic of an endpoint was captured.
    fn traffic(&self, platform: &Platform, endpoint: &str) -> S3Uri {
        match &self.capture {
            Some(address) => address.clone(),
            None => monitoring_store::captured(&platform.capture_bucket, endpoint),
        }
    }
}
