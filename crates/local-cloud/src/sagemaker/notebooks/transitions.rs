//! The transitions between the statuses of notebook instances.

use serde_json::{Value, json};

use super::{AT_REST, NOTEBOOKS, check_platform, machines, require_status, status, volumes};
use crate::api::ApiResult;
use crate::cloud::catch_panic;
use crate::sagemaker::requests::ResourceName;
use crate::sagemaker::states::NotebookStatus;
use crate::{Cloud, clock};

/// Time that a notebook instance is at least Pending, Stopping or Deleting.
const TRANSITION: std::time::Duration = std::time::Duration::from_millis(300);

pub(super) async fn start(cloud: &Cloud, input: ResourceName) -> ApiResult<Value> {
    let name = &input.name;
    NOTEBOOKS.change(cloud, name, |record| {
        require_status(record, AT_REST, "StartNotebookInstance")?;
        // Since 1 July 2026, AWS does not start instances with Amazon Linux 2.
        check_platform(record["PlatformIdentifier"].as_str().unwrap_or_default())?;
        record["NotebookInstanceStatus"] = NotebookStatus::Pending.into();
        record["FailureReason"] = Value::Null;
        Ok(())
    })?;
    boot(cloud, name, NotebookStatus::Pending);
    Ok(json!({}))
}

/// Starts an instance in the background; it is in service when its scripts have ended.
pub(super) fn boot(cloud: &Cloud, name: &str, from: NotebookStatus) {
    let (inner, whose) = (cloud.clone(), name.to_owned());
    let work = async move {
        let (booted, ()) = tokio::join!(machines::boot(&inner, &whose), clock::sleep(TRANSITION));
        match booted {
            Ok(()) => arrive(&inner, &whose, from, NotebookStatus::InService, None).await,
            Err(reason) => {
                arrive(&inner, &whose, from, NotebookStatus::Failed, Some(reason)).await;
            }
        }
    };
    supervise(cloud, name, from, work);
}

pub(super) async fn stop(cloud: &Cloud, input: ResourceName) -> ApiResult<Value> {
    let name = input.name;
    NOTEBOOKS.change(cloud, &name, |record| {
        require_status(record, &[NotebookStatus::InService], "StopNotebookInstance")?;
        record["NotebookInstanceStatus"] = NotebookStatus::Stopping.into();
        Ok(())
    })?;
    let (inner, whose) = (cloud.clone(), name.clone());
    let work = async move {
        tokio::join!(machines::end(&inner, &whose), clock::sleep(TRANSITION));
        let (from, to) = (NotebookStatus::Stopping, NotebookStatus::Stopped);
        arrive(&inner, &whose, from, to, None).await;
    };
    supervise(cloud, &name, NotebookStatus::Stopping, work);
    Ok(json!({}))
}

pub(super) async fn delete(cloud: &Cloud, input: ResourceName) -> ApiResult<Value> {
    let name = input.name;
    NOTEBOOKS.change(cloud, &name, |record| {
        require_status(record, AT_REST, "DeleteNotebookInstance")?;
        record["NotebookInstanceStatus"] = NotebookStatus::Deleting.into();
        Ok(())
    })?;
    let (inner, whose) = (cloud.clone(), name.clone());
    let work = async move {
        tokio::join!(machines::end(&inner, &whose), clock::sleep(TRANSITION));
        // `recover` finishes a deletion that a crash interrupted.
        let write = || remove(&inner, &whose);
        let what = format!("deletion of notebook instance {whose}");
        let _ = inner.persist(&what, write).await;
    };
    supervise(cloud, &name, NotebookStatus::Deleting, work);
    Ok(json!({}))
}

/// Removes an instance with its volume. The instance is removed last: until then, a crash is noticed.
fn remove(cloud: &Cloud, name: &str) -> ApiResult<()> {
    if let Some(volume) = volumes::forget(cloud, name)? {
        volumes::remove(cloud, &volume);
    }
    NOTEBOOKS.remove(cloud, name)
}

/// Runs the work of a transition in the background. If it panics, the notebook instance fails.
fn supervise(
    cloud: &Cloud,
    name: &str,
    from: NotebookStatus,
    work: impl Future<Output = ()> + Send + 'static,
) {
    let (broken, name) = (cloud.clone(), name.to_owned());
    cloud.spawn(
        format!("notebook instance {name}"),
        work,
        move |error| async move {
            let reason = format!("InternalServerError: {}", error.message);
            arrive(&broken, &name, from, NotebookStatus::Failed, Some(reason)).await;
        },
    );
}

/// Writes the status after `from`, with the reason of a failure. An instance with another status in the
/// meantime keeps it.
async fn arrive(
    cloud: &Cloud,
    name: &str,
    from: NotebookStatus,
    to: NotebookStatus,
    reason: Option<String>,
) {
    // There is no record if the state directory was removed.
    let write = || {
        NOTEBOOKS.change(cloud, name, |record| {
            if status(record) == Some(from) {
                record["NotebookInstanceStatus"] = to.into();
                if let Some(reason) = &reason {
                    record["FailureReason"] = json!(reason);
                }
            }
            Ok(())
        })
    };
    let what = format!("notebook instance {name}");
    let _ = cloud.persist(&what, write).await;
}

/// The reason for the failure of an instance that was starting when the server ended.
const INTERRUPTED: &str =
    "InternalServerError: the local cloud ended while the notebook instance was starting.";

/// Completes the transitions that were in progress when the server ended, and starts instances in
/// service again, as endpoints are. What was running on them is lost; their volumes are not.
pub(in super::super) fn recover(cloud: &Cloud) -> anyhow::Result<()> {
    volumes::recover(cloud)?;
    for record in NOTEBOOKS.all(cloud)? {
        let name = record["NotebookInstanceName"].as_str().unwrap_or_default();
        let (arrived, reason) = match status(&record) {
            Some(NotebookStatus::Pending) => (NotebookStatus::Failed, json!(INTERRUPTED)),
            Some(NotebookStatus::Stopping) => (NotebookStatus::Stopped, Value::Null),
            Some(NotebookStatus::InService) => {
                boot_again(cloud, name);
                continue;
            }
            Some(NotebookStatus::Deleting) => {
                remove(cloud, name)?;
                continue;
            }
            _ => continue,
        };
        NOTEBOOKS.change(cloud, name, |record| {
            record["NotebookInstanceStatus"] = arrived.into();
            record["FailureReason"] = reason;
            Ok(())
        })?;
    }
    Ok(())
}

/// Starts an instance that was in service. Does not count as activity: a script that hangs must not keep the
/// server running.
fn boot_again(cloud: &Cloud, name: &str) {
    let (cloud, name) = (cloud.clone(), name.to_owned());
    tokio::spawn(async move {
        let what = format!("notebook instance {name}");
        let work = async { Ok(machines::boot(&cloud, &name).await) };
        let reason = match catch_panic(&what, work).await {
            Ok(Ok(())) => return,
            Ok(Err(reason)) => reason,
            Err(error) => format!("InternalServerError: {}", error.message),
        };
        let (from, to) = (NotebookStatus::InService, NotebookStatus::Failed);
        arrive(&cloud, &name, from, to, Some(reason)).await;
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_cloud::TestCloud;

    #[tokio::test]
    async fn a_transition_that_panics_fails_the_notebook_instance() {
        let at = TestCloud::new();
        let cloud = at.cloud();
        let record = json!({"NotebookInstanceStatus": "Pending"});
        NOTEBOOKS.create(&cloud, "n", record, None).unwrap();
        supervise(&cloud, "n", NotebookStatus::Pending, async {
            panic!("boom")
        });
        cloud.idle().await;
        let record = NOTEBOOKS.get(&cloud, "n").unwrap();
        assert_eq!(record["NotebookInstanceStatus"], "Failed");
        let reason = record["FailureReason"].as_str().unwrap();
        assert!(reason.contains("boom"), "{reason}");
    }
}
