"""The LSTM where the batch lives on a CUDA device."""

import sys
from typing import Any

import numpy as np

from ragmask import device_rows
from ragmask.device_array import DeviceArray, launch, run
from ragmask.devices import native, to_array
from ragmask.errors import DeviceError
from ragmask.ops.states import initial_pair
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
    h, c = (rows._values.empty(shape, number) for _ in "hc")
    if initial_state is None:
        h0 = c0 = device_rows.filled(0, shape, number, h)
    else:
        h0, c0 = initial_pair(initial_state, h)
    out_shape = (weights.units,)
    if outputs:
        output: Any = steps.output(out_shape, dtype, out)
    else:
        output = h0.empty((0, weights.units), dtype)
    target = output if output.dtype == number else h0.empty(output.shape, number)
    if len(rows):
        run(
            cuda.lstm,
            _order(rows),
            _project(rows._values, kernel, bias).reshape(-1),
            rows._starts,
            rows._lengths,
            rows._mask,
            recurrent.reshape(-1),
            h0,
            c0,
            bool(go_backwards),
            bool(zero_output_for_mask),
            steps.out_starts,
            target,
            h,
            c,
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
