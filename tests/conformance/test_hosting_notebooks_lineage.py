"""SageMaker hosting, notebooks, lineage and tags with boto3. Endpoints are real processes."""

import base64
import contextlib
import gzip
import json
import time
import uuid

import pytest
from botocore.exceptions import ClientError

import images
import roles

ACCOUNT = "000000000000"

SERVE = b'''#!/usr/bin/env python3
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BASE = os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml")
if os.environ.get("BROKEN"):
    raise SystemExit("cannot load the model")
with open(BASE + "/model/factor") as file:
    FACTOR = float(file.read())


class Handler(BaseHTTPRequestHandler):
    def answer(self, status, body, kind="text/csv"):
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Amzn-SageMaker-Custom-Attributes", self.headers.get("X-Amzn-SageMaker-Custom-Attributes", ""))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self.answer(200, "")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if body == "die":
            os._exit(1)
        if body == "html":
            return self.answer(200, "<p>", "text/html")
        try:
            self.answer(200, str(float(body) * FACTOR))
        except ValueError as error:
            self.answer(400, str(error))

    def log_message(self, *arguments):
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
'''


def refused(code, call, **arguments):
    """Checks that the call fails with the code; returns the message."""
    with pytest.raises(ClientError) as error:
        call(**arguments)
    assert error.value.response["Error"]["Code"] == code, error.value
    return error.value.response["Error"]["Message"]


def settled(describe, member, passing):
    for _ in range(600):
        answer = describe()
        if answer[member] not in passing:
            return answer
        time.sleep(0.1)
    raise AssertionError(f"still {answer[member]}")


@pytest.fixture(scope="module")
def sagemaker(client):
    return client("sagemaker")


@pytest.fixture(scope="module")
def runtime(client):
    return client("sagemaker-runtime")


@pytest.fixture(scope="module")
def role(client):
    return roles.make(client("iam"), *roles.EXECUTION)


@pytest.fixture(scope="module")
def bucket(client):
    s3 = client("s3")
    s3.create_bucket(Bucket="hosting-bucket")
    for factor in (2, 10):
        model = gzip.compress(images.tarball({"factor": str(factor).encode()}))
        s3.put_object(Bucket="hosting-bucket", Key=f"models/{factor}/model.tar.gz", Body=model)
    return "hosting-bucket"


@pytest.fixture(scope="module")
def image(client, cloud):
    """Pushes an image with `serve` over the distribution protocol."""
    client("ecr").create_repository(repositoryName="hosting")
    return images.push(cloud, client("ecr"), "hosting", {"serve": SERVE, "requirements.txt": b""})


def make_model(sagemaker, role, image, bucket, name, factor, **environment):
    return sagemaker.create_model(
        ModelName=name,
        ExecutionRoleArn=role,
        PrimaryContainer={
            "Image": image,
            "ModelDataUrl": f"s3://{bucket}/models/{factor}/model.tar.gz",
            "Environment": environment,
        },
        Tags=[{"Key": "team", "Value": "delay"}],
    )["ModelArn"]


def make_config(sagemaker, bucket, name, model):
    return sagemaker.create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[
            {"VariantName": "AllTraffic", "ModelName": model, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
        ],
        DataCaptureConfig={
            "EnableCapture": True,
            "InitialSamplingPercentage": 100,
            "DestinationS3Uri": f"s3://{bucket}/capture",
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"]},
        },
    )["EndpointConfigArn"]


def test_models(sagemaker, client, role, image, bucket):
    arn = make_model(sagemaker, role, image, bucket, "m1", 2, A="b")
    assert arn == f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:model/m1"
    model = sagemaker.describe_model(ModelName="m1")
    assert model["PrimaryContainer"]["Image"] == image
    assert model["PrimaryContainer"]["Environment"] == {"A": "b"}
    assert model["ExecutionRoleArn"] == role
    assert [m["ModelName"] for m in sagemaker.list_models(NameContains="m1")["Models"]] == ["m1"]
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "delay"}]
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "team", "Value": "b"}, {"Key": "x", "Value": "y"}])
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["x"])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "b"}]
    assert "Could not find model" in refused("ValidationException", sagemaker.list_tags, ResourceArn=arn + "x")

    container = {"Image": image, "ModelDataUrl": f"s3://{bucket}/models/2/model.tar.gz"}
    make = lambda **change: dict({"ModelName": "m2", "ExecutionRoleArn": role, "PrimaryContainer": container}, **change)
    refused("ValidationException", sagemaker.create_model, **make(ModelName="m1"))
    missing = f"arn:aws:iam::{ACCOUNT}:role/none"
    assert missing in refused("ValidationException", sagemaker.create_model, **make(ExecutionRoleArn=missing))
    no_image = {**container, "Image": image.split("@")[0] + ":none"}
    refused("ValidationException", sagemaker.create_model, **make(PrimaryContainer=no_image))
    no_data = {**container, "ModelDataUrl": f"s3://{bucket}/none.tar.gz"}
    message = refused("ValidationException", sagemaker.create_model, **make(PrimaryContainer=no_data))
    assert "Could not find model data" in message
    vpc = {"Subnets": ["subnet-0"], "SecurityGroupIds": ["sg-0"]}
    refused("ValidationException", sagemaker.create_model, **make(VpcConfig=vpc))
    sagemaker.delete_model(ModelName="m1")
    assert "Could not find model" in refused("ValidationException", sagemaker.describe_model, ModelName="m1")


def test_only_approved_packages_become_models(sagemaker, role, image, bucket):
    sagemaker.create_model_package_group(ModelPackageGroupName="hosted")
    package = sagemaker.create_model_package(
        ModelPackageGroupName="hosted",
        ModelApprovalStatus="PendingManualApproval",
        InferenceSpecification={
            "Containers": [{"Image": image, "ModelDataUrl": f"s3://{bucket}/models/2/model.tar.gz"}],
            "SupportedContentTypes": ["text/csv"],
            "SupportedResponseMIMETypes": ["text/csv"],
        },
    )["ModelPackageArn"]
    model = {
        "ModelName": "packaged",
        "ExecutionRoleArn": role,
        "Containers": [{"ModelPackageName": package}],
    }
    assert "Approved" in refused("ValidationException", sagemaker.create_model, **model)
    sagemaker.update_model_package(ModelPackageArn=package, ModelApprovalStatus="Approved")
    sagemaker.create_model(**model)
    described = sagemaker.describe_model(ModelName="packaged")
    assert described["Containers"] == [{"ModelPackageName": package}]


@pytest.fixture(scope="module")
def configs(sagemaker, role, image, bucket):
    """Creates models that double, multiply by ten, and do not start, each with a configuration."""
    make_model(sagemaker, role, image, bucket, "double", 2)
    make_model(sagemaker, role, image, bucket, "tenfold", 10)
    make_model(sagemaker, role, image, bucket, "broken", 2, BROKEN="1")
    for model in ("double", "tenfold", "broken"):
        make_config(sagemaker, bucket, model, model)


class Endpoint:
    """An endpoint with the configuration `double`."""

    def __init__(self, sagemaker, runtime):
        self.sagemaker, self.runtime = sagemaker, runtime
        self.name = f"e{uuid.uuid4().hex[:10]}"
        self.arn = sagemaker.create_endpoint(EndpointName=self.name, EndpointConfigName="double")["EndpointArn"]

    def describe(self):
        return self.sagemaker.describe_endpoint(EndpointName=self.name)

    def settled(self, status):
        return settled(self.describe, "EndpointStatus", {status})

    def update(self, config, **more):
        self.sagemaker.update_endpoint(EndpointName=self.name, EndpointConfigName=config, **more)

    def ask(self, body, **more):
        answer = self.runtime.invoke_endpoint(EndpointName=self.name, ContentType="text/csv", Body=body, **more)
        return answer["Body"].read().decode(), answer


@pytest.fixture
def endpoint(sagemaker, runtime, configs):
    """Deploys an endpoint, and deletes it after the test."""
    endpoint = Endpoint(sagemaker, runtime)
    assert endpoint.settled("Creating")["EndpointStatus"] == "InService"
    yield endpoint
    sagemaker.delete_endpoint(EndpointName=endpoint.name)


def test_endpoint_configs(sagemaker, configs):
    config = sagemaker.describe_endpoint_config(EndpointConfigName="double")
    assert config["ProductionVariants"][0]["InitialVariantWeight"] == 1.0
    assert config["DataCaptureConfig"]["CaptureContentTypeHeader"] == {"CsvContentTypes": ["text/csv"]}
    names = [c["EndpointConfigName"] for c in sagemaker.list_endpoint_configs(SortBy="Name")["EndpointConfigs"]]
    assert "double" in names and "tenfold" in names


def test_an_endpoint_is_created_and_deleted(sagemaker, runtime, configs, image):
    refused("ValidationException", sagemaker.create_endpoint, EndpointName="e", EndpointConfigName="none")
    created = Endpoint(sagemaker, runtime)
    assert created.arn.endswith(f":endpoint/{created.name}")
    message = refused("ValidationError", runtime.invoke_endpoint, EndpointName=created.name, Body=b"1")
    assert "not found" in message
    endpoint = created.settled("Creating")
    assert endpoint["EndpointStatus"] == "InService", endpoint.get("FailureReason")
    assert endpoint["EndpointConfigName"] == "double"
    variant = endpoint["ProductionVariants"][0]
    assert variant["DeployedImages"][0]["ResolvedImage"].split("@")[1] == image.split("@")[1]
    assert endpoint["DataCaptureConfig"]["CaptureStatus"] == "Started"
    waiter = sagemaker.get_waiter("endpoint_in_service")
    waiter.wait(EndpointName=created.name)
    sagemaker.delete_endpoint(EndpointName=created.name)
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=created.name, WaiterConfig={"Delay": 1})
    refused("ValidationException", sagemaker.describe_endpoint, EndpointName=created.name)


def test_an_endpoint_config_is_deleted(sagemaker, configs, bucket):
    make_config(sagemaker, bucket, "deleted", "double")
    sagemaker.delete_endpoint_config(EndpointConfigName="deleted")
    refused("ValidationException", sagemaker.describe_endpoint_config, EndpointConfigName="deleted")


def test_an_endpoint_answers_requests(runtime, endpoint):
    ask = endpoint.ask
    text, answer = ask("21", InferenceId="id-1", CustomAttributes="trace=7")
    assert text == "42.0"
    assert answer["InvokedProductionVariant"] == "AllTraffic"
    assert answer["ContentType"] == "text/csv"
    assert answer["CustomAttributes"] == "trace=7"
    assert ask("1", TargetVariant="AllTraffic")[0] == "2.0"
    refused("ValidationError", ask, body="1", TargetVariant="none")
    refused("ValidationError", runtime.invoke_endpoint, EndpointName="none", Body=b"1")


def test_an_error_of_the_model_is_passed_on(runtime, endpoint):
    with pytest.raises(runtime.exceptions.ModelError) as error:
        endpoint.ask("x")
    assert error.value.response["OriginalStatusCode"] == 400
    assert "could not convert" in error.value.response["OriginalMessage"]
    assert f"log-group:/aws/sagemaker/Endpoints/{endpoint.name}" in error.value.response["LogStreamArn"]


def test_a_crashed_process_is_restarted(endpoint):
    # The request that crashed it fails.
    refused("ModelError", endpoint.ask, body="die")
    assert endpoint.ask("3")[0] == "6.0"


def test_an_update_to_a_model_that_does_not_start_is_rolled_back(sagemaker, endpoint):
    endpoint.update("broken")
    assert endpoint.describe()["EndpointStatus"] == "Updating"
    assert endpoint.describe()["PendingDeploymentSummary"]["EndpointConfigName"] == "broken"
    message = refused(
        "ValidationException", sagemaker.update_endpoint, EndpointName=endpoint.name, EndpointConfigName="double"
    )
    assert "in-progress" in message
    assert endpoint.ask("1")[0] == "2.0"
    found = endpoint.settled("Updating")
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", "double")
    assert "ping health check" in found["FailureReason"]
    assert endpoint.ask("1")[0] == "2.0"
    assert "LastDeploymentConfig" not in found
    endpoint.update("tenfold")
    assert "FailureReason" not in endpoint.settled("Updating")


def test_issue_8_3_4_an_update_reports_its_deployment_config(endpoint):
    routing = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}
    policy = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}}
    endpoint.update("tenfold", DeploymentConfig=policy)
    found = endpoint.settled("Updating")
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", "tenfold")
    assert found["LastDeploymentConfig"] == policy
    assert endpoint.ask("1")[0] == "10.0"


def test_weights_are_updated_and_endpoints_listed(sagemaker, endpoint):
    sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=endpoint.name, DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredWeight": 3}]
    )
    assert endpoint.settled("Updating")["ProductionVariants"][0]["CurrentWeight"] == 3.0
    listed = sagemaker.list_endpoints(StatusEquals="InService", NameContains=endpoint.name)["Endpoints"]
    assert [e["EndpointName"] for e in listed] == [endpoint.name]


def test_requests_and_responses_are_captured(runtime, client, endpoint, bucket):
    s3 = client("s3")
    endpoint.ask("21", InferenceId="id-1")
    endpoint.ask("html")
    refused("ModelError", endpoint.ask, body="x")
    time.sleep(1.5)
    keys = [o["Key"] for o in s3.list_objects_v2(Bucket=bucket, Prefix=f"capture/{endpoint.name}/AllTraffic/")["Contents"]]
    hour = time.strftime("%Y/%m/%d/", time.gmtime())
    assert all(key.startswith(f"capture/{endpoint.name}/AllTraffic/{hour}") and key.endswith(".jsonl") for key in keys), keys
    lines = [
        json.loads(line)
        for key in keys
        for line in s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode().splitlines()
    ]
    by_input = {line["captureData"]["endpointInput"]["data"]: line for line in lines}
    first = by_input["21"]
    assert first["captureData"]["endpointInput"] == {
        "observedContentType": "text/csv", "mode": "INPUT", "data": "21", "encoding": "CSV",
    }
    assert first["captureData"]["endpointOutput"]["data"] == "42.0"
    assert first["eventMetadata"]["inferenceId"] == "id-1"
    assert first["eventVersion"] == "0"
    html = by_input["html"]["captureData"]["endpointOutput"]
    assert (html["encoding"], base64.b64decode(html["data"])) == ("BASE64", b"<p>")
    assert "x" not in by_input


def test_a_failed_first_deployment(sagemaker, client, configs):
    # It has nothing to roll back to.
    sagemaker.create_endpoint(EndpointName="e2", EndpointConfigName="broken")
    failed = settled(lambda: sagemaker.describe_endpoint(EndpointName="e2"), "EndpointStatus", {"Creating"})
    assert failed["EndpointStatus"] == "Failed"
    assert "ping health check" in failed["FailureReason"]
    sagemaker.delete_endpoint(EndpointName="e2")

    logs = client("logs").describe_log_streams(logGroupName="/aws/sagemaker/Endpoints/e2")["logStreams"]
    assert logs[0]["logStreamName"].startswith("AllTraffic/i-")


def test_deployments_are_recorded_in_lineage(sagemaker, endpoint):
    endpoint.update("tenfold")
    endpoint.settled("Updating")
    context = sagemaker.list_contexts(SourceUri=endpoint.arn)["ContextSummaries"][0]
    assert context["ContextType"] == "Endpoint"
    deployments = sagemaker.list_associations(
        SourceArn=context["ContextArn"], DestinationType="ModelDeployment"
    )["AssociationSummaries"]
    assert len(deployments) == 2


def test_unsupported_hosting_features_are_rejected_by_name(sagemaker, role, image, bucket):
    make_model(sagemaker, role, image, bucket, "plain", 2)
    variant = {"VariantName": "v", "ModelName": "plain"}
    message = refused(
        "NotImplemented",
        sagemaker.create_endpoint_config,
        EndpointConfigName="serverless",
        ProductionVariants=[{**variant, "ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1}}],
    )
    assert "ServerlessConfig" in message
    message = refused(
        "ValidationException",
        sagemaker.create_endpoint_config,
        EndpointConfigName="c",
        ProductionVariants=[{"VariantName": "v", "ModelName": "none", "InstanceType": "ml.m5.large"}],
    )
    assert "Could not find model" in message


def test_notebook_lifecycle_configs(sagemaker):
    script = base64.b64encode(b"#!/bin/sh\necho hi\n").decode()
    sagemaker.create_notebook_instance_lifecycle_config(
        NotebookInstanceLifecycleConfigName="scripts", OnStart=[{"Content": script}]
    )
    config = sagemaker.describe_notebook_instance_lifecycle_config(NotebookInstanceLifecycleConfigName="scripts")
    assert config["OnStart"] == [{"Content": script}]
    sagemaker.update_notebook_instance_lifecycle_config(
        NotebookInstanceLifecycleConfigName="scripts", OnCreate=[{"Content": script}]
    )
    listed = sagemaker.list_notebook_instance_lifecycle_configs()["NotebookInstanceLifecycleConfigs"]
    assert [c["NotebookInstanceLifecycleConfigName"] for c in listed] == ["scripts"]
    sagemaker.delete_notebook_instance_lifecycle_config(NotebookInstanceLifecycleConfigName="scripts")


def test_code_repositories(sagemaker):
    url = "https://git-codecommit.us-east-1.amazonaws.com/v1/repos/x"
    sagemaker.create_code_repository(CodeRepositoryName="sources", GitConfig={"RepositoryUrl": url, "Branch": "main"})
    assert sagemaker.describe_code_repository(CodeRepositoryName="sources")["GitConfig"]["Branch"] == "main"
    secret = f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:AmazonSageMaker-x"
    sagemaker.update_code_repository(CodeRepositoryName="sources", GitConfig={"SecretArn": secret})
    found = sagemaker.list_code_repositories(NameContains="sources")["CodeRepositorySummaryList"]
    assert found[0]["GitConfig"] == {"RepositoryUrl": url, "Branch": "main", "SecretArn": secret}
    sagemaker.delete_code_repository(CodeRepositoryName="sources")
    refused("ValidationException", sagemaker.describe_code_repository, CodeRepositoryName="sources")


@pytest.fixture
def notebook(sagemaker, client, role):
    """Returns the request for a notebook instance, whose network, scripts and repository exist."""
    ec2 = client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="n", Description="n", VpcId=vpc)["GroupId"]
    script = base64.b64encode(b"#!/bin/sh\necho hi\n").decode()
    sagemaker.create_notebook_instance_lifecycle_config(
        NotebookInstanceLifecycleConfigName="lc", OnStart=[{"Content": script}]
    )
    codecommit = client("codecommit")
    codecommit.create_repository(repositoryName="x")
    codecommit.create_commit(
        repositoryName="x", branchName="main", putFiles=[{"filePath": "README.md", "fileContent": b"x"}]
    )
    url = "https://git-codecommit.us-east-1.amazonaws.com/v1/repos/x"
    sagemaker.create_code_repository(CodeRepositoryName="code", GitConfig={"RepositoryUrl": url, "Branch": "main"})
    yield {
        "NotebookInstanceName": "nb",
        "InstanceType": "ml.t3.medium",
        "RoleArn": role,
        "SubnetId": subnet,
        "SecurityGroupIds": [group],
        "DirectInternetAccess": "Disabled",
        "RootAccess": "Disabled",
        "PlatformIdentifier": "notebook-al2023-v1",
        "LifecycleConfigName": "lc",
        "DefaultCodeRepository": "code",
        "InstanceMetadataServiceConfiguration": {"MinimumInstanceMetadataServiceVersion": "2"},
    }
    sagemaker.delete_code_repository(CodeRepositoryName="code")
    sagemaker.delete_notebook_instance_lifecycle_config(NotebookInstanceLifecycleConfigName="lc")
    codecommit.delete_repository(repositoryName="x")


def test_a_notebook_needs_what_it_references(sagemaker, notebook, role):
    create = sagemaker.create_notebook_instance
    refused("ValidationException", create, **{**notebook, "SubnetId": "subnet-none"})
    refused("ValidationException", create, **{**notebook, "DefaultCodeRepository": "none"})
    refused("ValidationException", create, **{**notebook, "LifecycleConfigName": "none"})
    refused("ValidationException", create, **{**notebook, "RoleArn": role + "x"})
    alone = {k: v for k, v in notebook.items() if k not in ("SubnetId", "SecurityGroupIds")}
    assert "SubnetId" in refused("ValidationException", create, **alone)


def test_the_life_of_a_notebook(sagemaker, notebook):
    [group] = notebook["SecurityGroupIds"]
    arn = sagemaker.create_notebook_instance(**notebook)["NotebookInstanceArn"]
    describe = lambda: sagemaker.describe_notebook_instance(NotebookInstanceName="nb")
    assert describe()["NotebookInstanceStatus"] == "Pending"
    message = refused("ValidationException", sagemaker.stop_notebook_instance, NotebookInstanceName="nb")
    assert message.startswith("Status (Pending) not in ([InService])")
    sagemaker.get_waiter("notebook_instance_in_service").wait(NotebookInstanceName="nb", WaiterConfig={"Delay": 1})
    found = describe()
    assert found["SecurityGroups"] == [group]
    assert found["NetworkInterfaceId"].startswith("eni-")
    assert found["NotebookInstanceLifecycleConfigName"] == "lc"
    assert found["PlatformIdentifier"] == "notebook-al2023-v1"
    message = refused("ValidationException", sagemaker.delete_notebook_instance, NotebookInstanceName="nb")
    assert "Status (InService) not in ([Stopped, Failed])" in message
    sagemaker.stop_notebook_instance(NotebookInstanceName="nb")
    sagemaker.get_waiter("notebook_instance_stopped").wait(NotebookInstanceName="nb", WaiterConfig={"Delay": 1})
    sagemaker.update_notebook_instance(
        NotebookInstanceName="nb", InstanceType="ml.t3.large", DisassociateLifecycleConfig=True
    )
    assert describe()["InstanceType"] == "ml.t3.large"
    assert "NotebookInstanceLifecycleConfigName" not in describe()
    sagemaker.start_notebook_instance(NotebookInstanceName="nb")
    sagemaker.get_waiter("notebook_instance_in_service").wait(NotebookInstanceName="nb", WaiterConfig={"Delay": 1})
    listed = sagemaker.list_notebook_instances(StatusEquals="InService", DefaultCodeRepositoryContains="co")
    assert [n["NotebookInstanceArn"] for n in listed["NotebookInstances"]] == [arn]
    sagemaker.stop_notebook_instance(NotebookInstanceName="nb")
    settled(describe, "NotebookInstanceStatus", {"Stopping"})
    sagemaker.delete_notebook_instance(NotebookInstanceName="nb")
    sagemaker.get_waiter("notebook_instance_deleted").wait(NotebookInstanceName="nb", WaiterConfig={"Delay": 1})


def test_artifacts(sagemaker):
    uri = "s3://lineage/data?versionId=v1"
    made = sagemaker.create_artifact(
        ArtifactName="data", ArtifactType="DataSet", Source={"SourceUri": uri}, Properties={"a": "1", "b": "2"}
    )["ArtifactArn"]
    refused("ValidationException", sagemaker.create_artifact, ArtifactType="DataSet", Source={"SourceUri": uri})
    sagemaker.update_artifact(ArtifactArn=made, Properties={"c": "3"}, PropertiesToRemove=["a"])
    artifact = sagemaker.describe_artifact(ArtifactArn=made)
    assert artifact["Properties"] == {"b": "2", "c": "3"}
    assert (artifact["ArtifactName"], artifact["Source"]["SourceUri"]) == ("data", uri)
    found = sagemaker.list_artifacts(SourceUri=uri)["ArtifactSummaries"]
    assert [a["ArtifactArn"] for a in found] == [made]
    sagemaker.delete_artifact(Source={"SourceUri": uri})
    refused("ResourceNotFound", sagemaker.describe_artifact, ArtifactArn=made)
    refused("ResourceNotFound", sagemaker.describe_trial_component, TrialComponentName="none")
    assert sagemaker.list_trial_components(SourceArn="none")["TrialComponentSummaries"] == []


def test_actions_and_contexts(sagemaker):
    action = sagemaker.create_action(
        ActionName="Train-1", ActionType="Training", Source={"SourceUri": "job"}, Status="InProgress"
    )["ActionArn"]
    sagemaker.update_action(ActionName="Train-1", Status="Completed", Description="d")
    described = sagemaker.describe_action(ActionName="Train-1")
    assert (described["ActionArn"], described["Status"], described["Description"]) == (action, "Completed", "d")
    assert sagemaker.list_actions(ActionType="Training")["ActionSummaries"][0]["Status"] == "Completed"
    sagemaker.create_context(
        ContextName="team", ContextType="Team", Source={"SourceUri": "t"}, Properties={"p": "q"}
    )
    sagemaker.update_context(ContextName="team", Description="ours")
    assert sagemaker.describe_context(ContextName="team")["Description"] == "ours"
    assert sagemaker.list_contexts(ContextType="Team")["ContextSummaries"][0]["ContextName"] == "team"
    sagemaker.delete_action(ActionName="Train-1")
    sagemaker.delete_context(ContextName="team")


@pytest.fixture
def graph(sagemaker):
    """Creates an artifact, an action and a context, and associates them in this order."""
    made = sagemaker.create_artifact(
        ArtifactName="data", ArtifactType="DataSet", Source={"SourceUri": "s3://graph"}, Properties={"c": "3"}
    )["ArtifactArn"]
    action = sagemaker.create_action(
        ActionName="Train-2", ActionType="Training", Source={"SourceUri": "job"}, Status="Completed"
    )["ActionArn"]
    context = sagemaker.create_context(
        ContextName="crew", ContextType="Team", Source={"SourceUri": "t"}, Properties={"p": "q"}
    )["ContextArn"]
    sagemaker.add_association(SourceArn=made, DestinationArn=action, AssociationType="ContributedTo")
    sagemaker.add_association(SourceArn=action, DestinationArn=context, AssociationType="AssociatedWith")
    yield made, action, context
    for source, destination in ((made, action), (action, context)):
        with contextlib.suppress(ClientError):
            sagemaker.delete_association(SourceArn=source, DestinationArn=destination)
    sagemaker.delete_artifact(ArtifactArn=made)
    sagemaker.delete_action(ActionName="Train-2")
    sagemaker.delete_context(ContextName="crew")


def test_associations(sagemaker, graph):
    made, action, context = graph
    refused("ResourceNotFound", sagemaker.add_association, SourceArn=made, DestinationArn=action + "x")
    edge = sagemaker.list_associations(SourceArn=made)["AssociationSummaries"][0]
    assert (edge["DestinationArn"], edge["DestinationType"], edge["AssociationType"]) == (
        action, "Training", "ContributedTo",
    )
    assert "associations" in refused("ValidationException", sagemaker.delete_artifact, ArtifactArn=made)
    sagemaker.delete_association(SourceArn=made, DestinationArn=action)
    sagemaker.delete_association(SourceArn=action, DestinationArn=context)
    refused("ResourceNotFound", sagemaker.delete_association, SourceArn=made, DestinationArn=action)


def test_lineage_queries(sagemaker, graph):
    made, action, context = graph
    up = sagemaker.query_lineage(StartArns=[context], Direction="Ascendants", IncludeEdges=True)
    assert [v["Arn"] for v in up["Vertices"]] == [context, action, made]
    assert up["Vertices"][1] == {"Arn": action, "Type": "Training", "LineageType": "Action"}
    assert {(e["SourceArn"], e["DestinationArn"]) for e in up["Edges"]} == {(made, action), (action, context)}
    data = sagemaker.query_lineage(
        StartArns=[context], Direction="Ascendants", IncludeEdges=False, Filters={"Types": ["DataSet"]}
    )
    assert [v["Arn"] for v in data["Vertices"]] == [made]
    near = sagemaker.query_lineage(StartArns=[context], Direction="Ascendants", MaxDepth=1)
    assert made not in [v["Arn"] for v in near["Vertices"]]
    down = sagemaker.query_lineage(StartArns=[context], Direction="Descendants", IncludeEdges=False)
    assert [v["Arn"] for v in down["Vertices"]] == [context]
    by_property = sagemaker.query_lineage(
        StartArns=[context], Direction="Both", IncludeEdges=False, Filters={"Properties": {"c": "3", "z": "z"}}
    )
    assert [v["Arn"] for v in by_property["Vertices"]] == [made]
    refused("ResourceNotFound", sagemaker.query_lineage, StartArns=[made + "0"])
