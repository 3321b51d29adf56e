//! Brings the stack back to the release that the endpoint really serves.
//!
//! After a silent rollback the stack has the parameters of a release that the endpoint does not serve. The
//! parameters of the served release are deployed again: all at once and without alarms, because nothing changes
//! for clients, and the alarm that caused the rollback may still be on. Model and configuration get new names,
//! which end in `-r` and the number of the release that failed: those of the served release still exist.

use std::collections::BTreeMap;

use anyhow::Result;

use super::manifest::Sealed;
use super::proof;
use super::store::Outcome;
use crate::aws::hosting::Endpoint;
use crate::aws::{Clients, release};
use crate::config::Project;
use crate::context::Context;
use crate::infra::{self, Part, Platform};

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

/// Deploys the release that the endpoint serves again, if the stack has another one. Returns the endpoint.
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
    let spec = infra::endpoint_stack(project, platform, &parameters(served, failed));
    infra::deploy(clients, ctx.waiter, &ctx.progress, &spec).await?;
    let name = &served.manifest.endpoint;
    release::settled(clients, ctx.waiter, name, |status| {
        ctx.progress.say(format!("endpoint {name}: {status}"));
    })
    .await
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

/// Returns what became of a release that a client left without an outcome, now that another one has reserved
/// the stack.
pub(super) async fn fate(
    clients: &Clients,
    project: &Project,
    endpoint: Option<&Endpoint>,
    left: &Sealed,
) -> Result<Outcome> {
    let configuration = endpoint.and_then(|endpoint| endpoint.configuration.as_deref());
    if configuration.is_some_and(|name| proof::is_of(name, left)) {
        return Ok(Outcome::Live);
    }
    let stack = Part::Endpoint.stack(&project.file.name);
    let outputs = infra::outputs(clients, &stack).await?.unwrap_or_default();
    let is_deployed = outputs.get("ReleaseChecksum") == Some(&left.sha256);
    Ok(if is_deployed {
        Outcome::RolledBack
    } else {
        Outcome::Abandoned
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::releases::manifest::tests::example;
    use crate::releases::prune;

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
}
