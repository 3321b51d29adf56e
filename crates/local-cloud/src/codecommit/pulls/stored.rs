//! The records of pull requests: by number, and by the ids of their repositories, so that they follow a repository that
//! is renamed, end with one that is deleted, and are not those of another of its name.

use rusqlite::Transaction;
use serde::{Deserialize, Serialize};

use super::super::bare::Bare;
use super::announce::{self, Change};
use super::{Pull, Status, no_pull};
use crate::api::ApiResult;
use crate::cloud::caller::Caller;
use crate::store::Collection;
use crate::{Cloud, events, sts};

/// The pull requests, under their numbers.
pub(super) fn records(cloud: &Cloud) -> Collection<'_, Pull> {
    cloud.store().collection("codecommit", "pull-request")
}

/// The number of pull requests that were created.
pub(super) fn counter(cloud: &Cloud) -> Collection<'_, u64> {
    cloud
        .store()
        .collection("codecommit", "pull-request-counter")
}

/// The numbers of the pull requests that requests with a token created.
pub(super) fn tokens(cloud: &Cloud) -> Collection<'_, u64> {
    cloud.store().collection("codecommit", "pull-request-token")
}

/// What lists of pull requests filter.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Listed {
    pub(super) status: Status,
    pub(super) author: String,
}

/// The same pull requests, under `REPOSITORY-ID/NUMBER`.
fn listed(cloud: &Cloud) -> Collection<'_, Listed> {
    cloud
        .store()
        .collection("codecommit", "pull-request-of-repository")
}

pub(super) fn key(number: u64) -> String {
    format!("{number:012}")
}

fn prefix(repository: &str) -> String {
    format!("{repository}/")
}

fn number((key, listed): (String, Listed)) -> Option<(u64, Listed)> {
    let (_, number) = key.rsplit_once('/')?;
    Some((number.parse().ok()?, listed))
}

/// The pull requests of a repository, in the order of their numbers.
pub(super) fn of_repository(cloud: &Cloud, id: &str) -> ApiResult<Vec<(u64, Listed)>> {
    let found = listed(cloud).list(&prefix(id))?.into_iter();
    Ok(found.filter_map(number).collect())
}

/// The number of open pull requests of a repository.
pub(super) fn count_open(tx: &Transaction<'_>, cloud: &Cloud, id: &str) -> ApiResult<usize> {
    let found = listed(cloud).list_in(tx, &prefix(id))?.into_iter();
    Ok(found.filter(|(_, it)| it.status == Status::Open).count())
}

/// Writes a pull request.
pub(super) fn put(tx: &Transaction<'_>, cloud: &Cloud, pull: &Pull) -> ApiResult<()> {
    let key = key(pull.number);
    records(cloud).put_in(tx, &key, pull)?;
    let entry = Listed {
        status: pull.status,
        author: pull.author.clone(),
    };
    listed(cloud).put_in(tx, &format!("{}/{key}", pull.repository_id), &entry)
}

/// Removes the pull requests of a repository, in the transaction that removes the repository.
pub(in crate::codecommit) fn remove(
    tx: &Transaction<'_>,
    cloud: &Cloud,
    repository_id: &str,
) -> ApiResult<()> {
    for found in listed(cloud).keys_in(tx, &prefix(repository_id))? {
        listed(cloud).remove_in(tx, &found)?;
        let key = found.rsplit('/').next().unwrap_or_default();
        let pull = records(cloud).get_in(tx, key)?;
        records(cloud).remove_in(tx, key)?;
        if let Some(token) = pull.and_then(|pull| pull.token) {
            tokens(cloud).remove_in(tx, &token)?;
        }
    }
    Ok(())
}

/// Changes the name of the repository of pull requests, in the transaction that renames the repository.
pub(in crate::codecommit) fn rename(
    tx: &Transaction<'_>,
    cloud: &Cloud,
    repository_id: &str,
    name: &str,
) -> ApiResult<()> {
    for found in listed(cloud).keys_in(tx, &prefix(repository_id))? {
        let key = found.rsplit('/').next().unwrap_or_default();
        if let Some(mut pull) = records(cloud).get_in(tx, key)? {
            name.clone_into(&mut pull.repository);
            records(cloud).put_in(tx, key, &pull)?;
        }
    }
    Ok(())
}

/// Records the commit of a source branch. Another one than before is a new revision.
pub(super) fn observe(cloud: &Cloud, number: u64, source: &str) -> ApiResult<Pull> {
    cloud.store().transaction(|tx| {
        let found = records(cloud).get_in(tx, &key(number))?;
        let mut pull = found.ok_or_else(|| no_pull(&number.to_string()))?;
        if pull.status == Status::Open && pull.see(source) {
            records(cloud).put_in(tx, &key(number), &pull)?;
        }
        Ok(pull)
    })
}

/// Records and announces new revisions after a change of branches: a branch that is pushed back to an earlier commit
/// has one, too.
pub(in crate::codecommit) async fn pushed(
    cloud: &Cloud,
    repository_id: &str,
    bare: &Bare,
    caller: &Caller,
) -> ApiResult<()> {
    let found = of_repository(cloud, repository_id)?.into_iter();
    let open: Vec<u64> = found
        .filter(|(_, it)| it.status == Status::Open)
        .map(|(number, _)| number)
        .collect();
    if open.is_empty() {
        return Ok(());
    }
    let references = bare.references().await?;
    cloud.store().transaction(|tx| {
        for number in open {
            let Some(mut pull) = records(cloud).get_in(tx, &key(number))? else {
                continue;
            };
            let commit = references.get(&format!("refs/heads/{}", pull.source));
            if pull.status == Status::Open && commit.is_some_and(|commit| pull.see(commit)) {
                pull.active = cloud.clock().epoch();
                records(cloud).put_in(tx, &key(number), &pull)?;
                announce::publish(tx, cloud, &pull, Change::Pushed, &sts::arn_of(caller))?;
            }
        }
        Ok(())
    })?;
    events::deliver_soon(cloud);
    Ok(())
}
