"""Layers that put batches together number by number: their sums, products and means."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from typing import Any

import numpy as np

from ragmask.arrays.protocol import Array, Bools
from ragmask.errors import InvalidInputError, RagmaskError, UnsupportedTypeError
from ragmask.layers.batch import aligned, broadcast
from ragmask.layers.graph import BATCHES
from ragmask.layers.layer import Layer
from ragmask.layers.registry import register
from ragmask.layers.spec import Spec, common_dtype

Masks = list[Bools | None]


class Merging(Layer):
    """Several batches of equal rows put together number by number.

    As in Keras a step is kept that one of them keeps, there is no mask where one of them has none,
    and numpy's rules of broadcasting hold for steps. What has fewer axes than others is the same
    for a row's every step: an array (rows, features) beside a Ragged of vectors. Integers beside
    floats become such floats. Rows of unequal lengths are an error.
    """

    supports_masking = True
    _takes: int | None = None  # as many batches, or any number

    def _merged(self, values: list[Array], masks: Masks) -> Array:
        """One array of several, and of their masks as far as they have one."""
        raise NotImplementedError

    def call(self, inputs: Any) -> Any:
        parts = parts_of(self, inputs, self._takes)
        broadcast(parts)
        values, masks, batch_of = aligned(parts)
        return batch_of(self._computed(values, masks))

    def compute_output(self, inputs: Any) -> Spec:
        parts = parts_of(self, inputs, self._takes)
        merged = broadcast(parts)
        nothing = [np.empty(0, part.dtype) for part in parts]
        dtype = self._computed(nothing, [None] * len(parts)).dtype
        return merged.of(merged.shape, dtype).masked(all(part.is_masked for part in parts))

    def _computed(self, values: list[Array], masks: Masks) -> Array:
        with fitting(), np.errstate(all="ignore"):  # padding may hold anything
            dtype = common_dtype(array.dtype for array in values)
            return self._merged([array.astype(dtype, copy=False) for array in values], masks)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        masks = masks_for(self, inputs, mask)
        if any(one is None for one in masks):
            return None
        return reduce(np.logical_or, masks)


@register
class Add(Merging):
    """The sum of several batches of equal rows; a step is kept that one of them keeps.

    >>> import ragmask as rm
    >>> a, b = rm.Ragged.from_rows([[1], [2, 3]]), rm.Ragged.from_rows([[10], [20, 30]])
    >>> rm.layers.Add()([a, b]).to_rows()
    [array([11]), array([22, 33])]

    As in Keras there is no mask where one of them has none, masked steps count, and an array with
    fewer axes is added to each step of its row. Rows of unequal lengths are an error.
    """

    def _merged(self, values: list[Array], masks: Masks) -> Array:
        return reduce(np.add, values)


@register
class Subtract(Merging):
    """The first of two batches less the second; masks and rows as `Add` has them.

    >>> import ragmask as rm
    >>> a, b = rm.Ragged.from_rows([[3], [5, 7]]), rm.Ragged.from_rows([[1], [1, 1]])
    >>> rm.layers.Subtract()([a, b]).to_rows()
    [array([2]), array([4, 6])]
    """

    _takes = 2

    def _merged(self, values: list[Array], masks: Masks) -> Array:
        first, second = values
        difference: Array = np.subtract(first, second)
        return difference


@register
class Average(Merging):
    """The mean of several batches, number by number; masks and rows as `Add` has them.

    >>> import ragmask as rm
    >>> a, b = rm.Ragged.from_rows([[1, 3]]), rm.Ragged.from_rows([[2, 5]])
    >>> rm.layers.Average()([a, b]).to_rows()
    [array([1.5, 4. ], dtype=float32)]

    As in Keras masked steps count. Means of integers are float32.
    """

    def _merged(self, values: list[Array], masks: Masks) -> Array:
        added = reduce(np.add, values)
        if added.dtype.kind in "biu":
            added = added.astype(np.float32)
        mean: Array = added / added.dtype.type(len(values))
        return mean


@register
class Multiply(Merging):
    """The product of several batches, number by number; rows as `Add` has them.

    >>> import ragmask as rm
    >>> a, b = rm.Ragged.from_rows([[1, 3]]), rm.Ragged.from_rows([[2, 5]])
    >>> rm.layers.Multiply()([a, b]).to_rows()
    [array([ 2, 15])]

    As in Keras a masked step counts as 1; where all of them have masks, a step that none keeps
    is 0.
    """

    def _merged(self, values: list[Array], masks: Masks) -> Array:
        one = values[0].dtype.type(1)
        product: Array = reduce(
            np.multiply,
            (
                array if mask is None else np.where(mask, array, one)
                for array, mask in zip(values, masks, strict=True)
            ),
        )
        known = [mask for mask in masks if mask is not None]
        if len(known) < len(masks):
            return product
        return np.where(reduce(np.logical_or, known), product, product.dtype.type(0))


class _Extreme(Merging):
    """The largest or smallest number; masked steps of one batch leave it to the others."""

    _of_two: np.ufunc

    def _merged(self, values: list[Array], masks: Masks) -> Array:
        result, kept = values[0], masks[0]
        for array, mask in zip(values[1:], masks[1:], strict=True):
            other = array if mask is None else np.where(mask, array, result)
            if kept is not None:
                result = np.where(kept, result, other)
            kept = None if kept is None or mask is None else kept | mask
            result = self._of_two(result, other)
        return result


@register
class Maximum(_Extreme):
    """The largest of several batches' numbers; rows as `Add` has them.

    >>> import ragmask as rm
    >>> a, b = rm.Ragged.from_rows([[1, 5]]), rm.Ragged.from_rows([[2, 3]])
    >>> rm.layers.Maximum()([a, b]).to_rows()
    [array([2, 5])]

    As in Keras steps that one of them masks are those of the others.
    """

    _of_two = np.maximum


@register
class Minimum(_Extreme):
    """The smallest of several batches' numbers; rows as `Add` has them.

    >>> import ragmask as rm
    >>> a, b = rm.Ragged.from_rows([[1, 5]]), rm.Ragged.from_rows([[2, 3]])
    >>> rm.layers.Minimum()([a, b]).to_rows()
    [array([1, 3])]

    As in Keras steps that one of them masks are those of the others.
    """

    _of_two = np.minimum


def parts_of(layer: Layer, inputs: Any, count: int | None = None) -> list[Any]:
    """The batches, or specs, that are put together; or an error that says what came instead."""
    if not isinstance(inputs, list | tuple) or not inputs:
        kind = inputs.class_name if isinstance(inputs, Spec) else type(inputs).__name__
        raise UnsupportedTypeError(f"layer {layer.name!r} takes a list of batches; got {kind}")
    if count is not None and len(inputs) != count:
        raise InvalidInputError(
            f"layer {layer.name!r} takes exactly {count} batches; got {len(inputs)}"
        )
    for number, part in enumerate(inputs):
        if not isinstance(part, BATCHES | Spec):
            raise UnsupportedTypeError(
                f"layer {layer.name!r} takes a list of batches; input {number} is a "
                f"{type(part).__name__}"
            )
    return list(inputs)


def masks_for(layer: Layer, inputs: Any, mask: Any) -> list[Any]:
    """The masks of a layer's inputs, as many as these."""
    if mask is None:
        return [None]
    for what, given in (("inputs", inputs), ("mask", mask)):
        if not isinstance(given, list | tuple):
            raise InvalidInputError(
                f"layer {layer.name!r}: {what} should be a list, one for each batch; got a "
                f"{type(given).__name__}"
            )
    if len(mask) != len(inputs):
        raise InvalidInputError(
            f"layer {layer.name!r}: inputs and masks should have the same length; got "
            f"{len(inputs)} inputs and {len(mask)} masks"
        )
    return list(mask)


@contextmanager
def fitting() -> Iterator[None]:
    """What numpy raises for numbers that it cannot put together is an error of ours."""
    try:
        yield
    except RagmaskError:
        raise
    except TypeError as error:
        raise UnsupportedTypeError(f"its inputs do not go together: {error}") from error
    except ValueError as error:
        raise InvalidInputError(f"its inputs do not fit each other: {error}") from error


# -- the same as functions --------------------------------------------------------------------


def add(inputs: Any, **options: Any) -> Any:
    """`Add(**options)(inputs)`, as Keras has it.

    >>> import ragmask as rm
    >>> rm.layers.add([rm.Ragged.from_rows([[1, 2]]), rm.Ragged.from_rows([[3, 4]])]).to_rows()
    [array([4, 6])]
    """
    return Add(**options)(inputs)


def subtract(inputs: Any, **options: Any) -> Any:
    """`Subtract(**options)(inputs)`, as Keras has it.

    >>> import ragmask as rm
    >>> rm.layers.subtract([rm.Ragged.from_rows([[3, 4]]), rm.Ragged.from_rows([[1, 1]])]).to_rows()
    [array([2, 3])]
    """
    return Subtract(**options)(inputs)


def multiply(inputs: Any, **options: Any) -> Any:
    """`Multiply(**options)(inputs)`, as Keras has it.

    >>> import ragmask as rm
    >>> rm.layers.multiply([rm.Ragged.from_rows([[3, 4]]), rm.Ragged.from_rows([[2, 2]])]).to_rows()
    [array([6, 8])]
    """
    return Multiply(**options)(inputs)


def average(inputs: Any, **options: Any) -> Any:
    """`Average(**options)(inputs)`, as Keras has it.

    >>> import ragmask as rm
    >>> rm.layers.average([rm.Ragged.from_rows([[3.0]]), rm.Ragged.from_rows([[1.0]])]).to_rows()
    [array([2.])]
    """
    return Average(**options)(inputs)


def maximum(inputs: Any, **options: Any) -> Any:
    """`Maximum(**options)(inputs)`, as Keras has it.

    >>> import ragmask as rm
    >>> rm.layers.maximum([rm.Ragged.from_rows([[3, 1]]), rm.Ragged.from_rows([[2, 2]])]).to_rows()
    [array([3, 2])]
    """
    return Maximum(**options)(inputs)


def minimum(inputs: Any, **options: Any) -> Any:
    """`Minimum(**options)(inputs)`, as Keras has it.

    >>> import ragmask as rm
    >>> rm.layers.minimum([rm.Ragged.from_rows([[3, 1]]), rm.Ragged.from_rows([[2, 2]])]).to_rows()
    [array([2, 1])]
    """
    return Minimum(**options)(inputs)
