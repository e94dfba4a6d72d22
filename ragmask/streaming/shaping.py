"""What a stream is to deliver: every method gives another stream, and reads nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ragmask.arrays.protocol import LARGEST
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.rows.checks import Side, check_count
from ragmask.streaming.arrange import Buckets, Budget, Packing, Rounding, Rows, check_names
from ragmask.streaming.columns import ragged_column
from ragmask.streaming.maps import MapFunction
from ragmask.streaming.mixture import AnySource, Mixture, Recipe
from ragmask.streaming.plan import Portion, check_shares, cut_at
from ragmask.streaming.settings import WINDOW_ROWS, Settings, Shard, Shuffle
from ragmask.streaming.source import Source
from ragmask.streaming.state import Progress
from ragmask.streaming.steps import Rename, Step, Tokenize, Truncate

MOST_RANKS = 1 << 20  # the windows of each are known to all
_MOST_ROUNDED = 1 << 31
_PACKED = "packed sequences all have one length: batch them with rows= alone"


@dataclass(frozen=True, repr=False)
class Shaped:
    """A stream as far as it is asked for; see `Stream`, which reads it."""

    _source: AnySource
    _settings: Settings = field(default_factory=Settings)
    _maps: tuple[MapFunction, ...] = ()
    _progress: Progress = field(default_factory=Progress, compare=False)

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
    ) -> Self:
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

    def pack(self, length: int, column: str | None = None) -> Self:
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

    def shuffle(self, seed: int, window_rows: int = WINDOW_ROWS) -> Self:
        """Random order, another each epoch: row groups, and rows inside windows of row groups.

        `window_rows` bounds how far rows mix, and the memory: a window is as many whole row
        groups as make up so many rows, but at least one.
        """
        self._check_not_drawn()
        rows = check_count("window_rows", window_rows, 1)
        return self._with(shuffle=Shuffle(check_count("seed", seed), rows))

    def shard(self, rank: int, world_size: int, *, even: bool = False) -> Self:
        """The share of one of `world_size` processes. Together they read every row once.

        Shares differ by one row at most, whatever the number of row groups. With `even`, every
        rank delivers the same number of batches: a rank short of batches delivers its last
        once more, marked as `batch.repeated`; a rank without any, another's first. With
        `tokens=` or packing, that takes one pass over the column's lengths at the start of an
        epoch; with a filter, one over the columns it looks at. Each rank makes it, in the
        background and in bounded memory, and states keep what it came to.
        """
        world_size = check_count("world_size", world_size, 1, MOST_RANKS)
        if check_count("rank", rank) >= world_size:
            raise InvalidInputError(f"rank must be less than world_size, {world_size}; got {rank}")
        return self._with(shard=Shard(int(rank), world_size, bool(even)))

    def split(self, shares: Mapping[str, float], seed: int) -> "dict[str, Self]":
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
            name: type(self)(self._source.part(portion), self._settings, self._maps)
            for name, portion in zip(names, portions, strict=True)
        }

    def repeat(self, epochs: int | None = None) -> Self:
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

    def take(self, n: int) -> Self:
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

    def skip(self, n: int) -> Self:
        """All but the first `n` rows of an epoch, or once `batch` was called, batches; see `take`.

        >>> import ragmask as rm
        >>> from ragmask.data import JAPANESE_VOWELS
        >>> rm.stream(JAPANESE_VOWELS).skip(600).num_rows
        40
        """
        return self._cut_out(check_count("n", n, most=LARGEST), None)

    def rename(self, columns: Mapping[str, str]) -> Self:
        """Columns under other names, new ones by old ones.

        >>> import ragmask as rm
        >>> from ragmask.data import JAPANESE_VOWELS
        >>> rm.stream(JAPANESE_VOWELS, ["frames", "speaker"]).rename({"frames": "x"}).schema.names
        ['x', 'speaker']

        A filter keeps to the names in the files. Raises InvalidInputError for a column that is not
        there, a name that another column has, and after `batch` by a column, `pack` or `map`.
        """
        return self._stepped(Rename.of(columns))

    def truncate(self, maxlen: int, column: str | None = None, side: Side = "post") -> Self:
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
    ) -> Self:
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

    def map(self, function: MapFunction) -> Self:
        """Apply `function` to each batch; it takes a Batch and gives a Batch or a dict."""
        if not callable(function):
            raise UnsupportedTypeError(f"map takes a function of a batch; got {function!r}")
        return type(self)(self._source, self._settings, (*self._maps, function))

    def prefetch(self, n: int) -> Self:
        """Decode `n` windows ahead of the one in use (by default 3); 0 uses no thread."""
        return self._with(prefetch=check_count("n", n, most=LARGEST))

    # -- inside ---------------------------------------------------------------------------

    def _with(self, **changes: Any) -> Self:
        """The stream with other settings, at its start."""
        return type(self)(self._source, replace(self._settings, **changes), self._maps)

    def _stepped(self, step: Step) -> Self:
        """The stream with one more step on its columns, which is before all but the filter."""
        self._check_not_drawn()
        if self._maps or not isinstance(self._settings.arrangement, Rows):
            earlier = "map" if self._maps else "batch by a column, or pack"
            raise InvalidInputError(
                f"{step.method} works on columns as they are read: call it before {earlier}"
            )
        return type(self)(self._source.with_step(step), self._settings, self._maps)

    def _cut_out(self, skip: int, take: int | None) -> Self:
        """Some of the rows, or batches, that this stream would deliver."""
        source, settings = self._source, self._settings
        is_batched = settings.rows is not None
        shard = settings.shard
        if not settings.shuffle and settings.epochs == 1 and shard == Shard():
            if isinstance(source, Source):
                if not is_batched and source.filter is None:
                    return type(self)(source.rows_from(skip, take), settings, self._maps)
            elif is_batched == (source.kind == "batches") and not self._maps:
                return type(self)(source.cut(skip, take), settings)
        inner = replace(settings, shard=Shard())
        outer = Settings(shard=shard, prefetch=settings.prefetch, progress=settings.progress)
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
        return type(self)(mixture, outer, () if is_batched else self._maps)
