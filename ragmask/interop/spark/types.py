"""Between the types of Spark and those of Arrow."""

from typing import Any

import pyarrow as pa
from pyspark.errors import PySparkTypeError
from pyspark.sql.pandas.types import from_arrow_type, to_arrow_type
from pyspark.sql.types import ArrayType, DataType, MapType, StructType, TimestampType

from ragmask import arrow
from ragmask.errors import UnsupportedTypeError

# Spark's whole numbers have signs, and its floats 32 bits or more
_WIDER = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20, 0),
    pa.float16(): pa.float32(),
}


def in_arrow(name: str, type_: DataType) -> Any:
    """The Arrow type in which workers get a column.

    Raises UnsupportedTypeError, naming it, where they cannot.
    """
    try:
        return _in_arrow(type_)
    except PySparkTypeError as error:
        raise UnsupportedTypeError(
            f"column {name!r} is {type_.simpleString()}, which Spark does not hand to Python"
        ) from error


def _in_arrow(type_: DataType) -> Any:
    if isinstance(type_, ArrayType):
        return pa.list_(_in_arrow(type_.elementType))
    if isinstance(type_, MapType):
        return pa.map_(_in_arrow(type_.keyType), _in_arrow(type_.valueType))
    if isinstance(type_, StructType):
        return pa.struct([(field.name, _in_arrow(field.dataType)) for field in type_.fields])
    if isinstance(type_, TimestampType):
        return pa.timestamp("us", "UTC")
    return to_arrow_type(type_)


def known(type_: Any) -> Any:
    """The Arrow type for the same values that Spark reads: lists of any size, wider numbers."""
    type_ = arrow.workable(type_)
    if arrow.kind_of(type_) in ("ragged", "vector"):
        return pa.list_(known(arrow.item_type(type_)))
    return _WIDER.get(type_, type_)


def in_spark(name: str, type_: Any) -> DataType:
    """Spark's type of an output. Raises UnsupportedTypeError, naming it, where there is none."""
    try:
        return from_arrow_type(known(type_))
    except PySparkTypeError as error:
        raise UnsupportedTypeError(
            f"output {name!r} is {type_}, a type that Spark lacks"
        ) from error
