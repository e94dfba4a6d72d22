"""Columns of other libraries that are Arrow inside: told from arrays, and made like them again."""

import sys
from typing import Any

import pyarrow as pa


def is_arrow(source: Any) -> bool:
    """Whether this is an Arrow array, or offers itself as one."""
    if isinstance(source, pa.Array | pa.ChunkedArray):
        return True
    # a class has the methods too, but nothing to offer
    return not isinstance(source, type) and (
        hasattr(source, "__arrow_c_array__") or hasattr(source, "__arrow_c_stream__")
    )


def as_kind_of(array: Any, source: Any) -> Any:
    """An Arrow array in the kind of what it was made from, row for row.

    A Series of polars or pandas gives one of the same name (and index); anything else the array.
    """
    polars, pandas = sys.modules.get("polars"), sys.modules.get("pandas")
    if polars is not None and isinstance(source, polars.Series):
        return polars.Series(source.name, array)
    if pandas is not None and isinstance(source, pandas.Series):
        type_ = pandas.ArrowDtype(array.type)
        return pandas.Series(array, index=source.index, name=source.name, dtype=type_)
    return array
