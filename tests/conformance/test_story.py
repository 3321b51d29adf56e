"""The whole workflow with boto3 alone, on the stacks of `mlops init`: image, pipeline, registry, endpoint,
captured data, lineage. The same with the aws CLI."""

import json
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

import images
import templates

AWS = str(Path(sys.executable).parent / "aws")
TEMPLATES = Path(__file__).parents[2] / "src/infra/templates"
NAME = f"story-{uuid.uuid4().hex[:6]}"
SOON = {"Delay": 1, "MaxAttempts": 120}

TRAIN = b"""#!/bin/sh
set -e
cut -d, -f2 /opt/ml/input/data/train/rows.csv | tail -1 > /opt/ml/model/factor
"""
CHECK = b"""#!/bin/sh
grep -q 1,3 /opt/ml/processing/input/rows.csv
echo '{"rows": 1}' > /opt/ml/processing/output/report.json
"""
SERVE = b'''#!/usr/bin/env python3
import os
from http.server import BaseHTTPRequestHandler, HTTPServer

with open(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml") + "/model/factor") as file:
    FACTOR = float(file.read())


class Handler(BaseHTTPRequestHandler):
    def answer(self, text):
        self.send_response(200)
        self.send_header("Content-Type", "text/csv")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self):
        self.answer("")

    def do_POST(self):
        self.answer(str(FACTOR * float(self.rfile.read(int(self.headers["Content-Length"])))))


HTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
'''


@pytest.fixture(scope="module")
def aws(environment):
    def aws(*arguments):
        run = subprocess.run([AWS, *arguments], env=environment, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        return run.stdout

    return aws


@pytest.fixture(scope="module")
def platform(client):
    """Deploys three templates that `mlops init` uses with boto3; returns the outputs of the stacks."""
    cfn = client("cloudformation")
    outputs = {}
    for part in ("data", "registry", "governance"):
        name = f"{NAME}-{part}"
        cfn.create_stack(
            StackName=name,
            **templates.source(client("s3"), outputs.get("ArtifactBucket"), (TEMPLATES / f"{part}.yaml").read_text()),
            Parameters=[{"ParameterKey": "ProjectName", "ParameterValue": NAME}],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        cfn.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig=SOON)
        stack = cfn.describe_stacks(StackName=name)["Stacks"][0]
        outputs |= {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    return outputs


@pytest.fixture(scope="module")
def image(client, cloud, platform):
    programs = {"train": TRAIN, "check": CHECK, "serve": SERVE, "requirements.txt": b""}
    return images.push(cloud, client("ecr"), platform["ImageRepositoryName"], programs)


@pytest.fixture(scope="module")
def run(client, platform, image):
    """Runs a pipeline: (execution ARN, steps by name)."""
    s3, sagemaker = client("s3"), client("sagemaker")
    for bucket in (platform["DataBucket"], platform["ArtifactBucket"], platform["CaptureBucket"]):
        s3.get_waiter("bucket_exists").wait(Bucket=bucket, WaiterConfig=SOON)
        assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    s3.put_object(Bucket=platform["DataBucket"], Key="in/rows.csv", Body=b"1,3\n")
    s3.get_waiter("object_exists").wait(Bucket=platform["DataBucket"], Key="in/rows.csv", WaiterConfig=SOON)
    cluster = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
    data = f"s3://{platform['DataBucket']}/in/"
    out = f"s3://{platform['ArtifactBucket']}"
    given = {"S3Uri": data, "S3DataType": "S3Prefix"}
    definition = {
        "Version": "2020-12-01",
        "Parameters": [{"Name": "ImageUri", "Type": "String"}],
        "Steps": [
            {
                "Name": "Check",
                "Type": "Processing",
                "Arguments": {
                    "ProcessingResources": {"ClusterConfig": cluster},
                    "AppSpecification": {"ImageUri": {"Get": "Parameters.ImageUri"}, "ContainerEntrypoint": ["check"]},
                    "RoleArn": platform["TrainingRoleArn"],
                    "ProcessingInputs": [
                        {
                            "InputName": "in",
                            "AppManaged": False,
                            "S3Input": {**given, "LocalPath": "/opt/ml/processing/input", "S3InputMode": "File"},
                        }
                    ],
                    "ProcessingOutputConfig": {
                        "Outputs": [
                            {
                                "OutputName": "report",
                                "AppManaged": False,
                                "S3Output": {
                                    "S3Uri": f"{out}/runs/report",
                                    "LocalPath": "/opt/ml/processing/output",
                                    "S3UploadMode": "EndOfJob",
                                },
                            }
                        ]
                    },
                },
            },
            {
                "Name": "Train",
                "Type": "Training",
                "DependsOn": ["Check"],
                "Arguments": {
                    "AlgorithmSpecification": {
                        "TrainingInputMode": "File",
                        "TrainingImage": {"Get": "Parameters.ImageUri"},
                    },
                    "RoleArn": platform["TrainingRoleArn"],
                    "OutputDataConfig": {"S3OutputPath": f"{out}/models"},
                    "ResourceConfig": cluster,
                    "StoppingCondition": {"MaxRuntimeInSeconds": 300},
                    "HyperParameters": {"depth": "4", "loss": "mae"},
                    "InputDataConfig": [{"ChannelName": "train", "DataSource": {"S3DataSource": given}}],
                },
            },
            {
                "Name": "Register",
                "Type": "RegisterModel",
                "Arguments": {
                    "ModelPackageGroupName": platform["ModelPackageGroupName"],
                    "ModelApprovalStatus": "PendingManualApproval",
                    "InferenceSpecification": {
                        "Containers": [
                            {
                                "Image": {"Get": "Parameters.ImageUri"},
                                "ModelDataUrl": {"Get": "Steps.Train.ModelArtifacts.S3ModelArtifacts"},
                            }
                        ],
                        "SupportedContentTypes": ["text/csv"],
                        "SupportedResponseMIMETypes": ["text/csv"],
                    },
                },
            },
        ],
    }
    sagemaker.create_pipeline(
        PipelineName=NAME,
        PipelineDefinition=json.dumps(definition),
        RoleArn=platform["TrainingRoleArn"],
        ClientRequestToken=str(uuid.uuid4()),
    )
    arn = sagemaker.start_pipeline_execution(
        PipelineName=NAME,
        ClientRequestToken=str(uuid.uuid4()),
        PipelineParameters=[{"Name": "ImageUri", "Value": image}],
    )["PipelineExecutionArn"]
    for _ in range(600):
        execution = sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)
        if execution["PipelineExecutionStatus"] != "Executing":
            break
        time.sleep(0.1)
    steps = sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=arn)["PipelineExecutionSteps"]
    assert execution["PipelineExecutionStatus"] == "Succeeded", steps
    return arn, {step["StepName"]: step["Metadata"] for step in steps}


@pytest.fixture(scope="module")
def package(run):
    return run[1]["Register"]["RegisterModel"]["Arn"]


@pytest.fixture(scope="module")
def endpoint(client, platform, package):
    """Deploys the endpoint from the template that `mlops promote` uses; returns its description."""
    sagemaker, cfn = client("sagemaker"), client("cloudformation")
    sagemaker.update_model_package(ModelPackageArn=package, ModelApprovalStatus="Approved")
    values = {
        "EndpointName": NAME,
        "ReleaseNumber": "1",
        "ReleaseChecksum": "0" * 64,
        "Suffix": "1-00000000",
        "ModelPackageArn": package,
        "RoleArn": platform["EndpointRoleArn"],
        "CaptureUri": f"s3://{platform['CaptureBucket']}/capture",
    }
    request = {"StackName": f"{NAME}-endpoint", "ChangeSetName": "first"}
    cfn.create_change_set(
        **request,
        ChangeSetType="CREATE",
        TemplateBody=(TEMPLATES / "endpoint.yaml").read_text(),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()],
    )
    cfn.get_waiter("change_set_create_complete").wait(**request, WaiterConfig=SOON)
    changes = cfn.describe_change_set(**request)["Changes"]
    assert {c["ResourceChange"]["ResourceType"] for c in changes} == {
        "AWS::SageMaker::Model",
        "AWS::SageMaker::EndpointConfig",
        "AWS::SageMaker::Endpoint",
    }
    cfn.execute_change_set(**request)
    cfn.get_waiter("stack_create_complete").wait(StackName=request["StackName"], WaiterConfig=SOON)
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=NAME, WaiterConfig=SOON)
    yield sagemaker.describe_endpoint(EndpointName=NAME)
    cfn.delete_stack(StackName=request["StackName"])
    cfn.get_waiter("stack_delete_complete").wait(StackName=request["StackName"], WaiterConfig=SOON)
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=NAME, WaiterConfig=SOON)


def test_the_run_created_a_model(client, platform, image, run, package):
    sagemaker, s3 = client("sagemaker"), client("s3")
    training = run[1]["Train"]["TrainingJob"]["Arn"].rsplit("/", 1)[1]
    sagemaker.get_waiter("training_job_completed_or_stopped").wait(TrainingJobName=training, WaiterConfig=SOON)
    processing = run[1]["Check"]["ProcessingJob"]["Arn"].rsplit("/", 1)[1]
    sagemaker.get_waiter("processing_job_completed_or_stopped").wait(ProcessingJobName=processing, WaiterConfig=SOON)
    report = s3.get_object(Bucket=platform["ArtifactBucket"], Key="runs/report/report.json")["Body"].read()
    assert json.loads(report) == {"rows": 1}

    described = sagemaker.describe_model_package(ModelPackageName=package)
    assert described["ModelPackageVersion"] == 1
    assert described["MetadataProperties"]["GeneratedBy"] == run[0]
    container = described["InferenceSpecification"]["Containers"][0]
    assert container["ImageDigest"] == image.split("@")[1]
    model = sagemaker.describe_training_job(TrainingJobName=training)["ModelArtifacts"]["S3ModelArtifacts"]
    assert container["ModelDataUrl"] == model


def test_a_job_is_a_trial_component(client, image, run):
    sagemaker = client("sagemaker")
    job = run[1]["Train"]["TrainingJob"]["Arn"]
    [summary] = sagemaker.list_trial_components(SourceArn=job)["TrialComponentSummaries"]
    component = sagemaker.describe_trial_component(TrialComponentName=summary["TrialComponentName"])
    assert component["Source"]["SourceArn"] == job
    assert component["Status"]["PrimaryStatus"] == "Completed"
    assert component["Parameters"]["depth"] == {"NumberValue": 4.0}
    assert component["Parameters"]["loss"] == {"StringValue": "mae"}
    assert component["InputArtifacts"]["SageMaker.ImageUri"]["Value"] == image
    assert component["EndTime"] >= component["StartTime"]


def test_the_endpoint_responds_and_captures(client, platform, endpoint):
    assert endpoint["EndpointStatus"] == "InService"
    answer = client("sagemaker-runtime").invoke_endpoint(EndpointName=NAME, ContentType="text/csv", Body=b"7")
    assert answer["Body"].read() == b"21.0"
    s3 = client("s3")
    for _ in range(100):
        listed = s3.list_objects_v2(Bucket=platform["CaptureBucket"], Prefix=f"capture/{NAME}/AllTraffic/")
        if listed["KeyCount"]:
            break
        time.sleep(0.1)
    body = s3.get_object(Bucket=platform["CaptureBucket"], Key=listed["Contents"][0]["Key"])["Body"].read()
    [record] = [json.loads(line) for line in body.splitlines()]
    assert record["captureData"]["endpointInput"]["data"] == "7"
    assert record["captureData"]["endpointOutput"]["data"] == "21.0"


def test_lineage_leads_from_the_endpoint_to_image_and_data(client, platform, image, endpoint, package):
    sagemaker = client("sagemaker")
    # An endpoint is a context of the lineage graph; a model package is an artifact.
    [served] = sagemaker.list_contexts(SourceUri=endpoint["EndpointArn"])["ContextSummaries"]
    [registered] = sagemaker.list_artifacts(SourceUri=package)["ArtifactSummaries"]
    for start in (served["ContextArn"], registered["ArtifactArn"]):
        found = sagemaker.query_lineage(StartArns=[start], Direction="Ascendants", IncludeEdges=True)
        artifacts = [v["Arn"] for v in found["Vertices"] if v["LineageType"] == "Artifact"]
        sources = {sagemaker.describe_artifact(ArtifactArn=arn)["Source"]["SourceUri"] for arn in artifacts}
        assert image in sources
        assert f"s3://{platform['DataBucket']}/in/" in sources
        vertices = {vertex["Arn"] for vertex in found["Vertices"]}
        assert all({edge["SourceArn"], edge["DestinationArn"]} <= vertices for edge in found["Edges"])


def test_the_aws_cli_shows_the_same(aws, platform, run, package, endpoint):
    packages = json.loads(aws("sagemaker", "list-model-packages", "--model-package-group-name", NAME))
    assert [p["ModelPackageArn"] for p in packages["ModelPackageSummaryList"]] == [package]
    status = aws("sagemaker", "describe-endpoint", "--endpoint-name", NAME, "--query", "EndpointStatus", "--output", "text")
    assert status == "InService\n"
    assert "rows.csv" in aws("s3", "ls", f"s3://{platform['DataBucket']}/in/")
    group = f"/{NAME}"
    aws("logs", "create-log-group", "--log-group-name", group)
    aws("logs", "create-log-stream", "--log-group-name", group, "--log-stream-name", "s")
    event = f"timestamp={int(time.time() * 1000)},message=from-the-cli"
    aws("logs", "put-log-events", "--log-group-name", group, "--log-stream-name", "s", "--log-events", event)
    events = json.loads(aws("logs", "filter-log-events", "--log-group-name", group, "--filter-pattern", "cli"))
    assert [e["message"] for e in events["events"]] == ["from-the-cli"]


def test_the_aws_cli_deploys_a_template(aws, client):
    stack = f"{NAME}-network"
    deploy = [
        *("cloudformation", "deploy", "--stack-name", stack),
        *("--template-file", str(TEMPLATES / "network.yaml")),
        *("--parameter-overrides", f"ProjectName={NAME}", "--capabilities", "CAPABILITY_NAMED_IAM"),
    ]
    assert "Successfully created/updated stack" in aws(*deploy)
    assert "No changes to deploy" in aws(*deploy, "--no-fail-on-empty-changeset")
    described = client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
    subnets = client("ec2").describe_subnets(SubnetIds=outputs["PrivateSubnetIds"].split(","))["Subnets"]
    assert [subnet["VpcId"] for subnet in subnets] == [outputs["VpcId"]] * 2
    aws("cloudformation", "delete-stack", "--stack-name", stack)
    # The CLI's own waiter polls every 30 seconds.
    client("cloudformation").get_waiter("stack_delete_complete").wait(StackName=stack, WaiterConfig=SOON)
