"""A device whose memory is the host's: for tests of the code that runs before and after kernels.

`CudaArray`s hold addresses; here they are numpy's. Kernels get numpy arrays over them, in the
simulator and as executed PTX alike.
"""

from contextlib import nullcontext

import numpy as np

from ragmask.arrays.cuda_array import CudaArray
from ragmask.kernels import cuda
from ragmask.kernels.cells import CELLS
from ragmask.kernels.cuda import memory
from ragmask.kernels.cuda.launch import Limits
from ragmask.kernels.cuda.recurrent import launch as recurrent

GARBAGE = 0xA5
LIMITS = Limits(multiprocessors=2, shared_bytes=100_000)


class OnDevice:
    """An array of a library that nobody knows, as it shows itself to others."""

    def __init__(self, array):
        self.array = array

    @property
    def __cuda_array_interface__(self):
        return {**self.array.__array_interface__, "version": 3}


def over(array):
    """numpy's array over the memory of a device array."""
    interface = dict(array.__cuda_array_interface__)
    shape, dtype = interface["shape"], np.dtype(interface["typestr"])
    if 0 in shape:
        return np.empty(shape, dtype)
    interface["version"] = 3

    class Memory:
        __array_interface__ = interface
        owner = array  # which numpy's array keeps

    return np.asarray(Memory())


def as_device(monkeypatch):
    """Take the host for a device; a list of what was copied between the two."""
    moved = []

    def to_host(array, out, stream):
        moved.append(("to host", out.nbytes))
        out[...] = over(array)

    def to_device(array, out, stream):
        moved.append(("to device", array.nbytes))
        over(out)[...] = array

    def taking_arrays(function):
        def call(*arguments, stream):
            function(*map(on_host, arguments), stream=stream)

        return call

    def on_host(argument):
        if isinstance(argument, tuple) and hasattr(argument, "_fields"):
            return argument._make(map(on_host, argument))
        return over(argument) if isinstance(argument, CudaArray) else argument

    of_cells = [name for cell in CELLS for name in cell.names]
    for name in ("launch", "gather", "project", *of_cells):
        monkeypatch.setattr(cuda, name, taking_arrays(getattr(cuda, name)))
    monkeypatch.setattr(recurrent, "device_limits", lambda: LIMITS)
    monkeypatch.setattr(memory, "on_device", lambda device: nullcontext())
    monkeypatch.setattr(memory, "stream_at", lambda pointer: pointer)
    monkeypatch.setattr(memory, "wait_for", lambda pointer: moved.append(("waited", pointer)))
    monkeypatch.setattr(memory, "current_device", lambda: 0)
    monkeypatch.setattr(memory, "device_at", lambda pointer: 0)
    monkeypatch.setattr(memory, "empty", lambda n, stream: OnDevice(np.full(n, GARBAGE, "u1")))
    monkeypatch.setattr(memory, "wrap", lambda array: OnDevice(over(array)))
    monkeypatch.setattr(memory, "to_host", to_host)
    monkeypatch.setattr(memory, "to_device", to_device)
    return moved
