"""A stream through a model, a task a part, into a folder of Parquet files."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragmask.errors import RagmaskError
from ragmask.files import whole_folder
from ragmask.interop.spark.session import collected, session
from ragmask.interop.spark.ship import broadcast
from ragmask.rows.checks import check_count
from ragmask.streaming.parts import Parts, sendable
from ragmask.streaming.stream import Stream
from ragmask.tables import TableModel

_SECONDS = 0.2  # between two looks at how far the job is


def apply_stream(
    model: TableModel,
    stream: Stream,
    target: str | os.PathLike[str],
    *,
    workers: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> int:
    """Write what a model makes of a stream as a folder of Parquet files; returns the rows.

    >>> import tempfile
    >>> import ragmask as rm
    >>> from ragmask.data import JAPANESE_VOWELS
    >>> from ragmask.interop.spark import apply_stream
    >>> from ragmask.tables import TableModel
    >>> x = rm.layers.Input((None, 12), name="frames")
    >>> model = TableModel(rm.layers.Model(x, {"mean": rm.layers.TemporalPool()(x)}), ["speaker"])
    >>> stream = rm.stream(JAPANESE_VOWELS).batch(rows=64)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rows = apply_stream(model, stream, f"{folder}/out")
    ...     again = rm.stream(f"{folder}/out").num_rows
    >>> rows, again
    (640, 640)

    The same rows in the same order as the stream's: `ragmask.stream(target)` reads them. Each
    part of it is a task, which reads its row groups itself and writes one file; a task that runs
    again writes the same file again. The folder appears when it is whole, and not at
    all after an error. All workers have to see it, and the stream's files, under the same paths.

    workers : how many tasks run at once; by default as many as there is room for.
    progress : called with the rows that are done, on a thread of its own.

    The active session is used. Where there is none, one of this machine's CPUs is started, and
    stopped again; under spark-submit, one as its options say. Raises StreamError where something
    has the target's name already, or Spark gives up; a worker's errors of ragmask's own as they
    are, with the rows they are in; MissingExtraError where Java is missing.
    """
    if workers is not None:
        workers = check_count("workers", workers, 1)
    stream = sendable(stream)
    like = model.check(stream._empty().schema)
    with whole_folder(target) as folder, session(workers) as spark:
        context = spark.sparkContext
        parts = Parts.of(stream, workers or context.defaultParallelism)
        done = context.accumulator(0)
        task = _Task(broadcast(spark, (model, parts, like)), folder, done)
        tasks = len(parts)
        if workers is not None and workers < context.defaultParallelism:
            tasks = min(tasks, workers)  # each of several parts, one after the other
        with _telling(progress, done):
            results = collected(context.parallelize(range(len(parts)), tasks).map(task))
        for result in results:
            if isinstance(result, RagmaskError):
                raise result
        rows = parts.check_written(folder, results)
    if progress:
        progress(rows)
    return rows


@dataclass(frozen=True)
class _Task:
    """Writes a part; returns its rows, or the error that the driver is to raise."""

    sent: Any
    folder: Path
    done: Any

    def __call__(self, number: int) -> Any:
        failed = self.folder.parent / "failed"
        if failed.exists():  # nobody will want this part
            return 0
        try:
            model, parts, like = self.sent.value
            rows = parts.write(number, model, self.folder, like)
        except RagmaskError as error:
            # handed over as a result, since Spark would try again what cannot come out otherwise
            failed.touch()
            return error
        self.done.add(rows)
        return rows


@contextmanager
def _telling(progress: Callable[[int], object] | None, done: Any) -> Iterator[None]:
    """Tell now and then how many rows are done; tasks that have ended count."""
    if progress is None:
        yield
        return
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(_SECONDS):
            progress(done.value)

    teller = threading.Thread(target=tell, name="ragmask-progress", daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()
