"""A recurrence whose weights are read from the L2 cache at every step, each for many rows.

A block has 8 to 32 slots, each with a row in flight, and takes the next row as soon as one ends.
Their states lie in shared memory.
"""

from typing import Any

import numpy as np
from numba import cuda

from ragmask.kernels.compile import cuda_device, cuda_kernel
from ragmask.kernels.cuda.recurrent.arguments import (
    direction_of,
    fill_steps,
    first_kept,
    first_step,
    weights_between,
)
from ragmask.kernels.cuda.teams import i8, u8
from ragmask.kernels.cuda.vector import ALIGNED, unrolled
from ragmask.kernels.intrinsics import load_4

MOST_SLOTS = 32
MOST_THREADS = 256  # of a multiprocessor: each may then have all the registers it can name
TILE, TILE_DOUBLE = 16, 8  # slots that a thread sums for, in float32 and in float64

_ROW, _BEGIN, _AT, _AFTER, _END, _SHIFT, _IS_NEW = range(7)  # what a slot has of its row


@cuda_device
def load_rows(recurrent: Any, source: int, unit: int, units: int, weights: Any) -> None:
    """A unit's weights in 4 rows of the recurrent kernel."""
    for number in range(4):
        loaded = weights_between(recurrent, source + number, unit, units)
        for gate in range(4):
            weights[number * 4 + gate] = loaded[gate]


def streamed_kernel(cell: Any, tile: int, number: Any) -> Any:
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
            of_input = load_4(gates, (at * units + unit) * 4)
            for gate in range(4):
                sums[turn * 4 + gate] = of_input[gate]
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
        slots: Any,
        unit: int,
        sums: Any,
        shared: Any,
        options: Any,
        out: Any,
        states: Any,
    ) -> None:
        """The new state of a unit of a slot, and its outputs up to the next kept step.

        slots (table, first of the thread's slots, numbers from one slot to the next); shared
        (carries, states), of all slots.
        """
        table, first, stride = slots
        carries, new_states = shared
        _, zero_output_for_mask = options
        _, _, h, c = states
        direction = direction_of(options)
        slot, index = u8(first + turn), u8((first + turn) * stride + unit)
        at, after, end = table[u8(_AT), slot], table[u8(_AFTER), slot], table[u8(_END), slot]
        if at != end:
            i, f, g, o = sums[turn * 4], sums[turn * 4 + 1], sums[turn * 4 + 2], sums[turn * 4 + 3]
            output, carry = cell((i, f, g, o), carries[index])
            carries[index], new_states[index] = carry, output
            if out.size:
                shift = table[u8(_SHIFT), slot]
                out[u8(at + shift), u8(unit)] = output
                masked = number(0) if zero_output_for_mask else output
                fill_steps(masked, at + direction, after, direction, shift, unit, out)
            if after == end:
                row = u8(table[u8(_ROW), slot])
                h[row, u8(unit)], c[row, u8(unit)] = output, carry

    begin_all = unrolled(tile, begin_sums)
    add_all_products = unrolled(tile, add_products)
    update_all = unrolled(tile, update)

    @cuda_kernel
    def recurrent_streamed(
        rows: Any,
        gates: Any,
        recurrent: Any,
        states: Any,
        options: Any,
        slots: int,
        out: Any,
        counter: Any,
    ) -> None:
        order, starts, lengths, mask, out_starts = rows
        h0, c0, h, c = states
        memory = cuda.shared.array(0, dtype, ALIGNED)
        table = cuda.shared.array((7, MOST_SLOTS), i8)
        sums = cuda.local.array(most_sums, number)
        weights = cuda.local.array(16, number)
        next_weights = cuda.local.array(16, number)
        units = h.shape[1]
        stride = (units + 3) & -4
        direction = direction_of(options)
        thread, threads = i8(cuda.threadIdx.x), i8(cuda.blockDim.x)
        across = threads // (slots // tile)
        first, first_unit = thread // across * tile, thread % across
        current, following = memory, memory[slots * stride :]
        carries = memory[2 * slots * stride :]

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
                if at == end and ticket < order.size and not is_first:
                    ticket = slots * cuda.gridDim.x + cuda.atomic.add(counter, 0, i8(1))
                is_new = at == end and ticket < order.size
                if is_new:
                    row = order[u8(ticket)]
                    begin = first_step(starts[u8(row)], lengths[u8(row)], direction)
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
                        output, carry = h0[u8(row), u8(unit)], c0[u8(row), u8(unit)]
                        current[u8(slot * stride + unit)] = output
                        carries[u8(slot * stride + unit)] = carry
                        if out.size:
                            shift = table[u8(_SHIFT), u8(slot)]
                            fill_steps(number(0), begin, at, direction, shift, unit, out)
                        h[u8(row), u8(unit)], c[u8(row), u8(unit)] = output, carry
            if ended:
                return
            cuda.syncthreads()

            for unit in range(first_unit, units, across):
                begin_all(table, first, gates, unit, units, sums)
                load_rows(recurrent, 0, unit, units, weights)
                for source in range(0, units, 4):
                    load_rows(recurrent, source + 4, unit, units, next_weights)  # ahead of time
                    add_all_products(weights, current, first * stride + source, stride, sums)
                    for at in range(16):
                        weights[at] = next_weights[at]
                of_slots, shared = (table, first, stride), (carries, following)
                update_all(of_slots, unit, sums, shared, options, out, states)
            cuda.syncthreads()
            current, following = following, current

    return recurrent_streamed
