"""A row's kept steps, laid end to end, and put back: masked steps then change no bit of others."""

from typing import Any

import numpy as np

from ragmask.kernels.compile import inline, part
from ragmask.kernels.cpu.softmax import LANES


@part
def room_for(first_row: int, last_row: int, x: Any, lengths: Any) -> Any:
    """(scratch, lanes): room for the steps of the longest row and LANES numbers more, for sums.

    For one step at least, which may be looked at where there is none.
    """
    longest = 0
    for row in range(first_row, last_row):
        longest = max(longest, lengths[row])
    # zeros: of a mask that another thread changes, the second reading may keep more steps
    return np.zeros(max(longest, 1) * x.shape[1] + LANES, x.dtype), np.empty(LANES, x.dtype)


@inline
def gather(x: Any, start: int, length: int, mask: Any, scratch: Any) -> int:
    """Copy a row's kept steps to the front of `scratch`; how many there are.

    Without branches: a mask has no pattern that a processor could guess.
    """
    features, kept = x.shape[1], 0
    if features == 1:
        numbers = x.reshape(x.size)
        for at in range(start, start + length):
            scratch[kept] = numbers[at]
            kept += mask is None or mask[at]
    else:
        for at in range(start, start + length):
            for feature in range(features):
                scratch[kept * features + feature] = x[at, feature]
            kept += mask is None or mask[at]
    return kept


@inline
def scatter(scratch: Any, scale: Any, start: int, length: int, mask: Any, out: Any) -> None:
    """Put kept steps, times `scale`, back where they were in their row, and 0 beside them."""
    features, kept = out.shape[1], 0
    for at in range(start, start + length):
        keep = mask is None or mask[at]
        for feature in range(features):
            number = scratch[kept * features + feature] * scale[feature]
            out[at, feature] = number if keep else 0
        kept += keep
