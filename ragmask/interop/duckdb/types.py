"""Arrow's types in SQL's words."""

from typing import Any

import pyarrow as pa

from ragmask import arrow
from ragmask.arrow.types import has_fixed_size
from ragmask.errors import UnsupportedTypeError

_WORDS = {
    pa.bool_(): "BOOLEAN",
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.uint8(): "UTINYINT",
    pa.uint16(): "USMALLINT",
    pa.uint32(): "UINTEGER",
    pa.uint64(): "UBIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
}


def sql_type(type_: Any) -> str:
    """The type as it is written in SQL.

    >>> import pyarrow as pa
    >>> sql_type(pa.list_(pa.list_(pa.float32(), 3)))
    'FLOAT[3][]'
    """
    if type_ in _WORDS:
        return _WORDS[type_]
    if has_fixed_size(type_):
        return f"{sql_type(type_.value_type)}[{type_.list_size}]"
    if arrow.is_list(type_):
        return f"{sql_type(type_.value_type)}[]"
    if pa.types.is_struct(type_):
        fields = (f"{quoted(f.name)} {sql_type(f.type)}" for f in arrow.fields_of(type_))
        return f"STRUCT({', '.join(fields)})"
    raise UnsupportedTypeError(f"DuckDB has no type for {type_}: convert it to float32 or float64")


def quoted(name: str) -> str:
    """A name as it is written in SQL, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'
