"""What the driver sends to Spark's workers, and which of its sessions can send it."""

import pickle
from typing import Any

from pyspark import cloudpickle
from pyspark.sql import SparkSession

from ragmask.errors import UnsupportedTypeError


class _ByValue:
    """Pickled as what it holds is by cloudpickle: functions and layers of a script travel, too."""

    def __init__(self, held: object) -> None:
        self._held = held

    def __reduce__(self) -> Any:
        return pickle.loads, (cloudpickle.dumps(self._held),)


def broadcast(spark: SparkSession, held: object) -> Any:
    """What workers read as `.value`: sent to each machine, and unpickled in each process, once."""
    return spark.sparkContext.broadcast(_ByValue(held))


def check_classic(spark: SparkSession) -> None:
    """Raise UnsupportedTypeError for Spark Connect."""
    if type(spark).__module__.startswith("pyspark.sql.connect"):
        raise UnsupportedTypeError(
            "Spark Connect cannot broadcast a model to its workers: use a session with a driver in "
            "this process, SparkSession.builder.master(…)"
        )
