//! What the working day of the tests does not provoke.

/// Operations of a command that these runs do not provoke, with the reason.
pub(super) const NOT_PROVOKED: &[(&str, &str, &str)] = &[
    (
        "*",
        "cloudformation:DeleteChangeSet",
        "a change set that was abandoned",
    ),
    (
        "*",
        "cloudformation:DeleteStack",
        "a stack whose creation failed",
    ),
    (
        "image push",
        "cloudformation:CreateChangeSet",
        "another analyzer",
    ),
    (
        "image push",
        "cloudformation:DescribeChangeSet",
        "another analyzer",
    ),
    (
        "image push",
        "cloudformation:DescribeStackEvents",
        "another analyzer",
    ),
    (
        "image push",
        "cloudformation:ExecuteChangeSet",
        "another analyzer",
    ),
    ("data push", "s3:HeadObject", "an interrupted push"),
    ("runs watch", "ecr:DescribeImages", "a pushed commit"),
    (
        "status",
        "cloudformation:DescribeStackEvents",
        "a release whose client was killed",
    ),
    (
        "endpoint delete",
        "sagemaker:DescribeEndpointConfig",
        "an endpoint that no stack contains",
    ),
    (
        "endpoint delete",
        "sagemaker:DescribeModel",
        "an endpoint that no stack contains",
    ),
    (
        "init",
        "s3:GetObject",
        "CloudFormation, of a long template, for the caller",
    ),
    (
        "plan",
        "s3:GetObject",
        "CloudFormation, of a long template, for the caller",
    ),
    ("plan", "s3:PutObject", "a template that has changed"),
    ("data push", "s3:ListParts", "an interrupted push"),
    ("train", "s3:UploadPartCopy", "an object of more than 5 GiB"),
    (
        "train",
        "s3:CreateMultipartUpload",
        "an object of more than 5 GiB",
    ),
    (
        "train",
        "s3:CompleteMultipartUpload",
        "an object of more than 5 GiB",
    ),
    (
        "train",
        "s3:AbortMultipartUpload",
        "an object of more than 5 GiB",
    ),
    (
        "validate --dataset",
        "s3:UploadPartCopy",
        "an object of more than 5 GiB",
    ),
    (
        "validate --dataset",
        "s3:CreateMultipartUpload",
        "an object of more than 5 GiB",
    ),
    (
        "validate --dataset",
        "s3:CompleteMultipartUpload",
        "an object of more than 5 GiB",
    ),
    (
        "validate --dataset",
        "s3:AbortMultipartUpload",
        "an object of more than 5 GiB",
    ),
    (
        "doctor",
        "sagemaker:ListMonitoringSchedules",
        "not on the local cloud",
    ),
    (
        "doctor",
        "servicequotas:GetServiceQuota",
        "not on the local cloud",
    ),
    (
        "doctor",
        "servicequotas:GetAWSDefaultServiceQuota",
        "not on the local cloud",
    ),
    ("destroy", "s3:AbortMultipartUpload", "an unfinished upload"),
    (
        "destroy",
        "sagemaker:DescribePipelineExecution",
        "a run in progress",
    ),
    (
        "plan",
        "cloudformation:DescribeStackEvents",
        "a deployment in progress",
    ),
    (
        "destroy",
        "sagemaker:StopPipelineExecution",
        "a run in progress",
    ),
    ("doctor", "ec2:DescribeVpcs", "only with quotas"),
    (
        "notebook start",
        "logs:DescribeLogStreams",
        "a start that fails",
    ),
    ("notebook start", "logs:GetLogEvents", "a start that fails"),
    (
        "endpoint logs",
        "logs:DescribeLogStreams",
        "a log without a new line",
    ),
    (
        "endpoint show",
        "cloudwatch:DescribeAlarms",
        "a deployment with alarms",
    ),
    (
        "endpoint show",
        "logs:DescribeLogStreams",
        "a deployment that failed",
    ),
    (
        "endpoint show",
        "logs:GetLogEvents",
        "a deployment that failed",
    ),
    (
        "*",
        "logs:DescribeLogStreams",
        "a deployment or a start that fails",
    ),
    (
        "*",
        "logs:GetLogEvents",
        "a deployment or a start that fails",
    ),
    (
        "image push",
        "ecr:DescribeImageScanFindings",
        "only with --fail-on",
    ),
    ("image push", "ecr:StartImageScan", "only with --fail-on"),
    (
        "releases verify --record",
        "cloudformation:CreateChangeSet",
        "an endpoint that returned to the release before",
    ),
    (
        "releases verify --record",
        "cloudformation:DescribeChangeSet",
        "an endpoint that returned to the release before",
    ),
    (
        "releases verify --record",
        "cloudformation:DescribeStackEvents",
        "an endpoint that returned to the release before",
    ),
    (
        "releases verify --record",
        "cloudformation:ExecuteChangeSet",
        "an endpoint that returned to the release before",
    ),
    (
        "releases verify --record",
        "sagemaker:CreateArtifact",
        "a version without lineage",
    ),
    (
        "rollback",
        "sagemaker:AddAssociation",
        "a version without lineage",
    ),
    (
        "rollback",
        "sagemaker:CreateArtifact",
        "a version without lineage",
    ),
    ("*", "cloudwatch:DescribeAlarms", "a deployment that fails"),
    (
        "*",
        "cloudwatch:DescribeAlarmHistory",
        "a deployment that fails",
    ),
    (
        "*",
        "sagemaker:DeleteEndpointConfig",
        "more releases than are kept",
    ),
    ("*", "sagemaker:DeleteModel", "more releases than are kept"),
    ("*", "sagemaker:DescribeTrainingJob", "a job that fails"),
    ("doctor", "ec2:DescribeInternetGateways", "only with quotas"),
    ("doctor", "ec2:DescribeAddresses", "only with quotas"),
];
