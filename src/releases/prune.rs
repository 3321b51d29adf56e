//! Deletes models and endpoint configurations of old releases.
//!
//! CloudFormation keeps what a release replaces (`UpdateReplacePolicy: Retain`), because an endpoint that is
//! rolled back needs it. The names end in the release's number and checksum, so they tell what may be deleted:
//! nothing of the live release and of the `keep` releases before it, nothing of the releases that their manifests
//! name, nothing that the endpoint uses, and nothing of a newer release that may still be in progress.

use std::collections::BTreeSet;

use anyhow::Result;

use super::store::{History, Outcome, Release};
use crate::aws::Clients;
use crate::aws::hosting::{self, Endpoint};

/// Returns the release's number in the name of a model or an endpoint configuration:
/// `ENDPOINT-NUMBER-CHECKSUM`, with `-rN` for a restored release and `-c` for a challenger.
pub fn number(endpoint: &str, name: &str) -> Option<u32> {
    let mut parts = name.strip_prefix(endpoint)?.strip_prefix('-')?.split('-');
    let number = parts.next()?.parse().ok()?;
    let checksum = parts.next()?;
    let is_checksum = checksum.len() == 8 && checksum.bytes().all(|b| b.is_ascii_hexdigit());
    let is_known = |part: &str| {
        part == "c"
            || part
                .strip_prefix('r')
                .is_some_and(|digits| digits.parse::<u32>().is_ok())
    };
    (is_checksum && parts.all(is_known)).then_some(number)
}

/// Returns the history after a release became live, and perhaps rolled another one back.
pub fn after(history: &History, live: Release, rolled_back: Option<&Release>) -> History {
    let others = history
        .releases
        .iter()
        .filter(|release| release.number() != live.number())
        .filter(|release| rolled_back.is_none_or(|back| back.number() != release.number()))
        .cloned();
    let others: Vec<Release> = others.collect();
    History {
        releases: std::iter::once(live).chain(others).collect(),
        damaged: history.damaged.clone(),
    }
}

/// Returns the numbers of the releases whose models and configurations stay.
fn kept(history: &History, live: u32, keep: u32) -> BTreeSet<u32> {
    let earlier = history
        .releases
        .iter()
        .filter(|release| release.number() < live && release.outcome() == Some(Outcome::Live))
        .take(keep as usize);
    // A release without an outcome may still be deployed.
    let newer = history
        .releases
        .iter()
        .filter(|release| release.number() > live && release.outcome().is_none());
    let own = history.release(live);
    let all: Vec<&Release> = earlier.chain(newer).chain(own).collect();
    let named = all.iter().flat_map(|release| {
        let manifest = &release.sealed.manifest;
        manifest.previous.into_iter().chain(manifest.restores)
    });
    // It is unknown what a damaged release needs.
    let damaged = history.damaged.iter().map(|damaged| damaged.release);
    let numbers = all.iter().map(|release| release.number());
    numbers.chain(named).chain(damaged).chain([live]).collect()
}

/// Returns which names may be deleted.
fn superfluous<'a>(
    endpoint: &Endpoint,
    history: &History,
    live: u32,
    keep: u32,
    names: &'a [String],
) -> Vec<&'a String> {
    let kept = kept(history, live, keep);
    let newest = history.newest().map_or(live, Release::number);
    let in_use = endpoint.configuration.as_deref().unwrap_or_default();
    names
        .iter()
        .filter(|name| {
            number(&endpoint.name, name).is_some_and(|number| {
                // A number that is not in the history yet belongs to another client.
                number <= newest && !kept.contains(&number)
            })
        })
        .filter(|name| in_use.is_empty() || !name.starts_with(in_use))
        .collect()
}

/// Deletes the models and endpoint configurations of old releases. Returns their names.
pub async fn prune(
    clients: &Clients,
    endpoint: &Endpoint,
    history: &History,
    live: u32,
    keep: u32,
) -> Result<Vec<String>> {
    let prefix = format!("{}-", endpoint.name);
    let (configurations, models) = futures::try_join!(
        hosting::configuration_names(clients, &prefix),
        hosting::model_names(clients, &prefix)
    )?;
    let mut deleted = Vec::new();
    for name in superfluous(endpoint, history, live, keep, &configurations) {
        hosting::delete_configuration(clients, name).await?;
        deleted.push(name.clone());
    }
    for name in superfluous(endpoint, history, live, keep, &models) {
        hosting::delete_model(clients, name).await?;
        deleted.push(name.clone());
    }
    deleted.sort();
    deleted.dedup();
    Ok(deleted)
}

/// Deletes the models and endpoint configurations of all releases, once the endpoint is deleted.
pub async fn everything(clients: &Clients, endpoint: &str) -> Result<Vec<String>> {
    let prefix = format!("{endpoint}-");
    let (configurations, models) = futures::try_join!(
        hosting::configuration_names(clients, &prefix),
        hosting::model_names(clients, &prefix)
    )?;
    let own = |name: &&String| number(endpoint, name).is_some();
    for name in configurations.iter().filter(own) {
        hosting::delete_configuration(clients, name).await?;
    }
    for name in models.iter().filter(own) {
        hosting::delete_model(clients, name).await?;
    }
    let all = configurations.iter().chain(&models).filter(own);
    Ok(all.cloned().collect::<BTreeSet<_>>().into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::state::EndpointState;
    use crate::releases::store::tests::release;

    #[test]
    fn a_name_tells_its_release() {
        for (name, expected) in [
            ("flights-12-1a2b3c4d", Some(12)),
            ("flights-12-1a2b3c4d-r13", Some(12)),
            ("flights-12-1a2b3c4d-c", Some(12)),
            ("flights-12-1a2b3c4d-r13-c", Some(12)),
            ("flights-12", None),
            ("flights-12-xyz", None),
            ("flights-12-1a2b3c4d-other", None),
            ("flights-eda-12-1a2b3c4d", None),
            ("other-12-1a2b3c4d", None),
        ] {
            assert_eq!(number("flights", name), expected, "{name}");
        }
    }

    #[test]
    fn the_live_release_and_those_before_it_stay() {
        use Outcome::{Failed, Live, RolledBack};
        let mut history = History {
            releases: vec![
                release(8, 8, &[]),
                release(7, 7, &[Failed]),
                release(6, 6, &[Live]),
                release(5, 5, &[Live, RolledBack]),
                release(4, 4, &[Live]),
                release(3, 3, &[Failed]),
                release(2, 2, &[Live]),
                release(1, 1, &[Live]),
            ],
            damaged: Vec::new(),
        };
        for release in &mut history.releases {
            let manifest = &mut release.sealed.manifest;
            (manifest.previous, manifest.restores) = (None, None);
        }
        let endpoint = Endpoint {
            name: "flights".to_owned(),
            status: EndpointState::named("InService"),
            configuration: Some("flights-6-00000006".to_owned()),
            failure: None,
            model_package: None,
        };
        let names: Vec<String> = (1..=9)
            .map(|number| format!("flights-{number}-{number:08}"))
            .chain(["flights-model".to_owned()])
            .collect();
        let gone_of = |history: &History, endpoint: &Endpoint, keep| {
            let found = superfluous(endpoint, history, 6, keep, &names);
            let found = found.iter().filter_map(|name| number("flights", name));
            found.collect::<Vec<_>>()
        };
        let gone = |endpoint: &Endpoint, keep| gone_of(&history, endpoint, keep);
        // 8 is in progress, and 9 belongs to a client whose manifest we have not seen.
        assert_eq!(gone(&endpoint, 2), [1, 3, 5, 7]);
        assert_eq!(gone(&endpoint, 0), [1, 2, 3, 4, 5, 7]);
        // Whatever the records say, what the endpoint uses stays.
        let mut other = endpoint.clone();
        other.configuration = Some("flights-3-00000003".to_owned());
        assert_eq!(gone(&other, 2), [1, 5, 7]);
        // What the manifests of kept releases name stays, and what nobody can judge.
        let mut naming = history.clone();
        let live = &mut naming.releases[2].sealed.manifest;
        (live.previous, live.restores) = (Some(5), Some(1));
        naming.releases[1].sealed.manifest.previous = Some(3);
        assert_eq!(gone_of(&naming, &endpoint, 0), [2, 3, 4, 7]);
        naming.damaged.push(super::super::store::Damaged {
            release: 3,
            problem: "x".to_owned(),
        });
        assert_eq!(gone_of(&naming, &endpoint, 0), [2, 4, 7]);
    }
}
