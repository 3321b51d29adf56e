//! `mlops analyze`: implements the container contract of Model Monitor's analyzer for Processing
//! jobs.

use std::fmt;

use anyhow::Result;
use mlops_core::quote::short;
use mlops_core::text::clean;
use serde::Serialize;

use crate::analyzer::{self, Analysis};
use crate::config::analyzer_environment;
use crate::context::Context;
use crate::monitors::{AnyReport, job};
use crate::output::Report;

/// Summary of the analysis, for the job's log.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Analyzed {
    /// A job of Model Monitor.
    Analysis(Analysis),
    /// A job of the project's own schedule.
    Monitor(AnyReport),
}

/// Runs the job described by the environment. Violations are not a failure: they are reported in
/// the job's exit message and files.
pub async fn run(ctx: &Context) -> Result<Analyzed> {
    let now = ctx.now();
    let environment = analyzer_environment();
    if environment.contains_key(job::VARIABLE) {
        let report = job::run(ctx.aws().await?, &environment).await;
        let told = match &report {
            Ok(report) => match report.inconclusive() {
                Some(reason) => analyzer::tell(&environment, Err(&reason)),
                None => analyzer::tell(&environment, Ok(report.violations())),
            },
            Err(error) => analyzer::tell(&environment, Err(&mlops_core::error::message(error))),
        };
        // The analysis failed; report that even if the message cannot be written.
        let report = report?;
        told?;
        return Ok(Analyzed::Monitor(report));
    }
    let analysis = tokio::task::spawn_blocking(move || analyzer::run(&environment, now)).await??;
    Ok(Analyzed::Analysis(analysis))
}

impl Report for Analyzed {}

impl fmt::Display for Analyzed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Analysis {
            rows,
            columns,
            violations,
            unchecked,
            files,
        } = match self {
            Self::Analysis(analysis) => analysis,
            Self::Monitor(report) => return report.fmt(f),
        };
        write!(f, "{rows} rows")?;
        if let Some(columns) = columns {
            write!(f, ", {columns} columns")?;
        }
        f.write_str(": ")?;
        match violations {
            None => writeln!(f, "baseline suggested")?,
            Some(0) => writeln!(f, "no violations")?,
            Some(1) => writeln!(f, "1 violation")?,
            Some(count) => writeln!(f, "{count} violations")?,
        }
        if !unchecked.is_empty() {
            let names: Vec<String> = unchecked.iter().take(20).map(|name| short(name)).collect();
            writeln!(
                f,
                "warning: constraints that were not checked, because their metrics could not be computed: {}",
                names.join(", ")
            )?;
        }
        for file in files {
            writeln!(f, "wrote {}", clean(&file.display().to_string()))?;
        }
        Ok(())
    }
}
