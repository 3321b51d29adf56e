//! The KMS types.

use async_trait::async_trait;
use serde_json::Map;

use super::builder::{call, document, from, physical, same, search, set, switch, text};
use super::hooks::Hooks;
use super::table::{Source, Spelling, Tags, Type};
use super::target::Target;
use crate::api::ApiResult;

const ROTATION: [&str; 2] = ["EnableKeyRotation", "DisableKeyRotation"];

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
                    document("Policy", "KeyPolicy"),
                ],
            )
            .on_update(),
        ])
        .tags(Tags {
            create: "Tags",
            spelling: Spelling::TagPairs,
            set: "TagResource",
            remove: "UntagResource",
            resource: physical("KeyId"),
            list: "Tags",
            keys: "TagKeys",
        })
        .find_by_code()
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
        .delete("DeleteAlias", &[physical("AliasName")]),
];

struct Key;

#[async_trait]
impl Hooks for Key {
    /// The usable keys that match the template's description of this one. A key has neither a name
    /// nor the tags that `CloudFormation` adds.
    async fn find(&self, target: &Target<'_>) -> ApiResult<Vec<String>> {
        let all = target.request(
            "ListKeys",
            Map::from_iter([("Limit".to_owned(), 1000.into())]),
        );
        let all = all.await?;
        let mut found = Vec::new();
        for key in all["Keys"].as_array().into_iter().flatten() {
            let input = Map::from_iter([("KeyId".to_owned(), key["KeyId"].clone())]);
            let shown = &target.request("DescribeKey", input).await?["KeyMetadata"];
            let is_same = |name: &str| {
                let shown = shown[name].as_str().unwrap_or_default();
                target.get(name).is_none_or(|value| value == shown)
            };
            let usable = shown["KeyState"] != "PendingDeletion";
            if usable
                && ["Description", "KeySpec", "KeyUsage"]
                    .into_iter()
                    .all(is_same)
            {
                found.extend(key["KeyId"].as_str().map(str::to_owned));
            }
        }
        Ok(found)
    }
}
