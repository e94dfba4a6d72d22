"""The arrays that callers pass, as ops need them, or an error that says what to do."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ragmask.arrays.cuda import CudaArrays
from ragmask.arrays.cuda_array import CudaArray
from ragmask.arrays.host import HOST
from ragmask.arrays.memory import contiguous
from ragmask.arrays.protocol import LARGEST, AnyArray, Array, Arrays, Bools, Ints, Shape
from ragmask.arrays.read_cuda import is_on_device, read_cuda_array
from ragmask.errors import DeviceError, InvalidInputError, UnsupportedTypeError

# bool, integers, floats, complex, durations and times of numpy
_NUMBER_KINDS = "biufcmM"
_WORDS = {size: np.dtype(f"u{size}") for size in (1, 2, 4, 8)}


def arrays_of(array: AnyArray) -> Arrays:
    """What can be done with this array, where it lives."""
    return CudaArrays(array) if isinstance(array, CudaArray) else HOST


def to_numpy(array: Any, what: str) -> Array:
    """A numpy view of `array` (numpy, CPU torch, anything numpy converts), or an error.

    `what` names the argument in messages. Nothing is moved from another device silently.
    """
    if isinstance(array, np.ma.MaskedArray):
        raise UnsupportedTypeError(
            f"{what} is a numpy masked array, whose mask says which items to drop: "
            "pass array.data, and mask=~np.ma.getmaskarray(array)"
        )
    if getattr(array, "requires_grad", False):
        raise UnsupportedTypeError(
            f"{what} requires grad, and ragmask's ops are forward only: pass {what}.detach()"
        )
    if is_on_device(array):
        raise DeviceError(
            f"{what} lives on a CUDA device, and nothing is moved silently: copy it to the host, "
            "a Ragged with .to_host(), a tensor with .cpu()"
        )
    try:
        return np.asarray(array)
    except (TypeError, ValueError) as error:
        is_float = getattr(getattr(array, "dtype", None), "is_floating_point", False)
        remedy = f": widen it first, with {what}.float()" if is_float else ""  # torch's bfloat16
        if isinstance(array, list | tuple):
            remedy = f": rows of unequal length are rm.Ragged.from_rows({what})"
        told = str(error).rstrip(".")
        raise UnsupportedTypeError(
            f"{what} cannot be read as a numpy array ({type(array).__name__}): {told}{remedy}"
        ) from error


def to_array(array: Any, what: str, spaced: bool = False) -> AnyArray:
    """A numpy view, or a CudaArray of what lives on a device (`spaced`: rows may have gaps)."""
    if type(array) is np.ndarray:
        return array
    if is_on_device(array):
        return read_cuda_array(array, what, spaced)
    return to_numpy(array, what)


def values_array(array: Any, what: str = "values") -> AnyArray:
    """Numbers in native byte order, C-contiguous, as a read-only view where no copy is needed."""
    values = to_array(array, what)
    check_numbers(values.dtype, what)
    if values.ndim == 0:
        raise InvalidInputError(f"{what} is the single value {values}; it must have a step axis")
    if isinstance(values, np.ndarray):
        if not values.dtype.isnative:
            values = values.astype(values.dtype.newbyteorder("="))
        values = contiguous(values)
    return arrays_of(values).read_only(values)


def check_numbers(dtype: np.dtype[Any], what: str) -> None:
    """Raise, with what to do, for a dtype that `values` may not have."""
    if dtype.kind in _NUMBER_KINDS:
        return
    remedy = {
        "O": "it holds Python objects: convert it to numbers first (were its rows unequal?)",
        "U": "strings become ids first, through a vocabulary",
        "S": "strings become ids first, through a vocabulary",
        "T": "strings become ids first, through a vocabulary",
        "V": "take one field of the structure at a time"
        if dtype.names
        else "numpy does not have it: widen it first, with .astype('float32')",
    }.get(dtype.kind, "use numbers, bools, times or durations")
    raise UnsupportedTypeError(f"{what} has dtype {dtype}; {remedy}")


def number_dtype(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """`dtype` in native byte order, if it is one that `values` may have."""
    try:
        wanted = np.dtype(dtype)
    except TypeError as error:
        raise UnsupportedTypeError(f"dtype {dtype!r} is unknown to numpy: {error}") from error
    if wanted.kind not in _NUMBER_KINDS:
        raise UnsupportedTypeError(
            f"dtype {wanted} holds no numbers; use a dtype of numbers, bools, times or durations"
        )
    return wanted.newbyteorder("=")


def index_array(array: Any, what: str) -> Ints:
    """A private int64 copy of `array`, which must be one-dimensional and of an integer dtype.

    A copy, since a kernel trusts indices for ever once they were checked.
    """
    indices = to_array(array, what)
    if indices.ndim != 1:
        raise InvalidInputError(f"{what} must have one dimension; got shape {indices.shape}")
    if indices.dtype.kind not in "iu" and indices.size > 0:
        raise UnsupportedTypeError(f"{what} must be integers; got {indices.dtype}")
    if isinstance(indices, np.ndarray) and indices.dtype.kind == "u":
        largest = int(indices.max(initial=0))
        if largest > LARGEST:  # on a device it becomes negative
            raise InvalidInputError(f"{what} holds {largest}, which is past the int64 range")
    return arrays_of(indices).read_only(indices.astype(np.int64))


def check_mask(array: Any, shape: Shape, what: str = "mask") -> Bools:
    """A bool array as it lies, which must be of exactly `shape`; True = keep."""
    mask = to_array(array, what, spaced=True)
    if mask.dtype != np.bool_:
        raise UnsupportedTypeError(
            f"{what} must be bool, True = keep; got {mask.dtype}: pass {what}.astype(bool)"
        )
    if mask.shape != shape:
        raise InvalidInputError(f"{what} has shape {mask.shape}; its values need {shape}")
    return mask.view(np.bool_)  # its owner could change its shape in place


def mask_array(array: Any, shape: Shape, what: str = "mask") -> Bools:
    """A C-contiguous, read-only bool array of exactly `shape`; True = keep."""
    mask = check_mask(array, shape, what)
    if isinstance(mask, np.ndarray):
        mask = contiguous(mask)
    return arrays_of(mask).read_only(mask)


def check_no_overlap(out: Array, *inputs: Array | None) -> None:
    """Raise where `out` may share memory with what it is computed from."""
    arrays = arrays_of(out)
    if any(array is not None and arrays.may_overlap(out, array) for array in inputs):
        raise InvalidInputError("out overlaps the values it is filled from, or itself")


def out_array(name: str, array: Any, shape: Shape, dtype: np.dtype[Any]) -> Array:
    """The caller's array of `shape`, or that many elements from the front of a flat buffer."""
    if not hasattr(array, "__array__") and not is_on_device(array):
        raise UnsupportedTypeError(f"out's {name} must be an array; got {type(array).__name__}")
    target = to_array(array, f"out's {name}")
    if target.dtype != dtype:
        raise UnsupportedTypeError(f"out's {name} has dtype {target.dtype}; the batch is {dtype}")
    arrays_of(target).check_writable(target, name)
    needed = math.prod(shape)
    if target.ndim == 1:
        if target.size < needed:
            raise InvalidInputError(
                f"out's {name} holds {target.size} elements; "
                f"a batch of shape {shape} needs {needed}"
            )
        return target[:needed].reshape(shape)
    if target.shape != shape:
        raise InvalidInputError(f"out's {name} has shape {target.shape}; the batch has {shape}")
    return target


def as_words(item_bytes: int, *arrays: AnyArray) -> list[AnyArray]:
    """Flat, as unsigned words: the widest that steps and all addresses are a multiple of."""
    size = min(item_bytes & -item_bytes, 8)
    words = []
    for array in arrays:
        array = array.reshape(-1).view(_WORDS[size])
        if not arrays_of(array).is_aligned(array):
            return as_words(size // 2, *arrays)
        words.append(array)
    return words


def same_device(**arrays: Any) -> None:
    """Raise, saying which call moves what, unless all arrays live on one device. None is no array.

    Plain numbers, lists and tuples count as the host's.
    """
    for array in arrays.values():
        if isinstance(array, CudaArray):
            break
    else:
        return
    places = {
        name: array.place if isinstance(array, CudaArray) else "the host"
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
