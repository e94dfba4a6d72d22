"""Stream: a data set as batches, decoded ahead in the background, in bounded memory."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ragmask import arrow
from ragmask.arrays.protocol import LARGEST
from ragmask.arrow import Nulls, is_list
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.rows.checks import check_count
from ragmask.streaming.ahead import check_process
from ragmask.streaming.arrange import (
    PACKED,
    Budget,
    Packing,
    Rows,
    packed_fields,
    padded_steps,
)
from ragmask.streaming.batch import Batch, delivered, derived, read_batch
from ragmask.streaming.epoch import WINDOW_ROWS, Epoch, Settings, Shard, Shuffle
from ragmask.streaming.files import Paths
from ragmask.streaming.formats import Options
from ragmask.streaming.reader import Reader
from ragmask.streaming.retry import Retry
from ragmask.streaming.sink import Advance, alike, write_parquet
from ragmask.streaming.source import Items, Missing, Source
from ragmask.streaming.state import State, resume

_MOST_RANKS = 1 << 20  # the windows of each are known to all
MapFunction = Callable[[Batch], Batch | Mapping[str, Any]]


def stream(
    paths: Paths,
    columns: Iterable[str] | None = None,
    *,
    filter: Any = None,
    filesystem: Any = None,
    nulls: Nulls = "empty",
    memory_map: bool = True,
    items: Items = None,
    missing: Missing = "error",
    verify: bool = False,
    decryption_properties: Any = None,
    retries: int = 4,
    timeout: float = 60.0,
) -> "Stream":
    """Stream ragged data from Parquet or Arrow IPC files, or from a table in memory.

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
    paths : a file, a folder (searched through, in sorted order), a glob, a URI such as
        "s3://bucket/folder", or several of them. A file's first bytes tell its format: Parquet,
        an Arrow IPC file, or an Arrow IPC stream, as Hugging Face's save_to_disk writes it.
        Folders named `key=value` below a folder or glob become columns. Also what is in memory:
        anything with `__arrow_c_stream__` (tables of pyarrow, polars, pandas, DuckDB), bytes, and
        files open in binary mode (read whole, unless they lie on a disk).
    columns : names of those to read; by default all. `"answers.start"` is a field of structs, or
        of lists of them, at any depth; nothing else of its column is read.
    filter : keep only rows for which it is true: a pyarrow.compute expression, or tuples as
        `[("label", "==", 3)]`. Row groups whose statistics rule them out are not read.
    filesystem : a pyarrow.fs or fsspec file system that the paths are on.
    nulls : "empty" reads a null list as an empty row, "error" raises and names it. A column of
        any kind of lists is looked at.
    items : of lists of lists of one size, {column: size}, or "vectors" to find it for all such
        columns: their inner lists are read as steps of so many features, (n, size).
    missing : "null" reads a column that a file lacks as nulls, "error" names the file.
    verify : check the checksums of Parquet's pages, where the writer put them in: pyarrow does
        with `write_page_checksum=True`, parquet-mr (Spark) by default. Without, a damaged page
        may decode to other values in silence.
    decryption_properties : of pyarrow.parquet.encryption, for encrypted Parquet files.
    memory_map : map uncompressed Arrow IPC files, whose batches are then views of the file.
        Who cuts a file short under a map kills the process that reads it; False avoids it.
        Parquet files are never mapped.
    retries, timeout : for files that are not local: how often a failed read is tried again,
        after 0.1, 0.2, 0.4, … seconds, and after how many seconds one counts as failed.

    Returns a Stream. Raises StreamError, naming the file and the column, for a path that is
    not there, an empty folder, an unreadable file or a missing column; InvalidInputError for
    a filter that does not fit the columns.

    Files may differ in how they keep a column, as long as one type holds the values of all
    without loss: list or large list, int32 or int64, dictionaries or plain, nulls alone.
    """
    source = Source.open(
        paths,
        columns,
        nulls,
        Options(bool(memory_map), bool(verify), decryption_properties),
        filter=filter,
        filesystem=filesystem,
        retry=Retry(retries, timeout),
        missing=missing,
        items=items,
    )
    return Stream(source)


class Progress:
    """Where a stream stands: the only thing about it that changes."""

    def __init__(self) -> None:
        self.epoch = 0
        self.start: State | None = None  # where the next `for` begins, if not at the epoch's start
        self.last: State | None = None  # after the last batch that was delivered


class PaddingReport(NamedTuple):
    """What batches cost padded. All but the first two count steps."""

    batches: int
    rows: int
    real: int
    padded: int
    padded_unbucketed: int

    @property
    def saved(self) -> float:
        """The share of the padding that bucketing saves."""
        before = self.padded_unbucketed - self.real
        return 1 - (self.padded - self.real) / before if before else 0.0

    def __str__(self) -> str:
        now, before = (
            1 - self.real / steps if steps else 0.0
            for steps in (self.padded, self.padded_unbucketed)
        )
        mean = self.rows / max(1, self.batches)
        return (
            f"{self.batches:,} batches of {mean:,.0f} rows on average: {now:.1%} padding; "
            f"{before:.1%} unbucketed, of which {self.saved:.0%} is saved"
        )


@dataclass(frozen=True, repr=False)
class Stream:
    """A data set as batches. Made by `ragmask.stream`; every method returns a new stream.

    >>> import ragmask as rm
    >>> from ragmask.data import JAPANESE_VOWELS
    >>> s = rm.stream(JAPANESE_VOWELS).shuffle(seed=7).batch(tokens=4096, column="frames")
    >>> batches = iter(s)
    >>> state = next(batches).state  # JSON-able: where to go on after this batch
    >>> s.load_state_dict(state)
    >>> next(iter(s))["frames"].n_steps == next(batches)["frames"].n_steps
    True

    **Order.** Each epoch reads every row exactly once. Row groups come in file order, or with
    `shuffle` in an order drawn anew each epoch, and are decoded window by window; rows are
    shuffled, bucketed or packed inside their window. The order depends on the files, the
    settings, the seed and the epoch alone.

    **Resuming.** A `for` begins at the loaded state, else at the epoch's start; when it is
    exhausted, the next epoch's turn has come. `state_dict()`, and each batch's `state`, say
    where to go on.

    **Memory.** At its peak a stream holds `prefetch + 2` windows, and what two of them need to
    be decoded: their compressed bytes, one column's pages, and for lists 4 to 8 bytes a value.
    A window is one row group in file order, and else as many whole row groups as make up
    `window_rows`, but at least one. The number and size of files do not matter.
    """

    _source: Source
    _settings: Settings = field(default_factory=Settings)
    _maps: tuple[MapFunction, ...] = ()
    _progress: Progress = field(default_factory=Progress, compare=False)

    # -- what to deliver ------------------------------------------------------------------

    def batch(
        self,
        rows: int | None = None,
        drop_last: bool = False,
        *,
        tokens: int | None = None,
        column: str | None = None,
        bucket: bool = True,
    ) -> "Stream":
        """Batches of `rows` rows (by default 256), or of at most `tokens` padded steps.

        >>> import ragmask as rm
        >>> from ragmask.data import JAPANESE_VOWELS
        >>> s = rm.stream(JAPANESE_VOWELS).shuffle(seed=0).batch(tokens=1024, column="frames")
        >>> [batch.num_rows for batch in s][:4]
        [53, 56, 48, 64]

        Parameters
        ----------
        rows : of a batch; the last is shorter, or left out with `drop_last`.
        tokens : the most padded steps of a batch, rows × longest row. A longer row is a batch
            alone, and an empty row counts as one step.
        column : whose steps count; may be left out where just one column is ragged.
        bucket : put rows of similar lengths together, inside each window. Without it, rows
            are taken as they come. Shuffled streams shuffle the batches again.

        A batch is a view of its decoded window. One that spans two windows copies only itself.
        """
        if tokens is None:
            if column is not None:
                raise InvalidInputError("column= needs tokens=: batch(tokens=16_384, column=…)")
            size = check_count("rows", 256 if rows is None else rows, 1)
            return self._with(rows=size, drop_last=bool(drop_last), budget=None)
        if rows is not None:
            raise InvalidInputError("pass rows= or tokens=, not both")
        if drop_last:
            raise InvalidInputError("drop_last needs rows=: batches by tokens= differ in rows")
        if self._settings.packing:
            raise InvalidInputError("packed sequences all have one length: batch them with rows=")
        budget = Budget(
            min(check_count("tokens", tokens, 1), LARGEST), self._ragged(column), bool(bucket)
        )
        return self._with(rows=1, drop_last=False, budget=budget)

    def pack(self, length: int, column: str | None = None) -> "Stream":
        """Lay rows into sequences of at most `length` steps; `batch(rows=)` then counts those.

        >>> import ragmask as rm
        >>> from ragmask.data import JAPANESE_VOWELS
        >>> batch = next(iter(rm.stream(JAPANESE_VOWELS).pack(128, "frames").batch(rows=4)))
        >>> batch["frames"].lengths
        array([128, 124, 120, 128])
        >>> batch["cu_seqlens"][0]  # where the rows in the first sequence begin and end
        array([  0,  26,  48,  73, 102, 128], dtype=int32)

        Rows are kept whole, each in the fullest sequence that has room (best-fit decreasing,
        inside each window); a row longer than `length` is cut. Columns with the same lengths
        are packed alike, and a column of one value a row has, for each sequence, those of its
        rows. Three Ragged columns are added: `row_ids` (for each step, the number of its row in
        the data set), `positions` (for each step, its number in its row) and `cu_seqlens` (for
        each sequence, the cumulative lengths of its rows, from 0; int32, as attention kernels
        for variable lengths take them).
        """
        if self._settings.budget:
            raise InvalidInputError("packed sequences all have one length: batch them with rows=")
        taken = [name for name in PACKED if name in self._source.columns]
        if taken:
            raise InvalidInputError(
                f"packing adds a column {taken[0]!r}, and the files have one: name others with "
                "columns="
            )
        packing = Packing(min(check_count("length", length, 1), LARGEST), self._ragged(column))
        return self._with(packing=packing)

    def shuffle(self, seed: int, window_rows: int = WINDOW_ROWS) -> "Stream":
        """Random order, another each epoch: row groups, and rows inside windows of row groups.

        `window_rows` bounds how far rows mix, and the memory: a window is as many whole row
        groups as make up so many rows, but at least one.
        """
        rows = check_count("window_rows", window_rows, 1)
        return self._with(shuffle=Shuffle(check_count("seed", seed), rows))

    def shard(self, rank: int, world_size: int, *, even: bool = False) -> "Stream":
        """The share of one of `world_size` processes. Together they read every row once.

        Shares differ by one row at most, whatever the number of row groups. With `even`, every
        rank delivers the same number of batches: a rank short of batches delivers its last
        once more, marked as `batch.repeated`; a rank without any, another's first. With
        `tokens=` or packing, that takes one pass over the column's lengths at the start of an
        epoch; with a filter, one over the columns it looks at. Each rank makes it, in the
        background and in bounded memory, and states keep what it came to.
        """
        world_size = check_count("world_size", world_size, 1, _MOST_RANKS)
        if check_count("rank", rank) >= world_size:
            raise InvalidInputError(f"rank must be less than world_size, {world_size}; got {rank}")
        return self._with(shard=Shard(int(rank), world_size, bool(even)))

    def map(self, function: MapFunction) -> "Stream":
        """Apply `function` to each batch; it takes a Batch and gives a Batch or a dict."""
        if not callable(function):
            raise UnsupportedTypeError(f"map takes a function of a batch; got {function!r}")
        return Stream(self._source, self._settings, (*self._maps, function))

    def prefetch(self, n: int) -> "Stream":
        """Decode `n` windows ahead of the one in use (by default 3); 0 uses no thread."""
        return self._with(prefetch=check_count("n", n, most=LARGEST))

    # -- what it is -----------------------------------------------------------------------

    @property
    def schema(self) -> Any:
        """The pyarrow schema of the streamed columns, as they lie in the files.

        Where files differ, the types that hold the values of all; every footer is read for it.
        """
        return self._source.schema

    @property
    def paths(self) -> tuple[str, ...]:
        """The files, in the order they are read."""
        return self._source.paths

    @property
    def num_rows(self) -> int:
        """The rows of this shard, from footers alone.

        Raises UnsupportedTypeError where a filter decides it.
        """
        self._check_no_filter()
        epoch = Epoch(self._source, self._settings, 0)
        return sum(window.rows for window in epoch.hands[self._settings.shard.rank])

    def __len__(self) -> int:
        """The number of batches in an epoch once `.batch()` is there, of rows before.

        Raises UnsupportedTypeError where row counts alone do not decide it.
        """
        settings = self._settings
        self._check_no_filter()
        if not isinstance(settings.arrangement, Rows):  # a TypeError: list(stream) asks and goes on
            raise UnsupportedTypeError(
                "len() of this stream is unknown: the number of batches depends on row lengths"
            )
        if settings.rows is None:
            return self.num_rows
        batches = self._epoch(self._progress.last or self._start()).batches_of_ranks()
        return max(batches) if settings.shard.even else batches[settings.shard.rank]

    def __bool__(self) -> bool:
        return True  # else `if stream:` would read every footer

    def measure_padding(self) -> PaddingReport:
        """What batches by `tokens=` cost padded, and what the same rows would cost unbucketed.

        >>> import ragmask as rm
        >>> from ragmask.data import JAPANESE_VOWELS
        >>> s = rm.stream(JAPANESE_VOWELS).shuffle(seed=0).batch(tokens=1024, column="frames")
        >>> print(s.measure_padding())
        11 batches of 58 rows on average: 5.4% padding; 37.1% unbucketed, of which 90% is saved

        One pass over the column's lengths.
        """
        budget = self._settings.budget
        if budget is None:
            raise InvalidInputError("measure_padding is for batches by tokens=")
        epoch = self._epoch(self._start())
        counts = np.zeros(5, np.int64)
        for window, lengths in epoch.lengths(epoch.hands[self._settings.shard.rank]):
            key = epoch.key(window)
            order, ends = budget.cut(lengths, key)
            batches, rows = len(ends) - 1, len(lengths)
            unordered = Rows().order(rows, key)
            cuts = np.linspace(0, rows, batches + 1).astype(np.int64)
            counts += [
                batches,
                rows,
                lengths.sum(),
                padded_steps(lengths[order], ends),
                padded_steps(lengths[unordered], cuts),
            ]
        return PaddingReport(*counts.tolist())

    # -- where it stands ------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Where to go on after the last batch that was delivered: small and JSON-able."""
        progress = self._progress
        return (progress.last or self._start()).to_dict()

    def load_state_dict(self, state: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
        """Begin the next `for` where a state says: that of a batch, or of `state_dict()`.

        To go on with another number of ranks, pass the list of all old ranks' states: what is
        left is dealt out in whole windows (the rest of an open one is dealt as one), every
        row once.

        Raises InvalidInputError, saying what differs, for a state of another data set, other
        settings or another version, for one that was altered, and for lists that lack a rank.
        """
        start = resume(state, self._fresh(0))
        self._epoch(start).check(start.place)
        self._progress.start, self._progress.last = start, None
        self._progress.epoch = start.epoch

    def set_epoch(self, epoch: int) -> None:
        """Begin the next `for` at the start of this epoch; at a loaded state, where it is of it."""
        epoch = check_count("epoch", epoch)
        if epoch != self._progress.epoch or self._progress.start is None:
            self._progress.start = self._progress.last = None
            self._progress.epoch = epoch

    # -- reading --------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Batch]:
        if self._settings.rows is None:
            raise InvalidInputError("choose the batches first: .batch(rows=256)")
        start = self._start()
        self._progress.start, self._progress.last = None, start
        return self._batches(start)

    def _batches(self, start: State) -> Iterator[Batch]:
        """The batches from `start` to the end of its epoch."""
        progress, process = self._progress, os.getpid()
        fields, metadata = self._fields
        with closing(self._epoch(start).deliver(start)) as deliveries:
            for part, state, repeated in deliveries:
                given = read_batch(part.columns, fields, metadata)
                rows = given.num_rows
                batch = self._mapped(given) if self._maps else given
                if self._settings.shard.even and batch.num_rows != rows:
                    raise InvalidInputError(
                        "even=True cannot be used with a map that changes the number of rows: it "
                        f"made {batch.num_rows} of {rows}"
                    )
                progress.last = state
                yield delivered(batch, state, part.row_ids, repeated)
                del given, batch, part
                check_process(process)
        progress.epoch, progress.start, progress.last = start.epoch + 1, None, None

    def _mapped(self, batch: Batch) -> Batch:
        for function in self._maps:
            batch = derived(_columns_of(function, batch), batch)
        return batch

    @cached_property
    def _fields(self) -> tuple[dict[str, Any], Any]:
        """The fields of a batch's columns before any map, and their metadata."""
        schema = self._source.schema
        fields = {one.name: one for one in schema}
        if self._settings.packing:
            fields = packed_fields(fields)
        return fields, schema.metadata

    def empty_batch(self) -> Batch:
        """A batch of no rows, as the first map would get it: what columns there are.

        >>> import ragmask as rm
        >>> from ragmask.data import JAPANESE_VOWELS
        >>> rm.stream(JAPANESE_VOWELS, ["frames", "speaker"]).empty_batch()
        Batch of 0 rows
          frames   Ragged, 0 steps of 12 float32
          speaker  array of int8
        """
        columns, row_ids = Reader(self._source).empty()
        arranged = self._settings.arrangement.arrange(columns, row_ids, None)
        return read_batch(arranged.take(0, arranged.items).columns, *self._fields)

    def _empty(self) -> Any:
        """A table of no rows, with the columns that batches have."""
        try:
            return self._mapped(self.empty_batch()).to_arrow()
        except Exception as error:
            raise InvalidInputError(
                "the stream has no batches, and its columns are unknown, since a map "
                f"fails on a batch of no rows: {error}"
            ) from error

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """The Arrow PyCapsule interface: batches one by one, in bounded memory.

        `pl.from_arrow(stream)`, `pa.RecordBatchReader.from_stream(stream)`, and DuckDB's queries
        read an epoch's batches, or rows as they lie.
        """
        schema = self._empty().schema
        tables = alike((batch.to_arrow() for batch in self._cut()), schema)
        batches = (batch for table in tables for batch in table.to_batches())
        reader = pa.RecordBatchReader.from_batches(schema, batches)
        return reader.__arrow_c_stream__(requested_schema)

    def to_parquet(self, path: str | os.PathLike[str], *, progress: Advance | None = None) -> int:
        """Write the batches, or the rows as they lie, to a Parquet file; returns its rows.

        The file appears under its name when it is whole, and not at all after an error. Row
        groups hold about 64 MB of values. `progress` is called with the rows written so far.
        Columns have the types they came in, but for those that Parquet lacks (run ends). A
        stream without a batch becomes a file of no rows.

        Raises StreamError, naming the file, where the disk fails, and for a name that may not be
        given: of a link, a device or a pipe, or inside a saved model's folder.
        """
        tables = (batch.to_arrow() for batch in self._cut())
        return write_parquet(tables, path, progress, self._empty)

    def to_arrow(self) -> Any:
        """All batches of the epoch, or the rows as they lie, as one pyarrow Table in memory."""
        tables = list(alike(batch.to_arrow() for batch in self._cut()))
        return pa.concat_tables(tables) if tables else self._empty()

    def _cut(self) -> "Stream":
        shuffle = self._settings.shuffle
        most = shuffle.window_rows if shuffle else 1024
        return self if self._settings.rows is not None else self.batch(rows=min(1024, most))

    # -- inside ---------------------------------------------------------------------------

    def _with(self, **changes: Any) -> "Stream":
        """The stream with other settings, at its start."""
        settings = replace(self._settings, **changes)
        if settings.shuffle and settings.rows and settings.shuffle.window_rows < settings.rows:
            raise InvalidInputError(
                f"a window of {settings.shuffle.window_rows:,} rows is smaller than a batch of "
                f"{settings.rows:,}: shuffle(window_rows=) must be at least the batch's rows"
            )
        return Stream(self._source, settings, self._maps)

    def _fresh(self, epoch: int) -> State:
        """The start of an epoch."""
        shard = self._settings.shard
        settings = self._settings.to_dict() | {"filter": self._source.filter_text}
        if self._source.filter is not None:
            settings["row_groups"] = len(self._source.groups)  # that statistics did not rule out
        return State(self._source.fingerprint, settings, epoch, shard.rank, shard.world_size)

    def _start(self) -> State:
        """Where the next `for` begins."""
        return self._progress.start or self._fresh(self._progress.epoch)

    def _epoch(self, state: State) -> Epoch:
        return Epoch(self._source, self._settings, state.epoch, state.deals)

    def _ragged(self, column: str | None) -> str:
        """The column whose lengths count."""
        schema = self._source.schema
        ragged: list[str] = [one.name for one in schema if is_list(arrow.workable(one.type))]
        if column is None:
            if len(ragged) == 1:
                return ragged[0]
            which = f"one of {', '.join(ragged)}" if ragged else "but none is ragged"
            raise InvalidInputError(f"name the column whose lengths count, {which}: column=…")
        if column not in ragged:
            raise InvalidInputError(
                f"column {column!r} has no lengths to count; ragged are: {', '.join(ragged) or '–'}"
            )
        return column

    def _check_no_filter(self) -> None:
        if self._source.filter is not None:
            raise UnsupportedTypeError(
                "len() of this stream is unknown: it depends on the rows the filter keeps"
            )

    def __repr__(self) -> str:
        files, settings = len(self._source.paths), self._settings
        head = f"Stream of {files} file{'s' * (files != 1)}"
        if settings.budget:
            head += f" in batches of at most {settings.budget.tokens:,} padded steps"
        elif settings.rows is not None:
            items = "sequences" if settings.packing else "rows"
            head += f" in batches of {settings.rows:,} {items}"
        lines = [head]
        if settings.shuffle:
            shuffle = settings.shuffle
            window = f"{shuffle.window_rows:,} rows a window"
            lines.append(f"  shuffled by seed {shuffle.seed}, {window}")
        if settings.packing:
            lines.append(f"  packed into sequences of {settings.packing.length:,} steps")
        if settings.shard.world_size > 1:
            lines.append(f"  rank {settings.shard.rank} of {settings.shard.world_size}")
        if self._source.filter is not None:
            lines.append(f"  where {self._source.filter_text}")
        fields = [f"  {field.name}: {field.type}" for field in self._source.first_schema]
        return "\n".join([*lines, *fields])


def _columns_of(function: MapFunction, batch: Batch) -> Mapping[str, Any]:
    """What a map makes of a batch."""
    name = getattr(function, "__name__", repr(function))
    try:
        result = function(batch)
    except StopIteration as error:
        raise InvalidInputError(
            f"map({name}) raised StopIteration, which would end the loop early: give next() a "
            "default inside the function"
        ) from error
    if isinstance(result, Mapping):
        return result
    raise UnsupportedTypeError(
        f"map({name}) must return a Batch or a dict of columns; got {type(result).__name__}"
    )
