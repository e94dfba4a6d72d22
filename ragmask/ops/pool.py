"""One step out of each row."""

from typing import Any, Literal

import numpy as np

from ragmask.devices import Array, converted, empty, native, read_only, run
from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.ops.steps import Steps, flat_items
from ragmask.padded import Padded
from ragmask.ragged import Ragged

How = Literal["mean", "sum", "max", "first", "last"]
_CODES = {"sum": 0, "mean": 1, "max": 2, "first": 3, "last": 4}  # as in kernels/cpu/pool.py


def temporal_pool(x: Ragged | Padded | Any, how: How = "mean", *, mask: Any = None) -> Array:
    """The mean, sum, maximum, first or last of each row's kept steps.

    >>> import ragmask as rm
    >>> rm.temporal_pool(rm.Ragged.from_rows([[1.0, 3.0], [5.0], []]), "mean")
    array([2., 5., 0.])

    Parameters
    ----------
    x : Ragged, Padded or array (rows, width, *item) of numbers.
    how : "mean", "sum", "max", "first" or "last". A NaN is the maximum.
    mask : takes the place of x's own: a Ragged of bools with x's lengths, or bools (n_steps,);
        (rows, width) for Padded and arrays. True = keep.

    Returns an array (rows, *item), of x's dtype; the mean of integers is float64, and the sum of
    integers int64 (uint64). float16 is computed in float32. No kept step gives 0. Raises
    InvalidInputError for another word.
    """
    if not isinstance(how, str) or how not in _CODES:
        raise InvalidInputError(f"how must be one of {', '.join(map(repr, _CODES))}; got {how!r}")
    steps = Steps.of(x, mask)
    rows, dtype = steps.rows, steps.rows.dtype
    computed, given_back = _dtypes(dtype, how)
    if computed != dtype:
        rows = rows.compact()
        rows = rows._over(read_only(converted(rows._values, computed)))
    pooled = empty((len(rows), *rows.item_shape), computed, rows._values)
    flat = flat_items(rows._values)
    if pooled.size:  # steps of nothing may be more than could ever be counted
        run(
            "pool",
            rows._lengths,
            (20.0, 2.0 + 0.2 * flat.shape[1]),
            flat,
            rows._starts,
            rows._lengths,
            rows._mask,
            _CODES[how],
            pooled.reshape(len(rows), flat.shape[1]),
        )
    return native(pooled.astype(given_back, copy=False))  # type: ignore[no-any-return]


def _dtypes(dtype: np.dtype[Any], how: str) -> tuple[np.dtype[Any], np.dtype[Any]]:
    """What a dtype is computed in, and what is given back. Few, so that few kernels compile."""
    if dtype.kind == "f" and dtype.itemsize <= 8:
        return np.result_type(dtype, np.float32), dtype
    if dtype.kind in "biu":
        widest = np.dtype(np.uint64 if dtype.kind == "u" else np.int64)
        if how == "mean":
            return np.dtype(np.float64), np.dtype(np.float64)
        return widest, widest if how == "sum" else dtype
    raise UnsupportedTypeError(f"temporal_pool takes floats, integers and bools; got {dtype}")
