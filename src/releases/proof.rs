//! The proof that an endpoint serves a release: what is live is compared with the manifest.
//!
//! `InService` is no proof. After a rollback the endpoint is `InService` again, with the old configuration.

use anyhow::Result;
use serde::Serialize;

use super::manifest::{Artifact, Image, Sealed};
use super::store::{History, Release};
use crate::aws::hosting::{self, Endpoint, Variant};
use crate::aws::{Clients, s3};

/// The variant of the release's version.
const MAIN: &str = "AllTraffic";

/// A difference between the manifest and what is live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// What differs.
    pub what: String,
    /// The value in the manifest.
    pub expected: String,
    /// The value that was found.
    pub found: String,
}

impl Mismatch {
    /// Creates a difference.
    pub fn new(
        what: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self {
            what: what.into(),
            expected: expected.into(),
            found: found.into(),
        }
    }
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is {}, not {}", self.what, self.found, self.expected)
    }
}

/// What an endpoint serves.
#[derive(Debug, Clone)]
pub struct Live {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Its variants.
    pub variants: Vec<Variant>,
    /// For each variant: the version id of the object at the artifact's address.
    pub versions: Vec<Option<String>>,
}

/// Reads what an endpoint serves; `None` if it does not exist.
pub async fn live(clients: &Clients, name: &str) -> Result<Option<Live>> {
    let Some(endpoint) = hosting::endpoint(clients, name).await? else {
        return Ok(None);
    };
    let variants = hosting::variants(clients, name).await?;
    let mut versions = Vec::new();
    for variant in &variants {
        let head = match variant.artifact.as_deref().map(str::parse) {
            Some(Ok(uri)) => s3::head(&clients.s3, &uri, None).await?,
            _ => None,
        };
        versions.push(head.and_then(|head| head.version_id));
    }
    Ok(Some(Live {
        endpoint,
        variants,
        versions,
    }))
}

/// Returns whether a configuration belongs to a release: it has the release's number and checksum in its
/// name. A deployment that restores a release after a rollback appends `-r` and a number.
pub fn is_of(configuration: &str, sealed: &Sealed) -> bool {
    configuration
        .strip_prefix(&sealed.configuration())
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("-r"))
}

/// Returns the release that an endpoint serves.
pub fn serving<'a>(history: &'a History, endpoint: &Endpoint) -> Option<&'a Release> {
    let configuration = endpoint.configuration.as_deref()?;
    history
        .releases
        .iter()
        .find(|release| is_of(configuration, &release.sealed))
}

/// Compares what an endpoint serves with a manifest.
pub fn compare(sealed: &Sealed, live: &Live) -> Vec<Mismatch> {
    let manifest = &sealed.manifest;
    let endpoint = &live.endpoint;
    let mut found = Vec::new();
    if !endpoint.status.is_in_service() {
        found.push(Mismatch::new(
            "the endpoint's status",
            "InService",
            endpoint.status.as_str(),
        ));
    }
    let configuration = endpoint.configuration.as_deref().unwrap_or("none");
    if !is_of(configuration, sealed) {
        found.push(Mismatch::new(
            "the endpoint configuration",
            sealed.configuration(),
            configuration,
        ));
    }
    variant(
        MAIN,
        &manifest.model.package_arn,
        &manifest.image,
        manifest.artifact.as_ref(),
        live,
        &mut found,
    );
    if let Some(other) = &manifest.challenger {
        variant(
            CHALLENGER,
            &other.package_arn,
            &other.image,
            other.artifact.as_ref(),
            live,
            &mut found,
        );
    }
    found
}

/// The variant of the second version.
const CHALLENGER: &str = "Challenger";

fn variant(
    name: &str,
    package: &str,
    image: &Image,
    artifact: Option<&Artifact>,
    live: &Live,
    found: &mut Vec<Mismatch>,
) {
    let serving = live
        .variants
        .iter()
        .zip(&live.versions)
        .find(|(variant, _)| variant.name == name);
    let Some((variant, version)) = serving else {
        found.push(Mismatch::new(
            format!("the variant {name}"),
            "deployed",
            "missing",
        ));
        return;
    };
    let mut check = |what: &str, expected: &str, value: Option<&str>| {
        let value = value.unwrap_or("none");
        if value != expected {
            let what = if name == MAIN {
                what.to_owned()
            } else {
                format!("{what} of the variant {name}")
            };
            found.push(Mismatch::new(what, expected, value));
        }
    };
    check(
        "the model package",
        package,
        variant.model_package.as_deref(),
    );
    if let Some(digest) = &image.digest {
        let running = variant.image.as_deref();
        let running =
            running.map(|image| image.rsplit_once('@').map_or(image, |(_, digest)| digest));
        check("the image", digest, running);
    }
    if let Some(artifact) = artifact {
        check(
            "the artifact",
            &artifact.uri.to_string(),
            variant.artifact.as_deref(),
        );
        if let Some(expected) = &artifact.version_id {
            check(
                &format!("the version of {}", artifact.uri),
                expected,
                version.as_deref(),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::state::EndpointState;
    use crate::releases::manifest::tests::example;

    fn live(sealed: &Sealed) -> Live {
        let manifest = &sealed.manifest;
        let variant = |name: &str, package: &str| Variant {
            name: name.to_owned(),
            model: Some("m".to_owned()),
            model_package: Some(package.to_owned()),
            image: Some(manifest.image.uri.clone()),
            artifact: Some(manifest.artifact.as_ref().unwrap().uri.to_string()),
        };
        Live {
            endpoint: Endpoint {
                name: "flights".to_owned(),
                status: EndpointState::named("InService"),
                configuration: Some(sealed.configuration()),
                failure: None,
                model_package: Some(manifest.model.package_arn.clone()),
            },
            variants: vec![
                variant(MAIN, &manifest.model.package_arn),
                variant(
                    CHALLENGER,
                    &manifest.challenger.as_ref().unwrap().package_arn,
                ),
            ],
            versions: vec![Some("v1".to_owned()), Some("v1".to_owned())],
        }
    }

    #[test]
    fn whatever_differs_is_named() {
        type Break = fn(&mut Live);

        let sealed = example().seal().unwrap();
        assert_eq!(compare(&sealed, &live(&sealed)), []);
        let cases: [(&str, Break); 8] = [
            ("the endpoint's status", |live| {
                live.endpoint.status = EndpointState::named("Failed");
            }),
            ("the endpoint configuration", |live| {
                live.endpoint.configuration = Some("flights-1-00000000".to_owned());
            }),
            ("the model package", |live| {
                live.variants[0].model_package = None;
            }),
            ("the image", |live| {
                live.variants[0].image = Some("r/flights@sha256:bb".to_owned());
            }),
            ("the artifact", |live| {
                live.variants[0].artifact = Some("s3://elsewhere/model.tar.gz".to_owned());
            }),
            ("the version of s3://", |live| {
                live.versions[0] = Some("v2".to_owned());
            }),
            ("the version of s3://", |live| live.versions[1] = None),
            ("the variant Challenger", |live| {
                live.variants.pop();
            }),
        ];
        for (what, break_it) in cases {
            let mut live = live(&sealed);
            break_it(&mut live);
            let found = compare(&sealed, &live);
            assert_eq!(found.len(), 1, "{what}: {found:?}");
            assert!(found[0].what.starts_with(what), "{found:?}");
        }
    }

    #[test]
    fn a_configuration_names_its_release() {
        let sealed = example().seal().unwrap();
        let own = sealed.configuration();
        assert!(is_of(&own, &sealed) && is_of(&format!("{own}-r3"), &sealed));
        for other in ["flights-2-00000000", &format!("{own}0"), "flights-2", ""] {
            assert!(!is_of(other, &sealed), "{other}");
        }
    }
}
