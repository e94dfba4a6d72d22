"""Filters: the columns they look at, and the row groups that statistics leave."""

from functools import reduce
from itertools import compress, product
from operator import and_
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from ragmask import arrow
from ragmask.errors import InvalidInputError

_MOST_FLOATS = 3  # columns of a filter, up to which statistics are looked at


def left_by_statistics(
    storage: Any, path: str, expression: Any, schema: Any, keys: dict[str, Any]
) -> set[int] | None:
    """The row groups of a file that may hold rows a filter keeps; None where it cannot be told.

    schema : of the columns that the filter looks at, in the file and among `keys`.
    """
    nans = [
        (field.name, pa.scalar(float("nan"), field.type))
        for field in schema
        if pa.types.is_floating(field.type) and field.name not in keys
    ]
    if len(nans) > _MOST_FLOATS:
        return None
    left = set()
    where: tuple[Any, ...] = (path, storage.filesystem)
    if not storage.is_local:  # read once, and on this thread
        footer = pa.BufferOutputStream()
        with storage.open(path) as opened:
            pq.read_metadata(opened).write_metadata_file(footer)
        where = (footer.getvalue(),)
    # statistics pass over NaNs: a row group is ruled out where NaNs would be too
    for chosen in product([False, True], repeat=len(nans)):
        fragment = pads.ParquetFileFormat().make_fragment(
            *where,
            partition_expression=_equal(keys | dict(compress(nans, chosen))),
        )
        subset = fragment.subset(expression, schema=schema)
        left |= {group.id for group in subset.row_groups}
    return left


def _equal(values: dict[str, Any]) -> Any:
    """An expression that says what some rows have in common; None where that is nothing."""
    parts = [
        pads.field(name) == value if value.is_valid else pads.field(name).is_null()
        for name, value in values.items()
    ]
    return reduce(and_, parts) if parts else None


def read_filter(given: Any, schema: Any) -> tuple[Any, tuple[str, ...]]:
    """The filter as an expression, and the columns it looks at."""
    if given is None:
        return None, ()
    try:
        expression = pq.filters_to_expression(given)
    except (TypeError, ValueError, LookupError) as error:
        raise InvalidInputError(
            f"the filter {given!r} cannot be read: {error}; one is a list of conditions, "
            '[("label", "==", 3)], or an expression, pyarrow.compute.field("label") == 3'
        ) from error

    if "FieldPath(" in str(expression):
        raise InvalidInputError(f"the filter {expression} must refer to columns by name")

    used: list[str] = []
    while True:
        try:
            scanner = _scanner(pa.schema([schema.field(name) for name in used]), expression)
            break
        except pa.ArrowException as error:
            lacking = [
                name
                for name in schema.names
                if name not in used and f"FieldRef.Name({name})" in str(error)
            ]
            if not lacking:
                why = str(error).splitlines()[0]
                raise InvalidInputError(
                    f"the filter {expression} does not fit the columns "
                    f"{', '.join(schema.names)}: {why}"
                ) from error
            used.append(max(lacking, key=len))
    if not pa.types.is_boolean(scanner.projected_schema.field("keep").type):
        raise InvalidInputError(f"the filter {expression} is not a condition: it gives no bool")
    return expression, tuple(name for name in schema.names if name in used)


def _scanner(schema: Any, expression: Any) -> Any:
    """What Arrow makes of an expression over columns of these types, and of no others."""
    kept = [one.with_type(arrow.workable(one.type)) for one in schema]
    table = pa.Table.from_arrays([pa.nulls(0, one.type) for one in kept], schema=pa.schema(kept))
    return pads.dataset(table).scanner(columns={"keep": expression})
