"""One step out of each row's kept steps."""

from typing import Any

import numpy as np

from ragmask.kernels.compile import njit
from ragmask.kernels.constants import FIRST, LAST, MAX, MEAN, SUM

__all__ = ["FIRST", "LAST", "MAX", "MEAN", "SUM", "pool", "pool_gradient"]


@njit
def pool(
    first_row: int,
    last_row: int,
    x: Any,
    starts: Any,
    lengths: Any,
    mask: Any,
    how: int,
    out: Any,
) -> None:
    """The sum, mean, maximum, first or last of a row's kept steps; zeros where none is kept.

    x (n, features), out (rows, features), of one dtype; starts, lengths int64 (rows,); mask bool
    (n,) or None; how is one of SUM, MEAN, MAX, FIRST, LAST. A NaN is the maximum.
    """
    features = x.shape[1]
    for row in range(first_row, last_row):
        pooled = out[row]
        pooled[:] = 0
        kept = 0
        for step in range(lengths[row]):
            at = starts[row] + (lengths[row] - 1 - step if how == LAST else step)
            if mask is None or mask[at]:
                kept += 1
                if kept == 1:
                    pooled[:] = x[at]
                    if how in (FIRST, LAST):
                        break
                elif how == MAX:
                    for feature in range(features):
                        new, old = x[at, feature], pooled[feature]
                        pooled[feature] = old if old >= new or old != old else new
                else:
                    for feature in range(features):
                        pooled[feature] += x[at, feature]
        if how == MEAN and kept > 0:
            for feature in range(features):
                pooled[feature] = pooled[feature] / kept


@njit
def pool_gradient(
    first_row: int,
    last_row: int,
    x: Any,
    starts: Any,
    lengths: Any,
    mask: Any,
    how: int,
    gradient: Any,
    out: Any,
) -> None:
    """From the gradient of what `pool` gives to that of x; 0 where nothing goes.

    x and out (n, features), gradient (rows, features), of one dtype; starts, lengths int64
    (rows,), of x and out; mask bool (n,) or None. A maximum's goes to the first of equals, the
    first NaN where there is one; a sum's and a mean's to each kept step.
    """
    features = x.shape[1]
    best, taken = np.empty(features, x.dtype), np.empty(features, np.int64)
    for row in range(first_row, last_row):
        kept = 0
        for at in range(starts[row], starts[row] + lengths[row]):
            out[at] = 0
            if mask is None or mask[at]:
                kept += 1
                if how == LAST or (how in (MAX, FIRST) and kept == 1):
                    taken[:] = at
                if how == MAX and kept == 1:
                    best[:] = x[at]
                elif how == MAX:
                    for feature in range(features):
                        new, old = x[at, feature], best[feature]
                        if not (old >= new or old != old):
                            best[feature], taken[feature] = new, at
        if kept > 0 and how in (MAX, FIRST, LAST):
            for feature in range(features):
                out[taken[feature], feature] = gradient[row, feature]
        elif kept > 0:
            for feature in range(features):
                best[feature] = (
                    gradient[row, feature] / kept if how == MEAN else gradient[row, feature]
                )
            for at in range(starts[row], starts[row] + lengths[row]):
                if mask is None or mask[at]:
                    out[at] = best
