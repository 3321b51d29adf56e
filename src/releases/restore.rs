//! Brings the stack back to the release that the endpoint really serves.
//!
//! After a silent rollback the stack has the parameters of a release that the endpoint does not serve. The
//! parameters of the served release are deployed again: all at once and without alarms, because nothing changes
//! for clients, and the alarm that caused the rollback may still be on. Model and configuration get new names,
//! which end in `-r` and the number of the release that failed: those of the served release still exist.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use super::candidate::Withdrawn;
use super::manifest::Sealed;
use super::proof;
use super::store::{History, Outcome, Release};
use crate::aws::hosting::Endpoint;
use crate::aws::{Clients, release};
use crate::config::Project;
use crate::context::Context;
use crate::infra::{self, Part, Platform, StackSpec};

/// Returns the parameters that deploy a release again after `failed` was rolled back.
fn parameters(served: &Sealed, failed: u32) -> BTreeMap<String, String> {
    let mut parameters = served.parameters();
    for (name, value) in [
        ("Suffix", format!("{}-r{failed}", served.suffix())),
        ("Strategy", "all-at-once".to_owned()),
        ("BakeSeconds", "0".to_owned()),
        ("Guard", "off".to_owned()),
    ] {
        parameters.insert(name.to_owned(), value);
    }
    parameters
}

/// Fails unless the endpoint serves a configuration. It may have returned to another one a second time.
fn prove(endpoint: &Endpoint, configuration: &str) -> Result<()> {
    let found = endpoint.configuration.as_deref().unwrap_or("none");
    if endpoint.status.is_in_service() && found == configuration {
        return Ok(());
    }
    bail!(
        "the endpoint {} is {} with the configuration {found}, not with {configuration}",
        endpoint.name,
        endpoint.status
    )
}

/// Deploys the release that the endpoint serves again, if the stack has another one, and proves it. Returns the
/// endpoint.
pub(super) async fn restore(
    ctx: &Context,
    clients: &Clients,
    project: &Project,
    platform: &Platform,
    served: &Sealed,
    failed: u32,
) -> Result<Endpoint> {
    let number = served.manifest.release;
    ctx.progress.say(format!(
        "the endpoint serves release {number}: bringing the stack back to it"
    ));
    let parameters = parameters(served, failed);
    let configuration = format!("{}-{}", served.manifest.endpoint, parameters["Suffix"]);
    let spec = infra::endpoint_stack(project, platform, &parameters);
    infra::deploy(clients, ctx.waiter, &ctx.progress, &spec).await?;
    let name = &served.manifest.endpoint;
    let endpoint = release::settled(clients, ctx.waiter, name, |status| {
        ctx.progress.say(format!("endpoint {name}: {status}"));
    })
    .await?;
    prove(&endpoint, &configuration)?;
    Ok(endpoint)
}

/// Returns whether the release that the stack has, but the endpoint does not serve, was rolled back. Without an
/// outcome, its client was killed before it could record that, unless it is the one that is completed now (`own`).
pub(super) fn is_rolled_back(failed: &Release, own: Option<u32>) -> bool {
    match failed.outcome() {
        Some(outcome) => outcome == Outcome::RolledBack,
        None => own != Some(failed.number()),
    }
}

/// Returns the release that the stack has, if the endpoint serves another one and nothing is in progress.
pub(super) async fn disagreement(
    clients: &Clients,
    project: &Project,
    endpoint: &Endpoint,
) -> Result<Option<u32>> {
    if endpoint.status.is_changing() {
        return Ok(None);
    }
    let stack = Part::Endpoint.stack(&project.file.name);
    let Some(outputs) = infra::settled_outputs(clients, &stack).await? else {
        return Ok(None);
    };
    let requested = outputs.get("EndpointConfigName");
    if requested.is_none() || requested == endpoint.configuration.as_ref() {
        return Ok(None);
    }
    let number = outputs.get("ReleaseNumber");
    Ok(number.and_then(|number| number.parse().ok()))
}

/// Returns the versions that must not be suggested: by the outcomes of their releases, and by the stack's events for
/// a release whose client was killed before CloudFormation rolled it back.
pub async fn withdrawn(
    clients: &Clients,
    project: &Project,
    platform: &Platform,
    history: &History,
) -> Result<Withdrawn> {
    let mut withdrawn = Withdrawn::of(history);
    if let Some(pending) = history.pending()
        && pending.sealed.manifest.restores.is_none()
    {
        let parameters = pending.sealed.parameters();
        let spec = infra::endpoint_stack(project, platform, &parameters);
        if infra::was_rolled_back(clients, &spec, &pending.sealed.suffix()).await? {
            let version = pending.sealed.manifest.model.version;
            withdrawn.add_failed(version, pending.number());
        }
    }
    Ok(withdrawn)
}

/// Returns what became of a release that a client left without an outcome, now that another one has reserved
/// the stack. `spec` is what its client deployed.
pub(super) async fn fate(
    clients: &Clients,
    spec: &StackSpec,
    endpoint: Option<&Endpoint>,
    left: &Sealed,
) -> Result<Outcome> {
    let configuration = endpoint.and_then(|endpoint| endpoint.configuration.as_deref());
    let outputs = infra::outputs(clients, &spec.name)
        .await?
        .unwrap_or_default();
    Ok(decide(
        configuration.is_some_and(|name| proof::is_of(name, left)),
        outputs.get("ReleaseChecksum") == Some(&left.sha256),
        infra::was_rolled_back(clients, spec, &left.suffix()).await?,
    ))
}

/// Decides by what the endpoint serves, what the stack has, and whether CloudFormation rolled the deployment back.
fn decide(is_served: bool, is_deployed: bool, has_failed: bool) -> Outcome {
    if is_served {
        Outcome::Live
    } else if is_deployed {
        Outcome::RolledBack
    } else if has_failed {
        Outcome::Failed
    } else {
        Outcome::Abandoned
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::state::EndpointState;
    use crate::releases::manifest::tests::example;
    use crate::releases::prune;
    use crate::releases::store::tests::release;

    #[test]
    fn a_restored_release_has_new_names_and_no_alarms() {
        let sealed = example().seal().unwrap();
        let found = parameters(&sealed, 3);
        assert_eq!(found["Guard"], "off");
        assert_eq!(found["ReleaseNumber"], "2");
        let configuration = format!("flights-{}", found["Suffix"]);
        assert!(proof::is_of(&configuration, &sealed));
        assert_ne!(configuration, sealed.configuration());
        assert_eq!(prune::number("flights", &configuration), Some(2));
    }

    #[test]
    fn a_release_without_an_outcome_that_is_not_served_was_rolled_back() {
        use Outcome::{Live, RolledBack};
        let of = |outcomes: &[Outcome], own| is_rolled_back(&release(3, 3, outcomes), own);
        assert!(of(&[Live, RolledBack], None));
        assert!(of(&[], None) && of(&[], Some(2)));
        // The client that completes it finds out itself.
        assert!(!of(&[], Some(3)));
        // The endpoint was changed by hand.
        assert!(!of(&[Live], None));
    }

    #[test]
    fn what_became_of_a_release_is_decided_by_what_is_there() {
        assert_eq!(decide(true, true, false), Outcome::Live);
        assert_eq!(decide(false, true, false), Outcome::RolledBack);
        assert_eq!(decide(false, false, true), Outcome::Failed);
        assert_eq!(decide(false, false, false), Outcome::Abandoned);
    }

    #[test]
    fn a_restored_release_must_be_what_the_endpoint_serves() {
        let endpoint = |status, configuration: &str| Endpoint {
            name: "flights".to_owned(),
            status: EndpointState::named(status),
            configuration: Some(configuration.to_owned()),
            failure: None,
            model_package: None,
        };
        assert!(prove(&endpoint("InService", "a-r3"), "a-r3").is_ok());
        assert!(prove(&endpoint("Failed", "a-r3"), "a-r3").is_err());
        let again = prove(&endpoint("InService", "a"), "a-r3").unwrap_err();
        assert!(again.to_string().contains("not with a-r3"), "{again}");
    }
}
