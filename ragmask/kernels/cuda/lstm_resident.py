"""LSTM whose recurrent kernel stays in a block for the whole launch: up to 128 units, in float32.

A block has 4 slots, each with a row in flight, and takes the next row as soon as one ends. Of the
4 threads of a unit each sums over a quarter of the units, for all slots; then they swap sums, and
each updates that unit of one slot. So a step takes one barrier, and all threads are busy.
"""

from functools import partial
from typing import Any

import numpy as np
from numba import cuda

from ragmask.kernels.compile import cuda_device, cuda_kernel
from ragmask.kernels.cuda.lstm_row import fill_steps, first_kept, weights_between
from ragmask.kernels.cuda.teams import ALL, i8, u8
from ragmask.kernels.cuda.vector import ALIGNED, unrolled
from ragmask.kernels.intrinsics import load_4, store_4
from ragmask.kernels.math import lstm_output, lstm_state

SLOTS = 4  # and threads of a unit
_MOST_HELD = 4  # times 4 rows of the recurrent kernel, in a thread's registers
_SUMS, _TICKETS, _FOUR_ROWS = 4 * SLOTS, 2 * SLOTS, 4 * 4
_HOLD = i8(-1)  # the ticket of a slot whose row goes on

f4 = np.float32
_SINGLE = np.dtype(f4)  # the simulator takes no type where the size is 0


def shared_bytes_of(most_units: int) -> int:
    """The dynamic shared memory of a block: for the weights that registers cannot hold."""
    return max(most_units // 16 - _MOST_HELD, 0) * _FOUR_ROWS * 4 * 4 * most_units


def _resident(most_units: int) -> Any:
    """A kernel for up to so many units, a multiple of 16, in blocks of 4 threads each."""
    threads = 4 * most_units
    fours = most_units // 16  # a thread's rows of the recurrent kernel, 4 and 4
    held = min(fours, _MOST_HELD)  # those in registers
    most_near, most_states = _FOUR_ROWS * held, 2 * SLOTS * most_units

    @cuda_device
    def keep_weights(recurrent: Any, units: int, near: Any, far: Any) -> None:
        """Part i of 4 has the rows 4i to 4i + 3 of every 16."""
        thread = i8(cuda.threadIdx.x)
        unit, part = thread >> 2, thread & 3
        for number in range(4 * held):
            source = (number // 4 * 4 + part) * 4 + number % 4
            weights = weights_between(recurrent, source, unit, units)
            for gate in range(4):
                near[number * 4 + gate] = weights[gate]
        for number in range(4 * held, 4 * fours):
            source = (number // 4 * 4 + part) * 4 + number % 4
            weights = weights_between(recurrent, source, unit, units)
            store_4(far, ((number - 4 * held) * threads + thread) * 4, weights)

    @cuda_device
    def add_products(four: int, weights: Any, first: int, states: Any, sums: Any) -> None:
        """4 of the thread's rows of the recurrent kernel, times the states of all slots."""
        for slot in range(SLOTS):
            part = cuda.threadIdx.x & 3
            state = load_4(states, slot * most_units + (four * 4 + part) * 4)
            for number in range(4):
                for gate in range(4):
                    weight = weights[first + number * 4 + gate]
                    sums[slot * 4 + gate] += state[number] * weight

    @cuda_device
    def add_near_products(four: int, near: Any, states: Any, sums: Any) -> None:
        add_products(four, near, four * _FOUR_ROWS, states, sums)

    add_all_near_products = unrolled(held, add_near_products)

    @cuda_device
    def sum_products(near: Any, far: Any, states: Any, sums: Any) -> None:
        """The sums of all slots, over the thread's part of the units."""
        for number in range(_SUMS):
            sums[number] = f4(0)
        add_all_near_products(near, states, sums)
        for four in range(held, fours):
            weights = cuda.local.array(_FOUR_ROWS, f4)
            for number in range(4):
                place = (four - held) * 4 + number
                some = load_4(far, (place * threads + cuda.threadIdx.x) * 4)
                for gate in range(4):
                    weights[number * 4 + gate] = some[gate]
            add_products(four, weights, 0, states, sums)

    @partial(cuda_kernel, most_threads=threads)
    def lstm_resident(
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
    ) -> None:
        far = cuda.shared.array(0, _SINGLE, ALIGNED)
        states = cuda.shared.array(most_states, f4, ALIGNED)
        tickets = cuda.shared.array(_TICKETS, i8)
        near = cuda.local.array(most_near, f4)
        sums = cuda.local.array(_SUMS, f4)
        rows, units, blocks = order.size, h.shape[1], i8(cuda.gridDim.x)
        thread = i8(cuda.threadIdx.x)
        unit, slot = thread >> 2, thread & 3
        is_unit = unit < units
        direction = i8(-1) if backwards else i8(1)

        keep_weights(recurrent, units, near, far)
        states[u8(thread)] = states[u8(thread + threads)] = f4(0)
        if thread < SLOTS:  # the longest rows go to as many blocks as there are
            tickets[u8(slot)] = slot * blocks + cuda.blockIdx.x
        cuda.syncthreads()

        row = at = after = end = shift = i8(0)
        cell = f4(0)
        of_input = f4(0), f4(0), f4(0), f4(0)
        now, then = i8(0), i8(1)
        ended = False
        while not ended:
            sum_products(near, far, states[u8(now * SLOTS * most_units) :], sums)
            share_sums(sums, slot)
            output = f4(0)
            if at != end:
                i, f = of_input[0] + sums[0], of_input[1] + sums[1]
                g, o = of_input[2] + sums[2], of_input[3] + sums[3]
                cell = lstm_state(i, f, g, cell)
                output = lstm_output(o, cell)
                if is_unit and out.size:
                    out[u8(at + shift), u8(unit)] = output
                    masked = f4(0) if zero_output_for_mask else output
                    fill_steps(masked, at + direction, after, direction, shift, unit, out)
                if is_unit and after == end:
                    h[u8(row), u8(unit)], c[u8(row), u8(unit)] = output, cell
                at = after

            ticket = tickets[u8(now * SLOTS + slot)]
            if ticket >= 0 and ticket < rows:
                row = order[u8(ticket)]
                begin = starts[u8(row)] + (lengths[u8(row)] - 1 if backwards else i8(0))
                end = begin + direction * lengths[u8(row)]
                shift = out_starts[u8(row)] - starts[u8(row)]
                at = first_kept(mask, begin, end, direction)
                if is_unit:
                    output, cell = h0[u8(row), u8(unit)], c0[u8(row), u8(unit)]
                    h[u8(row), u8(unit)], c[u8(row), u8(unit)] = output, cell
                    if out.size:
                        fill_steps(f4(0), begin, at, direction, shift, unit, out)
            after = at
            if at != end:
                after = first_kept(mask, at + direction, end, direction)
                of_input = load_4(gates, (at * units + min(unit, units - 1)) * 4)
            states[u8((then * SLOTS + slot) * most_units + unit)] = output if is_unit else f4(0)

            if thread < SLOTS:
                following = ticket if ticket >= rows else _HOLD
                if ticket < rows and after == end:  # a last step, or none: the next row, in time
                    following = SLOTS * blocks + cuda.atomic.add(counter, 0, i8(1))
                tickets[u8(then * SLOTS + slot)] = following
            ended = True
            for number in range(SLOTS):
                ended = ended and tickets[u8(now * SLOTS + number)] >= rows
            cuda.syncthreads()
            now, then = then, now

    return lstm_resident


@cuda_device
def share_sums(sums: Any, part: int) -> None:
    """Adds up the sums (4 slots, 4 gates) of a unit's 4 threads; thread i gets those of slot i.

    ((0 + 2) + (1 + 3)) it is for each slot: which one a row is in changes no bit.
    """
    for number in range(8):
        low, high = sums[number], sums[number + 8]
        give, keep = (low, high) if part & 2 else (high, low)
        sums[number] = keep + cuda.shfl_xor_sync(ALL, give, 2)
    for number in range(4):
        low, high = sums[number], sums[number + 4]
        give, keep = (low, high) if part & 1 else (high, low)
        sums[number] = keep + cuda.shfl_xor_sync(ALL, give, 1)


# most units, and the kernel
RESIDENT = {units: _resident(units) for units in (16, 32, 48, 64, 96, 128)}
