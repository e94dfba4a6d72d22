"""Convolution over the steps of each row, for each feature by itself."""

from typing import Any

import numpy as np

from ragmask.kernels.compile import inline, njit

# Steps of few features are worked on in blocks of about so many numbers: of one feature and 4 taps
# they take 0.2 of the time.
LANES = 64

u8 = np.uint64


@njit
def conv(
    first_row: int,
    last_row: int,
    x: Any,
    starts: Any,
    lengths: Any,
    mask: Any,
    weights: Any,
    bias: Any,
    before: int,
    dilation: int,
    out_starts: Any,
    out: Any,
) -> None:
    """To each kept step the bias, and x[step - before + tap · dilation] · weights[tap] of each tap.

    x (n · features,), weights (taps, features), bias (features,) and out (steps · features,), all
    float32 or all float64, of at least 1 feature; starts, lengths, out_starts int64 (rows,); mask
    bool (n,) or None. Taps are added in order, to the bias; one that meets no kept step of the row
    adds nothing. A masked step gets 0. Negative before and dilation give the gradient of x.
    """
    taps, features = weights.shape
    steps = max(1, LANES // features)
    total = np.empty(steps * features, x.dtype)
    biases, lines = np.empty(total.size, x.dtype), np.empty((taps, total.size), x.dtype)
    for lane in range(total.size):
        biases[lane] = bias[lane % features]
        for tap in range(taps):
            lines[tap, lane] = weights[tap, lane % features]

    for row in range(first_row, last_row):
        start, length = starts[row], lengths[row]
        for begin in range(0, length, steps):
            end = min(begin + steps, length)
            for lane in range((end - begin) * features):
                total[lane] = biases[lane]
            for tap in range(taps):
                shift = tap * dilation - before
                first, last = max(begin, -shift), min(end, length - shift)
                if mask is None:
                    lane, count = (first - begin) * features, (last - first) * features
                    at = (start + first + shift) * features
                    add_products(x, at, count, lines[tap], lane, total)
                else:
                    for step in range(first, last):
                        if mask[start + step + shift]:
                            lane = (step - begin) * features
                            at = (start + step + shift) * features
                            add_products(x, at, features, lines[tap], lane, total)
            for step in range(begin, end):
                keep = mask is None or mask[start + step]
                at, to = (step - begin) * features, (out_starts[row] + step) * features
                for feature in range(features):
                    out[u8(to + feature)] = total[u8(at + feature)] if keep else 0


@inline
def add_products(x: Any, at: int, count: int, line: Any, lane: int, total: Any) -> None:
    """Add so many numbers of x, each times one of a tap's line, to the sums from a lane on.

    Indices are unsigned: of others Numba would ask whether they are negative, and not vectorise.
    """
    for i in range(count):
        total[u8(lane + i)] += line[u8(lane + i)] * x[u8(at + i)]


@njit
def conv_weight_gradient(
    first_row: int,
    last_row: int,
    x: Any,
    starts: Any,
    lengths: Any,
    mask: Any,
    gradient: Any,
    before: int,
    dilation: int,
    part_starts: Any,
    part_lengths: Any,
    out: Any,
) -> None:
    """The gradient of the weights and the bias, in parts: what some rows give. A "row" is a part.

    x and gradient, of what the convolution gave, (n, features); starts, lengths int64 (rows,), of
    both; mask bool (n,) or None; part_starts, part_lengths int64 (parts,): the rows of each part.
    out (parts · (taps + 1), features): a part has a line for each tap, and one for the bias. All
    float32 or all float64. Kept steps are added up one after another.
    """
    lines, features = len(out) // part_starts.size, x.shape[1]
    for part in range(first_row, last_row):
        first = part * lines
        out[first : first + lines] = 0
        for row in range(part_starts[part], part_starts[part] + part_lengths[part]):
            start, length = starts[row], lengths[row]
            for step in range(length):
                at = start + step
                if mask is not None and not mask[at]:
                    continue
                for tap in range(lines - 1):
                    other = step - before + tap * dilation
                    if 0 <= other < length and (mask is None or mask[start + other]):
                        for feature in range(features):
                            product = gradient[at, feature] * x[start + other, feature]
                            out[first + tap, feature] += product
                for feature in range(features):
                    out[first + lines - 1, feature] += gradient[at, feature]
