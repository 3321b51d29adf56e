"""boto3 against CodeBuild: builds run as processes of this machine, with the role's session."""

import io
import json
import os
import signal
import subprocess
import time
import uuid
import zipfile

import botocore.model
import pytest
from botocore.exceptions import ClientError

import clock
import roles
from test_cloudformation_types import cfn, create, delete, physical, update  # noqa: F401 (a fixture)

# What the user guide requires of a service role, for every resource of a test.
SERVICE_ROLE = roles.allow(
    [
        "logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents",
        "s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:ListBucket",
        "codecommit:GitPull", "ssm:GetParameters",
        "codebuild:CreateReportGroup", "codebuild:CreateReport", "codebuild:UpdateReport",
        "codebuild:BatchPutTestCases",
    ]
)

PHASES = [
    "SUBMITTED", "QUEUED", "PROVISIONING", "DOWNLOAD_SOURCE", "INSTALL", "PRE_BUILD", "BUILD", "POST_BUILD",
    "UPLOAD_ARTIFACTS", "FINALIZING", "COMPLETED",
]


@pytest.fixture
def codebuild(client):
    return client("codebuild")


@pytest.fixture
def role(client):
    return roles.make(client("iam"), SERVICE_ROLE, services=("codebuild",))


@pytest.fixture
def project(codebuild, role):
    """Creates a project with this buildspec; returns its name."""

    def make(buildspec, **members):
        name = f"p-{uuid.uuid4().hex[:8]}"
        source = {"type": "NO_SOURCE", "buildspec": buildspec}
        environment = {
            "type": "LINUX_CONTAINER",
            "image": "aws/codebuild/amazonlinux-x86_64-standard:5.0",
            "computeType": "BUILD_GENERAL1_SMALL",
            **members.pop("environment", {}),
        }
        codebuild.create_project(
            name=name,
            environment=environment,
            serviceRole=role,
            **{"source": source, "artifacts": {"type": "NO_ARTIFACTS"}, **members},
        )
        return name

    return make


def wait(codebuild, build, phase=None):
    """Waits until a build has ended, or is in a phase."""
    deadline = time.time() + 180
    while time.time() < deadline:
        found = codebuild.batch_get_builds(ids=[build])["builds"][0]
        if found["buildComplete"] or found["currentPhase"] == phase:
            return found
        time.sleep(0.02)
    raise AssertionError(found)


def run(codebuild, project, **members):
    started = codebuild.start_build(projectName=project, **members)["build"]
    return wait(codebuild, started["id"])


def log(client, build):
    """The lines of a build's log."""
    place = build["logs"]
    events = client("logs").get_log_events(
        logGroupName=place["groupName"], logStreamName=place["streamName"], startFromHead=True
    )
    return [event["message"] for event in events["events"]]


def spec(*commands, **members):
    return json.dumps({"version": 0.2, "env": {"shell": "bash"}, "phases": {"build": {"commands": list(commands)}}, **members})


def context(build, phase):
    found = next(found for found in build["phases"] if found["phaseType"] == phase)
    return found["phaseStatus"], found["contexts"][0].get("statusCode"), found["contexts"][0].get("message")


def refusal(call, **arguments):
    with pytest.raises(ClientError) as raised:
        call(**arguments)
    return raised.value.response["Error"]


def test_a_build_is_isolated_and_has_the_session_of_its_role(client, codebuild, project, role, state):
    name = project(
        spec(
            f"if ls {state} 2>/dev/null | grep .; then exit 1; fi",
            "test -z \"$(ls ~/.aws 2>/dev/null)\"",
            "echo user $(id -u) processes $(ls /proc | grep -c '^[0-9]') in $PWD home $HOME",
            "touch /tmp/of-this-build && ls -A /tmp",
            "for d in /usr /etc /var /root; do touch $d/of-this-build 2>/dev/null && exit 1; done; true",
            "touch /var/tmp/x $HOME/x $CODEBUILD_SRC_DIR/x /dev/shm/of-this-build",
            "find /sys /proc/sys /run -writable -type f 2>/dev/null | head -3 | grep . && exit 1; true",
            "git --version && python3 --version && env | sort | grep -v TOKEN",
        )
    )
    build = run(codebuild, name)
    lines = log(client, build)
    assert build["buildStatus"] == "SUCCEEDED", lines
    assert [phase["phaseType"] for phase in build["phases"]] == PHASES
    assert "touch" not in lines and "of-this-build" in lines
    assert not os.path.exists("/tmp/of-this-build") and not os.path.exists("/dev/shm/of-this-build")
    # The server's user can be the superuser.
    for directory in ("/usr", "/etc", "/var", "/root", "/var/tmp"):
        assert not os.path.exists(f"{directory}/of-this-build") and not os.path.exists(f"{directory}/x")
    assert any(line.startswith("[Container] ") and line.endswith("Entering phase BUILD") for line in lines)
    shown = next(line for line in lines if line.startswith("user "))
    assert shown.startswith("user 1000 ") and shown.endswith("in /opt/codebuild/src home /opt/codebuild/home"), shown
    assert f"CODEBUILD_BUILD_ID={build['id']}" in lines
    assert "AWS_REGION=us-east-1" in lines
    assert build["logs"]["cloudWatchLogsArn"].startswith("arn:aws:logs:us-east-1:000000000000:log-group:/aws/codebuild/")


def test_commands_call_the_local_cloud_with_the_role(client, codebuild, project, role):
    call = (
        "python3 - <<'END'\n"
        "import os, urllib.request\n"
        "print('endpoint', os.environ['AWS_ENDPOINT_URL'], os.environ['AWS_ACCESS_KEY_ID'][:4])\n"
        "END"
    )
    build = run(codebuild, project(spec(call)))
    assert any(line.startswith("endpoint http://127.0.0.1:") and line.endswith(" ASIA") for line in log(client, build))


def test_phases_and_contexts_of_a_failure(client, codebuild, project):
    build = run(codebuild, project(spec("echo one", "exit 7", "echo two")))
    assert build["buildStatus"] == "FAILED"
    assert context(build, "BUILD") == (
        "FAILED", "COMMAND_EXECUTION_ERROR", "Error while executing command: exit 7. Reason: exit status 7",
    )
    assert context(build, "POST_BUILD")[0] == "SUCCEEDED"
    assert "two" not in log(client, build)
    build = run(codebuild, project("version: 0.2\nphases: ["))
    assert context(build, "DOWNLOAD_SOURCE")[:2] == ("FAILED", "YAML_FILE_ERROR")


def test_parameters_and_exported_variables(client, codebuild, project):
    name = f"/cb/{uuid.uuid4().hex}"
    client("ssm").put_parameter(Name=name, Value="hidden-value", Type="String")
    text = spec(
        "OUT=${WORD#hidden-}", "echo word=$WORD",
        env={"shell": "bash", "parameter-store": {"WORD": name}, "exported-variables": ["OUT"]},
    )
    build = run(codebuild, project(text))
    assert build["exportedEnvironmentVariables"] == [{"name": "OUT", "value": "value"}]
    assert "word=***" in log(client, build)


def test_a_source_and_artifacts_in_s3(client, codebuild, project):
    s3 = client("s3")
    bucket = f"cb-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=bucket)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("buildspec.yml", spec("cp in.txt out.txt", artifacts={"files": ["*.txt"]}))
        made.writestr("in.txt", "text")
    s3.put_object(Bucket=bucket, Key="source.zip", Body=archive.getvalue())
    name = project(
        "",
        source={"type": "S3", "location": f"{bucket}/source.zip"},
        artifacts={"type": "S3", "location": bucket, "path": "out", "name": "all.zip", "packaging": "ZIP"},
    )
    build = run(codebuild, name)
    assert build["buildStatus"] == "SUCCEEDED", log(client, build)
    assert build["artifacts"]["location"] == f"arn:aws:s3:::{bucket}/out/all.zip"
    found = s3.get_object(Bucket=bucket, Key="out/all.zip")
    assert found["Metadata"] == {"codebuild-buildarn": build["arn"]}
    names = zipfile.ZipFile(io.BytesIO(found["Body"].read())).namelist()
    assert sorted(names) == ["in.txt", "out.txt"]


def test_a_repository_is_cloned(client, codebuild, project):
    codecommit = client("codecommit")
    repository = f"r-{uuid.uuid4().hex[:8]}"
    url = codecommit.create_repository(repositoryName=repository)["repositoryMetadata"]["cloneUrlHttp"]
    text = spec("git log --oneline --format=%H").encode()
    commit = codecommit.put_file(
        repositoryName=repository, branchName="main", filePath="ci/build.yml", fileContent=text
    )["commitId"]
    name = project("", source={"type": "CODECOMMIT", "location": url, "buildspec": "ci/build.yml"}, sourceVersion="main")
    build = run(codebuild, name)
    assert build["resolvedSourceVersion"] == commit
    assert commit in log(client, build)


def test_stop_retry_and_lists(codebuild, project):
    name = project(spec("sleep 100"))
    started = codebuild.start_build(projectName=name)["build"]
    wait(codebuild, started["id"], "BUILD")
    stopped = codebuild.stop_build(id=started["id"])["build"]
    assert stopped["buildStatus"] == "STOPPED"
    retried = codebuild.retry_build(id=started["id"])["build"]
    assert retried["buildNumber"] == 2
    wait(codebuild, retried["id"], "BUILD")
    codebuild.stop_build(id=retried["arn"])
    assert codebuild.list_builds_for_project(projectName=name)["ids"] == [retried["id"], started["id"]]
    assert started["id"] in codebuild.list_builds()["ids"]
    deleted = codebuild.batch_delete_builds(ids=[started["id"]])
    assert deleted["buildsDeleted"] == [started["arn"]]
    assert codebuild.batch_get_builds(ids=[started["id"]])["buildsNotFound"] == [started["id"]]


def test_a_timeout_ends_the_processes(cloud, codebuild, project):
    mark = f"100.{uuid.uuid4().int % 10**9}"
    name = project(spec(f"(setsid sleep {mark} &) ; sleep {mark}"), timeoutInMinutes=5)
    started = codebuild.start_build(projectName=name)["build"]
    wait(codebuild, started["id"], "BUILD")
    deadline = time.time() + 20
    while not subprocess.run(["pgrep", "-f", f"sleep {mark}"], capture_output=True).stdout and time.time() < deadline:
        time.sleep(0.02)
    clock.advance(cloud, 301)
    build = wait(codebuild, started["id"])
    assert build["buildStatus"] == "TIMED_OUT"
    assert context(build, "BUILD")[:2] == ("TIMED_OUT", "BUILD_TIMED_OUT")
    assert not subprocess.run(["pgrep", "-f", f"sleep {mark}"], capture_output=True).stdout


def test_reports(codebuild, project):
    write = "printf '<testsuite name=\"s\"><testcase name=\"a\" time=\"1\"/></testsuite>' >r.xml"
    build = run(codebuild, project(spec(write, reports={"unit": {"files": ["r.xml"]}})))
    report = codebuild.batch_get_reports(reportArns=build["reportArns"])["reports"][0]
    assert (report["status"], report["testSummary"]["total"]) == ("SUCCEEDED", 1)
    tests = codebuild.describe_test_cases(reportArn=report["arn"])["testCases"]
    assert [(test["name"], test["durationInNanoSeconds"]) for test in tests] == [("a", 10**9)]
    groups = codebuild.list_report_groups()["reportGroups"]
    assert report["reportGroupArn"] in groups


@pytest.mark.parametrize("protocol", ["json", "smithy-rpc-v2-cbor"])
def test_projects_and_report_groups_in_each_protocol(client, project, protocol, monkeypatch):
    """boto3 prefers JSON; the SDK for Rust sends CBOR."""
    monkeypatch.setattr(botocore.model, "PRIORITY_ORDERED_SUPPORTED_PROTOCOLS", (protocol,))
    codebuild = client("codebuild")
    assert codebuild.meta.service_model.resolved_protocol == protocol
    write = "printf '<testsuite name=\"s\"><testcase name=\"a\"/></testsuite>' >r.xml"
    name = project(spec(write, reports={"unit": {"files": ["r.xml"]}}), tags=[{"key": "k", "value": "v"}])
    found = codebuild.update_project(name=name, description="d")["project"]
    assert (found["description"], found["tags"]) == ("d", [{"key": "k", "value": "v"}])
    assert found["created"] < found["lastModified"]
    assert name in codebuild.list_projects(sortBy="CREATED_TIME", sortOrder="DESCENDING")["projects"]
    build = run(codebuild, name)
    assert build["startTime"] <= build["endTime"]
    report = build["reportArns"][0]
    group = f"arn:aws:codebuild:us-east-1:000000000000:report-group/{name}-unit"
    assert codebuild.list_reports_for_report_group(reportGroupArn=group)["reports"] == [report]
    assert report in codebuild.list_reports(filter={"status": "SUCCEEDED"})["reports"]
    codebuild.delete_report(arn=report)
    assert codebuild.batch_get_reports(reportArns=[report])["reportsNotFound"] == [report]
    codebuild.delete_report_group(arn=group)
    made = codebuild.create_report_group(
        name=f"{name}-own", type="TEST", exportConfig={"exportConfigType": "NO_EXPORT"}
    )["reportGroup"]
    codebuild.update_report_group(arn=made["arn"], tags=[{"key": "a", "value": "b"}])
    shown = codebuild.batch_get_report_groups(reportGroupArns=[made["arn"], group])
    assert shown["reportGroups"][0]["tags"] == [{"key": "a", "value": "b"}]
    assert shown["reportGroupsNotFound"] == [group]
    codebuild.delete_report_group(arn=made["arn"])
    codebuild.delete_project(name=name)
    assert codebuild.batch_get_projects(names=[name])["projectsNotFound"] == [name]


def test_permissions_of_sessions(client, cloud, codebuild, project):
    allowed, other = project(spec("echo x")), project(spec("echo x"))
    arn = f"arn:aws:codebuild:us-east-1:000000000000:project/{allowed}"
    actions = ["codebuild:StartBuild", "codebuild:BatchGetBuilds"]
    role = roles.make(client("iam"), roles.allow(actions, arn))
    session = roles.assume(client, cloud, role).client("codebuild")
    build = session.start_build(projectName=allowed)["build"]
    assert build["initiator"].endswith("/tester")
    assert wait(session, build["id"])["buildStatus"] == "SUCCEEDED"
    error = refusal(session.start_build, projectName=other)
    assert error["Code"] == "AccessDeniedException" and other in error["Message"]
    error = refusal(session.stop_build, id=build["id"])
    assert "codebuild:StopBuild" in error["Message"]


def test_a_stack_with_a_project(cfn, client, codebuild, role):  # noqa: F811 (the fixture)
    name = f"s-{uuid.uuid4().hex[:8]}"

    def resources(**properties):
        return {
            "Build": {
                "Type": "AWS::CodeBuild::Project",
                "Properties": {
                    "Source": {"Type": "NO_SOURCE", "BuildSpec": spec("echo x")},
                    "Artifacts": {"Type": "NO_ARTIFACTS"},
                    "Environment": {
                        "Type": "LINUX_CONTAINER",
                        "Image": "aws/codebuild/standard:7.0",
                        "ComputeType": "BUILD_GENERAL1_SMALL",
                        "EnvironmentVariables": [{"Name": "A", "Value": "1"}],
                    },
                    "ServiceRole": role,
                    **properties,
                },
            }
        }

    stack = create(cfn, name, resources(TimeoutInMinutes=7, Tags=[{"Key": "k", "Value": "v"}]))
    built = physical(cfn, name, "Build")
    found = codebuild.batch_get_projects(names=[built])["projects"][0]
    assert found["timeoutInMinutes"] == 7
    assert found["environment"]["environmentVariables"] == [{"name": "A", "value": "1", "type": "PLAINTEXT"}]
    assert {"key": "k", "value": "v"} in found["tags"]
    assert run(codebuild, built)["buildStatus"] == "SUCCEEDED"
    update(cfn, name, resources(Description="new"))
    found = codebuild.batch_get_projects(names=[built])["projects"][0]
    assert (found["timeoutInMinutes"], found["description"]) == (60, "new")
    assert {"key": "k", "value": "v"} not in found["tags"]
    delete(cfn, stack)
    assert codebuild.batch_get_projects(names=[built])["projectsNotFound"] == [built]


def test_what_is_refused_by_name(codebuild, role):
    base = {
        "name": "refused",
        "source": {"type": "NO_SOURCE", "buildspec": spec("echo x")},
        "artifacts": {"type": "NO_ARTIFACTS"},
        "serviceRole": role,
    }
    environment = {"type": "LINUX_CONTAINER", "image": "aws/codebuild/standard:7.0", "computeType": "BUILD_GENERAL1_SMALL"}
    for change, word in [
        ({"privilegedMode": True}, "privilegedMode"),
        ({"type": "WINDOWS_CONTAINER"}, "WINDOWS_CONTAINER"),
        ({"image": "python:3.12"}, "python:3.12"),
    ]:
        error = refusal(codebuild.create_project, **base, environment={**environment, **change})
        assert error["Code"] == "NotImplemented" and word in error["Message"]
    error = refusal(codebuild.start_build_batch, projectName="x")
    assert "StartBuildBatch" in error["Message"]


def test_a_build_in_progress_at_a_kill_has_a_fault(tmp_path):
    """A server of its own is killed while a build runs."""
    import boto3
    from conftest import BIN

    def serve():
        started = subprocess.Popen([BIN, "local", "start", "--port", "0", "--state", tmp_path / "s", "--quiet"])
        for _ in range(500):
            shown = subprocess.run(
                [BIN, "local", "status", "--state", tmp_path / "s", "--output", "json"], capture_output=True, text=True
            )
            endpoint = json.loads(shown.stdout or "{}").get("endpoint")
            if endpoint:
                return started, endpoint
            time.sleep(0.02)
        raise AssertionError("no server")

    def connect(endpoint, service):
        return boto3.client(
            service, endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
        )

    mark = f"200.{uuid.uuid4().int % 10**9}"
    server, endpoint = serve()
    try:
        role = roles.make(connect(endpoint, "iam"), SERVICE_ROLE, services=("codebuild",))
        codebuild = connect(endpoint, "codebuild")
        codebuild.create_project(
            name="app",
            source={"type": "NO_SOURCE", "buildspec": spec(f"sleep {mark}")},
            artifacts={"type": "NO_ARTIFACTS"},
            environment={
                "type": "LINUX_CONTAINER", "image": "aws/codebuild/standard:7.0", "computeType": "BUILD_GENERAL1_SMALL",
            },
            serviceRole=role,
        )
        build = codebuild.start_build(projectName="app")["build"]["id"]
        wait(codebuild, build, "BUILD")
        server.send_signal(signal.SIGKILL)
        server.wait(10)
        server, endpoint = serve()
        codebuild = connect(endpoint, "codebuild")
        found = codebuild.batch_get_builds(ids=[build])["builds"][0]
        assert found["buildStatus"] == "FAULT" and found["buildComplete"]
        assert "the local cloud ended" in context(found, "BUILD")[2]
        deadline = time.time() + 10
        while subprocess.run(["pgrep", "-f", f"sleep {mark}"], capture_output=True).stdout and time.time() < deadline:
            time.sleep(0.05)
        assert not subprocess.run(["pgrep", "-f", f"sleep {mark}"], capture_output=True).stdout
    finally:
        server.terminate()
        server.wait(30)
