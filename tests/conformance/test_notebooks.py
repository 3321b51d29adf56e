"""Notebook instances that really run: states, volume, life-cycle scripts, repositories, and JupyterLab."""

import base64
import http.cookiejar
import json
import os
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from test_server import Server

import shapes
import used_operations
import webdriver
from conftest import BROKEN

ACCOUNT = "000000000000"
GROUP = "/aws/sagemaker/NotebookInstances"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}
ALLOW = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


class Notebooks(Server):
    """A server with what notebook instances need."""

    def __init__(self, state, *options, faults=""):
        super().__init__(state, *options, environment={"MLOPS_LOCAL_FAULT": faults} if faults else {})

    def client(self, service, **credentials):
        made = super().client(service, **credentials)
        made.meta.events.register("after-call.*.*", watch)
        return made

    def prepare(self):
        self.start()
        iam = self.client("iam")
        self.role = iam.create_role(RoleName="notebook", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
        iam.put_role_policy(RoleName="notebook", PolicyName="all", PolicyDocument=json.dumps(ALLOW))
        self.client("s3").create_bucket(Bucket="flights-data")
        self.sagemaker = self.client("sagemaker")
        return self

    def lifecycle(self, name, **scripts):
        """Stores a life-cycle configuration: on_create, on_start."""
        encoded = {
            "".join(part.title() for part in member.split("_")): [{"Content": base64.b64encode(text.encode()).decode()}]
            for member, text in scripts.items()
        }
        self.sagemaker.create_notebook_instance_lifecycle_config(NotebookInstanceLifecycleConfigName=name, **encoded)
        return name

    def create(self, name, **settings):
        self.sagemaker.create_notebook_instance(
            NotebookInstanceName=name, InstanceType="ml.t3.medium", RoleArn=self.role, **settings
        )
        return self.settled(name)

    def describe(self, name):
        return self.sagemaker.describe_notebook_instance(NotebookInstanceName=name)

    def settled(self, name):
        deadline = time.monotonic() + 120
        while (found := self.describe(name))["NotebookInstanceStatus"] in ("Pending", "Stopping"):
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        return found

    def stop_notebook(self, name):
        self.sagemaker.stop_notebook_instance(NotebookInstanceName=name)
        return self.settled(name)

    def start_notebook(self, name):
        self.sagemaker.start_notebook_instance(NotebookInstanceName=name)
        return self.settled(name)

    def delete(self, name):
        if self.describe(name)["NotebookInstanceStatus"] == "InService":
            self.stop_notebook(name)
        self.sagemaker.delete_notebook_instance(NotebookInstanceName=name)
        waiter = self.sagemaker.get_waiter("notebook_instance_deleted")
        waiter.wait(NotebookInstanceName=name, WaiterConfig={"Delay": 1})

    def log(self, name, stream="LifecycleConfigOnStart"):
        events = self.client("logs").get_log_events(
            logGroupName=GROUP, logStreamName=f"{name}/{stream}", startFromHead=True
        )["events"]
        return [event["message"] for event in events]

    def logged(self, name, stream="LifecycleConfigOnStart"):
        """Returns what a script wrote, without the notes about isolation."""
        return [line for line in self.log(name, stream) if not line.startswith("[mlops]")]

    def url(self, name, **settings):
        answer = self.sagemaker.create_presigned_notebook_instance_url(NotebookInstanceName=name, **settings)
        return answer["AuthorizedUrl"]


def watch(model, http_response, **_):
    if http_response.status_code < 300:
        used_operations.USED.add((model.service_model.service_name, model.name))
    BROKEN.extend(shapes.findings(model, http_response))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server that allows life-cycle scripts 3 seconds."""
    made = Notebooks(str(tmp_path_factory.mktemp("notebooks") / "state"), faults="limit lifecycle-script 3")
    yield made.prepare()
    made.stop()
    assert made.processes() == []


def visitor():
    """Makes a client with cookies, as a browser is."""
    return urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))


def status_of(opener, url, **headers):
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=30) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_scripts_run_and_their_output_is_in_the_log(server):
    server.lifecycle(
        "hello",
        on_create="#!/bin/bash\necho created\n",
        on_start="#!/bin/bash\nset -eu\n"
        "echo id $(id -u) home of $(sudo -u ec2-user -i whoami): $(sudo -u ec2-user -i pwd)\n"
        "sudo -u ec2-user -i <<'EOF'\ncd SageMaker\necho volume > file\nEOF\n"
        "sudo -u ec2-user -i git config --global credential.helper '!aws codecommit credential-helper $@'\n"
        "sudo -u ec2-user -i git config --global credential.helper\n"
        "echo 'export TEAM=flights' > /etc/profile.d/team.sh\n"
        "sudo -u ec2-user -i bash -c 'echo $TEAM'\n"
        'grep -o \'"ResourceName": *"[^"]*"\' /opt/ml/metadata/resource-metadata.json\n',
    )
    found = server.create("scripts", LifecycleConfigName="hello")
    assert found["NotebookInstanceStatus"] == "InService", found
    assert server.logged("scripts", "LifecycleConfigOnCreate") == ["created"]
    assert server.logged("scripts") == [
        "id 0 home of ec2-user: /home/ec2-user",
        "!aws codecommit credential-helper $@",
        "flights",
        '"ResourceName":"scripts"',
    ]
    assert not os.path.exists("/etc/profile.d/team.sh")
    server.stop_notebook("scripts")
    server.start_notebook("scripts")
    assert server.logged("scripts", "LifecycleConfigOnCreate") == ["created"]
    assert len(server.logged("scripts")) == 8
    server.delete("scripts")


def test_a_script_cannot_change_the_machine(server, tmp_path):
    target = tmp_path / "file"
    target.write_text("old")
    outside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "written-by-a-notebook")
    # The superuser may write this one, whatever namespaces it is in.
    setting = Path("/proc/sys/kernel/core_pattern")
    before = setting.read_text()
    server.lifecycle(
        "hostile",
        on_start=f"#!/bin/bash\necho x > {outside}\necho x > /usr/bin/written-by-a-notebook\n"
        f"echo x >> /etc/hosts\numount /home\nmount -o remount,rw /\n"
        f"umount {setting}\nmount -o remount,rw /proc/sys\necho x > {setting}\ntouch /dev/shm/written-by-a-notebook\nls -A {server.state}\nls -A ~root/.aws\necho end\n",
    )
    server.create("hostile", LifecycleConfigName="hostile")
    lines = server.logged("hostile")
    assert lines[-1] == "end", lines
    assert not os.path.exists(outside) and not os.path.exists("/usr/bin/written-by-a-notebook"), lines
    with open("/etc/hosts") as file:
        assert "x" not in file.read().splitlines()
    assert not any("address.json" in line for line in lines), lines
    assert setting.read_text() == before
    assert not os.path.exists("/dev/shm/written-by-a-notebook")
    server.delete("hostile")


def test_a_failed_script_fails_the_instance(server):
    server.lifecycle("broken", on_start="#!/bin/bash\nset -e\necho before\nno-such-program\n")
    found = server.create("broken", LifecycleConfigName="broken")
    assert found["NotebookInstanceStatus"] == "Failed"
    config = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:notebook-instance-lifecycle-config/broken"
    assert found["FailureReason"].startswith(
        f"Notebook Instance Lifecycle Config '{config}' for Notebook Instance '{found['NotebookInstanceArn']}' took "
        "longer than 5 minutes. Please check your CloudWatch logs for more details if your Notebook Instance has "
        "Internet access."
    )
    assert "exit code 127" in found["FailureReason"]
    lines = server.logged("broken")
    assert lines[0] == "before" and "no-such-program" in lines[1]
    server.sagemaker.update_notebook_instance_lifecycle_config(
        NotebookInstanceLifecycleConfigName="broken",
        OnStart=[{"Content": base64.b64encode(b"#!/bin/bash\necho mended\n").decode()}],
    )
    found = server.start_notebook("broken")
    assert (found["NotebookInstanceStatus"], found.get("FailureReason")) == ("InService", None)
    server.delete("broken")


def test_a_script_that_takes_too_long_fails_the_instance(server):
    server.lifecycle("slow", on_start="#!/bin/bash\necho before\nsleep 1000\n")
    found = server.create("slow", LifecycleConfigName="slow")
    assert found["NotebookInstanceStatus"] == "Failed"
    assert found["FailureReason"].endswith("if your Notebook Instance has Internet access.")
    assert server.logged("slow") == ["before"]
    server.delete("slow")


def test_what_a_script_leaves_in_the_background_keeps_running(server):
    seconds = f"1000{os.getpid()}"
    server.lifecycle(
        "background",
        on_start=f"#!/bin/bash\nnohup bash -c 'sleep 0.5; echo later; sleep {seconds}' > /home/ec2-user/log 2>&1 &\n"
        f"(sleep 0.5; echo also later; exec sleep {seconds}) &\n",
    )
    server.create("background", LifecycleConfigName="background")
    deadline = time.monotonic() + 30
    while "also later" not in server.logged("background"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    server.stop_notebook("background")
    sleeping = subprocess.run(["pgrep", "-f", f"^sleep {seconds}$"], capture_output=True, text=True).stdout
    assert sleeping == ""
    server.delete("background")


def test_the_volume_survives_a_stop_and_is_lost_with_the_instance(server):
    server.lifecycle(
        "count",
        on_start="#!/bin/bash\ncd /home/ec2-user/SageMaker\necho x >> count\necho starts $(wc -l < count)\n"
        "ls /home/ec2-user/elsewhere 2>/dev/null\ntouch /home/ec2-user/elsewhere\n",
    )
    server.create("volume", LifecycleConfigName="count")
    server.stop_notebook("volume")
    server.start_notebook("volume")
    assert server.logged("volume") == ["starts 1", "starts 2"]
    server.delete("volume")
    server.create("volume", LifecycleConfigName="count")
    assert server.logged("volume") == ["starts 1", "starts 2", "starts 1"]
    server.delete("volume")


def test_a_platform_that_aws_no_longer_starts_is_refused(server):
    for platform in ("notebook-al1-v1", "notebook-al2-v3"):
        with pytest.raises(server.sagemaker.exceptions.ClientError) as error:
            server.create("old", PlatformIdentifier=platform)
        assert error.value.response["Error"]["Message"] == (
            f"Platform identifier ({platform}) is not supported for this service."
        )
    assert server.create("new")["PlatformIdentifier"] == "notebook-al2023-v1"
    server.delete("new")


def repository(server, name, files):
    """Creates a CodeCommit repository and the SageMaker code repository of its name."""
    codecommit = server.client("codecommit")
    url = codecommit.create_repository(repositoryName=name)["repositoryMetadata"]["cloneUrlHttp"]
    codecommit.create_commit(
        repositoryName=name,
        branchName="main",
        putFiles=[{"filePath": path, "fileContent": text.encode()} for path, text in files.items()],
    )
    server.sagemaker.create_code_repository(CodeRepositoryName=name, GitConfig={"RepositoryUrl": url})
    return url


def test_a_repository_that_cannot_be_cloned_fails_the_instance(server):
    url = "https://git-codecommit.us-east-1.amazonaws.com/v1/repos/none"
    server.sagemaker.create_code_repository(CodeRepositoryName="none", GitConfig={"RepositoryUrl": url})
    found = server.create("unclonable", DefaultCodeRepository="none")
    assert found["NotebookInstanceStatus"] == "Failed"
    assert found["FailureReason"].startswith("fatal:") and "v1/repos/none" in found["FailureReason"]
    server.delete("unclonable")


def test_an_instance_in_service_starts_again_with_the_server(tmp_path):
    server = Notebooks(str(tmp_path / "state")).prepare()
    server.lifecycle("again", on_start="#!/bin/bash\necho started\nsleep 1000 &\n")
    server.create("again", LifecycleConfigName="again")
    server.lifecycle("slow", on_start="#!/bin/bash\nsleep 1000\n")
    server.sagemaker.create_notebook_instance(
        NotebookInstanceName="starting", InstanceType="ml.t3.medium", RoleArn=server.role, LifecycleConfigName="slow"
    )
    server.process.kill()
    server.process.wait()
    server.start()
    assert server.processes() == [] or all("job-process" in line for line in server.processes())
    server.sagemaker = server.client("sagemaker")
    deadline = time.monotonic() + 30
    while server.logged("again") != ["started", "started"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert server.describe("again")["NotebookInstanceStatus"] == "InService"
    found = server.describe("starting")
    assert found["NotebookInstanceStatus"] == "Failed"
    assert found["FailureReason"].startswith("InternalServerError: ")
    server.stop()
    assert server.processes() == []


# JupyterLab


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A server that requires credentials, with an instance that has two repositories."""
    made = Notebooks(str(tmp_path_factory.mktemp("guarded") / "state"), "--require-credentials").prepare()
    repository(made, "flights", {"README.md": "image\n"})
    repository(made, "flights-eda", {"eda.py": "print(1)\n"})
    made.lifecycle("start", on_start="#!/bin/bash\nsudo -u ec2-user -i git config --global user.name Ana\n")
    made.create(
        "lab",
        LifecycleConfigName="start",
        DefaultCodeRepository="flights",
        AdditionalCodeRepositories=["flights-eda"],
        RootAccess="Disabled",
    )
    yield made
    made.stop()
    assert made.processes() == []


CELL = """import boto3, json, os, subprocess
def run(line):
    done = subprocess.run(line, shell=True, capture_output=True, text=True)
    return (done.stdout if done.returncode == 0 else done.stdout + done.stderr).strip()
print(*[b["Name"] for b in boto3.client("s3").list_buckets()["Buckets"]])
print(run("whoami"), os.getcwd(), run("git config user.name"))
print(run("aws s3 ls"))
print(run("echo model > new; git checkout -q -b topic; git add new; git -c user.email=a@b.c commit -q -m New"))
print("pushed", run("git push -q origin topic"))
print("sudo:", run("sudo id"))
print("end", "of the cell")
"""


def test_a_presigned_url_opens_jupyterlab(guarded, tmp_path):
    url = guarded.url("lab")
    assert urllib.parse.urlsplit(url).hostname == "127.0.0.1"
    with webdriver.browser() as browser:
        browser.open(url)
        browser.click('.jp-LauncherCard[data-category="Notebook"][title*="Python 3"]')
        # JupyterLab runs nothing before the kernel is ready.
        browser.wait_for("Python 3 | Idle", "#jp-main-statusbar")
        browser.click(".jp-Notebook .jp-Cell .cm-content")
        # Jupyter's editor indents and closes brackets of what is typed, so the text is pasted at once.
        paste = (
            "const data = new DataTransfer(); data.setData('text/plain', arguments[0]);"
            "document.activeElement.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true}))"
        )
        browser.call("POST", "/execute/sync", {"script": paste, "args": [CELL]})
        browser.press("\ue008", "\ue007")
        browser.wait_for("end of the cell", ".jp-OutputArea-output")
        # No link that allows to open a session stays in the address.
        assert "authToken" not in browser.address()
        picture = os.environ.get("MLOPS_SCREENSHOT", str(tmp_path / "notebook.png"))
        browser.screenshot(picture)
        output = browser.text(".jp-OutputArea-output").splitlines()
    assert output[0] == "flights-data"
    assert output[1] == "ec2-user /home/ec2-user/SageMaker/flights Ana"
    assert output[2].endswith(" flights-data")
    assert "pushed" in [line.strip() for line in output], output
    assert "sudo: ec2-user is not in the sudoers file" in "\n".join(output)
    branches = guarded.client("codecommit").list_branches(repositoryName="flights")["branches"]
    assert sorted(branches) == ["main", "topic"]


def test_only_the_session_of_a_presigned_url_opens_jupyterlab(guarded):
    url = guarded.url("lab", SessionExpirationDurationInSeconds=1800)
    origin = "{0.scheme}://{0.netloc}".format(urllib.parse.urlsplit(url))
    stranger = visitor()
    for path in ("/lab", "/api/contents", "/api/kernels", "/login", "/files/flights/README.md"):
        assert status_of(stranger, origin + path)[0] == 403, path
    token = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)["authToken"][0]
    expires, seconds, nonce, mac = token.split(".")
    for forged in (
        f"{int(expires) + 1000}.{seconds}.{nonce}.{mac}",
        f"{expires}.43200.{nonce}.{mac}",
        f"{expires}.{seconds}.{nonce}.{'0' * len(mac)}",
        f"{expires}.{seconds}.{nonce}.",
        "",
        "é",
    ):
        forged = f"{origin}/login?authToken={urllib.parse.quote(forged)}"
        assert status_of(visitor(), forged)[0] == 403, forged
    own = visitor()
    assert status_of(own, url)[0] == 200
    status, text = status_of(own, origin + "/api/contents")
    assert status == 200
    assert {"flights", "flights-eda"} <= {entry["name"] for entry in json.loads(text)["content"]}
    # Other names of this machine lead to no page, so that no other site can.
    assert status_of(own, origin + "/lab", Host="evil.example:80")[0] == 403
    # A page of JupyterLab's origin cannot use the local cloud, and one of another origin not JupyterLab.
    cloud = guarded.address["endpoint"]
    assert status_of(own, cloud + "/flights-data", Origin=origin)[0] == 403
    post = urllib.request.Request(origin + "/api/kernels", b"{}", {"Origin": "http://evil.example"}, method="POST")
    with pytest.raises(urllib.error.HTTPError):
        own.open(post)


@pytest.mark.parametrize("limit", ["presigned-url", "notebook-session"])
def test_links_and_sessions_end(tmp_path, limit):
    server = Notebooks(str(tmp_path / "state"), faults=f"limit {limit} 0").prepare()
    server.create("lab")
    url = server.url("lab")
    own = visitor()
    status, text = status_of(own, url)
    assert status == 403 and "mlops notebook open" in text
    server.stop()
    assert server.processes() == []


IDLE = """#!/bin/bash
cat > /home/ec2-user/stop-when-idle.sh <<'EOF'
while sleep 0.2; do
    for file in /home/ec2-user/.local/share/jupyter/runtime/jpserver-*.json; do
        [ -e "$file" ] || continue
        python3 - "$file" <<'PYTHON' && aws sagemaker stop-notebook-instance --notebook-instance-name idle
import datetime, json, sys, urllib.request
server = json.load(open(sys.argv[1]))
url = server["url"] + "api/status?token=" + server["token"]
status = json.load(urllib.request.urlopen(url))
last = datetime.datetime.fromisoformat(status["last_activity"].replace("Z", "+00:00"))
idle = datetime.datetime.now(datetime.timezone.utc) - last
sys.exit(idle.total_seconds() < 1 or status["connections"] > 0)
PYTHON
    done
done
EOF
nohup bash /home/ec2-user/stop-when-idle.sh > /home/ec2-user/stop.log 2>&1 &
"""


def test_a_script_stops_an_idle_instance(server):
    server.lifecycle("idle", on_start=IDLE)
    server.create("idle", LifecycleConfigName="idle")
    with pytest.raises(server.sagemaker.exceptions.ClientError) as error:
        server.url("none")
    url = server.url("idle")
    deadline = time.monotonic() + 60
    while server.describe("idle")["NotebookInstanceStatus"] != "Stopped":
        assert time.monotonic() < deadline, server.log("idle", "jupyter.log")
        time.sleep(0.1)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, timeout=10)
    with pytest.raises(server.sagemaker.exceptions.ClientError) as error:
        server.url("idle")
    assert "Status (Stopped) not in ([InService])" in error.value.response["Error"]["Message"]
    server.delete("idle")
