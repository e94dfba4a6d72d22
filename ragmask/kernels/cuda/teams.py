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
    """(first row, part, parts): a block's 4 rows, and which part of the work on them is its own.

    There are as many parts as the grid has blocks for the same rows.
    """
    block = u4(cuda.blockIdx.x)
    parts = u4(cuda.gridDim.x) // u4((rows + WARPS - 1) // WARPS)
    return i8(block // parts) * WARPS, i8(block % parts), i8(parts)


@cuda_device
def lane_places(features: int) -> Any:
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
def is_short(first: int, last: int, features: int) -> Any:
    """Whether a row is for one warp alone. Steps masked before and after it do not count."""
    return last - first <= STEPS * lane_places(features)[1]
