//! `List…Jobs`: filters, order, pages.

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::requests::{SortOrder, pick};
use super::super::states::JobStatus;
use super::{JobKind, JobRecord};
use crate::Cloud;
use crate::api::page::Page;
use crate::api::{ApiError, ApiResult};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListJobs {
    creation_time_after: Option<f64>,
    creation_time_before: Option<f64>,
    last_modified_time_after: Option<f64>,
    last_modified_time_before: Option<f64>,
    name_contains: Option<String>,
    status_equals: Option<JobStatus>,
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

impl ListJobs {
    fn accepts(&self, kind: JobKind, name: &str, record: &JobRecord) -> bool {
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
                .is_none_or(|status| record.status(kind) == Some(status))
    }
}

/// The response of `List…Jobs`; `members` are those of a summary.
pub(super) fn list(
    cloud: &Cloud,
    kind: JobKind,
    query: &ListJobs,
    members: &[&str],
) -> ApiResult<Value> {
    let size = query.max_results.unwrap_or(100);
    if !(1..=100).contains(&size) {
        return Err(ApiError::validation("MaxResults can be 1 to 100"));
    }
    let page = Page::new(query.next_token.as_deref(), size, |_| {
        ApiError::validation("Invalid pagination token")
    })?;
    let mut found: Vec<(String, JobRecord)> = kind
        .records(cloud)
        .list("")?
        .into_iter()
        .filter(|(name, record)| query.accepts(kind, name, record))
        .collect();
    match query.sort_by {
        SortBy::Name => {}
        SortBy::Status => {
            let name = |record: &JobRecord| record.status(kind).map(JobStatus::name);
            found.sort_by_key(|(_, record)| name(record));
        }
        SortBy::CreationTime => {
            let created =
                |record: &JobRecord| record.describe["CreationTime"].as_f64().unwrap_or(0.0);
            found.sort_by(|a, b| created(&a.1).total_cmp(&created(&b.1)));
        }
    }
    if query.sort_order == Some(SortOrder::Descending) {
        found.reverse();
    }
    let (found, next) = page.cut(found);
    let page: Vec<Value> = found
        .iter()
        .map(|(_, record)| pick(&record.describe, members))
        .collect();
    let mut answer = json!({ kind.member("Summaries"): page });
    if let Some(next) = next {
        answer["NextToken"] = next.into();
    }
    Ok(answer)
}
