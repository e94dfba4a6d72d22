"""Masks from values."""

from typing import Any

import numpy as np

from ragmask.errors import UnsupportedTypeError
from ragmask.ops.steps import Steps, flat_items
from ragmask.padded import Padded
from ragmask.padding import item_of
from ragmask.ragged import Ragged
from ragmask.threads import run_rows


def masking(x: Ragged | Padded | Any, mask_value: float = 0.0) -> Any:
    """Mask the steps all of whose features equal `mask_value`.

    >>> import ragmask as rm
    >>> rm.masking(rm.Ragged.from_rows([[[1, 2], [0, 0], [0, 3]]]))
    Ragged(1 row, 3 steps, 2 int64, lengths 3–3, masked)
      [[1 2] · [0 3]]

    x is a Ragged, a Padded or an array (rows, width, *item) of any dtype of numbers. Returns its
    kind with the mask, and-ed with the one it has; an array becomes Padded. Masked steps hold 0.
    Raises InvalidInputError for a `mask_value` that x's dtype cannot hold.
    """
    from ragmask.kernels import cpu

    steps = Steps.of(x)
    rows, dtype = steps.rows, steps.rows.dtype
    if dtype.char in "gG":
        raise UnsupportedTypeError(f"masking takes no {dtype}: convert it to float64 or complex128")
    value = item_of(mask_value, dtype, ()).reshape(1)
    # the kernel compares and copies; these dtypes do so as others of their size
    stand_in = {"f2": "f4", "b1": "u1", "M8": "i8", "m8": "i8"}.get(dtype.str[1:3])
    if stand_in == "f4":
        rows = rows.compact()
        rows = rows.with_values(rows.values.astype(np.float32))
        value = value.astype(np.float32)
    elif stand_in is not None:
        rows, value = rows.with_values(rows.values.view(stand_in)), value.view(stand_in)

    output = np.empty((rows.n_steps, *rows.item_shape), rows.dtype)
    mask = np.empty(rows.n_steps, np.bool_)
    flat = flat_items(rows.values)
    run_rows(
        cpu.masking,
        len(rows),
        10.0 + rows.lengths * (2.0 + flat.shape[1]),
        flat,
        rows.starts,
        rows.lengths,
        rows.mask,
        value[0],
        steps.out_starts,
        flat_items(output),
        mask,
    )
    output = output.astype(dtype) if stand_in == "f4" else output.view(dtype)
    return steps.give(output, mask)
