"""Softmax over time."""

import math
from typing import Any

from ragmask.arrays.host import HOST
from ragmask.arrays.protocol import AnyArray
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.kernels.registry import SOFTMAX, SOFTMAX_GRADIENT
from ragmask.ops.input import Input, floats
from ragmask.rows.rows import Rows


def temporal_softmax(x: Ragged | Padded | Any, *, mask: Any = None, out: Any = None) -> Any:
    """Softmax over the kept steps of each row, for each feature by itself.

    >>> import ragmask as rm
    >>> rm.temporal_softmax(rm.Ragged.from_rows([[1.0, 1.0], [2.0, 2.0, 2.0, 2.0]]))
    Ragged(2 rows, 6 steps, float64, lengths 2–4)
      [0.5 0.5]
      [0.25 0.25 0.25 0.25]

    Parameters
    ----------
    x : Ragged, Padded, array (rows, width, *item), or Arrow's lists: an array of pyarrow's, or what
        has the PyCapsule interface. float16 (computed in float32), float32 or float64.
    mask : takes the place of x's own: a Ragged of bools with x's lengths, or bools (n_steps,);
        (rows, width) for Padded and arrays. True = keep.
    out : an array to write to: (n_steps, *item), or (rows, width, *item) for Padded and arrays.

    Returns x's kind: of Arrow's lists a list array, of a Series of polars or pandas such a Series;
    null lists and items stay null. Masked steps are 0. A row with no kept step, or whose kept
    values are all -inf, is all 0; a NaN or +inf makes its row NaN in its feature, and no other.
    Shifted by the maximum, as usual; every sum's order depends on the kept steps alone.
    """
    given = Input.of(x, mask)
    rows, arrays, dtype = floats(given.rows, "x"), given.arrays, given.rows.dtype
    output = given.output(rows.item_shape, dtype, out)
    target = output if rows.dtype == dtype else arrays.empty(output.shape, rows.dtype)
    features = math.prod(rows.item_shape)
    if features:
        rows.layout.run(
            SOFTMAX,
            features,
            rows.values.reshape(-1),
            features,
            rows.starts,
            rows.lengths,
            rows.mask,
            given.out_starts,
            target.reshape(-1),
        )
    if target is not output:
        arrays.assign(target, output)
    return given.give(output, given.rows.compact_mask())


def softmax_gradient(soft: Rows, gradient: AnyArray) -> AnyArray:
    """The gradient of the softmax's input: soft · (gradient - Σ soft · gradient), of kept steps.

    soft is what the softmax gave, compact and with its mask; gradient (n_steps, *item), of its
    dtype. Masked steps get 0, and what arrives there is ignored.
    """
    arrays, computed = soft.arrays, HOST.computed(soft.dtype)
    out = arrays.empty(gradient.shape, computed)
    features = math.prod(soft.item_shape)
    if out.size:
        soft.layout.run(
            SOFTMAX_GRADIENT,
            features,
            arrays.frozen(arrays.as_dtype(soft.values, computed)).reshape(-1),
            features,
            soft.starts,
            soft.lengths,
            soft.mask,
            arrays.frozen(arrays.as_dtype(gradient, computed)).reshape(-1),
            out.reshape(-1),
        )
    return arrays.as_dtype(out, soft.dtype)
