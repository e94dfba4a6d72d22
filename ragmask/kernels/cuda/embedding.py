"""Rows of a table, looked up by id."""

from typing import Any

from numba import cuda

from ragmask.kernels.compile import cuda_device, cuda_kernel
from ragmask.kernels.cuda.move import address, has_few_bytes
from ragmask.kernels.cuda.teams import (
    THREADS,
    i8,
    is_short,
    lane_layout,
    rows_by_teams,
    rows_of_block,
    team_sum,
    threads_of,
    u4,
    u8,
)
from ragmask.kernels.intrinsics import load_16_bytes, store_16_bytes
from ragmask.kernels.overloads import bytes_of_item


@cuda_kernel
def embedding(
    ids: Any,
    starts: Any,
    lengths: Any,
    mask: Any,
    table: Any,
    words: int,
    out_starts: Any,
    out: Any,
) -> None:
    """The twin of `cpu.embedding`. Blocks share the words of a row."""
    size, rows = (lengths, words * bytes_of_item(table)), (starts, lengths, out_starts)
    block = rows_of_block(lengths.size)
    embedding_rows(block, size, ids, rows, mask, table, words, out)


@cuda_device
def embedding_row(
    ids: Any, segment: Any, mask: Any, table: Any, words: int, out: Any, team: Any
) -> None:
    """Look up one row's steps. Any number of threads run it: team is (thread, threads).

    segment (start, length, out_start). A thread copies 16 bytes where steps and addresses are
    multiples of that, else a word; neighbouring threads copy neighbouring ones.
    """
    start, length, to = segment
    thread, threads = team
    size = 16 // bytes_of_item(out)
    wide = (address(table, 0) | address(out, 0) | words * bytes_of_item(out)) & 15 == 0
    pieces = words // size if wide else words
    across = min(pieces, threads)
    last = table.size - words  # where the table's last row begins
    step, first_piece = i8(u4(thread) // u4(across)), i8(u4(thread) % u4(across))
    down = i8(u4(threads) // u4(across))
    if step >= down:
        step = length
    while step < length:
        source = ids[u8(start + step)] * words
        keep = (mask is None or mask[u8(start + step)]) and 0 <= source <= last
        target, piece = (to + step) * pieces, first_piece
        while piece < pieces:
            if wide:
                nothing = u8(0), u8(0)
                found = load_16_bytes(table, source + piece * size) if keep else nothing
                store_16_bytes(out, (target + piece) * size, found)
            else:
                nothing = out.dtype.type(0)
                out[u8(target + piece)] = table[u8(source + piece)] if keep else nothing
            piece += across
        step += down


@cuda_device
def embedding_by_team(
    row: Any, team: Any, ids: Any, rows: Any, mask: Any, table: Any, words: int, out: Any
) -> None:
    starts, lengths, out_starts = rows
    segment = starts[row], lengths[row], out_starts[row]
    embedding_row(ids, segment, mask, table, words, out, threads_of(team))


embedding_rows = rows_by_teams(has_few_bytes, embedding_by_team)


@cuda_kernel
def embedding_gradient(gradient: Any, starts: Any, lengths: Any, order: Any, out: Any) -> None:
    """The twin of `cpu.embedding_gradient`. Blocks share the features."""
    memory = cuda.shared.array(THREADS, gradient.dtype)
    size, rows = (lengths, gradient.shape[1]), (starts, lengths)
    block = rows_of_block(lengths.size)
    embedding_gradient_rows(block, size, gradient, rows, order, out, memory)


@cuda_device
def embedding_gradient_row(
    gradient: Any, segment: Any, order: Any, out: Any, row: int, memory: Any, team: Any
) -> None:
    """Add up one row's steps in `out[row]`: for a warp, (0, 1) as its team, or (warp, WARPS).

    segment (start, length) in order; memory shared, (THREADS,) of gradient's type.
    """
    warp, warps = team
    embedding_gradient_tiles(gradient, segment, order, out, row, memory, (warp, warps, 0, 1))


@cuda_device
def embedding_gradient_tiles(
    gradient: Any, segment: Any, order: Any, out: Any, row: int, memory: Any, team: Any
) -> None:
    """The sums of some tiles of a row's features, each parts-th one.

    team is (warp, warps, part, parts).
    """
    number = gradient.dtype.type
    start, length = segment
    warp, warps, part, parts = team
    features = gradient.shape[1]
    across, down, lane_feature, lane_step = lane_layout(features)
    for tile in range(part * across, features, parts * across):
        feature = tile + lane_feature
        inside = lane_step < down and feature < features
        # -0 leaves every number as it is
        total, step, by = number(-0.0), warp * down + lane_step if inside else length, warps * down
        while step < length:
            total += gradient[u8(order[u8(start + step)]), u8(feature)]
            step += by
        total = team_sum(total, across, down, memory, warp, warps)
        if inside and warp == 0 and lane_step == 0:
            out[u8(row), u8(feature)] = total if length > 0 else number(0)


@cuda_device
def is_looked_up_seldom(row: Any, size: Any) -> Any:
    """Whether a row is for one warp alone; size is (lengths, features)."""
    lengths, features = size
    return is_short(i8(0), lengths[row], features)


@cuda_device
def embedding_gradient_by_team(
    row: Any, team: Any, gradient: Any, rows: Any, order: Any, out: Any, memory: Any
) -> None:
    starts, lengths = rows
    segment = starts[row], lengths[row]
    embedding_gradient_tiles(gradient, segment, order, out, row, memory, team)


embedding_gradient_rows = rows_by_teams(is_looked_up_seldom, embedding_gradient_by_team)
