"""Rows of a data set by number, and some drawn at random: for looking, and for maps of rows."""

import operator
import threading
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Set
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from ragmask.arrays.protocol import Ints
from ragmask.arrow import Fields
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.batches.show import count
from ragmask.errors import RowIndexError, UnsupportedTypeError
from ragmask.markup import short
from ragmask.streaming.arrange import Part
from ragmask.streaming.batch import Batch
from ragmask.streaming.columns import Column, each_field, join_columns, take_columns
from ragmask.streaming.measures import bytes_of
from ragmask.streaming.plan import Order, Span, rows_in, share
from ragmask.streaming.reader import Decoded, Reader
from ragmask.streaming.source import Source

_MOST_KEPT = 8  # row groups
_MOST_BYTES = 128 << 20
_DRAWS_A_GROUP = 8  # before all row groups are looked at
_DRAWN = 4  # what a key is for; epoch.py and arrange.py have 1 to 3


class OwnRows:
    """The rows of a stream, numbered from 0 in the data set's order, whatever its shuffle is.

    Keeps the row groups that were asked for last. Safe on several threads; copies and pickles have
    nothing decoded yet.
    """

    def __init__(self, source: Source, rank: int = 0, world_size: int = 1) -> None:
        self._source, self._shard = source, (rank, world_size)
        self._order = Order(source.group_rows)
        self._first, last = share(self._order.rows, rank, world_size)
        self._rows = last - self._first
        self._starts = np.array(self._order.starts)
        self._kept: dict[int, tuple[Decoded, int]] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> Any:
        return OwnRows, (self._source, *self._shard)

    def __len__(self) -> int:
        return self._rows

    def take(self, rows: Ints) -> Part:
        """Rows by number, in this order. Each row group they are in is read once.

        Of one row group a view; of several a copy of the rows alone.
        """
        positions, places = self._placed(rows)
        found, where = np.unique(positions, return_inverse=True)
        if not len(found):
            return Part(*Reader(self._source).empty())
        parts, row_ids = [], []
        for number, position in enumerate(found.tolist()):
            own = places[where == number]
            decoded = self._decoded(position)
            if self._source.filter is not None:
                ids = self._ids(position)[own]
                own = np.searchsorted(decoded.row_ids, ids)
            columns = take_columns(decoded.columns, own)
            parts.append(_copied(columns) if len(found) > 1 else columns)
            row_ids.append(decoded.row_ids[own])
        if len(parts) == 1:
            return Part(parts[0], row_ids[0])
        back = np.argsort(np.argsort(where, kind="stable"), kind="stable")
        columns, ids = join_columns(parts), np.concatenate(row_ids)
        return Part(take_columns(columns, back), ids[back])

    def draw(self, n: int, seed: int) -> Ints:
        """The numbers of `n` rows, each of those that the filter keeps as likely as any other.

        Fewer where there are fewer. With a filter, row groups are looked at until enough rows have
        passed: each once, in the filter's columns alone.
        """
        drawn = _draws(self._rows, _DRAWN, seed)
        if self._source.filter is None:
            return np.array([*islice(drawn, n)], np.int64)
        groups, reader = self._groups(), Reader(self._source, ())
        found: list[int] = []
        passed: dict[int, Ints] = {}
        for row in islice(drawn, n + _DRAWS_A_GROUP * len(groups)):
            if len(found) == n:
                break
            position = bisect_right(self._order.starts, self._first + row) - 1
            if position not in passed:
                passed[position] = self._passing(reader, position)
            at = np.searchsorted(passed[position], row)
            if row in passed[position][at : at + 1]:
                found.append(row)
        if len(found) < n:  # few pass: look at all, and draw from those
            every = [passed[one] if one in passed else self._passing(reader, one) for one in groups]
            left = np.setdiff1d(np.concatenate([np.empty(0, np.int64), *every]), found)
            more = [*islice(_draws(len(left), _DRAWN, seed, 1), n - len(found))]
            found += left[more].tolist()
        return np.array(found, np.int64)

    # -- row groups -----------------------------------------------------------------------

    def _groups(self) -> range:
        """Those with rows of its own, by their places in the order."""
        if not self._rows:
            return range(0)
        ends = (self._first, self._first + self._rows - 1)
        first, last = (bisect_right(self._order.starts, end) - 1 for end in ends)
        return range(first, last + 1)

    def _placed(self, rows: Ints) -> tuple[Ints, Ints]:
        """The row groups that rows are in, and which of their rows they are."""
        rows = rows + self._first
        positions = np.searchsorted(self._starts, rows, side="right") - 1
        return positions, rows - self._starts[positions]

    def _span(self, position: int) -> Span:
        start, end = self._order.starts[position : position + 2]
        return Span(self._order.groups[position], 0, end - start)

    def _ids(self, position: int) -> Ints:
        """The numbers in the data set of a row group's rows, before any filter."""
        span = self._span(position)
        first, last = self._source.groups[span.group].span
        if not self._source.portions:
            return np.arange(first, last)
        return first + rows_in(self._source.portions, first, last)

    def _passing(self, reader: Reader, position: int) -> Ints:
        """The own rows of a row group that the filter keeps, rising."""
        row_ids = reader.read([self._span(position)]).row_ids
        rows = np.searchsorted(self._ids(position), row_ids) + self._order.starts[position]
        rows -= self._first
        return rows[(rows >= 0) & (rows < self._rows)]

    def _decoded(self, position: int) -> Decoded:
        with self._lock:
            if position in self._kept:
                self._kept[position] = self._kept.pop(position)  # asked for last
                return self._kept[position][0]
        decoded = Reader(self._source).read([self._span(position)])
        size = sum(map(bytes_of, decoded.columns.values()))
        with self._lock:
            self._kept[position] = decoded, size
            while len(self._kept) > 1 and (
                len(self._kept) > _MOST_KEPT
                or sum(size for _, size in self._kept.values()) > _MOST_BYTES
            ):
                del self._kept[next(iter(self._kept))]
        return decoded


def _draws(rows: int, *key: int) -> Iterator[int]:
    """0 to rows - 1 in random order, one by one; as many of them as are asked for are kept."""
    bits = np.random.PCG64(np.random.SeedSequence(key))  # whose raw bits stay what they are
    moved: dict[int, int] = {}
    for first in range(rows):
        other = first + int(bits.random_raw()) % (rows - first)
        yield moved.get(other, other)
        moved[other] = moved.pop(first, first)


def _copied(columns: dict[str, Column]) -> dict[str, Column]:
    """Columns that do not hold on to the row group that they were picked from."""

    def copied(column: Column) -> Column:
        if isinstance(column, dict):
            return each_field(column, copied)
        if isinstance(column, Ragged):
            rows = column._rows.compact()
            mask = None if rows.mask is None else rows.mask.copy()
            return Ragged._of(rows.over(rows.values.copy()).masked(mask))
        return column  # arrays were copied as they were picked

    return {name: copied(column) for name, column in columns.items()}


# -- what callers ask for -----------------------------------------------------------------


def numbers_of(index: Any, rows: int) -> int | Ints:
    """The row, or the rows, that an index of so many rows names, from 0.

    Raises RowIndexError for a row that is not there, UnsupportedTypeError for what is no number.
    """
    if isinstance(index, slice):
        try:
            return np.arange(*index.indices(rows))
        except (TypeError, ValueError) as error:
            raise UnsupportedTypeError(f"rows cannot be cut by {index!r}: {error}") from error
    if isinstance(index, bool | np.bool_ | tuple | Set | Mapping):
        raise _not_a_number(index)
    if not isinstance(index, np.ndarray) and hasattr(index, "__index__"):
        return _within(operator.index(index), rows)
    try:
        given = np.asarray(index if hasattr(index, "__array__") else list(index))
    except (TypeError, ValueError, RuntimeError) as error:
        raise _not_a_number(index) from error
    if given.dtype == object and all(type(number) is int for number in given.flat):
        for number in given.flat:
            _within(number, rows)  # too large for any array
    if not given.size and given.ndim == 1 and given.dtype.kind in "fiu":
        return np.empty(0, np.int64)  # numpy takes an empty list for floats
    if given.dtype.kind not in "iu" or given.ndim > 1:
        raise _not_a_number(index)
    outside = (given < -rows) | (given >= rows)
    if outside.any():
        _within(int(given[outside].flat[0]), rows)
    given = given.astype(np.int64)
    given = np.where(given < 0, given + rows, given)
    return given if given.ndim else int(given)


def _within(row: int, rows: int) -> int:
    if not -rows <= row < rows:
        raise RowIndexError(f"row {row} of a stream of {count(rows, 'row')}")
    return row + rows if row < 0 else row


def _not_a_number(index: Any) -> UnsupportedTypeError:
    is_mask = "bool" in str(getattr(index, "dtype", "")) or isinstance(index, bool)
    hint = ": of bools, pass np.flatnonzero(…)" if is_mask else ""
    return UnsupportedTypeError(
        "rows of a stream are picked by an integer, a slice, or integers in a list or an array; "
        f"got {short(repr(index))}{hint}"
    )


def row_of(batch: Batch) -> dict[str, Any]:
    """The only row of a batch by column: None for nulls, arrays of steps, single values.

    Nothing of it holds on to what the batch was made from.
    """
    return {name: _entry(batch[name]) for name in batch}


def _entry(column: Column) -> Any:
    if isinstance(column, Fields):
        frame = column.frame
        is_null = _is_null(frame) if isinstance(frame, Ragged) else not frame[0]
        return None if is_null else {name: _entry(part) for name, part in column.items()}
    if isinstance(column, dict):
        return {name: _entry(part) for name, part in column.items()}
    if isinstance(column, Ragged) and _is_null(column):
        return None
    if isinstance(column, Padded):
        column = Ragged.from_padded(column)
    entry = column[0]
    if entry is np.ma.masked:
        return None
    if isinstance(entry, pa.Scalar):
        return _value(entry)
    return entry.copy() if isinstance(entry, np.ndarray) else entry


def _is_null(column: Ragged) -> bool:
    form = column._rows.form
    return form is not None and form.valid is not None and not form.valid[0]


def _value(entry: Any) -> Any:
    """Of an Arrow scalar; itself where Python has no value for it."""
    try:
        return entry.as_py()
    except (ValueError, OverflowError, NotImplementedError, ImportError, pa.ArrowException):
        return entry
