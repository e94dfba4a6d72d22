"""Softmax over time, and one step out of each row."""

from functools import partial
from typing import Any

import jax
import numpy as np

from ragmask.arrays.protocol import Array
from ragmask.interop.jax.batch import Batch
from ragmask.interop.jax.host import on_host
from ragmask.ops import pool, softmax
from ragmask.ops.pool import NUMBERED, How, checked_how


def temporal_softmax(values: Any, offsets: Any, mask: Any = None) -> jax.Array:
    """Softmax over the kept steps of each row, for each feature by itself.

    >>> from ragmask.interop.jax import temporal_softmax
    >>> print(temporal_softmax([1.0, 1.0, 7.0], [0, 2, 3], [True, True, False]))
    [0.5 0.5 0. ]

    values (n, *item), offsets (rows + 1,), mask (n,): as the package says. Returns an array as
    values: masked steps are 0, and steps in no row. The rest is as for ragmask's temporal_softmax.

    Raises InvalidInputError, naming the row, for offsets or masks that do not fit;
    UnsupportedTypeError for dtypes.
    """
    batch, dtype = Batch.of(values, offsets, mask)
    return _softmax(batch).astype(dtype)


def temporal_pool(values: Any, offsets: Any, how: How = "mean", mask: Any = None) -> jax.Array:
    """One step out of each row's kept ones: see `ragmask.temporal_pool` for words.

    >>> from ragmask.interop.jax import temporal_pool
    >>> print(temporal_pool([1.0, 3.0, 5.0], [0, 2, 3, 3], "mean"))
    [2. 5. 0.]

    values (n, *item), offsets (rows + 1,), mask (n,): as the package says. Returns an array
    (rows, *item) of values' dtype; of "argmax" and "count" jax's integers, which have no gradient.
    The gradient of "max", "min", "first" and "last" goes to the step that was taken: the first of
    equals.

    Raises InvalidInputError for another word and, naming the row, for offsets or masks that do not
    fit; UnsupportedTypeError for dtypes.
    """
    how = checked_how(how)
    batch, dtype = Batch.of(values, offsets, mask)
    if how in NUMBERED:
        return _number(how, jax.lax.stop_gradient(batch))
    return _pool(how, batch).astype(dtype)


@jax.custom_vjp
def _softmax(batch: Batch) -> jax.Array:
    return on_host(_softmax_on_host, (), batch.values, batch)


def _softmax_and_keep(batch: Batch) -> tuple[jax.Array, Batch]:
    soft = _softmax(batch)
    return soft, batch._replace(values=soft)


def _softmax_backwards(soft: Batch, gradient: jax.Array) -> tuple[Batch]:
    of_values = on_host(_softmax_gradient_on_host, (), soft.values, soft, gradient)
    return (Batch(of_values, None, None),)


_softmax.defvjp(_softmax_and_keep, _softmax_backwards)


def _softmax_on_host(batch: Batch) -> Array:
    return batch.spread(softmax.temporal_softmax(batch.ragged()).values)


def _softmax_gradient_on_host(soft: Batch, gradient: Array) -> Array:
    return soft.spread(softmax.softmax_gradient(soft.rows(), soft.steps_of(gradient)))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _pool(how: How, batch: Batch) -> jax.Array:
    shape = (batch.n_rows, *batch.values.shape[1:])
    pooled = jax.ShapeDtypeStruct(shape, batch.values.dtype)
    return on_host(_pool_on_host, (how,), pooled, batch)


def _number(how: How, batch: Batch) -> jax.Array:
    item_shape = () if how == "count" else batch.values.shape[1:]
    dtype = jax.dtypes.canonicalize_dtype(np.int64)
    numbers = jax.ShapeDtypeStruct((batch.n_rows, *item_shape), dtype)
    return on_host(_number_on_host, (how, dtype), numbers, batch)


def _number_on_host(how: How, dtype: np.dtype[Any], batch: Batch) -> Array:
    numbers: Array = pool.temporal_pool(batch.ragged(), how).astype(dtype)
    return numbers


def _pool_and_keep(how: How, batch: Batch) -> tuple[jax.Array, Batch]:
    return _pool(how, batch), batch


def _pool_backwards(how: How, batch: Batch, gradient: jax.Array) -> tuple[Batch]:
    of_values = on_host(_pool_gradient_on_host, (how,), batch.values, batch, gradient)
    return (Batch(of_values, None, None),)


_pool.defvjp(_pool_and_keep, _pool_backwards)


def _pool_on_host(how: How, batch: Batch) -> Array:
    return pool.temporal_pool(batch.ragged(), how)


def _pool_gradient_on_host(how: How, batch: Batch, gradient: Array) -> Array:
    return batch.spread(pool.pool_gradient(batch.rows(), how, gradient))
