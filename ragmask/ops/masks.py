"""Masks from values."""

from typing import Any

import numpy as np

from ragmask.devices import empty, run
from ragmask.errors import UnsupportedTypeError
from ragmask.ops.steps import Steps, flat_items, floats
from ragmask.padded import Padded
from ragmask.padding import item_of
from ragmask.ragged import Ragged


def masking(x: Ragged | Padded | Any, mask_value: float = 0.0) -> Any:
    """Mask the steps all of whose features equal `mask_value`.

    >>> import ragmask as rm
    >>> rm.masking(rm.Ragged.from_rows([[[1, 2], [0, 0], [0, 3]]]))
    Ragged(1 row, 3 steps, 2 int64, lengths 3–3, masked)
      [[1 2] · [0 3]]

    x is a Ragged, a Padded or an array (rows, width, *item) of any dtype of numbers. Returns its
    kind with the mask, and-ed with the one it has; an array becomes Padded. Masked steps hold 0.
    NaN equals NaN here, as in `from_padded(value=nan)`; in Keras NaN as `mask_value` masks nothing.
    Raises InvalidInputError for a `mask_value` that x's dtype cannot hold.
    """
    steps = Steps.of(x)
    rows, dtype = steps.rows, steps.rows.dtype
    if dtype.char in "gG":
        raise UnsupportedTypeError(f"masking takes no {dtype}: convert it to float64 or complex128")
    value = item_of(mask_value, dtype, ()).reshape(1)
    # the kernel compares and copies; these dtypes do so as others of their size
    stand_in = {"f2": "f4", "b1": "u1", "M8": "i8", "m8": "i8"}.get(dtype.str[1:3])
    if stand_in == "f4":
        rows, value = floats(rows, "x"), value.astype(np.float32)
    elif stand_in is not None:
        rows, value = rows._over(rows._values.view(stand_in)), value.view(stand_in)

    output = empty((rows.n_steps, *rows.item_shape), rows.dtype, rows._values)
    mask = empty((rows.n_steps,), np.bool_, rows._values)
    flat = flat_items(rows._values)
    run(
        "masking",
        rows._lengths,
        (10.0, 2.0 + flat.shape[1]),
        flat,
        rows._starts,
        rows._lengths,
        rows._mask,
        value[0],
        steps.out_starts,
        flat_items(output),
        mask,
    )
    output = output.astype(dtype, copy=False) if stand_in == "f4" else output.view(dtype)
    return steps.give(output, mask)
