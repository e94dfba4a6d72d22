"""Softmax over the steps of each row, for each feature."""

from typing import Any

import numpy as np

from ragmask.kernels.jit import njit
from ragmask.kernels.math import exp

LANES = 16


@njit
def softmax(
    first_row: int,
    last_row: int,
    x: Any,
    features: int,
    starts: Any,
    lengths: Any,
    mask: Any,
    out_starts: Any,
    out: Any,
) -> None:
    """Softmax over the kept steps of a row; masked steps get 0.

    x (n · features,) and out (steps · features,), both float32 or both float64; starts, lengths,
    out_starts int64 (rows,); mask bool (n,) or None. Kept steps are gathered at the front of the
    row's output, worked on there and spread again from the back: masked steps cost no memory, and
    change no bit of the others.
    """
    shift = np.empty(features, x.dtype)
    total = np.empty(features, x.dtype)
    lanes = np.empty(LANES, x.dtype)
    for row in range(first_row, last_row):
        length = lengths[row]
        row_x = x[starts[row] * features : (starts[row] + length) * features]
        row_out = out[out_starts[row] * features : (out_starts[row] + length) * features]
        if mask is None:
            row_out[:] = row_x
            kept = length
        else:
            row_mask = mask[starts[row] : starts[row] + length]
            kept = 0
            for step in range(length):
                if row_mask[step]:
                    for feature in range(features):
                        row_out[kept * features + feature] = row_x[step * features + feature]
                    kept += 1
        if features == 1:
            softmax_of_numbers(row_out[:kept], lanes)
        elif features > 1:
            softmax_of_vectors(row_out[: kept * features], features, shift, total)
        if mask is not None:
            for step in range(length - 1, -1, -1):
                kept -= row_mask[step]
                for feature in range(features):
                    row_out[step * features + feature] = (
                        row_out[kept * features + feature] if row_mask[step] else 0
                    )


@njit
def softmax_of_numbers(values: Any, lanes: Any) -> None:
    """Softmax of (steps,) values, in place.

    Maximum and sum run in lanes side by side, which LLVM vectorises. Which lane a number falls
    into depends on its place among the kept steps alone, and with it the order of the sum.
    """
    size = values.size
    whole = size // LANES * LANES
    lanes[:] = -np.inf
    for begin in range(0, whole, LANES):
        for lane in range(LANES):
            value = values[begin + lane]
            lanes[lane] = value if value > lanes[lane] else lanes[lane]
    for lane in range(size - whole):
        value = values[whole + lane]
        lanes[lane] = value if value > lanes[lane] else lanes[lane]
    shift = lanes[0]
    for lane in range(1, LANES):
        shift = lanes[lane] if lanes[lane] > shift else shift
    if shift == -np.inf:  # nothing, or nothing but -inf: the total is to be 0
        shift = values.dtype.type(0)

    for step in range(size):
        values[step] = exp(values[step] - shift)

    lanes[:] = 0
    for begin in range(0, whole, LANES):
        for lane in range(LANES):
            lanes[lane] += values[begin + lane]
    for lane in range(size - whole):
        lanes[lane] += values[whole + lane]
    total = lanes[0]
    for lane in range(1, LANES):
        total += lanes[lane]

    scale = 1 / total if total != 0 else total
    for step in range(size):
        values[step] *= scale


@njit
def softmax_of_vectors(values: Any, features: int, shift: Any, total: Any) -> None:
    """Softmax of (steps · features,) values, in place, for each feature by itself."""
    shift[:] = -np.inf
    for begin in range(0, values.size, features):
        step = values[begin : begin + features]
        for feature in range(features):
            shift[feature] = step[feature] if step[feature] > shift[feature] else shift[feature]
    for feature in range(features):
        shift[feature] = shift[feature] if shift[feature] > -np.inf else 0

    total[:] = 0
    for begin in range(0, values.size, features):
        step = values[begin : begin + features]
        for feature in range(features):
            step[feature] = exp(step[feature] - shift[feature])
            total[feature] += step[feature]
    for feature in range(features):
        total[feature] = 1 / total[feature] if total[feature] != 0 else 0

    for begin in range(0, values.size, features):
        step = values[begin : begin + features]
        for feature in range(features):
            step[feature] *= total[feature]
