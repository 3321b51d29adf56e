//! A text for each row: most are messages that users quoted in public issues, shortened.

use super::Place::{self, Action, Build, Job, Monitor, Server, Stack, Step};
use super::Source::{self, Line, Reason};

pub(super) struct Example {
    pub(super) kind: &'static str,
    pub(super) place: Place,
    pub(super) source: Source,
    pub(super) text: &'static str,
}

const fn reason(kind: &'static str, place: Place, text: &'static str) -> Example {
    Example {
        kind,
        place,
        source: Reason,
        text,
    }
}

const fn line(kind: &'static str, place: Place, text: &'static str) -> Example {
    Example {
        kind,
        place,
        source: Line,
        text,
    }
}

pub(super) const EXAMPLES: &[Example] = &[
    reason("gate", Step, "Execution failed due to RMSE > 1.0"),
    reason(
        "data-denied",
        Job,
        "ClientError: Data download failed:Unable to download object s3://b/k (AccessDenied: Access Denied)",
    ),
    reason(
        "double-slash",
        Job,
        "ClientError: Data download failed:Failed to download data. S3 key: s3://b/a//c has an illegal char sub-sequence '//' in it",
    ),
    reason(
        "no-data",
        Step,
        "No S3 objects found under S3 URL \"s3://b/labels/2026/11/30/05\" given in input data source. Please ensure that the bucket exists in the selected region, that objects exist under that S3 prefix, and that the role has \"s3:ListBucket\" permissions",
    ),
    reason(
        "no-data",
        Monitor,
        "No S3 objects found under S3 URL \"s3://b/labels/2026/11/30/05\" given in input data source. Please ensure that the bucket exists in the selected region, that objects exist under that S3 prefix, and that the role has \"s3:ListBucket\" permissions",
    ),
    reason(
        "data-download",
        Job,
        "ClientError: Data download failed:Unable to download object: connection reset",
    ),
    reason(
        "property-file",
        Step,
        "ClientError: Cannot access S3 key: runs/x/output/evaluation/evaluation.json.",
    ),
    reason(
        "missing-bucket",
        Job,
        "ClientError: Could not access S3 bucket b of s3://b/k: NoSuchBucket: The specified bucket does not exist",
    ),
    line(
        "missing-bucket",
        Build,
        "An error occurred (NoSuchBucket) when calling the PutObject operation: The specified bucket does not exist",
    ),
    reason(
        "server-ended",
        Job,
        "InternalServerError: the local cloud ended while the job ran",
    ),
    reason(
        "internal-error",
        Job,
        "InternalServerError: We encountered an internal error.  Please try again.",
    ),
    reason(
        "capacity-zone",
        Server,
        "EC2InsufficientCapacityError: Instance type 'ml.g5.48xlarge' is temporarily unavailable in supported availability zones [euw1-az1].",
    ),
    reason(
        "capacity",
        Job,
        "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML instance type.",
    ),
    reason(
        "quota-processing",
        Step,
        "ResourceLimitExceeded … The account-level service limit 'Number of instances across all processing jobs' is 4 Instances, with current utilization of 0 Instances and a request delta of 11 Instances",
    ),
    reason(
        "quota",
        Step,
        "ResourceLimitExceeded … The account-level service limit 'ml.p3.2xlarge for training job usage' is 0 Instances, with current utilization of 0 Instances and a request delta of 1 Instances.",
    ),
    reason(
        "quota",
        Stack,
        "The maximum number of VPCs has been reached. (Service: AmazonEC2; Status Code: 400; Error Code: VpcLimitExceeded)",
    ),
    reason(
        "throttled",
        Step,
        "ThrottlingException … CreateTrainingJob operation (reached max retries: 4): Rate exceeded",
    ),
    reason(
        "assume-role",
        Job,
        "ClientError: SageMaker was unable to assume the role 'arn:aws:iam::111122223333:role/AmazonSageMaker-ExecutionRole-1'",
    ),
    reason(
        "assume-role",
        Step,
        "Could not assume role arn:aws:iam::111122223333:role/x. Please ensure that the role exists and allows principal 'sagemaker.amazonaws.com' to assume the role.",
    ),
    reason(
        "assume-role",
        Job,
        "TrainingHostAgent Initialization failed:InvalidInputException: SageMaker is unable to perform: sts:AssumeRole on the role.",
    ),
    reason(
        "managed-rule",
        Stack,
        "arn:aws:iam::111122223333:role/x is not authorized to create managed-rule. (Service: AWSStepFunctions; Status Code: 400; Error Code: AccessDeniedException)",
    ),
    line(
        "expired-token",
        Job,
        "botocore.exceptions.ClientError: An error occurred (ExpiredToken) when calling the PutObject operation: The provided token has expired.",
    ),
    reason(
        "missing-model",
        Server,
        "Failed to extract model data archive for container \"container_1\" from URL \"s3://b/model_mnist.tar.gz\". Please ensure that the object located at the URL is a valid tar.gz archive",
    ),
    reason(
        "missing-model",
        Server,
        "Failed to download model data for container \"container_1\" from URL: \"s3://b/output/model.tar.gz\". Please ensure that there is an object located at the URL and that the role passed to CreateModel has permissions",
    ),
    reason(
        "missing-model",
        Step,
        "ClientError: Could not find model data at s3://b/output/model.tar.gz.",
    ),
    reason(
        "cannot-start",
        Server,
        "CannotStartContainerError. Please ensure the model container for variant AllTraffic starts correctly when invoked with 'docker run <image> serve'",
    ),
    reason(
        "already-exists",
        Stack,
        "Cannot create already existing endpoint \"arn:aws:sagemaker:us-east-1:111122223333:endpoint/x\".",
    ),
    reason(
        "missing-configuration",
        Server,
        "Could not find endpoint configuration \"arn:aws:sagemaker:us-east-1:111122223333:endpoint-config/x\".",
    ),
    reason(
        "image-tag",
        Stack,
        "ECR image \"111122223333.dkr.ecr.us-east-1.amazonaws.com/decision-trees-sample\" is invalid.",
    ),
    reason(
        "image",
        Server,
        "Please make sure all images included in the model for the production variant AllTraffic exist, and that the execution role used to create the model has permissions to access them.",
    ),
    reason(
        "image",
        Step,
        "Invalid training image. Please provide a valid Amazon Elastic Container Registry path of the Docker image to run.",
    ),
    reason(
        "image",
        Job,
        "ClientError: API error (404): manifest for x not found: manifest unknown: Requested image not found",
    ),
    reason(
        "time-limit",
        Job,
        "MaxRuntimeExceeded: Training job runtime exceeded MaxRuntimeInSeconds provided",
    ),
    reason("out-of-memory", Job, "AlgorithmError: , exit code: 137"),
    reason("segmentation-fault", Job, "AlgorithmError: Exit Code: 139"),
    reason(
        "illegal-instruction",
        Job,
        "the container ended with exit code '132'",
    ),
    reason(
        "aborted",
        Job,
        "AlgorithmError: See job logs for more information, exit code: 134",
    ),
    reason(
        "terminated",
        Job,
        "AlgorithmError: See job logs for more information, exit code: 143",
    ),
    line(
        "no-program",
        Job,
        "[mlops] no program `train` in the image (PATH=/opt/program:/usr/bin)",
    ),
    reason(
        "cannot-start",
        Job,
        "AlgorithmError: See job logs for more information, exit code: 126",
    ),
    line(
        "cannot-start",
        Job,
        "exec /opt/program/train: exec format error",
    ),
    reason(
        "package-group",
        Step,
        "ValidationException … CreateModelPackage operation: Missing ARN",
    ),
    reason(
        "invalid-value",
        Step,
        "ClientError: 1 validation error detected: Value 'ml.m5.tiny' at 'resourceConfig.instanceType' failed to satisfy constraint: Member must satisfy enum value set",
    ),
    reason(
        "permission",
        Step,
        "An error occurred (403) when calling the HeadObject operation: Forbidden",
    ),
    line(
        "missing-object",
        Job,
        "botocore.exceptions.ClientError: An error occurred (404) when calling the HeadObject operation: Not Found",
    ),
    // Monitors.
    reason("no-captured-data", Monitor, "Job inputs had no data"),
    reason(
        "encoding-mismatch",
        Monitor,
        "Error: Encoding mismatch: Encoding is CSV for endpointInput, but Encoding is JSON for endpointOutput. We currently only support the same type of input and output encoding at the moment.",
    ),
    reason(
        "nested-json",
        Monitor,
        "AlgorithmError: Error: We currently only support flat json at the moment., exit code: 255",
    ),
    reason(
        "dataset-format",
        Job,
        "AlgorithmError: Error: Could not find any json file under directory /opt/ml/processing/input/baseline_dataset_input. Please verify if the provided dataset path is correct or if data capturing in your Endpoint is turned on.",
    ),
    reason(
        "analyzer-environment",
        Job,
        "AlgorithmError: 'dataset_source', exit code: 255",
    ),
    reason(
        "schedule-pending",
        Stack,
        "ValidationException … DeleteMonitoringSchedule operation: Monitoring schedule in status Pending",
    ),
    reason(
        "label-values",
        Job,
        "ClientError: No Label values are present in the predicted Label Column,Positive Predicted Index Series contains all False values",
    ),
    line(
        "group-variable",
        Job,
        "ValueError: Group variable is empty or not provided",
    ),
    line(
        "small-facet",
        Monitor,
        "analysis of pre-training bias failed: IndexOutOfBounds",
    ),
    // Builds.
    reason(
        "buildspec-missing",
        Build,
        "Phase context status code: YAML_FILE_ERROR Message: stat /codebuild/output/src1/buildspecs/build.yml: no such file or directory",
    ),
    reason(
        "buildspec-syntax",
        Build,
        "YAML_FILE_ERROR Message: did not find expected ',' or ']' at line 19",
    ),
    reason(
        "missing-artifact",
        Build,
        "CLIENT_ERROR Message: no matching artifact paths found",
    ),
    reason(
        "build-image",
        Build,
        "BUILD_CONTAINER_UNABLE_TO_PULL_IMAGE: Unable to pull customer's container image. CannotPullContainerError: Error response from daemon: pull access denied, repository does not exist or may require 'docker login'",
    ),
    line(
        "pull-limit",
        Build,
        "toomanyrequests: You have reached your pull rate limit.",
    ),
    line(
        "docker-daemon",
        Build,
        "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
    ),
    reason(
        "build-logs",
        Build,
        "ACCESS_DENIED: Service role arn:aws:iam::111122223333:role/x does not allow AWS CodeBuild to create Amazon CloudWatch Logs log streams for build arn:aws:codebuild:…",
    ),
    reason(
        "build-timeout",
        Build,
        "BUILD_TIMED_OUT: Build has timed out.",
    ),
    reason(
        "local-cloud-ended",
        Build,
        "INTERNAL_SERVER_ERROR: the local cloud ended while the build was in progress",
    ),
    line(
        "command-not-found",
        Build,
        "/codebuild/output/tmp/script.sh: line 4: jq: command not found",
    ),
    line(
        "data-violations",
        Build,
        "1000 rows, 3 columns: 4 violations",
    ),
    line(
        "pipeline-variable",
        Build,
        "TypeError: Pipeline variables do not support __str__ operation. Please use .to_string()",
    ),
    line(
        "pipeline-output",
        Build,
        "AttributeError: 'NoneType' object has no attribute 's3_uri'",
    ),
    line(
        "git-access",
        Build,
        "fatal: could not read Username for 'https://git-codecommit.us-east-1.amazonaws.com': No such device or address",
    ),
    // Pipelines and stacks.
    reason(
        "artifact-access",
        Action,
        "Insufficient permissions The service role or action role doesn't have the permissions required to access the Amazon S3 bucket named flights-artifacts. Error: Amazon S3:AccessDenied",
    ),
    reason(
        "lambda-result",
        Action,
        "The AWS Lambda function gate failed to return a result. Check the function to verify that it has permission to call the PutJobSuccessResult action",
    ),
    reason(
        "stack-events",
        Action,
        "Failed to update stack. Current status: UPDATE_ROLLBACK_COMPLETE. Status reason is not available because IAM role x does not have CloudFormation DescribeStackEvents permission",
    ),
    reason(
        "stack-not-created",
        Stack,
        "Stack:arn:aws:cloudformation:us-east-1:111122223333:stack/x/1 is in ROLLBACK_COMPLETE state and can not be updated.",
    ),
    reason(
        "rollback-failed",
        Stack,
        "Stack:arn:aws:cloudformation:us-east-1:111122223333:stack/x/1 is in UPDATE_ROLLBACK_FAILED state and can not be updated.",
    ),
    reason(
        "export-in-use",
        Stack,
        "Export foo-Vpc cannot be deleted as it is in use by foo-app",
    ),
    reason(
        "nested-stack",
        Stack,
        "Embedded stack arn:aws:cloudformation:us-east-1:111122223333:stack/x/1 was not successfully created: The following resource(s) failed to create: [Model].",
    ),
    reason(
        "bucket-not-empty",
        Stack,
        "The bucket you tried to delete is not empty. You must delete all versions in the bucket. (Service: Amazon S3; Status Code: 409; Error Code: BucketNotEmpty)",
    ),
    reason(
        "already-exists",
        Stack,
        "flights-data-111122223333 already exists in stack arn:aws:cloudformation:us-east-1:111122223333:stack/x/1",
    ),
    reason(
        "domain-exists",
        Stack,
        "AWS::SageMaker::Domain with identifier already exist",
    ),
    reason(
        "custom-resource",
        Stack,
        "Received response status [FAILED] from custom resource. Message returned: See the details in CloudWatch Log Stream: 2026/11/30/[$LATEST]1",
    ),
    reason(
        "function-code",
        Stack,
        "Your access has been denied by S3, please make sure your request credentials have permission to GetObject for b/k.",
    ),
    reason(
        "capabilities",
        Stack,
        "InsufficientCapabilitiesException: Requires capabilities : [CAPABILITY_NAMED_IAM]",
    ),
    reason(
        "template-export",
        Stack,
        "No export named flights-network-Vpc found",
    ),
    reason("no-update", Action, "No updates are to be performed."),
    // Programs.
    line(
        "out-of-memory",
        Job,
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
    ),
    line(
        "out-of-memory",
        Job,
        "MemoryError: Unable to allocate 9.31 GiB for an array",
    ),
    line(
        "disk-full",
        Job,
        "OSError: [Errno 28] No space left on device: '/opt/ml/model/weights'",
    ),
    reason(
        "disk-full",
        Job,
        "ClientError: Artifact upload failed:Insufficient disk space",
    ),
    line(
        "import-error",
        Job,
        "ImportError: libGL.so.1: cannot open shared object file: No such file or directory",
    ),
    line(
        "pickle-main",
        Server,
        "AttributeError: Can't get attribute 'Scaler' on <module '__main__' from '/opt/program/serve'>",
    ),
    line(
        "pickle-version",
        Server,
        "ModuleNotFoundError: No module named 'numpy._core'",
    ),
    line(
        "pickle-version",
        Server,
        "ValueError: node array from the pickle has an incompatible dtype:",
    ),
    line(
        "binary-incompatible",
        Job,
        "ValueError: numpy.dtype size changed, may indicate binary incompatibility. Expected 96 from C header, got 88 from PyObject",
    ),
    line(
        "system-library",
        Job,
        "ImportError: /lib/x86_64-linux-gnu/libm.so.6: version `GLIBC_2.38' not found (required by /opt/x.so)",
    ),
    line(
        "import-error",
        Job,
        "ModuleNotFoundError: No module named 'pandas'",
    ),
    line(
        "import-error",
        Job,
        "ImportError: cannot import name 'gcd' from 'fractions'",
    ),
    line(
        "package-not-found",
        Job,
        "ERROR: No matching distribution found for pandas==99",
    ),
    line(
        "missing-model",
        Server,
        "FileNotFoundError: [Errno 2] No such file or directory: '/opt/ml/model/model.joblib'",
    ),
    line(
        "missing-input",
        Job,
        "FileNotFoundError: [Errno 2] No such file or directory: '/opt/ml/input/data/train/flights.csv'",
    ),
    line(
        "missing-file",
        Job,
        "FileNotFoundError: [Errno 2] No such file or directory: 'labels.txt'",
    ),
    line(
        "permission",
        Job,
        "PermissionError: [Errno 13] Permission denied: '/opt/x'",
    ),
    line(
        "label-range",
        Job,
        "xgboost.core.XGBoostError: [12:00:00] ../src/objective/regression_obj.cu:108: label must be in [0,1] for logistic regression",
    ),
    line(
        "one-class",
        Job,
        "ValueError: This solver needs samples of at least 2 classes in the data, but the data contains only one class: 0",
    ),
    line(
        "empty-data",
        Job,
        "pandas.errors.EmptyDataError: No columns to parse from file",
    ),
    line("missing-values", Job, "ValueError: Input X contains NaN."),
    line(
        "text-for-number",
        Job,
        "ValueError: could not convert string to float: 'JFK'",
    ),
    line(
        "feature-mismatch",
        Server,
        "ValueError: X has 22 features, but RandomForestRegressor is expecting 23 features as input.",
    ),
    line("sagemaker-variable", Job, "KeyError: 'SM_CHANNEL_TRAIN'"),
    line("missing-column", Job, "KeyError: 'distance'"),
    line(
        "missing-column",
        Job,
        "KeyError: \"['distance'] not in index\"",
    ),
    line(
        "csv-format",
        Job,
        "pandas.errors.ParserError: Error tokenizing data. C error: Expected 3 fields in line 4, saw 5",
    ),
    line(
        "json-format",
        Job,
        "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
    ),
    line(
        "text-encoding",
        Job,
        "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xe9 in position 3: invalid continuation byte",
    ),
    line("syntax-error", Job, "SyntaxError: invalid syntax"),
    line(
        "arguments",
        Job,
        "train.py: error: unrecognized arguments: --epochs 3",
    ),
    line("gpu", Job, "RuntimeError: No CUDA GPUs are available"),
    line(
        "certificate",
        Job,
        "ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer certificate",
    ),
    line(
        "no-network",
        Job,
        "urllib.error.URLError: <urlopen error [Errno -3] Temporary failure in name resolution>",
    ),
    line(
        "no-region",
        Job,
        "botocore.exceptions.NoRegionError: You must specify a region.",
    ),
    line(
        "no-credentials",
        Job,
        "botocore.exceptions.NoCredentialsError: Unable to locate credentials",
    ),
    line(
        "permission",
        Job,
        "botocore.exceptions.ClientError: An error occurred (AccessDenied) when calling the GetObject operation: Access Denied",
    ),
];
