"""The logarithm of the sum of the powers of each row's kept steps, for each feature."""

import math
from typing import Any

import numpy as np
from numba import cuda

from ragmask.kernels.compile import cuda_device, cuda_kernel
from ragmask.kernels.cuda.pool import kept_value
from ragmask.kernels.cuda.teams import (
    THREADS,
    WARPS,
    is_short_span,
    lane_layout,
    larger,
    rows_by_teams,
    rows_of_block,
    share_spans,
    team_maximum,
    team_sum,
    u8,
)
from ragmask.kernels.math import exp
from ragmask.kernels.overloads import computed_in


@cuda_kernel
def logsumexp(x: Any, starts: Any, lengths: Any, mask: Any, out: Any) -> None:
    """The twin of `cpu.logsumexp`. Blocks share the features; float16 is computed in float32."""
    memory = cuda.shared.array(THREADS, computed_in(x))
    spans = cuda.shared.array((WARPS, 3), np.int64)
    block = rows_of_block(lengths.size)
    share_spans(block, mask, starts, lengths, spans)
    logsumexp_rows(block, (spans, x.shape[1]), x, starts, mask, out, (memory, spans))


@cuda_device
def logsumexp_row(
    x: Any, start: int, span: Any, mask: Any, out: Any, row: int, memory: Any, team: Any
) -> None:
    """One row's logarithm into `out[row]`: for a warp, (0, 1) as its team, or (warp, WARPS).

    span (first, last, kept) from `kept_span`; memory shared, (THREADS,) of the type that x is
    computed in.
    """
    warp, warps = team
    logsumexp_tiles(x, start, span, mask, out, row, memory, (warp, warps, 0, 1))


@cuda_device
def logsumexp_tiles(
    x: Any, start: int, span: Any, mask: Any, out: Any, row: int, memory: Any, team: Any
) -> None:
    """The logarithm for some tiles of a row's features, each parts-th one.

    team is (warp, warps, part, parts).
    """
    number = computed_in(x)
    warp, warps, part, parts = team
    features = x.shape[1]
    across, down, lane_feature, lane_step = lane_layout(features)
    for tile in range(part * across, features, parts * across):
        feature = tile + lane_feature
        inside = lane_step < down and feature < features
        lanes = inside, lane_step, across, down, warp, warps
        top, total = sum_of_powers(x, start, span, feature, mask, lanes, memory)
        if inside and warp == 0 and lane_step == 0:
            is_finite = abs(top) < number(np.inf)
            out[u8(row), u8(feature)] = top + number(math.log(total)) if is_finite else top


@cuda_device
def sum_of_powers(
    x: Any, start: int, span: Any, feature: int, mask: Any, lanes: Any, memory: Any
) -> Any:
    """(maximum, Σ exp(x - maximum)) of a feature of a row; of -inf alone and of nothing (-inf, 0).

    For the whole team; lanes (whether this one has a feature, step, across, down, warp, warps).
    """
    number = computed_in(x)
    first, last, _ = span
    inside, lane_step, across, down, warp, warps = lanes
    ends, by, nothing = (start, last), warps * down, number(-np.inf)
    begin = first + warp * down + lane_step if inside else last
    top, step = nothing, begin
    while step < last:
        top = larger(top, kept_value(x, ends, step, feature, mask, nothing))
        step += by
    top = team_maximum(top, across, down, memory, warp, warps)
    shift = top if top != nothing else number(0)
    total, step = number(0), begin
    while step < last:
        total += exp(kept_value(x, ends, step, feature, mask, nothing) - shift)
        step += by
    return top, team_sum(total, across, down, memory, warp, warps)


@cuda_device
def logsumexp_by_team(
    row: Any, team: Any, x: Any, starts: Any, mask: Any, out: Any, shared: Any
) -> None:
    (memory, spans), turn = shared, row % u8(WARPS)
    span = spans[turn, u8(0)], spans[turn, u8(1)], spans[turn, u8(2)]
    logsumexp_tiles(x, starts[row], span, mask, out, row, memory, team)


logsumexp_rows = rows_by_teams(is_short_span, logsumexp_by_team)


@cuda_kernel
def logsumexp_gradient(
    x: Any, starts: Any, lengths: Any, mask: Any, gradient: Any, out: Any
) -> None:
    """The twin of `cpu.logsumexp_gradient`. Blocks share the features."""
    memory = cuda.shared.array(THREADS, x.dtype)
    spans = cuda.shared.array((WARPS, 3), np.int64)
    block = rows_of_block(lengths.size)
    share_spans(block, mask, starts, lengths, spans)
    size, rows, shared = (spans, x.shape[1]), (starts, lengths), (memory, spans)
    logsumexp_gradient_rows(block, size, x, rows, mask, gradient, out, shared)


@cuda_device
def logsumexp_gradient_row(
    x: Any,
    segment: Any,
    span: Any,
    mask: Any,
    gradient: Any,
    row: int,
    out: Any,
    memory: Any,
    team: Any,
) -> None:
    """The steps' gradient from `gradient[row]`: for a warp, (0, 1) as its team, or (warp, WARPS).

    segment (start, length); span (first, last, kept) from `kept_span`; memory shared, (THREADS,) of
    x's type.
    """
    warp, warps = team
    tiles = (warp, warps, 0, 1)
    logsumexp_gradient_tiles(x, segment, span, mask, gradient, row, out, memory, tiles)


@cuda_device
def logsumexp_gradient_tiles(
    x: Any,
    segment: Any,
    span: Any,
    mask: Any,
    gradient: Any,
    row: int,
    out: Any,
    memory: Any,
    team: Any,
) -> None:
    """The steps' gradient for some tiles of a row's features, each parts-th one.

    team is (warp, warps, part, parts).
    """
    number = x.dtype.type
    start, length = segment
    warp, warps, part, parts = team
    features = x.shape[1]
    across, down, lane_feature, lane_step = lane_layout(features)
    for tile in range(part * across, features, parts * across):
        feature = tile + lane_feature
        inside = lane_step < down and feature < features
        lanes = inside, lane_step, across, down, warp, warps
        top, total = sum_of_powers(x, start, span, feature, mask, lanes, memory)
        shift = top if top != number(-np.inf) else number(0)
        scale, step = number(0), length
        if inside:
            step = warp * down + lane_step
            if total != number(0):
                scale = gradient[u8(row), u8(feature)] / total
        while step < length:
            keep = mask is None or mask[u8(start + step)]
            power = exp(x[u8(start + step), u8(feature)] - shift)
            out[u8(start + step), u8(feature)] = power * scale if keep else number(0)
            step += warps * down


@cuda_device
def logsumexp_gradient_by_team(
    row: Any, team: Any, x: Any, rows: Any, mask: Any, gradient: Any, out: Any, shared: Any
) -> None:
    (starts, lengths), (memory, spans), turn = rows, shared, row % u8(WARPS)
    segment = starts[row], lengths[row]
    span = spans[turn, u8(0)], spans[turn, u8(1)], spans[turn, u8(2)]
    logsumexp_gradient_tiles(x, segment, span, mask, gradient, row, out, memory, team)


logsumexp_gradient_rows = rows_by_teams(is_short_span, logsumexp_gradient_by_team)
