"""LSTM whose recurrent kernel is read from the L2 cache at every step, each number for many rows.

A block has 8 to 32 slots, each with a row in flight, and takes the next row as soon as one ends.
Their states lie in shared memory.
"""

from typing import Any

import numpy as np
from numba import cuda

from ragmask.kernels.compile import cuda_device, cuda_kernel
from ragmask.kernels.cuda.lstm_row import fill_steps, first_kept, weights_between
from ragmask.kernels.cuda.teams import i8, u8
from ragmask.kernels.cuda.vector import ALIGNED, unrolled
from ragmask.kernels.intrinsics import load_4
from ragmask.kernels.math import lstm_output, lstm_state

MOST_SLOTS = 32
MOST_THREADS = 256  # of a multiprocessor: each may then have all the registers it can name
TILE, TILE_DOUBLE = 16, 8  # slots that a thread sums for, in float32 and in float64

_ROW, _BEGIN, _AT, _AFTER, _END, _SHIFT, _IS_NEW = range(7)  # what a slot has of its row


@cuda_device
def load_rows(recurrent: Any, source: int, unit: int, units: int, weights: Any) -> None:
    """A unit's weights in 4 rows of the recurrent kernel."""
    for turn in range(4):
        some = weights_between(recurrent, source + turn, unit, units)
        for gate in range(4):
            weights[turn * 4 + gate] = some[gate]


def _streamed(tile: int, number: Any) -> Any:
    """A kernel for any number of units, in float32 or float64.

    A thread sums a unit's gates for `tile` slots at a time. Threads are split into groups: each
    group passes all units for slots of its own.
    """
    most_sums, dtype = 4 * tile, np.dtype(number)

    @cuda_device
    def begin_sums(
        turn: int, table: Any, first: int, gates: Any, unit: int, units: int, sums: Any
    ) -> None:
        """The sums of a slot begin with those over its input."""
        at = table[u8(_AT), u8(first + turn)]
        if at != table[u8(_END), u8(first + turn)]:
            given = load_4(gates, (at * units + unit) * 4)
            for gate in range(4):
                sums[turn * 4 + gate] = given[gate]
        else:
            for gate in range(4):
                sums[turn * 4 + gate] = number(0)

    @cuda_device
    def add_products(turn: int, weights: Any, states: Any, at: int, stride: int, sums: Any) -> None:
        """4 rows of the recurrent kernel, times the states of a slot."""
        state = load_4(states, at + turn * stride)
        for source in range(4):
            for gate in range(4):
                sums[turn * 4 + gate] += state[source] * weights[source * 4 + gate]

    @cuda_device
    def update(
        turn: int,
        table: Any,
        first: int,
        sums: Any,
        cells: Any,
        states: Any,
        unit: int,
        stride: int,
        direction: int,
        zero_output_for_mask: bool,
        out: Any,
        h: Any,
        c: Any,
    ) -> None:
        """The new state of a unit of a slot, and its outputs up to the next kept step."""
        slot, mine = u8(first + turn), u8((first + turn) * stride + unit)
        at, after, end = table[u8(_AT), slot], table[u8(_AFTER), slot], table[u8(_END), slot]
        if at != end:
            i, f, g, o = sums[turn * 4], sums[turn * 4 + 1], sums[turn * 4 + 2], sums[turn * 4 + 3]
            cell = lstm_state(i, f, g, cells[mine])
            output = lstm_output(o, cell)
            cells[mine], states[mine] = cell, output
            if out.size:
                shift = table[u8(_SHIFT), slot]
                out[u8(at + shift), u8(unit)] = output
                masked = number(0) if zero_output_for_mask else output
                fill_steps(masked, at + direction, after, direction, shift, unit, out)
            if after == end:
                row = u8(table[u8(_ROW), slot])
                h[row, u8(unit)], c[row, u8(unit)] = output, cell

    begin_all = unrolled(tile, begin_sums)
    add_all_products = unrolled(tile, add_products)
    update_all = unrolled(tile, update)

    @cuda_kernel
    def lstm_streamed(
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
        slots: int,
        out_starts: Any,
        out: Any,
        h: Any,
        c: Any,
        counter: Any,
    ) -> None:
        memory = cuda.shared.array(0, dtype, ALIGNED)
        table = cuda.shared.array((7, MOST_SLOTS), i8)
        sums = cuda.local.array(most_sums, number)
        weights = cuda.local.array(16, number)
        next_weights = cuda.local.array(16, number)
        rows, units = order.size, h.shape[1]
        stride = (units + 3) & -4
        direction = i8(-1) if backwards else i8(1)
        thread, threads = i8(cuda.threadIdx.x), i8(cuda.blockDim.x)
        across = threads // (slots // tile)
        first, first_unit = thread // across * tile, thread % across
        states, other_states = memory, memory[slots * stride :]
        cells = memory[2 * slots * stride :]

        for at in range(thread, 3 * slots * stride, threads):
            memory[u8(at)] = number(0)
        if thread < slots:
            table[u8(_AFTER), u8(thread)] = table[u8(_END), u8(thread)] = 0
        ticket = thread * cuda.gridDim.x + cuda.blockIdx.x  # the longest rows to all blocks
        is_first = True
        cuda.syncthreads()
        while True:
            if thread < slots:
                at, end = table[u8(_AFTER), u8(thread)], table[u8(_END), u8(thread)]
                if at == end and ticket < rows and not is_first:
                    ticket = slots * cuda.gridDim.x + cuda.atomic.add(counter, 0, i8(1))
                is_new = at == end and ticket < rows
                if is_new:
                    row = order[u8(ticket)]
                    begin = starts[u8(row)] + (lengths[u8(row)] - 1 if backwards else i8(0))
                    end = begin + direction * lengths[u8(row)]
                    at = first_kept(mask, begin, end, direction)
                    table[u8(_ROW), u8(thread)], table[u8(_BEGIN), u8(thread)] = row, begin
                    table[u8(_SHIFT), u8(thread)] = out_starts[u8(row)] - starts[u8(row)]
                after = first_kept(mask, at + direction, end, direction) if at != end else end
                table[u8(_AT), u8(thread)], table[u8(_AFTER), u8(thread)] = at, after
                table[u8(_END), u8(thread)], table[u8(_IS_NEW), u8(thread)] = end, is_new
                is_first = False
            cuda.syncthreads()

            ended = True
            for slot in range(slots):
                at, end = table[u8(_AT), u8(slot)], table[u8(_END), u8(slot)]
                ended = ended and at == end and table[u8(_IS_NEW), u8(slot)] == 0
                if table[u8(_IS_NEW), u8(slot)]:
                    row, begin = table[u8(_ROW), u8(slot)], table[u8(_BEGIN), u8(slot)]
                    for unit in range(thread, units, threads):
                        output, cell = h0[u8(row), u8(unit)], c0[u8(row), u8(unit)]
                        states[u8(slot * stride + unit)] = output
                        cells[u8(slot * stride + unit)] = cell
                        if out.size:
                            shift = table[u8(_SHIFT), u8(slot)]
                            fill_steps(number(0), begin, at, direction, shift, unit, out)
                        h[u8(row), u8(unit)], c[u8(row), u8(unit)] = output, cell
            if ended:
                return
            cuda.syncthreads()

            for unit in range(first_unit, units, across):
                begin_all(table, first, gates, unit, units, sums)
                load_rows(recurrent, 0, unit, units, weights)
                for source in range(0, units, 4):
                    load_rows(recurrent, source + 4, unit, units, next_weights)  # ahead of time
                    add_all_products(weights, states, first * stride + source, stride, sums)
                    for at in range(16):
                        weights[at] = next_weights[at]
                update_all(
                    table,
                    first,
                    sums,
                    cells,
                    other_states,
                    unit,
                    stride,
                    direction,
                    zero_output_for_mask,
                    out,
                    h,
                    c,
                )
            cuda.syncthreads()
            states, other_states = other_states, states

    return lstm_streamed


lstm_streamed = _streamed(TILE, np.float32)
lstm_streamed_double = _streamed(TILE_DOUBLE, np.float64)
