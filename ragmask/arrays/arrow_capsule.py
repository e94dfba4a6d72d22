"""Arrow's list arrays on a CUDA device, through Arrow's C device interface.

https://arrow.apache.org/docs/format/CDeviceDataInterface.html
"""

import ctypes
from ctypes import POINTER, c_int32, c_int64, c_void_p
from typing import Any, NamedTuple

import numpy as np

from ragmask.arrays.capsules import Loan, Memory, address_of, check_device, is_capsule
from ragmask.errors import InvalidInputError, UnsupportedTypeError


class HostMemoryError(UnsupportedTypeError):
    """An Arrow array that offers itself as one of a device, and is on the host."""


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


def read_arrow_device(array: Any, what: str) -> ArrowRows:
    """The buffers of an Arrow list array of numbers that offers `__arrow_c_device_array__`."""
    schema, capsule = array.__arrow_c_device_array__()
    if not is_capsule(capsule, b"arrow_device_array"):
        raise InvalidInputError(
            f"{what}.__arrow_c_device_array__() gave {capsule!r}, which is no arrow_device_array"
        )
    lent = _DeviceArray.from_address(address_of(capsule, b"arrow_device_array"))
    if not lent.array.release:
        raise InvalidInputError(f"{what} gave an Arrow array that was released: export it again")
    moved = _DeviceArray.from_buffer_copy(lent)
    lent.array.release = None  # this is how Arrow structures move: the capsule owes nothing now
    loan = Loan(moved, moved.array.release, moved.device_id, what)
    try:
        if moved.device_type == 1:
            raise HostMemoryError(
                f"{what} is in the host's memory: read it as any other Arrow array"
            )
        check_device(moved.device_type, what)
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


def _read_lists(lent: _DeviceArray, type_: Any, loan: Loan) -> ArrowRows:
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


def _read_nulls(array: _ArrowArray, first: int, n: int, loan: Loan) -> Nulls:
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
