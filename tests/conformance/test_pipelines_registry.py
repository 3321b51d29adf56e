"""Pipelines and the model registry with boto3, running programs of a pushed image."""

import concurrent.futures
import copy
import io
import json
import tarfile
import time
import uuid

import pytest
from botocore.exceptions import ClientError

import images
import roles

PROGRAMS = {
    # Counts the input's bytes, to prove that the data arrived.
    "prepare": b"#!/bin/sh\ncat /opt/ml/processing/input/* > /opt/ml/processing/train/all.csv\n",
    "train": b"""#!/bin/sh
mode=$(sed 's/.*"mode": *"\\([a-z]*\\)".*/\\1/' /opt/ml/input/config/hyperparameters.json)
echo "training in mode $mode"
if [ "$mode" = slow ]; then sleep 120; fi
if [ "$mode" = fail ]; then echo 'the column is missing' > /opt/ml/output/failure; exit 1; fi
cp /opt/ml/input/data/train/all.csv /opt/ml/model/model.txt
""",
    "evaluate": b"""#!/bin/sh
test -s /opt/ml/processing/model/model.tar.gz || exit 3
echo '{"regression_metrics": {"rmse": {"value": 4.5}}}' > /opt/ml/processing/evaluation/evaluation.json
""",
}


def error(call, **arguments):
    with pytest.raises(ClientError) as raised:
        call(**arguments)
    return raised.value.response["Error"]


def unique(prefix):
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def token():
    return str(uuid.uuid4())


@pytest.fixture(scope="module")
def sagemaker(client):
    return client("sagemaker")


@pytest.fixture(scope="module")
def bucket(client):
    name = unique("pipelines")
    client("s3").create_bucket(Bucket=name)
    client("s3").put_object(Bucket=name, Key="in/a.csv", Body=b"1,2\n3,4\n")
    client("s3").put_object(Bucket=name, Key="models/model.tar.gz", Body=b"a model")
    return name


@pytest.fixture(scope="module")
def role(client):
    return roles.make(client("iam"), *roles.EXECUTION, *roles.PIPELINE)


@pytest.fixture(scope="module")
def image(cloud, client):
    """Pushes an image with PROGRAMS; returns its URI by digest."""
    name = unique("pipelines")
    client("ecr").create_repository(repositoryName=name)
    return images.push(cloud, client("ecr"), name, PROGRAMS)


def get(reference):
    return {"Get": reference}


def join(*values, on="/"):
    return {"Std:Join": {"On": on, "Values": list(values)}}


@pytest.fixture(scope="module")
def definition(bucket, role, image):
    """Preprocess, train, evaluate, gate, register or fail."""

    def processing(name, program, source, output):
        return {
            "Name": name,
            "Type": "Processing",
            "Arguments": {
                "ProcessingResources": {
                    "ClusterConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
                },
                "AppSpecification": {"ImageUri": image, "ContainerEntrypoint": [program]},
                "RoleArn": role,
                "ProcessingInputs": [
                    {
                        "InputName": "in",
                        "AppManaged": False,
                        "S3Input": {
                            "S3Uri": source[0],
                            "LocalPath": f"/opt/ml/processing/{source[1]}",
                            "S3DataType": "S3Prefix",
                            "S3InputMode": "File",
                        },
                    }
                ],
                "ProcessingOutputConfig": {
                    "Outputs": [
                        {
                            "OutputName": output,
                            "AppManaged": False,
                            "S3Output": {
                                "S3Uri": join("s3:/", bucket, "runs", get("Execution.PipelineExecutionId"), output),
                                "LocalPath": f"/opt/ml/processing/{output}",
                                "S3UploadMode": "EndOfJob",
                            },
                        }
                    ]
                },
            },
        }

    evaluate = processing("Evaluate", "evaluate", (get("Steps.Train.ModelArtifacts.S3ModelArtifacts"), "model"), "evaluation")
    evaluate["PropertyFiles"] = [
        {"PropertyFileName": "Eval", "OutputName": "evaluation", "FilePath": "evaluation.json"}
    ]
    train_data = get("Steps.Prepare.ProcessingOutputConfig.Outputs['train'].S3Output.S3Uri")
    evaluation = get("Steps.Evaluate.ProcessingOutputConfig.Outputs['evaluation'].S3Output.S3Uri")
    return {
        "Version": "2020-12-01",
        "Parameters": [
            {"Name": "Input", "Type": "String"},
            {"Name": "Mode", "Type": "String", "DefaultValue": "good", "EnumValues": ["good", "fail", "slow"]},
            {"Name": "MaxRmse", "Type": "Float", "DefaultValue": 6.0},
            {"Name": "Group", "Type": "String", "DefaultValue": "none"},
        ],
        "PipelineExperimentConfig": {"ExperimentName": get("Execution.PipelineName"), "TrialName": "t"},
        "Steps": [
            processing("Prepare", "prepare", (get("Parameters.Input"), "input"), "train"),
            {
                "Name": "Train",
                "Type": "Training",
                "DisplayName": "Fit",
                "Arguments": {
                    "AlgorithmSpecification": {"TrainingInputMode": "File", "TrainingImage": image},
                    "RoleArn": role,
                    "OutputDataConfig": {"S3OutputPath": f"s3://{bucket}/models"},
                    "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
                    "StoppingCondition": {"MaxRuntimeInSeconds": 300},
                    "HyperParameters": {"mode": get("Parameters.Mode")},
                    "InputDataConfig": [
                        {
                            "ChannelName": "train",
                            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": train_data}},
                        }
                    ],
                },
            },
            evaluate,
            {
                "Name": "Gate",
                "Type": "Condition",
                "Arguments": {
                    "Conditions": [
                        {
                            "Type": "LessThanOrEqualTo",
                            "LeftValue": {
                                "Std:JsonGet": {
                                    "PropertyFile": get("Steps.Evaluate.PropertyFiles.Eval"),
                                    "Path": "regression_metrics.rmse.value",
                                }
                            },
                            "RightValue": get("Parameters.MaxRmse"),
                        }
                    ],
                    "IfSteps": [
                        {
                            "Name": "Register",
                            "Type": "RegisterModel",
                            "Arguments": {
                                "ModelPackageGroupName": get("Parameters.Group"),
                                "MetadataProperties": {"CommitId": "abc"},
                                "InferenceSpecification": {
                                    "Containers": [
                                        {
                                            "Image": image,
                                            "ModelDataUrl": get("Steps.Train.ModelArtifacts.S3ModelArtifacts"),
                                        }
                                    ],
                                    "SupportedContentTypes": ["text/csv"],
                                    "SupportedResponseMIMETypes": ["text/csv"],
                                },
                                "ModelMetrics": {
                                    "ModelQuality": {
                                        "Statistics": {
                                            "ContentType": "application/json",
                                            "S3Uri": join(evaluation, "evaluation.json"),
                                        }
                                    }
                                },
                            },
                        }
                    ],
                    "ElseSteps": [
                        {
                            "Name": "Reject",
                            "Type": "Fail",
                            "Arguments": {"ErrorMessage": join("rmse is above", get("Parameters.MaxRmse"), on=" ")},
                        }
                    ],
                },
            },
        ],
    }


@pytest.fixture(scope="module")
def pipeline(sagemaker, definition, role):
    name = unique("flights")
    sagemaker.create_pipeline(
        PipelineName=name,
        PipelineDefinition=json.dumps(definition),
        RoleArn=role,
        ClientRequestToken=token(),
        Tags=[{"Key": "team", "Value": "a"}],
    )
    return name


@pytest.fixture(scope="module")
def start(sagemaker, pipeline, bucket):
    def start(**parameters):
        parameters.setdefault("Input", f"s3://{bucket}/in/")
        return sagemaker.start_pipeline_execution(
            PipelineName=pipeline,
            ClientRequestToken=token(),
            PipelineParameters=[{"Name": k, "Value": v} for k, v in parameters.items()],
        )["PipelineExecutionArn"]

    return start


def over(sagemaker, arn, seconds=120):
    for _ in range(seconds * 20):
        execution = sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)
        if execution["PipelineExecutionStatus"] not in ("Executing", "Stopping"):
            return execution
        time.sleep(0.05)
    raise AssertionError(f"{arn} does not end")


def steps(sagemaker, arn):
    listed = sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=arn, SortOrder="Ascending")
    return {step["StepName"]: step for step in listed["PipelineExecutionSteps"]}


# --- pipelines ------------------------------------------------------------------------------


def test_pipelines_have_versions(sagemaker, definition, role):
    name, first = unique("versions"), token()
    arguments = {"PipelineName": name, "PipelineDefinition": json.dumps(definition), "RoleArn": role}
    made = sagemaker.create_pipeline(**arguments, ClientRequestToken=first, PipelineDescription="one")
    assert made["PipelineArn"] == f"arn:aws:sagemaker:us-east-1:000000000000:pipeline/{name}"
    assert sagemaker.create_pipeline(**arguments, ClientRequestToken=first)["PipelineArn"] == made["PipelineArn"]
    refused = error(sagemaker.create_pipeline, **arguments, ClientRequestToken=token())
    assert refused["Code"] == "ValidationException" and "already exists" in refused["Message"]

    described = sagemaker.describe_pipeline(PipelineName=made["PipelineArn"])
    assert described["PipelineName"] == name and described["PipelineStatus"] == "Active"
    assert json.loads(described["PipelineDefinition"]) == definition
    assert described["PipelineDescription"] == "one" and described["RoleArn"] == role

    changed = copy.deepcopy(definition)
    changed["Parameters"][2]["DefaultValue"] = 7.0
    updated = sagemaker.update_pipeline(
        PipelineName=name,
        PipelineDefinition=json.dumps(changed),
        ParallelismConfiguration={"MaxParallelExecutionSteps": 3},
    )
    assert updated["PipelineVersionId"] == 2
    same = sagemaker.update_pipeline(PipelineName=name, PipelineDefinition=json.dumps(changed))
    assert same["PipelineVersionId"] == 2
    sagemaker.update_pipeline_version(
        PipelineArn=made["PipelineArn"], PipelineVersionId=1, PipelineVersionDescription="the first"
    )
    versions = sagemaker.list_pipeline_versions(PipelineName=name)["PipelineVersionSummaries"]
    assert [version["PipelineVersionId"] for version in versions] == [2, 1]
    assert versions[1]["PipelineVersionDescription"] == "the first"
    old = sagemaker.describe_pipeline(PipelineName=name, PipelineVersionId=1)
    assert json.loads(old["PipelineDefinition"]) == definition
    new = sagemaker.describe_pipeline(PipelineName=name)
    assert json.loads(new["PipelineDefinition"]) == changed
    assert new["ParallelismConfiguration"] == {"MaxParallelExecutionSteps": 3}

    listed = sagemaker.list_pipelines(PipelineNamePrefix=name)["PipelineSummaries"]
    assert [pipeline["PipelineName"] for pipeline in listed] == [name]
    assert sagemaker.delete_pipeline(PipelineName=name, ClientRequestToken=token())["PipelineArn"] == made["PipelineArn"]
    assert error(sagemaker.describe_pipeline, PipelineName=name)["Code"] == "ResourceNotFound"


def test_definitions_can_be_read_from_s3(sagemaker, client, definition, role, bucket):
    name = unique("from-s3")
    client("s3").put_object(Bucket=bucket, Key="pipeline.json", Body=json.dumps(definition).encode())
    location = {"Bucket": bucket, "ObjectKey": "pipeline.json"}
    sagemaker.create_pipeline(
        PipelineName=name, PipelineDefinitionS3Location=location, RoleArn=role, ClientRequestToken=token()
    )
    assert json.loads(sagemaker.describe_pipeline(PipelineName=name)["PipelineDefinition"]) == definition


def test_invalid_definitions_are_rejected_with_the_reason(sagemaker, definition, role):
    def refused(change):
        changed = copy.deepcopy(definition)
        change(changed["Steps"])
        return error(
            sagemaker.create_pipeline,
            PipelineName=unique("bad"),
            PipelineDefinition=json.dumps(changed),
            RoleArn=role,
            ClientRequestToken=token(),
        )

    twice = refused(lambda steps: steps[0].update(Name="Train"))
    assert twice["Code"] == "ValidationException" and "two steps are named `Train`" in twice["Message"]
    nowhere = refused(lambda steps: steps[0].update(DependsOn=["Nowhere"]))
    assert "$.Steps[0].DependsOn[0]: no step `Nowhere`" in nowhere["Message"]
    cycle = refused(lambda steps: steps[0].update(DependsOn=["Train"]))
    assert "wait for each other" in cycle["Message"]
    unknown = refused(lambda steps: steps[0].update(Type="Lambda"))
    assert unknown["Code"] == "NotImplemented" and "Lambda" in unknown["Message"]
    cached = refused(lambda steps: steps[0].update(CacheConfig={"Enable": True}))
    assert cached["Code"] == "ValidationException" and "'Enable'" in cached["Message"]
    never = refused(lambda steps: steps[0].update(RetryPolicies=[{"ExceptionType": []}]))
    assert never["Code"] == "ValidationException" and "ExceptionType is empty" in never["Message"]
    mlflow = error(
        sagemaker.create_pipeline,
        PipelineName=unique("bad"),
        PipelineDefinition=json.dumps({**definition, "MlflowConfig": {"MlflowExperimentName": "e"}}),
        RoleArn=role,
        ClientRequestToken=token(),
    )
    assert mlflow["Code"] == "NotImplemented" and "MlflowConfig" in mlflow["Message"]
    no_role = error(
        sagemaker.create_pipeline,
        PipelineName=unique("bad"),
        PipelineDefinition=json.dumps(definition),
        RoleArn="arn:aws:iam::000000000000:role/nobody-there",
        ClientRequestToken=token(),
    )
    assert "nobody-there" in no_role["Message"]


def test_parameters_are_checked_before_anything_starts(sagemaker, pipeline, start):
    for parameters, part in [
        ({"Nope": "1"}, "`Nope` is not declared"),
        ({"MaxRmse": "x"}, "not a number"),
        ({"Mode": "odd"}, "it must be one of good, fail, slow"),
    ]:
        with pytest.raises(ClientError, match=part) as raised:
            start(**parameters)
        assert raised.value.response["Error"]["Code"] == "ValidationException"
    missing = error(sagemaker.start_pipeline_execution, PipelineName=pipeline, ClientRequestToken=token())
    assert "`Input` has no default" in missing["Message"]
    gone = error(sagemaker.start_pipeline_execution, PipelineName="nope", ClientRequestToken=token())
    assert gone["Code"] == "ResourceNotFound"


# --- executions -----------------------------------------------------------------------------


class Finished:
    """A run that has ended: its request, its ARN and id, its description and its steps."""

    def __init__(self, sagemaker, pipeline, bucket):
        self.group = unique("group")
        self.request = {
            "PipelineName": pipeline,
            "ClientRequestToken": token(),
            "PipelineExecutionDescription": "a run",
            "PipelineExecutionDisplayName": "first",
            "PipelineParameters": [
                {"Name": "Input", "Value": f"s3://{bucket}/in/"},
                {"Name": "Group", "Value": self.group},
            ],
        }
        self.arn = sagemaker.start_pipeline_execution(**self.request)["PipelineExecutionArn"]
        self.run = self.arn.rsplit("/", 1)[1]
        self.execution = over(sagemaker, self.arn)
        self.steps = steps(sagemaker, self.arn)


@pytest.fixture(scope="module")
def finished(sagemaker, pipeline, bucket):
    return Finished(sagemaker, pipeline, bucket)


def test_a_token_starts_one_run(sagemaker, finished):
    assert sagemaker.start_pipeline_execution(**finished.request)["PipelineExecutionArn"] == finished.arn
    run = finished.run
    assert len(run) == 12 and run.isalnum() and run == run.lower()


def test_runs_are_listed_newest_first(sagemaker, pipeline, finished):
    arn, execution = finished.arn, finished.execution
    sagemaker.update_pipeline_execution(PipelineExecutionArn=arn, PipelineExecutionDisplayName="renamed")
    newest = sagemaker.list_pipeline_executions(PipelineName=pipeline)["PipelineExecutionSummaries"][0]
    assert newest["PipelineExecutionArn"] == arn and newest["PipelineExecutionDisplayName"] == "renamed"
    assert newest["StartTime"] == execution["CreationTime"]
    page = sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=arn, MaxResults=2)
    assert [step["StepName"] for step in page["PipelineExecutionSteps"]] == ["Register", "Gate"]
    assert page["NextToken"]


def test_a_run_succeeds(pipeline, finished):
    execution, ran = finished.execution, finished.steps
    assert execution["PipelineExecutionStatus"] == "Succeeded", ran
    assert execution["PipelineExperimentConfig"] == {"ExperimentName": pipeline, "TrialName": "t"}
    assert execution["PipelineVersionId"] == 1 and execution["PipelineExecutionDescription"] == "a run"
    assert list(ran) == ["Prepare", "Train", "Evaluate", "Gate", "Register"]
    assert all(step["StepStatus"] == "Succeeded" for step in ran.values())
    assert all(step["EndTime"] >= step["StartTime"] for step in ran.values())
    assert ran["Train"]["StepDisplayName"] == "Fit"
    assert ran["Gate"]["Metadata"]["Condition"]["Outcome"] == "True"


def test_a_training_step_runs_a_job(sagemaker, client, bucket, finished):
    run, ran = finished.run, finished.steps
    job = ran["Train"]["Metadata"]["TrainingJob"]["Arn"].rsplit("/", 1)[1]
    assert job.startswith(f"pipelines-{run}-Train-")
    training = sagemaker.describe_training_job(TrainingJobName=job)
    assert training["HyperParameters"] == {"mode": "good"}
    source = training["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"]
    assert source == f"s3://{bucket}/runs/{run}/train"
    model = training["ModelArtifacts"]["S3ModelArtifacts"]
    key = model.removeprefix(f"s3://{bucket}/")
    packed = client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        assert archive.extractfile(archive.getmember("model.txt")).read() == b"1,2\n3,4\n"


def test_a_run_registers_a_model(sagemaker, bucket, image, finished):
    group, arn, run, ran = finished.group, finished.arn, finished.run, finished.steps
    job = ran["Train"]["Metadata"]["TrainingJob"]["Arn"].rsplit("/", 1)[1]
    model = sagemaker.describe_training_job(TrainingJobName=job)["ModelArtifacts"]["S3ModelArtifacts"]
    package = ran["Register"]["Metadata"]["RegisterModel"]["Arn"]
    described = sagemaker.describe_model_package(ModelPackageName=package)
    assert described["ModelPackageVersion"] == 1 and described["ModelPackageGroupName"] == group
    assert described["ModelApprovalStatus"] == "PendingManualApproval"
    assert described["MetadataProperties"] == {"CommitId": "abc", "GeneratedBy": arn}
    container = described["InferenceSpecification"]["Containers"][0]
    assert container["ModelDataUrl"] == model
    assert container["ImageDigest"] == image.split("@")[1]
    statistics = described["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"]
    assert statistics == f"s3://{bucket}/runs/{run}/evaluation/evaluation.json"


def test_a_run_keeps_its_parameters_and_definition(sagemaker, bucket, definition, finished):
    group, arn = finished.group, finished.arn
    given = sagemaker.list_pipeline_parameters_for_execution(PipelineExecutionArn=arn)["PipelineParameters"]
    assert {p["Name"]: p["Value"] for p in given} == {
        "Input": f"s3://{bucket}/in/",
        "Mode": "good",
        "MaxRmse": "6.0",
        "Group": group,
    }
    used = sagemaker.describe_pipeline_definition_for_execution(PipelineExecutionArn=arn)
    assert json.loads(used["PipelineDefinition"]) == definition


def test_a_gate_that_refuses_the_model(sagemaker, start):
    arn = start(MaxRmse="4.0")
    execution = over(sagemaker, arn)
    assert execution["PipelineExecutionStatus"] == "Failed"
    assert execution["FailureReason"] == "rmse is above 4.0"
    ran = steps(sagemaker, arn)
    assert ran["Gate"]["Metadata"]["Condition"]["Outcome"] == "False"
    assert ran["Reject"]["Metadata"]["Fail"]["ErrorMessage"] == "rmse is above 4.0"
    assert "Register" not in ran


def test_a_failed_step_fails_the_run_and_can_be_retried(sagemaker, start):
    arn = start(Mode="fail")
    execution = over(sagemaker, arn)
    assert execution["PipelineExecutionStatus"] == "Failed"
    assert execution["FailureReason"] == "Step failure: One or multiple steps failed."
    ran = steps(sagemaker, arn)
    assert list(ran) == ["Prepare", "Train"]
    assert ran["Train"]["StepStatus"] == "Failed"
    assert "the column is missing" in ran["Train"]["FailureReason"]

    before = ran["Train"]["Metadata"]["TrainingJob"]["Arn"]
    retried = sagemaker.retry_pipeline_execution(PipelineExecutionArn=arn, ClientRequestToken=token())
    assert retried["PipelineExecutionArn"] == arn
    assert over(sagemaker, arn)["PipelineExecutionStatus"] == "Failed"
    again = steps(sagemaker, arn)
    assert again["Train"]["Metadata"]["TrainingJob"]["Arn"] != before
    assert again["Prepare"]["StartTime"] == ran["Prepare"]["StartTime"]


def test_stop_stops_the_running_job(sagemaker, start, pipeline):
    arn = start(Mode="slow")
    job = None
    for _ in range(1200):
        train = steps(sagemaker, arn).get("Train", {})
        job = train.get("Metadata", {}).get("TrainingJob", {}).get("Arn")
        if job:
            break
        time.sleep(0.05)
    assert error(sagemaker.delete_pipeline, PipelineName=pipeline, ClientRequestToken=token())["Code"] == "ConflictException"
    assert error(
        sagemaker.retry_pipeline_execution, PipelineExecutionArn=arn, ClientRequestToken=token()
    )["Code"] == "ConflictException"
    sagemaker.stop_pipeline_execution(PipelineExecutionArn=arn, ClientRequestToken=token())
    assert over(sagemaker, arn)["PipelineExecutionStatus"] == "Stopped"
    assert steps(sagemaker, arn)["Train"]["StepStatus"] == "Stopped"
    stopped = sagemaker.describe_training_job(TrainingJobName=job.rsplit("/", 1)[1])
    assert stopped["TrainingJobStatus"] == "Stopped"
    assert error(
        sagemaker.stop_pipeline_execution, PipelineExecutionArn=arn, ClientRequestToken=token()
    )["Code"] == "ConflictException"


# --- registry -------------------------------------------------------------------------------


@pytest.fixture
def group(sagemaker):
    name = unique("group")
    sagemaker.create_model_package_group(ModelPackageGroupName=name, ModelPackageGroupDescription="d")
    return name


@pytest.fixture
def register(sagemaker, image, bucket):
    def register(**arguments):
        specification = {
            "Containers": [{"Image": image, "ModelDataUrl": f"s3://{bucket}/models/model.tar.gz"}],
            "SupportedContentTypes": ["text/csv"],
            "SupportedResponseMIMETypes": ["text/csv"],
        }
        return sagemaker.create_model_package(InferenceSpecification=specification, **arguments)["ModelPackageArn"]

    return register


def test_groups(sagemaker, group, register):
    described = sagemaker.describe_model_package_group(ModelPackageGroupName=group)
    assert described["ModelPackageGroupStatus"] == "Completed"
    assert described["ModelPackageGroupDescription"] == "d"
    arn = described["ModelPackageGroupArn"]
    assert sagemaker.describe_model_package_group(ModelPackageGroupName=arn)["ModelPackageGroupName"] == group
    taken = error(sagemaker.create_model_package_group, ModelPackageGroupName=group)
    assert "already exists" in taken["Message"]
    listed = sagemaker.list_model_package_groups(NameContains=group)["ModelPackageGroupSummaryList"]
    assert [summary["ModelPackageGroupArn"] for summary in listed] == [arn]

    assert "Cannot find" in error(sagemaker.get_model_package_group_policy, ModelPackageGroupName=group)["Message"]
    policy = json.dumps({"Version": "2012-10-17", "Statement": []})
    sagemaker.put_model_package_group_policy(ModelPackageGroupName=group, ResourcePolicy=policy)
    assert sagemaker.get_model_package_group_policy(ModelPackageGroupName=group)["ResourcePolicy"] == policy
    sagemaker.delete_model_package_group_policy(ModelPackageGroupName=group)
    assert "Cannot find" in error(sagemaker.get_model_package_group_policy, ModelPackageGroupName=group)["Message"]

    package = register(ModelPackageGroupName=group)
    assert error(sagemaker.delete_model_package_group, ModelPackageGroupName=group)["Code"] == "ConflictException"
    sagemaker.delete_model_package(ModelPackageName=package)
    sagemaker.delete_model_package_group(ModelPackageGroupName=group)
    gone = error(sagemaker.describe_model_package_group, ModelPackageGroupName=group)
    assert gone["Code"] == "ValidationException" and "does not exist" in gone["Message"]


def test_version_numbers_increase_and_are_never_reused(sagemaker, group, register):
    arns = [register(ModelPackageGroupName=group) for _ in range(3)]
    assert [arn.rsplit("/", 1)[1] for arn in arns] == ["1", "2", "3"]
    sagemaker.delete_model_package(ModelPackageName=arns[2])
    assert register(ModelPackageGroupName=group).endswith("/4")
    sagemaker.update_model_package(ModelPackageArn=arns[1], ModelApprovalStatus="Approved")

    def versions(**arguments):
        listed = sagemaker.list_model_packages(ModelPackageGroupName=group, **arguments)
        return [package["ModelPackageVersion"] for package in listed["ModelPackageSummaryList"]]

    assert versions(SortBy="CreationTime", SortOrder="Descending") == [4, 2, 1]
    assert versions(ModelApprovalStatus="Approved") == [2]
    pages = sagemaker.get_paginator("list_model_packages").paginate(
        ModelPackageGroupName=group, PaginationConfig={"PageSize": 2}
    )
    assert [len(page["ModelPackageSummaryList"]) for page in pages] == [2, 1]
    batch = sagemaker.batch_describe_model_package(ModelPackageArnList=[arns[0], arns[2]])
    assert batch["ModelPackageSummaries"][arns[0]]["ModelPackageVersion"] == 1
    assert batch["BatchDescribeModelPackageErrorMap"][arns[2]]["ErrorCode"] == "ValidationException"


def at_once(call, count=6):
    """Returns the responses of `count` parallel calls."""
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return [future.result() for future in [pool.submit(call) for _ in range(count)]]


def test_one_token_creates_one_version(sagemaker, group, register):
    for _ in range(5):
        before = sagemaker.list_model_packages(ModelPackageGroupName=group, MaxResults=100)
        first = token()
        made = at_once(lambda: register(ModelPackageGroupName=group, ClientToken=first))
        assert len(set(map(str, made))) == 1
        after = sagemaker.list_model_packages(ModelPackageGroupName=group, MaxResults=100)
        count = len(before["ModelPackageSummaryList"]) + 1
        assert len(after["ModelPackageSummaryList"]) == count


def test_one_token_creates_one_pipeline_and_one_run(sagemaker, definition, role, bucket):
    name, first = unique("once"), token()
    arguments = {"PipelineName": name, "PipelineDefinition": json.dumps(definition), "RoleArn": role}
    made = at_once(lambda: sagemaker.create_pipeline(**arguments, ClientRequestToken=first)["PipelineArn"])
    assert len(set(made)) == 1
    versions = sagemaker.list_pipeline_versions(PipelineName=name)["PipelineVersionSummaries"]
    assert len(versions) == 1
    refused = error(
        sagemaker.create_pipeline,
        PipelineName=name,
        PipelineDefinition=json.dumps({**definition, "Metadata": {"by": "another"}}),
        RoleArn=role,
        ClientRequestToken=token(),
    )
    assert "already exists" in refused["Message"]
    assert json.loads(sagemaker.describe_pipeline(PipelineName=name)["PipelineDefinition"]) == definition

    arguments = {
        "PipelineName": name,
        "ClientRequestToken": token(),
        "PipelineParameters": [{"Name": "Input", "Value": f"s3://{bucket}/in/"}],
    }
    started = at_once(lambda: sagemaker.start_pipeline_execution(**arguments)["PipelineExecutionArn"])
    listed = sagemaker.list_pipeline_executions(PipelineName=name)["PipelineExecutionSummaries"]
    assert [run["PipelineExecutionArn"] for run in listed] == list(set(started))
    over(sagemaker, started[0])


@pytest.mark.parametrize("wrong", [0, -1])
def test_a_page_has_at_least_one_member(client, cloud, wrong):
    from botocore.config import Config

    unchecked = client("sagemaker", config=Config(parameter_validation=False))
    refused = error(unchecked.list_pipelines, MaxResults=wrong)
    assert refused["Code"] == "ValidationException"


def test_members_are_kept_and_updated(sagemaker, group, register, image):
    request = {
        "ModelPackageDescription": "d",
        "ModelApprovalStatus": "PendingManualApproval",
        "MetadataProperties": {"CommitId": "c", "Repository": "r"},
        "CustomerMetadataProperties": {"a": "1", "b": "2"},
        "Domain": "MACHINE_LEARNING",
        "ModelLifeCycle": {"Stage": "Development", "StageStatus": "InProgress"},
        "ModelMetrics": {"ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": "s3://b/k"}}},
        "ClientToken": token(),
    }
    arn = register(ModelPackageGroupName=group, **request)
    assert register(ModelPackageGroupName=group, **request) == arn
    described = sagemaker.describe_model_package(ModelPackageName=arn)
    for member in set(request) - {"ClientToken"}:
        assert described[member] == request[member], member
    assert described["ModelPackageStatus"] == "Completed"

    sagemaker.update_model_package(
        ModelPackageArn=arn,
        ModelApprovalStatus="Approved",
        ApprovalDescription="good",
        CustomerMetadataProperties={"a": "3"},
        CustomerMetadataPropertiesToRemove=["b"],
        ModelLifeCycle={"Stage": "Production", "StageStatus": "Approved", "StageDescription": "live"},
    )
    described = sagemaker.describe_model_package(ModelPackageName=arn)
    assert described["ModelApprovalStatus"] == "Approved" and described["ApprovalDescription"] == "good"
    assert described["CustomerMetadataProperties"] == {"a": "3"}
    assert described["ModelLifeCycle"]["Stage"] == "Production"
    assert described["LastModifiedTime"] >= described["CreationTime"]


def test_packages_outside_a_group(sagemaker, register):
    name = unique("package")
    arn = register(ModelPackageName=name, Tags=[{"Key": "k", "Value": "v"}])
    assert arn.endswith(f"model-package/{name}")
    described = sagemaker.describe_model_package(ModelPackageName=name)
    assert described["ModelPackageName"] == name and "ModelPackageVersion" not in described
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "k", "Value": "v"}]
    listed = sagemaker.list_model_packages(NameContains=name)["ModelPackageSummaryList"]
    assert [package["ModelPackageArn"] for package in listed] == [arn]
    with pytest.raises(ClientError, match="already exists"):
        register(ModelPackageName=name)


def test_references_of_a_package_must_exist(sagemaker, group, image, bucket):
    def refused(**container):
        arguments = {"Image": image, "ModelDataUrl": f"s3://{bucket}/models/model.tar.gz", **container}
        return error(
            sagemaker.create_model_package,
            ModelPackageGroupName=group,
            InferenceSpecification={
                "Containers": [arguments],
                "SupportedContentTypes": ["text/csv"],
                "SupportedResponseMIMETypes": ["text/csv"],
            },
        )["Message"]

    assert "Could not find model data" in refused(ModelDataUrl=f"s3://{bucket}/nope.tar.gz")
    assert "not found" in refused(Image=image.split("@")[0] + "@sha256:" + "0" * 64)
    missing = error(sagemaker.create_model_package, ModelPackageGroupName="nope")
    assert "does not exist" in missing["Message"]
    assert register_nothing(sagemaker, group) == []


def register_nothing(sagemaker, group):
    return sagemaker.list_model_packages(ModelPackageGroupName=group)["ModelPackageSummaryList"]
