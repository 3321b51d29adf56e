//! Scalable targets.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Scaled, Target, invalid_token, page_size, policies, require_target, targets};
use crate::api::page::Page;
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};
use crate::cloud::ACCOUNT;
use crate::{Cloud, clock};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Register {
    #[serde(flatten)]
    scaled: Scaled,
    min_capacity: Option<i64>,
    max_capacity: Option<i64>,
    #[serde(rename = "RoleARN")]
    role: Option<String>,
    suspended_state: Option<Value>,
    tags: Option<Tags>,
}

/// `RegisterScalableTarget`: creates or changes a target.
pub(super) async fn register(cloud: &Cloud, input: Register) -> ApiResult<Value> {
    let scaled = input.scaled;
    scaled.check()?;
    let known = targets(cloud).get(&scaled.key())?;
    let capacity = |given: Option<i64>, known: Option<i64>, member: &str| {
        given.or(known).ok_or_else(|| {
            ApiError::validation(format!(
                "{member} is required to register a scalable target"
            ))
        })
    };
    let min = capacity(
        input.min_capacity,
        known.as_ref().map(|it| it.min),
        "MinCapacity",
    )?;
    let max = capacity(
        input.max_capacity,
        known.as_ref().map(|it| it.max),
        "MaxCapacity",
    )?;
    if min < 0 || max < min {
        return Err(ApiError::validation(
            "MinCapacity must not be negative, and MaxCapacity must not be smaller than MinCapacity",
        ));
    }
    let mut target = match known {
        Some(target) if input.tags.is_some() => {
            return Err(ApiError::validation(format!(
                "Tags can only be added with RegisterScalableTarget when the target is new: use TagResource \
                 for {}",
                target.arn
            )));
        }
        Some(target) => target,
        None => {
            scaled.require_variant(cloud).await?;
            let id = uuid::Uuid::new_v4().simple().to_string();
            let resource = format!("scalable-target/{}", &id[..20]);
            Target {
                arn: cloud.arn("application-autoscaling", resource),
                scaled,
                min,
                max,
                role: role(),
                suspended: none_suspended(),
                created: clock::epoch(),
                tags: input.tags.unwrap_or_default().into_map(),
            }
        }
    };
    (target.min, target.max) = (min, max);
    target.role = input.role.unwrap_or(target.role);
    if let Some(Value::Object(suspended)) = input.suspended_state
        && let Value::Object(all) = &mut target.suspended
    {
        all.extend(suspended);
    }
    targets(cloud).put(&target.scaled.key(), &target)?;
    Ok(json!({"ScalableTargetARN": target.arn}))
}

/// The service-linked role of endpoints.
fn role() -> String {
    format!(
        "arn:aws:iam::{ACCOUNT}:role/aws-service-role/sagemaker.application-autoscaling.amazonaws.com/\
         AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
    )
}

fn none_suspended() -> Value {
    json!({
        "DynamicScalingInSuspended": false,
        "DynamicScalingOutSuspended": false,
        "ScheduledScalingSuspended": false,
    })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Describe {
    service_namespace: String,
    #[serde(default)]
    resource_ids: Vec<String>,
    scalable_dimension: Option<String>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

pub(super) async fn describe(cloud: &Cloud, input: Describe) -> ApiResult<Value> {
    let ids = &input.resource_ids;
    let wanted = |target: &Target| {
        let dimension = input.scalable_dimension.as_deref();
        target.scaled.service_namespace == input.service_namespace
            && (ids.is_empty() || ids.contains(&target.scaled.resource_id))
            && dimension.is_none_or(|wanted| wanted == target.scaled.scalable_dimension)
    };
    let all = targets(cloud).list("")?.into_iter();
    let found = all.filter(|(_, target)| wanted(target));
    let shown: Vec<Value> = found
        .map(|(_, target)| {
            json!({
                "ServiceNamespace": target.scaled.service_namespace,
                "ResourceId": target.scaled.resource_id,
                "ScalableDimension": target.scaled.scalable_dimension,
                "MinCapacity": target.min,
                "MaxCapacity": target.max,
                "RoleARN": target.role,
                "CreationTime": target.created,
                "SuspendedState": target.suspended,
                "ScalableTargetARN": target.arn,
            })
        })
        .collect();
    let size = page_size(input.max_results)?;
    let page = Page::new(input.next_token.as_deref(), size, invalid_token)?;
    let (shown, token) = page.cut(shown);
    Ok(json!({"ScalableTargets": shown, "NextToken": token}))
}

/// `DeregisterScalableTarget`: also deletes the target's policies.
pub(super) async fn deregister(cloud: &Cloud, scaled: Scaled) -> ApiResult<Value> {
    require_target(cloud, &scaled)?;
    let keys = policies::keys(cloud, &scaled)?;
    cloud.store().transaction(|transaction| {
        for key in keys {
            policies::remove_in(cloud, transaction, &key)?;
        }
        targets(cloud).remove_in(transaction, &scaled.key())
    })?;
    Ok(json!({}))
}
