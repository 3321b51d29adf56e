//! The ECR types.
#![expect(clippy::unnecessary_wraps, reason = "forms, some of which can fail")]

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::builder::{
    at, call, camel, document, from, name, physical, read, search, set, tags_of_arn, text,
};
use super::hooks::Hooks;
use super::table::{Argument, Source, Spelling, Type};
use super::target::Target;
use crate::api::ApiResult;

/// The types of this file.
pub(super) const TYPES: &[Type] = &[Type::new("AWS::ECR::Repository", "ecr")
    .named_lower("RepositoryName", 256)
    .create(
        "CreateRepository",
        &[
            name("repositoryName"),
            from("imageTagMutability", "ImageTagMutability"),
            EXCLUSIONS,
            from("imageScanningConfiguration", "ImageScanningConfiguration").form(lower),
            from("encryptionConfiguration", "EncryptionConfiguration").form(lower),
        ],
    )
    .attributes(&[
        ("Arn", Source::Part("/repository/repositoryArn")),
        ("RepositoryUri", Source::Part("/repository/repositoryUri")),
    ])
    .settings(&[
        set(
            "PutImageTagMutability",
            &[
                physical("repositoryName"),
                from("imageTagMutability", "ImageTagMutability").or(r#""MUTABLE""#),
                EXCLUSIONS,
            ],
        )
        .on_update(),
        set(
            "PutImageScanningConfiguration",
            &[
                physical("repositoryName"),
                from("imageScanningConfiguration", "ImageScanningConfiguration")
                    .form(lower)
                    .or(r#"{"scanOnPush": false}"#),
            ],
        )
        .on_update(),
        set(
            "PutLifecyclePolicy",
            &[
                physical("repositoryName"),
                document("lifecyclePolicyText", "LifecyclePolicy/LifecyclePolicyText"),
            ],
        )
        .clear("DeleteLifecyclePolicy", &[physical("repositoryName")])
        .done_already(&["LifecyclePolicyNotFoundException"]),
        set(
            "SetRepositoryPolicy",
            &[
                physical("repositoryName"),
                document("policyText", "RepositoryPolicyText"),
            ],
        )
        .clear("DeleteRepositoryPolicy", &[physical("repositoryName")])
        .done_already(&["RepositoryPolicyNotFoundException"]),
    ])
    .tags(tags_of_arn(Spelling::Pairs, ARN))
    .find(search(
        call("DescribeRepositories", &[name("repositoryNames[]")]),
        "/repositories/*",
        "/repositoryName",
    ))
    .live(&[
        read(
            call("DescribeRepositories", &[physical("repositoryNames[]")]),
            "/repositories/*",
            &[
                camel("EncryptionConfiguration ImageScanningConfiguration"),
                camel("ImageTagMutability RepositoryName"),
                camel("ImageTagMutabilityExclusionFilters"),
            ],
        ),
        read(
            call("GetLifecyclePolicy", &[physical("repositoryName")]),
            "",
            &[at(
                "LifecyclePolicy/LifecyclePolicyText",
                "/lifecyclePolicyText",
            )],
        ),
        read(
            call("GetRepositoryPolicy", &[physical("repositoryName")]),
            "",
            &[at("RepositoryPolicyText", "/policyText")],
        ),
        read(
            call("ListTagsForResource", &[text("resourceArn", ARN)]),
            "",
            &[at("Tags", "/tags")],
        ),
    ])
    .delete(
        "DeleteRepository",
        &[
            physical("repositoryName"),
            from("force", "EmptyOnDelete").or("false"),
        ],
    )
    .hooks(&Repository, "")];

const ARN: &str = "arn:aws:ecr:{region}:{account}:repository/{physical}";

const EXCLUSIONS: Argument = from(
    "imageTagMutabilityExclusionFilters",
    "ImageTagMutabilityExclusionFilters",
)
.form(lower);

/// `{"ScanOnPush": true}` → `{"scanOnPush": true}`; the members of an exclusion filter also lose their
/// prefix.
fn lower(value: &Value, _: &Map<String, Value>) -> ApiResult<Value> {
    Ok(lowered(value))
}

fn lowered(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(lowered).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| {
                let mut name = match name.as_str() {
                    "ImageTagMutabilityExclusionFilterType" => "filterType".to_owned(),
                    "ImageTagMutabilityExclusionFilterValue" => "filter".to_owned(),
                    name => name.to_owned(),
                };
                if let Some(first) = name.get_mut(..1) {
                    first.make_ascii_lowercase();
                }
                (name, value.clone())
            })
            .collect(),
        scalar => scalar.clone(),
    }
}

struct Repository;

#[async_trait]
impl Hooks for Repository {
    async fn live(&self, target: &Target<'_>) -> ApiResult<Option<Map<String, Value>>> {
        let mut live = target.live().await?;
        let filters = live
            .as_mut()
            .and_then(|live| live.get_mut("ImageTagMutabilityExclusionFilters"));
        for filter in filters.and_then(Value::as_array_mut).into_iter().flatten() {
            if let Value::Object(members) = filter {
                for (from, to) in [("FilterType", "Type"), ("Filter", "Value")] {
                    if let Some(value) = members.remove(from) {
                        members.insert(format!("ImageTagMutabilityExclusionFilter{to}"), value);
                    }
                }
            }
        }
        Ok(live)
    }
}
