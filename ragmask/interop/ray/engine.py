"""`ragmask apply --engine ray`: a data set through a model, by the workers of a cluster."""

import os
from collections.abc import Generator, Iterable
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

import ragmask
from ragmask.errors import RagmaskError, StreamError
from ragmask.files import whole_folder
from ragmask.interop.ray.workers import cluster
from ragmask.rows.checks import check_count
from ragmask.streaming.parts import Parts, sendable
from ragmask.streaming.sink import Advance
from ragmask.streaming.stream import Stream
from ragmask.tables import TableModel

_RETRIES = 5  # of a task whose worker or node dies
_PATIENCE = 30.0  # seconds in which a task that is called off ends


def apply_stream(
    model: TableModel,
    stream: Stream,
    target: str | os.PathLike[str],
    *,
    workers: int | None = None,
    progress: Advance | None = None,
) -> int:
    """Write what a model makes of a stream's batches to a folder; returns the rows.

        apply_stream(TableModel("model", ["id"]), rm.stream("in").batch(rows=1024), "out")

    The folder has Parquet files, part-00000.parquet and so on. In the order of their names they
    hold the rows that a loop over the stream gives in this process, in the same order, computed in
    the same batches: to the same bits where BLAS has as many threads here as in a worker
    (OMP_NUM_THREADS=1). It appears under its name when it is whole, and not at all after an error.

    workers : how many tasks of one CPU run at a time; by default as many as there are CPUs.
    progress : called with the rows written so far, as tasks end.

    The cluster that this process is connected to is left as it was; without one, Ray looks for one
    or begins its own, for the while. Source and target must lie where all nodes see them. A task
    whose worker or node dies is run again, and writes the same file.

    Raises StreamError for a name that is taken, and InvalidInputError for columns that do not fit
    the model, before a cluster begins; and what workers raise, as they raise it.
    """
    if workers is not None:
        check_count("workers", workers, 1)
    stream = sendable(stream)
    like = model.check(stream._empty().schema)
    with whole_folder(target) as folder, cluster() as cpus:
        workers = workers or cpus
        parts = Parts.of(stream, workers)
        work = ray.put((model, parts, like))
        tasks = (
            _write.remote(ragmask.__version__, [work], number, str(folder))
            for number in range(len(parts))
        )
        done, written = 0, [0] * len(parts)
        with closing(_results(tasks, workers)) as results:
            for number, rows in results:
                written[number] = rows
                done += rows
                if progress:
                    progress(done)
        return parts.check_written(folder, written)


def _results(tasks: Iterable[Any], most: int) -> Generator[tuple[int, int], None, None]:
    """What tasks return, as they end, so many of them at a time; an error calls off the others."""
    coming, waiting = iter(tasks), []
    try:
        while True:
            for task in coming:
                waiting.append(task)
                if len(waiting) == most:
                    break
            if not waiting:
                return
            done, waiting = ray.wait(waiting, num_returns=1)
            yield _result(done[0])
    finally:
        for task in waiting:
            ray.cancel(task, force=True)
        if waiting:  # none of them may write once the folder goes
            ray.wait(waiting, num_returns=len(waiting), timeout=_PATIENCE)


def _result(task: Any) -> tuple[int, int]:
    """The number of a part, and its rows."""
    try:
        written: tuple[int, int] = ray.get(task)
    except RayTaskError as error:
        cause = error.cause
        if isinstance(cause, RagmaskError):
            raise cause from None
        if isinstance(cause, ModuleNotFoundError) and cause.name == "ragmask":
            raise StreamError(
                f"a worker has no ragmask: install version {ragmask.__version__} on all nodes"
            ) from None
        raise
    except RayError as error:
        raise StreamError(f"the cluster gave up a part of the output: {error}") from error
    return written


@ray.remote(num_cpus=1, max_retries=_RETRIES)
def _write(version: str, work: list[Any], number: int, folder: str) -> tuple[int, int]:
    """In a worker: the rows of a part, through the model, to a file."""
    from ragmask.interop.ray.workers import check_version

    check_version(version)
    from ragmask.interop.ray.engine import write_part

    return number, write_part(work[0], number, folder)


def write_part(work: Any, number: int, folder: str) -> int:
    """Write a part's rows. The file appears as a whole: who writes it once more replaces it."""
    model, parts, like = _received(work)
    return parts.write(number, model, Path(folder), like)


@lru_cache(maxsize=1)
def _received(work: Any) -> tuple[TableModel, Parts, Any]:
    """What the driver sent: once a worker, whose tasks then share the model's packed weights."""
    received: tuple[TableModel, Parts, Any] = ray.get(work)
    return received
