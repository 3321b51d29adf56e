"""Code shared by the four programs: the columns, SageMaker's directories, and reporting of failures."""

import csv
import os
import sys
import traceback
from pathlib import Path

TARGET = "arr_delay"
NUMERIC = ["dep_delay", "distance", "hour", "temp", "humid", "wind_speed", "visib"]
CATEGORICAL = ["carrier", "origin", "dest"]
# A request has these columns in this order and no header.
FEATURES = NUMERIC + CATEGORICAL
COLUMNS = [TARGET, *FEATURES]

# SageMaker mounts everything under /opt/ml. SAGEMAKER_BASE_DIR moves it, for runs without a container.
BASE = Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))


def read(directory):
    """Yields the rows of every CSV file below a directory, as dictionaries of strings."""
    files = sorted(Path(directory).rglob("*.csv"))
    if not files:
        raise SystemExit(f"no CSV file in {directory}")
    rows = []
    for file in files:
        with file.open(newline="") as lines:
            reader = csv.DictReader(lines)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or [])]
            if missing:
                raise SystemExit(f"{file.name} lacks the columns {', '.join(missing)}")
            rows.extend(reader)
    return rows


def write(path, rows):
    """Writes rows with a header, with the columns in a fixed order."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def number(text):
    """Parses a number; missing values become NaN, which the model can handle."""
    return float(text) if text.strip() else float("nan")


def features(rows):
    """Returns the model's input matrix: numbers, then categories as text."""
    import numpy

    return numpy.array(
        [[number(row[name]) for name in NUMERIC] + [row[name] for name in CATEGORICAL] for row in rows],
        dtype=object,
    )


def targets(rows):
    """Returns the values to predict."""
    import numpy

    return numpy.array([number(row[TARGET]) for row in rows])


def main(program):
    """Runs a program; writes the reason of a failure where SageMaker expects it."""
    try:
        program()
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) and error.code in (None, 0):
            raise
        reason = str(error) if isinstance(error, SystemExit) else f"{type(error).__name__}: {error}"
        output = BASE / "output"
        output.mkdir(parents=True, exist_ok=True)
        (output / "failure").write_text(reason)
        (output / "message").write_text(reason)
        traceback.print_exc()
        sys.exit(1)
