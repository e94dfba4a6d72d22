"""LSTM over one row by one block, and what all of an LSTM's kernels share.

Kernels and gates come with a unit's 4 gates side by side: see `LSTMWeights.packed_for_cuda`.
"""

from typing import Any

from numba import cuda

from ragmask.kernels.compile import cuda_device, cuda_kernel
from ragmask.kernels.cuda.teams import i8, u8
from ragmask.kernels.cuda.vector import ALIGNED
from ragmask.kernels.intrinsics import load_4
from ragmask.kernels.math import lstm_output, lstm_state


@cuda_device
def first_kept(mask: Any, at: int, end: int, direction: int) -> int:
    """The first kept step from `at` on, or `end`."""
    if mask is not None:
        while at != end and not mask[u8(at)]:
            at += direction
    return at


@cuda_device
def fill_steps(
    value: Any, at: int, end: int, direction: int, shift: int, unit: int, out: Any
) -> None:
    """One unit's outputs of masked steps."""
    while at != end:
        out[u8(at + shift), u8(unit)] = value
        at += direction


@cuda_device
def weights_between(recurrent: Any, source: int, unit: int, units: int) -> Any:
    """The weights of a unit's state in another's gates; zeros past the last unit."""
    if unit < units and source < units:
        return load_4(recurrent, (source * units + unit) * 4)
    nothing = recurrent.dtype.type(0)
    return nothing, nothing, nothing, nothing


@cuda_device
def lstm_row(
    gates: Any,
    place: Any,
    mask: Any,
    recurrent: Any,
    h0: Any,
    c0: Any,
    backwards: bool,
    zero_output_for_mask: bool,
    out: Any,
    h: Any,
    c: Any,
    memory: Any,
) -> None:
    """One row's LSTM: for a whole block, of any number of threads.

    place (start, length, out_start); h0, c0, h, c (units,), those of the row; out (steps, units)
    of all rows, or (0, units); memory shared, (3 · units,) of gates' dtype, aligned to 16 bytes.
    """
    start, length, out_start = place
    units, shift = h.shape[0], out_start - start
    nothing = h.dtype.type(0)
    direction = i8(-1) if backwards else i8(1)
    begin = start + (length - 1 if backwards else i8(0))
    end = begin + direction * length
    thread, threads = i8(cuda.threadIdx.x), i8(cuda.blockDim.x)
    states, other_states, cells = memory[:units], memory[units : 2 * units], memory[2 * units :]

    at = first_kept(mask, begin, end, direction)
    for unit in range(thread, units, threads):
        states[u8(unit)], cells[u8(unit)] = h0[u8(unit)], c0[u8(unit)]
        if out.size:
            fill_steps(nothing, begin, at, direction, shift, unit, out)
    cuda.syncthreads()
    while at != end:
        after = first_kept(mask, at + direction, end, direction)
        for unit in range(thread, units, threads):
            i, f, g, o = load_4(gates, (at * units + unit) * 4)
            for source in range(units):
                of_i, of_f, of_g, of_o = load_4(recurrent, (source * units + unit) * 4)
                state = states[u8(source)]
                i, f, g, o = i + state * of_i, f + state * of_f, g + state * of_g, o + state * of_o
            cell = lstm_state(i, f, g, cells[u8(unit)])
            output = lstm_output(o, cell)
            cells[u8(unit)], other_states[u8(unit)] = cell, output
            if out.size:
                out[u8(at + shift), u8(unit)] = output
                masked = nothing if zero_output_for_mask else output
                fill_steps(masked, at + direction, after, direction, shift, unit, out)
        cuda.syncthreads()
        at = after
        states, other_states = other_states, states
    for unit in range(thread, units, threads):
        h[u8(unit)], c[u8(unit)] = states[u8(unit)], cells[u8(unit)]
    cuda.syncthreads()


@cuda_kernel
def lstm_rows(
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
    """A row at a time for each block: where a block has no room for the states of more."""
    memory = cuda.shared.array(0, gates.dtype, ALIGNED)
    tickets = cuda.shared.array(1, i8)
    ticket = i8(cuda.blockIdx.x)
    while ticket < order.size:
        row = u8(order[u8(ticket)])
        lstm_row(
            gates,
            (starts[row], lengths[row], out_starts[row]),
            mask,
            recurrent,
            h0[row],
            c0[row],
            backwards,
            zero_output_for_mask,
            out,
            h[row],
            c[row],
            memory,
        )
        if cuda.threadIdx.x == 0:
            tickets[0] = cuda.gridDim.x + cuda.atomic.add(counter, 0, i8(1))
        cuda.syncthreads()
        ticket = tickets[0]
        cuda.syncthreads()
