"""Runs `mlops validate` (MLOPS_BIN) in a separate directory, on generated tables."""

import csv
import json
import os
import subprocess
from pathlib import Path

import pytest


class Validate:
    def __init__(self, directory: Path):
        self.directory = directory

    def table(self, name, columns):
        """Writes columns as CSV; None is a missing value, and floats keep every digit."""
        path = self.directory / name
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            for row in zip(*columns.values(), strict=True):
                writer.writerow(["" if cell is None else spell(cell) for cell in row])
        return path

    def run(self, *arguments, code=0):
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.directory)}
        done = subprocess.run(
            [os.environ["MLOPS_BIN"], "validate", *map(str, arguments)],
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        codes = code if isinstance(code, tuple) else (code,)
        assert done.returncode in codes, done.stdout + done.stderr
        return done.stdout + done.stderr if done.returncode == 1 else done.stdout

    def suggest(self, *data, to="base"):
        """Returns statistics.json and constraints.json of a baseline."""
        self.run("--suggest", *data, "--output-dir", to)
        return self.read(f"{to}/statistics.json"), self.read(f"{to}/constraints.json")

    def explain(self, feature, data):
        """Returns the output of `--explain` for a column, against the baseline in base/."""
        known = ["--constraints", "base/constraints.json", "--statistics", "base/statistics.json"]
        return self.explained(feature, data, *known, "--rules", "mlops")

    def explained(self, feature, data, *arguments):
        shown = ["--explain", feature, "--output", "json"]
        text = self.run(data, *arguments, *shown, code=(0, 3))
        return json.loads(text)["explanation"]

    def read(self, name):
        return json.loads((self.directory / name).read_text())

    def write(self, name, value):
        (self.directory / name).write_text(json.dumps(value))


def spell(cell):
    return repr(float(cell)) if hasattr(cell, "dtype") and cell.dtype.kind == "f" else str(cell)


@pytest.fixture
def validate(tmp_path):
    return Validate(tmp_path)
