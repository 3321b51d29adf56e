"""Tests of the program, without SageMaker and without mlops:

    python3 -m unittest discover --start-directory tests

Each test runs a program with its own directory of files (SAGEMAKER_BASE_DIR), as SageMaker does with
/opt/ml. Tests that need the packages of image/requirements.txt are skipped if these are not
installed.
"""

import csv
import importlib.util
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import urllib.request
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PROGRAM = PROJECT / "image/program"
ROWS = PROJECT / "data/train/flights.csv"

# The image includes everything in image/program, so do not create compiled files.
sys.dont_write_bytecode = True
sys.path.insert(0, str(PROGRAM))

import flights  # noqa: E402

HAS_PACKAGES = all(importlib.util.find_spec(name) for name in ("joblib", "numpy", "sklearn"))
needs_packages = unittest.skipUnless(HAS_PACKAGES, "image/requirements.txt is not installed")


class Program(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.base = Path(directory.name)
        self.environment = {**os.environ, "SAGEMAKER_BASE_DIR": str(self.base), "PYTHONDONTWRITEBYTECODE": "1"}

    def run_program(self, name):
        """Runs a program of the image to completion."""
        command = [sys.executable, str(PROGRAM / name)]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True)

    def give(self, path, rows):
        """Writes a CSV file below the base directory."""
        target = self.base / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("w", newline="") as lines:
            csv.writer(lines).writerows(rows)

    def preprocess(self, rows):
        self.give("processing/input/part.csv", [flights.COLUMNS, *rows])
        ran = self.run_program("preprocess")
        self.assertEqual(ran.returncode, 0, ran.stderr)
        return flights.read(self.base / "processing/train"), flights.read(self.base / "processing/test")


def row(delay, distance="500"):
    values = dict.fromkeys(flights.COLUMNS, "1")
    values |= {"arr_delay": delay, "distance": distance, "carrier": "UA", "origin": "JFK", "dest": "LAX"}
    return [values[name] for name in flights.COLUMNS]


class Preprocess(Program):
    def test_rows_without_a_target_are_skipped(self):
        train, test = self.preprocess([row(str(delay)) for delay in range(10)] + [row(""), row(" ")])
        self.assertEqual((len(train), len(test)), (8, 2))

    def test_the_split_is_deterministic(self):
        rows = [row(str(delay)) for delay in range(20)]
        self.assertEqual(self.preprocess(rows), self.preprocess(rows))

    def test_a_missing_column_is_reported_as_the_reason_of_the_failure(self):
        self.give("processing/input/part.csv", [["arr_delay"], ["1"]])
        self.assertEqual(self.run_program("preprocess").returncode, 1)
        self.assertIn("distance", (self.base / "output/failure").read_text())


class Flights(unittest.TestCase):
    def test_a_missing_number_becomes_nan(self):
        self.assertTrue(math.isnan(flights.number(" ")))
        self.assertEqual(flights.number("-4.5"), -4.5)

    def test_the_target_is_not_a_feature(self):
        self.assertNotIn(flights.TARGET, flights.FEATURES)


class Pipeline(unittest.TestCase):
    def test_every_program_of_the_pipeline_is_executable(self):
        definition = (PROJECT / "pipeline.json").read_text()
        named = re.findall(r'"ContainerEntrypoint":\s*\[\s*"(\w+)"', definition)
        for name in {"train", "serve", *named}:
            self.assertTrue(os.access(PROGRAM / name, os.X_OK), name)


@needs_packages
class Model(Program):
    def setUp(self):
        super().setUp()
        with ROWS.open(newline="") as lines:
            header, *rows = csv.reader(lines)
        self.give("processing/input/part.csv", [header, *rows[:2000]])
        self.assertEqual(self.run_program("preprocess").returncode, 0)
        shutil.copytree(self.base / "processing/train", self.base / "input/data/train")
        config = self.base / "input/config"
        config.mkdir()
        # SageMaker passes every hyperparameter as text.
        (config / "hyperparameters.json").write_text(json.dumps({"max_iter": "20"}))
        trained = self.run_program("train")
        self.assertEqual(trained.returncode, 0, trained.stderr)

    def test_the_evaluation_has_the_metric_that_the_gate_reads(self):
        model = self.base / "processing/model"
        model.mkdir()
        shutil.make_archive(str(model / "model"), "gztar", self.base / "model")
        ran = self.run_program("evaluate")
        self.assertEqual(ran.returncode, 0, ran.stderr)
        report = json.loads((self.base / "processing/evaluation/evaluation.json").read_text())
        paths = re.findall(r'"Path":\s*"([\w.]+)"', (PROJECT / "pipeline.json").read_text())
        self.assertTrue(paths)
        for path in paths:
            value = report
            for part in path.split("."):
                value = value[part]
            self.assertTrue(math.isfinite(value), path)

    def test_the_server_returns_predictions(self):
        import socket
        import time

        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        environment = {**self.environment, "SAGEMAKER_BIND_TO_PORT": str(port)}
        server = subprocess.Popen([sys.executable, str(PROGRAM / "serve")], env=environment)
        self.addCleanup(server.wait)
        self.addCleanup(server.terminate)
        url = f"http://127.0.0.1:{port}"
        for _ in range(600):
            self.assertIsNone(server.poll(), "the server has ended")
            try:
                urllib.request.urlopen(f"{url}/ping").close()
                break
            except OSError:
                time.sleep(0.1)
        body = (PROJECT / "samples/row.csv").read_bytes()
        request = urllib.request.Request(f"{url}/invocations", data=body, headers={"Content-Type": "text/csv"})
        with urllib.request.urlopen(request) as answer:
            predictions = answer.read().decode().split()
        self.assertEqual(len(predictions), len(body.decode().splitlines()))
        float(predictions[0])


if __name__ == "__main__":
    unittest.main()
