//! The Application Auto Scaling types.

use serde_json::{Map, Value, json};

use super::builder::{call, from, own, read, same, search, set};
use super::table::{Argument, Call, Source, Type};
use crate::api::{ApiError, ApiResult};

/// The types of this file.
pub(super) const TYPES: &[Type] = &[
    Type::new(
        "AWS::ApplicationAutoScaling::ScalableTarget",
        "application-autoscaling",
    )
    .create("RegisterScalableTarget", TARGET)
    .id(TARGET_ID)
    .attributes(&[("Id", TARGET_ID)])
    .settings(&[set("RegisterScalableTarget", TARGET).on_update()])
    .find(search(DESCRIBE_TARGET, "/ScalableTargets/*", "").id(TARGET_ID))
    .live(&[read(
        DESCRIBE_TARGET,
        "/ScalableTargets/*",
        &[own(
            "MaxCapacity MinCapacity ResourceId RoleARN ScalableDimension ServiceNamespace",
        )],
    )])
    .delete("DeregisterScalableTarget", &[SCALED]),
    Type::new(
        "AWS::ApplicationAutoScaling::ScalingPolicy",
        "application-autoscaling",
    )
    .create("PutScalingPolicy", POLICY)
    .id(Source::Part("/PolicyARN"))
    .attributes(&[("Arn", Source::Physical)])
    .settings(&[set("PutScalingPolicy", POLICY).on_update()])
    .find(search(DESCRIBE_POLICY, "/ScalingPolicies/*", "/PolicyARN"))
    .live(&[read(
        DESCRIBE_POLICY,
        "/ScalingPolicies/*",
        &[
            own("PolicyName PolicyType PredictiveScalingPolicyConfiguration"),
            own("ResourceId ScalableDimension ServiceNamespace StepScalingPolicyConfiguration"),
            own("TargetTrackingScalingPolicyConfiguration"),
        ],
    )])
    .delete(
        "DeleteScalingPolicy",
        &[same("PolicyName"), SCALED, SCALED_BY_ID],
    ),
];

/// The physical id of a target.
const TARGET_ID: Source = Source::Text("{ResourceId}|{ScalableDimension}|{ServiceNamespace}");

const SCALED: Argument = same("ResourceId ScalableDimension ServiceNamespace");

/// What a policy scales, by the physical id of the target.
const SCALED_BY_ID: Argument = from("", "ScalingTargetId").form(scaled);

const TARGET: &[Argument] = &[
    SCALED,
    same("MaxCapacity MinCapacity RoleARN SuspendedState"),
];

const DESCRIBE_TARGET: Call = call(
    "DescribeScalableTargets",
    &[
        same("ScalableDimension ServiceNamespace"),
        from("ResourceIds[]", "ResourceId"),
    ],
);

const POLICY: &[Argument] = &[
    SCALED,
    SCALED_BY_ID,
    same("PolicyName PolicyType PredictiveScalingPolicyConfiguration"),
    same("StepScalingPolicyConfiguration TargetTrackingScalingPolicyConfiguration"),
];

const DESCRIBE_POLICY: Call = call(
    "DescribeScalingPolicies",
    &[SCALED, SCALED_BY_ID, from("PolicyNames[]", "PolicyName")],
);

/// The members of a request for `ScalingTargetId`.
fn scaled(id: &Value, _: &Map<String, Value>) -> ApiResult<Value> {
    let parts: Vec<&str> = id.as_str().unwrap_or_default().split('|').collect();
    let [resource, dimension, namespace] = parts[..] else {
        return Err(ApiError::new(
            "InvalidRequest",
            "#/ScalingTargetId: must be the Ref of an AWS::ApplicationAutoScaling::ScalableTarget",
        ));
    };
    Ok(json!({
        "ResourceId": resource,
        "ScalableDimension": dimension,
        "ServiceNamespace": namespace,
    }))
}
