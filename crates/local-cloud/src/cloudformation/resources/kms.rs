//! The KMS types.

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::builder::{
    TAG_RESOURCE, at, call, document, from, json, own, physical, read, same, search, set, switch,
    tags_by, text,
};
use super::hooks::Hooks;
use super::table::{Source, Spelling, Type};
use super::target::{Created, Target};
use crate::api::ApiResult;

const ROTATION: [&str; 2] = ["EnableKeyRotation", "DisableKeyRotation"];

/// The policy of a key that is created without one.
const DEFAULT_POLICY: &str = r#""{\"Version\":\"2012-10-17\",\"Id\":\"key-default-1\",\"Statement\":[{\"Sid\":\"Enable IAM User Permissions\",\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"arn:aws:iam::{account}:root\"},\"Action\":\"kms:*\",\"Resource\":\"*\"}]}""#;

/// The types of this file.
pub(super) const TYPES: &[Type] = &[
    Type::new("AWS::KMS::Key", "kms")
        .create(
            "CreateKey",
            &[
                same("Description KeySpec KeyUsage"),
                document("Policy", "KeyPolicy"),
            ],
        )
        .id(Source::Part("/KeyMetadata/KeyId"))
        .attributes(&[
            ("Arn", Source::Part("/KeyMetadata/Arn")),
            ("KeyId", Source::Physical),
        ])
        .settings(&[
            // The rotation of a disabled key cannot be changed.
            switch("EnableKeyRotation", false, ROTATION, &[physical("KeyId")]).on_create(),
            switch(
                "Enabled",
                true,
                ["EnableKey", "DisableKey"],
                &[physical("KeyId")],
            ),
            switch("EnableKeyRotation", false, ROTATION, &[physical("KeyId")]).on_update(),
            set(
                "UpdateKeyDescription",
                &[
                    physical("KeyId"),
                    from("Description", "Description").or(r#""""#),
                ],
            )
            .on_update(),
            set(
                "PutKeyPolicy",
                &[
                    physical("KeyId"),
                    text("PolicyName", "default"),
                    document("Policy", "KeyPolicy").or(DEFAULT_POLICY),
                ],
            )
            .on_update(),
        ])
        .tags(tags_by(TAG_RESOURCE, Spelling::TagPairs, physical("KeyId")))
        .find_by_code()
        .live(&[
            read(
                call("DescribeKey", &[physical("KeyId")]),
                "/KeyMetadata",
                &[own("Description Enabled KeySpec KeyUsage")],
            ),
            read(
                call("GetKeyPolicy", &[physical("KeyId")]),
                "",
                &[at("KeyPolicy", "/Policy")],
            ),
            read(
                call("GetKeyRotationStatus", &[physical("KeyId")]),
                "",
                &[at("EnableKeyRotation", "/KeyRotationEnabled")],
            ),
            read(
                call("ListResourceTags", &[physical("KeyId")]),
                "",
                &[own("Tags")],
            ),
        ])
        .delete(
            "ScheduleKeyDeletion",
            &[physical("KeyId"), same("PendingWindowInDays")],
        )
        .hooks(&Key, ""),
    Type::new("AWS::KMS::Alias", "kms")
        .create("CreateAlias", &[same("AliasName TargetKeyId")])
        .id(Source::Property("AliasName"))
        .settings(&[set("UpdateAlias", &[physical("AliasName"), same("TargetKeyId")]).on_update()])
        .find(
            search(call("DescribeKey", &[from("KeyId", "AliasName")]), "", "")
                .id(Source::Property("AliasName")),
        )
        .live(&[read(
            call("ListAliases", &[json("Limit", "1000")]),
            "/Aliases/*",
            &[own("AliasName TargetKeyId")],
        )
        .equal(&[("/AliasName", Source::Physical)])])
        .delete("DeleteAlias", &[physical("AliasName")])
        .hooks(&Alias, ""),
];

struct Key;

/// The tag that identifies a key until its id is recorded. Clients cannot set tags whose names begin with
/// `aws:`, so no other key has it.
const MARKER: &str = "aws:cloudformation:creation-token";

#[async_trait]
impl Hooks for Key {
    async fn create(&self, target: &Target<'_>) -> ApiResult<Created> {
        let mut tags = super::tags(target.properties);
        tags.push(json!({"Key": MARKER, "Value": target.name}));
        let mut properties = target.properties.clone();
        properties.insert("Tags".to_owned(), Value::Array(tags));
        let marked = Target {
            properties: &properties,
            ..*target
        };
        marked.create().await
    }

    /// Removes the marker, because keys on AWS have no such tag.
    async fn settle(&self, target: &Target<'_>) -> ApiResult<()> {
        let input = Map::from_iter([
            ("KeyId".to_owned(), target.physical.into()),
            ("TagKeys".to_owned(), json!([MARKER])),
        ]);
        target.request("UntagResource", input).await?;
        target.settle().await
    }

    async fn live(&self, target: &Target<'_>) -> ApiResult<Option<Map<String, Value>>> {
        let input = Map::from_iter([("KeyId".to_owned(), target.physical.into())]);
        match target.request("DescribeKey", input).await {
            Ok(key) if key["KeyMetadata"]["KeyState"] == "PendingDeletion" => Ok(None),
            _ => target.live().await,
        }
    }

    /// The key that this resource's create call marked.
    async fn find(&self, target: &Target<'_>) -> ApiResult<Vec<String>> {
        if target.name.is_empty() {
            return Ok(Vec::new());
        }
        let all = target.request(
            "ListKeys",
            Map::from_iter([("Limit".to_owned(), 1000.into())]),
        );
        let all = all.await?;
        let mut found = Vec::new();
        for key in all["Keys"].as_array().into_iter().flatten() {
            let input = Map::from_iter([("KeyId".to_owned(), key["KeyId"].clone())]);
            let shown = target.request("ListResourceTags", input).await?;
            let mut tags = shown["Tags"].as_array().into_iter().flatten();
            if tags.any(|tag| tag["TagKey"] == MARKER && tag["TagValue"] == target.name) {
                found.extend(key["KeyId"].as_str().map(str::to_owned));
            }
        }
        Ok(found)
    }
}

struct Alias;

#[async_trait]
impl Hooks for Alias {
    async fn live(&self, target: &Target<'_>) -> ApiResult<Option<Map<String, Value>>> {
        let Some(mut live) = target.live().await? else {
            return Ok(None);
        };
        // The template may name the key by its ARN.
        let wanted = target.text("TargetKeyId");
        let id = wanted.rsplit('/').next();
        if id == live.get("TargetKeyId").and_then(Value::as_str) {
            live.insert("TargetKeyId".to_owned(), wanted.into());
        }
        Ok(Some(live))
    }
}
