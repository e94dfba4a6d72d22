"""Copies and fills, 16 bytes a thread where that is possible."""

from typing import Any

from ragmask.kernels.compile import cuda_device
from ragmask.kernels.cuda.teams import i8, u8
from ragmask.kernels.intrinsics import load_16_bytes, store_16_bytes
from ragmask.kernels.overloads import bytes_of_item

WIDE_BYTES = 512  # what is shorter is not worth the search for a multiple of 16
LONG_BYTES = 16384  # rows longer than that are for a whole block

_ONES = u8(0xFFFFFFFFFFFFFFFF)


@cuda_device
def address(array: Any, at: int) -> int:
    return i8(array.ctypes.data) + at * bytes_of_item(array)


@cuda_device
def words_before(address: int, count: int, size: int) -> int:
    """How many of `count` words, `size` bytes each, lie before a multiple of 16."""
    return count if count * size < WIDE_BYTES else (-address & 15) // size


@cuda_device
def copy(source: Any, begin: int, count: int, out: Any, to: int, thread: int, threads: int) -> None:
    """`out[to : to + count] = source[begin : begin + count]`, by so many threads."""
    size = bytes_of_item(out)
    head = count
    if (address(source, begin) - address(out, to)) & 15 == 0:
        head = words_before(address(out, to), count, size)
    wide = (count - head) * size // 16

    word = i8(thread)
    while word < head:
        out[u8(to + word)] = source[u8(begin + word)]
        word += threads
    chunk, words = i8(thread), 16 // size
    while chunk + 3 * threads < wide:  # 4 loads under way
        at, by = head + chunk * words, threads * words
        one = load_16_bytes(source, begin + at)
        two = load_16_bytes(source, begin + at + by)
        three = load_16_bytes(source, begin + at + 2 * by)
        four = load_16_bytes(source, begin + at + 3 * by)
        store_16_bytes(out, to + at, one)
        store_16_bytes(out, to + at + by, two)
        store_16_bytes(out, to + at + 2 * by, three)
        store_16_bytes(out, to + at + 3 * by, four)
        chunk += 4 * threads
    while chunk < wide:
        word = head + chunk * words
        store_16_bytes(out, to + word, load_16_bytes(source, begin + word))
        chunk += threads
    word = head + wide * words + thread
    while word < count:
        out[u8(to + word)] = source[u8(begin + word)]
        word += threads


@cuda_device
def fill(value: Any, count: int, out: Any, to: int, thread: int, threads: int) -> None:
    """`out[to : to + count] = value`, by so many threads."""
    word = i8(thread)
    while word < count:
        out[u8(to + word)] = value
        word += threads


@cuda_device
def fill_words(pattern: Any, count: int, out: Any, to: int, thread: int, threads: int) -> None:
    """Repeat `pattern`, unsigned words, over `out[to : to + count]`, by so many threads."""
    size, words = bytes_of_item(out), u8(pattern.size)
    head = count
    if pattern.size == 1:
        head = words_before(address(out, to), count, size)
    wide = (count - head) * size // 16
    eight = u8(pattern[u8(0)]) * (_ONES // (_ONES >> u8(64 - 8 * size)))  # repeated in 8 bytes

    word = i8(thread)
    while word < head:
        out[u8(to + word)] = pattern[u8(word) % words if words > u8(1) else u8(0)]
        word += threads
    chunk = i8(thread)
    while chunk < wide:
        store_16_bytes(out, to + head + chunk * (16 // size), (eight, eight))
        chunk += threads
    word = head + wide * (16 // size) + thread
    while word < count:
        out[u8(to + word)] = pattern[u8(0)]
        word += threads


@cuda_device
def has_few_bytes(row: Any, size: Any) -> Any:
    """Whether a row is for one warp to move; size is (lengths, bytes of a step)."""
    lengths, step_bytes = size
    return lengths[row] * step_bytes <= LONG_BYTES
