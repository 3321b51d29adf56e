"""`mlops validate --on spark` with a real Spark in local[2] mode, compared with a local validation.

.ci/run sets MLOPS_SPARK_PYTHON to a Python with pyspark.
"""

import bisect
import itertools
import json
import os
import random
import subprocess

import pytest

BIN = os.path.abspath(os.environ.get("MLOPS_BIN", "target/debug/mlops"))
ROWS = 30_000
# Several partitions per file, although the files are small.
SMALL = "spark.hadoop.mapreduce.input.fileinputformat.split.maxsize=300000"


def environment():
    kept = {key: value for key, value in os.environ.items() if key != "SPARK_HOME"}
    return {**kept, "MLOPS_PYTHON": os.environ["MLOPS_SPARK_PYTHON"]}


def mlops(*arguments, cwd, spark=False, **kwargs):
    command = [BIN, "validate", *map(str, arguments), "--output", "json"]
    if spark:
        command += ["--on", "spark", "--spark-conf", "spark.master=local[2]"]
        command += ["--spark-conf", SMALL, "--spark-conf", "spark.driver.host=127.0.0.1"]
        command += ["--spark-conf", "spark.ui.enabled=false"]
    return subprocess.run(
        command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=600, **kwargs
    )


def rows(seed, shift=0.0, new_kind="c"):
    """Returns cells as text: numbers with nulls, an integer, a category, an identifier, a flag."""
    draw = random.Random(seed)
    for i in range(ROWS):
        number = "" if draw.random() < 0.02 else f"{draw.gauss(10, 3) + shift:.4f}"
        kind = draw.choice(["a", "b", new_kind])
        yield [number, str(draw.randrange(100)), kind, f"id-{draw.randrange(10**9)}", "true"]


HEADER = ["number", "whole", "kind", "id", "flag"]


def write_csv(path, table):
    with open(path, "w", newline="") as file:
        file.write(",".join(HEADER) + "\n")
        file.writelines(",".join(row) + "\n" for row in table)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Creates a directory with a baseline, and data that differs from it, in three CSV files."""
    directory = tmp_path_factory.mktemp("spark")
    (directory / "old").mkdir()
    write_csv(directory / "old/old.csv", rows(1))
    made = mlops("old", "--suggest", "--output-dir", "baseline", cwd=directory)
    assert made.returncode == 0, made.stderr
    (directory / "data").mkdir()
    table = list(rows(2, shift=4.0, new_kind="new"))
    for i in range(3):
        write_csv(directory / f"data/{i}.csv", table[i * ROWS // 3 : (i + 1) * ROWS // 3])
    return directory


BASELINE = ["--constraints", "baseline/constraints.json", "--statistics", "baseline/statistics.json"]


def ranks(feature, items):
    """Computes the share of values up to each item from the sketch's levels."""
    levels = feature["numerical_statistics"]["distribution"]["kll"]["sketch"]["data"]
    held = sorted((item, 2**height) for height, level in enumerate(levels) for item in level)
    sums = list(itertools.accumulate(weight for _, weight in held))
    values = [item for item, _ in held]
    return [sums[i - 1] / sums[-1] if (i := bisect.bisect_right(values, item)) else 0 for item in items]


def assert_same(directory, data, *more):
    """Checks that Spark's verdict and statistics equal those of a local validation."""
    found = {}
    for where, spark in (("here", False), ("spark", True)):
        flags = [*data, *BASELINE, "--output-dir", f"out-{where}", *(more if spark else ())]
        done = mlops(*flags, cwd=directory, spark=spark)
        assert done.returncode == 3, done.stderr
        statistics = json.loads((directory / f"out-{where}/statistics.json").read_text())
        found[where] = json.loads(done.stdout), statistics
    (expected, one), (report, other) = found["here"], found["spark"]
    kinds = lambda r: [(v["feature_name"], v["constraint_check_type"]) for v in r["violations"]]
    assert kinds(report) == kinds(expected) != []
    assert {"baseline_drift_check", "categorical_values_check"} <= {kind for _, kind in kinds(report)}
    assert (report["rows"], report["columns"]) == (expected["rows"], expected["columns"])
    assert other["dataset"] == one["dataset"]
    for a, b in zip(one["features"], other["features"], strict=True):
        assert (a["name"], a["inferred_type"]) == (b["name"], b["inferred_type"])
        key = "numerical_statistics" if "numerical_statistics" in a else "string_statistics"
        assert a[key]["common"] == b[key]["common"], a["name"]
        if key == "string_statistics":
            assert b[key]["distinct_count"] == a[key]["distinct_count"]
            assert b[key].get("distribution") == a[key].get("distribution")
            continue
        for exact in ("min", "max"):
            assert a[key][exact] == b[key][exact]
        for close in ("mean", "sum", "std_dev"):
            assert b[key][close] == pytest.approx(a[key][close], rel=1e-9)
        low, high = a[key]["min"], a[key]["max"]
        items = [low + (high - low) * i / 500 for i in range(501)]
        first, second = ranks(a, items), ranks(b, items)
        assert max(abs(x - y) for x, y in zip(first, second)) <= 0.01, a["name"]
    return report


def test_csv_files_are_read_in_partitions(here):
    report = assert_same(here, ["data"])
    assert report["rows"] == ROWS


def test_parquet_and_its_partitions(here):
    program = """
import pyspark.sql
spark = pyspark.sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
spark = spark.config("spark.driver.host", "127.0.0.1").getOrCreate()
kinds = "number double, whole int, kind string, id string, flag boolean"
table = spark.read.csv("data", header=True, schema=kinds)
table = table.selectExpr("*", "timestamp_micros(whole * 1000001) at", "date_add('2026-01-01', whole) day",
                         "cast(whole as float) / 10 single", "whole % 2 part")
table.repartition(4).write.partitionBy("part").parquet("parquet")
"""
    python = os.environ["MLOPS_SPARK_PYTHON"]
    done = subprocess.run(
        [python, "-c", program], cwd=here, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    report = assert_same(here, ["parquet"])
    assert (report["rows"], report["columns"]) == (ROWS, 9)
    some = sorted((here / "parquet/part=0").glob("*.parquet"))
    refused = mlops(some[0], "--profile-out", "p", cwd=here, spark=True)
    assert refused.returncode == 2, refused.stderr
    assert "complete directory: pass " in refused.stderr and "parquet" in refused.stderr


def test_a_bad_row_is_one_error_with_its_file(here):
    (here / "bad").mkdir()
    lines = (here / "data/1.csv").read_text().splitlines(keepends=True)
    (here / "bad/0.csv").write_text((here / "data/0.csv").read_text())
    lines[4999] = "1,2,3\n"
    (here / "bad/1.csv").write_text("".join(lines))
    done = mlops("bad", *BASELINE, cwd=here, spark=True)
    assert done.returncode == 1
    error = json.loads(done.stderr.strip().splitlines()[-1])["error"]
    assert error.startswith("on Spark: ") and f"{here}/bad/1.csv" in error, error
    assert "3 fields, but there are 5 columns" in error
    assert "Traceback" not in error and "\n" not in error


def test_line_breaks_in_fields_need_whole_files(here):
    with open(here / "breaks.csv", "w") as file:
        file.write("n,text\n")
        file.writelines(f'{i},"the first line of {i}\nand its second"\n' for i in range(20_000))
    flags = ["breaks.csv", "--suggest", "--output-dir", "breaks"]
    cut = mlops(*flags, cwd=here, spark=True)
    assert cut.returncode == 1
    last = json.loads(cut.stderr.strip().splitlines()[-1])
    # Both halves of a split record are invalid; the task that fails first is reported.
    halves = ["a quote is opened here and never closed", "fields, but there are 2 columns"]
    assert any(half in last["error"] for half in halves), last
    assert any("--whole-files" in hint for hint in last["hints"])
    whole = mlops(*flags, "--whole-files", cwd=here, spark=True)
    assert whole.returncode == 0, whole.stderr
    assert json.loads(whole.stdout)["rows"] == 20_000


def test_different_headers_and_invalid_bytes_are_rejected(here):
    (here / "other.csv").write_text("whole,number,kind,id,flag\n1,2,a,b,true\n")
    done = mlops("data/0.csv", "other.csv", *BASELINE, cwd=here, spark=True)
    assert done.returncode == 1
    assert "other.csv: the header is not that of the first file" in done.stderr
    (here / "latin.csv").write_bytes(b"city,n\nMalm\xf6,1\n")
    done = mlops("latin.csv", "--suggest", "--output-dir", "latin", cwd=here, spark=True)
    assert done.returncode == 1
    assert "latin.csv, line 2: byte 0xff is not UTF-8" in done.stderr


def test_json_lines_give_the_same_result(here):
    with open(here / "data.jsonl", "w") as file:
        for row in rows(3, shift=4.0, new_kind="new"):
            number = float(row[0]) if row[0] else None
            whole = {"number": number, "whole": int(row[1]), "kind": row[2], "id": row[3], "flag": True}
            file.write(json.dumps(whole) + "\n")
    report = assert_same(here, ["data.jsonl", "--format", "jsonl"])
    assert report["rows"] == ROWS


def test_the_program_runs_with_spark_submit(here):
    """As on a cluster with spark-submit: report and exit code come from the program."""
    program = os.path.join(os.path.dirname(__file__), "../../src/commands/validate/remote/validate.py")
    python = os.environ["MLOPS_SPARK_PYTHON"]
    home = subprocess.run(
        [python, "-c", "import pyspark; print(pyspark.__path__[0])"], capture_output=True, text=True
    ).stdout.strip()
    settings = ["spark.master=local[2]", "spark.ui.enabled=false", "spark.driver.host=127.0.0.1"]
    done = subprocess.run(
        [f"{home}/bin/spark-submit"]
        + [part for setting in settings for part in ("--conf", setting)]
        + [program, "--mlops", BIN, *BASELINE, "--output-dir", str(here / "alone")]
        + ["data", "--", "--output", "json"],
        cwd=here,
        env={**environment(), "SPARK_HOME": home, "PYSPARK_PYTHON": python},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3, done.stderr
    report = json.loads(done.stdout)
    assert report["rows"] == ROWS and report["violations"]
    names = sorted(path.name for path in (here / "alone").iterdir())
    assert names == ["constraint_violations.json", "constraints.json", "statistics.json"]


def test_missing_requirements_are_reported_immediately(here, tmp_path):
    settings = {**environment(), "PATH": str(tmp_path), "JAVA_HOME": ""}
    command = [BIN, "validate", "data", "--on", "spark", *BASELINE]
    done = subprocess.run(command, cwd=here, env=settings, capture_output=True, text=True)
    assert done.returncode == 1
    assert "error: Spark needs Java, which is not installed" in done.stderr
    assert "Java 17" in done.stderr
    settings["MLOPS_PYTHON"] = str(tmp_path / "python3")
    done = subprocess.run(command, cwd=here, env=settings, capture_output=True, text=True)
    assert done.returncode == 1
    assert "error: Spark is not installed" in done.stderr and "pip install pyspark" in done.stderr
    done = subprocess.run([*command, "s3://b/x.csv"], cwd=here, env=environment(), capture_output=True, text=True)
    assert done.returncode == 2 and "s3a://" in done.stderr
