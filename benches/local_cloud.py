#!/usr/bin/env python3
"""Measures the local cloud: start-up, idle memory, PutObject of 4 KiB by 16 clients.

usage: benches/local_cloud.py MLOPS

The clients are plain sockets in separate processes, so that the result is the server's and not an
SDK's. Limited to 16 x 500 requests.
"""

import http.client
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse

mlops = os.path.abspath(sys.argv[1])
AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=AK/20260101/us-east-1/s3/aws4_request, "
    "SignedHeaders=host, Signature=0"
)
CLIENTS, REQUESTS = 16, 500


def start(state):
    """Returns the milliseconds until a new server responds, with its process and host."""
    begin = time.perf_counter()
    server = subprocess.Popen(
        [mlops, "local", "start", "--port", "0", "--quiet", "--state", state],
        stderr=subprocess.DEVNULL,
    )
    while True:
        try:
            with open(f"{state}/address.json") as file:
                host = urllib.parse.urlparse(json.load(file)["endpoint"]).netloc
            connection = http.client.HTTPConnection(host)
            connection.request("GET", "/_mlops/status")
            connection.getresponse().read()
            return (time.perf_counter() - begin) * 1000, server, host
        except (OSError, ValueError, KeyError):
            if server.poll() is not None:
                raise SystemExit("the server ended")


def rss(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmRSS"))


def put(host, client):
    connection = http.client.HTTPConnection(host)
    body = os.urandom(4096 + REQUESTS)
    for index in range(REQUESTS):
        connection.request(
            "PUT",
            f"/bench/{client}/{index}",
            body=body[index : index + 4096],
            headers={
                "Authorization": AUTHORIZATION,
                "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
                "x-amz-date": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()),
            },
        )
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status


times = []
for _ in range(10):
    with tempfile.TemporaryDirectory() as directory:
        milliseconds, server, _ = start(f"{directory}/state")
        times.append(milliseconds)
        server.terminate()
        server.wait()
print(f"start, median of {len(times)}: {statistics.median(times):.1f} ms")

with tempfile.TemporaryDirectory() as directory:
    _, server, host = start(f"{directory}/state")
    print(f"idle: {rss(server.pid):.1f} MiB RSS")
    connection = http.client.HTTPConnection(host)
    connection.request("PUT", "/bench", headers={"Authorization": AUTHORIZATION})
    assert connection.getresponse().status == 200
    begin = time.perf_counter()
    with multiprocessing.Pool(CLIENTS) as pool:
        pool.starmap(put, [(host, client) for client in range(CLIENTS)])
    seconds = time.perf_counter() - begin
    print(f"PutObject 4 KiB, {CLIENTS} clients: {CLIENTS * REQUESTS / seconds:.0f}/s")
    print(f"after it: {rss(server.pid):.1f} MiB RSS")
    server.terminate()
    server.wait()
