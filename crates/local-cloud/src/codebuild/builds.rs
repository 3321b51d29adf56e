//! Reads, stops and deletes builds, and completes those that the end of the server interrupted.

use serde::Deserialize;
use serde_json::{Value, json};

use super::projects::{self, MAX_BATCH};
use super::records::{BuildRecord, builds};
use super::{arn, invalid, is_descending, page, progress, run};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::beneath;

/// How long a build is kept, in seconds: a year, as on AWS.
const KEPT: f64 = 365.0 * 86_400.0;

/// The id of a build that a request names by id or by ARN.
pub(super) fn id_of<'a>(cloud: &Cloud, given: &'a str) -> &'a str {
    given
        .strip_prefix(&arn(cloud, "build", ""))
        .unwrap_or(given)
}

/// The record of a build.
pub(super) fn require(cloud: &Cloud, id: &str) -> ApiResult<BuildRecord> {
    builds(cloud).get(id)?.ok_or_else(|| {
        let message = format!("Build does not exist: {}", arn(cloud, "build", id));
        ApiError::not_found("ResourceNotFoundException", message)
    })
}

#[derive(Deserialize)]
pub(super) struct Ids {
    ids: Vec<String>,
}

impl Ids {
    fn check(&self) -> ApiResult<()> {
        if self.ids.is_empty() || self.ids.len() > MAX_BATCH {
            return Err(invalid(format!("ids must have 1 to {MAX_BATCH} elements")));
        }
        Ok(())
    }
}

/// `BatchGetBuilds`
pub(super) async fn batch_get(cloud: &Cloud, input: Ids) -> ApiResult<Value> {
    input.check()?;
    let (mut found, mut not_found) = (Vec::new(), Vec::new());
    for given in &input.ids {
        match builds(cloud).get(id_of(cloud, given))? {
            Some(record) => found.push(record.build),
            None => not_found.push(given),
        }
    }
    Ok(json!({"builds": found, "buildsNotFound": not_found}))
}

/// `BatchDeleteBuilds`. A build in progress is not deleted.
pub(super) async fn batch_delete(cloud: &Cloud, input: Ids) -> ApiResult<Value> {
    input.check()?;
    let (mut deleted, mut not_deleted) = (Vec::new(), Vec::new());
    for given in &input.ids {
        let id = id_of(cloud, given);
        let refused = cloud.store().transaction(|tx| {
            match builds(cloud).get_in(tx, id)? {
                Some(record) if !record.build.build_complete => {
                    return Ok(Some("BUILD_IN_PROGRESS"));
                }
                // As on AWS, an absent build is deleted.
                _ => builds(cloud).remove_in(tx, id)?,
            };
            Ok(None)
        })?;
        match refused {
            None => deleted.push(arn(cloud, "build", id)),
            Some(code) => {
                not_deleted.push(json!({"id": arn(cloud, "build", id), "statusCode": code}));
            }
        }
    }
    Ok(json!({"buildsDeleted": deleted, "buildsNotDeleted": not_deleted}))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct List {
    project_name: Option<String>,
    sort_order: Option<String>,
    next_token: Option<String>,
}

/// The ids of builds, from the newest to the oldest unless the request has another order.
fn listed(cloud: &Cloud, prefix: &str, input: &List) -> ApiResult<Value> {
    let mut all: Vec<_> = builds(cloud)
        .list(prefix)?
        .into_iter()
        .map(|(id, record)| (record.build.start_time, record.build.build_number, id))
        .collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    if is_descending(input.sort_order.as_deref(), true)? {
        all.reverse();
    }
    let ids = all.into_iter().map(|(_, _, id)| id).collect();
    page("ids", ids, MAX_BATCH, input.next_token.as_deref())
}

/// `ListBuilds`
pub(super) async fn list(cloud: &Cloud, input: List) -> ApiResult<Value> {
    listed(cloud, "", &input)
}

/// `ListBuildsForProject`
pub(super) async fn list_for_project(cloud: &Cloud, input: List) -> ApiResult<Value> {
    let given = input.project_name.as_deref().unwrap_or_default();
    let name = projects::name_of(cloud, given);
    projects::require(cloud, name)?;
    listed(cloud, &format!("{name}:"), &input)
}

#[derive(Deserialize)]
pub(super) struct Id {
    id: String,
}

/// `StopBuild`. A build that has ended is not changed.
pub(super) async fn stop(cloud: &Cloud, input: Id) -> ApiResult<Value> {
    let id = id_of(cloud, &input.id);
    require(cloud, id)?;
    run::stop(cloud, id).await;
    Ok(json!({"build": require(cloud, id)?.build}))
}

/// Ends the builds that were in progress when the server ended, and removes their files.
pub(super) fn recover(cloud: &Cloud) -> anyhow::Result<()> {
    // First, because on a full disk this frees space for the next writes.
    beneath::discard(cloud.directory(), &run::directory(cloud));
    for (id, record) in builds(cloud).list("")? {
        if !record.build.build_complete {
            progress::interrupted(cloud, &id)?;
        }
    }
    Ok(())
}

/// Removes builds that are older than AWS keeps them.
pub(super) fn remove_expired(cloud: &Cloud) -> ApiResult<()> {
    let oldest = cloud.clock().epoch() - KEPT;
    for (id, record) in builds(cloud).list("")? {
        if record.build.build_complete && record.build.start_time < oldest {
            builds(cloud).remove(&id)?;
        }
    }
    Ok(())
}
