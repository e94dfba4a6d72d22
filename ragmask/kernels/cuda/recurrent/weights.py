"""The weights of a recurrent layer as its gradient takes them, made on the device.

One matrix: the lines of the kernel, those of the recurrent kernel, the bias, and zeros. As in
`packed_for_cuda`, the 4 sums of a unit lie side by side. A thread takes a number.
"""

from typing import Any

from ragmask.kernels.compile import cuda_device, cuda_kernel
from ragmask.kernels.constants import CUDA_SUMS
from ragmask.kernels.cuda.rows import thread_number
from ragmask.kernels.cuda.teams import i8, u8


@cuda_device
def gates_of(which: int, gates: int, apart: int) -> Any:
    """The gates whose weights of the input and of the output before make a sum; -1 for none."""
    of_input = which if which < gates else i8(-1)
    of_output = which if which < gates - apart else i8(-1)
    if gates <= which < gates + apart:
        of_output = which - apart
    return of_input, of_output


@cuda_kernel
def pack_weights(
    kernel: Any, recurrent_kernel: Any, bias: Any, gates: int, apart: int, out: Any
) -> None:
    """kernel (features, gates · units), recurrent_kernel (units, gates · units), bias flat; out
    (features + units + 1 or more, 4 · units)."""
    at = thread_number()
    if at < out.size:
        features, units = kernel.shape[0], recurrent_kernel.shape[0]
        line, column = at // out.shape[1], at % out.shape[1]
        unit = column // CUDA_SUMS
        of_input, of_output = gates_of(column % CUDA_SUMS, gates, apart)
        value = out.dtype.type(0)
        if line < features:
            if of_input >= 0:
                value = kernel[u8(line), u8(of_input * units + unit)]
        elif line < features + units:
            if of_output >= 0:
                value = recurrent_kernel[u8(line - features), u8(of_output * units + unit)]
        elif line == features + units:
            if of_input >= 0:
                value = bias[u8(of_input * units + unit)]
            if apart > 0 and of_output >= 0:  # the second bias
                value += bias[u8((gates + of_output) * units + unit)]
        out[u8(line), u8(column)] = value


@cuda_kernel
def unpack_weights(
    packed: Any, gates: int, apart: int, out_kernel: Any, out_recurrent: Any, out_bias: Any
) -> None:
    """The gradients of the three, from that of what `pack_weights` made."""
    at = thread_number()
    if at < packed.size:
        features, units = out_kernel.shape[0], out_recurrent.shape[0]
        line, column = at // packed.shape[1], at % packed.shape[1]
        unit, value = column // CUDA_SUMS, packed[u8(line), u8(column)]
        of_input, of_output = gates_of(column % CUDA_SUMS, gates, apart)
        if line < features:
            if of_input >= 0:
                out_kernel[u8(line), u8(of_input * units + unit)] = value
        elif line < features + units:
            if of_output >= 0:
                out_recurrent[u8(line - features), u8(of_output * units + unit)] = value
        elif line == features + units:
            if of_input >= 0:
                out_bias[u8(of_input * units + unit)] = value
            if apart > 0 and of_output >= 0:
                out_bias[u8((gates + of_output) * units + unit)] = value


@cuda_kernel
def rearrange(source: Any, down: int, across: int, columns: int, out: Any) -> None:
    """`out[i, j, k] = source[i · down + j · across + k]`, and 0 past so many columns.

    A transpose, of numbers or of items; or the first columns of a matrix.
    """
    at = thread_number()
    if at < out.size:
        depth = out.shape[2]
        item, number = at // depth, at % depth
        line, column = item // out.shape[1], item % out.shape[1]
        value = out.dtype.type(0)
        if column < columns:
            value = source[u8(line * down + column * across + number)]
        out[u8(line), u8(column), u8(number)] = value
