//! The `EventBridge` types.

use async_trait::async_trait;

use super::builder::{
    TAG_RESOURCE, argument, at, call, document, list, name, own, physical, read, same, set,
    tags_by, text,
};
use super::hooks::Hooks;
use super::table::{List, Member, Place, Source, Spelling, Type};
use super::target::{Created, Target};
use crate::api::{ApiError, ApiResult};

/// The types of this file.
pub(super) const TYPES: &[Type] = &[Type::new("AWS::Events::Rule", "events")
    .named("Name", 64)
    .create(
        "PutRule",
        &[
            name("Name"),
            same(PROPERTIES),
            document("EventPattern", "EventPattern"),
        ],
    )
    .attributes(&[("Arn", Source::Text(ARN)), ("RuleName", Source::Name)])
    .settings(&[set(
        "PutRule",
        &[
            physical("Name"),
            same(PROPERTIES),
            document("EventPattern", "EventPattern"),
        ],
    )
    .on_update()])
    .lists(&[List {
        // A rule has at most five targets.
        removes_first: true,
        ..list(
            "Targets",
            call(
                "PutTargets",
                &[physical("Rule"), argument("Targets[]", Source::Part(""))],
            ),
            call(
                "RemoveTargets",
                &[physical("Rule"), argument("Ids[]", Source::Part("/Id"))],
            ),
        )
    }])
    .tags(tags_by(
        TAG_RESOURCE,
        Spelling::Pairs,
        text("ResourceARN", ARN),
    ))
    .found_by("DescribeRule", &[name("Name")], "/Name")
    .live(&[
        read(
            call("DescribeRule", &[physical("Name")]),
            "",
            &[own(PROPERTIES), own("Name"), PATTERN],
        ),
        read(
            call("ListTargetsByRule", &[physical("Rule")]),
            "",
            &[at("Targets", "/Targets")],
        ),
        read(
            call("ListTagsForResource", &[text("ResourceARN", ARN)]),
            "",
            &[own("Tags")],
        ),
    ])
    .delete("DeleteRule", &[physical("Name")])
    .hooks(&Rule, "")];

const ARN: &str = "arn:aws:events:{region}:{account}:rule/{name}";

/// The properties that `PutRule` takes under their own names.
const PROPERTIES: &str = "Description EventBusName State";

/// The pattern, which the service returns as text.
const PATTERN: Member = Member {
    properties: "EventPattern",
    place: Place::Encoded("/EventPattern"),
};

struct Rule;

#[async_trait]
impl Hooks for Rule {
    /// `PutRule` would change an existing rule that is not part of the stack, and a rollback would delete it.
    async fn create(&self, target: &Target<'_>) -> ApiResult<Created> {
        if !target.find().await?.is_empty() {
            let message = format!("{} already exists", target.name);
            return Err(ApiError::new("AlreadyExists", message));
        }
        target.create().await
    }
}
