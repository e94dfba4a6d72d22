"""Tables as Ray hands them to functions, and what was done to rows before."""

from typing import Any

import pyarrow as pa

from ragmask.errors import UnsupportedTypeError

# what Ray makes of rows of unequal length in NumPy batches: arrays of objects, and tensors
_MADE_BY_RAY = ("ray.data.arrow_variable_shaped_tensor", "ray.data.arrow_pickled_object")


def arrow_table(given: Any, what: str) -> Any:
    """The table. Raises UnsupportedTypeError where it is none, or rows in it are none any more."""
    if not isinstance(given, pa.Table):
        raise UnsupportedTypeError(
            f'{what} takes Arrow tables: pass batch_format="pyarrow"; got {type(given).__name__}'
        )
    for field in given.schema:
        if getattr(field.type, "extension_name", None) in _MADE_BY_RAY:
            raise UnsupportedTypeError(
                f"column {field.name!r} is of Ray's {field.type}: its lists went through NumPy or "
                'pandas on the way; pass batch_format="pyarrow" to each map_batches before'
            )
    return given
