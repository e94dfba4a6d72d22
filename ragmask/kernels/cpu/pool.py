"""One step out of each row's kept steps."""

from typing import Any

import numpy as np

from ragmask.kernels.compile import inline, njit, part
from ragmask.kernels.constants import FIRST, LAST, MAX, MEAN, MIN, SUM
from ragmask.kernels.cpu.lanes import copy_line

__all__ = ["FIRST", "LAST", "MAX", "MEAN", "MIN", "SUM", "argmax", "pool", "pool_gradient"]


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
    """The sum, mean, maximum, minimum, first or last of a row's kept steps; zeros where none is.

    x (n, features), out (rows, features), of one dtype; starts, lengths int64 (rows,); mask bool
    (n,) or None; how is one of SUM, MEAN, MAX, MIN, FIRST, LAST. A NaN is the maximum, and the
    minimum.
    """
    features = x.shape[1]
    numbers, either = x.reshape(x.size), np.empty(2, x.dtype)
    for row in range(first_row, last_row):
        kept = 0
        if features == 1 and how < FIRST:
            start, length = starts[row], lengths[row]
            out[row, 0], kept = pool_of_numbers(numbers, start, length, mask, how, either)
            if how == MEAN and kept > 0:
                out[row, 0] /= kept
        else:
            pooled = out[row]
            pooled[:] = 0
            for step in range(lengths[row]):
                at = starts[row] + (lengths[row] - 1 - step if how == LAST else step)
                if mask is None or mask[at]:
                    kept += 1
                    if kept == 1:
                        copy_line(x[at], pooled)
                        if how >= FIRST:
                            break
                    elif how == MAX:
                        for feature in range(features):
                            new, old = x[at, feature], pooled[feature]
                            pooled[feature] = new if is_larger(new, old) else old
                    elif how == MIN:
                        for feature in range(features):
                            new, old = x[at, feature], pooled[feature]
                            pooled[feature] = new if is_smaller(new, old) else old
                    else:
                        for feature in range(features):
                            pooled[feature] += x[at, feature]
            if how == MEAN and kept > 0:
                for feature in range(features):
                    pooled[feature] = pooled[feature] / kept


@part
def pool_of_numbers(numbers: Any, start: int, length: int, mask: Any, how: int, either: Any) -> Any:
    """(what is pooled, how many are kept) of a row of numbers: the bits that a vector's have.

    It stays in a register: in memory it takes 3 times as long. either (2,) is room for a number
    and what takes its place where it is masked. Read from there, a mask needs no branches, which
    nobody can guess: 1.9 ns a number of masked rows, and not 4.2.
    """
    at, end, kept = start, start + length, 0
    if mask is None and how <= MEAN:
        plain = numbers.dtype.type(-0.0)  # what leaves a sum as it is
        for step in range(np.uint64(at), np.uint64(end)):
            plain += numbers[step]
        return (plain if length > 0 else numbers.dtype.type(0)), length
    while at < end and not (mask is None or mask[at]):
        at += 1
    # what leaves a sum as it is, and a maximum or minimum
    either[0] = numbers[at] if how > MEAN and at < end else numbers.dtype.type(-0.0)
    total = either[0]
    for step in range(at, end):
        keep = mask is None or mask[step]
        either[1] = numbers[step]
        new = either[np.int64(keep)]
        kept += keep
        if how <= MEAN:
            total += new
        elif how == MAX:
            total = new if is_larger(new, total) else total
        else:
            total = new if is_smaller(new, total) else total
    return (total if kept > 0 else numbers.dtype.type(0)), kept


@inline
def is_larger(new: Any, old: Any) -> Any:
    """Whether a number takes the place of the maximum before it, as a NaN does."""
    return not (old >= new or old != old)


@inline
def is_smaller(new: Any, old: Any) -> Any:
    return not (old <= new or old != old)


@njit
def argmax(
    first_row: int,
    last_row: int,
    x: Any,
    starts: Any,
    lengths: Any,
    mask: Any,
    out: Any,
) -> None:
    """Which step of a row is the first that has its maximum, for each feature; -1 for none.

    x (n, features); out int64 (rows · features,); starts, lengths int64 (rows,); mask bool (n,) or
    None. A NaN is the maximum.
    """
    features = x.shape[1]
    best = np.empty(features, x.dtype)
    for row in range(first_row, last_row):
        taken = out[row * features : (row + 1) * features]
        taken[:] = -1
        first = True
        for step in range(lengths[row]):
            at = starts[row] + step
            if mask is None or mask[at]:
                for feature in range(features):
                    new = x[at, feature]
                    if first or is_larger(new, best[feature]):
                        best[feature], taken[feature] = new, step
                first = False


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
    (rows,), of x and out; mask bool (n,) or None. A maximum's, or minimum's, goes to the first of
    equals, the first NaN where there is one; a sum's and a mean's to each kept step.
    """
    features = x.shape[1]
    best, taken = np.empty(features, x.dtype), np.empty(features, np.int64)
    for row in range(first_row, last_row):
        kept = 0
        for at in range(starts[row], starts[row] + lengths[row]):
            out[at] = 0
            if mask is None or mask[at]:
                kept += 1
                if how == LAST or (how >= MAX and kept == 1):
                    taken[:] = at
                if how in (MAX, MIN) and kept == 1:
                    copy_line(x[at], best)
                elif how == MAX:
                    for feature in range(features):
                        if is_larger(x[at, feature], best[feature]):
                            best[feature], taken[feature] = x[at, feature], at
                elif how == MIN:
                    for feature in range(features):
                        if is_smaller(x[at, feature], best[feature]):
                            best[feature], taken[feature] = x[at, feature], at
        if kept > 0 and how >= MAX:
            for feature in range(features):
                out[taken[feature], feature] = gradient[row, feature]
        elif kept > 0:
            for feature in range(features):
                best[feature] = (
                    gradient[row, feature] / kept if how == MEAN else gradient[row, feature]
                )
            for at in range(starts[row], starts[row] + lengths[row]):
                if mask is None or mask[at]:
                    copy_line(best, out[at])
