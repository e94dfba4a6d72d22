"""Masks from values."""

from typing import Any

import numpy as np

from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import UnsupportedTypeError
from ragmask.kernels.registry import MASKING
from ragmask.ops.input import Input, flat_items, floats
from ragmask.rows.padding import item_of

# the kernel compares and copies; these dtypes do so as others of their size
_STAND_INS = {"f2": "f4", "b1": "u1", "M8": "i8", "m8": "i8"}


def masking(
    x: Ragged | Padded | Any, mask_value: float = 0.0, *, mask: Any = None, out: Any = None
) -> Any:
    """Mask the steps all of whose features equal `mask_value`.

    >>> import ragmask as rm
    >>> rm.masking(rm.Ragged.from_rows([[[1, 2], [0, 0], [0, 3]]]))
    Ragged(1 row, 3 steps, 2 int64, lengths 3–3, masked)
      [[1 2] · [0 3]]

    Parameters
    ----------
    x : Ragged, Padded, array (rows, width, *item) or Arrow's lists, of any dtype of numbers.
    mask_value : a number that x's dtype holds. NaN equals NaN here, as in
        `from_padded(value=nan)`; in Keras NaN masks nothing.
    mask : takes the place of x's own: a Ragged of bools with x's lengths, or bools (n_steps,);
        (rows, width) for Padded and arrays. True = keep.
    out : an array to write to: (n_steps, *item), or (rows, width, *item) for Padded and arrays.

    Returns x's kind with the mask, and-ed with the one it has; an array becomes Padded. Masked
    steps hold 0. Raises InvalidInputError for a `mask_value` that x's dtype cannot hold.
    """
    given = Input.of(x, mask)
    rows, arrays, dtype = given.rows, given.arrays, given.rows.dtype
    if dtype.char in "gG":
        raise UnsupportedTypeError(f"masking takes no {dtype}: convert it to float64 or complex128")
    value = item_of(mask_value, dtype, ()).reshape(1)
    output = given.output(rows.item_shape, dtype, out)
    target, stand_in = output, _STAND_INS.get(dtype.str[1:3])
    if stand_in == "f4":
        rows, value = floats(rows, "x"), value.astype(np.float32)
        if rows.dtype != dtype:
            target = arrays.empty(output.shape, rows.dtype)
    elif stand_in is not None:
        rows, value = rows.over(rows.values.view(stand_in)), value.view(stand_in)
        target = output.view(stand_in)
    kept = arrays.empty((rows.n_steps,), np.bool_)
    flat = flat_items(rows.values)
    rows.layout.run(
        MASKING,
        flat.shape[1],
        flat,
        rows.starts,
        rows.lengths,
        rows.mask,
        value[0],
        given.out_starts,
        flat_items(target),
        kept,
    )
    if stand_in == "f4" and target is not output:
        arrays.assign(target, output)
    return given.give(output, kept)
