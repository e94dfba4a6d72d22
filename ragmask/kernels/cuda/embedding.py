"""Rows of a table, looked up by id."""

from typing import Any

from ragmask.kernels.compile import cuda_device, cuda_kernel
from ragmask.kernels.cuda.move import address, has_few_bytes
from ragmask.kernels.cuda.teams import i8, rows_by_teams, rows_of_block, threads_of, u4, u8
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
