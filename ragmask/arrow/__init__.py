"""Between Arrow and bare arrays: the only core rooms that touch Arrow's buffers.

types.py asks what a type is, lists.py reads and builds list layouts, convert.py gives the same
values another type, read.py and write.py cross the border, series.py knows whose columns are Arrow.
"""

from ragmask.arrow.convert import (
    field_of,
    items_of_rows,
    join,
    like,
    one_array,
    take,
    to_type,
    to_workable,
    validate,
)
from ragmask.arrow.items import write_items
from ragmask.arrow.lists import list_rows, seen_through, steps_of
from ragmask.arrow.read import (
    Fields,
    Form,
    Nulls,
    arrow_array,
    as_vectors,
    check_nulls,
    form_in_time,
    joined_form,
    owns_memory,
    read_fields,
    read_rows,
    read_scalars,
    read_strings,
    refuse_nulls,
    vector_width,
)
from ragmask.arrow.series import as_kind_of, is_arrow
from ragmask.arrow.types import (
    field_at,
    fields_of,
    is_list,
    is_string,
    item_shape,
    item_type,
    kind_of,
    leaves_at,
    storable,
    unified,
    workable,
)
from ragmask.arrow.write import write_fields, write_lists, write_rows, write_scalars

__all__ = [
    "field_at",
    "fields_of",
    "item_shape",
    "item_type",
    "leaves_at",
    "storable",
    "unified",
    "vector_width",
    "workable",
    "Fields",
    "Form",
    "Nulls",
    "arrow_array",
    "as_kind_of",
    "as_vectors",
    "check_nulls",
    "field_of",
    "form_in_time",
    "is_arrow",
    "is_list",
    "is_string",
    "items_of_rows",
    "join",
    "joined_form",
    "kind_of",
    "like",
    "list_rows",
    "one_array",
    "owns_memory",
    "read_fields",
    "read_rows",
    "read_scalars",
    "read_strings",
    "refuse_nulls",
    "seen_through",
    "steps_of",
    "take",
    "to_type",
    "to_workable",
    "validate",
    "write_fields",
    "write_items",
    "write_lists",
    "write_rows",
    "write_scalars",
]
