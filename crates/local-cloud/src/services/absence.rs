//! Every service marks its "does not exist" errors as [`ErrorKind::NotFound`].

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::SERVICES;
use crate::api::ErrorKind;
use crate::test_cloud::TestCloud;

const COMMIT: &str = "0123456789012345678901234567890123456789";
const POLICY: &str = "arn:aws:iam::000000000000:policy/absent";
const EXECUTION: &str =
    "arn:aws:sagemaker:us-east-1:000000000000:pipeline/p/execution/abcdefghijkl";

/// Operations that return an empty list, delete nothing, or take no name of a resource.
const WITHOUT_ABSENCE: &[(&str, &str)] = &[
    ("application-autoscaling", "DescribeScalableTargets"),
    ("application-autoscaling", "DescribeScalingPolicies"),
    ("cloudwatch", "DeleteAlarms"),
    ("cloudwatch", "DescribeAlarmHistory"),
    ("cloudwatch", "DescribeAlarms"),
    ("cloudwatch", "DescribeAlarmsForMetric"),
    ("cloudwatch", "GetMetricData"),
    ("cloudwatch", "GetMetricStatistics"),
    ("codebuild", "DeleteProject"),
    ("codebuild", "DeleteReport"),
    ("codebuild", "DeleteReportGroup"),
    ("codecommit", "DeleteRepository"),
    ("codepipeline", "DeletePipeline"),
    ("ec2", "DeleteFlowLogs"),
    ("ec2", "DeleteVpcEndpoints"),
    ("ec2", "DescribeAvailabilityZones"),
    ("ec2", "DescribeTags"),
    ("ecr", "GetAuthorizationToken"),
    ("events", "DeleteRule"),
    ("events", "DescribeEventBus"),
    ("logs", "DescribeLogGroups"),
    ("sns", "DeleteTopic"),
    ("ssm", "DeleteParameters"),
    ("ssm", "DescribeParameters"),
    ("ssm", "GetParameters"),
    ("ssm", "GetParametersByPath"),
    ("sts", "GetCallerIdentity"),
    ("sts", "GetSessionToken"),
];

/// Requests that name a resource which does not exist.
#[expect(clippy::too_many_lines, reason = "a table of requests")]
fn requests() -> Vec<(&'static str, &'static str, Value)> {
    let name = |member: &str| json!({ member: "absent" });
    let arn = |kind: &str| format!("arn:aws:sagemaker:us-east-1:000000000000:{kind}/absent");
    let digest = format!("sha256:{}", "0".repeat(64));
    let mut all = Vec::new();
    let pull = json!({"pullRequestId": "9"});
    let revision = json!({"pullRequestId": "9", "revisionId": "r"});
    let commits = json!({"repositoryName": "absent", "sourceCommitSpecifier": "a",
        "destinationCommitSpecifier": "b"});
    let execution = json!({"pipelineName": "absent", "pipelineExecutionId": "00000000-0000-0000-0000-000000000000"});
    all.extend([
        (
            "codecommit",
            "GetMergeConflicts",
            merged(&commits, json!({"mergeOption": "SQUASH_MERGE"})),
        ),
        ("codecommit", "GetMergeOptions", commits),
        ("codecommit", "GetPullRequest", pull),
        ("codecommit", "GetPullRequestApprovalStates", revision),
        ("codepipeline", "GetPipeline", name("name")),
        ("codepipeline", "GetPipelineExecution", execution),
        ("codepipeline", "GetPipelineState", name("name")),
    ]);
    let state = json!({"AlarmName": "absent", "StateValue": "OK", "StateReason": "r"});
    all.push(("cloudwatch", "SetAlarmState", state));
    let alarm = json!({"ResourceARN": "arn:aws:cloudwatch:us-east-1:000000000000:alarm:absent"});
    for (operation, more) in [
        ("ListTagsForResource", json!({})),
        ("TagResource", json!({"Tags": []})),
        ("UntagResource", json!({"TagKeys": []})),
    ] {
        all.push(("cloudwatch", operation, merged(&alarm, more)));
    }
    for operation in ["DescribeRule", "DisableRule", "EnableRule"] {
        all.push(("events", operation, name("Name")));
    }
    let target = json!({"Id": "t", "Arn": "arn:aws:sqs:us-east-1:000000000000:q"});
    for (operation, more) in [
        ("ListTargetsByRule", json!({})),
        ("PutTargets", json!({"Targets": [target]})),
        ("RemoveTargets", json!({"Ids": ["t"]})),
    ] {
        all.push(("events", operation, merged(&name("Rule"), more)));
    }
    let rule = json!({"ResourceARN": "arn:aws:events:us-east-1:000000000000:rule/absent"});
    for (operation, more) in [
        ("ListTagsForResource", json!({})),
        ("TagResource", json!({"Tags": []})),
        ("UntagResource", json!({"TagKeys": []})),
    ] {
        all.push(("events", operation, merged(&rule, more)));
    }
    let codebuild = |kind: &str| format!("arn:aws:codebuild:us-east-1:000000000000:{kind}");
    all.extend([
        (
            "codebuild",
            "DescribeTestCases",
            json!({"reportArn": codebuild("report/absent:0")}),
        ),
        ("codebuild", "ListBuildsForProject", name("projectName")),
        (
            "codebuild",
            "ListReportsForReportGroup",
            json!({"reportGroupArn": codebuild("report-group/absent")}),
        ),
        ("codebuild", "RetryBuild", json!({"id": "absent:0"})),
        ("codebuild", "StartBuild", name("projectName")),
        ("codebuild", "StopBuild", json!({"id": "absent:0"})),
        ("codebuild", "UpdateProject", name("name")),
    ]);
    let repository = json!({"repositoryName": "absent"});
    for (operation, more) in [
        ("DeleteBranch", json!({"branchName": "b"})),
        ("GetBranch", json!({"branchName": "b"})),
        ("GetCommit", json!({"commitId": COMMIT})),
        ("GetDifferences", json!({"afterCommitSpecifier": "main"})),
        ("GetFile", json!({"filePath": "f"})),
        ("GetFolder", json!({"folderPath": "/"})),
        ("GetRepository", json!({})),
    ] {
        all.push(("codecommit", operation, merged(&repository, more)));
    }
    let policy = json!({
        "PolicyName": "absent",
        "ResourceId": "endpoint/absent/variant/v",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
        "ServiceNamespace": "sagemaker",
    });
    all.push(("application-autoscaling", "DeleteScalingPolicy", policy));
    let connection =
        json!({"ConnectionArn": "arn:aws:codeconnections:us-east-1:000000000000:connection/0"});
    for operation in ["DeleteConnection", "GetConnection"] {
        all.push(("codeconnections", operation, connection.clone()));
    }
    for (operation, member, id) in [
        ("DeleteInternetGateway", "InternetGatewayId", "igw-0"),
        ("DeleteNatGateway", "NatGatewayId", "nat-0"),
        ("DeleteRouteTable", "RouteTableId", "rtb-0"),
        ("DeleteSecurityGroup", "GroupId", "sg-0"),
        ("DeleteSubnet", "SubnetId", "subnet-0"),
        ("DeleteVpc", "VpcId", "vpc-0"),
    ] {
        all.push(("ec2", operation, json!({ member: id })));
    }
    for (operation, member, id) in [
        ("DescribeAddresses", "AllocationId", "eipalloc-0"),
        ("DescribeFlowLogs", "FlowLogId", "fl-0"),
        ("DescribeInternetGateways", "InternetGatewayId", "igw-0"),
        ("DescribeNatGateways", "NatGatewayId", "nat-0"),
        ("DescribeRouteTables", "RouteTableId", "rtb-0"),
        ("DescribeSecurityGroups", "GroupId", "sg-0"),
        ("DescribeSubnets", "SubnetId", "subnet-0"),
        ("DescribeVpcEndpoints", "VpcEndpointId", "vpce-0"),
        ("DescribeVpcs", "VpcId", "vpc-0"),
        ("DeleteTags", "ResourceId", "vpc-0"),
    ] {
        all.push(("ec2", operation, json!({ member: [id] })));
    }
    all.push((
        "ec2",
        "DeleteRoute",
        json!({"RouteTableId": "rtb-0", "DestinationCidrBlock": "0.0.0.0/0"}),
    ));
    all.push((
        "ec2",
        "DescribeVpcAttribute",
        json!({"VpcId": "vpc-0", "Attribute": "enableDnsSupport"}),
    ));
    let image = json!({"imageId": {"imageTag": "t"}});
    for (operation, more) in [
        ("DeleteLifecyclePolicy", json!({})),
        ("DeleteRepository", json!({})),
        ("DeleteRepositoryPolicy", json!({})),
        ("DescribeImageScanFindings", image),
        ("DescribeImages", json!({})),
        ("GetDownloadUrlForLayer", json!({"layerDigest": digest})),
        ("GetLifecyclePolicy", json!({})),
        ("GetLifecyclePolicyPreview", json!({})),
        ("GetRepositoryPolicy", json!({})),
    ] {
        all.push(("ecr", operation, merged(&repository, more)));
    }
    all.push((
        "ecr",
        "DescribeRepositories",
        json!({"repositoryNames": ["absent"]}),
    ));
    for (operation, more) in [
        ("DeleteRole", json!({})),
        ("DeleteRolePermissionsBoundary", json!({})),
        ("DeleteRolePolicy", json!({"PolicyName": "p"})),
        ("GetRole", json!({})),
        ("GetRolePolicy", json!({"PolicyName": "p"})),
    ] {
        all.push(("iam", operation, merged(&name("RoleName"), more)));
    }
    for (operation, more) in [
        ("DeletePolicy", json!({})),
        ("DeletePolicyVersion", json!({"VersionId": "v1"})),
        ("GetPolicy", json!({})),
        ("GetPolicyVersion", json!({"VersionId": "v1"})),
    ] {
        all.push((
            "iam",
            operation,
            merged(&json!({"PolicyArn": POLICY}), more),
        ));
    }
    all.push(("kms", "DeleteAlias", json!({"AliasName": "alias/absent"})));
    for operation in ["DescribeKey", "GetKeyPolicy", "GetKeyRotationStatus"] {
        all.push(("kms", operation, name("KeyId")));
    }
    for operation in ["DeleteFunction", "GetFunction", "GetFunctionConfiguration"] {
        all.push(("lambda", operation, name("FunctionName")));
    }
    let function = name("FunctionName");
    let statement =
        json!({"StatementId": "s", "Action": "lambda:InvokeFunction", "Principal": "*"});
    for (operation, more) in [
        ("AddPermission", statement),
        ("GetPolicy", json!({})),
        ("RemovePermission", json!({"StatementId": "s"})),
    ] {
        all.push(("lambda", operation, merged(&function, more)));
    }
    for (operation, more) in [
        ("DeleteLogGroup", json!({})),
        ("DeleteLogStream", json!({"logStreamName": "s"})),
        ("DeleteRetentionPolicy", json!({})),
        ("DescribeLogStreams", json!({})),
        ("GetLogEvents", json!({"logStreamName": "s"})),
    ] {
        all.push(("logs", operation, merged(&name("logGroupName"), more)));
    }
    for (operation, member) in [
        ("DeleteAction", "ActionName"),
        ("DeleteCodeRepository", "CodeRepositoryName"),
        ("DeleteContext", "ContextName"),
        ("DeleteEndpoint", "EndpointName"),
        ("DeleteEndpointConfig", "EndpointConfigName"),
        ("DeleteModel", "ModelName"),
        ("DeleteModelPackage", "ModelPackageName"),
        ("DeleteModelPackageGroup", "ModelPackageGroupName"),
        ("DeleteModelPackageGroupPolicy", "ModelPackageGroupName"),
        ("DeleteNotebookInstance", "NotebookInstanceName"),
        (
            "DeleteNotebookInstanceLifecycleConfig",
            "NotebookInstanceLifecycleConfigName",
        ),
        ("DeleteProcessingJob", "ProcessingJobName"),
        ("DeleteTrainingJob", "TrainingJobName"),
        ("DescribeAction", "ActionName"),
        ("DescribeCodeRepository", "CodeRepositoryName"),
        ("DescribeContext", "ContextName"),
        ("DescribeEndpoint", "EndpointName"),
        ("DescribeEndpointConfig", "EndpointConfigName"),
        ("DescribeModel", "ModelName"),
        ("DescribeModelPackage", "ModelPackageName"),
        ("DescribeModelPackageGroup", "ModelPackageGroupName"),
        ("DescribeNotebookInstance", "NotebookInstanceName"),
        (
            "DescribeNotebookInstanceLifecycleConfig",
            "NotebookInstanceLifecycleConfigName",
        ),
        ("DescribePipeline", "PipelineName"),
        ("DescribeProcessingJob", "ProcessingJobName"),
        ("DescribeTrainingJob", "TrainingJobName"),
        ("DescribeTrialComponent", "TrialComponentName"),
        ("GetModelPackageGroupPolicy", "ModelPackageGroupName"),
    ] {
        all.push(("sagemaker", operation, name(member)));
    }
    let token = "x".repeat(32);
    let pipeline = json!({"PipelineName": "absent", "ClientRequestToken": token});
    let tags = json!({"ResourceArn": arn("model"), "TagKeys": ["k"]});
    let edge = json!({"SourceArn": arn("artifact"), "DestinationArn": arn("context")});
    let execution = json!({ "PipelineExecutionArn": EXECUTION });
    let artifact = json!({"ArtifactArn": arn("artifact")});
    all.extend([
        ("sagemaker", "DeleteArtifact", artifact.clone()),
        ("sagemaker", "DeleteAssociation", edge),
        ("sagemaker", "DeletePipeline", pipeline),
        ("sagemaker", "DeleteTags", tags),
        ("sagemaker", "DescribeArtifact", artifact),
        (
            "sagemaker",
            "DescribePipelineDefinitionForExecution",
            execution.clone(),
        ),
        ("sagemaker", "DescribePipelineExecution", execution),
    ]);
    let queue = json!({"QueueUrl": "http://127.0.0.1:1/000000000000/absent"});
    let receipt = json!({"ReceiptHandle": "r", "VisibilityTimeout": 0});
    let message = json!({"MessageBody": "m"});
    let entry = json!({"Entries": [{"Id": "i", "ReceiptHandle": "r", "VisibilityTimeout": 0}]});
    let entries = json!({"Entries": [{"Id": "i", "MessageBody": "m"}]});
    for (operation, more) in [
        ("ChangeMessageVisibility", receipt),
        ("ChangeMessageVisibilityBatch", entry),
        ("DeleteMessage", json!({"ReceiptHandle": "r"})),
        (
            "DeleteMessageBatch",
            json!({"Entries": [{"Id": "i", "ReceiptHandle": "r"}]}),
        ),
        ("DeleteQueue", json!({})),
        ("GetQueueAttributes", json!({})),
        ("ListDeadLetterSourceQueues", json!({})),
        ("ListQueueTags", json!({})),
        ("PurgeQueue", json!({})),
        ("ReceiveMessage", json!({})),
        ("SendMessage", message),
        ("SendMessageBatch", entries),
        ("SetQueueAttributes", json!({"Attributes": {}})),
        ("TagQueue", json!({"Tags": {}})),
        ("UntagQueue", json!({"TagKeys": []})),
    ] {
        all.push(("sqs", operation, merged(&queue, more)));
    }
    all.push(("sqs", "GetQueueUrl", name("QueueName")));
    for operation in [
        "DeleteSchedule",
        "DeleteScheduleGroup",
        "GetSchedule",
        "GetScheduleGroup",
    ] {
        all.push(("scheduler", operation, name("Name")));
    }
    let topic = "arn:aws:sns:us-east-1:000000000000:absent";
    let of_topic = json!({"TopicArn": topic});
    for (operation, more) in [
        ("ConfirmSubscription", json!({"Token": "t"})),
        ("GetTopicAttributes", json!({})),
        ("ListSubscriptionsByTopic", json!({})),
        ("Publish", json!({"Message": "m"})),
        (
            "SetTopicAttributes",
            json!({"AttributeName": "DisplayName"}),
        ),
        (
            "Subscribe",
            json!({"Protocol": "email", "Endpoint": "a@example.com"}),
        ),
    ] {
        all.push(("sns", operation, merged(&of_topic, more)));
    }
    let subscription = json!({"SubscriptionArn": format!("{topic}:0")});
    let attribute = json!({"AttributeName": "RawMessageDelivery", "AttributeValue": "true"});
    all.extend([
        ("sns", "GetSubscriptionAttributes", subscription.clone()),
        (
            "sns",
            "SetSubscriptionAttributes",
            merged(&subscription, attribute),
        ),
        ("sns", "ListTagsForResource", json!({"ResourceArn": topic})),
        (
            "sns",
            "TagResource",
            json!({"ResourceArn": topic, "Tags": []}),
        ),
        (
            "sns",
            "UntagResource",
            json!({"ResourceArn": topic, "TagKeys": []}),
        ),
    ]);
    for operation in ["GetParameter", "GetParameterHistory", "DeleteParameter"] {
        all.push(("ssm", operation, name("Name")));
    }
    for operation in ["LabelParameterVersion", "UnlabelParameterVersion"] {
        let label = json!({"Labels": ["l"], "ParameterVersion": 1});
        all.push(("ssm", operation, merged(&name("Name"), label)));
    }
    let parameter = json!({"ResourceType": "Parameter", "ResourceId": "absent"});
    for operation in [
        "AddTagsToResource",
        "RemoveTagsFromResource",
        "ListTagsForResource",
    ] {
        let more = match operation {
            "AddTagsToResource" => json!({"Tags": [{"Key": "k", "Value": "v"}]}),
            "RemoveTagsFromResource" => json!({"TagKeys": ["k"]}),
            _ => json!({}),
        };
        all.push(("ssm", operation, merged(&parameter, more)));
    }
    all
}

fn merged(base: &Value, more: Value) -> Value {
    let mut merged = base.clone();
    if let (Value::Object(merged), Value::Object(more)) = (&mut merged, more) {
        merged.extend(more);
    }
    merged
}

#[tokio::test]
async fn a_resource_that_does_not_exist_is_not_found() {
    let test = TestCloud::new();
    let cloud = test.cloud();
    let mut wrong = Vec::new();
    for (service, operation, input) in requests() {
        match cloud.call(service, operation, input).await {
            Err(error) if error.kind == ErrorKind::NotFound => {}
            other => wrong.push(format!("{service}:{operation}: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A new operation that names a resource needs a request above.
#[test]
fn every_operation_on_a_resource_has_a_request() {
    let known: BTreeSet<_> = requests()
        .iter()
        .map(|(service, operation, _)| (*service, *operation))
        .chain(WITHOUT_ABSENCE.iter().copied())
        .collect();
    for service in SERVICES {
        // CloudFormation's own errors are a ValidationError for everything.
        if service.name == "cloudformation" {
            continue;
        }
        for operation in service.operations.iter().copied().flatten() {
            let reads = ["Describe", "Get", "Delete"]
                .iter()
                .any(|verb| operation.name.starts_with(verb));
            assert!(
                !reads || known.contains(&(service.name, operation.name)),
                "{}:{} has no request for an absent resource",
                service.name,
                operation.name
            );
        }
    }
}
