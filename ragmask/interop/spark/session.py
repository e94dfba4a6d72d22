"""Spark's sessions: the one that is there, or one for a while; and jobs in them."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark import SparkContext
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from ragmask.errors import MissingExtraError, StreamError
from ragmask.interop.spark.ship import check_classic

_FAILURES = 4  # of a task, before the job fails: as many as on a cluster


@contextmanager
def session(workers: int | None) -> Iterator[SparkSession]:
    """The active session; else a new one, of this machine or of spark-submit's, stopped at the end.

    Raises MissingExtraError where there is no Java.
    """
    spark = SparkSession.getActiveSession()
    if spark is not None or SparkContext._active_spark_context is not None:
        spark = spark or SparkSession.builder.getOrCreate()
        check_classic(spark)
        yield spark
        return
    spark = _start(workers)
    try:
        yield spark
    finally:
        spark.stop()


def _start(workers: int | None) -> SparkSession:
    builder = SparkSession.builder.appName("ragmask").config("spark.ui.showConsoleProgress", False)
    if "PYSPARK_GATEWAY_PORT" in os.environ:  # spark-submit's: its options say where and how
        return builder.getOrCreate()
    _check_java()
    builder = builder.master(f"local[{workers or '*'},{_FAILURES}]")
    builder = builder.config("spark.ui.enabled", False).config("spark.log.level", "ERROR")
    python = os.environ.get("PYSPARK_PYTHON")
    os.environ["PYSPARK_PYTHON"] = python or sys.executable  # and not the first that is in PATH
    try:
        return builder.getOrCreate()
    except RuntimeError as error:
        raise MissingExtraError(f"Spark does not start: {error}; {_ADVICE}") from error
    finally:
        if python is None:
            del os.environ["PYSPARK_PYTHON"]


_ADVICE = (
    "it needs Java 17 or newer: install one (Debian: apt-get install default-jre-headless), or say "
    "in JAVA_HOME where one is"
)


def _check_java() -> None:
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else "java"
    if shutil.which(java) is None:
        raise MissingExtraError(f"Spark does not start, for there is no {java}: {_ADVICE}")


def collected(job: Any) -> list[Any]:
    """What an RDD holds. Raises StreamError with the worker's words where Spark gave up."""
    try:
        return list(job.collect())
    except (Py4JJavaError, PySparkException) as error:
        raise StreamError(f"Spark gave up: {_reason(error)}") from None


def _reason(error: Py4JJavaError | PySparkException) -> str:
    """A worker's own error, or Spark's words, without any stack."""
    text = str(error.java_exception if isinstance(error, Py4JJavaError) else error)
    text = text.partition("\n\tat ")[0].rpartition("Traceback (most recent call last):\n")[2]
    return ", ".join(line for line in text.splitlines() if line.strip() and line[0] != " ")
