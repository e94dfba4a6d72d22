"""Single steps of a batch, by the numbers of their rows and their places in these."""

from typing import Any

import numpy as np

from ragmask.arrays.coerce import to_array
from ragmask.arrays.host import first_true
from ragmask.arrays.protocol import LARGEST, Array, Ints
from ragmask.batches.show import count
from ragmask.errors import InvalidInputError, RowIndexError, StepIndexError, UnsupportedTypeError
from ragmask.rows.rows import Rows


def steps_at(rows: Rows, row_ids: Any, steps: Any) -> Any:
    """(*shape, *item): a step for each pair of numbers, whose arrays broadcast to `shape`.

    A numpy masked array where the batch has a mask.
    """
    row_ids, steps = _numbers(row_ids, "rows"), _numbers(steps, "steps")
    try:
        row_ids, steps = np.broadcast_arrays(row_ids, steps)
    except ValueError as error:
        raise InvalidInputError(
            f"the numbers of rows, {row_ids.shape}, and of steps, {steps.shape}, do not broadcast"
        ) from error
    n = len(rows)
    bad = first_true(((row_ids < -n) | (row_ids >= n)).reshape(-1))
    if bad >= 0:
        where = _which(row_ids, bad)
        raise RowIndexError(f"{where}row {row_ids.flat[bad]} of a batch of {n} rows")
    row_ids = np.where(row_ids < 0, row_ids + n, row_ids)
    lengths = rows.lengths[row_ids]
    bad = first_true(((steps < -lengths) | (steps >= lengths)).reshape(-1))
    if bad >= 0:
        where, row, length = _which(steps, bad), row_ids.flat[bad], lengths.flat[bad]
        raise StepIndexError(
            f"{where}step {steps.flat[bad]} of row {row}, which has {count(int(length), 'step')}"
        )
    places = rows.starts[row_ids] + np.where(steps < 0, steps + lengths, steps)
    values: Array = rows.values[places]
    if rows.mask is None:
        return values
    shape = *places.shape, *(1 for _ in rows.item_shape)
    dropped = ~np.reshape(rows.mask[places], shape)
    return np.ma.MaskedArray(values, np.broadcast_to(dropped, np.shape(values)))[()]


def _numbers(index: Any, what: str) -> Ints:
    if index is None or isinstance(index, slice | str | type(...)):
        got = "None" if index is None else type(index).__name__
    else:
        numbers = to_array(index, f"the numbers of {what}")
        if isinstance(numbers, np.ndarray) and (numbers.dtype.kind in "iu" or numbers.size == 0):
            if numbers.dtype.kind == "u" and numbers.max(initial=0) > LARGEST:
                raise InvalidInputError(
                    f"the numbers of {what} hold {numbers.max()}, which is past the int64 range"
                )
            return numbers.astype(np.int64)
        got = str(numbers.dtype)
    raise UnsupportedTypeError(
        f"single steps are picked by integers, r[row, step], or by arrays of them; got {got} for "
        f"the {what}: r[rows] picks rows, and truncate() cuts them"
    )


def _which(numbers: Ints, bad: int) -> str:
    """Which of several pairs is wrong."""
    if numbers.ndim == 0:
        return ""
    place = tuple(int(at) for at in np.unravel_index(bad, numbers.shape))
    return f"index {place[0] if len(place) == 1 else place}: "
