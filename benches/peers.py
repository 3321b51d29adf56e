#!/usr/bin/env python3
"""Profiles one file of benches/gen.py's table with a peer; benches/validate.py times the process.

usage: benches/peers.py duckdb|polars|pandas|gx|whylogs FILE

Each peer runs in a separate environment, which validate.py creates, and prints its row count.
validate.py checks the count, to make sure that the peer read all the data.
"""

import sys
import tempfile

NUMERIC = ["distance", "fare", "passengers", "age", "score"]
QUANTILES = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99]


def duckdb(file, csv):
    """SUMMARIZE: types, min, max, approximate distinct, mean, deviation, quartiles, nulls."""
    import duckdb

    reader = "read_csv" if csv else "read_parquet"
    found = duckdb.connect().sql(f"SUMMARIZE SELECT * FROM {reader}('{file}')").fetchall()
    return found[0][10]


def polars(file, csv):
    """The streaming engine: nulls, exact distinct, min, max, moments, seven quantiles."""
    import polars as pl

    frame = pl.scan_csv(file, try_parse_dates=True) if csv else pl.scan_parquet(file)
    wanted = [pl.len().alias("rows")]
    for name, kind in frame.collect_schema().items():
        column = pl.col(name)
        wanted += [column.null_count().alias(name + "_null"), column.n_unique().alias(name + "_nu")]
        if kind != pl.Boolean:
            wanted += [column.min().alias(name + "_min"), column.max().alias(name + "_max")]
        if kind.is_numeric():
            wanted += [
                column.mean().alias(name + "_mean"),
                column.std().alias(name + "_std"),
                column.sum().alias(name + "_sum"),
            ]
            wanted += [column.quantile(q).alias(f"{name}_q{q}") for q in QUANTILES]
    return frame.select(wanted).collect(engine="streaming")["rows"][0]


def table(file, csv):
    import pandas as pd

    return pd.read_csv(file, parse_dates=["ts"]) if csv else pd.read_parquet(file)


def pandas(file, csv):
    """describe, exact distinct, nulls, seven quantiles, the ten commonest strings."""
    frame = table(file, csv)
    frame.describe(include="all"), frame.nunique(), frame.isna().sum()
    frame.select_dtypes("number").quantile(QUANTILES)
    for name in frame.select_dtypes(include=["object", "string"]).columns:
        frame[name].value_counts().head(10)
    return len(frame)


def gx(file, csv):
    """Great Expectations: ten expectations over pandas."""
    import great_expectations as gx
    import great_expectations.expectations as ge

    frame = table(file, csv)
    source = gx.get_context(mode="ephemeral").data_sources.add_pandas("pandas")
    batch = source.add_dataframe_asset("table").add_batch_definition_whole_dataframe("whole")
    suite = gx.ExpectationSuite(name="ten")
    quarters = {"quantiles": [0.25, 0.5, 0.75], "value_ranges": [[0, 100]] * 3}
    for expectation in [
        ge.ExpectColumnValuesToNotBeNull(column="distance", mostly=0.9),
        ge.ExpectColumnValuesToBeBetween(column="fare", min_value=0, max_value=1e5),
        ge.ExpectColumnValuesToBeBetween(column="age", min_value=0, max_value=120),
        ge.ExpectColumnMeanToBeBetween(column="distance", min_value=5, max_value=15),
        ge.ExpectColumnStdevToBeBetween(column="distance", min_value=1, max_value=5),
        ge.ExpectColumnQuantileValuesToBeBetween(column="fare", quantile_ranges=quarters),
        ge.ExpectColumnValuesToBeInSet(
            column="vendor", value_set=[f"vendor_{i:04d}" for i in range(5)]
        ),
        ge.ExpectColumnUniqueValueCountToBeBetween(column="station", min_value=1, max_value=1000),
        ge.ExpectColumnValuesToMatchRegex(column="id1", regex=r"^[0-9a-f]{16}-[0-9a-f]{4}$"),
        ge.ExpectTableRowCountToBeBetween(min_value=1, max_value=10**9),
    ]:
        suite.add_expectation(expectation)
    result = batch.get_batch({"dataframe": frame}).validate(suite)
    assert result.success and len(result.results) == 10
    return len(frame)


def whylogs(file, csv):
    """A mergeable profile (KLL, HLL, frequent items), read out and written."""
    import whylogs as why

    frame = table(file, csv)
    view = why.log(pandas=frame).view()
    view.to_pandas()
    with tempfile.NamedTemporaryFile() as out:
        view.write(out.name)
    return len(frame)


if __name__ == "__main__":
    peer, path = sys.argv[1], sys.argv[2]
    print(globals()[peer](path, path.endswith(".csv")))
