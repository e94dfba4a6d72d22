"""Recurrent layers where the batch lives on a CUDA device."""

import sys
from typing import Any

import numpy as np

from ragmask.arrays.coerce import to_array
from ragmask.arrays.cuda import CudaArrays
from ragmask.arrays.cuda_array import CudaArray, run
from ragmask.kernels.registry import COUNT_KEPT
from ragmask.ops.input import Input
from ragmask.rows.rows import Rows
from ragmask.weights.recurrent import RecurrentWeights


def run_on_cuda(
    given: Input,
    rows: Rows,
    weights: RecurrentWeights,
    initial: tuple[CudaArray, ...],
    options: tuple[bool, bool],
    outputs: bool,
    out: Any,
) -> tuple[CudaArray | None, tuple[Any, ...]]:
    """The outputs, end to end, and the last states, in x's dtype.

    The inputs of all steps are projected by one matrix product, the caller's library's where it
    has one (torch, CuPy), else ours. float16 is computed in float32.
    """
    from ragmask.kernels import cuda

    arrays: Any = given.arrays
    dtype, number = given.rows.dtype, initial[0].dtype
    kernel, recurrent, bias = weights.on_device(number)
    rows = rows.compact()
    last = tuple(arrays.empty(state.shape, number) for state in initial)
    output = None
    target = arrays.empty((0, weights.units), number)
    if outputs:
        target = output = given.output((weights.units,), dtype, out)
        if dtype != number:
            target = arrays.empty(output.shape, number)
    if len(rows):
        order, out_starts = _order(arrays, rows), given.out_starts
        run(
            weights.cell.cuda,
            cuda.RowArrays(order, rows.starts, rows.lengths, rows.mask, out_starts),
            _project(rows.values, kernel, bias).reshape(-1),
            recurrent.reshape(-1),
            cuda.States(initial[0], initial[-1], last[0], last[-1]),
            cuda.Options(*options),
            target,
            arrays.full(0, (1,), np.int64),
        )
    if output is not None and target is not output:
        arrays.assign(target, output)
    return output, tuple(arrays.native(arrays.as_dtype(state, dtype)) for state in last)


def keep_on_cuda(*arguments: Any) -> Any:
    raise NotImplementedError


def gradient_on_cuda(*arguments: Any) -> Any:
    raise NotImplementedError


def _order(arrays: CudaArrays, rows: Rows) -> CudaArray:
    """The rows with the most kept steps first, about: it decides the speed, and nothing else."""
    kept = rows.lengths
    if rows.mask is not None:
        kept = arrays.empty(kept.shape, np.int64)
        arrays.run(COUNT_KEPT, rows.lengths, 0, rows.mask, rows.starts, rows.lengths, kept)
    return arrays.by_length(kept, rows.layout.longest)


def _project(x: CudaArray, kernel: CudaArray, bias: CudaArray) -> CudaArray:
    """`x @ kernel + bias`, (n, features) by (features, gates · units)."""
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
