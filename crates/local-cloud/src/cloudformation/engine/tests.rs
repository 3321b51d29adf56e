//! Concurrent resources, cancellation after a failure, and the order of events. Faults at named points, not
//! timing, determine the order.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Barrier;

use super::*;
use crate::faults::{Action, Faults};
use crate::test_cloud::TestCloud;

const BUCKET: &str = "AWS::S3::Bucket";

fn bucket(needs: &[&str]) -> Value {
    json!({"Type": BUCKET, "DependsOn": needs})
}

/// A stack of these resources that is about to be created.
fn begun(cloud: &Cloud, resources: &Value) -> Engine {
    let mut stack = stacks::new(cloud, "s");
    stack.deployment.template = json!({"Resources": resources}).to_string();
    stack.status = StackStatus::Creating;
    stacks::stacks(cloud).insert(stack.key(), &stack).unwrap();
    Engine::new(cloud, stack.key())
}

/// The events of the stack's resources, the oldest first: logical id, status and reason.
fn events(cloud: &Cloud) -> Vec<String> {
    let stack = stacks::get(cloud, "s").unwrap();
    let history = stacks::history(cloud, &stack).unwrap();
    let events = serde_json::to_value(history).unwrap();
    let events = events.as_array().unwrap().iter().rev();
    let text = |event: &Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
    events
        .map(|event| {
            let [logical, status, reason] = [
                "LogicalResourceId",
                "ResourceStatus",
                "ResourceStatusReason",
            ]
            .map(|name| text(event, name));
            format!("{logical} {status} {reason}").trim().to_owned()
        })
        .collect()
}

#[tokio::test]
async fn independent_resources_are_created_and_deleted_at_once() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let resources = json!({
        "A": bucket(&[]), "B": bucket(&[]), "C": bucket(&["A", "B"]),
    });
    let engine = begun(&cloud, &resources);
    let faults = cloud.state::<Faults>();
    let both = Arc::new(Barrier::new(2));
    for logical in ["A", "B"] {
        // Neither continues before the other one has been created, too.
        let subject = format!("{BUCKET}/{logical}");
        faults.inject(Point::Created, &subject, Action::Meet(both.clone()));
    }
    engine.clone().run_create().await;
    let initiated = "CREATE_IN_PROGRESS Resource creation Initiated";
    assert_eq!(
        events(&cloud),
        [
            "A CREATE_IN_PROGRESS",
            "B CREATE_IN_PROGRESS",
            &format!("B {initiated}"),
            "B CREATE_COMPLETE",
            &format!("A {initiated}"),
            "A CREATE_COMPLETE",
            "C CREATE_IN_PROGRESS",
            &format!("C {initiated}"),
            "C CREATE_COMPLETE",
            "s CREATE_COMPLETE",
        ]
    );

    let both = Arc::new(Barrier::new(2));
    for logical in ["A", "B"] {
        let subject = format!("{BUCKET}/{logical}");
        faults.inject(Point::Delete, &subject, Action::Meet(both.clone()));
    }
    let before = events(&cloud).len();
    engine.run_delete().await;
    let stack = stacks::stacks(&cloud).list("").unwrap().remove(0).1;
    assert_eq!(stack.status, StackStatus::Deleted);
    let history = stacks::history(&cloud, &stack).unwrap();
    let shown = serde_json::to_value(&history[..history.len() - before]).unwrap();
    let order: Vec<_> = shown
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|event| format!("{} {}", event["LogicalResourceId"], event["ResourceStatus"]))
        .map(|event| event.replace('"', ""))
        .collect();
    assert_eq!(
        order,
        [
            "s DELETE_IN_PROGRESS",
            "C DELETE_IN_PROGRESS",
            "C DELETE_COMPLETE",
            "B DELETE_IN_PROGRESS",
            "A DELETE_IN_PROGRESS",
            "A DELETE_COMPLETE",
            "B DELETE_COMPLETE",
            "s DELETE_COMPLETE",
        ]
    );
}

#[tokio::test]
async fn a_failure_cancels_what_is_in_progress_and_begins_nothing_else() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let resources = json!({
        "Slow": bucket(&[]), "Bad": bucket(&[]), "Never": bucket(&["Slow"]),
    });
    let engine = begun(&cloud, &resources);
    let faults = cloud.state::<Faults>();
    let both = Arc::new(Barrier::new(2));
    // `Slow` exists and never becomes ready; only then `Bad` fails.
    faults.inject(
        Point::Created,
        &format!("{BUCKET}/Slow"),
        Action::Meet(both.clone()),
    );
    faults.inject(Point::Recorded, &format!("{BUCKET}/Slow"), Action::Stop);
    faults.inject(Point::Create, &format!("{BUCKET}/Bad"), Action::Meet(both));
    faults.inject(Point::Created, &format!("{BUCKET}/Bad"), Action::Fail);
    engine.run_create().await;
    let events = events(&cloud);
    let has = |text: &str| events.iter().any(|event| event.starts_with(text));
    assert!(
        has("Slow CREATE_FAILED Resource creation cancelled"),
        "{events:#?}"
    );
    assert!(has("Slow DELETE_COMPLETE"), "{events:#?}");
    assert!(has("Bad CREATE_FAILED"), "{events:#?}");
    assert!(!has("Never"), "{events:#?}");
    let failed = "s ROLLBACK_IN_PROGRESS The following resource(s) failed to create: [Bad, Slow]. Rollback \
                  requested by user.";
    assert!(has(failed), "{events:#?}");
    assert_eq!(events.last().unwrap(), "s ROLLBACK_COMPLETE");
}

#[tokio::test]
async fn what_a_resource_that_cannot_be_deleted_needs_is_kept() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let resources = json!({
        "Needed": bucket(&[]), "Stuck": bucket(&["Needed"]), "Other": bucket(&[]),
    });
    let engine = begun(&cloud, &resources);
    engine.clone().run_create().await;
    let faults = cloud.state::<Faults>();
    faults.inject(Point::Delete, &format!("{BUCKET}/Stuck"), Action::Fail);
    engine.clone().run_delete().await;
    let stack = stacks::get(&cloud, "s").unwrap();
    let status = |logical: &str| stack.resource(logical).unwrap().status.as_str();
    assert_eq!(stack.status, StackStatus::DeleteFailed);
    assert_eq!(
        stack.status_reason.as_deref(),
        Some("The following resource(s) failed to delete: [Stuck]. ")
    );
    assert_eq!(
        (status("Needed"), status("Stuck"), status("Other")),
        ("CREATE_COMPLETE", "DELETE_FAILED", "DELETE_COMPLETE")
    );
    engine.run_delete().await;
    let stack = stacks::stacks(&cloud).list("").unwrap().remove(0).1;
    assert_eq!(stack.status, StackStatus::Deleted);
}
