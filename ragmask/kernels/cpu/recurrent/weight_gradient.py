"""The gradient of a recurrent layer's weights: one product over all steps."""

from typing import Any

import numpy as np

from ragmask.kernels.cells import RNN
from ragmask.kernels.compile import inline, njit, part
from ragmask.kernels.constants import TILE_ROWS
from ragmask.kernels.cpu.lanes import copy_line
from ragmask.kernels.cpu.recurrent.loop import position
from ragmask.kernels.cpu.recurrent.tile import Product, tile_of

CHUNK = 256  # steps: their inputs fit the second cache, one panel of their gradients the first

tile = tile_of(RNN, transposed=True)


@njit
def weight_gradient(
    first: int, last: int, rows: Any, steps: Any, of_sums: Any, cell: Any, backwards: bool, out: Any
) -> None:
    """The rows [first, last) of `inputs.T @ of_sums`, both with a line for each step.

    An input is x's features, a 1 for the bias, and the units of the output before. rows (starts,
    lengths, mask): int64 (rows,), end to end; mask bool (n,), or (0,) where there is none. steps
    (x, outputs, initial): (n, features), (n, units), and the first states of rows, (rows, units).
    of_sums (blocks, sums, n, lanes), flat: zeros at masked steps. cell (gates, apart). out (blocks
    · sums, inputs, lanes).

    Steps are added up in order, span by span. All numbers are float32, or all float64.
    """
    starts, lengths, mask = rows
    x, outputs, initial = steps
    features, width = x.shape[1], last - first
    inputs = np.zeros(CHUNK * width, x.dtype)
    out[:, first:last] = 0
    begin = count = 0
    for row in range(lengths.size):
        first_read = first_of(row, starts, lengths, mask, backwards)
        for step in range(lengths[row]):
            at = starts[row] + step
            line = inputs[count * width : (count + 1) * width]
            if mask.size and not mask[at]:
                line[:] = 0
            else:
                before = at + 1 if backwards else at - 1
                output = initial[row] if step == first_read else outputs[before]
                copy_part(x[at], 0, first, last, line)
                if first <= features < last:
                    line[features - first] = 1
                copy_part(output, features + 1, first, last, line)
            count += 1
            if count == CHUNK:
                multiply(inputs, first, last, features, of_sums, len(x), begin, count, cell, out)
                begin, count = begin + count, 0
    multiply(inputs, first, last, features, of_sums, len(x), begin, count, cell, out)


@inline
def first_of(row: int, starts: Any, lengths: Any, mask: Any, backwards: bool) -> int:
    """The first kept step of a row, in the order in which the layer read it."""
    length, number = lengths[row], 0
    while number < length:
        step = position(number, length, backwards)
        if not mask.size or mask[starts[row] + step]:
            return int(step)
        number += 1
    return -1


@inline
def copy_part(source: Any, at: int, first: int, last: int, line: Any) -> None:
    """What of `source`, which begins at `at`, lies in [first, last)."""
    begin, end = max(at, first), min(at + source.size, last)
    if begin < end:
        copy_line(source[begin - at : end - at], line[begin - first : end - first])


@part
def multiply(
    inputs: Any,
    first: int,
    last: int,
    features: int,
    of_sums: Any,
    n: int,
    begin: int,
    count: int,
    cell: Any,
    out: Any,
) -> None:
    """Add the product over `count` steps from `begin` on."""
    gates, apart = cell
    panels, all_inputs, lanes = out.shape
    width = last - first
    nowhere = np.zeros(0, np.int64)
    offsets = np.arange(width) * lanes
    for panel in range(panels):
        which = panel % (gates + apart)
        low = max(first, features if which >= gates else 0)  # apart, of the output before
        is_of_input = gates - apart <= which < gates and apart > 0
        high = min(last, features + 1 if is_of_input else all_inputs)
        gradients = of_sums[(panel * n + begin) * lanes :]
        sums = out[panel, first:last].reshape(-1)
        product = Product(inputs, width, gradients, sums, offsets, nowhere, sums)
        for line in range(low - first, high - first, TILE_ROWS):
            rows = min(TILE_ROWS, high - first - line)
            tile(product, rows, line, 0, 0, 0, count, 0, 0)
