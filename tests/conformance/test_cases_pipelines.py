"""Pipelines that once failed for users, and AWS's published schema of definitions, both ways (issue 8)."""

import copy
import json
import os
import random
import time
import uuid
from pathlib import Path

import jsonschema
import pytest
from botocore.exceptions import ClientError

import images
import roles

VERSION = "2020-12-01"
PROGRAMS = {
    "show": b'#!/bin/sh\n{ echo "$# arguments: $*"; env | grep ^SPLIT_ || echo "no SPLIT_ variable"; }'
    b" > /opt/ml/processing/out/seen\n",
    "report": b"#!/bin/sh\necho '{\"best\": 0.25, \"count\": 7}' > /opt/ml/processing/out/report.json\n",
}


def unique(prefix):
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def sagemaker(client):
    return client("sagemaker")


@pytest.fixture(scope="module")
def bucket(client):
    name = unique("cases")
    client("s3").create_bucket(Bucket=name)
    client("s3").put_object(Bucket=name, Key="in/a.csv", Body=b"1\n")
    return name


@pytest.fixture(scope="module")
def role(client):
    return roles.make(client("iam"), *roles.EXECUTION, *roles.PIPELINE)


@pytest.fixture(scope="module")
def image(cloud, client):
    name = unique("cases")
    client("ecr").create_repository(repositoryName=name)
    return images.push(cloud, client("ecr"), name, PROGRAMS)


@pytest.fixture(scope="module")
def create(sagemaker, role):
    """Creates a pipeline; returns the error, or None and the pipeline's name."""

    def create(definition):
        name = unique("case")
        try:
            sagemaker.create_pipeline(
                PipelineName=name,
                PipelineDefinition=json.dumps(definition),
                RoleArn=role,
                ClientRequestToken=uuid.uuid4().hex,
            )
        except ClientError as error:
            return error.response["Error"], name
        return None, name

    return create


@pytest.fixture(scope="module")
def start(sagemaker):
    def start(name, **parameters):
        return sagemaker.start_pipeline_execution(
            PipelineName=name,
            ClientRequestToken=uuid.uuid4().hex,
            PipelineParameters=[{"Name": key, "Value": value} for key, value in parameters.items()],
        )["PipelineExecutionArn"]

    return start


@pytest.fixture(scope="module")
def run(sagemaker, create, start):
    """Creates a pipeline and runs it to completion; returns its status, and its steps by name."""

    def run(definition, **parameters):
        refused, name = create(definition)
        assert refused is None, refused
        return over(sagemaker, start(name, **parameters))

    return run


def steps_of(sagemaker, arn):
    listed = sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=arn)["PipelineExecutionSteps"]
    return {step["StepName"]: step for step in listed}


def over(sagemaker, arn):
    for _ in range(2400):
        state = sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)
        if state["PipelineExecutionStatus"] not in ("Executing", "Stopping"):
            return state["PipelineExecutionStatus"], steps_of(sagemaker, arn)
        time.sleep(0.05)
    raise AssertionError(f"{arn} does not end")


def fail(name="Stop", text="reached", **more):
    return {"Name": name, "Type": "Fail", "Arguments": {"ErrorMessage": text}, **more}


def condition(*conditions, then=(), otherwise=()):
    arguments = {"Conditions": list(conditions), "IfSteps": list(then), "ElseSteps": list(otherwise)}
    return {"Name": "Gate", "Type": "Condition", "Arguments": arguments}


@pytest.fixture(scope="module")
def processing(bucket, role, image):
    """Returns a Processing step that runs a program of the image."""

    def processing(name, program, arguments=None, environment=None, **more):
        made = {
            "ProcessingResources": {
                "ClusterConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
            },
            "AppSpecification": {"ImageUri": image, "ContainerEntrypoint": [program]},
            "RoleArn": role,
            "ProcessingOutputConfig": {
                "Outputs": [
                    {
                        "OutputName": "out",
                        "AppManaged": False,
                        "S3Output": {
                            "S3Uri": f"s3://{bucket}/{name}",
                            "LocalPath": "/opt/ml/processing/out",
                            "S3UploadMode": "EndOfJob",
                        },
                    }
                ]
            },
        }
        if arguments:
            made["AppSpecification"]["ContainerArguments"] = arguments
        if environment:
            made["Environment"] = environment
        return {"Name": name, "Type": "Processing", "Arguments": made, **more}

    return processing


# --- pipeline-argument-dropped --------------------------------------------------------------

COUNT = {"Get": "Parameters.Count"}


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--splits", COUNT], None, "Cannot assign property reference [Parameters.Count] to argument of type [String]."),
        (["--splits", 5], None, "NUMBER_VALUE cannot be assigned to argument of type [String]"),
        (["--splits", None], None, "NULL_VALUE cannot be assigned to argument of type [String]"),
        (["--splits", ["5"]], None, "LIST_VALUE cannot be assigned to argument of type [String]"),
        ("--splits 5", None, "Expecting start of Json Array"),
        (None, {"SPLIT_COUNT": COUNT}, "Cannot assign property reference [Parameters.Count]"),
        (None, {"SPLIT_COUNT": True}, "BOOLEAN_VALUE cannot be assigned to argument of type [String]"),
        (None, ["SPLIT_COUNT=5"], "Expecting start of Json Object"),
    ],
)
def test_issue_8_4_1_a_value_that_is_not_text_is_rejected_at_creation(create, processing, arguments, environment, message):
    parameters = [{"Name": "Count", "Type": "Integer", "DefaultValue": 5}]
    definition = {"Version": VERSION, "Parameters": parameters, "Steps": [processing("A", "show", arguments, environment)]}
    refused, _ = create(definition)
    assert refused["Code"] == "ValidationException", refused
    assert message in refused["Message"], refused


def test_issue_8_4_1_a_number_joined_into_text_is_passed_on(run, client, bucket, processing):
    parameters = [{"Name": "Count", "Type": "Integer", "DefaultValue": 5}]
    text = {"Std:Join": {"On": "", "Values": [COUNT]}}
    step = processing("Arrives", "show", ["--splits", text, "--seed", "1"], {"SPLIT_COUNT": text})
    status, _ = run({"Version": VERSION, "Parameters": parameters, "Steps": [step]})
    assert status == "Succeeded"
    seen = client("s3").get_object(Bucket=bucket, Key="Arrives/seen")["Body"].read().decode()
    assert seen == "4 arguments: --splits 5 --seed 1\nSPLIT_COUNT=5\n"


def test_issue_8_4_1_a_value_only_known_at_run_time_fails_the_step(run, processing):
    report = processing("Report", "report")
    report["PropertyFiles"] = [{"PropertyFileName": "R", "OutputName": "out", "FilePath": "report.json"}]
    count = {"Std:JsonGet": {"PropertyFile": {"Get": "Steps.Report.PropertyFiles.R"}, "Path": "count"}}
    status, steps = run({"Version": VERSION, "Steps": [report, processing("Use", "show", ["--splits", count])]})
    assert status == "Failed"
    assert steps["Use"]["StepStatus"] == "Failed"
    assert "NUMBER_VALUE can not be converted to a String" in steps["Use"]["FailureReason"]
    assert "ContainerArguments[1]" in steps["Use"]["FailureReason"]


# --- pipeline-condition-outcome -------------------------------------------------------------


@pytest.mark.parametrize(("right", "outcome"), [(1, "True"), (2, "False")])
def test_issue_8_4_2_the_outcome_of_a_condition_is_a_property(run, right, outcome):
    gate = condition({"Type": "Equals", "LeftValue": 1, "RightValue": right})
    text = {"Std:Join": {"On": " ", "Values": ["the gate said", {"Get": "Steps.Gate.Outcome"}]}}
    status, steps = run({"Version": VERSION, "Steps": [gate, fail("Tell", text)]})
    assert status == "Failed"
    assert steps["Tell"]["FailureReason"] == f"the gate said {outcome}"


# --- pipeline-optional-members --------------------------------------------------------------


@pytest.mark.parametrize(
    "definition",
    [
        {"Steps": [fail()]},
        {
            "Version": VERSION,
            "Parameters": [{"Name": "P", "DefaultValue": "reached"}],
            "Steps": [fail(text={"Get": "Parameters.P"})],
        },
        {"Version": VERSION, "Steps": [fail(CacheConfig={"ExpireAfter": "P1D"})]},
        {"Version": VERSION, "Steps": [condition({"Type": "NotEquals", "LeftValue": 1, "RightValue": 2}, then=[fail()])]},
        {"Version": VERSION, "Steps": [condition({"Type": "NotIn", "Value": 1, "In": [2, "x"]}, then=[fail()])]},
        {"Version": VERSION, "Steps": [condition({"Type": "In", "QueryValue": 1, "Values": [1]}, then=[fail()])]},
    ],
    ids=["no Version", "no Type", "no Enabled", "NotEquals", "NotIn", "In"],
)
def test_issue_8_4_2_members_that_the_schema_does_not_require_are_optional(run, definition):
    status, steps = run(definition)
    assert status == "Failed"
    assert steps["Stop"]["FailureReason"] == "reached"


# --- pipeline-unknown-member ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ({"Version": VERSION, "Parameter": [], "Steps": [fail()]}, "Cannot parse object, unknown property 'Parameter'"),
        (
            {"Version": VERSION, "Steps": [fail("First"), fail("Second", DependOn=["First"])]},
            "Cannot parse object, unknown property 'DependOn'",
        ),
        (
            {"Version": VERSION, "Steps": [condition({"Type": "Not", "Expression": {"Type": "Equals"}})]},
            "Cannot parse object, unknown property 'Expression'",
        ),
        (
            {"Version": VERSION, "Steps": [fail(text={"Std:Join": {"on": "", "Values": ["x"]}})]},
            "Cannot parse object, unknown property 'on'",
        ),
        (
            {"Version": VERSION, "Steps": [{"Name": "R", "Type": "RegisterModel", "Arguments": {"ModelPackageName": "x"}}]},
            "Unknown Argument member 'ModelPackageName'",
        ),
        (
            {"Version": VERSION, "Steps": [{"Name": "T", "Type": "Training", "Arguments": {"HyperParameter": {}}}]},
            "Unknown Argument member 'HyperParameter'",
        ),
    ],
)
def test_issue_8_4_2_unknown_members_are_refused_in_aws_s_words(create, definition, message):
    refused, _ = create(definition)
    assert refused["Code"] == "ValidationException", refused
    assert refused["Message"].startswith(f"Unable to parse pipeline definition. {message}"), refused


# --- caching and retries (3.3) --------------------------------------------------------------


def test_issue_8_3_3_a_cached_step_is_not_run_again(sagemaker, create, start, processing):
    def definition(word="a", **cache):
        step = processing("Cached", "show", [word, {"Get": "Parameters.Word"}], CacheConfig=cache)
        use = {"Std:Join": {"Values": [{"Get": "Steps.Cached.ProcessingJobName"}]}}
        parameters = [{"Name": "Word", "Type": "String", "DefaultValue": "b"}]
        return {"Version": VERSION, "Parameters": parameters, "Steps": [step, fail("Name", use)]}

    on = {"Enabled": True, "ExpireAfter": "P1D"}
    refused, name = create(definition(**on))
    assert refused is None, refused

    def ran(**parameters):
        arn = start(name, **parameters)
        return arn, over(sagemaker, arn)[1]

    first, steps = ran()
    job = steps["Cached"]["Metadata"]["ProcessingJob"]["Arn"]
    assert "CacheHitResult" not in steps["Cached"] and steps["Cached"]["AttemptCount"] == 1
    # A cache hit passes the earlier result to the following steps.
    _, steps = ran()
    assert steps["Cached"]["CacheHitResult"] == {"SourcePipelineExecutionArn": first}
    assert steps["Cached"]["StepStatus"] == "Succeeded"
    assert steps["Cached"]["Metadata"]["ProcessingJob"]["Arn"] == job
    assert steps["Name"]["FailureReason"] == job.rsplit("/", 1)[1]
    # A different parameter, a different argument, no caching: each runs.
    _, steps = ran(Word="c")
    assert "CacheHitResult" not in steps["Cached"]
    for changed in (definition("z", **on), definition(Enabled=False, ExpireAfter="P1D"), definition()):
        sagemaker.update_pipeline(PipelineName=name, PipelineDefinition=json.dumps(changed))
        _, steps = ran()
        assert "CacheHitResult" not in steps["Cached"]
    # The result of an earlier version counts: it is the same step of the same pipeline.
    sagemaker.update_pipeline(PipelineName=name, PipelineDefinition=json.dumps(definition(**on)))
    _, steps = ran()
    assert "SourcePipelineExecutionArn" in steps["Cached"]["CacheHitResult"]
    # The result of a different pipeline does not.
    _, other = create(definition(**on))
    steps = over(sagemaker, start(other))[1]
    assert "CacheHitResult" not in steps["Cached"]


def test_issue_8_3_3_an_internal_error_is_retried_per_the_policy(sagemaker, create, start, processing, state):
    policy = {
        "ExceptionType": ["SageMaker.JOB_INTERNAL_ERROR"],
        "IntervalSeconds": 1,
        "BackoffRate": 1.0,
        "MaxAttempts": 20,
    }
    refused, name = create({"Version": VERSION, "Steps": [processing("Retried", "show", RetryPolicies=[policy])]})
    assert refused is None, refused
    # The server cannot create a job's directory where a file exists.
    jobs = Path(state, "jobs")
    jobs.exists() and jobs.rename(jobs.with_name("jobs.away"))
    jobs.write_text("in the way")
    try:
        arn = start(name)
        for _ in range(1200):
            step = steps_of(sagemaker, arn).get("Retried", {})
            if step.get("AttemptCount", 0) > 1:
                break
            assert step.get("StepStatus", "Executing") == "Executing", step
            time.sleep(0.05)
    finally:
        os.remove(jobs)
    status, steps = over(sagemaker, arn)
    assert status == "Succeeded", steps
    assert steps["Retried"]["AttemptCount"] > 1


def test_issue_8_3_3_other_failures_are_final(run, processing):
    policy = {"ExceptionType": ["SageMaker.JOB_INTERNAL_ERROR", "Step.SERVICE_FAULT"], "MaxAttempts": 5}
    status, steps = run({"Version": VERSION, "Steps": [processing("Final", "missing", RetryPolicies=[policy])]})
    assert status == "Failed"
    assert steps["Final"]["AttemptCount"] == 1


# --- AWS's schema ---------------------------------------------------------------------------


def schema():
    for parent in Path(__file__).resolve().parents:
        path = parent / "shared/reference/pipelines/definition.schema.json"
        if path.exists():
            return json.loads(path.read_text())
    return None


def whole(bucket, role, image):
    """Returns a definition with every kind of member that the schema has for the local cloud's step types."""
    retry = [{"ExceptionType": "Step.THROTTLING", "IntervalSeconds": 1, "BackoffRate": 2.0, "MaxAttempts": 2}]
    cluster = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
    get = {"Get": "Parameters.P"}
    return {
        "Version": VERSION,
        "Metadata": {"Owner": "me"},
        "Parameters": [
            {"Name": "P", "Type": "String", "DefaultValue": "x", "Description": "a text"},
            {"Name": "N", "Type": "Integer", "DefaultValue": 1},
            {"Name": "F", "Type": "Float", "DefaultValue": 1.5},
            {"Name": "B", "Type": "Boolean", "DefaultValue": True},
        ],
        "Steps": [
            {
                "Name": "Process",
                "Type": "Processing",
                "DisplayName": "process",
                "Description": "d",
                "RetryPolicies": retry,
                "CacheConfig": {"Enabled": True, "ExpireAfter": "P1D"},
                "Arguments": {
                    "AppSpecification": {
                        "ImageUri": image,
                        "ContainerEntrypoint": ["show"],
                        "ContainerArguments": ["a", get],
                    },
                    "Environment": {"A": "b", "C": get},
                    "NetworkConfig": {"EnableNetworkIsolation": {"Get": "Parameters.B"}},
                    "ProcessingResources": {"ClusterConfig": {**cluster, "InstanceCount": {"Get": "Parameters.N"}}},
                    "RoleArn": role,
                    "StoppingCondition": {"MaxRuntimeInSeconds": 60},
                    "Tags": [{"Key": "k", "Value": "v"}],
                },
            },
            {
                "Name": "Train",
                "Type": "Training",
                "DependsOn": ["Process"],
                "Arguments": {
                    "AlgorithmSpecification": {"TrainingImage": image, "TrainingInputMode": "File"},
                    "HyperParameters": {"depth": "3"},
                    "InputDataConfig": [
                        {
                            "ChannelName": "train",
                            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/in/"}},
                        }
                    ],
                    "OutputDataConfig": {"S3OutputPath": f"s3://{bucket}/out"},
                    "ResourceConfig": cluster,
                    "RoleArn": role,
                },
            },
            {
                "Name": "Model",
                "Type": "Model",
                "Arguments": {
                    "ExecutionRoleArn": role,
                    "PrimaryContainer": {"Image": image, "ModelDataUrl": f"s3://{bucket}/m.tar.gz"},
                },
            },
            {
                "Name": "Gate",
                "Type": "Condition",
                "Arguments": {
                    "Conditions": [
                        {"Type": "LessThan", "LeftValue": {"Get": "Parameters.N"}, "RightValue": 2},
                        {"Type": "In", "Value": "a", "In": ["a", 1.5, True]},
                        {"Type": "Or", "Conditions": [{"Type": "NotEquals", "LeftValue": 1, "RightValue": 2}]},
                    ],
                    "IfSteps": [
                        {
                            "Name": "Register",
                            "Type": "RegisterModel",
                            "Arguments": {
                                "ModelPackageGroupName": "g",
                                "InferenceSpecification": {
                                    "Containers": [{"Image": image, "ModelDataUrl": f"s3://{bucket}/m.tar.gz"}],
                                    "SupportedContentTypes": ["text/csv"],
                                    "SupportedResponseMIMETypes": ["text/csv"],
                                },
                            },
                        }
                    ],
                    "ElseSteps": [fail("Stop", get)],
                },
            },
        ],
    }


def places(value, path=()):
    """Yields every location in a document, as a path."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, (*path, index))


def at(document, path):
    for part in path:
        document = document[part]
    return document


def mutations(definition, seed, count):
    """Yields definitions with one change each: a member removed, added, or of a different type."""
    chance = random.Random(seed)
    everywhere = [path for path in places(definition) if path]
    for _ in range(count):
        changed, path = copy.deepcopy(definition), chance.choice(everywhere)
        parent, last = at(changed, path[:-1]), path[-1]
        kind = chance.choice(["remove", "add", "replace"])
        if kind == "remove":
            del parent[last]
        elif kind == "add":
            target = at(changed, path)
            target = target if isinstance(target, dict) else parent
            if not isinstance(target, dict):
                continue
            target["Unheard"] = chance.choice(["x", 1, {}, []])
        else:
            parent[last] = chance.choice([5, 1.5, True, "text", [], {}, None, ["text"], {"Get": "Parameters.P"}])
        yield (kind, path), changed


# Differences between the schema and the local cloud, and their reasons.
def beyond_the_schema(path, message):
    """Returns errors for definitions that the schema accepts: a schema cannot express consistency."""
    return any(
        part in message
        for part in (
            "no step",  # a DependsOn or Get with a wrong name
            "no parameter",
            "two steps are named",
            "two parameters are named",
            "is not a reference",
            "has no properties",
            "Cannot assign property reference",  # sagemaker-python-sdk issue 4867
            "is not an ISO 8601 duration",
            "ExceptionType is not",
            "BackoffRate",
            "IntervalSeconds",
            "MaxAttempts",
            "wait for each other",
            "the version is",
            "the result of step",
        )
    ) or (
        # The schema leaves these objects open; an unknown member would be silently dropped.
        "Unknown Argument member 'Unheard'" in message
        or "unknown property 'Unheard'" in message
    )


def test_issue_8_4_2_the_published_schema_agrees_both_ways(create, bucket, role, image):
    published = schema()
    if published is None:
        pytest.skip("AWS's schema has no license: it is not part of this repository")
    definition = whole(bucket, role, image)
    validator = jsonschema.Draft7Validator(published)
    assert validator.is_valid(definition), [error.message for error in validator.iter_errors(definition)]
    refused, _ = create(definition)
    assert refused is None, refused
    wrong, accepted, rejected = [], 0, 0
    for change, changed in mutations(definition, seed=8, count=400):
        valid = validator.is_valid(changed)
        refused, _ = create(changed)
        if valid:
            accepted += 1
            known = refused is None or refused["Code"] == "NotImplemented" or beyond_the_schema(change[1], refused["Message"])
            if not known:
                wrong.append((change, "the schema accepts it", refused))
        else:
            rejected += 1
            if refused is None and not written_by_the_sdk(change, changed):
                wrong.append((change, "the schema rejects it", None))
    assert not wrong, "\n".join(map(str, wrong))
    assert accepted > 40 and rejected > 100, (accepted, rejected)


def written_by_the_sdk(change, changed):
    """Returns whether the SageMaker Python SDK writes, or the service model allows, what the schema rejects."""
    (kind, path) = change
    value = at(changed, path) if kind == "replace" else None
    return (
        # The schema requires exactly one of "integer" and "number" here, so neither a whole number
        # nor a Get is valid.
        path[-1:] == ("Value",)
        or "In" in path
        # A function can replace any scalar, and a display name can be any text.
        or value == {"Get": "Parameters.P"}
        or path[-1:] == ("DisplayName",)
        # A disabled CacheConfig on a step that cannot be cached (case pipeline-optional-members).
        or "CacheConfig" in path
    )
