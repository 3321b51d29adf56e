//! Work that ended early. If it panicked, its stack fails. If the server died, the next server does what
//! `CloudFormation` does after a failure: it rolls a creation or an update back, and finishes a deletion,
//! a roll-back or a clean-up.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::changes;
use super::custom;
use super::engine::Engine;
use super::evaluate::kind_of;
use super::failure::Failure;
use super::prepare;
use super::resources::Target;
use super::stacks::{self, Stack};
use super::states::{ChangeSetStatus, ExecutionStatus, OnFailure, ResourceStatus, StackStatus};
use crate::api::ApiResult;
use crate::cloud::caller::Caller;
use crate::{Cloud, clock, sts};

const REASON: &str = "InternalServerError";

/// Fails work that was in progress when the server died, and recovers in the background.
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
    /// Rolls back or finishes the work on a stack whose server died.
    async fn run_recovery(self) {
        if let Err(error) = self.resume().await
            && let Ok(stack) = self.stack()
        {
            self.end(stack.status.failed(), error.message).await;
        }
    }

    async fn resume(&self) -> ApiResult<()> {
        let stack = self.stack()?;
        let failure = |verb: &'static str| {
            let failed = stack.resources.iter();
            let failed = failed.filter(|resource| resource.reason.as_deref() == Some(REASON));
            let failed: Vec<_> = failed
                .map(|resource| (resource.logical.clone(), verb))
                .collect();
            if failed.is_empty() {
                Failure::Other(REASON.to_owned())
            } else {
                Failure::Resources(failed)
            }
        };
        self.delete_lost().await?;
        match stack.status {
            StackStatus::Creating if stack.delete_requested => self.delete_all().await,
            StackStatus::Creating => self.create_failed(&failure("create")).await,
            StackStatus::RollingBack => self.undo_create().await,
            StackStatus::Deleting => self.delete_all().await,
            StackStatus::Updating if stack.on_failure == OnFailure::DoNothing => self.status(
                StackStatus::UpdateFailed,
                Some(failure("update").to_string()),
            ),
            StackStatus::Updating => self.roll_back(Some(failure("update").to_string())).await,
            StackStatus::CleaningUp => self.finish(StackStatus::Updated).await,
            StackStatus::RollbackCleaningUp => self.finish(StackStatus::UpdateRolledBack).await,
            _ => self.roll_back(Some(REASON.to_owned())).await,
        }
    }

    /// Deletes the resource of a create call whose response was not recorded because the server died.
    async fn delete_lost(&self) -> ApiResult<()> {
        for mut resource in self.stack()?.resources {
            if custom::is_custom(&resource.kind) {
                self.leave_lost_custom(&resource)?;
            }
            let Some(before) = resource.existing.take() else {
                continue;
            };
            if resource.status.is_removed() {
                continue;
            }
            let kind = kind_of(&resource.kind)?;
            let stack = self.stack()?;
            let properties = kind.with_system_tags(&stack, &resource.logical, &resource.properties);
            let target = Target {
                cloud: &self.cloud,
                kind,
                properties: &properties,
                previous: None,
                name: &resource.name,
                physical: "",
            };
            let found = kind.steps().find(&target).await;
            let owned = owned(&self.cloud, kind.name)?;
            let new = found.as_ref().map(|ids| {
                let new = ids.iter();
                let new = new.filter(|id| !before.contains(id) && !owned.contains(*id));
                new.cloned().collect::<Vec<_>>()
            });
            // If several are new, clients have created the others in the meantime, and it is
            // unknown which one is the stack's: none is touched.
            let Ok([created]) = new.as_deref() else {
                // `before` describes the time of the create call: what other clients create from now on
                // must not be attributed to the stack by a later recovery.
                stacks::change(&self.cloud, &self.key, |stack| {
                    stack.put(resource.clone());
                    Ok(())
                })?;
                found?;
                continue;
            };
            resource.physical = Some(created.clone());
            self.keep(&mut resource, ResourceStatus::Deleting, None)?;
            match self.delete_physical(&resource).await {
                Ok(()) => {
                    resource.physical = None;
                    self.keep(&mut resource, ResourceStatus::Deleted, None)?;
                }
                // The roll-back retries, and reports the error if that also fails.
                Err(reason) => {
                    self.keep(&mut resource, ResourceStatus::DeleteFailed, Some(reason))?;
                }
            }
        }
        Ok(())
    }
}

/// The physical ids of a type that the records of stacks have. None of them can be the one of a create call
/// without a record, even if it was created after that call began: the search by a name also finds a resource
/// that another one of the same name has created at the same time.
fn owned(cloud: &Cloud, kind: &str) -> ApiResult<BTreeSet<String>> {
    let stacks = stacks::living(cloud)?;
    let resources = stacks
        .into_iter()
        .flat_map(|stack| stack.resources.into_iter().chain(stack.pending_deletion));
    let of_kind =
        resources.filter(|resource| resource.kind == kind && !resource.status.is_removed());
    Ok(of_kind.filter_map(|resource| resource.physical).collect())
}

/// Works on a stack in the background: with the role of the stack or, without one, on behalf of the current
/// caller; after a crash, of the session that began the work. The stack fails if the work panics.
pub(super) fn spawn(cloud: &Cloud, key: &str, work: impl Future<Output = ()> + Send + 'static) {
    let key = key.to_owned();
    let (caller, whose, inner) = (Caller::current(), key.clone(), cloud.clone());
    let work = async move {
        let stack = stacks::stacks(&inner).get(&whose).ok().flatten();
        let (role, began) =
            stack.map_or((None, None), |stack| (stack.deployment.role, stack.session));
        let caller = match (caller, began) {
            (Caller::LocalCloud, Some(session)) => Caller::Session(Arc::new(session)),
            (caller, _) => caller,
        };
        let session = role
            .map(|role| sts::for_service(&inner, &role, "AWSCloudFormation", prepare::PRINCIPAL));
        match session {
            None => caller.scope(work).await,
            Some(Ok(session)) => session.caller().scope(work).await,
            Some(Err(error)) => {
                let engine = Engine::new(&inner, &whose);
                if let Ok(stack) = engine.stack() {
                    engine.end(stack.status.failed(), error.message).await;
                }
            }
        }
    };
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

/// Works in the background; `broken` is called if the work panics.
pub(super) fn guard(
    cloud: &Cloud,
    what: String,
    work: impl Future<Output = ()> + Send + 'static,
    broken: impl Fn(&Cloud) -> ApiResult<()> + Send + Sync + 'static,
) {
    let (then, name) = (cloud.clone(), what.clone());
    cloud.spawn(what, work, move |_| async move {
        // If the record cannot be written, the next start tries again.
        let _ = then.persist(&name, || broken(&then)).await;
    });
}

fn fail_stack(cloud: &Cloud, mut stack: Stack) -> ApiResult<()> {
    if !stack.is_busy() {
        return Ok(());
    }
    let (key, status) = (stack.key().to_owned(), stack.status.failed());
    // Recovery does not run now, and later the ids from before the create call are out of date.
    for resource in &mut stack.resources {
        resource.existing = None;
    }
    fail_resources(cloud, stack)?;
    stacks::set_status(cloud, &key, status, Some(REASON))
}

/// Fails the resources that were in progress.
fn fail_resources(cloud: &Cloud, mut stack: Stack) -> ApiResult<()> {
    let mut all_failed = Vec::new();
    let reverts = stack.status == StackStatus::UpdateRollingBack;
    for resource in &mut stack.resources {
        // An interrupted revert is repeated, from the properties before it.
        if let Some(before) = resource.changing.take()
            && reverts
        {
            resource.properties = before;
        }
        if let Some(failed) = resource.status.failed() {
            resource.status = failed;
            resource.reason = Some(REASON.to_owned());
            resource.changed = clock::iso();
            all_failed.push(resource.clone());
        }
    }
    stacks::put_with_events(cloud, &stack, &all_failed)
}

/// Fails a change set that is being created or executed.
pub(super) fn fail_change_set(cloud: &Cloud, key: &str) -> ApiResult<()> {
    changes::change_sets(cloud).update(key, |change_set| {
        if change_set.status == ChangeSetStatus::Creating {
            change_set.status = ChangeSetStatus::Failed;
            change_set.status_reason = Some(REASON.to_owned());
        } else if change_set.execution_status == ExecutionStatus::Executing {
            change_set.execution_status = ExecutionStatus::Failed;
        }
        Ok(())
    })?;
    Ok(())
}

#[cfg(test)]
mod every_type;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cloudformation::changes::ChangeSet;
    use crate::cloudformation::stacks::Resource;
    use crate::cloudformation::states::DeletionPolicy;
    use crate::iam;
    use crate::s3::buckets;
    use crate::test_cloud::TestCloud;

    fn open(directory: &std::path::Path) -> Cloud {
        TestCloud::in_directory(directory)
    }

    async fn idle(cloud: &Cloud) {
        while cloud.is_busy() {
            clock::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A bucket during its create call; `before` are the buckets with its name before the call.
    fn half_a_bucket(name: &str, before: Option<Vec<String>>) -> Resource {
        Resource {
            logical: name.to_owned(),
            kind: "AWS::S3::Bucket".to_owned(),
            name: name.to_owned(),
            deletion_policy: DeletionPolicy::RetainExceptOnCreate,
            existing: before,
            ..Resource::default()
        }
    }

    #[tokio::test]
    async fn an_interrupted_creation_is_rolled_back() {
        let directory = tempfile::tempdir().unwrap();
        let cloud = open(directory.path());
        for name in ["kept", "made", "foreign", "refused"] {
            buckets::create(&cloud, name).unwrap();
        }
        let mut stack = stacks::new(&cloud, "s");
        stack.status = StackStatus::Creating;
        stack.resources = vec![
            Resource {
                physical: Some("kept".to_owned()),
                status: ResourceStatus::Created,
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
        assert_eq!(stack.status, StackStatus::RolledBack);
        let left: Vec<_> = ["kept", "made", "foreign", "refused", "never"]
            .into_iter()
            .filter(|name| buckets::exists(&cloud, name).unwrap())
            .collect();
        assert_eq!(left, ["foreign", "refused"]);
        let events = stacks::history(&cloud, &stack).unwrap();
        let events = serde_json::to_string(&events).unwrap();
        assert!(
            events.contains("failed to create: [made, foreign, refused, never]"),
            "{events}"
        );
        assert!(events.contains(REASON), "{events}");
    }

    #[tokio::test]
    async fn an_interrupted_deletion_has_the_permissions_of_the_session_that_began_it() {
        let directory = tempfile::tempdir().unwrap();
        let cloud = open(directory.path());
        buckets::create(&cloud, "kept").unwrap();
        let role = iam::trusting(&cloud, "nobody", "sagemaker.amazonaws.com", &["none:None"]);
        let session = sts::for_service(&cloud, &role, "me", "sagemaker.amazonaws.com").unwrap();
        let mut stack = stacks::new(&cloud, "s");
        stack.status = StackStatus::Created;
        stack.resources = vec![Resource {
            physical: Some("kept".to_owned()),
            status: ResourceStatus::Created,
            deletion_policy: DeletionPolicy::Delete,
            ..half_a_bucket("kept", None)
        }];
        stacks::stacks(&cloud).insert(stack.key(), &stack).unwrap();
        let begin = async {
            stacks::change(&cloud, stack.key(), |stack| {
                stack.status = StackStatus::Deleting;
                Ok(())
            })
        };
        session.caller().scope(begin).await.unwrap();
        recover(&cloud).unwrap();
        idle(&cloud).await;
        let stack = stacks::get(&cloud, "s").unwrap();
        assert_eq!(stack.status, StackStatus::DeleteFailed);
        assert!(buckets::exists(&cloud, "kept").unwrap());
    }

    #[tokio::test]
    async fn only_the_first_recovery_deletes_what_was_not_recorded() {
        let directory = tempfile::tempdir().unwrap();
        let cloud = open(directory.path());
        let mut stack = stacks::new(&cloud, "s");
        stack.status = StackStatus::Creating;
        stack.resources = vec![half_a_bucket("never", Some(Vec::new()))];
        stacks::stacks(&cloud).insert(stack.key(), &stack).unwrap();
        recover(&cloud).unwrap();
        idle(&cloud).await;
        let stack = stacks::get(&cloud, "s").unwrap();
        assert_eq!(stack.resources[0].existing, None);

        // Another client creates a bucket of that name, and the server dies during the deletion.
        buckets::create(&cloud, "never").unwrap();
        stacks::set_status(&cloud, stack.key(), StackStatus::Deleting, None).unwrap();
        recover(&cloud).unwrap();
        idle(&cloud).await;
        assert!(buckets::exists(&cloud, "never").unwrap());
        let stack = stacks::get(&cloud, &stack.id).unwrap();
        assert_eq!(stack.status, StackStatus::Deleted);
    }

    #[tokio::test]
    async fn an_interrupted_deletion_resumes_and_retains_the_requested_resources() {
        let directory = tempfile::tempdir().unwrap();
        let cloud = open(directory.path());
        let mut stack = stacks::new(&cloud, "s");
        stack.status = StackStatus::Deleting;
        stack.retain = vec!["left".to_owned()];
        for name in ["left", "gone"] {
            buckets::create(&cloud, name).unwrap();
            stack.resources.push(Resource {
                physical: Some(name.to_owned()),
                status: ResourceStatus::Deleting,
                deletion_policy: DeletionPolicy::Delete,
                ..half_a_bucket(name, None)
            });
        }
        stacks::stacks(&cloud).insert(stack.key(), &stack).unwrap();
        recover(&cloud).unwrap();
        idle(&cloud).await;
        assert!(buckets::exists(&cloud, "left").unwrap());
        assert!(!buckets::exists(&cloud, "gone").unwrap());
        let stack = stacks::get(&cloud, &stack.id).unwrap();
        assert_eq!(stack.status, StackStatus::Deleted);
    }

    #[tokio::test]
    async fn an_interrupted_update_and_an_interrupted_roll_back_are_rolled_back() {
        for status in [StackStatus::Updating, StackStatus::UpdateRollingBack] {
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
            let resource = |properties, changing, status| Resource {
                physical: Some("bucket".to_owned()),
                properties,
                changing,
                status,
                ..half_a_bucket("bucket", None)
            };
            let mut stack = stacks::new(&cloud, "s");
            stack.status = status;
            stack.previous = Some(Box::new(stacks::Before {
                resources: vec![resource(old.clone(), None, ResourceStatus::Created)],
                ..stacks::Before::default()
            }));
            // The record has the properties after the change; the bucket is versioned in both cases.
            let (to, from) = if status == StackStatus::Updating {
                (new, old)
            } else {
                (old, new)
            };
            stack.resources = vec![resource(to, Some(from), ResourceStatus::Updating)];
            stacks::stacks(&cloud).insert(stack.key(), &stack).unwrap();
            recover(&cloud).unwrap();
            idle(&cloud).await;
            let stack = stacks::get(&cloud, "s").unwrap();
            assert_eq!(stack.status, StackStatus::UpdateRolledBack);
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
        stack.status = StackStatus::Creating;
        for (logical, status) in [
            ("Made", ResourceStatus::Created),
            ("Half", ResourceStatus::Creating),
        ] {
            stack.resources.push(Resource {
                logical: logical.to_owned(),
                status,
                ..Resource::default()
            });
        }
        stacks::stacks(&cloud).insert(stack.key(), &stack).unwrap();
        let change_set = ChangeSet {
            id: cloud.arn("cloudformation", "changeSet/c/1"),
            stack_id: stack.id.clone(),
            status: ChangeSetStatus::Created,
            execution_status: ExecutionStatus::Executing,
            ..ChangeSet::default()
        };
        let key = changes::key_of(&change_set);
        changes::change_sets(&cloud)
            .insert(&key, &change_set)
            .unwrap();

        spawn(&cloud, stack.key(), async { panic!("on purpose") });
        idle(&cloud).await;
        let stack = stacks::get(&cloud, "s").unwrap();
        assert_eq!(stack.status, StackStatus::CreateFailed);
        assert_eq!(stack.status_reason.as_deref(), Some(REASON));
        assert_eq!(
            stack.resource("Made").unwrap().status,
            ResourceStatus::Created
        );
        assert_eq!(
            stack.resource("Half").unwrap().status,
            ResourceStatus::CreateFailed
        );
        let change_set = changes::change_sets(&cloud).get(&key).unwrap().unwrap();
        assert_eq!(change_set.execution_status, ExecutionStatus::Failed);
    }
}
