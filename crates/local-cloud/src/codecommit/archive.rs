//! Archives of commits, for the source actions of pipelines.

use std::fs::File;
use std::io::Seek;

use super::bare::is_object_id;
use super::{SERVICE, checkout, find};
use crate::api::{ApiError, ApiResult};
use crate::cloud::caller::Caller;
use crate::policy::Context;
use crate::{Cloud, authorization};

/// Maximum size of an archive, in bytes (quotas of `CodePipeline`).
const LARGEST: u64 = 1 << 30;

/// A zip of the files of a commit, on behalf of the current caller, which needs `codecommit:UploadArchive`.
pub(crate) async fn zip(cloud: &Cloud, repository: &str, commit: &str) -> ApiResult<File> {
    zip_within(cloud, repository, commit, LARGEST).await
}

/// A zip of at most `largest` bytes.
async fn zip_within(
    cloud: &Cloud,
    repository: &str,
    commit: &str,
    largest: u64,
) -> ApiResult<File> {
    let caller = Caller::current();
    let resource = cloud.arn("codecommit", repository);
    let action = "codecommit:UploadArchive";
    authorization::action(
        cloud,
        &caller,
        &SERVICE,
        action,
        resource,
        Context::default(),
    )?;
    let (_, bare) = find(cloud, repository)?;
    if !is_object_id(commit) || bare.commit(commit).await?.is_none() {
        return Err(ApiError::not_found(
            "CommitDoesNotExistException",
            format!("The commit {commit} does not exist"),
        ));
    }
    let mut never: checkout::Stop<'_> = Box::pin(std::future::pending());
    checkout::check_size(&bare, commit, &mut never).await?;
    let mut file = tempfile::tempfile()?;
    let arguments = ["archive", "--format=zip", commit];
    let too_large = || {
        ApiError::validation(format!(
            "the zip of the commit {commit} has more than {largest} bytes"
        ))
    };
    bare.write_to(&arguments, file.try_clone()?, largest, too_large)
        .await?;
    file.rewind()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    use super::*;
    use crate::test_cloud::TestCloud;

    #[tokio::test]
    async fn git_ends_when_an_archive_is_too_large() {
        let at = TestCloud::new();
        let call = |operation: &'static str, input| at.call("codecommit", operation, input);
        call("CreateRepository", json!({"repositoryName": "r"}))
            .await
            .unwrap();
        let noise: Vec<u8> = (0..50_u8)
            .flat_map(|_| *uuid::Uuid::new_v4().as_bytes())
            .collect();
        let put = json!({"repositoryName": "r", "branchName": "main", "filePath": "a",
            "fileContent": STANDARD.encode(noise)});
        let put = call("PutFile", put).await.unwrap();
        let commit = put["commitId"].as_str().unwrap();
        let cloud = at.cloud();
        let file = zip_within(&cloud, "r", commit, 5000).await.unwrap();
        let size = file.metadata().unwrap().len();
        assert!((800..5000).contains(&size), "{size}");
        zip_within(&cloud, "r", commit, size).await.unwrap();
        let error = zip_within(&cloud, "r", commit, size - 1).await.unwrap_err();
        assert!(error.message.contains("more than"), "{error}");
    }
}
