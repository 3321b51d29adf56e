//! The types of a definition.

use std::collections::BTreeMap;
use std::fmt;

use mlops_core::quote;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::policies::{CacheConfig, RetryPolicy};
use super::problem::Problem;
use crate::json_keys::{self, Duplicate};

/// Maximum size in bytes of a definition that `CreatePipeline` accepts inline (AWS: 1,048,576).
pub const MAX_BYTES: usize = 1_048_576;

/// The version that this crate parses.
pub(super) const VERSION: &str = "2020-12-01";

/// A pipeline definition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Definition {
    /// The version of the format: `2020-12-01`, also if the definition omits it.
    #[serde(default = "version")]
    pub version: String,
    /// Free metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// The parameters that can be set when a run starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<Parameter>,
    /// `ExperimentName` and `TrialName`, both expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline_experiment_config: Option<Value>,
    /// `MlflowResourceArn` and `MlflowExperimentName`, both expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mlflow_config: Option<Value>,
    /// The steps, in no particular order.
    pub steps: Vec<Step>,
}

/// A declared parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its type; String if omitted.
    #[serde(rename = "Type", default)]
    pub kind: ParameterType,
    /// A description for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its default. Without one, the parameter is required when a run starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_value: Option<Value>,
    /// The only allowed values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enum_values: Option<Vec<Value>>,
}

/// A parameter's type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ParameterType {
    /// Text
    #[default]
    String,
    /// An integer
    Integer,
    /// A number
    Float,
    /// `true` or `false`
    Boolean,
}

impl fmt::Display for ParameterType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One step. Members that only some types have (`FunctionArn`, `CheckType`, …) are in `rest`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Step {
    /// Its name, unique in the pipeline.
    pub name: String,
    /// Its type.
    #[serde(rename = "Type")]
    pub kind: StepType,
    /// The request of the matching Create operation, without the name, and with expressions.
    #[serde(default)]
    pub arguments: Value,
    /// Steps that must succeed before this one starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// A description for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether an earlier result may be reused instead of running the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_config: Option<CacheConfig>,
    /// Which failures are retried, and how often; [`Step::retries`] parses them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retry_policies: Vec<Value>,
    /// JSON files of the step's outputs that `Std:JsonGet` can read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub property_files: Vec<PropertyFile>,
    /// Members that only this type has.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// A JSON file in one of a step's outputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PropertyFile {
    /// The name that expressions use.
    pub property_file_name: String,
    /// The output of the step that contains it.
    pub output_name: String,
    /// Its path inside that output.
    pub file_path: String,
}

/// The type of a step.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum StepType {
    /// A processing job
    Processing,
    /// A training job
    Training,
    /// A choice between two lists of steps
    Condition,
    /// Registration of a version in the model registry
    RegisterModel,
    /// A model that can be deployed
    Model,
    /// The end of a run, with a message
    Fail,
    /// Any other, by its name
    Other(String),
}

impl StepType {
    /// Types of the format without a variant here (SageMaker Python SDK 2.257: `StepTypeEnum`;
    /// `EMRServerless` from version 3).
    pub const OTHERS: &[&str] = &[
        "Transform",
        "Callback",
        "Tuning",
        "Lambda",
        "QualityCheck",
        "ClarifyCheck",
        "EMR",
        "EMRServerless",
        "AutoML",
        "EndpointConfig",
        "Endpoint",
        "InferenceComponent",
        "Lineage",
    ];

    /// The name in a definition.
    pub fn name(&self) -> &str {
        match self {
            Self::Processing => "Processing",
            Self::Training => "Training",
            Self::Condition => "Condition",
            Self::RegisterModel => "RegisterModel",
            Self::Model => "Model",
            Self::Fail => "Fail",
            Self::Other(name) => name,
        }
    }
}

impl From<String> for StepType {
    fn from(name: String) -> Self {
        match name.as_str() {
            "Processing" => Self::Processing,
            "Training" => Self::Training,
            "Condition" => Self::Condition,
            "RegisterModel" => Self::RegisterModel,
            "Model" => Self::Model,
            "Fail" => Self::Fail,
            _ => Self::Other(name),
        }
    }
}

impl From<StepType> for String {
    fn from(kind: StepType) -> Self {
        kind.name().to_owned()
    }
}

impl fmt::Display for StepType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn version() -> String {
    VERSION.to_owned()
}

/// Rejects text that is too long, and objects with duplicate keys.
pub(super) fn check_text(text: &str) -> Result<(), Problem> {
    if text.len() > MAX_BYTES {
        return Err(Problem::new(
            "$",
            format!("{} bytes; a definition has at most {MAX_BYTES}", text.len()),
        ));
    }
    match json_keys::duplicate(text.as_bytes()) {
        Some(Duplicate { path, key }) => {
            let message = format!("the key '{key}' occurs twice");
            Err(Problem::new(path, message))
        }
        None => Ok(()),
    }
}

impl Definition {
    /// Parses a definition. The error states one problem and its location in the JSON.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        check_text(text)?;
        serde_json::from_str(text)
            .map_err(|error| Problem::new("$", quote::without_value(&error.to_string())))
    }

    /// The declared parameter of this name.
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters
            .iter()
            .find(|parameter| parameter.name == name)
    }
}

impl Step {
    /// The steps of a Condition step's branch (`IfSteps` or `ElseSteps`); empty for other types.
    pub fn branch(&self, member: &str) -> Result<Vec<Step>, serde_json::Error> {
        match self.arguments.get(member) {
            Some(steps) if self.kind == StepType::Condition && !steps.is_null() => {
                Vec::deserialize(steps)
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Returns the retry policies for failures of the step.
    pub fn retries(&self) -> Result<Vec<RetryPolicy>, String> {
        self.retry_policies.iter().map(RetryPolicy::parse).collect()
    }

    /// The declared property file of this name.
    pub fn property_file(&self, name: &str) -> Option<&PropertyFile> {
        self.property_files
            .iter()
            .find(|file| file.property_file_name == name)
    }
}
