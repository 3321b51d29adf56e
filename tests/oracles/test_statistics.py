"""Moments, sketches and distinct counts against numpy, on every value: nothing is sampled."""

import math

import numpy as np
import pytest

ROWS = 200_000
# Both are documented in docs/validation.md: a compacted sketch's rank error, and the standard error
# of distinct counts above 1024.
RANK_ERROR = 0.005
DISTINCT_ERROR = 1.04 / math.sqrt(16384)


def columns():
    random = np.random.default_rng(20261122)
    return {
        "uniform": random.random(ROWS),
        "normal": random.normal(50.0, 12.0, ROWS),
        "lognormal": random.lognormal(0.0, 2.5, ROWS),
        "far_from_zero": 1e9 + random.random(ROWS),
        "few": random.choice([0.25, 1.5, 7.75], ROWS),
        "counts": random.poisson(40, ROWS),
        "ascending": np.arange(ROWS),
        "descending": np.arange(ROWS)[::-1].copy(),
    }


@pytest.fixture(scope="module")
def data():
    return columns()


def digits(name):
    """For 1e9 + x, only seven digits distinguish the values."""
    return 1e-7 if name == "far_from_zero" else 1e-12


def numerical(statistics):
    return {f["name"]: f["numerical_statistics"] for f in statistics["features"]}


def sketch(feature):
    """Returns the items of a sketch in order, with the shares of values up to and below each."""
    levels = feature["distribution"]["kll"]["sketch"]["data"]
    items = np.concatenate([np.asarray(level, dtype=float) for level in levels])
    weights = np.concatenate([np.full(len(level), 2.0**i) for i, level in enumerate(levels)])
    order = np.argsort(items, kind="stable")
    return items[order], weights[order]


def test_moments_agree_with_numpy(validate, data):
    statistics, _ = validate.suggest(validate.table("data.csv", data))
    assert statistics["dataset"]["item_count"] == ROWS
    for name, found in numerical(statistics).items():
        values = data[name].astype(float)
        assert found["common"] == {"num_present": ROWS, "num_missing": 0}
        assert found["min"] == values.min() and found["max"] == values.max()
        # fsum is exact; numpy's own sum is not precise enough for an oracle of 1e-12.
        total = math.fsum(values)
        assert found["sum"] == pytest.approx(total, rel=1e-12)
        assert found["mean"] == pytest.approx(total / ROWS, rel=1e-12)
        deviation = math.sqrt(math.fsum((values - total / ROWS) ** 2) / ROWS)
        assert found["std_dev"] == pytest.approx(deviation, rel=digits(name)), name


def test_sketches_count_every_row_and_rank_within_their_error(validate, data):
    statistics, _ = validate.suggest(validate.table("data.csv", data))
    for name, found in numerical(statistics).items():
        items, weights = sketch(found)
        assert weights.sum() == ROWS, name
        ordered = np.sort(data[name].astype(float))
        up_to = np.cumsum(weights)[np.searchsorted(items, items, "right") - 1] / ROWS
        truth = np.searchsorted(ordered, items, "right") / ROWS
        assert np.abs(up_to - truth).max() <= RANK_ERROR, name
        buckets = found["distribution"]["kll"]["buckets"]
        assert sum(bucket["count"] for bucket in buckets) == ROWS


def test_distinct_counts_are_within_their_error(validate, data):
    statistics, _ = validate.suggest(validate.table("data.csv", data))
    for name, found in numerical(statistics).items():
        truth = len(np.unique(data[name]))
        count = found["approximate_num_distinct_values"]
        if truth <= 1024:
            assert count == truth, name
        else:
            assert abs(count / truth - 1) <= 4 * DISTINCT_ERROR, name


def test_parts_merged_equal_the_whole(validate, data):
    whole, _ = validate.suggest(validate.table("data.csv", data))
    cuts = [0, 1, 50_000, 130_000, ROWS]
    for i, (start, end) in enumerate(zip(cuts, cuts[1:])):
        part = {name: values[start:end] for name, values in data.items()}
        table = validate.table(f"part{i}.csv", part)
        validate.run("--profile-out", f"part{i}.json", table)
    validate.run("--merge", *(f"part{i}.json" for i in (2, 0, 3, 1)), "--suggest", "--output-dir", "merged")
    merged = validate.read("merged/statistics.json")
    assert merged["dataset"] == whole["dataset"]
    for name, found in numerical(merged).items():
        one = numerical(whole)[name]
        for member in ("mean", "sum"):
            assert found[member] == pytest.approx(one[member], rel=1e-12)
        assert found["std_dev"] == pytest.approx(one["std_dev"], rel=digits(name)), name
        for member in ("common", "min", "max", "approximate_num_distinct_values", "completeness"):
            assert found[member] == one[member]
        items, weights = sketch(found)
        assert weights.sum() == ROWS
        ordered = np.sort(data[name].astype(float))
        truth = np.searchsorted(ordered, items, "right") / ROWS
        up_to = np.cumsum(weights)[np.searchsorted(items, items, "right") - 1] / ROWS
        assert np.abs(up_to - truth).max() <= RANK_ERROR, name
