"""The logarithm of the sum of the powers of each row's kept steps, for each feature."""

import math
from typing import Any

import numpy as np

from ragmask.kernels.compile import njit, part
from ragmask.kernels.cpu.kept import gather, room_for, scatter
from ragmask.kernels.cpu.softmax import exp_of_numbers, exp_of_vectors


@njit
def logsumexp(
    first_row: int, last_row: int, x: Any, starts: Any, lengths: Any, mask: Any, out: Any
) -> None:
    """log Σ exp(x) of a row's kept steps; -inf where there is none.

    x (n, features) and out (rows, features), both float32 or both float64, of at least 1 feature;
    starts, lengths int64 (rows,); mask bool (n,) or None. Shifted by the maximum, which is the
    result itself where it is infinite or NaN.
    """
    features = x.shape[1]
    scratch, lanes = room_for(first_row, last_row, x, lengths)
    top, shift = np.empty(features, x.dtype), np.empty(features, x.dtype)
    scale = np.empty(features, x.dtype)
    for row in range(first_row, last_row):
        kept = gather(x, starts[row], lengths[row], mask, scratch)
        largest_of(scratch[: kept * features], top)
        if features == 1:
            exp_of_numbers(scratch, kept, lanes, scale)
        else:
            exp_of_vectors(scratch[: kept * features], features, shift, scale)
        for feature in range(features):
            is_finite = abs(top[feature]) < np.inf
            out[row, feature] = top[feature] - (math.log(scale[feature]) if is_finite else 0)


@part
def largest_of(values: Any, top: Any) -> None:
    """The maximum of (steps · features,) values for each feature: a NaN is; -inf of no step."""
    features = top.size
    top[:] = -np.inf
    if features == 1:
        largest = top[0]
        for value in values:
            largest = value if (value > largest) | (value != value) else largest
        top[0] = largest
    else:
        for begin in range(0, values.size, features):
            step = values[begin : begin + features]
            for feature in range(features):
                value, largest = step[feature], top[feature]
                top[feature] = value if (value > largest) | (value != value) else largest


@njit
def logsumexp_gradient(
    first_row: int,
    last_row: int,
    x: Any,
    starts: Any,
    lengths: Any,
    mask: Any,
    gradient: Any,
    out: Any,
) -> None:
    """From the gradient of what `logsumexp` gives to that of x: the softmax times it.

    x and out (n, features), gradient (rows, features), of one dtype, float32 or float64, and at
    least 1 feature; starts, lengths int64 (rows,), of x and out; mask bool (n,) or None. Masked
    steps get 0.
    """
    features = x.shape[1]
    scratch, lanes = room_for(first_row, last_row, x, lengths)
    shift, scale = np.empty(features, x.dtype), np.empty(features, x.dtype)
    for row in range(first_row, last_row):
        kept = gather(x, starts[row], lengths[row], mask, scratch)
        if features == 1:
            exp_of_numbers(scratch, kept, lanes, scale)
        else:
            exp_of_vectors(scratch[: kept * features], features, shift, scale)
        for feature in range(features):
            scale[feature] *= gradient[row, feature]
        scatter(scratch, scale, starts[row], lengths[row], mask, out)
