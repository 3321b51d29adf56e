//! Releases: selects the version for production, and checks that the endpoint serves it.

use anyhow::{Context as _, Result};
use mlops_core::error::{Exit, Failure, Hint, hinted};
use mlops_core::names::Version;
use mlops_core::wait::{Poll, Waiter};

use super::Clients;
use super::hosting::{self, Endpoint};
use super::sagemaker::models::{self, ModelVersion, Stage};
use super::sagemaker::runs;
use super::state::ModelApproval;

/// Selects the version to promote: the requested one, or the newest approved one after the live
/// one. `versions` are newest first; `command` formats a command line to suggest.
pub fn choose<'a>(
    group: &str,
    versions: &'a [ModelVersion],
    live: Option<&ModelVersion>,
    wanted: Option<Version>,
    command: impl Fn(&str) -> String,
) -> Result<&'a ModelVersion> {
    let numbers = |wanted: fn(&ModelApproval) -> bool| -> Vec<String> {
        versions
            .iter()
            .filter(|version| wanted(&version.status))
            .map(|version| version.version.to_string())
            .collect()
    };
    if versions.is_empty() {
        return Err(anyhow::anyhow!("{group} has no versions yet"))
            .hint(format!("create one with `{}`", command("train")));
    }
    let Some(wanted) = wanted else {
        let newer =
            |version: &&ModelVersion| live.is_none_or(|live| version.version > live.version);
        if let Some(found) = versions
            .iter()
            .filter(newer)
            .find(|version| version.status.is_approved())
        {
            return Ok(found);
        }
        let pending = numbers(ModelApproval::is_pending);
        if let Some(newest) = pending.first() {
            return Err(hinted(
                Failure::new(
                    Exit::Refused,
                    format!(
                        "no approved version of {group} is waiting; pending approval: {}",
                        pending.join(", ")
                    ),
                ),
                format!(
                    "approve and deploy version {newest} with `{}`",
                    command(&format!("promote {newest}"))
                ),
            ));
        }
        let state = live.map_or_else(
            || "no version is live".to_owned(),
            |live| format!("version {} is live", live.version),
        );
        return Err(anyhow::anyhow!("nothing to promote: {state}")).hint(format!(
            "run `{}`, or pass a version: `{}`",
            command("train"),
            command("promote VERSION")
        ));
    };
    let Some(found) = versions.iter().find(|version| version.version == wanted) else {
        return Err(anyhow::anyhow!("{group} has no version {wanted}")).hint(format!(
            "its versions are: {}",
            numbers(|_| true).join(", ")
        ));
    };
    if found.status.is_rejected() {
        return Err(hinted(
            Failure::new(
                Exit::Refused,
                format!("version {wanted} of {group} was rejected, so it cannot be deployed"),
            ),
            format!(
                "to reconsider, set it to pending: aws sagemaker update-model-package \
                 --model-approval-status PendingManualApproval --model-package-arn {}",
                found.arn
            ),
        ));
    }
    Ok(found)
}

/// Fails (exit 3) for a version that was built from uncommitted files, because it is not
/// reproducible.
pub async fn require_committed(clients: &Clients, group: &str, arn: &str) -> Result<()> {
    let Some(model) = models::describe(clients, arn).await? else {
        return Ok(());
    };
    let of_dirty_run = match &model.run_arn {
        Some(run) => runs::origin_of(clients, run).await?.dirty,
        None => false,
    };
    if !model.dirty && !of_dirty_run {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Refused,
        format!(
            "version {} of {group} was trained from a working tree, not from a commit",
            model.version
        ),
    ))
    .hint("commit the change, push its image and train again, or pass --allow-dirty")
}

/// Waits until no deployment is in progress, and returns the endpoint.
pub async fn settled(
    clients: &Clients,
    waiter: Waiter,
    name: &str,
    on_change: impl Fn(&str),
) -> Result<Endpoint> {
    waiter
        .until(&format!("the endpoint {name}"), on_change, || async {
            let endpoint = hosting::endpoint(clients, name)
                .await?
                .with_context(|| format!("no endpoint {name}"))?;
            Ok(if endpoint.status.is_changing() {
                Poll::Pending(endpoint.status.to_string())
            } else {
                Poll::Ready(endpoint)
            })
        })
        .await
}

/// Checks the live configuration: `InService` is not enough, because after a silent rollback the
/// endpoint serves the old one.
pub fn verify(endpoint: &Endpoint, requested: &str, package: &str) -> Result<()> {
    let live = endpoint.configuration.as_deref().unwrap_or("none");
    let reason = endpoint.failure.as_deref().unwrap_or("no reason given");
    if !endpoint.status.is_in_service() {
        return Err(anyhow::anyhow!(
            "the endpoint {} is {}: {reason}",
            endpoint.name,
            endpoint.status
        ))
        .hint(format!(
            "see the log group /aws/sagemaker/Endpoints/{}",
            endpoint.name
        ));
    }
    if live != requested
        || endpoint
            .model_package
            .as_deref()
            .is_some_and(|live| live != package)
    {
        return Err(anyhow::anyhow!(
            "the endpoint {} was rolled back: it is in service with the configuration {live}, not \
             with {requested} ({reason})",
            endpoint.name
        ))
        .hint(format!(
            "see the log group /aws/sagemaker/Endpoints/{}",
            endpoint.name
        ));
    }
    Ok(())
}

/// Marks `chosen` as the version in production, and all others with that mark as replaced; an
/// interrupted promotion may have left several.
pub async fn mark_live(
    clients: &Clients,
    versions: &[ModelVersion],
    chosen: &ModelVersion,
    description: &str,
) -> Result<()> {
    models::set_stage(clients, &chosen.arn, &Stage::live(), description).await?;
    let others = versions
        .iter()
        .filter(|version| version.version != chosen.version && version.status.is_approved());
    for other in others {
        let stage = models::describe(clients, &other.arn)
            .await?
            .and_then(|model| model.stage);
        if stage.is_some_and(|stage| stage.is_live()) {
            models::set_stage(clients, &other.arn, &Stage::replaced(), description).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use aws_sdk_sagemaker::types::{EndpointStatus, ModelApprovalStatus};

    use super::*;

    fn command(rest: &str) -> String {
        format!("mlops {rest}")
    }

    fn versions(list: &[(i32, &str)]) -> Vec<ModelVersion> {
        list.iter()
            .map(|(version, approval)| ModelVersion {
                version: Version(*version),
                arn: format!("arn/{version}"),
                status: ModelApprovalStatus::from(*approval).into(),
            })
            .collect()
    }

    #[test]
    fn without_a_version_the_newest_approved_one_after_the_live_one_is_promoted() {
        let all = versions(&[
            (4, "PendingManualApproval"),
            (3, "Approved"),
            (2, "Approved"),
            (1, "Approved"),
        ]);
        let chosen = |live: Option<usize>| choose("g", &all, live.map(|i| &all[i]), None, command);
        assert_eq!(chosen(None).unwrap().version, Version(3));
        assert_eq!(chosen(Some(2)).unwrap().version, Version(3));
        // Version 3 is live; version 2 would be a rollback, not a promotion.
        let error = chosen(Some(1)).unwrap_err();
        assert_eq!(mlops_core::error::exit(&error), Exit::Refused);
        assert!(error.to_string().contains("pending approval: 4"), "{error}");
    }

    #[test]
    fn rejected_and_unknown_versions_are_refused() {
        let all = versions(&[(2, "Rejected"), (1, "Approved")]);
        let error = choose("g", &all, None, Some(Version(2)), command).unwrap_err();
        assert_eq!(mlops_core::error::exit(&error), Exit::Refused);
        let error = choose("g", &all, None, Some(Version(9)), command).unwrap_err();
        assert_eq!(mlops_core::error::exit(&error), Exit::Failed);
        assert_eq!(mlops_core::error::hints(&error), ["its versions are: 2, 1"]);
        let error = choose("g", &all, Some(&all[1]), None, command).unwrap_err();
        assert_eq!(mlops_core::error::exit(&error), Exit::Failed);
        assert!(choose("g", &[], None, None, command).is_err());
    }

    #[test]
    fn a_silent_rollback_is_a_failure() {
        let endpoint = |configuration: &str, status: &str| Endpoint {
            name: "flights".to_owned(),
            status: EndpointStatus::from(status).into(),
            configuration: Some(configuration.to_owned()),
            failure: None,
            model_package: Some("arn/1".to_owned()),
        };
        assert!(verify(&endpoint("new", "InService"), "new", "arn/1").is_ok());
        let error = verify(&endpoint("old", "InService"), "new", "arn/1").unwrap_err();
        assert!(error.to_string().contains("rolled back"), "{error}");
        assert!(verify(&endpoint("new", "InService"), "new", "arn/2").is_err());
        assert!(verify(&endpoint("new", "Failed"), "new", "arn/1").is_err());
    }
}
