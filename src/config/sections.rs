//! The sections of `mlops.toml`.

use std::fmt;
use std::path::PathBuf;

use mlops_core::names::{BranchName, DatasetName, Platform, PythonVersion};
use mlops_validation::RuleSet;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// `[branches]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Branches {
    /// The branch that uses the newest image.
    pub develop: BranchName,
    /// The branch that uses the promoted image.
    pub production: BranchName,
}

impl Default for Branches {
    fn default() -> Self {
        let name = |text: &str| text.parse().expect("a constant branch name");
        Self {
            develop: name("develop"),
            production: name("main"),
        }
    }
}

/// `[architecture]`
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ArchitectureSection {
    /// How notebooks and jobs reach other networks.
    pub network: NetworkAccess,
    /// Where the git repositories are.
    pub source: CodeSource,
    /// The provider, if they are not in CodeCommit.
    pub provider: CodeProvider,
}

/// A provider of git repositories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum CodeProvider {
    /// bitbucket.org
    Bitbucket,
    /// github.com
    #[default]
    Github,
    /// gitlab.com
    Gitlab,
}

impl CodeProvider {
    /// Returns AWS's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bitbucket => "Bitbucket",
            Self::Github => "GitHub",
            Self::Gitlab => "GitLab",
        }
    }
}

/// How notebooks and jobs reach other networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum NetworkAccess {
    /// The internet, through a NAT gateway ($37 per month)
    #[default]
    Nat,
    /// AWS only, through 14 interface endpoints in two zones (about $204 per month); no package
    /// index and no other git host can be reached
    Endpoints,
    /// AWS through interface endpoints, the internet through a NAT gateway
    Both,
}

impl NetworkAccess {
    /// Returns the name in mlops.toml.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Endpoints => "endpoints",
            Self::Both => "both",
        }
    }
}

/// Where the git repositories are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum CodeSource {
    /// Two CodeCommit repositories
    #[default]
    Codecommit,
    /// GitHub, GitLab or Bitbucket, through a connection
    Codeconnections,
}

impl CodeSource {
    /// Returns the name in mlops.toml.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Codecommit => "codecommit",
            Self::Codeconnections => "codeconnections",
        }
    }
}

/// `[image]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImageSection {
    /// The directory with Dockerfile, requirements.txt and program/.
    pub directory: PathBuf,
    /// The builder of the image.
    pub builder: Builder,
    /// The base for `layers`: `scratch`, `oci:DIR` in the project, or an image in a registry.
    pub base: Option<String>,
    /// The Python version of the image [default: that of the base, or of this machine].
    pub python: Option<PythonVersion>,
    /// The platform of the image.
    pub platform: Platform,
}

impl Default for ImageSection {
    fn default() -> Self {
        Self {
            directory: "image".into(),
            builder: Builder::default(),
            base: None,
            python: None,
            platform: Platform::default(),
        }
    }
}

/// Builders of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Builder {
    /// `program` with --local, `layers` with a base, otherwise an available engine, otherwise
    /// `layers`
    #[default]
    Auto,
    /// Build the Dockerfile with Docker
    Docker,
    /// Build the Dockerfile with podman
    Podman,
    /// Build the Dockerfile with buildah, which needs no daemon and no root privileges
    Buildah,
    /// Build without an engine: the base, the Python packages and the program become layers; the
    /// same inputs give the same digest
    Layers,
    /// Package the program alone; the local cloud installs the packages of requirements.txt itself
    Program,
}

impl Builder {
    /// Returns the name in mlops.toml.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Buildah => "buildah",
            Self::Layers => "layers",
            Self::Program => "program",
        }
    }
}

/// `[data]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataSection {
    /// The data set that `train` uses [default: the project's name].
    pub name: Option<DatasetName>,
}

/// `[delivery]`: pipelines that start by themselves.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeliverySection {
    /// The branches with pipelines [default: the develop branch].
    pub branches: Option<Vec<BranchName>>,
    /// Where notifications are sent by e-mail.
    pub email: Option<String>,
    /// Where notifications are sent as HTTPS requests.
    pub webhook: Option<String>,
    /// Whether a person reviews the change set of each deployment before it is executed.
    pub review: bool,
}

/// `[pipeline]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PipelineSection {
    /// A SageMaker pipeline definition (`pipeline.json`), or the program that prints it
    /// (`pipeline.py`), relative to the project.
    pub definition: PathBuf,
}

impl Default for PipelineSection {
    fn default() -> Self {
        Self {
            definition: "pipeline.json".into(),
        }
    }
}

/// `[monitor]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MonitorSection {
    /// The directory with statistics.json and constraints.json, versioned by git.
    pub baseline: PathBuf,
    /// Minimum rows for a run to count as healthy.
    pub minimum_records: u64,
    /// Hours between two scheduled runs, and the length of their window.
    pub every_hours: u32,
    /// Number of most recent scheduled runs that the alarm evaluates.
    pub alarm_periods: u32,
    /// Number of them with violations that set it off.
    pub alarm_datapoints: u32,
    /// The monitor of model quality.
    pub model_quality: Option<ModelQualitySection>,
}

impl Default for MonitorSection {
    fn default() -> Self {
        Self {
            baseline: "baseline".into(),
            minimum_records: 20,
            every_hours: 24,
            alarm_periods: 1,
            alarm_datapoints: 1,
            model_quality: None,
        }
    }
}

/// `[monitor.model_quality]`: how predictions are compared with labels. The keys have the names of the settings of AWS's
/// analyzer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelQualitySection {
    /// The type of the model.
    pub problem_type: ProblemType,
    /// The prediction in the captured output: a position from 0, a name or a JSON path.
    #[serde(default)]
    pub inference_attribute: Option<String>,
    /// The probability of the positive class, for a binary classification.
    #[serde(default)]
    pub probability_attribute: Option<String>,
    /// The probability from which a prediction is positive.
    #[serde(default)]
    pub probability_threshold_attribute: Option<f64>,
    /// The label in a record with several values.
    #[serde(default)]
    pub ground_truth_attribute: Option<String>,
    /// Hours that labels arrive after predictions: the window of a scheduled run ends this long before the run.
    #[serde(default)]
    pub delay_hours: u32,
}

/// The type of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemType {
    /// Predicts a number.
    Regression,
    /// Predicts one of two classes.
    BinaryClassification,
    /// Predicts one of several classes.
    MulticlassClassification,
}

impl ModelQualitySection {
    /// The settings of AWS's analyzer, by name; those that are not set are empty.
    pub fn variables(&self) -> [(&'static str, String); 5] {
        let problem = match self.problem_type {
            ProblemType::Regression => "Regression",
            ProblemType::BinaryClassification => "BinaryClassification",
            ProblemType::MulticlassClassification => "MulticlassClassification",
        };
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        // Most models return one value for each row.
        let is_first = self.inference_attribute.is_none() && self.probability_attribute.is_none();
        let prediction = if is_first {
            "0".to_owned()
        } else {
            text(&self.inference_attribute)
        };
        let threshold = self
            .probability_threshold_attribute
            .map(|value| value.to_string());
        [
            ("problem_type", problem.to_owned()),
            ("inference_attribute", prediction),
            ("probability_attribute", text(&self.probability_attribute)),
            (
                "probability_threshold_attribute",
                threshold.unwrap_or_default(),
            ),
            ("ground_truth_attribute", text(&self.ground_truth_attribute)),
        ]
    }

    /// The settings of the analysis.
    ///
    /// # Errors
    /// The first key that is missing, invalid or does not fit the problem type.
    pub fn settings(&self) -> Result<mlops_validation::quality::Settings, String> {
        let variables = self.variables();
        mlops_validation::quality::Settings::parse(|name| {
            let found = variables.iter().find(|(known, _)| *known == name)?;
            Some(found.1.as_str())
        })
    }
}

/// `[retrain]`
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrainSection {
    /// Hours between the starts of two runs.
    pub cool_down_hours: u32,
    /// Maximum number of runs in 24 hours.
    pub maximum_per_day: u32,
}

impl Default for RetrainSection {
    fn default() -> Self {
        Self {
            cool_down_hours: 24,
            maximum_per_day: 2,
        }
    }
}

/// `[validate]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ValidateSection {
    /// The instance type for `mlops validate --on processing`.
    pub instance_type: String,
    /// The rules of verdicts and suggestions, if constraints.json sets none: AWS's, or ours.
    pub rules: Option<RuleSet>,
}

impl Default for ValidateSection {
    fn default() -> Self {
        Self {
            instance_type: "ml.m5.large".to_owned(),
            rules: None,
        }
    }
}

/// `local = true`, or the table `[local]`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct LocalSection {
    /// Whether commands use the local cloud without `--local`.
    pub enabled: bool,
    /// Where the jobs of the local cloud run.
    pub runtime: Runtime,
}

impl<'de> Deserialize<'de> for LocalSection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LocalVisitor)
    }
}

/// Parses both forms of `local`.
struct LocalVisitor;

impl<'de> Visitor<'de> for LocalVisitor {
    type Value = LocalSection;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true, false or a table")
    }

    fn visit_bool<E>(self, enabled: bool) -> Result<LocalSection, E> {
        Ok(LocalSection {
            enabled,
            runtime: Runtime::default(),
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<LocalSection, A::Error> {
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        struct Table {
            enabled: bool,
            runtime: Runtime,
        }

        let table = Table::deserialize(MapAccessDeserializer::new(map))?;
        Ok(LocalSection {
            enabled: table.enabled,
            runtime: table.runtime,
        })
    }
}

/// Where the jobs of the local cloud run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// As a process on this machine
    #[default]
    Host,
}
