//! Updates that fail, and what their roll-back restores.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Barrier;

use super::*;
use crate::Cloud;
use crate::cloudformation::changes;
use crate::cloudformation::stacks::Stack;
use crate::faults::{Action, Faults, Point};
use crate::s3::buckets;
use crate::test_cloud::TestCloud;

/// Creates the stack `s` from these resources.
async fn create(cloud: &Cloud, resources: &Value) -> Stack {
    let mut stack = stacks::new(cloud, "s");
    stack.deployment.template = json!({"Resources": resources}).to_string();
    stack.status = StackStatus::Creating;
    stacks::stacks(cloud).insert(stack.key(), &stack).unwrap();
    Engine::new(cloud, stack.key()).run_create().await;
    stacks::get(cloud, "s").unwrap()
}

/// Updates the stack `s` to these resources.
async fn update(cloud: &Cloud, resources: &Value, on_failure: OnFailure) -> Stack {
    let key = stacks::get(cloud, "s").unwrap().key().to_owned();
    stacks::change(cloud, &key, |stack| {
        stack.previous = Some(Box::new(Before {
            deployment: stack.deployment.clone(),
            outputs: stack.outputs.clone(),
            resources: stack.resources.clone(),
        }));
        stack.deployment.template = json!({"Resources": resources}).to_string();
        stack.on_failure = on_failure;
        stack.status = StackStatus::Updating;
        Ok(())
    })
    .unwrap();
    Engine::new(cloud, &key).run_update().await;
    stacks::get(cloud, "s").unwrap()
}

/// The events of the stack as text.
fn events(cloud: &Cloud, stack: &Stack) -> String {
    serde_json::to_string(&stacks::history(cloud, stack).unwrap()).unwrap()
}

async fn called(cloud: &Cloud, service: &str, operation: &str, input: Value) -> Value {
    cloud.call(service, operation, input).await.unwrap()
}

#[tokio::test]
async fn an_existing_bucket_policy_is_neither_replaced_nor_deleted() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    buckets::create(&cloud, "bucket").unwrap();
    let policy = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::bucket/*",
    }]});
    buckets::set(&cloud, "bucket", "Policy", Some(policy.clone())).unwrap();
    let stack = create(
        &cloud,
        &json!({"P": {
            "Type": "AWS::S3::BucketPolicy",
            "Properties": {"Bucket": "bucket", "PolicyDocument": policy},
        }}),
    )
    .await;
    assert_eq!(stack.status, StackStatus::RolledBack);
    let events = events(&cloud, &stack);
    assert!(
        events.contains("The bucket policy already exists on bucket bucket."),
        "{events}"
    );
    assert!(buckets::has_policy(&cloud, "bucket").unwrap());
}

#[tokio::test]
async fn a_policy_that_was_never_set_can_be_reverted() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let repository = |properties: Value| json!({"R": {"Type": "AWS::ECR::Repository", "Properties": properties}});
    create(&cloud, &repository(json!({}))).await;
    for properties in [
        json!({"LifecyclePolicy": {"LifecyclePolicyText": "no JSON"}}),
        json!({"RepositoryPolicyText": "no JSON"}),
    ] {
        let stack = update(&cloud, &repository(properties), OnFailure::Rollback).await;
        let events = events(&cloud, &stack);
        assert!(events.contains("UPDATE_FAILED"), "{events}");
        assert_eq!(stack.status, StackStatus::UpdateRolledBack, "{events}");
    }
}

#[tokio::test]
async fn a_rule_that_the_service_refuses_does_not_lose_the_old_ones() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let rule = |cidr: &str, port: u16| json!({"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "CidrIp": cidr});
    let group = |rules: Value| {
        json!({
            "Vpc": {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.0.0.0/16"}},
            "Group": {"Type": "AWS::EC2::SecurityGroup", "Properties": {
                "GroupDescription": "g", "VpcId": {"Ref": "Vpc"}, "SecurityGroupIngress": rules,
            }},
        })
    };
    let rules = async || {
        let stack = stacks::get(&cloud, "s").unwrap();
        let input = json!({"GroupId": [stack.resource("Group").unwrap().physical]});
        let answer = called(&cloud, "ec2", "DescribeSecurityGroups", input).await;
        answer["securityGroupInfo"][0]["ipPermissions"].clone()
    };
    let old = [rule("10.0.0.0/8", 1), rule("10.0.0.0/8", 2)];
    create(&cloud, &group(json!(old))).await;
    let before = rules().await;
    assert_eq!(before.as_array().map(Vec::len), Some(2));
    let new = json!([rule("300.0.0.0/8", 1), rule("10.1.0.0/16", 3)]);
    let stack = update(&cloud, &group(new), OnFailure::Rollback).await;
    let events = events(&cloud, &stack);
    assert!(events.contains("UPDATE_FAILED"), "{events}");
    assert_eq!(stack.status, StackStatus::UpdateRolledBack, "{events}");
    assert_eq!(rules().await, before);
}

#[tokio::test]
async fn a_gateway_that_could_not_be_attached_is_reverted() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let attached = |gateway: &Value| {
        json!({
            "Vpc": {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.0.0.0/16"}},
            "Gateway": {"Type": "AWS::EC2::InternetGateway"},
            "Attachment": {"Type": "AWS::EC2::VPCGatewayAttachment", "Properties": {
                "VpcId": {"Ref": "Vpc"}, "InternetGatewayId": gateway,
            }},
        })
    };
    let gateway = json!({"Ref": "Gateway"});
    let stack = create(&cloud, &attached(&gateway)).await;
    let other = called(
        &cloud,
        "ec2",
        "CreateVpc",
        json!({"CidrBlock": "10.1.0.0/16"}),
    )
    .await;
    let taken = called(&cloud, "ec2", "CreateInternetGateway", json!({})).await;
    let taken = taken["internetGateway"]["internetGatewayId"].clone();
    let input = json!({"InternetGatewayId": taken, "VpcId": other["vpc"]["vpcId"]});
    called(&cloud, "ec2", "AttachInternetGateway", input).await;
    let vpc = stack.resource("Vpc").unwrap().physical.clone();
    let id = stack.resource("Gateway").unwrap().physical.clone();
    for wrong in [taken, json!("igw-0123456789abcdef0")] {
        let stack = update(&cloud, &attached(&wrong), OnFailure::Rollback).await;
        let events = events(&cloud, &stack);
        assert!(events.contains("UPDATE_FAILED"), "{events}");
        assert_eq!(stack.status, StackStatus::UpdateRolledBack, "{events}");
        let input = json!({"InternetGatewayId": [id]});
        let shown = called(&cloud, "ec2", "DescribeInternetGateways", input).await;
        let shown = &shown["internetGatewaySet"][0]["attachmentSet"][0]["vpcId"];
        assert_eq!(*shown, json!(vpc));
    }
}

#[tokio::test]
async fn an_update_that_failed_is_tried_again() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let repository = |properties: Value| json!({"R": {"Type": "AWS::ECR::Repository", "Properties": properties}});
    create(&cloud, &repository(json!({}))).await;
    let wrong = repository(json!({"RepositoryPolicyText": "no JSON"}));
    for _ in 0..2 {
        let stack = update(&cloud, &wrong, OnFailure::DoNothing).await;
        assert_eq!(stack.status, StackStatus::UpdateFailed);
        let plan = changes::plan(&cloud, &stack, &stack.deployment).unwrap();
        assert_eq!(plan.unwrap().len(), 1);
    }
    let stack = update(&cloud, &repository(json!({})), OnFailure::DoNothing).await;
    assert_eq!(stack.status, StackStatus::Updated);
    assert_eq!(stack.resources[0].status, ResourceStatus::Updated);
    let plan = changes::plan(&cloud, &stack, &stack.deployment).unwrap();
    assert_eq!(plan, None);
}

#[tokio::test]
async fn a_resource_that_was_not_created_completely_is_created_anew() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let handle = json!({"Type": "AWS::CloudFormation::WaitConditionHandle"});
    create(&cloud, &json!({"Handle": handle})).await;
    let both = json!({"Handle": handle, "B": {"Type": "AWS::S3::Bucket", "Properties": {
        "BucketName": "bucket", "VersioningConfiguration": {"Status": "Enabled"},
    }}});
    let faults = cloud.state::<Faults>();
    faults.inject(Point::Recorded, "AWS::S3::Bucket", Action::Fail);
    let stack = update(&cloud, &both, OnFailure::DoNothing).await;
    assert_eq!(stack.status, StackStatus::UpdateFailed);
    assert!(buckets::exists(&cloud, "bucket").unwrap());
    let stack = update(&cloud, &both, OnFailure::DoNothing).await;
    let events = events(&cloud, &stack);
    assert_eq!(stack.status, StackStatus::Updated, "{events}");
    let versioning: String = cloud
        .store()
        .transaction(|transaction| {
            let query = "SELECT versioning FROM s3_buckets WHERE name = 'bucket'";
            Ok(transaction.query_row(query, [], |row| row.get(0))?)
        })
        .unwrap();
    assert_eq!(versioning, "Enabled");
}

#[tokio::test]
async fn a_key_without_a_policy_gets_the_default_one_back() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let key = |properties: Value| json!({"K": {"Type": "AWS::KMS::Key", "Properties": properties}});
    let stack = create(&cloud, &key(json!({}))).await;
    let id = json!({"KeyId": stack.resource("K").unwrap().physical});
    let policy = async || {
        let answer = called(&cloud, "kms", "GetKeyPolicy", id.clone()).await;
        serde_json::from_str::<Value>(answer["Policy"].as_str().unwrap()).unwrap()
    };
    let default = policy().await;
    let mut own = default.clone();
    own["Id"] = "own".into();
    update(&cloud, &key(json!({"KeyPolicy": own})), OnFailure::Rollback).await;
    assert_eq!(policy().await, own);
    update(&cloud, &key(json!({})), OnFailure::Rollback).await;
    assert_eq!(policy().await, default);
}

#[tokio::test]
async fn scripts_that_the_template_no_longer_has_are_removed() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let scripts = |properties: Value| {
        json!({"L": {
            "Type": "AWS::SageMaker::NotebookInstanceLifecycleConfig", "Properties": properties,
        }})
    };
    let script = json!([{"Content": "ZWNobw=="}]);
    let both = json!({"OnCreate": script, "OnStart": script});
    let stack = create(&cloud, &scripts(both)).await;
    update(
        &cloud,
        &scripts(json!({"OnStart": script})),
        OnFailure::Rollback,
    )
    .await;
    let name = &stack.resource("L").unwrap().name;
    let input = json!({"NotebookInstanceLifecycleConfigName": name});
    let operation = "DescribeNotebookInstanceLifecycleConfig";
    let shown = called(&cloud, "sagemaker", operation, input).await;
    assert_eq!(shown["OnCreate"], json!([]));
    assert_eq!(shown["OnStart"], script);
}

/// The way out of a roll-back that fails: the resource stays as it is, and the stack can be used again.
#[tokio::test]
async fn a_roll_back_that_failed_can_skip_a_resource() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let resources = |status: &str| {
        let versioning = json!({"VersioningConfiguration": {"Status": status}});
        json!({
            "First": {"Type": "AWS::S3::Bucket", "Properties": versioning},
            "Second": {"Type": "AWS::S3::Bucket", "DependsOn": "First", "Properties": versioning},
        })
    };
    create(&cloud, &resources("Enabled")).await;
    // The update of the second bucket fails, and so does the roll-back of the first.
    let faults = cloud.state::<Faults>();
    let alone = Arc::new(Barrier::new(1));
    for (logical, action) in [
        ("First", Action::Meet(alone)),
        ("First", Action::Fail),
        ("Second", Action::Fail),
    ] {
        faults.inject(Point::Update, &format!("AWS::S3::Bucket/{logical}"), action);
    }
    let stack = update(&cloud, &resources("Suspended"), OnFailure::Rollback).await;
    assert_eq!(stack.status, StackStatus::UpdateRollbackFailed);
    let continued = async |skip: &[&str]| {
        let input = json!({"StackName": "s", "ResourcesToSkip": skip});
        let result = cloud
            .call("cloudformation", "ContinueUpdateRollback", input)
            .await;
        cloud.idle().await;
        result
    };
    let error = continued(&["None"]).await.unwrap_err();
    assert!(error.message.contains("None"), "{error}");
    continued(&["First"]).await.unwrap();
    let stack = stacks::get(&cloud, "s").unwrap();
    assert_eq!(stack.status, StackStatus::UpdateRolledBack);
    let first = stack.resource("First").unwrap();
    let bucket = first.physical.as_deref().unwrap();
    let wanted = json!({"Status": "Enabled"});
    let live = buckets::differing(&cloud, bucket, "Versioning", wanted).unwrap();
    assert_eq!(live, Some(json!({"Status": "Suspended"})), "it was skipped");
}

fn exporter(value: &str, exports: bool) -> String {
    let mut output = json!({"Value": value});
    if exports {
        output["Export"] = json!({"Name": "shared"});
    }
    let handle = json!({"Type": "AWS::CloudFormation::WaitConditionHandle"});
    json!({"Resources": {"H": handle}, "Outputs": {"O": output}}).to_string()
}

/// Issue 10: an export in use is neither deleted nor changed.
#[tokio::test]
async fn an_export_in_use_is_kept() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let stack = |name: &str, template: String| json!({"StackName": name, "TemplateBody": template});
    let importer = json!({
        "Resources": {"H": {"Type": "AWS::CloudFormation::WaitConditionHandle"}},
        "Outputs": {"O": {"Value": {"Fn::ImportValue": "shared"}}},
    });
    for (name, template) in [("one", exporter("a", true)), ("two", importer.to_string())] {
        called(
            &cloud,
            "cloudformation",
            "CreateStack",
            stack(name, template),
        )
        .await;
        cloud.idle().await;
    }
    for (template, verb) in [
        (exporter("b", true), "updated"),
        (exporter("a", false), "deleted"),
    ] {
        called(
            &cloud,
            "cloudformation",
            "UpdateStack",
            stack("one", template),
        )
        .await;
        cloud.idle().await;
        let found = stacks::get(&cloud, "one").unwrap();
        assert_eq!(found.status, StackStatus::UpdateRolledBack);
        assert_eq!(found.outputs[0].value, "a");
        let wanted = format!("Export shared cannot be {verb} as it is in use by two");
        assert!(
            events(&cloud, &found).contains(&wanted),
            "{}",
            events(&cloud, &found)
        );
    }
}

#[tokio::test]
async fn a_nested_filter_of_a_subscription_can_be_flattened_and_removed() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let resources = |filter: Value| {
        let mut properties = json!({
            "TopicArn": {"Ref": "T"}, "Protocol": "email", "Endpoint": "a@example.com",
        });
        for (name, value) in filter.as_object().unwrap() {
            properties[name] = value.clone();
        }
        json!({
            "T": {"Type": "AWS::SNS::Topic"},
            "S": {"Type": "AWS::SNS::Subscription", "Properties": properties},
        })
    };
    let nested = json!({"FilterPolicyScope": "MessageBody", "FilterPolicy": {"a": {"b": ["c"]}}});
    let stack = create(&cloud, &resources(nested.clone())).await;
    assert_eq!(stack.status, StackStatus::Created);
    let flat = json!({"FilterPolicyScope": "MessageAttributes", "FilterPolicy": {"a": ["c"]}});
    for (filter, expected) in [
        (flat, Some(json!({"a": ["c"]}))),
        (nested, Some(json!({"a": {"b": ["c"]}}))),
        (json!({}), None),
    ] {
        let stack = update(&cloud, &resources(filter), OnFailure::Rollback).await;
        let events = events(&cloud, &stack);
        assert_eq!(stack.status, StackStatus::Updated, "{events}");
        let arn = &stack.resource("S").unwrap().physical;
        let input = json!({ "SubscriptionArn": arn });
        let shown = called(&cloud, "sns", "GetSubscriptionAttributes", input).await;
        let filter = shown["Attributes"]["FilterPolicy"].as_str();
        let filter = filter.map(|text| serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(filter, expected);
    }
}
