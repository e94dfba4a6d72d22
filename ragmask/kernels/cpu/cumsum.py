"""Sums so far, along the steps of each row."""

from typing import Any

import numpy as np

from ragmask.kernels.compile import njit


@njit
def cumsum(
    first_row: int,
    last_row: int,
    x: Any,
    starts: Any,
    lengths: Any,
    mask: Any,
    out_starts: Any,
    out: Any,
) -> None:
    """The sum of a row's kept steps up to each step; a masked step repeats the sum before it.

    x (n, features), out (steps, features), of one dtype; starts, lengths, out_starts int64
    (rows,); mask bool (n,) or None.
    """
    features = x.shape[1]
    total = np.empty(features, out.dtype)
    for row in range(first_row, last_row):
        total[:] = 0
        for step in range(lengths[row]):
            at, to = starts[row] + step, out_starts[row] + step
            if mask is None or mask[at]:
                for feature in range(features):
                    total[feature] += x[at, feature]
            for feature in range(features):
                out[to, feature] = total[feature]
