//! The `EventBridge` Scheduler types.

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::builder::{
    TAG_RESOURCE, call, from, key, name, own, physical, read, same, set, tags_by, text,
};
use super::hooks::Hooks;
use super::table::{Source, Spelling, Type};
use super::target::Target;
use crate::api::{ApiError, ApiResult};
use crate::clock;
use crate::cloudformation::template::text_of;

/// The properties that the operations take under their own names.
const SAME: &str = "Description FlexibleTimeWindow KmsKeyArn ScheduleExpression ScheduleExpressionTimezone \
    State Target";

/// The types of this file.
pub(super) const TYPES: &[Type] = &[
    Type::new("AWS::Scheduler::Schedule", "scheduler")
        .named("Name", 64)
        .create(
            "CreateSchedule",
            &[
                name("Name"),
                from("GroupName", "GroupName"),
                same(SAME),
                from("StartDate", "StartDate").form(seconds),
                from("EndDate", "EndDate").form(seconds),
            ],
        )
        .attributes(&[("Arn", Source::Part("/ScheduleArn"))])
        .settings(&[set(
            "UpdateSchedule",
            &[
                physical("Name"),
                key("GroupName", "GroupName"),
                same(SAME),
                from("StartDate", "StartDate").form(seconds),
                from("EndDate", "EndDate").form(seconds),
            ],
        )
        .on_update()])
        .found_by(
            "GetSchedule",
            &[name("Name"), from("GroupName", "GroupName")],
            "/Name",
        )
        .live(&[read(
            call(
                "GetSchedule",
                &[physical("Name"), from("GroupName", "GroupName")],
            ),
            "",
            &[own(SAME), own("EndDate GroupName Name StartDate")],
        )])
        .delete(
            "DeleteSchedule",
            &[physical("Name"), from("GroupName", "GroupName")],
        )
        .hooks(&Schedule, ""),
    Type::new("AWS::Scheduler::ScheduleGroup", "scheduler")
        .named("Name", 64)
        .create("CreateScheduleGroup", &[name("Name")])
        .attributes(&[("Arn", Source::Part("/ScheduleGroupArn"))])
        .tags(tags_by(
            TAG_RESOURCE,
            Spelling::Pairs,
            text("ResourceArn", GROUP_ARN),
        ))
        .found_by("GetScheduleGroup", &[name("Name")], "/Name")
        .live(&[
            read(
                call("GetScheduleGroup", &[physical("Name")]),
                "",
                &[own("Name")],
            ),
            read(
                call("ListTagsForResource", &[text("ResourceArn", GROUP_ARN)]),
                "",
                &[own("Tags")],
            ),
        ])
        .delete("DeleteScheduleGroup", &[physical("Name")]),
];

const GROUP_ARN: &str = "arn:aws:scheduler:{region}:{account}:schedule-group/{physical}";

/// A date of a template as the API has it.
fn seconds(value: &Value, _: &Map<String, Value>) -> ApiResult<Value> {
    let text = text_of(value);
    let time: Timestamp = text.parse().map_err(|_| {
        ApiError::validation(format!("{text} is not a date such as 2030-01-31T08:00:00Z"))
    })?;
    Ok(clock::seconds(time).into())
}

struct Schedule;

#[async_trait]
impl Hooks for Schedule {
    /// Dates that are those of the template are shown as the template writes them.
    async fn live(&self, target: &Target<'_>) -> ApiResult<Option<Map<String, Value>>> {
        let Some(mut live) = target.live().await? else {
            return Ok(None);
        };
        for name in ["StartDate", "EndDate"] {
            if let Some(wanted) = target.get(name)
                && seconds(wanted, target.properties).ok().as_ref() == live.get(name)
            {
                live.insert(name.to_owned(), wanted.clone());
            }
        }
        Ok(Some(live))
    }
}
