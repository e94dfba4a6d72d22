"""Any library's array on a CUDA device, read as a CudaArray."""

from typing import Any

import numpy as np

from ragmask.arrays.capsules import Memory
from ragmask.arrays.cuda_array import CudaArray
from ragmask.arrays.dlpack import device_of, read_dlpack
from ragmask.errors import InvalidInputError, UnsupportedTypeError


def is_on_device(array: Any) -> bool:
    """Whether an array, of any library, lives on a CUDA device."""
    if isinstance(array, np.ndarray | list | tuple | int | float):
        return False
    return isinstance(array, CudaArray) or _device_of(array) is not None


def _device_of(array: Any) -> int | None:
    try:
        if hasattr(array, "__cuda_array_interface__"):
            return 0
    except RuntimeError:  # torch's word for a tensor that requires grad
        return 0
    return device_of(array)


def read_cuda_array(array: Any, what: str, spaced: bool = False) -> CudaArray:
    """Any library's array on a device, or an error. `what` names the argument in messages."""
    if isinstance(array, CudaArray):
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
    is_read_only = bool(interface["data"][1])
    return CudaArray(pointer, shape, dtype, array, library, device, spacing, is_read_only)


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
