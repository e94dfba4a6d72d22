"""The LSTM where the batch lives on a CUDA device."""

import sys
from typing import Any

import numpy as np

from ragmask import device_rows
from ragmask.device_array import DeviceArray, launch, run, same_device
from ragmask.devices import native, to_array, values_array
from ragmask.errors import DeviceError, InvalidInputError
from ragmask.ops.steps import Steps
from ragmask.weights import LSTMWeights


def lstm_on_device(
    steps: Steps,
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

    given = steps.rows
    if weights.device != given.device:
        raise DeviceError(
            f"x lives on {given.device}, and weights for batches on {weights.device}: "
            "pass weights.to_device(), or x.to_host()"
        )
    dtype = given.dtype
    number = np.dtype(np.float64 if dtype == np.float64 else np.float32)
    kernel, recurrent, bias = weights.on_device(number)
    rows: Any = given.compact()
    shape = len(rows), weights.units
    h0, c0 = _states(initial_state, shape, number, rows._values)
    h, c = h0.empty(shape, number), h0.empty(shape, number)
    out_shape = (weights.units,)
    if outputs:
        output: Any = steps.output(out_shape, dtype, out)
    else:
        output = h0.empty((0, weights.units), dtype)
    target = output if output.dtype == number else h0.empty(output.shape, number)
    if len(rows):
        run(
            cuda.lstm,
            cuda.RowArrays(_order(rows), rows._starts, rows._lengths, rows._mask, steps.out_starts),
            _project(rows._values, kernel, bias).reshape(-1),
            recurrent.reshape(-1),
            cuda.States(h0, c0, h, c),
            cuda.Options(bool(go_backwards), bool(zero_output_for_mask)),
            target,
            device_rows.filled(0, (1,), np.int64, h),
        )
    if target is not output:
        launch("convert", target.size, target.reshape(-1), output.reshape(-1), by_item=True)
    h, c = native(h.astype(dtype, copy=False)), native(c.astype(dtype, copy=False))
    return steps.give(output, steps.own_mask()) if outputs else None, h, c


def _order(rows: Any) -> DeviceArray:
    """The rows with the most kept steps first, about: it decides the speed, and nothing else."""
    kept = rows._lengths
    if rows._mask is not None:
        kept = device_rows.empty_like(kept)
        launch("count_kept", len(rows), rows._mask, rows._starts, rows._lengths, kept)
    ordered: DeviceArray = device_rows.by_length(kept, rows.max_length)
    return ordered


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
        zeros = device_rows.filled(0, shape, dtype, like)
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
