//! What SageMaker reports about jobs, steps, models and endpoints.

use super::Place::{Action, Build, Job, Monitor, Server, Stack, Step};
use super::Signs::{Both, Lines, Reason};
use super::{GATE, Known, PERMISSION, Place, TIME_LIMIT};

/// Places in which a container runs.
const CONTAINERS: &[Place] = &[Job, Server, Monitor];

/// Places in which a role is assumed.
const ROLES: &[Place] = &[Job, Step, Server, Stack, Monitor];

pub(super) const ROWS: &[Known] = &[
    Known {
        kind: GATE,
        places: &[Step],
        signs: Reason(&["Execution failed due to"]),
        what: "a condition of the pipeline did not hold: `{line}`",
        fix: "train a better model, or change the limit of the condition",
    },
    // Data.
    Known {
        kind: "data-denied",
        places: &[Job, Monitor],
        signs: Reason(&["Data download failed:…(AccessDenied"]),
        what: "the role may not read the input data, or the key that encrypts it",
        fix: "allow s3:GetObject and s3:ListBucket (and kms:Decrypt for an encrypted bucket) for the role, and check the bucket's policy",
    },
    Known {
        kind: "double-slash",
        places: &[Job, Monitor],
        signs: Reason(&["has an illegal char sub-sequence '//'"]),
        what: "the address of the input data contains `//`",
        fix: "remove the slash at the end of the prefix before a key is appended to it",
    },
    Known {
        kind: "no-data",
        places: &[Job, Step],
        signs: Reason(&["No S3 objects found under S3 URL \"{uri}\""]),
        what: "no object exists under {uri}, or the role may not list the bucket",
        fix: "check the address, that an earlier step has written there, and the role's s3:ListBucket",
    },
    Known {
        kind: "no-data",
        places: &[Monitor],
        signs: Reason(&["No S3 objects found under S3 URL \"{uri}\""]),
        what: "no object exists under {uri}, or the role may not list the bucket",
        fix: "a model quality monitor needs ground truth for the hour (…/yyyy/mm/dd/hh); otherwise check the address and the role's s3:ListBucket",
    },
    Known {
        kind: "data-download",
        places: &[Job, Monitor],
        signs: Reason(&["Data download failed"]),
        what: "the input data cannot be downloaded: `{line}`",
        fix: "check that the objects exist, and that the role may read them",
    },
    Known {
        kind: "property-file",
        places: &[Step],
        signs: Reason(&["Cannot access S3 key: {key}"]),
        what: "a condition reads {key}, which the earlier step did not write",
        fix: "write the file with the name and below the output that the step's PropertyFile declares",
    },
    Known {
        kind: "missing-bucket",
        places: &[Job, Step, Server, Build, Action, Stack, Monitor],
        signs: Both(&["NoSuchBucket", "The specified bucket does not exist"]),
        what: "an S3 bucket does not exist: `{line}`",
        fix: "check the bucket's name and region",
    },
    // The service.
    Known {
        kind: "server-ended",
        places: &[Job, Step, Server, Monitor],
        signs: Reason(&[
            "the local cloud ended while",
            "the local cloud ended during",
        ]),
        what: "the local cloud was stopped or killed while this was in progress",
        fix: "start it again: nothing in progress is resumed",
    },
    Known {
        kind: "internal-error",
        places: &[Job, Step, Server, Monitor],
        signs: Reason(&["We encountered an internal error"]),
        what: "SageMaker lost the job; often, the instance ran out of memory or disk space",
        fix: "try again; if it fails again, choose a larger instance, or process less at once",
    },
    Known {
        kind: "capacity-zone",
        places: &[Job, Server],
        signs: Reason(&["is temporarily unavailable in supported availability zones [{zones}]"]),
        what: "no instance of this type is available in {zones}, the only zones of the subnets",
        fix: "add subnets in other availability zones, or choose another instance type",
    },
    Known {
        kind: "capacity",
        places: &[Job, Step, Server, Monitor],
        signs: Reason(&[
            "InsufficientCapacity",
            "InsufficientCapacityException",
            "InsufficientInstanceCapacity",
            "EC2InsufficientCapacityError",
            "Unable to provision requested ML compute capacity",
            "CapacityError",
        ]),
        what: "no instance of this type is available at the moment",
        fix: "try again later, or choose another instance type",
    },
    Known {
        kind: "quota-processing",
        places: &[Job, Step, Monitor],
        signs: Both(&["service limit 'Number of instances across all processing jobs'"]),
        what: "too many processing jobs run at once; each rule of the debugger and profiler is one",
        fix: "turn off the profiler and rules that are not needed, or request a higher quota",
    },
    Known {
        kind: "quota",
        places: &[Job, Step, Server, Stack, Monitor],
        signs: Both(&[
            "ResourceLimitExceeded",
            "account-level service limit",
            "The maximum number of {resources} has been reached",
        ]),
        what: "the account's quota for this instance type or resource is exhausted",
        fix: "request a higher quota (`mlops doctor` shows it), or choose another instance type",
    },
    Known {
        kind: "throttled",
        places: &[Job, Step, Server, Build, Action, Stack, Monitor],
        signs: Both(&[
            "ThrottlingException",
            "Rate exceeded",
            "TooManyRequestsException",
        ]),
        what: "the service refused requests because there were too many at once: `{line}`",
        fix: "start fewer jobs at once, and retry with increasing pauses (AWS_RETRY_MODE=adaptive)",
    },
    // Roles.
    Known {
        kind: "assume-role",
        places: ROLES,
        signs: Reason(&[
            "was unable to assume the role",
            "Could not assume role",
            "is unable to perform: sts:AssumeRole on the role",
        ]),
        what: "SageMaker cannot assume the role: it does not exist, or does not trust SageMaker",
        fix: "pass the role's complete ARN with its path, and allow sagemaker.amazonaws.com in its trust policy",
    },
    Known {
        kind: "managed-rule",
        places: &[Step, Action, Stack],
        signs: Reason(&["is not authorized to create managed-rule"]),
        what: "the role of the state machine may not create the rule that waits for the job",
        fix: "allow events:PutRule, events:PutTargets and events:DescribeRule on StepFunctionsGetEvents* for the role",
    },
    Known {
        kind: "expired-token",
        places: &[Job, Step, Server, Build, Action, Stack, Monitor],
        signs: Both(&[
            "ExpiredToken",
            "ExpiredTokenException",
            "The security token included in the request is expired",
            "RequestExpired",
        ]),
        what: "the credentials have expired: `{line}`",
        fix: "create clients after long computations, and do not pass credentials in variables: the role's own are renewed",
    },
    // Models and endpoints.
    Known {
        kind: "missing-model",
        places: &[Server, Step, Stack],
        signs: Reason(&["Failed to extract model data archive"]),
        what: "the model's artifact cannot be unpacked",
        fix: "create it with `tar czf` from regular files: a plain tar, a truncated file and symbolic links are refused",
    },
    Known {
        kind: "missing-model",
        places: &[Server, Step, Stack],
        signs: Reason(&["Failed to download model data"]),
        what: "the model's artifact cannot be downloaded",
        fix: "check that the artifact exists, is a gzipped tar, and can be read by the endpoint's role",
    },
    Known {
        kind: "missing-model",
        places: &[Server, Step, Stack],
        signs: Reason(&["Could not find model data at {uri}"]),
        what: "there is no artifact at {uri}",
        fix: "check that `train` writes its model to /opt/ml/model, and use the address that the training job reports",
    },
    Known {
        kind: "cannot-start",
        places: &[Server, Stack],
        signs: Reason(&["CannotStartContainerError"]),
        what: "the container has no executable program for its command, or is built for another CPU",
        fix: "check that image/program/serve is executable, and build the image for linux/amd64",
    },
    Known {
        kind: "already-exists",
        places: &[Server, Step, Stack],
        signs: Reason(&["Cannot create already existing {type}"]),
        what: "a resource of this name exists already: `{line}`",
        fix: "update it, or use a name with a suffix",
    },
    Known {
        kind: "missing-configuration",
        places: &[Server, Step, Stack],
        signs: Reason(&["Could not find endpoint configuration"]),
        what: "the endpoint configuration was deleted: `{line}`",
        fix: "deploy a release again with `mlops rollback` or `mlops promote`",
    },
    // Images.
    Known {
        kind: "image-tag",
        places: &[Job, Step, Server, Stack],
        signs: Reason(&["ECR image \"{image}\" is invalid"]),
        what: "the address {image} has neither a tag nor a digest",
        fix: "append a digest (`mlops image show`) or a tag",
    },
    Known {
        kind: "image",
        places: &[Job, Step, Server, Stack, Monitor],
        signs: Reason(&[
            "Please make sure all images included in the model",
            "Requested image not found",
            "Requested image {image} not found",
            "Cannot find the requested image",
            "Invalid training image",
            "manifest unknown",
        ]),
        what: "the image does not exist, or the role may not pull it",
        fix: "list the images with `mlops image list`; push the image again if it was deleted",
    },
    // How a program ended.
    Known {
        kind: TIME_LIMIT,
        places: &[Job, Step, Monitor],
        signs: Both(&[
            "MaxRuntimeExceeded",
            "exceeded MaxRuntimeInSeconds",
            "stopped: MaxRuntimeInSeconds is {seconds}",
        ]),
        what: "the job ran longer than its MaxRuntimeInSeconds allows",
        fix: "raise MaxRuntimeInSeconds in the step's StoppingCondition, choose a larger instance, or process less",
    },
    Known {
        kind: "out-of-memory",
        places: CONTAINERS,
        signs: Reason(&[
            "exited with 137",
            "exit code: 137",
            "Exit Code: 137",
            "ExitCode 137",
            "exit code '137'",
            "OutOfMemory",
            "OutOfMemoryError",
        ]),
        what: "the process was killed (exit code 137), usually because the memory was exhausted",
        fix: "choose an instance type with more memory, or load less at once",
    },
    Known {
        kind: "segmentation-fault",
        places: CONTAINERS,
        signs: Reason(&[
            "exited with 139",
            "exit code: 139",
            "Exit Code: 139",
            "ExitCode 139",
            "exit code '139'",
        ]),
        what: "native code crashed (segmentation fault, exit code 139)",
        fix: "pin other versions of the native libraries in image/requirements.txt, use smaller batches, and write checkpoints",
    },
    Known {
        kind: "illegal-instruction",
        places: CONTAINERS,
        signs: Reason(&[
            "exited with 132",
            "exit code: 132",
            "Exit Code: 132",
            "ExitCode 132",
            "exit code '132'",
        ]),
        what: "a program is built for another CPU (illegal instruction, exit code 132)",
        fix: "choose another instance type, or build the libraries for the baseline CPU",
    },
    Known {
        kind: "aborted",
        places: CONTAINERS,
        signs: Reason(&[
            "exited with 134",
            "exit code: 134",
            "Exit Code: 134",
            "ExitCode 134",
            "exit code '134'",
        ]),
        what: "native code ended itself (abort, exit code 134): a failed assertion, or no memory",
        fix: "the last line of the log has the assertion; choose an instance type with more memory if it names an allocation",
    },
    Known {
        kind: "terminated",
        places: CONTAINERS,
        signs: Reason(&[
            "exited with 143",
            "exit code: 143",
            "Exit Code: 143",
            "ExitCode 143",
            "exit code '143'",
        ]),
        what: "the program received SIGTERM (exit code 143): something stopped it, or it stopped itself",
        fix: "check who stopped the job and its StoppingCondition; a program must not signal its own process group",
    },
    Known {
        kind: "no-program",
        places: CONTAINERS,
        signs: Both(&[
            "no program `{program}` in the image",
            "exec: \"{program}\": executable file not found",
        ]),
        what: "the image has no program `{program}`",
        fix: "add it as image/program/{program} with the executable bit (`chmod +x`), and push the image",
    },
    Known {
        kind: "cannot-start",
        places: CONTAINERS,
        signs: Reason(&[
            "exit code: 126",
            "Exit Code: 126",
            "ExitCode 126",
            "exited with 126",
        ]),
        what: "the program is not executable (exit code 126)",
        fix: "set its executable bit (`chmod +x`), start scripts with a `#!` line, and build the image for linux/amd64",
    },
    Known {
        kind: "cannot-start",
        places: CONTAINERS,
        signs: Lines(&["Exec format error", "exec format error"]),
        what: "the program cannot be executed: `{line}`",
        fix: "build the image for linux/amd64, and start scripts with a `#!` line",
    },
    // Requests of steps.
    Known {
        kind: "package-group",
        places: &[Step, Job, Build],
        signs: Both(&["Missing ARN"]),
        what: "the model version has no group, or a role was passed by name",
        fix: "pass ModelPackageGroupName, and roles as complete ARNs",
    },
    Known {
        kind: "invalid-value",
        places: &[Step, Action, Stack, Build],
        signs: Both(&["at '{member}' failed to satisfy constraint"]),
        what: "the value of `{member}` is invalid: `{line}`",
        fix: "correct the value in the pipeline's definition or in its parameters",
    },
    Known {
        kind: PERMISSION,
        places: &[Job, Step, Server, Build, Action, Stack, Monitor],
        signs: Both(&["An error occurred (403) when calling the HeadObject operation"]),
        what: "an S3 object may not be read, or the address is that of someone else's bucket: `{line}`",
        fix: "check the address (an example's default bucket?), and allow s3:GetObject and s3:ListBucket for the role",
    },
    Known {
        kind: "missing-object",
        places: &[Job, Step, Server, Build, Action, Monitor],
        signs: Both(&[
            "NoSuchKey",
            "The specified key does not exist",
            "An error occurred (404) when calling the HeadObject operation",
        ]),
        what: "an S3 object does not exist: `{line}`",
        fix: "check the address, and that the earlier step has written the object",
    },
];
