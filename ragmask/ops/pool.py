"""One step out of each row."""

from typing import Any, Literal, get_args

import numpy as np

from ragmask.arrays.host import HOST
from ragmask.arrays.protocol import AnyArray
from ragmask.batches.padded import Padded
from ragmask.batches.ragged import Ragged
from ragmask.errors import InvalidInputError
from ragmask.kernels.constants import POOL_CODES
from ragmask.kernels.kernel import Kernel
from ragmask.kernels.registry import (
    ARGMAX,
    LOGSUMEXP,
    LOGSUMEXP_GRADIENT,
    POOL,
    POOL_GRADIENT,
    STD,
    STD_GRADIENT,
)
from ragmask.ops.input import Input, as_dtype, flat_items, summed_dtypes
from ragmask.rows.rows import Rows, kept_counts

How = Literal[
    "mean", "sum", "max", "min", "first", "last", "count", "argmax", "std", "logsumexp"
]  # fmt: skip
NUMBERED: tuple[How, ...] = "count", "argmax"  # which are integers, and have no gradient

_KERNELS = {"argmax": ARGMAX, "std": STD, "logsumexp": LOGSUMEXP}
_GRADIENTS = {"std": STD_GRADIENT, "logsumexp": LOGSUMEXP_GRADIENT}


def temporal_pool(x: Ragged | Padded | Any, how: How = "mean", *, mask: Any = None) -> Any:
    """One step out of each row's kept ones: their mean, sum, maximum and so on, for each feature.

    >>> import ragmask as rm
    >>> x = rm.Ragged.from_rows([[1.0, 3.0], [5.0], []])
    >>> rm.temporal_pool(x, "mean")
    array([2., 5., 0.])
    >>> rm.temporal_pool(x, "argmax"), rm.temporal_pool(x, "count")
    (array([ 1,  0, -1]), array([2, 1, 0]))

    Parameters
    ----------
    x : Ragged, Padded, array (rows, width, *item) of numbers, or Arrow's lists of them.
    how : "mean", "sum", "max", "min", "first" or "last", of which no kept step gives 0; "std", the
        standard deviation, of the population (divided by the count), 0 for none; "logsumexp",
        log Σ exp(x), -inf for none; "argmax", the position in the row of the first maximum, -1 for
        none; or "count", how many steps are kept. A NaN is the maximum, and the minimum.
    mask : takes the place of x's own: a Ragged of bools with x's lengths, or bools (n_steps,);
        (rows, width) for Padded and arrays. True = keep.

    Returns an array (rows, *item), of x's dtype. Of integers the mean, "std" and "logsumexp" are
    float64, and the sum int64 (uint64); "argmax" is int64, and "count" int64 (rows,), one number
    for steps of any shape and dtype. Of Arrow's lists it is an Arrow array, null where a list is.
    float16 is computed in float32. Raises InvalidInputError for another word.

    Sums and means add one step after another. "std" takes two passes, over distances from the first
    step: T. Chan, G. Golub, R. LeVeque (1983), Algorithms for computing the sample variance.
    """
    how = checked_how(how)
    given = Input.of(x, mask)
    rows, arrays = given.rows, given.arrays
    if how == "count":
        return given.give_rows(arrays.native(kept_counts(rows)))
    computed, returned = _dtypes(rows, how)
    if computed != rows.dtype:
        rows = as_dtype(rows, computed)
    dtype = returned if how == "argmax" else computed
    pooled = arrays.empty((len(rows), *rows.item_shape), dtype)
    if pooled.size:  # steps of nothing may be more than could ever be counted
        out = pooled.reshape(-1) if how == "argmax" else flat_items(pooled)
        _run(_KERNELS.get(how, POOL), rows, how, out)
    return given.give_rows(arrays.native(arrays.as_dtype(pooled, returned)))


def checked_how(how: Any) -> How:
    """The word, if it is one that `temporal_pool` knows."""
    words = get_args(How)
    if not isinstance(how, str) or how not in words:
        raise InvalidInputError(f"how must be one of {', '.join(map(repr, words))}; got {how!r}")
    word: How = how  # type: ignore[assignment]
    return word


def pooled_dtype(dtype: np.dtype[Any], how: How) -> np.dtype[Any]:
    """That of what is given back, of numbers of a dtype."""
    if how in NUMBERED:
        return np.dtype(np.int64)
    if dtype.kind in "biu" and how in ("mean", "std", "logsumexp"):
        return np.dtype(np.float64)
    if dtype.kind in "biu" and how == "sum":
        return np.dtype(np.uint64 if dtype.kind == "u" else np.int64)
    return dtype


def _dtypes(rows: Rows, how: How) -> tuple[np.dtype[Any], np.dtype[Any]]:
    """What a dtype is computed in, and what is given back. Few, so that few kernels compile."""
    computed, _ = summed_dtypes(rows, "temporal_pool")
    returned = pooled_dtype(rows.dtype, how)
    is_float = computed.kind == "f" or returned.kind != "f"
    return computed if is_float else returned, returned


def pool_gradient(x: Rows, how: How, gradient: AnyArray) -> AnyArray:
    """The gradient of the pooling's input, (n_steps, *item), of x's dtype: a float's.

    x is what was pooled, compact; gradient (rows, *item), of its dtype. A maximum's or minimum's
    goes to the step that was taken: the first of equals. Where "std" is 0 it has none, and gives 0.
    Raises InvalidInputError for "count" and "argmax", which have none anywhere.
    """
    if how in NUMBERED:
        raise InvalidInputError(f"{how!r} has no gradient: what it gives are integers")
    arrays, computed = x.arrays, HOST.computed(x.dtype)
    values = arrays.frozen(arrays.as_dtype(x.values, computed))
    out = arrays.empty(flat_items(values).shape, computed)
    if out.size:
        of_rows = flat_items(arrays.frozen(arrays.as_dtype(gradient, computed)))
        _run(_GRADIENTS.get(how, POOL_GRADIENT), x.over(values), how, of_rows, out)
    return arrays.as_dtype(out.reshape(x.values.shape), x.dtype)


def _run(kernel: Kernel, rows: Rows, how: How, *arguments: AnyArray) -> None:
    """Run one of the kernels of pooling, some of which are for several words."""
    code = (POOL_CODES[how],) if how in POOL_CODES else ()
    flat = flat_items(rows.values)
    place = rows.starts, rows.lengths, rows.mask
    rows.layout.run(kernel, flat.shape[1], flat, *place, *code, *arguments)
