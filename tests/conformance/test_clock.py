"""The clock of the local cloud: who may advance it, and that it never runs backwards."""

import datetime
import json
import subprocess
import urllib.error
import urllib.request

import pytest
from botocore.credentials import Credentials

import clock
from conftest import BIN


def refused(prepared):
    with pytest.raises(urllib.error.HTTPError) as caught:
        clock.time_of(prepared)
    return caught.value.code, caught.value.read().decode()


@pytest.fixture
def server(tmp_path):
    """Starts and kills local clouds on one state directory."""
    state, servers = tmp_path / "state", []

    def start():
        command = [BIN, "local", "start", "--port", "0", "--state", state, "--quiet"]
        servers.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        while True:
            status = [BIN, "local", "status", "--state", state, "--output", "json"]
            found = json.loads(subprocess.run(status, capture_output=True, text=True).stdout or "{}")
            if found.get("endpoint"):
                return found["endpoint"]
            assert servers[-1].poll() is None, servers[-1].stderr.read()

    def kill():
        servers[-1].kill()
        servers[-1].wait(30)

    yield start, kill
    kill()


def test_time_moves_forward_and_survives_kill_9(server):
    start, kill = server
    endpoint = start()
    before = clock.now(endpoint)
    day = datetime.timedelta(days=1)
    reached = clock.advance(endpoint, 86_400)
    assert before + day <= reached <= clock.now(endpoint) < reached + day
    kill()
    after = clock.now(start())
    assert reached <= after < reached + day


def test_the_clock_requires_the_credentials_of_the_account(cloud, client):
    hour = {"seconds": 3600}
    before = clock.now(cloud)
    unsigned = urllib.request.Request(cloud + clock.PATH, json.dumps(hour).encode(), method="POST")
    assert refused(unsigned)[0] == 403
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}],
    }
    role = client("iam").create_role(RoleName="clock", AssumeRolePolicyDocument=json.dumps(trust))["Role"]
    session = client("sts").assume_role(RoleArn=role["Arn"], RoleSessionName="clock")["Credentials"]
    keys = Credentials(session["AccessKeyId"], session["SecretAccessKey"], session["SessionToken"])
    code, message = refused(clock.request(cloud, "POST", hour, keys))
    assert code == 403 and "not those of a role" in message
    wrong = Credentials(session["AccessKeyId"], "wrong", session["SessionToken"])
    assert refused(clock.request(cloud, "POST", hour, wrong))[0] == 403
    # A web page cannot send it.
    page = clock.request(cloud, "POST", hour)
    page.add_header("Origin", "http://example.com")
    assert refused(page)[0] == 403
    assert clock.now(cloud) < before + datetime.timedelta(hours=1)
    client("iam").delete_role(RoleName="clock")


def test_a_request_is_limited(cloud):
    for body in [{}, {"seconds": 2_592_001}, {"seconds": -1}, {"seconds": 1, "days": 1}, [1]]:
        code, message = refused(clock.request(cloud, "POST", body))
        assert code == 400 and "from 0 to 2592000" in message, message
    assert refused(clock.request(cloud, "DELETE"))[0] == 405
