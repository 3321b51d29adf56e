//! The `CodeConnections` types.

use async_trait::async_trait;
use serde_json::Map;

use super::builder::{TAG_RESOURCE, call, own, physical, read, same, search, tags_by};
use super::hooks::Hooks;
use super::table::{Source, Spelling, Type};
use super::target::Target;
use crate::api::ApiResult;

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
            .live(&[
                read(
                    call("GetConnection", &[physical("ConnectionArn")]),
                    "/Connection",
                    &[own("ConnectionName ProviderType")],
                ),
                read(
                    call("ListTagsForResource", &[physical("ResourceArn")]),
                    "",
                    &[own("Tags")],
                ),
            ])
            .delete("DeleteConnection", &[physical("ConnectionArn")])
            .hooks(&Connection, ""),
    ];

struct Connection;

#[async_trait]
impl Hooks for Connection {
    /// Several connections can have one name: the tags of the stack identify the one of this resource.
    async fn find(&self, target: &Target<'_>) -> ApiResult<Vec<String>> {
        let mut found = Vec::new();
        for arn in target.find().await? {
            let input = Map::from_iter([("ResourceArn".to_owned(), arn.as_str().into())]);
            let tags = target.request("ListTagsForResource", input).await?;
            if target.has_system_tags(&tags["Tags"]) {
                found.push(arn);
            }
        }
        Ok(found)
    }
}
