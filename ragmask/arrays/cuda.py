"""CudaArrays: what `Arrays` does on a GPU, by kernels of `ragmask.kernels.cuda`."""

import math
import sys
from contextlib import nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt

from ragmask.arrays.cuda_array import CudaArray, launch, run
from ragmask.arrays.protocol import LARGEST, Array, Fact, Facts, Shape, T, check_size
from ragmask.errors import DeviceError, InvalidInputError, UnsupportedTypeError
from ragmask.kernels.constants import NOWHERE
from ragmask.kernels.kernel import Kernel


class CudaArrays:
    """The device of an array, and the library that its memory came from."""

    is_host = False

    def __init__(self, like: CudaArray) -> None:
        self.like = like

    @property
    def place(self) -> str:
        return self.like.place

    # -- memory

    def empty(self, shape: Shape, dtype: npt.DTypeLike) -> CudaArray:
        check_size(shape, np.dtype(dtype).itemsize)
        return self.like.empty(shape, dtype)

    def full(self, value: Any, shape: Shape, dtype: npt.DTypeLike) -> CudaArray:
        out = self.like.empty(shape, dtype)
        launch("fill", out.size, out.dtype.type(value), out.reshape(-1))
        return out

    def from_host(self, array: Array) -> CudaArray:
        return self.like.from_host(array)

    def to_host(self, array: CudaArray) -> Array:
        return self._contiguous(array).to_host()

    def as_dtype(self, array: CudaArray, dtype: npt.DTypeLike) -> CudaArray:
        check_size(array.shape, np.dtype(dtype).itemsize)
        return array.astype(dtype, copy=False)

    def assign(self, source: CudaArray, target: CudaArray) -> None:
        launch("convert", target.size, source.reshape(-1), target.reshape(-1))

    def read_only(self, array: CudaArray) -> CudaArray:
        return array

    def frozen(self, array: CudaArray) -> CudaArray:
        return array

    def is_aligned(self, array: CudaArray) -> bool:
        return array.pointer % array.itemsize == 0

    def may_overlap(self, array: CudaArray, other: Any) -> bool:
        if not isinstance(other, CudaArray):
            return False
        ends = array.pointer + array.nbytes, other.pointer + other.spacing * len(other)
        return max(array.pointer, other.pointer) < min(ends)

    def check_writable(self, array: CudaArray, name: str) -> None:
        if array.is_read_only:
            raise InvalidInputError(f"out's {name} must be writable: it is read-only")

    def given_out(self, array: CudaArray) -> Any:
        return array.native()

    def native(self, array: CudaArray) -> Any:
        return array.native()

    def host_only(self, message: str) -> None:
        raise DeviceError(message.format(place=self.place))

    def is_on_device(self, device: int) -> bool:
        if self.like.device != device:
            raise DeviceError(f"the batch lives on {self.place}: call to_host() first")
        return True

    def twin(self, host: T, cuda: T) -> T:
        return cuda

    # -- rows

    def facts(self, wanted: Fact, starts: CudaArray, lengths: CudaArray) -> Facts:
        return self.first_bad_row(LARGEST, starts, lengths)[1]

    def first_bad_row(self, n: int, starts: CudaArray, lengths: CudaArray) -> tuple[int, Facts]:
        told = self.from_host(np.array([NOWHERE, 0, 0, 0, 0]))
        launch("check_rows", lengths.size, n, starts, lengths, told)
        first_bad, steps, longest, breaks, first_start = told.to_host().tolist()
        if first_bad != NOWHERE:
            return first_bad, {}
        if longest * lengths.size >= 2**63:
            raise InvalidInputError("these rows could have more than 2**63 steps between them")
        begin = None if breaks else first_start
        return -1, {"n_steps": steps, "longest": longest, "begin": begin}

    def has_no_gaps(self, starts: CudaArray, lengths: CudaArray) -> bool:
        return self.facts("begin", starts, lengths)["begin"] is not None

    def offsets_of(self, lengths: CudaArray) -> CudaArray:
        out = self.like.empty((lengths.size + 1,), np.int64)
        launch_rows("offsets", 1, lengths, out)  # by one block
        return out

    def rows_between(self, n: int, offsets: CudaArray) -> tuple[CudaArray, CudaArray, bool]:
        if offsets.size == 0:
            raise InvalidInputError(
                "offsets need one more entry than there are rows; got none at all"
            )
        lengths = self.like.empty((offsets.size - 1,), np.int64)
        launch("differences", lengths.size, offsets, lengths)
        return offsets[:-1], lengths, False

    def cut(
        self,
        starts: CudaArray,
        lengths: CudaArray,
        begin: int,
        most: int,
        from_end: bool = False,
    ) -> tuple[CudaArray, CudaArray]:
        out = self.like.empty(starts.shape, np.int64), self.like.empty(starts.shape, np.int64)
        launch("cut", lengths.size, starts, lengths, begin, most, from_end, *out)
        return out

    def pick(
        self, starts: CudaArray, lengths: CudaArray, rows: slice | CudaArray
    ) -> tuple[CudaArray, CudaArray]:
        if isinstance(rows, slice):
            first, last, by = rows.indices(len(lengths))
            if by == 1:
                rows = slice(first, last)
                return starts[rows], lengths[rows]
            rows = self.arange(first, by, len(range(first, last, by)))
        return self._take(starts, rows), self._take(lengths, rows)

    def index_of_bools(self, mask: CudaArray) -> CudaArray:
        raise DeviceError(
            f"the index is of bools, which rows on {self.place} are not picked by: pass the "
            "numbers of the rows, as the array's own library finds them"
        )

    def number_at(self, array: CudaArray, index: int) -> int:
        return int(array[index : index + 1].to_host()[0])

    def first_outside(self, ids: CudaArray, mask: CudaArray | None, least: int, limit: int) -> int:
        first = self.from_host(np.array([NOWHERE]))
        launch("first_outside", ids.size, ids, mask, least, limit, first)
        return self._index(first)

    def first_difference(self, one: CudaArray, other: CudaArray) -> int:
        first = self.from_host(np.array([NOWHERE]))
        launch("first_difference", one.size, one, other, first)
        return self._index(first)

    def add(self, one: CudaArray, other: CudaArray) -> CudaArray:
        out = self.like.empty(one.shape, one.dtype)
        launch("add", out.size, one, other, out)
        return out

    def where(self, mask: CudaArray, numbers: CudaArray) -> CudaArray:
        """The numbers, and 0 where the mask is False."""
        out = self.like.empty(numbers.shape, numbers.dtype)
        launch("where", out.size, mask, numbers, out)
        return out

    def kept_nonzero(self, mask: CudaArray | None, numbers: CudaArray) -> CudaArray:
        out = self.like.empty(numbers.shape, np.bool_)
        flat = None if mask is None else mask.reshape(-1)
        launch("both", out.size, flat, numbers.reshape(-1), out.reshape(-1))
        return out

    def arange(self, first: int, step: int, count: int) -> CudaArray:
        out = self.like.empty((count,), np.int64)
        launch("progression", count, first, step, out)
        return out

    def grouped(
        self, ids: CudaArray, mask: CudaArray | None, n: int
    ) -> tuple[CudaArray, CudaArray, CudaArray]:
        """By the stable sort of the array's own library; by numpy's where that has none."""
        like = self.like
        name = like.library if like.library in ("torch", "cupy") else "numpy"
        read, library = self.to_host if name == "numpy" else self.native, sys.modules[name]
        with library.cuda.Device(like.device) if name == "cupy" else nullcontext():
            numbers = read(ids)
            inside = (numbers >= 0) & (numbers < n)
            if mask is not None:
                inside = inside & read(mask)
            keys = library.where(inside, numbers, n)
            if name == "torch":
                keys, order = keys.sort(stable=True)
                places = library.arange(n + 1, device=keys.device)
            else:
                order = keys.argsort() if name == "cupy" else keys.argsort(kind="stable")
                keys, places = keys[order], library.arange(n + 1)
            offsets = library.searchsorted(keys, places)
            starts, lengths = offsets[:-1], offsets[1:] - offsets[:-1]
        return self._own(starts), self._own(lengths), self._own(order)

    def joined_in_time(
        self, parts: list[tuple[CudaArray, CudaArray]]
    ) -> tuple[CudaArray, CudaArray] | None:
        return None  # to find out would cost about what a copy does

    def common_dtype(self, dtypes: list[np.dtype[Any]]) -> np.dtype[Any]:
        for number, dtype in enumerate(dtypes):
            if dtype != dtypes[0]:
                raise UnsupportedTypeError(
                    f"part {number} is {dtype} and part 0 {dtypes[0]}: "
                    "on a device, parts have one dtype"
                )
        return dtypes[0]

    # -- dense arrays

    def columns(self, dense: CudaArray, first: int, last: int) -> CudaArray:
        return dense.columns(first, last)

    def line_of(
        self, dense: CudaArray, mask: CudaArray | None
    ) -> tuple[CudaArray, CudaArray, CudaArray | None]:
        (rows, width), item_shape = dense.shape[:2], dense.shape[2:]
        item_bytes = math.prod(item_shape) * dense.itemsize
        spacing = dense.spacing // item_bytes if item_bytes else width
        if mask is not None and mask.spacing != spacing:
            dense, mask = self._contiguous(dense), self._contiguous(mask)
            spacing = width
        starts = self.arange(0, spacing, rows)
        n = (rows - 1) * spacing + width if rows else 0
        line = dense.at_byte(0, (n, *item_shape), dense.dtype)
        return line, starts, None if mask is None else mask.at_byte(0, (n,), mask.dtype)

    def kept_rows(
        self, dense: CudaArray, present: CudaArray, want_mask: bool = True
    ) -> tuple[CudaArray, CudaArray, CudaArray, CudaArray | None]:
        line, starts, mask = self.line_of(dense, present)
        whole = self.full(dense.shape[1], starts.shape, np.int64)
        holes = self.from_host(np.zeros(1, np.int64))
        out = self.like.empty(starts.shape, np.int64), self.like.empty(starts.shape, np.int64)
        launch_rows("spans", len(whole), mask, starts, whole, *out, holes)
        return line, *out, mask if want_mask and self.number_at(holes, 0) else None

    def nonpadding(self, dense: CudaArray, item: Array) -> CudaArray:
        raise DeviceError(
            "value= is for arrays on the host: pass mask= here, computed by the array's own "
            "library as values != value"
        )

    # -- kernels

    def computed(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return dtype  # kernels read float16 as it is, and compute in float32

    def run(
        self,
        kernel: Kernel,
        lengths: CudaArray,
        size: int,
        *arguments: Any,
        n_steps: int | None = None,
    ) -> None:
        from ragmask.kernels import cuda

        run(cuda.launch, kernel.cuda, lengths.size, *arguments)

    def by_length(self, lengths: CudaArray, longest: int) -> CudaArray:
        """Row numbers, the longest rows first, about."""
        out = self.like.empty(lengths.shape, np.int64)
        if len(out):
            launch_rows("by_length", 1, lengths, longest, out)  # by one block
        return out

    def unpacked_bits(self, bits: CudaArray, first: int, n: int) -> CudaArray:
        """Arrow's bits from number `first` on, the lowest of a byte first, as bools."""
        out = self.like.empty((n,), np.bool_)
        launch("unpack_bits", n, bits, first, out)
        return out

    # -- what the methods above share

    def _own(self, numbers: Any) -> CudaArray:
        """int64 numbers of that library, or of numpy, as this object's."""
        like = self.like
        if isinstance(numbers, np.ndarray):
            return self.from_host(numbers)
        pointer = numbers.__cuda_array_interface__["data"][0]
        return CudaArray(pointer, numbers.shape, np.int64, numbers, like.library, like.device)

    def _take(self, numbers: CudaArray, rows: CudaArray) -> CudaArray:
        out = self.like.empty(rows.shape, numbers.dtype)
        launch("take", rows.size, numbers, rows, out)
        return out

    def _index(self, first: CudaArray) -> int:
        index = self.number_at(first, 0)
        return -1 if index == NOWHERE else index

    def _contiguous(self, array: CudaArray) -> CudaArray:
        """A padded batch whose rows are not spaced wider than they are: itself, or a copy."""
        if array.is_contiguous:
            return array
        out = self.like.empty(array.shape, array.dtype)
        row = out.spacing
        odd = row | array.spacing | array.pointer | out.pointer
        word = np.dtype(f"u{min(odd & -odd, 8)}")
        n_words = (array.spacing * (len(array) - 1) + row) // word.itemsize
        words = array.at_byte(0, (n_words,), word)
        starts = self.arange(0, array.spacing // word.itemsize, len(array))
        lengths = self.full(row // word.itemsize, (len(array),), np.int64)
        out_starts = self.arange(0, row // word.itemsize, len(array))
        target = out.reshape(-1).view(word)
        launch_rows("compact", len(array), words, starts, lengths, 1, out_starts, target)
        return out


def launch_rows(name: str, rows: int, *arguments: Any) -> None:
    """Run a CUDA kernel with a warp or more for each of so many rows."""
    from ragmask.kernels import cuda

    run(cuda.launch, getattr(cuda, name), rows, *arguments)
