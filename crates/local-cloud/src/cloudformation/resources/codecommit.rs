//! The `CodeCommit` types.

use super::builder::{argument, call, from, key, physical, search, set, tags_of_arn};
use super::table::{Source, Spelling, Type};

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
    .tags(tags_of_arn(
        Spelling::Object,
        "arn:aws:codecommit:{region}:{account}:{RepositoryName}",
    ))
    .found_by(
        "GetRepository",
        &[from("repositoryName", "RepositoryName")],
        "/repositoryMetadata/repositoryId",
    )
    .delete("DeleteRepository", &[physical("repositoryName")])];
