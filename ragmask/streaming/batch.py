"""A batch: the columns of some rows, by name."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ragmask import arrow
from ragmask.errors import InvalidInputError, RagmaskError, UnsupportedTypeError
from ragmask.padded import Padded
from ragmask.ragged import Ragged, concatenate
from ragmask.show import item_name

Column = Any  # Ragged, Padded, numpy array, pyarrow array, or {field: Ragged} of list<struct>


class Batch(Mapping[str, Column]):
    """The columns of some rows: `batch["tokens"]`.

    >>> import numpy as np
    >>> import ragmask as rm
    >>> batch = rm.Batch({"tokens": rm.Ragged.from_rows([[1, 2], [3]]), "label": np.array([0, 1])})
    >>> batch
    Batch of 2 rows
      tokens  Ragged, 3 steps of int64, lengths 1–2
      label   array of int64
    >>> batch["tokens"].to_padded().values
    array([[1, 2],
           [3, 0]])

    Lists of numbers are Ragged; numbers, bools and times numpy arrays (masked arrays where
    there are nulls); the fields of a `list<struct<a, b>>` column are `batch["col.a"]`,
    `batch["col.b"]`, and `batch["col"]` is a dict of both; anything else is a pyarrow array.

    Raises InvalidInputError, naming the column, where numbers of rows differ.
    """

    __slots__ = ("_columns", "num_rows")

    def __init__(self, columns: Mapping[str, Column]) -> None:
        self._columns = dict(columns)
        self.num_rows = 0
        for position, (name, column) in enumerate(self._columns.items()):
            rows = _num_rows(name, column)
            if position and rows != self.num_rows:
                first = next(iter(self._columns))
                raise InvalidInputError(
                    f"column {name!r} has {rows} rows, and {first!r} has {self.num_rows}"
                )
            self.num_rows = rows

    def __getitem__(self, name: str) -> Column:
        if name in self._columns:
            return self._columns[name]
        column, _, field = str(name).partition(".")
        fields = self._columns.get(column)
        if isinstance(fields, dict) and field in fields:
            return fields[field]
        raise KeyError(f"no column {name!r}; the batch has {', '.join(self._columns)}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        """The number of columns; `num_rows` is that of rows."""
        return len(self._columns)

    def to_arrow(self) -> Any:
        """A pyarrow Table of the columns.

        >>> import ragmask as rm
        >>> rm.Batch({"tokens": rm.Ragged.from_rows([[1, 2], [3]])}).to_arrow().to_pydict()
        {'tokens': [[1, 2], [3]]}
        """
        return pa.table({name: _to_arrow(name, column) for name, column in self._columns.items()})

    def __reduce__(self) -> Any:
        return Batch, ({name: _owned(column) for name, column in self._columns.items()},)

    def __repr__(self) -> str:
        texts: dict[str, str] = {}
        for name, column in self._columns.items():
            if isinstance(column, dict):
                texts |= {f"{name}.{field}": _describe(part) for field, part in column.items()}
            else:
                texts[name] = _describe(column)
        widest = max(map(len, texts), default=0)
        lines = [f"  {name:<{widest}}  {text}" for name, text in texts.items()]
        return "\n".join([f"Batch of {self.num_rows:,} rows", *lines])


def slice_columns(columns: Mapping[str, Column], first: int, last: int) -> dict[str, Column]:
    """Rows `[first, last)` of each column, as views."""
    return {name: _slice(column, first, last) for name, column in columns.items()}


def join_columns(parts: list[dict[str, Column]]) -> dict[str, Column]:
    """The rows of several parts in one; one part stays the view it is."""
    if len(parts) == 1:
        return parts[0]
    return {name: _join([part[name] for part in parts]) for name in parts[0]}


def _slice(column: Column, first: int, last: int) -> Column:
    if isinstance(column, dict):
        return slice_columns(column, first, last)
    if isinstance(column, pa.Array):
        return column.slice(first, last - first)
    return column[first:last]


def _join(columns: list[Column]) -> Column:
    first = columns[0]
    if isinstance(first, dict):
        return join_columns(columns)
    if isinstance(first, Ragged):
        return concatenate(columns)
    if isinstance(first, pa.Array):
        return pa.concat_arrays(columns)
    if any(isinstance(column, np.ma.MaskedArray) for column in columns):
        return np.ma.concatenate(columns)  # type: ignore[no-untyped-call]
    return np.concatenate(columns)


def _num_rows(name: str, column: Column) -> int:
    if isinstance(column, dict):
        rows = {_num_rows(f"{name}.{field}", part) for field, part in column.items()}
        if len(rows) != 1:
            raise InvalidInputError(f"the fields of column {name!r} differ in their rows")
        return rows.pop()
    if isinstance(column, str | bytes) or not hasattr(column, "__len__"):
        raise UnsupportedTypeError(
            f"column {name!r} is a {type(column).__name__}; a column has one entry a row"
        )
    return len(column)


def _to_arrow(name: str, column: Column) -> Any:
    if isinstance(column, dict):
        return _struct_to_arrow(column)
    if isinstance(column, Ragged):
        return column.to_arrow()
    if isinstance(column, Padded):
        return Ragged.from_padded(column).to_arrow()
    if isinstance(column, pa.Array | pa.ChunkedArray):
        return column
    try:
        return arrow.write_scalars(column)
    except (RagmaskError, TypeError, ValueError, pa.ArrowException) as error:
        raise UnsupportedTypeError(f"column {name!r} cannot become Arrow: {error}") from error


def _struct_to_arrow(fields: dict[str, Column]) -> Any:
    lists = {name: _to_arrow(name, part) for name, part in fields.items()}
    lengths = pc.list_value_length(next(iter(lists.values())))
    offsets = np.concatenate([[0], np.cumsum(lengths.to_numpy(zero_copy_only=False))])
    items = pa.StructArray.from_arrays([part.flatten() for part in lists.values()], list(lists))
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), items)


def _owned(column: Column) -> Column:
    """Without the rows around a slice, which pickle would ship too."""
    if isinstance(column, dict):
        return {field: _owned(part) for field, part in column.items()}
    if isinstance(column, pa.Array):
        return column.take(pa.array(np.arange(len(column))))
    return column


def _describe(column: Column) -> str:
    if isinstance(column, Ragged):
        item = item_name(column.item_shape, column.dtype)
        span = f", lengths {column.lengths.min()}–{column.max_length}" if len(column) else ""
        masked = ", masked" if column.mask is not None else ""
        return f"Ragged, {column.n_steps:,} steps of {item}{span}{masked}"
    if isinstance(column, Padded):
        return repr(column).splitlines()[0]
    if isinstance(column, pa.Array):
        return f"Arrow array of {column.type}"
    kind = "masked array" if isinstance(column, np.ma.MaskedArray) else "array"
    return f"{kind} of {getattr(column, 'dtype', type(column).__name__)}"
