//! What CodeBuild, CodePipeline and CloudFormation report.
//!
//! Unverified against AWS [causes-build-timeout]: the context `BUILD_TIMED_OUT` and its message, which no public issue
//! quotes.
//!
//! Texts that only point elsewhere (`COMMAND_EXECUTION_ERROR`, `Rollback requested by user`, `One or multiple steps
//! failed`) are no rows: the log, or a level below, has the cause.

use super::Known;
use super::Place::{Action, Build, Stack};
use super::Signs::{Both, Lines, Reason};

pub(super) const ROWS: &[Known] = &[
    // CodeBuild.
    Known {
        kind: "buildspec-missing",
        places: &[Build],
        signs: Both(&["YAML_FILE_ERROR…no such file or directory"]),
        what: "the source has no buildspec at this path: `{line}`",
        fix: "push the file; the path in the project is relative to the root of the source",
    },
    Known {
        kind: "buildspec-syntax",
        places: &[Build],
        signs: Both(&["YAML_FILE_ERROR"]),
        what: "the buildspec cannot be parsed: `{line}`",
        fix: "quote commands with brackets, braces or colons",
    },
    Known {
        kind: "missing-artifact",
        places: &[Build],
        signs: Both(&["no matching artifact paths found"]),
        what: "the build did not write the files of its artifact",
        fix: "`artifacts.files` is relative to the root of the source: set base-directory, or change back to the root",
    },
    Known {
        kind: "build-image",
        places: &[Build],
        signs: Both(&[
            "BUILD_CONTAINER_UNABLE_TO_PULL_IMAGE",
            "CannotPullContainerError",
        ]),
        what: "the image of the build environment cannot be pulled: `{line}`",
        fix: "push it first, and allow its repository for the build's role (imagePullCredentialsType SERVICE_ROLE)",
    },
    Known {
        kind: "pull-limit",
        places: &[Build],
        signs: Both(&["toomanyrequests", "You have reached your pull rate limit"]),
        what: "Docker Hub limits anonymous pulls from this address",
        fix: "pull from public.ecr.aws or through a pull-through cache, or log in to Docker Hub",
    },
    Known {
        kind: "docker-daemon",
        places: &[Build],
        signs: Lines(&["Cannot connect to the Docker daemon"]),
        what: "no Docker daemon runs in the build",
        fix: "`mlops image build` needs none; otherwise set privilegedMode in the build's environment",
    },
    Known {
        kind: "build-logs",
        places: &[Build],
        signs: Reason(&["does not allow AWS CodeBuild to create Amazon CloudWatch Logs"]),
        what: "the build's role may not write logs, or was created a moment ago",
        fix: "allow logs:CreateLogGroup, logs:CreateLogStream and logs:PutLogEvents; retry if the role is new",
    },
    Known {
        kind: "build-timeout",
        places: &[Build],
        signs: Reason(&["BUILD_TIMED_OUT", "Build has timed out"]),
        what: "the build exceeded its time limit",
        fix: "raise timeoutInMinutes of the project, or wait for long work outside the build (`mlops train --detach`)",
    },
    Known {
        kind: "local-cloud-ended",
        places: &[Build, Action],
        signs: Reason(&["the local cloud ended while"]),
        what: "the local cloud was stopped or killed in the middle",
        fix: "continue the run with `mlops runs retry`",
    },
    Known {
        kind: "command-not-found",
        places: &[Build],
        signs: Both(&[": command not found", "Reason: exit status 127"]),
        what: "a command does not exist in the build's image: `{line}`",
        fix: "install it in the phase `install`, or use an image that contains it",
    },
    Known {
        kind: "data-violations",
        places: &[Build],
        signs: Lines(&[
            "rows, {columns} columns: {count} violations",
            "rows, {columns} columns: {count} violation",
        ]),
        what: "the data violates the baseline ({count} violations)",
        fix: "the table in the log names each feature; correct the data, or accept the change with `mlops validate --suggest`",
    },
    Known {
        kind: "pipeline-variable",
        places: &[Build],
        signs: Lines(&["Pipeline variables do not support __str__ operation"]),
        what: "pipeline.py formats a pipeline variable as text, which has a value only when the pipeline runs",
        fix: "join variables with Join(on=\"/\", values=[…]) instead of f-strings and str()",
    },
    Known {
        kind: "pipeline-output",
        places: &[Build],
        signs: Lines(&["'NoneType' object has no attribute 's3_uri'"]),
        what: "a step of pipeline.py has an output without a source or destination, or no code",
        fix: "set source and destination of each output, and the code of each step",
    },
    Known {
        kind: "git-access",
        places: &[Build],
        signs: Lines(&[
            "fatal: could not read Username",
            "fatal: Authentication failed for",
            "fatal: unable to access…The requested URL returned error: 403",
        ]),
        what: "git cannot read a repository: `{line}`",
        fix: "allow codecommit:GitPull for the role and use git-remote-codecommit or the credential helper",
    },
    // CodePipeline.
    Known {
        kind: "artifact-access",
        places: &[Action],
        signs: Reason(&["the permissions required to access the Amazon S3 bucket named {bucket}"]),
        what: "the action's role may not use the artifact bucket {bucket} or its key",
        fix: "allow s3 on the bucket and kms on its key for the role, and in both policies if the accounts differ",
    },
    Known {
        kind: "lambda-result",
        places: &[Action],
        signs: Reason(&["failed to return a result. Check the function"]),
        what: "the function ended without reporting a result to the pipeline",
        fix: "call PutJobSuccessResult or PutJobFailureResult on every path, and allow both for the function's role",
    },
    Known {
        kind: "stack-events",
        places: &[Action],
        signs: Reason(&["does not have CloudFormation DescribeStackEvents permission"]),
        what: "the stack failed, and the action's role may not read why",
        fix: "allow cloudformation:DescribeStackEvents for the role; the stack's events have the reason",
    },
    // CloudFormation.
    Known {
        kind: "stack-not-created",
        places: &[Stack, Action],
        signs: Both(&[
            "is in ROLLBACK_COMPLETE state and can not be updated",
            "is in ROLLBACK_COMPLETE state and cannot be updated",
            "is in ROLLBACK_FAILED state and can not be updated",
        ]),
        what: "the first creation of the stack failed, so it cannot be updated",
        fix: "delete the stack and create it again",
    },
    Known {
        kind: "rollback-failed",
        places: &[Stack, Action],
        signs: Both(&[
            "is in UPDATE_ROLLBACK_FAILED state and can not be updated",
            "is in UPDATE_ROLLBACK_FAILED state and cannot be updated",
        ]),
        what: "an earlier update of the stack could not be rolled back",
        fix: "fix the resource and continue the rollback (`aws cloudformation continue-update-rollback`), skipping resources if need be",
    },
    Known {
        kind: "export-in-use",
        places: &[Stack, Action],
        signs: Reason(&["Export {export} cannot be deleted as it is in use by {stack}"]),
        what: "the stack {stack} imports the output {export}",
        fix: "change the importing stack first",
    },
    Known {
        kind: "nested-stack",
        places: &[Stack, Action],
        signs: Reason(&["Embedded stack {stack} was not successfully"]),
        what: "a nested stack failed: {stack}",
        fix: "read the events of the nested stack; a deleted one is found by its ARN",
    },
    Known {
        kind: "bucket-not-empty",
        places: &[Stack, Action],
        signs: Reason(&[
            "The bucket you tried to delete is not empty",
            "BucketNotEmpty",
        ]),
        what: "CloudFormation deletes a bucket only if it is empty, old versions included",
        fix: "keep the bucket (skip it when you delete the stack), or delete all versions of its objects first",
    },
    Known {
        kind: "domain-exists",
        places: &[Stack, Action],
        signs: Reason(&["AWS::SageMaker::Domain…already exist"]),
        what: "the account has a domain of this kind in the region",
        fix: "use the existing one, or another region",
    },
    Known {
        kind: "already-exists",
        places: &[Stack, Action],
        signs: Reason(&["already exists in stack {stack}"]),
        what: "another stack has a resource of this name: {stack}",
        fix: "choose another name",
    },
    Known {
        kind: "custom-resource",
        places: &[Stack, Action],
        signs: Reason(&["Received response status [FAILED] from custom resource"]),
        what: "the function of a custom resource failed: `{line}`",
        fix: "read the function's log; it must respond to Delete too",
    },
    Known {
        kind: "function-code",
        places: &[Stack, Action],
        signs: Reason(&["Your access has been denied by S3"]),
        what: "the deployment's role may not read the function's code in S3",
        fix: "allow s3:GetObject on the code (and kms:Decrypt on its key) for the role",
    },
    Known {
        kind: "capabilities",
        places: &[Stack, Action],
        signs: Both(&["Requires capabilities : [{capabilities}]"]),
        what: "the template needs {capabilities}, which the request does not give",
        fix: "read what the template creates, then pass `--capabilities {capabilities}`",
    },
    Known {
        kind: "template-export",
        places: &[Stack, Action],
        signs: Reason(&["No export named {export} found"]),
        what: "no stack exports {export}",
        fix: "deploy the exporting stack first (`mlops plan` shows the order)",
    },
    Known {
        kind: "no-update",
        places: &[Stack, Action],
        signs: Reason(&["No updates are to be performed"]),
        what: "the template and its parameters are the same as before",
        fix: "nothing needs to be deployed",
    },
];
