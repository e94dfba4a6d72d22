"""Rows of a view, copied into a padded array, laid end to end or packed step by step.

Values enter as flat unsigned words, `words` of them a step, so that one compiled kernel
serves every dtype and item shape of the same word size.
"""

from typing import Any

import numpy as np

from ragmask.kernels.compile import inline, njit
from ragmask.kernels.constants import LINE_BYTES
from ragmask.kernels.intrinsics import prefetch

AHEAD = 8  # rows
MOST_LINES = 8  # the processor itself sees where a longer row goes

# Loops over one row count in unsigned numbers: a signed index may be negative, so Numba wraps it
# around, and LLVM does not vectorise that (60 and not 32 µs for 1,024 rows padded to 128 steps).


@inline
def prefetch_row(
    row: int, last_row: int, values: Any, starts: Any, lengths: Any, words: int
) -> None:
    """Ask for the row that comes a few after `row`, where rows do not lie one after another.

    It took padding a shuffled view from 26 to 14 ms, where 11 are needed for rows in order.
    """
    coming = row + AHEAD
    if coming < last_row and starts[row + 1] != starts[row] + lengths[row]:
        line = LINE_BYTES // values.itemsize
        first = starts[coming] * words
        for word in range(first, first + min(lengths[coming] * words, MOST_LINES * line), line):
            prefetch(values, word)


@inline
def copy(source: Any, begin: int, count: int, out: Any, to: int) -> None:
    """`out[to : to + count] = source[begin : begin + count]`."""
    first, into = np.uint64(begin), np.uint64(to)
    for word in range(np.uint64(count)):
        out[into + word] = source[first + word]


@inline
def repeat(value: Any, count: int, out: Any, to: int) -> None:
    """`out[to : to + count] = value`."""
    into = np.uint64(to)
    for word in range(np.uint64(count)):
        out[into + word] = value


@inline
def fill(pattern: Any, count: int, out: Any, to: int) -> None:
    """Repeat `pattern`, one word or one step's words, over `out[to : to + count]`."""
    if pattern.size == 1:
        repeat(pattern[0], count, out, to)
    else:
        into, size = np.uint64(to), np.uint64(pattern.size)
        for word in range(np.uint64(count)):
            out[into + word] = pattern[word % size]


@njit
def pad(
    first_row: int,
    last_row: int,
    values: Any,
    starts: Any,
    lengths: Any,
    mask: Any,
    pattern: Any,
    shape: Any,
    out_values: Any,
    out_mask: Any,
) -> None:
    """Pad rows to `width` steps, before (`pre`) or after them, and write their mask.

    values (n · words,), starts and lengths int64 (rows,), mask bool (n,) or None,
    pattern (1,) or (words,), shape (words, width, pre), out_values (rows · width · words,),
    out_mask (rows · width,) or None. No row may be longer than `width`.
    """
    words, width, pre = shape
    for row in range(first_row, last_row):
        prefetch_row(row, last_row, values, starts, lengths, words)
        start, length = starts[row], lengths[row]
        before = width - length if pre else 0
        after = width - length - before

        to = row * width
        fill(pattern, before * words, out_values, to * words)
        copy(values, start * words, length * words, out_values, (to + before) * words)
        fill(pattern, after * words, out_values, (to + before + length) * words)

        if out_mask is not None:
            repeat(False, before, out_mask, to)
            if mask is None:
                repeat(True, length, out_mask, to + before)
            else:
                copy(mask, start, length, out_mask, to + before)
            repeat(False, after, out_mask, to + before + length)


@njit
def compact(
    first_row: int,
    last_row: int,
    values: Any,
    starts: Any,
    lengths: Any,
    words: int,
    out_starts: Any,
    out: Any,
) -> None:
    """Copy each row to where `out_starts` says: end to end, or to a place among other rows.

    values (n · words,); starts, lengths, out_starts int64 (rows,); out (steps · words,).
    """
    for row in range(first_row, last_row):
        prefetch_row(row, last_row, values, starts, lengths, words)
        to = out_starts[row] * words
        copy(values, starts[row] * words, lengths[row] * words, out, to)


@njit
def pack(
    first_row: int,
    last_row: int,
    values: Any,
    starts: Any,
    lengths: Any,
    words: int,
    step_starts: Any,
    out: Any,
) -> None:
    """Copy step s of each row to place `step_starts[s] + row`: the steps of one time lie together.

    values (n · words,); starts, lengths int64 (rows,), the longest row first;
    step_starts int64 (longest,); out (steps · words,).
    """
    for row in range(first_row, last_row):
        row_values = values[starts[row] * words : (starts[row] + lengths[row]) * words]
        for step in range(lengths[row]):
            row_out = out[(step_starts[step] + row) * words :]
            for word in range(words):
                row_out[word] = row_values[step * words + word]
