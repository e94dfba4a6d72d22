"""Which of a recurrence's kernels is launched, and on how many blocks.

A block has a few rows in flight, and takes the next as soon as one ends: they come longest first,
so that the blocks end together. Masked steps are not computed.

Where the recurrent kernel lies decides how a block works. Up to 64 units it stays in registers,
and up to 128 in registers and shared memory (resident.py). Beyond, and in float64, it is read from
the L2 cache at every step (streamed.py, and row.py where the states of several rows have no room).
"""

from typing import Any, NamedTuple

import numpy as np

from ragmask.errors import DeviceError
from ragmask.kernels.constants import CUDA_SUMS
from ragmask.kernels.cuda.launch import Limits
from ragmask.kernels.cuda.recurrent.resident import (
    RESIDENT_UNITS,
    SLOTS,
    resident_kernel,
    shared_bytes_of,
)
from ragmask.kernels.cuda.recurrent.row import row_function, row_kernel
from ragmask.kernels.cuda.recurrent.streamed import (
    MOST_SLOTS,
    MOST_THREADS,
    TILE,
    TILE_DOUBLE,
    streamed_kernel,
)

STATIC_BYTES = 5 << 10  # shared memory that a kernel has beside the dynamic, or less
_GRADIENT_THREADS = 512  # most of a row's block: each may then have 128 registers
_PART_UNITS = 8  # least of them that a thread sums up
_BUSY_THREADS = 256  # of a multiprocessor: with fewer, its schedulers wait for each other's results
# of a kernel that keeps the weights, as many as there are registers for
_BLOCKS = {16: 16, 32: 6, 48: 3, 64: 2, 96: 1, 128: 1}


class Kernels(NamedTuple):
    """Those of one cell."""

    row: Any  # a device function
    rows: Any
    resident: dict[int, Any]  # by the most units
    streamed: Any
    streamed_double: Any


def kernels_of(cell: Any) -> Kernels:
    row = row_function(cell)
    return Kernels(
        row,
        row_kernel(row),
        {units: resident_kernel(cell, units) for units in RESIDENT_UNITS},
        streamed_kernel(cell, TILE, np.float32),
        streamed_kernel(cell, TILE_DOUBLE, np.float64),
    )


class Plan(NamedTuple):
    """What is launched, and how."""

    kernel: Any
    blocks: int
    threads: int
    shared_bytes: int  # dynamic ones
    slots: int | None = None  # of a block, where that is an argument


def plan_resident(
    kernels: Kernels, rows: int, units: int, single: bool, limits: Limits
) -> Plan | None:
    """Weights kept by each block, if it has room for them."""
    most_units = next((most for most in RESIDENT_UNITS if units <= most), None)
    if most_units is None or not single:
        return None
    shared_bytes = shared_bytes_of(most_units)
    if shared_bytes + STATIC_BYTES > limits.shared_bytes:
        return None
    threads = SLOTS * most_units
    blocks = blocks_of(rows, SLOTS, threads, _BLOCKS[most_units], limits)
    return Plan(kernels.resident[most_units], blocks, threads, shared_bytes)


def plan_streamed(
    kernels: Kernels, rows: int, units: int, single: bool, limits: Limits
) -> Plan | None:
    """Weights read at every step, if a block has room for the states of some rows."""
    tile = TILE if single else TILE_DOUBLE
    kernel = kernels.streamed if single else kernels.streamed_double
    tile_bytes = 3 * tile * (4 if single else 8) * -(-units // 4) * 4  # h, the next h, and c
    room = limits.shared_bytes - STATIC_BYTES
    tiles = -(-rows // (tile * limits.multiprocessors))  # more of them would be empty
    groups = min(room // tile_bytes, MOST_SLOTS // tile, tiles)
    if groups < 1:
        return None
    warps = -(-units // 32)
    passes = -(-warps // (MOST_THREADS // 32 // groups))
    threads = -(-warps // passes) * 32 * groups
    slots, shared_bytes = tile * groups, tile_bytes * groups
    most = min(MOST_THREADS // threads, limits.shared_bytes // (shared_bytes + STATIC_BYTES))
    blocks = blocks_of(rows, slots, threads, most, limits)
    return Plan(kernel, blocks, threads, shared_bytes, slots)


def blocks_of(rows: int, slots: int, threads: int, most: int, limits: Limits) -> int:
    """As many blocks as the rows fill, and as keep the device busy, up to `most` at once."""
    busy = limits.multiprocessors * max(1, _BUSY_THREADS // threads)
    return min(rows, limits.multiprocessors * most, max(busy, -(-rows // slots)))


def plan_rows(kernels: Kernels, rows: int, units: int, single: bool, limits: Limits) -> Plan:
    """A row at a time for a block, whose states are all it has to have room for."""
    shared_bytes = 3 * units * (4 if single else 8)
    threads = min(-(-units // 32) * 32, 1024)
    return Plan(kernels.rows, min(rows, limits.multiprocessors), threads, shared_bytes)


def plan_of(kernels: Kernels, rows: int, units: int, single: bool, limits: Limits) -> Plan:
    """The kernel for so many units, and as many blocks of it as there can be at once."""
    plan = plan_resident(kernels, rows, units, single, limits)
    plan = plan or plan_streamed(kernels, rows, units, single, limits)
    plan = plan or plan_rows(kernels, rows, units, single, limits)
    check_room(plan.shared_bytes + STATIC_BYTES, units, limits)
    return plan


def check_room(needed: int, units: int, limits: Limits) -> None:
    if needed > limits.shared_bytes:
        raise DeviceError(
            f"a recurrent layer of {units} units needs {needed} bytes of shared memory a block; "
            f"the device has {limits.shared_bytes}: run it on the CPU"
        )


def gradient_block(units: int, itemsize: int, limits: Limits) -> tuple[int, int, int]:
    """(threads, parts, bytes of shared memory) of a block that goes back through a row.

    A step's product over the units is cut into parts while there are few of them: these fix in
    which order it is summed up, so that they follow from the units alone.
    """
    across = min(-(-units // 32) * 32, _GRADIENT_THREADS)
    parts = max(1, min(_BUSY_THREADS // across, units // _PART_UNITS))
    shared_bytes = (CUDA_SUMS + 2 + parts) * units * itemsize
    check_room(shared_bytes, units, limits)
    return across * parts, parts, shared_bytes
