"""One step out of each row's kept steps."""

from typing import Any

import numpy as np
from numba import cuda

from ragmask.kernels.cuda.teams import (
    THREADS,
    WARPS,
    i8,
    is_short,
    kept_span,
    lane_places,
    larger,
    team_maximum,
    team_sum,
    u8,
)
from ragmask.kernels.jit import computed_in, cuda_device, cuda_kernel

SUM, MEAN, MAX, FIRST, LAST = range(5)


@cuda_kernel
def pool(x: Any, starts: Any, lengths: Any, mask: Any, how: int, out: Any) -> None:
    """The sum, mean, maximum, first or last of a row's kept steps; zeros where none is kept.

    x (n, features), out (rows, features), of one dtype; starts, lengths int64 (rows,); mask bool
    (n,) or None; how is one of SUM, MEAN, MAX, FIRST, LAST. A NaN is the maximum. Float16 is
    computed in float32.
    """
    memory = cuda.shared.array(THREADS, computed_in(x))
    spans = cuda.shared.array((WARPS, 3), np.int64)
    warp = cuda.threadIdx.x >> 5
    block_row = i8(cuda.blockIdx.x) * WARPS
    if block_row + warp < lengths.size:
        row = u8(block_row + warp)
        first, last, kept = kept_span(mask, starts[row], lengths[row])
        if cuda.threadIdx.x & 31 == 0:
            spans[u8(warp), u8(0)], spans[u8(warp), u8(1)] = first, last
            spans[u8(warp), u8(2)] = kept
    cuda.syncthreads()

    for turn in range(WARPS):
        if block_row + turn < lengths.size:
            row = u8(block_row + turn)
            span = spans[u8(turn), u8(0)], spans[u8(turn), u8(1)], spans[u8(turn), u8(2)]
            alone = is_short(span[0], span[1], x.shape[1])
            if turn == warp or not alone:
                team = (0, 1) if alone else (warp, WARPS)
                pool_row(x, starts[row], span, mask, how, out, block_row + turn, memory, team)


@cuda_device
def pool_row(
    x: Any,
    start: int,
    span: Any,
    mask: Any,
    how: int,
    out: Any,
    row: int,
    memory: Any,
    team: Any,
) -> None:
    """Pool one row into `out[row]`: for a warp, (0, 1) as its team, or a block, (warp, WARPS).

    span (first, last, kept) from `kept_span`; memory shared, (THREADS,) of the type that x is
    computed in.
    """
    number = computed_in(x)
    first, last, kept = span
    warp, warps = team
    features = x.shape[1]
    across, down, lane_feature, lane_step = lane_places(features)
    for feature in range(lane_feature, features + lane_feature, across):
        inside = lane_step < down and feature < features
        # -0 leaves every number as it is; a maximum may begin with a number that comes again
        total = number(-0.0)
        if inside and kept > 0 and how >= MAX:
            at = start + (last - 1 if how == LAST else first)
            total = number(x[u8(at), u8(feature)])
        if how <= MAX:
            step = first + warp * down + lane_step if inside else last
            while step < last:
                if mask is None or mask[u8(start + step)]:
                    value = number(x[u8(start + step), u8(feature)])
                    total = larger(total, value) if how == MAX else total + value
                step += warps * down
            if how == MAX:
                total = team_maximum(total, across, down, memory, warp, warps)
            else:
                total = team_sum(total, across, down, memory, warp, warps)
        if how == MEAN and kept > 0:
            total = number(total / number(kept))
        if inside and warp == 0 and lane_step == 0:
            out[u8(row), u8(feature)] = total if kept > 0 else number(0)
