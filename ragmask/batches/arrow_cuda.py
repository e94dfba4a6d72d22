"""Arrow's lists on a CUDA device, as cuDF hands them out, to Rows."""

import ctypes
from typing import Any

import numpy as np

from ragmask.arrays.arrow_capsule import ArrowRows, HostMemoryError, read_arrow_device
from ragmask.arrays.capsules import Memory
from ragmask.arrays.cuda import CudaArrays
from ragmask.arrays.cuda_array import CudaArray
from ragmask.arrays.read_cuda import read_cuda_array
from ragmask.arrow import Nulls
from ragmask.errors import InvalidInputError
from ragmask.rows.layout import Layout
from ragmask.rows.rows import Rows


def read_rows_on_device(source: Any, nulls: Nulls) -> Rows | None:
    """The rows of a list array on a device, checked there; None where it is on the host.

    Numbers keep their memory. Offsets become int64, null items a mask, null lists empty rows.
    """
    import pyarrow as pa

    is_host = isinstance(source, pa.Array | pa.ChunkedArray) and source.is_cpu
    if is_host or not hasattr(source, "__arrow_c_device_array__"):
        return None
    try:
        lists = read_arrow_device(source, "the array")
    except HostMemoryError:
        return None
    if lists.sync_event is not None:
        from ragmask.kernels.cuda import memory

        memory.wait_for_event(ctypes.c_void_p.from_address(lists.sync_event).value or 0)
    values = read_cuda_array(lists.values, "values")
    arrays = CudaArrays(values)
    starts, lengths = _starts_and_lengths(lists, arrays)
    if lists.nulls.bits is not None and lists.nulls.null_count != 0:
        is_row = _bools(arrays, lists.nulls, lists.rows)
        null = arrays.first_outside(is_row.astype(np.int64), None, 1, 2)
        if null >= 0 and nulls == "error":
            raise InvalidInputError(f'row {null} is null; nulls="empty" reads it as an empty row')
        lengths = arrays.where(is_row, lengths)
    mask = None
    if lists.value_nulls.bits is not None and lists.value_nulls.null_count != 0:
        mask = _bools(arrays, lists.value_nulls, len(values))
    return Rows(values, Layout.checked(arrays, len(values), starts, lengths), mask)


def _starts_and_lengths(lists: ArrowRows, arrays: CudaArrays) -> tuple[CudaArray, CudaArray]:
    """Not checked yet."""
    if lists.list_size is not None:
        size = lists.list_size
        return arrays.arange(0, size, lists.rows), arrays.full(size, (lists.rows,), np.int64)
    if lists.starts is not None:
        return _int64(lists.starts), _int64(lists.sizes)
    if lists.rows == 0:  # Arrow may leave the offsets out
        nothing = arrays.empty((0,), np.int64)
        return nothing, nothing
    layout = Layout.between(arrays, len(arrays.like), _int64(lists.offsets))
    return layout.starts, layout.lengths


def _int64(indices: Memory | None) -> CudaArray:
    return read_cuda_array(indices, "offsets").astype(np.int64)


def _bools(arrays: CudaArrays, nulls: Any, n: int) -> CudaArray:
    """Arrow's bits as bools: True = not null."""
    bits = read_cuda_array(nulls.bits, "validity")
    return arrays.unpacked_bits(bits, nulls.bit_offset, n)
