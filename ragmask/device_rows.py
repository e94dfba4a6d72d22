"""What `layout.py` does for rows on the host, for rows on a device: int64 DeviceArrays (rows,).

Annotations say Any for them: to those who call, an array is an array wherever it lives.
"""

from typing import Any, NamedTuple

import numpy as np

from ragmask.device_array import DeviceArray, launch

_NOWHERE = np.iinfo(np.int64).max  # as in kernels/cuda/rows.py


class Facts(NamedTuple):
    """What comes back to the host when rows are looked at: these five numbers."""

    first_bad: int  # the first row that does not lie inside the values, or -1
    steps: int
    longest: int
    is_end_to_end: bool
    first_start: int


def look(n: int, starts: Any, lengths: Any) -> Facts:
    """Look at rows that are to lie inside `n` steps."""
    found = starts.from_host(np.array([_NOWHERE, 0, 0, 0, 0]))
    launch("check_rows", lengths.size, n, starts, lengths, found, by_item=True)
    first_bad, steps, longest, breaks, first_start = found.to_host().tolist()
    return Facts(
        -1 if first_bad == _NOWHERE else first_bad, steps, longest, not breaks, first_start
    )


def cut(
    starts: Any, lengths: Any, begin: int, most: int, from_end: bool = False
) -> tuple[Any, Any]:
    """Of each row at most `most` steps from `begin` on, counted from its end where `from_end`."""
    cut_starts, cut_lengths = starts.empty(starts.shape, np.int64), empty_like(lengths)
    arguments = starts, lengths, begin, most, from_end, cut_starts, cut_lengths
    launch("cut", lengths.size, *arguments, by_item=True)
    return cut_starts, cut_lengths


def empty_like(array: Any) -> Any:
    return array.empty(array.shape, array.dtype)


def take(numbers: Any, rows: Any) -> Any:
    out = numbers.empty(rows.shape, numbers.dtype)
    launch("take", rows.size, numbers, rows, out, by_item=True)
    return out


def progression(first: int, step: int, count: int, like: Any) -> Any:
    """first, first + step, …: `count` numbers."""
    out = like.empty((count,), np.int64)
    launch("progression", count, first, step, out, by_item=True)
    return out


def differences(offsets: Any) -> Any:
    out = offsets.empty((offsets.size - 1,), np.int64)
    launch("differences", out.size, offsets, out, by_item=True)
    return out


def add(one: Any, other: Any) -> Any:
    out = empty_like(one)
    launch("add", out.size, one, other, out, by_item=True)
    return out


def both(mask: Any, other: Any) -> Any:
    """`mask & (other != 0)`."""
    out = other.empty(other.shape, np.bool_)
    flat = None if mask is None else mask.reshape(-1)
    launch("both", out.size, flat, other.reshape(-1), out.reshape(-1), by_item=True)
    return out


def filled(value: float, shape: tuple[int, ...], dtype: Any, like: Any) -> Any:
    """A new array of one number."""
    out = like.empty(shape, dtype)
    launch("fill", out.size, out.dtype.type(value), out.reshape(-1), by_item=True)
    return out


def by_length(lengths: Any, longest: int) -> Any:
    """Row numbers, the longest rows first, about."""
    out = empty_like(lengths)
    launch("by_length", min(len(out), 1), lengths, longest, out)
    return out


def where(mask: Any, numbers: Any) -> Any:
    """The numbers, and 0 where the mask is False."""
    out = empty_like(numbers)
    launch("where", out.size, mask, numbers, out, by_item=True)
    return out


def offsets_of(lengths: Any) -> Any:
    out = lengths.empty((lengths.size + 1,), np.int64)
    launch("offsets", 1, lengths, out)
    return out


def contiguous(array: Any) -> Any:
    """A padded batch whose rows are not spaced wider than they are: itself, or a copy."""
    if array.is_contiguous:
        return array
    out = empty_like(array)
    row = out.spacing
    odd = row | array.spacing | array.pointer | out.pointer
    word = np.dtype(f"u{min(odd & -odd, 8)}")
    n_words = (array.spacing * (len(array) - 1) + row) // word.itemsize
    source = DeviceArray(array.pointer, (n_words,), word, array.owner, array.library, array.device)
    starts = progression(0, array.spacing // word.itemsize, len(array), array)
    lengths = filled(row // word.itemsize, (len(array),), np.int64, array)
    out_starts = progression(0, row // word.itemsize, len(array), array)
    launch(
        "compact", len(array), source, starts, lengths, 1, out_starts, out.reshape(-1).view(word)
    )
    return out


def spans(mask: Any, starts: Any, lengths: Any) -> tuple[Any, Any, bool]:
    """Each row from its first kept step to its last, and whether steps between are masked."""
    holes = starts.from_host(np.zeros(1, np.int64))
    span_starts, span_lengths = empty_like(starts), empty_like(lengths)
    launch("spans", lengths.size, mask, starts, lengths, span_starts, span_lengths, holes)
    return span_starts, span_lengths, number_at(holes, 0) > 0


def number_at(array: Any, at: int) -> int:
    """One number of an array, brought to the host."""
    return int(array[at : at + 1].to_host()[0])


def first_outside(ids: Any, mask: Any, least: int, limit: int) -> int:
    """Where the first kept id is that is not in [least, limit), or -1."""
    first = ids.from_host(np.array([_NOWHERE]))
    launch("first_outside", ids.size, ids, mask, least, limit, first, by_item=True)
    return _place(first)


def first_difference(one: Any, other: Any) -> int:
    """The first place where two arrays differ, or -1."""
    first = one.from_host(np.array([_NOWHERE]))
    launch("first_difference", one.size, one, other, first, by_item=True)
    return _place(first)


def _place(first: Any) -> int:
    place = number_at(first, 0)
    return -1 if place == _NOWHERE else place
