"""One step out of each row's kept steps."""

from typing import Any

import numpy as np
from numba import cuda

from ragmask.kernels.compile import cuda_device, cuda_kernel
from ragmask.kernels.constants import FIRST, LAST, MAX, MEAN, SUM
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
from ragmask.kernels.overloads import computed_in

__all__ = ["FIRST", "LAST", "MAX", "MEAN", "SUM", "pool", "pool_row"]


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
        # -0 leaves every number as it is; a maximum may begin with a number that comes again
        total = number(-0.0)
        if inside and kept > 0 and how >= MAX:
            at = start + (last - 1 if how == LAST else first)
            total = number(x[u8(at), u8(feature)])
        if how <= MAX:
            step = first + warp * down + lane_step if inside else last
            by, ends, nothing = warps * down, (start, last), total
            while step < last:  # 4 loads under way
                one = kept_value(x, ends, step, feature, mask, nothing)
                two = kept_value(x, ends, step + by, feature, mask, nothing)
                three = kept_value(x, ends, step + 2 * by, feature, mask, nothing)
                four = kept_value(x, ends, step + 3 * by, feature, mask, nothing)
                if how == MAX:
                    total = larger(larger(larger(larger(total, one), two), three), four)
                else:
                    total = total + one + two + three + four
                step += 4 * by
            if how == MAX:
                total = team_maximum(total, across, down, memory, warp, warps)
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
