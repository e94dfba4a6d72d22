"""The kept steps of each row in another order: backwards, or moved on in a circle."""

from typing import Any

import numpy as np

from ragmask.kernels.compile import inline, njit
from ragmask.kernels.cpu.pad import copy, prefetch_row, repeat


@njit
def turn(
    first_row: int,
    last_row: int,
    values: Any,
    starts: Any,
    lengths: Any,
    mask: Any,
    words: int,
    shifts: Any,
    backwards: bool,
    out_starts: Any,
    out: Any,
) -> None:
    """Move each row's kept steps on by `shifts` of them, the last ones to the front again.

    values (n · words,), out (steps · words,), unsigned; starts, lengths, shifts, out_starts int64
    (rows,); mask bool (n,) or None. A row is turned around first where `backwards`. Masked steps
    stay where they are, and are 0.
    """
    longest = 0
    for row in range(first_row, last_row):
        longest = max(longest, lengths[row])
    places = np.empty(longest + 1 if mask is not None else 0, np.int64)
    for row in range(first_row, last_row):
        prefetch_row(row, last_row, values, starts, lengths, words)
        start, length, to = starts[row], lengths[row], out_starts[row]
        if mask is not None:
            turn_kept(values, start, length, mask, words, shifts[row], backwards, places, out, to)
        elif length > 0:
            shift = shifts[row] % length if shifts[row] != 0 else 0  # a division is 20 additions
            if backwards:
                reverse(values, start, shift, words, out, to)
                reverse(values, start + shift, length - shift, words, out, to + shift)
            else:
                begin, first = start + length - shift, to * words
                copy(values, begin * words, shift * words, out, first)
                copy(values, start * words, (length - shift) * words, out, first + shift * words)


@inline
def reverse(values: Any, begin: int, count: int, words: int, out: Any, to: int) -> None:
    """`count` steps from `begin` on, the last one first."""
    if words == 1:
        last, into = np.uint64(begin + count - 1), np.uint64(to)
        for step in range(np.uint64(count)):
            out[into + step] = values[last - step]
    else:
        for step in range(count):
            copy(values, (begin + count - 1 - step) * words, words, out, (to + step) * words)


@inline
def turn_kept(
    values: Any,
    start: int,
    length: int,
    mask: Any,
    words: int,
    shift: int,
    backwards: bool,
    places: Any,
    out: Any,
    to: int,
) -> None:
    """A row with masked steps; places int64, of a number more than it has steps."""
    kept = 0
    for step in range(length):
        places[kept] = step
        kept += mask[start + step]
    repeat(values.dtype.type(0), length * words, out, to * words)
    source = (kept - shift % kept) % kept if kept > 0 else 0
    for number in range(kept):
        at = places[kept - 1 - source if backwards else source]
        copy(values, (start + at) * words, words, out, (to + places[number]) * words)
        source = source + 1 if source + 1 < kept else 0
