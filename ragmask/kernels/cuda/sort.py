"""The kept steps of each row in the order of their values, for each feature."""

from typing import Any

from numba import cuda

from ragmask.kernels.compile import cuda_device, cuda_kernel
from ragmask.kernels.constants import NAT
from ragmask.kernels.cuda.teams import i8, kept_span, rows_by_teams, rows_of_block, u8
from ragmask.kernels.overloads import computed_in

# What a step is, beside its key: the larger comes later.
_NUMBER, _GONE, _MASKED = range(3)


@cuda_kernel
def sort(
    x: Any,
    starts: Any,
    lengths: Any,
    mask: Any,
    descending: bool,
    has_nat: bool,
    out_starts: Any,
    out_lengths: Any,
    out: Any,
    out_steps: Any,
) -> None:
    """The twin of `cpu.sort`, but that rows are sorted where they are written.

    So out_steps is not None, and out_lengths are at least the lengths. Blocks share the features.
    """
    rows = starts, lengths, out_starts, out_lengths
    order = descending, has_nat
    sort_rows(rows_of_block(lengths.size), x.shape[1], x, rows, mask, order, out, out_steps)


@cuda_device
def sort_row(
    x: Any,
    segment: Any,
    feature: int,
    mask: Any,
    order: Any,
    out: Any,
    out_steps: Any,
    team: Any,
) -> None:
    """Sort one row's feature. All threads of the block run it: team is (thread, threads).

    segment (start, length, out_start, out_length); order (descending, has_nat).

    Batcher's merge exchange (K. E. Batcher, 1968; Knuth's algorithm M of 5.2.2): which places are
    compared depends on the length alone, and n · log² n are. Numbers of steps are exchanged, no two
    of which are equal in their order, so that equals stay in theirs.
    """
    start, length, to, wanted = segment
    thread, threads = team
    place = thread
    while place < length:
        out_steps[u8(to + place), u8(feature)] = place
        place += threads
    cuda.syncthreads()

    most = i8(1)
    while 2 * most < length:
        most *= 2
    apart = most
    while apart > 0 and length > 1:
        reach, rest, distance = most, i8(0), apart
        while distance > 0:
            place = thread
            while place < length - distance:
                if place & apart == rest:
                    one = out_steps[u8(to + place), u8(feature)]
                    other = out_steps[u8(to + place + distance), u8(feature)]
                    if is_behind(x, start, one, other, feature, mask, order):
                        out_steps[u8(to + place), u8(feature)] = other
                        out_steps[u8(to + place + distance), u8(feature)] = one
                place += threads
            cuda.syncthreads()
            distance = reach - apart
            reach, rest = reach >> 1, apart
        apart >>= 1

    _, _, kept = kept_span(mask, start, length)
    place = thread
    while place < wanted:
        step = out_steps[u8(to + place), u8(feature)] if place < kept else i8(0)
        if out is not None:
            number = out.dtype.type
            value = x[u8(start + step), u8(feature)] if place < kept else number(0)
            out[u8(to + place), u8(feature)] = value
        out_steps[u8(to + place), u8(feature)] = step
        place += threads


@cuda_device
def is_behind(x: Any, start: int, one: int, other: int, feature: int, mask: Any, order: Any) -> Any:
    """Whether step `one` of a row belongs behind step `other`."""
    descending, has_nat = order
    first = kind_of(x, start + one, feature, mask, has_nat)
    second = kind_of(x, start + other, feature, mask, has_nat)
    if first != second:
        # what is larger than any number comes first where the largest does
        if descending and first != _MASKED and second != _MASKED:
            return first < second
        return first > second
    if first == _NUMBER:
        number = computed_in(x)
        a, b = number(x[u8(start + one), u8(feature)]), number(x[u8(start + other), u8(feature)])
        if a != b:
            return a < b if descending else a > b
    return one > other


@cuda_device
def kind_of(x: Any, at: int, feature: int, mask: Any, has_nat: bool) -> int:
    if mask is not None and not mask[u8(at)]:
        return _MASKED
    key = computed_in(x)(x[u8(at), u8(feature)])
    return _GONE if key != key or (has_nat and key == NAT) else _NUMBER


@cuda_device
def one_block(row: Any, size: Any) -> bool:
    """No row is for a warp alone."""
    return False


@cuda_device
def sort_by_team(
    row: Any,
    team: Any,
    x: Any,
    rows: Any,
    mask: Any,
    order: Any,
    out: Any,
    out_steps: Any,
) -> None:
    starts, lengths, out_starts, out_lengths = rows
    segment = starts[row], lengths[row], out_starts[row], out_lengths[row]
    warp, warps, part, parts = team
    threads = 32 * warp + (cuda.threadIdx.x & 31), 32 * warps
    for feature in range(part, x.shape[1], parts):
        sort_row(x, segment, feature, mask, order, out, out_steps, threads)


sort_rows = rows_by_teams(one_block, sort_by_team)
