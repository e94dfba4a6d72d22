"""One step out of each row."""

from typing import Any, Literal

import numpy as np

from ragmask.arrays.host import HOST
from ragmask.arrays.protocol import AnyArray
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError
from ragmask.kernels.constants import POOL_CODES
from ragmask.kernels.registry import POOL, POOL_GRADIENT
from ragmask.ops.input import Input, as_dtype, flat_items, summed_dtypes
from ragmask.rows.rows import Rows

How = Literal["mean", "sum", "max", "first", "last"]


def temporal_pool(x: Ragged | Padded | Any, how: How = "mean", *, mask: Any = None) -> Any:
    """The mean, sum, maximum, first or last of each row's kept steps.

    >>> import ragmask as rm
    >>> rm.temporal_pool(rm.Ragged.from_rows([[1.0, 3.0], [5.0], []]), "mean")
    array([2., 5., 0.])

    Parameters
    ----------
    x : Ragged, Padded, array (rows, width, *item) of numbers, or Arrow's lists of them.
    how : "mean", "sum", "max", "first" or "last". A NaN is the maximum.
    mask : takes the place of x's own: a Ragged of bools with x's lengths, or bools (n_steps,);
        (rows, width) for Padded and arrays. True = keep.

    Returns an array (rows, *item), of x's dtype; the mean of integers is float64, and the sum of
    integers int64 (uint64). Of Arrow's lists it is an Arrow array, null where a list is. float16
    is computed in float32. No kept step gives 0. Raises InvalidInputError for another word.
    """
    if not isinstance(how, str) or how not in POOL_CODES:
        words = ", ".join(map(repr, POOL_CODES))
        raise InvalidInputError(f"how must be one of {words}; got {how!r}")
    given = Input.of(x, mask)
    rows = given.rows
    computed, returned = _dtypes(rows, how)
    if computed != rows.dtype:
        rows = as_dtype(rows, computed)
    arrays = rows.arrays
    pooled = arrays.empty((len(rows), *rows.item_shape), computed)
    flat = flat_items(rows.values)
    if pooled.size:  # steps of nothing may be more than could ever be counted
        rows.layout.run(
            POOL,
            flat.shape[1],
            flat,
            rows.starts,
            rows.lengths,
            rows.mask,
            POOL_CODES[how],
            pooled.reshape(len(rows), flat.shape[1]),
        )
    return given.give_rows(arrays.native(arrays.as_dtype(pooled, returned)))


def _dtypes(rows: Rows, how: str) -> tuple[np.dtype[Any], np.dtype[Any]]:
    """What a dtype is computed in, and what is given back. Few, so that few kernels compile."""
    dtype = rows.dtype
    computed, summed = summed_dtypes(rows, "temporal_pool")
    if how == "mean" and dtype.kind in "biu":
        return np.dtype(np.float64), np.dtype(np.float64)
    return computed, summed if how == "sum" else dtype


def pool_gradient(x: Rows, how: How, gradient: AnyArray) -> AnyArray:
    """The gradient of the pooling's input, (n_steps, *item), of x's dtype: a float's.

    x is what was pooled, compact; gradient (rows, *item), of its dtype. A maximum's goes to the
    step that was taken: the first of equals.
    """
    arrays, computed = x.arrays, HOST.computed(x.dtype)
    flat = flat_items(arrays.frozen(arrays.as_dtype(x.values, computed)))
    out = arrays.empty(flat.shape, computed)
    if out.size:
        x.layout.run(
            POOL_GRADIENT,
            flat.shape[1],
            flat,
            x.starts,
            x.lengths,
            x.mask,
            POOL_CODES[how],
            flat_items(arrays.frozen(arrays.as_dtype(gradient, computed))),
            out,
        )
    return arrays.as_dtype(out.reshape(x.values.shape), x.dtype)
