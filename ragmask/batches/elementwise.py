"""numpy's ufuncs, operators and comparisons on batches: values change, rows and mask stay."""

from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from ragmask.arrays.coerce import check_numbers
from ragmask.arrays.protocol import Array, Bools
from ragmask.errors import InvalidInputError, UnsupportedTypeError


class Elementwise(NDArrayOperatorsMixin):
    """A batch whose values numpy's operators work on, step for step; rows and mask stay."""

    __slots__ = ()

    @property
    def item_shape(self) -> tuple[int, ...]:
        """The shape of one step."""
        raise NotImplementedError

    def _dense(self) -> tuple[Array, Bools | None]:
        """Values whose leading axes are rows and steps, and their mask."""
        raise NotImplementedError

    def _like(self, values: Array, mask: Bools | None) -> Any:
        """The same rows of other values."""
        raise NotImplementedError

    def _check_same_rows(self, other: Any, what: str) -> None:
        raise NotImplementedError

    def __bool__(self) -> bool:
        raise InvalidInputError(  # for `if batch == other:`, which would always hold
            f"a {type(self).__name__} is neither true nor false: ask len(), or compare values and "
            "mask"
        )

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return apply(type(self), ufunc, method, inputs, options)


def apply(kind: type[Elementwise], ufunc: np.ufunc, method: str, inputs: Any, options: Any) -> Any:
    """`ufunc` over each step of batches of one kind, and of numbers and arrays of a step's shape.

    Masks are and-ed. Two batches must have equal rows.
    """
    name = f"numpy.{ufunc.__name__}"
    if "out" in options:
        raise UnsupportedTypeError(
            f"{name} writes into no {kind.__name__}: take the new one, as in x = x + 1 for x += 1"
        )
    if method != "__call__" or ufunc.signature is not None or options.keys() - {"dtype", "casting"}:
        raise UnsupportedTypeError(
            f"{name} works element by element on a {kind.__name__}; for anything else, "
            "apply it to .values and put the result back with with_values()"
        )
    batches = [given for given in inputs if isinstance(given, kind)]
    first = batches[0]
    for other in batches[1:]:
        first._check_same_rows(other, f"the operands of {name}")
    item_ndim = max(len(batch.item_shape) for batch in batches)

    masks: list[Bools] = []
    operands: list[Any] = []
    for given in inputs:
        if isinstance(given, kind):
            values, mask = given._dense()
            lead = values.ndim - len(given.item_shape)
            ones = (1,) * (item_ndim - len(given.item_shape))
            operands.append(values.reshape(*values.shape[:lead], *ones, *given.item_shape))
            if mask is not None:
                masks.append(mask)
        elif hasattr(given, "_dense"):
            raise UnsupportedTypeError(
                f"{name} got a {kind.__name__} and a {type(given).__name__}: make both one kind, "
                "with to_padded() or Ragged.from_padded()"
            )
        elif np.ndim(given) > item_ndim:
            raise InvalidInputError(
                f"{name}: an array of shape {np.shape(given)} does not fit one step, which has "
                f"shape {first.item_shape}; to give each step its own, make it a {kind.__name__}"
            )
        else:
            operands.append(given)
    mask = None
    for one in masks:
        mask = one if mask is None else mask & one
    results = ufunc(*operands, **options)
    for result in results if isinstance(results, tuple) else (results,):
        check_numbers(result.dtype, f"the result of {name}")
    if isinstance(results, tuple):
        return tuple(first._like(result, mask) for result in results)
    return first._like(results, mask)
