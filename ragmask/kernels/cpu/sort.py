"""The kept steps of each row in the order of their values, for each feature."""

from typing import Any

import numpy as np

from ragmask.kernels.compile import inline, njit
from ragmask.kernels.constants import NAT

# So many numbers are put in order by counting, for each, those that belong before it: a number of
# comparisons that grows with the square, but vectorised and without a branch. At 64 it took a
# seventh of an insertion sort's time, and a third of it at 8.
BLOCK = 64


@njit
def sort(
    first_row: int,
    last_row: int,
    x: Any,
    starts: Any,
    lengths: Any,
    mask: Any,
    descending: bool,
    has_nat: bool,
    out_starts: Any,
    out_lengths: Any,
    out: Any,
    out_steps: Any,
) -> None:
    """The kept steps of a row in order, and which step each was; zeros behind them.

    x (n, features); out (steps, features) of its dtype, out_steps int64 (steps, features), either
    of them may be None; starts, lengths, out_starts, out_lengths int64 (rows,); mask bool (n,) or
    None. Equals stay in their order. A NaN, and of int64 that `has_nat` the smallest number, is
    larger than any number. Where out_lengths has less than the kept steps, the first of them.

    Blocks by rank, then merged (J. von Neumann, 1945), in scratch of the longest row's size.
    Descending is the ascending order of the reversed row, read from its end.
    """
    longest = 0
    for row in range(first_row, last_row):
        longest = max(longest, lengths[row])
    size = 0 if out_steps is None else longest
    keys, keys_between = np.empty(longest, x.dtype), np.empty(longest, x.dtype)
    steps, steps_between = np.empty(size, np.int64), np.empty(size, np.int64)

    ranks = np.empty(BLOCK, np.int32)

    for row in range(first_row, last_row):
        start, length = starts[row], lengths[row]
        to, wanted = np.uint64(out_starts[row]), out_lengths[row]
        for feature in range(x.shape[1]):
            # those larger than any number are put together at the end of the scratch
            count, gone = 0, longest
            for number in range(length):
                step = length - 1 - number if descending else number
                at = np.uint64(start + step)
                key = x[at, feature]
                is_gone = key != key or (has_nat and key == NAT)
                keys[np.uint64(count)] = keys[np.uint64(gone - 1)] = key
                if out_steps is not None:
                    steps[np.uint64(count)] = steps[np.uint64(gone - 1)] = step
                keep = mask is None or mask[at]
                count += keep and not is_gone
                gone -= keep and is_gone

            kept = count + longest - gone
            filled = min(wanted, kept)
            most = filled if descending else count  # of the last in each run
            scratch = (keys, steps), (keys_between, steps_between), ranks
            sorted_keys, sorted_steps = sort_blocks(scratch, count, most)
            for place in range(filled):
                number = kept - 1 - place if descending else place
                at, into = np.uint64(number), to + np.uint64(place)
                if number >= count:
                    at = np.uint64(longest - 1 - (number - count))
                if out is not None:
                    out[into, feature] = sorted_keys[at] if number < count else keys[at]
                if out_steps is not None:
                    out_steps[into, feature] = sorted_steps[at] if number < count else steps[at]
            for place in range(filled, wanted):
                if out is not None:
                    out[to + np.uint64(place), feature] = 0
                if out_steps is not None:
                    out_steps[to + np.uint64(place), feature] = 0


@inline
def sort_blocks(scratch: Any, count: int, most: int) -> Any:
    """(keys, steps) in order: one or the other of two pairs, its last `most` at least.

    scratch (pair, another, ranks), the keys in the first. Steps follow them, if there are any.
    """
    source, between, ranks = scratch
    for begin in range(0, count, BLOCK):
        rank_block(source, begin, min(begin + BLOCK, count), ranks, between)
    source, to = between, source
    width = BLOCK
    while width < count:
        for begin in range(0, count, 2 * width):
            middle, end = min(begin + width, count), min(begin + 2 * width, count)
            merge(source, begin, middle, end, max(begin, end - most), to)
        source, to = to, source
        width *= 2
    return source


@inline
def rank_block(source: Any, begin: int, end: int, ranks: Any, out: Any) -> None:
    """Put numbers, none of them NaN, where they belong between `begin` and `end`."""
    (keys, steps), (out_keys, out_steps) = source, out
    first, last = np.uint64(begin), np.uint64(end)
    for place in range(first, last):
        ranks[place - first] = 0
    for place in range(first, last):
        key, before = keys[place], np.int32(0)
        for other in range(place + np.uint64(1), last):
            is_less = np.int32(keys[other] < key)
            before += is_less
            ranks[other - first] += np.int32(1) - is_less
        ranks[place - first] += before
    for place in range(first, last):
        to = first + np.uint64(ranks[place - first])
        out_keys[to] = keys[place]
        if steps.size > 0:
            out_steps[to] = steps[place]


@inline
def merge(source: Any, begin: int, middle: Any, end: Any, first: int, out: Any) -> None:
    """Merge the runs before and after `middle` into one, from its end down to `first`.

    No more of the runs' ends is read than is written; and there is no branch that depends on keys.
    """
    (keys, steps), (out_keys, out_steps) = source, out
    left, right, to = middle - 1, end - 1, end - 1
    while to >= first and left >= begin and right >= middle:
        one, other = keys[np.uint64(left)], keys[np.uint64(right)]
        is_left: Any = np.int64(one > other)
        at = np.uint64(right + (left - right) * is_left)  # LLVM would make a branch of a choice
        out_keys[np.uint64(to)] = one if one > other else other  # and makes a maximum of this one
        if steps.size > 0:
            out_steps[np.uint64(to)] = steps[at]
        left -= is_left
        right -= 1 - is_left
        to -= 1
    rest = left if right < middle else right
    while to >= first:
        out_keys[np.uint64(to)] = keys[np.uint64(rest)]
        if steps.size > 0:
            out_steps[np.uint64(to)] = steps[np.uint64(rest)]
        rest, to = rest - 1, to - 1
