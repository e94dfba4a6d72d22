"""A batch's columns by name: sliced, reordered, joined, measured, and written as Arrow."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from ragmask import arrow
from ragmask.arrays.host import HOST, read_only
from ragmask.arrays.memory import joined
from ragmask.arrays.protocol import Ints
from ragmask.arrow import Fields
from ragmask.batches.joining import concatenate
from ragmask.batches.nested import NestedRagged
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.batches.show import item_name
from ragmask.errors import InvalidInputError, RagmaskError, UnsupportedTypeError
from ragmask.rows.layout import Layout
from ragmask.rows.rows import Rows

Column = Any  # Ragged, Padded, numpy array, pyarrow array, or Fields of them


def read_column(array: Any, nulls: arrow.Nulls = "empty") -> Column:
    """An Arrow column in the form that a window holds it in.

    Dictionaries and vectors stay what they are, so that nothing is lost that numpy cannot tell;
    `face` gives what is handed over.
    """
    if nulls == "error" and arrow.is_list(array.type):
        arrow.refuse_nulls(array)
    kind = arrow.kind_of(array.type)
    if kind == "ragged":
        return Ragged._of(arrow.read_rows(array))
    if kind == "struct":
        fields = arrow.read_fields(array)
        return Fields(
            {name: _read_field(part, nulls) for name, part in fields.items()},
            _read_field(fields.frame, nulls),
            fields.type,
        )
    if pa.types.is_dictionary(array.type) or kind in ("vector", "other"):
        return arrow.one_array(array)
    return arrow.read_scalars(array)


def _read_field(part: Any, nulls: arrow.Nulls) -> Column:
    if isinstance(part, Rows):
        return Ragged._of(part)
    return read_column(part, nulls) if isinstance(part, pa.ChunkedArray) else part


def face(column: Column) -> Column:
    """A window's column as it is handed over: a dictionary as the values of its rows."""
    return arrow.read_scalars(column) if isinstance(column, pa.Array) else column


def slice_columns(columns: Mapping[str, Column], first: int, last: int) -> dict[str, Column]:
    """Rows `[first, last)` of each column, as views."""
    return {name: _slice(column, first, last) for name, column in columns.items()}


def take_columns(columns: Mapping[str, Column], rows: Ints) -> dict[str, Column]:
    """Rows by number. A Ragged stays a view: only its starts and lengths are picked."""
    return {name: take(column, rows) for name, column in columns.items()}


def take(column: Column, rows: Ints) -> Column:
    if isinstance(column, dict):
        return each_field(column, lambda part: take(part, rows))
    if isinstance(column, Ragged):
        return Ragged._of(column._rows.pick(rows))
    if isinstance(column, pa.Array):
        return arrow.take(column, pa.array(rows))
    return column[rows]


def each_field(column: dict[str, Column], function: Any) -> dict[str, Column]:
    """A column of fields, each of them, and what they share, put through a function."""
    fields = {name: function(part) for name, part in column.items()}
    if isinstance(column, Fields):
        return Fields(fields, function(column.frame), column.type)
    return fields


def lengths_of(name: str, column: Column) -> Ints:
    """The steps of each row, int64 (rows,), of a Ragged or an Arrow list array."""
    if isinstance(column, Fields):
        return lengths_of(name, column.frame)
    if isinstance(column, dict):
        return lengths_of(name, next(iter(column.values())))
    if isinstance(column, Ragged):
        return column.lengths
    if isinstance(column, pa.Array) and arrow.is_list(column.type):
        return arrow.list_rows(arrow.seen_through(column)).lengths
    raise UnsupportedTypeError(f"column {name!r} has no lengths: it is {describe(column)}")


def join_columns(parts: list[dict[str, Column]]) -> dict[str, Column]:
    """The rows of several parts in one; one part stays the view it is."""
    if len(parts) == 1:
        return parts[0]
    return {name: _join([part[name] for part in parts]) for name in parts[0]}


def _slice(column: Column, first: int, last: int) -> Column:
    if isinstance(column, dict):
        return each_field(column, lambda part: _slice(part, first, last))
    if isinstance(column, pa.Array):
        return column.slice(first, last - first)
    return column[first:last]


def _join(columns: list[Column]) -> Column:
    first = columns[0]
    if isinstance(first, dict):
        fields = {name: _join([column[name] for column in columns]) for name in first}
        if not isinstance(first, Fields):
            return fields
        return Fields(fields, _join([column.frame for column in columns]), first.type)
    if isinstance(first, Ragged):
        return concatenate(columns)
    if isinstance(first, pa.Array):
        return arrow.one_array(_in_one_type(columns))
    if any(isinstance(column, np.ma.MaskedArray) for column in columns):
        return np.ma.concatenate(columns)  # type: ignore[no-untyped-call]
    return joined(columns)


def _in_one_type(arrays: list[Any]) -> Any:
    """Arrays of a column, of which some may have been widened, as a chunked array."""
    types = [array.type for array in arrays]
    type_ = next((t for t in types if t != types[0]), types[0])
    return pa.chunked_array([arrow.to_type(array, type_) for array in arrays], type_)


def num_rows(name: str, column: Column) -> int:
    if isinstance(column, Fields):
        return len(column.frame)
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


# -- to Arrow -----------------------------------------------------------------------------


def column_to_arrow(name: str, column: Column, type_: Any = None) -> Any:
    """A column as an Arrow array, of the type it came in while the values still fit that."""
    array = _to_arrow(name, column)
    return array if type_ is None else arrow.like(array, type_)


def _to_arrow(name: str, column: Column) -> Any:
    if isinstance(column, dict):
        return _fields_to_arrow(name, column)
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


def _fields_to_arrow(name: str, column: dict[str, Column]) -> Any:
    rows = num_rows(name, column)
    if isinstance(column, Fields) and not isinstance(column.frame, Ragged):
        children = [_to_arrow(f"{name}.{field}", part) for field, part in column.items()]
        present = None if column.frame.all() else column.frame
        return arrow.write_fields(children, column.type, present, rows)
    frame = column.frame.compact() if isinstance(column, Fields) else _frame_of(name, column)
    children = []
    for field, part in column.items():
        if not np.array_equal(lengths_of(field, part), frame.lengths):
            raise InvalidInputError(f"the fields of column {name!r} differ in their lengths")
        lists = arrow.seen_through(_to_arrow(f"{name}.{field}", part))
        children.append(arrow.items_of_rows(arrow.list_rows(lists)))
    form = frame._rows.form or arrow.Form()
    type_ = form.type
    struct = _struct_of(list(column), children) if type_ is None else type_.value_type
    items = arrow.write_fields(children, struct, frame.mask, frame.n_steps)
    return arrow.write_lists(type_, items, frame.starts, frame.lengths, form.valid)


def _frame_of(name: str, column: dict[str, Column]) -> Ragged:
    """What the fields of a dict that somebody made have in common."""
    lengths = lengths_of(name, column)
    steps = read_only(np.empty((int(lengths.sum()), 0), np.uint8))
    return Ragged._of(Rows(steps, Layout.of_lengths(HOST, lengths)))


def _struct_of(names: list[str], children: list[Any]) -> Any:
    return pa.struct([(name, child.type) for name, child in zip(names, children, strict=True)])


def own(column: Column) -> Column:
    """Without the rows around a slice, which pickle would ship too."""
    if isinstance(column, dict):
        return each_field(column, own)
    if isinstance(column, pa.Array):
        return arrow.take(column, pa.array(np.arange(len(column))))
    return column


def describe(column: Column) -> str:
    if isinstance(column, NestedRagged | Padded):
        return repr(column).splitlines()[0]
    if isinstance(column, Ragged):
        item = item_name(column.item_shape, column.dtype)
        span = f", lengths {column.lengths.min()}–{column.max_length}" if len(column) else ""
        masked = ", masked" if column.mask is not None else ""
        return f"Ragged, {column.n_steps:,} steps of {item}{span}{masked}"
    if isinstance(column, pa.Array):
        return f"Arrow array of {column.type}"
    kind = "masked array" if isinstance(column, np.ma.MaskedArray) else "array"
    return f"{kind} of {getattr(column, 'dtype', type(column).__name__)}"


def is_name(given: object) -> bool:
    """Whether a column may be called so: a text that is not empty, and that UTF-8 can hold."""
    # a lone surrogate is left out of the bytes
    return isinstance(given, str) and given.encode("utf-8", "ignore").decode() == given != ""


def ragged_column(schema: Any, column: str | None) -> str:
    """The column whose lengths count: the one that is named, or the only ragged one."""
    ragged: list[str] = [one.name for one in schema if arrow.is_list(arrow.workable(one.type))]
    if column is None:
        if len(ragged) == 1:
            return ragged[0]
        which = f"one of {', '.join(ragged)}" if ragged else "but none is ragged"
        raise InvalidInputError(f"name the column whose lengths count, {which}: column=…")
    if not isinstance(column, str) or column not in ragged:
        raise InvalidInputError(
            f"column {column!r} has no lengths to count; ragged are: {', '.join(ragged) or '–'}"
        )
    return column
