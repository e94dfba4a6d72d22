"""Rows of a view, copied into a padded array, laid end to end or packed step by step.

Values enter as flat unsigned words, `words` of them a step, so that one compiled kernel
serves every dtype and item shape of the same word size.
"""

from typing import Any

from ragmask.kernels.compile import cuda_device, cuda_kernel
from ragmask.kernels.cuda.move import LONG_BYTES, copy, fill, fill_words, has_few_bytes
from ragmask.kernels.cuda.teams import i8, rows_by_teams, rows_of_block, threads_of, u4, u8
from ragmask.kernels.overloads import bytes_of_item


@cuda_kernel
def pad(
    values: Any,
    starts: Any,
    lengths: Any,
    mask: Any,
    pattern: Any,
    shape: Any,
    out_values: Any,
    out_mask: Any,
) -> None:
    """The twin of `cpu.pad`. No row is shared by blocks."""
    words, width, _ = shape
    row_bytes = width * words * bytes_of_item(values)
    rows, out = (starts, lengths), (out_values, out_mask)
    block = rows_of_block(lengths.size)
    pad_rows(block, row_bytes, values, rows, mask, pattern, shape, out)


@cuda_device
def pad_row(
    values: Any,
    segment: Any,
    mask: Any,
    pattern: Any,
    shape: Any,
    out_values: Any,
    out_mask: Any,
    team: Any,
) -> None:
    """Pad one row. Any number of threads run it: team is (thread, threads).

    segment (start, length, step of out where the padded row begins); shape (words, width, pre).
    """
    start, length, to = segment
    words, width, pre = shape
    thread, threads = team
    before = width - length if pre else i8(0)
    after = width - length - before
    row, end = to + before, to + before + length

    fill_words(pattern, before * words, out_values, to * words, thread, threads)
    copy(values, start * words, length * words, out_values, row * words, thread, threads)
    fill_words(pattern, after * words, out_values, end * words, thread, threads)
    if out_mask is not None:
        fill(False, before, out_mask, to, thread, threads)
        if mask is None:
            fill(True, length, out_mask, row, thread, threads)
        else:
            copy(mask, start, length, out_mask, row, thread, threads)
        fill(False, after, out_mask, end, thread, threads)


@cuda_device
def is_narrow(row: Any, row_bytes: Any) -> Any:
    """Padded rows are equally long."""
    return row_bytes <= LONG_BYTES


@cuda_device
def pad_by_team(
    row: Any, team: Any, values: Any, rows: Any, mask: Any, pattern: Any, shape: Any, out: Any
) -> None:
    (starts, lengths), (out_values, out_mask) = rows, out
    width = shape[1]
    segment = starts[row], lengths[row], i8(row) * width
    pad_row(values, segment, mask, pattern, shape, out_values, out_mask, threads_of(team))


pad_rows = rows_by_teams(is_narrow, pad_by_team)


@cuda_kernel
def compact(values: Any, starts: Any, lengths: Any, words: int, out_starts: Any, out: Any) -> None:
    """The twin of `cpu.compact`. Blocks share the words of a row."""
    size = lengths, words * bytes_of_item(values)
    block = rows_of_block(lengths.size)
    compact_rows(block, size, values, (starts, lengths, out_starts), words, out)


@cuda_device
def compact_row(values: Any, segment: Any, words: int, out: Any, team: Any) -> None:
    """Copy one row. Any number of threads run it: team is (thread, threads).

    segment (start, length, out_start).
    """
    start, length, to = segment
    copy(values, start * words, length * words, out, to * words, team[0], team[1])


@cuda_device
def compact_by_team(row: Any, team: Any, values: Any, rows: Any, words: int, out: Any) -> None:
    starts, lengths, out_starts = rows
    segment = starts[row], lengths[row], out_starts[row]
    compact_row(values, segment, words, out, threads_of(team))


compact_rows = rows_by_teams(has_few_bytes, compact_by_team)


@cuda_kernel
def pack(values: Any, starts: Any, lengths: Any, words: int, step_starts: Any, out: Any) -> None:
    """The twin of `cpu.pack`. Blocks share the words of a row."""
    size = lengths, words * bytes_of_item(values)
    block = rows_of_block(lengths.size)
    pack_rows(block, size, values, (starts, lengths), words, step_starts, out)


@cuda_device
def pack_row(values: Any, segment: Any, words: int, step_starts: Any, out: Any, team: Any) -> None:
    """Pack one row. Any number of threads run it: team is (thread, threads).

    segment (start, length, row). Neighbouring threads copy the neighbouring words of a step.
    """
    start, length, row = segment
    thread, threads = team
    across = min(words, threads)
    step, first_word = i8(u4(thread) // u4(across)), i8(u4(thread) % u4(across))
    down = i8(u4(threads) // u4(across))
    if step >= down:
        step = length
    while step < length:
        source, to = (start + step) * words, (step_starts[u8(step)] + row) * words
        word = first_word
        while word < words:
            out[u8(to + word)] = values[u8(source + word)]
            word += across
        step += down


@cuda_device
def pack_by_team(
    row: Any, team: Any, values: Any, rows: Any, words: int, step_starts: Any, out: Any
) -> None:
    starts, lengths = rows
    segment = starts[row], lengths[row], i8(row)
    pack_row(values, segment, words, step_starts, out, threads_of(team))


pack_rows = rows_by_teams(has_few_bytes, pack_by_team)
