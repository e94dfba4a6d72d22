"""LSTM over the kept steps of rows, with a fixed number of rows in flight.

Each of `slots` slots holds one row's state. A step advances all slots at once, as one matrix
product; a row that ends leaves its slot to the next row, so that the product stays full however
unequal the rows are. Padding and masked steps are never computed.

Weights come packed (`weights.py`): for each block of `lanes` units the gates i, f, g, o, each a
panel of (features + units, lanes), so that a panel stays in the L1 cache while all slots pass it.

The sums of a step's gates start from the bias; or, where steps have ids, from the row of their id
in a table of `vectors @ kernel + bias`, and x has no features.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ragmask.kernels.compile import inline, njit
from ragmask.kernels.cpu.tile import (
    lanes_of,
    tile_1x4,
    tile_2x2,
    tile_3x2,
    tile_4x1,
    tile_5x1,
    tile_6x1,
)
from ragmask.kernels.intrinsics import prefetch
from ragmask.kernels.math import lstm_output, lstm_state

TILE_ROWS = 6


@njit
def lstm(
    first_row: int,
    last_row: int,
    order: Any,
    x: Any,
    ids: Any,
    starts: Any,
    lengths: Any,
    mask: Any,
    weights: Any,
    start: Any,
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

    x (n, features); ids int64 (n,), or (0,) where there are none; starts, lengths, out_starts int64
    (rows,); mask bool (n,), or (0,) where there is none; weights packed; start packed: the bias, or
    one such row for each id; h0, c0, h, c (rows, units); out (steps, units), or (0, units) where
    only the states are wanted. All numbers are float32, or all float64. Empty arrays and not None:
    each variant of this kernel takes seconds to compile.
    """
    features, units = x.shape[1], h.shape[1]
    lanes = lanes_of(x)
    blocks = (units + lanes - 1) // lanes
    depth = features + units
    stride = features + blocks * lanes
    sums = blocks * 4 * lanes  # of a step's gates
    now = np.zeros(slots * stride, x.dtype)  # each slot's [x | h] at this step
    then = np.zeros(slots * stride, x.dtype)  # and at the next
    cells = np.zeros((blocks, slots * lanes), x.dtype)
    gates = np.empty(slots * 4 * lanes, x.dtype)
    rows = np.empty(slots, np.int64)
    steps = np.empty(slots, np.int64)
    first = np.zeros(slots, np.int64)  # where in `start` each slot's sums start
    later = np.zeros(slots if ids.size else 0, np.int64)  # and those of its next step, most likely
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
            copy(x[at], now[slot * stride : slot * stride + features])
            if ids.size:
                begin = ids[at] * sums
                # ids may have changed since they were checked: any row of the table, but of it
                first[slot] = begin if 0 <= begin <= start.size - sums else 0
                if steps[slot] + 1 < lengths[row]:  # it may be masked: then nothing is gained
                    at = starts[row] + place(steps[slot] + 1, lengths[row], backwards)
                    later[slot] = ids[at] * sums  # only ever asked for
        for block in range(blocks):
            multiply(taken, now, stride, weights, depth, start, first, later, block, gates)
            update(taken, gates, cells[block], then[features + block * lanes :], stride)

        for slot in range(taken - 1, -1, -1):
            row = rows[slot]
            state = then[slot * stride + features : slot * stride + depth]
            if out.size:
                copy(state, out[out_starts[row] + place(steps[slot], lengths[row], backwards)])
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
    if mask.size:
        length = lengths[row]
        while step < length and not mask[starts[row] + place(step, length, backwards)]:
            if out.size:
                at = out_starts[row] + place(step, length, backwards)
                if step == 0 or zero_output_for_mask:
                    out[at] = 0
                else:
                    out[at] = out[out_starts[row] + place(step - 1, length, backwards)]
            step += 1
    return step


@inline
def ask(start: Any, first: Any, slot: int, last_slot: int, column: int) -> None:
    """Ask for the numbers from which a few slots' sums will start.

    A step ahead, and between tiles: asked for block by block, 50,000 rows of 2 KB took 1.15 to
    1.3 times as long.
    """
    for one in range(slot, last_slot):
        prefetch(start, first[one] + column)


@njit
def multiply(
    taken: int,
    x: Any,
    stride: int,
    weights: Any,
    depth: int,
    start: Any,
    first: Any,
    later: Any,
    block: int,
    out: Any,
) -> None:
    """The sums of one block's four gates for every slot: out (slots, 4, lanes).

    They start at `first` in `start`, and those of the next step at `later`, unless that is empty.
    """
    lanes = lanes_of(x)
    whole = taken // TILE_ROWS * TILE_ROWS
    left = taken - whole
    for gate in range(4):
        column = (block * 4 + gate) * lanes
        for slot in range(0, whole, TILE_ROWS):
            if later.size:
                ask(start, later, slot, slot + TILE_ROWS, column)
            tile_6x1(x, stride, weights, depth, start, first, out, slot, column)
        if later.size:
            ask(start, later, whole, taken, column)
        if left == 5:
            tile_5x1(x, stride, weights, depth, start, first, out, whole, column)
        elif left == 4:
            tile_4x1(x, stride, weights, depth, start, first, out, whole, column)
        elif left == 3 and gate % 2 == 0:
            tile_3x2(x, stride, weights, depth, start, first, out, whole, column)
        elif left == 2 and gate % 2 == 0:
            tile_2x2(x, stride, weights, depth, start, first, out, whole, column)
        elif left == 1 and gate == 0:
            tile_1x4(x, stride, weights, depth, start, first, out, whole, column)


def _update(lanes: int) -> Callable[..., None]:
    """The state update for panels of this width: LLVM vectorises over a constant only (6×)."""

    @njit
    def update(taken: int, gates: Any, cell: Any, out: Any, stride: int) -> None:
        for slot in range(taken):
            sums = gates[slot * 4 * lanes : (slot + 1) * 4 * lanes]
            state = cell[slot * lanes : (slot + 1) * lanes]
            slot_out = out[slot * stride : slot * stride + lanes]
            for lane in range(lanes):
                state[lane] = lstm_state(
                    sums[lane], sums[lane + lanes], sums[lane + 2 * lanes], state[lane]
                )
                slot_out[lane] = lstm_output(sums[lane + 3 * lanes], state[lane])

    return update


_update_16 = _update(16)
_update_8 = _update(8)


@njit
def update(taken: int, gates: Any, cell: Any, out: Any, stride: int) -> None:
    """New states of one block in `cell`, and its outputs in `out`, `stride` apart."""
    if lanes_of(gates) == 16:
        _update_16(taken, gates, cell, out, stride)
    else:
        _update_8(taken, gates, cell, out, stride)


@inline
def copy(source: Any, target: Any) -> None:
    """A loop, for short arrays: Numba's assignment of slices takes longer to begin."""
    for i in range(target.size):
        target[i] = source[i]
