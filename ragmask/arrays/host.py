"""numpy's arrays: what `Arrays` does on the host."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ragmask import threads
from ragmask.arrays import memory
from ragmask.arrays.protocol import Array, Bools, Fact, Facts, Ints, Shape, T
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.kernels.kernel import Kernel


class HostArrays:
    """The host's memory; kernels run on threads."""

    place = "cpu"
    is_host = True

    # -- memory

    def empty(self, shape: Shape, dtype: npt.DTypeLike) -> Array:
        return memory.empty(shape, dtype)

    def full(self, value: Any, shape: Shape, dtype: npt.DTypeLike) -> Array:
        out = memory.empty(shape, dtype)
        out[...] = value
        return out

    def from_host(self, array: Array) -> Array:
        return array

    def to_host(self, array: Array) -> Array:
        return array

    def as_dtype(self, array: Array, dtype: npt.DTypeLike) -> Array:
        return array if array.dtype == dtype else memory.copied(array, dtype)

    def assign(self, source: Array, target: Array) -> None:
        target[...] = source

    def read_only(self, array: Array) -> Array:
        return read_only(array)

    def frozen(self, array: Array) -> Array:
        return read_only(array) if array.flags.writeable else array

    def is_aligned(self, array: Array) -> bool:
        return array.flags.aligned

    def may_overlap(self, array: Any, other: Any) -> bool:
        return isinstance(other, np.ndarray) and np.may_share_memory(array, other)

    def check_writable(self, array: Array, name: str) -> None:
        if not (array.flags.writeable and array.flags.c_contiguous):
            raise InvalidInputError(f"out's {name} must be writable and C-contiguous")

    def given_out(self, array: Array) -> Array:
        return array.view()  # whose shape may be changed in place; ours may not

    def native(self, array: Array) -> Array:
        return array

    def host_only(self, message: str) -> None:
        pass

    def is_on_device(self, device: int) -> bool:
        return False

    def twin(self, host: T, cuda: T) -> T:
        return host

    # -- rows

    def facts(self, wanted: Fact, starts: Ints, lengths: Ints) -> Facts:
        if wanted == "n_steps":
            return {wanted: total_steps(lengths)}
        if wanted == "longest":
            return {wanted: largest(lengths)}
        begin = int(starts[0]) if starts.size else 0
        return {wanted: begin if is_end_to_end(starts, lengths) else None}

    def first_bad_row(self, n: int, starts: Ints, lengths: Ints) -> tuple[int, Facts]:
        # n - starts cannot overflow where starts >= 0, and starts + lengths could
        return first_true(((starts | lengths) < 0) | (lengths > n - starts)), {}

    def has_no_gaps(self, starts: Ints, lengths: Ints) -> bool:
        some = lengths > 0
        return is_end_to_end(starts[some], lengths[some])

    def offsets_of(self, lengths: Ints) -> Ints:
        return read_only(offsets_of(lengths))

    def rows_between(self, n: int, offsets: Ints) -> tuple[Ints, Ints, bool]:
        check_offsets(n, offsets)
        return offsets[:-1], read_only(offsets[1:] - offsets[:-1]), True

    def cut(
        self, starts: Ints, lengths: Ints, begin: int, most: int, from_end: bool = False
    ) -> tuple[Ints, Ints]:
        left = lengths
        if begin:  # fresh memory is what costs here
            skipped = np.minimum(lengths, begin)
            left = lengths - skipped
            starts = read_only(np.add(starts, skipped, out=skipped))
        kept = np.minimum(left, most)
        if from_end:
            starts = read_only(starts + (left - kept))
        return starts, read_only(kept)

    def pick(self, starts: Ints, lengths: Ints, rows: slice | Array) -> tuple[Ints, Ints]:
        # contiguous: a kernel would be compiled once more for strided starts
        return (
            read_only(np.ascontiguousarray(starts[rows])),
            read_only(np.ascontiguousarray(lengths[rows])),
        )

    def index_of_bools(self, mask: Bools) -> Bools:
        return mask.copy()  # starts and lengths are picked one after the other

    def number_at(self, array: Array, index: int) -> int:
        return int(array[index])

    def first_outside(self, ids: Ints, mask: Bools | None, least: int, limit: int) -> int:
        # as unsigned numbers, those below the least are larger than any
        places = (ids - least if least else ids).view(np.uint64)
        if largest(places) < limit - least:
            return -1
        bad = (ids < least) | (ids >= limit)
        if mask is not None:
            bad &= mask
        return first_true(bad)

    def first_difference(self, one: Array, other: Array) -> int:
        return first_true(one != other)

    def add(self, one: Array, other: Array) -> Array:
        total: Array = one + other
        return read_only(total)

    def kept_nonzero(self, mask: Bools | None, numbers: Array) -> Bools:
        kept = memory.empty(numbers.shape, np.bool_)
        np.not_equal(numbers, 0, out=kept)
        if mask is not None:
            kept &= mask
        return kept

    def arange(self, first: int, step: int, count: int) -> Ints:
        return read_only(first + step * np.arange(count))

    def grouped(self, ids: Ints, mask: Bools | None, n: int) -> tuple[Ints, Ints, Ints]:
        from ragmask.kernels.cpu.embedding import group

        starts, lengths = memory.empty((n,), np.int64), memory.empty((n,), np.int64)
        order = memory.empty(ids.shape, np.int64)
        group(ids, mask, starts, lengths, order)
        return read_only(starts), read_only(lengths), read_only(order)

    def joined_in_time(self, parts: list[tuple[Ints, Ints]]) -> tuple[Ints, Ints] | None:
        starts, lengths = parts[0]
        end = starts + lengths
        for start, length in parts[1:]:
            if first_true((start != end) & (length > 0)) >= 0:
                return None
            starts = np.where(lengths > 0, starts, start)
            end, lengths = end + length, lengths + length
        return read_only(starts), read_only(lengths)

    def common_dtype(self, dtypes: list[np.dtype[Any]]) -> np.dtype[Any]:
        try:
            return np.result_type(*dtypes)
        except TypeError as error:
            kinds = ", ".join(sorted(map(str, set(dtypes))))
            raise UnsupportedTypeError(f"the parts have no dtype in common: {kinds}") from error

    # -- dense arrays

    def columns(self, dense: Array, first: int, last: int) -> Array:
        return dense[:, first:last]

    def line_of(self, dense: Array, mask: Bools | None) -> tuple[Array, Ints, Bools | None]:
        (rows, width), item_shape = dense.shape[:2], dense.shape[2:]
        item_bytes = math.prod(item_shape) * dense.itemsize
        spacing = dense.strides[0] // item_bytes if item_bytes and rows > 1 else width
        is_even = dense.strides[0] == spacing * item_bytes and spacing > width > 0
        if is_even and (mask is None or mask.strides == (spacing, 1)):
            n = (rows - 1) * spacing + width
            as_strided = np.lib.stride_tricks.as_strided
            line = as_strided(
                dense, (n, *item_shape), (item_bytes, *dense.strides[2:]), writeable=False
            )
            if mask is not None:
                mask = as_strided(mask, (n,), (1,), writeable=False)
        else:
            spacing = width
            line = memory.contiguous(dense).reshape(rows * width, *item_shape)
            mask = None if mask is None else memory.contiguous(mask).reshape(-1)
        starts = np.arange(rows, dtype=np.int64) * spacing
        return read_only(line), read_only(starts), None if mask is None else read_only(mask)

    def kept_rows(
        self, dense: Array, present: Bools, want_mask: bool = True
    ) -> tuple[Array, Ints, Ints, Bools | None]:
        first, kept = _spans(present)
        has_holes = want_mask and np.count_nonzero(present) < int(kept.sum())
        line, starts, mask = self.line_of(dense, present if has_holes else None)
        return line, read_only(starts + first), read_only(kept), mask

    def nonpadding(self, dense: Array, item: Array) -> Bools:
        is_padding = dense == item
        if (item != item).any():  # NaN is NaN here
            is_padding |= (dense != dense) & (item != item)
        kept: Bools = ~is_padding.all(axis=tuple(range(2, dense.ndim)))
        return kept

    # -- kernels

    def computed(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return np.dtype(np.float32) if dtype == np.float16 else dtype

    def run(
        self, kernel: Kernel, lengths: Ints, size: int, *arguments: Any, n_steps: int | None = None
    ) -> None:
        rows = lengths.size
        if rows and kernel.total_ns(lengths, size, n_steps) < threads.WORTH_A_THREAD_NS:
            kernel.cpu(0, rows, *arguments)  # no row's own cost has to be known
        else:
            threads.run_rows(kernel.cpu, rows, kernel.cost_ns(lengths, size), *arguments)


HOST = HostArrays()


def read_only(array: Array) -> Array:
    """A view that cannot be written through.

    It keeps batches immutable, and Numba compiles a kernel once instead of once for
    writable and once for read-only arrays.
    """
    view = array.view()  # even of a read-only one: its owner could change its shape in place
    view.setflags(write=False)
    return view


def largest(numbers: Array) -> int:
    """The largest of numbers that are 0 or more; 0 where there are none.

    Of a few, this takes a quarter of numpy's own max(), as `first_true` does of its any().
    """
    return int(numbers[numbers.argmax()]) if numbers.size else 0


def first_true(bools: Bools) -> int:
    """Where the first True is, or -1."""
    index = int(bools.argmax()) if bools.size else 0
    return index if bools.size and bools[index] else -1


def total_steps(lengths: Ints) -> int:
    """The sum of all lengths, or an error where rows overlap so much that int64 cannot count."""
    check_countable(lengths)
    return int(lengths.sum())


def check_countable(lengths: Ints) -> None:
    if largest(lengths) * lengths.size >= 2**63 and lengths.sum(dtype=float) >= 2**63:
        raise InvalidInputError("these rows have more than 2**63 steps between them")


def offsets_of(lengths: Ints) -> Ints:
    """Where rows begin and end once they are laid end to end, (rows + 1,)."""
    check_countable(lengths)
    offsets = memory.empty((lengths.size + 1,), np.int64)
    offsets[0] = 0
    lengths.cumsum(out=offsets[1:])
    return offsets


def is_end_to_end(starts: Ints, lengths: Ints) -> bool:
    """Whether each row begins where the one before it ended."""
    return first_true(starts[1:] != starts[:-1] + lengths[:-1]) < 0


def check_offsets(n: int, offsets: Ints) -> None:
    """Raise, naming the first bad row, unless `offsets` rise from 0 or more to `n` or less."""
    if offsets.size == 0:
        raise InvalidInputError("offsets need one more entry than there are rows; got none at all")
    if offsets[0] < 0:
        raise InvalidInputError(f"offsets start at {offsets[0]}; they must be 0 or more")
    row = first_true(offsets[1:] < offsets[:-1])
    if row >= 0:
        raise InvalidInputError(
            f"offsets decrease at row {row}, from {offsets[row]} to {offsets[row + 1]}"
        )
    if offsets[-1] > n:
        row = int(np.argmax(offsets > n)) - 1
        raise InvalidInputError(
            f"offsets run past the values in row {max(row, 0)}: "
            f"they end at {offsets[-1]}, and there are {n} steps"
        )


def _spans(present: Bools) -> tuple[Ints, Ints]:
    """Where each row's first kept step is, and how many steps lead to its last."""
    width = present.shape[1]
    if width == 0:
        return np.zeros(len(present), np.int64), np.zeros(len(present), np.int64)
    some = present.any(axis=1)
    first = present.argmax(axis=1)
    last = width - present[:, ::-1].argmax(axis=1)
    # another thread may write to the mask between these looks at it: then the span is another one,
    # but lies inside the row
    return first, np.maximum(last - first, 0) * some
