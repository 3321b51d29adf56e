"""docs/roles.md: what each role of the project may do, on the running local cloud.

Each row of the page's table is one call, made with boto3 as each role: the roles of the row must be allowed,
all others must be denied. The same rows are decided by iam:SimulatePrincipalPolicy.
"""

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

import pytest
import roles
from botocore.exceptions import ClientError
from conftest import BIN

PAGE = Path(__file__).parents[2] / "docs/roles.md"
ACTORS = [
    "data-scientist", "ml-engineer", "approver", "reader", "image-build", "ml-build", "deploy-build", "training",
    "validation", "monitor", "endpoint", "retrain-gate", "deployer", "pipeline", "deploy-pipeline", "events",
    "scheduler",
]
ACCOUNT, REGION = "000000000000", "us-east-1"
DENIALS = {"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"}


def arn(service, resource):
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}"


def role(actor):
    return f"arn:aws:iam::{ACCOUNT}:role/flights-{actor}"


def bucket(kind):
    return f"flights-{kind}-{ACCOUNT}-{REGION}"


def item(kind, key):
    return f"arn:aws:s3:::{bucket(kind)}/{key}"


class Call:
    """A row: the ARN and the context for the simulation, and the call of a client."""

    def __init__(self, service, operation, resource, context=None, **parameters):
        self.service, self.operation, self.resource = service, operation, resource
        self.context, self.parameters = context or {}, parameters

    def is_allowed(self, session):
        """Makes the call. Any failure but a denial means that the role may do it."""
        try:
            getattr(session.client(self.service), self.operation)(**self.parameters)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            assert code != "NotImplemented", error
            return code not in DENIALS
        return True


class Push(Call):
    """A row with a push of git itself."""

    def __init__(self, branch):
        self.branch, self.resource = branch, arn("codecommit", "flights")
        self.context = {"codecommit:References": f"refs/heads/{branch}"}

    def is_allowed(self, session):
        # Under this name the server asks git for credentials.
        host = session.endpoint.replace("127.0.0.1", "git-codecommit.us-east-1.localhost")
        helper = "!aws codecommit credential-helper --ignore-host-check $@"
        options = ["-c", f"credential.helper={helper}", "-c", "credential.UseHttpPath=true"]
        author = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "GIT_"))}
        environment |= {**session.environment, "AWS_DEFAULT_REGION": REGION, "GIT_TERMINAL_PROMPT": "0"}
        with tempfile.TemporaryDirectory() as directory:

            def git(*arguments):
                return subprocess.run(
                    ["git", *options, *author, *arguments], cwd=directory, env=environment, capture_output=True, text=True
                )

            assert git("init", "-q").returncode == 0
            assert git("commit", "-q", "--allow-empty", "-m", "x").returncode == 0
            pushed = git("push", "-q", "--force", f"{host}/v1/repos/flights", f"HEAD:refs/heads/{self.branch}")
        assert pushed.returncode == 0 or "403" in pushed.stderr, pushed.stderr
        return pushed.returncode == 0


def s3(operation, kind, key, **parameters):
    return Call("s3", operation, item(kind, key), Bucket=bucket(kind), Key=key, **parameters)


def push_file(branch):
    return Call(
        "codecommit", "put_file", arn("codecommit", "flights"), {"codecommit:References": f"refs/heads/{branch}"},
        repositoryName="flights", branchName=branch, filePath="a", fileContent=b"1", parentCommitId="0" * 40,
    )


def package(context, **parameters):
    version = arn("sagemaker", "model-package/flights/1")
    return Call("sagemaker", "update_model_package", version, context, ModelPackageArn=version, **parameters)


def change_set(name="roles-test", **parameters):
    context = {"cloudformation:RoleArn": parameters["RoleARN"]} if parameters else {}
    context["cloudformation:ChangeSetName"] = name
    return Call(
        "cloudformation", "create_change_set", arn("cloudformation", "stack/flights-endpoint/*"), context,
        StackName="flights-endpoint", ChangeSetName=name, ChangeSetType="CREATE", Capabilities=[],
        TemplateBody="{}", **parameters,
    )


def training_job(name):
    return Call(
        "sagemaker", "stop_training_job", arn("sagemaker", f"training-job/{name}"), TrainingJobName=name,
    )


# By action and resource, as in the table.
CALLS = {
    ("s3:GetObject", "data: `datasets/flights/a.csv`"): s3("get_object", "data", "datasets/flights/a.csv"),
    ("s3:PutObject", "data: `datasets/flights/b.csv`"): s3("put_object", "data", "datasets/flights/b.csv", Body=b"1"),
    ("s3:DeleteObjectVersion", "data: `datasets/flights/a.csv`"): s3(
        "delete_object", "data", "datasets/flights/a.csv", VersionId="00000000000000000000000000000000"
    ),
    ("s3:GetObject", "capture: `flights/a.jsonl`"): s3("get_object", "capture", "flights/a.jsonl"),
    ("s3:PutObject", "capture: `capture/flights/b.jsonl`"): s3(
        "put_object", "capture", "capture/flights/b.jsonl", Body=b"1"
    ),
    ("s3:PutObject", "capture: `ground-truth/flights/1.jsonl`"): s3(
        "put_object", "capture", "ground-truth/flights/1.jsonl", Body=b"1"
    ),
    ("s3:PutObject", "artifacts: `runs/1/model.tar.gz`"): s3("put_object", "artifacts", "runs/1/model.tar.gz", Body=b"1"),
    ("s3:PutObject", "artifacts: `monitoring/1.json`"): s3("put_object", "artifacts", "monitoring/1.json", Body=b"1"),
    ("s3:PutObject", "artifacts: `releases/flights/1.json`"): s3("put_object", "artifacts", "releases/flights/1.json", Body=b"1"),
    ("s3:PutObject", "artifacts: `baselines/flights/1.json`"): s3(
        "put_object", "artifacts", "baselines/flights/1.json", Body=b"1"
    ),
    ("s3:PutObject", "artifacts: `code/1.zip`"): s3("put_object", "artifacts", "code/1.zip", Body=b"1"),
    ("sagemaker:CreateProcessingJob", "job `flights-dq-1` of the schedule"): Call(
        "sagemaker", "create_processing_job", arn("sagemaker", "processing-job/flights-dq-1"),
        ProcessingJobName="flights-dq-1", RoleArn=role("monitor"), AppSpecification={"ImageUri": "none:1"},
        ProcessingResources={"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.t3.medium", "VolumeSizeInGB": 1}},
    ),
    ("sagemaker:CreateProcessingJob", "job `flights-mq-1` of the schedule"): Call(
        "sagemaker", "create_processing_job", arn("sagemaker", "processing-job/flights-mq-1"),
        ProcessingJobName="flights-mq-1", RoleArn=role("monitor"), AppSpecification={"ImageUri": "none:1"},
        ProcessingResources={"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.t3.medium", "VolumeSizeInGB": 1}},
    ),
    ("s3:PutObject", "artifacts: `retraining/state.json`"): s3(
        "put_object", "artifacts", "retraining/state.json", Body=b"1"
    ),
    ("s3:GetObject", "another project's bucket"): Call(
        "s3", "get_object", "arn:aws:s3:::another-project/secret", Bucket="another-project", Key="secret"
    ),
    ("ecr:BatchGetImage", "repository"): Call(
        "ecr", "batch_get_image", arn("ecr", "repository/flights"),
        repositoryName="flights", imageIds=[{"imageTag": "none"}],
    ),
    ("ecr:PutImage", "repository"): Call(
        "ecr", "put_image", arn("ecr", "repository/flights"), repositoryName="flights", imageManifest="{}",
    ),
    ("ecr:StartImageScan", "repository"): Call(
        "ecr", "start_image_scan", arn("ecr", "repository/flights"),
        repositoryName="flights", imageId={"imageTag": "none"},
    ),
    ("ecr:BatchDeleteImage", "repository"): Call(
        "ecr", "batch_delete_image", arn("ecr", "repository/flights"),
        repositoryName="flights", imageIds=[{"imageTag": "none"}],
    ),
    ("codecommit:PutFile", "branch `develop`"): push_file("develop"),
    ("codecommit:PutFile", "branch `main`"): push_file("main"),
    ("codecommit:GitPush", "branch `develop`"): Push("develop"),
    ("codecommit:GitPush", "branch `main`"): Push("main"),
    ("sagemaker:StartPipelineExecution", "pipeline"): Call(
        "sagemaker", "start_pipeline_execution", arn("sagemaker", "pipeline/flights"), PipelineName="flights",
    ),
    ("sagemaker:UpdatePipelineExecution", "run of the pipeline"): Call(
        "sagemaker", "update_pipeline_execution", arn("sagemaker", "pipeline/flights/execution/aaaaaaaaaaaa"),
        PipelineExecutionArn=arn("sagemaker", "pipeline/flights/execution/aaaaaaaaaaaa"),
    ),
    ("codepipeline:StartPipelineExecution", "`flights-ml-develop`"): Call(
        "codepipeline", "start_pipeline_execution", arn("codepipeline", "flights-ml-develop"), name="flights-ml-develop",
    ),
    ("codepipeline:StartPipelineExecution", "`flights-deploy`"): Call(
        "codepipeline", "start_pipeline_execution", arn("codepipeline", "flights-deploy"), name="flights-deploy",
    ),
    ("codepipeline:StopPipelineExecution", "`flights-deploy`"): Call(
        "codepipeline", "stop_pipeline_execution", arn("codepipeline", "flights-deploy"), pipelineName="flights-deploy",
        pipelineExecutionId="00000000-0000-0000-0000-000000000000",
    ),
    ("codepipeline:RetryStageExecution", "the stage `Deploy` of `flights-deploy`"): Call(
        "codepipeline", "retry_stage_execution", arn("codepipeline", "flights-deploy/Deploy"), pipelineName="flights-deploy",
        stageName="Deploy", pipelineExecutionId="00000000-0000-0000-0000-000000000000", retryMode="ALL_ACTIONS",
    ),
    ("codepipeline:ListPipelineExecutions", "`flights-ml-develop`"): Call(
        "codepipeline", "list_pipeline_executions", arn("codepipeline", "flights-ml-develop"),
        pipelineName="flights-ml-develop",
    ),
    ("codepipeline:PutApprovalResult", "an action of `flights-deploy`"): Call(
        "codepipeline", "put_approval_result", arn("codepipeline", "flights-deploy/Review/Review"),
        pipelineName="flights-deploy", stageName="Review", actionName="Review", token="0" * 36,
        result={"summary": "", "status": "Approved"},
    ),
    ("codebuild:StartBuild", "build `flights-deploy-build`"): Call(
        "codebuild", "start_build", arn("codebuild", "project/flights-deploy-build"), projectName="flights-deploy-build",
    ),
    ("codebuild:StartBuild", "build `flights-ml-build`"): Call(
        "codebuild", "start_build", arn("codebuild", "project/flights-ml-build"), projectName="flights-ml-build",
    ),
    ("codebuild:BatchGetBuilds", "build `flights-ml-build`"): Call(
        "codebuild", "batch_get_builds", arn("codebuild", "project/flights-ml-build"), ids=["flights-ml-build:1"],
    ),
    ("sns:Publish", "topic `flights-delivery`"): Call(
        "sns", "publish", arn("sns", "flights-delivery"), TopicArn=arn("sns", "flights-delivery"), Message="1",
    ),
    ("s3:PutObject", "delivery: `a`"): s3("put_object", "delivery", "a", Body=b"1"),
    ("sagemaker:StopTrainingJob", "job of a pipeline"): training_job("pipelines-none"),
    ("sagemaker:StopTrainingJob", "any other job"): training_job("somebody-elses"),
    ("sagemaker:UpdateModelPackage", "its approval"): package(
        {"sagemaker:ModelApprovalStatus": "Approved"}, ModelApprovalStatus="Approved"
    ),
    ("sagemaker:UpdateModelPackage", "its stage"): package(
        {}, ModelLifeCycle={"Stage": "Production", "StageStatus": "Live"}
    ),
    ("sagemaker:CreateEndpoint", "endpoint"): Call(
        "sagemaker", "create_endpoint", arn("sagemaker", "endpoint/flights"),
        EndpointName="flights", EndpointConfigName="flights-1-00000000",
    ),
    ("sagemaker:DeleteModel", "model `flights-1-00000000` of a release"): Call(
        "sagemaker", "delete_model", arn("sagemaker", "model/flights-1-00000000"), ModelName="flights-1-00000000",
    ),
    ("sagemaker:InvokeEndpoint", "endpoint"): Call(
        "sagemaker-runtime", "invoke_endpoint", arn("sagemaker", "endpoint/flights"), EndpointName="flights", Body=b"1",
    ),
    ("sagemaker:StopNotebookInstance", "notebook"): Call(
        "sagemaker", "stop_notebook_instance", arn("sagemaker", "notebook-instance/flights-notebook"),
        NotebookInstanceName="flights-notebook",
    ),
    ("cloudformation:CreateChangeSet", "the reviewed change set of the endpoint's stack"): change_set(
        "flights-deploy", RoleARN=role("deployer")
    ),
    ("cloudformation:ExecuteChangeSet", "the reviewed change set of the endpoint's stack"): Call(
        "cloudformation", "execute_change_set", arn("cloudformation", "stack/flights-endpoint/*"),
        {"cloudformation:ChangeSetName": "flights-deploy"}, StackName="flights-endpoint", ChangeSetName="flights-deploy",
    ),
    ("cloudformation:DeleteChangeSet", "the reviewed change set of the endpoint's stack"): Call(
        "cloudformation", "delete_change_set", arn("cloudformation", "stack/flights-endpoint/*"),
        {"cloudformation:ChangeSetName": "flights-deploy"}, StackName="flights-endpoint", ChangeSetName="flights-deploy",
    ),
    ("cloudformation:DescribeChangeSet", "endpoint's stack"): Call(
        "cloudformation", "describe_change_set", arn("cloudformation", "stack/flights-endpoint/*"),
        {"cloudformation:ChangeSetName": "roles-test"}, StackName="flights-endpoint", ChangeSetName="roles-test",
    ),
    ("cloudformation:CreateChangeSet", "endpoint's stack, with the deployer's role"): change_set(RoleARN=role("deployer")),
    ("cloudformation:CreateChangeSet", "endpoint's stack, without a role"): change_set(),
    ("cloudformation:DescribeStacks", "project's stacks"): Call(
        "cloudformation", "describe_stacks", arn("cloudformation", "stack/flights-data/*"), StackName="flights-data",
    ),
    ("cloudformation:DeleteStack", "stack of the data"): Call(
        "cloudformation", "delete_stack", arn("cloudformation", "stack/flights-data/*"), StackName="flights-data",
    ),
    ("cloudformation:DeleteStack", "endpoint's stack"): Call(
        "cloudformation", "delete_stack", arn("cloudformation", "stack/flights-endpoint/*"), StackName="flights-endpoint",
    ),
    ("logs:FilterLogEvents", "endpoint's log"): Call(
        "logs", "filter_log_events", arn("logs", "log-group:/aws/sagemaker/Endpoints/flights:log-stream:"),
        logGroupName="/aws/sagemaker/Endpoints/flights",
    ),
    ("lambda:InvokeFunction", "validation function"): Call(
        "lambda", "invoke", arn("lambda", "function:flights-validation"), FunctionName="flights-validation",
    ),
    ("lambda:InvokeFunction", "retrain gate"): Call(
        "lambda", "invoke", arn("lambda", "function:flights-retrain-gate"), FunctionName="flights-retrain-gate",
    ),
    ("cloudwatch:PutMetricData", "namespace `MLOps/Monitor/flights`"): Call(
        "cloudwatch", "put_metric_data", "*", {"cloudwatch:namespace": "MLOps/Monitor/flights"},
        Namespace="MLOps/Monitor/flights", MetricData=[{"MetricName": "runs", "Value": 1}],
    ),
    ("cloudwatch:SetAlarmState", "alarm `flights-drift-data`"): Call(
        "cloudwatch", "set_alarm_state", arn("cloudwatch", "alarm:flights-drift-data"), AlarmName="flights-drift-data",
        StateValue="OK", StateReason="tested",
    ),
    ("kms:ScheduleKeyDeletion", "key"): None,
    ("iam:PutRolePolicy", "any role"): Call(
        "iam", "put_role_policy", role("reader"), RoleName="flights-reader", PolicyName="more",
        PolicyDocument=roles.document(roles.allow("s3:ListAllMyBuckets")),
    ),
    ("sts:AssumeRole", "the approver's role"): Call(
        "sts", "assume_role", role("approver"), RoleArn=role("approver"), RoleSessionName="tester",
    ),
}


def table():
    """The rows of the page: action, resource, and the roles that are allowed."""
    rows = {}
    for line in PAGE.read_text().splitlines():
        found = re.fullmatch(r"\| `(\w+:\w+)` \| (.+?) \| (.+?) \|", line)
        if found:
            allowed = set() if found[3] == "nobody" else set(found[3].split(", "))
            assert allowed <= set(ACTORS), line
            assert (found[1], found[2]) not in rows, line
            rows[found[1], found[2]] = allowed
    return rows


ROWS = table()


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The architecture of the project `flights` on a local cloud of its own; runs `mlops`."""
    root = tmp_path_factory.mktemp("flights")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}

    def mlops(*arguments):
        ran = subprocess.run([BIN, *arguments], cwd=root, env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    mlops("init", "--local", "--name", "flights", "--empty")
    yield mlops
    mlops("local", "stop")


@pytest.fixture(scope="module")
def sessions(project):
    """The account's own session, sessions(), and those of the project's roles, sessions("reader")."""
    known = {}

    def session(actor=None):
        if actor not in known:
            role = ["--role", f"flights-{actor}"] if actor else []
            variables = json.loads(project("local", "env", *role, "--output", "json"))
            credentials = {
                "AccessKeyId": variables["AWS_ACCESS_KEY_ID"],
                "SecretAccessKey": variables["AWS_SECRET_ACCESS_KEY"],
                "SessionToken": variables["AWS_SESSION_TOKEN"],
            }
            known[actor] = roles.Session(variables["AWS_ENDPOINT_URL"], credentials)
        return known[actor]

    return session


@pytest.fixture(scope="module", autouse=True)
def objects(sessions):
    """The objects and the key of the table."""
    s3, kms = sessions().client("s3"), sessions().client("kms")
    for kind, key in [("data", "datasets/flights/a.csv"), ("capture", "flights/a.jsonl")]:
        s3.put_object(Bucket=bucket(kind), Key=key, Body=b"1")
    # Without the section [delivery], the project has no topic.
    sessions().client("sns").create_topic(Name="flights-delivery")
    s3.create_bucket(Bucket="another-project")
    s3.put_object(Bucket="another-project", Key="secret", Body=b"1")
    key = kms.describe_key(KeyId="alias/flights")["KeyMetadata"]["Arn"]
    CALLS["kms:ScheduleKeyDeletion", "key"] = Call("kms", "schedule_key_deletion", key, KeyId=key)


def test_every_row_has_a_call_and_every_call_a_row():
    assert set(ROWS) == set(CALLS)


@pytest.mark.parametrize("actor", ACTORS)
def test_a_role_may_do_what_the_page_says(actor, sessions):
    session = sessions(actor)
    wrong = []
    for row, call in CALLS.items():
        allowed = call.is_allowed(session)
        if allowed != (actor in ROWS[row]):
            wrong.append((*row, "is allowed" if allowed else "is denied"))
    assert not wrong


@pytest.mark.parametrize("actor", ACTORS)
def test_the_simulator_says_the_same(actor, sessions):
    iam = sessions().client("iam")
    wrong = []
    for row, call in CALLS.items():
        context = [
            {"ContextKeyName": name, "ContextKeyType": "string", "ContextKeyValues": [value]}
            for name, value in call.context.items()
        ]
        answer = iam.simulate_principal_policy(
            PolicySourceArn=role(actor), ActionNames=[row[0]], ResourceArns=[call.resource], ContextEntries=context,
        )
        allowed = answer["EvaluationResults"][0]["EvalDecision"] == "allowed"
        if allowed != (actor in ROWS[row]):
            wrong.append((*row, answer["EvaluationResults"][0]["EvalDecision"]))
    assert not wrong
