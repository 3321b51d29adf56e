"""boto3 against CodePipeline, and against the pull requests of CodeCommit."""

import io
import json
import time
import uuid
import zipfile

import pytest
from botocore.exceptions import ClientError

import clock
import roles
from conftest import watch

TEMPLATE = """
Parameters:
  Value: {Type: String}
  Name: {Type: String}
Resources:
  Parameter:
    Type: AWS::SSM::Parameter
    Properties: {Name: !Ref Name, Type: String, Value: !Ref Value}
Outputs:
  Released: {Value: !Ref Value}
"""

# A function that reads its input artifact with the job's credentials and reports a variable.
FUNCTION = b"""
import io, json, os, zipfile
import boto3
def handler(event, context):
    job = event["CodePipeline.job"]
    data = job["data"]
    credentials = data["artifactCredentials"]
    s3 = boto3.client("s3", aws_access_key_id=credentials["accessKeyId"],
                      aws_secret_access_key=credentials["secretAccessKey"],
                      aws_session_token=credentials["sessionToken"])
    at = data["inputArtifacts"][0]["location"]["s3Location"]
    body = s3.get_object(Bucket=at["bucketName"], Key=at["objectKey"])["Body"].read()
    text = zipfile.ZipFile(io.BytesIO(body)).read("data.txt").decode()
    pipeline = boto3.client("codepipeline")
    if text == "bad":
        pipeline.put_job_failure_result(jobId=job["id"], failureDetails={"type": "JobFailed", "message": "bad data"})
    else:
        pipeline.put_job_success_result(jobId=job["id"], outputVariables={"Rows": text})
"""


def refusal(call, **arguments):
    with pytest.raises(ClientError) as raised:
        call(**arguments)
    return raised.value.response["Error"]


@pytest.fixture
def name():
    return f"p-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def pipelines(client):
    return client("codepipeline")


@pytest.fixture(scope="module")
def role(client):
    return roles.make(client("iam"), roles.allow("*"), services=("codepipeline", "cloudformation", "lambda"))


@pytest.fixture
def delivery(client, pipelines, role, name):
    """A repository, an artifact bucket, and a function that creates a pipeline with these stages."""
    client("s3").create_bucket(Bucket=name)
    commits = client("codecommit")
    commits.create_repository(repositoryName=name)
    client("codecommit").create_commit(
        repositoryName=name,
        branchName="main",
        commitMessage="first",
        putFiles=[
            {"filePath": "template.yaml", "fileContent": TEMPLATE.encode()},
            {"filePath": "data.txt", "fileContent": b"42"},
        ],
    )

    def make(*stages, mode="QUEUED", **more):
        source = action(
            "Code", "Source", "CodeCommit", RepositoryName=name, BranchName="main", PollForSourceChanges="false"
        )
        source |= {"namespace": "Code", "outputArtifacts": [{"name": "SourceArtifact"}]}
        declaration = {
            "name": name,
            "roleArn": role,
            "artifactStore": {"type": "S3", "location": name},
            "pipelineType": "V2",
            "executionMode": mode,
            "stages": [{"name": "Source", "actions": [source]}, *stages],
            **more,
        }
        return pipelines.create_pipeline(pipeline=declaration, tags=[{"key": "team", "value": "ml"}])["pipeline"]

    return make


def action(name, category, provider, **configuration):
    return {
        "name": name,
        "actionTypeId": {"category": category, "owner": "AWS", "provider": provider, "version": "1"},
        "configuration": configuration,
    }


def create_function(client, name, role, source):
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("app.py", source)
    functions = client("lambda")
    functions.create_function(
        FunctionName=name, Runtime="python3.12", Role=role, Handler="app.handler", Timeout=60, Code={"ZipFile": code.getvalue()}
    )
    functions.get_waiter("function_active_v2").wait(FunctionName=name)


def stage(name, *actions, **more):
    return {"name": name, "actions": list(actions), **more}


def executions(pipelines, name):
    """The executions of a pipeline, the oldest first."""
    return pipelines.list_pipeline_executions(pipelineName=name)["pipelineExecutionSummaries"][::-1]


def until(check, seconds=180):
    """Waits for a true result."""
    end = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)
    return found


def ended(pipelines, name, id):
    """The status of an execution after its end."""

    def status():
        found = pipelines.get_pipeline_execution(pipelineName=name, pipelineExecutionId=id)["pipelineExecution"]
        return found["status"] not in ("InProgress", "Stopping") and found["status"]

    return until(status)


def token(pipelines, name, wanted):
    def find():
        for stage in pipelines.get_pipeline_state(name=name)["stageStates"]:
            latest = stage["actionStates"][0].get("latestExecution", {})
            if stage["stageName"] == wanted and latest.get("token"):
                return latest["token"]

    return until(find)


def answer(pipelines, name, wanted, status="Approved"):
    return pipelines.put_approval_result(
        pipelineName=name,
        stageName=wanted,
        actionName="Approve",
        result={"summary": "looks fine", "status": status},
        token=token(pipelines, name, wanted),
    )


APPROVE = action("Approve", "Approval", "Manual", CustomData="commit #{Code.CommitId}")


def test_a_commit_is_reviewed_and_deployed(client, pipelines, delivery, role, name):
    overrides = json.dumps({"Name": name, "Value": "#{variables.value}"})
    deploy = action(
        "Deploy",
        "Deploy",
        "CloudFormation",
        ActionMode="CREATE_UPDATE",
        StackName=name,
        RoleArn=role,
        TemplatePath="SourceArtifact::template.yaml",
        ParameterOverrides=overrides,
    )
    deploy["inputArtifacts"] = [{"name": "SourceArtifact"}]
    made = delivery(
        stage("Review", APPROVE),
        stage("Deploy", deploy),
        variables=[{"name": "value", "defaultValue": "1"}],
    )
    assert made["version"] == 1 and made["stages"][0]["actions"][0]["runOrder"] == 1
    [first] = executions(pipelines, name)
    assert first["trigger"]["triggerType"] == "CreatePipeline"
    assert answer(pipelines, name, "Review")["approvedAt"]
    id = first["pipelineExecutionId"]
    assert ended(pipelines, name, id) == "Succeeded"
    assert client("ssm").get_parameter(Name=name)["Parameter"]["Value"] == "1"
    details = pipelines.list_action_executions(pipelineName=name, filter={"pipelineExecutionId": id})
    details = details["actionExecutionDetails"]
    assert [detail["actionName"] for detail in details] == ["Deploy", "Approve", "Code"]
    assert details[0]["output"]["outputVariables"] == {"Released": "1"}
    commit = details[2]["output"]["outputVariables"]["CommitId"]
    assert details[1]["input"]["resolvedConfiguration"]["CustomData"] == f"commit {commit}"
    # The artifact is a zip of the commit.
    at = details[2]["output"]["outputArtifacts"][0]["s3location"]
    body = client("s3").get_object(Bucket=at["bucket"], Key=at["key"])["Body"].read()
    assert zipfile.ZipFile(io.BytesIO(body)).read("data.txt") == b"42"
    started = pipelines.start_pipeline_execution(name=name, variables=[{"name": "value", "value": "2"}])
    answer(pipelines, name, "Review")
    assert ended(pipelines, name, started["pipelineExecutionId"]) == "Succeeded"
    assert client("ssm").get_parameter(Name=name)["Parameter"]["Value"] == "2"
    arn = pipelines.get_pipeline(name=name)["metadata"]["pipelineArn"]
    assert pipelines.list_tags_for_resource(resourceArn=arn)["tags"] == [{"key": "team", "value": "ml"}]
    pipelines.tag_resource(resourceArn=arn, tags=[{"key": "stage", "value": "test"}])
    pipelines.untag_resource(resourceArn=arn, tagKeys=["team"])
    assert pipelines.list_tags_for_resource(resourceArn=arn)["tags"] == [{"key": "stage", "value": "test"}]
    declaration = pipelines.get_pipeline(name=name)["pipeline"]
    updated = pipelines.update_pipeline(pipeline={**declaration, "executionMode": "SUPERSEDED"})["pipeline"]
    assert (updated["version"], updated["executionMode"]) == (2, "SUPERSEDED")


def test_a_function_reports_its_job(client, cloud, pipelines, delivery, role, name):
    create_function(client, name, role, FUNCTION)
    invoke = action("Invoke", "Invoke", "Lambda", FunctionName=name, UserParameters="x")
    invoke |= {"namespace": "Job", "inputArtifacts": [{"name": "SourceArtifact"}]}
    check = action("Approve", "Approval", "Manual", CustomData="#{Job.Rows} rows")
    delivery(stage("Validate", invoke), stage("Check", check))
    token(pipelines, name, "Check")
    [first] = executions(pipelines, name)
    details = pipelines.list_action_executions(
        pipelineName=name, filter={"pipelineExecutionId": first["pipelineExecutionId"]}
    )["actionExecutionDetails"]
    assert details[0]["input"]["resolvedConfiguration"] == {"CustomData": "42 rows"}
    head = client("codecommit").get_branch(repositoryName=name, branchName="main")["branch"]["commitId"]
    client("codecommit").put_file(
        repositoryName=name, branchName="main", filePath="data.txt", fileContent=b"bad", parentCommitId=head
    )
    second = pipelines.start_pipeline_execution(name=name)["pipelineExecutionId"]
    assert ended(pipelines, name, second) == "Failed"
    [failed, _] = pipelines.list_action_executions(pipelineName=name, filter={"pipelineExecutionId": second})[
        "actionExecutionDetails"
    ]
    assert failed["output"]["executionResult"]["errorDetails"] == {"code": "JobFailed", "message": "bad data"}
    error = refusal(pipelines.put_job_success_result, jobId=str(uuid.uuid4()))
    assert error["Code"] == "JobNotFoundException"


# A function that leaves its job to somebody else.
LEAVING = b"""
import boto3
def handler(event, context):
    job = event["CodePipeline.job"]
    boto3.client("s3").put_object(Bucket=job["data"]["actionConfiguration"]["configuration"]["UserParameters"],
                                  Key="job", Body=job["id"].encode())
"""


def test_the_result_of_a_job_can_be_reported_by_a_client(client, pipelines, delivery, role, name):
    create_function(client, name, role, LEAVING)
    objects = client("s3")

    def job():
        objects.get_waiter("object_exists").wait(Bucket=name, Key="job", WaiterConfig={"Delay": 1})
        id = objects.get_object(Bucket=name, Key="job")["Body"].read().decode()
        objects.delete_object(Bucket=name, Key="job")
        return id

    delivery(stage("Ask", action("Invoke", "Invoke", "Lambda", FunctionName=name, UserParameters=name)))
    [first] = executions(pipelines, name)
    pipelines.put_job_success_result(jobId=job())
    assert ended(pipelines, name, first["pipelineExecutionId"]) == "Succeeded"
    second = pipelines.start_pipeline_execution(name=name)["pipelineExecutionId"]
    pipelines.put_job_failure_result(jobId=job(), failureDetails={"type": "JobFailed", "message": "no"})
    assert ended(pipelines, name, second) == "Failed"


BUILDSPEC = """
version: 0.2
env:
  exported-variables: [ROWS, PINNED]
phases:
  build:
    commands:
      - export ROWS=$(cat data.txt)
      - export PINNED=$COMMIT
      - test "$ROWS" != bad
      - printf '{"Value"%s"built-%s"}' ':' "$ROWS" > values.json
artifacts:
  files: [values.json]
"""


def test_a_build_passes_artifacts_and_variables_on(client, pipelines, delivery, role, name):
    builder = roles.make(client("iam"), roles.allow("*"), services=("codebuild",))
    client("codebuild").create_project(
        name=name,
        source={"type": "CODEPIPELINE", "buildspec": BUILDSPEC},
        artifacts={"type": "CODEPIPELINE"},
        environment={
            "type": "LINUX_CONTAINER",
            "image": "aws/codebuild/amazonlinux-x86_64-standard:5.0",
            "computeType": "BUILD_GENERAL1_SMALL",
        },
        serviceRole=builder,
    )
    variables = json.dumps([{"name": "COMMIT", "value": "#{Code.CommitId}"}])
    build = action("Build", "Build", "CodeBuild", ProjectName=name, EnvironmentVariables=variables)
    build |= {
        "namespace": "Built",
        "inputArtifacts": [{"name": "SourceArtifact"}],
        "outputArtifacts": [{"name": "BuildArtifact"}],
    }
    overrides = {"Name": name, "Value": {"Fn::GetParam": ["BuildArtifact", "values.json", "Value"]}}
    deploy = action(
        "Deploy",
        "Deploy",
        "CloudFormation",
        ActionMode="CREATE_UPDATE",
        StackName=name,
        RoleArn=role,
        TemplatePath="SourceArtifact::template.yaml",
        ParameterOverrides=json.dumps(overrides),
    )
    deploy["inputArtifacts"] = [{"name": "SourceArtifact"}, {"name": "BuildArtifact"}]
    delivery(stage("Build", build), stage("Deploy", deploy))
    [first] = executions(pipelines, name)
    id = first["pipelineExecutionId"]
    status = ended(pipelines, name, id)
    details = pipelines.list_action_executions(pipelineName=name, filter={"pipelineExecutionId": id})
    details = {it["actionName"]: it["output"] for it in details["actionExecutionDetails"]}
    assert status == "Succeeded", details
    commit = details["Code"]["outputVariables"]["CommitId"]
    assert details["Build"]["outputVariables"] == {"ROWS": "42", "PINNED": commit}
    assert details["Build"]["executionResult"]["externalExecutionId"].startswith(f"{name}:")
    assert client("ssm").get_parameter(Name=name)["Parameter"]["Value"] == "built-42"
    client("codecommit").put_file(
        repositoryName=name, branchName="main", filePath="data.txt", fileContent=b"bad", parentCommitId=commit
    )
    second = pipelines.start_pipeline_execution(name=name)["pipelineExecutionId"]
    assert ended(pipelines, name, second) == "Failed"
    [failed, _] = pipelines.list_action_executions(pipelineName=name, filter={"pipelineExecutionId": second})[
        "actionExecutionDetails"
    ]
    error = failed["output"]["executionResult"]["errorDetails"]
    assert error["code"] == "JobFailed"
    assert error["message"].startswith(
        "Build terminated with state: FAILED. Phase: BUILD, Code: COMMAND_EXECUTION_ERROR, Message: "
    )


def test_sources_in_s3_and_ecr_are_pinned(client, pipelines, role, name):
    s3 = client("s3")
    s3.create_bucket(Bucket=name)
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    versions = [s3.put_object(Bucket=name, Key="data.zip", Body=text)["VersionId"] for text in ("one", "two")]
    source = action("Data", "Source", "S3", S3Bucket=name, S3ObjectKey="data.zip", PollForSourceChanges="false")
    source["outputArtifacts"] = [{"name": "Data"}]
    image = action("Image", "Source", "ECR", RepositoryName=name)
    image["outputArtifacts"] = [{"name": "Image"}]
    client("ecr").create_repository(repositoryName=name)
    pipelines.create_pipeline(
        pipeline={
            "name": name,
            "roleArn": role,
            "artifactStore": {"type": "S3", "location": name},
            "pipelineType": "V2",
            "stages": [stage("Source", source, image), stage("Check", action("Approve", "Approval", "Manual"))],
        }
    )
    # There is no image.
    [first] = executions(pipelines, name)
    assert ended(pipelines, name, first["pipelineExecutionId"]) == "Failed"

    def start(*overrides):
        started = pipelines.start_pipeline_execution(name=name, sourceRevisions=list(overrides))
        ended(pipelines, name, started["pipelineExecutionId"])
        details = pipelines.list_action_executions(
            pipelineName=name, filter={"pipelineExecutionId": started["pipelineExecutionId"]}
        )["actionExecutionDetails"]
        return {detail["actionName"]: detail["output"] for detail in details}

    pinned = {"actionName": "Data", "revisionType": "S3_OBJECT_VERSION_ID", "revisionValue": versions[0]}
    for overrides, version, text in (([], versions[1], b"two"), ([pinned], versions[0], b"one")):
        output = start(*overrides)["Data"]
        assert output["outputVariables"]["VersionId"] == version
        at = output["outputArtifacts"][0]["s3location"]
        assert s3.get_object(Bucket=at["bucket"], Key=at["key"])["Body"].read() == text
    key = {"actionName": "Data", "revisionType": "S3_OBJECT_KEY", "revisionValue": "other"}
    error = start(key)["Data"]["executionResult"]["errorDetails"]
    assert "AllowOverrideForS3ObjectKey" in error["message"]


def test_approvals_time_out_by_the_clock(cloud, pipelines, delivery, name):
    delivery(stage("Review", {**APPROVE, "timeoutInMinutes": 5}))
    token(pipelines, name, "Review")
    clock.advance(cloud, 360)
    [first] = executions(pipelines, name)
    assert ended(pipelines, name, first["pipelineExecutionId"]) == "Failed"


def test_executions_wait_stop_and_are_retried(pipelines, delivery, name):
    delivery(stage("Review", APPROVE), mode="SUPERSEDED")
    token(pipelines, name, "Review")
    ids = [pipelines.start_pipeline_execution(name=name)["pipelineExecutionId"] for _ in range(2)]
    assert ended(pipelines, name, ids[0]) == "Superseded"
    first = executions(pipelines, name)[0]["pipelineExecutionId"]
    pipelines.stop_pipeline_execution(pipelineName=name, pipelineExecutionId=first, abandon=True, reason="enough")
    assert ended(pipelines, name, first) == "Stopped"
    answer(pipelines, name, "Review", "Rejected")
    assert ended(pipelines, name, ids[1]) == "Failed"
    retry = {"pipelineName": name, "stageName": "Review", "retryMode": "FAILED_ACTIONS"}
    error = refusal(pipelines.retry_stage_execution, pipelineExecutionId=first, **retry)
    assert error["Code"] == "NotLatestPipelineExecutionException"
    pipelines.retry_stage_execution(pipelineExecutionId=ids[1], **retry)
    answer(pipelines, name, "Review")
    assert ended(pipelines, name, ids[1]) == "Succeeded"
    rolled = pipelines.rollback_stage(pipelineName=name, stageName="Review", targetPipelineExecutionId=ids[1])
    answer(pipelines, name, "Review")
    assert ended(pipelines, name, rolled["pipelineExecutionId"]) == "Succeeded"
    listed = pipelines.list_pipeline_executions(
        pipelineName=name, filter={"succeededInStage": {"stageName": "Review"}}
    )
    found = [it["pipelineExecutionId"] for it in listed["pipelineExecutionSummaries"]]
    assert found == [rolled["pipelineExecutionId"], ids[1]]
    pipelines.disable_stage_transition(
        pipelineName=name, stageName="Review", transitionType="Inbound", reason="not now"
    )
    pipelines.enable_stage_transition(pipelineName=name, stageName="Review", transitionType="Inbound")


def test_a_push_starts_a_pipeline(client, pipelines, delivery, name):
    delivery(stage("Review", APPROVE), mode="PARALLEL")
    arn = pipelines.get_pipeline(name=name)["metadata"]["pipelineArn"]
    starter = roles.make(client("iam"), roles.allow("codepipeline:StartPipelineExecution", arn), services=("events",))
    rules = client("events")
    pattern = {
        "source": ["aws.codecommit"],
        "detail-type": ["CodeCommit Repository State Change"],
        "detail": {"repositoryName": [name], "event": ["referenceUpdated"], "referenceName": ["main"]},
    }
    rules.put_rule(Name=name, EventPattern=json.dumps(pattern))
    transformer = {
        "InputPathsMap": {"commit": "$.detail.commitId"},
        "InputTemplate": '{"sourceRevisions": [{"actionName": "Code", "revisionType": "COMMIT_ID", "revisionValue": "<commit>"}]}',
    }
    target = {"Id": "pipeline", "Arn": arn, "RoleArn": starter, "InputTransformer": transformer}
    assert rules.put_targets(Rule=name, Targets=[target])["FailedEntryCount"] == 0
    commits = client("codecommit")
    put = {"repositoryName": name, "filePath": "data.txt"}
    head = commits.get_branch(repositoryName=name, branchName="main")["branch"]["commitId"]
    commits.create_branch(repositoryName=name, branchName="next", commitId=head)
    second = commits.put_file(branchName="next", fileContent=b"43", parentCommitId=head, **put)["commitId"]
    # A merge is a change of the branch, too.
    target = {"repositoryName": name, "sourceReference": "next", "destinationReference": "main"}
    pull = commits.create_pull_request(title="43", targets=[target])["pullRequest"]["pullRequestId"]
    commits.merge_pull_request_by_fast_forward(pullRequestId=pull, repositoryName=name)
    third = commits.put_file(branchName="main", fileContent=b"44", parentCommitId=second, **put)["commitId"]

    def revisions():
        found = [it for it in executions(pipelines, name) if it["trigger"]["triggerType"] == "CloudWatchEvent"]
        ids = {revision["revisionId"] for it in found for revision in it["sourceRevisions"]}
        return len(ids) == 2 and ids

    assert until(revisions) == {second, third}
    rules.remove_targets(Rule=name, Ids=["pipeline"])
    rules.delete_rule(Name=name)


def test_structures_are_checked(pipelines, delivery, name):
    declaration = delivery(stage("Review", APPROVE))
    assert refusal(pipelines.create_pipeline, pipeline=declaration)["Code"] == "PipelineNameInUseException"
    declaration["stages"][1]["actions"][0]["actionTypeId"]["provider"] = "Nobody"
    error = refusal(pipelines.update_pipeline, pipeline=declaration)
    assert error["Code"] == "InvalidActionDeclarationException"
    declaration["stages"][1]["actions"] = [action("S", "Deploy", "S3", BucketName="b", Extract="true")]
    assert refusal(pipelines.update_pipeline, pipeline=declaration)["Code"] == "NotImplemented"
    providers = {kind["id"]["provider"] for kind in pipelines.list_action_types()["actionTypes"]}
    assert providers == {"CodeBuild", "CodeCommit", "CloudFormation", "ECR", "Lambda", "Manual", "S3"}
    pipelines.delete_pipeline(name=name)
    assert refusal(pipelines.get_pipeline, name=name)["Code"] == "PipelineNotFoundException"
    assert name not in [it["name"] for it in pipelines.list_pipelines()["pipelines"]]


def test_a_stack_has_a_pipeline(client, pipelines, delivery, role, name):
    delivery(stage("Review", APPROVE))
    template = {
        "Resources": {
            "Pipeline": {
                "Type": "AWS::CodePipeline::Pipeline",
                "Properties": {
                    "RoleArn": role,
                    "PipelineType": "V2",
                    "ExecutionMode": "QUEUED",
                    "RestartExecutionOnUpdate": True,
                    "ArtifactStore": {"Type": "S3", "Location": name},
                    "DisableInboundStageTransitions": [{"StageName": "Review", "Reason": "not yet"}],
                    "Stages": [
                        {
                            "Name": "Source",
                            "Actions": [
                                {
                                    "Name": "Code",
                                    "ActionTypeId": {
                                        "Category": "Source", "Owner": "AWS", "Provider": "CodeCommit", "Version": "1",
                                    },
                                    "Configuration": {
                                        "RepositoryName": name, "BranchName": "main", "PollForSourceChanges": False,
                                    },
                                    "OutputArtifacts": [{"Name": "Code"}],
                                }
                            ],
                        },
                        {
                            "Name": "Review",
                            "Actions": [
                                {
                                    "Name": "Approve",
                                    "ActionTypeId": {
                                        "Category": "Approval", "Owner": "AWS", "Provider": "Manual", "Version": "1",
                                    },
                                }
                            ],
                        },
                    ],
                },
            }
        },
        "Outputs": {"Name": {"Value": {"Ref": "Pipeline"}}, "Version": {"Value": {"Fn::GetAtt": "Pipeline.Version"}}},
    }
    stacks = client("cloudformation")
    stacks.create_stack(StackName=name, TemplateBody=json.dumps(template))
    stacks.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
    outputs = {it["OutputKey"]: it["OutputValue"] for it in stacks.describe_stacks(StackName=name)["Stacks"][0]["Outputs"]}
    made = outputs["Name"]
    assert outputs["Version"] == "1"
    review = pipelines.get_pipeline_state(name=made)["stageStates"][1]
    assert review["inboundTransitionState"]["disabledReason"] == "not yet"
    template["Resources"]["Pipeline"]["Properties"]["ExecutionMode"] = "SUPERSEDED"
    del template["Resources"]["Pipeline"]["Properties"]["DisableInboundStageTransitions"]
    stacks.update_stack(StackName=name, TemplateBody=json.dumps(template))
    stacks.get_waiter("stack_update_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
    assert pipelines.get_pipeline(name=made)["pipeline"]["executionMode"] == "SUPERSEDED"
    assert pipelines.get_pipeline_state(name=made)["stageStates"][1]["inboundTransitionState"]["enabled"]
    assert len(executions(pipelines, made)) == 2
    stacks.delete_stack(StackName=name)
    stacks.get_waiter("stack_delete_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
    assert refusal(pipelines.get_pipeline, name=made)["Code"] == "PipelineNotFoundException"


def test_pull_requests(client, cloud, name):
    commits = client("codecommit")
    commits.create_repository(repositoryName=name)
    put = {"repositoryName": name, "filePath": "a", "fileContent": b"1"}
    first = commits.put_file(branchName="main", **put)["commitId"]
    commits.create_branch(repositoryName=name, branchName="next", commitId=first)
    second = commits.put_file(branchName="next", **{**put, "fileContent": b"2"}, parentCommitId=first)["commitId"]
    target = {"repositoryName": name, "sourceReference": "next", "destinationReference": "main"}
    pull = commits.create_pull_request(title="two", targets=[target])["pullRequest"]
    id = pull["pullRequestId"]
    assert pull["pullRequestTargets"][0]["sourceCommit"] == second
    reviewer = roles.make(client("iam"), roles.allow("codecommit:*"))
    session = roles.assume(client, cloud, reviewer, watch=watch).client("codecommit")
    session.update_pull_request_approval_state(pullRequestId=id, revisionId=pull["revisionId"], approvalState="APPROVE")
    states = commits.get_pull_request_approval_states(pullRequestId=id, revisionId=pull["revisionId"])
    assert [it["approvalState"] for it in states["approvals"]] == ["APPROVE"]
    evaluation = commits.evaluate_pull_request_approval_rules(pullRequestId=id, revisionId=pull["revisionId"])
    assert evaluation["evaluation"]["approved"]
    both = {"repositoryName": name, "sourceCommitSpecifier": "next", "destinationCommitSpecifier": "main"}
    assert commits.get_merge_options(**both)["mergeOptions"] == ["FAST_FORWARD_MERGE", "SQUASH_MERGE"]
    assert commits.get_merge_conflicts(**both, mergeOption="SQUASH_MERGE")["mergeable"]
    commits.update_pull_request_title(pullRequestId=id, title="new")
    commits.update_pull_request_description(pullRequestId=id, description="why")
    assert commits.list_pull_requests(repositoryName=name, pullRequestStatus="OPEN")["pullRequestIds"] == [id]
    merged = commits.merge_pull_request_by_squash(pullRequestId=id, repositoryName=name, commitMessage="squashed")
    assert merged["pullRequest"]["pullRequestTargets"][0]["mergeMetadata"]["mergeOption"] == "SQUASH_MERGE"
    main = commits.get_branch(repositoryName=name, branchName="main")["branch"]["commitId"]
    assert commits.get_commit(repositoryName=name, commitId=main)["commit"]["parents"] == [first]
    commits.create_branch(repositoryName=name, branchName="later", commitId=main)
    commits.put_file(branchName="later", **{**put, "fileContent": b"3"}, parentCommitId=main)
    later = commits.create_pull_request(title="later", targets=[{**target, "sourceReference": "later"}])["pullRequest"]
    later = later["pullRequestId"]
    assert commits.get_pull_request(pullRequestId=later)["pullRequest"]["pullRequestStatus"] == "OPEN"
    commits.merge_pull_request_by_fast_forward(pullRequestId=later, repositoryName=name)
    tip = commits.get_branch(repositoryName=name, branchName="later")["branch"]["commitId"]
    commits.merge_branches_by_fast_forward(repositoryName=name, sourceCommitSpecifier="main", destinationCommitSpecifier="main")
    assert commits.get_branch(repositoryName=name, branchName="main")["branch"]["commitId"] == tip
    again = commits.put_file(branchName="later", **{**put, "fileContent": b"4"}, parentCommitId=tip)
    assert again["commitId"]
    last = commits.create_pull_request(title="last", targets=[{**target, "sourceReference": "later"}])["pullRequest"]
    closed = commits.update_pull_request_status(pullRequestId=last["pullRequestId"], pullRequestStatus="CLOSED")
    assert closed["pullRequest"]["pullRequestStatus"] == "CLOSED"
    error = refusal(
        commits.merge_pull_request_by_fast_forward, pullRequestId=last["pullRequestId"], repositoryName=name
    )
    assert error["Code"] == "PullRequestAlreadyClosedException"
