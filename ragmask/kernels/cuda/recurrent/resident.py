"""A recurrence whose weights stay in a block for the whole launch: up to 128 units, in float32.

A block has 4 slots, each with a row in flight, and takes the next row as soon as one ends. Of the
4 threads of a unit each sums over a quarter of the units, for all slots; then they swap sums, and
each updates that unit of one slot. So a step takes one barrier, and all threads are busy.
"""

from functools import partial
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
from ragmask.kernels.cuda.teams import ALL, i8, u8
from ragmask.kernels.cuda.vector import ALIGNED, unrolled
from ragmask.kernels.intrinsics import load_4, store_4

RESIDENT_UNITS = (16, 32, 48, 64, 96, 128)  # the most that kernels are made for
SLOTS = 4  # and threads of a unit
_REGISTER_QUADS = 4  # quads, 4 rows of the recurrent kernel each, in a thread's registers at most
_SUMS, _TICKETS, _QUAD = 4 * SLOTS, 2 * SLOTS, 4 * 4
_CONTINUES = i8(-1)  # the ticket of a slot whose row goes on

f4 = np.float32
_SINGLE = np.dtype(f4)  # the simulator takes no type where the size is 0


def shared_bytes_of(most_units: int) -> int:
    """The dynamic shared memory of a block: for the weights that registers cannot hold."""
    return max(most_units // 16 - _REGISTER_QUADS, 0) * _QUAD * 4 * 4 * most_units


def resident_kernel(cell: Any, most_units: int) -> Any:
    """A kernel for up to so many units, a multiple of 16, in blocks of 4 threads each."""
    threads = 4 * most_units
    quads = most_units // 16  # of a thread
    register_quads = min(quads, _REGISTER_QUADS)
    register_weights, most_states = _QUAD * register_quads, 2 * SLOTS * most_units

    @cuda_device
    def load_weights(recurrent: Any, units: int, in_registers: Any, shared: Any) -> None:
        """Part i of 4 has the rows 4i to 4i + 3 of every 16."""
        thread = i8(cuda.threadIdx.x)
        unit, part = thread >> 2, thread & 3
        for number in range(4 * register_quads):
            source = (number // 4 * 4 + part) * 4 + number % 4
            weights = weights_between(recurrent, source, unit, units)
            for gate in range(4):
                in_registers[number * 4 + gate] = weights[gate]
        for number in range(4 * register_quads, 4 * quads):
            source = (number // 4 * 4 + part) * 4 + number % 4
            weights = weights_between(recurrent, source, unit, units)
            store_4(shared, ((number - 4 * register_quads) * threads + thread) * 4, weights)

    @cuda_device
    def add_products(quad: int, weights: Any, first: int, states: Any, sums: Any) -> None:
        """4 of the thread's rows of the recurrent kernel, times the states of all slots."""
        for slot in range(SLOTS):
            part = cuda.threadIdx.x & 3
            state = load_4(states, slot * most_units + (quad * 4 + part) * 4)
            for number in range(4):
                for gate in range(4):
                    weight = weights[first + number * 4 + gate]
                    sums[slot * 4 + gate] += state[number] * weight

    @cuda_device
    def add_products_of_registers(quad: int, in_registers: Any, states: Any, sums: Any) -> None:
        add_products(quad, in_registers, quad * _QUAD, states, sums)

    add_all_of_registers = unrolled(register_quads, add_products_of_registers)

    @cuda_device
    def sum_products(in_registers: Any, shared: Any, states: Any, sums: Any) -> None:
        """The sums of all slots, over the thread's part of the units."""
        for number in range(_SUMS):
            sums[number] = f4(0)
        add_all_of_registers(in_registers, states, sums)
        for quad in range(register_quads, quads):
            weights = cuda.local.array(_QUAD, f4)
            for number in range(4):
                index = (quad - register_quads) * 4 + number
                loaded = load_4(shared, (index * threads + cuda.threadIdx.x) * 4)
                for gate in range(4):
                    weights[number * 4 + gate] = loaded[gate]
            add_products(quad, weights, 0, states, sums)

    @partial(cuda_kernel, most_threads=threads)
    def recurrent_resident(
        rows: Any, gates: Any, recurrent: Any, states: Any, options: Any, out: Any, counter: Any
    ) -> None:
        order, starts, lengths, mask, out_starts = rows
        h0, c0, h, c = states
        _, zero_output_for_mask = options
        shared = cuda.shared.array(0, _SINGLE, ALIGNED)
        slot_states = cuda.shared.array(most_states, f4, ALIGNED)
        tickets = cuda.shared.array(_TICKETS, i8)
        in_registers = cuda.local.array(register_weights, f4)
        sums = cuda.local.array(_SUMS, f4)
        units, blocks = h.shape[1], i8(cuda.gridDim.x)
        thread = i8(cuda.threadIdx.x)
        unit, slot = thread >> 2, thread & 3
        is_unit = unit < units
        direction = direction_of(options)

        load_weights(recurrent, units, in_registers, shared)
        slot_states[u8(thread)] = slot_states[u8(thread + threads)] = f4(0)
        if thread < SLOTS:  # the longest rows go to as many blocks as there are
            tickets[u8(slot)] = slot * blocks + cuda.blockIdx.x
        cuda.syncthreads()

        row = at = after = end = shift = i8(0)
        carry = f4(0)
        of_input = f4(0), f4(0), f4(0), f4(0)
        current, following = i8(0), i8(1)  # halves of slot_states and tickets
        ended = False
        while not ended:
            states_now = slot_states[u8(current * SLOTS * most_units) :]
            sum_products(in_registers, shared, states_now, sums)
            share_sums(sums, slot)
            output = f4(0)
            if at != end:
                i, f = of_input[0] + sums[0], of_input[1] + sums[1]
                g, o = of_input[2] + sums[2], of_input[3] + sums[3]
                output, carry = cell((i, f, g, o), carry)
                if is_unit and out.size:
                    out[u8(at + shift), u8(unit)] = output
                    masked = f4(0) if zero_output_for_mask else output
                    fill_steps(masked, at + direction, after, direction, shift, unit, out)
                if is_unit and after == end:
                    h[u8(row), u8(unit)], c[u8(row), u8(unit)] = output, carry
                at = after

            ticket = tickets[u8(current * SLOTS + slot)]
            if ticket >= 0 and ticket < order.size:
                row = order[u8(ticket)]
                begin = first_step(starts[u8(row)], lengths[u8(row)], direction)
                end = begin + direction * lengths[u8(row)]
                shift = out_starts[u8(row)] - starts[u8(row)]
                at = first_kept(mask, begin, end, direction)
                if is_unit:
                    output, carry = h0[u8(row), u8(unit)], c0[u8(row), u8(unit)]
                    h[u8(row), u8(unit)], c[u8(row), u8(unit)] = output, carry
                    if out.size:
                        fill_steps(f4(0), begin, at, direction, shift, unit, out)
            after = at
            if at != end:
                after = first_kept(mask, at + direction, end, direction)
                of_input = load_4(gates, (at * units + min(unit, units - 1)) * 4)
            state = output if is_unit else f4(0)
            slot_states[u8((following * SLOTS + slot) * most_units + unit)] = state

            if thread < SLOTS:
                next_ticket = ticket if ticket >= order.size else _CONTINUES
                if ticket < order.size and after == end:  # the last step, or none: take a row ahead
                    next_ticket = SLOTS * blocks + cuda.atomic.add(counter, 0, i8(1))
                tickets[u8(following * SLOTS + slot)] = next_ticket
            ended = True
            for number in range(SLOTS):
                ended = ended and tickets[u8(current * SLOTS + number)] >= order.size
            cuda.syncthreads()
            current, following = following, current

    return recurrent_resident


@cuda_device
def share_sums(sums: Any, part: int) -> None:
    """Adds up the sums (4 slots, 4 gates) of a unit's 4 threads; thread i gets those of slot i.

    ((0 + 2) + (1 + 3)) it is for each slot: which one a row is in changes no bit.
    """
    for number in range(8):
        low, high = sums[number], sums[number + 8]
        sent, kept = (low, high) if part & 2 else (high, low)
        sums[number] = kept + cuda.shfl_xor_sync(ALL, sent, 2)
    for number in range(4):
        low, high = sums[number], sums[number + 4]
        sent, kept = (low, high) if part & 1 else (high, low)
        sums[number] = kept + cuda.shfl_xor_sync(ALL, sent, 1)
