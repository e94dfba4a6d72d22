"""A recurrent layer over the kept steps of rows, with a fixed number of rows in flight.

Each of `slots` slots holds one row's states. A step advances all slots at once, as one matrix
product; a row that ends leaves its slot to the next row, so that the product stays full however
unequal the rows are. Padding and masked steps are never computed.

The sums of a step start from the biases; or, where steps have ids, from the row of their id in a
table of `vectors @ kernel + bias`, and x has no features.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ragmask.kernels.cells import Cell
from ragmask.kernels.compile import inline, njit
from ragmask.kernels.cpu.recurrent.tile import Product, lanes_of, product_of


class Path(NamedTuple):
    """How a row's steps are walked, and where its outputs go."""

    starts: Any
    lengths: Any
    mask: Any
    backwards: bool
    zero_output_for_mask: bool
    out_starts: Any
    out: Any


def loop_of(cell: Cell, step_of: Callable[..., Any]) -> Callable[..., None]:
    """The loop of a cell whose step is `step_of(sums, states) -> states`, tuples of numbers.

    It takes what `lstm` takes: `(first_row, last_row, rows, weights, states, options, out)`.
    """
    sums, states, inner = cell.sums, cell.states, cell.states - 1
    multiply = product_of(cell)
    update = _update_of(cell, step_of)

    @inline
    def loop(
        first_row: int,
        last_row: int,
        rows: Any,
        weights: Any,
        states_: Any,
        options: Any,
        out: Any,
    ) -> None:
        order, x, ids, starts, lengths, mask = rows
        panels, first_sums = weights
        initial, last = states_
        slots, backwards, zero_output_for_mask = options
        path = Path(starts, lengths, mask, backwards, zero_output_for_mask, out[0], out[1])

        features, units = x.shape[1], initial[0].shape[1]
        lanes = lanes_of(x)
        blocks = (units + lanes - 1) // lanes
        depth = features + units
        stride = features + blocks * lanes
        step_sums = blocks * sums * lanes
        inputs = np.zeros(slots * stride, x.dtype)  # each slot's input, and its output before
        next_inputs = np.zeros(slots * stride, x.dtype)
        memory = np.zeros((blocks, slots * inner * lanes), x.dtype)  # its other states
        block_sums = np.empty(slots * sums * lanes, x.dtype)
        slot_rows = np.empty(slots, np.int64)
        slot_steps = np.empty(slots, np.int64)
        offsets = np.zeros(slots, np.int64)  # where in `first_sums` each slot's sums start
        next_offsets = np.zeros(slots if ids.size else 0, np.int64)
        in_flight, next_row = 0, first_row

        while True:
            while in_flight < slots and next_row < last_row:
                row = order[next_row]
                next_row += 1
                step = skip_masked(row, 0, path)
                if step == lengths[row]:  # no step to read: the states stay what they were
                    for state in range(states):
                        last[state][row] = initial[state][row]
                    continue
                slot_rows[in_flight], slot_steps[in_flight] = row, step
                begin = in_flight * stride + features
                inputs[begin : begin + units] = initial[0][row]
                for state in range(inner):
                    begin = (in_flight * inner + state) * lanes
                    for unit in range(units):
                        value = initial[state + 1][row, unit]
                        memory[unit // lanes, begin + unit % lanes] = value
                in_flight += 1
            if in_flight == 0:
                return

            for slot in range(in_flight):
                row, step = slot_rows[slot], slot_steps[slot]
                at = starts[row] + position(step, lengths[row], backwards)
                copy(x[at], inputs[slot * stride : slot * stride + features])
                if ids.size:
                    offset = ids[at] * step_sums
                    # ids may have changed since they were checked: any row of the table, but of it
                    is_inside = 0 <= offset <= first_sums.size - step_sums
                    offsets[slot] = offset if is_inside else 0
                    if step + 1 < lengths[row]:  # it may be masked: then nothing is gained
                        at = starts[row] + position(step + 1, lengths[row], backwards)
                        next_offsets[slot] = ids[at] * step_sums  # only ever prefetched
            product = Product(inputs, stride, panels, first_sums, offsets, next_offsets, block_sums)
            for block in range(blocks):
                multiply(product, in_flight, features, units, block)
                begin = features + block * lanes
                before, after = inputs[begin:], next_inputs[begin:]
                update(in_flight, block_sums, before, after, stride, memory[block])

            for slot in range(in_flight - 1, -1, -1):
                row = slot_rows[slot]
                output = next_inputs[slot * stride + features : slot * stride + depth]
                if path.out.size:
                    at = position(slot_steps[slot], lengths[row], backwards)
                    copy(output, path.out[path.out_starts[row] + at])
                slot_steps[slot] = skip_masked(row, slot_steps[slot] + 1, path)
                if slot_steps[slot] == lengths[row]:
                    last[0][row] = output
                    for state in range(inner):
                        begin = (slot * inner + state) * lanes
                        for unit in range(units):
                            value = memory[unit // lanes, begin + unit % lanes]
                            last[state + 1][row, unit] = value
                    in_flight -= 1
                    if slot < in_flight:  # the last slot, which has had its turn, moves here
                        slot_rows[slot], slot_steps[slot] = (
                            slot_rows[in_flight],
                            slot_steps[in_flight],
                        )
                        begin = in_flight * stride + features
                        output[:] = next_inputs[begin : begin + units]
                        width = inner * lanes
                        for block in range(blocks):
                            moved = memory[block, in_flight * width : (in_flight + 1) * width]
                            memory[block, slot * width : (slot + 1) * width] = moved
            inputs, next_inputs = next_inputs, inputs

    return loop


@njit
def position(step: int, length: int, backwards: bool) -> int:
    """Which of its row's steps is read as number `step`."""
    return length - 1 - step if backwards else step


@njit
def skip_masked(row: int, step: int, path: Any) -> int:
    """The first kept step from `step` on. Those it passes repeat the output before, or get 0."""
    if path.mask.size:
        length, start, out_start = path.lengths[row], path.starts[row], path.out_starts[row]
        while step < length and not path.mask[start + position(step, length, path.backwards)]:
            if path.out.size:
                at = out_start + position(step, length, path.backwards)
                if step == 0 or path.zero_output_for_mask:
                    path.out[at] = 0
                else:
                    path.out[at] = path.out[out_start + position(step - 1, length, path.backwards)]
            step += 1
    return step


def _update_of(cell: Cell, step_of: Callable[..., Any]) -> Callable[..., None]:
    """The update of one block's states, for all slots in flight."""
    sums, inner = cell.sums, cell.states - 1
    read_sums, read_inner = _read(sums), _read(inner)

    @inline
    def update(
        in_flight: int, block_sums: Any, before: Any, after: Any, stride: int, memory: Any
    ) -> None:
        """The outputs before lie in `before`, those after go to `after`, `stride` apart."""
        lanes = lanes_of(block_sums)
        for slot in range(in_flight):
            slot_sums = block_sums[slot * sums * lanes : (slot + 1) * sums * lanes]
            slot_before = before[slot * stride : slot * stride + lanes]
            slot_after = after[slot * stride : slot * stride + lanes]
            slot_memory = memory[slot * inner * lanes : (slot + 1) * inner * lanes]
            for lane in range(lanes):
                output = (slot_before[lane],)
                states = output + read_inner(slot_memory, lane, lanes)
                states = step_of(read_sums(slot_sums, lane, lanes), states)
                slot_after[lane] = states[0]
                for state in range(inner):
                    slot_memory[lane + state * lanes] = states[state + 1]

    return update


def _read(count: int) -> Callable[..., Any]:
    """`(numbers[lane], numbers[lane + lanes], …)`, whose length compiled code has to know."""
    if count == 0:
        return inline(lambda numbers, lane, lanes: ())
    fewer = _read(count - 1)

    @inline
    def read(numbers: Any, lane: int, lanes: int) -> Any:
        number = (numbers[lane + (count - 1) * lanes],)
        return fewer(numbers, lane, lanes) + number

    return read


@inline
def copy(source: Any, target: Any) -> None:
    """A loop, for short arrays: Numba's assignment of slices takes longer to begin."""
    for i in range(target.size):
        target[i] = source[i]
