#!/usr/bin/env python3
"""Compares `mlops validate` with DuckDB, Polars, pandas, Great Expectations and whylogs, in one run.

usage: benches/validate.py target/release/mlops [--rows 1,10] [--formats csv,parquet] [--runs 5]
           [--floor-csv 'COMMAND {}'] [--floor-parquet 'COMMAND {}'] [--cache DIR] [--out FILE]

Prints the Markdown of docs/benchmarks.md. CPU and wall seconds and peak memory are the operating
system's accounting of whole processes (wait4): medians over turns in which each program runs once. A
ratio is the median of the ratios per turn. Files are in the page cache: the first turn warms up and is
not counted. Programs must exit with 0 (a check: 0 or 3), and each reports how many rows it read.

The peers' environments and the table (benches/gen.py; 10 million rows are 1.9 GB of CSV and 0.7 GB
of Parquet) are created once, in --cache. The floor is a command that only reads and splits a CSV, or
only decodes a Parquet file; `{}` is replaced by the file.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time

import measure

HERE = os.path.dirname(os.path.abspath(__file__))
PINS = {
    "gen": ["numpy==2.4.6", "pyarrow==26.0.1"],
    "duckdb": ["duckdb==2.0.0"],
    "polars": ["polars==2.1.0", "pyarrow==26.0.1"],
    "pandas": ["pandas==3.1.1", "pyarrow==26.0.1"],
    "gx": ["great_expectations==1.24.1", "pandas==3.1.1", "pyarrow==26.0.1"],
    "whylogs": [
        *("whylogs[viz]==1.6.4", "pandas==2.2.3", "numpy==1.26.4"),
        *("setuptools<81", "pyarrow==19.0.1"),  # The last versions for NumPy 1, which whylogs needs.
    ],
}
TITLES = {
    "duckdb": "DuckDB SUMMARIZE",
    "polars": "Polars streaming, quantiles, exact distinct",
    "pandas": "pandas",
    "gx": "Great Expectations, 10 expectations",
    "whylogs": "whylogs (KLL, HLL, frequent items)",
}
# These need minutes or gigabytes for 10 million rows.
SMALL_ONLY = {"pandas", "gx", "whylogs"}
PROFILE, CHECK, FLOOR = "mlops: profile", "mlops: profile and compare", "the floor"
DUCKDB = TITLES["duckdb"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mlops", help="the binary to measure (a release build)")
    parser.add_argument("--rows", default="1,10", help="millions of rows")
    parser.add_argument("--formats", default="csv,parquet")
    parser.add_argument("--peers", default=",".join(TITLES), help="must have duckdb")
    parser.add_argument("--runs", type=int, default=5, help="counted turns")
    parser.add_argument("--slow-runs", type=int, default=3, help="of pandas, GX and whylogs")
    parser.add_argument("--floor-csv", help="a command that only reads and splits {}")
    parser.add_argument("--floor-parquet", help="a command that only decodes {}")
    parser.add_argument("--data", help="where m1.csv, m1.parquet… lie (default: CACHE/data)")
    parser.add_argument("--out", help="write every single result to this JSON file too")
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    parser.add_argument("--cache", default=os.path.join(home, "mlops-bench"))
    found = parser.parse_args()
    found.data = found.data or os.path.join(found.cache, "data")
    found.mlops = os.path.abspath(found.mlops)
    if "duckdb" not in found.peers.split(","):
        parser.error("--peers must have duckdb: the ratios are to it")
    return found


def python(options, name):
    """Returns the interpreter of the environment with the pinned packages; creates it if necessary."""
    directory = os.path.join(options.cache, name)
    found = os.path.join(directory, "bin", "python")
    if not os.path.exists(found):
        subprocess.run([sys.executable, "-m", "venv", directory], check=True)
    pip = [found, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *PINS[name]], check=True, stdout=sys.stderr)
    return found


def data(options, millions):
    stem = os.path.join(options.data, f"m{millions}")
    if not all(os.path.exists(f"{stem}.{kind}") for kind in ("csv", "parquet")):
        os.makedirs(options.data, exist_ok=True)
        generator = [python(options, "gen"), os.path.join(HERE, "gen.py")]
        subprocess.run([*generator, str(millions * 1_000_000), stem + ".part"], check=True)
        for kind in ("csv", "parquet"):
            os.replace(f"{stem}.part.{kind}", f"{stem}.{kind}")
    return stem


def rows_of_ours(command):
    found = subprocess.run([*command, "--output", "json"], capture_output=True, text=True)
    assert found.returncode in (0, 3), found.stderr
    return json.loads(found.stdout)["rows"]


def commands(options, pythons, file, kind, millions, scratch):
    """Returns the commands of each turn, by title, and a parser of each one's row count."""
    peers = os.path.join(HERE, "peers.py")
    quick, slow = {}, {}
    for peer, interpreter in pythons.items():
        if millions == 1 or peer not in SMALL_ONLY:
            chosen = slow if peer in SMALL_ONLY else quick
            chosen[TITLES[peer]] = [interpreter, peers, peer, file]
    validate = [options.mlops, "validate", "--quiet", file]
    subprocess.run(
        [*validate, "--suggest", "--output-dir", scratch], check=True, stdout=subprocess.DEVNULL
    )
    baseline = [f"--{name}={scratch}/{name}.json" for name in ("constraints", "statistics")]
    quick[PROFILE] = [*validate, "--profile-out", f"{scratch}/profile"]
    quick[CHECK] = [*validate, *baseline]
    floor = options.floor_csv if kind == "csv" else options.floor_parquet
    if floor:
        quick[FLOOR] = [part.replace("{}", file) for part in shlex.split(floor)]
    return quick, slow


def check_rows(named, rows):
    for title, command in named.items():
        if title == FLOOR:
            continue
        if title in (PROFILE, CHECK):
            seen = rows_of_ours(command)
        else:
            text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            seen = int(text.split()[-1])
        assert seen == rows, f"{title}: {seen} rows instead of {rows}"


def turns(options, named, runs):
    devnull = {name: (command, {}) for name, command in named.items()}
    return measure.series(runs, 0, devnull, exits=(0, 3))


def measured(options, pythons, kind, millions):
    file = f"{data(options, millions)}.{kind}"
    with tempfile.TemporaryDirectory() as scratch:
        quick, slow = commands(options, pythons, file, kind, millions, scratch)
        check_rows({**quick, **slow}, millions * 1_000_000)  # The warm-up is included.
        found = turns(options, {**quick, **slow}, min(options.slow_runs, options.runs))
        rest = turns(options, quick, max(0, options.runs - options.slow_runs))
    for title, results in rest.items():
        found[title] += results
    print(f"{kind}, {millions} M rows: done", file=sys.stderr)
    return found


def table(found, kind, millions):
    print(f"\n### {'CSV' if kind == 'csv' else 'Parquet'}, {millions} M rows\n")
    print("| | CPU s | wall s | peak RSS MiB | CPU / DuckDB | wall / DuckDB |")
    print("|---|---|---|---|---|---|")
    for title, result in measure.medians(found).items():
        ratios = [measure.ratio(found[title], found[DUCKDB], key) for key in ("cpu", "wall")]
        print(
            f"| {title} | {result['cpu']:.2f} | {result['wall']:.2f} | {result['rss']:.0f} "
            f"| {ratios[0]:.2f} | {ratios[1]:.2f} |"
        )


def bars(results):
    """Prints the requirements, one line each, with the measured values."""
    print("\n### Against the bars\n\n| | measured | bar | |\n|---|---|---|---|")

    def line(what, value, bar, form):
        verdict = "kept" if abs(value) <= bar else "**missed**"
        print(f"| {what} | {form.format(value)} | {form.format(bar)} | {verdict} |")

    for (kind, millions), found in results.items():
        where = f"{kind}, {millions} M"
        for title, name in ((PROFILE, "profile"), (CHECK, "whole check")):
            ratio = measure.ratio(found[title], found[DUCKDB], "cpu")
            line(f"{where}: {name}, CPU / DuckDB", ratio, 0.35, "{:.2f}")
            ratio = measure.ratio(found[title], found[DUCKDB], "wall")
            line(f"{where}: {name}, wall / DuckDB", ratio, 0.40, "{:.2f}")
        ratio = measure.ratio(found[CHECK], found[PROFILE], "cpu")
        line(f"{where}: whole check / profile, CPU", ratio, 1.10, "{:.2f}")
        memory = max(measure.medians(found)[title]["rss"] for title in (PROFILE, CHECK))
        line(f"{where}: peak RSS, MiB", memory, 128, "{:.0f}")
    for kind in dict.fromkeys(kind for kind, _ in results):
        sizes = sorted(millions for found, millions in results if found == kind)
        if len(sizes) < 2:
            continue
        small, large = (measure.medians(results[kind, n])[PROFILE] for n in (sizes[0], sizes[-1]))
        what = f"{kind}: {sizes[-1]} M against {sizes[0]} M rows"
        memory = large["rss"] / small["rss"] - 1
        line(f"{what}, peak RSS", memory * 100, 10, "{:+.0f} %")
        growth = large["cpu"] / sizes[-1] / (small["cpu"] / sizes[0]) - 1
        line(f"{what}, CPU per row", growth * 100, 10, "{:+.0f} %")
        per_row = [found["cpu"] * 1000 / n for found, n in zip((small, large), (sizes[0], sizes[-1]))]
        print(f"| {kind}: CPU per row, ns | {per_row[0]:.0f} and {per_row[1]:.0f} | | |")


def main():
    options = arguments()
    pythons = {peer: python(options, peer) for peer in options.peers.split(",")}
    sizes = [int(size) for size in options.rows.split(",")]
    for size in sizes:
        data(options, size)
    load = os.getloadavg()[0]
    if load > 0.3:
        print(f"the machine is busy (load {load:.1f}): wall times will lie", file=sys.stderr)
    start = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    results = {
        (kind, size): measured(options, pythons, kind, size)
        for kind in options.formats.split(",")
        for size in sizes
    }
    pins = "; ".join(" ".join(PINS[peer]) for peer in pythons)
    print(f"{start} UTC, {os.cpu_count()} cores, load {load:.1f} before the run, {options.runs} turns")
    print(f"({min(options.slow_runs, options.runs)} of {', '.join(sorted(SMALL_ONLY))}). {pins}.")
    for (kind, size), found in results.items():
        table(found, kind, size)
    bars(results)
    if options.out:
        with open(options.out, "w") as file:
            json.dump({f"{kind} {size}": found for (kind, size), found in results.items()}, file)


if __name__ == "__main__":
    main()
