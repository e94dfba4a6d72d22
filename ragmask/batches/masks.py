"""Masks that callers bring for a batch, put in the place of its own."""

from typing import Any

import numpy as np

from ragmask.arrays.coerce import mask_array, same_device
from ragmask.arrays.protocol import AnyArray
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError
from ragmask.rows.checks import check_same_lengths
from ragmask.rows.rows import Rows


def with_mask(x: Any, mask: Any) -> Any:
    """A batch with this mask in the place of its own, or with none; dense arrays become Padded.

    Of a Ragged, mask is a Ragged of bools of the same lengths, or bools (n_steps,), row after row;
    of others bools (rows, width).
    """
    if isinstance(x, Ragged):
        return Ragged._of(masked_rows(x._rows, mask))
    values = x._values if isinstance(x, Padded) else x
    if mask is None:
        return Padded._of(values, None) if isinstance(x, Padded) else values
    if isinstance(mask, Ragged):
        raise InvalidInputError(
            f"the mask is a Ragged of {len(mask)} rows, and the batch an array of shape "
            f"{values.shape}"
        )
    return Padded(values, kept_steps(mask) if isinstance(mask, Padded) else mask)


def masked_rows(rows: Rows, mask: Any) -> Rows:
    """Rows with this mask, which may be a Ragged, in the place of their own, or with none."""
    if mask is None:
        return rows.masked(None)
    if isinstance(mask, Ragged):
        given = mask._rows
        is_along = given.layout is rows.layout and len(given.values) == len(rows.values)
        if is_along and given.mask is None and given.dtype == np.bool_:
            return rows.masked(given.values)
        same_device(x=rows.values, mask=given.values)
        check_same_lengths(rows.arrays, rows.lengths, given.lengths, "x and its mask")
        mask = _kept(given.compact())
    rows = rows.compact()
    kept = mask_array(mask, (rows.n_steps,))
    same_device(x=rows.values, mask=kept)
    return rows.masked(kept)


def kept_steps(mask: Padded) -> AnyArray:
    """The bools of a mask that may be masked itself, as `ids != 0` is where ids are."""
    if mask._mask is None:
        return mask._values
    return mask._arrays.kept_nonzero(mask._mask, mask._values)


def _kept(mask: Rows) -> AnyArray:
    return mask.values if mask.mask is None else mask.arrays.kept_nonzero(mask.mask, mask.values)
