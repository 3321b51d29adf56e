//! Implements the container contract of SageMaker Model Monitor's analyzer, so that this binary can
//! replace AWS's analyzer image: the environment describes the analysis, and files receive its
//! results.
//!
//! Jobs: data quality; model quality (`analysis_type=MODEL_QUALITY`); bias, as SageMaker Clarify computes it, by
//! `analysis_config.json`.
//!
//! Input: the environment (or the `Environment` map of `/opt/ml/config/processingjobconfig.json`),
//! the data below `dataset_source`, and the baseline's files. Output: `statistics.json`,
//! `constraints.json` and `constraint_violations.json` in `output_path`, one sentence in
//! `/opt/ml/output/message` (SageMaker's `ExitMessage`), and CloudWatch metrics as JSON Lines where
//! the monitoring platform collects them. Violations are a result, not a failure: the exit code is
//! 0.
//!
//! Sources: "Container Contract Inputs", "… Outputs" and "CloudWatch Metrics for Bring Your Own
//! Containers" in the SageMaker developer guide; names of variables from the SageMaker Python SDK.
//! On a host without /opt/ml, `SAGEMAKER_BASE_DIR` replaces it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use mlops_validation::{self as validation, Baseline, Constraints, Violations, files};
use serde::Serialize;

mod bias;
mod dataset;
mod job;
mod lines;
mod metrics;
mod model_quality;
mod script;

use job::AnalyzerJob;

/// Root of a container's files in SageMaker.
const BASE: &str = "/opt/ml";

/// The sentence that becomes the job's `ExitMessage`.
const MESSAGE: &str = "output/message";

/// Maximum length of the message in characters; SageMaker truncates longer ones.
const MESSAGE_LENGTH: usize = 1024;

/// The result of an analysis, and the files that it wrote.
#[derive(Debug, Serialize)]
pub struct Analysis {
    /// Rows of data.
    pub rows: u64,
    /// Columns of data; `None` for an analysis of predictions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<usize>,
    /// Number of violations; `None` if a baseline was suggested.
    pub violations: Option<usize>,
    /// Constraints of the baseline that could not be checked, because their metric was not computed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unchecked: Vec<String>,
    /// The files that were written.
    pub files: Vec<PathBuf>,
}

/// Runs the job that `environment` describes, and writes its message. `now` is the timestamp for
/// metrics if the job has no time window.
///
/// # Errors
/// Invalid configuration, or data that cannot be read, parsed, checked or written. The message file
/// contains the same text.
pub fn run(environment: &BTreeMap<String, String>, now: jiff::Timestamp) -> Result<Analysis> {
    let base = base(environment);
    let result = match bias::configuration(&base) {
        Some(configuration) => bias::analyse(environment, &base, &configuration),
        None => AnalyzerJob::read(environment, &base).and_then(|job| match &job.quality {
            Some(settings) => model_quality::analyse(&job, settings, now),
            None => analyse(&job, now),
        }),
    };
    let text = match &result {
        Ok(analysis) => message(analysis.violations.unwrap_or(0)),
        Err(error) => mlops_core::error::message(error),
    };
    let told = write_message(&base.join(MESSAGE), &text);
    match result {
        // The analysis failed; report that even if the message cannot be written.
        Err(error) => Err(error),
        Ok(analysis) => told.map(|()| analysis),
    }
}

fn base(environment: &BTreeMap<String, String>) -> PathBuf {
    let replaced = environment.get("SAGEMAKER_BASE_DIR");
    replaced.map_or_else(|| PathBuf::from(BASE), PathBuf::from)
}

/// Writes the message of a job of another kind: how many violations it found, or why it has no result.
///
/// # Errors
/// The file cannot be written.
pub fn tell(
    environment: &BTreeMap<String, String>,
    result: std::result::Result<usize, &str>,
) -> Result<()> {
    let text = match result {
        Ok(violations) => message(violations),
        Err(reason) => reason.to_owned(),
    };
    write_message(&base(environment).join(MESSAGE), &text)
}

fn analyse(job: &AnalyzerJob, now: jiff::Timestamp) -> Result<Analysis> {
    let baseline = job
        .baseline_constraints
        .as_ref()
        .map(|constraints| Baseline::read(constraints, job.baseline_statistics.as_deref()))
        .transpose()?;
    let (sources, format) = dataset::open(job, baseline.as_ref())?;
    let profile = validation::profile(sources, &format, baseline.as_ref()).map_err(|error| {
        if error.is_empty() {
            job.nothing()
        } else {
            anyhow!(error)
        }
    })?;
    let statistics = profile.statistics();
    let violations = baseline
        .as_ref()
        .map(|baseline| {
            // Checks of age use the end of the window as the current time.
            let clock = job.window.until.unwrap_or(now);
            validation::check(&profile, &statistics, baseline, clock)
        })
        .transpose()
        .map_err(|text| anyhow!(text))?;
    let output = &job.output;
    let rules = baseline.as_ref().and_then(|b| b.constraints.rule_set());
    let suggested = Constraints::suggest_by(&statistics, rules.unwrap_or_default());
    let mut written = vec![
        files::write(output, files::STATISTICS, &statistics)?,
        files::write(output, files::CONSTRAINTS, &suggested)?,
    ];
    if let Some(violations) = &violations {
        written.push(files::write(output, files::VIOLATIONS, violations)?);
    }
    if job.publish_metrics {
        let lines = metrics::lines(job, baseline.as_ref(), &statistics, now);
        written.extend(metrics::write(&job.base, &lines)?);
    }
    if let Some(path) = &job.postprocessor {
        script::postprocess(path)?;
    }
    Ok(Analysis {
        rows: profile.rows(),
        columns: Some(statistics.features.len()),
        violations: violations.map(|Violations { violations, .. }| violations.len()),
        unchecked: Vec::new(),
        files: written,
    })
}

/// The message of AWS's analyzer, by which a monitoring schedule distinguishes
/// `CompletedWithViolations` from `Completed`.
fn message(violations: usize) -> String {
    if violations == 0 {
        "Completed: Job completed successfully with no violations.".to_owned()
    } else {
        format!("CompletedWithViolations: Job completed successfully with {violations} violations.")
    }
}

fn write_message(path: &Path, text: &str) -> Result<()> {
    let text: String = text.chars().take(MESSAGE_LENGTH).collect();
    let parent = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(parent)
        .and_then(|()| std::fs::write(path, text))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Maps a path of the contract to a path on this machine.
fn located(base: &Path, path: &str) -> Result<PathBuf> {
    let given = Path::new(path);
    if !given.is_absolute() {
        bail!("`{path}` is not an absolute path");
    }
    Ok(match given.strip_prefix(BASE) {
        Ok(rest) => base.join(rest),
        Err(_) => given.to_owned(),
    })
}
