//! `mlops releases verify`: recomputes every checksum of a release, and compares the live endpoint with it.
//!
//! Each check is one line of the report: what was compared, and what no longer matches. Objects are streamed,
//! and all checks run in parallel.

use anyhow::{Context as _, Result};
use futures::future::LocalBoxFuture;
use mlops_core::error::cause;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::manifest::{Artifact, Data, Image, Manifest, Pipeline};
use super::proof::{self, Mismatch};
use super::store::{Release, Store};
use crate::aws::sagemaker::pipelines;
use crate::aws::{Clients, cloudformation, datasets, ecr, s3};
use crate::infra;

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked.
    pub what: String,
    /// What was compared: a checksum, a number of files.
    pub detail: String,
    /// What no longer matches; empty if everything does.
    pub problems: Vec<String>,
    /// True if there is nothing to compare with.
    pub skipped: bool,
}

impl Check {
    fn new(what: &str, detail: impl Into<String>, problems: Vec<String>) -> Self {
        Self {
            what: what.to_owned(),
            detail: detail.into(),
            problems,
            skipped: false,
        }
    }

    fn skipped(what: &str, why: impl Into<String>) -> Self {
        Self {
            skipped: true,
            ..Self::new(what, why, Vec::new())
        }
    }
}

/// What to verify.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The release.
    pub release: &'a Release,
    /// Its store.
    pub store: &'a Store,
    /// The name of the endpoint's stack.
    pub stack: &'a str,
    /// Whether the endpoint serves it.
    pub is_live: bool,
}

/// Checks everything that a release names. `read` counts the bytes that are hashed.
pub async fn verify(
    clients: &Clients,
    subject: Subject<'_>,
    read: &(dyn Fn(u64) + Sync),
) -> Result<Vec<Check>> {
    let manifest = &subject.release.sealed.manifest;
    let outputs = infra::outputs(clients, subject.stack).await?;
    let number = outputs
        .as_ref()
        .and_then(|outputs| outputs.get("ReleaseNumber").cloned());
    let is_deployed = number.as_deref() == Some(manifest.release.to_string().as_str());
    let checksum = outputs.and_then(|outputs| outputs.get("ReleaseChecksum").cloned());
    let mut checks: Vec<LocalBoxFuture<'_, Result<Check>>> = vec![
        Box::pin(document(clients, subject, is_deployed, checksum)),
        Box::pin(artifact(
            clients,
            "artifact",
            manifest.artifact.as_ref(),
            read,
        )),
        Box::pin(image(clients, "image", &manifest.image)),
        Box::pin(data(clients, manifest.data.as_ref(), read)),
        Box::pin(pipeline(clients, manifest.pipeline.as_ref())),
        Box::pin(template(clients, subject.stack, manifest, is_deployed)),
    ];
    if let Some(other) = &manifest.challenger {
        checks.push(Box::pin(artifact(
            clients,
            "challenger's artifact",
            other.artifact.as_ref(),
            read,
        )));
        checks.push(Box::pin(image(clients, "challenger's image", &other.image)));
    }
    checks.push(Box::pin(endpoint(clients, subject, is_deployed)));
    futures::future::try_join_all(checks).await
}

/// The manifest's bytes, against the checksum that the stack and the outcome have.
async fn document(
    clients: &Clients,
    subject: Subject<'_>,
    is_deployed: bool,
    checksum: Option<String>,
) -> Result<Check> {
    let sealed = &subject.release.sealed;
    let uri = subject.store.manifest(sealed.manifest.release);
    let listed = s3::versions(&clients.s3, &uri, Some(2)).await?;
    let mut problems = Vec::new();
    if listed.versions.len() > 1 {
        problems.push(format!(
            "{uri} was overwritten: it has more than one version"
        ));
    }
    if is_deployed && checksum.as_deref() != Some(sealed.sha256.as_str()) {
        problems.push(format!(
            "the checksum of {uri} is {}, but the stack {} has {}",
            sealed.sha256,
            subject.stack,
            checksum.as_deref().unwrap_or("none")
        ));
    }
    if let Some(recorded) = &subject.release.recorded_sha256
        && *recorded != sealed.sha256
    {
        problems.push(format!(
            "the checksum of {uri} is {}, but its outcome has {recorded}",
            sealed.sha256
        ));
    }
    Ok(Check::new(
        "manifest",
        format!("sha256:{}", sealed.sha256),
        problems,
    ))
}

async fn artifact(
    clients: &Clients,
    what: &str,
    artifact: Option<&Artifact>,
    read: &(dyn Fn(u64) + Sync),
) -> Result<Check> {
    let Some(artifact) = artifact else {
        return Ok(Check::skipped(what, "the model has none"));
    };
    let uri = &artifact.uri;
    let recorded = artifact.version_id.as_deref();
    let (head, sha256) = futures::join!(
        s3::head(&clients.s3, uri, None),
        s3::sha256(&clients.s3, uri, recorded, read)
    );
    let mut problems = Vec::new();
    match undamaged(sha256)? {
        Ok(Some(found)) if found == artifact.sha256 => {}
        Ok(Some(found)) => problems.push(format!(
            "{uri} has the SHA-256 {found}, not {}",
            artifact.sha256
        )),
        Ok(None) => problems.push(match recorded {
            Some(version) => format!("version {version} of {uri} was deleted"),
            None => format!("{uri} was deleted"),
        }),
        Err(damaged) => problems.push(damaged),
    }
    // SageMaker reads the current version, whatever the manifest names.
    match undamaged(head)? {
        Ok(Some(current)) if recorded.is_none() || current.version_id.as_deref() == recorded => {}
        Ok(Some(current)) => problems.push(format!(
            "{uri} was overwritten: its current version is {}, not {}",
            current.version_id.as_deref().unwrap_or("none"),
            recorded.unwrap_or("none")
        )),
        Ok(None) => problems.push(format!("{uri} was deleted")),
        Err(damaged) => problems.push(damaged),
    }
    problems.dedup();
    Ok(Check::new(
        what,
        format!("sha256:{}", artifact.sha256),
        problems,
    ))
}

/// Turns a finding about damaged bytes into its text; every other error stays one.
fn undamaged<T>(result: Result<T>) -> Result<Result<T, String>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) if cause::<s3::Damaged>(&error).is_some() => Ok(Err(error.to_string())),
        Err(error) => Err(error),
    }
}

async fn image(clients: &Clients, what: &str, image: &Image) -> Result<Check> {
    let (Some(repository), Some(digest)) = (&image.repository, &image.digest) else {
        return Ok(Check::skipped(
            what,
            format!("{} is not in the project's registry", image.uri),
        ));
    };
    let manifest = ecr::content::image_manifest(clients, repository, digest).await?;
    let problems = match manifest {
        None => vec![format!("the image {digest} was deleted from {repository}")],
        Some(text) => {
            let found = format!("sha256:{}", hex::encode(Sha256::digest(text)));
            if found == *digest {
                Vec::new()
            } else {
                vec![format!("the manifest of {digest} has the digest {found}")]
            }
        }
    };
    Ok(Check::new(what, digest.clone(), problems))
}

async fn data(
    clients: &Clients,
    data: Option<&Data>,
    read: &(dyn Fn(u64) + Sync),
) -> Result<Check> {
    let Some(data) = data else {
        return Ok(Check::skipped("data", "the manifest names none"));
    };
    let detail = format!("{} {}, {} files", data.dataset, data.version, data.files);
    let found = undamaged(s3::get(&clients.s3, &data.manifest, Some(&data.version)).await)?;
    let found = match found {
        Ok(Some(found)) => found,
        Ok(None) => {
            let gone = format!("version {} of {} was deleted", data.version, data.manifest);
            return Ok(Check::new("data", detail, vec![gone]));
        }
        Err(damaged) => return Ok(Check::new("data", detail, vec![damaged])),
    };
    let sha256 = hex::encode(Sha256::digest(&found.bytes));
    if sha256 != data.manifest_sha256 {
        let changed = format!(
            "{} has the SHA-256 {sha256}, not {}",
            data.manifest, data.manifest_sha256
        );
        return Ok(Check::new("data", detail, vec![changed]));
    }
    let manifest: datasets::Manifest = serde_json::from_slice(&found.bytes)
        .with_context(|| format!("{} is not a data set manifest", data.manifest))?;
    let version = datasets::DatasetVersion {
        id: data.version.clone(),
        manifest,
    };
    let bucket = &data.manifest.bucket;
    let findings = datasets::verify(&clients.s3, bucket, &version, read).await?;
    let problems = findings
        .iter()
        .map(|finding| format!("{}/{} {}", data.dataset, finding.path, finding.problem));
    Ok(Check::new("data", detail, problems.collect()))
}

async fn pipeline(clients: &Clients, pipeline: Option<&Pipeline>) -> Result<Check> {
    const WHAT: &str = "pipeline";

    let Some((pipeline, recorded)) =
        pipeline.and_then(|pipeline| Some((pipeline, pipeline.definition_sha256.as_ref()?)))
    else {
        return Ok(Check::skipped(WHAT, "no run produced the version"));
    };
    let found = pipelines::executed_definition(clients, &pipeline.run_arn).await?;
    let problems = match found.map(|text| hex::encode(Sha256::digest(text))) {
        Some(found) if found == *recorded => Vec::new(),
        Some(found) => vec![format!(
            "the definition of the run {} has the SHA-256 {found}, not {recorded}",
            pipeline.run
        )],
        None => vec![format!("the run {} was deleted", pipeline.run)],
    };
    Ok(Check::new(WHAT, format!("sha256:{recorded}"), problems))
}

async fn template(
    clients: &Clients,
    stack: &str,
    manifest: &Manifest,
    is_deployed: bool,
) -> Result<Check> {
    const WHAT: &str = "template";

    if !is_deployed {
        return Ok(Check::skipped(WHAT, "the stack has another release"));
    }
    let text = cloudformation::template(clients, stack).await?;
    let found = hex::encode(Sha256::digest(text));
    let problems = if found == manifest.template_sha256 {
        Vec::new()
    } else {
        vec![format!(
            "the template of the stack {stack} has the SHA-256 {found}, not {}",
            manifest.template_sha256
        )]
    };
    Ok(Check::new(
        WHAT,
        format!("sha256:{}", manifest.template_sha256),
        problems,
    ))
}

/// Returns what is wrong with a release that the stack does not have: the endpoint must not serve it. `other` is
/// the release of the stack, unless a deployment is in progress.
fn misplaced(number: u32, subject: Subject<'_>, other: Option<&str>) -> Option<String> {
    let other = other.filter(|other| subject.is_live && *other != number.to_string())?;
    Some(format!(
        "the endpoint serves release {number}, but the stack {} has release {other}",
        subject.stack
    ))
}

/// The live endpoint, if the release is the deployed one.
async fn endpoint(clients: &Clients, subject: Subject<'_>, is_deployed: bool) -> Result<Check> {
    const WHAT: &str = "endpoint";

    let sealed = &subject.release.sealed;
    let name = &sealed.manifest.endpoint;
    if !is_deployed {
        let settled = infra::settled_outputs(clients, subject.stack).await?;
        let other = settled.and_then(|outputs| outputs.get("ReleaseNumber").cloned());
        let problem = misplaced(sealed.manifest.release, subject, other.as_deref());
        return Ok(match problem {
            Some(problem) => Check::new(WHAT, sealed.configuration(), vec![problem]),
            None => Check::skipped(WHAT, "the stack has another release"),
        });
    }
    let problems = match proof::live(clients, name).await? {
        None => vec![format!("the endpoint {name} was deleted")],
        Some(live) => proof::compare(sealed, &live)
            .iter()
            .map(Mismatch::to_string)
            .collect(),
    };
    Ok(Check::new(WHAT, sealed.configuration(), problems))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::releases::store::tests::release;

    #[test]
    fn an_endpoint_that_was_moved_by_hand_is_a_problem() {
        let store = Store::new("b", "flights");
        let release = release(2, 1, &[]);
        let subject = |is_live| Subject {
            release: &release,
            store: &store,
            stack: "flights-endpoint",
            is_live,
        };
        let found = misplaced(2, subject(true), Some("3")).unwrap();
        assert!(
            found.contains("release 2") && found.contains("release 3"),
            "{found}"
        );
        assert_eq!(misplaced(2, subject(false), Some("3")), None);
        // The deployment of release 2 ended between the two reads, or is in progress.
        assert_eq!(misplaced(2, subject(true), Some("2")), None);
        assert_eq!(misplaced(2, subject(true), None), None);
    }
}
