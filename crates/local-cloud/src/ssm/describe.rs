//! `DescribeParameters`, and the filters that it shares with `GetParametersByPath`.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Parameter, ParameterVersion, Type, names, parameters};
use crate::Cloud;
use crate::api::keyed_page::page;
use crate::api::{ApiError, ApiResult};

/// A condition on parameters: one of its values must match.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Filter {
    key: String,
    option: Option<String>,
    values: Option<Vec<String>>,
}

/// The filters that an operation has.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Keys {
    /// Those of `GetParametersByPath`.
    OfPath,
    /// Those of `DescribeParameters`.
    OfDescribe,
}

impl Keys {
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::OfPath => &["Type", "KeyId", "Label"],
            Self::OfDescribe => &["Path", "Name", "Type", "Tier", "KeyId", "DataType"],
        }
    }
}

impl Filter {
    /// The key of a tag, if the filter is about one.
    fn tag(&self) -> Option<&str> {
        self.key.strip_prefix("tag:")
    }

    fn option(&self) -> &str {
        let default = if self.key == "Path" {
            "OneLevel"
        } else {
            "Equals"
        };
        self.option.as_deref().unwrap_or(default)
    }

    fn values(&self) -> &[String] {
        self.values.as_deref().unwrap_or_default()
    }

    fn options(&self) -> &'static [&'static str] {
        match self.key.as_str() {
            "Path" => &["Recursive", "OneLevel"],
            "Name" => &["BeginsWith", "Contains", "Equals"],
            _ => &["BeginsWith", "Equals"],
        }
    }

    /// Refuses filters that the operation does not have.
    pub(super) fn check(filters: &[Self], keys: Keys) -> ApiResult<()> {
        let mut seen = BTreeSet::new();
        for filter in filters {
            let key = filter.key.as_str();
            let known =
                keys.names().contains(&key) || (filter.tag().is_some() && keys == Keys::OfDescribe);
            if !known {
                return Err(ApiError::new(
                    "InvalidFilterKey",
                    format!(
                        "The following filter key is not valid: {key}. Valid filter keys include: [{}].",
                        keys.names().join(", ")
                    ),
                ));
            }
            if !seen.insert(key) {
                return Err(ApiError::validation(format!(
                    "The following filter is duplicated in the request: {key}. A request can contain only \
                     one occurrence of a specific filter."
                )));
            }
            filter.check_values()?;
        }
        Ok(())
    }

    fn check_values(&self) -> ApiResult<()> {
        if !self.options().contains(&self.option()) {
            return Err(ApiError::new(
                "InvalidFilterOption",
                format!(
                    "The following filter option is not valid: {}. Valid options include: [{}].",
                    self.option(),
                    self.options().join(", ")
                ),
            ));
        }
        let value = |message: String| Err(ApiError::new("InvalidFilterValue", message));
        if self.values().is_empty() && self.tag().is_none() {
            return value(format!(
                "The following filter values are missing : null for filter key {}.",
                self.key
            ));
        }
        let allowed: &[&str] = match self.key.as_str() {
            "Type" => &["String", "StringList", "SecureString"],
            "Tier" => &["Standard", "Advanced", "Intelligent-Tiering"],
            "Path" => {
                return self
                    .values()
                    .iter()
                    .try_for_each(|path| names::check_path(path));
            }
            _ => return Ok(()),
        };
        match self
            .values()
            .iter()
            .find(|given| !allowed.contains(&given.as_str()))
        {
            Some(wrong) => value(format!(
                "The following filter value is not valid: {wrong}. Valid values include: [{}].",
                allowed.join(", ")
            )),
            None => Ok(()),
        }
    }

    /// The version that all filters match: the one with the label of a filter, else the newest.
    pub(super) fn select<'a>(
        filters: &[Self],
        parameter: &'a Parameter,
    ) -> ApiResult<Option<&'a ParameterVersion>> {
        let labels = filters.iter().find(|filter| filter.key == "Label");
        let version = match labels {
            Some(filter) => {
                let has = |version: &&ParameterVersion| {
                    let mut labels = version.labels.iter();
                    labels.any(|label| filter.matches(label))
                };
                parameter.versions.iter().rev().find(has)
            }
            None => Some(parameter.latest()?),
        };
        Ok(version.filter(|version| {
            filters
                .iter()
                .all(|filter| filter.holds(parameter, version))
        }))
    }

    fn holds(&self, parameter: &Parameter, version: &ParameterVersion) -> bool {
        let name = parameter.name.as_str();
        match self.key.as_str() {
            "Label" => true,
            "Path" => {
                let recursive = self.option() == "Recursive";
                let mut paths = self.values().iter();
                paths.any(|path| names::is_below(name, path, recursive))
            }
            "Name" => self.matches(name) || self.matches(name.trim_start_matches('/')),
            "Type" => self.matches(version.kind.name()),
            "Tier" => json!(version.tier)
                .as_str()
                .is_some_and(|tier| self.matches(tier)),
            "DataType" => self.matches(&version.data_type),
            // Only a SecureString has a key, and there is none.
            "KeyId" => version.kind == Type::SecureString,
            _ => parameter.tags.iter().any(|tag| {
                self.tag() == Some(tag.key.as_str())
                    && (self.values().is_empty() || self.matches(&tag.value))
            }),
        }
    }

    fn matches(&self, text: &str) -> bool {
        let option = self.option();
        self.values().iter().any(|value| match option {
            "BeginsWith" => text.starts_with(value.as_str()),
            "Contains" => text.contains(value.as_str()),
            _ => text == value,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Describe {
    #[serde(default)]
    parameter_filters: Vec<Filter>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

/// `DescribeParameters`
pub(super) async fn describe(cloud: &Cloud, input: Describe) -> ApiResult<Value> {
    Filter::check(&input.parameter_filters, Keys::OfDescribe)?;
    let mut found = Vec::new();
    for (name, parameter) in parameters(cloud).list("")? {
        if let Some(version) = Filter::select(&input.parameter_filters, &parameter)? {
            let mut shown = json!(version);
            if let Some(members) = shown.as_object_mut() {
                members.retain(|member, _| member != "Value" && member != "Labels");
            }
            shown["Name"] = json!(name);
            shown["ARN"] = json!(names::arn(cloud, &name));
            shown["Policies"] = json!([]);
            found.push((name, shown));
        }
    }
    let size = input.max_results.unwrap_or(50);
    page("Parameters", found, size, input.next_token.as_deref())
}
