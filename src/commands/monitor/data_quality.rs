//! `mlops monitor run` and `report` for data quality.

use anyhow::Result;
use mlops_core::error::{Exit, Failure, Hint};
use mlops_validation::{Baseline, files};

use super::{Monitored, ReportArgs, RunArgs};
use crate::config::Project;
use crate::context::Context;
use crate::infra;
use crate::monitoring::MonitoringReport;
use crate::monitors::run::{
    BASELINE_CONSTRAINTS, BASELINE_STATISTICS, Comparison, UNREADABLE, compare, no_traffic,
};
use crate::monitors::{AnyReport, MonitorKind};

pub(super) async fn run(ctx: &Context, args: &RunArgs) -> Result<Monitored> {
    let project = ctx.project()?;
    let baseline = baseline(&project)?;
    let window = args.window(ctx);
    let clients = ctx.aws_for(&project).await?;
    let platform = infra::platform(clients, &project).await?;
    let endpoint = project.file.name.as_str();
    let store = MonitorKind::DataQuality.store(&platform.artifact_bucket, endpoint);
    let traffic = args.traffic(&platform, endpoint);
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
    let report = AnyReport::DataQuality(Box::new(report));
    Ok(Monitored::now(report, &store.run(&run)))
}

/// Reads the baseline of the project.
pub(super) fn baseline(project: &Project) -> Result<Baseline> {
    let directory = &project.file.monitor.baseline;
    let read = |name: &str| project.read_file(&directory.join(name), files::MAX_FILE);
    let path = |name: &str| project.path(&directory.join(name));
    let mut baseline = read(files::CONSTRAINTS)
        .and_then(|constraints| {
            let statistics = read(files::STATISTICS)?;
            let constraints = (path(files::CONSTRAINTS), constraints);
            let statistics = (path(files::STATISTICS), statistics);
            Ok(Baseline::parse(
                (&constraints.0, &constraints.1),
                Some((&statistics.0, &statistics.1)),
            )?)
        })
        .hint("create a baseline with `mlops validate --suggest DATA`")?;
    if let (None, Some(rules)) = (baseline.constraints.rule_set(), project.file.validate.rules) {
        baseline.constraints.set_rules(rules);
    }
    Ok(baseline)
}

pub(super) async fn show(ctx: &Context, args: &ReportArgs) -> Result<Monitored> {
    let project = ctx.project()?;
    let clients = ctx.aws_for(&project).await?;
    let platform = infra::platform(clients, &project).await?;
    let endpoint = project.file.name.as_str();
    let store = MonitorKind::DataQuality.store(&platform.artifact_bucket, endpoint);
    let run = store.find(clients, args.run.as_deref()).await?;
    let read = async |name: &str| store.require(clients, &run, name).await;
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
        report: AnyReport::DataQuality(Box::new(report)),
        stored: store.run(&run).to_string(),
        page: args.html.clone(),
        exit: Exit::Done,
    })
}
