"""A batch's columns by name: sliced, reordered, joined, measured, and written as Arrow."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ragmask import arrow
from ragmask.devices import Ints
from ragmask.errors import InvalidInputError, RagmaskError, UnsupportedTypeError
from ragmask.padded import Padded
from ragmask.ragged import Ragged, concatenate
from ragmask.show import item_name

Column = Any  # Ragged, Padded, numpy array, pyarrow array, or {field: Ragged} of list<struct>


def slice_columns(columns: Mapping[str, Column], first: int, last: int) -> dict[str, Column]:
    """Rows `[first, last)` of each column, as views."""
    return {name: _slice(column, first, last) for name, column in columns.items()}


def take_columns(columns: Mapping[str, Column], rows: Ints) -> dict[str, Column]:
    """Rows by number. A Ragged stays a view: only its starts and lengths are picked."""
    return {name: take(column, rows) for name, column in columns.items()}


def take(column: Column, rows: Ints) -> Column:
    if isinstance(column, dict):
        return take_columns(column, rows)
    if isinstance(column, Ragged):
        return column._pick(rows)
    if isinstance(column, pa.Array):
        return column.take(pa.array(rows))
    return column[rows]


def lengths_of(name: str, column: Column) -> Ints:
    """The steps of each row, int64 (rows,), of a Ragged or an Arrow list array."""
    if isinstance(column, dict):
        return lengths_of(name, next(iter(column.values())))
    if isinstance(column, Ragged):
        return column.lengths
    if isinstance(column, pa.Array) and is_list(column.type):
        lengths = pc.list_value_length(column).fill_null(0)
        return np.asarray(lengths.to_numpy(zero_copy_only=False), np.int64)
    raise UnsupportedTypeError(f"column {name!r} has no lengths: it is {describe(column)}")


def is_list(type_: Any) -> bool:
    """Whether rows of this Arrow type are lists that may differ in length."""
    if isinstance(type_, pa.BaseExtensionType):
        return is_list(type_.storage_type)
    return bool(
        pa.types.is_list(type_)
        or pa.types.is_large_list(type_)
        or pa.types.is_list_view(type_)
        or pa.types.is_large_list_view(type_)
    )


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


def num_rows(name: str, column: Column) -> int:
    if isinstance(column, dict):
        rows = {num_rows(f"{name}.{field}", part) for field, part in column.items()}
        if len(rows) != 1:
            raise InvalidInputError(f"the fields of column {name!r} differ in their rows")
        return rows.pop()
    if isinstance(column, str | bytes) or not hasattr(column, "__len__"):
        raise UnsupportedTypeError(
            f"column {name!r} is a {type(column).__name__}; a column has one entry a row"
        )
    return len(column)


def column_to_arrow(name: str, column: Column) -> Any:
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
    lists = {name: column_to_arrow(name, part) for name, part in fields.items()}
    lengths = pc.list_value_length(next(iter(lists.values())))
    offsets = np.concatenate([[0], np.cumsum(lengths.to_numpy(zero_copy_only=False))])
    items = pa.StructArray.from_arrays([part.flatten() for part in lists.values()], list(lists))
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), items)


def own(column: Column) -> Column:
    """Without the rows around a slice, which pickle would ship too."""
    if isinstance(column, dict):
        return {field: own(part) for field, part in column.items()}
    if isinstance(column, pa.Array):
        return column.take(pa.array(np.arange(len(column))))
    return column


def describe(column: Column) -> str:
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
