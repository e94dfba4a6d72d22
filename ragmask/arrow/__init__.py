"""Between Arrow and bare arrays: the only core rooms that touch Arrow's buffers.

types.py asks what a type is, lists.py reads and builds list layouts, convert.py gives the same
values another type, read.py and write.py cross the border.
"""

from ragmask.arrow.convert import (
    field_of,
    join,
    like,
    one_array,
    to_type,
    to_workable,
    validate,
)
from ragmask.arrow.lists import items_of_rows, list_rows, seen_through, steps_of
from ragmask.arrow.read import (
    Fields,
    Form,
    Nulls,
    Rows,
    arrow_array,
    as_vectors,
    check_nulls,
    joined_form,
    owns_memory,
    read_fields,
    read_rows,
    read_scalars,
    read_strings,
    refuse_nulls,
    vector_width,
)
from ragmask.arrow.types import (
    field_at,
    is_list,
    is_string,
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
    "item_type",
    "leaves_at",
    "storable",
    "unified",
    "vector_width",
    "workable",
    "Fields",
    "Form",
    "Nulls",
    "Rows",
    "arrow_array",
    "as_vectors",
    "check_nulls",
    "field_of",
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
    "to_type",
    "to_workable",
    "validate",
    "write_fields",
    "write_lists",
    "write_rows",
    "write_scalars",
]
