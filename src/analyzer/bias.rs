//! A job of SageMaker Clarify: bias metrics by `analysis_config.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use mlops_validation::bias::{self, AnalysisConfig, BiasBaseline, Check, Column, Prediction};
use mlops_validation::capture::Window;
use mlops_validation::dataset::Kind;
use mlops_validation::{Format, Source, files};
use serde_json::Value;

use super::{Analysis, dataset, job, located};

/// The configuration, in the directory of a job.
const CONFIGURATION: &str = "processing/input/config/analysis_config.json";

/// The directory of the data if `dataset_source` is not set.
const DATA: &str = "/opt/ml/processing/input/data";

/// The directory of the results if `output_path` is not set.
const OUTPUT: &str = "/opt/ml/processing/output";

/// Returns the configuration of a job of Clarify, if this is one.
pub(super) fn configuration(base: &Path) -> Option<PathBuf> {
    let path = base.join(CONFIGURATION);
    path.is_file().then_some(path)
}

/// Runs the job.
pub(super) fn analyse(
    environment: &BTreeMap<String, String>,
    base: &Path,
    configuration: &Path,
) -> Result<Analysis> {
    let configured = job::configured(base)?;
    let variable = |name: &str| job::variable(environment, &configured, name);
    let shown = configuration.display().to_string();
    let bytes = std::fs::read(configuration).with_context(|| format!("cannot read {shown}"))?;
    let AnalysisConfig { mut settings, kind } = parse(&bytes).context(shown)?;
    // A monitor names the predictions in its environment.
    if settings.prediction.is_none()
        && let Some(name) = variable("inference_attribute")
    {
        settings.prediction = Some(Prediction::Label(column(name)));
    }
    settings.check().map_err(|error| anyhow!(error))?;
    let path = |name: &str, otherwise: &str| {
        located(base, variable(name).unwrap_or(otherwise)).with_context(|| name.to_owned())
    };
    let (source, output) = (path("dataset_source", DATA)?, path("output_path", OUTPUT)?);
    let window = Window {
        since: variable("start_time")
            .map(job::time)
            .transpose()
            .context("start_time")?,
        until: variable("end_time")
            .map(job::time)
            .transpose()
            .context("end_time")?,
    };
    let format = match variable("dataset_format").map(job::format).transpose()? {
        Some(job::DatasetFormat::Merged | job::DatasetFormat::Capture(_)) => {
            Format::Capture(window)
        }
        _ => match kind {
            Kind::Csv => Format::Csv,
            Kind::Jsonl => Format::Jsonl,
            Kind::Parquet => Format::Parquet,
        },
    };
    let baseline = match variable("baseline_constraints") {
        Some(path) => Some(baseline(&located(base, path)?)?),
        None => None,
    };
    let found = dataset::list(&source)
        .with_context(|| format!("cannot read {}", source.display()))?
        .into_iter()
        .map(Source::file)
        .collect();
    let outcome = bias::analyze(&settings, found, &format, baseline.as_ref()).map_err(|error| {
        if error.is_empty() {
            anyhow!("no data in {}", source.display())
        } else {
            anyhow!(error)
        }
    })?;
    let mut written = vec![files::write(&output, bias::ANALYSIS, &outcome.analysis)?];
    if let Some(violations) = &outcome.violations {
        written.push(files::write(&output, files::VIOLATIONS, violations)?);
    }
    Ok(Analysis {
        rows: outcome.rows,
        columns: None,
        violations: outcome.violations.map(|found| found.violations.len()),
        unchecked: Vec::new(),
        files: written,
    })
}

/// Parses the configuration; refuses what needs a model.
fn parse(bytes: &[u8]) -> Result<AnalysisConfig> {
    let config = bias::parse_config(bytes).map_err(|error| anyhow!(error))?;
    let value: Value = serde_json::from_slice(bytes)?;
    if !value["methods"]["shap"].is_null() {
        bail!(
            "`methods.shap` is not supported: this analyzer has no access to a model, and computes bias metrics only"
        );
    }
    Ok(config)
}

fn baseline(path: &Path) -> Result<BiasBaseline> {
    let shown = path.display().to_string();
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {shown}"))?;
    Ok(BiasBaseline {
        analysis: files::parse(&shown, &bytes).map_err(|error| anyhow!(error))?,
        check: Check::FartherFromZero,
    })
}

/// A column by its name, or by its number in the data.
fn column(text: &str) -> Column {
    match text.parse() {
        Ok(index) => Column::Index(index),
        Err(_) => Column::Name(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_model_is_refused_by_name() {
        let config = |methods: &str| {
            format!(
                r#"{{"label": "y", "label_values_or_threshold": [1], "facet": [{{"name_or_index": "x"}}],
                    "methods": {methods}}}"#
            )
        };
        let bias = config(r#"{"pre_training_bias": {"methods": "all"}}"#);
        parse(bias.as_bytes()).unwrap();
        let shap = config(r#"{"pre_training_bias": {"methods": "all"}, "shap": {}}"#);
        let error = parse(shap.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("methods.shap"), "{error}");
    }
}
