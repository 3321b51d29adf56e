//! Removes executions that are no longer kept.

use std::collections::BTreeSet;

use super::records::{ended, jobs, numbers, pipelines, prefix, tokens};
use crate::api::ApiResult;
use crate::{Cloud, log};

/// How long executions are kept after their end, in seconds (quotas of the user guide: 12 months).
const KEPT: f64 = 365.0 * 86_400.0;

/// Maximum number of executions of a pipeline that are kept after their end: one each hour for half a year. AWS has
/// no such quota.
const MAX_KEPT: usize = 5000;

/// Number of executions that are read at once.
const CHUNK: usize = 100;

/// Removes executions that ended more than a year ago or that are too many, with their tokens.
pub(super) fn remove_expired(cloud: &Cloud) -> ApiResult<()> {
    remove(cloud, MAX_KEPT)
}

/// Removes executions that ended more than a year ago, and those before the newest `kept`.
pub(super) fn remove(cloud: &Cloud, kept: usize) -> ApiResult<()> {
    for name in pipelines(cloud).keys("")? {
        if let Err(error) = remove_from(cloud, &name, kept) {
            log::write_line(&format!(
                "cannot remove old executions of the pipeline {name}: {error}"
            ));
        }
    }
    Ok(())
}

fn remove_from(cloud: &Cloud, name: &str, kept: usize) -> ApiResult<()> {
    let oldest = cloud.clock().epoch() - KEPT;
    let prefix = prefix(name);
    let (mut ids, mut seen, mut end) = (BTreeSet::new(), 0, None::<String>);
    loop {
        let chunk = ended(cloud).last(&prefix, end.as_deref(), CHUNK)?;
        let Some((last, _)) = chunk.last() else {
            break;
        };
        end = Some(last.clone());
        let mut old = Vec::new();
        for (key, execution) in chunk {
            seen += 1;
            if seen > kept || execution.updated < oldest {
                old.push((key, execution.updated));
            }
        }
        if old.is_empty() {
            continue;
        }
        cloud.store().transaction(|tx| {
            for (key, updated) in &old {
                // It may have been retried since.
                let found = ended(cloud).get_in(tx, key)?;
                let Some(found) = found.filter(|found| found.updated <= *updated) else {
                    continue;
                };
                ended(cloud).remove_in(tx, key)?;
                numbers(cloud).remove_in(tx, &format!("{prefix}{}", found.id))?;
                for run in found.stages.iter().flat_map(|stage| &stage.runs) {
                    jobs(cloud).remove_in(tx, &run.id)?;
                }
                ids.insert(found.id);
            }
            Ok(())
        })?;
    }
    if ids.is_empty() {
        return Ok(());
    }
    cloud.store().transaction(|tx| {
        for (token, id) in tokens(cloud).list_in(tx, &prefix)? {
            if ids.contains(&id) {
                tokens(cloud).remove_in(tx, &token)?;
            }
        }
        Ok(())
    })
}
