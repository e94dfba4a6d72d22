"""A recurrent layer over the kept steps of rows, with a fixed number of rows in flight.

Each of `slots` slots holds one row's states. A step advances all slots at once, as one matrix
product; a row that ends leaves its slot to the next row, so that the product stays full however
unequal the rows are. Padding and masked steps are never computed.

The sums of a step start from the biases; or, where steps have ids, from the row of their id in a
table of `vectors @ kernel + bias`, and x has no features.
"""

from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ragmask.kernels.cells import Cell
from ragmask.kernels.compile import inline, part
from ragmask.kernels.cpu.lanes import copy_line
from ragmask.kernels.cpu.recurrent.tile import Product, product_of
from ragmask.kernels.cpu.tile import lanes_of


class Path(NamedTuple):
    """How a row's steps are walked, and where its outputs go."""

    starts: Any
    lengths: Any
    mask: Any
    backwards: bool
    zero_output_for_mask: bool
    out_starts: Any
    out: Any


if TYPE_CHECKING:  # each cell has its own: see `loop_of`
    SUMS = KEPT = 0

    def multiply(*arguments: Any) -> None: ...
    def update(*arguments: Any) -> None: ...
    def kept_of(out: Any) -> Any: ...


def loop_of(cell: Cell, step: Callable[..., Any]) -> Callable[..., None]:
    """The loop of a cell, to be compiled.

    step : `(sums, states) -> (states, kept)`, all tuples of numbers, as in `kernels/steps.py`.
    """
    names = {
        "SUMS": cell.sums,
        "KEPT": 0,
        "multiply": product_of(cell),
        "update": _update_of(cell, step, 0),
        "kept_of": inline(lambda out: out[1]),  # nobody writes to it
    }
    return with_names(_loop, names, cell.names[0])


def keeping_loop_of(cell: Cell, step: Callable[..., Any]) -> Callable[..., None]:
    """The same loop, which writes what the gradient takes of each step to `out[2]`.

    That is (steps, blocks, kept, lanes), flat, for blocks of as many units as a panel has lanes.
    """
    names = {
        "SUMS": cell.sums,
        "KEPT": cell.kept,
        "multiply": product_of(cell),
        "update": _update_of(cell, step, cell.kept),
        "kept_of": inline(lambda out: out[2]),
    }
    return with_names(_loop, names, cell.names[1])


def with_names(
    function: Callable[..., None], names: dict[str, Any], name: str
) -> Callable[..., None]:
    """The function with these globals beside its own.

    A function of its own and not a closure: of one over compiled functions, Numba knows no machine
    code of an earlier process again. A compiled function around one would be compiled twice.
    """
    made = FunctionType(function.__code__, function.__globals__ | names, name)
    made.__qualname__, made.__doc__, made.__module__ = name, function.__doc__, function.__module__
    return made


def _loop(
    first_row: int, last_row: int, rows: Any, weights: Any, states: Any, options: Any, out: Any
) -> None:
    """Run the rows `order[first_row:last_row]`, longest first if they are to be fast.

    rows (order, x, ids, starts, lengths, mask): x (n, features); ids int64 (n,), or (0,) where
    there are none; order, starts, lengths int64 (rows,); mask bool (n,), or (0,) where there is
    none. weights (panels, first_sums), as packed. states (initial, last): of each a tuple, the
    outputs first, such as ((h0, c0), (h, c)), each (rows, units). options (slots, go_backwards,
    zero_output_for_mask). out (starts, steps): int64 (rows,), and (steps, units), or (0, units)
    where only the states are wanted.

    All numbers are float32, or all float64. Empty arrays and not None: each variant of this kernel
    takes seconds to compile. Plain tuples: Numba takes 10 µs longer to read named ones.
    """
    order, x, ids, starts, lengths, mask = rows
    panels, first_sums = weights
    initial, last = states
    slots, backwards, zero_output_for_mask = options
    inner = len(initial) - 1  # states besides the output
    path = Path(starts, lengths, mask, backwards, zero_output_for_mask, out[0], out[1])

    features, units = x.shape[1], initial[0].shape[1]
    lanes = lanes_of(x)
    blocks = (units + lanes - 1) // lanes
    depth = features + units
    stride = features + blocks * lanes
    step_sums = blocks * SUMS * lanes
    inputs = np.zeros(slots * stride, x.dtype)  # each slot's input, and its output before
    next_inputs = np.zeros(slots * stride, x.dtype)
    memory = np.zeros((blocks, slots * inner * lanes), x.dtype)  # its other states
    block_sums = np.empty(slots * SUMS * lanes, x.dtype)
    slot_rows = np.empty(slots, np.int64)
    slot_steps = np.empty(slots, np.int64)
    offsets = np.zeros(slots, np.int64)  # where in `first_sums` each slot's sums start
    next_offsets = np.zeros(slots if ids.size else 0, np.int64)
    kept, places = kept_of(out), np.empty(slots, np.int64)  # where what is kept of a step goes
    in_flight, next_row = 0, first_row

    while True:
        while in_flight < slots and next_row < last_row:
            row = order[next_row]
            next_row += 1
            step = skip_masked(row, 0, path)
            if step == lengths[row]:  # no step to read: the states stay what they were
                for state in range(inner + 1):
                    copy_line(initial[state][row], last[state][row])
                continue
            slot_rows[in_flight], slot_steps[in_flight] = row, step
            begin = in_flight * stride + features
            copy_line(initial[0][row], inputs[begin : begin + units])
            begin_row(row, in_flight, initial, memory)
            in_flight += 1
        if in_flight == 0:
            return

        for slot in range(in_flight):
            row, step = slot_rows[slot], slot_steps[slot]
            at = starts[row] + position(step, lengths[row], backwards)
            copy_line(x[at], inputs[slot * stride : slot * stride + features])
            if KEPT:
                at = path.out_starts[row] + position(step, lengths[row], backwards)
                places[slot] = at * blocks * KEPT * lanes
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
            update(in_flight, block_sums, before, after, stride, memory[block], kept, places, block)

        for slot in range(in_flight - 1, -1, -1):
            row = slot_rows[slot]
            output = next_inputs[slot * stride + features : slot * stride + depth]
            if path.out.size:
                at = position(slot_steps[slot], lengths[row], backwards)
                copy_line(output, path.out[path.out_starts[row] + at])
            slot_steps[slot] = skip_masked(row, slot_steps[slot] + 1, path)
            if slot_steps[slot] == lengths[row]:
                copy_line(output, last[0][row])
                end_row(row, slot, memory, last)
                in_flight -= 1
                if slot < in_flight:  # the last slot, which has had its turn, moves here
                    slot_rows[slot], slot_steps[slot] = (
                        slot_rows[in_flight],
                        slot_steps[in_flight],
                    )
                    begin = in_flight * stride + features
                    copy_line(next_inputs[begin : begin + units], output)
                    move_slot(in_flight, slot, memory, inner * lanes)
        inputs, next_inputs = next_inputs, inputs


@inline
def begin_row(row: int, slot: int, states: Any, memory: Any) -> None:
    """A row's states, but for its output, to a slot's place in `memory` (blocks, ...)."""
    lanes, inner = lanes_of(memory), len(states) - 1
    for state in range(inner):
        begin = (slot * inner + state) * lanes
        for unit in range(states[0].shape[1]):
            memory[unit // lanes, begin + unit % lanes] = states[state + 1][row, unit]


@inline
def end_row(row: int, slot: int, memory: Any, states: Any) -> None:
    """The same, back to the row's states."""
    lanes, inner = lanes_of(memory), len(states) - 1
    for state in range(inner):
        begin = (slot * inner + state) * lanes
        for unit in range(states[0].shape[1]):
            states[state + 1][row, unit] = memory[unit // lanes, begin + unit % lanes]


@inline
def move_slot(slot: int, to: int, memory: Any, width: int) -> None:
    for block in range(len(memory)):
        line = memory[block]
        copy_line(line[slot * width : (slot + 1) * width], line[to * width : (to + 1) * width])


@part
def position(step: int, length: int, backwards: bool) -> int:
    """Which of its row's steps is read as number `step`."""
    return length - 1 - step if backwards else step


@part
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
                    before = out_start + position(step - 1, length, path.backwards)
                    copy_line(path.out[before], path.out[at])
            step += 1
    return step


def _update_of(cell: Cell, step: Callable[..., Any], keeps: int) -> Callable[..., None]:
    """The update of one block's states, for all slots in flight."""
    sums, inner = cell.sums, cell.states - 1
    read_sums, read_inner = read_of(sums), read_of(inner)
    write_inner, write_kept = write_of(inner, 1), write_of(keeps)

    @inline
    def update(
        in_flight: int,
        block_sums: Any,
        before: Any,
        after: Any,
        stride: int,
        memory: Any,
        kept: Any,
        places: Any,
        block: int,
    ) -> None:
        """The outputs before lie in `before`, those after go to `after`, `stride` apart."""
        lanes = lanes_of(block_sums)  # a constant: LLVM vectorises over it (6×)
        to_keep = np.empty(keeps * lanes, block_sums.dtype)
        for slot in range(in_flight):
            slot_sums = block_sums[slot * sums * lanes : (slot + 1) * sums * lanes]
            slot_before = before[slot * stride : slot * stride + lanes]
            slot_after = after[slot * stride : slot * stride + lanes]
            slot_memory = memory[slot * inner * lanes : (slot + 1) * inner * lanes]
            for lane in range(lanes):
                output = (slot_before[lane],)
                states = output + read_inner(slot_memory, lane, lanes)
                states, numbers = step(read_sums(slot_sums, lane, lanes), states)
                slot_after[lane] = states[0]
                write_inner(slot_memory, lane, lanes, states)
                write_kept(to_keep, lane, lanes, numbers)
            if keeps:
                begin = places[slot] + block * keeps * lanes
                copy_line(to_keep, kept[begin : begin + keeps * lanes])

    return update


def read_of(count: int) -> Callable[..., Any]:
    """`(numbers[lane], numbers[lane + lanes], …)`, whose length compiled code has to know."""
    if count == 0:
        return inline(lambda numbers, lane, lanes: ())
    fewer = read_of(count - 1)

    @inline
    def read(numbers: Any, lane: int, lanes: int) -> Any:
        number = (numbers[lane + (count - 1) * lanes],)
        return fewer(numbers, lane, lanes) + number

    return read


def write_of(count: int, first: int = 0) -> Callable[..., None]:
    """Put `count` of a tuple's numbers, from its `first` on, where `read_of` finds them.

    No loop, which LLVM would keep.
    """
    if count == 0:
        return inline(lambda numbers, lane, lanes, values: None)
    fewer = write_of(count - 1, first)

    @inline
    def write(numbers: Any, lane: int, lanes: int, values: Any) -> None:
        fewer(numbers, lane, lanes, values)
        numbers[lane + (count - 1) * lanes] = values[first + count - 1]

    return write
