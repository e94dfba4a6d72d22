"""Softmax over lists in Spark, beside what people write there today, as a Markdown table.

    python asv_benchmarks/compare_spark.py [ROWS]

A DataFrame that is cached in memory goes through each way to a sink that keeps nothing
(`format("noop")`), on local[2]. Two rows split the cost: handing the column to Python and back, and
the op alone. Then the same model goes from files to files. Needs Java and
`pip install "ragmask[spark]"`.
"""

import os
import platform
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pyspark
from benchmarks.common import fastest, ragged
from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812
from tables import Row, show_rate

import ragmask as rm
from ragmask.interop.spark import apply, apply_stream
from ragmask.layers import Input, Model, TemporalSoftmax
from ragmask.streaming.sink import write_parquet
from ragmask.tables import TableModel

ROWS = 100_000
ROUNDS = 3
TYPE = "array<float>"


def on_spark(rows):
    """Log-normal lists of float32 (median 40 steps, at most 512), softmax over each."""
    batch = ragged(rows, np.float32)
    batch = batch.with_values(batch.values / 10_000)
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", False)
    spark = builder.config("spark.ui.showConsoleProgress", False).getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.parquet"
        pq.write_table(rm.Batch({"x": batch}).to_arrow(), path, row_group_size=-(-rows // 4))
        yield from in_memory(spark.read.parquet(str(path)).repartition(4).cache(), batch)
        yield from files_to_files(spark, path, Path(folder))
    spark.stop()


def in_memory(df, batch):
    df.count()
    ways = ways_of(df)
    check(ways, batch)
    rm.set_num_threads(2)
    ways = {name: partial(run, frame) for name, frame in ways.items()}
    ways["the op alone, two threads"] = partial(rm.temporal_softmax, batch)
    yield from rows_of(ways, len(batch))


def files_to_files(spark, path, folder):
    """From a Parquet file of four row groups to Parquet."""
    model, stream = TableModel(softmax_model()), rm.stream(path).batch(rows=1024)
    out = folder / "out"

    def by_parts():
        shutil.rmtree(out, ignore_errors=True)
        apply_stream(model, stream, out)

    def by_frames():
        df = apply(spark.read.parquet(str(path)), model.model)
        df.write.mode("overwrite").parquet(str(folder / "frames"))

    def alone():
        write_parquet(map(model, stream), folder / "alone.parquet")

    ways = {
        "files to files: `ragmask apply --engine spark`": by_parts,
        "`spark.read.parquet`, `apply`, `write.parquet`": by_frames,
        "`--engine local`, two threads": alone,
    }
    yield from rows_of(ways, stream.num_rows)


def rows_of(ways, rows):
    """Of the first way beside each of the others."""
    (what, ours), *others = zip(ways, fastest(*ways.values(), rounds=ROUNDS), strict=True)
    for peer, theirs in others:
        yield Row(what, ours, peer, theirs, show=partial(show_rate, rows))


def softmax_model():
    x = Input((None,), name="x")
    return Model(x, {"y": TemporalSoftmax()(x)})


def ways_of(df):
    """DataFrames of one column each, by name; the first is ours, and the last does nothing."""

    def softmax(row):
        powers = np.exp(row - row.max())
        return powers / powers.sum()

    @F.pandas_udf(TYPE)
    def with_pandas(column):
        return column.map(softmax)

    @F.udf(TYPE)
    def with_python(row):
        return softmax(np.array(row, np.float32)).tolist()

    def same(batches):
        yield from batches

    powers = df.select(F.transform("x", lambda v: F.exp(v - F.array_max("x"))).alias("p"))
    total = F.aggregate("p", F.lit(0.0), lambda a, v: a + v)
    in_jvm = powers.select(F.transform("p", lambda v: (v / total).cast("float")).alias("y"))
    return {
        "`apply` with TemporalSoftmax": apply(df, softmax_model()),
        "a Python UDF on lists": df.select(with_python("x").alias("y")),
        "a pandas_udf on lists": df.select(with_pandas("x").alias("y")),
        "Spark's transform and aggregate, in the JVM": in_jvm,
        "`mapInArrow` that hands batches back as they are": df.mapInArrow(same, f"x {TYPE}"),
        "the cached column, to the sink": df,
    }


def run(frame):
    frame.write.format("noop").mode("overwrite").save()


def check(ways, batch):
    """All ways give the same numbers, but for the two that compute none."""
    sizes = np.sort(batch.lengths)
    for name, frame in list(ways.items())[:4]:
        found = rm.Batch.from_arrow(frame.toArrow())["y"]
        sums = rm.temporal_pool(found, "sum")
        if not np.allclose(sums, 1, atol=1e-4) or not np.array_equal(np.sort(found.lengths), sizes):
            raise SystemExit(f"{name}: its rows are no softmax")


if __name__ == "__main__":
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    print(f"Spark {pyspark.__version__}, Python {platform.python_version()}, {rows:,} rows\n")
    print("| what | ragmask | peer | its result | ratio | target |\n|---|---:|---|---:|---:|---:|")
    for row in on_spark(rows):
        print(row, flush=True)
