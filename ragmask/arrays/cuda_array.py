"""Arrays on a CUDA device, whoever made them: torch, CuPy, numba, cuDF, or anything with DLPack.

A CudaArray is an address, a shape and a dtype, and remembers whose library the memory came from:
new arrays are allocated there, work runs on that library's current stream, and what is given back
is an array of that library again. Nothing here copies between host and device but `to_host` and
`from_host`.
"""

import math
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from ragmask.errors import DeviceError, InvalidInputError, MissingExtraError

Library = Literal["numba", "torch", "cupy"]


class CudaArray:
    """C-contiguous numbers on a device; the rows of a padded batch may be spaced wider."""

    __slots__ = (
        *("device", "dtype", "is_read_only", "library", "owner", "pointer", "shape", "spacing"),
    )
    __array_ufunc__ = None  # numpy is not to take it for a list

    def __init__(
        self,
        pointer: int,
        shape: Sequence[int],
        dtype: npt.DTypeLike,
        owner: Any,
        library: str,
        device: int,
        spacing: int | None = None,
        is_read_only: bool = False,
    ) -> None:
        self.pointer, self.owner, self.is_read_only = pointer, owner, is_read_only
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)
        self.library, self.device = library, device
        row = math.prod(self.shape[1:]) * self.dtype.itemsize
        self.spacing = row if spacing is None else spacing  # bytes from row to row

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def is_contiguous(self) -> bool:
        return self.spacing * len(self) == self.nbytes

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        strides = None
        if not self.is_contiguous:
            steps = [math.prod(self.shape[axis + 1 :]) for axis in range(1, self.ndim)]
            strides = (self.spacing, *(step * self.itemsize for step in steps))
        return {
            "shape": self.shape,
            "strides": strides,
            "typestr": self.dtype.str,
            "data": (self.pointer if self.size else 0, False),
            "version": 3,
        }

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        raise DeviceError(f"this array lives on {self.place}, and nothing is moved silently")

    def __getitem__(self, steps: slice) -> "CudaArray":
        first, last, by = steps.indices(len(self))
        assert by == 1
        return self.at_byte(
            first * self.spacing, (max(last - first, 0), *self.shape[1:]), self.dtype, self.spacing
        )

    def columns(self, first: int, last: int) -> "CudaArray":
        """`array[:, first:last]`, a view."""
        step = math.prod(self.shape[2:]) * self.itemsize
        shape = (len(self), last - first, *self.shape[2:])
        return self.at_byte(first * step, shape, self.dtype, self.spacing)

    def reshape(self, *shape: Any) -> "CudaArray":
        wanted = list(shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)
        if -1 in wanted:
            at = wanted.index(-1)
            wanted[at] = self.size // max(math.prod(wanted[:at] + wanted[at + 1 :]), 1)
        assert self.is_contiguous
        assert math.prod(wanted) == self.size
        return self.at_byte(0, tuple(wanted), self.dtype)

    def view(self, dtype: npt.DTypeLike) -> "CudaArray":
        """The same bytes in another dtype; only a flat array may change their number."""
        wanted = np.dtype(dtype)
        if wanted.itemsize == self.itemsize:
            return self.at_byte(0, self.shape, wanted, self.spacing)
        assert self.ndim == 1
        return self.at_byte(0, (self.nbytes // wanted.itemsize,), wanted)

    def at_byte(
        self, skipped: int, shape: tuple[int, ...], dtype: np.dtype[Any], spacing: int | None = None
    ) -> "CudaArray":
        origin = self.owner, self.library, self.device
        return CudaArray(self.pointer + skipped, shape, dtype, *origin, spacing, self.is_read_only)

    # -- memory and streams ---------------------------------------------------------------

    @property
    def place(self) -> str:
        return f"cuda:{self.device}"

    @property
    def stream(self) -> int:
        """The address of the stream that the array's library works on now."""
        if self.library == "torch":
            return int(sys.modules["torch"].cuda.current_stream(self.device).cuda_stream)
        if self.library == "cupy":
            return int(sys.modules["cupy"].cuda.get_current_stream().ptr)
        return int(getattr(self.owner, "stream", 0) or 0)

    def empty(self, shape: Sequence[int], dtype: npt.DTypeLike) -> "CudaArray":
        """New memory from the same library, on the same device."""
        return allocate(self.library, self.device, self.stream, shape, dtype)

    def from_host(self, array: npt.NDArray[Any]) -> "CudaArray":
        """A small numpy array beside this one: what an op works out on the host for itself."""
        from ragmask.kernels.cuda import memory

        copy = self.empty(array.shape, array.dtype)
        with memory.on_device(self.device):
            memory.to_device(array, copy, memory.stream_at(self.stream))
        return copy

    def to_host(self) -> npt.NDArray[Any]:
        """A numpy copy."""
        from ragmask.kernels.cuda import memory

        out = np.empty(self.shape, self.dtype)
        with memory.on_device(self.device):
            memory.to_host(self, out, memory.stream_at(self.stream))
        return out

    def astype(self, dtype: npt.DTypeLike, copy: bool = True) -> "CudaArray":
        """The numbers in another dtype."""
        if np.dtype(dtype) == self.dtype and not copy:
            return self
        out = self.empty(self.shape, dtype)
        launch("convert", out.size, self.reshape(-1), out.reshape(-1))
        return out

    def native(self) -> Any:
        """The array as its library's own."""
        if self.library == "torch":
            return sys.modules["torch"].as_tensor(self, device=self.place)
        if self.library == "cupy":
            return sys.modules["cupy"].asarray(self)
        from ragmask.kernels.cuda import memory

        return memory.wrap(self)

    def __repr__(self) -> str:
        return f"CudaArray({self.shape}, {self.dtype}, on {self.place})"


def allocate(
    library: str, device: int, stream: int, shape: Sequence[int], dtype: npt.DTypeLike
) -> CudaArray:
    """New memory of a library: torch's and CuPy's own pools serve it, and know its stream."""
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    if library == "torch":
        torch = sys.modules["torch"]
        memory = torch.empty(n_bytes, dtype=torch.uint8, device=f"cuda:{device}")
    elif library == "cupy":
        cupy = sys.modules["cupy"]
        with cupy.cuda.Device(device):
            memory = cupy.empty(n_bytes, "u1")
    else:
        from ragmask.kernels.cuda import memory as of_numba

        with of_numba.on_device(device):
            memory = of_numba.empty(n_bytes, of_numba.stream_at(stream))
    pointer = memory.__cuda_array_interface__["data"][0] if n_bytes else 0
    return CudaArray(pointer, shape, dtype, memory, library, device)


def move_to_device(library: Library, device: int, *arrays: npt.NDArray[Any] | None) -> list[Any]:
    """Copies of numpy arrays, in memory of that library."""
    from ragmask.kernels.cuda import memory

    if library not in get_args(Library):
        raise InvalidInputError(f"library must be one of {get_args(Library)}; got {library!r}")
    with memory.on_device(device):
        try:
            if library != "numba":
                import_module(library)
        except ImportError as error:
            raise MissingExtraError(f"{library} is not installed: {error}") from error
        like = allocate(library, device, 0, (0,), np.uint8)
        return [None if array is None else like.from_host(array) for array in arrays]


def launch(name: str, items: int, *arguments: Any) -> None:
    """Run a CUDA kernel with a thread for each of so many items."""
    from ragmask.kernels import cuda

    run(cuda.launch, getattr(cuda, name), -(-items // 32), *arguments)


def run(launcher: Callable[..., None], *arguments: Any) -> None:
    """Call a function that launches kernels, on the device and stream of its last array."""
    assert not any(isinstance(argument, np.ndarray) for argument in arguments), "it would be moved"
    from ragmask.kernels.cuda import memory

    last = [argument for argument in arguments if isinstance(argument, CudaArray)][-1]
    with memory.on_device(last.device):
        launcher(*arguments, stream=memory.stream_at(last.stream))
