//! Parses a job from its environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use mlops_core::quote::short;
use mlops_validation::capture::Window;
use mlops_validation::quality;
use serde_json::Value;

use super::located;

/// The job's configuration. Its `Environment` provides variables that the process does not have.
const CONFIGURATION: &[&str] = &[
    "config/processingjobconfig.json",
    // The path in the developer guide; actual jobs use the other one.
    "processing/processingjobconfig.json",
];

/// The parsed `dataset_format`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DatasetFormat {
    /// Comma-separated values, with or without a header line.
    Csv { header: bool },
    /// One object per line.
    JsonLines,
    /// Parquet.
    Parquet,
    /// Requests and predictions captured by an endpoint.
    Capture(Sides),
    /// The same with the ground truth, as AWS's merge job writes them.
    Merged,
}

/// The part of a captured invocation to analyze.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sides {
    Both,
    Input,
    Output,
}

impl Sides {
    /// The member of `captureData` to ignore.
    pub(super) fn ignored(self) -> Option<&'static str> {
        match self {
            Self::Both => None,
            Self::Input => Some("endpointOutput"),
            Self::Output => Some("endpointInput"),
        }
    }
}

/// A job of the analyzer.
#[derive(Debug)]
pub(super) struct AnalyzerJob {
    /// `/opt/ml`, or its replacement.
    pub(super) base: PathBuf,
    pub(super) format: DatasetFormat,
    pub(super) source: PathBuf,
    pub(super) output: PathBuf,
    pub(super) window: Window,
    pub(super) baseline_constraints: Option<PathBuf>,
    pub(super) baseline_statistics: Option<PathBuf>,
    pub(super) publish_metrics: bool,
    pub(super) preprocessor: Option<PathBuf>,
    pub(super) postprocessor: Option<PathBuf>,
    pub(super) endpoint: Option<String>,
    pub(super) schedule: Option<String>,
    /// The settings of a job that compares predictions with the ground truth.
    pub(super) quality: Option<quality::Settings>,
}

/// A variable of a job, without surrounding spaces; `None` if it is not set, or empty.
pub(super) fn variable<'a>(
    environment: &'a BTreeMap<String, String>,
    configured: &'a BTreeMap<String, String>,
    name: &str,
) -> Option<&'a str> {
    environment
        .get(name)
        .or_else(|| configured.get(name))
        .map(|value| value.trim())
        .filter(|value| !value.is_empty())
}

impl AnalyzerJob {
    /// Parses the environment; `base` is `/opt/ml` or its replacement.
    ///
    /// # Errors
    /// The first variable that is missing or cannot be parsed, by name; any analysis other than
    /// data quality.
    pub(super) fn read(environment: &BTreeMap<String, String>, base: &Path) -> Result<Self> {
        let configured = configured(base)?;
        let variable = |name: &str| variable(environment, &configured, name);
        let required = |name: &str| {
            variable(name).with_context(|| format!("the environment variable {name} is not set"))
        };
        let path = |name: &str| {
            variable(name)
                .map(|value| located(base, value).with_context(|| name.to_owned()))
                .transpose()
        };
        let quality = match variable("analysis_type") {
            None => None,
            Some(kind) if kind.eq_ignore_ascii_case("DATA_QUALITY") => None,
            Some(kind) if kind.eq_ignore_ascii_case("MODEL_QUALITY") => {
                Some(quality::Settings::parse(variable).map_err(|error| anyhow!(error))?)
            }
            Some(kind) => bail!(
                "analysis_type {kind} is not supported; this analyzer checks DATA_QUALITY and MODEL_QUALITY, and bias \
                 with an analysis_config.json"
            ),
        };
        let format = format(required("dataset_format")?).context("dataset_format")?;
        if quality.is_none() && format == DatasetFormat::Merged {
            bail!("dataset_format sagemakerMergeJson is for MODEL_QUALITY");
        }
        let job = Self {
            base: base.to_owned(),
            source: located(base, required("dataset_source")?).context("dataset_source")?,
            output: located(base, required("output_path")?).context("output_path")?,
            window: Window {
                since: variable("start_time")
                    .map(time)
                    .transpose()
                    .context("start_time")?,
                until: variable("end_time")
                    .map(time)
                    .transpose()
                    .context("end_time")?,
            },
            baseline_constraints: path("baseline_constraints")?,
            baseline_statistics: path("baseline_statistics")?,
            publish_metrics: match variable("publish_cloudwatch_metrics") {
                None => false,
                Some(text) if text.eq_ignore_ascii_case("Disabled") => false,
                Some(text) if text.eq_ignore_ascii_case("Enabled") => true,
                Some(other) => {
                    bail!("publish_cloudwatch_metrics is `{other}`; it can be Enabled or Disabled")
                }
            },
            preprocessor: path("record_preprocessor_script")?,
            postprocessor: path("post_analytics_processor_script")?,
            endpoint: variable("sagemaker_endpoint_name").map(str::to_owned),
            schedule: variable("sagemaker_monitoring_schedule_name").map(str::to_owned),
            quality,
            format,
        };
        if job.baseline_statistics.is_some() && job.baseline_constraints.is_none() {
            bail!("baseline_statistics is set, but baseline_constraints is not");
        }
        if job.preprocessor.is_some() && !matches!(job.format, DatasetFormat::Capture(_)) {
            bail!(
                "record_preprocessor_script is for captured data (sagemakerCaptureJson), and \
                 dataset_format names another"
            );
        }
        Ok(job)
    }

    /// Returns the error for data without rows.
    pub(super) fn nothing(&self) -> anyhow::Error {
        let Window { since, until } = self.window;
        let end = |time: Option<jiff::Timestamp>, open: &str| {
            time.map_or_else(|| open.to_owned(), |time| time.to_string())
        };
        if self.window == Window::default() {
            anyhow!("no data in {}", self.source.display())
        } else {
            anyhow!(
                "no data in {} from {} to {}",
                self.source.display(),
                end(since, "the beginning"),
                end(until, "the end")
            )
        }
    }
}

/// Reads the `Environment` of the job's configuration; empty if there is none.
pub(super) fn configured(base: &Path) -> Result<BTreeMap<String, String>> {
    for place in CONFIGURATION {
        let file = base.join(place);
        let Ok(bytes) = std::fs::read(&file) else {
            continue;
        };
        let value: Value = serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is not JSON", file.display()))?;
        return Ok(value["Environment"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect());
    }
    Ok(BTreeMap::new())
}

/// Parses `{"csv":{"header":true}}`, `{"json":{"lines":true}}` (SDK) or `{"json":{"line":true}}`
/// (API), `{"parquet":{}}`, `{"sagemakerCaptureJson":{"captureIndexNames":[…]}}`. Names are
/// case-insensitive; a switch is a boolean or a string.
pub(super) fn format(text: &str) -> Result<DatasetFormat> {
    let value: Value =
        serde_json::from_str(text).with_context(|| format!("`{}` is not JSON", short(text)))?;
    let entries = value.as_object().filter(|entries| entries.len() == 1);
    let (name, options) = entries
        .and_then(|entries| entries.iter().next())
        .ok_or_else(|| anyhow!("`{}` does not name one format", short(text)))?;
    let option = |wanted: &str| {
        options
            .as_object()?
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value)
    };
    match name.to_ascii_lowercase().as_str() {
        "csv" => Ok(DatasetFormat::Csv {
            header: option("header").map(switch).transpose()?.unwrap_or(false),
        }),
        "json" => match option("lines").or(option("line")).map(switch).transpose()? {
            Some(true) => Ok(DatasetFormat::JsonLines),
            Some(false) | None => {
                bail!("JSON must have one object per line: {{\"json\":{{\"lines\":true}}}}")
            }
        },
        "parquet" => Ok(DatasetFormat::Parquet),
        "sagemakercapturejson" => sides(option("captureIndexNames")).map(DatasetFormat::Capture),
        "sagemakermergejson" => {
            sides(option("captureIndexNames"))?;
            Ok(DatasetFormat::Merged)
        }
        _ => bail!(
            "`{name}` is none of csv, json, parquet, sagemakerCaptureJson, sagemakerMergeJson"
        ),
    }
}

fn switch(value: &Value) -> Result<bool> {
    match value {
        Value::Bool(value) => Ok(*value),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        other => bail!("`{other}` is neither true nor false"),
    }
}

fn sides(names: Option<&Value>) -> Result<Sides> {
    let Some(names) = names else {
        return Ok(Sides::Both);
    };
    let names: Vec<String> = serde_json::from_value(names.clone())
        .context("captureIndexNames is not a list of names")?;
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    if let Some(other) = names
        .iter()
        .find(|name| !matches!(name.as_str(), "endpointInput" | "endpointOutput"))
    {
        bail!("captureIndexNames has `{other}`; it can have endpointInput and endpointOutput");
    }
    match (has("endpointInput"), has("endpointOutput")) {
        (true, true) => Ok(Sides::Both),
        (true, false) => Ok(Sides::Input),
        (false, true) => Ok(Sides::Output),
        (false, false) => bail!("captureIndexNames is empty"),
    }
}

/// Parses a time as the monitoring platform writes it; also accepts spaces, as in the developer
/// guide's examples.
pub(super) fn time(text: &str) -> Result<jiff::Timestamp> {
    let packed: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    packed
        .parse()
        .with_context(|| format!("`{text}` is not a time (2019-12-01T15:20:00Z)"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The environment of a monitoring job, with changes; an empty value removes a variable.
    pub(in crate::analyzer) fn environment(changes: &[(&str, &str)]) -> BTreeMap<String, String> {
        let mut all: BTreeMap<String, String> = [
            ("dataset_format", r#"{"csv":{"header":true}}"#),
            ("dataset_source", "/opt/ml/processing/input"),
            ("output_path", "/opt/ml/processing/output"),
            ("publish_cloudwatch_metrics", "Disabled"),
        ]
        .iter()
        .chain(changes)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
        all.retain(|_, value| !value.is_empty());
        all
    }

    fn read(changes: &[(&str, &str)]) -> Result<AnalyzerJob> {
        AnalyzerJob::read(&environment(changes), Path::new("/nowhere/ml"))
    }

    #[test]
    fn every_spelling_of_the_format_is_read() {
        let both = DatasetFormat::Capture(Sides::Both);
        for (text, expected) in [
            (
                r#"{"csv":{"header":true,"output_columns_position":"START"}}"#,
                DatasetFormat::Csv { header: true },
            ),
            (
                r#"{"csv":{"header":"false"}}"#,
                DatasetFormat::Csv { header: false },
            ),
            (
                r#"{"Csv":{"Header":true}}"#,
                DatasetFormat::Csv { header: true },
            ),
            (r#"{"csv":{}}"#, DatasetFormat::Csv { header: false }),
            (r#"{"json":{"lines":true}}"#, DatasetFormat::JsonLines),
            (r#"{"json":{"line":"true"}}"#, DatasetFormat::JsonLines),
            (r#"{"Json":{"Line":true}}"#, DatasetFormat::JsonLines),
            (r#"{"parquet":{}}"#, DatasetFormat::Parquet),
            (
                r#"{"sagemakerCaptureJson":{"captureIndexNames":["endpointInput","endpointOutput"]}}"#,
                both.clone(),
            ),
            (r#"{"sageMakerCaptureJson":{}}"#, both),
            (
                r#"{"sagemakerCaptureJson":{"captureIndexNames":["endpointOutput"]}}"#,
                DatasetFormat::Capture(Sides::Output),
            ),
        ] {
            assert_eq!(format(text).unwrap(), expected, "{text}");
        }
        for (text, message) in [
            ("csv", "is not JSON"),
            (r#"{"orc":{}}"#, "`orc` is none of"),
            (r#"{"csv":{},"json":{}}"#, "does not name one format"),
            (r#"{"csv":{"header":1}}"#, "neither true nor false"),
            (r#"{"json":{"lines":false}}"#, "one object per line"),
            (
                r#"{"sagemakerCaptureJson":{"captureIndexNames":["x"]}}"#,
                "`x`",
            ),
        ] {
            let error = format(text).unwrap_err();
            assert!(format!("{error:#}").contains(message), "{error:#}");
        }
    }

    #[test]
    fn paths_are_below_the_base_directory() {
        let job = read(&[
            ("baseline_constraints", "/opt/ml/processing/baseline/c.json"),
            ("record_preprocessor_script", "/srv/script.py"),
            ("dataset_format", r#"{"sagemakerCaptureJson":{}}"#),
        ])
        .unwrap();
        assert_eq!(job.source, Path::new("/nowhere/ml/processing/input"));
        assert_eq!(
            job.baseline_constraints.unwrap(),
            Path::new("/nowhere/ml/processing/baseline/c.json")
        );
        assert_eq!(job.preprocessor.unwrap(), Path::new("/srv/script.py"));
        assert!(!job.publish_metrics);
        assert!(read(&[("output_path", "output")]).is_err());
    }

    #[test]
    fn the_window_is_read_as_the_guide_writes_it() {
        let job = read(&[
            ("start_time", "2019-12-01T15: 20: 00Z"),
            ("end_time", "2019-12-01T16:20:00Z"),
        ])
        .unwrap();
        let inside = "2019-12-01T15:20:00Z".parse().unwrap();
        assert!(job.window.contains(inside));
        assert!(!job.window.contains("2019-12-01T16:20:00Z".parse().unwrap()));
        assert!(format!("{}", job.nothing()).contains("from 2019-12-01T15:20:00Z to"));
        let error = read(&[("end_time", "noon")]).unwrap_err();
        assert!(
            format!("{error:#}").starts_with("end_time: `noon`"),
            "{error:#}"
        );
    }

    #[test]
    fn unsupported_settings_are_rejected_by_name() {
        for (changes, message) in [
            (
                vec![("analysis_type", "MODEL_EXPLAINABILITY")],
                "analysis_type MODEL_EXPLAINABILITY is not supported",
            ),
            (vec![("analysis_type", "MODEL_QUALITY")], "problem_type"),
            (
                vec![("dataset_format", r#"{"sagemakerMergeJson":{}}"#)],
                "is for MODEL_QUALITY",
            ),
            (vec![("dataset_source", "")], "dataset_source is not set"),
            (
                vec![("publish_cloudwatch_metrics", "yes")],
                "publish_cloudwatch_metrics is `yes`",
            ),
            (
                vec![("baseline_statistics", "/opt/ml/s.json")],
                "baseline_constraints is not",
            ),
            (
                vec![("record_preprocessor_script", "/opt/ml/p.py")],
                "is for captured data",
            ),
        ] {
            let error = read(&changes).unwrap_err();
            assert!(format!("{error:#}").contains(message), "{error:#}");
        }
        assert!(read(&[("analysis_type", "DATA_QUALITY")]).is_ok());
    }

    #[test]
    fn the_jobs_configuration_supplies_missing_variables() {
        let base = tempfile::tempdir().unwrap();
        std::fs::create_dir(base.path().join("config")).unwrap();
        std::fs::write(
            base.path().join("config/processingjobconfig.json"),
            r#"{"Environment":{"publish_cloudwatch_metrics":"Enabled","dataset_source":"/other","sagemaker_endpoint_name":"flights"}}"#,
        )
        .unwrap();
        let given = environment(&[("publish_cloudwatch_metrics", "")]);
        let job = AnalyzerJob::read(&given, base.path()).unwrap();
        assert!(job.publish_metrics);
        assert_eq!(job.source, base.path().join("processing/input"));
        assert_eq!(job.endpoint.unwrap(), "flights");
    }
}
