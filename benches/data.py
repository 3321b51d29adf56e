#!/usr/bin/env python3
"""Compares `mlops data` with s5cmd, boto3 and the aws CLI, all against one S3 server on loopback.

usage: benches/data.py MLOPS [--server MLOPS|URL] [--peer-server URL] [--peers DIR] [--turns N] [--parts small,large,list]
                       [--files N] [--bytes N] [--versions N]

DIR is the `bin` of a virtual environment with boto3, awscli and s5cmd. The server is the local cloud
of MLOPS unless another address is given; its bucket `bench` must then exist and be versioned. For
s3s-fs, which does not support versions, put benches/versioned.py in between and pass s3s-fs itself as
--peer-server. Each client is a separate process, measured by wait4; the clients alternate, with a new
destination in each turn. `mlops data verify` reads one push of each kind back.
"""

import argparse
import http.client
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import measure  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("mlops")
parser.add_argument("--server", default=None)
parser.add_argument("--peer-server", default=None)
parser.add_argument("--peers", default=None)
parser.add_argument("--turns", type=int, default=5)
parser.add_argument("--parts", default="small,large,list")
parser.add_argument("--files", type=int, default=5000)
parser.add_argument("--bytes", type=int, default=2 << 30)
parser.add_argument("--versions", type=int, default=100_000)
arguments = parser.parse_args()
mlops = os.path.abspath(arguments.mlops)
environment = dict(
    os.environ,
    AWS_ACCESS_KEY_ID="bench",
    AWS_SECRET_ACCESS_KEY="bench",
    AWS_REGION="us-east-1",
    AWS_DEFAULT_REGION="us-east-1",
    AWS_EC2_METADATA_DISABLED="true",
)
AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=bench/20260101/us-east-1/s3/aws4_request, "
    "SignedHeaders=host, Signature=0"
)


def request(host, method, path, body=b""):
    connection = http.client.HTTPConnection(host)
    headers = {"Authorization": AUTHORIZATION, "x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
    connection.request(method, path, body=body, headers=headers)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200, (method, path, answer.status)


def start(binary, state):
    server = subprocess.Popen(
        [binary, "local", "start", "--port", "0", "--quiet", "--state", state],
        stderr=subprocess.DEVNULL,
    )
    while True:
        try:
            with open(f"{state}/address.json") as file:
                return server, json.load(file)["endpoint"]
        except (OSError, ValueError, KeyError):
            assert server.poll() is None, "the server ended"
            time.sleep(0.01)


def make_versions(host, worker, count):
    """Creates versions of one key over a plain socket."""
    connection = http.client.HTTPConnection(host)
    manifest = {"schema": 1, "dataset": "many", "created": "2026-01-01T00:00:00Z", "files": []}
    body = json.dumps(manifest).encode()
    headers = {"Authorization": AUTHORIZATION, "x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
    for _ in range(count):
        connection.request("PUT", "/bench/datasets/many/manifest.json", body=body, headers=headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status


def cpu_of(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


BOTO = """
import boto3, sys
s3 = boto3.client("s3", endpoint_url=sys.argv[1])
s3.upload_file(sys.argv[2], "bench", sys.argv[3])
"""


def peer(name):
    path = arguments.peers and os.path.join(arguments.peers, name)
    return path if path and os.path.exists(path) else None


def clients(endpoint, kind, source):
    """Returns the name and command of each client for a turn."""
    ours = endpoint
    found = {"mlops": lambda turn: [
        mlops, "--quiet", "--endpoint-url", ours, "data", "push", source,
        f"{kind}{turn}", "--bucket", "bench", "--output", "json"]}
    endpoint = arguments.peer_server or endpoint
    wild = "/*" if os.path.isdir(source) else ""
    if peer("s5cmd"):
        found["s5cmd"] = lambda turn: [
            peer("s5cmd"), "--endpoint-url", endpoint, "cp", source + wild, f"s3://bench/s5{kind}{turn}/"]
    if peer("aws"):
        recursive = ["--recursive"] if os.path.isdir(source) else []
        found["aws s3 cp"] = lambda turn: [
            peer("aws"), "--endpoint-url", endpoint, "s3", "cp", *recursive, source,
            f"s3://bench/aws{kind}{turn}/"]
    if peer("python") and kind == "large":
        found["boto3"] = lambda turn: [
            peer("python"), "-c", BOTO, endpoint, source, f"boto{turn}"]
    return found


def compare(title, turns, commands, server):
    """Runs the clients alternately; prints medians, and ratios to ours per turn."""
    results = {name: [] for name in commands}
    for turn in range(turns):
        for name, command in commands.items():
            before = cpu_of(server.pid) if server else 0
            result = measure.once(command(turn), env=environment)
            assert result["exit"] == 0, f"{name}: exit {result['exit']}"
            result["server"] = cpu_of(server.pid) - before if server else 0
            results[name].append(result)
    print(f"\n### {title}\n\n| | CPU s | wall s | peak RSS MiB | server CPU s | CPU / ours | wall / ours |")
    print("|---|---|---|---|---|---|---|")
    ours = next(iter(commands))
    for name, found in results.items():
        middle = {key: sorted(r[key] for r in found)[len(found) // 2] for key in found[0]}
        ratios = [measure.ratio(found, results[ours], key) for key in ("cpu", "wall")]
        print(f"| {name} | {middle['cpu']:.2f} | {middle['wall']:.2f} | {middle['rss']:.0f} "
              f"| {middle['server']:.2f} | {ratios[0]:.2f} | {ratios[1]:.2f} |", flush=True)


def verify(endpoint, name):
    if arguments.peer_server:
        return
    command = [mlops, "--quiet", "--endpoint-url", endpoint, "data", "verify", name]
    subprocess.run(command + ["--bucket", "bench"], env=environment, check=True,
                   stdout=subprocess.DEVNULL)


def run(endpoint, server, scratch):
    host = urllib.parse.urlparse(endpoint).netloc
    parts = arguments.parts.split(",")
    if server:
        request(host, "PUT", "/bench")
        request(host, "PUT", "/bench?versioning",
                b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")
    if "small" in parts:
        tree = f"{scratch}/tree"
        for index in range(arguments.files):
            directory = f"{tree}/{index // 100:03}"
            os.makedirs(directory, exist_ok=True)
            with open(f"{directory}/{index:05}.bin", "wb") as file:
                file.write(os.urandom(64 << 10))
        commands = clients(endpoint, "small", tree)
        compare(f"{arguments.files} files of 64 KiB", arguments.turns, commands, server)
        verify(endpoint, "small0")
        again = {"mlops, pushed again": lambda turn: commands["mlops"](0)}
        compare("The same tree again", arguments.turns, again, server)
    if "large" in parts:
        large = f"{scratch}/large.bin"
        with open(large, "wb") as file:
            for _ in range(arguments.bytes >> 20):
                file.write(os.urandom(1 << 20))
        commands = clients(endpoint, "large", large)
        compare(f"One file of {arguments.bytes >> 20} MiB", arguments.turns, commands, server)
        verify(endpoint, "large0")
    if "list" in parts:
        workers = 8
        with multiprocessing.Pool(workers) as pool:
            each = arguments.versions // workers
            pool.starmap(make_versions, [(host, worker, each) for worker in range(workers)])
        key = "datasets/many/manifest.json"
        commands = {"mlops": lambda _: [
            mlops, "--quiet", "--endpoint-url", endpoint, "data", "versions", "many", "--all",
            "--bucket", "bench"]}
        listed = subprocess.run(commands["mlops"](0) + ["--output", "json"], env=environment,
                                stdout=subprocess.PIPE, check=True)
        assert len(json.loads(listed.stdout)["versions"]) == each * workers
        if peer("s5cmd"):
            commands["s5cmd"] = lambda _: [
                peer("s5cmd"), "--endpoint-url", endpoint, "ls", "--all-versions", f"s3://bench/{key}"]
        if peer("aws"):
            commands["aws s3api"] = lambda _: [
                peer("aws"), "--endpoint-url", endpoint, "s3api", "list-object-versions",
                "--bucket", "bench", "--prefix", key, "--query", "Versions[].VersionId"]
        compare(f"{arguments.versions} versions listed", arguments.turns, commands, server)


scratch = tempfile.mkdtemp(prefix="bench-data-")
server = None
try:
    endpoint = arguments.server
    if not endpoint or not endpoint.startswith("http"):
        server, endpoint = start(os.path.abspath(endpoint or mlops), f"{scratch}/state")
    run(endpoint, server, scratch)
finally:
    if server:
        server.terminate()
        server.wait()
    shutil.rmtree(scratch)
