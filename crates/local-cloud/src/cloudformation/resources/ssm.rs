//! The Systems Manager types.

use super::builder::{call, json, name, own, physical, read, same, set, tags_by};
use super::table::{Spelling, Type};

/// The types of this file.
pub(super) const TYPES: &[Type] = &[Type::new("AWS::SSM::Parameter", "ssm")
    .named("Name", 1011)
    // The name of a stack can begin with `ssm`, which no parameter may.
    .prefixed("CFN")
    .create(
        "PutParameter",
        &[
            name("Name"),
            same("AllowedPattern DataType Description Tier Type Value"),
        ],
    )
    .described(
        call("GetParameter", &[physical("Name")]),
        &[("Type", "/Parameter/Type"), ("Value", "/Parameter/Value")],
    )
    .settings(&[set(
        "PutParameter",
        &[
            physical("Name"),
            json("Overwrite", "true"),
            same("AllowedPattern DataType Description Tier Type Value"),
        ],
    )
    .on_update()])
    .tags(tags_by(
        ["AddTagsToResource", "RemoveTagsFromResource"],
        Spelling::Pairs,
        json(
            "",
            r#"{"ResourceType": "Parameter", "ResourceId": "{physical}"}"#,
        ),
    ))
    .found_by("GetParameter", &[name("Name")], "/Parameter/Name")
    .live(&[read(
        call("GetParameter", &[physical("Name")]),
        "/Parameter",
        &[own("DataType Name Type Value")],
    )])
    .delete("DeleteParameter", &[physical("Name")])];
