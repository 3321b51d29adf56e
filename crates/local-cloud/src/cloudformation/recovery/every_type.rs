//! Proves for every type that a server that dies around the create call of a resource leaves nothing behind.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::recover;
use crate::Cloud;
use crate::cloudformation::engine::Engine;
use crate::cloudformation::evaluate::{desired, scope};
use crate::cloudformation::resources;
use crate::cloudformation::stacks::{self, Stack};
use crate::cloudformation::states::StackStatus;
use crate::faults::{Action, Faults, Point};
use crate::test_cloud::TestCloud;

/// What differs from the resource of the same type in `every_type.yaml`; `{Logical.Attribute}` and
/// `{Logical}` refer to its resources.
const DIFFERENCES: &[(&str, &str, &str)] = &[
    ("AWS::EC2::Subnet", "CidrBlock", "10.0.3.0/24"),
    (
        "AWS::EC2::VPCGatewayAttachment",
        "InternetGatewayId",
        "{OtherGateway}",
    ),
    ("AWS::EC2::VPCGatewayAttachment", "VpcId", "{OtherVpc}"),
    (
        "AWS::EC2::NatGateway",
        "AllocationId",
        "{OtherAddress.AllocationId}",
    ),
    ("AWS::EC2::Route", "DestinationCidrBlock", "192.168.0.0/16"),
    (
        "AWS::EC2::SubnetRouteTableAssociation",
        "SubnetId",
        "{OtherSubnet}",
    ),
    ("AWS::EC2::SecurityGroupIngress", "CidrIp", "192.168.0.0/16"),
    ("AWS::EC2::SecurityGroupEgress", "CidrIp", "192.168.0.0/16"),
    ("AWS::IAM::Policy", "PolicyName", "other"),
    ("AWS::KMS::Alias", "AliasName", "alias/other"),
    ("AWS::CodeCommit::Repository", "RepositoryName", "other"),
    (
        "AWS::EC2::VPCEndpoint",
        "ServiceName",
        "com.amazonaws.us-east-1.dynamodb",
    ),
    ("AWS::EC2::FlowLog", "TrafficType", "REJECT"),
    (
        "AWS::SageMaker::ModelPackageGroup",
        "ModelPackageGroupName",
        "other",
    ),
    ("AWS::SageMaker::Pipeline", "PipelineName", "other"),
    ("AWS::SNS::Subscription", "Protocol", "email"),
    ("AWS::SNS::Subscription", "Endpoint", "other@example.com"),
    ("AWS::SNS::Subscription", "RawMessageDelivery", "false"),
    ("AWS::SNS::TopicPolicy", "Topics", r#"["{OtherTopic}"]"#),
    ("AWS::SQS::QueuePolicy", "Queues", r#"["{OtherQueue}"]"#),
];

/// The types without a resource in `every_type.yaml`, because it would have to run a program.
const PROGRAMS: &[(&str, &[(&str, &str)])] = &[
    (
        "AWS::ApplicationAutoScaling::ScalableTarget",
        &[
            ("ResourceId", "endpoint/scaled/variant/v"),
            (
                "ScalableDimension",
                "sagemaker:variant:DesiredInstanceCount",
            ),
            ("ServiceNamespace", "sagemaker"),
            ("MinCapacity", "1"),
            ("MaxCapacity", "2"),
        ],
    ),
    (
        "AWS::ApplicationAutoScaling::ScalingPolicy",
        &[
            ("PolicyName", "p"),
            ("PolicyType", "TargetTrackingScaling"),
            (
                "ScalingTargetId",
                "endpoint/targeted/variant/v|sagemaker:variant:DesiredInstanceCount|sagemaker",
            ),
            (
                "TargetTrackingScalingPolicyConfiguration",
                r#"{"TargetValue": 70}"#,
            ),
        ],
    ),
    (
        "AWS::SageMaker::Endpoint",
        &[("EndpointConfigName", "{Config.EndpointConfigName}")],
    ),
    (
        "AWS::SageMaker::NotebookInstance",
        &[("InstanceType", "ml.t3.medium"), ("RoleArn", "{Role.Arn}")],
    ),
];

/// A stack of this template that is about to be created.
fn begun(cloud: &Cloud, name: &str, template: String) -> Stack {
    let mut stack = stacks::new(cloud, name);
    stack.deployment.template = template;
    stack.status = StackStatus::Creating;
    stacks::stacks(cloud).insert(stack.key(), &stack).unwrap();
    stack
}

/// Stores an image without layers, which models need.
async fn image(cloud: &Cloud) {
    let config =
        r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let digest = format!("sha256:{}", hex::encode(Sha256::digest(config)));
    let call = async |operation: &str, mut input: Value| {
        input["repositoryName"] = "image".into();
        cloud.call("ecr", operation, input).await.unwrap()
    };
    call("CreateRepository", json!({})).await;
    let upload = call("InitiateLayerUpload", json!({})).await["uploadId"].clone();
    let part = json!({
        "uploadId": upload,
        "partFirstByte": 0,
        "partLastByte": config.len() - 1,
        "layerPartBlob": STANDARD.encode(config),
    });
    call("UploadLayerPart", part).await;
    let end = json!({"uploadId": upload, "layerDigests": [digest]});
    call("CompleteLayerUpload", end).await;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest,
            "size": config.len(),
        },
        "layers": [],
    });
    let put = json!({"imageManifest": manifest.to_string(), "imageTag": "1"});
    call("PutImage", put).await;
}

/// Creates endpoints, which fail because their image has no program, and a scalable target of one.
async fn endpoints(cloud: &Cloud, config: &Value) {
    for name in ["scaled", "targeted"] {
        let input = json!({"EndpointName": name, "EndpointConfigName": config});
        let created = cloud.call("sagemaker", "CreateEndpoint", input);
        created.await.unwrap();
    }
    cloud.idle().await;
    let target = json!({
        "ResourceId": "endpoint/targeted/variant/v",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
        "MinCapacity": 1,
        "MaxCapacity": 2,
        "ServiceNamespace": "sagemaker",
    });
    let registered = cloud.call("application-autoscaling", "RegisterScalableTarget", target);
    registered.await.unwrap();
}

/// The stack of `every_type.yaml`, which exists before.
async fn before(cloud: &Cloud) -> Stack {
    image(cloud).await;
    let stack = begun(cloud, "before", include_str!("every_type.yaml").to_owned());
    Engine::new(cloud, stack.key()).run_create().await;
    let stack = stacks::get(cloud, "before").unwrap();
    let events = serde_json::to_string(&stacks::history(cloud, &stack).unwrap()).unwrap();
    assert_eq!(stack.status, StackStatus::Created, "{events}");
    stack
}

/// The properties of a second resource of a type.
fn second(cloud: &Cloud, before: &Stack, kind: &str) -> Map<String, Value> {
    let fill = |text: &str| {
        if let Ok(object @ Value::Object(_)) = serde_json::from_str(text) {
            return object;
        }
        if let Some(name) = text.strip_prefix(r#"["{"#) {
            let name = name.trim_end_matches(r#"}"]"#);
            return json!([before.resource(name).unwrap().physical]);
        }
        let Some(name) = text
            .strip_prefix('{')
            .and_then(|text| text.strip_suffix('}'))
        else {
            return Value::from(text);
        };
        match name.split_once('.') {
            None => json!(before.resource(name).unwrap().physical),
            Some((logical, attribute)) => {
                before.resource(logical).unwrap().attributes[attribute].clone()
            }
        }
    };
    let like = before
        .resources
        .iter()
        .find(|resource| resource.kind == kind);
    let mut properties = if let Some(like) = like {
        let scope = scope(cloud, before).unwrap();
        desired(&scope, before, &like.logical).unwrap().1
    } else {
        let found = PROGRAMS.iter().find(|(name, _)| *name == kind);
        let (_, properties) = found.unwrap_or_else(|| panic!("no example of {kind}"));
        let properties = properties.iter();
        properties
            .map(|(name, text)| ((*name).to_owned(), fill(text)))
            .collect()
    };
    for (_, name, text) in DIFFERENCES.iter().filter(|(name, ..)| *name == kind) {
        properties.insert((*name).to_owned(), fill(text));
    }
    if kind == "AWS::S3::BucketPolicy" {
        // The bucket is also in the document.
        let name = |logical| before.resource(logical).unwrap().physical.clone().unwrap();
        let text = serde_json::to_string(&properties).unwrap();
        let text = text.replace(&name("Bucket"), &name("OtherBucket"));
        properties = serde_json::from_str(&text).unwrap();
    }
    properties
}

/// Every row of every table, without the stacks' own and what remains after a deletion, as on AWS: NAT
/// gateways and keys for a while, and the logs of endpoints.
fn rows(cloud: &Cloud) -> BTreeSet<String> {
    let revision = r#""(LastModified|RevisionId)":"[^"]*""#;
    let revision = regex::Regex::new(revision).unwrap();
    let rows = cloud.store().transaction(|transaction| {
        let mut tables =
            transaction.prepare("SELECT name FROM sqlite_master WHERE type = 'table'")?;
        let tables: Vec<String> = tables
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let mut found = BTreeSet::new();
        // What happened to a resource is announced, also if the resource is deleted.
        let is_state =
            |table: &&String| !table.starts_with("sqlite_") && !table.starts_with("events_");
        for table in tables.iter().filter(is_state) {
            let mut statement = transaction.prepare(&format!("SELECT * FROM {table}"))?;
            let columns = statement.column_count();
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let mut text = table.clone();
                for column in 0..columns {
                    let value = row.get_ref(column)?;
                    let shown = value
                        .as_str()
                        .map_or_else(|_| format!("{value:?}"), str::to_owned);
                    text.push('|');
                    text.push_str(&shown);
                }
                // Adding and removing a permission changes a function's revision.
                found.insert(revision.replace_all(&text, "").into_owned());
            }
        }
        Ok(found)
    });
    let mut rows = rows.unwrap();
    rows.retain(|row| {
        !row.starts_with("records|cloudformation|")
            && !row.starts_with("log_groups|/aws/sagemaker/Endpoints/")
            && !row.starts_with("log_streams|")
            && !row.starts_with("log_events|")
            // The history of an alarm outlives it.
            && !row.starts_with("cloudwatch_history|")
            // A topic counts its deleted subscriptions.
            && !row.starts_with("sns_deleted|")
            && !row.contains(r#""state":"deleted""#)
            && !row.contains(r#""deletion":{"date""#)
    });
    rows
}

/// Creates a resource of this type until the server "dies" at the point, then recovers. Returns the
/// problems afterwards.
async fn die(
    cloud: &Cloud,
    kind: &str,
    properties: &Map<String, Value>,
    point: Point,
) -> Option<String> {
    let before = rows(cloud);
    let template = json!({"Resources": {"New": {"Type": kind, "Properties": properties}}});
    let name = format!("s{}", uuid::Uuid::new_v4().simple());
    let stack = begun(cloud, &name, template.to_string());
    let faults = cloud.state::<Faults>();
    faults.inject(point, kind, Action::Stop);
    let engine = Engine::new(cloud, stack.key());
    let events = || {
        let stack = stacks::get(cloud, &name).unwrap();
        serde_json::to_string(&stacks::history(cloud, &stack).unwrap()).unwrap()
    };
    tokio::select! {
        () = engine.run_create() => return Some(format!("was not created: {}", events())),
        () = faults.reached() => {}
    }
    recover(cloud).unwrap();
    cloud.idle().await;
    if stacks::get(cloud, &name).unwrap().status != StackStatus::RolledBack {
        return Some(format!("was not rolled back: {}", events()));
    }
    let after = rows(cloud);
    let orphans: Vec<_> = after.difference(&before).collect();
    let touched: Vec<_> = before.difference(&after).collect();
    (!orphans.is_empty() || !touched.is_empty())
        .then(|| format!("left behind {orphans:#?}, changed or deleted {touched:#?}"))
}

#[tokio::test]
async fn a_server_that_dies_around_a_create_call_leaves_nothing_behind() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let stack = before(&cloud).await;
    let config = &stack.resource("Config").unwrap().attributes["EndpointConfigName"];
    endpoints(&cloud, config).await;
    let mut wrong = Vec::new();
    for kind in resources::all() {
        let properties = second(&cloud, &stack, kind.name);
        for point in [Point::Create, Point::Created, Point::Recorded] {
            if let Some(what) = die(&cloud, kind.name, &properties, point).await {
                wrong.push(format!("{} at {point:?} {what}", kind.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Drift of the resources of a stack that nobody has changed.
#[tokio::test]
async fn what_nobody_has_changed_has_not_drifted() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let stack = before(&cloud).await;
    let input = json!({"StackName": stack.name});
    cloud
        .call("cloudformation", "DetectStackDrift", input.clone())
        .await
        .unwrap();
    cloud.idle().await;
    let shown = cloud
        .call("cloudformation", "DescribeStackResourceDrifts", input)
        .await
        .unwrap();
    let drifts = shown["StackResourceDrifts"].as_array().unwrap();
    let wrong: Vec<_> = drifts
        .iter()
        .filter(|drift| drift["StackResourceDriftStatus"] != "IN_SYNC")
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let checked =
        |resource: &&stacks::Resource| resources::by_name(&resource.kind).unwrap().detects_drift();
    assert_eq!(drifts.len(), stack.resources.iter().filter(checked).count());
}

/// Two resources of a type whose create calls are in progress at the same time: the search of each must tell
/// them apart, or neither is deleted.
#[tokio::test]
async fn two_resources_of_a_type_at_once_leave_nothing_behind() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let stack = before(&cloud).await;
    let mut wrong = Vec::new();
    for (kind, name, texts) in [
        (
            "AWS::EC2::SecurityGroupIngress",
            "CidrIp",
            ["192.168.0.0/16", "192.168.0.0/17"],
        ),
        ("AWS::EC2::SecurityGroupEgress", "FromPort", ["0", "1"]),
        (
            "AWS::EC2::Route",
            "DestinationCidrBlock",
            ["192.168.0.0/16", "192.168.0.0/17"],
        ),
        (
            "AWS::CodeConnections::Connection",
            "ConnectionName",
            ["same", "same"],
        ),
        ("AWS::KMS::Key", "Description", ["same", "same"]),
        ("AWS::EC2::EIP", "Domain", ["vpc", "vpc"]),
        ("AWS::EC2::FlowLog", "TrafficType", ["ACCEPT", "REJECT"]),
        (
            "AWS::IAM::ManagedPolicy",
            "ManagedPolicyName",
            ["one", "two"],
        ),
        ("AWS::SSM::Parameter", "Name", ["one", "two"]),
        // One of them fails, and the other is the one that exists.
        ("AWS::Logs::LogGroup", "LogGroupName", ["same", "same"]),
    ] {
        let kept = rows(&cloud);
        let mut resources = json!({});
        for (logical, text) in ["One", "Two"].into_iter().zip(texts) {
            let mut properties = second(&cloud, &stack, kind);
            properties.insert(name.to_owned(), text.into());
            resources[logical] = json!({"Type": kind, "Properties": properties});
        }
        let template = json!({"Resources": resources}).to_string();
        let name = format!("s{}", uuid::Uuid::new_v4().simple());
        let new = begun(&cloud, &name, template);
        let faults = cloud.state::<Faults>();
        // Both searches are over before the first create call.
        let searched = std::sync::Arc::new(tokio::sync::Barrier::new(2));
        for logical in ["One", "Two"] {
            let subject = format!("{kind}/{logical}");
            let meet = Action::Meet(searched.clone());
            faults.inject(Point::Create, &subject, meet);
            faults.inject(Point::Created, &subject, Action::Stop);
        }
        let both = async {
            faults.reached().await;
            faults.reached().await;
        };
        tokio::select! {
            biased;
            () = both => {}
            () = Engine::new(&cloud, new.key()).run_create() => {
                wrong.push(format!("{kind} was not stopped"));
            }
        }
        recover(&cloud).unwrap();
        cloud.idle().await;
        let after = rows(&cloud);
        let left: Vec<_> = after.symmetric_difference(&kept).collect();
        if !left.is_empty() {
            wrong.push(format!("{kind} left behind or touched {left:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Keys have no name: recovery must not attribute another key with the same properties to the stack.
#[tokio::test]
async fn keys_that_others_create_meanwhile_are_left_alone() {
    for (point, orphans) in [(Point::Create, 0), (Point::Created, 1)] {
        let test = TestCloud::new();
        let cloud = test.cloud();
        let template = json!({"Resources": {"New": {"Type": "AWS::KMS::Key"}}});
        let stack = begun(&cloud, "s", template.to_string());
        let faults = cloud.state::<Faults>();
        faults.inject(point, "AWS::KMS::Key", Action::Stop);
        tokio::select! {
            () = Engine::new(&cloud, stack.key()).run_create() => panic!("was not stopped"),
            () = faults.reached() => {}
        }
        let foreign = cloud.call("kms", "CreateKey", json!({})).await.unwrap();
        let foreign = foreign["KeyMetadata"]["KeyId"].clone();
        recover(&cloud).unwrap();
        cloud.idle().await;
        let all = cloud.call("kms", "ListKeys", json!({})).await.unwrap();
        let mut deleted = Vec::new();
        for key in all["Keys"].as_array().unwrap() {
            let input = json!({"KeyId": key["KeyId"]});
            let shown = cloud.call("kms", "DescribeKey", input).await.unwrap();
            if shown["KeyMetadata"]["KeyState"] == "PendingDeletion" {
                deleted.push(key["KeyId"].clone());
            }
        }
        assert_eq!(deleted.len(), orphans, "{point:?}");
        assert!(!deleted.contains(&foreign), "{point:?}");
    }
}

#[tokio::test]
async fn a_new_key_has_only_the_tags_of_the_template() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let properties = json!({"Tags": [{"Key": "team", "Value": "ml"}]});
    let template =
        json!({"Resources": {"New": {"Type": "AWS::KMS::Key", "Properties": properties}}});
    let stack = begun(&cloud, "s", template.to_string());
    Engine::new(&cloud, stack.key()).run_create().await;
    let stack = stacks::get(&cloud, "s").unwrap();
    let input = json!({"KeyId": stack.resource("New").unwrap().physical});
    let tags = cloud.call("kms", "ListResourceTags", input).await.unwrap();
    assert_eq!(tags["Tags"], json!([{"TagKey": "team", "TagValue": "ml"}]));
}

#[tokio::test]
async fn a_resource_that_fails_after_its_creation_is_rolled_back() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let before = rows(&cloud);
    let template = json!({"Resources": {"New": {"Type": "AWS::S3::Bucket"}}});
    let stack = begun(&cloud, "s", template.to_string());
    let faults = cloud.state::<Faults>();
    faults.inject(Point::Recorded, "AWS::S3::Bucket", Action::Fail);
    Engine::new(&cloud, stack.key()).run_create().await;
    let stack = stacks::get(&cloud, "s").unwrap();
    assert_eq!(stack.status, StackStatus::RolledBack);
    assert_eq!(rows(&cloud), before);
}
