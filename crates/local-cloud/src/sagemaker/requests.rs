//! Reading requests as SageMaker does: names, time filters, order and pages.
//!
//! Types, required members, limits and enumerations are checked against AWS's service model before
//! an operation runs (`crate::requests`), so every request that reaches one of these types can be parsed.

use std::ops::Deref;

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::api::page::Page;
use crate::api::{ApiError, ApiResult};

/// The error of most families for a resource that does not exist: a `ValidationException`.
pub(super) fn absent(message: impl Into<String>) -> ApiError {
    ApiError::not_found("ValidationException", message)
}

/// The error for a member that an operation needs although the service model does not require it.
pub(super) fn null(member: &str) -> ApiError {
    ApiError::validation(format!(
        "1 validation error detected: Value null at '{}' failed to satisfy constraint: Member must \
         not be null",
        lower_camel(member)
    ))
}

/// A request whose members are kept unchanged: the record or the response repeats them.
#[derive(Debug, Clone)]
pub(super) struct Stored<T> {
    members: Value,
    read: T,
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Stored<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = Value::deserialize(deserializer)?;
        let read = T::deserialize(&members).map_err(Error::custom)?;
        Ok(Self { members, read })
    }
}

impl<T> Deref for Stored<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.read
    }
}

impl<T> Stored<T> {
    /// These members, unchanged; absent ones are omitted.
    pub(super) fn pick(&self, members: &[&str]) -> Value {
        pick(&self.members, members)
    }

    /// All members, unchanged.
    pub(super) fn members(&self) -> &Value {
        &self.members
    }
}

/// The request of an operation on one resource. The member with its name differs by family.
#[derive(Debug, Deserialize)]
pub(super) struct ResourceName {
    #[serde(
        alias = "CodeRepositoryName",
        alias = "EndpointConfigName",
        alias = "EndpointName",
        alias = "ModelName",
        alias = "ModelPackageGroupName",
        alias = "ModelPackageName",
        alias = "NotebookInstanceLifecycleConfigName",
        alias = "NotebookInstanceName",
        alias = "PipelineName",
        alias = "ProcessingJobName",
        alias = "TrainingJobName"
    )]
    pub(super) name: String,
}

/// The name of a new resource: letters, digits and inner hyphens, at most `max` characters (the
/// pattern `[a-zA-Z0-9](-*[a-zA-Z0-9])*` of the service model).
pub(super) fn check_name(name: &str, member: &str, max: usize) -> ApiResult<()> {
    let good = name.len() <= max
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric());
    if good {
        return Ok(());
    }
    Err(ApiError::validation(format!(
        "1 validation error detected: Value '{name}' at '{}' failed to satisfy constraint: Member \
         must satisfy regular expression pattern: [a-zA-Z0-9](-*[a-zA-Z0-9]){{0,{}}}",
        lower_camel(member),
        max - 1
    )))
}

/// The name in an ARN of this resource type, or the name itself.
pub(super) fn name_of<'a>(cloud: &crate::Cloud, resource: &str, name_or_arn: &'a str) -> &'a str {
    name_or_arn
        .strip_prefix(&format!("{}/", cloud.arn("sagemaker", resource)))
        .unwrap_or(name_or_arn)
}

/// Keeps the members of `value` that are named and present.
pub(super) fn pick(value: &Value, members: &[&str]) -> Value {
    let mut picked = Map::new();
    for member in members {
        if let Some(found) = value.get(*member)
            && !found.is_null()
        {
            picked.insert((*member).to_owned(), found.clone());
        }
    }
    Value::Object(picked)
}

/// `MaxResults` and `NextToken`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct PageRequest {
    max_results: Option<i64>,
    next_token: Option<String>,
}

impl PageRequest {
    /// One page of `items`: `MaxResults` of them (or `default`) from where `NextToken` points.
    pub(super) fn cut<T>(
        &self,
        items: Vec<T>,
        default: usize,
        max: usize,
    ) -> ApiResult<(Vec<T>, Option<String>)> {
        let size = match self.max_results {
            None => default,
            Some(given) => usize::try_from(given)
                .ok()
                .filter(|size| (1..=max).contains(size))
                .ok_or_else(|| {
                    ApiError::validation(format!(
                        "1 validation error detected: Value '{given}' at 'maxResults' failed to \
                         satisfy constraint: Member must be between 1 and {max}"
                    ))
                })?,
        };
        let page = Page::new(self.next_token.as_deref(), size, |_| {
            ApiError::validation("The pagination token is not valid")
        })?;
        Ok(page.cut(items))
    }
}

/// The bounds of creation and modification, in the two spellings of the service model. A bound of an
/// operation has one of them.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct TimeBounds {
    #[serde(alias = "CreatedAfter")]
    creation_time_after: Option<f64>,
    #[serde(alias = "CreatedBefore")]
    creation_time_before: Option<f64>,
    #[serde(alias = "ModifiedAfter")]
    last_modified_time_after: Option<f64>,
    #[serde(alias = "ModifiedBefore")]
    last_modified_time_before: Option<f64>,
}

impl TimeBounds {
    /// True if the record's times are within the bounds. An absent time counts as within them.
    pub(super) fn include(&self, record: &Value) -> bool {
        let within = |member: &str, after: Option<f64>, before: Option<f64>| {
            record[member].as_f64().is_none_or(|time| {
                after.is_none_or(|after| time >= after)
                    && before.is_none_or(|before| time <= before)
            })
        };
        within(
            "CreationTime",
            self.creation_time_after,
            self.creation_time_before,
        ) && within(
            "LastModifiedTime",
            self.last_modified_time_after,
            self.last_modified_time_before,
        )
    }
}

/// The order of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum SortOrder {
    Ascending,
    Descending,
}

/// The request of a `List…` operation: filters, order and page.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ListRequest {
    name_contains: Option<String>,
    status_equals: Option<String>,
    sort_by: Option<String>,
    pub(super) sort_order: Option<SortOrder>,
    #[serde(flatten)]
    times: TimeBounds,
    #[serde(flatten)]
    pub(super) page: PageRequest,
}

/// How the records of a family are listed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listing {
    /// The member that holds the name.
    pub(super) name: &'static str,
    /// The member that holds the status, if any.
    pub(super) status: Option<&'static str>,
    /// Default of `SortBy`.
    pub(super) sort_by: &'static str,
    /// Default of `SortOrder`.
    pub(super) order: SortOrder,
}

impl Listing {
    /// Filters, sorts and pages records for a `List…` request. Returns the page and the token of the next
    /// one.
    pub(super) fn page(
        self,
        mut records: Vec<Value>,
        request: &ListRequest,
    ) -> ApiResult<(Vec<Value>, Option<String>)> {
        let contains = request.name_contains.as_deref().map(str::to_lowercase);
        records.retain(|record| {
            let in_name = contains.as_deref().is_none_or(|part| {
                record[self.name]
                    .as_str()
                    .is_some_and(|name| name.to_lowercase().contains(part))
            });
            let has_status = request
                .status_equals
                .as_deref()
                .is_none_or(|wanted| self.status.is_some_and(|member| record[member] == wanted));
            in_name && has_status && request.times.include(record)
        });
        let member = match request.sort_by.as_deref().unwrap_or(self.sort_by) {
            "Name" => self.name,
            "Status" => self.status.unwrap_or(self.name),
            other => other,
        };
        records.sort_by(|left, right| compare(&left[member], &right[member]));
        if request.sort_order.unwrap_or(self.order) == SortOrder::Descending {
            records.reverse();
        }
        request.page.cut(records, 10, 100)
    }
}

fn compare(left: &Value, right: &Value) -> std::cmp::Ordering {
    match (left.as_f64(), right.as_f64()) {
        (Some(left), Some(right)) => left.total_cmp(&right),
        _ => left.as_str().cmp(&right.as_str()),
    }
}

/// `ModelName` as AWS's messages write it: `modelName`.
fn lower_camel(member: &str) -> String {
    let mut chars = member.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(chars).collect()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::parse;

    const LISTING: Listing = Listing {
        name: "N",
        status: Some("S"),
        sort_by: "CreationTime",
        order: SortOrder::Descending,
    };

    fn records() -> Vec<Value> {
        (1..=5)
            .map(|i| json!({"N": format!("model-{i}"), "S": "InService", "CreationTime": f64::from(i)}))
            .collect()
    }

    fn page(request: Value) -> ApiResult<(Vec<Value>, Option<String>)> {
        LISTING.page(records(), &parse(request)?)
    }

    #[test]
    fn pages_follow_their_token() {
        let (first, token) = page(json!({"MaxResults": 2})).unwrap();
        assert_eq!(first[0]["N"], "model-5");
        let (second, token) = page(json!({"MaxResults": 3, "NextToken": token})).unwrap();
        assert_eq!(second.len(), 3);
        assert_eq!(second[2]["N"], "model-1");
        assert_eq!(token, None);
        for wrong in [json!(0), json!(-1), json!(101), json!(1.5), json!("2")] {
            let error = page(json!({"MaxResults": wrong})).unwrap_err();
            assert_eq!(error.code, "ValidationException", "{wrong}");
        }
        let error = page(json!({"NextToken": "x"})).unwrap_err();
        assert_eq!(error.message, "The pagination token is not valid");
    }

    #[test]
    fn filters_are_anded() {
        let input = json!({"NameContains": "MODEL", "CreationTimeAfter": 3, "CreationTimeBefore": 4.0,
                           "SortBy": "Name", "SortOrder": "Ascending"});
        let (found, _) = page(input).unwrap();
        let names: Vec<_> = found.iter().map(|r| r["N"].as_str().unwrap()).collect();
        assert_eq!(names, ["model-3", "model-4"]);
        let (found, _) = page(json!({"CreatedAfter": 5})).unwrap();
        assert_eq!(found.len(), 1);
        let (none, _) = page(json!({"StatusEquals": "Failed"})).unwrap();
        assert!(none.is_empty());
    }

    #[test]
    fn names_follow_the_service_model() {
        assert!(check_name("good-1", "A", 63).is_ok());
        for bad in ["-bad", "bad-", &"x".repeat(64), "a_b", ""] {
            let error = check_name(bad, "A", 63).unwrap_err();
            assert_eq!(error.code, "ValidationException", "{bad}");
        }
    }

    #[test]
    fn a_stored_request_keeps_unread_members() {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Read {
            name: String,
        }
        let given = json!({"Name": "a", "More": {"Deep": [1]}, "Absent": null});
        let request: Stored<Read> = parse(given).unwrap();
        assert_eq!(request.name, "a");
        let kept = request.pick(&["More", "Name", "Absent"]);
        assert_eq!(kept, json!({"More": {"Deep": [1]}, "Name": "a"}));
    }
}
