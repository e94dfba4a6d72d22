"""The weights of recurrent layers in the order in which kernels read them. Needs no Numba.

On the CPU: for each block of `lanes` units (16 float32, 8 float64), each part of the cell and each
gate, a panel of (depth, lanes), and `lanes` first sums. A part's depth is the number of features,
or of units, or of both where the cell has one part. Units past the last are zeros.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ragmask.kernels.cells import Cell
from ragmask.kernels.constants import PANEL_BYTES

Array = npt.NDArray[Any]


class Packed(NamedTuple):
    """What a CPU kernel takes as its weights: both flat, and read-only."""

    panels: Array
    first_sums: Array  # the biases; or, for each id, a row of what its step's sums start from


def pack(cell: Cell, kernel: Array, recurrent_kernel: Array, bias: Array, dtype: Any) -> Packed:
    """Panels of the kernels, and the biases."""
    biases = bias.reshape(cell.parts, 1, -1)
    first_sums = _side_by_side(cell, list(biases), dtype)
    return _packed(_panels(cell, kernel, recurrent_kernel, dtype), first_sums)


def pack_for_ids(
    cell: Cell, kernel: Array, recurrent_kernel: Array, bias: Array, vectors: Array
) -> Packed:
    """Panels of the recurrent kernel, and the input's part for each of these vectors.

    In the vectors' dtype; for each vector, and one of zeros behind them, a row of
    `vector @ kernel + bias`.
    """
    dtype, features = vectors.dtype, len(kernel)
    inputs = np.zeros((cell.parts, features + 1, kernel.shape[1]), bias.dtype)
    inputs[0, :-1], inputs[:, -1] = kernel, bias.reshape(cell.parts, -1)
    steps = np.zeros((len(vectors) + 1, features + 1), dtype)
    steps[:-1, :-1], steps[:, -1] = vectors, 1  # the bias's factor
    table = np.matmul(steps, _side_by_side(cell, list(inputs), dtype))
    return _packed(_panels(cell, kernel[:0], recurrent_kernel, dtype), table)


def pack_for_cuda(cell: Cell, matrix: Array, dtype: Any) -> Array:
    """A kernel or a bias with the gates of a unit side by side: column `gates · unit + gate`."""
    by_gate = matrix.reshape(-1, cell.gates, matrix.shape[-1] // cell.gates)
    return np.array(np.swapaxes(by_gate, 1, 2), dtype, order="C").reshape(matrix.shape)


def _panels(cell: Cell, kernel: Array, recurrent_kernel: Array, dtype: Any) -> Array:
    both = [kernel, recurrent_kernel]
    parts = [
        _blocks(cell, part, dtype) for part in (both if cell.apart else [np.concatenate(both)])
    ]
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


def _side_by_side(cell: Cell, parts: list[Array], dtype: Any) -> Array:
    """Parts of one depth as rows of one matrix: (depth, blocks · parts · gates · lanes)."""
    blocks = np.concatenate([_blocks(cell, part, dtype) for part in parts], axis=1)
    return np.moveaxis(blocks, 2, 0).reshape(blocks.shape[2], -1)


def _blocks(cell: Cell, matrix: Array, dtype: Any) -> Array:
    """A matrix (depth, gates · units) as panels: (blocks, gates, depth, lanes)."""
    depth, units = len(matrix), matrix.shape[1] // cell.gates
    lanes = PANEL_BYTES // np.dtype(dtype).itemsize
    blocks = -(-units // lanes)
    gates = np.zeros((depth, cell.gates, blocks * lanes), dtype)
    gates[:, :, :units] = matrix.reshape(depth, cell.gates, units)
    return gates.reshape(depth, cell.gates, blocks, lanes).transpose(2, 1, 0, 3)


def _packed(panels: Array, first_sums: Array) -> Packed:
    flat = [np.ascontiguousarray(array).reshape(-1) for array in (panels, first_sums)]
    for array in flat:
        array.flags.writeable = False
    return Packed(*flat)
