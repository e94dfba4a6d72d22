"""Softmax over the steps of each row, for each feature."""

from typing import Any

import numpy as np

from ragmask.kernels.compile import njit, part
from ragmask.kernels.math import exp

# A row of numbers is worked on in blocks of so many, its last one filled up with -inf: a loop of
# a constant length is vectorised whole, and the loose ends cost half of the time otherwise.
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

    x (n · features,) and out (steps · features,), both float32 or both float64, of at least 1
    feature; starts, lengths, out_starts int64 (rows,); mask bool (n,) or None. The kept steps
    are gathered in a scratch row first, so that masked steps change no bit of the others.
    """
    longest = 0
    for row in range(first_row, last_row):
        longest = max(longest, lengths[row])
    # zeros: of a mask that another thread changes, the second reading may keep more steps
    scratch = np.zeros(longest * features + LANES, x.dtype)
    lanes = np.empty(LANES, x.dtype)
    shift = np.empty(features, x.dtype)
    scale = np.empty(features, x.dtype)

    for row in range(first_row, last_row):
        length = lengths[row]
        row_x = x[starts[row] * features : (starts[row] + length) * features]
        row_out = out[out_starts[row] * features : (out_starts[row] + length) * features]
        if mask is None:
            kept = length
            for i in range(row_x.size):
                scratch[i] = row_x[i]
        else:
            row_mask = mask[starts[row] : starts[row] + length]
            kept = 0
            for step in range(length):
                for feature in range(features):
                    scratch[kept * features + feature] = row_x[step * features + feature]
                kept += row_mask[step]

        if features == 1:
            exp_of_numbers(scratch, kept, lanes, scale)
        else:
            exp_of_vectors(scratch[: kept * features], features, shift, scale)

        if mask is None and features == 1:
            for step in range(length):
                row_out[step] = scratch[step] * scale[0]
        else:
            kept = 0
            for step in range(length):
                keep = mask is None or row_mask[step]
                for feature in range(features):
                    at = step * features + feature
                    row_out[at] = scratch[kept * features + feature] * scale[feature] if keep else 0
                kept += keep


@part
def exp_of_numbers(values: Any, size: int, lanes: Any, scale: Any) -> None:
    """exp(value - maximum) in place of `size` values, and 1 / their sum in `scale[0]`.

    values has room for LANES more. Which lane a number falls into depends on its place among the
    kept steps alone, and with it the order of the sum.
    """
    whole = (size + LANES - 1) // LANES * LANES
    values[size:whole] = -np.inf
    lanes[:] = -np.inf
    for begin in range(0, whole, LANES):
        for lane in range(LANES):
            value = values[begin + lane]
            lanes[lane] = value if value > lanes[lane] else lanes[lane]
    shift = lanes[0]
    for lane in range(1, LANES):
        shift = lanes[lane] if lanes[lane] > shift else shift
    if shift == -np.inf:  # nothing, or nothing but -inf: the sum is to be 0
        shift = values.dtype.type(0)

    for step in range(whole):
        values[step] = exp(values[step] - shift)

    lanes[:] = 0
    for begin in range(0, whole, LANES):
        for lane in range(LANES):
            lanes[lane] += values[begin + lane]
    total = lanes[0]
    for lane in range(1, LANES):
        total += lanes[lane]
    scale[0] = 1 / total if total != 0 else total


@part
def exp_of_vectors(values: Any, features: int, shift: Any, scale: Any) -> None:
    """The same for (steps · features,) values, for each feature by itself."""
    shift[:] = -np.inf
    for begin in range(0, values.size, features):
        step = values[begin : begin + features]
        for feature in range(features):
            shift[feature] = step[feature] if step[feature] > shift[feature] else shift[feature]
    for feature in range(features):
        shift[feature] = shift[feature] if shift[feature] > -np.inf else 0

    scale[:] = 0
    for begin in range(0, values.size, features):
        step = values[begin : begin + features]
        for feature in range(features):
            step[feature] = exp(step[feature] - shift[feature])
            scale[feature] += step[feature]
    for feature in range(features):
        scale[feature] = 1 / scale[feature] if scale[feature] != 0 else 0


@njit
def softmax_gradient(
    first_row: int,
    last_row: int,
    soft: Any,
    features: int,
    starts: Any,
    lengths: Any,
    mask: Any,
    gradient: Any,
    out: Any,
) -> None:
    """From the gradient of a softmax to that of its input; masked steps get 0.

    soft, the softmax itself, gradient and out (n · features,), all float32 or all float64, of at
    least 1 feature; starts, lengths int64 (rows,), of all three; mask bool (n,) or None. The
    gradient of a masked step is not added to any other.
    """
    longest = 0
    for row in range(first_row, last_row):
        longest = max(longest, lengths[row])
    # as in softmax: a mask that another thread changes may keep more steps
    products = np.zeros((longest if features == 1 else 0) + LANES, soft.dtype)
    lanes = np.empty(LANES, soft.dtype)
    totals = np.empty(features, soft.dtype)

    for row in range(first_row, last_row):
        length = lengths[row]
        row_soft = soft[starts[row] * features : (starts[row] + length) * features]
        row_gradient = gradient[starts[row] * features : (starts[row] + length) * features]
        row_out = out[starts[row] * features : (starts[row] + length) * features]
        if features == 1:
            if mask is None:
                kept = length
                for step in range(length):
                    products[step] = row_soft[step] * row_gradient[step]
            else:
                row_mask = mask[starts[row] : starts[row] + length]
                kept = 0
                for step in range(length):
                    products[kept] = row_soft[step] * row_gradient[step]
                    kept += row_mask[step]
            total = sum_in_lanes(products, kept, lanes)
            for step in range(length):
                value = row_soft[step] * (row_gradient[step] - total)
                row_out[step] = value if mask is None or row_mask[step] else 0
        else:
            totals[:] = 0
            for step in range(length):
                if mask is None or mask[starts[row] + step]:
                    for feature in range(features):
                        at = step * features + feature
                        totals[feature] += row_soft[at] * row_gradient[at]
            for step in range(length):
                keep = mask is None or mask[starts[row] + step]
                for feature in range(features):
                    at = step * features + feature
                    value = row_soft[at] * (row_gradient[at] - totals[feature])
                    row_out[at] = value if keep else 0


@part
def sum_in_lanes(values: Any, size: int, lanes: Any) -> Any:
    """The sum of `size` values; values has room for LANES more. Their number alone says how."""
    whole = (size + LANES - 1) // LANES * LANES
    values[size:whole] = 0
    lanes[:] = 0
    for begin in range(0, whole, LANES):
        for lane in range(LANES):
            lanes[lane] += values[begin + lane]
    total = lanes[0]
    for lane in range(1, LANES):
        total += lanes[lane]
    return total
