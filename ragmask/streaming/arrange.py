"""A window's rows as items: single rows, batches by a budget, or packed sequences.

Each way to arrange is a small frozen class. `arrange` gives the decoded window in the order of
delivery; what comes out depends on the window's rows and its key alone. Without a key, one that is
`by_length` leaves the items in the order of their lengths.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import pyarrow as pa

from ragmask import arrow
from ragmask.arrays.host import offsets_of, read_only
from ragmask.arrays.protocol import Ints
from ragmask.arrow import Form
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.rows.rows import host_rows
from ragmask.streaming.columns import (
    Column,
    column_to_arrow,
    each_field,
    lengths_of,
    read_column,
    slice_columns,
    take_columns,
)
from ragmask.streaming.origins import Part, RowIds, numbers_of, pick_ids
from ragmask.streaming.plan import number_of_batches, shuffled

Key = tuple[int, ...] | None
_ROW_ORDER, _ITEM_ORDER = 1, 2  # so that the two draw different numbers


class Arranged(Protocol):
    """A decoded window in the order of delivery."""

    @property
    def items(self) -> int: ...

    def take(self, first: int, last: int) -> Part: ...


# -- rows and batches ---------------------------------------------------------------------


@dataclass(frozen=True)
class Batches:
    """Rows in order of delivery; item i is rows `[ends[i], ends[i + 1])`, or row i."""

    columns: dict[str, Column]
    row_ids: RowIds
    ends: Ints | None = None

    @property
    def items(self) -> int:
        return len(numbers_of(self.row_ids)) if self.ends is None else len(self.ends) - 1

    def take(self, first: int, last: int) -> Part:
        if self.ends is not None:
            first, last = int(self.ends[first]), int(self.ends[last])
        return Part(
            slice_columns(self.columns, first, last), pick_ids(self.row_ids, slice(first, last))
        )


@dataclass(frozen=True)
class Rows:
    """Each row is an item; with a key, in random order."""

    by_length: ClassVar[bool] = False

    def arrange(self, columns: dict[str, Column], row_ids: RowIds, key: Key) -> Batches:
        if key is None:
            return Batches(columns, row_ids)
        order = self.order(len(numbers_of(row_ids)), key)
        return Batches(take_columns(columns, order), pick_ids(row_ids, order))

    def order(self, rows: int, key: Key) -> Ints:
        return np.arange(rows) if key is None else shuffled(rows, _ROW_ORDER, *key)

    def items_of(self, rows: int) -> int:
        """The number of items that so many rows make."""
        return rows


@dataclass(frozen=True)
class Rounding:
    """What the shapes of padded batches are multiples of, for compilers that like to see few."""

    multiple_of: int = 1
    rows_multiple: int = 1

    def widths(self, lengths: Ints) -> Ints:
        """The padded steps of rows; those of an empty row are one, rounded up."""
        lengths = np.maximum(lengths, 1)
        return (
            lengths if self.multiple_of == 1 else -(-lengths // self.multiple_of) * self.multiple_of
        )

    def shape(self, rows: int, longest: int) -> tuple[int, int]:
        """(rows, width) of a padded batch."""
        width = max(longest, 1)
        return rows + -rows % self.rows_multiple, width + -width % self.multiple_of


PLAIN = Rounding()


@dataclass(frozen=True)
class Buckets:
    """Each item is a batch of `rows` rows of similar lengths; the last of a window is shorter.

    `drop_last` leaves out as many rows as that would have, not the longest.
    """

    rows: int
    column: str
    drop_last: bool = False

    by_length: ClassVar[bool] = True

    def arrange(self, columns: dict[str, Column], row_ids: RowIds, key: Key) -> Batches:
        order, ends = self.cut(lengths_of(self.column, columns[self.column]), key)
        return Batches(take_columns(columns, order), pick_ids(row_ids, order), ends)

    def count(self, lengths: Ints, key: Key) -> int:
        """The number of items."""
        return self.items_of(len(lengths))

    def items_of(self, rows: int) -> int:
        """The number of items that so many rows make."""
        return number_of_batches(rows, self.rows, self.drop_last)

    def cut(self, lengths: Ints, key: Key) -> tuple[Ints, Ints]:
        """Rows in order of delivery, and where batches end among them, from 0."""
        rows = len(lengths)
        most = min(rows, self.items_of(rows) * self.rows)
        order = Rows().order(rows, key)[:most]
        order = order[_by_length(lengths[order])]
        ends = np.minimum(np.arange(self.items_of(rows) + 1) * self.rows, most)
        return _batches_in_order(order, ends, key)


@dataclass(frozen=True)
class Budget:
    """Each item is a batch of at most `tokens` padded steps; with `bucket`, of similar lengths."""

    tokens: int
    column: str
    bucket: bool
    rounding: Rounding = PLAIN

    @property
    def by_length(self) -> bool:
        return self.bucket

    def arrange(self, columns: dict[str, Column], row_ids: RowIds, key: Key) -> Batches:
        order, ends = self.cut(lengths_of(self.column, columns[self.column]), key)
        return Batches(take_columns(columns, order), pick_ids(row_ids, order), ends)

    def count(self, lengths: Ints, key: Key) -> int:
        """The number of items."""
        return len(self.cut(lengths, key)[1]) - 1

    def cut(self, lengths: Ints, key: Key) -> tuple[Ints, Ints]:
        """Rows in order of delivery, and where batches end among them, from 0."""
        from ragmask.kernels import cpu

        rows = len(lengths)
        order = Rows().order(rows, key)
        if self.bucket:
            order = order[_by_length(lengths[order])]
        begins = np.empty(rows, np.bool_)
        widths = self.rounding.widths(lengths[order])
        cpu.begin_batches(widths, self.tokens, self.rounding.rows_multiple, begins)
        return _batches_in_order(order, np.append(np.flatnonzero(begins), rows), key)


def _batches_in_order(order: Ints, ends: Ints, key: Key) -> tuple[Ints, Ints]:
    """Batches as they are, or with a key in random order: their rows, and where they end."""
    if key is None:
        return order, ends
    batches = shuffled(len(ends) - 1, _ITEM_ORDER, *key)
    sizes = np.diff(ends)[batches]
    return order[_ranges(ends[:-1][batches], sizes)], offsets_of(sizes)


# -- packed sequences ---------------------------------------------------------------------


@dataclass(frozen=True)
class Packing:
    """Each item is a sequence of at most `length` steps, made of whole rows where they fit."""

    length: int
    column: str

    by_length: ClassVar[bool] = True

    def arrange(self, columns: dict[str, Column], row_ids: RowIds, key: Key) -> "Sequences":
        lengths = lengths_of(self.column, columns[self.column])
        rows, begins, sizes, ends = self.lay(lengths, key)
        for name, column in columns.items():
            if _is_ragged(column):
                _check_alike(self.column, lengths, name, lengths_of(name, column), row_ids)
        return Sequences(columns, row_ids, rows, begins, sizes, ends)

    def count(self, lengths: Ints, key: Key) -> int:
        """The number of items."""
        return len(self.lay(lengths, key)[3]) - 1

    def lay(self, lengths: Ints, key: Key) -> tuple[Ints, Ints, Ints, Ints]:
        """Pieces of rows in order of delivery: their rows, first steps and steps, int64 (pieces,),
        and where sequences end among them, from 0."""
        from ragmask.kernels import cpu

        # a row is cut where it is longer than a sequence; an empty row is one empty piece
        order = Rows().order(len(lengths), key)
        pieces = np.maximum(1, -(-lengths[order] // self.length))
        rows = np.repeat(order, pieces)
        begins = _ranges(np.zeros_like(pieces), pieces) * self.length
        sizes = np.minimum(lengths[rows] - begins, self.length)

        longest_first = _by_length(sizes.max(initial=0) - sizes)
        capacity = min(self.length, int(sizes.sum()))
        chosen = np.empty(len(sizes), np.int64)
        cpu.best_fit(
            np.ascontiguousarray(sizes[longest_first]),
            capacity,
            np.full(capacity + 1, -1),
            np.empty(len(sizes), np.int64),
            chosen,
        )
        bins = np.empty_like(chosen)
        bins[longest_first] = chosen
        if key is not None:
            bins = shuffled(int(bins.max(initial=-1)) + 1, _ITEM_ORDER, *key)[bins]
        order = np.argsort(bins, kind="stable")
        ends = offsets_of(np.bincount(bins))
        return rows[order], begins[order], sizes[order], ends


@dataclass(frozen=True)
class Sequences:
    """Pieces of rows in order of delivery; sequence i is pieces `[ends[i], ends[i + 1])`."""

    columns: dict[str, Column]
    row_ids: RowIds
    rows: Ints
    begins: Ints
    sizes: Ints
    ends: Ints

    @property
    def items(self) -> int:
        return len(self.ends) - 1

    def take(self, first: int, last: int) -> Part:
        ends = self.ends[first : last + 1]
        pieces = slice(int(ends[0]), int(ends[-1]))
        ends = ends - ends[0]
        rows, begins, sizes = self.rows[pieces], self.begins[pieces], self.sizes[pieces]
        steps = offsets_of(sizes)
        columns: dict[str, Column] = {}
        for name, column in self.columns.items():
            if _is_ragged(column):
                columns[name] = _join_pieces(column, rows, begins, sizes, steps[ends])
            else:
                columns[name] = _group(take_columns({name: column}, rows)[name], ends)
        ids = np.repeat(numbers_of(self.row_ids)[rows], sizes)
        columns["row_ids"] = Ragged.from_offsets(ids, steps[ends])
        columns["positions"] = Ragged.from_offsets(_ranges(begins, sizes), steps[ends])
        columns["cu_seqlens"] = _cumulative(steps, ends)
        return Part(columns, pick_ids(self.row_ids, rows))


def check_names(columns: Iterable[str]) -> None:
    """Raise where a column has the name of one that packing adds."""
    taken = [name for name in columns if name in PACKED]
    if taken:
        raise InvalidInputError(
            f"packing adds a column {taken[0]!r}, and the files have one: name others with columns="
        )


def packed_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of columns once rows are packed: one value a row becomes a list of them."""
    return {
        name: field
        if arrow.is_list(field.type)
        else pa.field(name, pa.large_list(field.with_name("item")), metadata=field.metadata)
        for name, field in fields.items()
    }


PACKED = ("row_ids", "positions", "cu_seqlens")
"""The columns that packing adds."""


def _is_ragged(column: Column) -> bool:
    try:
        lengths_of("", column)
    except UnsupportedTypeError:
        return False
    return True


def _check_alike(name: str, lengths: Ints, other: str, others: Ints, row_ids: RowIds) -> None:
    differs = lengths != others
    if differs.any():
        row = int(differs.argmax())
        number = numbers_of(row_ids)[row]
        raise InvalidInputError(
            f"columns {name!r} and {other!r} cannot be packed together: row {number} has "
            f"{lengths[row]} and {others[row]} steps; leave one out with columns="
        )


def _join_pieces(column: Column, rows: Ints, begins: Ints, sizes: Ints, ends: Ints) -> Column:
    """Pieces of rows laid end to end, a row of the result each sequence."""
    if isinstance(column, dict):
        return each_field(column, lambda part: _join_pieces(part, rows, begins, sizes, ends))
    if isinstance(column, Ragged):
        starts = read_only(column.starts[rows] + begins)
        of = column._rows
        pieces = host_rows(of.values, starts, read_only(sizes), of.mask).compact()
        form = of.form and Form(of.form.type)  # no row of them is null
        ends = read_only(ends)
        sequences = ends[:-1], read_only(np.diff(ends))
        return Ragged._of(host_rows(pieces.values, *sequences, pieces.mask, form))
    lists = arrow.list_rows(arrow.seen_through(column))
    steps = arrow.steps_of(lists.starts[rows] + begins, sizes)
    return pa.LargeListArray.from_arrays(pa.array(ends), lists.items.take(pa.array(steps)))


def _group(column: Column, ends: Ints) -> Column:
    """One value a piece, as the values of each sequence's pieces."""
    if isinstance(column, np.ma.MaskedArray):
        return Ragged.from_offsets(column.data, ends, ~np.ma.getmaskarray(column))
    if isinstance(column, np.ndarray):
        return Ragged.from_offsets(column, ends)
    lists = pa.LargeListArray.from_arrays(pa.array(ends), column_to_arrow("", column))
    return read_column(lists)


def _cumulative(steps: Ints, ends: Ints) -> Ragged:
    """Where the rows of each sequence begin and end in it, from 0."""
    lengths = np.diff(ends) + 1
    offsets = offsets_of(lengths)
    pieces = _ranges(ends[:-1], lengths)
    values = steps[pieces] - np.repeat(steps[ends[:-1]], lengths)
    return Ragged.from_offsets(values.astype(np.int32), offsets)


# -- small arithmetic ---------------------------------------------------------------------


def _by_length(lengths: Ints) -> Ints:
    """The order of rising lengths, and of position where they are equal."""
    # numpy sorts 16 bits by radix, nine times as fast
    small = lengths.max(initial=0) < 1 << 16
    return np.argsort(lengths.astype(np.uint16) if small else lengths, kind="stable")


def _ranges(begins: Ints, sizes: Ints) -> Ints:
    """`begin, begin + 1, …`, so many of each, end to end."""
    offsets = offsets_of(sizes)
    return np.arange(offsets[-1]) + np.repeat(begins - offsets[:-1], sizes)


def padded_steps(lengths: Ints, ends: Ints) -> int:
    """What batches cost padded: rows × longest, summed."""
    if len(ends) < 2:
        return 0
    return int((np.maximum.reduceat(lengths, ends[:-1]) * np.diff(ends)).sum())
