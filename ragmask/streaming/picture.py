"""How batches of columns are drawn: a table of what each holds, and of its first rows."""

import re
from collections.abc import Container, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from ragmask import markup
from ragmask.batches.padded import Padded
from ragmask.batches.picture import small
from ragmask.batches.ragged import Ragged
from ragmask.batches.show import count, item_name
from ragmask.streaming.columns import Column, face

MOST_COLUMNS = 20
_FIELDS = 6
_ENTRIES = 5  # of a column whose values are shown
_INSIDE = 3  # of an entry that is a list or a struct
_DEEPEST = 4
_ENTRY = 24


def draw_batch(num_rows: int, columns: Mapping[str, Column], of_files: Container[str]) -> str:
    """A batch as a fragment of HTML: a row of a table for each column, and what its rows hold.

    columns : as a window holds them; those of `of_files` are handed over by their faces.
    """
    facts = [count(num_rows, "row"), count(len(columns), "column")]
    lines = list(islice(_lines(num_rows, columns, of_files), MOST_COLUMNS))
    table = markup.table(["column", "holds", "its first rows"], lines) if lines else ""
    left = len(columns) - MOST_COLUMNS
    more = f"<p>… {count(left, 'more column')}</p>" if left > 0 else ""
    return markup.figure(markup.head("Batch", facts), table, more)


def _lines(
    num_rows: int, columns: Mapping[str, Column], of_files: Container[str]
) -> Iterator[list[str]]:
    for name, column in columns.items():
        parts = {name: column}
        if isinstance(column, dict):
            parts = {
                f"{name}.{field}": part for field, part in islice(column.items(), MOST_COLUMNS)
            }
        for shown, part in parts.items():
            if isinstance(part, pa.Array) and name in of_files:
                part = face(part[:_ENTRIES])
            holds = markup.text(_holds(num_rows, part), 160)
            yield [code(markup.data(shown)), holds, _first_rows(num_rows, part)]


def _holds(num_rows: int, column: Column) -> str:
    if isinstance(column, Ragged | Padded):
        drawing = column._drawing()
        rows = count(num_rows, "row")
        return ", ".join([drawing.kind, *(fact for fact in drawing.facts if fact != rows)])
    if isinstance(column, dict):
        return count(len(column), "field")
    if isinstance(column, pa.Array | pa.ChunkedArray):
        return f"Arrow array of {type_text(column.type)}"
    if isinstance(column, np.ndarray):
        kind = "masked array" if isinstance(column, np.ma.MaskedArray) else "array"
        return f"{kind} of {item_name(column.shape[1:], column.dtype)}"
    return type(column).__name__


def _first_rows(num_rows: int, column: Column) -> str:
    if isinstance(column, Ragged | Padded):
        return small(column._drawing())
    if isinstance(column, np.ndarray) and column.ndim == 1:
        entries = [_number(entry) for entry in column[:_ENTRIES]]
    elif isinstance(column, pa.Array | pa.ChunkedArray):
        entries = [_entry(entry) for entry in column[:_ENTRIES]]
    else:
        return ""
    shown = " ".join(markup.data(entry, _ENTRY) for entry in entries)
    return code(shown + (" …" if num_rows > _ENTRIES else ""))


def code(shown: str) -> str:
    return f'<span class="rm-code">{shown}</span>'


def _number(entry: Any) -> str:
    """An entry of a numpy array; of objects of other classes, what class they are of."""
    if entry is np.ma.masked:
        return "null"
    if isinstance(entry, str | np.generic) and not isinstance(entry, np.void):
        return str(entry[: 2 * _ENTRY] if isinstance(entry, str) else entry)
    return type(entry).__name__


def _entry(entry: Any, depth: int = 0) -> str:
    """An Arrow scalar, of which no more is read than is shown."""
    if isinstance(entry, pa.ExtensionScalar | pa.DictionaryScalar):
        entry = entry.value
    if not entry.is_valid:
        return "null"
    type_ = entry.type
    if pa.types.is_nested(type_):
        return _inside(entry, depth) if depth < _DEEPEST else "…"
    if hasattr(entry, "as_buffer"):  # texts and bytes
        begin = entry.as_buffer()[: 4 * _ENTRY].to_pybytes()
        is_text = "string" in str(type_)
        return begin.decode(errors="replace") if is_text else repr(begin)
    return str(entry.as_py())


def _inside(entry: Any, depth: int) -> str:
    if pa.types.is_struct(entry.type):
        names = [entry.type.field(place).name for place in range(min(len(entry), _INSIDE))]
        shown = [
            f"{name[:_ENTRY]}: {_entry(entry[place], depth + 1)}"
            for place, name in enumerate(names)
        ]
        return f"{{{', '.join(shown)}{', …' if len(entry) > _INSIDE else ''}}}"
    items = getattr(entry, "values", None)
    if items is None:  # unions and run ends
        return "…"
    shown = [_entry(item, depth + 1) for item in items[:_INSIDE]]
    return f"[{', '.join(shown)}{', …' if len(items) > _INSIDE else ''}]"


def type_text(type_: Any, depth: int = 0) -> str:
    """The name of an Arrow type, with no more of its fields than fit."""
    if isinstance(type_, pa.BaseExtensionType):
        return f"extension<{type_.extension_name}>"
    if pa.types.is_dictionary(type_):
        return f"dictionary<{type_text(type_.value_type, depth)}>"
    if not pa.types.is_nested(type_):
        return str(type_)
    if type_.num_fields > _FIELDS or depth == _DEEPEST:
        return f"{_kind(type_)}<{count(type_.num_fields, 'field')}>"
    if not pa.types.is_struct(type_) and type_.num_fields == 1:
        size = f"[{type_.list_size}]" if pa.types.is_fixed_size_list(type_) else ""
        return f"{_kind(type_)}<{type_text(type_.field(0).type, depth + 1)}>{size}"
    fields = [type_.field(place) for place in range(type_.num_fields)]
    shown = (f"{one.name[:_ENTRY]}: {type_text(one.type, depth + 1)}" for one in fields)
    return f"{_kind(type_)}<{', '.join(shown)}>"


def _kind(type_: Any) -> str:
    """ "fixed_size_list" of a FixedSizeListType."""
    return re.sub("(?<=.)([A-Z])", r"_\1", type(type_).__name__.removesuffix("Type")).lower()
