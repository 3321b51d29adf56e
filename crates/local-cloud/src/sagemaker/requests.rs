//! Reading requests as SageMaker does: required members, names, time filters and pages.

use serde_json::{Map, Value};

use crate::api::{ApiError, ApiResult};

/// The error of most families for a resource that does not exist: a `ValidationException`.
pub(super) fn absent(message: impl Into<String>) -> ApiError {
    ApiError::not_found("ValidationException", message)
}

/// A text member, when it is there.
pub(super) fn optional<'a>(input: &'a Value, member: &str) -> Option<&'a str> {
    input.get(member).and_then(Value::as_str)
}

/// A text member; `ValidationException` without it.
pub(super) fn required<'a>(input: &'a Value, member: &str) -> ApiResult<&'a str> {
    optional(input, member).ok_or_else(|| {
        ApiError::validation(format!(
            "1 validation error detected: Value null at '{}' failed to satisfy constraint: \
             Member must not be null",
            lower_camel(member)
        ))
    })
}

/// A new entity's name: letters, digits and inner hyphens, at most `max` characters (the pattern
/// `[a-zA-Z0-9](-*[a-zA-Z0-9])*` of the service model).
pub(super) fn name<'a>(input: &'a Value, member: &str, max: usize) -> ApiResult<&'a str> {
    let value = required(input, member)?;
    let good = value.len() <= max
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && value.starts_with(|c: char| c.is_ascii_alphanumeric())
        && value.ends_with(|c: char| c.is_ascii_alphanumeric());
    if good {
        return Ok(value);
    }
    Err(ApiError::validation(format!(
        "1 validation error detected: Value '{value}' at '{}' failed to satisfy constraint: Member \
         must satisfy regular expression pattern: [a-zA-Z0-9](-*[a-zA-Z0-9]){{0,{}}}",
        lower_camel(member),
        max - 1
    )))
}

/// A text member that must be one of `allowed`, when it is there.
pub(super) fn one_of<'a>(
    input: &'a Value,
    member: &str,
    allowed: &[&str],
) -> ApiResult<Option<&'a str>> {
    match optional(input, member) {
        Some(value) if !allowed.contains(&value) => Err(ApiError::validation(format!(
            "1 validation error detected: Value '{value}' at '{}' failed to satisfy constraint: \
             Member must satisfy enum value set: [{}]",
            lower_camel(member),
            allowed.join(", ")
        ))),
        other => Ok(other),
    }
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

/// How the records of a family are listed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listing {
    /// The member that holds the name.
    pub(super) name: &'static str,
    /// The member that holds the status, if any.
    pub(super) status: Option<&'static str>,
    /// `SortBy` when the request has none.
    pub(super) sort_by: &'static str,
    /// `SortOrder` when the request has none.
    pub(super) descending: bool,
}

impl Listing {
    /// Filters, sorts and pages records as a `List…` request asks; answers the page and the token
    /// of the next one.
    pub(super) fn page(
        self,
        mut records: Vec<Value>,
        input: &Value,
    ) -> ApiResult<(Vec<Value>, Option<String>)> {
        let contains = optional(input, "NameContains").map(str::to_lowercase);
        records.retain(|record| {
            let in_name = contains.as_deref().is_none_or(|part| {
                optional(record, self.name).is_some_and(|name| name.to_lowercase().contains(part))
            });
            let has_status = optional(input, "StatusEquals").is_none_or(|wanted| {
                self.status.and_then(|member| optional(record, member)) == Some(wanted)
            });
            in_name && has_status && in_time(record, input)
        });
        let sort_by = optional(input, "SortBy").unwrap_or(self.sort_by);
        let descending = match optional(input, "SortOrder") {
            Some(order) => order == "Descending",
            None => self.descending,
        };
        let member = match sort_by {
            "Name" => self.name,
            "Status" => self.status.unwrap_or(self.name),
            other => other,
        };
        records.sort_by(|left, right| compare(&left[member], &right[member]));
        if descending {
            records.reverse();
        }
        page(records, input, 10, 100)
    }
}

/// One page of `items`: `MaxResults` of them (or `default`) from where `NextToken` points.
pub(super) fn page<T>(
    items: Vec<T>,
    input: &Value,
    default: u64,
    max: u64,
) -> ApiResult<(Vec<T>, Option<String>)> {
    let size = match input.get("MaxResults").filter(|value| !value.is_null()) {
        None => default,
        Some(given) => given
            .as_u64()
            .filter(|size| (1..=max).contains(size))
            .ok_or_else(|| {
                ApiError::validation(format!(
                    "1 validation error detected: Value '{given}' at 'maxResults' failed to \
                     satisfy constraint: Member must be between 1 and {max}"
                ))
            })?,
    };
    let start: usize = match optional(input, "NextToken") {
        Some(token) => token
            .parse()
            .map_err(|_| ApiError::validation("The pagination token is not valid"))?,
        None => 0,
    };
    let total = items.len();
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let page: Vec<T> = items.into_iter().skip(start).take(size).collect();
    let end = start + page.len();
    Ok((page, (end < total).then(|| end.to_string())))
}

/// True when the record's times lie in the request's bounds (`CreationTimeAfter`, `CreatedBefore`,
/// `LastModifiedTimeBefore`, `ModifiedAfter`, …).
pub(super) fn in_time(record: &Value, bounds: &Value) -> bool {
    [
        ("CreationTime", "CreationTime"),
        ("CreationTime", "Created"),
        ("LastModifiedTime", "LastModifiedTime"),
        ("LastModifiedTime", "Modified"),
    ]
    .iter()
    .all(|(member, filter)| {
        let Some(time) = record[*member].as_f64() else {
            return true;
        };
        let bound = |suffix: &str| {
            bounds
                .get(format!("{filter}{suffix}"))
                .and_then(Value::as_f64)
        };
        bound("After").is_none_or(|after| time >= after)
            && bound("Before").is_none_or(|before| time <= before)
    })
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
    use super::*;
    use serde_json::json;

    const LISTING: Listing = Listing {
        name: "N",
        status: Some("S"),
        sort_by: "CreationTime",
        descending: true,
    };

    fn records() -> Vec<Value> {
        (1..=5)
            .map(|i| json!({"N": format!("model-{i}"), "S": "InService", "CreationTime": f64::from(i)}))
            .collect()
    }

    #[test]
    fn pages_follow_their_token() {
        let (first, token) = LISTING.page(records(), &json!({"MaxResults": 2})).unwrap();
        assert_eq!(first[0]["N"], "model-5");
        let (second, token) = LISTING
            .page(records(), &json!({"MaxResults": 3, "NextToken": token}))
            .unwrap();
        assert_eq!(second.len(), 3);
        assert_eq!(second[2]["N"], "model-1");
        assert_eq!(token, None);
        for wrong in [json!(0), json!(-1), json!(101), json!(1.5), json!("2")] {
            let error = page(vec![1], &json!({"MaxResults": wrong}), 10, 100).unwrap_err();
            assert_eq!(error.code, "ValidationException", "{wrong}");
        }
    }

    #[test]
    fn filters_are_anded() {
        let input = json!({"NameContains": "MODEL", "CreationTimeAfter": 3, "CreationTimeBefore": 4.0,
                           "SortBy": "Name", "SortOrder": "Ascending"});
        let (found, _) = LISTING.page(records(), &input).unwrap();
        let names: Vec<_> = found.iter().map(|r| r["N"].as_str().unwrap()).collect();
        assert_eq!(names, ["model-3", "model-4"]);
        let (none, _) = LISTING
            .page(records(), &json!({"StatusEquals": "Failed"}))
            .unwrap();
        assert!(none.is_empty());
    }

    #[test]
    fn names_follow_the_service_model() {
        let input = json!({"A": "good-1", "B": "-bad", "C": "x".repeat(64), "D": "a_b"});
        assert_eq!(name(&input, "A", 63).unwrap(), "good-1");
        for member in ["B", "C", "D", "E"] {
            assert_eq!(
                name(&input, member, 63).unwrap_err().code,
                "ValidationException",
                "{member}"
            );
        }
    }
}
