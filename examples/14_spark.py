"""A saved model on Spark: as a step of a DataFrame, and over files from the command line.

Nine speakers say two Japanese vowels. The model gives each recording a vector of 32 numbers; an
untrained one does here, for what matters is that all engines give the same. Run it:
python examples/14_spark.py (needs Java and pyspark: pip install "ragmask[cli,models,spark]")
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812

import ragmask as rm
from ragmask.cli.app import app
from ragmask.data import JAPANESE_VOWELS
from ragmask.interop.spark import apply
from ragmask.layers import LSTM, Input, Model

os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # workers: this Python, and its packages

scratch = tempfile.TemporaryDirectory()
folder = Path(scratch.name)
frames = Input((None, 12), name="frames")
Model(frames, {"voice": LSTM(32, name="lstm")(frames)}, name="voices").save(folder / "model")

began = time.perf_counter()
builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", False)
spark = builder.config("spark.ui.showConsoleProgress", False).getOrCreate()
spark.sparkContext.setLogLevel("ERROR")
print(f"Spark {spark.version} started in {time.perf_counter() - began:.1f} s")

# A DataFrame in, a DataFrame out; lazy, and only the columns that are needed are read. What does
# not fit the model is told here, before a job runs.
recordings = spark.read.parquet(str(JAPANESE_VOWELS))
voices = apply(recordings, folder / "model", keep=["speaker", "split"])
voices.printSchema()

began = time.perf_counter()
voices.write.parquet(str(folder / "voices"))
print(f"written in {time.perf_counter() - began:.1f} s, of which most is the workers' start")

first = F.col("voice")[0]
counts = spark.read.parquet(str(folder / "voices")).groupBy("speaker").agg(F.count(first))
print("recordings of each speaker:", [count for _, count in sorted(counts.collect())])

# Files to files needs no code. The rows keep their order, and the folder appears when it is whole.
# The command uses the session above; in a shell it starts one of its own, and under spark-submit
# the cluster's.
for engine in ("spark", "local"):
    paths = [str(folder / "model"), str(JAPANESE_VOWELS), str(folder / engine)]
    app(["apply", *paths, "--keep", "speaker", "--engine", engine], standalone_mode=False)
by_spark, alone = (rm.stream(folder / name).to_arrow() for name in ("spark", "local"))
assert by_spark.equals(alone)
print("the same rows in the same order, to the bit, as without Spark")

both = spark.read.parquet(str(folder / "voices")).toArrow()
vectors = np.array(both["voice"].to_pylist(), np.float32)
expected = np.array(alone["voice"].to_pylist(), np.float32)
assert np.array_equal(vectors[np.lexsort(vectors.T)], expected[np.lexsort(expected.T)])
spark.stop()
scratch.cleanup()
