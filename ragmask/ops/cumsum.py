"""Sums so far."""

from typing import Any

from ragmask.arrays.host import HOST
from ragmask.arrays.protocol import AnyArray
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.kernels.registry import CUMSUM, CUMSUM_GRADIENT
from ragmask.ops.input import Input, as_dtype, flat_items, summed_dtypes
from ragmask.rows.rows import Rows


def temporal_cumsum(x: Ragged | Padded | Any, *, mask: Any = None, out: Any = None) -> Any:
    """The sum of each row's kept steps up to each step, for each feature by itself.

    >>> import ragmask as rm
    >>> rm.temporal_cumsum(rm.Ragged.from_rows([[1, 2, 3], [], [4, 5]]))
    Ragged(3 rows, 5 steps, int64, lengths 0–3)
      [1 3 6]
      []
      [4 9]

    Parameters
    ----------
    x : Ragged, Padded, array (rows, width, *item) or Arrow's lists, of floats, integers or bools.
    mask : takes the place of x's own: a Ragged of bools with x's lengths, or bools (n_steps,);
        (rows, width) for Padded and arrays. True = keep.
    out : an array to write to: (n_steps, *item), or (rows, width, *item) for Padded and arrays.

    Returns x's kind, of x's dtype; of integers and bools int64 (uint64 of unsigned ones). float16
    is computed in float32. A masked step repeats the sum before it, or 0. The numbers are added in
    order, one after another. Raises UnsupportedTypeError for other dtypes.
    """
    given = Input.of(x, mask)
    rows, arrays = given.rows, given.arrays
    computed, returned = summed_dtypes(rows, "temporal_cumsum")
    output = given.output(rows.item_shape, returned, out)
    if computed != rows.dtype:
        rows = as_dtype(rows, computed)
    target = output if computed == returned else arrays.empty(output.shape, computed)
    flat = flat_items(rows.values)
    if target.size:  # steps of nothing may be more than could ever be counted
        rows.layout.run(
            CUMSUM,
            flat.shape[1],
            flat,
            rows.starts,
            rows.lengths,
            rows.mask,
            given.out_starts,
            flat_items(target),
        )
    if target is not output:
        arrays.assign(target, output)
    return given.give(output, given.rows.compact_mask())


def cumsum_gradient(rows: Rows, gradient: AnyArray) -> AnyArray:
    """The gradient of the sums' input: of each kept step, what arrives at it and at those behind.

    rows are those that were summed up, compact; gradient (n_steps, *item), floats. Masked steps get
    0, and what arrives there is ignored.
    """
    arrays, computed = rows.arrays, HOST.computed(gradient.dtype)
    flat = flat_items(arrays.frozen(arrays.as_dtype(gradient, computed)))
    out = arrays.empty(flat.shape, computed)
    if out.size:
        rows.layout.run(
            CUMSUM_GRADIENT, flat.shape[1], flat, rows.starts, rows.lengths, rows.mask, out
        )
    return arrays.as_dtype(out.reshape(gradient.shape), gradient.dtype)
