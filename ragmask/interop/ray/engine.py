"""`ragmask apply --engine ray`: a data set through a model, by the workers of a cluster."""

import os
from collections.abc import Generator, Iterable
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray
from ray.exceptions import RayError, RayTaskError

import ragmask
from ragmask.errors import RagmaskError, StreamError
from ragmask.files import whole_folder
from ragmask.interop.ray.pieces import Piece, batches_of, pieces, sendable
from ragmask.interop.ray.workers import cluster
from ragmask.rows.checks import check_count
from ragmask.streaming.maps import mapped
from ragmask.streaming.sink import Advance, alike, write_parquet
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
    schema = model.check(mapped(stream.empty_batch(), stream._maps))
    with whole_folder(Path(target).absolute()) as folder, cluster() as cpus:
        workers = workers or cpus
        cuts = pieces(stream, workers)
        if not cuts:
            write_parquet([], folder / _name(0, 1), empty=schema.empty_table)
            return 0
        parts = [folder / _name(number, len(cuts)) for number in range(len(cuts))]
        work = ray.put((model, stream, schema))
        tasks = (
            _write.remote(ragmask.__version__, [work], piece, str(part))
            for piece, part in zip(cuts, parts, strict=True)
        )
        rows = 0
        with closing(_results(tasks, workers)) as results:
            for done in results:
                rows += done
                if progress:
                    progress(rows)
        _check(folder, parts, rows)
        return rows


def _name(number: int, parts: int) -> str:
    """Names whose order is that of the parts."""
    return f"part-{number:0{max(5, len(str(parts - 1)))}}.parquet"


def _results(tasks: Iterable[Any], most: int) -> Generator[int, None, None]:
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


def _result(task: Any) -> int:
    try:
        rows: int = ray.get(task)
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
    return rows


def _check(folder: Path, parts: list[Path], rows: int) -> None:
    """Raise unless the parts are there with all their rows; what else is there goes."""
    for part in parts:
        if not part.exists():
            raise StreamError(
                f"{part.name} was written and is not there: the output must lie where all nodes "
                "of the cluster see it"
            )
    try:
        found = sum(pq.read_metadata(part).num_rows for part in parts)
    except (OSError, pa.ArrowException) as error:
        raise StreamError(f"a part of the output cannot be read: {error}") from error
    if found != rows:
        raise StreamError(f"the parts of the output have {found:,} rows; {rows:,} were written")
    for path in folder.iterdir():  # of workers that were killed
        if path not in parts:
            path.unlink(missing_ok=True)


@ray.remote(num_cpus=1, max_retries=_RETRIES)
def _write(version: str, work: list[Any], piece: Piece, part: str) -> int:
    """In a worker: the rows of a piece, through the model, to a file."""
    from ragmask.interop.ray.workers import check_version

    check_version(version)
    from ragmask.interop.ray.engine import write_part

    return write_part(work[0], piece, part)


def write_part(work: Any, piece: Piece, part: str) -> int:
    """Write a piece's rows. The file appears as a whole: who writes it once more replaces it."""
    model, stream, schema = _received(work)
    tables = (model(batch) for batch in batches_of(stream, piece))
    return write_parquet(alike(tables, schema), part, empty=schema.empty_table)


@lru_cache(maxsize=1)
def _received(work: Any) -> tuple[TableModel, Stream, Any]:
    """What the driver sent: once a worker, whose tasks then share the model's packed weights."""
    received: tuple[TableModel, Stream, Any] = ray.get(work)
    return received
