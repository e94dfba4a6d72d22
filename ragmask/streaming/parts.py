"""A stream in parts that other processes deliver, batch by batch as the stream would."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ragmask.errors import InvalidInputError, StreamError
from ragmask.files import beside, cannot_write, shown
from ragmask.streaming.batch import Batch
from ragmask.streaming.epoch import Epoch
from ragmask.streaming.plan import Place, number_of_batches
from ragmask.streaming.settings import WINDOW_ROWS
from ragmask.streaming.sink import alike, write_parquet
from ragmask.streaming.source import Source
from ragmask.streaming.state import State
from ragmask.streaming.stream import Stream


class Part(NamedTuple):
    """Batches one after the other: where they begin, and how many they are."""

    start: State
    batches: int


@dataclass(frozen=True)
class Parts:
    """What is left of a stream's epoch, in parts.

    >>> import ragmask as rm
    >>> from ragmask.data import JAPANESE_VOWELS
    >>> from ragmask.streaming.parts import Parts
    >>> parts = Parts.of(rm.stream(JAPANESE_VOWELS).batch(rows=64), workers=2)
    >>> sum(batch.num_rows for number in range(len(parts)) for batch in parts.read(number))
    640

    Part after part delivers the stream's own batches, in its order; a stream of none has one part,
    of none. It can be pickled, and then holds what the files' footers say, so that nobody has to
    read them again, and their absolute paths.
    """

    stream: Stream
    all: tuple[Part, ...]

    @classmethod
    def of(cls, stream: Stream, workers: int = 1) -> "Parts":
        """In as few parts as keep so many workers busy, of what `sendable` takes."""
        stream = sendable(stream)
        none = Part(stream._start(), 0)
        return cls(stream, tuple(_cut(stream, workers)) or (none,))

    def __len__(self) -> int:
        return len(self.all)

    @property
    def schema(self) -> Any:
        """The pyarrow schema of the batches."""
        return self.stream._empty().schema

    def read(self, number: int) -> Iterator[Batch]:
        """The batches of a part."""
        part = self.all[number]
        batches = self.stream._batches(part.start)
        with closing(batches):  # type: ignore[type-var]
            yield from islice(batches, part.batches)

    # -- written, as a folder of Parquet files -------------------------------------------------

    def file_name(self, number: int) -> str:
        """The names' order is the rows'."""
        digits = max(5, len(str(len(self) - 1)))
        return f"part-{number:0{digits}}.parquet"

    def write(self, number: int, function: Callable[[Batch], Any], folder: Path, like: Any) -> int:
        """Write the tables that a function makes of a part's batches; returns its rows.

        folder : the one that `whole_folder` gave. The file gets its name once it is whole, and
            takes the place of an earlier attempt's: one that is late, or dead, leaves nothing.
        like : the schema of all tables.
        """
        target = folder / self.file_name(number)
        attempt = beside(folder.parent / target.name)
        tables = alike(map(function, self.read(number)), like)
        rows = write_parquet(tables, attempt, empty=like.empty_table)
        try:
            attempt.replace(target)
        except OSError as error:
            raise cannot_write(target, error) from error
        return rows

    def check_written(self, folder: Path, rows: Sequence[int]) -> int:
        """Raise StreamError unless all files are there, and no other; returns their rows."""
        names = {self.file_name(number) for number in range(len(self))}
        there = {path.name for path in folder.iterdir()}
        if names != there:
            raise StreamError(
                f"{shown(folder)} lacks {len(names - there):,} of {len(names):,} files that were "
                "written to it: does every worker see this folder?"
            )
        for number, expected in enumerate(rows):
            path = folder / self.file_name(number)
            try:
                found = pq.read_metadata(path).num_rows
            except (OSError, pa.ArrowException) as error:
                raise StreamError(f"{shown(path)} cannot be read again: {error}") from error
            if found != expected:
                raise StreamError(f"{shown(path)} has {found:,} rows, and not {expected:,}")
        return sum(rows)


def sendable(stream: Stream) -> Stream:
    """The stream for processes elsewhere, which decode on the thread that computes.

    Raises InvalidInputError for `shard(even=True)`, which repeats rows.
    """
    stream = stream._cut()
    source = stream._source
    if not isinstance(source, Source) or stream._settings.epochs != 1:
        raise InvalidInputError(
            "a stream that is mixed, cut by take() or skip() in an order of its own, or repeated "
            "is read by one process after the other, and not in parts: write it with to_parquet()"
        )
    if stream._settings.shard.even:
        raise InvalidInputError("shard(even=True) repeats rows: pass a stream without it")
    made = replace(stream.prefetch(0), _source=source.anchored())
    made._progress.start, made._progress.epoch = stream._progress.start, stream._progress.epoch
    return made


def _cut(stream: Stream, workers: int) -> Iterator[Part]:
    """Each part ends where a batch does: at the first one after a window's end where there are
    windows enough, for a window that is cut is decoded on both sides of the cut.
    """
    settings, start = stream._settings, stream._start()
    rows = settings.rows
    assert rows is not None
    epoch, stood = stream._epoch(start), start.place
    assert isinstance(epoch, Epoch)
    assert isinstance(stood, Place)
    first = stood.window
    windows = epoch.hands[settings.shard.rank][first:]
    done = [window.done for window in windows]
    if done:
        done[0] = max(done[0], stood.item)
    with closing(epoch.count_items(windows)) as counts:
        sizes = [items - less for items, less in zip(counts, done, strict=True)]
    starts = list(accumulate(sizes, initial=0))

    def place(batch: int) -> Place:
        item = batch * rows
        window = bisect_right(starts, item) - 1
        return Place(first + window, done[window] + item - starts[window])

    batches = number_of_batches(starts[-1], rows, settings.drop_last)
    # the batches in which windows end, and the first of the next
    ends = [-(-end // rows) for end in starts[1:]]
    most = max(1, -(-batches // workers))
    least = min(max(1, WINDOW_ROWS // rows), -(-most // 4))
    begin = 0
    while begin < batches:
        position = bisect_left(ends, begin + least)
        until = min(ends[position] if position < len(ends) else batches, begin + most, batches)
        yield Part(start._replace(place=place(begin)), until - begin)
        begin = until
