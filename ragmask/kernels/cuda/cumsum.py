"""Sums so far, along the steps of each row."""

from typing import Any

from numba import cuda

from ragmask.kernels.compile import cuda_device, cuda_kernel
from ragmask.kernels.cuda.teams import rows_by_teams, rows_of_block, u8, warps_of
from ragmask.kernels.overloads import computed_in


@cuda_kernel
def cumsum(x: Any, starts: Any, lengths: Any, mask: Any, out_starts: Any, out: Any) -> None:
    """The twin of `cpu.cumsum`, which adds in the same order.

    A lane takes a feature of a row through all of its steps. Float16 is computed in float32.
    """
    rows = starts, lengths, out_starts
    cumsum_rows(rows_of_block(lengths.size), x.shape[1], x, rows, mask, out)


@cuda_device
def cumsum_row(x: Any, segment: Any, mask: Any, out: Any, team: Any) -> None:
    """One row, by any number of warps, each with (warp, warps) as its team: (0, 1) if it is alone.

    segment (start, length, out_start).
    """
    number = computed_in(x)
    start, length, out_start = segment
    warp, warps = team
    feature = 32 * warp + (cuda.threadIdx.x & 31)
    while feature < x.shape[1]:
        total = number(0)
        for step in range(length):
            value = number(x[u8(start + step), u8(feature)])
            keep = mask is None or mask[u8(start + step)]
            total = total + value if keep else total
            out[u8(out_start + step), u8(feature)] = total
        feature += 32 * warps


@cuda_device
def one_warp(row: Any, size: Any) -> bool:
    """A row is for its warp alone: its steps are added one after another."""
    return True


@cuda_device
def _row(row: Any, team: Any, x: Any, rows: Any, mask: Any, out: Any) -> None:
    starts, lengths, out_starts = rows
    cumsum_row(x, (starts[row], lengths[row], out_starts[row]), mask, out, warps_of(team))


cumsum_rows = rows_by_teams(one_warp, _row)


@cuda_kernel
def cumsum_gradient(gradient: Any, starts: Any, lengths: Any, mask: Any, out: Any) -> None:
    """The twin of `cpu.cumsum_gradient`, which adds in the same order."""
    rows, features = (starts, lengths), gradient.shape[1]
    gradient_rows(rows_of_block(lengths.size), features, gradient, rows, mask, out)


@cuda_device
def cumsum_gradient_row(gradient: Any, segment: Any, mask: Any, out: Any, team: Any) -> None:
    """One row, by any number of warps, each with (warp, warps) as its team.

    segment (start, length).
    """
    number = computed_in(gradient)
    start, length = segment
    warp, warps = team
    feature = 32 * warp + (cuda.threadIdx.x & 31)
    while feature < gradient.shape[1]:
        total = number(0)
        for before_end in range(length):
            at = u8(start + length - 1 - before_end)
            value, keep = gradient[at, u8(feature)], mask is None or mask[at]
            total = total + value if keep else total
            out[at, u8(feature)] = total if keep else number(0)
        feature += 32 * warps


@cuda_device
def _gradient_row(row: Any, team: Any, gradient: Any, rows: Any, mask: Any, out: Any) -> None:
    starts, lengths = rows
    cumsum_gradient_row(gradient, (starts[row], lengths[row]), mask, out, warps_of(team))


gradient_rows = rows_by_teams(one_warp, _gradient_row)
