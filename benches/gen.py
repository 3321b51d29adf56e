#!/usr/bin/env python3
"""Generates the table that benches/validate.py reads: 14 columns, from fixed seeds.

usage: benches/gen.py ROWS STEM     writes STEM.csv and STEM.parquet (snappy), streamed

5 numeric columns with 2 % nulls, 5 categorical ones (Zipf, 5 to 1,000 values), 2 with a million
distinct strings, a timestamp, a boolean. The random numbers are those of the project's shared
benchmark kit (bench/gen.py there), whose figures issue 3 quotes. Needs numpy and pyarrow
(benches/validate.py pins them and creates their environment).
"""

import sys

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

BATCH = 500_000
DISTINCT = 1_000_000
CATEGORIES = {"vendor": 5, "payment": 20, "zone": 100, "route": 400, "station": 1000}


def identifiers(seed):
    pairs = np.random.default_rng(seed).integers(0, 2**64, size=(DISTINCT, 2), dtype=np.uint64)
    return pa.array([f"{a:016x}-{b & 0xFFFF:04x}" for a, b in pairs.tolist()])


def zipf(cardinality):
    weights = 1 / np.arange(1, cardinality + 1) ** 1.1
    return np.cumsum(weights / weights.sum())


def batches(rows):
    """Yields the table in batches of half a million rows."""
    random = np.random.default_rng(20240101)
    ids = {"id1": identifiers(11), "id2": identifiers(12)}
    names = {name: pa.array([f"{name}_{i:04d}" for i in range(c)]) for name, c in CATEGORIES.items()}
    cumulative = {name: zipf(c) for name, c in CATEGORIES.items()}

    def with_nulls(values):
        return pa.array(values, mask=random.random(len(values)) < 0.02)

    for start in range(0, rows, BATCH):
        n = min(BATCH, rows - start)
        columns = {
            "distance": with_nulls(np.round(random.normal(10, 3, n), 4)),
            "fare": with_nulls(np.round(random.lognormal(2.5, 0.7, n), 2)),
            "passengers": with_nulls(random.poisson(1.6, n).astype(np.int64)),
            "age": with_nulls(random.integers(0, 100, n)),
            "score": with_nulls(random.random(n)),
        }
        for name, values in names.items():
            drawn = np.searchsorted(cumulative[name], random.random(n))
            columns[name] = values.take(pa.array(np.minimum(drawn, len(values) - 1)))
        for name, values in ids.items():
            columns[name] = values.take(pa.array(random.integers(0, DISTINCT, n)))
        seconds = 1_700_000_000 + np.arange(start, start + n) * 3 + random.integers(0, 3, n)
        columns["ts"] = pa.array(seconds * 1_000_000, type=pa.timestamp("us"))
        columns["flag"] = pa.array(random.random(n) < 0.3)
        yield pa.table(columns)


def main(rows, stem):
    parquet = csv = None
    options = pa.csv.WriteOptions(quoting_style="needed")
    for table in batches(rows):
        if parquet is None:
            parquet = pa.parquet.ParquetWriter(stem + ".parquet", table.schema, compression="snappy")
            csv = pa.csv.CSVWriter(stem + ".csv", table.schema, write_options=options)
        parquet.write_table(table)
        csv.write_table(table)
    parquet.close()
    csv.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
