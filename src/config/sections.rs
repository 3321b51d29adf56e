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
    /// Tracks the newest image automatically.
    pub develop: BranchName,
    /// The branch with what was promoted.
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

/// `[image]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImageSection {
    /// Holds Dockerfile, requirements.txt and program/.
    pub directory: PathBuf,
    /// What builds the image.
    pub builder: Builder,
    /// What `layers` builds on: `scratch`, `oci:DIR` in the project, or an image of a registry.
    pub base: Option<String>,
    /// The Python of the image (default: what the base says, or this machine's).
    pub python: Option<PythonVersion>,
    /// What the image runs on.
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

/// What builds an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Builder {
    /// `program` with --local, `layers` with a base, else an engine that is there, else `layers`
    #[default]
    Auto,
    /// Docker builds the Dockerfile
    Docker,
    /// podman builds the Dockerfile
    Podman,
    /// buildah builds the Dockerfile, without a daemon and without rights
    Buildah,
    /// No engine: a base, the Python packages and the program as layers; the same inputs give the
    /// same digest
    Layers,
    /// The program alone; the local cloud installs the packages of requirements.txt itself
    Program,
}

impl Builder {
    /// As it is written.
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
    /// The data set that `train` uses (default: the project's name).
    pub name: Option<DatasetName>,
}

/// `[pipeline]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PipelineSection {
    /// A SageMaker Pipelines definition (`pipeline.json`), or the program that prints it
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

/// `[deploy]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeploySection {
    /// The endpoint's instance type.
    pub instance_type: String,
    /// How many instances.
    pub instance_count: u32,
    /// Share of requests that are captured, in percent.
    pub capture_percent: u32,
    /// A request body that `promote` sends once, relative to the project.
    pub sample: Option<PathBuf>,
}

impl Default for DeploySection {
    fn default() -> Self {
        Self {
            instance_type: "ml.m5.large".to_owned(),
            instance_count: 1,
            capture_percent: 100,
            sample: None,
        }
    }
}

/// `[monitor]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MonitorSection {
    /// Holds statistics.json and constraints.json, versioned by git.
    pub baseline: PathBuf,
}

impl Default for MonitorSection {
    fn default() -> Self {
        Self {
            baseline: "baseline".into(),
        }
    }
}

/// `[validate]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ValidateSection {
    /// The instance type of `mlops validate --on processing`.
    pub instance_type: String,
    /// The rules of verdicts and suggestions, where constraints.json has none: AWS's, or ours.
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
    /// What runs the jobs of the local cloud.
    pub runtime: Runtime,
}

impl<'de> Deserialize<'de> for LocalSection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LocalVisitor)
    }
}

/// Reads both spellings of `local`.
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

/// What runs the jobs of the local cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// The image's program as a process of this machine
    #[default]
    Host,
}
