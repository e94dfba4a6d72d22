"""Arrays on a CUDA device, whoever made them: torch, CuPy, numba, cuDF, or anything with DLPack.

A DeviceArray is an address, a shape and a dtype, and remembers whose library the memory came from:
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

from ragmask.capsules import Memory, device_of, read_dlpack
from ragmask.errors import (
    DeviceError,
    InvalidInputError,
    MissingExtraError,
    UnsupportedTypeError,
)

Library = Literal["numba", "torch", "cupy"]


class DeviceArray:
    """C-contiguous numbers on a device; the rows of a padded batch may be spaced wider."""

    __slots__ = ("device", "dtype", "library", "owner", "pointer", "shape", "spacing")
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
    ) -> None:
        self.pointer, self.owner = pointer, owner
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

    def __getitem__(self, steps: slice) -> "DeviceArray":
        first, last, by = steps.indices(len(self))
        assert by == 1
        return self._at(
            first * self.spacing, (max(last - first, 0), *self.shape[1:]), self.dtype, self.spacing
        )

    def columns(self, first: int, last: int) -> "DeviceArray":
        """`array[:, first:last]`, a view."""
        step = math.prod(self.shape[2:]) * self.itemsize
        shape = (len(self), last - first, *self.shape[2:])
        return self._at(first * step, shape, self.dtype, self.spacing)

    def reshape(self, *shape: Any) -> "DeviceArray":
        wanted = list(shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)
        if -1 in wanted:
            at = wanted.index(-1)
            wanted[at] = self.size // max(math.prod(wanted[:at] + wanted[at + 1 :]), 1)
        assert self.is_contiguous
        assert math.prod(wanted) == self.size
        return self._at(0, tuple(wanted), self.dtype)

    def view(self, dtype: npt.DTypeLike) -> "DeviceArray":
        """The same bytes in another dtype; only a flat array may change their number."""
        wanted = np.dtype(dtype)
        if wanted.itemsize == self.itemsize:
            return self._at(0, self.shape, wanted, self.spacing)
        assert self.ndim == 1
        return self._at(0, (self.nbytes // wanted.itemsize,), wanted)

    def _at(
        self, skipped: int, shape: tuple[int, ...], dtype: np.dtype[Any], spacing: int | None = None
    ) -> "DeviceArray":
        where = self.pointer + skipped
        return DeviceArray(where, shape, dtype, self.owner, self.library, self.device, spacing)

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

    def empty(self, shape: Sequence[int], dtype: npt.DTypeLike) -> "DeviceArray":
        """New memory from the same library, on the same device."""
        return allocate(self.library, self.device, self.stream, shape, dtype)

    def from_host(self, array: npt.NDArray[Any]) -> "DeviceArray":
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

    def astype(self, dtype: npt.DTypeLike, copy: bool = True) -> "DeviceArray":
        """The numbers in another dtype."""
        if np.dtype(dtype) == self.dtype and not copy:
            return self
        out = self.empty(self.shape, dtype)
        launch("convert", out.size, self.reshape(-1), out.reshape(-1), by_item=True)
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
        return f"DeviceArray({self.shape}, {self.dtype}, on {self.place})"


def allocate(
    library: str, device: int, stream: int, shape: Sequence[int], dtype: npt.DTypeLike
) -> DeviceArray:
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
    return DeviceArray(pointer, shape, dtype, memory, library, device)


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


def launch(name: str, rows: int, *arguments: Any, by_item: bool = False) -> None:
    """Run a CUDA kernel over so many rows, or items, on the stream of its last array.

    All arrays must be on one device.
    """
    from ragmask.kernels import cuda

    teams = -(-rows // 32) if by_item else rows
    run(cuda.launch, getattr(cuda, name), teams, *arguments)


def run(launcher: Callable[..., None], *arguments: Any) -> None:
    """Call a function that launches kernels, on the device and stream of its last array."""
    assert not any(isinstance(argument, np.ndarray) for argument in arguments), "it would be moved"
    from ragmask.kernels.cuda import memory

    last = [argument for argument in arguments if isinstance(argument, DeviceArray)][-1]
    with memory.on_device(last.device):
        launcher(*arguments, stream=memory.stream_at(last.stream))


# -- taking what callers pass ---------------------------------------------------------------


def is_on_device(array: Any) -> bool:
    """Whether an array, of any library, lives on a CUDA device."""
    if isinstance(array, np.ndarray | list | tuple | int | float):
        return False
    return isinstance(array, DeviceArray) or _device_of(array) is not None


def _device_of(array: Any) -> int | None:
    try:
        if hasattr(array, "__cuda_array_interface__"):
            return 0
    except RuntimeError:  # torch's word for a tensor that requires grad
        return 0
    return device_of(array)


def device_array(array: Any, what: str, spaced: bool = False) -> DeviceArray:
    """Any library's array on a device, or an error. `what` names the argument in messages."""
    if isinstance(array, DeviceArray):
        return array
    if getattr(array, "requires_grad", False):
        raise UnsupportedTypeError(
            f"{what} requires grad, and ragmask's ops are forward only: pass {what}.detach()"
        )
    library = type(array).__module__.partition(".")[0]
    try:
        interface = getattr(array, "__cuda_array_interface__", None)
    except Exception as error:
        raise UnsupportedTypeError(f"{what} cannot be read on its device: {error}") from error
    if interface is None:
        array = read_dlpack(array, what, stream=1)
        interface = array.__cuda_array_interface__
    if interface.get("mask") is not None:
        raise UnsupportedTypeError(f"{what} has a mask of its own: pass values and mask by hand")
    dtype, shape = np.dtype(interface["typestr"]), tuple(interface["shape"])
    pointer = int(interface["data"][0] or 0)
    if dtype.kind not in "biufcmM" or not dtype.isnative:
        raise UnsupportedTypeError(f"{what} has dtype {dtype}; use numbers, bools or times")
    spacing = _spacing(interface.get("strides"), shape, dtype.itemsize, what, spaced)
    _wait_for_producer(interface, library)
    device = _number_of_device(array, library, pointer)
    return DeviceArray(pointer, shape, dtype, array, library, device, spacing)


def _spacing(
    strides: Any, shape: tuple[int, ...], itemsize: int, what: str, spaced: bool
) -> int | None:
    """Bytes from row to row, where that is all that keeps an array from being contiguous."""
    if strides is None or 0 in shape:
        return None
    expected: list[int] = []
    at = itemsize
    for length in reversed(shape):
        expected.insert(0, at)
        at *= length
    wrong = [
        axis for axis, length in enumerate(shape) if length > 1 and strides[axis] != expected[axis]
    ]
    if not wrong:
        return None
    if spaced and wrong == [0] and strides[0] > expected[0] and strides[0] % itemsize == 0:
        return int(strides[0])
    raise InvalidInputError(
        f"{what} is not contiguous on its device (shape {shape}, strides {tuple(strides)} bytes): "
        "pass a contiguous copy, as torch's .contiguous() makes one"
    )


def _wait_for_producer(interface: Any, library: str) -> None:
    """As the interface asks for: its stream's work is to be done before another stream reads."""
    if library not in ("torch", "cupy") and interface.get("stream"):
        from ragmask.kernels.cuda import memory

        memory.wait_for(int(interface["stream"]))


def _number_of_device(array: Any, library: str, pointer: int) -> int:
    if library == "torch":
        return int(array.device.index)
    if library == "cupy":
        return int(array.device.id)
    from ragmask.kernels.cuda import memory

    if isinstance(array, Memory):
        return array.device
    return memory.device_at(pointer) if pointer else memory.current_device()


def same_device(**arrays: Any) -> None:
    """Raise, saying which call moves what, unless all arrays live on one device. None is no array.

    Plain numbers, lists and tuples count as the host's.
    """
    places = {
        name: array.place if isinstance(array, DeviceArray) else "the host"
        for name, array in arrays.items()
        if array is not None
    }
    if len(set(places.values())) > 1:
        told = ", ".join(f"{name} on {place}" for name, place in places.items())
        raise DeviceError(
            f"nothing is moved silently: {told}. Move a Ragged with .to_device() or .to_host(), "
            "LSTMWeights with .to_device(), a bare array with torch's .cuda(), cupy.asarray or "
            "numba.cuda.to_device"
        )
