"""The types of a stream's columns, as datasets has features for them."""

from typing import Any

import datasets
import pyarrow as pa

from ragmask import arrow
from ragmask.errors import UnsupportedTypeError


def features_of(schema: Any) -> Any:
    """The Features of a stream's columns: those they were saved with, where the types still fit.

    Raises UnsupportedTypeError that names every column of a type that datasets does not have.
    """
    fields = [field.with_type(featured(field.type)) for field in schema]
    wrong = [
        f"column {field.name!r} is of {given.type}"
        for field, given in zip(fields, schema, strict=True)
        if not _has_feature(field.type)
    ]
    if wrong:
        raise UnsupportedTypeError(
            f"{', '.join(wrong)}, which datasets has no feature for: name the columns to read, "
            "rm.stream(…, columns=[…]), or change it with stream.map(…)"
        )
    return datasets.Features.from_arrow_schema(pa.schema(fields, schema.metadata))


def featured(type_: Any) -> Any:
    """The type for the same values that datasets has a feature for; itself where there is none."""
    if isinstance(type_, pa.BaseExtensionType):
        return type_ if _has_feature(type_) else featured(type_.storage_type)
    if pa.types.is_dictionary(type_) or pa.types.is_run_end_encoded(type_):
        return featured(type_.value_type)
    if pa.types.is_struct(type_):
        return pa.struct([(field.name, featured(field.type)) for field in arrow.fields_of(type_)])
    if pa.types.is_fixed_size_list(type_):
        return pa.list_(featured(type_.value_type), type_.list_size)
    if pa.types.is_list(type_) or pa.types.is_list_view(type_):
        return pa.list_(featured(type_.value_type))
    if pa.types.is_large_list(type_) or pa.types.is_large_list_view(type_):
        return pa.large_list(featured(type_.value_type))
    return type_


def _has_feature(type_: Any) -> bool:
    schema = pa.schema([("it", type_)])
    try:
        kept = datasets.Features.from_arrow_schema(schema).arrow_schema
    except (ValueError, TypeError, NotImplementedError):
        return False
    return bool(kept.field("it").type == type_)
