"""Softmax over the steps of each row, for each feature."""

from typing import Any

import numpy as np
from numba import cuda

from ragmask.kernels.compile import cuda_device, cuda_kernel
from ragmask.kernels.cuda.move import fill
from ragmask.kernels.cuda.teams import (
    STEPS,
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
    threads_of,
    u8,
)
from ragmask.kernels.math import exp
from ragmask.kernels.overloads import computed_in

SOFTMAX_MEMORY = (STEPS + 1) * THREADS  # numbers of shared memory: what is staged, and a reduction
_STAGED = STEPS * THREADS


@cuda_kernel
def softmax(
    x: Any, features: int, starts: Any, lengths: Any, mask: Any, out_starts: Any, out: Any
) -> None:
    """The twin of `cpu.softmax`. Blocks share the features; float16 is computed in float32."""
    memory = cuda.shared.array(SOFTMAX_MEMORY, computed_in(x))
    spans = cuda.shared.array((WARPS, 2), np.int64)
    block = rows_of_block(lengths.size)
    share_spans(block, mask, starts, lengths, spans)
    rows, shared = (starts, lengths, out_starts), (memory, spans)
    softmax_rows(block, (spans, features), x, features, rows, mask, out, shared)


@cuda_device
def softmax_row(
    x: Any, features: int, segment: Any, span: Any, mask: Any, out: Any, memory: Any, team: Any
) -> None:
    """One row's softmax: for a warp, (0, 1) as its team, or a block, (warp, WARPS), of THREADS.

    segment (start, length, out_start); span (first, last) from `kept_span`; memory shared,
    (SOFTMAX_MEMORY,) of the type that x is computed in. A warp has room to stage a row for which
    `is_short` holds, a block 4 times as much; the steps beyond are read three times.
    """
    warp, warps = team
    softmax_tiles(x, features, segment, span, mask, out, memory, (warp, warps, 0, 1))


@cuda_device
def softmax_tiles(
    x: Any, features: int, segment: Any, span: Any, mask: Any, out: Any, memory: Any, team: Any
) -> None:
    """A row's softmax for some tiles of its features, each parts-th one.

    team is (warp, warps, part, parts).
    """
    number = computed_in(x)
    start, length, out_start = segment
    first, last = span
    warp, warps, part, parts = team
    thread = cuda.threadIdx.x
    across, down, lane_feature, lane_step = lane_layout(features)
    sums = memory[_STAGED:]

    zero, after = out.dtype.type(0), length - last
    filler, fillers = threads_of(team)
    fill(zero, first * features, out, out_start * features, filler, fillers)
    fill(zero, after * features, out, (out_start + last) * features, filler, fillers)

    by, end = warps * down, last - 1
    for tile in range(part * across, features, parts * across):
        feature = tile + lane_feature
        begin = first + warp * down + lane_step
        if lane_step >= down or feature >= features:
            begin = last

        top, step, slot = number(-np.inf), begin, thread
        while step < last:  # 4 loads under way; past the end they are of the last step again
            one = kept_value(x, features, start + step, feature, mask)
            two = kept_value(x, features, start + min(step + by, end), feature, mask)
            three = kept_value(x, features, start + min(step + 2 * by, end), feature, mask)
            four = kept_value(x, features, start + min(step + 3 * by, end), feature, mask)
            if slot < _STAGED:  # which has room for a multiple of 4
                memory[u8(slot)], memory[u8(slot + THREADS)] = one, two
                memory[u8(slot + 2 * THREADS)], memory[u8(slot + 3 * THREADS)] = three, four
            top = larger(larger(larger(larger(top, one), two), three), four)
            step, slot = step + 4 * by, slot + 4 * THREADS
        top = team_maximum(top, across, down, sums, warp, warps)
        if top == number(-np.inf):  # nothing, or nothing but -inf: the sum is to be 0
            top = number(0)

        total, step, slot = number(0), begin, thread
        while step < last:
            if slot < _STAGED:
                power = exp(memory[u8(slot)] - top)
                memory[u8(slot)] = power
            else:
                power = exp(kept_value(x, features, start + step, feature, mask) - top)
            total += power
            step, slot = step + by, slot + THREADS
        total = team_sum(total, across, down, sums, warp, warps)
        scale = number(1) / total if total != number(0) else number(0)

        step, slot = begin, thread
        while step < last:
            if slot < _STAGED:
                power = memory[u8(slot)]
            else:
                power = exp(kept_value(x, features, start + step, feature, mask) - top)
            keep = mask is None or mask[u8(start + step)]
            out[u8((out_start + step) * features + feature)] = power * scale if keep else number(0)
            step, slot = step + by, slot + THREADS


@cuda_device
def softmax_by_team(
    row: Any, team: Any, x: Any, features: int, rows: Any, mask: Any, out: Any, shared: Any
) -> None:
    (starts, lengths, out_starts), (memory, spans) = rows, shared
    segment, turn = (starts[row], lengths[row], out_starts[row]), row % u8(WARPS)
    span = spans[turn, u8(0)], spans[turn, u8(1)]
    softmax_tiles(x, features, segment, span, mask, out, memory, team)


softmax_rows = rows_by_teams(is_short_span, softmax_by_team)


@cuda_device
def kept_value(x: Any, features: int, at: int, feature: int, mask: Any) -> Any:
    """A number of a step, or -inf where the step is masked. It is read without waiting for that."""
    number = computed_in(x)
    value = number(x[u8(at * features + feature)])
    keep = mask is None or mask[u8(at)]
    return value if keep else number(-np.inf)


@cuda_kernel
def softmax_gradient(
    soft: Any, features: int, starts: Any, lengths: Any, mask: Any, gradient: Any, out: Any
) -> None:
    """The twin of `cpu.softmax_gradient`. Blocks share the features."""
    memory = cuda.shared.array(THREADS, soft.dtype)
    spans = cuda.shared.array((WARPS, 2), np.int64)
    block = rows_of_block(lengths.size)
    share_spans(block, mask, starts, lengths, spans)
    size, rows, shared = (spans, features), (starts, lengths), (memory, spans)
    softmax_gradient_rows(block, size, soft, features, rows, mask, gradient, out, shared)


@cuda_device
def softmax_gradient_row(
    soft: Any,
    features: int,
    segment: Any,
    span: Any,
    mask: Any,
    gradient: Any,
    out: Any,
    memory: Any,
    team: Any,
) -> None:
    """One row's gradient: for a warp, (0, 1) as its team, or a block, (warp, WARPS).

    segment (start, length); span (first, last) from `kept_span`; memory shared, (THREADS,) of
    soft's type.
    """
    warp, warps = team
    tiles = (warp, warps, 0, 1)
    softmax_gradient_tiles(soft, features, segment, span, mask, gradient, out, memory, tiles)


@cuda_device
def softmax_gradient_tiles(
    soft: Any,
    features: int,
    segment: Any,
    span: Any,
    mask: Any,
    gradient: Any,
    out: Any,
    memory: Any,
    team: Any,
) -> None:
    """A row's gradient for some tiles of its features, each parts-th one.

    team is (warp, warps, part, parts).
    """
    number = soft.dtype.type
    start, length = segment
    first, last = span
    warp, warps, part, parts = team
    across, down, lane_feature, lane_step = lane_layout(features)

    filler, fillers = threads_of(team)
    fill(number(0), first * features, out, start * features, filler, fillers)
    after = (length - last) * features
    fill(number(0), after, out, (start + last) * features, filler, fillers)

    for tile in range(part * across, features, parts * across):
        feature = tile + lane_feature
        begin, by = first + warp * down + lane_step, warps * down
        if lane_step >= down or feature >= features:
            begin = last
        total, step = number(0), begin
        while step < last:
            at = u8((start + step) * features + feature)
            keep = mask is None or mask[u8(start + step)]
            product = soft[at] * gradient[at]
            total += product if keep else number(0)
            step += by
        total = team_sum(total, across, down, memory, warp, warps)
        step = begin
        while step < last:
            at = u8((start + step) * features + feature)
            keep = mask is None or mask[u8(start + step)]
            value = soft[at] * (gradient[at] - total)
            out[at] = value if keep else number(0)
            step += by


@cuda_device
def softmax_gradient_by_team(
    row: Any,
    team: Any,
    soft: Any,
    features: int,
    rows: Any,
    mask: Any,
    gradient: Any,
    out: Any,
    shared: Any,
) -> None:
    (starts, lengths), (memory, spans), turn = rows, shared, row % u8(WARPS)
    segment, span = (starts[row], lengths[row]), (spans[turn, u8(0)], spans[turn, u8(1)])
    softmax_gradient_tiles(soft, features, segment, span, mask, gradient, out, memory, team)


softmax_gradient_rows = rows_by_teams(is_short_span, softmax_gradient_by_team)
