#!/usr/bin/env python3
"""Measures the start-up of the command line, next to the aws CLI in the same run.

usage: benches/cli.py MLOPS [AWS]

MLOPS is the binary to measure, AWS the aws CLI (installed by tests/conformance/requirements.txt).
Run it in a project whose local cloud contains models (`mlops demo` creates one).
"""

import json
import os
import subprocess
import sys

from measure import paired, show

mlops = os.path.abspath(sys.argv[1])
aws = sys.argv[2] if len(sys.argv) > 2 else "aws"
status = subprocess.run(
    [mlops, "local", "start", "--detach", "--output", "json"],
    check=True, capture_output=True, text=True,
)
environment = {
    **os.environ,
    "AWS_ENDPOINT_URL": json.loads(status.stdout)["endpoint"],
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
}
show(paired(30, 3, {
    "true (the floor of this timer)": (["true"], {}),
    "mlops --version": ([mlops, "--version"], {}),
    "mlops --help": ([mlops, "--help"], {}),
}))
show(paired(5, 1, {"aws --version": ([aws, "--version"], {})}))
show(paired(10, 2, {
    "mlops --local models list": ([mlops, "--local", "models", "list"], {}),
    "aws sagemaker list-model-packages": (
        [aws, "sagemaker", "list-model-packages", "--model-package-group-name", "flights"],
        {"env": environment},
    ),
}))
