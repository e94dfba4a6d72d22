"""Stream: a data set as batches, decoded ahead in the background, in bounded memory."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ragmask.arrays.protocol import LARGEST
from ragmask.errors import InvalidInputError, MissingAttributeError, UnsupportedTypeError
from ragmask.markup import short
from ragmask.rows.checks import Side, check_count
from ragmask.streaming.access import OwnRows, numbers_of, row_of
from ragmask.streaming.ahead import check_process
from ragmask.streaming.arrange import (
    Buckets,
    Budget,
    Packing,
    Rounding,
    Rows,
    check_names,
)
from ragmask.streaming.batch import Batch, delivered, read_batch, twin
from ragmask.streaming.chain import draw_stream
from ragmask.streaming.columns import ragged_column
from ragmask.streaming.delivery import AnyEpoch
from ragmask.streaming.epoch import Epoch
from ragmask.streaming.lockstep import in_lockstep
from ragmask.streaming.maps import MapFunction, mapped
from ragmask.streaming.measures import Watch
from ragmask.streaming.mixed import counts_alone, epoch_of
from ragmask.streaming.mixture import AnySource, Mixture, Recipe
from ragmask.streaming.origins import numbers_of as ids_of
from ragmask.streaming.plan import DRAWS, Place, Portion, check_shares, cut_at
from ragmask.streaming.progress import begin_loop, check_progress
from ragmask.streaming.report import PaddingReport, StreamReport, make_report, measure_padding
from ragmask.streaming.settings import WINDOW_ROWS, Settings, Shard, Shuffle
from ragmask.streaming.sink import Advance, alike, write_parquet
from ragmask.streaming.source import Source
from ragmask.streaming.state import Progress, State, Stints, resume
from ragmask.streaming.steps import Rename, Step, Tokenize, Truncate

_MOST_RANKS = 1 << 20  # the windows of each are known to all
_MOST_ROUNDED = 1 << 31
_UNBATCHED = "choose the batches first: .batch(rows=256)"
_PACKED = "packed sequences all have one length: batch them with rows= alone"

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
    `window_rows`, but at least one; or a piece of a row group of more than about 128 MB. The
    number and size of files do not matter.
    """

    _source: AnySource
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
        bucket: bool | None = None,
        multiple_of: int = 1,
        rows_multiple: int = 1,
    ) -> "Stream":
        """Batches of `rows` rows (by default 256), or of at most `tokens` padded steps.

        >>> import ragmask as rm
        >>> from ragmask.data import JAPANESE_VOWELS
        >>> s = rm.stream(JAPANESE_VOWELS).shuffle(seed=0).batch(tokens=1024, column="frames")
        >>> [batch.num_rows for batch in s][:4]
        [53, 56, 48, 64]

        Parameters
        ----------
        rows : of a batch; the last is shorter, or left out with `drop_last`. With `bucket`, so
            is the last of each window.
        tokens : the most padded steps of a batch, rows × longest row. A longer row is a batch
            alone, and an empty row counts as one step.
        column : whose steps count; may be left out where just one column is ragged.
        bucket : put rows of similar lengths together, inside each window; by default with
            `tokens`. Without it, rows are taken as they come. Shuffled streams shuffle the
            batches again.
        multiple_of, rows_multiple : what the widths of padded batches, and their numbers of rows,
            are rounded up to by who pads them for a model, as `ragmask.interop.keras` does:
            compilers like few shapes. `tokens` counts the rounded width, and of the rows that it
            allows takes a multiple, where there is one.

        A batch is a view of its decoded window. One that spans two windows copies only itself.
        """
        self._check_not_drawn()
        rounding = Rounding(
            check_count("multiple_of", multiple_of, 1, _MOST_ROUNDED),
            check_count("rows_multiple", rows_multiple, 1, _MOST_ROUNDED),
        )
        changes: dict[str, Any] = {"budget": None, "buckets": None, "rounding": rounding}
        if tokens is None:
            if column is not None and not bucket:
                raise InvalidInputError(
                    "column= needs tokens=, or bucket=True: batch(tokens=16_384, column=…)"
                )
            size = min(check_count("rows", 256 if rows is None else rows, 1), LARGEST)
            if not bucket:
                return self._with(rows=size, drop_last=bool(drop_last), **changes)
            self._check_not_packed()
            of = ragged_column(self._source.schema, column)
            changes["buckets"] = Buckets(size, of, bool(drop_last))
            return self._with(rows=1, drop_last=False, **changes)
        if rows is not None:
            raise InvalidInputError("pass rows= or tokens=, not both")
        if drop_last:
            raise InvalidInputError("drop_last needs rows=: batches by tokens= differ in rows")
        self._check_not_packed()
        changes["budget"] = Budget(
            min(check_count("tokens", tokens, 1), LARGEST),
            ragged_column(self._source.schema, column),
            bucket is None or bool(bucket),
            rounding,
        )
        return self._with(rows=1, drop_last=False, **changes)

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
        self._check_not_drawn()
        if self._settings.budget or self._settings.buckets:
            raise InvalidInputError(_PACKED)
        check_names(self._source.column_names)
        packing = Packing(
            min(check_count("length", length, 1), LARGEST),
            ragged_column(self._source.schema, column),
        )
        return self._with(packing=packing)

    def _check_not_drawn(self) -> None:
        if isinstance(self._source, Mixture) and self._source.kind == "batches":
            raise InvalidInputError(
                "this stream draws whole batches: call batch(), pack() and shuffle() before "
                "mix(), take(), skip()"
            )

    def _check_not_packed(self) -> None:
        if self._settings.packing:
            raise InvalidInputError(_PACKED)

    def shuffle(self, seed: int, window_rows: int = WINDOW_ROWS) -> "Stream":
        """Random order, another each epoch: row groups, and rows inside windows of row groups.

        `window_rows` bounds how far rows mix, and the memory: a window is as many whole row
        groups as make up so many rows, but at least one.
        """
        self._check_not_drawn()
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

    def split(self, shares: Mapping[str, float], seed: int) -> "dict[str, Stream]":
        """Parts of the data set by name, as streams of their own.

        >>> import ragmask as rm
        >>> from ragmask.data import JAPANESE_VOWELS
        >>> parts = rm.stream(JAPANESE_VOWELS).split({"train": 0.9, "valid": 0.1}, seed=0)
        >>> {name: part.num_rows for name, part in parts.items()}
        {'train': 570, 'valid': 70}

        Which part a row is in depends on its number in the data set (`batch.row_ids`) and on the
        seed alone: it is the same whatever the order, the shard, the filter and the columns, and
        after rows were added behind it. Every row is in one part. Each row is drawn by itself,
        so that parts have their shares of the rows but for chance.

        shares : of each part, above 0; together 1.

        A part is shuffled, sharded, batched, resumed and split again like any stream. It reads
        whole row groups, and keeps its own rows of them. How many those are is known from the
        footers, so `len` and `num_rows` are what they are for the whole.
        """
        names, sizes = check_shares(shares)
        self._check_not_drawn()
        key = (check_count("seed", seed), len(self._source.portions))
        portions = (Portion(key, *draws) for draws in cut_at(sizes))
        return {
            name: Stream(self._source.part(portion), self._settings, self._maps)
            for name, portion in zip(names, portions, strict=True)
        }

    def repeat(self, epochs: int | None = None) -> "Stream":
        """A loop goes on through so many epochs; without a number, it has no end.

        >>> import ragmask as rm
        >>> from ragmask.data import JAPANESE_VOWELS
        >>> s = rm.stream(JAPANESE_VOWELS).shuffle(seed=0).batch(rows=64).repeat(3)
        >>> sum(batch.num_rows for batch in s)
        1920

        Each epoch is a whole one: shuffled anew, and with a last batch of its own. In a mixture,
        rows of a repeated source follow each other without a break.
        """
        times = None if epochs is None else check_count("epochs", epochs, 1, LARGEST)
        known = self._settings.epochs
        both = None if times is None or known is None else times * known
        return self._with(epochs=both)

    def take(self, n: int) -> "Stream":
        """The first `n` rows of an epoch, or once `batch` was called, its first `n` batches.

        >>> import ragmask as rm
        >>> from ragmask.data import JAPANESE_VOWELS
        >>> s = rm.stream(JAPANESE_VOWELS).take(100).batch(rows=64)
        >>> [batch.num_rows for batch in s]
        [64, 36]
        >>> [batch.num_rows for batch in s.take(1)]
        [64]

        Of a stream in file order, those are rows of the data set, and can be shuffled, sharded,
        batched and split like others. Of one that is shuffled, filtered or mixed, they are the
        first in its own order; each rank then takes its share of `n` rows of its own, and where
        `shard` came before, `n` rows.
        """
        return self._cut_out(0, check_count("n", n, most=LARGEST))

    def skip(self, n: int) -> "Stream":
        """All but the first `n` rows of an epoch, or once `batch` was called, batches; see `take`.

        >>> import ragmask as rm
        >>> from ragmask.data import JAPANESE_VOWELS
        >>> rm.stream(JAPANESE_VOWELS).skip(600).num_rows
        40
        """
        return self._cut_out(check_count("n", n, most=LARGEST), None)

    def rename(self, columns: Mapping[str, str]) -> "Stream":
        """Columns under other names, new ones by old ones.

        >>> import ragmask as rm
        >>> from ragmask.data import JAPANESE_VOWELS
        >>> rm.stream(JAPANESE_VOWELS, ["frames", "speaker"]).rename({"frames": "x"}).schema.names
        ['x', 'speaker']

        A filter keeps to the names in the files. Raises InvalidInputError for a column that is not
        there, a name that another column has, and after `batch` by a column, `pack` or `map`.
        """
        return self._stepped(Rename.of(columns))

    def truncate(self, maxlen: int, column: str | None = None, side: Side = "post") -> "Stream":
        """Rows of at most `maxlen` steps, before budgets, buckets and packing look at lengths.

        >>> import ragmask as rm
        >>> from ragmask.data import JAPANESE_VOWELS
        >>> s = rm.stream(JAPANESE_VOWELS).truncate(10).batch(tokens=640, column="frames")
        >>> batch = next(iter(s))
        >>> batch.num_rows, batch["frames"].max_length
        (64, 10)

        column : by default all that are ragged, which stay as long as each other; of lists of
            lists, the outer ones are cut.
        side : the end that is cut off: "post" keeps the first steps, "pre" the last.

        Numbers stay where they are, as a view; lists of strings are copied. Raises
        InvalidInputError for a column without lists, and after `batch` by a column, `pack` or
        `map`.
        """
        return self._stepped(Truncate.of(maxlen, column, side))

    def tokenize(
        self,
        column: str,
        tokenizer: Any,
        into: str = "ids",
        *,
        offsets: str | None = None,
        dtype: npt.DTypeLike = np.int32,
        special_tokens: bool = True,
        keep: bool = False,
    ) -> "Stream":
        """A column of texts as a Ragged of ids, made ahead, in the threads that decode.

        >>> import pyarrow as pa
        >>> import ragmask as rm
        >>> def letters(texts):
        ...     return [list(text.encode()) for text in texts.to_pylist()]
        >>> s = rm.stream(pa.table({"text": ["to", None, "token"]})).tokenize("text", letters)
        >>> next(iter(s.batch()))["ids"].to_rows()[-1]
        array([116, 111, 107, 101, 110], dtype=int32)

        Parameters
        ----------
        column : of strings, one a row, of any Arrow type or a dictionary of them.
        tokenizer : a `tokenizers.Tokenizer`, a fast tokenizer of transformers, the path of a
            `tokenizer.json`, or a function that takes a pyarrow string array without nulls and
            gives a list array, a Ragged or lists, one row a text.
        into : the name of the new column, which stands where the texts did; may be theirs.
        offsets : the name of one more column: for each token the characters in its text where it
            begins and ends, int32 (n, 2). Tokenizers only.
        dtype : of the ids.
        special_tokens : add those that the tokenizer puts around a text.
        keep : hand over the texts too.

        A null text is an empty row, and null again in Arrow. A tokenizer is copied. It never pads;
        it truncates where a Tokenizer or its file says so, and one of transformers does not. It
        runs on all cores, unless TOKENIZERS_PARALLELISM is "false"; a function may be called on
        two threads at once. States hold a digest of the tokenizer, and of a function its name.

        Raises MissingExtraError without tokenizers; InvalidInputError for a column of another type,
        a name that is taken, and after `batch` by a column, `pack` or `map`; and in the loop,
        naming the row, for a text that is no UTF-8 and for ids that `dtype` does not hold.
        """
        return self._stepped(
            Tokenize.of(column, tokenizer, into, offsets, dtype, special_tokens, keep)
        )

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

        Raises UnsupportedTypeError where a filter decides it.
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
        if settings.rows is None:
            return self.num_rows * settings.epochs
        start = self._progress.last or self._start()
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
        array([206, 259, 309])

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
        size, settings = check_count("world_size", state.world_size, 1, _MOST_RANKS), self._settings
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

    def _with(self, **changes: Any) -> "Stream":
        """The stream with other settings, at its start."""
        return Stream(self._source, replace(self._settings, **changes), self._maps)

    def _stepped(self, step: Step) -> "Stream":
        """The stream with one more step on its columns, which is before all but the filter."""
        self._check_not_drawn()
        if self._maps or not isinstance(self._settings.arrangement, Rows):
            earlier = "map" if self._maps else "batch by a column, or pack"
            raise InvalidInputError(
                f"{step.method} works on columns as they are read: call it before {earlier}"
            )
        return Stream(self._source.with_step(step), self._settings, self._maps)

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

    def _cut_out(self, skip: int, take: int | None) -> "Stream":
        """Some of the rows, or batches, that this stream would deliver."""
        source, settings = self._source, self._settings
        is_batched = settings.rows is not None
        shard = settings.shard
        if not settings.shuffle and settings.epochs == 1 and shard == Shard():
            if isinstance(source, Source):
                if not is_batched and source.filter is None:
                    return Stream(source.rows_from(skip, take), settings, self._maps)
            elif is_batched == (source.kind == "batches") and not self._maps:
                return Stream(source.cut(skip, take), settings)
        inner = replace(settings, shard=Shard())
        outer = Settings(shard=shard, prefetch=settings.prefetch)
        if is_batched:
            outer = replace(outer, rows=1, rounding=settings.rounding)
        recipe = Recipe(source, inner, self._maps if is_batched else ())
        size = shard.world_size  # a share of so many times as many is as many
        mixture = Mixture(
            (recipe,),
            "batches" if is_batched else "rows",
            skip=skip * size,
            take=None if take is None else take * size,
        )
        return Stream(mixture, outer, () if is_batched else self._maps)

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
