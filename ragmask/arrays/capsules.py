"""Device memory that other libraries lend in capsules: what DLPack and Arrow have in common.

Only the C structures that describe the memory are read, never the memory itself, which the host
may be unable to see: so nothing here has looked at what offsets, starts and sizes say. Whoever
takes a structure out of its capsule owes its lender one call of its deleter, also if reading fails.
"""

import ctypes
import math
import weakref
from ctypes import c_void_p
from dataclasses import dataclass
from typing import Any

import numpy as np

from ragmask.errors import InvalidInputError, UnsupportedTypeError

_HOST = (1, 3)  # DLPack's numbers, which Arrow shares: plain and pinned memory of the host
CUDA_TYPES = (2, 13)  # device memory and managed memory

# functions of our own: the attributes of ctypes.pythonapi are shared with every other library
_Named = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)
_Address = ctypes.PYFUNCTYPE(c_void_p, ctypes.py_object, ctypes.c_char_p)
is_capsule = _Named(("PyCapsule_IsValid", ctypes.pythonapi))
rename = _Named(("PyCapsule_SetName", ctypes.pythonapi))
address_of = _Address(("PyCapsule_GetPointer", ctypes.pythonapi))
_Deleter = ctypes.CFUNCTYPE(None, c_void_p)  # called without the GIL, as C callers do


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


class Loan:
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


def check_device(device_type: int, what: str) -> None:
    if device_type in _HOST:
        raise UnsupportedTypeError(f"{what} is in the host's memory: pass it as a numpy array")
    if device_type not in CUDA_TYPES:
        raise UnsupportedTypeError(
            f"{what} is on a device of type {device_type}; ragmask reads CUDA devices "
            "(2 and 13): copy it to the host"
        )
