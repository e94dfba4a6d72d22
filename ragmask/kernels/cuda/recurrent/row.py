"""A recurrence over one row by one block: where there is no room for the states of more."""

from typing import Any

from numba import cuda

from ragmask.kernels.compile import cuda_device, cuda_kernel
from ragmask.kernels.cuda.recurrent.arguments import (
    direction_of,
    fill_steps,
    first_kept,
    first_step,
)
from ragmask.kernels.cuda.teams import i8, u8
from ragmask.kernels.cuda.vector import ALIGNED
from ragmask.kernels.intrinsics import load_4


def row_function(cell: Any) -> Any:
    """A device function: one row, for a whole block of any number of threads."""

    @cuda_device
    def recurrent_row(
        gates: Any,
        segment: Any,
        mask: Any,
        recurrent: Any,
        states: Any,
        options: Any,
        out: Any,
        memory: Any,
    ) -> None:
        """segment (start, length, out_start); states (h0, c0, h, c) of the row, each (units,);
        options (backwards, zero_output_for_mask); out (steps, units) of all rows, or (0, units);
        memory shared, (3 · units,) of gates' dtype, aligned to 16 bytes.
        """
        start, length, out_start = segment
        h0, c0, h, c = states
        _, zero_output_for_mask = options
        units, shift = h.shape[0], out_start - start
        nothing = h.dtype.type(0)
        direction = direction_of(options)
        begin = first_step(start, length, direction)
        end = begin + direction * length
        thread, threads = i8(cuda.threadIdx.x), i8(cuda.blockDim.x)
        current, following = memory[:units], memory[units : 2 * units]
        carries = memory[2 * units :]

        at = first_kept(mask, begin, end, direction)
        for unit in range(thread, units, threads):
            current[u8(unit)], carries[u8(unit)] = h0[u8(unit)], c0[u8(unit)]
            if out.size:
                fill_steps(nothing, begin, at, direction, shift, unit, out)
        cuda.syncthreads()
        while at != end:
            after = first_kept(mask, at + direction, end, direction)
            for unit in range(thread, units, threads):
                i, f, g, o = load_4(gates, (at * units + unit) * 4)
                for source in range(units):
                    to_i, to_f, to_g, to_o = load_4(recurrent, (source * units + unit) * 4)
                    state = current[u8(source)]
                    i, f = i + state * to_i, f + state * to_f
                    g, o = g + state * to_g, o + state * to_o
                output, carry = cell((i, f, g, o), carries[u8(unit)])
                carries[u8(unit)], following[u8(unit)] = carry, output
                if out.size:
                    out[u8(at + shift), u8(unit)] = output
                    masked = nothing if zero_output_for_mask else output
                    fill_steps(masked, at + direction, after, direction, shift, unit, out)
            cuda.syncthreads()
            at = after
            current, following = following, current
        for unit in range(thread, units, threads):
            h[u8(unit)], c[u8(unit)] = current[u8(unit)], carries[u8(unit)]
        cuda.syncthreads()

    return recurrent_row


def row_kernel(recurrent_row: Any) -> Any:
    """A kernel whose blocks take a row at a time."""

    @cuda_kernel
    def recurrent_rows(
        rows: Any, gates: Any, recurrent: Any, states: Any, options: Any, out: Any, counter: Any
    ) -> None:
        order, starts, lengths, mask, out_starts = rows
        h0, c0, h, c = states
        memory = cuda.shared.array(0, gates.dtype, ALIGNED)
        tickets = cuda.shared.array(1, i8)
        ticket = i8(cuda.blockIdx.x)
        while ticket < order.size:
            row = u8(order[u8(ticket)])
            segment = starts[row], lengths[row], out_starts[row]
            row_states = h0[row], c0[row], h[row], c[row]
            recurrent_row(gates, segment, mask, recurrent, row_states, options, out, memory)
            if cuda.threadIdx.x == 0:
                tickets[0] = cuda.gridDim.x + cuda.atomic.add(counter, 0, i8(1))
            cuda.syncthreads()
            ticket = tickets[0]
            cuda.syncthreads()

    return recurrent_rows
