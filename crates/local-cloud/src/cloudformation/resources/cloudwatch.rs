//! The `CloudWatch` types.

use async_trait::async_trait;

use super::builder::{
    TAG_RESOURCE, argument, call, name, own, physical, read, same, search, set, tags_by, text,
};
use super::hooks::Hooks;
use super::table::{Source, Spelling, Type};
use super::target::{Created, Target};
use crate::api::{ApiError, ApiResult};

/// The types of this file.
pub(super) const TYPES: &[Type] = &[Type::new("AWS::CloudWatch::Alarm", "cloudwatch")
    .named("AlarmName", 255)
    .create("PutMetricAlarm", &[name("AlarmName"), same(PROPERTIES)])
    .attributes(&[("Arn", Source::Text(ARN))])
    .settings(&[set("PutMetricAlarm", &[physical("AlarmName"), same(PROPERTIES)]).on_update()])
    .tags(tags_by(
        TAG_RESOURCE,
        Spelling::Pairs,
        text("ResourceARN", ARN),
    ))
    .find(search(
        call("DescribeAlarms", &[argument("AlarmNames[]", Source::Name)]),
        "/MetricAlarms/*",
        "/AlarmName",
    ))
    .live(&[
        read(
            call(
                "DescribeAlarms",
                &[argument("AlarmNames[]", Source::Physical)],
            ),
            "/MetricAlarms/*",
            &[own("AlarmName"), own(PROPERTIES)],
        ),
        read(
            call("ListTagsForResource", &[text("ResourceARN", ARN)]),
            "",
            &[own("Tags")],
        ),
    ])
    .delete(
        "DeleteAlarms",
        &[argument("AlarmNames[]", Source::Physical)],
    )
    .hooks(&Alarm, "")];

const ARN: &str = "arn:aws:cloudwatch:{region}:{account}:alarm:{name}";

/// The properties that `PutMetricAlarm` takes under their own names.
const PROPERTIES: &str = "ActionsEnabled AlarmActions AlarmDescription ComparisonOperator DatapointsToAlarm \
    Dimensions EvaluateLowSampleCountPercentile EvaluationPeriods ExtendedStatistic InsufficientDataActions \
    MetricName Namespace OKActions Period Statistic Threshold TreatMissingData Unit";

struct Alarm;

#[async_trait]
impl Hooks for Alarm {
    /// `PutMetricAlarm` would change an existing alarm that is not part of the stack, and a rollback would delete it.
    async fn create(&self, target: &Target<'_>) -> ApiResult<Created> {
        if !target.find().await?.is_empty() {
            let message = format!(
                "Resource of type 'AWS::CloudWatch::Alarm' with identifier '{}' already exists.",
                target.name
            );
            return Err(ApiError::new("AlreadyExists", message));
        }
        target.create().await
    }
}
