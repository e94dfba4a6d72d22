"""One step out of each row's kept steps."""

from typing import Any

from ragmask.kernels.compile import njit
from ragmask.kernels.constants import FIRST, LAST, MAX, MEAN, SUM

__all__ = ["FIRST", "LAST", "MAX", "MEAN", "SUM", "pool"]


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
