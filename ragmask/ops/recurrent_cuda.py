"""The LSTM where the batch lives on a CUDA device."""

import sys
from typing import Any

import numpy as np

from ragmask.arrays.coerce import same_device, to_array, values_array
from ragmask.arrays.cuda import CudaArrays
from ragmask.arrays.cuda_array import CudaArray, run
from ragmask.errors import DeviceError, InvalidInputError
from ragmask.kernels.registry import COUNT_KEPT
from ragmask.ops.input import Input, floats
from ragmask.rows.rows import Rows
from ragmask.weights import LSTMWeights


def lstm_on_cuda(
    given: Input,
    weights: LSTMWeights,
    initial_state: Any,
    go_backwards: bool,
    zero_output_for_mask: bool,
    outputs: bool,
    out: Any,
) -> tuple[Any, Any, Any]:
    """(outputs, h, c), as `lstm` gives them; x is known to fit the weights.

    The inputs of all steps are projected by one matrix product, the caller's library's where it
    has one (torch, CuPy), else ours. float16 is computed in float32.
    """
    from ragmask.kernels import cuda

    arrays: Any = given.arrays
    floats(given.rows, "x")
    if weights.device != arrays.place:
        raise DeviceError(
            f"x lives on {arrays.place}, and weights for batches on {weights.device}: "
            "pass weights.to_device(), or x.to_host()"
        )
    dtype = given.rows.dtype
    number = np.dtype(np.float64 if dtype == np.float64 else np.float32)
    kernel, recurrent, bias = weights.on_device(number)
    rows = given.rows.compact()
    shape = len(rows), weights.units
    h0, c0 = _states(initial_state, shape, number, rows.values)
    h, c = h0.empty(shape, number), h0.empty(shape, number)
    out_shape = (weights.units,)
    if outputs:
        output: Any = given.output(out_shape, dtype, out)
    else:
        output = h0.empty((0, weights.units), dtype)
    target = output if output.dtype == number else h0.empty(output.shape, number)
    if len(rows):
        run(
            cuda.lstm,
            _order(arrays, rows),
            _project(rows.values, kernel, bias).reshape(-1),
            rows.starts,
            rows.lengths,
            rows.mask,
            recurrent.reshape(-1),
            h0,
            c0,
            go_backwards,
            zero_output_for_mask,
            given.out_starts,
            target,
            h,
            c,
            arrays.full(0, (1,), np.int64),
        )
    if target is not output:
        arrays.assign(target, output)
    h, c = (arrays.native(arrays.as_dtype(state, dtype)) for state in (h, c))
    return given.give(output, given.rows.compact_mask()) if outputs else None, h, c


def _order(arrays: CudaArrays, rows: Rows) -> CudaArray:
    """The rows with the most kept steps first, about: it decides the speed, and nothing else."""
    kept = rows.lengths
    if rows.mask is not None:
        kept = arrays.empty(kept.shape, np.int64)
        arrays.run(COUNT_KEPT, rows.lengths, 0, rows.mask, rows.starts, rows.lengths, kept)
    return arrays.by_length(kept, rows.layout.longest)


def _project(x: Any, kernel: Any, bias: Any) -> Any:
    """`x @ kernel + bias`, (n, features) by (features, 4 · units)."""
    from ragmask.kernels import cuda

    if x.library == kernel.library == "torch" and len(x):
        torch = sys.modules["torch"]
        product = torch.addmm(bias.native(), x.native().to(kernel.native().dtype), kernel.native())
        return to_array(product, "the projection")
    if x.library == kernel.library == "cupy" and len(x):
        step = x.native().astype(kernel.dtype, copy=False)
        return to_array(step @ kernel.native() + bias.native(), "the projection")
    gates = x.empty((len(x), bias.size), kernel.dtype)
    run(cuda.project, x, kernel, bias, gates)
    return gates


def _states(initial: Any, shape: tuple[int, int], dtype: np.dtype[Any], like: Any) -> Any:
    if initial is None:
        zeros = CudaArrays(like).full(0, shape, dtype)
        return zeros, zeros
    if not isinstance(initial, tuple | list) or len(initial) != 2:
        raise InvalidInputError(
            f"initial_state is a pair (h, c), each of shape {shape}; got {type(initial).__name__}"
        )
    states = [
        values_array(one, f"initial_state's {name}")
        for name, one in zip("hc", initial, strict=True)
    ]
    same_device(x=like, h=states[0], c=states[1])
    for name, state in zip("hc", states, strict=True):
        if state.shape != shape:
            raise InvalidInputError(
                f"initial_state's {name} has shape {state.shape}; (rows, units) is {shape}"
            )
    return [state.astype(dtype, copy=False) for state in states]
