"""Batches written to a Parquet file, atomically."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ragmask import arrow
from ragmask.errors import InvalidInputError
from ragmask.files import cannot_write, shown, whole_file

_GROUP_BYTES = 64 << 20  # of values, before they are encoded: what a reader then decodes in one go
_GROUP_ROWS = 1 << 20

Advance = Callable[[int], object]


def write_parquet(
    tables: Iterable[Any],
    path: str | os.PathLike[str],
    advance: Advance | None = None,
    empty: Callable[[], Any] | None = None,
) -> int:
    """Write tables of one schema; `advance` hears of the rows written so far. Returns the rows.

    Where there is no table, `empty` makes the one of no rows that is written.

    Written beside `path` under another name, brought to the disk, and renamed.
    """
    try:
        with whole_file(path) as file:
            return _write(tables, file, shown(path), advance, empty)
    except pa.ArrowException as error:
        raise cannot_write(Path(path), error) from error


def _write(
    tables: Iterable[Any],
    file: Any,
    target: str,
    advance: Advance | None,
    empty: Callable[[], Any] | None,
) -> int:
    writer, rows = None, 0
    waiting: list[Any] = []
    rows_waiting = bytes_waiting = 0

    def flush() -> None:
        nonlocal rows, rows_waiting, bytes_waiting
        assert writer is not None
        writer.write_table(pa.concat_tables(waiting), row_group_size=max(1, rows_waiting))
        rows += rows_waiting
        rows_waiting = bytes_waiting = 0
        waiting.clear()
        if advance:
            advance(rows)

    try:
        for table in map(_storable, alike(tables)):
            if writer is None:
                writer = pq.ParquetWriter(file, table.schema)
            waiting.append(table)
            rows_waiting += len(table)
            bytes_waiting += table.nbytes
            if bytes_waiting >= _GROUP_BYTES or rows_waiting >= _GROUP_ROWS:
                flush()
        if writer is None and empty is not None:
            table = _storable(empty())
            writer = pq.ParquetWriter(file, table.schema)
            writer.write_table(table)
        if writer is None:
            raise InvalidInputError(f"{target}: the stream has no batch, so no columns to write")
        if waiting:
            flush()
    finally:
        if writer is not None:
            writer.close()
    return rows


def alike(tables: Iterable[Any], schema: Any = None) -> Iterator[Any]:
    """Tables in the first one's schema, or a given one."""
    for number, table in enumerate(tables):
        schema = schema or table.schema
        if table.schema.equals(schema, check_metadata=True):
            yield table
            continue
        try:
            same = _in_schema(table, schema)
        except (pa.ArrowException, ValueError) as error:
            raise InvalidInputError(
                f"batch {number} has other columns than the first: {error}"
            ) from error
        yield same


def _in_schema(table: Any, schema: Any) -> Any:
    if table.column_names != schema.names:
        raise InvalidInputError(
            f"it has {', '.join(table.column_names)}, and the first {', '.join(schema.names)}"
        )
    columns = []
    for column, field in zip(table.columns, schema, strict=True):
        if column.null_count and not field.nullable:
            raise InvalidInputError(f"column {field.name!r} has nulls")
        columns.append(arrow.to_type(column, field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _storable(table: Any) -> Any:
    """The table in types that Parquet has."""
    fields = [field.with_type(arrow.storable(field.type)) for field in table.schema]
    return _in_schema(table, pa.schema(fields, table.schema.metadata))
