"""The rows of several batches as one batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ragmask import arrow
from ragmask.arrays.coerce import same_device
from ragmask.batches import joining
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.ops.input import Input


def concatenate(batches: Sequence[Any]) -> Any:
    """The rows of several batches, one batch behind the other.

    >>> import ragmask as rm
    >>> rm.concatenate([rm.Ragged.from_rows([[1, 2], []]), rm.Ragged.from_rows([[3]])])
    Ragged(3 rows, 3 steps, int64, lengths 0–2)
      [1 2]
      []
      [3]

    Parameters
    ----------
    batches : Ragged, Padded, arrays (rows, width, *item) or Arrow's lists, with steps of one dtype
        and shape.

    Returns a compact Ragged, but of Padded and arrays of one width a Padded (an array, where all
    are), and of Arrow's lists alone a pyarrow list array, null where they are. Elsewhere, padding
    at the ends of a Padded's rows is left out. One batch alone is given back as it is. A batch
    without a mask counts as kept. The steps are copied once.

    Joining in time, row by row, is `temporal_concat`. Raises InvalidInputError for no batch, and,
    naming the batch, for other steps than the first one's; DeviceError on a CUDA device.
    """
    if isinstance(batches, Ragged | Padded | np.ndarray) or arrow.is_arrow(batches):
        raise UnsupportedTypeError(
            f"concatenate takes a list of batches; got one {type(batches).__name__}"
        )
    given = list(batches)
    parts = [Input.of(batch, what=f"batch {number}") for number, batch in enumerate(given)]
    if not parts:
        raise InvalidInputError("concatenate needs at least one batch, to know what a step is")
    same_device(**{f"batch {number}": part.rows.values for number, part in enumerate(parts)})
    first = parts[0].rows
    first.arrays.host_only(
        "concatenating is for batches on the host, and these live on {place}: call to_host() first"
    )
    for number, part in enumerate(parts):
        if (part.rows.dtype, part.rows.item_shape) != (first.dtype, first.item_shape):
            raise InvalidInputError(
                f"batch {number} has {part.rows.dtype} steps of shape {part.rows.item_shape}, and "
                f"batch 0 {first.dtype} ones of {first.item_shape}: give all of them one dtype and "
                "shape first"
            )
    if len(parts) == 1:
        return given[0]
    kinds = {part.kind for part in parts}
    if kinds <= {"padded", "dense"} and len({part.width for part in parts}) == 1:
        return _joined_dense(parts)
    joined = joining.concatenate([_ragged(*pair) for pair in zip(given, parts, strict=True)])
    return arrow.write_rows(joined._rows) if kinds == {"arrow"} else joined


def _ragged(batch: Any, part: Input) -> Ragged:
    if isinstance(batch, Ragged):
        return batch
    return Ragged.from_padded(batch) if part.kind == "padded" else Ragged._of(part.rows)


def _joined_dense(parts: list[Input]) -> Any:
    """Of one width: rows are full, masked or not."""
    values, mask = joining.joined_steps([part.rows.compact() for part in parts])
    lead = sum(len(part.rows) for part in parts), parts[0].width
    values = values.reshape(*lead, *values.shape[1:])
    if all(part.kind == "dense" for part in parts):
        return values
    return Padded._of(values, None if mask is None else mask.reshape(lead))
