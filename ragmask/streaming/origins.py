"""Some rows, and which rows of the data set, or of a mixture's sources, they are."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ragmask.arrays.protocol import Ints
from ragmask.streaming.columns import Column, join_columns


class Origins(NamedTuple):
    """Which rows these are, in a mixture: their numbers in their sources, and those sources.

    codes : for each row, the number of its source among `names`, uint16 (rows,).
    """

    numbers: Ints
    codes: Any
    names: tuple[str, ...]

    def pick(self, rows: Any) -> "Origins":
        return Origins(self.numbers[rows], self.codes[rows], self.names)


RowIds = Ints | Origins


def numbers_of(row_ids: RowIds) -> Ints:
    return row_ids.numbers if isinstance(row_ids, Origins) else row_ids


def pick_ids(row_ids: RowIds, rows: Any) -> RowIds:
    return row_ids.pick(rows) if isinstance(row_ids, Origins) else row_ids[rows]


class Part(NamedTuple):
    """Some items' rows, and which rows of the data set they are."""

    columns: Mapping[str, Column]
    row_ids: RowIds


def join(parts: Sequence[Part]) -> Part:
    """Parts end to end; one stays the view it is."""
    if len(parts) == 1:
        return parts[0]
    columns = join_columns([dict(part.columns) for part in parts])
    numbers = np.concatenate([numbers_of(part.row_ids) for part in parts])
    first = parts[0].row_ids
    if not isinstance(first, Origins):
        return Part(columns, numbers)
    codes = [part.row_ids.codes for part in parts if isinstance(part.row_ids, Origins)]
    return Part(columns, Origins(numbers, np.concatenate(codes), first.names))
