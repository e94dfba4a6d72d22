"""One value a row, at each of its steps."""

from typing import Any

import numpy as np

from ragmask.kernels.compile import njit
from ragmask.kernels.cpu.pad import copy
from ragmask.kernels.cpu.pad import repeat as fill_with


@njit
def repeat(
    first_row: int,
    last_row: int,
    values: Any,
    starts: Any,
    lengths: Any,
    mask: Any,
    words: int,
    out: Any,
) -> None:
    """Copy a row's value to each of its kept steps, and zeros to those that are masked.

    values (rows · words,), out (n · words,); starts, lengths int64 (rows,), where rows lie in out;
    mask bool (n,), along out, or None.
    """
    zero = out.dtype.type(0)  # of another type, Numba would make a float64 of both
    for row in range(first_row, last_row):
        start, length = starts[row], lengths[row]
        if words == 1:
            value, first = values[row], np.uint64(start)
            for step in range(np.uint64(length)):
                keep = mask is None or mask[first + step]
                out[first + step] = value if keep else zero
        else:
            for at in range(start, start + length):
                if mask is None or mask[at]:
                    copy(values, row * words, words, out, at * words)
                else:
                    fill_with(zero, words, out, at * words)
