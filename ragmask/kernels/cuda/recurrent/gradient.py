"""The gradient of a recurrence: what its steps took, and the loop from the last to the first.

The sums of all steps come from one product over what `gather_inputs` lays side by side. Then a
cell has two kernels: `keeping_kernel` makes of them the numbers that the gradient takes, and
`gradient_kernel` goes back. In both a block takes one row, in the order of `order`, so that the
longest begin first; which block takes a row changes no bit.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from numba import cuda

from ragmask.kernels.compile import cuda_device, cuda_kernel
from ragmask.kernels.constants import CUDA_SUMS
from ragmask.kernels.cuda.recurrent.arguments import direction_of, first_kept, first_step
from ragmask.kernels.cuda.teams import WARPS, i8, u8
from ragmask.kernels.cuda.vector import ALIGNED
from ragmask.kernels.intrinsics import load_4, store_4


@cuda_device
def is_kept(mask: Any, at: int) -> bool:
    return mask is None or mask[u8(at)]


@cuda_kernel
def gather_inputs(rows: Any, x: Any, outputs: Any, h0: Any, options: Any, out: Any) -> None:
    """What a step's sums are made of: its features, the output before it, 1, and zeros.

    Zeros alone at masked steps. x (n, features), outputs (n, units), h0 (rows, units), and out
    (n, features + units + 1 or more). The blocks of a row share its steps, a warp takes one.
    """
    _, starts, lengths, mask, _ = rows
    features, units, width = x.shape[1], h0.shape[1], out.shape[1]
    parts = i8(cuda.gridDim.x) // lengths.size
    row, part = u8(i8(cuda.blockIdx.x) // parts), i8(cuda.blockIdx.x) % parts
    start, length, direction = starts[row], lengths[row], direction_of(options)
    begin = first_step(start, length, direction)
    first = first_kept(mask, begin, begin + direction * length, direction)
    warp, lane = part * WARPS + (cuda.threadIdx.x >> 5), i8(cuda.threadIdx.x & 31)
    for at in range(start + warp, start + length, parts * WARPS):
        keep = is_kept(mask, at)
        for column in range(lane, width, 32):
            unit, value = column - features, out.dtype.type(0)
            if keep and unit < 0:
                value = x[u8(at), u8(column)]
            elif keep and unit < units:  # a masked step's output repeats the one before
                value = h0[row, u8(unit)] if at == first else outputs[u8(at - direction), u8(unit)]
            elif keep and unit == units:
                value = out.dtype.type(1)
            out[u8(at), u8(column)] = value


def reader_of(count: int) -> Any:
    """A device function (array, at, stride): a tuple of so many numbers."""
    last = count - 1
    if last == 0:

        @cuda_device
        def read_one(array: Any, at: int, stride: int) -> Any:
            return (array[u8(at)],)

        return read_one

    before = reader_of(last)

    @cuda_device
    def read(array: Any, at: int, stride: int) -> Any:
        return (*before(array, at, stride), array[u8(at + last * stride)])

    return read


def writer_of(count: int) -> Any:
    """A device function (numbers, array, at, stride), which puts a tuple of so many there."""
    last = count - 1
    before = writer_of(last) if last else None

    if before is None:

        @cuda_device
        def write_one(numbers: Any, array: Any, at: int, stride: int) -> None:
            array[u8(at)] = numbers[0]

        return write_one

    @cuda_device
    def write(numbers: Any, array: Any, at: int, stride: int) -> None:
        before(numbers, array, at, stride)
        array[u8(at + last * stride)] = numbers[last]

    return write


def keeping_kernel(step: Callable[..., Any], count: int) -> Any:
    """A kernel that takes each row's steps in order, a unit for a thread.

    step : `(sums, states) -> (states, kept)`, as in `kernels/steps.py`; count : how many are kept.
    """
    write_kept = writer_of(count)

    @cuda_kernel
    def recurrent_keeping(rows: Any, sums: Any, h0: Any, c0: Any, options: Any, out: Any) -> None:
        """sums (n · units · 4,); h0, c0 (rows, units), as States has them.

        out (n · count · units,) is left alone at masked steps.
        """
        order, starts, lengths, mask, _ = rows
        row, units, number = u8(order[u8(cuda.blockIdx.x)]), h0.shape[1], out.dtype.type
        direction = direction_of(options)
        begin = first_step(starts[row], lengths[row], direction)
        end = begin + direction * lengths[row]
        for unit in range(i8(cuda.threadIdx.x), units, i8(cuda.blockDim.x)):
            output, carry = h0[row, u8(unit)], c0[row, u8(unit)]
            at = first_kept(mask, begin, end, direction)
            while at != end:
                of_step = load_4(sums, (at * units + unit) * CUDA_SUMS)
                states, kept = step(of_step, (output, carry))
                output, carry = number(states[0]), number(states[-1])
                write_kept(kept, out, at * count * units + unit, units)
                at = first_kept(mask, at + direction, end, direction)

    return recurrent_keeping


@cuda_device
def product_of(weights: Any, sums: Any, unit: int, units: int, part: int, parts: int) -> Any:
    """One part of what the sums of all units send back to the output of one."""
    first = second = third = fourth = sums.dtype.type(0)
    for source in range(part, units, parts):
        to_first, to_second, to_third, to_fourth = load_4(
            weights, (source * units + unit) * CUDA_SUMS
        )
        one, two, three, four = load_4(sums, source * CUDA_SUMS)
        first, second = first + one * to_first, second + two * to_second
        third, fourth = third + three * to_third, fourth + four * to_fourth
    return (first + second) + (third + fourth)


def gradient_kernel(undo: Callable[..., Any], count: int) -> Any:
    """A kernel that takes each row's steps from the last to the first, a block for a row.

    undo : `(kept, gradients of states) -> (gradients of 4 sums, of states)`; count : how many
        numbers of a step are kept.
    """
    read_kept = reader_of(count)

    @cuda_kernel
    def recurrent_gradient(
        rows: Any,
        kept: Any,
        gradients: Any,
        weights: Any,
        states: Any,
        options: Any,
        parts: int,
        out: Any,
    ) -> None:
        """kept as `keeping_kernel` wrote it; gradients of the outputs (n, units), or (0, units).

        weights (units · units · 4,): how the 4 sums of a unit, first, depend on the output before
        of another. states: the gradients of the last ones as h0 and c0, of the first as h and c.
        out (n · units · 4,), the gradients of the sums, is left alone at masked steps. A unit's sum
        over the others is cut into so many parts, each for one of the threads.
        """
        order, starts, lengths, mask, _ = rows
        h0, c0, h, c = states
        memory = cuda.shared.array(0, out.dtype, ALIGNED)
        row, units = u8(order[u8(cuda.blockIdx.x)]), h.shape[1]
        sums, of_output = memory[: CUDA_SUMS * units], memory[CUDA_SUMS * units :]
        of_carry, of_parts = of_output[units:], of_output[2 * units :]
        thread, threads = i8(cuda.threadIdx.x), i8(cuda.blockDim.x)
        across = threads // parts
        part, first_unit = thread // across, thread % across
        direction = -direction_of(options)
        begin = first_step(starts[row], lengths[row], direction)
        end = begin + direction * lengths[row]

        for unit in range(thread, units, threads):
            of_output[u8(unit)], of_carry[u8(unit)] = h0[row, u8(unit)], c0[row, u8(unit)]
        at = first_kept(mask, begin, end, direction)
        while at != end:
            for unit in range(thread, units, threads):
                of_state = of_output[u8(unit)]
                if gradients.size:
                    of_state += gradients[u8(at), u8(unit)]
                of_step = read_kept(kept, at * count * units + unit, units)
                of_sums, of_states = undo(of_step, (of_state, of_carry[u8(unit)]))
                store_4(sums, unit * CUDA_SUMS, of_sums)
                store_4(out, (at * units + unit) * CUDA_SUMS, of_sums)
                of_output[u8(unit)], of_carry[u8(unit)] = of_states[0], of_states[-1]
            cuda.syncthreads()
            for unit in range(first_unit, units, across):
                of_part = product_of(weights, sums, unit, units, part, parts)
                of_parts[u8(part * units + unit)] = of_part
            cuda.syncthreads()
            for unit in range(thread, units, threads):
                for other in range(parts):
                    of_output[u8(unit)] += of_parts[u8(other * units + unit)]
            at = first_kept(mask, at + direction, end, direction)
        for unit in range(thread, units, threads):
            c[row, u8(unit)] = of_carry[u8(unit)]
            # last, since a cell of one state has c in the same place
            h[row, u8(unit)] = of_output[u8(unit)]

    return recurrent_gradient


class GradientKernels(NamedTuple):
    """Those of one cell."""

    keeping: Any
    back: Any


def gradient_kernels_of(
    step: Callable[..., Any], undo: Callable[..., Any], count: int
) -> GradientKernels:
    return GradientKernels(keeping_kernel(step, count), gradient_kernel(undo, count))
