"""The kept steps of each row in another order: backwards, or moved on in a circle."""

from typing import Any

from ragmask.kernels.compile import cuda_device, cuda_kernel
from ragmask.kernels.cuda.move import has_few_bytes
from ragmask.kernels.cuda.teams import (
    i8,
    kept_span,
    rows_by_teams,
    rows_of_block,
    threads_of,
    u4,
    u8,
)
from ragmask.kernels.overloads import bytes_of_item


@cuda_kernel
def turn(
    values: Any,
    starts: Any,
    lengths: Any,
    mask: Any,
    words: int,
    shifts: Any,
    backwards: bool,
    out_starts: Any,
    out: Any,
) -> None:
    """The twin of `cpu.turn`. Blocks share the words of a row."""
    size = lengths, words * bytes_of_item(values)
    rows = starts, lengths, shifts, out_starts
    turn_rows(rows_of_block(lengths.size), size, values, rows, mask, words, backwards, out)


@cuda_device
def turn_row(
    values: Any,
    segment: Any,
    mask: Any,
    words: int,
    shift: int,
    backwards: bool,
    out: Any,
    team: Any,
) -> None:
    """Turn one row. Any number of whole warps run it: team is (thread, threads).

    segment (start, length, out_start). Without masked steps neighbouring threads move the
    neighbouring words of a step, or neighbouring steps; with them a thread goes through all steps.
    """
    start, length, to = segment
    thread, threads = team
    _, _, kept = kept_span(mask, start, length)
    shift = i8(shift % kept) if kept > 0 else i8(0)
    if mask is not None and kept < length:
        turn_kept(values, segment, kept, mask, words, shift, backwards, out, team)
        return
    across = min(words, threads)
    step, first_word = i8(u4(thread) // u4(across)), i8(u4(thread) % u4(across))
    down = i8(u4(threads) // u4(across))
    if step >= down:
        step = length
    while step < length:
        source = step - shift if step >= shift else step - shift + length
        source = length - 1 - source if backwards else source
        word = first_word
        while word < words:
            out[u8((to + step) * words + word)] = values[u8((start + source) * words + word)]
            word += across
        step += down


@cuda_device
def turn_kept(
    values: Any,
    segment: Any,
    kept: int,
    mask: Any,
    words: int,
    shift: int,
    backwards: bool,
    out: Any,
    team: Any,
) -> None:
    """A row with masked steps: each kept one takes the next of those that are read in turn."""
    start, length, to = segment
    before = kept - shift if shift > 0 else i8(0)  # kept steps that are passed over at first
    source, by = (length - 1, i8(-1)) if backwards else (i8(0), i8(1))
    for step in range(length):
        keep = mask[u8(start + step)]
        if keep:
            tries = 2 * length  # there is one, unless somebody else writes to the mask
            while tries > 0 and (before > 0 or not mask[u8(start + source)]):
                before -= i8(mask[u8(start + source)])
                source = wrapped(source + by, length)
                tries -= 1
        word = team[0]
        while word < words:
            value = values[u8((start + source) * words + word)]
            out[u8((to + step) * words + word)] = value if keep else values.dtype.type(0)
            word += team[1]
        if keep:
            source = wrapped(source + by, length)


@cuda_device
def wrapped(step: int, length: int) -> int:
    """A step beyond one end of a row is the one at its other end."""
    return i8(0) if step >= length else length - 1 if step < 0 else i8(step)


@cuda_device
def turn_by_team(
    row: Any,
    team: Any,
    values: Any,
    rows: Any,
    mask: Any,
    words: int,
    backwards: bool,
    out: Any,
) -> None:
    starts, lengths, shifts, out_starts = rows
    segment, shift = (starts[row], lengths[row], out_starts[row]), shifts[row]
    turn_row(values, segment, mask, words, shift, backwards, out, threads_of(team))


turn_rows = rows_by_teams(has_few_bytes, turn_by_team)
