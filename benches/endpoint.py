#!/usr/bin/env python3
"""Measures an endpoint of the local cloud: overhead, throughput, and an update under load.

usage: benches/endpoint.py MLOPS [DIR]

Creates a project in DIR (default: a temporary directory), whose model answers every request at once,
and prints
  - the overhead of the endpoint, with capture of every request, over calling the container directly:
    one client, a kept connection, blocks of requests to both in turn;
  - the requests per second of 8 clients;
  - the failed requests, of 100 per second, while a new version is deployed (blue/green).

The clients are plain sockets, so that the result is the server's and not an SDK's. Limited to 11,000
requests for the overhead, 10 s for the throughput, and the time of one deployment.
"""

import http.client
import json
import multiprocessing
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

mlops = os.path.abspath(sys.argv[1])
sys.stdout.reconfigure(line_buffering=True)
AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=AK/20260101/us-east-1/sagemaker/aws4_request, "
    "SignedHeaders=host, Signature=0"
)
BLOCKS, BLOCK = 20, 250
CLIENTS, SECONDS = 8, 5
RATE, THREADS, MARGIN = 100, 20, 2
BODY = b"1,2,3,4\n"

# Keeps connections and answers without doing anything, so that what is measured is not this program.
SERVE = '''#!/usr/bin/env python3
import asyncio, os

ANSWER = b"HTTP/1.1 200 OK\\r\\nContent-Type: text/csv\\r\\nContent-Length: 4\\r\\n\\r\\n1.5\\n"

class Server(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.data = transport, b""

    def data_received(self, data):
        self.data += data
        while b"\\r\\n\\r\\n" in self.data:
            head, rest = self.data.split(b"\\r\\n\\r\\n", 1)
            lines = head.lower().split(b"\\r\\n")
            length = sum(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
            if len(rest) < length:
                return
            self.data = rest[length:]
            self.transport.write(ANSWER)

async def main():
    port = int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", port)
    await server.serve_forever()

asyncio.run(main())
'''

TRAIN = '''#!/usr/bin/env python3
import os, pathlib

base = pathlib.Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
(base / "model/weights.txt").write_text("1.0")
'''


def get(name):
    return {"Get": name}


PIPELINE = {
    "Version": "2020-12-01",
    "Parameters": [
        {"Name": name, "Type": "String"}
        for name in ("ImageUri", "RoleArn", "ArtifactBucket", "ModelPackageGroupName", "CommitId")
    ],
    "Steps": [
        {
            "Name": "Train",
            "Type": "Training",
            "Arguments": {
                "AlgorithmSpecification": {
                    "TrainingImage": get("Parameters.ImageUri"),
                    "TrainingInputMode": "File",
                },
                "RoleArn": get("Parameters.RoleArn"),
                "OutputDataConfig": {
                    "S3OutputPath": {
                        "Std:Join": {
                            "On": "",
                            "Values": ["s3://", get("Parameters.ArtifactBucket"), "/models"],
                        }
                    }
                },
                "ResourceConfig": {
                    "InstanceType": "ml.m5.large",
                    "InstanceCount": 1,
                    "VolumeSizeInGB": 1,
                },
                "StoppingCondition": {"MaxRuntimeInSeconds": 600},
            },
        },
        {
            "Name": "Register",
            "Type": "RegisterModel",
            "Arguments": {
                "ModelPackageGroupName": get("Parameters.ModelPackageGroupName"),
                "ModelApprovalStatus": "PendingManualApproval",
                "MetadataProperties": {"CommitId": get("Parameters.CommitId")},
                "InferenceSpecification": {
                    "Containers": [
                        {
                            "Image": get("Parameters.ImageUri"),
                            "ModelDataUrl": get("Steps.Train.ModelArtifacts.S3ModelArtifacts"),
                        }
                    ],
                    "SupportedContentTypes": ["text/csv"],
                    "SupportedResponseMIMETypes": ["text/csv"],
                },
            },
        },
    ],
}


def run(*arguments):
    """Runs `mlops --local`; returns its JSON, if it was asked for."""
    done = subprocess.run([mlops, "--local", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"mlops {' '.join(arguments)}: exit {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout) if "json" in arguments else None


def git(*arguments):
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


def project():
    """Creates the project with two versions, the first of them deployed."""
    run("init", "--name", "bench", "--yes")
    for name, text in (("train", TRAIN), ("serve", SERVE)):
        path = pathlib.Path("image/program", name)
        path.write_text(text)
        path.chmod(0o755)
    pathlib.Path("image/requirements.txt").write_text("")
    pathlib.Path("pipeline.json").write_text(json.dumps(PIPELINE))
    git("add", "-A")
    git("commit", "-qm", "bench")
    run("image", "push")
    for _ in range(2):
        run("train")
    run("promote", "1", "--yes")


def container():
    """The host of the container that serves, from its log."""
    lines = run("endpoint", "logs", "--output", "json")["lines"]
    ports = (re.search(r"listen on port (\d+)", line["message"]) for line in lines)
    return f"127.0.0.1:{[found.group(1) for found in ports if found][-1]}"


def headers(endpoint):
    return {
        "Content-Type": "text/csv",
        **({"Authorization": AUTHORIZATION} if endpoint else {}),
        "x-amz-date": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()),
    }


def request(connection, path, headers):
    """Sends one request and returns its seconds."""
    begin = time.perf_counter()
    connection.request("POST", path, body=BODY, headers=headers)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200, answer.status
    return time.perf_counter() - begin


def percentile(values, percent):
    values = sorted(values)
    return values[min(len(values) - 1, len(values) * percent // 100)]


def overhead(host, direct):
    targets = {
        "direct": (http.client.HTTPConnection(direct), "/invocations", headers(False)),
        "endpoint": (http.client.HTTPConnection(host), "/endpoints/bench/invocations", headers(True)),
    }
    times = {name: [] for name in targets}
    for block in range(-2, BLOCKS):
        for name, target in targets.items():
            found = [request(*target) for _ in range(BLOCK)]
            if block >= 0:
                times[name].extend(found)
    for percent in (50, 99):
        of = {name: percentile(found, percent) * 1000 for name, found in times.items()}
        print(
            f"p{percent}: container {of['direct']:.3f} ms, endpoint {of['endpoint']:.3f} ms, "
            f"overhead {of['endpoint'] - of['direct']:.3f} ms"
        )


def closed_loop(host, path, authorized):
    """Sends requests one after another; returns how many."""
    connection = http.client.HTTPConnection(host)
    sent, end, known = 0, time.monotonic() + SECONDS, headers(authorized)
    while time.monotonic() < end:
        request(connection, path, known)
        sent += 1
    return sent


def throughput(host, direct):
    for name, target in (
        ("container", (direct, "/invocations", False)),
        ("endpoint", (host, "/endpoints/bench/invocations", True)),
    ):
        with multiprocessing.Pool(CLIENTS) as pool:
            sent = sum(pool.starmap(closed_loop, [target] * CLIENTS))
        print(f"{name}: {sent / SECONDS:.0f} requests/s ({CLIENTS} clients, {SECONDS} s)")


def update(host):
    """Sends requests at a fixed rate while version 2 is deployed; prints the failures."""
    stop, results, lock = threading.Event(), [], threading.Lock()
    start = time.monotonic()

    def client(index):
        connection = http.client.HTTPConnection(host, timeout=70)
        turn = 0
        while not stop.is_set():
            due = start + (index + turn * THREADS) / RATE
            turn += 1
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                request(connection, "/endpoints/bench/invocations", headers(True))
                failure = None
            except (AssertionError, OSError, http.client.HTTPException) as error:
                failure = f"{type(error).__name__}: {error}"
                connection.close()
            with lock:
                results.append((time.monotonic() - due, failure))

    threads = [threading.Thread(target=client, args=(index,)) for index in range(THREADS)]
    for thread in threads:
        thread.start()
    time.sleep(MARGIN)
    begin = time.perf_counter()
    run("promote", "2", "--yes")
    seconds = time.perf_counter() - begin
    time.sleep(MARGIN)
    stop.set()
    for thread in threads:
        thread.join()
    failures = [failure for _, failure in results if failure]
    latencies = [latency for latency, _ in results]
    print(
        f"update: {len(failures)} of {len(results)} requests failed at {RATE}/s; promote took "
        f"{seconds:.1f} s; median {statistics.median(latencies) * 1000:.1f} ms, "
        f"longest {max(latencies) * 1000:.0f} ms"
    )
    for failure in sorted(set(failures)):
        print(f"  {failures.count(failure)} x {failure}")


def main():
    with tempfile.TemporaryDirectory() as temporary:
        directory = os.path.abspath(sys.argv[2]) if len(sys.argv) > 2 else temporary
        os.makedirs(directory, exist_ok=True)
        os.chdir(directory)
        try:
            project()
            status = run("local", "status", "--output", "json")
            host = urllib.parse.urlparse(status["endpoint"]).netloc
            direct = container()
            overhead(host, direct)
            throughput(host, direct)
            update(host)
        finally:
            subprocess.run([mlops, "local", "stop"], capture_output=True)
            os.chdir("/")


if __name__ == "__main__":
    main()
