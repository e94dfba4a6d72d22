"""One step out of each row's kept steps."""

from typing import Any

import numpy as np
from numba import cuda

from ragmask.kernels.compile import cuda_device, cuda_kernel
from ragmask.kernels.constants import FIRST, LAST, MAX, MEAN, MIN, NOWHERE, SUM
from ragmask.kernels.cuda.teams import (
    THREADS,
    WARPS,
    i8,
    is_short_span,
    lane_layout,
    larger,
    reduction,
    rows_by_teams,
    rows_of_block,
    share_spans,
    team_maximum,
    team_sum,
    u8,
)
from ragmask.kernels.overloads import computed_in

__all__ = [
    "FIRST",
    "LAST",
    "MAX",
    "MEAN",
    "MIN",
    "SUM",
    "argmax",
    "argmax_row",
    "pool",
    "pool_gradient",
    "pool_gradient_row",
    "pool_row",
]


@cuda_kernel
def pool(x: Any, starts: Any, lengths: Any, mask: Any, how: int, out: Any) -> None:
    """The twin of `cpu.pool`. Blocks share the features; float16 is computed in float32."""
    memory = cuda.shared.array(THREADS, computed_in(x))
    spans = cuda.shared.array((WARPS, 3), np.int64)
    block = rows_of_block(lengths.size)
    share_spans(block, mask, starts, lengths, spans)
    size, shared = (spans, x.shape[1]), (memory, spans)
    pool_rows(block, size, x, starts, mask, how, out, shared)


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
    warp, warps = team
    pool_tiles(x, start, span, mask, how, out, row, memory, (warp, warps, 0, 1))


@cuda_device
def pool_tiles(
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
    """Pool some tiles of a row's features, each parts-th one.

    team is (warp, warps, part, parts).
    """
    number = computed_in(x)
    first, last, kept = span
    warp, warps, part, parts = team
    features = x.shape[1]
    across, down, lane_feature, lane_step = lane_layout(features)
    for tile in range(part * across, features, parts * across):
        feature = tile + lane_feature
        inside = lane_step < down and feature < features
        # -0 leaves every number as it is; a maximum or minimum may begin with one that comes again
        total = number(-0.0)
        if inside and kept > 0 and how >= MAX:
            at = start + (last - 1 if how == LAST else first)
            total = number(x[u8(at), u8(feature)])
        if how < FIRST:
            step = first + warp * down + lane_step if inside else last
            by, ends, nothing = warps * down, (start, last), total
            while step < last:  # 4 loads under way
                one = kept_value(x, ends, step, feature, mask, nothing)
                two = kept_value(x, ends, step + by, feature, mask, nothing)
                three = kept_value(x, ends, step + 2 * by, feature, mask, nothing)
                four = kept_value(x, ends, step + 3 * by, feature, mask, nothing)
                if how == MAX:
                    total = larger(larger(larger(larger(total, one), two), three), four)
                elif how == MIN:
                    total = lesser(lesser(lesser(lesser(total, one), two), three), four)
                else:
                    total = total + one + two + three + four
                step += 4 * by
            if how == MAX:
                total = team_maximum(total, across, down, memory, warp, warps)
            elif how == MIN:
                total = team_minimum(total, across, down, memory, warp, warps)
            else:
                total = team_sum(total, across, down, memory, warp, warps)
        if how == MEAN and kept > 0:
            total = number(total / number(kept))
        if inside and warp == 0 and lane_step == 0:
            out[u8(row), u8(feature)] = total if kept > 0 else number(0)


@cuda_device
def pool_by_team(
    row: Any, team: Any, x: Any, starts: Any, mask: Any, how: int, out: Any, shared: Any
) -> None:
    (memory, spans), turn = shared, row % u8(WARPS)
    span = spans[turn, u8(0)], spans[turn, u8(1)], spans[turn, u8(2)]
    pool_tiles(x, starts[row], span, mask, how, out, row, memory, team)


pool_rows = rows_by_teams(is_short_span, pool_by_team)


@cuda_device
def kept_value(x: Any, ends: Any, step: int, feature: int, mask: Any, nothing: Any) -> Any:
    """A row's number at a step, or `nothing` where the step is masked or past the end.

    ends (start, last). A number is read in any case, so that no load waits for another.
    """
    start, last = ends
    number, inside = computed_in(x), step < last
    step = min(step, last - 1)
    value = number(x[u8(start + step), u8(feature)])
    keep = mask is None or mask[u8(start + step)]
    return value if keep & inside else nothing


@cuda_device
def lesser(one: Any, other: Any) -> Any:
    """The minimum; a NaN is."""
    return one if one <= other or one != one else other


team_minimum = reduction(lesser)


@cuda_device
def place_of_best(
    x: Any, ends: Any, feature: int, mask: Any, how: int, lanes: Any, nothing: Any, memory: Any
) -> Any:
    """Which step of a row is the first that has its maximum, or minimum, for the whole team.

    ends (start, last); lanes (first step of this one, by, across, down, warp, warps); nothing is a
    number of the row's kept steps, or any where there is none; memory two shared arrays, (THREADS,)
    of the type that x is computed in and of int64. NOWHERE where no step is kept.
    """
    start, last = ends
    begin, by, across, down, warp, warps = lanes
    numbers, places = memory
    top, step = nothing, begin
    while step < last:
        value = kept_value(x, ends, step, feature, mask, nothing)
        top = larger(top, value) if how == MAX else lesser(top, value)
        step += by
    if how == MAX:
        top = team_maximum(top, across, down, numbers, warp, warps)
    else:
        top = team_minimum(top, across, down, numbers, warp, warps)
    taken, step = i8(NOWHERE), begin
    while step < last and taken == i8(NOWHERE):  # the first that equals it
        value = computed_in(x)(x[u8(start + step), u8(feature)])
        keep = mask is None or mask[u8(start + step)]
        if keep and (value == top or (value != value and top != top)):
            taken = i8(step)
        step += by
    return team_minimum(taken, across, down, places, warp, warps)


@cuda_kernel
def argmax(x: Any, starts: Any, lengths: Any, mask: Any, out: Any) -> None:
    """The twin of `cpu.argmax`. Blocks share the features; float16 is compared in float32."""
    memory = cuda.shared.array(THREADS, computed_in(x)), cuda.shared.array(THREADS, np.int64)
    spans = cuda.shared.array((WARPS, 3), np.int64)
    block = rows_of_block(lengths.size)
    share_spans(block, mask, starts, lengths, spans)
    argmax_rows(block, (spans, x.shape[1]), x, starts, mask, out, (memory, spans))


@cuda_device
def argmax_row(
    x: Any, start: int, span: Any, mask: Any, out: Any, row: int, memory: Any, team: Any
) -> None:
    """One row's places into `out[row · features :]`: for a warp, (0, 1), or a block, (warp, WARPS).

    span (first, last, kept) from `kept_span`; memory two shared arrays, (THREADS,) of the type that
    x is computed in and of int64.
    """
    warp, warps = team
    argmax_tiles(x, start, span, mask, out, row, memory, (warp, warps, 0, 1))


@cuda_device
def argmax_tiles(
    x: Any, start: int, span: Any, mask: Any, out: Any, row: int, memory: Any, team: Any
) -> None:
    """The places for some tiles of a row's features, each parts-th one.

    team is (warp, warps, part, parts).
    """
    number = computed_in(x)
    first, last, kept = span
    warp, warps, part, parts = team
    features = x.shape[1]
    across, down, lane_feature, lane_step = lane_layout(features)
    for tile in range(part * across, features, parts * across):
        feature = tile + lane_feature
        inside = lane_step < down and feature < features
        begin, by = first + warp * down + lane_step if inside else last, warps * down
        nothing = number(0)
        if inside and kept > 0:
            nothing = number(x[u8(start + first), u8(feature)])
        lanes = begin, by, across, down, warp, warps
        taken = place_of_best(x, (start, last), feature, mask, MAX, lanes, nothing, memory)
        if inside and warp == 0 and lane_step == 0:
            out[u8(i8(row) * features + feature)] = taken if kept > 0 else i8(-1)


@cuda_device
def argmax_by_team(
    row: Any, team: Any, x: Any, starts: Any, mask: Any, out: Any, shared: Any
) -> None:
    (memory, spans), turn = shared, row % u8(WARPS)
    span = spans[turn, u8(0)], spans[turn, u8(1)], spans[turn, u8(2)]
    argmax_tiles(x, starts[row], span, mask, out, row, memory, team)


argmax_rows = rows_by_teams(is_short_span, argmax_by_team)


@cuda_kernel
def pool_gradient(
    x: Any, starts: Any, lengths: Any, mask: Any, how: int, gradient: Any, out: Any
) -> None:
    """The twin of `cpu.pool_gradient`. Blocks share the features."""
    memory = cuda.shared.array(THREADS, x.dtype), cuda.shared.array(THREADS, np.int64)
    spans = cuda.shared.array((WARPS, 3), np.int64)
    block = rows_of_block(lengths.size)
    share_spans(block, mask, starts, lengths, spans)
    size, rows, shared = (spans, x.shape[1]), (starts, lengths), (memory, spans)
    pool_gradient_rows(block, size, x, rows, mask, how, gradient, out, shared)


@cuda_device
def pool_gradient_row(
    x: Any,
    segment: Any,
    span: Any,
    mask: Any,
    how: int,
    gradient: Any,
    row: int,
    out: Any,
    memory: Any,
    team: Any,
) -> None:
    """The steps' gradient from `gradient[row]`: for a warp, (0, 1) as its team, or (warp, WARPS).

    segment (start, length); span (first, last, kept) from `kept_span`; memory two shared arrays,
    (THREADS,) of x's type and of int64.
    """
    warp, warps = team
    tiles = (warp, warps, 0, 1)
    pool_gradient_tiles(x, segment, span, mask, how, gradient, row, out, memory, tiles)


@cuda_device
def pool_gradient_tiles(
    x: Any,
    segment: Any,
    span: Any,
    mask: Any,
    how: int,
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
    first, last, kept = span
    warp, warps, part, parts = team
    features = x.shape[1]
    across, down, lane_feature, lane_step = lane_layout(features)
    for tile in range(part * across, features, parts * across):
        feature = tile + lane_feature
        inside = lane_step < down and feature < features
        begin, by = warp * down + lane_step, warps * down
        taken = last - 1 if how == LAST else first
        if MAX <= how <= MIN:
            nothing = number(0)
            if inside and kept > 0:
                nothing = x[u8(start + first), u8(feature)]
            lanes = first + begin if inside else last, by, across, down, warp, warps
            taken = place_of_best(x, (start, last), feature, mask, how, lanes, nothing, memory)
        share, step = number(0), begin if inside else length
        if inside and kept > 0:
            share = gradient[u8(row), u8(feature)]
        if how == MEAN and kept > 0:
            share = number(share / number(kept))
        while step < length:
            kept_here = mask is None or mask[u8(start + step)]
            keep = kept_here if how <= MEAN else step == taken
            out[u8(start + step), u8(feature)] = share if keep else number(0)
            step += by


@cuda_device
def pool_gradient_by_team(
    row: Any,
    team: Any,
    x: Any,
    rows: Any,
    mask: Any,
    how: int,
    gradient: Any,
    out: Any,
    shared: Any,
) -> None:
    (starts, lengths), (memory, spans), turn = rows, shared, row % u8(WARPS)
    segment = starts[row], lengths[row]
    span = spans[turn, u8(0)], spans[turn, u8(1)], spans[turn, u8(2)]
    pool_gradient_tiles(x, segment, span, mask, how, gradient, row, out, memory, team)


pool_gradient_rows = rows_by_teams(is_short_span, pool_gradient_by_team)
