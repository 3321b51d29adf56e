"""tests/aws/run.py, the script for a real account, against the local cloud: the stories pass, the local cloud
keeps its own claims, and nothing is left."""

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "aws/run.py"
BIN = os.path.abspath(os.environ.get("MLOPS_BIN", "target/debug/mlops"))


def test_without_the_variable_nothing_happens(environment, cloud):
    """The account must be named."""
    for value in ("", "1", "111111111111"):
        command = [sys.executable, str(SCRIPT), "--endpoint-url", cloud]
        run = subprocess.run(command, env={**environment, "MLOPS_AWS_TESTS": value}, capture_output=True, text=True)
        assert run.returncode == 2
        assert "USD" in run.stderr
        assert run.stdout == ""


def test_the_story_passes_and_nothing_is_left(environment, cloud):
    """The whole script."""
    command = [sys.executable, str(SCRIPT), "--endpoint-url", cloud, "--mlops", BIN]
    run = subprocess.run(
        command,
        env={**environment, "MLOPS_AWS_TESTS": "000000000000", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    report = json.loads(run.stdout)
    assert run.returncode == 0, report
    assert report["left"] == []
    assert [step for step in report["story"] if step[1] != "ok"] == []
    assert len(report["story"]) >= 10
    wrong = {name: found for name, found in report["claims"].items() if found["result"] != "confirmed"}
    assert wrong == {}
