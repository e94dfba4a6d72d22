"""A matrix product in tiles: an LSTM's input projection."""

from typing import Any

from numba import cuda

from ragmask.kernels.compile import cuda_kernel
from ragmask.kernels.cuda.launch import launch_blocks
from ragmask.kernels.cuda.move import address
from ragmask.kernels.cuda.teams import THREADS, i8, u8
from ragmask.kernels.cuda.vector import ALIGNED
from ragmask.kernels.intrinsics import load_4, store_4
from ragmask.kernels.overloads import bytes_of_item, computed_in

# A block makes a tile of STEPS × COLUMNS, a thread 8 × 8 of it: 2 × 2 pieces of 4 × 4.
STEPS, COLUMNS = 128, 64
_DEPTH = 16  # features staged at a time
_STAGED_STEPS, _STAGED_COLUMNS = _DEPTH * STEPS, _DEPTH * COLUMNS
_SUMS = 64


def project(x: Any, kernel: Any, bias: Any, out: Any, *, stream: Any = 0) -> None:
    """Launch `out = x @ kernel + bias`: nothing where there are no steps.

    x (n, features), kernel (features, columns), bias (columns,), out (n, columns), all of them
    contiguous, columns a multiple of 4; kernel and out are aligned to 16 bytes. x of float16
    makes float32; else all are float32, or all float64. A step's numbers depend on no other step.
    """
    steps, columns = out.shape
    blocks = -(-steps // STEPS) * -(-columns // COLUMNS)
    flat = x.reshape(-1), kernel.reshape(-1), bias, steps, len(kernel), out.reshape(-1)
    launch_blocks(project_tiles, blocks, THREADS, *flat, stream=stream)


@cuda_kernel
def project_tiles(x: Any, kernel: Any, bias: Any, steps: int, features: int, out: Any) -> None:
    """A tile of the product for each block; all arrays are flat.

    A sum runs over the features in order, one after another, whatever its tile.
    """
    number = computed_in(x)
    staged_x = cuda.shared.array(_STAGED_STEPS, number, ALIGNED)
    staged_kernel = cuda.shared.array(_STAGED_COLUMNS, number, ALIGNED)
    sums = cuda.local.array(_SUMS, number)
    thread, columns = i8(cuda.threadIdx.x), bias.size
    tiles = (columns + COLUMNS - 1) // COLUMNS
    first_step = i8(cuda.blockIdx.x) // tiles * STEPS
    first_column = i8(cuda.blockIdx.x) % tiles * COLUMNS
    row_offset, column_offset = (thread >> 3) * 4, (thread & 7) * 4  # of the thread's pieces
    step = first_step + thread  # the one this thread stages
    wide = (address(x, 0) | features * bytes_of_item(x)) & (4 * bytes_of_item(x) - 1) == 0
    nothing = number(0), number(0), number(0), number(0)

    for at in range(_SUMS):
        sums[at] = number(0)
    for base in range(0, features, _DEPTH):
        for part in range(0, _DEPTH, 4):
            feature, four = base + part, nothing
            if step < steps and wide and feature < features:
                loaded = load_4(x, step * features + feature)
                four = number(loaded[0]), number(loaded[1]), number(loaded[2]), number(loaded[3])
            for turn in range(4):
                if step < steps and not wide and feature + turn < features:
                    value = number(x[u8(step * features + feature + turn)])
                    staged_x[u8((part + turn) * STEPS + thread)] = value
                else:
                    staged_x[u8((part + turn) * STEPS + thread)] = four[turn]
        for turn in range(2):
            feature, column = turn * 8 + (thread >> 4), (thread & 15) * 4
            four = nothing
            if base + feature < features and first_column + column < columns:
                four = load_4(kernel, (base + feature) * columns + first_column + column)
            store_4(staged_kernel, feature * COLUMNS + column, four)
        cuda.syncthreads()
        for feature in range(_DEPTH):
            for half in range(2):
                left = load_4(staged_x, feature * STEPS + half * 64 + row_offset)
                for side in range(2):
                    right = load_4(staged_kernel, feature * COLUMNS + side * 32 + column_offset)
                    for row in range(4):
                        for column in range(4):
                            at = ((half * 4 + row) * 2 + side) * 4 + column
                            sums[at] += left[row] * right[column]
        cuda.syncthreads()

    for row in range(8):
        step = first_step + (row >> 2) * 64 + row_offset + (row & 3)
        for side in range(2):
            column, at = first_column + side * 32 + column_offset, (row * 2 + side) * 4
            if step < steps and column < columns:
                biases = load_4(bias, column)
                total = (
                    sums[at] + biases[0],
                    sums[at + 1] + biases[1],
                    sums[at + 2] + biases[2],
                    sums[at + 3] + biases[3],
                )
                store_4(out, step * columns + column, total)
