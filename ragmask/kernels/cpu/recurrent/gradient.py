"""The gradient of a recurrent layer: its loop from the rows' last kept steps to their first.

A step turns the gradients of the states after it into those of its sums, and multiplies them by the
weights, transposed: that gives the gradients of its input and of the output before it. As in the
layer itself, `slots` rows are in flight, and a step advances all of them by one product.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ragmask.kernels.cells import RNN, Cell
from ragmask.kernels.compile import inline, part
from ragmask.kernels.constants import TILE_ROWS
from ragmask.kernels.cpu.lanes import copy_line
from ragmask.kernels.cpu.recurrent.loop import (
    begin_row,
    end_row,
    move_slot,
    position,
    read_of,
    with_names,
    write_of,
)
from ragmask.kernels.cpu.recurrent.tile import Product, tile_of
from ragmask.kernels.cpu.tile import lanes_of

tile = tile_of(RNN)  # one panel at a time, whatever the cell

if TYPE_CHECKING:  # each cell has its own: see `gradient_of`
    GATES = SUMS = APART = KEPT = 0

    def undo(*arguments: Any) -> None: ...


def gradient_of(cell: Cell, gradient: Callable[..., Any]) -> Callable[..., None]:
    """The loop of a cell's gradient, to be compiled.

    gradient : `(kept, gradients of states) -> (gradients of sums, of states)`, as in
        `kernels/steps.py`.
    """
    names = {
        "GATES": cell.gates,
        "SUMS": cell.sums,
        "APART": cell.apart,
        "KEPT": cell.kept,
        "undo": _undo_of(cell, gradient),
    }
    return with_names(_loop, names, cell.names[2])


def _loop(
    first_row: int, last_row: int, rows: Any, weights: Any, states: Any, options: Any, out: Any
) -> None:
    """Run the rows `order[first_row:last_row]`, longest first if they are to be fast.

    rows (order, starts, lengths, mask, kept, gradients): order, starts, lengths int64 (rows,), of
    rows end to end; mask bool (n,), or (0,) where there is none; kept as the layer wrote it;
    gradients of the outputs (n, units), or (0, units) where there are none. weights: panels, as
    `pack_for_gradient` makes them. states (last, initial): of each a tuple of (rows, units), the
    gradients that come and those that are wanted. options (slots, go_backwards). out (of_x,
    of_sums): (n, features), or (n, 0) where it is not wanted; and (blocks, sums, n, lanes), flat.
    Both are left alone at masked steps.

    All numbers are float32, or all float64.
    """
    order, starts, lengths, mask, kept, gradients = rows
    last, initial = states
    slots, backwards = options
    of_x, of_sums = out
    inner = len(last) - 1  # states besides the output

    n, features, units = len(of_x), of_x.shape[1], last[0].shape[1]
    lanes = lanes_of(of_x)
    blocks = (units + lanes - 1) // lanes
    x_blocks = (features + lanes - 1) // lanes
    depth = SUMS * blocks * lanes
    width = blocks * lanes
    sums = np.zeros(slots * depth, of_x.dtype)  # gradients of each slot's sums, those apart outside
    of_output = np.zeros(slots * width, of_x.dtype)  # of each slot's output
    through = np.zeros(slots * width, of_x.dtype)  # to that of the output before, past the sums
    memory = np.zeros((blocks, slots * inner * lanes), of_x.dtype)  # of its other states
    undone = np.empty(slots * (SUMS + 1) * lanes, of_x.dtype)
    product_sums = np.empty(slots * lanes, of_x.dtype)
    slot_rows = np.empty(slots, np.int64)
    slot_steps = np.empty(slots, np.int64)
    places = np.empty(slots, np.int64)
    nothing, nowhere = np.zeros(lanes, of_x.dtype), np.zeros(slots, np.int64)
    offsets = np.arange(slots) * width
    in_flight, next_row = 0, first_row

    while True:
        while in_flight < slots and next_row < last_row:
            row = order[next_row]
            next_row += 1
            step = step_before(lengths[row], row, starts, lengths, mask, backwards)
            if step < 0:  # no step was read: the states were what they had been
                for state in range(inner + 1):
                    copy_line(last[state][row], initial[state][row])
                continue
            slot_rows[in_flight], slot_steps[in_flight] = row, step
            begin = in_flight * width
            copy_line(last[0][row], of_output[begin : begin + units])
            begin_row(row, in_flight, last, memory)
            in_flight += 1
        if in_flight == 0:
            return

        for slot in range(in_flight):
            row = slot_rows[slot]
            places[slot] = starts[row] + position(slot_steps[slot], lengths[row], backwards)
            if gradients.size:
                slot_output = of_output[slot * width : slot * width + units]
                add(gradients[places[slot]], slot_output)
        for block in range(blocks):
            memories = memory[block]
            undo(in_flight, kept, places, block, blocks, of_output, memories, undone)
            for which in range(SUMS):
                # those apart of the input first, those apart of the output before last
                place = which + APART if which < GATES - APART else which
                place -= GATES - APART if GATES - APART <= which < GATES else 0
                panel = (block * SUMS + which) * n
                for slot in range(in_flight):
                    begin = (slot * (SUMS + 1) + which) * lanes
                    one = undone[begin : begin + lanes]
                    begin = (slot * SUMS + place) * width + block * lanes
                    copy_line(one, sums[begin : begin + lanes])
                    begin = (panel + places[slot]) * lanes
                    copy_line(one, of_sums[begin : begin + lanes])
            for slot in range(in_flight):
                begin = (slot * (SUMS + 1) + SUMS) * lanes
                one = undone[begin : begin + lanes]
                begin = slot * width + block * lanes
                copy_line(one, through[begin : begin + lanes])

        for block in range(x_blocks + blocks):
            is_x = block < x_blocks
            begin = 0 if is_x else APART * width
            panels = weights[block * depth * lanes : (block + 1) * depth * lanes]
            if is_x:
                product = Product(sums, depth, panels, nothing, nowhere, nowhere, product_sums)
            else:
                first_sums = through[(block - x_blocks) * lanes :]
                product = Product(sums, depth, panels, first_sums, offsets, nowhere, product_sums)
            for slot in range(0, in_flight, TILE_ROWS):
                count = min(TILE_ROWS, in_flight - slot)
                tile(product, count, slot, 0, 0, begin, begin + GATES * width, depth, 0)
            for slot in range(in_flight):
                one = product_sums[slot * lanes : (slot + 1) * lanes]
                if is_x:
                    target = of_x[places[slot], block * lanes : (block + 1) * lanes]
                    copy_line(one[: target.size], target)
                else:
                    begin = slot * width + (block - x_blocks) * lanes
                    copy_line(one, of_output[begin : begin + lanes])

        for slot in range(in_flight - 1, -1, -1):
            row = slot_rows[slot]
            step = step_before(slot_steps[slot], row, starts, lengths, mask, backwards)
            slot_steps[slot] = step
            if step < 0:
                begin = slot * width
                copy_line(of_output[begin : begin + units], initial[0][row])
                end_row(row, slot, memory, initial)
                in_flight -= 1
                if slot < in_flight:  # the last slot, which has had its turn, moves here
                    slot_rows[slot] = slot_rows[in_flight]
                    slot_steps[slot] = slot_steps[in_flight]
                    moved = of_output[in_flight * width : (in_flight + 1) * width]
                    copy_line(moved, of_output[begin : begin + width])
                    move_slot(in_flight, slot, memory, inner * lanes)


@part
def step_before(step: int, row: int, starts: Any, lengths: Any, mask: Any, backwards: bool) -> int:
    """The last kept step before `step`, in the order in which the layer read them, or -1."""
    step -= 1
    if mask.size:
        while step >= 0 and not mask[starts[row] + position(step, lengths[row], backwards)]:
            step -= 1
    return step


@inline
def add(source: Any, target: Any) -> None:
    for i in range(target.size):
        target[i] += source[i]


def _undo_of(cell: Cell, gradient: Callable[..., Any]) -> Callable[..., None]:
    """From the gradients of one block's states to those of its sums, for all slots in flight."""
    sums, inner, keeps = cell.sums, cell.states - 1, cell.kept
    read_kept, read_inner = read_of(keeps), read_of(inner)
    write_undone, write_inner = write_of(sums + 1), write_of(inner, 1)

    @inline
    def undo(
        in_flight: int,
        kept: Any,
        places: Any,
        block: int,
        blocks: int,
        of_output: Any,
        memory: Any,
        undone: Any,
    ) -> None:
        """`undone` gets, of each slot, the sums' gradients and what goes past them."""
        lanes = lanes_of(undone)
        for slot in range(in_flight):
            begin = (places[slot] * blocks + block) * keeps * lanes
            slot_kept = kept[begin : begin + keeps * lanes]
            begin = (slot * blocks + block) * lanes
            slot_output = of_output[begin : begin + lanes]
            slot_memory = memory[slot * inner * lanes : (slot + 1) * inner * lanes]
            slot_undone = undone[slot * (sums + 1) * lanes : (slot + 1) * (sums + 1) * lanes]
            for lane in range(lanes):
                output = (slot_output[lane],)
                states = output + read_inner(slot_memory, lane, lanes)
                of_sums, states = gradient(read_kept(slot_kept, lane, lanes), states)
                write_undone(slot_undone, lane, lanes, of_sums + states[:1])
                write_inner(slot_memory, lane, lanes, states)

    return undo
