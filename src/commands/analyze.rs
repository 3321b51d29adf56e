//! `mlops analyze`: implements the container contract of Model Monitor's analyzer for Processing
//! jobs.

use std::fmt;

use anyhow::Result;
use mlops_core::text::clean;
use serde::Serialize;

use crate::analyzer::{self, Analysis};
use crate::config::analyzer_environment;
use crate::context::Context;
use crate::output::Report;

/// Summary of the analysis, for the job's log.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Analyzed(Analysis);

/// Runs the job described by the environment. Violations are not a failure: they are reported in
/// the job's exit message and files.
pub async fn run(ctx: &Context) -> Result<Analyzed> {
    let now = ctx.now();
    let analysis =
        tokio::task::spawn_blocking(move || analyzer::run(&analyzer_environment(), now)).await??;
    Ok(Analyzed(analysis))
}

impl Report for Analyzed {}

impl fmt::Display for Analyzed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Analysis {
            rows,
            columns,
            violations,
            files,
        } = &self.0;
        write!(f, "{rows} rows, {columns} columns: ")?;
        match violations {
            None => writeln!(f, "baseline suggested")?,
            Some(0) => writeln!(f, "no violations")?,
            Some(1) => writeln!(f, "1 violation")?,
            Some(count) => writeln!(f, "{count} violations")?,
        }
        for file in files {
            writeln!(f, "wrote {}", clean(&file.display().to_string()))?;
        }
        Ok(())
    }
}
