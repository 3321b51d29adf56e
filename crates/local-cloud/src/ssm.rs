//! Systems Manager: only the parameters of Parameter Store.
//!
//! A parameter is one record with all its versions. `SecureString` is refused by name, because the local
//! cloud's KMS does not encrypt.

use serde::{Deserialize, Serialize};

use super::Cloud;
use super::api::{ApiError, ApiResult};
use super::cloud::service::{RESERVED_TAG, Service, operations};
use super::store::Collection;

mod describe;
mod labels;
mod names;
mod put;
mod read;
mod tags;

operations! {
    "AddTagsToResource" => tags::add,
    "DeleteParameter" => put::delete,
    "DeleteParameters" => put::delete_many,
    "DescribeParameters" => describe::describe,
    "GetParameter" => read::get,
    "GetParameterHistory" => read::history,
    "GetParameters" => read::get_many,
    "GetParametersByPath" => read::by_path,
    "LabelParameterVersion" => labels::add,
    "ListTagsForResource" => tags::list,
    "PutParameter" => put::put,
    "RemoveTagsFromResource" => tags::remove,
    "UnlabelParameterVersion" => labels::remove,
}

/// The service.
pub(crate) const SERVICE: Service = Service {
    checks_limits: true,
    reserved_tag: ("ValidationException", RESERVED_TAG),
    ..Service::json("ssm", "SSM", "AmazonSSM", &[OPERATIONS])
};

/// The type of a parameter's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Type {
    String,
    StringList,
    SecureString,
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Self::String => "String",
            Self::StringList => "StringList",
            Self::SecureString => "SecureString",
        }
    }
}

/// The tier of a parameter, which limits the length of its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Tier {
    Standard,
    Advanced,
    #[serde(rename = "Intelligent-Tiering")]
    Intelligent,
}

/// One version of a parameter, with the names of `GetParameterHistory`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ParameterVersion {
    version: i64,
    value: String,
    #[serde(rename = "Type")]
    kind: Type,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_pattern: Option<String>,
    tier: Tier,
    data_type: String,
    last_modified_date: f64,
    last_modified_user: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    labels: Vec<String>,
}

/// A tag, with the names of the API.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    value: String,
}

/// A parameter.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Parameter {
    name: String,
    /// From the oldest to the newest; never empty.
    versions: Vec<ParameterVersion>,
    tags: Vec<Tag>,
}

impl Parameter {
    /// The newest version.
    fn latest(&self) -> ApiResult<&ParameterVersion> {
        let latest = self.versions.last();
        latest.ok_or_else(|| ApiError::internal(format!("{} has no version", self.name)))
    }

    /// The version of this number.
    fn version(&self, number: i64) -> ApiResult<&ParameterVersion> {
        let found = self.versions.iter().find(|found| found.version == number);
        found.ok_or_else(|| {
            ApiError::not_found(
                "ParameterVersionNotFound",
                format!(
                    "Systems Manager could not find version {number} of {}. Verify the version and \
                     try again.",
                    self.name
                ),
            )
        })
    }

    /// The version with this label.
    fn labelled(&self, label: &str) -> Option<&ParameterVersion> {
        let has = |version: &&ParameterVersion| version.labels.iter().any(|own| own == label);
        self.versions.iter().find(has)
    }
}

/// The records of parameters, by name.
fn parameters(cloud: &Cloud) -> Collection<'_, Parameter> {
    cloud.store().collection("ssm", "parameter")
}

/// The error for a parameter that does not exist. AWS's has no message.
fn not_found(name: &str) -> ApiError {
    ApiError::not_found("ParameterNotFound", format!("Parameter {name} not found."))
}

/// A parameter by name or ARN.
fn require(cloud: &Cloud, given: &str) -> ApiResult<Parameter> {
    let name = names::of(cloud, given)?;
    parameters(cloud)
        .get(&name)?
        .ok_or_else(|| not_found(given))
}

/// Changes a parameter, by name or ARN.
fn change<R>(
    cloud: &Cloud,
    given: &str,
    change: impl FnOnce(&mut Parameter) -> ApiResult<R>,
) -> ApiResult<R> {
    let name = names::of(cloud, given)?;
    parameters(cloud)
        .update(&name, change)?
        .ok_or_else(|| not_found(given))
}
