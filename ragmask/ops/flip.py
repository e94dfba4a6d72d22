"""The steps of each row in another order: backwards, or moved on in a circle."""

from typing import Any

import numpy as np

from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.ops.input import Input
from ragmask.rows.rows import turn_rows


def temporal_flip(x: Ragged | Padded | Any, *, mask: Any = None, out: Any = None) -> Any:
    """Each row's kept steps in reverse order.

    >>> import ragmask as rm
    >>> rm.temporal_flip(rm.Ragged.from_rows([[1, 2, 3], [], [4, 5]]))
    Ragged(3 rows, 5 steps, int64, lengths 0–3)
      [3 2 1]
      []
      [5 4]

    Parameters
    ----------
    x : Ragged, Padded, array (rows, width, *item) or Arrow's lists, of any dtype.
    mask : takes the place of x's own: a Ragged of bools with x's lengths, or bools (n_steps,);
        (rows, width) for Padded and arrays. True = keep.
    out : an array to write to: (n_steps, *item), or (rows, width, *item) for Padded and arrays.

    Returns x's kind, of x's dtype, with x's mask: masked steps stay where they are, and are 0.
    Padding is masked too, so a padded row is turned around in its place. `Ragged.roll` moves steps
    on instead.
    """
    given = Input.of(x, mask)
    output = given.output(given.rows.item_shape, given.rows.dtype, out)
    nowhere = given.arrays.full(0, (len(given.rows),), np.int64)
    turn_rows(given.rows, nowhere, True, output)
    return given.give(output, given.rows.compact_mask())
