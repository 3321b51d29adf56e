//! The `CodeCommit` types.

use std::io::{Read, Seek};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use zip::result::ZipError;

use super::builder::{
    argument, at, call, camel, from, key, physical, read, search, set, tags_of_arn, text,
};
use super::hooks::Hooks;
use super::table::{Source, Spelling, Type};
use super::target::Target;
use crate::api::{ApiError, ApiResult};
use crate::cloud::caller::Caller;
use crate::s3::objects;
use crate::unpack::{self, zip_index};

/// The types of this file.
pub(super) const TYPES: &[Type] = &[Type::new("AWS::CodeCommit::Repository", "codecommit")
    .create(
        "CreateRepository",
        &[
            from("repositoryName", "RepositoryName"),
            from("repositoryDescription", "RepositoryDescription"),
            from("kmsKeyId", "KmsKeyId"),
        ],
    )
    .id(Source::Part("/repositoryMetadata/repositoryId"))
    .described(
        call("GetRepository", &[from("repositoryName", "RepositoryName")]),
        &[
            ("Arn", "/repositoryMetadata/Arn"),
            ("CloneUrlHttp", "/repositoryMetadata/cloneUrlHttp"),
            ("Name", "/repositoryMetadata/repositoryName"),
        ],
    )
    // Found by id: the repository may have been renamed, and another one may have its name now.
    .api_id(
        search(
            call("ListRepositories", &[]),
            "/repositories/*",
            "/repositoryName",
        )
        .equal(&[("/repositoryId", Source::Physical)]),
    )
    .settings(&[
        set(
            "UpdateRepositoryName",
            &[
                argument("oldName", Source::Previous("RepositoryName")),
                from("newName", "RepositoryName"),
            ],
        )
        .on_update(),
        set(
            "UpdateRepositoryDescription",
            &[
                key("repositoryName", "RepositoryName"),
                from("repositoryDescription", "RepositoryDescription").or(r#""""#),
            ],
        )
        .on_update(),
        set(
            "UpdateRepositoryEncryptionKey",
            &[
                key("repositoryName", "RepositoryName"),
                from("kmsKeyId", "KmsKeyId").or(r#""alias/aws/codecommit""#),
            ],
        )
        .on_update(),
    ])
    .tags(tags_of_arn(Spelling::Object, ARN))
    .found_by(
        "GetRepository",
        &[from("repositoryName", "RepositoryName")],
        "/repositoryMetadata/repositoryId",
    )
    .live(&[
        read(
            call("GetRepository", &[from("repositoryName", "RepositoryName")]),
            "/repositoryMetadata",
            &[camel("KmsKeyId RepositoryDescription RepositoryName")],
        )
        .equal(&[("/repositoryId", Source::Physical)]),
        read(
            call("ListTagsForResource", &[text("resourceArn", ARN)]),
            "",
            &[at("Tags", "/tags")],
        ),
    ])
    .delete("DeleteRepository", &[physical("repositoryName")])
    .hooks(&Repository, "Code")];

const ARN: &str = "arn:aws:codecommit:{region}:{account}:{RepositoryName}";

/// Maximum number of files in the zip for a new repository.
const MOST_FILES: u64 = 10_000;
/// Maximum size of the zip's directory, in bytes; protects memory.
const MAX_INDEX: u64 = 8 << 20;

/// Maximum total size of these files, in bytes.
const LARGEST: u64 = 64 << 20;

struct Repository;

#[async_trait]
impl Hooks for Repository {
    /// Commits the files of `Code`, which only a new repository has: later changes of it have no effect, as on
    /// AWS.
    async fn settle(&self, target: &Target<'_>) -> ApiResult<()> {
        target.settle().await?;
        let Some(code) = target.get("Code") else {
            return Ok(());
        };
        let (cloud, caller) = (target.cloud.clone(), Caller::current());
        let text = |name: &str| code["S3"][name].as_str().unwrap_or_default().to_owned();
        let (bucket, key, version) = (text("Bucket"), text("Key"), text("ObjectVersion"));
        let files = tokio::task::spawn_blocking(move || {
            let object = if version.is_empty() {
                objects::head(&cloud, &caller, &bucket, &key)?
            } else {
                objects::version(&cloud, &caller, &bucket, &key, &version)?
            };
            files(objects::open(&cloud, &caller, &object)?)
        });
        let files = files.await.map_err(ApiError::internal)??;
        let commit = json!({
            "repositoryName": target.text("RepositoryName"),
            "branchName": code["BranchName"].as_str().unwrap_or("main"),
            "commitMessage": "Initial commit by AWS CodeCommit",
            "putFiles": files,
        });
        let commit = commit.as_object().cloned().unwrap_or_default();
        target.request("CreateCommit", commit).await.map(drop)
    }
}

/// The files of a zip, as `CreateCommit` takes them.
fn files(zip: impl Read + Seek) -> ApiResult<Vec<Value>> {
    let wrong = |message: String| ApiError::new("InvalidRequest", format!("Code: {message}"));
    let broken = |error: ZipError| wrong(format!("the object is not a zip: {error}"));
    let limits = zip_index::Limits {
        entries: MOST_FILES,
        bytes: MAX_INDEX,
    };
    let mut archive =
        unpack::open_zip(zip, &limits).map_err(|why| wrong(format!("the object: {why}")))?;
    let mut left = LARGEST;
    let mut found = Vec::new();
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(broken)?;
        if entry.is_dir() {
            continue;
        }
        if entry.is_symlink() {
            return Err(wrong("symbolic links are not supported here".to_owned()));
        }
        let path = entry.name().map_err(broken)?.to_string();
        let is_executable = entry.unix_mode().is_some_and(|mode| mode & 0o100 != 0);
        let mut bytes = Vec::new();
        // The size in an entry's header cannot be trusted.
        entry.take(left + 1).read_to_end(&mut bytes)?;
        let size = u64::try_from(bytes.len()).map_err(ApiError::internal)?;
        left = left
            .checked_sub(size)
            .ok_or_else(|| wrong(format!("the files have more than {LARGEST} bytes")))?;
        found.push(json!({
            "filePath": path,
            "fileMode": if is_executable { "EXECUTABLE" } else { "NORMAL" },
            "fileContent": STANDARD.encode(bytes),
        }));
    }
    Ok(found)
}
