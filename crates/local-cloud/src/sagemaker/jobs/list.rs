//! `List…Jobs`: filters, order, pages.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Kind, Record};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Query {
    creation_time_after: Option<f64>,
    creation_time_before: Option<f64>,
    last_modified_time_after: Option<f64>,
    last_modified_time_before: Option<f64>,
    name_contains: Option<String>,
    status_equals: Option<String>,
    #[serde(default)]
    sort_by: SortBy,
    sort_order: Option<SortOrder>,
    next_token: Option<String>,
    max_results: Option<usize>,
}

#[derive(Deserialize, Default)]
enum SortBy {
    Name,
    #[default]
    CreationTime,
    Status,
}

#[derive(Deserialize, PartialEq)]
enum SortOrder {
    Ascending,
    Descending,
}

impl Query {
    fn accepts(&self, kind: Kind, name: &str, record: &Record) -> bool {
        let time = |member: &str| record.describe[member].as_f64().unwrap_or_default();
        let after =
            |limit: Option<f64>, member: &str| limit.is_none_or(|limit| time(member) > limit);
        let before =
            |limit: Option<f64>, member: &str| limit.is_none_or(|limit| time(member) < limit);
        after(self.creation_time_after, "CreationTime")
            && before(self.creation_time_before, "CreationTime")
            && after(self.last_modified_time_after, "LastModifiedTime")
            && before(self.last_modified_time_before, "LastModifiedTime")
            && self
                .name_contains
                .as_ref()
                .is_none_or(|part| name.contains(part.as_str()))
            && self
                .status_equals
                .as_ref()
                .is_none_or(|status| record.status(kind) == status)
    }
}

/// The jobs that a query asks for; `members` are those of a summary.
pub(super) fn list(cloud: &Cloud, kind: Kind, query: &Query, members: &[&str]) -> ApiResult<Value> {
    let offset: usize = match &query.next_token {
        None => 0,
        Some(token) => token
            .parse()
            .map_err(|_| ApiError::validation("Invalid pagination token"))?,
    };
    let limit = query.max_results.unwrap_or(100);
    if !(1..=100).contains(&limit) {
        return Err(ApiError::validation("MaxResults can be 1 to 100"));
    }
    let mut found: Vec<(String, Record)> = kind
        .records(cloud)
        .list("")?
        .into_iter()
        .filter(|(name, record)| query.accepts(kind, name, record))
        .collect();
    match query.sort_by {
        SortBy::Name => {}
        SortBy::Status => found.sort_by(|a, b| a.1.status(kind).cmp(b.1.status(kind))),
        SortBy::CreationTime => {
            let created = |record: &Record| record.describe["CreationTime"].as_f64().unwrap_or(0.0);
            found.sort_by(|a, b| created(&a.1).total_cmp(&created(&b.1)));
        }
    }
    if query.sort_order == Some(SortOrder::Descending) {
        found.reverse();
    }
    let page: Vec<Value> = found
        .iter()
        .skip(offset)
        .take(limit)
        .map(|(_, record)| {
            members
                .iter()
                .filter_map(|member| {
                    Some(((*member).to_owned(), record.describe.get(*member)?.clone()))
                })
                .collect::<serde_json::Map<_, _>>()
                .into()
        })
        .collect();
    let mut answer = json!({ kind.member("Summaries"): page });
    if found.len() > offset + limit {
        answer["NextToken"] = (offset + limit).to_string().into();
    }
    Ok(answer)
}
