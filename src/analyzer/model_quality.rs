//! A job that compares predictions with the ground truth (`analysis_type=MODEL_QUALITY`): what AWS's merge job wrote, or
//! a table with both columns.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use mlops_validation::quality::{self, Data, QualityConstraints, QualityReport, Settings};
use mlops_validation::{Source, Violations, files};
use serde_json::{Value, json};

use super::job::{AnalyzerJob, DatasetFormat};
use super::{Analysis, dataset, metrics, script};

/// Runs the job.
pub(super) fn analyse(
    job: &AnalyzerJob,
    settings: &Settings,
    now: jiff::Timestamp,
) -> Result<Analysis> {
    let baseline = job.baseline_constraints.as_deref().map(constraints);
    let baseline = baseline.transpose()?;
    let data = match &job.format {
        DatasetFormat::Merged => {
            let files = dataset::files(job)?.into_iter();
            Data::Merged(files.map(Source::file).collect())
        }
        DatasetFormat::Capture(_) => {
            return Err(anyhow!(
                "captured traffic has no ground truth: merge it first (sagemakerMergeJson)"
            ));
        }
        _ => {
            let (sources, format) = dataset::open(job, None)?;
            Data::Table { sources, format }
        }
    };
    let report =
        quality::analyse(settings, data, job.window, baseline.as_ref()).map_err(|error| {
            if error.is_empty() {
                job.nothing()
            } else {
                anyhow!(error)
            }
        })?;
    if report.statistics.dataset.item_count == 0 {
        return Err(job.nothing());
    }
    write(job, &report, now)
}

fn constraints(path: &Path) -> Result<QualityConstraints> {
    let shown = path.display().to_string();
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {shown}"))?;
    files::parse(&shown, &bytes).map_err(|error| anyhow!(error))
}

fn write(job: &AnalyzerJob, report: &QualityReport, now: jiff::Timestamp) -> Result<Analysis> {
    let output = &job.output;
    let mut written = vec![
        files::write(output, files::STATISTICS, &report.statistics)?,
        files::write(output, files::CONSTRAINTS, &report.constraints)?,
    ];
    if let Some(violations) = &report.violations {
        written.push(files::write(output, files::VIOLATIONS, violations)?);
    }
    if job.publish_metrics {
        let lines = metrics::records(job, values(report), now);
        written.extend(metrics::write(&job.base, &lines)?);
    }
    if let Some(path) = &job.postprocessor {
        script::postprocess(path)?;
    }
    let violations = report.violations.as_ref();
    Ok(Analysis {
        rows: report.statistics.dataset.item_count,
        columns: None,
        violations: violations.map(|Violations { violations, .. }| violations.len()),
        // A recall without positive labels, for example, is not a number.
        unchecked: report.unchecked.clone(),
        files: written,
    })
}

/// The metrics that are one number, with their names. Unverified against AWS [model-quality-metrics]: that their standard
/// deviations are not published.
fn values(report: &QualityReport) -> Vec<(String, Value)> {
    let statistics = &report.statistics;
    let kinds = [
        &statistics.regression_metrics,
        &statistics.binary_classification_metrics,
        &statistics.multiclass_classification_metrics,
    ];
    let metrics = kinds.into_iter().flatten().flatten();
    let values = metrics.filter_map(|(name, metric)| {
        let value = metric.get("value")?.as_f64()?;
        Some((name.clone(), json!(value)))
    });
    values.collect()
}

#[cfg(test)]
mod tests {
    use mlops_validation::Format;

    use super::*;

    #[test]
    fn constraints_that_were_not_checked_are_named() {
        let settings = Settings::parse(|name| match name {
            "problem_type" => Some("Regression"),
            "inference_attribute" => Some("p"),
            "ground_truth_attribute" => Some("y"),
            _ => None,
        })
        .unwrap();
        let baseline: QualityConstraints =
            serde_json::from_value(json!({"regression_constraints": {
                "mae": {"threshold": 1.0, "comparison_operator": "GreaterThanThreshold"},
                "r2": {"threshold": 0.5, "comparison_operator": "LessThanThreshold"},
            }}))
            .unwrap();
        let warning = |text: &'static str| {
            let data = Data::Table {
                sources: vec![Source::stream("t", move || Ok(text.as_bytes()))],
                format: Format::Csv,
            };
            let window = mlops_validation::capture::Window::default();
            quality::analyse(&settings, data, window, Some(&baseline))
                .unwrap()
                .unchecked
        };
        assert!(warning("p,y\n1,1\n2,2\n").is_empty());
        assert_eq!(warning("p,y\n1,1\n1,1\n"), ["r2"]);
    }
}
