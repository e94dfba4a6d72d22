"""Models on Spark: as a step of a DataFrame, and over a data set by `ragmask apply`.

>>> import ragmask as rm
>>> from pyspark.sql import SparkSession
>>> from ragmask.interop.spark import apply
>>> spark = SparkSession.builder.master("local[2]").getOrCreate()
>>> x = rm.layers.Input((None,), name="x")
>>> model = rm.layers.Model(x, rm.layers.TemporalSoftmax(name="soft")(x))
>>> df = spark.createDataFrame([(7, [1.0, 1.0]), (8, [3.0]), (9, [])], "id int, x array<double>")
>>> apply(df, model, keep=["id"]).collect()
[Row(id=7, soft=[0.5, 0.5]), Row(id=8, soft=[1.0]), Row(id=9, soft=[])]

Every worker needs the same version of ragmask. A task takes as many threads as it has CPUs
(spark.task.cpus), unless RAGMASK_NUM_THREADS says otherwise.

Needs the extra `spark`, and Java.
"""

from ragmask.errors import MissingExtraError

try:
    import pyspark  # noqa: F401
except ImportError as error:
    raise MissingExtraError(
        'ragmask.interop.spark needs pyspark, which is not installed: pip install "ragmask[spark]"'
    ) from error

from ragmask.interop.spark.frames import apply
from ragmask.interop.spark.streams import apply_stream

__all__ = ["apply", "apply_stream"]
