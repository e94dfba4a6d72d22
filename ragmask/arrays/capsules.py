"""Device memory that other libraries lend, through DLPack and Arrow's C device interface.

Only the C structures that describe the memory are read, never the memory itself, which the host
may be unable to see: so nothing here has looked at what offsets, starts and sizes say. Whoever
takes a structure out of its capsule owes its lender one call of its deleter, also if reading fails.

https://dmlc.github.io/dlpack/latest/python_spec.html
https://arrow.apache.org/docs/format/CDeviceDataInterface.html
"""

import ctypes
import math
import weakref
from collections.abc import Sequence
from ctypes import POINTER, c_int32, c_int64, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ragmask.errors import InvalidInputError, UnsupportedTypeError

_HOST = (1, 3)  # DLPack's numbers, which Arrow shares: plain and pinned memory of the host
_CUDA = (2, 13)  # device memory and managed memory
_KINDS = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 5: "complex", 6: "bool"}
_CODES = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16")
_DTYPES = {"bool8": np.dtype(np.bool_), **{t.name: t for t in map(np.dtype, _CODES)}}
_MOST_AXES = 32  # numpy 1's limit

# functions of our own: the attributes of ctypes.pythonapi are shared with every other library
_Named = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)
_Address = ctypes.PYFUNCTYPE(c_void_p, ctypes.py_object, ctypes.c_char_p)
_is_capsule = _Named(("PyCapsule_IsValid", ctypes.pythonapi))
_rename = _Named(("PyCapsule_SetName", ctypes.pythonapi))
_address = _Address(("PyCapsule_GetPointer", ctypes.pythonapi))
_Deleter = ctypes.CFUNCTYPE(None, c_void_p)  # called without the GIL, as C callers do


class HostMemoryError(UnsupportedTypeError):
    """An Arrow array that offers itself as one of a device, and is on the host."""


class _Tensor(ctypes.Structure):  # DLTensor, with DLDevice and DLDataType
    _fields_ = (
        ("data", c_void_p),
        ("device_type", c_int32),
        ("device_id", c_int32),
        ("ndim", c_int32),
        ("code", c_uint8),
        ("bits", c_uint8),
        ("lanes", c_uint16),
        ("shape", POINTER(c_int64)),
        ("strides", POINTER(c_int64)),
        ("byte_offset", c_uint64),
    )


class _ManagedTensor(ctypes.Structure):  # DLManagedTensor
    _fields_ = (("tensor", _Tensor), ("context", c_void_p), ("deleter", c_void_p))


class _VersionedTensor(ctypes.Structure):  # DLManagedTensorVersioned
    _fields_ = (
        ("major", c_uint32),
        ("minor", c_uint32),
        ("context", c_void_p),
        ("deleter", c_void_p),
        ("flags", c_uint64),
        ("tensor", _Tensor),
    )


class _ArrowArray(ctypes.Structure):  # ArrowArray
    _fields_ = (
        ("length", c_int64),
        ("null_count", c_int64),
        ("offset", c_int64),
        ("n_buffers", c_int64),
        ("n_children", c_int64),
        ("buffers", POINTER(c_void_p)),
        ("children", POINTER(c_void_p)),
        ("dictionary", c_void_p),
        ("release", c_void_p),
        ("private_data", c_void_p),
    )


class _DeviceArray(ctypes.Structure):  # ArrowDeviceArray
    _fields_ = (
        ("array", _ArrowArray),
        ("device_id", c_int64),
        ("device_type", c_int32),
        ("sync_event", c_void_p),
        ("reserved", c_int64 * 3),
    )


@dataclass(frozen=True, eq=False, repr=False)
class Memory:
    """C-contiguous numbers on a CUDA device, lent for as long as this lives."""

    pointer: int  # 0 where there are no elements
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    device: int
    owner: object
    read_only: bool

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.pointer, self.read_only),
            "strides": None,
            "version": 3,
        }

    def __repr__(self) -> str:
        where = f"at {self.pointer:#x} of device {self.device}"
        return f"Memory({self.dtype}, shape {self.shape}, {where})"


class Nulls(NamedTuple):
    """Which elements are null: those whose bit, the lowest of a byte first, is 0."""

    null_count: int  # 0 = none, -1 = not counted
    bits: Memory | None  # uint8; None = no nulls
    bit_offset: int  # the first element's bit in the first byte


class ArrowRows(NamedTuple):
    """The buffers of a list array. Each of its Memories keeps all of them, and the event, alive."""

    rows: int
    values: Memory  # what offsets and starts count in; of fixed-size lists, the rows end to end
    offsets: Memory | None  # int32 or int64, rows + 1; of zero rows 0, where Arrow may have none
    starts: Memory | None  # int32 or int64, with sizes, of list views
    sizes: Memory | None
    list_size: int | None  # of fixed-size lists
    nulls: Nulls
    value_nulls: Nulls
    sync_event: int | None  # cudaEvent_t*, to wait for before any of it is read


class _Loan:
    """What another library lent, given back once: when asked to, or when nobody holds it."""

    def __init__(self, lent: ctypes.Structure, deleter: int | None, device: int, what: str) -> None:
        self.device, self.what = device, what
        self.give_back = weakref.finalize(self, _delete, lent, deleter)
        self.give_back.atexit = False  # arrays may be in use until the very end

    def memory(
        self,
        pointer: int | None,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        skip_bytes: int,
        read_only: bool = True,
    ) -> Memory:
        """What begins `skip_bytes` after a pointer, which may be null if there are no elements."""
        if math.prod(shape) == 0:
            return Memory(0, shape, dtype, self.device, self, read_only)
        if not pointer:
            raise InvalidInputError(f"{self.what} has shape {shape} and {dtype}, but no memory")
        pointer += skip_bytes
        if pointer % dtype.alignment:
            raise InvalidInputError(
                f"{self.what} has {dtype} at {pointer:#x}, which is not a multiple of "
                f"{dtype.alignment} as devices need it: pass a copy"
            )
        return Memory(pointer, shape, dtype, self.device, self, read_only)


def _delete(lent: ctypes.Structure, deleter: int | None) -> None:
    if deleter:
        _Deleter(deleter)(ctypes.addressof(lent))


def device_of(array: Any) -> int | None:
    """The CUDA device that an array says it lives on; None for anything else."""
    try:
        device_type, device = array.__dlpack_device__()
        return int(device) if int(device_type) in _CUDA else None
    except Exception:  # whatever a stranger's attribute does, it is no array on a CUDA device
        return None


# -- DLPack -------------------------------------------------------------------------------


def read_dlpack(array: Any, what: str, stream: int) -> Memory:
    """The memory of an array that offers `__dlpack__`, in order with the work on `stream`.

    1 is the legacy default stream, 2 the per-thread one, -1 asks for no order; a pointer else.
    """
    _check_device(int(array.__dlpack_device__()[0]), what)
    capsule = _dlpack_capsule(array, what, stream)
    managed: _ManagedTensor | _VersionedTensor
    if _is_capsule(capsule, b"dltensor_versioned"):
        managed = _VersionedTensor.from_address(_address(capsule, b"dltensor_versioned"))
        _rename(capsule, b"used_dltensor_versioned")
    elif _is_capsule(capsule, b"dltensor"):
        managed = _ManagedTensor.from_address(_address(capsule, b"dltensor"))
        _rename(capsule, b"used_dltensor")
    else:
        raise InvalidInputError(
            f"{what}.__dlpack__() gave {capsule!r}, which is no unused dltensor"
        )
    loan = _Loan(managed, managed.deleter, 0, what)
    try:
        return _read_tensor(managed, loan)
    except BaseException:
        loan.give_back()
        raise


def _dlpack_capsule(array: Any, what: str, stream: int) -> object:
    try:
        try:
            return array.__dlpack__(stream=stream, max_version=(1, 0))
        except TypeError:  # from before DLPack had versions
            return array.__dlpack__(stream=stream)
    except (BufferError, TypeError, ValueError) as error:
        raise UnsupportedTypeError(
            f"{what} cannot be read through DLPack ({type(array).__name__}): {error}"
        ) from error


def _read_tensor(managed: _ManagedTensor | _VersionedTensor, loan: _Loan) -> Memory:
    what, read_only = loan.what, False
    if isinstance(managed, _VersionedTensor):
        if managed.major != 1:
            raise UnsupportedTypeError(
                f"{what} is of DLPack {managed.major}; ragmask reads 0 and 1"
            )
        read_only = bool(managed.flags & 1)
    tensor = managed.tensor
    _check_device(tensor.device_type, what)
    loan.device = tensor.device_id

    kind = _KINDS.get(tensor.code)
    name = f"{kind}{tensor.bits}" if kind else f"DLPack type {tensor.code} of {tensor.bits} bits"
    if tensor.lanes != 1:
        name += f"x{tensor.lanes}"
    if name not in _DTYPES:
        raise UnsupportedTypeError(
            f"{what} has dtype {name}; use bools, integers, complex numbers or "
            "float16, float32 and float64: convert it first"
        )
    if not 0 <= tensor.ndim <= _MOST_AXES or (tensor.ndim and not tensor.shape):
        raise InvalidInputError(f"{what} has no shape for its {tensor.ndim} dimensions")
    shape = tuple(tensor.shape[: tensor.ndim]) if tensor.ndim else ()
    if min(shape, default=0) < 0:
        raise InvalidInputError(f"{what} has the negative shape {shape}")
    if tensor.strides and not _is_contiguous(shape, strides := tensor.strides[: tensor.ndim]):
        raise InvalidInputError(
            f"{what} of shape {shape} and strides {tuple(strides)} is not contiguous: "
            "pass a contiguous copy"
        )
    return loan.memory(tensor.data, shape, _DTYPES[name], tensor.byte_offset, read_only)


def _is_contiguous(shape: Sequence[int], strides: Sequence[int]) -> bool:
    step = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != step:
            return 0 in shape
        step *= size
    return True


# -- Arrow --------------------------------------------------------------------------------


def read_arrow_device(array: Any, what: str) -> ArrowRows:
    """The buffers of an Arrow list array of numbers that offers `__arrow_c_device_array__`."""
    schema, capsule = array.__arrow_c_device_array__()
    if not _is_capsule(capsule, b"arrow_device_array"):
        raise InvalidInputError(
            f"{what}.__arrow_c_device_array__() gave {capsule!r}, which is no arrow_device_array"
        )
    lent = _DeviceArray.from_address(_address(capsule, b"arrow_device_array"))
    if not lent.array.release:
        raise InvalidInputError(f"{what} gave an Arrow array that was released: export it again")
    moved = _DeviceArray.from_buffer_copy(lent)
    lent.array.release = None  # this is how Arrow structures move: the capsule owes nothing now
    loan = _Loan(moved, moved.array.release, moved.device_id, what)
    try:
        if moved.device_type == 1:
            raise HostMemoryError(
                f"{what} is in the host's memory: read it as any other Arrow array"
            )
        _check_device(moved.device_type, what)
        return _read_lists(moved, _import_type(schema, what), loan)
    except BaseException:
        loan.give_back()
        raise


def _import_type(schema: object, what: str) -> Any:
    import pyarrow as pa

    try:
        return pa.DataType._import_from_c_capsule(schema)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise InvalidInputError(f"{what} gave {schema!r}, no type of Arrow's: {error}") from error


def _read_lists(lent: _DeviceArray, type_: Any, loan: _Loan) -> ArrowRows:
    from pyarrow import types

    views = types.is_list_view(type_) or types.is_large_list_view(type_)
    large = types.is_large_list(type_) or types.is_large_list_view(type_)
    fixed = types.is_fixed_size_list(type_)
    if not (types.is_list(type_) or views or large or fixed):
        raise UnsupportedTypeError(
            f"{loan.what} is Arrow's {type_} on a CUDA device: pass a list array of numbers"
        )
    dtype = _item_dtype(type_, loan.what)
    lists = lent.array
    _check_parts(lists, 3 if views else 1 if fixed else 2, 1, type_, loan.what)
    items = _ArrowArray.from_address(lists.children[0])
    _check_parts(items, 2, 0, type_.value_type, loan.what)

    index = np.dtype(np.int64 if large else np.int32)

    def indices(buffer: int, n: int) -> Memory:
        return loan.memory(lists.buffers[buffer], (n,), index, lists.offset * index.itemsize)

    rows, first, n = lists.length, 0, items.length
    offsets = starts = sizes = None
    if fixed:
        first, n = lists.offset * type_.list_size, rows * type_.list_size
        if first + n > items.length:
            raise InvalidInputError(
                f"{loan.what} has {items.length} items; its rows of {type_} need {first + n}"
            )
    elif views:
        starts, sizes = indices(1, rows), indices(2, rows)
    else:
        offsets = indices(1, rows + 1 if rows else 0)
    skip_bytes = (items.offset + first) * dtype.itemsize
    return ArrowRows(
        rows,
        loan.memory(items.buffers[1], (n,), dtype, skip_bytes),
        offsets,
        starts,
        sizes,
        type_.list_size if fixed else None,
        _read_nulls(lists, 0, rows, loan),
        _read_nulls(items, first, n, loan),
        lent.sync_event,
    )


def _item_dtype(list_type: Any, what: str) -> np.dtype[Any]:
    """The dtype of numbers that numpy stores as Arrow does."""
    from pyarrow import types

    type_ = list_type.value_type
    if types.is_integer(type_) or types.is_floating(type_):
        dtype: np.dtype[Any] = np.dtype(type_.to_pandas_dtype())
        return dtype
    if types.is_timestamp(type_):
        return np.dtype(f"datetime64[{type_.unit}]")
    if types.is_duration(type_):
        return np.dtype(f"timedelta64[{type_.unit}]")
    remedy = "its items must be numbers, timestamps or durations: cast them, or copy it to the host"
    if types.is_boolean(type_):
        remedy = "its bools are packed, eight in a byte: cast them to uint8 first"
    raise UnsupportedTypeError(f"{what} is Arrow's {list_type} on a CUDA device; {remedy}")


def _check_parts(array: _ArrowArray, buffers: int, children: int, type_: Any, what: str) -> None:
    """Arrow's layout of a type fixes how many buffers and children there are to be read."""
    if (array.n_buffers, array.n_children) != (buffers, children):
        raise InvalidInputError(
            f"{what} gave {array.n_buffers} buffers and {array.n_children} children for "
            f"{type_}, which has {buffers} and {children}"
        )
    if not array.buffers or (children and not (array.children and array.children[0])):
        raise InvalidInputError(f"{what} gave null pointers for the buffers or items of {type_}")
    if min(array.length, array.offset) < 0 or array.null_count < -1:
        raise InvalidInputError(
            f"{what} gave {type_} of length {array.length} at offset {array.offset} "
            f"with {array.null_count} nulls"
        )


def _read_nulls(array: _ArrowArray, first: int, n: int, loan: _Loan) -> Nulls:
    """Of `n` elements from `first` on."""
    if not array.buffers[0]:
        if array.null_count > 0:
            raise InvalidInputError(
                f"{loan.what} has {array.null_count} nulls, but no bits of them"
            )
        return Nulls(0, None, 0)
    skip_bytes, bit = divmod(array.offset + first, 8)
    n_bytes = (bit + n + 7) // 8 if n else 0
    bits = loan.memory(array.buffers[0], (n_bytes,), np.dtype(np.uint8), skip_bytes)
    counted = n == array.length or not array.null_count
    return Nulls(array.null_count if counted else -1, bits, bit)


def _check_device(device_type: int, what: str) -> None:
    if device_type in _HOST:
        raise UnsupportedTypeError(f"{what} is in the host's memory: pass it as a numpy array")
    if device_type not in _CUDA:
        raise UnsupportedTypeError(
            f"{what} is on a device of type {device_type}; ragmask reads CUDA devices "
            "(2 and 13): copy it to the host"
        )
