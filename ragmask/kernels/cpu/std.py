"""How far each row's kept steps lie from their mean, for each feature."""

import math
from typing import Any

import numpy as np

from ragmask.kernels.compile import njit, part
from ragmask.kernels.cpu.kept import gather, room_for, scatter
from ragmask.kernels.cpu.lanes import copy_line
from ragmask.kernels.cpu.softmax import LANES, sum_in_lanes


@njit
def std(
    first_row: int, last_row: int, x: Any, starts: Any, lengths: Any, mask: Any, out: Any
) -> None:
    """The standard deviation of a row's kept steps: √(Σ(x - mean)² / kept); 0 where there is none.

    x (n, features) and out (rows, features), both float32 or both float64; starts, lengths int64
    (rows,); mask bool (n,) or None.
    """
    features = x.shape[1]
    scratch, lanes = room_for(first_row, last_row, x, lengths)
    mean, squares = np.empty(features, x.dtype), np.empty(features, x.dtype)
    for row in range(first_row, last_row):
        kept = gather(x, starts[row], lengths[row], mask, scratch)
        deviate(scratch, kept, lanes, mean, squares)
        for feature in range(features):
            out[row, feature] = math.sqrt(squares[feature] / max(kept, 1))


@njit
def std_gradient(
    first_row: int,
    last_row: int,
    x: Any,
    starts: Any,
    lengths: Any,
    mask: Any,
    gradient: Any,
    out: Any,
) -> None:
    """From the gradient of what `std` gives to that of x: (x - mean) / (kept · std), times it.

    x and out (n, features), gradient (rows, features), of one dtype, float32 or float64; starts,
    lengths int64 (rows,), of x and out; mask bool (n,) or None. It is 0 where std is 0, and masked
    steps get 0.
    """
    features = x.shape[1]
    scratch, lanes = room_for(first_row, last_row, x, lengths)
    mean, scale = np.empty(features, x.dtype), np.empty(features, x.dtype)
    for row in range(first_row, last_row):
        kept = gather(x, starts[row], lengths[row], mask, scratch)
        deviate(scratch, kept, lanes, mean, scale)
        for feature in range(features):
            by = kept * math.sqrt(scale[feature] / max(kept, 1))
            scale[feature] = gradient[row, feature] / by if by != 0 else 0
        scatter(scratch, scale, starts[row], lengths[row], mask, out)


@part
def deviate(values: Any, size: int, lanes: Any, mean: Any, squares: Any) -> None:
    """`size` steps less their mean, in their place, and the sums of the squares of that.

    The first step is taken away before: small numbers are added up, however large the mean is, and
    equal steps have no deviation at all. Numbers, which `values` has room for LANES more of, are
    added up in lanes, as in a softmax.
    """
    features = mean.size
    if features == 1:
        first = values[0]
        for step in range(size):
            values[step] -= first
        center = sum_in_lanes(values, size, lanes) / max(size, 1)
        for step in range(size):
            values[step] -= center
        lanes[:] = 0
        for begin in range(0, size, LANES):  # behind the last step are zeros
            for lane in range(LANES):
                lanes[lane] += values[begin + lane] * values[begin + lane]
        squares[0] = lanes[0]
        for lane in range(1, LANES):
            squares[0] += lanes[lane]
        return
    first = squares  # which is free until then
    copy_line(values, first)
    mean[:] = 0
    for begin in range(0, size * features, features):
        step = values[begin : begin + features]
        for feature in range(features):
            step[feature] -= first[feature]
            mean[feature] += step[feature]
    for feature in range(features):
        mean[feature] /= max(size, 1)
    squares[:] = 0
    for begin in range(0, size * features, features):
        step = values[begin : begin + features]
        for feature in range(features):
            step[feature] -= mean[feature]
            squares[feature] += step[feature] * step[feature]
