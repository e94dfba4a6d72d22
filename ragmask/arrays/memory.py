"""New memory on the host: large arrays lie in Arrow's pool, which keeps pages for the next one.

Most of what it takes to fill a fresh array of numpy's are page faults; how ops grow without them,
`compare.py ops` prints. The memory goes back to the pool as the last view of it dies, and from
there to the system after a while, or on `pyarrow.default_memory_pool().release_unused()`.
"""

import math
from collections.abc import Sequence
from pickle import PickleBuffer
from typing import Any

import numpy as np
import numpy.typing as npt

from ragmask.arrays.protocol import Array, Shape, check_size

_SMALL = 1 << 18  # bytes: numpy keeps so much itself
_HUGE = 1 << 30


def empty(shape: Shape, dtype: npt.DTypeLike) -> Array:
    """An array with anything in it. Raises MemoryError where there is not so much memory."""
    dtype = np.dtype(dtype)
    nbytes = math.prod(shape) * dtype.itemsize
    if not 0 < nbytes <= _SMALL:
        check_size(shape, dtype.itemsize)
    if nbytes <= _SMALL:
        return np.empty(shape, dtype)
    if nbytes > _HUGE:
        np.empty(shape, dtype)  # asks the system for it: Arrow's pool reserves more than there is
    from pyarrow import allocate_buffer  # only now: not all who import this file need it

    # wrapped, since who finds one of Arrow's buffers beneath an array takes it for Arrow's own,
    # which nobody may write to
    buffer: Any = PickleBuffer(allocate_buffer(nbytes))
    return np.ndarray(shape, dtype, buffer)


def copied(array: Array, dtype: npt.DTypeLike | None = None) -> Array:
    """A C-contiguous copy, of the same dtype or another."""
    out = empty(array.shape, array.dtype if dtype is None else dtype)
    np.copyto(out, array, casting="unsafe")
    return out


def contiguous(array: Array) -> Array:
    """Itself where it is C-contiguous, else such a copy."""
    return array if array.flags.c_contiguous else copied(array)


def joined(parts: Sequence[Array], dtype: npt.DTypeLike | None = None) -> Array:
    """Arrays laid end to end, in their common dtype or another. Raises TypeError if none is."""
    dtype = np.result_type(*parts) if dtype is None else dtype
    out = empty((sum(map(len, parts)), *parts[0].shape[1:]), dtype)
    return np.concatenate(parts, out=out, casting="unsafe")
