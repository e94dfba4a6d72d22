"""Who works on which row, and how the threads of a team put their results together.

A block has 4 warps and takes 4 rows, or a part of the work on them. A team is one warp, which works
on its own row if that is short, or all 4, which go through the block's long rows together. The
lanes of a warp lie over `down` steps of `across` features each, so that neighbours read
neighbouring numbers: a tile. Blocks that share rows take other tiles, steps or bytes of them each.
"""

from typing import Any

import numpy as np
from numba import cuda

from ragmask.kernels.compile import cuda_device
from ragmask.kernels.overloads import computed_in, shuffled_in

WARPS = 4
THREADS = 32 * WARPS
STEPS = 16  # A row is long that has more steps than this for each lane of a warp.
ALL = 0xFFFFFFFF  # the lanes that take part in a shuffle

u4, u8, i8 = np.uint32, np.uint64, np.int64


@cuda_device
def rows_of_block(rows: int) -> Any:
    """(first row, rows, part, parts): a block's 4 rows, and which part of the work on them it has.

    There are as many parts as the grid has blocks for the same rows.
    """
    block = u4(cuda.blockIdx.x)
    parts = u4(cuda.gridDim.x) // u4((rows + WARPS - 1) // WARPS)
    return i8(block // parts) * WARPS, rows, i8(block % parts), i8(parts)


def rows_by_teams(is_short: Any, work: Any) -> Any:
    """A device function (block, size, *arguments): does a block's rows, each by its team.

    block comes from `rows_of_block`. A row is for its warp alone where `is_short(row, size)`, else
    for all warps of the block. The threads of a team call `work(row, team, *arguments)`, team
    being (warp, warps, part, parts).
    """

    @cuda_device
    def do_rows(block: Any, size: Any, *arguments: Any) -> None:
        warp = i8(cuda.threadIdx.x >> 5)
        first_row, rows, part, parts = block
        for turn in range(WARPS):
            if first_row + turn < rows:
                row = u8(first_row + turn)
                alone = is_short(row, size)
                if turn == warp or not alone:
                    team = (i8(0), i8(1), part, parts) if alone else (warp, i8(WARPS), part, parts)
                    work(row, team, *arguments)

    return do_rows


@cuda_device
def warps_of(team: Any) -> Any:
    """(warp, warps) of a team, over all blocks that share its row."""
    warp, warps, part, parts = team
    return warp + warps * part, warps * parts


@cuda_device
def threads_of(team: Any) -> Any:
    """(thread, threads) of a team, over all blocks that share its row."""
    warp, warps = warps_of(team)
    # told that these fit 32 bits, the compiler needs fewer registers
    return i8(u4(32 * warp + (cuda.threadIdx.x & 31))), i8(u4(32 * warps))


@cuda_device
def lane_layout(features: int) -> Any:
    """(across, down, lane's feature, lane's step): up to 32 features side by side, split evenly."""
    lane = cuda.threadIdx.x & 31
    features = max(features, 1)
    tiles = (features + 31) >> 5
    across = u4(u4(features + tiles - 1) // u4(tiles))
    down = u4(32) // across
    return i8(across), i8(down), i8(u4(lane) % across), i8(u4(lane) // across)


def reduction(combine: Any) -> Any:
    """A device function that puts together the numbers of a team's lanes of the same feature."""

    @cuda_device
    def reduce(value: Any, across: int, down: int, memory: Any, warp: int, warps: int) -> Any:
        """The whole team calls it and gets the result.

        memory (THREADS,) is shared; a single warp does not touch it.
        """
        number, bits = computed_in(value), shuffled_in(value)
        lane = cuda.threadIdx.x & 31
        left = down
        while left > 1:
            half = (left + 1) >> 1
            other = number(cuda.shfl_down_sync(ALL, bits(value), half * across))
            if lane < (left - half) * across:
                value = combine(value, other)
            left = half
        value = number(cuda.shfl_sync(ALL, bits(value), i8(u4(lane) % u4(across))))
        if warps > 1:
            memory[u8(32 * warp + lane)] = value
            cuda.syncthreads()
            value = memory[u8(lane)]
            for other_warp in range(1, WARPS):
                value = combine(value, memory[u8(32 * other_warp + lane)])
            cuda.syncthreads()
        return value

    return reduce


@cuda_device
def plus(one: Any, other: Any) -> Any:
    return one + other


@cuda_device
def larger(one: Any, other: Any) -> Any:
    """The maximum; a NaN is."""
    return one if one >= other or one != one else other


team_sum = reduction(plus)
team_maximum = reduction(larger)


@cuda_device
def kept_span(mask: Any, start: int, length: int) -> Any:
    """(first, last, kept): a row's kept steps are `kept` of the steps [first, last). For one warp.

    0, 0, 0 where there is none.
    """
    if mask is None:
        return i8(0), i8(length), i8(length)
    first, last, kept = i8(length), i8(0), i8(0)
    for step in range(cuda.threadIdx.x & 31, length, 32):
        if mask[u8(start + step)]:
            first, last, kept = min(first, i8(step)), i8(step + 1), kept + 1
    for distance in (16, 8, 4, 2, 1):
        first = min(first, cuda.shfl_xor_sync(ALL, first, distance))
        last = max(last, cuda.shfl_xor_sync(ALL, last, distance))
        kept += cuda.shfl_xor_sync(ALL, kept, distance)
    return min(first, last), last, kept


@cuda_device
def share_spans(block: Any, mask: Any, starts: Any, lengths: Any, spans: Any) -> None:
    """The spans of a block's rows, for all of its threads: shared (WARPS, 3), or (WARPS, 2)."""
    warp = cuda.threadIdx.x >> 5
    first_row, rows, _, _ = block
    row = first_row + warp
    if row < rows:
        first, last, kept = kept_span(mask, starts[u8(row)], lengths[u8(row)])
        if cuda.threadIdx.x & 31 == 0:
            spans[u8(warp), u8(0)], spans[u8(warp), u8(1)] = first, last
            if spans.shape[1] > 2:
                spans[u8(warp), u8(2)] = kept
    cuda.syncthreads()


@cuda_device
def is_short_span(row: Any, size: Any) -> Any:
    """`is_short` of a row whose span is shared; size is (spans, features)."""
    spans, features = size
    turn = row % u8(WARPS)
    return is_short(spans[turn, u8(0)], spans[turn, u8(1)], features)


@cuda_device
def is_short(first: int, last: int, features: int) -> Any:
    """Whether a row is for one warp alone. Steps masked before and after it do not count."""
    return last - first <= STEPS * lane_layout(features)[1]
