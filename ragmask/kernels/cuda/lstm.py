"""LSTM over the kept steps of rows: the recurrence, over gates that `project` has summed up.

A block has a few rows in flight, and takes the next as soon as one ends: they come longest first,
so that the blocks end together. Masked steps are not computed.

Where the recurrent kernel lies decides how a block works. Up to 64 units it stays in registers,
and up to 128 in registers and shared memory (lstm_resident.py). Beyond, and in float64, it is read
from the L2 cache at every step (lstm_streamed.py, and lstm_row.py where the states of several rows
have no room).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ragmask.errors import DeviceError
from ragmask.kernels.cuda.launch import Limits, device_limits, launch_blocks
from ragmask.kernels.cuda.lstm_resident import RESIDENT, SLOTS, shared_bytes_of
from ragmask.kernels.cuda.lstm_row import lstm_rows
from ragmask.kernels.cuda.lstm_streamed import (
    MOST_SLOTS,
    MOST_THREADS,
    TILE,
    TILE_DOUBLE,
    lstm_streamed,
    lstm_streamed_double,
)

STATIC_BYTES = 5 << 10  # shared memory that a kernel has beside the dynamic, or less
_BUSY_THREADS = 256  # of a multiprocessor: with fewer, its schedulers wait for each other's results
# of a kernel that keeps the weights, as many as there are registers for
_BLOCKS = {16: 16, 32: 6, 48: 3, 64: 2, 96: 1, 128: 1}


class Plan(NamedTuple):
    """What is launched, and how."""

    kernel: Any
    blocks: int
    threads: int
    shared_bytes: int  # dynamic ones
    slots: int | None = None  # of a block, where that is an argument


def plan_resident(rows: int, units: int, single: bool, limits: Limits) -> Plan | None:
    """Weights kept by each block, if it has room for them."""
    most_units = next((most for most in RESIDENT if units <= most), None)
    if most_units is None or not single:
        return None
    shared_bytes = shared_bytes_of(most_units)
    if shared_bytes + STATIC_BYTES > limits.shared_bytes:
        return None
    threads = SLOTS * most_units
    blocks = blocks_of(rows, SLOTS, threads, _BLOCKS[most_units], limits)
    return Plan(RESIDENT[most_units], blocks, threads, shared_bytes)


def plan_streamed(rows: int, units: int, single: bool, limits: Limits) -> Plan | None:
    """Weights read at every step, if a block has room for the states of some rows."""
    tile, kernel = (TILE, lstm_streamed) if single else (TILE_DOUBLE, lstm_streamed_double)
    tile_bytes = 3 * tile * (4 if single else 8) * -(-units // 4) * 4  # h, the next h, and c
    room = limits.shared_bytes - STATIC_BYTES
    company = -(-rows // (tile * limits.multiprocessors))  # more tiles would be empty
    groups = min(room // tile_bytes, MOST_SLOTS // tile, company)
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


def plan_rows(rows: int, units: int, single: bool, limits: Limits) -> Plan:
    """A row at a time for a block, whose states are all it has to have room for."""
    shared_bytes = 3 * units * (4 if single else 8)
    threads = min(-(-units // 32) * 32, 1024)
    return Plan(lstm_rows, min(rows, limits.multiprocessors), threads, shared_bytes)


def plan_of(rows: int, units: int, single: bool, limits: Limits) -> Plan:
    """The kernel for so many units, and as many blocks of it as there can be at once."""
    plan = plan_resident(rows, units, single, limits)
    plan = plan or plan_streamed(rows, units, single, limits)
    plan = plan or plan_rows(rows, units, single, limits)
    if plan.shared_bytes + STATIC_BYTES > limits.shared_bytes:
        raise DeviceError(
            f"an LSTM of {units} units needs {plan.shared_bytes + STATIC_BYTES} bytes of shared "
            f"memory a block; the device has {limits.shared_bytes}: run it on the CPU"
        )
    return plan


def lstm(
    order: Any,
    gates: Any,
    starts: Any,
    lengths: Any,
    mask: Any,
    recurrent: Any,
    h0: Any,
    c0: Any,
    backwards: bool,
    zero_output_for_mask: bool,
    out_starts: Any,
    out: Any,
    h: Any,
    c: Any,
    counter: Any,
    *,
    limits: Limits | None = None,
    planner: Callable[..., Plan | None] = plan_of,
    stream: Any = 0,
) -> None:
    """Launch the kernel for so many units; nothing where there are no rows.

    order int64 (rows,), the rows, longest first; gates (n · 4 · units,) from `project`, aligned to
    16 bytes; starts, lengths, out_starts int64 (rows,), the steps in gates and in out; mask bool
    (n,) or None; recurrent (units · 4 · units,) from `packed_for_cuda`, aligned to 16 bytes; h0,
    c0, h, c (rows, units); out (steps, units), or (0, units) where only the states are wanted;
    counter int64 (1,), 0. All numbers are float32, or all float64.

    The kernel is chosen by units, dtype and device, never by the rows, and which block and slot
    takes a row changes no bit of what it becomes. limits are those of the current device.
    """
    rows, units = h.shape
    if rows == 0:
        return
    plan = planner(rows, units, gates.dtype == np.float32, limits or device_limits())
    assert plan is not None
    options = backwards, zero_output_for_mask
    slots = () if plan.slots is None else (plan.slots,)
    launch_blocks(
        *plan[:3],
        *(order, gates, starts, lengths, mask, recurrent, h0, c0, *options, *slots),
        *(out_starts, out, h, c, counter),
        shared_bytes=plan.shared_bytes,
        stream=stream,
    )
