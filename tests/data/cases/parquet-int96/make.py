"""Writes int96.parquet: the legacy timestamps of Hive, Impala and older Spark, over their range."""
import datetime as dt
import pyarrow as pa, pyarrow.parquet as pq

times = [dt.datetime(1, 1, 1), dt.datetime(1969, 12, 31, 23, 59, 59, 500_000), dt.datetime(9999, 12, 31, 2)]
pq.write_table(
    pa.table({"t": pa.array(times * 10, pa.timestamp("us"))}), "int96.parquet", use_deprecated_int96_timestamps=True
)
