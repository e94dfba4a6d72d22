"""Recurrent layers where the batch lives on a CUDA device."""

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from ragmask.arrays.coerce import to_array
from ragmask.arrays.cuda import CudaArrays
from ragmask.arrays.cuda_array import CudaArray, launch, run
from ragmask.kernels.cells import Cell
from ragmask.kernels.constants import CUDA_SUMS
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
    packed = kernel, recurrent, bias
    _recur(weights.cell, rows, given.out_starts, packed, (initial, last), options, target)
    if output is not None and target is not output:
        arrays.assign(target, output)
    return output, tuple(arrays.native(arrays.as_dtype(state, dtype)) for state in last)


def keep_on_cuda(
    cell: Cell,
    x: Rows,
    weights: tuple[CudaArray, ...],
    initial: CudaArray,
    go_backwards: bool,
    keep: bool,
) -> tuple[CudaArray, CudaArray, CudaArray]:
    """Nothing is kept in any case: one product makes the sums of all steps again."""
    arrays: Any = x.arrays
    features, units = len(weights[0]), len(weights[1])
    packed = _packed(cell, arrays, weights)
    kernel, recurrent = packed[:features], packed[features : features + units]
    bias = packed[features + units : features + units + 1].reshape(-1)
    outputs = arrays.empty((x.n_steps, units), x.dtype)
    last = arrays.empty(initial.shape, x.dtype)
    states, options = (_each(initial), _each(last)), (go_backwards, False)
    _recur(cell, x, x.starts, (kernel, recurrent, bias), states, options, outputs)
    return outputs, last, arrays.empty((0,), x.dtype)


def gradient_on_cuda(
    cell: Cell,
    x: Rows,
    weights: tuple[CudaArray, ...],
    initial: CudaArray,
    go_backwards: bool,
    results: tuple[CudaArray, CudaArray],
    gradients: tuple[CudaArray | None, CudaArray | None],
    wants_x: bool,
) -> tuple[CudaArray | None, ...]:
    """Three products over all steps, and between them a way there and a way back, a row a block."""
    from ragmask.kernels import cuda

    arrays: Any = x.arrays
    dtype, n, (features, units) = x.dtype, x.n_steps, (len(weights[0]), len(weights[1]))
    of_outputs, of_last = gradients
    if of_outputs is None:
        of_outputs = arrays.empty((0, units), dtype)
    if of_last is None:
        of_last = arrays.full(0, initial.shape, dtype)
    of_initial = arrays.empty(initial.shape, dtype)
    first, last, begun = _each(initial), _each(of_last), _each(of_initial)
    rows = cuda.RowArrays(_order(arrays, x), x.starts, x.lengths, x.mask, x.starts)
    options = cuda.Options(go_backwards, False)

    packed = _packed(cell, arrays, weights)
    inputs = arrays.empty((n, len(packed)), dtype)
    run(cuda.gather, rows, x.values, results[0], first[0], options, inputs)
    sums = _product(arrays, inputs, packed)
    kept = arrays.empty((n * cell.kept * units,), dtype)
    run(cell.cuda_keeping, rows, sums.reshape(-1), first[0], first[-1], options, kept)
    del sums  # its memory does for the next

    # masked steps are left alone
    of_sums = (arrays.empty if x.mask is None else partial(arrays.full, 0))(
        (n, units * CUDA_SUMS), dtype
    )
    recurrent = packed[features : features + units]
    back = _rearranged(recurrent, CUDA_SUMS, recurrent.shape[1], units, (units, units, CUDA_SUMS))
    states = cuda.States(last[0], last[-1], begun[0], begun[-1])
    run(
        cell.cuda_gradient,
        *(rows, kept, of_outputs, back.reshape(-1), states, options),
        of_sums.reshape(-1),
    )
    of_x = _product(arrays, of_sums, packed[:features], turn_other=True) if wants_x else None
    of_packed = _product(arrays, inputs, of_sums, turn_one=True)
    of_weights = [arrays.empty(one.shape, dtype) for one in weights]
    flat_bias = of_weights[2].reshape(-1)
    given = of_packed, cell.gates, cell.apart, *of_weights[:2], flat_bias
    launch("unpack_weights", of_packed.size, *given)
    return of_x, *of_weights, of_initial


def _recur(
    cell: Cell,
    rows: Rows,
    out_starts: CudaArray,
    packed: tuple[CudaArray, ...],
    states: tuple[Sequence[CudaArray], Sequence[CudaArray]],
    options: tuple[bool, bool],
    target: CudaArray,
) -> None:
    """Launch the layer over rows end to end. states: those before, and those to be written."""
    from ragmask.kernels import cuda

    if len(rows) == 0:
        return
    arrays: Any = rows.arrays
    kernel, recurrent, bias = packed
    initial, last = states
    run(
        cell.cuda,
        cuda.RowArrays(_order(arrays, rows), rows.starts, rows.lengths, rows.mask, out_starts),
        _project(rows.values, kernel, bias).reshape(-1),
        recurrent.reshape(-1),
        cuda.States(initial[0], initial[-1], last[0], last[-1]),
        cuda.Options(*options),
        target,
        arrays.full(0, (1,), np.int64),
    )


def _each(states: CudaArray) -> list[CudaArray]:
    """Of (states, rows, units), one array each."""
    shape = states.shape[1:]
    return [states[number : number + 1].reshape(shape) for number in range(len(states))]


def _packed(cell: Cell, arrays: CudaArrays, weights: tuple[CudaArray, ...]) -> CudaArray:
    """The weights as one matrix, the bias its last line but for zeros: see kernels' weights.py."""
    kernel, recurrent, bias = weights
    lines = -(-(len(kernel) + len(recurrent) + 1) // 4) * 4  # which suits what reads four at once
    packed = arrays.empty((lines, len(recurrent) * CUDA_SUMS), kernel.dtype)
    given = kernel, recurrent, bias.reshape(-1), cell.gates, cell.apart, packed
    launch("pack_weights", packed.size, *given)
    return packed


def _product(
    arrays: CudaArrays,
    one: CudaArray,
    other: CudaArray,
    turn_one: bool = False,
    turn_other: bool = False,
) -> CudaArray:
    """The product of two matrices, either of them transposed: by their library, or by ours."""
    from ragmask.kernels import cuda

    if one.library in ("torch", "cupy") and one.size and other.size:
        left, right = one.native(), other.native()
        product = (left.T if turn_one else left) @ (right.T if turn_other else right)
        return to_array(product, "a product")
    if turn_one:
        lines, width = one.shape
        one = _rearranged(one, 1, width, lines, (width, lines, 1)).reshape(width, lines)
    columns = len(other) if turn_other else other.shape[1]
    whole = -(-columns // 4) * 4  # as `project` wants them
    if turn_other:
        depth = other.shape[1]
        other = _rearranged(other, 1, depth, columns, (depth, whole, 1)).reshape(depth, whole)
    product = arrays.empty((len(one), whole), one.dtype)
    run(cuda.project, one, other, arrays.full(0, (whole,), one.dtype), product)
    if whole == columns:
        return product
    cut = _rearranged(product, whole, 1, columns, (len(one), columns, 1))
    return cut.reshape(len(one), columns)


def _rearranged(
    source: CudaArray, down: int, across: int, columns: int, shape: tuple[int, int, int]
) -> CudaArray:
    out = source.empty(shape, source.dtype)
    launch("rearrange", out.size, source.reshape(-1), down, across, columns, out)
    return out


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
