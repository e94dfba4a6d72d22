"""Where an array lives, and which of two twin kernels therefore runs.

Kernels get plain arrays that this module has looked at: numpy's, or DeviceArrays of one device.
Annotations name numpy's alone. A DeviceArray answers to the same names as far as ops need them.
"""

import math
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ragmask import device_array
from ragmask.device_array import DeviceArray, is_on_device
from ragmask.errors import DeviceError, InvalidInputError, UnsupportedTypeError
from ragmask.threads import run_rows

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
A = TypeVar("A", bound=Array)

# bool, integers, floats, complex, durations and times of numpy
_NUMBER_KINDS = "biufcmM"


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
        raise UnsupportedTypeError(
            f"{what} cannot be read as a numpy array ({type(array).__name__}): {error}"
        ) from error


def to_array(array: Any, what: str, spaced: bool = False) -> Array:
    """A numpy view, or a DeviceArray of what lives on a device (`spaced`: rows may have gaps)."""
    if is_on_device(array):
        found: Any = device_array.device_array(array, what, spaced)
        return found  # type: ignore[no-any-return]
    return to_numpy(array, what)


def values_array(array: Any, what: str = "values") -> Array:
    """Numbers in native byte order, C-contiguous, as a read-only view where no copy is needed."""
    values = to_array(array, what)
    if values.dtype.kind not in _NUMBER_KINDS:
        remedy = {
            "O": "it holds Python objects: convert it to numbers first (were its rows unequal?)",
            "U": "strings become ids first, through a vocabulary",
            "S": "strings become ids first, through a vocabulary",
            "T": "strings become ids first, through a vocabulary",
            "V": "take one field of the structure at a time",
        }.get(values.dtype.kind, "use numbers, bools, times or durations")
        raise UnsupportedTypeError(f"{what} has dtype {values.dtype}; {remedy}")
    if values.ndim == 0:
        raise InvalidInputError(f"{what} is the single value {values}; it must have a step axis")
    if isinstance(values, DeviceArray):
        return values
    return read_only(
        np.ascontiguousarray(values.astype(values.dtype.newbyteorder("="), copy=False))
    )


def number_dtype(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """`dtype` in native byte order, if it is one that `values` may have."""
    try:
        wanted = np.dtype(dtype)
    except TypeError as error:
        raise UnsupportedTypeError(f"dtype {dtype!r} is none that numpy knows: {error}") from error
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
    if isinstance(indices, DeviceArray):
        return indices.astype(np.int64)  # past the int64 range it becomes negative
    if indices.dtype.kind == "u" and indices.size and indices.max() > np.iinfo(np.int64).max:
        raise InvalidInputError(f"{what} holds {indices.max()}, which is past the int64 range")
    return read_only(indices.astype(np.int64))


def check_mask(array: Any, shape: tuple[int, ...], what: str = "mask") -> Bools:
    """A bool array as it lies, which must be of exactly `shape`; True = keep."""
    mask = to_array(array, what, spaced=True)
    if mask.dtype != np.bool_:
        raise UnsupportedTypeError(
            f"{what} must be bool, True = keep; got {mask.dtype}: pass {what}.astype(bool)"
        )
    if mask.shape != shape:
        raise InvalidInputError(f"{what} has shape {mask.shape}; its values need {shape}")
    return mask if isinstance(mask, DeviceArray) else mask.view()  # as in read_only


def mask_array(array: Any, shape: tuple[int, ...], what: str = "mask") -> Bools:
    """A C-contiguous, read-only bool array of exactly `shape`; True = keep."""
    mask = check_mask(array, shape, what)
    if isinstance(mask, DeviceArray):
        return mask
    return read_only(np.ascontiguousarray(mask))


def read_only(array: Array) -> Array:
    """A view that cannot be written through.

    It keeps batches immutable, and Numba compiles a kernel once instead of once for
    writable and once for read-only arrays.
    """
    if isinstance(array, DeviceArray):
        return array
    view = array.view()  # even of a read-only one: its owner could change its shape in place
    view.flags.writeable = False
    return view


def check_no_overlap(out: Array, *inputs: Array | None) -> None:
    """Raise where `out` may share memory with what it is computed from."""
    if any(array is not None and _may_share_memory(out, array) for array in inputs):
        raise InvalidInputError("out overlaps the values it is filled from, or itself")


def _may_share_memory(one: Any, other: Any) -> bool:
    if isinstance(one, DeviceArray) and isinstance(other, DeviceArray):
        ends = one.pointer + one.nbytes, other.pointer + other.spacing * len(other)
        return max(one.pointer, other.pointer) < min(ends)
    return type(one) is type(other) and np.may_share_memory(one, other)


def out_array(name: str, array: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """The caller's array of `shape`, or that many elements from the front of a flat buffer."""
    if not hasattr(array, "__array__") and not is_on_device(array):
        raise UnsupportedTypeError(f"out's {name} must be an array; got {type(array).__name__}")
    target = to_array(array, f"out's {name}")
    if target.dtype != dtype:
        raise UnsupportedTypeError(f"out's {name} has dtype {target.dtype}; the batch is {dtype}")
    host = isinstance(target, np.ndarray)
    if host and not (target.flags.writeable and target.flags.c_contiguous):
        raise InvalidInputError(f"out's {name} must be writable and C-contiguous")
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


def word_of(item_bytes: int, *arrays: Array) -> np.dtype[Any]:
    """The widest unsigned word that steps and addresses are a multiple of."""
    odd = item_bytes
    for array in arrays:
        odd |= address(array)
    return np.dtype(f"u{min(odd & -odd, 8)}")


def address(array: Any) -> int:
    """Where its memory begins."""
    if isinstance(array, DeviceArray):
        return array.pointer
    pointer: int = array.__array_interface__["data"][0]
    return pointer


def as_words(array: Array, word: np.dtype[Any]) -> Array:
    return array.reshape(-1).view(word)


def check_size(shape: tuple[int, ...], itemsize: int) -> None:
    """Raise where numpy could not count an array's bytes, in which a side of 0 counts as 1.

    Of less, the system knows at once whether it has so much.
    """
    if math.prod(side or 1 for side in shape) * itemsize >= 2**63:
        raise InvalidInputError(f"an array of shape {shape} is larger than any memory")


def converted(values: Array, dtype: npt.DTypeLike) -> Array:
    """A copy in another dtype."""
    check_size(values.shape, np.dtype(dtype).itemsize)
    return values.astype(dtype)


def empty(shape: tuple[int, ...], dtype: npt.DTypeLike, like: Array) -> Array:
    """A new array where `like` lives."""
    check_size(shape, np.dtype(dtype).itemsize)
    if isinstance(like, DeviceArray):
        return like.empty(shape, dtype)
    return np.empty(shape, dtype)


def beside(array: Array, like: Array) -> Array:
    """A small numpy array of an op's own making, where `like` lives."""
    return like.from_host(array) if isinstance(like, DeviceArray) else array


def native(array: Any) -> Any:
    """What is given back: numpy's array, or that of the library the device's memory came from."""
    return array.native() if isinstance(array, DeviceArray) else array


def given_out(array: A) -> A:
    """What a batch shows of itself: a view, whose shape may be changed in place; ours may not."""
    given: A = native(array) if isinstance(array, DeviceArray) else array.view()
    return given


def run(name: str, lengths: Ints, cost_ns: tuple[float, float], *arguments: Any) -> None:
    """Run the kernel of that name over all rows where they live: on threads, or on the GPU.

    cost_ns is a guess of one thread's nanoseconds a row, and a step of a row.
    """
    if isinstance(lengths, DeviceArray):
        device_array.launch(name, lengths.size, *arguments)
        return
    from ragmask.kernels import cpu

    row, step = cost_ns
    run_rows(getattr(cpu, name), lengths.size, row + step * lengths if step else row, *arguments)
