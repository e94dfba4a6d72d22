"""LSTM over the kept steps of rows, with a fixed number of rows in flight.

Each of `slots` slots holds one row's state. A step advances all slots at once, as one matrix
product; a row that ends leaves its slot to the next row, so that the product stays full however
unequal the rows are. Padding and masked steps are never computed.

Weights come packed (`weights.py`): for each block of `lanes` units the gates i, f, g, o, each a
panel of (features + units, lanes), so that a panel stays in the L1 cache while all slots pass it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ragmask.kernels.cpu.tile import (
    lanes_of,
    tile_1x4,
    tile_2x2,
    tile_3x2,
    tile_4x1,
    tile_5x1,
    tile_6x1,
)
from ragmask.kernels.jit import njit
from ragmask.kernels.math import lstm_output, lstm_state

TILE_ROWS = 6
MOST_SLOTS = 48


@njit
def lstm(
    first_row: int,
    last_row: int,
    order: Any,
    x: Any,
    starts: Any,
    lengths: Any,
    mask: Any,
    weights: Any,
    bias: Any,
    h0: Any,
    c0: Any,
    slots: int,
    backwards: bool,
    zero_output_for_mask: bool,
    out_starts: Any,
    out: Any,
    h: Any,
    c: Any,
) -> None:
    """Run the rows `order[first_row:last_row]`, longest first if they are to be fast.

    x (n, features); starts, lengths, out_starts int64 (rows,); mask bool (n,) or None; weights
    and bias packed; h0, c0, h, c (rows, units); out (steps, units), or None where only the
    states are wanted. All numbers are float32, or all float64.
    """
    features, units = x.shape[1], h.shape[1]
    lanes = lanes_of(x)
    blocks = (units + lanes - 1) // lanes
    depth = features + units
    stride = features + blocks * lanes
    now = np.zeros(slots * stride, x.dtype)  # each slot's [x | h] at this step
    then = np.zeros(slots * stride, x.dtype)  # and at the next
    cells = np.zeros((blocks, slots * lanes), x.dtype)
    gates = np.empty(slots * 4 * lanes, x.dtype)
    rows = np.empty(slots, np.int64)
    steps = np.empty(slots, np.int64)
    taken, next_row = 0, first_row

    while True:
        while taken < slots and next_row < last_row:
            row = order[next_row]
            next_row += 1
            step = skip_masked(
                row, 0, starts, lengths, mask, backwards, zero_output_for_mask, out_starts, out
            )
            if step == lengths[row]:  # no step to read: the states stay what they were
                h[row], c[row] = h0[row], c0[row]
                continue
            rows[taken], steps[taken] = row, step
            now[taken * stride + features : taken * stride + depth] = h0[row]
            for unit in range(units):
                cells[unit // lanes, taken * lanes + unit % lanes] = c0[row, unit]
            taken += 1
        if taken == 0:
            return

        for slot in range(taken):
            row = rows[slot]
            at = starts[row] + place(steps[slot], lengths[row], backwards)
            now[slot * stride : slot * stride + features] = x[at]
        for block in range(blocks):
            multiply(taken, now, stride, weights, depth, bias, block, gates)
            update(taken, gates, cells[block])
            for slot in range(taken):
                at = slot * stride + features + block * lanes
                then[at : at + lanes] = gates[slot * 4 * lanes : (slot * 4 + 1) * lanes]

        for slot in range(taken - 1, -1, -1):
            row = rows[slot]
            state = then[slot * stride + features : slot * stride + depth]
            if out is not None:
                out[out_starts[row] + place(steps[slot], lengths[row], backwards)] = state
            steps[slot] = skip_masked(
                row,
                steps[slot] + 1,
                starts,
                lengths,
                mask,
                backwards,
                zero_output_for_mask,
                out_starts,
                out,
            )
            if steps[slot] == lengths[row]:
                h[row] = state
                for unit in range(units):
                    c[row, unit] = cells[unit // lanes, slot * lanes + unit % lanes]
                taken -= 1
                if slot < taken:  # the last slot, dealt with already, moves here
                    rows[slot], steps[slot] = rows[taken], steps[taken]
                    state[:] = then[taken * stride + features : taken * stride + depth]
                    for block in range(blocks):
                        cell = cells[block]
                        cell[slot * lanes : (slot + 1) * lanes] = cell[
                            taken * lanes : (taken + 1) * lanes
                        ]
        now, then = then, now


@njit
def place(step: int, length: int, backwards: bool) -> int:
    """Where in its row the step lies that is read as number `step`."""
    return length - 1 - step if backwards else step


@njit
def skip_masked(
    row: int,
    step: int,
    starts: Any,
    lengths: Any,
    mask: Any,
    backwards: bool,
    zero_output_for_mask: bool,
    out_starts: Any,
    out: Any,
) -> int:
    """The first kept step from `step` on. Those it passes repeat the output before, or get 0."""
    if mask is not None:
        length = lengths[row]
        while step < length and not mask[starts[row] + place(step, length, backwards)]:
            if out is not None:
                at = out_starts[row] + place(step, length, backwards)
                if step == 0 or zero_output_for_mask:
                    out[at] = 0
                else:
                    out[at] = out[out_starts[row] + place(step - 1, length, backwards)]
            step += 1
    return step


@njit
def multiply(
    taken: int, x: Any, stride: int, weights: Any, depth: int, bias: Any, block: int, out: Any
) -> None:
    """The sums of one block's four gates for every slot: out (slots, 4, lanes)."""
    lanes = lanes_of(x)
    whole = taken // TILE_ROWS * TILE_ROWS
    left = taken - whole
    for gate in range(4):
        column = (block * 4 + gate) * lanes
        for slot in range(0, whole, TILE_ROWS):
            tile_6x1(x, stride, weights, depth, bias, out, slot, column)
        if left == 5:
            tile_5x1(x, stride, weights, depth, bias, out, whole, column)
        elif left == 4:
            tile_4x1(x, stride, weights, depth, bias, out, whole, column)
        elif left == 3 and gate % 2 == 0:
            tile_3x2(x, stride, weights, depth, bias, out, whole, column)
        elif left == 2 and gate % 2 == 0:
            tile_2x2(x, stride, weights, depth, bias, out, whole, column)
        elif left == 1 and gate == 0:
            tile_1x4(x, stride, weights, depth, bias, out, whole, column)


def _update(lanes: int) -> Callable[..., None]:
    """The state update for panels of this width: LLVM vectorises over a constant only (6×)."""

    @njit
    def update(taken: int, gates: Any, cell: Any) -> None:
        for slot in range(taken):
            sums = gates[slot * 4 * lanes : (slot + 1) * 4 * lanes]
            state = cell[slot * lanes : (slot + 1) * lanes]
            for lane in range(lanes):
                new = lstm_state(
                    sums[lane], sums[lane + lanes], sums[lane + 2 * lanes], state[lane]
                )
                state[lane] = new
                sums[lane] = lstm_output(sums[lane + 3 * lanes], new)

    return update


_update_16 = _update(16)
_update_8 = _update(8)


@njit
def update(taken: int, gates: Any, cell: Any) -> None:
    """New cell states in `cell`, and new outputs in the place of gate i."""
    if lanes_of(gates) == 16:
        _update_16(taken, gates, cell)
    else:
        _update_8(taken, gates, cell)
