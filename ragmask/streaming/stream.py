"""Stream: a data set as batches, decoded ahead in the background, in bounded memory."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeVar

from ragmask.arrow import Nulls
from ragmask.errors import InvalidInputError, StreamError, UnsupportedTypeError
from ragmask.layout import check_count
from ragmask.streaming.batch import Batch, Column, join_columns, slice_columns
from ragmask.streaming.plan import Span, batches_in_order, number_of_batches
from ragmask.streaming.source import Group, Paths, Reader, Source
from ragmask.threads import get_num_threads

# Two threads decode at the rate of pyarrow's own read_table. One row group more waits its turn,
# so that neither has to wait for the consumer.
_DECODERS = 2
_AHEAD = _DECODERS + 1

Decoded = TypeVar("Decoded")
MapFunction = Callable[[Batch], Batch | Mapping[str, Any]]


def stream(
    paths: Paths,
    columns: Iterable[str] | None = None,
    *,
    nulls: Nulls = "empty",
    memory_map: bool = True,
) -> "Stream":
    """Stream ragged data from Parquet or Arrow IPC files, in file order.

    >>> import ragmask as rm
    >>> from ragmask.data import JAPANESE_VOWELS
    >>> s = rm.stream(JAPANESE_VOWELS, columns=["frames", "speaker"]).batch(rows=256)
    >>> for batch in s:
    ...     print(batch["frames"].n_steps, batch["frames"].to_padded().shape)
    4091 (256, 26, 12)
    3964 (256, 29, 12)
    1906 (128, 25, 12)

    Parameters
    ----------
    paths : a file, a folder (searched through, in sorted order), a glob, or several of them.
        A file's first bytes tell its format.
    columns : names of those to read; by default all.
    nulls : "empty" reads a null list as an empty row, "error" raises and names it.
    memory_map : map uncompressed Arrow IPC files, whose batches are then views of the file.
        Who cuts a file short under a map kills the process that reads it; False avoids it.
        Parquet files are never mapped.

    Returns a Stream. Raises StreamError, naming the file and the column, for a path that is
    not there, an empty folder, an unreadable file or a missing column.
    """
    return Stream(Source.open(paths, columns, nulls, memory_map))


@dataclass(frozen=True, repr=False)
class Stream:
    """A data set as batches. Made by `ragmask.stream`; every method returns a new stream."""

    _source: Source
    _rows: int | None = None
    _drop_last: bool = False
    _maps: tuple[MapFunction, ...] = ()

    def batch(self, rows: int = 256, drop_last: bool = False) -> "Stream":
        """Batches of `rows` rows; the last is shorter, or left out with `drop_last`.

        A batch is a view of the decoded row group. One that spans two copies only itself.
        """
        return replace(self, _rows=check_count("rows", rows, 1), _drop_last=bool(drop_last))

    def map(self, function: MapFunction) -> "Stream":
        """Apply `function` to each batch; it takes a Batch and gives a Batch or a dict."""
        if not callable(function):
            raise UnsupportedTypeError(f"map takes a function of a batch; got {function!r}")
        return replace(self, _maps=(*self._maps, function))

    @property
    def schema(self) -> Any:
        """The pyarrow schema of the streamed columns, as they lie in the files."""
        return self._source.schema

    @property
    def paths(self) -> tuple[str, ...]:
        """The files, in the order they are read."""
        return self._source.paths

    @property
    def num_rows(self) -> int:
        """The rows of all files, from their footers alone."""
        return self._source.num_rows

    def __len__(self) -> int:
        """The number of batches once `.batch()` is there, of rows before."""
        if self._rows is None:
            return self.num_rows
        return number_of_batches(self.num_rows, self._rows, self._drop_last)

    def __bool__(self) -> bool:
        return True  # else `if stream:` would read every footer

    def __iter__(self) -> Iterator[Batch]:
        if self._rows is None:
            raise InvalidInputError(
                "say how to cut the stream into batches first: .batch(rows=256)"
            )
        return self._batches(self._rows)

    def _batches(self, rows: int) -> Iterator[Batch]:
        groups = self._source.groups
        plan = batches_in_order([group.rows for group in groups], rows, self._drop_last)
        with closing(decode_ahead(Reader(self._source).read, groups)) as decoded:
            window = _Window(decoded)
            for spans in plan:
                batch = Batch(join_columns([window.take(span) for span in spans]))
                for function in self._maps:
                    batch = _as_batch(function(batch), function)
                yield batch

    def __repr__(self) -> str:
        files = len(self._source.paths)
        head = f"Stream of {files} file{'s' * (files != 1)}"
        if self._rows is not None:
            head += f" in batches of {self._rows:,} rows"

        fields = [f"  {field.name}: {field.type}" for field in self.schema]
        return "\n".join([head, *fields])


class _Window:
    """The row group being cut up. Spans must come in the order of the row groups."""

    def __init__(self, decoded: Iterator[dict[str, Column]]) -> None:
        self._decoded = decoded
        self._group = -1
        self._columns: dict[str, Column] = {}

    def take(self, span: Span) -> dict[str, Column]:
        while self._group < span.group:
            self._columns = {}  # let go of the old group before waiting for the next
            self._columns = next(self._decoded)
            self._group += 1
        return slice_columns(self._columns, span.first, span.last)


def decode_ahead(
    read: Callable[[Group], Decoded], groups: Iterable[Group]
) -> Generator[Decoded, None, None]:
    """What `read` makes of each row group, in order, at most `_AHEAD` of them waiting.

    An error comes out where its row group would have. Closing ends the threads.
    """
    process = os.getpid()
    pool = ThreadPoolExecutor(min(_DECODERS, get_num_threads()), "ragmask-decode")
    waiting: deque[Future[Decoded]] = deque()
    coming = iter(groups)
    try:
        while True:
            if os.getpid() != process:  # a fork copies this loop, and not its threads
                raise StreamError("this loop began before a fork: begin a new one in the child")
            waiting.extend(
                pool.submit(read, group) for group in islice(coming, _AHEAD + 1 - len(waiting))
            )
            if not waiting:
                return
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=os.getpid() == process, cancel_futures=True)


def _as_batch(result: Any, function: MapFunction) -> Batch:
    if isinstance(result, Batch):
        return result
    if isinstance(result, Mapping):
        return Batch(result)
    name = getattr(function, "__name__", repr(function))
    raise UnsupportedTypeError(
        f"map({name}) must return a Batch or a dict of columns; got {type(result).__name__}"
    )
