//! Scaling policies.

use rusqlite::Transaction;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Scaled, invalid_token, not_found, page_size, require_target};
use crate::api::page::Page;
use crate::api::{ApiError, ApiResult};
use crate::store::Collection;
use crate::{Cloud, clock};

/// A scaling policy.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Policy {
    arn: String,
    name: String,
    scaled: Scaled,
    kind: Kind,
    /// The configuration under its member's name.
    configuration: Map<String, Value>,
    created: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    #[serde(rename = "StepScaling")]
    Step,
    #[serde(rename = "TargetTrackingScaling")]
    TargetTracking,
    #[serde(rename = "PredictiveScaling")]
    Predictive,
}

fn policies(cloud: &Cloud) -> Collection<'_, Policy> {
    let store = cloud.store();
    store.collection("application-autoscaling", "policy")
}

fn key(scaled: &Scaled, name: &str) -> String {
    format!("{}|{name}", scaled.key())
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Put {
    policy_name: String,
    #[serde(flatten)]
    scaled: Scaled,
    policy_type: Option<Kind>,
    step_scaling_policy_configuration: Option<Value>,
    target_tracking_scaling_policy_configuration: Option<Value>,
    predictive_scaling_policy_configuration: Option<Value>,
}

/// `PutScalingPolicy`: creates or replaces a policy of a target. No alarms are created for it.
pub(super) async fn put(cloud: &Cloud, input: Put) -> ApiResult<Value> {
    let scaled = input.scaled;
    scaled.check()?;
    require_target(cloud, &scaled)?;
    let key = key(&scaled, &input.policy_name);
    let known = policies(cloud).get(&key)?;
    let kind = input
        .policy_type
        .or(known.as_ref().map(|policy| policy.kind));
    let kind = kind.unwrap_or(Kind::Step);
    if known.as_ref().is_some_and(|policy| policy.kind != kind) {
        return Err(ApiError::validation(
            "The PolicyType of an existing scaling policy cannot be changed",
        ));
    }
    let given = [
        (
            Kind::Step,
            "StepScalingPolicyConfiguration",
            input.step_scaling_policy_configuration,
        ),
        (
            Kind::TargetTracking,
            "TargetTrackingScalingPolicyConfiguration",
            input.target_tracking_scaling_policy_configuration,
        ),
        (
            Kind::Predictive,
            "PredictiveScalingPolicyConfiguration",
            input.predictive_scaling_policy_configuration,
        ),
    ];
    let mut configuration = Map::new();
    for (of, member, given) in given {
        match given {
            Some(given) if of == kind => {
                configuration.insert(member.to_owned(), given);
            }
            Some(_) => {
                return Err(ApiError::validation(format!(
                    "{member} does not apply to the PolicyType {}",
                    json!(kind).as_str().unwrap_or_default()
                )));
            }
            None if of == kind => {
                return Err(ApiError::validation(format!("{member} is required")));
            }
            None => {}
        }
    }
    let id = uuid::Uuid::new_v4();
    let resource = format!(
        "scalingPolicy:{id}:resource/{}/{}:policyName/{}",
        scaled.service_namespace, scaled.resource_id, input.policy_name
    );
    let new = || (cloud.arn("autoscaling", &resource), clock::epoch());
    let (arn, created) = known.map_or_else(new, |policy| (policy.arn, policy.created));
    let policy = Policy {
        arn,
        name: input.policy_name,
        scaled,
        kind,
        configuration,
        created,
    };
    policies(cloud).put(&key, &policy)?;
    Ok(json!({"PolicyARN": policy.arn, "Alarms": []}))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Describe {
    service_namespace: String,
    #[serde(default)]
    policy_names: Vec<String>,
    resource_id: Option<String>,
    scalable_dimension: Option<String>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

pub(super) async fn describe(cloud: &Cloud, input: Describe) -> ApiResult<Value> {
    let wanted = |policy: &Policy| {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        let names = &input.policy_names;
        policy.scaled.service_namespace == input.service_namespace
            && is(&input.resource_id, &policy.scaled.resource_id)
            && is(&input.scalable_dimension, &policy.scaled.scalable_dimension)
            // A policy can be named by its ARN.
            && (names.is_empty() || names.contains(&policy.name) || names.contains(&policy.arn))
    };
    let all = policies(cloud).list("")?.into_iter();
    let found = all.filter(|(_, policy)| wanted(policy));
    let shown: Vec<Value> = found
        .map(|(_, policy)| {
            let mut shown = json!({
                "PolicyARN": policy.arn,
                "PolicyName": policy.name,
                "ServiceNamespace": policy.scaled.service_namespace,
                "ResourceId": policy.scaled.resource_id,
                "ScalableDimension": policy.scaled.scalable_dimension,
                "PolicyType": policy.kind,
                "Alarms": [],
                "CreationTime": policy.created,
            });
            if let Value::Object(members) = &mut shown {
                members.extend(policy.configuration);
            }
            shown
        })
        .collect();
    let size = page_size(input.max_results)?;
    let page = Page::new(input.next_token.as_deref(), size, invalid_token)?;
    let (shown, token) = page.cut(shown);
    Ok(json!({"ScalingPolicies": shown, "NextToken": token}))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Delete {
    policy_name: String,
    #[serde(flatten)]
    scaled: Scaled,
}

pub(super) async fn delete(cloud: &Cloud, input: Delete) -> ApiResult<Value> {
    if policies(cloud).remove(&key(&input.scaled, &input.policy_name))? {
        return Ok(json!({}));
    }
    Err(not_found(format!(
        "No scaling policy found for service namespace: {}, resource ID: {}, scalable dimension: {}, policy \
         name: {}",
        input.scaled.service_namespace,
        input.scaled.resource_id,
        input.scaled.scalable_dimension,
        input.policy_name
    )))
}

/// The keys of the policies of a target.
pub(super) fn keys(cloud: &Cloud, scaled: &Scaled) -> ApiResult<Vec<String>> {
    let found = policies(cloud).list(&key(scaled, ""))?;
    Ok(found.into_iter().map(|(key, _)| key).collect())
}

/// Removes a policy by its key.
pub(super) fn remove_in(
    cloud: &Cloud,
    transaction: &Transaction<'_>,
    key: &str,
) -> ApiResult<bool> {
    policies(cloud).remove_in(transaction, key)
}
