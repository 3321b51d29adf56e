"""Compares bias metrics with fairlearn, scikit-learn and scipy, through the container contract of Clarify.

A job has /opt/ml/processing/input/config/analysis_config.json and the data in /opt/ml/processing/input/data, and
writes analysis.json to /opt/ml/processing/output (SAGEMAKER_BASE_DIR replaces /opt/ml). AWS's own library,
smclarify, does not run with this pandas: crates/validation/src/bias/tests/smclarify.json has its numbers.
"""

import csv
import json
import math
import os
import subprocess

import numpy as np
import pytest
from fairlearn.metrics import (
    MetricFrame,
    count,
    demographic_parity_ratio,
    selection_rate,
    true_negative_rate,
    true_positive_rate,
)
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy
from sklearn.metrics import accuracy_score, confusion_matrix, precision_score
from sklearn.neighbors import KNeighborsClassifier


class Clarify:
    def __init__(self, base):
        self.processing = base / "processing"
        self.base = base

    def run(self, config, columns, **environment):
        """Runs a job on columns; returns analysis.json, and the violations if there are any."""
        inputs = self.processing / "input"
        for folder in ("config", "data"):
            (inputs / folder).mkdir(parents=True, exist_ok=True)
        (inputs / "config" / "analysis_config.json").write_text(json.dumps(config))
        with (inputs / "data" / "data.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*(values.tolist() for values in columns.values()), strict=True))
        output = self.processing / "output"
        done = subprocess.run(
            [os.environ["MLOPS_BIN"], "analyze"],
            env={"PATH": os.environ["PATH"], "SAGEMAKER_BASE_DIR": str(self.base), **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        violations = output / "constraint_violations.json"
        return (
            json.loads((output / "analysis.json").read_text()),
            json.loads(violations.read_text())["violations"] if violations.exists() else None,
        )


@pytest.fixture
def clarify(tmp_path):
    return Clarify(tmp_path)


def table(rows=1500, seed=7, gap=0.25):
    random = np.random.default_rng(seed)
    sex = random.integers(0, 2, rows)
    age = random.integers(18, 80, rows)
    region = random.integers(0, 5, rows)
    income = np.round(random.lognormal(10, 0.4, rows), 2)
    chance = 0.3 + gap * sex + 0.002 * (age - 50) + 0.03 * region
    label = (random.random(rows) < chance).astype(int)
    score = np.round(np.clip(0.6 * chance + 0.4 * random.random(rows), 0, 1), 6)
    predicted = (score > 0.45).astype(int)
    return {
        "sex": sex,
        "age": age,
        "region": region,
        "income": income,
        "label": label,
        "predicted": predicted,
    }


def config(facets, **more):
    return {
        "dataset_type": "text/csv",
        "label": "label",
        "predicted_label": "predicted",
        "label_values_or_threshold": [1],
        "facet": facets,
        "group_variable": "region",
        "methods": {
            "pre_training_bias": {"methods": "all"},
            "post_training_bias": {"methods": "all"},
        },
        **more,
    }


SEX = {"name_or_index": "sex", "value_or_threshold": [0]}
AGE = {"name_or_index": "age", "value_or_threshold": [60]}


def values(analysis, stage, facet, group):
    groups = {entry["value_or_threshold"]: entry for entry in analysis[f"{stage}_training_bias_metrics"]["facets"][facet]}
    return {metric["name"]: metric["value"] for metric in groups[group]["metrics"]}


def same(ours, expected):
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        assert math.isclose(ours[name], value, rel_tol=1e-12, abs_tol=1e-13), (name, ours[name], value)


def disparity(inside, outcome, strata):
    """The weighted mean over strata of the group's share of rejections minus its share of acceptances."""
    total = 0
    for stratum in np.unique(strata):
        here = strata == stratum
        share = [inside[here & (outcome == value)].mean() for value in (0, 1)]
        total += here.sum() * (share[0] - share[1])
    return total / len(outcome)


def pre_training(columns, inside):
    label = columns["label"]
    by = MetricFrame(metrics={"rate": selection_rate, "n": count}, y_true=label, y_pred=label, sensitive_features=inside)
    rate, rows = by.by_group["rate"], by.by_group["n"]
    a, d = (np.array([1 - rate[group], rate[group]]) for group in (False, True))
    return {
        "CDDL": disparity(inside, label, columns["region"]),
        "CI": (rows[False] - rows[True]) / rows.sum(),
        "DPL": rate[False] - rate[True],
        "JS": jensenshannon(a, d) ** 2,
        "KL": entropy(a, d),
        "KS": np.abs(a - d).max(),
        "LP": np.linalg.norm(a - d),
        "TVD": np.abs(a - d).sum() / 2,
    }


def post_training(columns, inside, facet):
    label, predicted = columns["label"], columns["predicted"]
    metrics = {
        "rate": selection_rate,
        "accuracy": accuracy_score,
        "precision": precision_score,
        "rejections": lambda y, p: precision_score(y, p, pos_label=0),
        "recall": true_positive_rate,
        "specificity": true_negative_rate,
        "acceptance": lambda y, p: y.sum() / p.sum(),
        "rejection": lambda y, p: (1 - y).sum() / (1 - p).sum(),
    }
    frame = MetricFrame(metrics=metrics, y_true=label, y_pred=predicted, sensitive_features=inside)
    a, d = frame.by_group.loc[False], frame.by_group.loc[True]

    def errors(group):
        _, fp, fn, _ = confusion_matrix(label[group], predicted[group]).ravel()
        return fn / fp

    features = [name for name in columns if name not in ("label", "predicted", facet)]
    points = np.column_stack([columns[name] for name in features])
    neighbors = KNeighborsClassifier(5, algorithm="brute").fit(points[~inside], predicted[~inside])
    benefit = predicted - label + 1
    ratio = d["rate"] / a["rate"]
    assert min(ratio, 1 / ratio) == pytest.approx(demographic_parity_ratio(label, predicted, sensitive_features=inside))
    return {
        "AD": a["accuracy"] - d["accuracy"],
        "CDDPL": disparity(inside, predicted, columns["region"]),
        "DAR": a["precision"] - d["precision"],
        "DCA": a["acceptance"] - d["acceptance"],
        "DCR": d["rejection"] - a["rejection"],
        "DI": ratio,
        "DPPL": a["rate"] - d["rate"],
        "DRR": d["rejections"] - a["rejections"],
        "FT": (predicted[inside] - neighbors.predict(points[inside])).mean(),
        "GE": ((benefit / benefit.mean()) ** 2 - 1).mean() / 2,
        "RD": a["recall"] - d["recall"],
        "SD": d["specificity"] - a["specificity"],
        "TE": errors(inside) - errors(~inside),
    }


@pytest.mark.parametrize("seed", range(3))
def test_metrics(clarify, seed):
    columns = table(seed=seed)
    # A number with a fraction makes 60 a threshold; so do integers of which at least 5 % are distinct.
    columns["age"] = columns["age"] + 0.5
    analysis, violations = clarify.run(config([SEX, AGE]), columns)
    assert violations is None
    oldest = columns["age"].max()
    for facet, group, inside in [("sex", "0", columns["sex"] == 0), ("age", f"(60.0, {oldest}]", columns["age"] > 60)]:
        same(values(analysis, "pre", facet, group), pre_training(columns, inside))
        same(values(analysis, "post", facet, group), post_training(columns, inside, facet))


def test_each_value_is_a_group(clarify):
    columns = table()
    analysis, _ = clarify.run(config([{"name_or_index": "region"}]), columns)
    groups = [entry["value_or_threshold"] for entry in analysis["pre_training_bias_metrics"]["facets"]["region"]]
    assert groups == [str(region) for region in dict.fromkeys(columns["region"].tolist())]
    for group in groups:
        inside = columns["region"] == int(group)
        same(values(analysis, "post", "region", group), post_training(columns, inside, "region"))


def test_violations_are_farther_from_zero(clarify):
    baseline, _ = clarify.run(config([SEX]), table())
    saved = clarify.base / "analysis.json"
    saved.write_text(json.dumps(baseline))
    live, violations = clarify.run(config([SEX]), table(seed=8, gap=0.35), baseline_constraints=str(saved))
    expected = []
    for stage in ("post", "pre"):
        known = values(baseline, stage, "sex", "0")
        for name, value in values(live, stage, "sex", "0").items():
            if abs(value) > abs(known[name]):
                text = f"Metric value {value} doesn't meet the baseline constraint requirement {known[name]}"
                expected.append((name, text))
    assert [(entry["metric_name"], entry["description"]) for entry in violations] == expected
    assert {"DPL", "DPPL"} <= {name for name, _ in expected}
    assert {(entry["facet"], entry["facet_value"], entry["constraint_check_type"]) for entry in violations} == {
        ("sex", "0", "bias_drift_check")
    }
