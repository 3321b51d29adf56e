//! Work that broke off. When it panicked, its stack says that it failed. When the server died, the
//! next one goes on as `CloudFormation` does after a failure: it takes a creation or an update back,
//! and brings a deletion, a roll-back or a clean-up to its end.

use super::changes;
use super::engine::{Engine, Failure, kind_of};
use super::resources::{self, Job};
use super::stacks::{self, Stack};
use crate::api::ApiResult;
use crate::{Cloud, clock};

const REASON: &str = "InternalServerError";

/// Fails what was under way when the server died, and has the way back go on in the background.
pub(crate) fn recover(cloud: &Cloud) -> anyhow::Result<()> {
    for stack in stacks::living(cloud)? {
        if stack.is_busy() {
            let key = stack.key().to_owned();
            fail_resources(cloud, stack)?;
            spawn(cloud, &key, Engine::new(cloud, &key).run_recovery());
        }
    }
    for (key, _) in changes::change_sets(cloud).list("")? {
        fail_change_set(cloud, &key)?;
    }
    Ok(())
}

impl Engine {
    /// Goes on with a stack whose server died.
    async fn run_recovery(self) {
        if let Err(error) = self.go_on().await
            && let Ok(stack) = self.stack()
        {
            self.end(failed(&stack.status), error.message).await;
        }
    }

    async fn go_on(&self) -> ApiResult<()> {
        let stack = self.stack()?;
        let half = |verb: &'static str| {
            stack
                .resources
                .iter()
                .find(|resource| resource.reason.as_deref() == Some(REASON))
                .map_or_else(
                    || Failure::Other(REASON.to_owned()),
                    |resource| Failure::Resource(resource.logical.clone(), verb),
                )
        };
        self.delete_lost().await?;
        match stack.status.as_str() {
            "CREATE_IN_PROGRESS" if stack.delete_requested => self.delete_all().await,
            "CREATE_IN_PROGRESS" => self.create_failed(&half("create")).await,
            "ROLLBACK_IN_PROGRESS" => self.undo_create().await,
            "DELETE_IN_PROGRESS" => self.delete_all().await,
            "UPDATE_IN_PROGRESS" if stack.on_failure == "DO_NOTHING" => {
                self.status("UPDATE_FAILED", Some(half("update").to_string()))
            }
            "UPDATE_IN_PROGRESS" => self.roll_back(Some(half("update").to_string())).await,
            "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS" => self.finish("UPDATE_COMPLETE").await,
            "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS" => {
                self.finish("UPDATE_ROLLBACK_COMPLETE").await
            }
            _ => self.roll_back(Some(REASON.to_owned())).await,
        }
    }

    /// Deletes what a create call made whose answer was never kept, because the server died.
    async fn delete_lost(&self) -> ApiResult<()> {
        for mut resource in self.stack()?.resources {
            let Some(before) = resource.alike.take() else {
                continue;
            };
            let kind = kind_of(&resource.kind)?;
            let job = Job {
                cloud: &self.cloud,
                properties: &resource.properties,
                name: &resource.name,
            };
            let found = resources::alike(kind, &job).await?;
            let Some(made) = found.into_iter().find(|id| !before.contains(id)) else {
                continue;
            };
            resource.physical = Some(made);
            self.keep(&mut resource, "DELETE_IN_PROGRESS", None)?;
            match self.delete_physical(&resource).await {
                Ok(()) => {
                    resource.physical = None;
                    self.keep(&mut resource, "DELETE_COMPLETE", None)?;
                }
                // The roll-back tries once more, and says so if it cannot either.
                Err(reason) => self.keep(&mut resource, "DELETE_FAILED", Some(reason))?,
            }
        }
        Ok(())
    }
}

/// Does a stack's work in the background; the stack fails when the work panics.
pub(super) fn spawn(cloud: &Cloud, key: &str, work: impl Future<Output = ()> + Send + 'static) {
    let key = key.to_owned();
    guard(cloud, format!("stack {key}"), work, move |cloud| {
        if let Some(stack) = stacks::stacks(cloud).get(&key)? {
            fail_stack(cloud, stack)?;
        }
        for (change_set, _) in changes::change_sets(cloud).list(&format!("{key}/"))? {
            fail_change_set(cloud, &change_set)?;
        }
        Ok(())
    });
}

/// Does work in the background; `broken` is called when it panics.
pub(super) fn guard(
    cloud: &Cloud,
    what: String,
    work: impl Future<Output = ()> + Send + 'static,
    broken: impl Fn(&Cloud) -> ApiResult<()> + Send + Sync + 'static,
) {
    let (then, name) = (cloud.clone(), what.clone());
    cloud.spawn(what, work, move |_| async move {
        // Without its record there is nothing to write to; the next start tries again.
        let _ = then.persist(&name, || broken(&then)).await;
    });
}

fn fail_stack(cloud: &Cloud, stack: Stack) -> ApiResult<()> {
    if !stack.is_busy() {
        return Ok(());
    }
    let (key, status) = (stack.key().to_owned(), failed(&stack.status));
    fail_resources(cloud, stack)?;
    stacks::set_status(cloud, &key, status, Some(REASON.to_owned()))
}

/// The status in which work ends that cannot go on.
fn failed(in_progress: &str) -> &'static str {
    match in_progress {
        "CREATE_IN_PROGRESS" => "CREATE_FAILED",
        "DELETE_IN_PROGRESS" => "DELETE_FAILED",
        "ROLLBACK_IN_PROGRESS" => "ROLLBACK_FAILED",
        "UPDATE_IN_PROGRESS" => "UPDATE_FAILED",
        // The update itself is done; only its leftovers stay behind.
        "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS" => "UPDATE_COMPLETE",
        "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS" => "UPDATE_ROLLBACK_COMPLETE",
        _ => "UPDATE_ROLLBACK_FAILED",
    }
}

/// Fails the resources that were being worked on.
fn fail_resources(cloud: &Cloud, mut stack: Stack) -> ApiResult<()> {
    let owner = stack.clone();
    let goes_back = stack.status == "UPDATE_ROLLBACK_IN_PROGRESS";
    for resource in &mut stack.resources {
        // A change back that was cut off is to be made once more, from where it came.
        if let Some(before) = resource.changing.take()
            && goes_back
        {
            resource.properties = before;
        }
        if let Some(verb) = resource.status.strip_suffix("_IN_PROGRESS") {
            resource.status = format!("{verb}_FAILED");
            resource.reason = Some(REASON.to_owned());
            resource.changed = clock::iso();
            stacks::record(cloud, &owner, resource)?;
        }
    }
    stacks::stacks(cloud).put(stack.key(), &stack)
}

/// Fails a change set that is being made or executed.
pub(super) fn fail_change_set(cloud: &Cloud, key: &str) -> ApiResult<()> {
    changes::change_sets(cloud).update(key, |change_set| {
        if change_set.status == "CREATE_IN_PROGRESS" {
            "FAILED".clone_into(&mut change_set.status);
            change_set.status_reason = Some(REASON.to_owned());
        } else if change_set.execution_status == "EXECUTE_IN_PROGRESS" {
            "EXECUTE_FAILED".clone_into(&mut change_set.execution_status);
        }
        Ok(())
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cloudformation::changes::ChangeSet;
    use crate::cloudformation::stacks::Resource;
    use crate::s3::buckets;

    fn open(directory: &std::path::Path) -> Cloud {
        Cloud::in_directory(directory)
    }

    async fn idle(cloud: &Cloud) {
        while cloud.is_busy() {
            clock::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A bucket whose create call was under way; `before` is what was alike before the call.
    fn half_a_bucket(name: &str, before: Option<Vec<String>>) -> Resource {
        Resource {
            logical: name.to_owned(),
            kind: "AWS::S3::Bucket".to_owned(),
            name: name.to_owned(),
            status: "CREATE_IN_PROGRESS".to_owned(),
            deletion_policy: "RetainExceptOnCreate".to_owned(),
            alike: before,
            ..Resource::default()
        }
    }

    #[tokio::test]
    async fn a_creation_that_was_cut_off_is_taken_back() {
        let directory = tempfile::tempdir().unwrap();
        let cloud = open(directory.path());
        for name in ["kept", "made", "foreign", "refused"] {
            buckets::create(&cloud, name).unwrap();
        }
        let mut stack = stacks::new(&cloud, "s");
        stack.status = "CREATE_IN_PROGRESS".to_owned();
        stack.resources = vec![
            Resource {
                physical: Some("kept".to_owned()),
                status: "CREATE_COMPLETE".to_owned(),
                ..half_a_bucket("kept", None)
            },
            half_a_bucket("made", Some(Vec::new())),
            half_a_bucket("foreign", Some(vec!["foreign".to_owned()])),
            half_a_bucket("refused", None),
            half_a_bucket("never", Some(Vec::new())),
        ];
        stacks::stacks(&cloud).insert(stack.key(), &stack).unwrap();
        recover(&cloud).unwrap();
        idle(&cloud).await;

        let stack = stacks::get(&cloud, "s").unwrap();
        assert_eq!(stack.status, "ROLLBACK_COMPLETE");
        let left: Vec<_> = ["kept", "made", "foreign", "refused", "never"]
            .into_iter()
            .filter(|name| buckets::exists(&cloud, name).unwrap())
            .collect();
        assert_eq!(left, ["foreign", "refused"]);
        let events = stacks::history(&cloud, &stack).unwrap();
        let events = serde_json::to_string(&events).unwrap();
        assert!(events.contains("failed to create: [made]"), "{events}");
        assert!(events.contains(REASON), "{events}");
    }

    #[tokio::test]
    async fn a_deletion_that_was_cut_off_goes_on_and_leaves_what_it_was_to_leave() {
        let directory = tempfile::tempdir().unwrap();
        let cloud = open(directory.path());
        let mut stack = stacks::new(&cloud, "s");
        stack.status = "DELETE_IN_PROGRESS".to_owned();
        stack.retain = vec!["left".to_owned()];
        for name in ["left", "gone"] {
            buckets::create(&cloud, name).unwrap();
            stack.resources.push(Resource {
                physical: Some(name.to_owned()),
                status: "DELETE_IN_PROGRESS".to_owned(),
                deletion_policy: "Delete".to_owned(),
                ..half_a_bucket(name, None)
            });
        }
        stacks::stacks(&cloud).insert(stack.key(), &stack).unwrap();
        recover(&cloud).unwrap();
        idle(&cloud).await;
        assert!(buckets::exists(&cloud, "left").unwrap());
        assert!(!buckets::exists(&cloud, "gone").unwrap());
        let stack = stacks::get(&cloud, &stack.id).unwrap();
        assert_eq!(stack.status, "DELETE_COMPLETE");
    }

    #[tokio::test]
    async fn an_update_and_a_roll_back_that_were_cut_off_end_where_they_began() {
        for status in ["UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS"] {
            let directory = tempfile::tempdir().unwrap();
            let cloud = open(directory.path());
            buckets::create(&cloud, "bucket").unwrap();
            let properties = |versioning: &str| {
                let value = serde_json::json!({"VersioningConfiguration": {"Status": versioning}});
                value.as_object().cloned().unwrap()
            };
            let (old, new) = (properties("Suspended"), properties("Enabled"));
            let enabled = new["VersioningConfiguration"].clone();
            buckets::set(&cloud, "bucket", "Versioning", Some(enabled)).unwrap();
            let resource = |properties, changing, status: &str| Resource {
                physical: Some("bucket".to_owned()),
                properties,
                changing,
                status: status.to_owned(),
                ..half_a_bucket("bucket", None)
            };
            let mut stack = stacks::new(&cloud, "s");
            stack.status = status.to_owned();
            stack.previous = Some(Box::new(stacks::Before {
                resources: vec![resource(old.clone(), None, "CREATE_COMPLETE")],
                ..stacks::Before::default()
            }));
            // The record has what the change leads to; the bucket is versioned in both cases.
            let (to, from) = if status == "UPDATE_IN_PROGRESS" {
                (new, old)
            } else {
                (old, new)
            };
            stack.resources = vec![resource(to, Some(from), "UPDATE_IN_PROGRESS")];
            stacks::stacks(&cloud).insert(stack.key(), &stack).unwrap();
            recover(&cloud).unwrap();
            idle(&cloud).await;
            let stack = stacks::get(&cloud, "s").unwrap();
            assert_eq!(stack.status, "UPDATE_ROLLBACK_COMPLETE");
            let versioning: String = cloud
                .store()
                .transaction(|transaction| {
                    let query = "SELECT versioning FROM s3_buckets WHERE name = 'bucket'";
                    Ok(transaction.query_row(query, [], |row| row.get(0))?)
                })
                .unwrap();
            assert_eq!(versioning, "Suspended", "{status}");
        }
    }

    #[tokio::test]
    async fn a_panic_fails_the_stack_and_its_change_set() {
        let directory = tempfile::tempdir().unwrap();
        let cloud = open(directory.path());
        let mut stack = stacks::new(&cloud, "s");
        stack.status = "CREATE_IN_PROGRESS".to_owned();
        for (logical, status) in [("Made", "CREATE_COMPLETE"), ("Half", "CREATE_IN_PROGRESS")] {
            stack.resources.push(Resource {
                logical: logical.to_owned(),
                status: status.to_owned(),
                ..Resource::default()
            });
        }
        stacks::stacks(&cloud).insert(stack.key(), &stack).unwrap();
        let change_set = ChangeSet {
            id: cloud.arn("cloudformation", "changeSet/c/1"),
            stack_id: stack.id.clone(),
            status: "CREATE_COMPLETE".to_owned(),
            execution_status: "EXECUTE_IN_PROGRESS".to_owned(),
            ..ChangeSet::default()
        };
        let key = changes::key_of(&change_set);
        changes::change_sets(&cloud)
            .insert(&key, &change_set)
            .unwrap();

        spawn(&cloud, stack.key(), async { panic!("on purpose") });
        idle(&cloud).await;
        let stack = stacks::get(&cloud, "s").unwrap();
        assert_eq!(stack.status, "CREATE_FAILED");
        assert_eq!(stack.status_reason.as_deref(), Some(REASON));
        assert_eq!(stack.resource("Made").unwrap().status, "CREATE_COMPLETE");
        assert_eq!(stack.resource("Half").unwrap().status, "CREATE_FAILED");
        let change_set = changes::change_sets(&cloud).get(&key).unwrap().unwrap();
        assert_eq!(change_set.execution_status, "EXECUTE_FAILED");
    }
}
