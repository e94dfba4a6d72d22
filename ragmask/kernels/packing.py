"""The weights of recurrent layers in the order in which kernels read them. Needs no Numba.

On the CPU: for each block of `lanes` units (16 float32, 8 float64) and each gate, a panel of
(features + units, lanes); and for each block, `lanes` first sums of each sum of the cell. Units
past the last are zeros.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ragmask.kernels.cells import Cell
from ragmask.kernels.constants import CUDA_SUMS, LINE_BYTES, PANEL_BYTES

Array = npt.NDArray[Any]


class Packed(NamedTuple):
    """What a CPU kernel takes as its weights: both flat, and read-only."""

    panels: Array
    first_sums: Array  # the biases; or, for each id, a row of what its step's sums start from


def pack(cell: Cell, kernel: Array, recurrent_kernel: Array, bias: Array, dtype: Any) -> Packed:
    """Panels of the kernels, and the biases."""
    both = np.concatenate([kernel, recurrent_kernel])
    return _packed(_panels(both, cell.gates, dtype), _first_sums(cell, bias, dtype))


def pack_for_ids(
    cell: Cell, kernel: Array, recurrent_kernel: Array, bias: Array, vectors: Array
) -> Packed:
    """Panels of the recurrent kernel, and the input's part for each of these vectors.

    In the vectors' dtype; for each vector, and one of zeros behind them, a row of
    `vector @ kernel + bias`.
    """
    dtype, features = vectors.dtype, len(kernel)
    of_input = np.zeros((features, cell.apart * kernel.shape[1] // cell.gates), kernel.dtype)
    kernel = np.concatenate([kernel, of_input], axis=1)  # the sums apart have no input
    rows = np.concatenate([_by_lanes(kernel, cell.sums, dtype), _first_sums(cell, bias, dtype)])
    steps = np.zeros((len(vectors) + 1, features + 1), dtype)
    steps[:-1, :-1], steps[:, -1] = vectors, 1  # the bias's factor
    return _packed(_panels(recurrent_kernel, cell.gates, dtype), np.matmul(steps, rows))


def pack_for_gradient(
    cell: Cell, kernel: Array, recurrent_kernel: Array, dtype: Any, wants_x: bool
) -> Array:
    """Panels of the transposed kernels, (sums · units, lanes), flat.

    One for each `lanes` features, where x's gradient is wanted, then one for each `lanes` units.
    The sums stand gate by gate, each of whole lanes of units: those apart of the input first, and
    those apart of the output before last.
    """
    lanes = PANEL_BYTES // np.dtype(dtype).itemsize
    units, joint = len(recurrent_kernel), cell.gates - cell.apart
    width = -(-units // lanes) * lanes
    of_input = [*range(joint, cell.gates), *range(joint)]
    parts = [(kernel, 0, of_input)] if wants_x else []
    parts.append((recurrent_kernel, cell.apart, [*range(cell.gates)]))
    sizes = [-(-len(matrix) // lanes) for matrix, *_ in parts]
    panels = _aligned_zeros((sum(sizes), cell.sums, width, lanes), dtype)
    begin = 0
    for (matrix, first, gates), size in zip(parts, sizes, strict=True):
        by_gate = matrix.reshape(len(matrix), cell.gates, units)
        for block in range(size):
            some = by_gate[block * lanes : (block + 1) * lanes, gates]
            panels[begin + block, first : first + cell.gates, :units, : len(some)] = (
                some.T.swapaxes(0, 1)
            )
        begin += size
    return panels.reshape(-1)


def unpack_gradient(
    cell: Cell, packed: Array, features: int, units: int
) -> tuple[Array, Array, Array]:
    """Of (blocks · sums, features + 1 + units, lanes): of kernel, recurrent kernel and bias."""
    _, inputs, lanes = packed.shape
    by_sum = packed.reshape(-1, cell.sums, inputs, lanes)
    whole = np.moveaxis(by_sum, 2, 0).swapaxes(1, 2).reshape(inputs, cell.sums, -1)[..., :units]
    joint, gates = cell.gates - cell.apart, cell.gates
    of_output = np.concatenate([whole[features:, :joint], whole[features:, gates:]], axis=1)
    of_input = whole[: features + 1, :gates]
    kernel = of_input[:-1].reshape(features, gates * units)
    recurrent = of_output[1:].reshape(units, gates * units)
    bias = of_input[-1].reshape(-1)
    if cell.apart:
        bias = np.stack([bias, of_output[0].reshape(-1)])
    return np.ascontiguousarray(kernel), np.ascontiguousarray(recurrent), bias


def pack_for_cuda(
    cell: Cell, kernel: Array, recurrent_kernel: Array, bias: Array, dtype: Any
) -> tuple[Array, Array, Array]:
    """The kernels and the bias with 4 sums of a unit side by side: column `4 · unit + sum`.

    Those that a cell does not have are zeros: its kernels read four numbers at once.
    """
    units = len(recurrent_kernel)
    first = np.split(kernel, cell.gates, axis=1)
    last = np.split(recurrent_kernel, cell.gates, axis=1)
    joint = cell.gates - cell.apart
    last[joint:joint] = [np.zeros_like(last[0])] * cell.apart
    biases = np.split(_summed_bias(cell, bias, dtype), cell.sums, axis=1)

    def by_unit(parts: list[Array]) -> Array:
        rows = np.zeros((len(parts[0]), units, CUDA_SUMS), dtype)
        rows[:, :, : len(parts)] = np.stack(parts, axis=-1)
        return rows.reshape(len(rows), units * CUDA_SUMS)

    return by_unit(first), by_unit(last), by_unit(biases)[0]


def _summed_bias(cell: Cell, bias: Array, dtype: Any) -> Array:
    """What a unit's sums begin with, (1, sums · units)."""
    bias = bias.astype(dtype)  # and then added: in float32 as if they had come in it
    if not cell.apart:
        return bias.reshape(1, -1)
    at = (cell.gates - cell.apart) * bias.shape[1] // cell.gates
    of_input, of_outputs = bias
    joint = of_input[:at] + of_outputs[:at]
    return np.concatenate([joint, of_input[at:], of_outputs[at:]])[None]


def _first_sums(cell: Cell, bias: Array, dtype: Any) -> Array:
    return _by_lanes(_summed_bias(cell, bias, dtype), cell.sums, dtype)


def _panels(matrix: Array, gates: int, dtype: Any) -> Array:
    """A matrix (depth, gates · units) as panels: (blocks, gates, depth, lanes)."""
    depth = len(matrix)
    by_lanes = _by_lanes(matrix, gates, dtype)
    lanes = PANEL_BYTES // by_lanes.itemsize
    return np.moveaxis(by_lanes.reshape(depth, -1, gates, lanes), 0, 2)


def _by_lanes(matrix: Array, parts: int, dtype: Any) -> Array:
    """(depth, parts · units) as (depth, blocks · parts · lanes)."""
    depth, units = len(matrix), matrix.shape[1] // parts
    lanes = PANEL_BYTES // np.dtype(dtype).itemsize
    blocks = -(-units // lanes)
    whole = np.zeros((depth, parts, blocks * lanes), dtype)
    whole[:, :, :units] = matrix.reshape(depth, parts, units)
    return whole.reshape(depth, parts, blocks, lanes).swapaxes(1, 2).reshape(depth, -1)


def _packed(panels: Array, first_sums: Array) -> Packed:
    return Packed(_aligned(panels), _aligned(first_sums))


def _aligned(array: Array) -> Array:
    """A flat copy that begins with a cache line, so that no vector of it lies in two."""
    copy = _aligned_zeros(array.shape, array.dtype)
    copy[...] = array
    copy.flags.writeable = False
    return copy.reshape(-1)


def _aligned_zeros(shape: tuple[int, ...], dtype: Any) -> Array:
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.zeros(nbytes + LINE_BYTES, np.uint8)
    begin = -memory.ctypes.data % LINE_BYTES
    zeros: Array = memory[begin : begin + nbytes].view(dtype).reshape(shape)
    return zeros
