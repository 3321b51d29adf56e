//! Gathers what a release serves from AWS: the model package, its image, artifact, data and run.

use anyhow::{Context as _, Result, anyhow};
use mlops_core::error::{Exit, Failure, Hint};
use mlops_core::names::Version;
use mlops_core::s3::S3Uri;
use mlops_oci::registry::{ImageReference, TagOrDigest};
use sha2::{Digest as _, Sha256};

use super::manifest::{Approval, Artifact, Code, Data, Image, ModelVersion, Pipeline};
use super::store::History;
use crate::aws::sagemaker::models::{self, Model};
use crate::aws::sagemaker::{pipelines, runs};
use crate::aws::{Clients, datasets, ecr, s3};
use crate::config::Project;
use crate::infra::Platform;

/// Everything about one model version that a manifest records.
#[derive(Debug, Clone)]
pub struct Content {
    /// The version in the registry.
    pub model: Model,
    /// The version in the manifest, with its approval if it is approved.
    pub version: ModelVersion,
    /// The image.
    pub image: Image,
    /// The artifact.
    pub artifact: Option<Artifact>,
    /// The code.
    pub code: Code,
    /// The data.
    pub data: Option<Data>,
    /// The run.
    pub pipeline: Option<Pipeline>,
}

/// Reads a version with everything that it refers to. Earlier releases save work: the version of an S3 object
/// never changes, so its checksum is computed once. `read` counts the bytes that are hashed.
///
/// # Errors
/// The version, its image or its artifact was deleted.
pub async fn of_version(
    clients: &Clients,
    project: &Project,
    platform: &Platform,
    history: &History,
    arn: &str,
    read: &(dyn Fn(u64) + Sync),
) -> Result<Content> {
    let model = models::describe(clients, arn)
        .await?
        .ok_or_else(|| anyhow!("the model package {arn} was deleted"))?;
    let version = model.version;
    let (image, artifact, (data, code, pipeline)) = futures::try_join!(
        image(clients, platform, &model),
        artifact(clients, history, version, model.artifact.as_deref(), read),
        origin(clients, project, platform, &model)
    )?;
    Ok(Content {
        version: ModelVersion {
            group: platform.model_package_group.clone(),
            version,
            package_arn: model.arn.clone(),
            approval: approval(&model, history),
        },
        model,
        image,
        artifact,
        code,
        data,
        pipeline,
    })
}

/// Returns who approved a version. SageMaker reports only who changed it last, which is the approver until
/// `promote` sets its stage; from then on, the first release of the version has it.
fn approval(model: &Model, history: &History) -> Approval {
    let note = model.approval_description.clone();
    if !model.status.is_approved() {
        return Approval::default();
    }
    let earlier = history
        .releases
        .iter()
        .filter(|release| release.sealed.manifest.model.package_arn == model.arn)
        .map(|release| &release.sealed.manifest.model.approval)
        .find(|approval| approval.at.is_some());
    match earlier {
        Some(earlier) => earlier.clone(),
        None if model.stage.is_none() => Approval {
            by: model.changed_by.clone(),
            at: model.changed,
            note,
        },
        None => Approval {
            note,
            ..Approval::default()
        },
    }
}

/// Resolves the image of a version to its digest.
async fn image(clients: &Clients, platform: &Platform, model: &Model) -> Result<Image> {
    let version = model.version;
    let uri = model
        .image
        .clone()
        .with_context(|| format!("version {version} names no image"))?;
    let reference: ImageReference = uri
        .parse()
        .with_context(|| format!("the image of version {version} cannot be read"))?;
    if reference.repository != platform.image_repository {
        return Ok(Image {
            digest: reference.digest.map(|digest| digest.to_string()),
            repository: None,
            uri,
        });
    }
    let repository = platform.image_repository.as_str();
    let found = match reference.target() {
        TagOrDigest::Digest(digest) => ecr::by_digest(clients, repository, digest).await?,
        TagOrDigest::Tag(tag) => ecr::by_tag(clients, repository, tag).await?,
    };
    let found = found.ok_or_else(|| gone(&format!("the image {uri} of version {version}")))?;
    Ok(Image {
        uri,
        repository: Some(repository.to_owned()),
        digest: Some(found.digest.to_string()),
    })
}

/// The error for a part of a release that does not exist any more; nothing was changed.
pub fn gone(what: &str) -> anyhow::Error {
    Failure::new(
        Exit::Failed,
        format!("{what} was deleted; nothing was changed"),
    )
}

/// Returns the artifact of a version with the checksum of its bytes.
async fn artifact(
    clients: &Clients,
    history: &History,
    version: Version,
    uri: Option<&str>,
    read: &(dyn Fn(u64) + Sync),
) -> Result<Option<Artifact>> {
    let Some(uri) = uri else {
        return Ok(None);
    };
    let uri: S3Uri = uri.parse()?;
    current_artifact(clients, history, &uri, read)
        .await?
        .map(Some)
        .ok_or_else(|| gone(&format!("the artifact {uri} of version {version}")))
}

/// Returns what is at the address of an artifact now; `None` if nothing is.
pub async fn current_artifact(
    clients: &Clients,
    history: &History,
    uri: &S3Uri,
    read: &(dyn Fn(u64) + Sync),
) -> Result<Option<Artifact>> {
    let Some(head) = s3::head(&clients.s3, uri, None).await? else {
        return Ok(None);
    };
    let known = history
        .releases
        .iter()
        .filter_map(|release| release.sealed.manifest.artifact.as_ref())
        .find(|known| {
            known.uri == *uri && known.version_id.is_some() && known.version_id == head.version_id
        });
    let sha256 = match known {
        Some(known) => Some(known.sha256.clone()),
        None => s3::sha256(&clients.s3, uri, head.version_id.as_deref(), read).await?,
    };
    Ok(sha256.map(|sha256| Artifact {
        uri: uri.clone(),
        version_id: head.version_id,
        size: head.size,
        sha256,
    }))
}

/// Returns data, code and run of a version, as far as they are recorded.
async fn origin(
    clients: &Clients,
    project: &Project,
    platform: &Platform,
    model: &Model,
) -> Result<(Option<Data>, Code, Option<Pipeline>)> {
    let run = match (&model.run, &model.run_arn) {
        (Some(run), Some(arn)) => Some((run.clone(), arn.clone())),
        _ => None,
    };
    let (origin, definition) = match &run {
        Some((_, arn)) => futures::try_join!(
            runs::origin_of(clients, arn),
            pipelines::executed_definition(clients, arn)
        )?,
        None => (runs::Origin::default(), None),
    };
    let property = |name: &str| model.properties.get(name).map(String::as_str);
    let recorded = match (property("InputDataUri"), property("InputDataVersion")) {
        (Some(snapshot), Some(version)) => snapshot
            .parse()
            .ok()
            .and_then(|snapshot| datasets::manifest_of_snapshot(&snapshot, version)),
        _ => origin.data_version.as_deref().map(|version| {
            datasets::manifest_uri(&platform.data_bucket, &project.dataset()).version(version)
        }),
    };
    let data = match recorded {
        Some(manifest) => data(clients, manifest).await?,
        None => None,
    };
    let code = Code {
        commit: model.commit.clone().or(origin.commit),
        dirty: model.dirty || origin.dirty,
        branch: origin.branch,
    };
    let pipeline = run.map(|(run, run_arn)| Pipeline {
        run,
        run_arn,
        definition_sha256: definition.map(|text| hex::encode(Sha256::digest(text))),
    });
    Ok((data, code, pipeline))
}

/// Reads the manifest of a data set's version; `None` if the version was deleted.
async fn data(clients: &Clients, manifest: s3::S3Object) -> Result<Option<Data>> {
    let Some(version) = manifest.version_id else {
        return Ok(None);
    };
    let Some(found) = s3::get(&clients.s3, &manifest.uri, Some(&version)).await? else {
        return Ok(None);
    };
    let document: datasets::Manifest = serde_json::from_slice(&found.bytes)
        .with_context(|| format!("{} is not a data set manifest", manifest.uri))?;
    Ok(Some(Data {
        dataset: document.dataset.to_string(),
        manifest_sha256: hex::encode(Sha256::digest(&found.bytes)),
        files: document.files.len(),
        bytes: document.bytes(),
        manifest: manifest.uri,
        version,
    }))
}

/// Fails unless a version can be deployed to production: trained from a commit, or allowed otherwise.
pub fn require_committed(content: &Content, group: &str) -> Result<()> {
    if !content.code.dirty {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Refused,
        format!(
            "version {} of {group} was trained from a working tree, not from a commit",
            content.version.version
        ),
    ))
    .hint("commit the change, push its image and train again, or pass --allow-dirty")
}
