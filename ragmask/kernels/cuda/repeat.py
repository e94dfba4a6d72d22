"""One value a row, at each of its steps."""

from typing import Any

from ragmask.kernels.compile import cuda_device, cuda_kernel
from ragmask.kernels.cuda.move import has_few_bytes
from ragmask.kernels.cuda.teams import i8, rows_by_teams, rows_of_block, threads_of, u4, u8
from ragmask.kernels.overloads import bytes_of_item


@cuda_kernel
def repeat(values: Any, starts: Any, lengths: Any, mask: Any, words: int, out: Any) -> None:
    """The twin of `cpu.repeat`. Blocks share the words of a row."""
    size = lengths, words * bytes_of_item(values)
    block = rows_of_block(lengths.size)
    repeat_rows(block, size, values, (starts, lengths), mask, words, out)


@cuda_device
def repeat_row(
    values: Any, segment: Any, mask: Any, words: int, out: Any, row: int, team: Any
) -> None:
    """Write one row's steps. Any number of threads run it: team is (thread, threads).

    segment (start, length), of out. Neighbouring threads write the neighbouring words of a step.
    """
    start, length = segment
    thread, threads = team
    across = min(words, threads)
    step, first_word = i8(u4(thread) // u4(across)), i8(u4(thread) % u4(across))
    down = i8(u4(threads) // u4(across))
    if step >= down:
        step = length
    while step < length:
        keep = mask is None or mask[u8(start + step)]
        to, word = (start + step) * words, first_word
        while word < words:
            value = values[u8(i8(row) * words + word)]
            out[u8(to + word)] = value if keep else out.dtype.type(0)
            word += across
        step += down


@cuda_device
def repeat_by_team(
    row: Any, team: Any, values: Any, rows: Any, mask: Any, words: int, out: Any
) -> None:
    starts, lengths = rows
    segment = starts[row], lengths[row]
    repeat_row(values, segment, mask, words, out, row, threads_of(team))


repeat_rows = rows_by_teams(has_few_bytes, repeat_by_team)
