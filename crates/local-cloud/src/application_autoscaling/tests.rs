//! Targets and policies, without endpoints: a variant that does not exist cannot be registered.

use super::*;
use crate::test_cloud::TestCloud;

const DIMENSION: &str = "sagemaker:variant:DesiredInstanceCount";

fn scaled() -> Value {
    json!({"ResourceId": "endpoint/e/variant/v", "ScalableDimension": DIMENSION,
           "ServiceNamespace": "sagemaker"})
}

fn with(more: Value) -> Value {
    let mut input = scaled();
    let (Value::Object(input_members), Value::Object(more)) = (&mut input, more) else {
        unreachable!();
    };
    input_members.extend(more);
    input
}

/// A cloud with a target, as if its endpoint had existed.
fn cloud() -> TestCloud {
    let at = TestCloud::new();
    let scaled: Scaled = serde_json::from_value(scaled()).unwrap();
    let target = Target {
        arn: at
            .cloud()
            .arn("application-autoscaling", "scalable-target/1"),
        scaled: scaled.clone(),
        min: 1,
        max: 2,
        role: "r".to_owned(),
        suspended: json!({}),
        created: 1.0,
        tags: BTreeMap::new(),
    };
    targets(&at.cloud()).put(&scaled.key(), &target).unwrap();
    at
}

async fn call(at: &TestCloud, operation: &str, input: Value) -> Result<Value, String> {
    let result = at.call("application-autoscaling", operation, input);
    result.await.map_err(|error| error.to_string())
}

async fn code(at: &TestCloud, operation: &str, input: Value) -> String {
    let error = call(at, operation, input).await.unwrap_err();
    error.split(':').next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_target_is_changed_described_and_deregistered() {
    let at = cloud();
    let change = with(json!({"MaxCapacity": 4,
                             "SuspendedState": {"DynamicScalingInSuspended": true}}));
    let arn = call(&at, "RegisterScalableTarget", change).await.unwrap();
    let namespace = json!({"ServiceNamespace": "sagemaker"});
    let described = call(&at, "DescribeScalableTargets", namespace.clone());
    let target = described.await.unwrap()["ScalableTargets"][0].take();
    assert_eq!(target["ScalableTargetARN"], arn["ScalableTargetARN"]);
    assert_eq!(
        (&target["MinCapacity"], &target["MaxCapacity"]),
        (&json!(1), &json!(4))
    );
    assert_eq!(target["SuspendedState"]["DynamicScalingInSuspended"], true);

    let tags = json!({"ResourceARN": arn["ScalableTargetARN"], "Tags": {"team": "ml"}});
    call(&at, "TagResource", tags).await.unwrap();
    let named = json!({"ResourceARN": arn["ScalableTargetARN"]});
    let listed = call(&at, "ListTagsForResource", named).await.unwrap();
    assert_eq!(listed, json!({"Tags": {"team": "ml"}}));

    let policy = with(
        json!({"PolicyName": "p", "PolicyType": "TargetTrackingScaling",
                             "TargetTrackingScalingPolicyConfiguration": {"TargetValue": 70.0}}),
    );
    let first = call(&at, "PutScalingPolicy", policy.clone()).await.unwrap();
    // Putting it again replaces it.
    assert_eq!(call(&at, "PutScalingPolicy", policy).await.unwrap(), first);
    let found = call(&at, "DescribeScalingPolicies", namespace.clone());
    let found = found.await.unwrap()["ScalingPolicies"].take();
    assert_eq!(found.as_array().map(Vec::len), Some(1));
    assert_eq!(
        found[0]["TargetTrackingScalingPolicyConfiguration"]["TargetValue"],
        70.0
    );

    call(&at, "DeregisterScalableTarget", scaled())
        .await
        .unwrap();
    let found = call(&at, "DescribeScalingPolicies", namespace)
        .await
        .unwrap();
    assert_eq!(found["ScalingPolicies"], json!([]));
    let code = code(&at, "DeregisterScalableTarget", scaled()).await;
    assert_eq!(code, "ObjectNotFoundException");
}

#[tokio::test]
async fn wrong_requests_are_refused() {
    let at = cloud();
    let other = |member: &str, value: &str| {
        with(json!({member: value, "MinCapacity": 1, "MaxCapacity": 2}))
    };
    let policy = |more: Value| {
        let mut policy = with(json!({"PolicyName": "p"}));
        policy
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        policy
    };
    for (operation, input, wanted) in [
        (
            "RegisterScalableTarget",
            other("ResourceId", "endpoint/x/variant/v"),
            "ValidationException",
        ),
        (
            "RegisterScalableTarget",
            other("ServiceNamespace", "ecs"),
            "NotImplemented",
        ),
        (
            "RegisterScalableTarget",
            with(json!({"MaxCapacity": 0})),
            "ValidationException",
        ),
        (
            "RegisterScalableTarget",
            with(json!({"Tags": {"a": "b"}})),
            "ValidationException",
        ),
        (
            "DeleteScalingPolicy",
            policy(json!({})),
            "ObjectNotFoundException",
        ),
        (
            "PutScalingPolicy",
            policy(json!({"PolicyType": "StepScaling"})),
            "ValidationException",
        ),
        (
            "PutScalingPolicy",
            policy(json!({"ResourceId": "endpoint/x/variant/v", "PolicyType": "StepScaling"})),
            "ObjectNotFoundException",
        ),
        (
            "PutScalingPolicy",
            policy(
                json!({"PolicyType": "TargetTrackingScaling", "StepScalingPolicyConfiguration": {}}),
            ),
            "ValidationException",
        ),
        (
            "DescribeScalableTargets",
            json!({"MaxResults": 51, "ServiceNamespace": "sagemaker"}),
            "ValidationException",
        ),
        (
            "TagResource",
            json!({"ResourceARN": "arn:aws:application-autoscaling:us-east-1:000000000000:scalable-target/2", "Tags": {}}),
            "ResourceNotFoundException",
        ),
    ] {
        assert_eq!(
            code(&at, operation, input.clone()).await,
            wanted,
            "{operation} {input}"
        );
    }
}
