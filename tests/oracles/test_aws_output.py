"""Compares output of AWS's own analyzer with ours (issue 8, 4.6): every figure whose data is known.

tests/data/aws-output contains files that AWS's analyzer wrote, found in public repositories, with their
data if that is public, too. If only figures are public, the smallest data with these figures is
generated here ("rebuilt"). CANNOT lists what cannot be reproduced, and why; a file that is neither read
by a test nor listed there is a failure.
"""

import csv
import gzip
import json
import math
import random
import re
from pathlib import Path

import pytest

AWS = Path(__file__).parent.parent / "data" / "aws-output"

# File -> the part that cannot be reproduced.
CANNOT = {
    "clarify/adult-shap/analysis.json": "the model is not public: layout alone, in "
    "crates/validation/src/attribution/tests.rs",
    "clarify/adult-shap/analysis-json-format.json": "as above",
    "clarify/fraud/explainability-analysis.json": "as above",
    "clarify/weather-shap-drift/analysis-baseline.json": "as above",
    "clarify/weather-shap-drift/constraint_violations.json": "the live attributions are not public: "
    "the text alone, in crates/validation/src/attribution/drift.rs",
    "data-quality/cardio/statistics-engineered.json.gz": "the columns' data is not public; read and "
    "written back, and its suggestions are compared, in crates/validation/src/files.rs",
    "data-quality/cardio/constraints-engineered.json": "as above",
    "data-quality/telco/statistics-first-10.txt": "the 3,899 customers are not public: the counts alone",
    "data-quality/telco/violations.txt": "the distance of one column, for the same reason",
    "data-quality/churn/violations-first-10.txt": "the traffic is not public: the shares and texts alone",
    "data-quality/churn/violations-rjeks.txt": "as above",
    "data-quality/airline-delay/reports-printed.txt": "the data is not public and the print is cut: texts, "
    "and the one column whose buckets are whole; not its sketch, whose order is not known",
    "data-quality/reviews/statistics.txt": "review_body's 32,882 texts are not public",
    "data-quality/reviews/constraints.txt": "as above",
    "captured-data/from-notebooks/aws-76.jsonl": "a batch transform's output merged with ground truth: "
    "model quality's input, not captured traffic; see test_model_quality.py",
}
# Nested captured JSON. AWS's analyzer rejects it, too ("We currently only support flat json at the
# moment"); our message names the member, and the fix.
NESTED = {
    "captured-data/from-notebooks/aws-47.jsonl",
    "captured-data/from-notebooks/prisze-87.jsonl",
    "captured-data/from-notebooks/prisze-88.jsonl",
    "captured-data/from-notebooks/t4ai-33.jsonl",
    "captured-data/from-notebooks/t4ai-34.jsonl",
    "captured-data/json-array-input/26-34-845.jsonl.gz",
}
# Not in the list at all: model-quality (see test_model_quality.py); clarify is compared by unit tests of
# crates/validation.

# AWS estimates distinct counts (512 registers, 5 %); ours are exact up to 1,024. They decide
# nothing.
ESTIMATE = 0.1


def text(name):
    raw = (AWS / name).read_bytes()
    return (gzip.decompress(raw) if name.endswith(".gz") else raw).decode()


def features(document):
    return {feature["name"]: feature for feature in document["features"]}


def same_statistics(ours, aws):
    """Checks every member that AWS wrote; sums and moments up to the order of additions."""
    assert ours["inferred_type"] == aws["inferred_type"]
    ours, aws = ours["numerical_statistics"], aws["numerical_statistics"]
    for member, value in aws.items():
        if member == "approximate_num_distinct_values":
            assert abs(ours[member] - value) <= ESTIMATE * value, member
        elif member == "distribution":
            same_sketch(ours[member]["kll"], value["kll"])
        elif member in ("mean", "sum", "std_dev"):
            assert math.isclose(ours[member], value, rel_tol=1e-9, abs_tol=1e-12), member
        else:
            assert ours[member] == value, member


def same_sketch(ours, aws):
    assert ours["sketch"] == aws["sketch"]
    for one, other in zip(ours["buckets"], aws["buckets"], strict=True):
        assert one["count"] == other["count"]
        for bound in ("lower_bound", "upper_bound"):
            assert math.isclose(one[bound], other[bound], rel_tol=1e-12), bound


def printed(name):
    """Parses a pandas table printed in a notebook, by row; columns are at least as wide as their names."""
    rows = {}
    header = None
    for line in text(name).splitlines():
        line = line.removesuffix("\\").rstrip()
        number = re.match(r"\d+ ", line)
        if number is None:
            ends = [(m.group(), m.end()) for m in re.finditer(r"\S+", line)]
            header = ends if line.startswith("  ") and "." in line or "name" in line else header
            continue
        row, start = rows.setdefault(int(number.group()), {}), number.end() - 1
        for column, end in header:
            row[column], start = line[start:end].strip(), end
    return list(rows.values())


def close(ours, shown):
    """Returns whether a number matches the printed one, to its last digit."""
    digits = len(shown.partition(".")[2])
    return abs(ours - float(shown)) <= 0.51 * 10**-digits


def same_print(ours, row):
    """Parses the figures of one printed line."""
    assert row["inferred_type"] == ours["inferred_type"]
    numbers = ours["numerical_statistics"]
    for name, shown in row.items():
        group, _, member = name.partition(".")
        if group != "numerical_statistics" or shown == "NaN":
            continue
        value = numbers
        for step in member.split("."):
            value = value[step]
        if isinstance(value, int | float):
            assert close(value, shown), (name, value, shown)
        elif member.endswith("buckets"):
            first = {f"'{key}': {value[0][key]}" for key in ("lower_bound", "upper_bound")}
            whole = [part.strip(" [{") for part in shown.split(",")[:1]]
            assert set(whole) <= first, shown
        elif member.endswith("data"):
            items = [float(item) for item in shown.strip("[ .").split(",") if item.strip(" .")]
            # The last one may be truncated.
            assert value[0][: len(items) - 1] == items[:-1], shown


def violations(validate, data, base="base"):
    known = [f"--constraints={base}/constraints.json", f"--statistics={base}/statistics.json"]
    validate.run(data, *known, "--output-dir", "out", code=(0, 3))
    return validate.read("out/constraint_violations.json")["violations"]


def printed_violations(name):
    """Parses column, check and description of every printed violation."""
    checks, texts = {}, {}
    for line in text(name).splitlines():
        if match := re.match(r"(\d+)\s+(.+?)\s+(\w+_check)\s*$", line):
            checks[int(match[1])] = (match[2], match[3])
        elif match := re.match(r"(\d+)\s+(\S.*?)\s*$", line):
            texts[int(match[1])] = match[2]
    assert checks and checks.keys() == texts.keys(), name
    return [(*checks[index], texts[index]) for index in sorted(checks)]


# ---- data that is public ----


def test_cardio(validate):
    aws = features(json.loads(text("data-quality/cardio/statistics.json.gz")))
    constraints = json.loads(text("data-quality/cardio/constraints.json"))
    found, suggested = {}, {}
    for part in (
        "data-quality/cardio/baseline-columns-1.csv.gz",
        "data-quality/cardio/baseline-columns-2.csv.gz",
        "data-quality/cardio/baseline-columns-3.csv.gz",
    ):
        statistics, ours = validate.suggest(AWS / part)
        assert statistics["dataset"]["item_count"] == 68_385
        assert ours["monitoring_config"] == constraints["monitoring_config"]
        found |= features(statistics)
        suggested |= features(ours)
    assert len(aws) == 7 and found.keys() == aws.keys()
    for name, feature in aws.items():
        same_statistics(found[name], feature)
    assert suggested == features(constraints)


def test_ames_housing(validate):
    aws = json.loads(text("data-quality/ames-housing/statistics.json.gz"))
    constraints = json.loads(text("data-quality/ames-housing/constraints.json"))
    data = AWS / "data-quality/ames-housing/rebuilt-from-sketch.csv.gz"
    statistics, suggested = validate.suggest(data)
    assert statistics["dataset"] == aws["dataset"]
    assert [f["name"] for f in statistics["features"]] == [f["name"] for f in aws["features"]]
    assert len(aws["features"]) == 187
    for ours, theirs in zip(statistics["features"], aws["features"], strict=True):
        same_statistics(ours, theirs)
    assert suggested["features"] == constraints["features"]
    assert violations(validate, data) == []


def test_churn(validate):
    constraints = json.loads(text("data-quality/churn/constraints.json"))
    data = AWS / "data-quality/churn/baseline.csv.gz"
    statistics, suggested = validate.suggest(data)
    assert len(constraints["features"]) == 70
    assert suggested["features"] == constraints["features"]
    found = features(statistics)
    rows = printed("data-quality/churn/statistics-first-10.txt")
    assert len(rows) == 10
    for row in rows:
        same_print(found[row["name"]], row)
    assert violations(validate, data) == []


# ---- figures that determine their data ----


def table(validate, name, header, rows):
    with (validate.directory / name).open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return name


@pytest.mark.parametrize(
    "name, rows, share",
    [
        ("data-quality/churn/violations-first-10.txt", 1_977, 1_970),
        ("data-quality/churn/violations-rjeks.txt", 959, 955),
    ],
)
def test_churn_violations(validate, name, rows, share):
    """Rebuilt: columns of whole numbers with the reported share of exceptions."""
    aws = printed_violations(name)
    columns = [column for column, _, _ in aws]
    baseline = [[index % 2] * len(columns) for index in range(rows)]
    validate.suggest(table(validate, "good.csv", columns, baseline))
    # Churn contains the prediction, which is never whole.
    data = [
        [0.25 if column == "Churn" or row >= share else row % 2 for column in columns] for row in range(rows)
    ]
    ours = violations(validate, table(validate, "today.csv", columns, data))
    assert sorted((v["feature_name"], v["constraint_check_type"], v["description"]) for v in ours) == sorted(aws)


def telco():
    """Rebuilt: customers with the types, ranges and counts of AWS's figures, and traffic in which every
    value is shifted by one column, as in the captured records."""
    draw = random.Random(8)
    ones = ["Gender_Female", "Gender_Male", "Partner_No", "Partner_Yes", "Dependents_No"]
    names = ["Senior Citizen", "Tenure", "Monthly Charges", "Total Charges", "Churn", *ones]
    customers = []
    for index in range(3_899):
        tenure, monthly = draw.randint(1, 72), draw.randint(1_875, 11_865) / 100
        total = "" if index % 1_000 == 7 else f"{tenure * monthly + 0.05:.2f}"
        senior, churn = int(draw.random() < 0.162), int(draw.random() < 0.264)
        # pandas writes whole numbers of a float column as "20.0".
        customers.append([senior, tenure, monthly, total, churn, *[draw.randint(0, 1) for _ in ones]])
    traffic = []
    for index, row in enumerate(customers[:708]):
        senior, tenure, monthly, total, _, *rest = row
        total = "" if index == 100 else (total or "18.85")
        traffic.append([draw.random(), senior, tenure, monthly, total, *rest])
    return names, customers, traffic


def test_telco(validate):
    names, customers, traffic = telco()
    statistics, suggested = validate.suggest(table(validate, "good.csv", names, customers))
    rows = printed("data-quality/telco/statistics-first-10.txt")
    counts = ("num_present", "num_missing")
    for row in rows:
        found = features(statistics)[row["name"]]
        assert found["inferred_type"] == row["inferred_type"]
        common = found["numerical_statistics"]["common"]
        for count in counts:
            assert common[count] == int(row[f"numerical_statistics.common.{count}"])
    for row in printed("data-quality/telco/constraints-first-10.txt"):
        found = features(suggested)[row["name"]]
        assert found["inferred_type"] == row["inferred_type"]
        assert close(found["completeness"], row["completeness"])
        assert str(found["num_constraints"]["is_non_negative"]) == row["num_constraints.is_non_negative"]
    assert features(suggested)["Total Charges"]["completeness"] == 3_895 / 3_899

    aws = printed_violations("data-quality/telco/violations.txt")
    ours = violations(validate, table(validate, "today.csv", names, traffic))
    ours = [(v["feature_name"], v["constraint_check_type"], v["description"]) for v in ours]
    # By check; within a check, AWS has no order of columns.
    assert [check for _, check, _ in ours] == [check for _, check, _ in aws]
    assert sorted(ours[:-1]) == sorted(aws[:-1])
    distance = re.compile(r"Baseline drift distance: 0\.\d{10,} exceeds threshold: 0\.1")
    for column, check, description in (ours[-1], aws[-1]):
        assert (column, check) == ("Total Charges", "baseline_drift_check")
        assert distance.fullmatch(description)


def airline():
    """Parses the printed JSON documents, which may be truncated, by file name."""
    found = {}
    for part in text("data-quality/airline-delay/reports-printed.txt").split("NEW REPORT  ")[1:]:
        address, _, rest = part.partition("\n")
        found[address.rsplit("/", 1)[1].strip()] = rest
    return found


def test_airline_delay_texts(validate):
    """Rebuilt: 303 rows, three of which have missing values or whole numbers."""
    shown = airline()["constraint_violations.json"]
    members = r'"feature_name": "(.*)",\s+"constraint_check_type": "(.*)",\s+"description": "(.*)"'
    aws = re.findall(members, shown)
    assert len(aws) >= 12
    columns = sorted({column for column, _, _ in aws})
    checks = {(column, check): description for column, check, description in aws}
    whole = {column: "Integral" in checks.get((column, "data_type_check"), "") for column in columns}
    good = [[row if whole[column] else row + 0.5 for column in columns] for row in range(303)]
    validate.suggest(table(validate, "good.csv", columns, good))

    def cell(row, column):
        missing = (column, "completeness_check") in checks and row % 101 == 7
        if missing:
            return ""
        if whole[column]:
            return row + 0.5
        return row if (column, "data_type_check") in checks and row % 101 == 7 else row + 0.5

    data = [[cell(row, column) for column in columns] for row in range(303)]
    ours = violations(validate, table(validate, "today.csv", columns, data))
    assert sorted((v["feature_name"], v["constraint_check_type"], v["description"]) for v in ours) == sorted(aws)


def test_airline_delay_statistics(validate):
    """Rebuilt from the buckets of `year`, which contains the predictions 0.0 to 3.0."""
    shown = airline()["statistics.json"]
    buckets = [
        {"lower_bound": float(low), "upper_bound": float(high), "count": float(count)}
        for low, high, count in re.findall(
            r'"lower_bound": (.*),\s+"upper_bound": (.*),\s+"count": (.*)', shown
        )
    ]
    assert len(buckets) == 10
    # Whole values: the one in the bucket.
    values = [
        math.ceil(bucket["lower_bound"] - 1e-9) if index < 9 else 3.0
        for index, bucket in enumerate(buckets)
        for _ in range(int(bucket["count"]))
    ]
    data = table(validate, "year.csv", ["year"], [[float(value)] for value in values])
    statistics, suggested = validate.suggest(data)
    assert statistics["dataset"]["item_count"] == int(re.search(r'"item_count": (\d+)', shown)[1])
    ours = statistics["features"][0]
    assert ours["inferred_type"] == re.search(r'"inferred_type": "(\w+)"', shown)[1]
    numbers = ours["numerical_statistics"]
    for member in ("mean", "sum", "std_dev", "min", "max", "approximate_num_distinct_values", "completeness"):
        assert math.isclose(numbers[member], float(re.search(rf'"{member}": (.*),', shown)[1]), rel_tol=1e-12)
    for one, other in zip(numbers["distribution"]["kll"]["buckets"], buckets, strict=True):
        assert one["count"] == other["count"]
        assert math.isclose(one["lower_bound"], other["lower_bound"], rel_tol=1e-12)
    # The first feature of the run's own constraints.
    first = re.search(r'\{\s+"name": "year".*?\n    \}', airline()["constraints.json"], re.S)[0]
    assert suggested["features"][0] == json.loads(first)


def test_nutriscore(validate):
    aws = printed_violations("data-quality/nutriscore/violations.txt")
    names = [f"c{index}" for index in range(23)]
    validate.suggest(table(validate, "good.csv", names[:22], [[1] * 22]))
    ours = violations(validate, table(validate, "today.csv", names, [[1] * 23]))
    assert [(v["feature_name"], v["constraint_check_type"], v["description"]) for v in ours] == aws


def test_reviews(validate):
    """Rebuilt: mean 3 and deviation 1.414214 of the values 1 to 5 in 34,450 rows mean a fifth of each."""
    (stars, body) = printed("data-quality/reviews/statistics.txt")
    rows = int(float(stars["numerical_statistics.common.num_present"]))
    data = [[1 + index % 5, f"text {index}"] for index in range(rows)]
    statistics, suggested = validate.suggest(table(validate, "good.csv", ["star_rating", "review_body"], data))
    found = features(statistics)
    same_print(found["star_rating"], {k: v for k, v in stars.items() if not k.endswith("data")})
    strings = found["review_body"]["string_statistics"]
    assert found["review_body"]["inferred_type"] == body["inferred_type"]
    for count in ("num_present", "num_missing"):
        assert strings["common"][count] == float(body[f"string_statistics.common.{count}"])
    assert "distribution" not in strings
    for row, ours in zip(printed("data-quality/reviews/constraints.txt"), suggested["features"], strict=True):
        assert (ours["name"], ours["inferred_type"]) == (row["name"], row["inferred_type"])
        assert ours["completeness"] == float(row["completeness"])
        assert str(ours.get("num_constraints", {}).get("is_non_negative", "NaN")) == row[
            "num_constraints.is_non_negative"
        ]
        assert "string_constraints" not in ours


def test_columns_without_a_header(validate):
    """Rebuilt: two columns of numbers, some below 0, captured without a header."""
    constraints = json.loads(text("data-quality/no-header/constraints.json"))
    lines = [
        {"captureData": {"endpointInput": {"data": f"{0.5 - index},{1.25 - index}", "encoding": "CSV"}}}
        for index in range(9)
    ]
    data = validate.directory / "today.jsonl"
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    _, suggested = validate.suggest(data)
    assert suggested == constraints


# ---- captured traffic ----

CAPTURED = sorted(str(file.relative_to(AWS)) for file in AWS.glob("captured-data/*/*.jsonl*"))


@pytest.mark.parametrize("name", [*CAPTURED, "data-quality/telco/captured.jsonl"])
def test_captured_traffic_is_read(validate, name):
    """Checks that there are as many columns as values, and at least one row per record."""
    records = [json.loads(line) for line in text(name).splitlines() if line.strip()]
    refused = name in CANNOT or name in NESTED
    arguments = ("--suggest", AWS / name, "--format", "capture", "--output-dir", "base")
    error = validate.run(*arguments, code=1 if refused else 0)
    if name in NESTED:
        assert re.search(r"line 1: endpoint(In|Out)put: .*is nested here: flatten it", error)
    if refused:
        return
    statistics = validate.read("base/statistics.json")
    assert statistics["dataset"]["item_count"] >= len(records)
    first = records[0]["captureData"]
    sides = [first[side] for side in ("endpointOutput", "endpointInput") if side in first]
    if all(side["encoding"] == "CSV" and "\n" not in side["data"].strip() for side in sides):
        cells = sum(len(next(csv.reader([side["data"].strip()]))) for side in sides)
        assert len(statistics["features"]) == cells


def test_every_file_is_covered():
    """Checks that every file is used by a test, or listed in CANNOT."""
    files = {str(file.relative_to(AWS)) for file in AWS.rglob("*") if file.is_file() and file.suffix != ".md"}
    files = {file for file in files if not file.startswith("model-quality/")}
    here = Path(__file__).read_text()
    assert len(files) > 50
    elsewhere = {file for file in files if file.startswith("clarify/")} | set(CAPTURED)
    assert {file for file in files - elsewhere if f'"{file}"' not in here} == set()
    assert CANNOT.keys() <= files
