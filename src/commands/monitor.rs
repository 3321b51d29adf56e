//! `mlops monitor`: compares production data with the baseline.

use std::fmt;
use std::path::PathBuf;

use anyhow::Result;
use mlops_core::error::{Exit, Failure, Hint};
use mlops_validation::capture::Window;
use mlops_validation::{self as validation, Baseline, Constraints, Format, Source, files};
use serde::Serialize;

use crate::aws::monitoring_store::{self, Store};
use crate::aws::s3::S3Uri;
use crate::aws::{Clients, capture};
use crate::config::Project;
use crate::context::Context;
use crate::infra;
use crate::monitoring::MonitoringReport;
use crate::output::Report;

/// The baseline that a run was compared with, stored next to its result.
const BASELINE_CONSTRAINTS: &str = "baseline_constraints.json";
const BASELINE_STATISTICS: &str = "baseline_statistics.json";

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

/// Runs the monitor, or shows a result.
pub async fn run(ctx: &Context, command: &MonitorCommand) -> Result<Monitored> {
    match command {
        MonitorCommand::Run(args) => analyse(ctx, args).await,
        MonitorCommand::Report(args) => show(ctx, args).await,
    }
}

async fn analyse(ctx: &Context, args: &RunArgs) -> Result<Monitored> {
    let project = ctx.project()?;
    let directory = project.path(&project.file.monitor.baseline);
    let mut baseline = Baseline::read(
        &directory.join(files::CONSTRAINTS),
        Some(&directory.join(files::STATISTICS)),
    )
    .hint("create a baseline with `mlops validate --suggest DATA`")?;
    if let (None, Some(rules)) = (baseline.constraints.rule_set(), project.file.validate.rules) {
        baseline.constraints.set_rules(rules);
    }
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
    let address = match &args.capture {
        Some(address) => address.clone(),
        None => monitoring_store::captured(&platform.capture_bucket, endpoint),
    };
    let mut objects = capture::objects(clients, &address).await?;
    objects.retain(|object| window.may_hold(&object.key));
    if objects.is_empty() {
        return Err(no_traffic(&address, window));
    }
    let task = ctx.progress.items("comparing captured traffic", 1);
    let sources: Vec<Source> = objects
        .iter()
        .map(|object| Source::stream(object.to_string(), capture::opener(clients, object, None)))
        .collect();
    let known = baseline.clone();
    let profiled = tokio::task::spawn_blocking(move || {
        validation::profile(sources, &Format::Capture(window), Some(&known))
    });
    let profile = profiled.await?.map_err(|error| {
        if error.is_empty() {
            no_traffic(&address, window)
        } else {
            error.into()
        }
    })?;
    let statistics = profile.statistics();
    let failed = |text: String| Failure::new(Exit::Failed, text);
    let violations =
        validation::check(&profile, &statistics, &baseline, ctx.now()).map_err(failed)?;
    drop(task);
    let run = ctx.now().strftime("%Y-%m-%dT%H-%M-%SZ").to_string();
    let rules = baseline.constraints.rules_of(None).set;
    let suggested = Constraints::suggest_by(&statistics, rules);
    let mut results = vec![
        (BASELINE_CONSTRAINTS, files::render(&baseline.constraints)?),
        (files::STATISTICS, files::render(&statistics)?),
        (files::CONSTRAINTS, files::render(&suggested)?),
    ];
    if let Some(before) = &baseline.statistics {
        results.push((BASELINE_STATISTICS, files::render(before)?));
    }
    // The violations are written last: a run that has them is complete.
    results.push((files::VIOLATIONS, files::render(&violations)?));
    for (name, bytes) in results {
        store.put(clients, &run, name, bytes).await?;
    }
    let report = MonitoringReport::new(endpoint, &run, &baseline, &statistics, violations);
    Ok(Monitored {
        exit: if report.violations.is_empty() {
            Exit::Done
        } else {
            Exit::Refused
        },
        stored: store.run(&run).to_string(),
        page: None,
        report,
    })
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
    let report = MonitoringReport::new(endpoint, &run, &baseline, &statistics, violations);
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

fn no_traffic(address: &S3Uri, window: Window) -> anyhow::Error {
    let (when, hint) = if window == Window::default() {
        (
            "",
            "send requests to the endpoint; they are captured within a minute or two",
        )
    } else {
        (
            " in that time",
            "omit --since, --until and --hours to read everything",
        )
    };
    mlops_core::error::hinted(
        Failure::new(
            Exit::Failed,
            format!("no captured requests under {address}{when}"),
        ),
        hint,
    )
}

impl Report for Monitored {
    fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for Monitored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.page {
            Some(page) => writeln!(f, "wrote {}", page.display()),
            None => write!(f, "{}\nstored in {}", self.report, self.stored),
        }
    }
}
