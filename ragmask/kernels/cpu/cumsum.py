"""Sums so far, along the steps of each row."""

from typing import Any

import numpy as np

from ragmask.kernels.compile import inline, njit, part

LONG = 128  # A row of so many numbers is worth taking together with 3 others.


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
    if features == 1:
        rows = starts, lengths, out_starts
        cumsum_of_numbers(first_row, last_row, x.reshape(-1), rows, mask, out.reshape(-1))
        return
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


@part
def cumsum_of_numbers(
    first_row: int, last_row: int, x: Any, rows: Any, mask: Any, out: Any
) -> None:
    """The same of x (n,); rows are starts, lengths, out_starts.

    An addition waits for the one before it, but not for another row's. Of short rows the processor
    itself has several in flight; of long ones 4 take turns, each from a quarter of its own, which
    took rows of 5,000 steps from 0.43 to 1.03 of a copy's rate.
    """
    starts, lengths, out_starts = rows
    quarter = (last_row - first_row + 3) // 4
    row, end = np.empty(4, np.int64), np.empty(4, np.int64)
    for slot in range(4):
        row[slot] = min(first_row + slot * quarter, last_row)
        end[slot] = min(row[slot] + quarter, last_row)
    at, to, left = np.zeros(4, np.int64), np.zeros(4, np.int64), np.zeros(4, np.int64)
    total, pairs = np.zeros(4, x.dtype), np.zeros((4, 2), x.dtype)
    while True:
        for slot in range(4):
            while left[slot] == 0 and row[slot] < end[slot]:
                at[slot], to[slot] = starts[row[slot]], out_starts[row[slot]]
                left[slot], total[slot] = lengths[row[slot]], 0
                if left[slot] < LONG:
                    add_one(slot, x, mask, at, to, left, total, pairs, out)
                row[slot] += 1
        count = min(left[0], left[1], left[2], left[3])
        if count == 0:
            break
        add_four(count, x, mask, at, to, total, pairs, out)
        at += count
        to += count
        left -= count
    for slot in range(4):  # what is left once a quarter has come to its end
        add_one(slot, x, mask, at, to, left, total, pairs, out)
        for rest in range(row[slot], end[slot]):
            at[slot], to[slot] = starts[rest], out_starts[rest]
            left[slot], total[slot] = lengths[rest], 0
            add_one(slot, x, mask, at, to, left, total, pairs, out)


@inline
def add_one(
    slot: int, x: Any, mask: Any, at: Any, to: Any, left: Any, total: Any, pairs: Any, out: Any
) -> None:
    """What is left of one slot's row."""
    place, into, so_far = np.uint64(at[slot]), np.uint64(to[slot]), total[slot]
    for step in range(np.uint64(left[slot])):
        so_far += kept(x, mask, place + step, pairs, slot)
        out[into + step] = so_far
    left[slot] = 0


@inline
def add_four(
    count: int, x: Any, mask: Any, at: Any, to: Any, total: Any, pairs: Any, out: Any
) -> None:
    """`count` steps of each slot's row."""
    at0, at1, at2, at3 = np.uint64(at[0]), np.uint64(at[1]), np.uint64(at[2]), np.uint64(at[3])
    to0, to1, to2, to3 = np.uint64(to[0]), np.uint64(to[1]), np.uint64(to[2]), np.uint64(to[3])
    sum0, sum1, sum2, sum3 = total[0], total[1], total[2], total[3]
    for step in range(np.uint64(count)):
        sum0 += kept(x, mask, at0 + step, pairs, 0)
        sum1 += kept(x, mask, at1 + step, pairs, 1)
        sum2 += kept(x, mask, at2 + step, pairs, 2)
        sum3 += kept(x, mask, at3 + step, pairs, 3)
        out[to0 + step], out[to1 + step] = sum0, sum1
        out[to2 + step], out[to3 + step] = sum2, sum3
    total[0], total[1], total[2], total[3] = sum0, sum1, sum2, sum3


@inline
def kept(x: Any, mask: Any, at: Any, pairs: Any, slot: int) -> Any:
    """A number, or 0 where it is masked."""
    return x[at] if mask is None else chosen(x[at], mask[at], pairs[slot])


@inline
def chosen(number: Any, keep: Any, pair: Any) -> Any:
    """A number, or 0, which is the first of the pair.

    It is looked up there: of a choice LLVM makes a branch, and one that nobody can foresee took 2
    to 3 times as long.
    """
    pair[1] = number
    return pair[np.int64(keep)]


@njit
def cumsum_gradient(
    first_row: int,
    last_row: int,
    gradient: Any,
    starts: Any,
    lengths: Any,
    mask: Any,
    out: Any,
) -> None:
    """From the gradient of what `cumsum` gives to that of x: the sum of kept steps from each on.

    gradient and out (n, features), of one dtype; starts, lengths int64 (rows,), of both; mask bool
    (n,) or None. A masked step gets 0, and what arrives there is not looked at.
    """
    features = gradient.shape[1]
    total, pairs = np.empty(features, out.dtype), np.zeros((2, 2), out.dtype)
    for row in range(first_row, last_row):
        if features == 1:
            so_far, last = out.dtype.type(0), np.uint64(starts[row] + lengths[row] - 1)
            for number in range(np.uint64(lengths[row])):
                at = last - number
                if mask is None:
                    so_far += gradient[at, 0]
                    out[at, 0] = so_far
                else:
                    so_far += chosen(gradient[at, 0], mask[at], pairs[0])
                    out[at, 0] = chosen(so_far, mask[at], pairs[1])
            continue
        total[:] = 0
        for number in range(lengths[row]):
            at = starts[row] + lengths[row] - 1 - number
            if mask is None or mask[at]:
                for feature in range(features):
                    total[feature] += gradient[at, feature]
                    out[at, feature] = total[feature]
            else:
                out[at] = 0
