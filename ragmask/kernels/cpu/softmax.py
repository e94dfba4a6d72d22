"""Softmax over the steps of each row, for each feature."""

from typing import Any

import numpy as np

from ragmask.kernels.jit import njit
from ragmask.kernels.math import exp

_LANES = 32


@njit
def softmax(
    first_row: int,
    last_row: int,
    x: Any,
    starts: Any,
    lengths: Any,
    mask: Any,
    out_starts: Any,
    out: Any,
) -> None:
    """Softmax over the kept steps of a row; masked steps get 0.

    x (n, features), out (steps, features), both float32 or both float64; starts, lengths,
    out_starts int64 (rows,); mask bool (n,) or None. Kept steps are gathered at the front of the
    row's output, worked on there and spread again from the back, so that masked steps change
    neither memory nor a bit of the others.
    """
    features = x.shape[1]
    lanes = max(1, _LANES // max(1, features)) * features
    most = np.empty(lanes, x.dtype)
    total = np.empty(lanes, x.dtype)
    for row in range(first_row, last_row):
        start, length, to = starts[row], lengths[row], out_starts[row]
        kept = length
        if mask is None:
            out[to : to + length] = x[start : start + length]
        else:
            kept = 0
            for step in range(length):
                if mask[start + step]:
                    out[to + kept] = x[start + step]
                    kept += 1
        softmax_in_place(out[to : to + kept].reshape(-1), features, most, total)
        if mask is not None:
            for step in range(length - 1, -1, -1):
                if mask[start + step]:
                    kept -= 1
                    out[to + step] = out[to + kept]
                else:
                    out[to + step] = 0


@njit
def softmax_in_place(values: Any, features: int, most: Any, total: Any) -> None:
    """values (steps · features,); most and total hold several steps' features side by side.

    The lanes are what LLVM vectorises over. Which lane a number falls into depends on its place
    among the kept steps alone, so the order of each sum does too.
    """
    lanes = most.size
    if values.size == 0:
        return
    most[:] = -np.inf
    for begin in range(0, values.size, lanes):
        part = values[begin : begin + lanes]
        for lane in range(part.size):
            most[lane] = part[lane] if part[lane] > most[lane] else most[lane]
    for lane in range(features, lanes):
        feature = lane % features
        most[feature] = most[lane] if most[lane] > most[feature] else most[feature]
    for lane in range(lanes):  # all -inf: shift by nothing, and let the total be 0
        most[lane] = most[lane % features] if most[lane % features] > -np.inf else 0

    total[:] = 0
    for begin in range(0, values.size, lanes):
        part = values[begin : begin + lanes]
        for lane in range(part.size):
            part[lane] = exp(part[lane] - most[lane])
            total[lane] += part[lane]
    for lane in range(features, lanes):
        total[lane % features] += total[lane]
    for lane in range(lanes):
        sum_ = total[lane % features]
        most[lane] = 1 / sum_ if sum_ != 0 else 0

    for begin in range(0, values.size, lanes):
        part = values[begin : begin + lanes]
        for lane in range(part.size):
            part[lane] *= most[lane]
