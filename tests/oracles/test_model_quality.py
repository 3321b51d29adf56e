"""Compares model quality with scikit-learn, and with AWS's own figures (tests/data/aws-output/model-quality).

`mlops analyze` runs by the contract of an analyzer's container: its settings are environment variables. What
agrees with AWS, and how closely:
- binary-churn: every metric to the last digit but its standard deviations (AWS's samples are not known),
  the constraints, and the number of points of the curves.
- binary-internet-churn, binary-maintenance, binary-no-probability, binary-toxicity: the constraints, to the
  six digits that are public, of the smallest data with AWS's counts (no probabilities, so no auc).
- Violations of four runs: names, texts, order (crates/validation/src/quality/tests.rs: the data is not public).
- multiclass-text, regression-nutriscore, regression-sales: names, order and operators alone; the data is
  not public.
"""

import csv
import json
import math
import os
import random
import subprocess
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics

AWS = Path(__file__).parent.parent / "data" / "aws-output" / "model-quality"
THRESHOLD = 0.5
# A standard deviation of five samples is within these factors of its expected value, nearly always.
LEAST, MOST = 0.15, 3.0


class Analyzer:
    """Runs `mlops analyze` (MLOPS_BIN) with a base directory of its own in place of /opt/ml."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.data = directory / "processing" / "input"
        self.output = directory / "processing" / "output"
        self.data.mkdir(parents=True)

    def run(self, code=0, **variables):
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "SAGEMAKER_BASE_DIR": str(self.directory),
            "analysis_type": "MODEL_QUALITY",
            "dataset_format": '{"csv":{"header":true}}',
            "dataset_source": "/opt/ml/processing/input",
            "output_path": "/opt/ml/processing/output",
            "publish_cloudwatch_metrics": "Disabled",
            **variables,
        }
        done = subprocess.run(
            [os.environ["MLOPS_BIN"], "analyze"],
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def read(self, name):
        return json.loads((self.output / name).read_text())

    def table(self, columns):
        with (self.data / "data.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))

    def metrics(self, kind, **variables):
        self.run(ground_truth_attribute="label", **variables)
        return self.read("statistics.json")[f"{kind}_metrics"]


@pytest.fixture
def analyzer(tmp_path):
    return Analyzer(tmp_path)


def same(ours, expected, rel=1e-12):
    for name, value in expected.items():
        assert math.isclose(ours[name]["value"], value, rel_tol=rel, abs_tol=1e-15), name


def plausible(ours, compute, rows):
    """Compares each standard deviation with the expected one, by 30 samples of 80 %."""
    draw = np.random.default_rng(8)
    samples = [compute(np.flatnonzero(draw.random(rows) < 0.8)) for _ in range(30)]
    for name in samples[0]:
        expected = np.std([sample[name] for sample in samples])
        assert LEAST * expected < ours[name]["standard_deviation"] < MOST * expected, name


def of_binary(labels, predictions, scores=None):
    true_negative, false_positive, false_negative, true_positive = metrics.confusion_matrix(
        labels, predictions, labels=[0, 1]
    ).ravel()
    found = {
        "recall": metrics.recall_score(labels, predictions),
        "precision": metrics.precision_score(labels, predictions, zero_division=0),
        "accuracy": metrics.accuracy_score(labels, predictions),
        "true_positive_rate": true_positive / (true_positive + false_negative),
        "true_negative_rate": true_negative / (true_negative + false_positive),
        "false_positive_rate": false_positive / (true_negative + false_positive),
        "false_negative_rate": false_negative / (true_positive + false_negative),
        "f0_5": metrics.fbeta_score(labels, predictions, beta=0.5, zero_division=0),
        "f1": metrics.f1_score(labels, predictions, zero_division=0),
        "f2": metrics.fbeta_score(labels, predictions, beta=2, zero_division=0),
    }
    if scores is not None:
        found["auc"] = metrics.roc_auc_score(labels, scores)
        precisions, recalls, _ = metrics.precision_recall_curve(labels, scores)
        # Spark's curve begins with the first precision, scikit-learn's with 1.
        precisions[-1] = precisions[-2]
        found["au_prc"] = metrics.auc(recalls, precisions)
    return found


def of_multiclass(labels, predictions):
    average = {"average": "weighted", "zero_division": 0}
    return {
        "accuracy": metrics.accuracy_score(labels, predictions),
        "weighted_recall": metrics.recall_score(labels, predictions, **average),
        "weighted_precision": metrics.precision_score(labels, predictions, **average),
        "weighted_f0_5": metrics.fbeta_score(labels, predictions, beta=0.5, **average),
        "weighted_f1": metrics.f1_score(labels, predictions, **average),
        "weighted_f2": metrics.fbeta_score(labels, predictions, beta=2, **average),
    }


def of_regression(labels, predictions):
    return {
        "mae": metrics.mean_absolute_error(labels, predictions),
        "mse": metrics.mean_squared_error(labels, predictions),
        "rmse": metrics.root_mean_squared_error(labels, predictions),
        "r2": metrics.r2_score(labels, predictions),
    }


def constant(found):
    return {f"{name}_best_constant_classifier": value for name, value in found.items()}


# ---- scikit-learn ----


@pytest.mark.parametrize("digits", [2, 15])
def test_binary(analyzer, digits):
    draw = np.random.default_rng(1)
    scores = np.round(draw.beta(1, 3, 5_000), digits)
    labels = (draw.random(5_000) < scores).astype(int)
    predictions = (scores > 0.4).astype(int)
    analyzer.table({"score": scores.tolist(), "label": labels.tolist()})
    ours = analyzer.metrics(
        "binary_classification",
        problem_type="BinaryClassification",
        probability_attribute="score",
        probability_threshold_attribute="0.4",
    )
    same(ours, of_binary(labels, predictions, scores))
    names = ("recall", "precision", "accuracy", "f0_5", "f1", "f2")
    found = of_binary(labels, np.zeros_like(labels))
    same(ours, constant({name: found[name] for name in names}))
    plausible(ours, lambda rows: of_binary(labels[rows], predictions[rows], scores[rows]), 5_000)
    counts = metrics.confusion_matrix(labels, predictions)
    matrix = {str(a): {str(b): int(counts[a, b]) for b in (0, 1)} for a in (0, 1)}
    assert ours["confusion_matrix"] == matrix
    roc = ours["receiver_operating_characteristic_curve"]
    rates = metrics.roc_curve(labels, scores, drop_intermediate=False)
    if digits == 2:
        assert np.allclose(roc["false_positive_rates"], [*rates[0], 1.0], rtol=1e-12)
        assert np.allclose(roc["true_positive_rates"], [*rates[1], 1.0], rtol=1e-12)
    else:
        # Every fifth of 5,000 thresholds.
        assert len(roc["false_positive_rates"]) == 1_002
        assert np.allclose(roc["true_positive_rates"][:-1], rates[1][::5], rtol=1e-12)


def test_multiclass(analyzer):
    draw = np.random.default_rng(2)
    names = np.array(["ant", "bee", "cat", "dog"])
    labels = names[draw.choice(4, 3_000, p=[0.1, 0.2, 0.3, 0.4])]
    predictions = np.where(draw.random(3_000) < 0.7, labels, names[draw.choice(3, 3_000)])
    analyzer.table({"label": labels.tolist(), "prediction": predictions.tolist()})
    ours = analyzer.metrics(
        "multiclass_classification",
        problem_type="MulticlassClassification",
        inference_attribute="prediction",
    )
    same(ours, of_multiclass(labels, predictions))
    values, counts = np.unique(predictions, return_counts=True)
    most = np.full(3_000, values[np.argmax(counts)])
    same(ours, constant(of_multiclass(labels, most)))
    plausible(ours, lambda rows: of_multiclass(labels[rows], predictions[rows]), 3_000)


def test_regression(analyzer):
    draw = np.random.default_rng(3)
    labels = draw.normal(1e6, 3, 4_000)
    predictions = labels + draw.laplace(0.1, 1, 4_000)
    analyzer.table({"prediction": predictions.tolist(), "label": labels.tolist()})
    ours = analyzer.metrics("regression", problem_type="Regression", inference_attribute="prediction")
    same(ours, of_regression(labels, predictions), rel=1e-9)
    plausible(ours, lambda rows: of_regression(labels[rows], predictions[rows]), 4_000)


# ---- merged traffic ----


def merged(identifier, output, label):
    return {
        "captureData": {"endpointOutput": {"data": output, "encoding": "CSV", "mode": "OUTPUT"}},
        "groundTruthData": {"data": label, "encoding": "CSV"},
        "eventMetadata": {"eventId": identifier, "inferenceTime": "2026-11-01T10:30:00Z"},
        "eventVersion": "0",
    }


def test_merged_traffic(analyzer):
    """Reads what AWS's merge job writes, in a container whose environment is that of a real job."""
    draw = random.Random(4)
    scores = [draw.random() for _ in range(600)]
    labels = [int(draw.random() < score) for score in scores]
    with (analyzer.data / "merged.jsonl").open("w") as file:
        for index in range(0, 600, 3):
            rows = slice(index, index + 3)
            output, label = ("\n".join(map(str, column[rows])) for column in (scores, labels))
            file.write(json.dumps(merged(str(index), output, label)) + "\n")
    analyzer.run(
        dataset_format='{"sagemakerMergeJson":{"captureIndexNames":["endpointOutput"]}}',
        problem_type="BinaryClassification",
        probability_attribute="0",
        probability_threshold_attribute="0.500000",
        start_time="2026-11-01T10:00:00Z",
        end_time="2026-11-01T11:00:00Z",
    )
    statistics = analyzer.read("statistics.json")
    assert statistics["dataset"]["item_count"] == 600
    predictions = [int(score > THRESHOLD) for score in scores]
    same(statistics["binary_classification_metrics"], of_binary(labels, predictions, scores))


# ---- AWS's figures ----


def constraints(name):
    return json.loads((AWS / name / "constraints-printed.json").read_text())["binary_classification_constraints"]


def printed(limits):
    """Rounds thresholds to the six digits that pandas prints."""
    for limit in limits.values():
        if limit["threshold"] is not None:
            limit["threshold"] = round(limit["threshold"], 6)
    return list(limits.items())


def test_binary_churn(analyzer):
    data = (AWS / "binary-churn" / "predictions-and-labels.csv").read_text()
    (analyzer.data / "data.csv").write_text(data)
    ours = analyzer.metrics(
        "binary_classification",
        problem_type="BinaryClassification",
        inference_attribute="prediction",
        probability_attribute="probability",
    )
    assert ours["confusion_matrix"] == {"0": {"0": 173, "1": 0}, "1": {"0": 12, "1": 16}}
    expected = {"auc": 0.9395127993393898, "recall": 0.5714285714285714, "accuracy": 0.9402985074626866}
    expected |= {"f1": 0.7272727272727273, "f2": 0.625, "false_negative_rate": 0.4285714285714286}
    for name, value in expected.items():
        assert ours[name]["value"] == value, name
    rows = list(csv.DictReader(data.splitlines()))
    labels, predictions = ([int(row[name]) for row in rows] for name in ("label", "prediction"))
    same(ours, of_binary(labels, predictions, [float(row["probability"]) for row in rows]))
    suggested = analyzer.read("constraints.json")["binary_classification_constraints"]
    assert printed(suggested) == list(constraints("binary-churn").items())


@pytest.mark.parametrize(
    "name, counts",
    [
        ("binary-internet-churn", [87, 5, 20, 89]),
        ("binary-maintenance", [0, 0, 1, 200]),
        ("binary-no-probability", [0, 46, 0, 68]),
        ("binary-toxicity", [101, 4, 68, 28]),
    ],
)
def test_constraints(analyzer, name, counts):
    """Rebuilt: the numbers of true negatives, false positives, false negatives and true positives."""
    rows = [cell for cell, count in enumerate(counts) for _ in range(count)]
    analyzer.table({"prediction": [row % 2 for row in rows], "label": [row // 2 for row in rows]})
    analyzer.metrics(
        "binary_classification", problem_type="BinaryClassification", inference_attribute="prediction"
    )
    suggested = analyzer.read("constraints.json")["binary_classification_constraints"]
    expected = constraints(name)
    expected.pop("auc", None)
    assert printed(suggested) == list(expected.items())


def test_violations(analyzer):
    """Checks against a baseline whose recall, accuracy and f0_5 are better; AWS never lists f0_5."""
    rows = [0] * 150 + [1] * 20 + [2] * 30 + [3] * 50
    analyzer.table({"prediction": [row % 2 for row in rows], "label": [row // 2 for row in rows]})
    limit = {"threshold": 0.9, "comparison_operator": "LessThanThreshold"}
    below = {"threshold": 0.2, "comparison_operator": "GreaterThanThreshold"}
    limits = {"recall": limit, "f0_5": limit, "false_positive_rate": below, "accuracy": limit}
    baseline = analyzer.directory / "constraints.json"
    baseline.write_text(json.dumps({"version": 0.0, "binary_classification_constraints": limits}))
    ours = analyzer.metrics(
        "binary_classification",
        problem_type="BinaryClassification",
        inference_attribute="prediction",
        baseline_constraints=str(baseline),
    )
    found = analyzer.read("constraint_violations.json")["violations"]
    assert [violation["metric_name"] for violation in found] == ["accuracy", "recall"]
    text = found[1]["description"]
    deviation = ours["recall"]["standard_deviation"]
    assert text == f"Metric recall with 0.625 +/- {deviation} was LessThanThreshold '0.9'"


def test_every_file_is_known():
    """Checks that no file of AWS is without a test here or in crates/validation."""
    known = {"constraints-printed.json", "violations-printed.txt", "predictions-and-labels.csv"}
    known |= {"statistics-example.json"}
    files = {file.name for file in AWS.rglob("*") if file.is_file() and file.suffix != ".md"}
    assert files == known
