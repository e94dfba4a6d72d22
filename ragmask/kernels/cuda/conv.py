"""Convolution over the steps of each row, for each feature by itself."""

from typing import Any

from ragmask.kernels.compile import cuda_device, cuda_kernel
from ragmask.kernels.cuda.teams import (
    i8,
    is_short,
    lane_layout,
    rows_by_teams,
    rows_of_block,
    threads_of,
    u8,
)


@cuda_kernel
def conv(
    x: Any,
    starts: Any,
    lengths: Any,
    mask: Any,
    weights: Any,
    bias: Any,
    before: int,
    dilation: int,
    out_starts: Any,
    out: Any,
) -> None:
    """The twin of `cpu.conv`, which adds in the same order. Blocks share the features."""
    rows, places = (starts, lengths, out_starts), (before, dilation)
    size = lengths, weights.shape[1]
    conv_rows(rows_of_block(lengths.size), size, x, rows, mask, weights, bias, places, out)


@cuda_device
def conv_row(
    x: Any,
    segment: Any,
    mask: Any,
    weights: Any,
    bias: Any,
    places: Any,
    out: Any,
    team: Any,
) -> None:
    """One row, by any number of warps, each with (warp, warps) as its team: (0, 1) if it is alone.

    segment (start, length, out_start); places (before, dilation).
    """
    warp, warps = team
    conv_tiles(x, segment, mask, weights, bias, places, out, (warp, warps, 0, 1))


@cuda_device
def conv_tiles(
    x: Any,
    segment: Any,
    mask: Any,
    weights: Any,
    bias: Any,
    places: Any,
    out: Any,
    team: Any,
) -> None:
    """The steps of one row in some tiles of its features, each parts-th one.

    team is (warp, warps, part, parts).
    """
    start, length, out_start = segment
    before, dilation = places
    warp, warps, part, parts = team
    taps, features = weights.shape
    across, down, lane_feature, lane_step = lane_layout(features)
    for tile in range(part * across, features, parts * across):
        feature = tile + lane_feature
        inside = lane_step < down and feature < features
        step = warp * down + lane_step if inside else length
        while step < length:
            total = x.dtype.type(0)
            if mask is None or mask[u8(start + step)]:
                total = bias[u8(feature)]
                for tap in range(taps):
                    other = step - before + tap * dilation
                    if 0 <= other < length and (mask is None or mask[u8(start + other)]):
                        number = x[u8((start + other) * features + feature)]
                        total += weights[u8(tap), u8(feature)] * number
            out[u8((out_start + step) * features + feature)] = total
            step += warps * down


@cuda_device
def has_few_steps(row: Any, size: Any) -> Any:
    """Whether a row is for one warp alone; size is (lengths, features)."""
    lengths, features = size
    return is_short(i8(0), lengths[row], features)


@cuda_device
def _conv_row(
    row: Any,
    team: Any,
    x: Any,
    rows: Any,
    mask: Any,
    weights: Any,
    bias: Any,
    places: Any,
    out: Any,
) -> None:
    starts, lengths, out_starts = rows
    segment = starts[row], lengths[row], out_starts[row]
    conv_tiles(x, segment, mask, weights, bias, places, out, team)


conv_rows = rows_by_teams(has_few_steps, _conv_row)


@cuda_kernel
def conv_weight_gradient(
    x: Any,
    starts: Any,
    lengths: Any,
    mask: Any,
    gradient: Any,
    before: int,
    dilation: int,
    part_starts: Any,
    part_lengths: Any,
    out: Any,
) -> None:
    """The twin of `cpu.conv_weight_gradient`, which adds in the same order.

    Blocks share the sums of a part.
    """
    rows, places = (starts, lengths, part_starts, part_lengths), (before, dilation)
    block, lines = rows_of_block(part_lengths.size), len(out) // part_lengths.size
    weight_sums(block, lines, x, rows, mask, gradient, places, lines, out)


@cuda_device
def conv_weight_gradient_row(
    x: Any,
    rows: Any,
    some: Any,
    mask: Any,
    gradient: Any,
    places: Any,
    out: Any,
    lines: Any,
    team: Any,
) -> None:
    """What some rows give, by any number of threads: team is (thread, threads).

    rows (starts, lengths); some (first row, last row); places (before, dilation); lines (first,
    count) of out, of which the last is the bias's. A thread takes a feature of a line through all
    steps.
    """
    starts, lengths = rows
    before, dilation = places
    first_line, count = lines
    thread, threads = team
    features, number = x.shape[1], x.dtype.type
    for item in range(thread, count * features, threads):
        line, feature = item // features, u8(item % features)
        is_bias = line == count - 1
        shift = i8(0) if is_bias else i8(line * dilation - before)
        total = number(0)
        for row in range(some[0], some[1]):
            start, length = starts[u8(row)], lengths[u8(row)]
            for step in range(max(i8(0), -shift), min(length, length - shift)):
                at, other = u8(start + step), u8(start + step + shift)
                value = number(1) if is_bias else x[other, feature]
                if mask is None or (mask[at] and mask[other]):
                    total += gradient[at, feature] * value
        out[u8(first_line + line), feature] = total


@cuda_device
def for_the_block(part: Any, size: Any) -> bool:
    """A part is for all warps of its block: there are as many sums as taps and features."""
    return False


@cuda_device
def _weight_sums(
    part: Any,
    team: Any,
    x: Any,
    rows: Any,
    mask: Any,
    gradient: Any,
    places: Any,
    count: int,
    out: Any,
) -> None:
    starts, lengths, part_starts, part_lengths = rows
    some = part_starts[part], part_starts[part] + part_lengths[part]
    lines, given = (i8(part) * count, count), (starts, lengths)
    conv_weight_gradient_row(x, given, some, mask, gradient, places, out, lines, threads_of(team))


weight_sums = rows_by_teams(for_the_block, _weight_sums)
