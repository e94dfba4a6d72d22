"""A stream in parts, each read and written by itself, in any process: an engine's tasks."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ragmask.errors import InvalidInputError, StreamError
from ragmask.files import beside, cannot_write, shown
from ragmask.streaming.batch import Batch, delivered, read_batch
from ragmask.streaming.epoch import Epoch
from ragmask.streaming.maps import mapped
from ragmask.streaming.plan import Place, Window, left
from ragmask.streaming.sink import alike, write_parquet
from ragmask.streaming.stream import Stream


@dataclass(frozen=True)
class Parts:
    """What a stream has before it, a window a part.

    >>> import ragmask as rm
    >>> from ragmask.data import JAPANESE_VOWELS
    >>> from ragmask.streaming.parts import Parts
    >>> parts = Parts.of(rm.stream(JAPANESE_VOWELS).batch(rows=64))
    >>> sum(batch.num_rows for number in range(len(parts)) for batch in parts.read(number))
    640

    Part after part holds the stream's rows, in its order; a stream of no rows has one part, of
    none. Batches end with their part. It can be pickled, and then holds what the files' footers
    say, so that nobody has to read them again.
    """

    stream: Stream
    epoch: Epoch = field(repr=False)
    windows: tuple[Window, ...] = field(repr=False)

    @classmethod
    def of(cls, stream: Stream) -> "Parts":
        """Raises InvalidInputError for a stream that leaves rows out, or repeats some."""
        stream = stream._cut()
        if stream._settings.drop_last or stream._settings.shard.even:
            raise InvalidInputError(
                "drop_last and even=True are for batches of a whole stream, which is read in "
                "parts here: leave them out"
            )
        start = stream._start()
        epoch = stream._epoch(start)
        windows = left(epoch.hands[stream._settings.shard.rank], start.place)
        # a part is one window, so there is nothing to decode ahead
        epoch = replace(epoch, settings=replace(epoch.settings, prefetch=0))
        return cls(stream, epoch, tuple(windows) or (Window(0, 0),))

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def schema(self) -> Any:
        """The pyarrow schema of the batches."""
        return self.stream._empty().schema

    def read(self, number: int) -> Iterator[Batch]:
        """The batches of a part. They know their rows' numbers, and have no state."""
        if self.windows[number].rows == 0:
            return
        fields, metadata = self.stream._fields
        with closing(self.epoch._batches([self.windows[number]], Place())) as batches:
            for _, _, part in batches:
                batch = mapped(read_batch(part.columns, fields, metadata), self.stream._maps)
                yield delivered(batch, None, part.row_ids, False)

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
