//! The `CodeConnections` types.

use super::builder::{TAG_RESOURCE, call, physical, same, search, tags_by};
use super::table::{Source, Spelling, Type};

/// The types of this file.
pub(super) const TYPES: &[Type] =
    &[
        Type::new("AWS::CodeConnections::Connection", "codeconnections")
            .create("CreateConnection", &[same("ConnectionName ProviderType")])
            .id(Source::Part("/ConnectionArn"))
            .attributes(&[("ConnectionArn", Source::Physical)])
            .described(
                call("GetConnection", &[physical("ConnectionArn")]),
                &[
                    ("ConnectionStatus", "/Connection/ConnectionStatus"),
                    ("OwnerAccountId", "/Connection/OwnerAccountId"),
                ],
            )
            .tags(tags_by(
                TAG_RESOURCE,
                Spelling::Pairs,
                physical("ResourceArn"),
            ))
            .find(
                search(
                    call("ListConnections", &[]),
                    "/Connections/*",
                    "/ConnectionArn",
                )
                .equal(&[("/ConnectionName", Source::Property("ConnectionName"))]),
            )
            .delete("DeleteConnection", &[physical("ConnectionArn")]),
    ];
