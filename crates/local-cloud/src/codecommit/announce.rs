//! Announces changes of references, by the API and by `git push`, to EventBridge.
//!
//! git itself changes the references of a push, so a kill can come between the change and its event. Therefore, the
//! references are recorded before the change, and compared with those of the repository after it, or at the next start.
//! While no rule could match, nothing is recorded.

use std::collections::BTreeMap;

use rusqlite::Transaction;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::bare::Bare;
use super::{RepositoryRecord, find, records, touch};
use crate::api::ApiResult;
use crate::cloud::caller::Caller;
use crate::events::{self, Event};
use crate::store::Collection;
use crate::{Cloud, log, sts};

/// The source of the events.
const SOURCE: &str = "aws.codecommit";

/// The references that have been announced: names and object ids.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Announced {
    references: BTreeMap<String, String>,
    /// The ARN of the caller of the change that follows.
    #[serde(default)]
    caller: Option<String>,
}

/// Of repositories, by their ids.
fn announced(cloud: &Cloud) -> Collection<'_, Announced> {
    cloud.store().collection("codecommit", "announced")
}

/// One comparison at a time, so that each change is announced once.
#[derive(Debug, Default)]
struct Comparing(Mutex<()>);

/// Records the references of a repository before a change, and who makes it.
pub(super) async fn before(cloud: &Cloud, name: &str, caller: &Caller) -> ApiResult<()> {
    let (record, repository) = find(cloud, name)?;
    if events::is_ignored(cloud, SOURCE) {
        // What changes now is never announced.
        announced(cloud).remove(&record.id)?;
        return Ok(());
    }
    let caller = Some(sts::arn_of(caller));
    let known = announced(cloud).update(&record.id, |known| {
        known.caller.clone_from(&caller);
        Ok(())
    })?;
    if known.is_none() {
        let references = repository.references().await?;
        announced(cloud).insert(&record.id, &Announced { references, caller })?;
    }
    Ok(())
}

/// Removes what is recorded of a repository that is deleted.
pub(super) fn forget_in(tx: &Transaction<'_>, cloud: &Cloud, id: &str) -> ApiResult<()> {
    announced(cloud).remove_in(tx, id).map(drop)
}

/// Records the time of a change, and announces what it changed. An error is only written to the server's log, because
/// git has accepted the change; the next change, or the next start, announces both.
pub(super) async fn after(cloud: &Cloud, name: &str, caller: &Caller) {
    let announced = async {
        touch(cloud, name)?;
        let (record, repository) = find(cloud, name)?;
        compare(cloud, (name, &record), &repository, Some(caller)).await
    };
    if let Err(error) = announced.await {
        log::write_line(&format!("cannot announce changes of {name}: {error}"));
    }
}

/// Announces changes by a caller, or by the one that was recorded before them.
async fn compare(
    cloud: &Cloud,
    (name, record): (&str, &RepositoryRecord),
    repository: &Bare,
    caller: Option<&Caller>,
) -> ApiResult<()> {
    if events::is_ignored(cloud, SOURCE) {
        return Ok(());
    }
    let _one = cloud.state::<Comparing>().0.lock().await;
    let references = repository.references().await?;
    cloud.store().transaction(|tx| {
        let announced = announced(cloud);
        let Some(known) = announced.get_in(tx, &record.id)? else {
            return Ok(());
        };
        let changes = changes(&known.references, &references);
        if changes.is_empty() {
            return Ok(());
        }
        let caller = match caller {
            Some(caller) => sts::arn_of(caller),
            None => known
                .caller
                .clone()
                .unwrap_or_else(|| sts::arn_of(&Caller::Root)),
        };
        for change in changes {
            let mut detail = change;
            detail["repositoryName"] = name.into();
            detail["repositoryId"] = record.id.as_str().into();
            detail["callerUserArn"] = caller.as_str().into();
            let event = Event {
                source: SOURCE,
                detail_type: "CodeCommit Repository State Change",
                resources: vec![cloud.arn("codecommit", name)],
                detail,
            };
            events::publish_in(tx, cloud, event)?;
        }
        let caller = known.caller;
        announced.put_in(tx, &record.id, &Announced { references, caller })
    })?;
    events::deliver_soon(cloud);
    Ok(())
}

/// The changes of branches and tags, without what is known of their repository.
fn changes(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<Value> {
    let mut found = Vec::new();
    let names = old
        .keys()
        .chain(new.keys().filter(|name| !old.contains_key(*name)));
    for name in names {
        let (before, after) = (old.get(name), new.get(name));
        if before == after {
            continue;
        }
        let (kind, short) = match (
            name.strip_prefix("refs/heads/"),
            name.strip_prefix("refs/tags/"),
        ) {
            (Some(branch), _) => ("branch", branch),
            (_, Some(tag)) => ("tag", tag),
            _ => continue,
        };
        let event = match (before, after) {
            (None, _) => "referenceCreated",
            (_, None) => "referenceDeleted",
            _ => "referenceUpdated",
        };
        let mut detail = json!({
            "event": event,
            "referenceType": kind,
            "referenceName": short,
            "referenceFullName": name,
        });
        if let Some(commit) = after {
            detail["commitId"] = commit.as_str().into();
        }
        if let Some(commit) = before {
            detail["oldCommitId"] = commit.as_str().into();
        }
        found.push(detail);
    }
    found
}

/// Announces changes that the end of the server has left unannounced.
pub(super) fn recover(cloud: &Cloud) -> ApiResult<()> {
    let known = announced(cloud).list("")?;
    if known.is_empty() || events::is_ignored(cloud, SOURCE) {
        return Ok(());
    }
    let mut pending = Vec::new();
    for (name, record) in records(cloud).list("")? {
        if known.iter().any(|(id, _)| *id == record.id) {
            pending.push((name, record));
        }
    }
    let owned = cloud.clone();
    let work = async move {
        for (name, record) in pending {
            let repository = Bare::of(&owned, &record.directory(&name));
            let compared = compare(&owned, (&name, &record), &repository, None).await;
            if let Err(error) = compared {
                log::write_line(&format!("cannot announce changes of {name}: {error}"));
            }
        }
    };
    cloud.spawn("the announcement of pushes", work, |_| async {});
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_cloud::TestCloud;

    #[tokio::test]
    async fn what_is_recorded_has_the_caller_and_ends_with_the_repository() {
        let at = TestCloud::new();
        let cloud = at.cloud();
        let name = json!({"repositoryName": "r"});
        at.call("codecommit", "CreateRepository", name.clone())
            .await
            .unwrap();
        let pattern = json!({"source": [SOURCE]}).to_string();
        at.call(
            "events",
            "PutRule",
            json!({"Name": "r", "EventPattern": pattern}),
        )
        .await
        .unwrap();
        let target = json!({"Id": "t", "Arn": cloud.arn("sqs", "q")});
        at.call(
            "events",
            "PutTargets",
            json!({"Rule": "r", "Targets": [target]}),
        )
        .await
        .unwrap();
        let role = crate::iam::trusting(&cloud, "dev", "sagemaker.amazonaws.com", &["none:None"]);
        let session = sts::for_service(&cloud, &role, "me", "sagemaker.amazonaws.com").unwrap();
        for caller in [Caller::Root, session.caller()] {
            before(&cloud, "r", &caller).await.unwrap();
            let known = announced(&cloud).list("").unwrap();
            assert_eq!(known.len(), 1);
            assert_eq!(known[0].1.caller, Some(sts::arn_of(&caller)));
        }
        at.call("codecommit", "DeleteRepository", name)
            .await
            .unwrap();
        assert!(announced(&cloud).list("").unwrap().is_empty());
    }

    #[test]
    fn references_are_created_updated_and_deleted() {
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            let owned = |(name, id): &(&str, &str)| ((*name).to_owned(), (*id).to_owned());
            pairs.iter().map(owned).collect()
        };
        let old = map(&[
            ("refs/heads/a", "1"),
            ("refs/heads/b", "1"),
            ("refs/tags/t", "1"),
            ("refs/notes/n", "1"),
        ]);
        let new = map(&[
            ("refs/heads/a", "2"),
            ("refs/heads/b", "1"),
            ("refs/heads/x/y", "3"),
            ("refs/notes/n", "2"),
        ]);
        let found = changes(&old, &new);
        assert_eq!(
            found,
            [
                json!({"event": "referenceUpdated", "referenceType": "branch", "referenceName": "a",
                    "referenceFullName": "refs/heads/a", "commitId": "2", "oldCommitId": "1"}),
                json!({"event": "referenceDeleted", "referenceType": "tag", "referenceName": "t",
                    "referenceFullName": "refs/tags/t", "oldCommitId": "1"}),
                json!({"event": "referenceCreated", "referenceType": "branch", "referenceName": "x/y",
                    "referenceFullName": "refs/heads/x/y", "commitId": "3"}),
            ]
        );
        assert!(changes(&new, &new).is_empty());
    }
}
