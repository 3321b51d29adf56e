//! The source action of ECR: `imageDetail.json` of the image that a tag names, or of the digest that the start of the
//! execution names.

use serde_json::json;

use super::super::records::RevisionType;
use super::{Failure, Outcome, Running};
use crate::cloud::ACCOUNT;
use crate::ecr;

/// The default of `ImageTag`.
const LATEST: &str = "latest";

/// The name of the file in the artifact.
const FILE: &str = "imageDetail.json";

/// Unverified against AWS [codepipeline-ecr-uri]: the variable `ImageURI` names the image by its digest, as
/// `imageDetail.json` does. The user guide shows a tag.
pub(super) async fn run(running: &Running<'_>) -> Outcome {
    let repository = running.text("RepositoryName");
    let tag = running.get("ImageTag").unwrap_or(LATEST);
    let wanted = match running.overridden(RevisionType::ImageDigest) {
        Some(digest) => json!({"imageDigest": digest}),
        None => json!({"imageTag": tag}),
    };
    let request = json!({"repositoryName": repository, "imageIds": [wanted]});
    let found = running.cloud.call("ecr", "DescribeImages", request).await?;
    let image = &found["imageDetails"][0];
    let Some(digest) = image["imageDigest"].as_str() else {
        let message = format!("the repository {repository} has no such image");
        return Err(Failure::new("RevisionUnavailable", message));
    };
    let uri = format!(
        "{}/{repository}@{digest}",
        ecr::registry_host(running.cloud)
    );
    let pushed = image["imagePushedAt"].as_f64().unwrap_or_default();
    #[expect(clippy::cast_possible_truncation, reason = "seconds since the epoch")]
    let pushed = jiff::Timestamp::from_second(pushed as i64).unwrap_or_default();
    let file = json!({
        "ImageSizeInBytes": image["imageSizeInBytes"].to_string(),
        "ImageDigest": digest,
        "Version": "1.0",
        "ImagePushedAt": pushed.strftime("%a %b %d %H:%M:%S UTC %Y").to_string(),
        "RegistryId": ACCOUNT,
        "RepositoryName": repository,
        "ImageURI": uri,
        "ImageTags": image["imageTags"].as_array().cloned().unwrap_or_default(),
    });
    let place = running.place(running.output())?;
    let stored = place.clone();
    running
        .blocking(move |cloud, caller| {
            stored.put_file(cloud, caller, FILE, file.to_string().as_bytes())
        })
        .await?;
    let variables = [
        ("ImageDigest", digest),
        ("ImageTag", tag),
        ("ImageURI", uri.as_str()),
        ("RegistryId", ACCOUNT),
        ("RepositoryName", repository),
    ];
    let variables = variables.map(|(name, value)| (name, value.to_owned()));
    Ok(Some(running.sourced(
        place,
        digest.to_owned(),
        None,
        variables,
    )))
}
