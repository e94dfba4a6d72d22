"""Stream: a data set as batches, decoded ahead in the background, in bounded memory."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pyarrow as pa

from ragmask.arrays.protocol import LARGEST
from ragmask.errors import InvalidInputError, MissingAttributeError, UnsupportedTypeError
from ragmask.markup import short
from ragmask.rows.checks import check_count
from ragmask.streaming.access import OwnRows, numbers_of, row_of
from ragmask.streaming.ahead import check_process
from ragmask.streaming.batch import Batch, delivered, read_batch, twin
from ragmask.streaming.chain import draw_stream
from ragmask.streaming.delivery import AnyEpoch
from ragmask.streaming.elsewhere import remedy_for
from ragmask.streaming.epoch import Epoch
from ragmask.streaming.lockstep import in_lockstep
from ragmask.streaming.maps import mapped
from ragmask.streaming.measures import Watch
from ragmask.streaming.mixed import counts_alone, epoch_of
from ragmask.streaming.mixture import Mixture, Recipe
from ragmask.streaming.origins import numbers_of as ids_of
from ragmask.streaming.plan import DRAWS, Place
from ragmask.streaming.progress import begin_loop, check_progress
from ragmask.streaming.report import PaddingReport, StreamReport, make_report, measure_padding
from ragmask.streaming.settings import Settings, Shard
from ragmask.streaming.shaping import MOST_RANKS, Shaped
from ragmask.streaming.sink import Advance, alike, write_parquet
from ragmask.streaming.source import Source
from ragmask.streaming.state import State, Stints, resume

_UNBATCHED = "choose the batches first: .batch(rows=256)"

# said to whoever takes a stream for an array or a torch Dataset, as those libraries would
_FOR_TORCH = (
    "under torch's DataLoader, wrap it: "
    "DataLoader(ragmask.interop.torch.StreamDataset(stream), batch_size=None)"
)
_NO_ARRAY = (
    "a Stream is no array: iterate over it, for batch in stream.batch(rows=256); for the fit() of "
    "a Keras model, wrap it: ragmask.interop.keras.StreamDataset(stream, x=…, y=…); " + _FOR_TORCH
)


@dataclass(frozen=True, repr=False)
class Stream(Shaped):
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
    `window_rows`, but at least one; or a piece of a row group of more than about 128 MB. The
    number and size of files do not matter.
    """

    # -- what it is -----------------------------------------------------------------------

    @property
    def schema(self) -> Any:
        """The pyarrow schema of the streamed columns, as they come before any map.

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

        Raises UnsupportedTypeError where a filter decides it, or whole batches are drawn.
        """
        self._check_no_filter()
        epoch = epoch_of(self._source, self._settings, 0)
        return epoch.rows_left(self._settings.shard.rank, Place())

    def __len__(self) -> int:
        """The number of batches in an epoch once `.batch()` is there, of rows before.

        Raises UnsupportedTypeError where row counts alone do not decide it.
        """
        settings = self._settings
        self._check_no_filter()
        # a TypeError: list(stream) asks and goes on
        if settings.epochs is None:
            raise UnsupportedTypeError("this stream has no length: it is repeated without end")
        if not counts_alone(self._source, settings):
            raise UnsupportedTypeError(
                "len() of this stream is unknown: the number of batches depends on row lengths; "
                "count_batches() counts them in one pass; " + _FOR_TORCH
            )
        start = self._progress.last or self._start()
        if settings.rows is None:
            if isinstance(self._source, Source):
                return self.num_rows * settings.epochs
            first = start.epoch // settings.epochs * settings.epochs
            numbers = range(first, first + settings.epochs)
            of = (epoch_of(self._source, settings, number) for number in numbers)
            return sum(epoch.rows_left(settings.shard.rank, Place()) for epoch in of)
        batches = self._epoch(start).batches_of_ranks()
        size = max(batches) if settings.shard.even else batches[settings.shard.rank]
        for epoch in range(start.epoch + 1, self._last_epoch(start.epoch) or 0):
            size += epoch_of(self._source, settings, epoch).batches_left(self._fresh(epoch))
        return size

    def count_batches(self, epoch: int | None = None) -> int:
        """The number of batches that the next `for` gives, or those of a whole epoch.

        >>> import ragmask as rm
        >>> from ragmask.data import JAPANESE_VOWELS
        >>> rm.stream(JAPANESE_VOWELS).batch(tokens=1024, column="frames").count_batches()
        11

        Where row counts alone do not decide it, by one pass over the column whose steps count, or
        over those of the filter.
        """
        if self._settings.rows is None:
            raise InvalidInputError(_UNBATCHED)
        if epoch is not None:
            start = self._fresh(check_count("epoch", epoch))
            return self._epoch(start).batches_left(start)
        start = self._start()
        last = self._last_epoch(start.epoch)
        if last is None:
            raise UnsupportedTypeError("this stream has no last batch: it is repeated without end")
        starts = (start, *map(self._fresh, range(start.epoch + 1, last)))
        return sum(self._epoch(one).batches_left(one) for one in starts)

    # -- looking at rows ------------------------------------------------------------------

    def __getitem__(self, index: Any) -> Any:
        """A row by number, as a dict, or several as a Batch, before `.batch()`.

        >>> import ragmask as rm
        >>> from ragmask.data import JAPANESE_VOWELS
        >>> s = rm.stream(JAPANESE_VOWELS, ["frames", "speaker"])
        >>> row = s[-1]
        >>> row["frames"].shape, row["speaker"]
        ((11, 12), np.int8(9))
        >>> s[[500, 3]]["frames"].lengths
        array([17, 20])

        index : an integer, a slice, or integers in a list or an array; negative ones count from
            the end. Rows are numbered from 0 as they lie in the data set, whatever `shuffle` says;
            those of a shard or of a part of `split`, by themselves. `row_ids` of a Batch are their
            numbers in the whole.

        A dict holds arrays of a row's steps, single values, and None for nulls. Functions given to
        `map` get the rows asked for as one batch. Each row group with such rows is read, no other,
        once; a few of those decoded last are kept (128 MB at most): neighbours cost little.

        Raises RowIndexError for a row that is not there; UnsupportedTypeError for an index that is
        no number, and for a stream of batches, of packed sequences, or with a filter.
        """
        numbers = numbers_of(index, self._numbered(index))
        if not isinstance(numbers, int):
            return self._looked_up(numbers)
        batch = self._looked_up(np.array([numbers]))
        if batch.num_rows != 1:
            raise InvalidInputError(
                f"stream[{numbers}] is one row, and map made {batch.num_rows:,} of it: "
                f"stream[{numbers}:{numbers + 1}] is a Batch of them"
            )
        return row_of(batch)

    def sample(self, n: int = 5, seed: int = 0) -> Batch:
        """A Batch of `n` rows drawn at random, each once; of fewer where there are fewer.

        >>> import ragmask as rm
        >>> from ragmask.data import JAPANESE_VOWELS
        >>> rm.stream(JAPANESE_VOWELS, ["frames", "speaker"]).sample(3).row_ids
        array([552,  67, 302])

        Reads at most `n` row groups. With a filter, looks at its columns in one row group after
        the other until enough rows have passed. Batches are not made of them, but `pack` and `map`
        do to them what they do to batches. Of a mixture, those are the first rows that it draws in
        the epoch numbered `seed`.
        """
        n, seed = check_count("n", n, most=LARGEST), check_count("seed", seed)
        if isinstance(self._source, Mixture):
            shard = self._settings.shard
            rows = Stream(self._source.as_rows(), Settings(shard=shard), self._maps)
            rows = rows.take(n * shard.world_size).batch(rows=max(1, n))
            rows.set_epoch(seed)
            batch = next(iter(rows), None)
            return mapped(rows.empty_batch(), self._maps) if batch is None else batch
        return self._looked_up(self._rows.draw(n, seed))

    @cached_property
    def _rows(self) -> OwnRows:
        assert isinstance(self._source, Source)
        shard = self._settings.shard
        return OwnRows(self._source, shard.rank, shard.world_size)

    def _numbered(self, index: Any) -> int:
        """How many rows there are to index."""
        if isinstance(index, str):
            raise UnsupportedTypeError(
                f"a Stream has no columns, its batches have: for batch in stream: batch[{index!r}]"
            )
        if self._settings.rows is not None or self._settings.packing:
            raise UnsupportedTypeError(
                f"a Stream of batches has no item {short(repr(index))}: rows are numbered before "
                ".batch() and .pack(), and batches come by iteration; " + _FOR_TORCH
            )
        if self._source.filter is not None:
            raise UnsupportedTypeError(
                f"a Stream with a filter has no item {short(repr(index))}: which rows it keeps is "
                "known once they are read; sample(n) looks at some, to_arrow() reads all"
            )
        if isinstance(self._source, Mixture):
            raise UnsupportedTypeError(
                f"a mixture has no item {short(repr(index))}, nor has what was taken of a stream "
                "in an order of its own: sample(n) looks at some rows, to_arrow() reads all"
            )
        return len(self._rows)

    def _looked_up(self, rows: Any) -> Batch:
        """These rows as a batch, packed and mapped."""
        columns, row_ids = self._rows.take(rows)
        if self._settings.packing:
            packed = self._settings.packing.arrange(dict(columns), row_ids, None)
            columns, row_ids = packed.take(0, packed.items)
        batch = mapped(read_batch(dict(columns), *self._recipe.fields), self._maps)
        return delivered(batch, None, row_ids, repeated=False)

    # What other libraries ask of arrays and Datasets. Keras asks for a shape.

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NoReturn:
        raise UnsupportedTypeError(_NO_ARRAY)

    if not TYPE_CHECKING:  # to a type checker, what is missing stays missing

        def __getattr__(self, name: str) -> Any:
            if name == "shape":
                raise MissingAttributeError(_NO_ARRAY)
            if remedy := remedy_for(name):
                raise MissingAttributeError(f"a Stream has no {name}: {remedy}")
            return object.__getattribute__(self, name)  # which raises what it raised before

    def __bool__(self) -> bool:
        return True  # else `if stream:` would read every footer

    def measure_padding(self) -> PaddingReport:
        """What batches by length cost padded, and what the same rows would cost unbucketed.

        >>> import ragmask as rm
        >>> from ragmask.data import JAPANESE_VOWELS
        >>> s = rm.stream(JAPANESE_VOWELS).shuffle(seed=0).batch(tokens=1024, column="frames")
        >>> print(s.measure_padding())
        11 batches of 58 rows on average: 5.4% padding; 37.1% unbucketed, of which 90% is saved

        One pass over the column's lengths.
        """
        budget = self._settings.budget or self._settings.buckets
        if not isinstance(self._source, Source):
            raise UnsupportedTypeError("measure_padding is for a stream that is not mixed or cut")
        if budget is None:
            raise InvalidInputError("measure_padding is for batches by tokens= or bucket=True")
        start = self._start()
        epoch = Epoch(self._source, self._settings, start.epoch, start.deals)
        return measure_padding(epoch, epoch.hands[self._settings.shard.rank], budget)

    def report(self) -> StreamReport:
        """What the last loop over this stream came to, or the one that runs: what holds it up.

        >>> import ragmask as rm
        >>> from ragmask.data import JAPANESE_VOWELS
        >>> s = rm.stream(JAPANESE_VOWELS).shuffle(seed=0).batch(tokens=1024, column="frames")
        >>> steps = sum(batch["frames"].n_steps for batch in s)
        >>> report = s.report()  # print it, or end a notebook's cell with it
        >>> report.batches, report.rows, report.steps["frames"]
        (11, 640, Steps(real=9961, padded=10528))

        The loop is that of this object: methods return streams of their own, and what runs in
        other processes is theirs. Raises InvalidInputError before any loop.
        """
        return make_report(self._watch, self._source.is_local, self._settings.prefetch)

    @cached_property
    def _watch(self) -> Watch:
        return Watch()

    # -- where it stands ------------------------------------------------------------------

    def __copy__(self) -> "Stream":
        return replace(self, _progress=copy(self._progress))  # else one loop would move the other

    def state_dict(self) -> dict[str, Any]:
        """Where to go on after the last batch that was delivered: small and JSON-able."""
        progress = self._progress
        return (progress.last or self._start()).to_dict()

    def load_state_dict(
        self, state: Mapping[str, Any] | Sequence[Mapping[str, Any]], *, lockstep: bool = False
    ) -> None:
        """Begin the next `for` where a state says: that of a batch, or of `state_dict()`.

        >>> import ragmask as rm
        >>> from ragmask.data import JAPANESE_VOWELS
        >>> first = next(iter(rm.stream(JAPANESE_VOWELS).shard(0, 4).batch(rows=8)))
        >>> s = rm.stream(JAPANESE_VOWELS).shard(1, 2).batch(rows=16)
        >>> s.load_state_dict(first.state, lockstep=True)
        >>> s.count_batches()  # 4 · 8 of the 640 rows are done
        19

        To go on with another number of ranks, or with other `rows` in a batch or of packed
        sequences, pass the list of all old ranks' states: the remaining rows are redistributed in
        whole windows (the rest of an open one counts as one), every row once.

        lockstep : all ranks have delivered as many batches as the one whose state this is, or
            all that they had. One state is then enough.

        Raises InvalidInputError, saying what differs, for a state of another data set, other
        settings or another version, for one that was altered, and for lists that lack a rank.
        """

        def deal(epoch: int, stints: Stints) -> Any:
            shard = self._settings.shard
            whole = epoch_of(self._source, self._settings, epoch)
            return whole.deal(stints, shard.rank, shard.world_size)

        start = resume(state, self._fresh(0), deal, self._in_lockstep if lockstep else None)
        self._epoch(start).check(start.place)
        self._progress.start, self._progress.last = start, None
        self._progress.epoch = start.epoch

    def _in_lockstep(self, state: State) -> list[State]:
        size, settings = check_count("world_size", state.world_size, 1, MOST_RANKS), self._settings
        if not (settings.budget or settings.buckets):
            settings = replace(settings, rows=state.settings["rows"])
        settings = replace(settings, shard=Shard(state.rank, size))
        return in_lockstep(epoch_of(self._source, settings, state.epoch, state.deals), state)

    def set_epoch(self, epoch: int) -> None:
        """Begin the next `for` at the start of this epoch; at a loaded state, where it is of it."""
        epoch = check_count("epoch", epoch)
        if epoch != self._progress.epoch or self._progress.start is None:
            self._progress.start = self._progress.last = None
            self._progress.epoch = epoch

    # -- reading --------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Batch]:
        if self._settings.rows is None:
            raise InvalidInputError(_UNBATCHED)
        start = self._start()
        self._progress.start, self._progress.last = None, start
        return self._loop(start)

    def _loop(self, start: State) -> Iterator[Batch]:
        """The batches from `start` to the end of the last epoch."""
        last = self._last_epoch(start.epoch)
        while True:
            given = 0
            for batch in self._batches(start):
                given += 1
                yield batch
                del batch
            epoch = start.epoch + 1
            if epoch == last:
                return
            if last is None and not given and start == self._fresh(start.epoch):
                return  # else a loop without a batch would have no end
            start = self._fresh(epoch)

    def _last_epoch(self, epoch: int) -> int | None:
        """One past the last epoch of a loop that is in this one; None: there is none."""
        epochs = self._settings.epochs
        return None if epochs is None else (epoch // epochs + 1) * epochs

    def _batches(self, start: State) -> Iterator[Batch]:
        """The batches from `start` to the end of its epoch."""
        progress, process = self._progress, os.getpid()
        fields = self._recipe.fields
        epoch = self._epoch(start)
        loop = begin_loop(self._watch, epoch, start)
        with closing(epoch.deliver(start)) as deliveries, loop:
            for part, state, repeated in deliveries:
                loop.map()
                given = part.columns
                if isinstance(given, Batch):  # a source of a mixture has made it
                    given = twin(given)
                else:
                    given = read_batch(dict(given), *fields)
                rows = given.num_rows
                batch = mapped(given, self._maps)
                if self._settings.shard.even and batch.num_rows != rows:
                    raise InvalidInputError(
                        "even=True cannot be used with a map that changes the number of rows: it "
                        f"made {batch.num_rows} of {rows}"
                    )
                progress.last = state
                loop.hand_over(part.columns, len(ids_of(part.row_ids)), repeated)
                yield delivered(batch, state, part.row_ids, repeated)
                loop.wait()
                del given, batch, part
                check_process(process)
        progress.epoch, progress.start, progress.last = start.epoch + 1, None, None

    @cached_property
    def _recipe(self) -> Recipe:
        return Recipe(self._source, self._settings, self._maps)

    def empty_batch(self) -> Batch:
        """A batch of no rows, as the first map would get it: what columns there are.

        >>> import ragmask as rm
        >>> from ragmask.data import JAPANESE_VOWELS
        >>> rm.stream(JAPANESE_VOWELS, ["frames", "speaker"]).empty_batch()
        Batch of 0 rows
          frames   Ragged, 0 steps of 12 float32
          speaker  array of int8
        """
        return self._recipe.empty_batch()

    def _empty(self) -> Any:
        """A table of no rows, with the columns that batches have."""
        try:
            return mapped(self.empty_batch(), self._maps).to_arrow()
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

    def to_parquet(
        self, path: str | os.PathLike[str], *, progress: Advance | bool | None = None
    ) -> int:
        """Write the batches, or the rows as they lie, to a Parquet file; returns its rows.

        The file appears under its name when it is whole, and not at all after an error. Row
        groups hold about 64 MB of values. `progress` is True for a bar over the rows read, as in
        `rm.stream`, or a function that is called with the rows written so far.
        Columns have the types they came in, but for those that Parquet lacks (run ends). A
        stream without a batch becomes a file of no rows.

        Raises StreamError, naming the file, where the disk fails, and for a name that may not be
        given: of a link, a device or a pipe, or inside a saved model's folder.
        """
        advance = progress if callable(progress) else None
        shown = self._cut(bool(progress) and advance is None)
        return write_parquet((batch.to_arrow() for batch in shown), path, advance, self._empty)

    def to_arrow(self, *, progress: bool = False) -> Any:
        """All batches of the epoch, or the rows as they lie, as one pyarrow Table in memory.

        `progress` is that of `rm.stream`.
        """
        tables = list(alike(batch.to_arrow() for batch in self._cut(progress)))
        return pa.concat_tables(tables) if tables else self._empty()

    def _cut(self, progress: Any = False) -> "Stream":
        """The stream in batches, whose loops are its own; shown, if asked."""
        made = self
        if self._settings.rows is None:
            shuffle = self._settings.shuffle
            most = shuffle.window_rows if shuffle else 1024
            made = self.batch(rows=min(1024, most))
        if check_progress(progress) is not False:
            made = replace(made, _settings=replace(made._settings, progress=progress))
        made.__dict__["_watch"] = self._watch
        return made

    # -- inside ---------------------------------------------------------------------------

    @property
    def _has_one_order(self) -> bool:
        """Whether all epochs are alike."""
        return self._settings.shuffle is None and not isinstance(self._source, Mixture)

    def _fresh(self, epoch: int) -> State:
        """The start of an epoch."""
        shard, told = self._settings.shard, self._recipe.told()
        return State(self._source.fingerprint, told, epoch, shard.rank, shard.world_size)

    def _start(self) -> State:
        """Where the next `for` begins."""
        return self._progress.start or self._fresh(self._progress.epoch)

    def _epoch(self, state: State) -> AnyEpoch:
        return epoch_of(self._source, self._settings, state.epoch, state.deals)

    def _check_no_filter(self) -> None:
        if self._source.filter is not None:
            raise UnsupportedTypeError(
                "len() of this stream is unknown: it depends on the rows the filter keeps; "
                "count_batches() counts its batches in one pass; " + _FOR_TORCH
            )

    def __repr__(self) -> str:
        lines = [f"Stream of {self._source.described}{self._settings}"]
        for part in self._source.portions:
            share = (part.high - part.low) / DRAWS
            lines.append(f"  {share:.4g} of the rows, split by seed {part.key[0]}")
        if self._source.filter is not None:
            lines.append(f"  where {self._source.filter_text}")
        lines += [f"  {step}" for step in self._source.steps]
        fields = [f"  {field.name}: {field.type}" for field in self._source.first_schema]
        return "\n".join([*lines, *fields])

    def _repr_html_(self) -> str:
        return draw_stream(self._source, self._settings, self._maps)
