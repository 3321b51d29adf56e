//! Application Auto Scaling: the scalable targets and scaling policies of endpoint variants, as records.
//!
//! Nothing scales: the local cloud keeps and describes what an account would have, so that templates with
//! autoscaling deploy, and creates no alarms for target tracking.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Cloud;
use super::api::{ApiError, ApiResult};
use super::cloud::service::{Service, operations};
use super::store::Collection;

mod policies;
mod tags;
mod targets;

operations! {
    "DeleteScalingPolicy" => policies::delete,
    "DeregisterScalableTarget" => targets::deregister,
    "DescribeScalableTargets" => targets::describe,
    "DescribeScalingPolicies" => policies::describe,
    "ListTagsForResource" => tags::list,
    "PutScalingPolicy" => policies::put,
    "RegisterScalableTarget" => targets::register,
    "TagResource" => tags::add,
    "UntagResource" => tags::remove,
}

/// The service.
pub(crate) const SERVICE: Service = Service {
    checks_limits: true,
    ..Service::json(
        "application-autoscaling",
        "Application Auto Scaling",
        "AnyScaleFrontendService",
        &[OPERATIONS],
    )
};

/// What scales: a property of a resource of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Scaled {
    service_namespace: String,
    resource_id: String,
    scalable_dimension: String,
}

impl Scaled {
    /// The key of the target's record.
    fn key(&self) -> String {
        format!(
            "{}|{}|{}",
            self.service_namespace, self.resource_id, self.scalable_dimension
        )
    }

    /// Refuses by name what the local cloud does not scale.
    fn check(&self) -> ApiResult<()> {
        if self.service_namespace != "sagemaker" {
            return Err(ApiError::not_implemented(format_args!(
                "scaling of the service namespace {}",
                self.service_namespace
            )));
        }
        if self.scalable_dimension != "sagemaker:variant:DesiredInstanceCount" {
            return Err(ApiError::not_implemented(format_args!(
                "the scalable dimension {}",
                self.scalable_dimension
            )));
        }
        Ok(())
    }

    /// Fails unless the variant exists (unverified against AWS [autoscaling-no-variant]: the words).
    async fn require_variant(&self, cloud: &Cloud) -> ApiResult<()> {
        let missing = || {
            ApiError::validation(format!(
                "There is no SageMaker variant for the resource id {}",
                self.resource_id
            ))
        };
        let path: Vec<&str> = self.resource_id.split('/').collect();
        let ["endpoint", endpoint, "variant", variant] = path[..] else {
            return Err(missing());
        };
        let input = json!({"EndpointName": endpoint});
        let found = cloud.internally("sagemaker", "DescribeEndpoint", input);
        let found = found.await.map_err(|_| missing())?;
        let has_variant = |of: &Value| {
            let variants = of["ProductionVariants"].as_array();
            let mut variants = variants.into_iter().flatten();
            variants.any(|found| found["VariantName"] == variant)
        };
        if has_variant(&found) {
            return Ok(());
        }
        // An endpoint that is being created shows no variants yet.
        let input = json!({"EndpointConfigName": found["EndpointConfigName"]});
        let config = cloud.internally("sagemaker", "DescribeEndpointConfig", input);
        match config.await {
            Ok(config) if has_variant(&config) => Ok(()),
            _ => Err(missing()),
        }
    }
}

/// A scalable target.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Target {
    arn: String,
    scaled: Scaled,
    min: i64,
    max: i64,
    role: String,
    suspended: Value,
    created: f64,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

/// The error for a target or a policy that does not exist.
fn not_found(message: impl Into<String>) -> ApiError {
    ApiError::not_found("ObjectNotFoundException", message)
}

/// The targets, by what they scale.
fn targets(cloud: &Cloud) -> Collection<'_, Target> {
    let store = cloud.store();
    store.collection("application-autoscaling", "target")
}

/// The target that scales something.
fn require_target(cloud: &Cloud, scaled: &Scaled) -> ApiResult<Target> {
    targets(cloud).get(&scaled.key())?.ok_or_else(|| {
        not_found(format!(
            "No scalable target registered for service namespace: {}, resource ID: {}, scalable dimension: \
             {}",
            scaled.service_namespace, scaled.resource_id, scaled.scalable_dimension
        ))
    })
}

/// The number of records of a page.
fn page_size(requested: Option<i64>) -> ApiResult<usize> {
    let size = requested.unwrap_or(50);
    usize::try_from(size)
        .ok()
        .filter(|size| (1..=50).contains(size))
        .ok_or_else(|| ApiError::validation("MaxResults must be between 1 and 50"))
}

/// The error for a token that the service did not return.
fn invalid_token(_: &str) -> ApiError {
    ApiError::new("InvalidNextTokenException", "The next token is invalid")
}

#[cfg(test)]
mod tests;
