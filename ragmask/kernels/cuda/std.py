"""How far each row's kept steps lie from their mean, for each feature."""

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
    rows_by_teams,
    rows_of_block,
    share_spans,
    team_sum,
    u8,
)
from ragmask.kernels.overloads import computed_in


@cuda_kernel
def std(x: Any, starts: Any, lengths: Any, mask: Any, out: Any) -> None:
    """The twin of `cpu.std`. Blocks share the features; float16 is computed in float32."""
    memory = cuda.shared.array(THREADS, computed_in(x))
    spans = cuda.shared.array((WARPS, 3), np.int64)
    block = rows_of_block(lengths.size)
    share_spans(block, mask, starts, lengths, spans)
    std_rows(block, (spans, x.shape[1]), x, starts, mask, out, (memory, spans))


@cuda_device
def std_row(
    x: Any, start: int, span: Any, mask: Any, out: Any, row: int, memory: Any, team: Any
) -> None:
    """One row's deviation into `out[row]`: for a warp, (0, 1) as its team, or (warp, WARPS).

    span (first, last, kept) from `kept_span`; memory shared, (THREADS,) of the type that x is
    computed in.
    """
    warp, warps = team
    std_tiles(x, start, span, mask, out, row, memory, (warp, warps, 0, 1))


@cuda_device
def std_tiles(
    x: Any, start: int, span: Any, mask: Any, out: Any, row: int, memory: Any, team: Any
) -> None:
    """The deviation for some tiles of a row's features, each parts-th one.

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
        _, _, squares = deviate(x, start, span, feature, mask, lanes, memory)
        if inside and warp == 0 and lane_step == 0:
            out[u8(row), u8(feature)] = number(math.sqrt(squares / number(max(span[2], 1))))


@cuda_device
def deviate(x: Any, start: int, span: Any, feature: int, mask: Any, lanes: Any, memory: Any) -> Any:
    """(first kept step, mean of what is left without it, Σ(x - mean)²) of a feature of a row.

    For the whole team; lanes (whether this one has a feature, step, across, down, warp, warps).
    """
    number = computed_in(x)
    first, last, kept = span
    inside, lane_step, across, down, warp, warps = lanes
    ends, by = (start, last), warps * down
    begin, near = last, number(0)
    if inside and kept > 0:
        begin = first + warp * down + lane_step
        near = number(x[u8(start + first), u8(feature)])
    total, step = number(0), begin
    while step < last:
        total += kept_value(x, ends, step, feature, mask, near) - near
        step += by
    total = team_sum(total, across, down, memory, warp, warps)
    mean = number(total / number(max(kept, 1)))
    squares, step = number(0), begin
    while step < last:
        keep = mask is None or mask[u8(start + step)]
        distance = kept_value(x, ends, step, feature, mask, near) - near - mean
        squares += distance * distance if keep else number(0)
        step += by
    return near, mean, team_sum(squares, across, down, memory, warp, warps)


@cuda_device
def std_by_team(row: Any, team: Any, x: Any, starts: Any, mask: Any, out: Any, shared: Any) -> None:
    (memory, spans), turn = shared, row % u8(WARPS)
    span = spans[turn, u8(0)], spans[turn, u8(1)], spans[turn, u8(2)]
    std_tiles(x, starts[row], span, mask, out, row, memory, team)


std_rows = rows_by_teams(is_short_span, std_by_team)


@cuda_kernel
def std_gradient(x: Any, starts: Any, lengths: Any, mask: Any, gradient: Any, out: Any) -> None:
    """The twin of `cpu.std_gradient`. Blocks share the features."""
    memory = cuda.shared.array(THREADS, x.dtype)
    spans = cuda.shared.array((WARPS, 3), np.int64)
    block = rows_of_block(lengths.size)
    share_spans(block, mask, starts, lengths, spans)
    size, rows, shared = (spans, x.shape[1]), (starts, lengths), (memory, spans)
    std_gradient_rows(block, size, x, rows, mask, gradient, out, shared)


@cuda_device
def std_gradient_row(
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
    std_gradient_tiles(x, segment, span, mask, gradient, row, out, memory, tiles)


@cuda_device
def std_gradient_tiles(
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
    (start, length), kept = segment, span[2]
    warp, warps, part, parts = team
    features = x.shape[1]
    across, down, lane_feature, lane_step = lane_layout(features)
    for tile in range(part * across, features, parts * across):
        feature = tile + lane_feature
        inside = lane_step < down and feature < features
        lanes = inside, lane_step, across, down, warp, warps
        near, mean, squares = deviate(x, start, span, feature, mask, lanes, memory)
        scale, step = number(0), length
        if inside:
            step = warp * down + lane_step
            by = number(kept) * number(math.sqrt(squares / number(max(kept, 1))))
            if by != number(0):
                scale = number(gradient[u8(row), u8(feature)] / by)
        while step < length:
            keep = mask is None or mask[u8(start + step)]
            distance = x[u8(start + step), u8(feature)] - near - mean
            out[u8(start + step), u8(feature)] = distance * scale if keep else number(0)
            step += warps * down


@cuda_device
def std_gradient_by_team(
    row: Any, team: Any, x: Any, rows: Any, mask: Any, gradient: Any, out: Any, shared: Any
) -> None:
    (starts, lengths), (memory, spans), turn = rows, shared, row % u8(WARPS)
    segment = starts[row], lengths[row]
    span = spans[turn, u8(0)], spans[turn, u8(1)], spans[turn, u8(2)]
    std_gradient_tiles(x, segment, span, mask, gradient, row, out, memory, team)


std_gradient_rows = rows_by_teams(is_short_span, std_gradient_by_team)
