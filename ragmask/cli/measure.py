"""The lengths of ragged columns, read from files. Nothing else of a row is kept."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ragmask import arrow
from ragmask.arrays.protocol import Bools, Ints
from ragmask.arrow import is_list
from ragmask.errors import StreamError
from ragmask.streaming.ahead import run_ahead
from ragmask.streaming.groups import Group
from ragmask.streaming.reader import Reader
from ragmask.streaming.source import Source


@dataclass(frozen=True)
class Measured:
    """One ragged column: lengths int64 (rows,), and what is null in it."""

    lengths: Ints
    null_rows: int
    null_steps: int


def ragged_columns(source: Source, wanted: Sequence[str] | None) -> list[str]:
    """The columns to measure: those wanted, or all that are ragged."""
    path = source.paths[0]
    if wanted is not None:
        for name in wanted:
            type_ = source.schema.field(name).type
            if not is_list(type_):
                raise StreamError(
                    f"{path}: column {name!r} is {type_}; only lists have lengths that differ"
                )
        return list(wanted)
    found = [field.name for field in source.schema if is_list(field.type)]
    if not found:
        has = ", ".join(f"{field.name} ({field.type})" for field in source.schema) or "none at all"
        raise StreamError(f"{path}: no ragged column, that is, a column of lists; it has {has}")
    return found


def measure(source: Source, advance: Callable[[int], None]) -> dict[str, Measured]:
    """The lengths of every column of `source`. `advance` hears of the rows that are done.

    Row groups are measured where they are decoded, in the background, and let go.
    """
    # Not the batches of a stream: in those a null list is an empty row like others.
    reader = Reader(source)

    def read(group: Group) -> tuple[int, dict[str, Measured]]:
        table = reader.read_table([group])
        try:
            return group.rows, {name: measure_array(table[name]) for name in source.columns}
        except (ValueError, pa.ArrowException) as error:
            raise StreamError(f"{group} cannot be measured: {error}") from error

    parts: dict[str, list[Measured]] = {name: [] for name in source.columns}
    with closing(run_ahead(read, source.groups, stop=reader.close)) as done:
        for rows, columns in done:
            for name, part in columns.items():
                parts[name].append(part)
            advance(rows)
    return {name: _join(found) for name, found in parts.items()}


def measure_array(column: Any) -> Measured:
    """The lengths of a list array, chunked or not, as a null list of 0."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    return _join([_measure_chunk(chunk) for chunk in chunks])


def _measure_chunk(lists: Any) -> Measured:
    rows = arrow.list_rows(arrow.seen_through(lists))
    null_steps = 0
    if _may_have_nulls(rows.items):
        null_steps = int((~_is_there(arrow.items_of_rows(rows))).sum())
    null_rows = 0 if rows.valid is None else int((~rows.valid).sum())
    return Measured(rows.lengths, null_rows, null_steps)


def _may_have_nulls(items: Any) -> bool:
    if items.null_count:
        return True
    fields = items.flatten() if pa.types.is_struct(items.type) else []
    return any(part.null_count for part in fields)


def _is_there(items: Any) -> Bools:
    """False for null steps; a struct is there when all of its fields are."""
    there: Bools = items.is_valid().to_numpy(zero_copy_only=False)
    for part in items.flatten() if pa.types.is_struct(items.type) else []:
        there = there & part.is_valid().to_numpy(zero_copy_only=False)
    return there


def _join(parts: list[Measured]) -> Measured:
    return Measured(
        np.concatenate([part.lengths for part in parts]) if parts else np.empty(0, np.int64),
        sum(part.null_rows for part in parts),
        sum(part.null_steps for part in parts),
    )
