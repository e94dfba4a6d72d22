"""Arrays on a CUDA device that offer DLPack.

https://dmlc.github.io/dlpack/latest/python_spec.html. cuda.core's StridedMemoryView reads it too,
but trusts its lender: of cuda.core 1.2, a null shape ends the interpreter, a layout of DLPack 2 is
read as one of DLPack 1, and memory of what is refused is never given back.
"""

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, c_int32, c_int64, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p
from typing import Any

import numpy as np

from ragmask.arrays.capsules import (
    CUDA_TYPES,
    Loan,
    Memory,
    address_of,
    check_device,
    is_capsule,
    rename,
)
from ragmask.errors import InvalidInputError, UnsupportedTypeError

_KINDS = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 5: "complex", 6: "bool"}
_CODES = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16")
_DTYPES = {"bool8": np.dtype(np.bool_), **{t.name: t for t in map(np.dtype, _CODES)}}
_MOST_AXES = 32  # numpy 1's limit


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


def device_of(array: Any) -> int | None:
    """The CUDA device that an array says it lives on; None for anything else."""
    try:
        device_type, device = array.__dlpack_device__()
        return int(device) if int(device_type) in CUDA_TYPES else None
    except Exception:  # whatever a stranger's attribute does, it is no array on a CUDA device
        return None


def read_dlpack(array: Any, what: str, stream: int) -> Memory:
    """The memory of an array that offers `__dlpack__`, in order with the work on `stream`.

    1 is the legacy default stream, 2 the per-thread one, -1 asks for no order; a pointer else.
    """
    check_device(int(array.__dlpack_device__()[0]), what)
    capsule = _dlpack_capsule(array, what, stream)
    managed: _ManagedTensor | _VersionedTensor
    if is_capsule(capsule, b"dltensor_versioned"):
        managed = _VersionedTensor.from_address(address_of(capsule, b"dltensor_versioned"))
        rename(capsule, b"used_dltensor_versioned")
    elif is_capsule(capsule, b"dltensor"):
        managed = _ManagedTensor.from_address(address_of(capsule, b"dltensor"))
        rename(capsule, b"used_dltensor")
    else:
        raise InvalidInputError(
            f"{what}.__dlpack__() gave {capsule!r}, which is no unused dltensor"
        )
    loan = Loan(managed, managed.deleter, 0, what)
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


def _read_tensor(managed: _ManagedTensor | _VersionedTensor, loan: Loan) -> Memory:
    what, read_only = loan.what, False
    if isinstance(managed, _VersionedTensor):
        if managed.major != 1:
            raise UnsupportedTypeError(
                f"{what} is of DLPack {managed.major}; ragmask reads 0 and 1"
            )
        read_only = bool(managed.flags & 1)
    tensor = managed.tensor
    check_device(tensor.device_type, what)
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
