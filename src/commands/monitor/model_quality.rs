//! `mlops monitor run` and `report` for model quality.

use std::fmt;
use std::path::PathBuf;

use anyhow::Result;
use mlops_core::error::{Exit, Failure, Hint};
use mlops_validation::files;
use mlops_validation::quality::{QualityConstraints, Settings};
use serde::Serialize;

use super::{Monitored, ReportArgs, RunArgs};
use crate::aws::monitoring_store;
use crate::config::Project;
use crate::context::Context;
use crate::infra;
use crate::monitors::model_quality::{self, QualityComparison};
use crate::monitors::run::no_traffic;
use crate::monitors::{AnyReport, MonitorKind};

/// The baseline of model quality, in the directory of the baseline.
const CONSTRAINTS: &str = "model_quality_constraints.json";
/// Its metrics.
const STATISTICS: &str = "model_quality_statistics.json";

/// Maximum size of the baseline in bytes: a class has a few limits.
const LIMIT: u64 = 16 << 20;

/// A baseline that was written.
#[derive(Debug, Serialize)]
pub struct Suggested {
    /// The files.
    written: Vec<PathBuf>,
    /// Rows with a prediction and a label.
    rows: u64,
    /// The share of predictions with a label, 0 to 1.
    join_rate: Option<f64>,
}

pub(super) async fn run(ctx: &Context, args: &RunArgs) -> Result<Monitored> {
    let project = ctx.project()?;
    let settings = settings(&project)?;
    let baseline = baseline(&project)?;
    let window = args.window(ctx);
    let clients = ctx.aws_for(&project).await?;
    let platform = infra::platform(clients, &project).await?;
    let endpoint = project.file.name.as_str();
    let store = MonitorKind::ModelQuality.store(&platform.artifact_bucket, endpoint);
    let traffic = args.traffic(&platform, endpoint);
    let task = ctx.progress.items("comparing predictions with labels", 1);
    let comparison = QualityComparison {
        endpoint,
        store: &store,
        traffic: &traffic,
        labels: &monitoring_store::labels(&platform.capture_bucket, endpoint),
        window,
        settings: &settings,
        baseline: &baseline,
        minimum_records: project.file.monitor.minimum_records,
        now: ctx.now(),
    };
    let compared = model_quality::compare(clients, comparison).await?;
    let (report, run) = compared.ok_or_else(|| no_traffic(&traffic, window))?;
    drop(task);
    let report = AnyReport::ModelQuality(Box::new(report));
    Ok(Monitored::now(report, &store.run(&run)))
}

/// The settings in mlops.toml.
fn settings(project: &Project) -> Result<Settings> {
    let section = project.file.monitor.model_quality.as_ref();
    let section = section
        .ok_or_else(|| Failure::usage("mlops.toml has no [monitor.model_quality]"))
        .hint("add it with the type of the model, for example problem_type = \"regression\"")?;
    section.settings().map_err(Failure::usage)
}

/// Reads the baseline of the project, which must be one of the model's type.
pub(super) fn baseline(project: &Project) -> Result<QualityConstraints> {
    let problem = settings(project)?.problem;
    let relative = project.file.monitor.baseline.join(CONSTRAINTS);
    let baseline: QualityConstraints = project
        .read_file(&relative, LIMIT)
        .and_then(|bytes| Ok(files::parse(CONSTRAINTS, &bytes)?))
        .hint("create the baseline with `mlops monitor run --kind model-quality --suggest`")?;
    let fits = baseline.fit(problem);
    fits.map_err(|error| Failure::usage(format!("{}: {error}", relative.display())))?;
    Ok(baseline)
}

/// Writes the metrics of the window as the limits of the baseline.
pub(super) async fn suggest(ctx: &Context, args: &RunArgs) -> Result<Suggested> {
    let project = ctx.project()?;
    let settings = settings(&project)?;
    let window = args.window(ctx);
    let clients = ctx.aws_for(&project).await?;
    let platform = infra::platform(clients, &project).await?;
    let endpoint = project.file.name.as_str();
    let traffic = args.traffic(&platform, endpoint);
    let labels = monitoring_store::labels(&platform.capture_bucket, endpoint);
    let task = ctx.progress.items("comparing predictions with labels", 1);
    let addresses = (&traffic, &labels);
    let quality = model_quality::analyse(clients, addresses, window, &settings, None).await?;
    drop(task);
    let quality = quality.ok_or_else(|| no_traffic(&traffic, window))?;
    let rows = quality.statistics.dataset.item_count;
    let minimum = project.file.monitor.minimum_records;
    if rows < minimum {
        return Err(Failure::new(
            Exit::Refused,
            format!("not enough data: {rows} rows with a label, and `monitor.minimum_records` is {minimum}"),
        ))
        .hint("push labels with `mlops data label push FILE`");
    }
    let directory = project.directory(&project.file.monitor.baseline)?;
    Ok(Suggested {
        written: vec![
            files::write(&directory, CONSTRAINTS, &quality.constraints)?,
            files::write(&directory, STATISTICS, &quality.statistics)?,
        ],
        rows,
        join_rate: quality.counts.join_rate(),
    })
}

pub(super) async fn show(ctx: &Context, args: &ReportArgs) -> Result<Monitored> {
    if args.html.is_some() {
        return Err(Failure::usage(
            "--html is not supported for `--kind model-quality` yet",
        ))
        .hint("use --output json");
    }
    let project = ctx.project()?;
    let clients = ctx.aws_for(&project).await?;
    let platform = infra::platform(clients, &project).await?;
    let endpoint = project.file.name.as_str();
    let store = MonitorKind::ModelQuality.store(&platform.artifact_bucket, endpoint);
    let run = store.find(clients, args.run.as_deref()).await?;
    let minimum = project.file.monitor.minimum_records;
    let report = model_quality::read(clients, &store, endpoint, &run, minimum).await?;
    Ok(Monitored {
        report: AnyReport::ModelQuality(Box::new(report)),
        stored: store.run(&run).to_string(),
        page: None,
        exit: Exit::Done,
    })
}

impl fmt::Display for Suggested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for path in &self.written {
            writeln!(f, "wrote {}", path.display())?;
        }
        write!(f, "the limits are the metrics of {} rows", self.rows)?;
        match self.join_rate {
            Some(rate) => writeln!(
                f,
                " ({:.1} % of the predictions have a label)",
                rate * 100.0
            ),
            None => writeln!(f),
        }?;
        write!(f, "review and commit them: the next run compares with them")
    }
}
