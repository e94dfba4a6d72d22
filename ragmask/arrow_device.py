"""Arrow's lists on a CUDA device, as cuDF hands them out, to the bare arrays of a Ragged."""

import ctypes
from typing import Any

import numpy as np

from ragmask import device_rows
from ragmask.arrow import Nulls, Rows
from ragmask.capsules import ArrowRows, HostMemoryError, Memory, read_arrow_device
from ragmask.capsules import Nulls as Bits
from ragmask.device_array import device_array, launch
from ragmask.errors import InvalidInputError
from ragmask.layout import check_rows, rows_between


def read_rows_on_device(source: Any, nulls: Nulls) -> tuple[Rows, device_rows.Facts] | None:
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
    values: Any = device_array(lists.values, "values")
    starts, lengths = _place(lists, values)
    if lists.nulls.bits is not None and lists.nulls.null_count != 0:
        is_row = _bools(lists.nulls, lists.rows)
        null = device_rows.first_outside(is_row.astype(np.int64), None, 1, 2)
        if null >= 0 and nulls == "error":
            raise InvalidInputError(f'row {null} is null; nulls="empty" reads it as an empty row')
        lengths = device_rows.where(is_row, lengths)
    mask = None
    if lists.value_nulls.bits is not None and lists.value_nulls.null_count != 0:
        mask = _bools(lists.value_nulls, len(values))
    facts = check_rows(len(values), starts, lengths)
    assert facts is not None
    return Rows(values, starts, lengths, mask), facts


def _place(lists: ArrowRows, like: Any) -> tuple[Any, Any]:
    """(starts, lengths), not checked yet."""
    if lists.list_size is not None:
        return (
            device_rows.progression(0, lists.list_size, lists.rows, like),
            device_rows.filled(lists.list_size, (lists.rows,), np.int64, like),
        )
    if lists.starts is not None:
        return _int64(lists.starts), _int64(lists.sizes)
    if lists.rows == 0:  # Arrow may leave the offsets out
        nothing = like.empty((0,), np.int64)
        return nothing, nothing
    starts, lengths, _ = rows_between(len(like), _int64(lists.offsets))
    return starts, lengths


def _int64(indices: Memory | None) -> Any:
    return device_array(indices, "offsets").astype(np.int64)


def _bools(nulls: Bits, n: int) -> Any:
    """Arrow's bits, the lowest of a byte first, as bools: True = not null."""
    bits = device_array(nulls.bits, "validity")
    out = bits.empty((n,), np.bool_)
    launch("unpack_bits", n, bits, nulls.bit_offset, out, by_item=True)
    return out
