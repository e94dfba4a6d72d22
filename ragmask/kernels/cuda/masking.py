"""Which steps count: marking those of one value, and counting those kept."""

from typing import Any

from numba import cuda

from ragmask.kernels.compile import cuda_device, cuda_kernel
from ragmask.kernels.cuda.move import address, words_before
from ragmask.kernels.cuda.teams import (
    ALL,
    WARPS,
    i8,
    is_short,
    lane_layout,
    rows_by_teams,
    rows_of_block,
    u4,
    u8,
    warps_of,
)
from ragmask.kernels.intrinsics import load_16_bytes
from ragmask.kernels.overloads import computed_in


@cuda_kernel
def masking(
    x: Any,
    starts: Any,
    lengths: Any,
    mask: Any,
    value: Any,
    out_starts: Any,
    out: Any,
    out_mask: Any,
) -> None:
    """The twin of `cpu.masking`.

    Blocks share the steps of a row: the features of one vote together.
    """
    rows, out_steps = (starts, lengths, out_starts), (out, out_mask)
    block = rows_of_block(lengths.size)
    masking_rows(block, (lengths, x.shape[1]), x, rows, mask, value, out_steps)


@cuda_device
def masking_row(
    x: Any, segment: Any, mask: Any, value: Any, out: Any, out_mask: Any, team: Any
) -> None:
    """One row, by any number of warps, each with (warp, warps) as its team: (0, 1) if it is alone.

    segment (start, length, out_start). The lanes of a step vote, then copy it, or write zeros.
    """
    number = computed_in(x)
    start, length, out_start = segment
    warp, warps = team
    features = x.shape[1]
    across, down, lane_feature, lane_step = lane_layout(features)
    first_lane = u8((cuda.threadIdx.x & 31) - lane_feature)
    lanes = u8(ALL) >> u8(32 - across)
    wanted, end = number(value), features - 1

    base = warp * down
    while base < length:
        step = base + lane_step
        inside = lane_step < down and step < length
        at, to = u8(start + step), u8(out_start + step)
        differs = False
        feature = lane_feature if inside else features
        while feature < features:  # 4 loads under way; past the end they are of the last feature
            one = number(x[at, u8(feature)])
            two = number(x[at, u8(min(feature + across, end))])
            three = number(x[at, u8(min(feature + 2 * across, end))])
            four = number(x[at, u8(min(feature + 3 * across, end))])
            differs |= differ(one, wanted) | differ(two, wanted)
            differs |= differ(three, wanted) | differ(four, wanted)
            feature += 4 * across
        keep = (u8(u4(cuda.ballot_sync(ALL, differs))) >> first_lane) & lanes != u8(0)
        if inside:
            if mask is not None:
                keep = keep and mask[at]
            feature = lane_feature
            while feature < features:
                out[to, u8(feature)] = x[at, u8(feature)] if keep else x.dtype.type(0)
                feature += across
            if lane_feature == 0:
                out_mask[to] = keep
        base += warps * down


@cuda_device
def has_few_steps(row: Any, size: Any) -> Any:
    """Masked steps count too, as they are written."""
    lengths, features = size
    return is_short(i8(0), lengths[row], features)


@cuda_device
def masking_by_team(
    row: Any, team: Any, x: Any, rows: Any, mask: Any, value: Any, out_steps: Any
) -> None:
    (starts, lengths, out_starts), (out, out_mask) = rows, out_steps
    segment = starts[row], lengths[row], out_starts[row]
    masking_row(x, segment, mask, value, out, out_mask, warps_of(team))


masking_rows = rows_by_teams(has_few_steps, masking_by_team)


@cuda_device
def differ(one: Any, wanted: Any) -> Any:
    """Whether two numbers do; NaN does not differ from NaN."""
    return one == one if wanted != wanted else one != wanted


@cuda_kernel
def count_kept(mask: Any, starts: Any, lengths: Any, out: Any) -> None:
    """The twin of `cpu.count_kept`. A warp takes a row."""
    row = i8(cuda.blockIdx.x) * WARPS + (cuda.threadIdx.x >> 5)
    if row < lengths.size:
        kept = count_kept_row(mask, starts[u8(row)], lengths[u8(row)])
        if cuda.threadIdx.x & 31 == 0:
            out[u8(row)] = kept


@cuda_device
def count_kept_row(mask: Any, start: int, length: int) -> int:
    """How many of a row's steps are kept: one warp runs it, and every lane gets the result."""
    lane = cuda.threadIdx.x & 31
    head = words_before(address(mask, start), length, 1)
    wide = (length - head) >> 4
    kept = i8(0)
    for step in range(lane, head, 32):
        kept += i8(mask[u8(start + step)])
    for chunk in range(lane, wide, 32):
        low, high = load_16_bytes(mask, start + head + chunk * 16)
        kept += i8(cuda.popc(low)) + i8(cuda.popc(high))
    for step in range(head + wide * 16 + lane, length, 32):
        kept += i8(mask[u8(start + step)])
    for distance in (16, 8, 4, 2, 1):
        kept += cuda.shfl_xor_sync(ALL, kept, distance)
    return kept
