//! The ECR types.
#![expect(clippy::unnecessary_wraps, reason = "forms, some of which can fail")]

use serde_json::{Map, Value};

use super::builder::{call, document, from, name, physical, search, set, tags_of_arn};
use super::table::{Argument, Source, Spelling, Type};
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
    .tags(tags_of_arn(
        Spelling::Pairs,
        "arn:aws:ecr:{region}:{account}:repository/{physical}",
    ))
    .find(search(
        call("DescribeRepositories", &[name("repositoryNames[]")]),
        "/repositories/*",
        "/repositoryName",
    ))
    .delete(
        "DeleteRepository",
        &[
            physical("repositoryName"),
            from("force", "EmptyOnDelete").or("false"),
        ],
    )];

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
